"""Tables of bonds, angles, dihedrals, impropers and chains: against a second implementation and by invariance."""

import MDAnalysis
import numpy as np
import pytest
import torch
from MDAnalysis.guesser.default_guesser import DefaultGuesser
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from openmm_diffusion.space.connectivity import connectivity, free_pairs

#: Two rings that share a bond, with a chain and a branch.
RINGS = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (5, 6), (6, 7), (7, 8), (8, 4)]
BONDS = [*RINGS, (2, 9), (9, 10), (9, 11), (9, 12)]
N = 14  # the last is alone


def groups(table):
    """The groups of a table, each in the direction that begins with the lower number."""
    return {min(tuple(row), tuple(row[::-1])) for row in table.tolist()}


def test_angles_dihedrals_and_impropers_are_those_that_mdanalysis_finds():
    universe = MDAnalysis.Universe.empty(N, trajectory=True)
    universe.add_TopologyAttr("bonds", BONDS)
    guesser = DefaultGuesser(universe)
    universe.add_TopologyAttr("angles", guesser.guess_angles())
    universe.add_TopologyAttr("dihedrals", guesser.guess_dihedrals())
    found = connectivity(BONDS, range(N))
    assert groups(found.bonds) == set(BONDS[:5] + [(0, 5)] + BONDS[6:9] + [(4, 8)] + BONDS[10:])
    for name in ("angles", "dihedrals"):
        theirs = {min(tuple(t), tuple(t[::-1])) for t in getattr(universe, name).indices.tolist()}
        assert groups(getattr(found, name)) == theirs
        assert len(theirs) == len(getattr(found, name)) > 10


@pytest.mark.parametrize("exclusions", [0, 1, 2, 3])
def test_pairs_are_excluded_up_to_so_many_bonds(exclusions):
    graph = coo_array((np.ones(len(BONDS)), np.array(BONDS).T), shape=(N, N))
    apart = shortest_path(graph, directed=False, unweighted=True)
    first, second = np.triu_indices(N, k=1)
    expected = apart[first, second] <= exclusions
    found = connectivity(BONDS, range(N), exclusions)
    assert found.excluded.tolist() == (first * N + second)[expected].tolist()
    assert found.of_pairs(N).tolist() == np.stack([first, second], 1)[expected].tolist()
    kept = free_pairs(N, np.array(BONDS), exclusions)
    np.testing.assert_array_equal(np.stack(kept), np.stack([first, second])[:, ~expected])


def test_species_decide_the_order_whatever_the_numbers():
    species = torch.tensor([2, 0, 1, 1, 0, 2, 1, 0, 2, 1, 0, 0, 2, 0])
    order = np.random.default_rng(0).permutation(N)  # new number of each particle
    one = connectivity(BONDS, species)
    renumbered = [(int(order[i]), int(order[j])) for i, j in BONDS]
    shuffled = torch.empty_like(species)
    shuffled[torch.as_tensor(order)] = species
    other = connectivity(renumbered, shuffled)
    for name in ("bonds", "angles", "dihedrals", "chains"):
        ours = sorted(map(tuple, species[getattr(one, name)].tolist()))
        assert ours == sorted(map(tuple, shuffled[getattr(other, name)].tolist()))
        assert all(kind <= kind[::-1] for kind in ours) or name == "chains"


def test_impropers_put_partners_that_are_alike_first():
    bonds = [(0, 1), (0, 2), (0, 3)]
    assert connectivity(bonds, [0, 3, 1, 2]).impropers.tolist() == [[0, 2, 3, 1]]
    assert connectivity(bonds, [0, 3, 1, 3]).impropers.tolist() == [[0, 1, 3, 2]]
    assert connectivity(bonds, [0, 1, 1, 1]).impropers.tolist() == [[0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]]
    assert connectivity([*bonds, (0, 4)], [0] * 5).impropers.shape == (0, 4)


def test_a_chain_that_reads_the_same_from_both_ends_is_there_in_both_directions():
    bonds = [(i, i + 1) for i in range(4)]
    assert connectivity(bonds, [0, 1, 2, 1, 0]).chains.tolist() == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    assert connectivity(bonds, [1, 0, 2, 1, 0]).chains.tolist() == [[4, 3, 2, 1, 0]]


def test_where_nothing_is_bonded_there_are_no_tables():
    assert connectivity(None, range(3)) is None
    assert connectivity([], range(3)) is None
