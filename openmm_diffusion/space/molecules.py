"""Molecules: groups of bonded particles made whole across the boundary, and what is left of their bonds in beads.

Everything here is numpy, not torch: a trajectory is streamed through it by a command that should start at once and
need little memory.  Boxes are in OpenMM's reduced form, as in `space.boxes`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def nearest_image(vectors: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """The nearest periodic image of each vector, as `space.boxes.minimum_image` finds it for tensors.

    Parameters
    ----------
    vectors : array, shape (..., n, 3), nm
    box : array, shape (3, 3) or (..., 3, 3), nm, or None
        One for all, or one for each frame; None leaves the vectors as they are: no periodicity.

    Returns
    -------
    array, shape (..., n, 3), nm
    """
    return vectors if box is None else _less_whole_vectors(vectors, box, np.rint)


def wrapped(positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Positions (n_frames, n, 3) shifted by whole vectors of the box (n_frames, 3, 3) into the cell at the origin."""
    return positions if box is None else _less_whole_vectors(positions, box, np.floor)


def _less_whole_vectors(vectors: np.ndarray, box: np.ndarray, whole: np.ufunc) -> np.ndarray:
    box = box[..., None, :, :]
    for axis in (2, 1, 0):
        count = whole(vectors[..., axis] / box[..., axis, axis])
        vectors = vectors - count[..., None] * box[..., axis, :]
    return vectors


class BondGraph:
    """Particles and the bonds between them.

    Parameters
    ----------
    n_particles : int
    bonds : array, shape (n_bonds, 2), dtype int
    """

    def __init__(self, n_particles: int, bonds: np.ndarray) -> None:
        self.n_particles = n_particles
        self.bonds = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
        ends = np.concatenate([self.bonds, self.bonds[:, ::-1]])
        ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
        self._partners = ends[:, 1].tolist()
        self._starts = np.searchsorted(ends[:, 0], np.arange(n_particles + 1)).tolist()

    def partners(self, particle: int) -> list[int]:
        """The particles that a particle is bonded to, in ascending order."""
        return self._partners[self._starts[particle] : self._starts[particle + 1]]

    def nearest_owner(self, owner: np.ndarray) -> np.ndarray:
        """The owner of each particle, or the one that is fewest bonds away.

        Parameters
        ----------
        owner : array, shape (n_particles,), dtype int
            -1 for particles that nobody owns.

        Returns
        -------
        array, shape (n_particles,), dtype int
            -1 only in molecules of which nobody owns a particle.  Of owners at the same distance the one whose
            particle comes first is taken.
        """
        found = np.array(owner, dtype=np.int64).tolist()
        queue = deque(particle for particle, one in enumerate(found) if one >= 0)
        while queue:
            particle = queue.popleft()
            for partner in self.partners(particle):
                if found[partner] < 0:
                    found[partner] = found[particle]
                    queue.append(partner)
        return np.array(found, dtype=np.int64)

    def contracted(self, owner: np.ndarray) -> np.ndarray:
        """The bonds between owners: each particle without one goes to the nearest, then whoever touch are bonded.

        Parameters
        ----------
        owner : array, shape (n_particles,), dtype int
            -1 for particles that nobody owns.

        Returns
        -------
        array, shape (n_bonds, 2), dtype int64
            Sorted pairs i < j, each once.
        """
        ends = np.sort(self.nearest_owner(owner)[self.bonds], axis=1)
        return np.unique(ends[(ends[:, 0] != ends[:, 1]) & (ends[:, 0] >= 0)], axis=0)

    def molecules(self) -> np.ndarray:
        """The number of the molecule that each particle belongs to, shape (n_particles,), dtype int64."""
        ones = np.ones(len(self.bonds), dtype=bool)
        links = coo_array((ones, (self.bonds[:, 0], self.bonds[:, 1])), shape=(self.n_particles,) * 2)
        return connected_components(links, directed=False)[1].astype(np.int64)

    def tree(self, group: Sequence[int]) -> tuple[list[int], list[int], int]:
        """A tree that spans a group from its first particle along bonds, by as few others as there must be.

        Returns
        -------
        particles : list of int
            The first of the group, then each after its parent.
        parents : list of int
            Indices into `particles`; -1 for the first.
        unbonded : int
            How many of the last particles no bond leads to: their parent is the first of the group.
        """
        parent = self._search(group, within=set(group))
        if any(particle not in parent for particle in group):
            parent = self._search(group, within=None)
        particles: list[int] = []
        at: dict[int, int] = {}
        for particle in (particle for particle in group if particle in parent):
            path = []
            while particle >= 0 and particle not in at:
                path.append(particle)
                particle = parent[particle]
            for step in reversed(path):
                at[step] = len(particles)
                particles.append(step)
        parents = [at[parent[particle]] if parent[particle] >= 0 else -1 for particle in particles]
        unbonded = [particle for particle in group if particle not in at]
        return particles + unbonded, parents + [0] * len(unbonded), len(unbonded)

    def _search(self, group: Sequence[int], within: set[int] | None) -> dict[int, int]:
        """Parents of the particles that a breadth-first search meets before it has found the group."""
        parent, queue, missing = {group[0]: -1}, deque([group[0]]), set(group[1:])
        while queue and missing:
            particle = queue.popleft()
            for partner in self.partners(particle):
                if partner not in parent and (within is None or partner in within):
                    parent[partner] = particle
                    missing.discard(partner)
                    queue.append(partner)
        return parent


