"""Neighbour pairs: by cells and by looking at all, against mdtraj, k-d trees and brute force over images."""

import functools
import itertools
from typing import Optional

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from loadedscript import loaded_script
from models import LICL
from scipy.spatial import cKDTree

from openmm_diffusion import Denoiser, DiffusionForce, Frames
from openmm_diffusion.model.sum import energy_and_forces
from openmm_diffusion.space import batch as batch_module
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.space.neighbours import cell_pairs, dense_pairs, neighbour_pairs

CUBIC = 2.0 * np.eye(3)
TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.6, 1.8, 0.0], [-0.7, 0.5, 1.7]])
# The most skewed reduced form: rhombic dodecahedron and truncated octahedron have skews of a half and a third.
DODECAHEDRON = 2.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
# Cells along some axes and none along others.
SLAB = np.array([[9.0, 0.0, 0.0], [4.0, 1.3, 0.0], [-4.4, 0.6, 2.2]])
BOXES = {"cubic": CUBIC, "triclinic": TRICLINIC, "dodecahedron": DODECAHEDRON, "slab": SLAB, "none": None}
#: Number of cells along an axis goes from one to many with these cutoffs, in units of the smallest diagonal element.
CUTOFFS = [0.5, 0.34, 0.25, 0.2, 0.1]
DTYPES = [torch.float32, torch.float64]


@functools.cache
def scripted_cell_pairs():
    return loaded_script(cell_pairs)


@pytest.fixture(params=BOXES)
def box(request):
    return BOXES[request.param]


@pytest.fixture(params=[dense_pairs, cell_pairs])
def find(request):
    return request.param


def random_positions(n_frames=3, n_particles=30, seed=0):
    # Beyond the cell on purpose: callers need not wrap.
    return np.random.default_rng(seed).uniform(-3, 5, (n_frames, n_particles, 3))


def as_tensors(positions, box, dtype=torch.float64):
    return torch.as_tensor(positions, dtype=dtype), None if box is None else torch.as_tensor(box, dtype=dtype)


def assert_equal(found, expected):
    """The same pairs in the same order, and the same vectors to the last bit."""
    for one, other in zip(found, expected):
        assert torch.equal(one, other)


# ---- cells against looking at all


