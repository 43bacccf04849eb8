"""Archives of arrays (npz) by the names that their writers use: our own, NequIP's, ASE's, sGDML's and MD17's."""

import logging
import math
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ...units import shown
from ..elements import atomic_number
from .cells import flags, vectors
from .labels import energy_unit, forces_name, length_unit, name_unread

log = logging.getLogger(__name__)

#: Number of the form of native files: the one written, and the newest read; an older file lacks this key.
FORMAT = 2
_NATIVE = {
    "positions", "atomic_numbers", "types", "bonds", "masses", "box", "temperature", "forces", "bias_forces", "replica",
    "format",
}  # fmt: skip
_POSITIONS = ("R", "pos", "positions", "coords", "coordinates", "coord")
_NUMBERS = ("z", "Z", "numbers", "atomic_numbers", "nuclear_charges", "species", "symbols", "elements")
_CELLS = ("cell", "Cell", "lattice", "lattices", "Lattice", "unit_cell", "cells", "box")
_PBC = ("pbc", "PBC", "periodic")
_UNITS = {"r_unit": "r_unit", "e_unit": "e_unit", "length_unit": "r_unit", "energy_unit": "e_unit"}
#: Arrays that only data sets in kcal/mol or in Hartree have, which name no unit or name it as the keys of sGDML do.
_NOT_ELECTRONVOLT = {"theory", "md5", "nuclear_charges", "coords", "coordinates", "old_forces", "species", "type"}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive; nothing in it is executed."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                for member in packed.infolist():
                    _check_room(packed, member)
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array without a name")
        with archive:
            return {key: archive[key] for key in archive.files}
    except MemoryError as error:
        raise ValueError(f"{path} holds more than fits into this machine's memory: give fewer frames") from error
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as npz ({error}): copy or write it again; "
            "Python objects (pickles) in it are never loaded"
        ) from error


