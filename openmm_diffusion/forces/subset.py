"""The particles of a model among the atoms of a topology: all of them, or some in an order of their own."""

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from openmm import app

from ..particles import check_topology


def bonds_of(topology: app.Topology) -> list[tuple[int, int]]:
    """Bonded particles of a topology, by their numbers."""
    return [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()]


class Subset:
    """Atoms of a topology that are the particles of a model, in the order given.

    It is read as a topology of these atoms alone, but they keep their numbers, which errors can name.

    Parameters
    ----------
    topology : openmm.app.Topology
        That of the whole System.
    atoms : iterable of int, optional
        Numbers of the atoms; None: all of them.

    Attributes
    ----------
    n_system : int
        Particles of the System.
    indices : list of int, or None
        Number of each particle of the model in the System; None: all, in their order.
    bonds : list of (int, int)
        Bonded particles, by their places in the subset.

    Raises
    ------
    ValueError
        For numbers that are none of an atom or that are given twice, and where a bond leads out of the subset: the
        model would take its molecule for another one.
    """

    def __init__(self, topology: app.Topology, atoms: Iterable[int] | None = None) -> None:
        check_topology(topology)
        self.topology = topology
        everyone = list(topology.atoms())
        self.n_system = len(everyone)
        self.indices = None if atoms is None else _checked(list(atoms), len(everyone))
        self._atoms = everyone if self.indices is None else [everyone[i] for i in self.indices]
        place = {atom.index: number for number, atom in enumerate(self._atoms)}
        bonds = [bond for bond in bonds_of(topology) if bond[0] in place or bond[1] in place]
        cut = next((bond for bond in bonds if bond[0] not in place or bond[1] not in place), None)
        if cut is not None:
            raise ValueError(
                f"atoms cuts the bond between atoms {cut[0]} and {cut[1]} of topology: give whole molecules, or remove "
                "the bond from topology if the model was trained without it"
            )
        self.bonds = [(place[i], place[j]) for i, j in bonds]

    def __len__(self) -> int:
        return len(self._atoms)

    def atoms(self) -> list[Any]:
        """The atoms, as the topology has them."""
        return self._atoms


def _checked(atoms: Sequence[Any], n_system: int) -> list[int]:
    wrong = next((i for i in atoms if not isinstance(i, numbers.Integral) or not 0 <= int(i) < n_system), None)
    if wrong is not None:
        raise ValueError(f"atoms holds {wrong!r}: give numbers of atoms of topology, from 0 to {n_system - 1}")
    if not atoms:
        raise ValueError("atoms is empty: give the numbers of the atoms that the model is of, or leave it out for all")
    chosen = [int(i) for i in atoms]
    if len(set(chosen)) < len(chosen):
        twice = next(i for i in chosen if chosen.count(i) > 1)
        raise ValueError(f"atoms holds {twice} twice: give each atom once")
    return chosen
