"""Langevin runs of a model: reporters, checkpoints, guards, resume."""

import logging
import sys
from pathlib import Path
from typing import Literal

import mdtraj
import numpy as np
import openmm
import torch
import yaml
from openmm import app, unit
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat

from .denoiser import Denoiser
from .force import check_system
from .geometry import minimum_image
from .systems import create_system, electrolyte, random_positions
from .units import symbols

log = logging.getLogger(__name__)

#: How far below the data's shortest distance a pair may come (nm): no model knows its forces there.
GUARD_MARGIN = 0.03


class SimulationStopped(RuntimeError):
    """A run that left the region its model was trained on."""


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
    backend: Literal["auto", "torchscript", "python"] = "auto"
    platform: str | None = None
    seed: NonNegativeInt = 1


class Guard:
    """OpenMM reporter that stops a run before its frames are worthless.

    Parameters
    ----------
    path : path
        The last frame that passed is kept here, as PDB.
    every : int
        Steps between looks.
    shortest : array, shape (n_particles, n_particles), nm
        A pair closer than this stops the run.
    """

    def __init__(self, path, every, shortest):
        self.path, self.every, self.shortest = Path(path), every, shortest
        self.last_good = None
        self.upper = np.triu_indices(len(shortest), 1)

    def describeNextReport(self, simulation):  # noqa: N802 - OpenMM's reporter interface
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation, state):
        positions = state.getPositions(asNumpy=True)._value
        time = state.getTime()._value
        if not np.isfinite(positions).all():
            self.stop(simulation, f"positions became NaN at {time:g} ps")
        box = None
        if simulation.system.usesPeriodicBoundaryConditions():
            box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value)
        first, second = self.upper
        vectors = minimum_image(torch.from_numpy(positions[second] - positions[first]), box)
        short = vectors.norm(dim=1).numpy() - self.shortest[self.upper]
        worst = int(short.argmin())
        if short[worst] < 0:
            i, j = int(first[worst]), int(second[worst])
            names = [atom.element.symbol for atom in simulation.topology.atoms()]
            distance = short[worst] + self.shortest[i, j]
            self.stop(
                simulation,
                f"{names[i]} {i} and {names[j]} {j} came to {distance:.3f} nm of each other at {time:g} ps, "
                f"closer than the {self.shortest[i, j]:.3f} nm that the data support",
            )
        self.last_good = positions

    def stop(self, simulation, what):
        """Keep the last good frame and raise."""
        kept = "no frame before it was good"
        if self.last_good is not None:
            with open(self.path, "w") as file:
                app.PDBFile.writeFile(simulation.topology, self.last_good * unit.nanometer, file)
            kept = f"the last good frame is in {self.path}"
        raise SimulationStopped(f"{what}; {kept}: use a shorter time step, other start positions or more training data")


def simulate(model, output, config=None, resume=False, positions=None, progress=True):
    """Run Langevin dynamics under a model.

    The output directory receives topology.pdb, trajectory.dcd (or .xtc), state.csv
    (time, energies, temperature, speed), checkpoint.xml and config.yaml.

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
        If a pair came closer than the data's shortest distance less 0.03 nm, or positions became NaN.
    ValueError
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    config = SimulationConfig.model_validate(config or {}) if not isinstance(config, SimulationConfig) else config
    output = Path(output)
    topology = _topology(denoiser, config)
    warn_of_conditions(denoiser, topology, config)
    every = round(config.interval / config.timestep)
    if every < 1 or abs(every * config.timestep - config.interval) > 1e-6 * config.interval:
        raise ValueError(f"interval is {config.interval:g} ps: give a multiple of timestep, {config.timestep:g} ps")
    checkpoint = output / "checkpoint.xml"
    _begin(output, config, resume)
    system = create_system(denoiser, topology, backend=config.backend)
    check_system(system)
    simulation = _simulation(denoiser, topology, system, config)
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
    simulation.reporters.append(Guard(output / "last_good.pdb", min(every, 50), _shortest(denoiser, topology)))
    simulation.reporters.append(writer(str(trajectory), every, append=append, enforcePeriodicBox=True))
    columns = dict(step=True, time=True, kineticEnergy=True, temperature=True, speed=True)
    columns["potentialEnergy"] = denoiser.conservative
    simulation.reporters.append(app.StateDataReporter(str(output / "state.csv"), every, append=append, **columns))
    if progress:
        simulation.reporters.append(
            app.StateDataReporter(
                sys.stdout, max(every, total // 20), totalSteps=total, progress=True, time=True, temperature=True,
                speed=True, remainingTime=True,
            )
        )  # fmt: skip
    while simulation.currentStep < total:
        simulation.step(min(10 * every - simulation.currentStep % (10 * every), total - simulation.currentStep))
        partial = checkpoint.with_suffix(".partial")
        simulation.saveState(str(partial))
        partial.replace(checkpoint)
    return trajectory


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


def _begin(output, config, resume):
    """Make the directory of a run, or check that it is the one to go on with."""
    settings = output / "config.yaml"
    if settings.exists() and not resume:
        raise ValueError(f"output {output} holds a run already: resume it (--resume), or name another directory")
    if settings.exists():
        begun = yaml.safe_load(settings.read_text())
        asked = config.model_dump(mode="json")
        changed = [key for key in asked if key not in ("duration", "platform") and asked[key] != begun.get(key)]
        if changed:
            raise ValueError(
                f"{changed[0]} is {asked[changed[0]]}, but the run in {output} was begun with {begun.get(changed[0])}: "
                "resume it with the same settings (the duration may grow)"
            )
    output.mkdir(parents=True, exist_ok=True)
    settings.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _simulation(denoiser, topology, system, config):
    temperature = denoiser.header.temperature if config.temperature is None else config.temperature
    integrator = openmm.LangevinMiddleIntegrator(temperature, config.friction, config.timestep)
    integrator.setRandomNumberSeed(config.seed)
    if config.platform is None:
        return app.Simulation(topology, system, integrator)
    names = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if config.platform not in names:
        raise ValueError(f"platform is {config.platform!r}: OpenMM has {', '.join(names)} on this machine")
    return app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName(config.platform))


def _shortest(denoiser, topology):
    """Shortest distance allowed for every pair of particles (nm); 0 where the data have no such pair."""
    index = denoiser.species_index([atom.element.atomic_number for atom in topology.atoms()]).numpy()
    distances = np.array([[d or 0.0 for d in row] for row in denoiser.header.shortest_distances])
    return np.maximum(distances - GUARD_MARGIN, 0.0)[np.ix_(index, index)]


def _truncate(trajectory, topology, output, n_frames):
    """Drop the frames and rows that were written after the checkpoint: they will be written again."""
    if trajectory.exists():
        frames = mdtraj.load(str(trajectory), top=str(output / "topology.pdb"))
        if len(frames) > n_frames:
            partial = trajectory.with_name(f"partial{trajectory.suffix}")
            frames[:n_frames].save(str(partial))
            partial.replace(trajectory)
    table = output / "state.csv"
    if table.exists():
        table.write_text("".join(table.read_text().splitlines(keepends=True)[: n_frames + 1]))
