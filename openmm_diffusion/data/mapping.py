"""Maps of atoms to beads: rules that a user writes in a few lines, and the beads that they make of a topology.

A bead lies at R = sum_i w_i r_i over its atoms, with weights that sum to one.  The force on it is that of the map dual
to this one: the plain sum of the forces on its atoms for a centre of mass or of geometry, and the atom's own force
where the bead lies at one atom.  Then the mean of the bead's force is the gradient of the potential of mean force, as
long as each atom is in at most one bead and no rigid bond joins an atom of the sum with one outside it.

References
----------
Noid et al., J. Chem. Phys. 128, 244114 (2008); with rigid bonds, Ciccotti, Kapral & Vanden-Eijnden,
ChemPhysChem 6, 1809 (2005).
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..particles import check_type
from ..settings import read_yaml, validated
from ..space.beads import Beads
from ..space.molecules import BondGraph, WholeGroups

if TYPE_CHECKING:
    import mdtraj

log = logging.getLogger(__name__)

#: A bead in the making: its atoms, their weights in its position, whether they are in its force, and its type.
Made = tuple[np.ndarray, np.ndarray, np.ndarray, str]


class BeadRule(BaseModel):
    """A rule that makes beads of atoms.

    Attributes
    ----------
    type : str
        Type of the beads, 1 to 16 characters; or, taken from the topology, "residue", "name", "element" or
        "residue:name".  The last three are of the atom that the bead lies at.
    select : str or None
        The atoms, in mdtraj's selection language; either this or `residue`.
    residue : str, list of str, or None
        The atoms of all residues of this name.
    atoms : list of str or None
        With `residue`: only its atoms of these names, each of which every such residue must have.
    per : "residue", "molecule" or "atom"
        The atoms of one residue, or of one molecule by the topology's bonds, are one bead; or each atom is.
    at : str
        Where the bead lies: "mass" (centre of mass), "geometry" (mean of the atoms), "atom" (its only atom), or the
        name of one of its atoms.
    """

    model_config = ConfigDict(extra="forbid")

    type: str
    select: str | None = None
    residue: list[str] | None = None
    atoms: list[str] | None = Field(None, min_length=1)
    per: Literal["residue", "molecule", "atom"] = "residue"
    at: str = "mass"

    @field_validator("type", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("words such as NO, ON and YES are true or false in YAML: put the type in quotes")
        check_type(str(value))
        return str(value)

    @field_validator("residue", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_choice(self) -> "BeadRule":
        if (self.select is None) == (self.residue is None):
            raise ValueError(f"{self} needs its atoms by either select or residue: give one of the two")
        if self.atoms is not None and self.residue is None:
            raise ValueError(f"{self} has atoms without residue: name the residue, or use select")
        if self.atoms is not None and self.per != "residue":
            raise ValueError(f"{self} has atoms and per: {self.per}: atoms of a residue are one bead per residue")
        if self.per == "atom" and self.at not in ("mass", "geometry", "atom"):
            raise ValueError(f"{self} has per: atom and at: {self.at}: leave at out, each atom is a bead")
        return self

    def __str__(self) -> str:
        return f"the rule of bead {self.type}"


class Mapping(BaseModel):
    """A map of atoms to beads.

    Atoms that no rule names are dropped; an atom in two beads is refused.

    Attributes
    ----------
    beads : list of BeadRule
    bonds : list of (str, str) or None
        Pairs of bead types that are bonded within every residue that has both, beside the bonds that follow from
        those of the topology.
    rigid : "none", "hbonds", "water", list of (int, int), or None
        What was rigid in the simulation: the bonds of hydrogen, waters only, or pairs of atoms counted from 0.  It
        plays a part where forces are mapped only: a rigid bond between an atom of a bead's sum of forces and one
        outside it is refused.  None: nobody says, and such bonds of hydrogen are warned of.

    Examples
    --------
    >>> mapping = Mapping.read({"beads": [{"type": "W", "select": "water", "per": "residue", "at": "mass"}]})
    >>> mapping.beads[0].at
    'mass'
    """

    model_config = ConfigDict(extra="forbid")

    beads: list[BeadRule] = Field(min_length=1)
    bonds: list[tuple[str, str]] | None = None
    rigid: Literal["none", "hbonds", "water"] | list[tuple[int, int]] | None = None

    @field_validator("rigid", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ("none", "hbonds", "water"):
            raise ValueError("give none, hbonds, water, or pairs of atoms counted from 0")
        return value

    @classmethod
    def read(cls, source: "str | os.PathLike[str] | dict[str, Any] | Mapping") -> "Mapping":
        """A map from a YAML file, a dict, or a Mapping.

        Raises
        ------
        FileNotFoundError, ValueError
            With the path of the key, its value, and what it should be.
        """
        if isinstance(source, Mapping):
            return source
        if isinstance(source, dict):
            return validated(cls, source, "map")
        return validated(cls, read_yaml(Path(source)), str(source))

    def apply(self, topology: "mdtraj.Topology", bonds: np.ndarray | None = None) -> Beads:
        """The beads that the rules make of a topology.

        Parameters
        ----------
        topology : mdtraj Topology
        bonds : array, shape (n_bonds, 2), dtype int, optional
            Pairs of atoms that are bonded, beside those that the topology tells.

        Raises
        ------
        ValueError
            Where a rule matches nothing or lacks an atom, where an atom is in two beads, and where a mass is needed
            that nobody knows.
        """
        return _beads(self, _Atoms(topology, bonds))


class _Atoms:
    """What a map needs to know of a topology, as arrays over its atoms."""

    def __init__(self, topology: "mdtraj.Topology", more: np.ndarray | None) -> None:
        self.topology = topology
        self.all = list(topology.atoms)
        self.residues = list(topology.residues)
        self.residue = np.array([atom.residue.index for atom in self.all], dtype=np.int64)
        self.masses = np.array([_mass(atom) for atom in self.all])
        bonds = [(one.index, other.index) for one, other in topology.bonds] + ([] if more is None else more.tolist())
        bonded = {index for bond in bonds for index in bond}
        for residue in self.residues:
            if residue.is_water and not any(atom.index in bonded for atom in residue.atoms):
                bonds += _bonds_of_water(residue)
        pairs = np.sort(np.array(bonds, dtype=np.int64).reshape(-1, 2), axis=1)
        self.graph = BondGraph(len(self.all), np.unique(pairs, axis=0))

    @cached_property
    def unconnected(self) -> np.ndarray:
        """Residues whose bonds nobody tells, shape (n_residues,), dtype bool."""
        bonded = np.zeros(len(self.residues), dtype=bool)
        bonded[self.residue[self.graph.bonds]] = True
        chains = [one.n_atoms > 1 or one.is_protein or one.is_nucleic for one in self.residues]
        return ~bonded & np.array(chains, dtype=bool)

    def name(self, atom: int) -> str:
        return f"{self.all[atom].name} of {self.all[atom].residue} (number {atom})"


def _mass(atom: Any) -> float:
    if atom.element is not None and atom.element.atomic_number:
        return float(atom.element.mass)
    # The massless site of a water model has no element either.
    return 0.0 if atom.residue.is_water and atom.residue.n_atoms > 3 else np.nan


def _bonds_of_water(residue: Any) -> list[tuple[int, int]]:
    numbers = {atom.index: 0 if atom.element is None else atom.element.atomic_number for atom in residue.atoms}
    oxygens = [index for index, number in numbers.items() if number == 8]
    return [(oxygens[0], index) for index, number in numbers.items() if number == 1 and len(oxygens) == 1]


def _chosen(rule: BeadRule, atoms: _Atoms) -> np.ndarray:
    """The atoms of a rule, in ascending order."""
    if rule.select is not None:
        try:
            chosen = np.unique(atoms.topology.select(rule.select))
        except Exception as error:  # pyparsing's, and whatever evaluating a wrong expression raises
            raise ValueError(
                f"select of {rule} is {rule.select!r}, which mdtraj cannot read: see its atom selection language"
            ) from error
        if len(chosen) == 0:
            some = _list(sorted({atom.name for atom in atoms.all})[:12])
            raise ValueError(f"select of {rule} is {rule.select!r}, which matches no atom: the atom names are {some}")
        return chosen
    found: list[int] = []
    wanted = rule.residue or []
    for residue in atoms.residues:
        if residue.name not in wanted:
            continue
        names = [atom.name for atom in residue.atoms]
        for name in rule.atoms or ():
            if names.count(name) != 1:
                count = "no atom" if name not in names else f"{names.count(name)} atoms"
                raise ValueError(f"residue {residue} has {count} {name}, which {rule} asks for: it has {_list(names)}")
        found += [atom.index for atom in residue.atoms if rule.atoms is None or atom.name in rule.atoms]
    if not found:
        known = _list(sorted({residue.name for residue in atoms.residues}))
        raise ValueError(f"residue of {rule} is {_list(wanted)}, which the topology lacks: it has {known}")
    return np.array(found)


def _groups(rule: BeadRule, atoms: _Atoms) -> Iterable[np.ndarray]:
    """The atoms of each bead of a rule."""
    chosen = _chosen(rule, atoms)
    if rule.per == "atom":
        return np.split(chosen, len(chosen))
    if rule.per == "molecule":
        lost = np.flatnonzero(atoms.unconnected[atoms.residue[chosen]])
        if len(lost):
            raise ValueError(
                f"{rule} has per: molecule, but no bonds are known of {atoms.all[chosen[lost[0]]].residue}: give a "
                "topology with bonds (PDB with CONECT), or per: residue"
            )
    number = (atoms.graph.molecules() if rule.per == "molecule" else atoms.residue)[chosen]
    order = np.argsort(number, kind="stable")
    return np.split(chosen[order], np.flatnonzero(np.diff(number[order])) + 1)


def _place(rule: BeadRule, group: np.ndarray, atoms: _Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the atoms of a bead in its position, and whether they are in its force."""
    whole = np.ones(len(group), dtype=bool)
    if len(group) == 1 and rule.at in ("mass", "geometry", "atom"):
        return np.ones(1), whole
    if rule.at == "geometry":
        return np.full(len(group), 1 / len(group)), whole
    if rule.at == "mass":
        masses = atoms.masses[group]
        if not masses.sum() > 0:
            unknown = group[np.isnan(masses).argmax()]
            raise ValueError(
                f"atom {atoms.name(unknown)} has no element, so that the centre of mass of {rule} is not known: "
                "give at: geometry, or a topology with elements"
            )
        return masses / masses.sum(), whole
    residue = atoms.all[group[0]].residue
    if rule.at == "atom":
        raise ValueError(
            f"{rule} has at: atom, but matches {len(group)} atoms in {residue}: name the one (at: CA), or narrow select"
        )
    here = np.array([atoms.all[index].name == rule.at for index in group])
    if here.sum() != 1:
        names = _list(atoms.all[index].name for index in group)
        raise ValueError(
            f"at of {rule} is {rule.at}, the name of {here.sum() or 'no'} atom of its beads in {residue}: give mass, "
            f"geometry, or one of {names}"
        )
    return here.astype(np.float64), here


