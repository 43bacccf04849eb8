"""LAMMPS dump files: positions and boxes whatever the columns are called, the atoms in the order of their ids.

The box of a dump is its bounding box, (xlo, xhi) and so on, with the tilts xy, xz, yz of a triclinic cell; the cell
has its corner at (xlo, ylo, zlo), and scaled coordinates count from there (LAMMPS manual, ``dump`` and
``Howto_triclinic``).
"""

import gzip
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from openmm import unit

from . import announced

log = logging.getLogger(__name__)

#: Length of one unit in nm for each style of LAMMPS' ``units``; lj has none.
_LENGTHS = {
    "real": 0.1,
    "metal": 0.1,
    "electron": (1 * unit.bohr).value_in_unit(unit.nanometer),
    "nano": 1.0,
    "micro": 1e3,
    "cgs": 1e7,
    "si": 1e9,
}
_COORDINATES = (("x", "y", "z"), ("xu", "yu", "zu"), ("xs", "ys", "zs"), ("xsu", "ysu", "zsu"))
_UNDERSTOOD = {"id", "type", "element", "mol", "mass"} | {name for names in _COORDINATES for name in names}


@dataclass(frozen=True)
class DumpFrame:
    """One frame of a dump, its atoms sorted by id."""

    positions: np.ndarray
    """Shape (n_atoms, 3), nm."""
    vectors: np.ndarray | None
    """Box vectors as rows, shape (3, 3), nm; None without periodicity."""
    columns: dict[str, list[str]]
    """What the other columns say: id, type, element, mol, mass."""


def read_dump(path: str | os.PathLike[str]) -> Iterator[DumpFrame]:
    """The frames of a LAMMPS dump, one at a time.

    Unscaled columns (x, xu) are taken before scaled ones (xs, xsu).  Positions keep
    their origin.  A file without ``ITEM: UNITS`` is taken to be in Angstrom, as
    ``units real`` and ``units metal`` are.

    Parameters
    ----------
    path : path-like
        Text, or compressed with gzip (.gz).

    Yields
    ------
    DumpFrame

    Raises
    ------
    ValueError
        If a frame is incomplete, periodic along some axes only, in Lennard-Jones units,
        without coordinates, or has other atoms than the first.
    """
    opened = gzip.open(path, "rt") if str(path).endswith(".gz") else open(path, encoding="utf-8", errors="replace")
    length, number, first = _LENGTHS["real"], 0, None
    with opened as lines:
        items: dict[str, list[str]] = {}
        for line in lines:
            if not line.startswith("ITEM:"):
                if line.strip():
                    raise ValueError(f"frame {number} of {path} has {line[:30]!r} where a line ITEM: is due")
                continue
            item = line[5:].strip()
            if item == "UNITS":
                length = _length(next(lines, "").strip(), path)
            elif item == "NUMBER OF ATOMS":
                items["atoms"] = [next(lines, "")]
            elif item.startswith("BOX BOUNDS"):
                items["box"] = [item[10:], *(next(lines, "") for _ in range(3))]
            elif item.startswith("ATOMS"):
                where = f"frame {number} of {path}"
                frame = _frame(item[5:].split(), items, lines, length, where, path, warn=number == 0)
                if first is None:
                    first = frame
                _check_same(first, frame, where)
                yield frame
                number, items = number + 1, {}
            else:  # TIMESTEP, TIME: a number each
                next(lines, "")
    if number == 0:
        raise ValueError(f"{path} holds no frames: give a LAMMPS dump with at least one")


def _length(style: str, path: str | os.PathLike[str]) -> float:
    if style not in _LENGTHS:
        raise ValueError(
            f"{path} is in LAMMPS units {style!r}, which give no length in nm: "
            f"give positions in units {', '.join(_LENGTHS)}"
        )
    return float(_LENGTHS[style])


