"""Who is bonded to whom: the bonds, angles, dihedrals and chains of a system as tables of particles.

Every table is in an order that the species alone decide, so that a molecule read from another file has the same
coordinates: of the two directions of an angle, a dihedral or a chain the one whose species come first.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from .molecules import BondGraph

#: Bonds between two particles that forces over pairs leave out: those of a bond, an angle and a dihedral.
EXCLUSIONS = 3


class Connectivity(NamedTuple):
    """Groups of bonded particles, by their numbers in a frame, dtype int64.

    Attributes
    ----------
    bonds : Tensor, shape (n_bonds, 2)
    angles : Tensor, shape (n_angles, 3)
        The vertex in the middle.
    dihedrals : Tensor, shape (n_dihedrals, 4)
        Along three bonds.
    impropers : Tensor, shape (n_impropers, 4)
        A particle with three partners, and these.  Where two of them are alike they come before the third; where
        all are, each is the last once.
    chains : Tensor, shape (n_chains, 5)
        Along four bonds.  A chain whose species read the same from both ends is there in both directions.
    excluded : Tensor, shape (n_excluded,)
        Pairs i < j that forces over pairs leave out, as i n_particles + j, sorted.
    """

    bonds: Tensor
    angles: Tensor
    dihedrals: Tensor
    impropers: Tensor
    chains: Tensor
    excluded: Tensor

    def to(self, device: torch.device) -> "Connectivity":
        """The same tables on another device."""
        return Connectivity(*[table.to(device) for table in self])

    def of_pairs(self, n_particles: int) -> Tensor:
        """The excluded pairs, shape (n_excluded, 2)."""
        return torch.stack([self.excluded // n_particles, self.excluded % n_particles], -1)


def connectivity(
    bonds: Iterable[Sequence[int]] | np.ndarray | None, species: Sequence[int] | Tensor, exclusions: int = EXCLUSIONS
) -> Optional[Connectivity]:
    """The tables of a system, or None where nothing is bonded.

    Parameters
    ----------
    bonds : iterable of (int, int), or None
    species : sequence of int, length n_particles
        Index of the type of each particle.
    exclusions : int
        Bonds between two particles up to which forces over pairs leave them out; 0: none are left out.

    Returns
    -------
    Connectivity or None
    """
    bonds = np.array([] if bonds is None else list(bonds), dtype=np.int64).reshape(-1, 2)
    if not len(bonds):
        return None
    kinds = [int(s) for s in species]
    graph = BondGraph(len(kinds), np.unique(np.sort(bonds, axis=1), axis=0))
    paths = _paths(graph, 5)
    tables = [[_ordered(path, kinds) for path in paths[length]] for length in (2, 3, 4)]
    chains = [_ordered(path, kinds) for path in paths[5]]
    chains += [path[::-1] for path in chains if [kinds[i] for i in path] == [kinds[i] for i in path[::-1]]]
    impropers = [group for centre in range(len(kinds)) for group in _impropers(centre, graph, kinds)]
    excluded = _excluded(graph, exclusions)
    shaped = [np.array(table, dtype=np.int64).reshape(-1, width) for table, width in zip(tables, (2, 3, 4))]
    shaped += [np.array(impropers, dtype=np.int64).reshape(-1, 4), np.array(chains, dtype=np.int64).reshape(-1, 5)]
    return Connectivity(*[torch.from_numpy(table) for table in [*shaped, excluded]])


def free_pairs(n_particles: int, bonds: np.ndarray | None, exclusions: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i < j but those at most `exclusions` bonds apart: shape (n_pairs,) each."""
    first, second = np.triu_indices(n_particles, k=1)
    if bonds is None or not exclusions:
        return first, second
    kept = ~np.isin(first * n_particles + second, _excluded(BondGraph(n_particles, bonds), exclusions))
    return first[kept], second[kept]


def _paths(graph: BondGraph, longest: int) -> dict[int, list[list[int]]]:
    """Chains of bonded particles, none of them twice, by their length: each in one direction."""
    found = {2: [list(bond) for bond in graph.bonds.tolist()]}
    for length in range(3, longest + 1):
        longer = []
        for path in found[length - 1]:
            for chain in (path, path[::-1]):
                longer += [[*chain, end] for end in graph.partners(chain[-1]) if end not in chain]
        # Both halves of a chain grow into it.
        found[length] = [list(path) for path in sorted({min(tuple(p), tuple(p[::-1])) for p in longer})]
    return found


def _ordered(path: list[int], kinds: Sequence[int]) -> list[int]:
    """The path in that of its directions whose species come first."""
    return path if [kinds[i] for i in path] <= [kinds[i] for i in path[::-1]] else path[::-1]


def _impropers(centre: int, graph: BondGraph, kinds: Sequence[int]) -> list[list[int]]:
    partners = graph.partners(centre)
    if len(partners) != 3:
        return []
    one, two, three = sorted(partners, key=lambda i: kinds[i])
    if kinds[one] == kinds[three]:
        return [[centre, one, two, three], [centre, two, three, one], [centre, three, one, two]]
    if kinds[two] == kinds[three]:
        return [[centre, two, three, one]]
    return [[centre, one, two, three]]


def _excluded(graph: BondGraph, exclusions: int) -> np.ndarray:
    pairs: set[int] = set()
    for start in range(graph.n_particles):
        reached, front = {start}, [start]
        for _ in range(exclusions):
            front = [end for one in front for end in graph.partners(one) if end not in reached]
            reached.update(front)
        pairs.update(start * graph.n_particles + end for end in reached if end > start)
    return np.array(sorted(pairs), dtype=np.int64)
