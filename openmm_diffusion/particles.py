"""Particle types: what the particles of a model are called, and which type an atom of a topology has.

A type is a short string.  That of an ion is its element symbol; a bead has a name of
its own ("P4", "CA", "ALA:CA"), and no element.
"""

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from openmm.app import Element, Topology

#: Characters of the longest type.
LONGEST = 16
#: What an atom's type can be taken from.
CHOICES = ("element", "name", "residue:name")


def element(kind: str) -> Element | None:
    """The OpenMM Element whose symbol a type is, spelt as in the periodic table; None for a bead."""
    try:
        found = Element.getBySymbol(kind)
    except KeyError:
        return None
    # OpenMM takes any case: "CA", a C-alpha, would be calcium.
    return found if Element.getByAtomicNumber(found.atomic_number).symbol == kind else None


def atomic_number(kind: str) -> int:
    """Atomic number of the element whose symbol a type is, 0 for a bead."""
    found = element(kind)
    return 0 if found is None else found.atomic_number


def as_types(species: Iterable[Any]) -> list[str]:
    """Types of particles given as types or as atomic numbers.

    Raises
    ------
    ValueError
        For a number of no element.
    """
    if isinstance(species, str) or not isinstance(species, Iterable):
        raise ValueError(f"species is {reprlib.repr(species)}: give a list of types, or of atomic numbers")
    names = []
    for value in species:
        if isinstance(value, str):
            names.append(str(value))
            continue
        try:
            names.append(Element.getByAtomicNumber(int(value)).symbol)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"species holds {reprlib.repr(value)}, the atomic number of no element: "
                "give types, such as 'Li', or atomic numbers, such as 3"
            ) from error
    return names


def check_topology(topology: Any) -> None:
    """Refuse what is no Topology of OpenMM: a path, None, one of mdtraj."""
    if not isinstance(topology, Topology):
        remedy = "call its to_openmm()" if hasattr(topology, "to_openmm") else "read a PDB file with openmm.app.PDBFile"
        raise TypeError(
            f"topology is an object of type {type(topology).__name__}, not openmm.app.Topology: {remedy}, or take "
            "Frames.topology()"
        )


def check_type(kind: str) -> None:
    """Refuse what is no type: an empty string, a long one, one with blanks."""
    if not 1 <= len(kind) <= LONGEST or not kind.isprintable() or any(letter.isspace() for letter in kind):
        raise ValueError(
            f"types holds {reprlib.repr(kind)}: give 1 to {LONGEST} printable characters without blanks, such as 'P4'"
        )


def ordered(types: Iterable[str]) -> list[str]:
    """The different types among those given: elements by atomic number, then beads by name."""
    return sorted(set(map(str, types)), key=lambda kind: (atomic_number(kind) or np.inf, kind))


def pair_of(name: str, types: Iterable[str]) -> tuple[str, str]:
    """The two types of a pair "A-B"; a type may have a hyphen of its own, as "CL-" has."""
    known, parts = set(types), name.split("-")
    splits = [("-".join(parts[:i]), "-".join(parts[i:])) for i in range(1, len(parts))]
    return next((a, b) for a, b in splits if {a, b} <= known)


def atom_types(
    atoms: Iterable[Any],
    choice: str | Sequence[str] | None = None,
    known: Sequence[str] | None = None,
    elements: bool | None = None,
) -> list[str]:
    """The type of each atom of a topology.

    Parameters
    ----------
    atoms : iterable of openmm.app.topology.Atom or mdtraj.core.topology.Atom
    choice : "element", "name", "residue:name", or list of str
        Of what the type is made, or the types themselves, one for each atom.  None: the
        element if all of `known` are elements; else the first of residue:name, name and
        element that is among them, and the name where none is.
    known : list of str, optional
        The types to choose among where `choice` is None; without them, the elements where
        all atoms have one, else the names.
    elements : bool, optional
        Whether all of `known` are elements; None: if their names are symbols.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        For another `choice`, a list of another length, an atom without an element where that is asked for.
    """
    atoms = list(atoms)
    if choice is not None and not isinstance(choice, str):
        if len(choice) != len(atoms):
            raise ValueError(f"types has {len(choice)} entries for {len(atoms)} atoms: give one type for each atom")
        return as_types(choice)
    if choice is None:
        if known is None:
            choice = "element" if all(symbol(atom) for atom in atoms) else "name"
        elif all(map(atomic_number, known)) if elements is None else elements:
            choice = "element"
        else:
            return [_among(atom, set(known)) for atom in atoms]
    if choice == "name":
        return [atom.name for atom in atoms]
    if choice == "residue:name":
        return [f"{atom.residue.name}:{atom.name}" for atom in atoms]
    if choice != "element":
        raise ValueError(f"types is {choice!r}: choose {', '.join(CHOICES)}, or give a list with a type for each atom")
    bare = [atom for atom in atoms if not symbol(atom)]
    if bare:
        raise ValueError(
            f"topology has {len(bare)} atoms without an element (first: atom {bare[0].index}, {bare[0].name} of "
            f"{bare[0].residue.name}): give every atom its element, or say what the types are with types='name'"
        )
    return [symbol(atom) for atom in atoms]


def topology_of(
    types: Sequence[str], numbers: Iterable[int] | None = None, bonds: Iterable[Sequence[int]] = ()
) -> Topology:
    """OpenMM Topology of particles, each a residue of its own.

    Ions are named by their element, in capitals as PDB files have them; where there are beads, every
    particle is named by its type, and a type "ALA:CA" is the atom CA of a residue ALA.  Other bonded particles are of
    residues MOL: a bead CA alone in a residue CA would be read as calcium.

    Parameters
    ----------
    types : list of str
    numbers : list of int, optional
        Atomic numbers, 0 for no element; None: of the elements whose symbols the types are.
    bonds : list of (int, int)
    """
    numbers = map(atomic_number, types) if numbers is None else numbers
    elements = [Element.getByAtomicNumber(int(n)) if n else None for n in numbers]
    beads = any(found is None or found.symbol != kind for kind, found in zip(types, elements))
    topology, bonds = Topology(), list(bonds)
    chain = topology.addChain()
    atoms, bonded = [], {int(end) for bond in bonds for end in bond}
    for i, (kind, found) in enumerate(zip(types, elements)):
        residue, _, name = str(kind if beads else kind.upper()).rpartition(":")
        residue = residue or ("MOL" if i in bonded else name)
        atoms.append(topology.addAtom(name, found, topology.addResidue(residue, chain)))
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    return topology


def symbol(atom: Any) -> str:
    """Element symbol of an atom of a topology; empty where it has none."""
    # mdtraj has an element, of number 0, for what has none.
    return atom.element.symbol if atom.element is not None and atom.element.atomic_number else ""


def _among(atom: Any, known: set[str]) -> str:
    candidates = f"{atom.residue.name}:{atom.name}", atom.name, symbol(atom)
    return next((kind for kind in candidates if kind in known), atom.name)