def _type(rule: BeadRule, group: np.ndarray, weights: np.ndarray, atoms: _Atoms) -> str:
    if rule.type == "residue":
        return atoms.all[group[0]].residue.name
    if rule.type not in ("name", "element", "residue:name"):
        return rule.type
    if np.count_nonzero(weights) != 1:
        raise ValueError(f"type {rule.type} is that of one atom, but the bead is of {len(group)}: give a type, or at")
    atom = atoms.all[group[weights.argmax()]]
    if rule.type == "element" and (atom.element is None or not atom.element.atomic_number):
        raise ValueError(f"atom {atoms.name(atom.index)} has no element: give the type of its bead another way")
    return {
        "name": atom.name,
        "element": "" if atom.element is None else atom.element.symbol,
        "residue:name": f"{atom.residue.name}:{atom.name}",
    }[rule.type]


def _beads(mapping: Mapping, atoms: _Atoms) -> Beads:
    made: list[Made] = []
    taken: dict[int, BeadRule] = {}
    for rule in mapping.beads:
        for group in _groups(rule, atoms):
            for index in group.tolist():
                if index in taken:
                    raise ValueError(
                        f"atom {atoms.name(index)} is in two beads, by {taken[index]} and by {rule}: give it to one"
                    )
                taken[index] = rule
            weights, summed = _place(rule, group, atoms)
            made.append((group, weights, summed, _type(rule, group, weights, atoms)))
    made.sort(key=lambda bead: bead[0][0])
    _say_what_is_dropped(atoms, taken)
    owner, summed_by = np.full((2, len(atoms.all)), -1, dtype=np.int64)
    weight_of = np.zeros(len(atoms.all))
    for number, (group, weights, summed, _) in enumerate(made):
        owner[group], weight_of[group] = number, weights
        summed_by[group[summed]] = number
    whole = WholeGroups.of([group[(weights > 0) | summed].tolist() for group, weights, summed, _ in made], atoms.graph)
    # A tree may pass through atoms of another bead, which have no part in this one.
    bead = np.repeat(np.arange(len(made)), np.diff(np.append(whole.starts, len(whole.nodes))))
    shares = summed_by[whole.nodes] == bead
    needed = np.unique(whole.nodes)
    return Beads(
        types=np.array([kind for _, _, _, kind in made]),
        species=np.array([_atomic_number(kind, group, atoms) for group, _, _, kind in made], dtype=np.int64),
        masses=np.array([atoms.masses[group].sum() for group, _, _, _ in made]),
        bonds=_bonds(mapping, made, owner, atoms),
        atoms=needed,
        n_atoms=len(atoms.all),
        whole=replace(whole, nodes=np.searchsorted(needed, whole.nodes)),
        weights=np.where(owner[whole.nodes] == bead, weight_of[whole.nodes], 0.0),
        shares=shares,
        torn=_torn(mapping, summed_by, atoms),
    )


