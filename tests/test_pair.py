"""Spline pair potentials: smooth at their ends, and recovered from configurations alone where the truth is known."""

import numpy as np
import openmm
import pytest
import torch

from openmm_diffusion.configuration import configuration
from openmm_diffusion.pair import PairConfig, SplinePair, pair_force
from openmm_diffusion.rdf import smear
from openmm_diffusion.scorematching import design, fit, moments, roughness, score_objective, solve

KT = 2.494  # kJ/mol at 300 K
BOX = 1.5 * np.eye(3)
CUTOFF, START, SPACING = 0.7, 0.10, 0.025
# Known potentials: a soft core and a well, A exp(-(r/a)^2) - D exp(-((r - r_0)/w)^2), by pair of species.
A, CORE, WIDTH = 30.0, 0.18, 0.07  # kJ/mol, nm, nm
DEPTH, MINIMUM = np.array([[0.0, 5.0], [5.0, 2.0]]), np.array([[0.4, 0.3], [0.3, 0.42]])
SPECIES = np.array([0, 1] * 6)


def energy(r, a, b):
    return A * np.exp(-((r / CORE) ** 2)) - DEPTH[a, b] * np.exp(-(((r - MINIMUM[a, b]) / WIDTH) ** 2))


def radial_force(r, a, b):
    """-du/dr."""
    x = (r - MINIMUM[a, b]) / WIDTH
    return 2 * A * r / CORE**2 * np.exp(-((r / CORE) ** 2)) - 2 * DEPTH[a, b] / WIDTH * x * np.exp(-(x**2))


def true_forces(positions):
    d = positions[:, :, None] - positions[:, None]
    d -= BOX[0, 0] * np.round(d / BOX[0, 0])
    r = np.linalg.norm(d, axis=-1) + 10 * np.eye(d.shape[1])
    return (radial_force(r, SPECIES[:, None], SPECIES[None])[..., None] * d / r[..., None]).sum(2)


def sample(n_chains, sweeps=250, seed=0):
    """The last configuration of independent Metropolis chains, one move per particle and sweep."""
    rng, n, edge = np.random.default_rng(seed), len(SPECIES), BOX[0, 0]
    x = rng.uniform(0, edge, (n_chains, n, 3))
    for _ in range(sweeps):
        for i in range(n):
            trial = x[:, i] + rng.uniform(-0.12, 0.12, (n_chains, 3))
            change = 0.0
            for sign, place in ((1, trial), (-1, x[:, i])):
                d = np.delete(x, i, 1) - place[:, None]
                d -= edge * np.round(d / edge)
                change = change + sign * energy(np.linalg.norm(d, axis=-1), SPECIES[i], np.delete(SPECIES, i)).sum(1)
            accept = rng.random(n_chains) < np.exp(-np.clip(change / KT, 0, None))
            x[accept, i] = trial[accept]
    return x


@pytest.fixture(scope="module")
def frames():
    return sample(2000)


def fitted(positions, fraction_in_prior=0.0, **options):
    pair = SplinePair(2, CUTOFF, START, SPACING)
    species = torch.as_tensor(SPECIES)
    replicas = [
        moments(
            pair,
            torch.as_tensor(part),
            torch.as_tensor(fraction_in_prior * true_forces(part)),
            torch.as_tensor(BOX).expand(len(part), 3, 3),
            species,
            KT,
        )
        for part in np.array_split(positions, 10)
    ]
    return pair, fit(pair, replicas, PairConfig(cutoff=CUTOFF, start=START, spacing=SPACING, **options))


def forces(pair, positions, box=BOX, species=SPECIES):
    y = torch.as_tensor(positions).requires_grad_(True)
    box = None if box is None else torch.as_tensor(box)
    c = configuration(y, box, torch.as_tensor(species), pair.cutoff)
    return -torch.autograd.grad(pair(c).sum(), y)[0].numpy()


def error(pair, positions, fraction=1.0):
    """Rms force error over the rms force."""
    truth = fraction * true_forces(positions)
    return np.sqrt(np.mean((forces(pair, positions) - truth) ** 2) / np.mean(truth**2))


def random_pair(seed=0):
    pair = SplinePair(2, CUTOFF, START, SPACING)
    generator = torch.Generator().manual_seed(seed)
    pair.coefficients.copy_(torch.randn(pair.coefficients.shape, generator=generator, dtype=torch.float64))
    pair.coefficients[:, -3:] = 0
    return pair


