"""What the atoms of a trajectory are: topologies of files, some of which mdtraj does not know, with their elements."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from mdtraj.formats import GroTrajectoryFile
from openmm import app

from ... import particles
from ..elements import (
    atomic_number,
    column_elements,
    heavy_hydrogens,
    ion_element,
    mass_element,
    named_element,
    settled,
)
from ..extxyz import iterate_extxyz
from . import existing, lacking, suffix, unreadable, untold
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
    loose: bool = False
    """Whether elements are names in another case than that of symbols, as "CL" is: of beads, it is none."""


def read_atoms(path: str | os.PathLike[str], top: "str | os.PathLike[str] | mdtraj.Topology | None" = None) -> Atoms:
    """As `read_topology`, with the masses that files state."""
    path = existing(path)
    if isinstance(top, mdtraj.Trajectory):
        top = top.topology
    if isinstance(top, app.Topology):
        top = mdtraj.Topology.from_openmm(top)
    if isinstance(top, mdtraj.Topology):
        topology = top.copy()
        said = [None if _is_guess(atom) else atom.element.atomic_number or None for atom in topology.atoms]
        # An element that mdtraj guessed for a topology is no statement against the name of an ion.
        numbers, _ = _settled(topology, [None] * topology.n_atoms)
        stated = [int(number) or mine for number, mine in zip(numbers, said)]
        _apply(topology, np.array([value or 0 for value in stated]), "the topology")
        return Atoms(topology, bonds=False)
    if path.suffix == ".npz":
        raise ValueError(f"{path} is an archive of arrays, not a trajectory: read it with Frames.load")
    if top is not None and not isinstance(top, (str, os.PathLike)):
        raise ValueError(
            f"top is a {type(top).__module__.partition('.')[0]} {type(top).__name__}: give the path of a topology "
            "(PDB, mmCIF, .gro, prmtop, PSF, LAMMPS data), or a Topology of mdtraj or OpenMM"
        )
    source = path if top is None else existing(top)
    kind = suffix(source)
    if top is None and kind in XYZ:
        return of_names(next(iterate_extxyz(source, elements=False)), source)
    if top is None and kind in DUMPS:
        return of_dump(next(read_dump(source)), source)
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
        raise (untold(source) if source == path else None) or unreadable(source, error, source != path) from error


def _is_guess(atom: Any) -> bool:
    """Whether an atom of a topology has no element, or one that mdtraj guesses from the first letter of its name."""
    symbol = particles.symbol(atom)
    halogen = atom.name[:2].upper() in ("CL", "BR") and symbol in ("C", "B")
    return not symbol or (halogen and not named_element(atom.residue.name, atom.name))


def of_names(frame: dict[str, Any], source: Path) -> Atoms:
    """Atoms by the names in the first frame of an XYZ file, or its atomic numbers, each a residue of its own."""
    names = frame["names"]
    if frame["numbered"]:
        names = [_element(int(number)).symbol for number in names]
        return Atoms(_alone([mdtraj.element.Element.getBySymbol(name) for name in names], [n.upper() for n in names]))
    numbers, loose = column_elements(names)
    if "CA" in names and numbers.any():
        log.warning("%s: CA is taken for calcium: write Ca; C-alphas and beads are read with types='name'", source)
    shown = [name.upper() if number else name for name, number in zip(names, numbers)]
    return Atoms(_alone(list(map(_element, numbers.tolist())), shown), heavy_hydrogens(names), loose=loose)


def _element(number: int) -> "mdtraj.element.Element":
    return mdtraj.element.Element.getByAtomicNumber(number) if number else mdtraj.element.virtual


def of_dump(frame: DumpFrame, source: Path) -> Atoms:
    """The atoms of a LAMMPS dump that states their elements, or at least their types, which are then their names."""
    types, symbols = frame.columns.get("type"), frame.columns.get("element")
    if symbols is not None and set(symbols) == {"C"} and types is not None and len(set(types)) > 1:
        log.warning("%s: every element is C, which LAMMPS writes where nobody told it: not taken", source)
        symbols = None
    if symbols is not None:
        numbers, loose = column_elements(symbols)
        return Atoms(_alone(list(map(_element, numbers.tolist())), symbols), heavy_hydrogens(symbols), loose=loose)
    if types is None:
        raise ValueError(f"{source} has no column element or type: give a topology, as in top='system.pdb'")
    masses = [float(mass) for mass in frame.columns.get("mass", [])]
    known = {mass: mass_element(mass) for mass in set(masses)}
    if max(known.values(), default=0) <= 1:  # beads of mass 1 are no hydrogens
        return Atoms(_alone([_element(0)] * len(types), types))
    return Atoms(_alone([_element(known[mass]) for mass in masses], types))


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
        kind_at, molecule_at = _STYLES.get(styles.get("Atoms", "")) or _STYLES[_guessed_style(sections)]
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


def check_order(columns: dict[str, list[str]], topology: mdtraj.Topology, path: Path) -> None:
    """Refuse a topology in which one type of a dump is two elements: its atoms are in another order."""
    symbols = [particles.symbol(atom) for atom in topology.atoms]
    for name in ("element", "type"):
        seen: dict[str, str] = {}
        if len(set(columns.get(name, []))) < len(set(symbols)):
            continue  # some programs write one type for all
        for kind, symbol in zip(columns.get(name, []), symbols):
            if symbol and seen.setdefault(kind, symbol) != symbol:
                raise ValueError(
                    f"{name} {kind} of {path} is {seen[kind]} and {symbol} in the topology: "
                    "give a topology whose atoms are in the order of the ids"
                )


def check_symbols(names: Sequence[str], topology: mdtraj.Topology, path: Path) -> None:
    """Refuse a topology in which an atom is another element than the symbol, as it is spelt, that a file has for it."""
    if len(names) != topology.n_atoms or not all(particles.atomic_number(name) or name == "D" for name in names):
        return
    for atom, name in zip(topology.atoms, names):
        symbol = particles.symbol(atom)
        if symbol and atomic_number(name) != atomic_number(symbol):
            raise ValueError(
                f"atom {atom.index} of {path} is {name}, and {symbol} in the topology: "
                "give a topology whose atoms are in the order of the file"
            )


def complete(atoms: Sequence[Any]) -> bool:
    """Whether atoms are all of what they belong to: a C-alpha or an iron without the rest of its residue is not."""
    chosen = Counter(atom.residue.index for atom in atoms)
    return all(chosen[atom.residue.index] == atom.residue.n_atoms for atom in atoms) and all(
        atom.residue.n_atoms > 1
        or ion_element(atom.residue.name, atom.name)
        or atom.residue.name in ("MOL", atom.name)  # LAMMPS data, dumps, XYZ
        for atom in atoms
    )


def particles_of(atoms: list[Any], types: str | Sequence[str], path: Path, loose: bool = False) -> dict[str, Any]:
    """Species and types of atoms; those of elements need one, those of beads do not.

    Elements that are names in capitals (`loose`) are none where particles are called by their names.
    """
    if types is None or not isinstance(types, (str, Sequence, np.ndarray)):
        raise ValueError(f"types is {types!r}: give 'element', 'name', 'residue:name' or a list, one for each atom")
    numbers = np.array([atom.element.atomic_number for atom in atoms], dtype=np.int64)
    bare = [atom for atom, number in zip(atoms, numbers) if number == 0]
    if isinstance(types, str) and types == "element":
        if bare:
            first = bare[0]
            raise ValueError(
                f"atom {first} (number {first.index}) of {path} has no element: {len(bare)} of {len(atoms)} selected "
                f"atoms have none that a file states, or that their names tell without doubt (atom {first.name!r} of "
                f"residue {first.residue.name!r}): say what they are with types='name', types='residue:name' or a list "
                "of types, give a topology that states elements, or leave them out with select"
            )
        return {"species": numbers}
    names = particles.atom_types(atoms, types if isinstance(types, str) else list(types))
    if isinstance(types, str):
        if loose:
            numbers = np.zeros_like(numbers)
        if numbers.any():
            kinds = ", ".join(sorted({particles.symbol(atom) for atom in atoms if particles.symbol(atom)}))
            log.info("%s: elements of the topology are kept beside the names: %s", path, kinds)
        return {"species": numbers, "types": np.array(names)}
    symbols = np.array([particles.atomic_number(kind) for kind in names])
    # A bead of water is not made tungsten by a list that has ions too.
    water = np.array([kind == "W" for kind in names]) & (numbers == 0)
    if symbols.all() and not water.all():
        against = np.flatnonzero((numbers != 0) & (symbols != numbers))
        if len(against):
            at = int(against[0])
            raise ValueError(
                f"types[{at}] is {names[at]!r}, and atom {atoms[at]} of {path} is {particles.symbol(atoms[at])}: types "
                "that are all element symbols say what the atoms are; call beads by names that are no symbols"
            )
        log.info("%s: all types are element symbols and taken for elements: %s", path, ", ".join(sorted(set(names))))
        numbers = np.where(water, 0, symbols)
    else:  # beads; one that is called as another element than its atom is has none
        numbers = np.where((symbols != 0) & (symbols != numbers), 0, numbers)
    return {"species": numbers, "types": np.array(names)}


def bonds_of(topology: mdtraj.Topology, atoms: np.ndarray, listed: bool) -> np.ndarray | None:
    """Bonds among the selected atoms as pairs of their places; None where nothing is said of them."""
    place = {int(atom): number for number, atom in enumerate(atoms)}
    ends = [(place.get(bond[0].index), place.get(bond[1].index)) for bond in topology.bonds]
    pairs = np.array([pair for pair in ends if None not in pair], dtype=np.int64).reshape(-1, 2)
    if listed:
        return pairs
    if topology.n_bonds == 0:
        return None
    # Inferred bonds are those of residues that mdtraj knows: of another with several atoms nothing is known.
    bonded = {int(place) for place in pairs.ravel()}
    residues: dict[int, list[int]] = {}
    for number, index in enumerate(atoms):
        residues.setdefault(topology.atom(index).residue.index, []).append(number)
    known = all(len(members) == 1 or bonded & set(members) for members in residues.values())
    return pairs if known else None