@pytest.mark.parametrize("fraction", CUTOFFS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cells_find_what_looking_at_all_finds(box, dtype, fraction):
    x, b = as_tensors(random_positions(3, 150), box, dtype)
    cutoff = fraction * (4.0 if box is None else np.diagonal(box).min())
    expected = dense_pairs(x, b, cutoff)
    assert_equal(cell_pairs(x, b, cutoff), expected)
    assert_equal(scripted_cell_pairs()(x, b, cutoff), expected)
    assert len(expected[0]) > 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_with_boxes_of_their_own_have_cells_of_their_own(dtype):
    # 1, 2, 3 and 9 cells along the axes of the frames.
    x, _ = as_tensors(random_positions(5, 100), None, dtype)
    boxes = torch.stack([torch.as_tensor(b, dtype=dtype) for b in (CUBIC, 1.5 * TRICLINIC, SLAB, 5 * CUBIC, 3 * CUBIC)])
    for cutoff in (0.3, 0.65):
        assert_equal(cell_pairs(x, boxes, cutoff), dense_pairs(x, boxes, cutoff))
        assert_equal(scripted_cell_pairs()(x, boxes, cutoff), dense_pairs(x, boxes, cutoff))
    one = boxes[:1]
    assert_equal(cell_pairs(x, one, 0.65), dense_pairs(x, boxes[0], 0.65))


@pytest.mark.parametrize("dtype", DTYPES)
def test_lattices_whose_particles_stand_on_faces_of_cells(dtype):
    # Spacing, box and cutoff are commensurate.  Shells of a simple cubic lattice: 6 at 0.25 nm, 12 at 0.354, 8 at
    # 0.433, 6 at 0.5.
    sites = 0.25 * np.array(list(itertools.product(range(8), repeat=3)))
    x, b = as_tensors(sites[None], CUBIC, dtype)
    shifted = x + torch.as_tensor(2.0 * np.random.default_rng(0).integers(-2, 3, x.shape), dtype=dtype)
    for cutoff, neighbours in ((0.2501, 6), (0.3, 6), (0.36, 18), (0.45, 26), (0.5001, 32)):
        for positions in (x, shifted, -x):
            assert len(cell_pairs(positions, b, cutoff)[0]) == len(sites) * neighbours / 2
            assert_equal(cell_pairs(positions, b, cutoff), dense_pairs(positions, b, cutoff))


def test_no_pair_is_lost_to_rounding_at_the_cutoff():
    # Single precision knows places in this box to 2e-7 nm.  Pairs as far apart as the cutoff, give or take that, both
    # on faces: cells of exactly the cutoff's width would put some of them two cells apart.
    cutoff, n = 0.3, 5000
    rng = np.random.default_rng(1)
    one = rng.uniform(0, 3.3, (n, 3))
    one[:, 0] = 0.3 * rng.integers(0, 11, n) + rng.normal(scale=2e-7, size=n)
    other = one + np.stack([cutoff + rng.normal(scale=2e-7, size=n), np.zeros(n), np.zeros(n)], -1)
    x, b = as_tensors(np.stack([one, other], 1), 3.3 * np.eye(3), torch.float32)
    found = cell_pairs(x, b, cutoff)
    assert_equal(found, dense_pairs(x, b, cutoff))
    assert 1000 < len(found[0]) < 4000


# ---- against other implementations


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairs_are_those_mdtraj_finds(find, dtype):
    for box in (CUBIC, TRICLINIC, DODECAHEDRON):
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

        first, second, vectors = find(*as_tensors(positions, box, dtype), cutoff)
        found = np.full((3, n, n), np.inf)
        assert (first // n == second // n).all() and (first < second).all()
        found[first // n, first % n, second % n] = vectors.double().norm(dim=-1)
        # Distances just at the cutoff may fall on either side.
        sure = np.abs(expected - cutoff) > 1e-5
        np.testing.assert_allclose(
            found[:, pairs[:, 0], pairs[:, 1]][sure], np.where(expected < cutoff, expected, np.inf)[sure], atol=1e-5
        )
        assert 100 < len(first) < 3 * len(pairs)


@pytest.mark.parametrize("edge", [2.1, 3.1, 12.0])
def test_cells_of_a_cubic_box_find_what_a_periodic_tree_finds(edge):
    positions = np.random.default_rng(2).uniform(-20, 20, (1000, 3))
    x, b = as_tensors(positions[None], edge * np.eye(3))
    expected = cKDTree(positions % edge, boxsize=edge).query_pairs(0.6, output_type="ndarray")
    first, second, _ = cell_pairs(x, b, 0.6)
    np.testing.assert_array_equal(np.stack([first, second], 1), expected[np.lexsort((expected[:, 1], expected[:, 0]))])


def test_cells_of_a_slanted_box_find_the_images_that_brute_force_finds():
    rng = np.random.default_rng(3)
    for box in (3 * TRICLINIC, 3 * DODECAHEDRON, 2 * SLAB):
        inside = rng.uniform(0, 1, (1, 250, 3)) @ box
        cutoff = 1.2
        vectors = inside[0][None] - inside[0][:, None]
        images = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ box
        r = np.linalg.norm(vectors[:, :, None] + images, axis=-1).min(-1)
        one, other = np.nonzero(np.triu(r < cutoff, 1))
        first, second, found = cell_pairs(*as_tensors(inside, box), cutoff)
        np.testing.assert_array_equal(first, one)
        np.testing.assert_array_equal(second, other)
        np.testing.assert_allclose(found.norm(dim=-1), r[one, other], rtol=1e-12)


# ---- properties


def test_vectors_point_from_first_to_second_and_know_their_frame(find):
    positions = torch.tensor([[[0.1, 0, 0], [1.9, 0, 0], [1.0, 1, 1]], [[0.0, 0, 0], [0.0, 0.3, 0], [0.0, 0.5, 0]]])
    first, second, vectors = find(positions, torch.tensor(CUBIC, dtype=torch.float32), 0.6)
    assert (first.tolist(), second.tolist()) == ([0, 3, 3, 4], [1, 4, 5, 5])
    expected = torch.tensor([[-0.2, 0, 0], [0, 0.3, 0], [0, 0.5, 0], [0, 0.2, 0]])
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC, DODECAHEDRON, SLAB])
def test_moving_particles_by_box_vectors_changes_no_pair(find, box):
    x, b = as_tensors(random_positions(), box)
    lattice = torch.as_tensor(np.random.default_rng(2).integers(-2, 3, x.shape) @ box)
    cutoff = 0.499 * float(np.diagonal(box).min())
    before, after = find(x, b, cutoff), find(x + lattice, b, cutoff)
    assert_equal(before[:2], after[:2])
    torch.testing.assert_close(before[2], after[2], rtol=0, atol=1e-12)


def test_shifting_the_system_through_the_boundary_changes_no_pair(find, box):
    x, b = as_tensors(random_positions(2, 200), box)
    before = find(x, b, 0.4)
    for shift in ([0.77, -1.31, 2.05], [1e-9, -1e-9, 0.0]):
        after = find(x + torch.tensor(shift, dtype=torch.float64), b, 0.4)
        assert_equal(before[:2], after[:2])
        torch.testing.assert_close(before[2], after[2], rtol=0, atol=1e-12)


def test_each_frame_has_a_box_of_its_own(find):
    x, b = as_tensors(random_positions(), TRICLINIC)
    boxes = torch.stack([factor * b for factor in (1.0, 1.1, 1.3)])
    together = find(x, boxes, 0.8)
    alone = [find(x[f : f + 1], boxes[f], 0.8) for f in range(3)]
    assert torch.equal(together[0], torch.cat([a[0] + 30 * f for f, a in enumerate(alone)]))
    torch.testing.assert_close(together[2], torch.cat([a[2] for a in alone]))


def test_gradients_are_those_of_looking_at_all(box):
    x, b = as_tensors(random_positions(2, 120), box)
    gradients = []
    for find in (dense_pairs, cell_pairs):
        y = x.clone().requires_grad_(True)
        _, _, vectors = find(y, b, 0.6)
        r = torch.sqrt((vectors * vectors).sum(-1))
        (force,) = torch.autograd.grad(((0.6 - r) ** 2 / r).sum(), y, create_graph=True)
        # A loss on forces differentiates once more.
        gradients.append((force.detach(), torch.autograd.grad((force**2).sum(), y)[0]))
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(other.abs().max()))


