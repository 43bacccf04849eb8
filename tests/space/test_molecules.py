"""Graphs of bonds: images as tensors have them, trees that span, contraction against brute force."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from openmm_diffusion.space.boxes import minimum_image, wrap
from openmm_diffusion.space.molecules import BondGraph, WholeGroups, nearest_image, wrapped

TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.6, 1.8, 0.0], [-0.7, 0.5, 1.7]])


def random_graph(n, n_bonds, seed):
    rng = np.random.default_rng(seed)
    bonds = np.unique(np.sort(rng.integers(0, n, (n_bonds, 2)), axis=1), axis=0)
    return BondGraph(n, bonds[bonds[:, 0] != bonds[:, 1]]), rng


def lengths(graph):
    ends = graph.bonds.T
    return shortest_path(coo_array((np.ones(len(graph.bonds)), ends), shape=(graph.n_particles,) * 2), directed=False)


def test_images_are_those_of_tensors():
    rng = np.random.default_rng(0)
    boxes = TRICLINIC * rng.uniform(0.9, 1.1, (5, 1, 1))
    vectors = rng.uniform(-6, 6, (5, 40, 3))
    as_tensors = torch.from_numpy(vectors), torch.from_numpy(boxes)[:, None]
    np.testing.assert_allclose(nearest_image(vectors, boxes), minimum_image(*as_tensors), atol=1e-12)
    np.testing.assert_allclose(wrapped(vectors, boxes), wrap(*as_tensors), atol=1e-12)
    np.testing.assert_array_equal(nearest_image(vectors[1], boxes[1]), nearest_image(vectors, boxes)[1])
    np.testing.assert_array_equal(nearest_image(vectors, boxes[1])[1], nearest_image(vectors, boxes)[1])
    assert nearest_image(vectors, None) is vectors and wrapped(vectors, None) is vectors


@pytest.mark.parametrize("seed", range(5))
def test_particles_go_to_the_nearest_owner_and_touching_owners_are_bonded(seed):
    graph, rng = random_graph(40, 45, seed)
    owner = np.where(rng.random(40) < 0.3, rng.integers(0, 6, 40), -1)
    found, steps = graph.nearest_owner(owner), lengths(graph)
    owned = np.flatnonzero(owner >= 0)
    for particle in range(40):
        reach = steps[particle, owned]
        if np.isfinite(reach).any():
            # Of those at the least distance, one.
            assert found[particle] in owner[owned[reach == reach.min()]]
        else:
            assert found[particle] == -1
    pairs = {tuple(sorted(found[bond])) for bond in graph.bonds if -1 not in found[bond]}
    assert {tuple(pair) for pair in graph.contracted(owner)} == {(i, j) for i, j in pairs if i != j}


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_spans_its_group_along_bonds(seed):
    graph, rng = random_graph(40, 50, seed)
    group = rng.permutation(40)[:6].tolist()
    particles, parents, lost = graph.tree(group)
    assert set(group) <= set(particles) and len(set(particles)) == len(particles) and particles[0] == group[0]
    bonds = {tuple(bond) for bond in graph.bonds}
    for number in range(1, len(particles) - lost):
        assert parents[number] < number
        assert tuple(sorted((particles[number], particles[parents[number]]))) in bonds
    reach = lengths(graph)[group[0], group]
    assert lost == np.isinf(reach).sum() and set(particles[len(particles) - lost :]) == set(
        np.array(group)[np.isinf(reach)]
    )
    # Nobody is in the tree for nothing: every leaf is of the group.
    assert {particles[i] for i in range(len(particles)) if i not in parents} <= set(group)


def test_molecules_are_the_connected_parts():
    graph, _ = random_graph(60, 40, seed=9)
    found = graph.molecules()
    np.testing.assert_array_equal(found[:, None] == found[None, :], np.isfinite(lengths(graph)))


def test_sums_and_levels_of_groups():
    graph = BondGraph(5, np.array([[0, 1], [1, 2], [2, 3]]))
    groups = WholeGroups.of([[0, 3], [4]], graph)
    assert groups.nodes.tolist() == [0, 1, 2, 3, 4] and groups.starts.tolist() == [0, 4]
    assert [parents.tolist() for _, parents in groups.levels] == [[0], [1], [2]] and len(groups.unbonded) == 0
    positions = np.array([[[0.1, 0, 0], [1.9, 0, 0], [0.2, 0, 0], [1.8, 0, 0], [0, 0, 0]]])
    vectors = groups.from_roots(positions, 2.0 * np.eye(3)[None])
    np.testing.assert_allclose(vectors[0, :, 0], [0, -0.2, 0.1, -0.3, 0], atol=1e-12)
    np.testing.assert_allclose(groups.sums(vectors)[0, :, 0], [-0.4, 0], atol=1e-12)
