"""The extended XYZ text format: its frames as arrays, in the file's own units (Angstrom, eV/Angstrom).

Where ASE is installed its reader reads the rows; ours is what is left where it is not, or where it gives up.  What a
frame means is decided here in both cases, so that a result does not depend on what is installed: ASE's parser of the
comment line knows fewer spellings of ``pbc`` and ``Lattice`` (``pbc=FFF`` would be periodic to it), it moves a column
``forces``, but not ``REF_forces``, into a calculator that applies constraints to it, and it ends at a blank line.
Columns are taken by the names that they have in the file, forces as they are written, and all frames are there.
"""

import logging
import os
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from .elements import atomic_number, doubt, heavy_hydrogens
from .formats import announced
from .formats.cells import flags, ipi_cell, numeric, written_vectors
from .formats.labels import energy_unit, forces_name, length_unit, name_unread

log = logging.getLogger(__name__)

#: Words of a comment line, in which quotes and brackets hold blanks, and the = between key and value.
_WORDS = re.compile(
    r"""=|(?:\\.|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|\{[^}]*\}?|"""
    r"""\[(?:[^\[\]]|\[[^\]]*\])*\]?|[^\s="'{\[\\])+"""
)
_DELIMITERS = re.compile(r"\\(.)|[\"'{}\[\]]")
#: Our name of what other names stand for as well.
_COLUMNS = {
    **dict.fromkeys(("species", "element", "elements", "symbol", "symbols"), "species"),
    **dict.fromkeys(("z", "numbers", "atomic_numbers", "atomic_number"), "Z"),
    **dict.fromkeys(("pos", "positions", "position"), "pos"),
}
_KEYS = {
    **dict.fromkeys(("cell", "unit_cell"), "cell"),
    **dict.fromkeys(("periodic", "periodicity"), "pbc"),
    **dict.fromkeys(("length_unit", "length_units", "r_unit"), "r_unit"),
    **dict.fromkeys(("energy_unit", "energy_units", "e_unit"), "e_unit"),
}
_AS_WRITTEN = {"species": "species_as_written"}
_READ = {"lattice", "cell", "pbc", "properties", "temperature", "replica", "r_unit", "e_unit"}


def read_extxyz(path: str | os.PathLike[str], forces_key: str | None = None, elements: bool = True) -> dict[str, Any]:
    """All frames of an extended XYZ file.

    The comment line of each frame names its columns (``Properties=species:S:1:pos:R:3:forces:R:3``,
    in any order, others are skipped and named in the log) and its cell (``Lattice="..."``, three
    vectors one after the other; ``cell=`` and lower case are understood as well), with ``pbc`` in any spelling that
    ASE or libAtoms accept.  Forces may have any of the names that `formats.labels.forces_name` knows.
    Two keys of ours are read as well: ``replica`` and ``temperature``.  Plain XYZ is the
    special case without keys; cell and units of i-PI's comment lines are understood.

    Parameters
    ----------
    path : path-like
    forces_key : str, optional
        Column that holds the forces, where more than one may.
    elements : bool
        Whether the names of the atoms must be element symbols.

    Returns
    -------
    dict
        positions : array, shape (n_frames, n_particles, 3), Angstrom;
        species : array, shape (n_particles,), atomic numbers, or with `elements` False None;
        names : list of str, what the column of species, or of atomic numbers, says;
        numbered : bool, whether it is of atomic numbers;
        masses : array, shape (n_particles,), amu, NaN but for deuterium, or None;
        cell : array, shape (n_frames, 3, 3), Angstrom, or None;
        pbc : array, shape (n_frames, 3), dtype bool, or None;
        forces : array like positions, eV/Angstrom, NaN in frames without, or None;
        temperature : array, shape (n_frames,), K, or None;
        replica : array, shape (n_frames,), integers, or None;
        r_unit, e_unit : float, nm and kJ/mol, or None: units that the file names.

    Raises
    ------
    ValueError
        If a frame is incomplete or not XYZ, the frames differ in their atoms, or two columns may be the forces.
    """
    frames = _through_ase(path, forces_key, elements)
    if frames is None:
        frames = list(iterate_extxyz(path, forces_key, elements))
    for number, frame in enumerate(frames):
        check_same(frames[0], frame, f"frame {number} of {path}")
    first = frames[0]
    if elements:
        _warn_of_names(first["names"], path)
    names = {name for frame in frames for name in frame["columns"]}
    chosen = forces_name(names, forces_key, path) if names or forces_key else None
    if chosen is not None:
        for frame in frames:
            frame["forces"] = frame["columns"].get(chosen, np.full_like(frame["positions"], np.nan))
    name_unread({name for frame in frames for name in frame["unread"] | set(frame["columns"])} - {chosen}, path)
    keys = ("positions", "cell", "pbc", "forces", "temperature", "replica", "r_unit", "e_unit")
    columns = {key: _stack(frames, key, path) for key in keys}
    for key in ("r_unit", "e_unit"):
        units = columns[key]
        if units is not None and (units != units[0]).any():
            raise ValueError(f"{path} names more than one {key}: give one unit for all frames")
        columns[key] = None if units is None else units[0]
    return columns | {key: first.get(key) for key in ("species", "names", "numbered", "masses")}


