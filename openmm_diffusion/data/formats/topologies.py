"""Topologies of files that mdtraj knows none of: LAMMPS data files and dumps, and extended XYZ."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import mdtraj
import numpy as np

from ..elements import atomic_number, mass_element
from .lammps import DumpFrame

#: Columns of atom type and molecule for each atom style of LAMMPS (manual, ``read_data``); -1: no molecule.
_STYLES = {
    "full": (2, 1),
    "molecular": (2, 1),
    "bond": (2, 1),
    "angle": (2, 1),
    "atomic": (1, -1),
    "charge": (1, -1),
    "dipole": (1, -1),
    "sphere": (1, -1),
}
_SECTIONS = {"Masses", "Atoms", "Bonds"}


def of_symbols(numbers: Sequence[int] | np.ndarray) -> mdtraj.Topology:
    """Atoms of these atomic numbers, each a residue of its own."""
    return _alone([mdtraj.element.Element.getByAtomicNumber(int(number)) for number in numbers])


def of_dump(frame: DumpFrame, source: Path) -> mdtraj.Topology:
    """The atoms of a LAMMPS dump that states their elements, or at least their types, which are then their names."""
    kinds = frame.columns.get("element", frame.columns.get("type"))
    if kinds is None:
        raise ValueError(f"{source} has no column element or type: give a topology, as in top='system.pdb'")
    stated = "element" in frame.columns
    elements = [
        mdtraj.element.Element.getByAtomicNumber(number) if (number := atomic_number(kind)) and stated else None
        for kind in kinds
    ]
    return _alone(elements, kinds)


def _alone(elements: Sequence["mdtraj.element.Element | None"], names: Sequence[str] | None = None) -> mdtraj.Topology:
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for index, element in enumerate(elements):
        name = names[index] if names is not None else element.symbol.upper()  # type: ignore[union-attr]
        topology.add_atom(name, element or mdtraj.element.virtual, topology.add_residue(name, chain))
    return topology


def is_lammps_data(path: Path) -> bool:
    """Whether a file is what LAMMPS' ``read_data`` reads, by its name or its first lines."""
    if path.suffix.lower() in (".data", ".lmp", ".lammps"):
        return True
    if path.suffix and path.suffix.lower() not in (".txt", ".dat", ".in"):
        return False
    with open(path, encoding="utf-8", errors="replace") as lines:
        head = [next(lines, "").split() for _ in range(40)]
    return ["atom", "types"] in [words[1:3] for words in head]


def of_data(path: str | os.PathLike[str]) -> tuple[mdtraj.Topology, np.ndarray]:
    """Atoms, bonds and masses of a LAMMPS data file, in the order of the ids.

    Elements are told by the masses; the name of an atom is its element's symbol, or else
    its type.  Each molecule is a residue, MOL.

    Returns
    -------
    topology : mdtraj Topology
    masses : array, shape (n_atoms,), amu
    """
    sections, styles = _sections(Path(path))
    try:
        mass = {row[0]: float(row[1]) for row in sections["Masses"]}
        kind_at, molecule_at = _STYLES[styles.get("Atoms") or _guessed_style(sections)]
        rows = sorted(sections["Atoms"], key=lambda row: int(row[0]))
        masses = np.array([mass[row[kind_at]] for row in rows])
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a LAMMPS data file ({error!r}): give Masses, and Atoms with their style, "
            "as in 'Atoms # full'"
        ) from error
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    residue, last = None, None
    for row, own in zip(rows, masses.tolist()):
        number = mass_element(own)
        molecule = row[0] if molecule_at < 0 else row[molecule_at]
        if residue is None or molecule != last or molecule == "0":
            residue, last = topology.add_residue("MOL", chain), molecule
        element = mdtraj.element.Element.getByAtomicNumber(number) if number else mdtraj.element.virtual
        topology.add_atom(element.symbol if number else row[kind_at], element, residue)
    place = {int(row[0]): at for at, row in enumerate(rows)}
    for bond in sections.get("Bonds", []):
        topology.add_bond(topology.atom(place[int(bond[2])]), topology.atom(place[int(bond[3])]))
    return topology, masses


def _guessed_style(sections: dict[str, list[list[str]]]) -> str:
    """The atom style by the number of columns: atoms with bonds have a molecule."""
    width = len(sections["Atoms"][0])
    if sections.get("Bonds"):
        return "full" if width in (7, 10) else "molecular"
    return {5: "atomic", 8: "atomic", 7: "full", 10: "full"}.get(width, "ambiguous")


def _sections(path: Path) -> tuple[dict[str, list[list[str]]], dict[str, str]]:
    sections: dict[str, list[list[str]]] = {}
    styles: dict[str, str] = {}
    current = ""
    for words, comment in _lines(path):
        if words[0][0].isalpha():
            current = words[0] if len(words) == 1 else " ".join(words)
            if current in _SECTIONS:
                sections[current], styles[current] = [], comment
        elif current in _SECTIONS:
            sections[current].append(words)
    return sections, styles


def _lines(path: Path) -> Iterator[tuple[list[str], str]]:
    with open(path, encoding="utf-8", errors="replace") as lines:
        next(lines, "")
        for line in lines:
            text, _, comment = line.partition("#")
            if text.split():
                yield text.split(), comment.strip()
