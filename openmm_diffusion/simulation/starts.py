"""Where a run begins: its particles and their positions, in one order, rid of overlaps, heated and cooled."""

import copy
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
from openmm import unit

from ..data.frames import Frames
from ..data.sets import types_in
from ..particles import check_topology
from ..systems.topologies import topology_like
from ..units import array
from .states import read_state

log = logging.getLogger(__name__)

#: Files of frames, and structures that say themselves what their atoms are; all others are trajectories.
FRAMES = (".npz", ".xyz", ".extxyz")
STRUCTURES = (".pdb", ".ent", ".gro", ".cif", ".mmcif", ".pdbx")

#: Force (kJ/mol/nm) on a particle from which on a start is no start: it moves a Li ion by 0.05 nm in a step of 4 fs.
ENORMOUS = 2.0e4
#: Force that such a start is brought down to, and the way (nm) that the particle with the largest goes in each step.
ORDINARY, WAY = 1.0e3, 0.002
#: Steps after which a start is given up.
PATIENCE = 2000

#: Annealing: times the temperature of the run that it begins at, stages of cooling, part of the time step.
HOT, STAGES, SHORT = 2.0, 20, 0.5
#: kJ/mol/nm, rms force at which a minimiser stops, and its most steps.
CALM, MOST_STEPS = 10.0, 1000


class Start(NamedTuple):
    """What a run is of, and where it begins."""

    topology: Any
    """openmm.app.Topology of one replica, box and all."""
    positions: np.ndarray | None
    """Shape (n_replicas, n_particles, 3), nm; None: random places."""
    velocities: np.ndarray | None
    """Shape (n_replicas n_particles, 3), nm/ps; None: drawn."""


def start_of(denoiser, config, topology=None, positions=None):
    """Particles, box and first positions of a run, from all that may say so.

    Parameters
    ----------
    denoiser : Denoiser
    config : SimulationConfig
    topology : openmm.app.Topology, optional
    positions : array, shape (n_particles, 3) or (n_replicas, n_particles, 3), nm, optional

    Returns
    -------
    Start

    Raises
    ------
    ValueError
        Where two say it, or particles, boxes and numbers do not fit.
    """
    _refuse_two(
        ("positions are given", positions), (f"start is {config.start}", config.start),
        (f"state is {config.state}", config.state),
    )  # fmt: skip
    whole = ("topology is given", topology), (f"top is {config.top}", config.top)
    _refuse_two(*whole)
    for key in ("composition", "molarity"):
        _refuse_two(*whole, (f"{key} is {getattr(config, key)}", getattr(config, key)))
    if config.box is not None:
        for key in ("edge", "molarity"):
            _refuse_two(("box is given", config.box), (f"{key} is {getattr(config, key)}", getattr(config, key)))
    if config.anneal_temperature is not None and config.anneal is None:
        raise ValueError(
            f"anneal_temperature is {config.anneal_temperature:g} K, but anneal is missing: give its length in ps"
        )
    velocities = None
    if config.top is not None:
        places = None if config.start is None else config.start
        topology, found = _read_top(config.top, places, denoiser, config.replicas, positions is None)
        positions = found if positions is None and config.state is None else positions
    elif topology is None:
        edge = config.edge if config.box is None else float(np.prod(config.box) ** (1 / 3))
        topology = topology_like(denoiser, config.composition, edge=edge, molarity=config.molarity)
        if config.box is not None:
            topology.setPeriodicBoxVectors(np.diag(config.box) * unit.nanometer)
    else:
        check_topology(topology)
    if config.top is not None or whole[0][1] is not None:
        topology = _boxed(topology, denoiser, config)
    if config.start is not None and config.top is None:
        positions = read_start(config.start, denoiser, topology, config.replicas)
    if config.state is not None:
        topology, positions, velocities = _read_state(config, topology)
    if positions is not None:
        positions = _checked(positions, topology, config.replicas)
    return Start(topology, positions, velocities)


def _refuse_two(*said):
    given = [sentence for sentence, value in said if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)}: leave one of them out")


def _checked(positions, topology, replicas):
    """Positions of shape (n_replicas, n_particles, 3), nm."""
    n = topology.getNumAtoms()
    expected = (n, 3) if replicas == 1 else (replicas, n, 3)
    positions = array(positions, unit.nanometer, "positions")
    if positions.shape not in (expected, (replicas, n, 3)):
        raise ValueError(f"positions have shape {positions.shape}: give {expected}, one row per particle, in nm")
    positions = positions.reshape(replicas, n, 3)
    if any(len(np.unique(one, axis=0)) < len(one) for one in positions):
        raise ValueError("positions put two particles at one place: give places apart from each other, in nm")
    return positions