def _atomic_number(kind: str, group: np.ndarray, atoms: _Atoms) -> int:
    element = atoms.all[group[0]].element
    single = len(group) == 1 and element is not None and element.symbol == kind
    return int(element.atomic_number) if single else 0


def _bonds(mapping: Mapping, made: list[Made], owner: np.ndarray, atoms: _Atoms) -> np.ndarray | None:
    """Pairs of beads that are bonded by the topology or by the map."""
    if mapping.bonds is None:
        lost = [atoms.residues[one] for one in np.unique(atoms.residue[owner >= 0]) if atoms.unconnected[one]]
        if lost or len(atoms.graph.bonds) == 0:
            names = _list(dict.fromkeys(residue.name for residue in lost))
            if lost:
                log.info("the topology tells no bonds of %s: bonds between beads are not known", names)
            return None
    declared = []
    residues = [atoms.residue[group[0]] for group, _, _, _ in made]
    for pair in mapping.bonds or ():
        places: list[dict[int, int]] = [{}, {}]
        for place, kind in zip(places, pair):
            for number, (bead, residue) in enumerate(zip(made, residues)):
                if bead[3] == kind and place.setdefault(residue, number) != number:
                    raise ValueError(
                        f"bonds of the map has {_list(pair)}, but {atoms.residues[residue]} holds several beads "
                        f"{kind}: give each a type of its own"
                    )
        declared += [(places[0][one], places[1][one]) for one in places[0].keys() & places[1].keys()]
        if pair[0] == pair[1] or not places[0].keys() & places[1].keys():
            raise ValueError(f"bonds of the map has {_list(pair)}, but no residue holds two such beads: correct it")
    pairs = np.concatenate([atoms.graph.contracted(owner), np.sort(np.reshape(declared, (-1, 2)), axis=1)])
    return np.unique(pairs.astype(np.int64), axis=0)


