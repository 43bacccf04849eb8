"""A rule of a map: which atoms become beads, where each lies, and what it is called."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ...particles import CHOICES, atom_types, check_type
from .atoms import Atoms, listed


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

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

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


def _chosen(rule: BeadRule, atoms: Atoms) -> np.ndarray:
    """The atoms of a rule, in ascending order."""
    if rule.select is not None:
        try:
            chosen = np.unique(atoms.topology.select(rule.select))
        except (ValueError, TypeError, SyntaxError, AttributeError) as error:
            raise ValueError(
                f"select of {rule} is {rule.select!r}, which mdtraj cannot read: see its atom selection language"
            ) from error
        if len(chosen) == 0:
            some = listed(sorted({atom.name for atom in atoms.all})[:12])
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
                raise ValueError(f"residue {residue} has {count} {name}, which {rule} asks for: it has {listed(names)}")
        found += [atom.index for atom in residue.atoms if rule.atoms is None or atom.name in rule.atoms]
    if not found:
        known = listed(sorted({residue.name for residue in atoms.residues}))
        raise ValueError(f"residue of {rule} is {listed(wanted)}, which the topology lacks: it has {known}")
    return np.array(found)


def groups_of(rule: BeadRule, atoms: Atoms) -> Iterable[np.ndarray]:
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


def place_of(rule: BeadRule, group: np.ndarray, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
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
                "give at: geometry, or a topology with elements or masses"
            )
        return masses / masses.sum(), whole
    residue = atoms.all[group[0]].residue
    if rule.at == "atom":
        raise ValueError(
            f"{rule} has at: atom, but matches {len(group)} atoms in {residue}: name the one (at: CA), or narrow select"
        )
    here = np.array([atoms.all[index].name == rule.at for index in group])
    if here.sum() != 1:
        names = listed(atoms.all[index].name for index in group)
        raise ValueError(
            f"at of {rule} is {rule.at}, the name of {here.sum() or 'no'} atom of its beads in {residue}: give mass, "
            f"geometry, or one of {names}"
        )
    return here.astype(np.float64), here


def type_of(rule: BeadRule, group: np.ndarray, weights: np.ndarray, atoms: Atoms) -> str:
    """The type of a bead."""
    if rule.type == "residue":
        return atoms.all[group[0]].residue.name
    if rule.type not in CHOICES:
        return rule.type
    if np.count_nonzero(weights) != 1:
        raise ValueError(f"type {rule.type} is that of one atom, but the bead is of {len(group)}: give a type, or at")
    return atom_types([atoms.all[group[weights.argmax()]]], rule.type)[0]
