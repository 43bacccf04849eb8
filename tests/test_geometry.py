"""Periodic boxes: nearest images against brute force, pairs against mdtraj, and what is refused."""

import itertools

import mdtraj
import numpy as np
import pytest
import torch

from openmm_diffusion.configuration import configuration
from openmm_diffusion.geometry import check_box, check_cutoff, minimum_image, wrap
from openmm_diffusion.neighbours import neighbour_pairs

CUBIC = 2.0 * np.eye(3)
TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.6, 1.8, 0.0], [-0.7, 0.5, 1.7]])
# The most skewed reduced form: rhombic dodecahedron and truncated octahedron have skews of a half and a third.
DODECAHEDRON = 2.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
BOXES = {"cubic": CUBIC, "triclinic": TRICLINIC, "dodecahedron": DODECAHEDRON}
# Rounding of coordinates of a few nm.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


@pytest.fixture(params=BOXES)
def box(request):
    return BOXES[request.param]


def random_positions(n_frames=3, n_particles=30, seed=0):
    # Beyond the cell on purpose: callers need not wrap.
    return np.random.default_rng(seed).uniform(-3, 5, (n_frames, n_particles, 3))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_minimum_image_is_the_shortest_of_the_neighbouring_images(box, dtype):
    rng = np.random.default_rng(1)
    half = 0.5 * np.diagonal(box).min()
    shortest = rng.normal(size=(500, 3))
    shortest *= (half * rng.uniform(0.01, 0.99, 500) / np.linalg.norm(shortest, axis=1))[:, None]
    far = shortest + rng.integers(-3, 4, (500, 3)) @ box
    found = minimum_image(torch.as_tensor(far, dtype=dtype), torch.as_tensor(box, dtype=dtype)).double().numpy()
    # Brute force over 27 images of what was found: none is shorter.
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ box
    brute = found[:, None] + images
    brute = np.take_along_axis(brute, np.linalg.norm(brute, axis=-1).argmin(1)[:, None, None], 1)[:, 0]
    np.testing.assert_allclose(found, brute, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, shortest, rtol=0, atol=5 * TOLERANCE[dtype])


def test_without_a_box_vectors_stay_as_they_are():
    vectors = torch.randn(5, 3)
    assert torch.equal(minimum_image(vectors, None), vectors)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_pairs_are_those_mdtraj_finds(box, dtype):
    positions, n = random_positions(), 30
    cutoff = 0.5 * np.diagonal(box).min()
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(n):
        topology.add_atom("X", mdtraj.element.virtual, residue)
    trajectory = mdtraj.Trajectory(positions, topology)
    trajectory.unitcell_vectors = np.broadcast_to(box, (3, 3, 3))
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    expected = mdtraj.compute_distances(trajectory, pairs, periodic=True, opt=False)

    first, second, vectors = neighbour_pairs(
        torch.as_tensor(positions, dtype=dtype), torch.as_tensor(box, dtype=dtype), cutoff
    )
    found = np.full((3, n, n), np.inf)
    assert (first // n == second // n).all() and (first < second).all()
    found[first // n, first % n, second % n] = vectors.double().norm(dim=-1)
    # Distances just at the cutoff may fall on either side.
    sure = np.abs(expected - cutoff) > 1e-5
    np.testing.assert_allclose(
        found[:, pairs[:, 0], pairs[:, 1]][sure], np.where(expected < cutoff, expected, np.inf)[sure], atol=1e-5
    )
    assert 100 < len(first) < 3 * len(pairs)


def test_vectors_point_from_first_to_second_and_know_their_frame():
    positions = torch.tensor([[[0.1, 0, 0], [1.9, 0, 0], [1.0, 1, 1]], [[0.0, 0, 0], [0.0, 0.3, 0], [0.0, 0.5, 0]]])
    first, second, vectors = neighbour_pairs(positions, torch.tensor(CUBIC, dtype=torch.float32), 0.6)
    assert (first.tolist(), second.tolist()) == ([0, 3, 3, 4], [1, 4, 5, 5])
    expected = torch.tensor([[-0.2, 0, 0], [0, 0.3, 0], [0, 0.5, 0], [0, 0.2, 0]])
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)


def test_moving_particles_by_box_vectors_changes_no_pair(box):
    positions = torch.as_tensor(random_positions())
    lattice = torch.as_tensor(np.random.default_rng(2).integers(-2, 3, positions.shape) @ box)
    box = torch.as_tensor(box)
    cutoff = 0.499 * float(box.diagonal().min())
    before, after = neighbour_pairs(positions, box, cutoff), neighbour_pairs(positions + lattice, box, cutoff)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    torch.testing.assert_close(before[2], after[2], rtol=0, atol=1e-12)


def test_each_frame_has_a_box_of_its_own(box):
    positions = torch.as_tensor(random_positions())
    boxes = torch.stack([torch.as_tensor(box) * factor for factor in (1.0, 1.1, 1.3)])
    together = neighbour_pairs(positions, boxes, 0.8)
    alone = [neighbour_pairs(positions[f : f + 1], boxes[f], 0.8) for f in range(3)]
    assert torch.equal(together[0], torch.cat([a[0] + 30 * f for f, a in enumerate(alone)]))
    torch.testing.assert_close(together[2], torch.cat([a[2] for a in alone]))


def test_wrapping_moves_by_whole_box_vectors_into_the_cell(box):
    positions = torch.as_tensor(random_positions())
    fractions = (wrap(positions, torch.as_tensor(box)) @ torch.linalg.inv(torch.as_tensor(box))).numpy()
    steps = (positions - wrap(positions, torch.as_tensor(box))).numpy() @ np.linalg.inv(box)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-12)
    assert np.abs(steps).max() > 0.5
    # Along c the cell is 0 to 1; along the skewed b and a, a slanted cell of the same volume.
    assert 0 <= fractions[..., 2].min() and fractions[..., 2].max() < 1
    wrapped = wrap(positions, torch.as_tensor(box)).numpy()
    assert (wrapped >= 0).all() and (wrapped < np.diagonal(box)).all()


