"""Where a run begins: positions of a file, in the order of the particles that are simulated, and rid of overlaps."""

import logging
from pathlib import Path

import numpy as np

from ..data.frames import Frames
from ..data.sets import types_in

log = logging.getLogger(__name__)

#: Files of frames; all others are structures or trajectories.
FRAMES = (".npz", ".xyz", ".extxyz")

#: Force (kJ/mol/nm) on a particle from which on a start is no start: it moves a Li ion by 0.05 nm in a step of 4 fs.
ENORMOUS = 2.0e4
#: Force that such a start is brought down to, and the way (nm) that the particle with the largest goes in each step.
ORDINARY, WAY = 1.0e3, 0.002
#: Steps after which a start is given up.
PATIENCE = 2000


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
    temperature = denoiser.header.temperature
    if Path(path).suffix.lower() in FRAMES:
        frames = Frames.load(path, temperature)
    else:
        header = denoiser.header
        types = types_in(path, None, header.species, header.elemental)
        frames = Frames.from_trajectory(path, temperature=temperature, types=types)
    wanted, found = np.array(denoiser.types_of(topology)), frames.types
    if sorted(wanted) != sorted(found):
        raise ValueError(f"start {path} holds {_counts(found)}, but the run {_counts(wanted)}: give the same particles")
    if next(topology.bonds(), None) is not None and (wanted != found).any():
        raise ValueError(f"start {path} holds the particles in another order than the model's, which have bonds")
    if len(frames) < replicas:
        raise ValueError(f"start {path} holds {len(frames)} frames for {replicas} replicas: give one for each")
    order = np.empty(len(wanted), dtype=int)
    order[np.argsort(wanted, kind="stable")] = np.argsort(found, kind="stable")
    chosen = np.linspace(0, len(frames) - 1, replicas).round().astype(int)
    return frames.positions[chosen][:, order].astype(float)


def relax(context):
    """Move the particles of a Context downhill where forces on them are `ENORMOUS`, until all are `ORDINARY`.

    A bounded descent along the forces: it needs no energy, and so serves models with a vector head too.

    Raises
    ------
    ValueError
        Where that does not help.
    """
    positions, forces = _state(context)
    begun, first = positions.copy(), _largest(forces)
    if not first > ENORMOUS:
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
    moved = np.linalg.norm(positions - begun, axis=1)
    log.warning(
        "the start had forces of up to %.3g kJ/mol/nm, which would have torn it apart: %d steps downhill moved %d "
        "particles by more than 0.01 nm, at most by %.3f nm, and left forces of up to %.3g",
        first, steps, (moved > 0.01).sum(), moved.max(), largest,
    )  # fmt: skip


def _state(context):
    state = context.getState(positions=True, forces=True)
    return state.getPositions(asNumpy=True)._value, state.getForces(asNumpy=True)._value


def _largest(forces):
    return float(np.linalg.norm(forces, axis=1).max())


def _counts(types):
    kinds, numbers = np.unique(types, return_counts=True)
    return ", ".join(f"{number} {kind}" for kind, number in zip(kinds, numbers))
