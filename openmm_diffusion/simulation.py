"""Langevin runs of a model: reporters, checkpoints, guards, resume."""

import logging
import sys
from pathlib import Path
from typing import Literal

import mdtraj
import numpy as np
import openmm
import yaml
from openmm import app, unit
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from .combination import members
from .config import read_yaml, validated
from .denoiser import Denoiser
from .force import check_system
from .guard import Guard, SpreadWatch, closest_allowed
from .systems import create_system, electrolyte, random_positions
from .units import symbols

log = logging.getLogger(__name__)


class SimulationConfig(BaseModel):
    """A run.

    Attributes
    ----------
    duration, interval, timestep : float, ps
        Length of the run, time between saved frames, time step.
    temperature : float, K, or None
        Of the thermostat; None: that of the training data.
    friction : float, 1/ps
    composition : dict of str to int, or None
        Number of each element; None: as in the training data.
    molarity, edge : float, mol/L or nm, or None
        Fix the cubic box; both None: the box of the training data.
    format : "dcd" or "xtc"
    backend, platform : str or None
        Of `DiffusionForce`, and of OpenMM (None: its fastest).
    threads : int or None
        Of the CPU platform; None: OpenMM's choice.
    spread_limit : float, kJ/mol/nm, or None
        Of an ensemble: where its members' forces on a particle differ by more (standard deviation),
        the run says so.  None: the largest spread on the training frames, if the model knows it.
    seed : int
        Of placement, velocities and thermostat.
    """

    model_config = ConfigDict(extra="forbid")

    duration: PositiveFloat = 100.0
    interval: PositiveFloat = 0.5
    timestep: PositiveFloat = 0.004
    temperature: PositiveFloat | None = None
    friction: PositiveFloat = 2.0
    composition: dict[str, int] | None = None
    molarity: PositiveFloat | None = None
    edge: PositiveFloat | None = None
    format: Literal["dcd", "xtc"] = "dcd"
    backend: Literal["auto", "torchscript", "python", "native"] = "auto"
    platform: str | None = None
    threads: PositiveInt | None = None
    spread_limit: PositiveFloat | None = None
    seed: NonNegativeInt = 1


