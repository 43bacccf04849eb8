"""Spline pair potentials: smooth at their ends, and their design matrix against automatic differentiation."""

import numpy as np
import openmm
import pytest
import torch
from mixture import (
    BOX,
    CUTOFF,
    SPACING,
    SPECIES,
    START,
    crowded,
    curve,
    forces,
    random_pair,
)

from openmm_diffusion.energies.native import pairwise_force
from openmm_diffusion.energies.pair import SplinePair
from openmm_diffusion.space.batch import make_batch


@pytest.mark.parametrize("kind", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_energy_and_force_vanish_at_the_cutoff(kind):
    pair, gap = random_pair(), 1e-4
    u, f = curve(pair, CUTOFF - gap, kind)
    # The last spline that is not zero falls as c (gap / h)^3 / 6.
    assert 0 < abs(u[0]) < 3 * (gap / SPACING) ** 3 / 6
    assert abs(f[0]) < 3 * (gap / SPACING) ** 2 / 2 / SPACING
    assert curve(pair, [CUTOFF, CUTOFF + 0.1], kind)[0].tolist() == [0, 0]


@pytest.mark.parametrize("r", [START, START + SPACING, START + 7 * SPACING, CUTOFF - SPACING])
def test_energy_and_force_are_continuous_at_the_knots(r):
    pair, gap = random_pair(), 1e-7
    (u_left, u_right), (f_left, f_right) = curve(pair, [r - gap, r + gap])
    assert abs(u_left - u_right) < 1e-4
    assert abs(f_left - f_right) < 2 * gap * 20 / SPACING**2, "a kink would be of the order of 1 / SPACING"


def test_below_the_first_knot_the_potential_goes_on_straight():
    pair = random_pair()
    u, f = curve(pair, [START, START - 0.03, START - 0.06])
    np.testing.assert_allclose(f, f[0], rtol=1e-10)
    np.testing.assert_allclose(u[1:], u[0] + f[0] * np.array([0.03, 0.06]), rtol=1e-10)


def test_the_order_of_two_particles_does_not_matter():
    u, f = curve(random_pair(), np.linspace(0.05, 0.69, 40), (0, 1))
    u_swapped, f_swapped = curve(random_pair(), np.linspace(0.05, 0.69, 40), (1, 0))
    np.testing.assert_array_equal(u, u_swapped)
    np.testing.assert_array_equal(f, f_swapped)
    assert np.abs(u - curve(random_pair(), np.linspace(0.05, 0.69, 40), (1, 1))[0]).max() > 0.1


@pytest.mark.parametrize("r", [0.12, 0.31, 0.55])
def test_force_is_minus_the_slope_of_the_energy(r):
    pair, step = random_pair(), 1e-6
    (left, right), _ = curve(pair, [r - step, r + step])
    assert curve(pair, r)[1][0] == pytest.approx(-(right - left) / (2 * step), rel=1e-6)


def test_single_precision_force_is_close():
    pair = random_pair()
    positions = np.random.default_rng(0).uniform(0, 1.5, (4, 12, 3))
    expected = forces(pair, positions)
    y = torch.as_tensor(positions, dtype=torch.float32).requires_grad_(True)
    c = make_batch(y, torch.as_tensor(BOX, dtype=torch.float32), torch.as_tensor(SPECIES), pair.cutoff)
    (gradient,) = torch.autograd.grad(pair(c).sum(), y)
    assert gradient.dtype == torch.float32
    assert np.abs(gradient.numpy() + expected).max() < 1e-4 * np.abs(expected).max()


def test_too_few_knots_are_refused():
    with pytest.raises(ValueError, match="four knots below pair.cutoff"):
        SplinePair(1, 0.5, 0.45, 0.02)


def test_design_matrix_gives_the_forces_of_the_potential():
    pair = random_pair()
    positions, c = crowded()
    G, _ = pair.design(c)
    expected = forces(pair, positions, BOX, c.species)
    got = (G @ pair.coefficients.flatten()).view(2, 6, 3).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_divergence_is_the_trace_of_the_hessian():
    pair = random_pair()
    positions, c = crowded()
    _, divergence = pair.design(c)

    def potential(flat):
        return pair(make_batch(flat.view(2, 6, 3), torch.as_tensor(BOX), c.species, CUTOFF)).sum()

    hessian = torch.autograd.functional.hessian(potential, positions.flatten())
    got = float(divergence @ pair.coefficients.flatten())
    assert got == pytest.approx(-float(hessian.trace()), rel=1e-10)


@pytest.mark.parametrize("spacing", [0.005, 0.01, 0.04])
def test_roughness_of_a_curve_does_not_depend_on_the_knots(spacing):
    def of(h):
        pair = SplinePair(1, 1.0, 0.2, h)
        # Coefficient k belongs to the spline centred at start + (k - 1) spacing.
        r = pair.start + pair.spacing * (np.arange(pair.n_basis) - 1)
        c = torch.as_tensor(np.cos(9 * r) * np.clip(1 - r, 0, None) ** 4)
        return float(c @ pair.roughness() @ c)

    # Knots 0.04 nm apart have few between the first and the cutoff.
    assert of(spacing) == pytest.approx(of(0.02), rel=0.06)


def test_particles_feel_each_other_across_the_boundary():
    pair = random_pair()
    apart = np.array([[[0.05, 0.7, 0.7], [1.40, 0.7, 0.7]]])
    together = np.array([[[0.75, 0.7, 0.7], [0.60, 0.7, 0.7]]])
    np.testing.assert_allclose(forces(pair, apart, BOX, [0, 1]), forces(pair, together, BOX, [0, 1]), atol=1e-9)
    assert np.abs(forces(pair, apart, None, [0, 1])).max() == 0


@pytest.mark.parametrize("box", [BOX, None, np.array([[1.5, 0, 0], [0.3, 1.6, 0], [-0.4, 0.5, 1.7]])])
@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_the_native_force_is_the_same_potential(platform, box):
    pair, rng = random_pair(), np.random.default_rng(1)
    # On a jittered lattice: distances from 0.09 nm, below the first knot, to beyond the cutoff.
    x = 0.75 * np.stack(np.meshgrid([0, 1], [0, 1], [0, 1, 2], indexing="ij"), -1).reshape(-1, 3)
    x += rng.uniform(-0.2, 0.2, x.shape)
    x[1] = x[0] + [0.09, 0, 0]
    species = np.array([0, 1, 1] * 4)
    system = openmm.System()
    for _ in species:
        system.addParticle(1.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(pairwise_force([pair.pairwise("curves")], 2, species, box, "PairPotential"))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(x)
    state = context.getState(getForces=True, getEnergy=True)
    expected = forces(pair, x[None], box, species)[0]
    # The CPU platform computes in single precision.
    relative = 1e-9 if platform == "Reference" else 1e-4
    np.testing.assert_allclose(state.getForces(asNumpy=True)._value, expected, atol=relative * np.abs(expected).max())
    c = make_batch(
        torch.as_tensor(x[None]), None if box is None else torch.as_tensor(box), torch.as_tensor(species), pair.cutoff
    )
    assert state.getPotentialEnergy()._value == pytest.approx(float(pair(c)), rel=relative)