def test_distances_are_the_lengths_of_differentiable_vectors():
    positions = torch.tensor([[[0.1, 0.0, 0.0], [0.3, 0.1, 0.0]]], dtype=torch.float64, requires_grad=True)
    c = configuration(positions, None, torch.tensor([0, 1]), 1.0)
    (gradient,) = torch.autograd.grad(c.distances.sum(), positions)
    unit_vector = torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64) / np.hypot(0.2, 0.1)
    torch.testing.assert_close(gradient[0], torch.stack([-unit_vector, unit_vector]))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("per_frame", [False, True])
def test_scripted_pairs_equal_eager_ones(box, dtype, per_frame):
    positions = torch.as_tensor(random_positions(), dtype=dtype)
    box = torch.as_tensor(box, dtype=dtype)
    box = box.expand(3, 3, 3) if per_frame else box
    scripted = torch.jit.script(neighbour_pairs)
    for one, other in zip(scripted(positions, box, 0.7), neighbour_pairs(positions, box, 0.7)):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "box, message",
    [
        (np.eye(2), "shape"),
        (np.diag([2.0, 2.0, np.nan]), "NaN"),
        (np.diag([2.0, -2.0, 2.0]), "reduced form"),
        (np.diag([2.0, 0.0, 2.0]), "reduced form"),
        (np.array([[2.0, 0, 0], [1.2, 2, 0], [0, 0, 2]]), "reduced form"),
        (np.array([[2.0, 0.1, 0], [0, 2, 0], [0, 0, 2]]), "reduced form"),
        (np.stack([CUBIC, np.array([[2.0, 0, 0], [0, 2, 0], [0, 1.1, 2]])]), "reduced form"),
    ],
)
def test_boxes_that_would_give_wrong_images_are_refused(box, message):
    with pytest.raises(ValueError, match=f"my box.*{message}"):
        check_box(torch.as_tensor(box), "my box")


def test_reduced_boxes_are_accepted(box):
    check_box(torch.as_tensor(box))
    check_box(torch.as_tensor(box, dtype=torch.float32))
    check_box(torch.as_tensor(np.stack([box, 1.1 * box])))


def test_cutoffs_beyond_half_the_smallest_width_are_refused():
    boxes = torch.as_tensor(np.stack([CUBIC, TRICLINIC]))
    check_cutoff(0.85, boxes)
    with pytest.raises(ValueError, match=r"reach is 0\.86 nm, over half the box \(0\.85 nm\)"):
        check_cutoff(0.86, boxes, "reach")
