"""HOOMD's GSD files, through the package gsd: mdtraj transposes their triclinic boxes."""

import os
from collections.abc import Iterator

import numpy as np


def read_gsd(path: str | os.PathLike[str], stride: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Every stride-th frame of a GSD file, one at a time, in the file's own unit, which is taken to be nm.

    Yields
    ------
    positions : array, shape (n_particles, 3), nm
    vectors : array, shape (3, 3), nm, or None
        Box vectors as rows.
    """
    import gsd.hoomd

    with gsd.hoomd.open(path, "r") as frames:
        for number in range(0, len(frames), stride):
            frame = frames[number]
            if frame.configuration.dimensions == 2:
                raise ValueError(f"{path} is two-dimensional: give a trajectory in three dimensions")
            x, y, z, xy, xz, yz = np.asarray(frame.configuration.box, dtype=np.float64)
            vectors = np.array([[x, 0, 0], [xy * y, y, 0], [xz * z, yz * z, z]])
            yield np.asarray(frame.particles.position, dtype=np.float64), vectors if vectors.any() else None
