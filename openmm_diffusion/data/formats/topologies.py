"""What the atoms of a trajectory are: topologies of files, some of which mdtraj does not know, with their elements."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
from mdtraj.formats import GroTrajectoryFile

from ... import particles
from ..elements import atomic_number, mass_element, settled
from ..extxyz import iterate_extxyz
from . import existing, lacking, suffix, unreadable
from .lammps import DumpFrame, read_dump
from .statements import statements

log = logging.getLogger(__name__)

#: Extensions of what we read ourselves.
DUMPS = (".lammpstrj", ".dump", ".lammpsdump", ".lammpstrj.gz", ".dump.gz")
XYZ = (".xyz", ".extxyz")

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


@dataclass(frozen=True)
class Atoms:
    """What the atoms of a trajectory are, as far as its files say."""

    topology: mdtraj.Topology
    masses: np.ndarray | None = None
    """Masses that a file states, amu, or None."""
    bonds: bool = False
    """Whether a file lists all bonds; otherwise those of standard residues are inferred."""


def read_atoms(path: str | os.PathLike[str], top: "str | os.PathLike[str] | mdtraj.Topology | None" = None) -> Atoms:
    """As `read_topology`, with the masses that files state."""
    path = existing(path)
    if isinstance(top, mdtraj.Trajectory):
        top = top.topology
    if isinstance(top, mdtraj.Topology):
        topology = top.copy()
        said = [atom.element.atomic_number or None if atom.element is not None else None for atom in topology.atoms]
        # An element that mdtraj guessed for a topology is no statement against the name of an ion.
        numbers, _ = _settled(topology, [None] * topology.n_atoms)
        stated = [int(number) or mine for number, mine in zip(numbers, said)]
        _apply(topology, np.array([value or 0 for value in stated]), "the topology")
        return Atoms(topology, bonds=False)
    if path.suffix == ".npz":
        raise ValueError(f"{path} is an archive of arrays, not a trajectory: read it with Frames.load")
    source = path if top is None else existing(top)
    kind = suffix(source)
    if top is None and kind in XYZ:
        return Atoms(of_names(next(iterate_extxyz(source, elements=False))["names"]))
    if top is None and kind in DUMPS:
        return Atoms(of_dump(next(read_dump(source)), source))
    if is_lammps_data(source):
        topology, masses = of_data(source)
        return Atoms(topology, masses, bonds=True)
    topology = _mdtraj_topology(source, path)
    found = statements(source, topology)
    numbers, against = _settled(topology, found.numbers)
    for sentence in against:
        log.warning("%s: %s", source, sentence)
    _apply(topology, numbers, source)
    return Atoms(topology, found.masses, found.bonds)


def _settled(topology: mdtraj.Topology, stated: Sequence[int | None]) -> tuple[np.ndarray, list[str]]:
    names = [(atom.residue.name, atom.name) for atom in topology.atoms]
    groups = [frozenset(atom.name for atom in residue.atoms) for residue in topology.residues for _ in residue.atoms]
    return settled(names, stated, groups)


def _apply(topology: mdtraj.Topology, numbers: np.ndarray, source: str | os.PathLike[str]) -> None:
    """Give the atoms of a topology their elements, and say once for each kind where mdtraj had another."""
    kinds = {}
    for atom, number in zip(topology.atoms, numbers.tolist()):
        found = mdtraj.element.Element.getByAtomicNumber(number) if number else mdtraj.element.virtual
        had = particles.symbol(atom)
        if had and had != found.symbol:
            kinds[f"{atom.name} of residue {atom.residue.name}"] = (had, found.symbol if number else "")
        atom.element = found
    for kind, (had, has) in kinds.items():
        if has:
            log.warning("%s: atom %s is %s; mdtraj took it for %s", source, kind, has, had)
    unknown = [kind for kind, (_, has) in kinds.items() if not has]
    if unknown:
        shown = ", ".join(unknown[:6]) + (f" and {len(unknown) - 6} others" if len(unknown) > 6 else "")
        log.info("%s: no element is known of atom %s; mdtraj guesses one", source, shown)


def _mdtraj_topology(source: Path, path: Path) -> mdtraj.Topology:
    try:
        if suffix(source) == ".gro":  # of which mdtraj.load_topology reads all frames
            with GroTrajectoryFile(str(source)) as file:
                return file.topology
        if suffix(source) == ".hdf5":  # which mdtraj.load_topology does not know
            return mdtraj.load(str(source), frame=0).topology
        return mdtraj.load_topology(str(source))
    except ImportError as error:
        raise lacking(source) from error
    except Exception as error:  # mdtraj raises Exception itself
        raise unreadable(source, error, top=source != path) from error


def of_names(names: Sequence[str]) -> mdtraj.Topology:
    """Atoms of these names, each a residue of its own; they state elements where all are symbols, in any case."""
    numbers = {name: atomic_number(name) for name in names}
    stated = all(numbers.values())
    return _alone(
        [_element(numbers[name] if stated else 0) for name in names],
        [name.upper() if stated else name for name in names],
    )


def _element(number: int) -> "mdtraj.element.Element":
    return mdtraj.element.Element.getByAtomicNumber(number) if number else mdtraj.element.virtual


def of_dump(frame: DumpFrame, source: Path) -> mdtraj.Topology:
    """The atoms of a LAMMPS dump that states their elements, or at least their types, which are then their names."""
    types, symbols = frame.columns.get("type"), frame.columns.get("element")
    if symbols is not None and set(symbols) == {"C"} and types is not None and len(set(types)) > 1:
        log.warning("%s: every element is C, which LAMMPS writes where nobody told it: not taken", source)
        symbols = None
    if symbols is not None:
        return _alone([_element(atomic_number(name)) for name in symbols], symbols)
    if types is None:
        raise ValueError(f"{source} has no column element or type: give a topology, as in top='system.pdb'")
    masses = [float(mass) for mass in frame.columns.get("mass", [])]
    known = {mass: mass_element(mass) for mass in set(masses)}
    if max(known.values(), default=0) <= 1:  # beads of mass 1 are no hydrogens
        return _alone([_element(0)] * len(types), types)
    return _alone([_element(known[mass]) for mass in masses], types)


def _alone(elements: Sequence["mdtraj.element.Element"], names: Sequence[str]) -> mdtraj.Topology:
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for element, name in zip(elements, names):
        topology.add_atom(name, element, topology.add_residue(name, chain))
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
    # Beads of mass 1 are no hydrogens where there is nothing to be bonded to.
    units = not any(mass_element(own) > 1 for own in mass.values())
    for row, own in zip(rows, masses.tolist()):
        number = 0 if units else mass_element(own)
        molecule = row[0] if molecule_at < 0 else row[molecule_at]
        if residue is None or molecule != last or molecule == "0":
            residue, last = topology.add_residue("MOL", chain), molecule
        element = _element(number)
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