def _boxed(topology, denoiser, config):
    """A topology of a user's own, with the edge that was asked for where it has no box."""
    box, name = topology.getPeriodicBoxVectors(), "topology" if config.top is None else f"top {config.top}"
    if box is not None and config.edge is not None:
        raise ValueError(f"edge is {config.edge:g} nm, but {name} has a box: leave edge out")
    if box is not None and config.box is not None:
        raise ValueError(f"box is {config.box} nm, but {name} has a box: leave one of them out")
    if box is None and config.edge is None and config.box is None and denoiser.header.box is not None:
        raise ValueError(f"{name} has no box, but the model was trained in one: give edge (nm), or a file with a box")
    if config.edge is not None or config.box is not None:
        topology = copy.deepcopy(topology)
        edges = [config.edge] * 3 if config.box is None else config.box
        topology.setPeriodicBoxVectors(np.diag(edges) * unit.nanometer)
    return topology


def _read_top(top, start, denoiser, replicas, wanted):
    """Topology of a file, box of the positions if they have one, and positions (None where they are not `wanted`)."""
    own = start is None or Path(start).suffix.lower() in (*FRAMES, *STRUCTURES)
    what = _frames(top, None, denoiser) if own else _frames(start, top, denoiser)
    where = what if start is None or not own else _frames(start, None, denoiser)
    topology = what[:1].topology()
    denoiser.species_index(what.types)  # refuses types that the model does not know
    positions, chosen = None, np.array([0])
    if wanted:
        chosen, order = _matched(top if start is None else start, where, what.types, what.bonds is not None, replicas)
        positions = where.positions[chosen][:, order].astype(float)
    if where.boxes is not None:
        boxes = np.broadcast_to(where.boxes, (len(where), 3, 3))[chosen]
        if not np.allclose(boxes, boxes[0], atol=1e-4):
            raise ValueError(f"start {start or top} has frames in other boxes, but replicas share one: give one frame")
        if what.boxes is not None and not np.allclose(boxes[0], what.boxes[0], atol=1e-4):
            log.info("the box is that of %s, not that of %s", start, top)
        topology.setPeriodicBoxVectors(boxes[0] * unit.nanometer)
    return topology, positions


def _read_state(config, topology):
    """Topology in the box of a State, its positions, and velocities where it has some."""
    state = read_state(config.state, given=True)
    positions = state.getPositions(asNumpy=True)._value
    expected = config.replicas * topology.getNumAtoms()
    if len(positions) != expected:
        raise ValueError(f"state {config.state} holds {len(positions)} particles, but the run {expected}")
    try:
        velocities = state.getVelocities(asNumpy=True)._value
    except openmm.OpenMMException:
        velocities = None
    if topology.getPeriodicBoxVectors() is not None:
        topology = copy.deepcopy(topology)
        topology.setPeriodicBoxVectors(state.getPeriodicBoxVectors())
    log.info(
        "positions%s are those of %s, at %g ps there; time begins anew",
        "" if velocities is None else " and velocities", config.state, state.getTime()._value,
    )  # fmt: skip
    return topology, positions.reshape(config.replicas, -1, 3), velocities


def _frames(path, top, denoiser):
    """Frames of a file, with types as the model calls them."""
    header = denoiser.header
    if top is None and Path(path).suffix.lower() in FRAMES:
        try:  # a start may be of another temperature than the run
            return Frames.load(path)
        except ValueError:  # or of none that it tells
            return Frames.load(path, header.temperature)
    types = types_in(path, top, header.species, header.elemental)
    return Frames.from_trajectory(path, top=top, temperature=header.temperature, types=types)


def read_start(path, denoiser, topology, replicas=1):
    """Positions of a file for the particles of a topology.

    Particles without bonds are put into the order of the topology, type by type; those with bonds
    must come in its order.

    Parameters
    ----------
    path : path
        Frames (.npz, .xyz) or anything that `Frames.from_trajectory` reads without a topology.
    denoiser : Denoiser
    topology : openmm.app.Topology
    replicas : int
        Frames to take, evenly over the file.

    Returns
    -------
    array, shape (n_replicas, n_particles, 3), nm

    Raises
    ------
    ValueError
        For other particles, or fewer frames than replicas.
    """
    frames, wanted = _frames(path, None, denoiser), np.array(denoiser.types_of(topology))
    chosen, order = _matched(path, frames, wanted, next(topology.bonds(), None) is not None, replicas)
    return frames.positions[chosen][:, order].astype(float)


def _matched(path, frames, wanted, bonded, replicas):
    """Which frames of a file are taken, and its particles in the order of the types that are wanted."""
    wanted, found = np.asarray(wanted), frames.types
    if sorted(wanted) != sorted(found):
        raise ValueError(f"start {path} holds {_counts(found)}, but the run {_counts(wanted)}: give the same particles")
    if bonded and (wanted != found).any():
        raise ValueError(f"start {path} holds the particles in another order than the model's, which have bonds")
    if len(frames) < replicas:
        raise ValueError(f"start {path} holds {len(frames)} frames for {replicas} replicas: give one for each")
    order = np.empty(len(wanted), dtype=int)
    order[np.argsort(wanted, kind="stable")] = np.argsort(found, kind="stable")
    return np.linspace(0, len(frames) - 1, replicas).round().astype(int), order


