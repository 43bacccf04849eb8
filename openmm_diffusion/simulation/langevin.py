"""Langevin runs of a model: reporters, checkpoints, guards, resume."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import openmm
from numpy.typing import ArrayLike
from openmm import app
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from .. import rundirectory
from ..forces.barostats import add_barostat
from ..forces.diffusionforce import check_system
from ..forces.platforms import default_platform, platform_named, platform_properties, torch_device
from ..model.denoiser import Denoiser
from ..model.sum import TRACING
from ..progress import Progress
from ..settings import read_yaml, validated
from ..systems.system import create_system, fastest
from ..systems.topologies import LARGEST, random_positions, replicated
from ..units import MOST
from . import trajectories as files
from .guard import Guard, SpreadWatch, spread_limit, tell_pressure, warn_of_conditions
from .starts import anneal, relax, start_of
from .states import go_on, noise_seed, read_state, write_state

log = logging.getLogger(__name__)

#: Particles up to which one thread of the CPU platform is the fastest: more would wait for each other.
ONE_THREAD = 500
#: Seconds of steps between looks at whether the run is to end.
LOOK = 0.2
#: What a run that goes on may be asked for anew: where and how it is computed, and how long; the model is known by its
#: contents.
MAY_DIFFER = ("duration", "platform", "device", "precision", "threads", "start", "model_file", "guard_margin")


Edge = Annotated[float, Field(gt=0, le=LARGEST)]


class SimulationConfig(BaseModel):
    """A run.

    Attributes
    ----------
    duration, interval, timestep : float, ps
        Length of the run, time between saved frames, time step.
    temperature : float, K, or None
        Temperature of the thermostat; None: that of the training data.
    friction : float, 1/ps
    composition : dict of str to int, or None
        Number of each type; None: as in the training data.
    molarity, edge : float, mol/L or nm, or None
        Fix the cubic box, or its volume; both None: the box of the training data.
    box : (float, float, float), nm, or None
        Edges of a rectangular box instead.
    top : path or None
        File of particles of one's own, with box and bonds as it states them: PDB, GRO, mmCIF, or what mdtraj reads.
        Their types are told as the model's are; None: particles and box are those of the training data.
    start : path or None
        File of the first positions, see `starts.read_start`; None: those of `top`, random places, or those given to
        `simulate`.  Beside `top` it may be a trajectory, and its box, where it has one, is that of the run.
    state : path or None
        XML file of a State, for positions, box and, where it has them, velocities; time begins anew.
    anneal : float, ps, or None
        Improve the start: minimise its energy, then cool it from `anneal_temperature`; None: only forces that would
        tear it apart are relaxed.
    anneal_temperature : float, K, or None
        None: twice that of the run.
    format : "dcd", "xtc" or "h5"
    backend : str
        Of `DiffusionForce`; "auto": the fastest for a run of this length, see `systems.fastest`.
    platform : str or None
        Of OpenMM; None: its fastest.
    device : int or None
        DeviceIndex of the platform, where OpenMM and torch compute; None: the first.
    precision : "single", "mixed" or "double", or None
        Of the platform, and "double" that of the model's terms too; None: the platform's default.
    pressure : float, bar, or None
        Of a Monte Carlo barostat, for models that were fitted with a pressure; None: constant volume.
    allow_barostat : bool
        Let a barostat change the volume although the model was fitted at a constant one.
    threads : int or None
        Threads of the CPU platform; None: one for up to `ONE_THREAD` particles, else OpenMM's choice.
    spread_limit : float, kJ/mol/nm, or None
        Where the forces of an ensemble's members on a particle differ by more (standard deviation),
        the run says so.  None: the largest spread on the training frames, if the model knows it.
    guard_margin : float, nm, or None
        How much closer than ever in the data a pair without bonds may come before the run is stopped; None: 0.04 nm, or
        six noise levels.
    replicas : int
        Independent copies in one System, from different places: see `create_system`.
    seed : int
        Seed of placement, velocities and thermostat.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    duration: PositiveFloat = Field(100.0, le=1e12)
    interval: PositiveFloat = Field(0.5, le=1e12)
    timestep: PositiveFloat = Field(0.004, ge=1e-9, le=1.0)
    temperature: PositiveFloat | None = Field(None, le=1e6)
    friction: PositiveFloat = Field(2.0, le=1e6)
    composition: dict[str, PositiveInt] | None = None
    molarity: PositiveFloat | None = Field(None, le=1e3)
    edge: PositiveFloat | None = Field(None, le=LARGEST)
    box: tuple[Edge, Edge, Edge] | None = None
    top: Path | None = None
    start: Path | None = None
    state: Path | None = None
    anneal: PositiveFloat | None = Field(None, le=1e12)
    anneal_temperature: PositiveFloat | None = Field(None, le=1e6)
    format: Literal["dcd", "xtc", "h5"] = "dcd"
    backend: Literal["auto", "torchscript", "python", "compiled", "native"] = "auto"
    pressure: float | None = None
    allow_barostat: bool = False
    platform: str | None = None
    device: NonNegativeInt | None = Field(None, le=4096)
    precision: Literal["single", "mixed", "double"] | None = None
    threads: PositiveInt | None = Field(None, le=4096)
    spread_limit: PositiveFloat | None = None
    guard_margin: PositiveFloat | None = Field(None, le=1.0)
    replicas: PositiveInt = Field(1, le=MOST)
    seed: NonNegativeInt = Field(1, lt=2**31)


