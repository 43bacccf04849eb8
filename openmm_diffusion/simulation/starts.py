"""Where a run begins: positions of a file, in the order of the particles that are simulated."""

from pathlib import Path

import numpy as np

from ..data.frames import Frames
from ..data.sets import types_in

#: Files of frames; all others are structures or trajectories.
FRAMES = (".npz", ".xyz", ".extxyz")


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


def _counts(types):
    kinds, numbers = np.unique(types, return_counts=True)
    return ", ".join(f"{number} {kind}" for kind, number in zip(kinds, numbers))