@dataclass(frozen=True, eq=False)
class WholeGroups:
    """Groups of particles, each with a tree along which it is made whole.

    Each bond is taken to be the shortest image of itself, so no bond may be longer than half the box; the group may.

    Attributes
    ----------
    nodes : array, shape (n_nodes,), dtype int
        The particle of each node, one group after the other.
    starts : array, shape (n_groups,), dtype int
        The first node of each group, which is the root of its tree.
    levels : list of (array, array)
        Nodes and their parents, by distance from the root.
    unbonded : array, shape (n_unbonded,), dtype int
        Nodes that no bond leads to: they are reached from the root.
    """

    nodes: np.ndarray
    starts: np.ndarray
    levels: list[tuple[np.ndarray, np.ndarray]]
    unbonded: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]], graph: BondGraph) -> "WholeGroups":
        """The trees of groups in a graph of bonds."""
        nodes: list[int] = []
        parents: list[int] = []
        depth: list[int] = []
        starts: list[int] = []
        unbonded: list[int] = []
        for group in groups:
            particles, above, lost = graph.tree(group)
            start = len(nodes)
            starts.append(start)
            nodes += particles
            parents += [start + one for one in above]
            for one in above:
                depth.append(0 if one < 0 else depth[start + one] + 1)
            unbonded += range(len(nodes) - lost, len(nodes))
        depths, all_parents = np.array(depth, dtype=np.int64), np.array(parents, dtype=np.int64)
        levels = []
        for level in range(1, max(depth, default=0) + 1):
            children = np.flatnonzero(depths == level)
            levels.append((children, all_parents[children]))
        return cls(np.array(nodes), np.array(starts), levels, np.array(unbonded, dtype=np.int64))

    def from_roots(self, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        """The vector from the root of its group to each node, in one piece.

        Parameters
        ----------
        positions : array, shape (n_frames, n_particles, 3), nm
        box : array, shape (n_frames, 3, 3), nm, or None

        Returns
        -------
        array, shape (n_frames, n_nodes, 3), dtype float64, nm
        """
        vectors = np.zeros((len(positions), len(self.nodes), 3))
        for children, parents in self.levels:
            steps = positions[:, self.nodes[children]].astype(np.float64) - positions[:, self.nodes[parents]]
            vectors[:, children] = vectors[:, parents] + nearest_image(steps, box)
        return vectors

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the nodes of each group of values (n_frames, n_nodes, 3)."""
        return np.add.reduceat(values, self.starts, axis=1)