def check_same(first: dict[str, Any], frame: dict[str, Any], where: str) -> None:
    """Refuse a frame whose atoms are others than those of the first."""
    if any(key in frame and not np.array_equal(first[key], frame[key]) for key in ("names", "species")):
        raise ValueError(
            f"{where} has other atoms than frame 0, or the same in another order: "
            "give one system per file, its atoms always in the same order"
        )


def _warn_of_names(names: list[str], path: str | os.PathLike[str]) -> None:
    """Say what was read of names that may be a bead's."""
    for name, element, other in (("CA", "calcium", "a C-alpha"), ("W", "tungsten", "one-bead water")):
        if name in names and (name == "CA" or set(names) == {"W"}):
            log.warning("%s: %s is taken for %s; if it is %s, read it with Frames.from_trajectory(types='name')",
                        path, name, element, other)  # fmt: skip


def iterate_extxyz(
    path: str | os.PathLike[str], forces_key: str | None = None, elements: bool = True
) -> Iterator[dict[str, Any]]:
    """The frames of an extended XYZ file, one at a time, by our own reader; at least one, or an error.

    Without `elements` the names in the column of species may be any.  They stand under ``names``.
    """
    number = 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                atoms = announced(line.strip(), path)
                yield _read_frame(atoms, line.strip(), lines, forces_key, elements, f"frame {number} of {path}")
                number += 1
    if number == 0:
        raise ValueError(f"{path} holds no frames: give an extended XYZ file with at least one")


def header(comment: str) -> dict[str, str]:
    """Keys and values of a comment line, as ASE and libAtoms read them; words without a value are no keys.

    Examples
    --------
    >>> header('Lattice="1 0 0" pbc=[T, T, T] made by VMD')
    {'Lattice': '1 0 0', 'pbc': 'T, T, T'}
    """
    words = _WORDS.findall(comment)
    found, at = {}, 0
    while at < len(words):
        if words[at + 1 : at + 2] == ["="] and words[at] != "=":
            end = at + 2
            while end < len(words) and words[end] == "=":  # a value may start with one
                end += 1
            value = words[end] if end < len(words) else ""
            while words[end + 1 : end + 2] == ["="]:  # and may hold some
                value += "=" + (words[end + 2] if end + 2 < len(words) else "")
                end += 2
            found[_bare(words[at])] = _bare(value)
            at = end + 1
        else:
            at += 1
    return found


def _bare(word: str) -> str:
    return _DELIMITERS.sub(lambda match: match.group(1) or "", word).strip()


def _meaning(comment: str) -> tuple[dict[str, Any], set[str]]:
    """What the comment line of a frame tells, and the keys that tell nothing here."""
    said: dict[str, str] = {}
    unread = set()
    for key, value in header(comment).items():
        name = _KEYS.get(key.lower(), key.lower())
        if name in _READ:
            if said.get(name, value) != value:
                raise ValueError(f"it gives {name} twice, {said[name]!r} and {value!r}")
            said[name] = value
        elif "unit" in name:
            raise ValueError(f"it says {key}={value}, which is not understood: name units as r_unit=Ang e_unit=eV")
        else:
            unread.add(key)
    told: dict[str, Any] = ipi_cell(comment)
    for key, name in (("lattice", "Lattice"), ("cell", "cell")):
        if key in said:
            cell = written_vectors(said[key], name)
            if not np.array_equal(told.setdefault("cell", cell), cell):
                raise ValueError("it gives two cells that differ, Lattice and cell")
    if not said and not unread and len(comment.split()) in (3, 6, 9) and numeric(comment):
        unread.add("bare numbers in the comment line (a box is given as box=, or as Lattice there)")
    if "pbc" in said:
        told["pbc"] = flags(said["pbc"], "its comment line")
    if "temperature" in said:
        told["temperature"] = _number(said["temperature"], "temperature", "a number in K")
    if "replica" in said:
        told["replica"] = int(_number(said["replica"], "replica", "a whole number"))
    if "r_unit" in said:
        told["r_unit"] = length_unit(said["r_unit"], "its comment line")
    if "e_unit" in said:
        told["e_unit"] = energy_unit(said["e_unit"], "its comment line")
    told["properties"] = _properties(said.get("properties", "species:S:1:pos:R:3"))
    return told, unread