def curve(pair, r, kind=(0, 1)):
    """u(r) and -du/dr of one pair of species at distances r."""
    r = np.atleast_1d(r)
    positions = np.zeros((len(r), 2, 3))
    positions[:, 1, 2] = r
    c = configuration(torch.as_tensor(positions), None, torch.tensor(kind), pair.cutoff)
    return pair(c).numpy(), forces(pair, positions, None, kind)[:, 1, 2]


# ---- the basis


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
    c = configuration(y, torch.as_tensor(BOX, dtype=torch.float32), torch.as_tensor(SPECIES), pair.cutoff)
    (gradient,) = torch.autograd.grad(pair(c).sum(), y)
    assert gradient.dtype == torch.float32
    assert np.abs(gradient.numpy() + expected).max() < 1e-4 * np.abs(expected).max()


def test_too_few_knots_are_refused():
    with pytest.raises(ValueError, match="four knots below pair.cutoff"):
        SplinePair(1, 0.5, 0.45, 0.02)


# ---- the design matrix, against automatic differentiation


def crowded():
    """Particles of two frames, some pairs below the first knot."""
    positions = torch.as_tensor(np.random.default_rng(4).uniform(0, 0.5, (2, 6, 3)))
    c = configuration(positions, torch.as_tensor(BOX), torch.tensor([0, 1, 1, 0, 0, 1]), CUTOFF)
    assert (c.distances < START).sum() >= 1 and (c.distances > 2 * START).sum() > 10
    return positions, c


def test_design_matrix_gives_the_forces_of_the_potential():
    pair = random_pair()
    positions, c = crowded()
    G, _ = design(pair, c)
    expected = forces(pair, positions, BOX, c.species)
    got = (G @ pair.coefficients.flatten()).view(2, 6, 3).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_divergence_is_the_trace_of_the_hessian():
    pair = random_pair()
    positions, c = crowded()
    _, divergence = design(pair, c)

    def potential(flat):
        return pair(configuration(flat.view(2, 6, 3), torch.as_tensor(BOX), c.species, CUTOFF)).sum()

    hessian = torch.autograd.functional.hessian(potential, positions.flatten())
    got = float(divergence @ pair.coefficients.flatten())
    assert got == pytest.approx(-float(hessian.trace()), rel=1e-10)


def test_moments_are_the_averages_of_the_design():
    pair = random_pair()
    positions, c = crowded()
    prior = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    m = moments(pair, positions, prior, torch.as_tensor(BOX).expand(2, 3, 3), c.species, KT, frames_per_chunk=1)
    G, divergence = design(pair, c)
    torch.testing.assert_close(m.A, G.T @ G / 2)
    torch.testing.assert_close(m.b, -(G.T @ prior.flatten() + KT * divergence) / 2)
    # The score objective is half the squared force plus kT times the divergence, prior cross term included.
    flat = pair.coefficients.flatten()
    force = G @ flat
    by_hand = (0.5 * force @ force + force @ prior.flatten() + KT * divergence @ flat) / 2
    assert score_objective(pair.coefficients, [m]) == pytest.approx(float(by_hand), rel=1e-10)


# ---- the fit


@pytest.mark.parametrize("in_prior, tolerance", [(0.0, 0.15), (0.6, 0.11)])
def test_score_matching_recovers_the_known_potential_from_positions_alone(frames, in_prior, tolerance):
    # 2,000 frames leave 10 % of the rms force (7 % with most of it in the prior), 4,000 leave 6 %.
    pair, result = fitted(frames, in_prior)
    assert error(pair, sample(200, seed=1), 1 - in_prior) * (1 - in_prior) < tolerance
    assert result["held_out_score"] < 0


def test_four_times_the_data_give_a_smaller_error(frames):
    held_out = sample(200, seed=1)
    few = [error(fitted(frames[start : start + 250])[0], held_out) for start in range(0, 2000, 500)]
    more = [error(fitted(frames[start : start + 1000])[0], held_out) for start in (0, 1000)]
    # Statistical error falls as the square root of the number of frames, 0.5; a smooth curve's a little slower.
    assert np.mean(more) < 0.7 * np.mean(few)