def _check_room(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array whose header announces more than there is, before memory is asked for it."""
    if member.file_size > 1100 * member.compress_size + 1000:  # deflate packs no tighter
        raise ValueError(f"{member.filename} says that it has {member.file_size} bytes, more than it can hold")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if min(shape, default=0) < 0 or math.prod(shape) * max(dtype.itemsize, 1) > member.file_size:
        raise ValueError(f"{member.filename} announces an array of shape {shown(shape)}, more than it holds")


def is_native(arrays: dict[str, np.ndarray]) -> bool:
    """Whether an archive is of our own form, in nm and kJ/mol/nm."""
    return {"positions", "atomic_numbers"} <= arrays.keys() and not set(_UNITS) & arrays.keys()


def native(arrays: dict[str, np.ndarray], forces_key: str | None, path: Path) -> dict[str, Any]:
    """Fields of Frames from an archive of our own form.

    Other names of forces are understood; they are in kJ/mol/nm, as all of such a file.
    A cell under another name than box is refused, for its writer may have meant Angstrom.
    """
    said = np.asarray(arrays.get("format", 1))
    if said.size != 1 or said.dtype.kind not in "iu":
        raise ValueError(f"{path} has format {said.tolist()!r}: it is a whole number, 1 to {FORMAT}, or left out")
    number = int(said.item())
    if number > FORMAT:
        raise ValueError(f"{path} has format {number}, this version reads up to {FORMAT}: update openmm_diffusion")
    foreign = sorted(arrays.keys() & set(_CELLS + _PBC) - {"box"})
    if foreign:
        raise ValueError(
            f"{path} holds positions and atomic_numbers, our own keys in nm, beside {' and '.join(foreign)}: rename "
            "the cell to box if all is in nm and kJ/mol/nm, or name the units in arrays r_unit and e_unit"
        )
    label = forces_name(arrays.keys() - (_NATIVE - {"forces"}), forces_key, path)
    if label not in (None, "forces"):
        log.warning("%s: forces are those of %s, taken to be in kJ/mol/nm as all of the native form", path, label)
    name_unread(arrays.keys() - _NATIVE - {label}, path)
    for key in ("positions", "box", "temperature", "masses", "bias_forces", label):
        if key is not None and key in arrays:
            _numbers(arrays, key, path)
    if "box" in arrays and not arrays["box"].any():
        raise ValueError(f"{path} has a box of zeros: leave it out for no periodicity, or give three edges in nm")
    kept = ("temperature", "replica", "types", "bonds", "masses", "bias_forces")
    return {key: arrays.get(key) for key in kept} | {
        "positions": arrays["positions"],
        "species": arrays["atomic_numbers"],
        "box": arrays.get("box"),
        "forces": None if label is None else arrays[label],
    }


def foreign(arrays: dict[str, np.ndarray], forces_key: str | None, path: Path) -> dict[str, Any]:
    """Arrays of an archive of another form, as `extxyz.read_extxyz` returns those of a file.

    Lengths are in Angstrom and energies in eV, as NequIP, MACE and ASE have them, unless
    the file names others: ``r_unit``, ``e_unit`` (sGDML).  Forces of a data set that is known
    to be in other units, and does not name them, are refused.
    """
    arrays = _without_prefix(arrays)
    positions_key = next((key for key in _POSITIONS if key in arrays), None)
    numbers_key = next((key for key in _NUMBERS if key in arrays), None)
    if positions_key is None or numbers_key is None:
        raise ValueError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or 'none'}: "
            "give positions and atomic_numbers (nm), or R and z (Angstrom)"
        )
    units = {_UNITS[key]: np.ravel(arrays[key])[0] for key in _UNITS if key in arrays}
    odd = sorted(key for key in arrays if "unit" in key.lower() and key not in _UNITS and "cell" not in key)
    if odd:
        raise ValueError(f"{path} holds {', '.join(odd)}, which is not understood: name units as r_unit and e_unit")
    positions = _numbers(arrays, positions_key, path)
    if positions.ndim == 2:
        positions = positions[None]
    # What a later version of a data set left behind (rMD17) is passed over, unless it is asked for.
    old = {key for key in arrays if key.startswith("old_") and key != forces_key}
    label = forces_name(arrays.keys() - {"bias_forces", positions_key, numbers_key} - old, forces_key, path)
    told = sorted(arrays.keys() & (_NOT_ELECTRONVOLT | _UNITS.keys()))
    if label is not None and "e_unit" not in units and told:
        raise ValueError(
            f"{path} holds forces ({label}) and does not say their unit; data sets with {', '.join(told)} are often in "
            "kcal/mol or Ha: add arrays r_unit='Ang' and e_unit='kcal/mol' (or what it is) to the file"
        )
    cells = [key for key in _CELLS if key in arrays]
    pbc_key = next((key for key in _PBC if key in arrays), None)
    if len(cells) > 1:
        raise ValueError(f"{path} holds cells under {len(cells)} names, {' and '.join(cells)}: leave one of them")
    read = {positions_key, numbers_key, label, pbc_key, "temperature", "replica", *cells, *_UNITS}
    name_unread(arrays.keys() - read, path)
    return {
        "positions": positions,
        "species": _species(arrays[numbers_key], positions.shape[1], numbers_key, path),
        "cell": _cell(arrays, cells[0], len(positions), path) if cells else None,
        "pbc": None if pbc_key is None else _pbc(arrays[pbc_key], path),
        "forces": None if label is None else _like(_numbers(arrays, label, path), positions, label, path),
        "temperature": arrays.get("temperature"),
        "replica": arrays.get("replica"),
        "r_unit": length_unit(units["r_unit"], path) if "r_unit" in units else None,
        "e_unit": energy_unit(units["e_unit"], path) if "e_unit" in units else None,
    }


def _without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays under the last part of their names: arrays/forces as forces, _positions as positions."""
    bare = {re.sub(r"^(?:(?:arrays|info|results|calc)[/._:]|_)", "", key): value for key, value in arrays.items()}
    return bare if len(bare) == len(arrays) else arrays


def _numbers(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    if arrays[key].dtype.kind not in "iuf":
        raise ValueError(f"{path} holds no numbers in {key}: give an array of real numbers, not of {arrays[key].dtype}")
    return arrays[key]


def _like(forces: np.ndarray, positions: np.ndarray, key: str, path: Path) -> np.ndarray:
    if forces.size != positions.size:
        raise ValueError(
            f"{path} holds {key} of shape {forces.shape} beside positions of shape {positions.shape}: "
            "give one force for each position, or say with forces_key which array holds them"
        )
    return forces.reshape(positions.shape)


def _species(numbers: np.ndarray, n: int, key: str, path: str | os.PathLike[str]) -> np.ndarray:
    if numbers.shape == (n, 1):
        numbers = numbers[:, 0]
    if numbers.ndim == 2:
        if (numbers != numbers[0]).any():
            raise ValueError(f"{path} has other atomic numbers {key} in some frames: give one system per file")
        numbers = numbers[0]
    if numbers.dtype.kind not in "US":
        return numbers
    symbols = [name.decode() if isinstance(name, bytes) else str(name) for name in numbers]
    found = np.array([atomic_number(symbol) for symbol in symbols])
    if not found.all():
        raise ValueError(f"{path} holds {symbols[int(found.argmin())]!r} in {key}, which is no element symbol")
    return found


def _cell(arrays: dict[str, np.ndarray], key: str, n_frames: int, path: Path) -> np.ndarray:
    cell = vectors(_numbers(arrays, key, path), n_frames, str(path))
    # sGDML stores the vectors of its lattice as columns.
    columns = key == "lattice" and (arrays.keys() & {"theory", "r_unit", "e_unit"})
    return np.swapaxes(cell, -1, -2) if columns else cell


def _pbc(pbc: np.ndarray, path: Path) -> np.ndarray:
    rows = pbc.reshape(-1, pbc.shape[-1]) if pbc.ndim > 1 else pbc.reshape(1, -1)
    return np.array([flags(row, str(path)) for row in rows])