def _number(text: str, key: str, wanted: str) -> float:
    if not numeric(text) or not np.isfinite(float(text)):
        raise ValueError(f"{key} in its comment line is {text!r}: give {wanted}")
    return float(text)


def _properties(text: str) -> dict[str, tuple[str, int]]:
    """Kind and number of columns of each property, under the names that `_COLUMNS` gives them."""
    fields = text.split(":")
    names = [_COLUMNS.get(name.lower(), name) for name in fields[::3]]
    found = {name: (kind, int(width)) for name, kind, width in zip(names, fields[1::3], fields[2::3], strict=True)}
    if any(width < 1 for _, width in found.values()):
        raise ValueError(f"Properties={text[:60]} has a column of no width")
    if len(found) < len(names):
        raise ValueError(f"Properties={text} names a column twice")
    if not {"species", "Z"} & set(found) or "pos" not in found:
        raise ValueError("has no columns species and pos among its Properties")
    return found


def _is_vector(name: str, kind: str, width: int, forces_key: str | None) -> bool:
    return kind == "R" and width == 3 and name != "pos" or (name == forces_key and _three(name, width))


def _three(name: str, width: int) -> bool:
    if name in ("pos", "species", "Z"):
        return False
    if width != 3:
        raise ValueError(f"its column {name} has a width of {width}: forces_key must name three numbers for each atom")
    return True


def _read_frame(
    atoms: int, count: str, lines: Iterator[str], forces_key: str | None, elements: bool, where: str
) -> dict[str, Any]:
    """One frame as a dict; `count` is its first line, of so many atoms, `lines` is left at the line after it."""
    if atoms == 0:
        raise ValueError(f"{where} starts with {count[:40]!r}: an XYZ frame starts with its number of atoms")
    comment = next(lines, "")
    rows = [line.split() for line in islice(lines, atoms)]
    frame, unread = _told(comment, where)
    try:
        properties = frame.pop("properties")
        ends = np.cumsum([width for _, width in properties.values()])
        complete = sum(len(row) >= ends[-1] for row in rows)
        if complete < atoms:
            raise ValueError(f"has {complete} complete rows of {ends[-1]} columns where {count} are announced")
        unread |= _further(len(rows[0]), properties)
        places = {name: slice(end - width, end) for (name, (_, width)), end in zip(properties.items(), ends)}
        frame["columns"] = {}
        for name, (kind, width) in properties.items():
            if _is_vector(name, kind, width, forces_key):
                frame["columns"][name] = _vectors(rows, places[name])
        element = places["Z" if "Z" in properties else "species"]
        frame |= _atoms([row[element][0] for row in rows], "Z" in properties, elements)
        frame["positions"] = _vectors(rows, places["pos"])
        frame["unread"] = unread | (set(properties) - set(frame["columns"]) - {"species", "Z", "pos"})
    except ValueError as error:
        raise ValueError(
            f"{where} cannot be read as extended XYZ ({error}): write the file again or cut it there"
        ) from error
    return frame


def _told(comment: str, where: str) -> tuple[dict[str, Any], set[str]]:
    """What `_meaning` finds in a comment line, or an error that says where the line is."""
    try:
        return _meaning(comment)
    except ValueError as error:
        raise ValueError(
            f"{where} cannot be read as extended XYZ ({error}): correct its comment line, {comment.strip()[:60]!r}"
        ) from error


def _further(width: int, properties: dict[str, tuple[str, int]]) -> set[str]:
    """What rows hold beyond the columns that a comment line declares."""
    more = width - sum(columns for _, columns in properties.values())
    return (
        {f"{more} further columns of the rows (name them in Properties, as in ...:forces:R:3)"} if more > 0 else set()
    )