def simulate(model, output, config=None, resume=False, positions=None, progress=True):
    """Run Langevin dynamics under a model.

    The output directory receives topology.pdb, trajectory.dcd (or .xtc), state.csv
    (time, energies, temperature, speed), checkpoint.xml and config.yaml; of an ensemble,
    spread.csv too.

    Parameters
    ----------
    model : path or Denoiser
    output : path
    config : SimulationConfig, dict or None
    resume : bool
        Go on from the checkpoint in `output`: nothing is lost but what follows it.
    positions : array, shape (n_particles, 3), nm, optional
        Start; None: random places.
    progress : bool
        Report progress, speed (ns/day) and remaining time on standard output.

    Returns
    -------
    Path
        Of the trajectory.

    Raises
    ------
    SimulationStopped
        If a pair came closer than the data's shortest distance less 0.04 nm (6 sigma, where that is
        more), or positions became NaN.
    ValueError
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if not isinstance(config, SimulationConfig):
        values = read_yaml(config) if isinstance(config, (str, Path)) else config or {}
        config = validated(SimulationConfig, values, "config")
    output = Path(output)
    topology = _topology(denoiser, config)
    warn_of_conditions(denoiser, topology, config)
    every = round(config.interval / config.timestep)
    if every < 1 or abs(every * config.timestep - config.interval) > 1e-6 * config.interval:
        raise ValueError(f"interval is {config.interval:g} ps: give a multiple of timestep, {config.timestep:g} ps")
    if config.duration < config.interval:
        raise ValueError(f"duration is {config.duration:g} ps, shorter than interval, {config.interval:g} ps: no frame")
    if positions is not None and np.shape(positions) != (topology.getNumAtoms(), 3):
        expected = (topology.getNumAtoms(), 3)
        raise ValueError(f"positions have shape {np.shape(positions)}: give {expected}, one row per particle, in nm")
    system = create_system(denoiser, topology, backend=config.backend)
    check_system(system)
    limit = _spread_limit(denoiser, config)
    simulation = _simulation(denoiser, topology, system, config)
    checkpoint = output / "checkpoint.xml"
    _begin(output, config, denoiser, resume)
    done = 0
    trajectory = output / f"trajectory.{config.format}"
    if resume and checkpoint.exists():
        simulation.loadState(str(checkpoint))
        done = simulation.currentStep = round(simulation.context.getState().getTime()._value / config.timestep)
        # The streams of random numbers are not part of a State: go on with new ones.
        simulation.integrator.setRandomNumberSeed(config.seed + done)
        _truncate(trajectory, topology, output, done // every)
        log.info("resumed at %.1f ps", done * config.timestep)
    else:
        start = random_positions(denoiser, topology, config.seed) if positions is None else positions
        simulation.context.setPositions(np.asarray(start))
        simulation.context.setVelocitiesToTemperature(simulation.integrator.getTemperature(), config.seed)
        with open(output / "topology.pdb", "w") as file:
            app.PDBFile.writeFile(topology, np.asarray(start) * unit.nanometer, file)
    total = round(config.duration / config.timestep)
    append = done > 0
    writer = app.DCDReporter if config.format == "dcd" else app.XTCReporter
    index = denoiser.species_index([atom.element.atomic_number for atom in topology.atoms()]).numpy()
    guard = Guard(output / "last_good.pdb", min(every, 50), closest_allowed(denoiser), index, topology)
    guard.report(simulation, simulation.context.getState(positions=True))
    simulation.reporters.append(guard)
    simulation.reporters.append(writer(str(trajectory), every, append=append, enforcePeriodicBox=True))
    columns = dict(step=True, time=True, kineticEnergy=True, temperature=True, speed=True)
    columns["potentialEnergy"] = denoiser.conservative
    simulation.reporters.append(app.StateDataReporter(str(output / "state.csv"), every, append=append, **columns))
    watch = None
    if limit is not None:
        watch = SpreadWatch(output / "spread.csv", every, denoiser, topology, limit, append)
        simulation.reporters.append(watch)
    if progress:
        simulation.reporters.append(
            app.StateDataReporter(
                sys.stdout, max(every, total // 20), totalSteps=total, progress=True, time=True, temperature=True,
                speed=True, remainingTime=True,
            )
        )  # fmt: skip
    try:
        while simulation.currentStep < total:
            try:
                simulation.step(min(10 * every - simulation.currentStep % (10 * every), total - simulation.currentStep))
            except openmm.OpenMMException as error:
                if "NaN" not in str(error):
                    raise
                guard.stop(f"positions became NaN after {simulation.currentStep * config.timestep:g} ps")
            partial = checkpoint.with_suffix(".partial")
            simulation.saveState(str(partial))
            partial.replace(checkpoint)
    finally:
        if watch:
            watch.finish()
    return trajectory


def _spread_limit(denoiser, config):
    """From which spread of an ensemble to warn (kJ/mol/nm), infinite where nobody says; None for other models."""
    if not members(denoiser):
        if config.spread_limit is not None:
            raise ValueError("spread_limit is given, but the model is no ensemble: leave it out")
        return None
    return config.spread_limit or denoiser.header.held_out.get("spread_largest", np.inf)


def warn_of_conditions(denoiser, topology, config):
    """Log a warning where temperature or density are not those the model was trained at."""
    header = denoiser.header
    if config.temperature is not None and abs(config.temperature - header.temperature) > 0.5:
        log.warning(
            "temperature is %g K, but the model was trained on data at %g K: its forces are those of that "
            "temperature; use %g K, or data at %g K",
            config.temperature, header.temperature, header.temperature, config.temperature,
        )  # fmt: skip
    box = topology.getPeriodicBoxVectors()
    if box is not None and header.number_density:
        volume = float(np.linalg.det(np.array(box.value_in_unit(unit.nanometer), dtype=float)))
        density = topology.getNumAtoms() / volume
        if abs(density / header.number_density - 1) > 0.2:
            log.warning(
                "density is %.3g particles/nm^3, more than 20 %% off the data's %.3g: coarse-grained forces hold "
                "at the density they were learnt at; change the box or the number of ions",
                density, header.number_density,
            )  # fmt: skip


def _topology(denoiser, config):
    header = denoiser.header
    names = symbols(header.particles)
    composition = config.composition or {s: names.count(s) for s in dict.fromkeys(names)}
    edge = config.edge
    if edge is None and config.molarity is None:
        if header.box is None:
            raise ValueError("edge is missing: the model was trained without a box, so give the edge of one in nm")
        volume = float(np.linalg.det(np.array(header.box)))
        edge = (volume * sum(composition.values()) / len(header.particles)) ** (1 / 3)
    return electrolyte(composition, edge=edge, molarity=config.molarity)


def _begin(output, config, denoiser, resume):
    """Make the directory of a run, or check that it is the one to go on with."""
    settings = output / "config.yaml"
    given = {**config.model_dump(mode="json"), "model": denoiser.digest()}
    if (output / "checkpoint.xml").exists() and not resume:
        raise ValueError(f"output {output} holds a run already: resume it (--resume), or name another directory")
    if settings.exists():
        begun = yaml.safe_load(settings.read_text())
        changed = [
            key for key in given if key not in ("duration", "platform", "threads") and given[key] != begun.get(key)
        ]
        if changed and (output / "checkpoint.xml").exists():
            raise ValueError(
                f"{changed[0]} is {given[changed[0]]}, but the run in {output} was begun with {begun.get(changed[0])}: "
                "resume it with the same settings (the duration may grow)"
            )
    output.mkdir(parents=True, exist_ok=True)
    settings.write_text(yaml.safe_dump(given, sort_keys=False))


def _simulation(denoiser, topology, system, config):
    temperature = denoiser.header.temperature if config.temperature is None else config.temperature
    integrator = openmm.LangevinMiddleIntegrator(temperature, config.friction, config.timestep)
    integrator.setRandomNumberSeed(config.seed)
    if config.platform is None:
        return app.Simulation(topology, system, integrator)
    names = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if config.platform not in names:
        raise ValueError(f"platform is {config.platform!r}: OpenMM has {', '.join(names)} on this machine")
    properties = {"Threads": str(config.threads)} if config.threads and config.platform == "CPU" else {}
    platform = openmm.Platform.getPlatformByName(config.platform)
    return app.Simulation(topology, system, integrator, platform, properties)


def _truncate(trajectory, topology, output, n_frames):
    """Drop the frames and rows that were written after the checkpoint: they will be written again."""
    if trajectory.exists() and n_frames:
        frames = mdtraj.load(str(trajectory), top=str(output / "topology.pdb"))
        if len(frames) > n_frames:
            partial = trajectory.with_name(f"partial{trajectory.suffix}")
            frames[:n_frames].save(str(partial))
            partial.replace(trajectory)
    for table in (output / "state.csv", output / "spread.csv"):
        if not table.exists():
            continue
        table.write_text("".join(table.read_text().splitlines(keepends=True)[: n_frames + 1]))