def _frame(
    names: list[str],
    items: dict[str, list[str]],
    lines: Iterator[str],
    length: float,
    where: str,
    path: str | os.PathLike[str],
    warn: bool,
) -> DumpFrame:
    if set(items) != {"atoms", "box"}:
        raise ValueError(f"{where} lacks ITEM: NUMBER OF ATOMS or ITEM: BOX BOUNDS: write the dump again")
    count = items["atoms"][0].strip()
    atoms = announced(count, path)
    rows = [line.split() for line in islice(lines, atoms)]
    complete = sum(len(row) == len(names) for row in rows)
    told = count[:20] if count.isdecimal() else repr(count[:20])
    if complete < atoms or not rows:
        raise ValueError(
            f"{where} has {complete} complete rows of {len(names)} columns where {told} are announced: "
            "write the dump again or cut it there"
        )
    chosen = next((columns for columns in _COORDINATES if set(columns) <= set(names)), None)
    if chosen is None:
        raise ValueError(f"{where} has the columns {' '.join(names)}: give x y z, xu yu zu, xs ys zs or xsu ysu zsu")
    if "id" in names:
        at = names.index("id")
        if not all(row[at].isdecimal() and len(row[at]) < 19 for row in rows):
            raise ValueError(f"{where} has ids that are no whole numbers: write the dump again")
        rows.sort(key=lambda row: int(row[at]))
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    if warn:
        unknown = [name for name in names if name not in _UNDERSTOOD]
        forces = [name for name in unknown if name in ("fx", "fy", "fz")]
        if forces:
            log.warning(
                "%s: forces in columns %s are not read: write them as extended XYZ if they are labels",
                where,
                " ".join(forces),
            )
        if len(unknown) > len(forces):
            log.info("%s: columns not read: %s", where, " ".join(name for name in unknown if name not in forces))
        if "id" not in names:
            log.warning("%s has no column id: its atoms are taken in the order of the rows", where)
    try:
        positions = np.array([columns[name] for name in chosen], dtype=float).T
        cell, origin, periodic = _cell(items["box"], where)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read as a LAMMPS dump ({error}): write the dump again") from error
    if "s" in chosen[0]:
        positions = origin + positions @ cell
    others: dict[str, list[str]] = {
        name: columns[name] for name in ("id", "type", "element", "mol", "mass") if name in columns
    }
    return DumpFrame(positions * length, cell * length if periodic else None, others)


def _cell(lines: list[str], where: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Vectors as rows, origin, and whether the box is periodic, in the file's unit."""
    words = lines[0].split()
    flags = [word for word in words if len(word) == 2 and set(word) <= set("pfsm") and word != "xy"]
    numbers = np.array([line.split() for line in lines[1:]], dtype=float)
    if numbers.shape not in ((3, 2), (3, 3), (3, 4)) or not np.isfinite(numbers).all():
        raise ValueError(f"its bounds are {numbers.shape}, not three rows of two or three finite numbers")
    periodic = [flag == "pp" for flag in flags]
    if any(periodic) and not all(periodic):
        raise ValueError(f"it is periodic along some axes only ({' '.join(flags)}): give all three or none")
    if words[:1] == ["abc"]:  # general triclinic: a vector and a component of the origin on each line
        return numbers[:, :3], numbers[:, 3], all(periodic)
    xy, xz, yz = numbers[:, 2] if numbers.shape[1] == 3 else (0.0, 0.0, 0.0)
    low, high = numbers[:, 0].copy(), numbers[:, 1].copy()
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    edges = high - low
    return np.array([[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]]), low, all(periodic)


def _check_same(first: DumpFrame, frame: DumpFrame, where: str) -> None:
    for name in ("id", "type", "element"):
        if frame.columns.get(name) != first.columns.get(name) or len(frame.positions) != len(first.positions):
            raise ValueError(
                f"{where} has other atoms than frame 0 ({name}), or the same in another order without ids: "
                "dump the same atoms in every frame, with their ids"
            )
