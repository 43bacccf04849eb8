"""The extended XYZ text format: its frames as arrays, in the file's own units (Angstrom, eV/Angstrom)."""

import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from openmm.app.element import Element

_KEY_VALUE = re.compile(r"""([\w-]+)=("[^"]*"|'[^']*'|\S+)""")


def read_extxyz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All frames of an extended XYZ file.

    The comment line of each frame names its columns (``Properties=species:S:1:pos:R:3:forces:R:3``,
    in any order, others are skipped) and its cell (``Lattice="..."``, three vectors
    one after the other).  Two keys of ours are read as well: ``replica`` and
    ``temperature``.  Plain XYZ is the special case without keys.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        positions : array, shape (n_frames, n_particles, 3), Angstrom;
        species : array, shape (n_particles,), atomic numbers;
        cell : array, shape (n_frames, 3, 3), Angstrom, or None;
        pbc : array, shape (n_frames, 3), dtype bool, or None;
        forces : array like positions, eV/Angstrom, NaN in frames without, or None;
        temperature : array, shape (n_frames,), K, or None;
        replica : array, shape (n_frames,), integers, or None.

    Raises
    ------
    ValueError
        If a frame is incomplete or not XYZ, or the frames differ in their atoms.
    """
    frames: list[dict[str, Any]] = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                frames.append(_read_frame(line.strip(), lines, f"frame {len(frames)} of {path}"))
    if not frames:
        raise ValueError(f"{path} holds no frames: give an extended XYZ file with at least one")
    for number, frame in enumerate(frames):
        if not np.array_equal(frame["species"], frames[0]["species"]):
            raise ValueError(
                f"frame {number} of {path} has other atoms than frame 0, or the same in another order: "
                "give one system per file, its atoms always in the same order"
            )
    if any("forces" in frame for frame in frames):
        for frame in frames:
            frame.setdefault("forces", np.full_like(frame["positions"], np.nan))
    keys = ("positions", "cell", "pbc", "forces", "temperature", "replica")
    columns = {key: _stack(frames, key, path) for key in keys}
    return columns | {"species": frames[0]["species"]}


def _read_frame(count: str, lines: Iterator[str], where: str) -> dict[str, Any]:
    """One frame as a dict; `count` is its first line, `lines` is left at the line after it."""
    if not count.isdigit() or int(count) == 0:
        raise ValueError(f"{where} starts with {count[:40]!r}: an XYZ frame starts with its number of atoms")
    header = {key.lower(): value.strip("\"'") for key, value in _KEY_VALUE.findall(next(lines, ""))}
    rows = [next(lines, "").split() for _ in range(int(count))]
    try:
        fields = header.get("properties", "species:S:1:pos:R:3").split(":")
        ends = np.cumsum([int(width) for width in fields[2::3]])
        columns = {
            name.lower(): slice(end - int(width), end)
            for name, width, end in zip(fields[::3], fields[2::3], ends, strict=True)
        }
        complete = sum(len(row) >= ends[-1] for row in rows)
        if complete < len(rows):
            raise ValueError(f"has {complete} complete rows of {ends[-1]} columns where {len(rows)} are announced")
        element = next((columns[name] for name in ("species", "z", "element") if name in columns), None)
        if element is None or "pos" not in columns:
            raise ValueError("has no columns species and pos among its Properties")
        frame: dict[str, Any] = {
            "species": np.array([_atomic_number(row[element][0]) for row in rows]),
            "positions": _numbers(rows, columns["pos"]),
        }
        forces = columns.get("forces", columns.get("force"))
        if forces is not None:
            frame["forces"] = _numbers(rows, forces)
        if "lattice" in header:
            frame["cell"] = np.array(header["lattice"].split(), dtype=float).reshape(3, 3)
        if "pbc" in header:
            frame["pbc"] = np.array([flag.upper() in ("T", "TRUE", "1") for flag in header["pbc"].split()])
        if "temperature" in header:
            frame["temperature"] = float(header["temperature"])
        if "replica" in header:
            frame["replica"] = int(header["replica"])
    except ValueError as error:
        raise ValueError(
            f"{where} cannot be read as extended XYZ ({error}): write the file again or cut it there"
        ) from error
    return frame


def _numbers(rows: list[list[str]], columns: slice) -> np.ndarray:
    return np.array([row[columns] for row in rows], dtype=float).reshape(len(rows), 3)


def _atomic_number(name: str) -> int:
    if name.isdigit():
        return int(name)
    try:
        return Element.getBySymbol(name).atomic_number
    except KeyError:
        raise ValueError(f"{name!r} is no element symbol") from None


def _stack(frames: list[dict[str, Any]], key: str, path: str | os.PathLike[str]) -> np.ndarray | None:
    present = [frame[key] for frame in frames if key in frame]
    if not present:
        return None
    if len(present) < len(frames):
        raise ValueError(
            f"{path} gives {key} in {len(present)} of {len(frames)} frames: give it in all of them or in none"
        )
    return np.stack(present)