def test_distances_are_the_lengths_of_differentiable_vectors():
    positions = torch.tensor([[[0.1, 0.0, 0.0], [0.3, 0.1, 0.0]]], dtype=torch.float64, requires_grad=True)
    c = make_batch(positions, None, torch.tensor([0, 1]), 1.0)
    (gradient,) = torch.autograd.grad(c.distances.sum(), positions)
    unit_vector = torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64) / np.hypot(0.2, 0.1)
    torch.testing.assert_close(gradient[0], torch.stack([-unit_vector, unit_vector]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_particles", [30, 250])
def test_scripted_pairs_equal_eager_ones(box, dtype, n_particles):
    x, b = as_tensors(random_positions(3, n_particles), box, dtype)
    scripted = loaded_script(neighbour_pairs)
    assert_equal(scripted(x, b, 0.6), neighbour_pairs(x, b, 0.6))
    if b is not None:
        assert_equal(scripted(x, b.expand(3, 3, 3), 0.6), neighbour_pairs(x, b, 0.6))


class Springs(torch.nn.Module):
    """Sum of r^2/2 over pairs within 0.6 nm, by cells."""

    def forward(self, positions: torch.Tensor, box: Optional[torch.Tensor]) -> torch.Tensor:
        _, _, vectors = cell_pairs(positions, box, 0.6)
        return 0.5 * (vectors * vectors).sum()


def test_frozen_modules_keep_the_gradient(box):
    # TorchForce freezes its module; from the second call on it runs what TorchScript has made of it.
    frozen = torch.jit.freeze(loaded_script(Springs()).eval())
    for seed in range(4):
        x, b = as_tensors(random_positions(2, 120, seed), box)
        gradients = []
        for energy in (frozen, lambda y, b: 0.5 * (dense_pairs(y, b, 0.6)[2] ** 2).sum()):
            y = x.clone().requires_grad_(True)
            gradients.append(torch.autograd.grad(energy(y, b), y)[0])
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
        assert gradients[0].abs().max() > 0.1


# ---- the ends of the range


def test_all_particles_in_one_cell_are_all_pairs(find):
    x, b = as_tensors(1.0 + 0.01 * np.random.default_rng(4).normal(size=(2, 40, 3)), 10 * np.eye(3))
    for box in (b, None):
        first, second, _ = find(x, box, 0.9)
        upper = np.triu_indices(40, 1)
        np.testing.assert_array_equal(first, np.concatenate([upper[0], upper[0] + 40]))
        np.testing.assert_array_equal(second, np.concatenate([upper[1], upper[1] + 40]))


@pytest.mark.parametrize("n_particles", [0, 1, 2, 300])
def test_no_pairs_are_empty_tensors(find, n_particles):
    # A row of particles 1 nm apart.
    positions = np.arange(n_particles)[None, :, None] * np.array([1.0, 0, 0])
    for box in (np.diag([400.0, 3.0, 3.0]), None):
        first, second, vectors = find(*as_tensors(positions, box, torch.float32), 0.99)
        assert first.shape == second.shape == (0,) and vectors.shape == (0, 3)
        assert first.dtype == torch.int64 and vectors.dtype == torch.float32


def test_far_outliers_cost_nothing_and_lose_nothing():
    # Two clusters and single particles up to 1 mm away: a table of all cells between them would not fit anywhere.
    rng = np.random.default_rng(5)
    clusters = np.concatenate([rng.normal(size=(100, 3)), 5e4 + rng.normal(size=(100, 3))])
    outliers = 10.0 ** rng.uniform(2, 6, (50, 1)) * rng.choice([-1, 1], (50, 3))
    x, _ = as_tensors(np.concatenate([clusters, outliers])[None], None)
    assert_equal(cell_pairs(x, None, 0.5), dense_pairs(x, None, 0.5))
    box = torch.eye(3, dtype=torch.float64) * 3e6
    assert_equal(cell_pairs(x, box, 0.5), dense_pairs(x, box, 0.5))


def test_particles_that_are_not_a_number_have_no_pairs(find):
    x, b = as_tensors(random_positions(1, 300), CUBIC)
    x[0, 7, 1], x[0, 70] = np.nan, np.inf
    for box in (b, None):
        first, second, _ = find(x, box, 0.5)
        assert len(first) > 10 and not {7, 70} & set(torch.cat([first, second]).tolist())


def test_cost_is_linear_in_the_number_of_particles():
    # Counted, not timed: at constant density four times the particles have four times the pairs looked at.
    from openmm_diffusion.space.neighbours import _candidates

    looked_at = {}
    for n in (4096, 16384):
        edge = (n / 3.0) ** (1 / 3)
        x = np.random.default_rng(6).uniform(0, edge, (1, n, 3))
        looked_at[n] = len(_candidates(*as_tensors(x, edge * np.eye(3)), 1.0)[1]) / n
    # Cells of more than 1 nm, 27 around each particle, half of the pairs: 3 x 27/2 and somewhat more.
    assert 40.5 < looked_at[16384] < 60 and abs(looked_at[16384] / looked_at[4096] - 1) < 0.25


def replicated(n, seed=0):
    """Positions (48 n^3, 3) and box (nm) and species of n x n x n copies of a frame of LiCl, each moved a little."""
    frames = Frames.load(LICL)
    shifts = np.array(list(itertools.product(range(n), repeat=3))) @ frames.box.astype(float)
    x = (frames.positions[0].astype(float) + shifts[:, None]).reshape(-1, 3)
    x += np.random.default_rng(seed).normal(scale=0.005, size=x.shape)
    return x, n * frames.box.astype(float), np.tile(frames.species, n**3)


@pytest.mark.parametrize("outputs_forces", [True, False])
def test_torchforce_runs_cells(outputs_forces):
    # 384 ions: more than are looked at pair by pair.
    learnt = Denoiser.load("licl").subset(["wall", "pair", "network"])
    x, box, species = replicated(2)
    forces = energy_and_forces(learnt.model, *as_tensors(x[None], box, torch.float32), learnt.species_index(species))[1]
    force = DiffusionForce(
        learnt, Frames(x[None], species, box, 300.0).topology(), backend="torchscript", outputs_forces=outputs_forces
    )
    system = openmm.System()
    for _ in species:
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    for shift in range(3):
        context.setPositions(x + shift * box[0])
        found = context.getState(forces=True).getForces(asNumpy=True)._value
        np.testing.assert_allclose(found, forces[0], rtol=0, atol=1e-4 * float(forces.square().mean().sqrt()))


def test_the_shipped_model_gives_3072_ions_the_same_forces_both_ways(monkeypatch):
    learnt = Denoiser.load("licl").subset(["wall", "pair", "network"])
    x, box, species = replicated(4)
    energy, forces = learnt.energy(x, box, species), learnt.forces(x, box, species)
    monkeypatch.setattr(batch_module, "neighbour_pairs", dense_pairs)
    dense_energy, dense_forces = learnt.energy(x, box, species), learnt.forces(x, box, species)
    assert np.abs(forces).max() > 50
    np.testing.assert_allclose(forces, dense_forces, rtol=0, atol=1e-5 * np.sqrt((dense_forces**2).mean()))
    np.testing.assert_allclose(energy, dense_energy, rtol=1e-5)
