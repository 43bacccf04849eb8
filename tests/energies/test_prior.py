"""The prior: Ewald sum against OpenMM's PME and Madelung's constant, wall against OpenMM, forces against energies."""

import numpy as np
import openmm
import pytest
import torch

from openmm_diffusion.energies.coulomb import Coulomb, coulomb_force
from openmm_diffusion.energies.native import chosen_cutoff
from openmm_diffusion.energies.wall import Wall, wall_force
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.units import COULOMB

CUBIC = 2.4 * np.eye(3)
TRICLINIC = np.array([[2.4, 0.0, 0.0], [0.7, 2.2, 0.0], [-0.9, 0.6, 2.1]])
RADII = [[0.30, 0.40], [0.40, 0.25]]
SPECIES = torch.tensor([0, 1] * 10)
CHARGES = [1.0, -1.0]


def random_positions(seed, n=20, scale=2.4):
    """Particles at least 0.25 nm apart, as ions are; some lie outside the cell."""
    rng, placed = np.random.default_rng(seed), []
    while len(placed) < n:
        trial = rng.uniform(-0.2, 1.2, 3) * scale
        if all(np.linalg.norm(trial - other) > 0.25 for other in placed):
            placed.append(trial)
    return np.array(placed)


def torch_energy_forces(module, positions, box, species=SPECIES, cutoff=None):
    y = torch.as_tensor(positions[None], dtype=torch.float64).requires_grad_(True)
    box = None if box is None else torch.as_tensor(box)
    energy = module(make_batch(y, box, species, module.cutoff if cutoff is None else cutoff))
    return energy.item(), -torch.autograd.grad(energy.sum(), y)[0][0].numpy()


def openmm_energy_forces(force, positions, box):
    system = openmm.System()
    for _ in positions:
        system.addParticle(1.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(openmm.unit.kilojoule_per_mole / openmm.unit.nanometer)
    return state.getPotentialEnergy().value_in_unit(openmm.unit.kilojoule_per_mole), np.array(forces)


def finite_differences(energy, positions, step=1e-5):
    forces = np.zeros_like(positions)
    for index in np.ndindex(*positions.shape):
        shift = np.zeros_like(positions)
        shift[index] = step
        forces[index] = -(energy(positions + shift) - energy(positions - shift)) / (2 * step)
    return forces


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_coulomb_equals_openmm_pme(box):
    coulomb = Coulomb(CHARGES, 78.3, box)
    charges = [CHARGES[s] for s in SPECIES]
    ours, theirs = [], []
    for seed in range(3):
        positions = random_positions(seed)
        ours.append(torch_energy_forces(coulomb, positions, box))
        force = coulomb_force(charges, 78.3, box)
        force.setEwaldErrorTolerance(1e-6)  # the reference must be better than what it judges
        theirs.append(openmm_energy_forces(force, positions, box))
    for (energy, forces), (expected_energy, expected_forces) in zip(ours, theirs):
        assert energy == pytest.approx(expected_energy, abs=5e-5 * abs(expected_energy))
        rms = np.sqrt(np.mean(expected_forces**2))
        assert np.sqrt(np.mean((forces - expected_forces) ** 2)) < 2e-5 * rms


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_native_coulomb_force_has_the_same_accuracy_as_shipped(box):
    positions = random_positions(5)
    _, forces = torch_energy_forces(Coulomb(CHARGES, 78.3, box, tolerance=1e-8), positions, box)
    _, native = openmm_energy_forces(coulomb_force([CHARGES[s] for s in SPECIES], 78.3, box), positions, box)
    assert np.sqrt(np.mean((native - forces) ** 2)) < 1e-4 * np.sqrt(np.mean(forces**2))


@pytest.mark.parametrize("edge", [0.5, 1.0])
def test_rock_salt_has_madelungs_constant(edge):
    # 64 ions: U per pair of ions = -M e^2 / (4 pi epsilon_0 d), M = 1.7475646 (Crandall & Buhler, 1987).
    spacing = edge / 2
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    species = torch.as_tensor(sites.sum(1) % 2)
    box = 2 * edge * np.eye(3)
    coulomb = Coulomb(CHARGES, 1.0, box, tolerance=1e-8)
    energy, forces = torch_energy_forces(coulomb, sites * spacing, box, species)
    assert -energy / 32 / (COULOMB / spacing) == pytest.approx(1.7475646, abs=1e-6)
    assert np.abs(forces).max() < 1e-4 * COULOMB / spacing**2


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_ewald_energy_does_not_depend_on_how_it_is_split(box):
    positions = random_positions(7)
    loose, tight = (torch_energy_forces(Coulomb(CHARGES, 78.3, box, t), positions, box) for t in (1e-5, 1e-9))
    assert loose[0] == pytest.approx(tight[0], rel=2e-4)
    assert np.abs(loose[1] - tight[1]).max() < 1e-4 * np.abs(tight[1]).max()


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_the_smooth_part_is_the_sum_over_wave_vectors(box):
    # One by one, both halves of the space of wave vectors, more of them than can count.
    positions, coulomb = random_positions(9), Coulomb(CHARGES, 1.0, box)
    q = np.array(CHARGES)[SPECIES]
    k_max = 2 * coulomb.alpha * np.sqrt(-np.log(1e-5))
    n = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)
    k = 2 * np.pi * n @ np.linalg.inv(box).T
    k2 = (k**2).sum(1)
    k, k2 = k[(k2 > 0) & (k2 < k_max**2)], k2[(k2 > 0) & (k2 < k_max**2)]
    phase = positions @ k.T
    S = (q[:, None] * np.exp(1j * phase)).sum(0)
    weight = 2 * np.pi / np.linalg.det(box) * np.exp(-k2 / (4 * coulomb.alpha**2)) / k2
    energy = (weight * abs(S) ** 2).sum() - coulomb.alpha / np.sqrt(np.pi) * (q**2).sum()
    pull = 2 * weight * (np.sin(phase) * S.real - np.cos(phase) * S.imag)
    y = torch.as_tensor(positions[None]).requires_grad_(True)
    ours = coulomb.reciprocal(y, torch.as_tensor(box), torch.as_tensor(q))
    assert ours.item() == pytest.approx(energy, rel=1e-12)
    forces = -torch.autograd.grad(ours.sum(), y)[0][0].numpy()
    np.testing.assert_allclose(forces, q[:, None] * (pull @ k), rtol=1e-9, atol=1e-10 * np.abs(forces).max())


