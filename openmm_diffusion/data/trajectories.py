"""Trajectories, read in pieces."""

import os
from collections.abc import Iterator
from typing import Any

import mdtraj
import numpy as np


def read_topology(
    path: str | os.PathLike[str], top: "str | os.PathLike[str] | mdtraj.Topology | None" = None
) -> mdtraj.Topology:
    """The topology of a trajectory."""
    if isinstance(top, mdtraj.Topology):
        return top
    return mdtraj.load_topology(str(top if top is not None else path))


def read_chunks(
    path: str | os.PathLike[str],
    top: "str | os.PathLike[str] | mdtraj.Topology | None" = None,
    atoms: np.ndarray | None = None,
    stride: int = 1,
    chunk: int = 100,
    box: Any = None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Positions (n, N, 3) float32 nm and box vectors (n, 3, 3) float64 nm, or None, of a trajectory in pieces."""
    options: dict[str, Any] = {} if top is None else {"top": top if isinstance(top, mdtraj.Topology) else str(top)}
    for part in mdtraj.iterload(str(path), chunk=chunk, stride=stride, atom_indices=atoms, **options):
        vectors = part.unitcell_vectors
        if box is not None:
            vectors = np.broadcast_to(np.asarray(box, dtype=np.float64), (len(part), 3, 3))
        yield part.xyz, None if vectors is None else vectors.astype(np.float64)
