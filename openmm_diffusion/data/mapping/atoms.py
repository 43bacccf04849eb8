"""A topology as a map reads it: its atoms, their masses, and the bonds that are known."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...particles import symbol
from ...space.molecules import BondGraph

if TYPE_CHECKING:
    import mdtraj


#: The second oxygen at the end of a protein, as the Protein Data Bank, AMBER, CHARMM and GROMACS name it.
TERMINAL_OXYGENS = {"OXT", "OT", "OT2", "O2", "OC2"}


class Atoms:
    """What a map needs to know of a topology, as arrays over its atoms.

    Attributes
    ----------
    topology : mdtraj Topology
    all, residues : list
        Its atoms and residues.
    residue : array, shape (n_atoms,), dtype int64
        The residue of each atom.
    masses : array, shape (n_atoms,), amu
        NaN where nobody tells.
    graph : BondGraph
        The bonds that the topology tells, those that were given beside, and those of water.
    """

    def __init__(self, topology: "mdtraj.Topology", more: np.ndarray | None, masses: np.ndarray | None) -> None:
        self.topology = topology
        self.all = list(topology.atoms)
        self.residues = list(topology.residues)
        self.residue = np.array([atom.residue.index for atom in self.all], dtype=np.int64)
        self.masses = np.array([_mass(atom) for atom in self.all])
        if masses is not None:
            self.masses = np.where(np.isnan(self.masses), masses, self.masses)
        bonds = [(one.index, other.index) for one, other in topology.bonds if not _from_end_to_end(one, other)]
        bonds += [] if more is None else more.tolist()
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
        """An atom by its name, residue and number, for a sentence."""
        return f"{self.all[atom].name} of {self.all[atom].residue} (number {atom})"


def _from_end_to_end(one: Any, other: Any) -> bool:
    """Whether a bond would join the end of a chain with the next chain's beginning.

    A file that knows no chains (.gro) has all molecules in one, and mdtraj joins every residue with the next.
    """
    if one.residue is other.residue or {one.name, other.name} != {"C", "N"}:
        return False
    last = one.residue if one.name == "C" else other.residue
    return any(atom.name in TERMINAL_OXYGENS for atom in last.atoms)


def _mass(atom: Any) -> float:
    if symbol(atom):
        return float(atom.element.mass)
    # The massless site of a water model has no element either.
    return 0.0 if atom.residue.is_water and atom.residue.n_atoms > 3 else np.nan


def _bonds_of_water(residue: Any) -> list[tuple[int, int]]:
    oxygens = [atom.index for atom in residue.atoms if symbol(atom) == "O"]
    hydrogens = [atom.index for atom in residue.atoms if symbol(atom) == "H"]
    return [(oxygens[0], hydrogen) for hydrogen in hydrogens] if len(oxygens) == 1 else []


def listed(names: Iterable[str]) -> str:
    """Names for a sentence."""
    return ", ".join(names)
