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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...particles import symbol
from ...settings import read_yaml, validated
from ...space.beads import Beads
from ...space.molecules import WholeGroups
from ...units import shown
from .atoms import Atoms, listed
from .rules import BeadRule, groups_of, place_of, type_of

if TYPE_CHECKING:
    import mdtraj

log = logging.getLogger(__name__)

#: A bead in the making: its atoms, their weights in its position, whether they are in its force, and its type.
Made = tuple[np.ndarray, np.ndarray, np.ndarray, str]


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

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

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
        if not isinstance(source, (str, os.PathLike)):
            raise TypeError(f"map is {shown(source)}: give a path, a dict or a Mapping")
        return validated(cls, read_yaml(Path(source)), str(source))

    def apply(
        self, topology: "mdtraj.Topology", bonds: np.ndarray | None = None, masses: np.ndarray | None = None
    ) -> Beads:
        """The beads that the rules make of a topology.

        Parameters
        ----------
        topology : mdtraj Topology
        bonds : array, shape (n_bonds, 2), dtype int, optional
            Pairs of atoms that are bonded, beside those that the topology tells.
        masses : array, shape (n_atoms,), amu, optional
            Of atoms that have no element.

        Raises
        ------
        ValueError
            Where a rule matches nothing or lacks an atom, where an atom is in two beads, and where a mass is needed
            that nobody knows.
        """
        return _beads(self, Atoms(topology, bonds, masses))


def _beads(mapping: Mapping, atoms: Atoms) -> Beads:
    made: list[Made] = []
    taken: dict[int, BeadRule] = {}
    for rule in mapping.beads:
        for group in groups_of(rule, atoms):
            for index in group.tolist():
                if index in taken:
                    raise ValueError(
                        f"atom {atoms.name(index)} is in two beads, by {taken[index]} and by {rule}: give it to one"
                    )
                taken[index] = rule
            weights, summed = place_of(rule, group, atoms)
            made.append((group, weights, summed, type_of(rule, group, weights, atoms)))
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
        # A massless site alone has no mass that a simulation could use.
        masses=np.array([atoms.masses[group].sum() or np.nan for group, _, _, _ in made]),
        bonds=_bonds(mapping, made, owner, atoms),
        atoms=needed,
        n_atoms=len(atoms.all),
        whole=replace(whole, nodes=np.searchsorted(needed, whole.nodes)),
        weights=np.where(owner[whole.nodes] == bead, weight_of[whole.nodes], 0.0),
        shares=shares,
        torn=_torn(mapping, summed_by, atoms),
    )


def _atomic_number(kind: str, group: np.ndarray, atoms: Atoms) -> int:
    atom = atoms.all[group[0]]
    return int(atom.element.atomic_number) if len(group) == 1 and symbol(atom) == kind else 0


def _bonds(mapping: Mapping, made: list[Made], owner: np.ndarray, atoms: Atoms) -> np.ndarray | None:
    """Pairs of beads that are bonded by the topology or by the map."""
    if mapping.bonds is None:
        lost = [atoms.residues[one] for one in np.unique(atoms.residue[owner >= 0]) if atoms.unconnected[one]]
        if lost or len(atoms.graph.bonds) == 0:
            if lost:
                names = listed(dict.fromkeys(residue.name for residue in lost))
                log.info("the topology tells no bonds of %s: bonds between beads are not known", names)
            return None
    pairs = [atoms.graph.contracted(owner)]
    places: dict[tuple[int, str], list[int]] = {}
    for number, (group, _, _, kind) in enumerate(made):
        places.setdefault((int(atoms.residue[group[0]]), kind), []).append(number)
    for one, other in mapping.bonds or ():
        both = [residue for residue, kind in places if kind == one and one != other and (residue, other) in places]
        if not both:
            raise ValueError(f"bonds of the map has {one}, {other}, but no residue holds two such beads: correct it")
        for residue in both:
            ends = places[residue, one] + places[residue, other]
            if len(ends) > 2:
                raise ValueError(
                    f"bonds of the map has {one}, {other}, but {atoms.residues[residue]} holds several beads of one of "
                    "these types: give each a type of its own"
                )
            pairs.append(np.sort(ends)[None])
    return np.unique(np.concatenate(pairs), axis=0)


def _torn(mapping: Mapping, summed_by: np.ndarray, atoms: Atoms) -> tuple[bool, str] | None:
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
            light = np.array([symbol(atom) == "H" for atom in atoms.all])
            kept = light[bonds[:, 0]] | light[bonds[:, 1]]
        bonds = bonds[kept]
    crossing = bonds[summed_by[bonds[:, 0]] != summed_by[bonds[:, 1]]] if len(bonds) else bonds
    if len(crossing) == 0:
        return None
    one, other = crossing[0]
    return mapping.rigid is not None, f"{atoms.name(one)} - {atoms.name(other)}"


def _say_what_is_dropped(atoms: Atoms, taken: dict[int, BeadRule]) -> None:
    dropped = Counter(atom.residue.name for atom in atoms.all if atom.index not in taken)
    if dropped:
        counts = ", ".join(f"{count} of {name}" for name, count in dropped.most_common(12))
        log.info("%d of %d atoms are in no bead and dropped: %s", dropped.total(), len(atoms.all), counts)