def _torn(mapping: Mapping, summed_by: np.ndarray, atoms: _Atoms) -> tuple[bool, str] | None:
    """The first bond that is, or may be, rigid and leaves the atoms whose forces are summed."""
    if isinstance(mapping.rigid, list):
        bonds = np.array(mapping.rigid, dtype=np.int64)
        if bonds.size and not (0 <= bonds.min() and bonds.max() < len(atoms.all)):
            raise ValueError(f"rigid names atom {bonds.max()}: give atoms from 0 to {len(atoms.all) - 1}")
    elif mapping.rigid == "none":
        return None
    else:
        bonds = atoms.graph.bonds
        if mapping.rigid == "water":
            kept = np.array([atoms.all[one].residue.is_water for one in bonds[:, 0]], dtype=bool)
        else:
            light = np.array([atom.element is not None and atom.element.atomic_number == 1 for atom in atoms.all])
            kept = light[bonds[:, 0]] | light[bonds[:, 1]]
        bonds = bonds[kept]
    crossing = bonds[summed_by[bonds[:, 0]] != summed_by[bonds[:, 1]]] if len(bonds) else bonds
    if len(crossing) == 0:
        return None
    one, other = crossing[0]
    return mapping.rigid is not None, f"{atoms.name(one)} - {atoms.name(other)}"


def _say_what_is_dropped(atoms: _Atoms, taken: dict[int, BeadRule]) -> None:
    dropped = Counter(atom.residue.name for atom in atoms.all if atom.index not in taken)
    if dropped:
        counts = ", ".join(f"{count} of {name}" for name, count in dropped.most_common(12))
        log.info("%d of %d atoms are in no bead and dropped: %s", dropped.total(), len(atoms.all), counts)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
