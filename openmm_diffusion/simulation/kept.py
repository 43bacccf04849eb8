"""What is kept of an all-atom run: atoms or beads, and on each a force whose mean is the mean force.

A frame of kept particles R is labelled with a force whose average over everything else is -grad W(R), W the potential
of mean force.  Where no constraint touches an atom that is kept, that is the force on the atom itself; on a bead it is
the sum over its atoms.  An atom in a rigid unit (the oxygen of rigid water, a carbon with rigid bonds to its hydrogens)
cannot move without the rest of the unit, which the constraints drag along, so the force on it alone is the wrong label:
shifting whole units moves the particle by as much, keeps every constraint and moves no other one, so the right label
is the sum over all units that the particle I has atoms of::

    F_I = sum_(j in units of I) f_j,    f_j: total force on atom j without those of constraints

Two particles with atoms of one unit have no such label: where both are atoms, their distance is fixed, and no density
exists in their coordinates.

References
----------
Noid et al., J. Chem. Phys. 128, 244114 (2008); Ciccotti, Kapral and Vanden-Eijnden, ChemPhysChem 6, 1809 (2005);
Kraemer et al., J. Phys. Chem. Lett. 14, 3970 (2023).
"""

import logging

import mdtraj
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ..data.mapping import Mapping
from ..particles import atom_types

logger = logging.getLogger(__name__)


class Kept:
    """Atoms of choice, or beads, of an all-atom System.

    Parameters
    ----------
    config : GenerateConfig
    topology : app.Topology
    system : openmm.System

    Attributes
    ----------
    species : array, shape (n_kept,), dtype int64
        Atomic numbers; 0 for a bead.
    types : array, shape (n_kept,), dtype str
    bonds : array, shape (n_bonds, 2), dtype int64, or None
        Bonds among the kept particles, i < j.
    masses : array, shape (n_kept,), amu, or None
        Of beads; None: those of the elements.
    labelled : bool
        Whether there are force labels.

    Raises
    ------
    ValueError
        If nothing is kept, or a selection or the map cannot be read.
    """

    def __init__(self, config, topology, system):
        atoms = list(topology.atoms())
        if config.map is None:
            self._beads = None
            members = self._indices = _chosen(config, topology)
            owners = np.arange(len(members))
            kept = [atoms[index] for index in members]
            self.species = np.array([atom.element.atomic_number for atom in kept], dtype=np.int64)
            self.types = _types(config, topology, kept)
            self.bonds, self.masses = _bonds_among(members, topology), None
        else:
            self._beads = beads = Mapping.read(config.map).apply(mdtraj.Topology.from_openmm(topology))
            counts = np.diff([*beads.whole.starts, len(beads.whole.nodes)])
            weighed = beads.weights > 0
            members = beads.atoms[beads.whole.nodes[weighed]]
            owners = np.repeat(np.arange(len(beads.types)), counts)[weighed]
            self.species, self.types, self.bonds, self.masses = beads.species, beads.types, beads.bonds, beads.masses
        self._box = config.edge * np.eye(3)[None] if config.periodic else None
        self._units, self._members, self._owners = rigid_units(system), members, owners
        self._sum, torn = unit_sums(self._units, members, owners)
        self.labelled = not torn
        if torn:
            logger.warning(
                "no forces are written: rigid bonds join two particles that are kept (%s and %s of %s), and no force "
                "on them is minus a gradient; keep one atom of each rigid unit, or make a bead of the whole by map",
                *(atoms[index].name for index in torn),
                atoms[torn[0]].residue.name,
            )

    def atom(self, number):
        """The atom that a kept particle lies at, or None where its position is that of several atoms."""
        atoms = self._members[self._owners == number]
        return int(atoms[0]) if len(atoms) == 1 else None

    def rigid(self, one, other):
        """Whether rigid bonds join two atoms of the System."""
        return bool(self._units[one] == self._units[other])

    def positions(self, positions):
        """Positions of what is kept, (n_kept, 3), from those of all atoms, (n_atoms, 3), nm."""
        if self._beads is None:
            return positions[self._indices]
        return self._beads.positions(positions[None, self._beads.atoms], self._box)[0]

    def forces(self, forces):
        """Labels of what is kept, (n_kept, 3), from the forces on all atoms, (n_atoms, 3), kJ/mol/nm."""
        return self._sum @ forces


