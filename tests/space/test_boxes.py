"""Periodic boxes: nearest images against brute force, wrapping, and what is refused."""

import itertools

import numpy as np
import pytest
import torch

from openmm_diffusion.space.boxes import check_box, check_cutoff, minimum_image, wrap

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


@pytest.mark.parametrize(
    "box, message",
    [
        (np.eye(2), "shape"),
        (np.diag([2.0, 2.0, np.nan]), "NaN"),
        (np.diag([2.0, -2.0, 2.0]), "edge of -2 nm: give three positive edges"),
        (np.diag([2.0, 0.0, 2.0]), "edge of 0 nm: give three positive edges"),
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