def test_without_a_box_coulomb_is_the_plain_sum():
    positions = random_positions(3)
    q = np.array(CHARGES)[SPECIES]
    energy, expected = 0.0, np.zeros_like(positions)
    for i in range(20):
        for j in range(i):
            d = positions[i] - positions[j]
            r = np.linalg.norm(d)
            energy += 138.93545764438198 / 78.3 * q[i] * q[j] / r
            push = 138.93545764438198 / 78.3 * q[i] * q[j] * d / r**3
            expected[i] += push
            expected[j] -= push
    ours = torch_energy_forces(Coulomb(CHARGES, 78.3), positions, None)
    native = openmm_energy_forces(coulomb_force(q, 78.3, None), positions, None)
    for got_energy, got_forces in (ours, native):
        assert got_energy == pytest.approx(energy, rel=1e-9)
        np.testing.assert_allclose(got_forces, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC, None])
def test_wall_equals_its_openmm_force(box):
    positions = random_positions(0, scale=1.2)
    energy, forces = torch_energy_forces(Wall(RADII, 2e5), positions, box)
    expected_energy, expected_forces = openmm_energy_forces(wall_force(RADII, 2e5, SPECIES, box), positions, box)
    assert energy > 100, "some pairs must touch"
    assert energy == pytest.approx(expected_energy, rel=1e-10)
    np.testing.assert_allclose(forces, expected_forces, rtol=1e-9, atol=1e-7)


def test_wall_is_a_spring_below_its_radius_and_nothing_beyond():
    wall = Wall(RADII, 2e5)
    for pair, radius in (((0, 0), 0.30), ((0, 1), 0.40), ((1, 1), 0.25)):
        for r in (radius - 0.03, radius - 1e-6, radius + 1e-9, radius + 0.1):
            positions = np.array([[0.0, 0, 0], [0.0, r, 0]])
            energy, forces = torch_energy_forces(wall, positions, None, torch.tensor(pair))
            overlap = max(radius - r, 0.0)
            assert energy == pytest.approx(0.5 * 2e5 * overlap**2, abs=1e-12)
            assert forces[1, 1] == pytest.approx(2e5 * overlap, abs=1e-8)


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC, None])
def test_forces_are_minus_the_gradient_of_the_energy(box):
    positions = random_positions(11, n=6, scale=1.2)
    species = torch.tensor([0, 1, 1, 0, 0, 1])
    for module in (Coulomb(CHARGES, 78.3, box), Wall([[0.5, 0.6], [0.6, 0.7]], 2e3)):
        _, forces = torch_energy_forces(module, positions, box, species)
        expected = finite_differences(lambda y, m=module: torch_energy_forces(m, y, box, species)[0], positions)
        np.testing.assert_allclose(forces, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_particles_may_leave_the_cell_and_the_box_may_change(box):
    positions, coulomb = random_positions(2), Coulomb(CHARGES, 78.3, box)
    energy, forces = torch_energy_forces(coulomb, positions, box)
    moved = positions + np.random.default_rng(0).integers(-2, 3, positions.shape) @ box
    energy_moved, forces_moved = torch_energy_forces(coulomb, moved, box)
    assert energy_moved == pytest.approx(energy, rel=1e-9)
    np.testing.assert_allclose(forces_moved, forces, atol=1e-9)
    # All distances 2 % longer, box included: 1/r scales.  Splitting was chosen for the old box.
    energy_scaled, _ = torch_energy_forces(coulomb, 1.02 * positions, 1.02 * box)
    assert energy_scaled == pytest.approx(energy / 1.02, rel=5e-4)


@pytest.mark.parametrize("box", [CUBIC, None])
def test_single_precision_is_good_enough_for_dynamics(box):
    positions, coulomb = random_positions(4), Coulomb(CHARGES, 78.3, box)
    _, expected = torch_energy_forces(coulomb, positions, box)
    y = torch.as_tensor(positions[None], dtype=torch.float32).requires_grad_(True)
    c = make_batch(y, None if box is None else torch.as_tensor(box, dtype=torch.float32), SPECIES, coulomb.cutoff)
    (gradient,) = torch.autograd.grad(coulomb(c).sum(), y)
    assert np.abs(gradient[0].numpy() + expected).max() < 2e-5 * np.abs(expected).max()


def test_pme_leaves_the_box_room_to_shrink():
    assert chosen_cutoff(CUBIC) < 1.2 and chosen_cutoff(4 * np.eye(3)) == 1.2
    assert chosen_cutoff(TRICLINIC) <= 0.4 * 2.1