def _vectors(rows: list[list[str]], columns: slice) -> np.ndarray:
    return np.array([row[columns] for row in rows], dtype=float).reshape(len(rows), 3)


def _atoms(names: list[str], numbered: bool, elements: bool) -> dict[str, Any]:
    """Names, and with `elements` atomic numbers and the masses of deuterium, of the atoms of a frame."""
    if numbered:  # a column of atomic numbers
        numbers = np.array(names, dtype=np.int64)
        return {"names": names, "numbered": True} | ({"species": numbers} if elements else {})
    if not elements:
        return {"names": names, "numbered": False}
    kinds = {name: atomic_number(name) for name in dict.fromkeys(names)}
    digits = [name for name in kinds if name.isdigit()]
    if digits and set(digits) == {str(number + 1) for number in range(len(digits))}:
        # LAMMPS and OVITO write the types of atoms where the symbols of elements belong.
        raise ValueError(
            f"the column of elements holds {', '.join(sorted(digits))}, which are types of LAMMPS such as '1', "
            "not elements: give symbols, or atomic numbers in a column Z"
        )
    kinds |= {name: int(name) for name in digits}
    unknown = [name for name, number in kinds.items() if not number]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no element symbol")
    why = doubt(kinds.keys())
    if why:
        raise ValueError(f"{why}: write elements as Ca and Na, or read names with Frames.from_trajectory(types='name')")
    species = np.array([kinds[name] for name in names])
    return {"names": names, "numbered": False, "species": species, "masses": heavy_hydrogens(names)}


def _through_ase(
    path: str | os.PathLike[str], forces_key: str | None, elements: bool = True
) -> list[dict[str, Any]] | None:
    """All frames as ASE's reader has their rows; None where there is no ASE or it finds a fault, which we then name."""
    try:
        from ase.io import iread
    except ImportError:
        return None
    widths = _widths(path)
    if not widths:
        return None
    told: list[tuple[dict[str, Any], set[str]]] = []

    def parse(comment: str) -> dict[str, Any]:
        told.append(_meaning(comment))
        kinds = told[-1][0]["properties"].items()
        # Under a name that ASE does not know, it keeps symbols as they are written.
        return {
            "Properties": ":".join(f"{_AS_WRITTEN.get(name, name)}:{kind}:{width}" for name, (kind, width) in kinds)
        }

    frames: list[dict[str, Any]] = []
    try:
        for atoms in iread(os.fspath(path), index=":", format="extxyz", properties_parser=parse):
            frame, unread = told[-1]
            properties = frame.pop("properties")
            columns = atoms.arrays | (atoms.calc.results if atoms.calc is not None else {})
            frame["columns"] = {
                name: np.asarray(columns[name], dtype=float).reshape(len(atoms), 3)
                for name, (kind, width) in properties.items()
                if _is_vector(name, kind, width, forces_key)
            }
            numbered = "Z" in properties
            names = atoms.numbers if numbered else columns[_AS_WRITTEN["species"]]
            frame |= _atoms([str(name) for name in names], numbered, elements)
            frame["positions"] = atoms.positions.copy()
            frame["unread"] = unread | (set(properties) - set(frame["columns"]) - {"species", "Z", "pos"})
            frame["unread"] |= _further(widths[len(frames)], properties)
            frames.append(frame)
    except Exception:  # noqa: BLE001  whatever ASE cannot read, our own reader reads or refuses with a reason
        return None
    # ASE stops without a word at a blank line between frames.
    return frames if len(frames) == len(told) == len(widths) else None


def _widths(path: str | os.PathLike[str]) -> list[int]:
    """Columns of the first row of each frame, by the lines that announce atoms; empty where one does not."""
    found = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                atoms = announced(line.strip(), path)
                if atoms == 0:
                    return []
                next(lines, "")
                found.append(len(next(lines, "").split()))
                if sum(1 for _ in islice(lines, atoms - 1)) < atoms - 1:
                    return []
    return found


def _stack(frames: list[dict[str, Any]], key: str, path: str | os.PathLike[str]) -> np.ndarray | None:
    present = [frame[key] for frame in frames if key in frame]
    if not present:
        return None
    if len(present) < len(frames):
        raise ValueError(
            f"{path} gives {key} in {len(present)} of {len(frames)} frames: give it in all of them or in none"
        )
    return np.stack(present)