def relax(context, above=ENORMOUS):
    """Move the particles of a Context downhill where forces on them are above a size, until all are `ORDINARY`.

    A bounded descent along the forces: it needs no energy, and so serves models with a vector head too.

    Raises
    ------
    ValueError
        Where that does not help.
    """
    positions, forces = _state(context)
    begun, first = positions.copy(), _largest(forces)
    if not first > above:
        return
    steps, largest = 0, first
    while largest > ORDINARY and steps < PATIENCE:
        context.setPositions(positions + WAY / largest * forces)
        positions, forces = _state(context)
        steps, largest = steps + 1, _largest(forces)
    if not largest <= ORDINARY:
        raise ValueError(
            f"the start has forces of up to {first:.3g} kJ/mol/nm, and {PATIENCE} steps downhill left {largest:.3g}: "
            "give another start"
        )
    moved, why = np.linalg.norm(positions - begun, axis=1), "to be annealed"
    if first > ENORMOUS:
        why = "which would have torn it apart"
    log.warning(
        "the start had forces of up to %.3g kJ/mol/nm, %s: %d steps downhill moved %d "
        "particles by more than 0.01 nm, at most by %.3f nm, and left forces of up to %.3g",
        first, why, steps, (moved > 0.01).sum(), moved.max(), largest,
    )  # fmt: skip


def anneal(simulation, duration, hottest=None, conservative=True, seed=0):
    """Improve a bad start: downhill, then heated and cooled; time and steps begin anew behind it.

    Energies are minimised; forces without an energy are followed downhill (see `relax`).  Then the thermostat goes
    from `hottest` down to its temperature in `STAGES` equal steps, with `SHORT` of the time step.  The log tells it.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        With a Langevin integrator.
    duration : float, ps
    hottest : float, K, optional
        None: `HOT` times the temperature of the integrator.
    conservative : bool
        Whether forces have an energy.
    seed : int
        Of the velocities.

    Raises
    ------
    ValueError
        If positions become NaN.
    """
    context, integrator = simulation.context, simulation.integrator
    temperature, timestep = integrator.getTemperature()._value, integrator.getStepSize()._value
    hottest = HOT * temperature if hottest is None else hottest
    relax(context)
    if conservative:
        before = context.getState(energy=True).getPotentialEnergy()._value
        openmm.LocalEnergyMinimizer.minimize(context, CALM, MOST_STEPS)
        after = context.getState(energy=True).getPotentialEnergy()._value
        done = f"minimised from {before:.6g} to {after:.6g} kJ/mol"
    else:
        relax(context, ORDINARY)
        done = "moved downhill along forces that have no energy"
    integrator.setStepSize(SHORT * timestep)
    steps = max(1, round(duration / (STAGES * SHORT * timestep)))
    context.setVelocitiesToTemperature(hottest, seed)
    for kelvin in np.linspace(hottest, temperature, STAGES):
        _set_temperature(context, kelvin)
        try:
            integrator.step(steps)
            lost = not np.isfinite(_state(context)[0]).all()
        except openmm.OpenMMException as error:
            if "NaN" not in str(error):
                raise
            lost = True
        if lost:
            raise ValueError(
                f"anneal is {duration:g} ps, but at {kelvin:.0f} K positions became NaN: lower anneal_temperature, "
                f"{hottest:g} K, or timestep, {timestep:g} ps, or give another start"
            )
    integrator.setStepSize(timestep)
    _set_temperature(context, temperature)
    context.setTime(0)
    simulation.currentStep = 0
    log.info(
        "the start was annealed: %s, then cooled from %g to %g K in %d stages, %g ps; largest force %.3g kJ/mol/nm",
        done, hottest, temperature, STAGES, STAGES * steps * SHORT * timestep, _largest(_state(context)[1]),
    )  # fmt: skip


def _set_temperature(context, kelvin):
    """Temperature (K) of the thermostat, and of a barostat beside it."""
    context.getIntegrator().setTemperature(kelvin)
    if openmm.MonteCarloBarostat.Temperature() in context.getParameters():
        context.setParameter(openmm.MonteCarloBarostat.Temperature(), kelvin)


def _state(context):
    state = context.getState(positions=True, forces=True)
    return state.getPositions(asNumpy=True)._value, state.getForces(asNumpy=True)._value


def _largest(forces):
    return float(np.linalg.norm(forces, axis=1).max())


def _counts(types):
    kinds, numbers = np.unique(types, return_counts=True)
    return ", ".join(f"{number} {kind}" for kind, number in zip(kinds, numbers))