def rigid_units(system):
    """Which rigid unit each particle of a System belongs to: those joined by constraints have one number, (n,)."""
    ends = [system.getConstraintParameters(index)[:2] for index in range(system.getNumConstraints())]
    one, other = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    n = system.getNumParticles()
    return connected_components(sparse.coo_array((np.ones(len(one)), (one, other)), shape=(n, n)), directed=False)[1]


def unit_sums(units, members, owners):
    """The sum of forces over the rigid units of each particle that is kept.

    Parameters
    ----------
    units : array, shape (n_atoms,), dtype int
        From `rigid_units`.
    members, owners : array, shape (n_members,), dtype int
        Atoms with a weight in the position of a particle, and that particle, 0 to n_kept - 1.

    Returns
    -------
    sums : sparse array, shape (n_kept, n_atoms)
        Its product with the forces (n_atoms, 3) is that with the labels.
    torn : list of int
        Two atoms of the first rigid unit that two particles share; empty if there is none, and the labels are right.
    """
    owner = np.full(units.max() + 1, -1)
    owner[units[members]] = owners
    shared = np.flatnonzero(owner[units[members]] != owners)
    torn = []
    if len(shared):
        one, of_unit = members[shared[0]], members[units[members] == units[members[shared[0]]]]
        torn = [int(one), int(of_unit[-1])]
    summed = np.flatnonzero(owner[units] >= 0)
    shape = (owners.max() + 1, len(units))
    return sparse.csr_array((np.ones(len(summed)), (owner[units[summed]], summed)), shape=shape), torn


def _bonds_among(indices, topology):
    """Bonds of a topology among some of its atoms, (n_bonds, 2), numbered as they stand in `indices`."""
    number = {index: rank for rank, index in enumerate(indices.tolist())}
    bonds = [(one.index, other.index) for one, other in topology.bonds()]
    inside = sorted({tuple(sorted((number[i], number[j]))) for i, j in bonds if i in number and j in number})
    return np.array(inside, dtype=np.int64).reshape(-1, 2)


def _chosen(config, topology):
    """Indices of the atoms to keep, ascending."""
    atoms = list(topology.atoms())
    n_ions, n_waters = sum(config.composition.values()), config.n_waters
    n_solute = len(atoms) - n_ions - 3 * n_waters
    heavy = [atom.index for atom in atoms[:n_solute] if atom.element.symbol != "H"]
    named = {
        "ions": range(n_solute, n_solute + n_ions),
        "water oxygens": range(n_solute + n_ions, len(atoms), 3),
        "solute": range(n_solute),
        "solute heavy atoms": heavy,
        "all": range(len(atoms)),
    }
    found = named[config.kept] if config.kept in named else _select(config.kept, topology, "keep")
    if not len(found):
        raise ValueError(f"keep is {config.kept!r}, of which there is none here: keep something else")
    return np.array(found, dtype=np.int64)


def _types(config, topology, kept):
    """The type of each kept atom."""
    if not isinstance(config.types, dict):
        return np.array(atom_types(kept, config.types))
    types = {atom.index: atom.element.symbol for atom in kept}
    for name, selection in config.types.items():
        chosen = types.keys() & set(_select(selection, topology, f"types.{name}").tolist())
        if not chosen:
            raise ValueError(f"types.{name} is {selection!r}, which chooses no kept atom: choose some, or leave it out")
        types |= dict.fromkeys(chosen, name)
    return np.array([types[atom.index] for atom in kept])


def _select(text, topology, key):
    """Atoms that mdtraj's selection language chooses."""
    try:
        return np.unique(mdtraj.Topology.from_openmm(topology).select(text)).astype(np.int64)
    except Exception as error:  # the parser raises whatever a wrong expression makes it raise
        raise ValueError(
            f"{key} is {text!r}, which is no selection that mdtraj can read: use its atom selection language, "
            "such as 'water and name O'"
        ) from error
