"""Beads: where they are, and what force is on them, from the atoms that they stand for."""

import logging
from dataclasses import dataclass

import numpy as np

from .molecules import WholeGroups, wrapped

log = logging.getLogger(__name__)

#: Rigid bonds and forces that are summed do not go together; what helps.
RIGID_REMEDY = "put both atoms into one bead at: mass, or take the forces from a run without rigid bonds"

#: Share of the box's smallest width within which an atom without bonds is taken to be near the first of its bead.
FARTHEST = 0.4


@dataclass(frozen=True, eq=False)
class Beads:
    """The beads that a map makes of a topology, and how atoms become them.

    Attributes
    ----------
    types : array, shape (n_beads,), dtype str
    species : array, shape (n_beads,), dtype int64
        The atomic number where a bead is a single atom and its type the symbol of the element, else 0.
    masses : array, shape (n_beads,), amu
        Sums over atoms; NaN where the mass of one is not known.
    bonds : array, shape (n_bonds, 2), dtype int64, or None
        Pairs i < j; None where nothing is known of them.
    atoms : array, shape (n_needed,), dtype int64
        The atoms of the topology that the beads are computed from, in ascending order.
    n_atoms : int
        Of the topology.
    whole : WholeGroups
        The atoms of each bead, as indices into `atoms`.
    weights : array, shape (n_nodes,)
        Of each node of `whole` in the position of its bead.
    shares : array, shape (n_nodes,), dtype bool
        Whether the force on a node is a part of that on its bead.
    torn : (bool, str) or None
        A bond, rigid for sure or perhaps, that joins an atom of a sum of forces with one outside it.
    """

    types: np.ndarray
    species: np.ndarray
    masses: np.ndarray
    bonds: np.ndarray | None
    atoms: np.ndarray
    n_atoms: int
    whole: WholeGroups
    weights: np.ndarray
    shares: np.ndarray
    torn: tuple[bool, str] | None = None

    def positions(self, positions: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
        """Where the beads are, each made whole before it is averaged, and wrapped into the box.

        Parameters
        ----------
        positions : array, shape (n_frames, n_needed, 3), nm
            Of `atoms`.
        box : array, shape (n_frames, 3, 3), nm, or None
            Reduced box vectors; None: no periodicity, molecules are whole as they are.

        Returns
        -------
        array, shape (n_frames, n_beads, 3), dtype float32, nm
        """
        vectors = self.whole.from_roots(positions, box)
        self._check_compact(vectors, box)
        roots = positions[:, self.whole.nodes[self.whole.starts]].astype(np.float64)
        return wrapped(roots + self.whole.sums(vectors * self.weights[:, None]), box).astype(np.float32)

    def forces(self, forces: np.ndarray) -> np.ndarray:
        """The forces on the beads, of the map dual to that of the positions.

        Parameters
        ----------
        forces : array, shape (n_frames, n_needed, 3), kJ/mol/nm
            On `atoms`; NaN stays NaN.

        Returns
        -------
        array, shape (n_frames, n_beads, 3), dtype float32, kJ/mol/nm
        """
        of_nodes = forces[:, self.whole.nodes].astype(np.float64)
        # Not a product: an atom that has no part must not bring its NaN in.
        of_nodes[:, self.shares == 0] = 0
        return self.whole.sums(of_nodes).astype(np.float32)

    def check_rigid(self) -> None:
        """Refuse, or warn, that forces cannot be mapped where a rigid bond leaves the sum of a bead's forces."""
        if self.torn is None:
            return
        sure, bond = self.torn
        if sure:
            raise ValueError(
                f"rigid bond {bond} leaves the atoms whose forces are summed, and the constraint's force is in no "
                f"label: {RIGID_REMEDY}"
            )
        log.warning(
            "the forces are mapped as if bond %s, and others of hydrogen that leave the atoms whose forces are "
            "summed, were not rigid in the simulation: say rigid: none in the map if so; if not, %s",
            bond,
            RIGID_REMEDY,
        )

    def _check_compact(self, vectors: np.ndarray, box: np.ndarray | None) -> None:
        """Without bonds an atom is taken at its image nearest to the first of its bead: right within half the box.

        A molecule that reaches farther is found out in a frame in which it passes from 0.4 to 0.6 of the box.
        """
        if box is None or len(self.whole.unbonded) == 0:
            return
        reach = np.linalg.norm(vectors[:, self.whole.unbonded], axis=-1)
        limit = FARTHEST * np.diagonal(box, axis1=1, axis2=2).min(1)
        if (reach > limit[:, None]).any():
            frame, node = np.unravel_index((reach - limit[:, None]).argmax(), reach.shape)
            bead = np.searchsorted(self.whole.starts, self.whole.unbonded[node], side="right") - 1
            raise ValueError(
                f"bead {bead} ({self.types[bead]}) holds atoms {reach[frame, node]:.2f} nm apart, over {FARTHEST} of "
                f"the box ({limit[frame]:.2f} nm), and no bonds by which to make it whole: give a topology with "
                "bonds (PDB with CONECT)"
            )
