"""GROMACS .gro files of one frame or many, at any precision, with velocities or without."""

import os
from collections.abc import Iterator
from itertools import islice

import numpy as np

from . import announced

#: Columns before the first coordinate: residue number and name, atom name and number, five each.
_START = 20


def read_gro(path: str | os.PathLike[str]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The frames of a .gro file, one at a time: positions and box vectors.

    Yields
    ------
    positions : array, shape (n_atoms, 3), nm
    vectors : array, shape (3, 3), nm, or None
        Box vectors as rows; None where the box line is all zero.

    Raises
    ------
    ValueError
        If a frame is incomplete, no .gro frame, or of other atoms than the first.
    """
    with open(path, encoding="utf-8", errors="replace") as lines:
        number, first = 0, None
        for title in lines:
            count = next(lines, "").strip()
            while not title.strip() and not count.isdigit() and count:  # blank lines between frames
                title, count = count, next(lines, "").strip()
            if not title.strip() and not count:
                continue
            where = f"frame {number} of {path}"
            atoms = announced(count, path)
            if atoms == 0:
                raise ValueError(f"{where} announces {count[:20]!r} atoms: a .gro frame has a title, then a number")
            rows = list(islice(lines, atoms))
            try:
                if len(rows) < atoms:
                    raise ValueError(f"it has {len(rows)} of {atoms} atoms")
                names = "".join(row[5:15] for row in rows)  # of residue and atom
                first = names if first is None else first
                if names != first:
                    raise ValueError("its names say other atoms than frame 0, or the same in another order")
                yield _positions(rows), _vectors(next(lines, ""))
            except ValueError as error:
                raise ValueError(
                    f"{where} cannot be read as .gro ({error}): write the file again or cut it there"
                ) from error
            number += 1
    if number == 0:
        raise ValueError(f"{path} holds no frames: give a .gro file with at least one")


def _positions(rows: list[str]) -> np.ndarray:
    # GROMACS reads the width of a coordinate from the distance of the first two decimal points.
    first = rows[0].find(".", _START)
    width = rows[0].find(".", first + 1) - first
    if first < 0 or width <= 0:
        raise ValueError(f"the row {rows[0].rstrip()!r} has no coordinates from column {_START + 1} on")
    cuts = [slice(_START + axis * width, _START + (axis + 1) * width) for axis in range(3)]
    return np.array([[float(row[cut]) for cut in cuts] for row in rows])


def _vectors(line: str) -> np.ndarray | None:
    numbers = [float(text) for text in line.split()]
    if len(numbers) not in (3, 9):
        raise ValueError(f"the box line {line.rstrip()!r} holds {len(numbers)} numbers, not 3 or 9")
    if not any(numbers):
        return None
    xx, yy, zz, xy, xz, yx, yz, zx, zy = numbers + [0.0] * (9 - len(numbers))
    return np.array([[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]])