def test_noised_dimers_give_the_potential_of_the_smoothed_density():
    # Two particles: the smoothed density is a pair density, and U_sigma = -kT log of the smeared g(r).
    rng, sigma, n = np.random.default_rng(0), 0.02, 100_000
    d = rng.uniform(-0.75, 0.75, (4 * n, 3))
    r = np.linalg.norm(d, axis=1)
    weight = np.exp(-energy(r, 0, 1) / KT)
    d = d[rng.random(len(d)) * np.exp(5.0 / KT) < weight][:n]
    x = np.stack([np.zeros_like(d), d], 1)
    y = torch.as_tensor(x + sigma * rng.normal(size=x.shape))
    pair = SplinePair(2, CUTOFF, START, SPACING)
    boxes = torch.as_tensor(BOX).expand(len(y), 3, 3)
    parts = zip(y.chunk(10), boxes.chunk(10))
    replicas = [
        moments(pair, part, torch.zeros_like(part), box, torch.tensor([0, 1]), KT, frames_per_chunk=2000)
        for part, box in parts
    ]
    fit(pair, replicas, PairConfig())
    r = np.arange(0.005, 0.75, 0.001)
    g = np.exp(-energy(r, 0, 1) / KT)
    smoothed = KT * np.gradient(np.log(smear(r, g, sigma)), r)
    clean = KT * np.gradient(np.log(g), r)
    inside = (r > 0.25) & (r < 0.5)  # where the well puts the data
    _, force = curve(pair, r[inside])
    deviation = np.sqrt(np.mean((force - smoothed[inside]) ** 2))
    smoothing = np.sqrt(np.mean((clean - smoothed)[inside] ** 2))
    assert deviation < 0.25 * smoothing, "the fit must tell the smoothed potential from the clean one"


def test_penalty_is_the_largest_within_one_standard_error_of_the_best(frames):
    penalties = [1e-4, 1e-1, 1e2, 1e5, 1e8]
    _, result = fitted(frames[:250], penalties=penalties)
    assert [row[0] for row in result["path"]] == penalties
    scores, errors = (np.array([row[k] for row in result["path"]]) for k in (1, 2))
    chosen, best = penalties.index(result["penalty"]), scores.argmin()
    assert result["held_out_score"] == scores[chosen] <= scores[best] + errors[chosen]
    assert (scores[chosen + 1 :] > scores[best] + errors[chosen + 1 :]).all() and chosen >= best
    # Too weak and too strong are both worse, so the choice lies inside.
    assert 0 < chosen < len(penalties) - 1
    assert errors[best] == 0 and (np.delete(errors, best) > 0).all()


def test_solution_minimises_the_penalised_objective(frames):
    pair = SplinePair(2, CUTOFF, START, SPACING)
    x = torch.as_tensor(frames[:100])
    m = moments(pair, x, torch.zeros_like(x), torch.as_tensor(BOX).expand(100, 3, 3), torch.as_tensor(SPECIES), KT)

    def objective(c):
        return score_objective(c, [m]) + 0.5 * 10.0 * float(c.flatten() @ roughness(pair) @ c.flatten())

    best = solve(pair, [m], 10.0)
    assert (best[:, -3:] == 0).all()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = torch.randn(best.shape, generator=generator, dtype=torch.float64)
        step[:, -3:] = 0
        for size in (0.01, 1.0):
            assert objective(best + size * step) > objective(best)


@pytest.mark.parametrize("spacing", [0.005, 0.01, 0.04])
def test_roughness_of_a_curve_does_not_depend_on_the_knots(spacing):
    def of(h):
        pair = SplinePair(1, 1.0, 0.2, h)
        # Coefficient k belongs to the spline centred at start + (k - 1) spacing.
        r = pair.start + pair.spacing * (np.arange(pair.n_basis) - 1)
        c = torch.as_tensor(np.cos(9 * r) * np.clip(1 - r, 0, None) ** 4)
        return float(c @ roughness(pair) @ c)

    assert of(spacing) == pytest.approx(of(0.02), rel=0.05)


def test_particles_feel_each_other_across_the_boundary():
    pair = random_pair()
    apart = np.array([[[0.05, 0.7, 0.7], [1.40, 0.7, 0.7]]])
    together = np.array([[[0.75, 0.7, 0.7], [0.60, 0.7, 0.7]]])
    np.testing.assert_allclose(forces(pair, apart, BOX, [0, 1]), forces(pair, together, BOX, [0, 1]), atol=1e-9)
    assert np.abs(forces(pair, apart, None, [0, 1])).max() == 0


# ---- as a native OpenMM force


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
    system.addForce(pair_force(pair, species, box))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(x)
    state = context.getState(getForces=True, getEnergy=True)
    expected = forces(pair, x[None], box, species)[0]
    # The CPU platform computes in single precision.
    relative = 1e-9 if platform == "Reference" else 1e-4
    np.testing.assert_allclose(state.getForces(asNumpy=True)._value, expected, atol=relative * np.abs(expected).max())
    c = configuration(
        torch.as_tensor(x[None]), None if box is None else torch.as_tensor(box), torch.as_tensor(species), pair.cutoff
    )
    assert state.getPotentialEnergy()._value == pytest.approx(float(pair(c)), rel=relative)
