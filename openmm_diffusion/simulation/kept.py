"""What is kept of an all-atom run: some of its atoms, and on each a force whose mean is the mean force.

A frame of kept atoms R is labelled with a force whose average over everything else is -grad W(R), W the potential of
mean force.  Where no constraint touches a kept atom, that is the force on the atom itself.  A kept atom in a rigid
unit (the oxygen of rigid water, a carbon with rigid bonds to its hydrogens) cannot move without the rest of the unit,
which the constraints drag along, so the force on it alone is the wrong label: shifting the whole unit moves the atom
by as much, keeps every constraint and moves no other kept atom, so the right one is the sum over the unit::

    F_I = sum_(j in unit of I) f_j,    f_j: total force on atom j without those of constraints

Two kept atoms in one unit have no such label: their distance is fixed, and no density exists in their coordinates.

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

logger = logging.getLogger(__name__)


class KeptAtoms:
    """Atoms of choice of an all-atom System.

    Parameters
    ----------
    config : GenerateConfig
    topology : app.Topology
    system : openmm.System

    Attributes
    ----------
    species : array, shape (n_kept,), dtype int64
        Atomic numbers.
    types : array, shape (n_kept,), dtype str
    bonds : array, shape (n_bonds, 2), dtype int64
        Bonds of the topology among the kept atoms, i < j.
    labelled : bool
        Whether there are force labels.

    Raises
    ------
    ValueError
        If no atom is kept, or a selection cannot be read.
    """

    def __init__(self, config, topology, system):
        atoms = list(topology.atoms())
        self._indices = _chosen(config, topology)
        if not len(self._indices):
            raise ValueError(f"keep is {config.kept!r}, of which there is none here: keep something else")
        kept = [atoms[index] for index in self._indices]
        self.species = np.array([atom.element.atomic_number for atom in kept], dtype=np.int64)
        self.types = _types(config, topology, kept)
        number = {index: rank for rank, index in enumerate(self._indices.tolist())}
        bonds = [sorted((one.index, other.index)) for one, other in topology.bonds()]
        inside = sorted([number[i], number[j]] for i, j in bonds if i in number and j in number)
        self.bonds = np.array(inside, dtype=np.int64).reshape(-1, 2)
        self._sum, torn = unit_sums(rigid_units(system), self._indices)
        self.labelled = not torn
        if torn:
            names = " and ".join(atoms[index].name for index in torn[:2])
            logger.warning(
                "no forces are written: rigid bonds join kept atoms (%s of %s), and no force on them is minus a "
                "gradient; keep one atom of each rigid unit, or make beads of them by map",
                names,
                atoms[torn[0]].residue.name,
            )

    def positions(self, positions):
        """Positions of the kept atoms, (n_kept, 3), from those of all atoms, (n_atoms, 3), nm."""
        return positions[self._indices]

    def forces(self, forces):
        """Labels of the kept atoms, (n_kept, 3), from the forces on all atoms, (n_atoms, 3), kJ/mol/nm."""
        return self._sum @ forces


def rigid_units(system):
    """Which rigid unit each particle of a System belongs to: those joined by constraints have one number, (n,)."""
    ends = [system.getConstraintParameters(index)[:2] for index in range(system.getNumConstraints())]
    one, other = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    n = system.getNumParticles()
    return connected_components(sparse.coo_array((np.ones(len(one)), (one, other)), shape=(n, n)), directed=False)[1]


def unit_sums(units, indices):
    """The sum of forces over the rigid unit of each kept atom.

    Parameters
    ----------
    units : array, shape (n_particles,), dtype int
        From `rigid_units`.
    indices : array, shape (n_kept,), dtype int

    Returns
    -------
    sums : sparse array, shape (n_kept, n_particles)
        Its product with the forces (n_particles, 3) is that with the labels.
    torn : list of int
        Kept atoms of the first rigid unit that holds several; empty if there is none, and the labels are right.
    """
    of_kept = units[indices]
    shared = np.flatnonzero(np.bincount(of_kept) > 1)
    torn = indices[of_kept == shared[0]].tolist() if len(shared) else []
    rank = np.full(units.max() + 1, -1)
    rank[of_kept] = np.arange(len(of_kept))
    summed = np.flatnonzero(rank[units] >= 0)
    shape = (len(indices), len(units))
    return sparse.csr_array((np.ones(len(summed)), (rank[units[summed]], summed)), shape=shape), torn


def _chosen(config, topology):
    """Indices of the atoms to keep, ascending."""
    atoms = list(topology.atoms())
    n_ions, n_waters = sum(config.composition.values()), config.n_waters
    n_solute = len(atoms) - n_ions - 3 * n_waters
    if config.kept == "all":
        return np.arange(len(atoms))
    if config.kept == "ions":
        return np.arange(n_solute, n_solute + n_ions)
    if config.kept == "water oxygens":
        return np.arange(n_solute + n_ions, len(atoms), 3)
    if config.kept == "solute":
        return np.arange(n_solute)
    if config.kept == "solute heavy atoms":
        return np.array([atom.index for atom in atoms[:n_solute] if atom.element.symbol != "H"], dtype=np.int64)
    return _select(config.kept, topology, "keep")


def _types(config, topology, kept):
    """The type of each kept atom."""
    if config.types == "name":
        return np.array([atom.name for atom in kept])
    if config.types == "residue:name":
        return np.array([f"{atom.residue.name}:{atom.name}" for atom in kept])
    types = {atom.index: atom.element.symbol for atom in kept}
    for name, selection in config.types.items() if isinstance(config.types, dict) else ():
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