def simulate(
    model: str | os.PathLike[str] | Denoiser,
    output: str | os.PathLike[str],
    config: SimulationConfig | Mapping[str, Any] | str | Path | None = None,
    resume: bool = False,
    positions: ArrayLike | None = None,
    progress: bool | Callable[[float], None] = True,
    topology: app.Topology | None = None,
    stop: Callable[[], bool] | None = None,
) -> Path | list[Path]:
    """Run Langevin dynamics under a model.

    Ctrl-C and SIGTERM end it after the step that it is at, with a checkpoint of that step.

    The output directory receives topology.pdb (topology.cif, where a type is too long for a PDB
    file), trajectory.dcd (.xtc, .h5; of several replicas
    trajectory-00.dcd and so on), state.csv (time, energies, temperature, speed; of all replicas
    together; volume and density at constant pressure), checkpoint.xml and config.yaml; of an ensemble,
    spread.csv too.  A start that would be torn apart is moved downhill first, and the log says so.

    Parameters
    ----------
    model : path or Denoiser
    output : path
    config : SimulationConfig, dict or None
    resume : bool
        Go on from the checkpoint in `output`: nothing is lost but what follows it.
    positions : array, shape (n_particles, 3) or (n_replicas, n_particles, 3), nm, optional
        Start; None: random places, where there is a box and no bonds.  Particles are grouped by type,
        as in topology.pdb; those with bonds are in the order of the training data.
    progress : bool, or callable
        Call with the time (ps) that the run has come to, now and then; or show progress, speed (ns/day) and remaining
        time on standard error, see `progress`.
    topology : openmm.app.Topology, optional
        Particles, bonds and box of one's own, of types that the model knows; None: see `SimulationConfig`.
    stop : callable, optional
        Asked every now and then whether the run is to end, for runs in threads, which no signal reaches.

    Returns
    -------
    Path, or list of Path
        Path of the trajectory; one for each replica, where there are several.

    Raises
    ------
    SimulationStopped
        If a pair came closer than the data's shortest distance less 0.04 nm (6 sigma, where that is
        more), or positions became NaN.
    Interrupted
        Where `stop` said so; the checkpoint is that of the last step.
    ValueError
        Of a pressure too, where the model was fitted without one, see `forces.barostats`.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    config, output = configured(config), rundirectory.named(output)
    every = round(config.interval / config.timestep)
    with rundirectory.occupied(output):
        return _simulated(model, denoiser, output, config, every, resume, positions, progress, topology, stop)


def configured(config):
    """Settings of a run from what a caller gives: a `SimulationConfig`, the path of a YAML file, a dict or None."""
    if not isinstance(config, SimulationConfig):
        values = read_yaml(config) if isinstance(config, (str, Path)) else {} if config is None else config
        config = validated(SimulationConfig, values, "config")
    files.check_format(config.format)
    every = round(config.interval / config.timestep)
    if every < 1 or abs(every * config.timestep - config.interval) > 1e-6 * config.interval:
        raise ValueError(f"interval is {config.interval:g} ps: give a multiple of timestep, {config.timestep:g} ps")
    if config.duration < config.interval:
        raise ValueError(f"duration is {config.duration:g} ps, shorter than interval, {config.interval:g} ps: no frame")
    return config


def _simulated(model, denoiser, output, config, every, resume, positions, progress, topology, stop):
    """The run of a denoiser, given as `model`, where nobody else is at work; frames come `every` so many steps."""
    checkpoint = output / "checkpoint.xml"
    files.check_checkpoint(checkpoint)
    state = read_state(checkpoint) if resume and checkpoint.exists() else None
    # What goes on does not begin, and the file of its start may be elsewhere now.
    start = start_of(
        denoiser, config if state is None else config.model_copy(update={"start": None}), topology, positions
    )
    topology, positions = start.topology, start.positions
    warn_of_conditions(denoiser, topology, config)
    bonded = denoiser.header.bonds or next(topology.bonds(), None)
    if positions is None and not resume and (bonded or denoiser.header.box is None):
        what = "the model was trained without a box"
        if bonded:
            what = f"the {'model' if denoiser.header.bonds else 'topology'}'s particles have bonds"
        raise ValueError(
            f"positions is missing: {what}, so that random places are no start; give positions in nm (--start FILE)"
        )
    platform = config.platform or default_platform()
    properties = platform_properties(platform, config.device, config.precision)
    options = _force_options(output, denoiser, topology, config, resume)
    # Runs side by side are threads, and torch scripts and compiles one module at a time.
    with TRACING:
        others = _where(platform, config, options["backend"]) | {"allow_barostat": config.allow_barostat}
        system = create_system(denoiser, topology, replicas=config.replicas, **others, **options)
    done = 0 if state is None else round(state.getTime()._value / config.timestep)
    if config.pressure is not None:
        seed = noise_seed(config.seed, done)
        add_barostat(system, topology, config.pressure, _temperature(denoiser, config), seed)
        tell_pressure(denoiser, config)
    check_system(system)
    limit = spread_limit(denoiser, config)
    everyone = replicated(topology, config.replicas)
    simulation = _simulation(denoiser, everyone, system, config, platform, properties, done)
    trajectories = files.trajectory_paths(output, config.format, config.replicas)
    with _begun(output, config, model, denoiser, options, resume):
        if state is None:
            _place(simulation, output, denoiser, start, config)
        else:
            go_on(simulation, state, done)
            files.cut_back(trajectories, done // every, {"state.csv": every, "spread.csv": config.interval})
            files.mend_topology(output, topology, simulation.context)
            log.info("resumed at %.1f ps", done * config.timestep)
        _advance(simulation, output, denoiser, topology, config, trajectories, limit, progress, stop)
    return trajectories[0] if config.replicas == 1 else trajectories


def _place(simulation, output, denoiser, start, config):
    """Begin at positions, or at random places, and write what the particles are."""
    topology, positions, velocities = start
    if positions is None:
        seeds = range(config.seed, config.seed + config.replicas)
        positions = [random_positions(denoiser, topology, seed) for seed in seeds]
    positions = np.asarray(positions, dtype=float).reshape(config.replicas, -1, 3)
    simulation.context.setPositions(positions.reshape(-1, 3))
    relax(simulation.context)
    if config.anneal is not None:
        anneal(simulation, config.anneal, config.anneal_temperature, denoiser.conservative, config.seed)
    if velocities is None or config.anneal is not None:
        simulation.context.setVelocitiesToTemperature(simulation.integrator.getTemperature(), config.seed)
    else:
        simulation.context.setVelocities(velocities)
    files.write_topology(output, topology, positions[0])


def _advance(simulation, output, denoiser, topology, config, trajectories, limit, progress, stop):
    """Run to the end, with a checkpoint every ten frames, and where somebody ends it before."""
    total, every = round(config.duration / config.timestep), round(config.interval / config.timestep)
    append = simulation.currentStep >= every  # before the first frame, files hold nothing to go on with
    guard = Guard(output / "last_good.pdb", min(every, 50), denoiser, topology, config.guard_margin)
    guard.report(simulation, simulation.context.getState(positions=True))
    simulation.reporters.append(guard)
    simulation.reporters.extend(files.trajectory_reporters(trajectories, every, topology, append))
    columns = dict(step=True, time=True, kineticEnergy=True, temperature=True, speed=True)
    columns["potentialEnergy"] = denoiser.conservative
    columns["volume"] = columns["density"] = config.pressure is not None
    tables = [output / "state.csv"]
    # A table that was deleted begins anew, at its head.
    going_on = append and tables[0].exists()
    simulation.reporters.append(app.StateDataReporter(str(tables[0]), every, append=going_on, **columns))
    watch = None
    if limit is not None:
        tables.append(output / "spread.csv")
        watch = SpreadWatch(tables[1], every, denoiser, topology, limit, append and tables[1].exists())
        simulation.reporters.append(watch)
    written = list(simulation.reporters)
    behind = simulation.currentStep * config.timestep
    told = Progress(f"{output}", config.duration, "ps", shown=bool(progress), done=behind)
    tell = progress if callable(progress) else told.at
    tell(behind)
    steps = 1
    try:
        while simulation.currentStep < total:
            left = files.CHECKPOINT * every - simulation.currentStep % (files.CHECKPOINT * every)
            with rundirectory.held() as asked:
                begun = time.monotonic()
                guard.step(simulation, min(steps, left, total - simulation.currentStep), config.timestep)
                spent = time.monotonic() - begun
                tell(simulation.currentStep * config.timestep)
                ending = asked() or (stop is not None and stop())
                if ending or steps >= left or simulation.currentStep >= total:
                    # What the checkpoint counts on is on the disk before it.
                    rundirectory.settle(*trajectories, *tables)
                    parts = dict(positions=True, velocities=True, parameters=True, integratorParameters=True)
                    write_state(output / "checkpoint.xml", simulation.context.getState(**parts))
            if ending and stop is not None and stop():
                raise rundirectory.Interrupted(f"{output} was ended at {simulation.currentStep * config.timestep:g} ps")
            steps = max(1, min(2 * steps, round(steps * LOOK / max(spent, 1e-6))))
    finally:
        told.close()
        for reporter in written:
            # A disk that takes no more refuses what is left in a buffer too, and the error of that is none of its own.
            with contextlib.suppress(OSError, AttributeError):
                reporter._out.close()
        if watch:
            watch.finish()


def _temperature(denoiser, config):
    return denoiser.header.temperature if config.temperature is None else config.temperature


def _force_options(output, denoiser, topology, config, resume):
    """Options of `create_system`: those that the run was begun with, for a State fits no other System."""
    begun = rundirectory.asked_for(output).get("force") if resume else None
    if begun == {"backend": "auto"}:  # of version 0.1.0, whose prior was beside the learnt force then
        return {"backend": "auto", "native_prior": True}
    if begun:
        return begun
    if config.backend != "auto":
        return {"backend": config.backend}
    steps = round(config.duration / config.timestep)
    return fastest(denoiser, topology, steps, config.replicas, config.platform)


def _begun(output, config, model, denoiser, options, resume):
    """Make the directory of a run, or check that it is the one to go on with."""
    given = {**config.model_dump(mode="json"), "model": denoiser.digest(), "force": options}
    if not isinstance(model, Denoiser):  # a shipped one is known by its name
        given["model_file"] = str(Path(model).resolve() if Path(model).exists() else model)
    rundirectory.check(
        output, given, resume, (output / "checkpoint.xml").exists(),
        may_differ=lambda key, new, old: key in MAY_DIFFER,
        understood=lambda old: {**SimulationConfig().model_dump(mode="json"), "force": options, **old},
    )  # fmt: skip
    return rundirectory.begun(output, given)


def _where(platform, config, backend):
    """Options of `create_system` by which torch computes beside OpenMM, in its precision."""
    options = {"platform": platform}
    if backend in ("python", "compiled"):
        options["device"] = torch_device(platform, config.device)
    if config.precision is not None:
        options["precision"] = "double" if config.precision == "double" else "single"
    return options


def _simulation(denoiser, topology, system, config, platform, properties, done):
    integrator = openmm.LangevinMiddleIntegrator(_temperature(denoiser, config), config.friction, config.timestep)
    integrator.setRandomNumberSeed(noise_seed(config.seed, done))  # read once, when the Context is made
    threads = config.threads
    if threads is None and system.getNumParticles() <= ONE_THREAD and "OPENMM_CPU_THREADS" not in os.environ:
        threads = 1
    if threads and platform == "CPU":
        properties = properties | {"Threads": str(threads)}
    if config.platform is None and not properties:
        return app.Simulation(topology, system, integrator)
    try:
        return app.Simulation(topology, system, integrator, platform_named(platform), properties)
    except openmm.OpenMMException as error:
        if config.device is None and config.precision is None:
            raise
        asked = " and ".join(
            f"{key} {getattr(config, key)}" for key in ("device", "precision") if getattr(config, key) is not None
        )
        told = str(error).strip().splitlines()[0]
        raise ValueError(f"the platform {platform} is not to be had with {asked} ({told}): leave it out") from error
