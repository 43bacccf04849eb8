"""Every step of docs/theory.md, checked: closed forms and quadrature against the functions of the package."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from models import LICL, licl_denoiser
from scipy.linalg import solve_continuous_lyapunov

from openmm_diffusion.analysis.rdf import compute_rdf, smear
from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.pair import SplinePair, splines
from openmm_diffusion.forces.torchscript import OpenEnergy
from openmm_diffusion.learning.linear.forcematching import labelled_moments, textbook_weights
from openmm_diffusion.learning.linear.scorematching import moments, score_objective, solve
from openmm_diffusion.model.combination import extrapolated, half_step
from openmm_diffusion.noise import denoising_force, draw_noise, force_from_denoised, scale
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.units import ELECTRONVOLT, thermal_energy

KT = thermal_energy(300)
ROOT = Path(__file__).parents[2]


# ---- one dimension by quadrature: a tilted double well of 2 kT, and a spring

#: Quadrature points, nm: the trapezoidal rule is exact to rounding for densities as smooth as these.
X = np.arange(-0.32, 0.32, 1e-4)
#: Where densities are looked at, nm.
Y = np.arange(-0.14, 0.1401, 0.002)
LENGTH, WIDTH = 0.07, 0.03  # nm
#: Noise levels that orders are read from, nm: small beside the width of a well, 0.02 nm.
SIGMAS = np.array([0.0005, 0.0007, 0.0010, 0.0014])
SPRING = KT / WIDTH**2  # kJ/mol/nm^2


def double_well(x):
    """U (kJ/mol), its force and the correction (lap U - |grad U|^2/kT)/2 with its derivative."""
    t = x / LENGTH
    U = KT * (2 * t**4 - 4 * t**2 + 0.5 * t)
    first, second, third = (
        KT * (8 * t**3 - 8 * t + 0.5) / LENGTH,
        KT * (24 * t**2 - 8) / LENGTH**2,
        KT * 48 * t / LENGTH**3,
    )
    return U, -first, (second - first**2 / KT) / 2, (third - 2 * first * second / KT) / 2


def spring(x):
    return SPRING * x**2 / 2, -SPRING * x, (SPRING - (SPRING * x) ** 2 / KT) / 2, -(SPRING**2) * x / KT


def density(potential, x=X):
    """p(x) of 1/nm, normalised by quadrature."""
    z = np.exp(-potential(X)[0] / KT).sum() * (X[1] - X[0])
    return np.exp(-potential(x)[0] / KT) / z


def noised(potential, sigma, y=Y, *functions):
    """p_sigma(y), and E[f(x) | y] of each function."""
    joint = density(potential) * np.exp(-((y[:, None] - X) ** 2) / (2 * sigma**2))
    joint *= (X[1] - X[0]) / np.sqrt(2 * np.pi) / sigma
    p = joint.sum(1)
    return p, *[joint @ f(X) / p for f in functions]


def smoothed_force(potential, sigma, y=Y):
    """F_sigma(y), from the denoiser that quadrature gives."""
    return force_from_denoised(noised(potential, sigma, y, lambda x: x)[1], y, sigma, KT)


def rms(values, weight):
    return np.sqrt(np.sum(weight * values**2) / np.sum(weight))


def exponent(sigmas, errors):
    return np.polyfit(np.log(sigmas), np.log(np.abs(errors)), 1)[0]


# ---- 1. the noised ensemble


@pytest.mark.parametrize("sigma", [0.005, 0.02])
def test_conditional_mean_is_the_score(sigma):
    # The score once more, without the denoiser: by differences of log p_sigma.
    h = 1e-5
    below, above = (np.log(noised(double_well, sigma, Y + step)[0]) for step in (-h, h))
    expected = KT * (above - below) / (2 * h)
    np.testing.assert_allclose(smoothed_force(double_well, sigma), expected, atol=1e-5 * np.abs(expected).max())


def test_denoiser_is_the_best_guess():
    # Any other function of y has a larger squared error than E[x | y], by its squared distance from it.
    sigma, y = 0.02, X[::10]
    p, mean, square = noised(double_well, sigma, y, lambda x: x, lambda x: x**2)

    def error(guess):
        return np.sum(p * (square - 2 * mean * guess + guess**2)) / np.sum(p)

    rng = np.random.default_rng(0)
    for _ in range(5):
        change = 0.01 * rng.normal() * np.cos(rng.uniform(5, 60) * y + rng.uniform(0, 6))
        assert error(mean + change) - error(mean) == pytest.approx(rms(change, p) ** 2, rel=1e-6)
    assert error(mean) < error(y) == pytest.approx(sigma**2, rel=1e-6), "no denoising leaves sigma^2"


def test_noise_across_a_boundary_needs_no_choice_of_image():
    # A ring of length L: y is known up to L, -kT eps/sigma is not ambiguous, and its mean is the ring's score.
    edge, sigma, h = 0.1, 0.02, 1e-5
    x = np.arange(0, edge, 1e-4)
    p = np.exp(np.cos(2 * np.pi * x / edge) + 0.6 * np.sin(4 * np.pi * x / edge))

    def sums(y):
        eps = (y[:, None, None] - x[:, None] + edge * np.arange(-3, 4)) / sigma
        weight = p[:, None] * np.exp(-(eps**2) / 2)
        return weight.sum((1, 2)), (weight * denoising_force(eps, sigma, KT)).sum((1, 2))

    y = np.linspace(0, edge, 40)
    total, labels = sums(y)
    expected = KT * (np.log(sums(y + h)[0]) - np.log(sums(y - h)[0])) / (2 * h)
    np.testing.assert_allclose(labels / total, expected, atol=1e-5 * np.abs(expected).max())


# ---- 2. expansion in sigma


@pytest.mark.parametrize("sigma", [0.005, 0.03])
def test_smoothing_of_a_spring_is_exact(sigma):
    expected = -SPRING / (1 + sigma**2 * SPRING / KT) * Y
    np.testing.assert_allclose(smoothed_force(spring, sigma), expected, atol=1e-8 * np.abs(expected).max())
    if sigma == WIDTH:
        assert expected[0] == pytest.approx(-SPRING * Y[0] / 2)


def test_smoothing_is_of_second_order_in_the_force_and_fourth_in_the_denoiser():
    p = density(double_well, Y)
    _, force, _, slope = double_well(Y)
    bias, rest, jump = [], [], []
    for sigma in SIGMAS:
        smoothed = smoothed_force(double_well, sigma)
        bias.append(rms(smoothed - force, p))
        rest.append(rms(smoothed - force + sigma**2 * slope, p))
        jump.append(rms(noised(double_well, sigma, Y, lambda x: x)[1] - Y - sigma**2 * force / KT, p))
    assert exponent(SIGMAS, bias) == pytest.approx(2, abs=0.03)
    assert exponent(SIGMAS, jump) == pytest.approx(4, abs=0.03)
    # Less the leading order that U_sigma = U + (sigma^2/2)(lap U - |grad U|^2/kT) predicts, two orders less.
    assert exponent(SIGMAS, rest) == pytest.approx(4, abs=0.06)


def test_leading_correction_of_the_energy():
    p = density(double_well, Y)
    U, _, correction, _ = double_well(Y)
    constant = KT * np.log(np.exp(-double_well(X)[0] / KT).sum() * (X[1] - X[0]))
    rest = [
        rms(-KT * np.log(noised(double_well, s)[0]) - constant - U - s**2 * correction, p) / rms(U, p) for s in SIGMAS
    ]
    assert exponent(SIGMAS, rest) == pytest.approx(4, abs=0.06)
    assert rest[-1] < 1e-4


# ---- 3. from score to force


def test_scale_is_kT_over_sigma_squared():
    # kJ/mol/nm^2 at 300 K and 0.005 nm, and the scale of the paper's scripts: eV per squared length is kT.
    assert scale(0.005, KT) == pytest.approx(99_774, rel=1e-5)
    assert thermal_energy(293.15) / ELECTRONVOLT == pytest.approx(0.0252617, abs=5e-8)
    # Dimensions: lengths in Angstrom instead of nm divide the scale by 100.
    assert scale(0.05, KT) == pytest.approx(scale(0.005, KT) / 100)


def test_wrong_kT_changes_a_variance_by_its_ratio():
    data, thermostat, y = 293.15, 300.0, X[::10]
    force = thermal_energy(data) * smoothed_force(spring, 0.005, y) / KT
    # What a thermostat makes of that force: exp(-U / kT), U by the trapezoidal rule.
    U = -np.cumsum((force[1:] + force[:-1]) / 2) * (y[1] - y[0])
    p = np.exp(-(U - U.min()) / thermal_energy(thermostat))
    variance = np.sum(p * y[1:] ** 2) / np.sum(p)
    assert variance / (WIDTH**2 + 0.005**2) == pytest.approx(thermostat / data, rel=1e-6)
    assert thermostat / data - 1 == pytest.approx(0.0234, abs=5e-5)


# ---- 4. pair distances


def test_noise_on_both_ends_counts_twice():
    sigma, n = 0.02, 200_000
    generator = torch.Generator().manual_seed(0)
    eps = draw_noise(torch.zeros(n, 2, 3, dtype=torch.float64), 1, False, generator)[0]
    bond = WIDTH * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x = torch.stack([torch.zeros_like(bond), bond], 1)
    d = (x + sigma * eps).diff(dim=1)[:, 0]
    wide = WIDTH**2 + 2 * sigma**2
    assert float(d.var()) == pytest.approx(wide, rel=4 * np.sqrt(2 / (3 * n)))
    # The mean force along the bond is that of the spring k / (1 + 2 sigma^2 k / kT) = kT / (w^2 + 2 sigma^2).
    labels = denoising_force(eps[:, 1], sigma, KT)
    slope = float((labels * d).sum() / (d * d).sum())
    error = float((labels - slope * d).square().mean().sqrt() / d.square().sum().sqrt())
    assert abs(slope + SPRING / (1 + 2 * sigma**2 * SPRING / KT)) < 4 * error
    assert abs(slope + SPRING / (1 + sigma**2 * SPRING / KT)) > 20 * error, "must tell two ends from one"


def test_a_noised_pair_distribution_is_smeared_in_three_dimensions():
    # Pairs of a thin shell and a broad one; n noised pairs against smear(r, g), bin by bin.
    sigma, n, rng = 0.01, 400_000, np.random.default_rng(1)
    r = np.arange(0.1005, 0.6, 0.001)
    g = 2 * np.exp(-(((r - 0.25) / 0.012) ** 2) / 2) + np.exp(-(((r - 0.42) / 0.03) ** 2) / 2)
    distances = rng.choice(r, n, p=r**2 * g / np.sum(r**2 * g)) + rng.uniform(-0.0005, 0.0005, n)
    directions = rng.normal(size=(n, 3))
    x = np.zeros((n, 2, 3))
    x[:, 1] = distances[:, None] * directions / np.linalg.norm(directions, axis=1)[:, None]
    eps = draw_noise(torch.as_tensor(x), 1, False, torch.Generator().manual_seed(2))[0]
    y = np.linalg.norm(np.diff(x + sigma * eps.numpy(), axis=1)[:, 0], axis=1)
    edges = np.arange(0.2, 0.5, 0.01)
    counts = np.histogram(y, edges)[0]

    def chi_squared(level):
        smeared = smear(r, g, level)
        expected = np.array([np.sum((r**2 * smeared)[(r > a) & (r < b)]) for a, b in zip(edges, edges[1:])])
        expected *= n / np.sum(r**2 * g)
        return np.mean((counts - expected) ** 2 / expected)

    # 29 bins: 1 +- 0.26.
    assert chi_squared(sigma) < 2
    assert chi_squared(sigma / np.sqrt(2)) > 100, "must tell 2 sigma^2 from sigma^2"


def test_smearing_lowers_the_contact_peak():
    rdf = compute_rdf(Frames.load(LICL)[::2], (0.15, 1.0), 0.005)
    g = rdf.g["Li-Cl"]
    contact = rdf.r < 0.3
    heights = [smear(rdf.r, g, sigma)[contact].max() for sigma in (0, 0.005, 0.010, 0.0265)]
    assert heights == pytest.approx([1.10, 0.94, 0.71, 0.36], abs=0.02)


# ---- 5. variance of labels, antithetic pairs


@pytest.fixture(scope="module")
def cluster():
    """Six particles and a pair potential, linear in its coefficients; `free`: those that act at these distances."""
    pair = SplinePair(1, 0.6, 0.1, 0.05)
    rng = np.random.default_rng(3)
    corners = np.stack(np.meshgrid([0, 1, 2], [0, 1], [0], indexing="ij"), -1).reshape(-1, 3)
    x = torch.as_tensor(0.25 * corners + rng.uniform(-0.03, 0.03, (6, 3)))
    free = slice(2, pair.n_basis - 3)
    c = torch.zeros(pair.n_basis, dtype=torch.float64)
    c[free] = torch.as_tensor(rng.normal(size=pair.n_basis - 5))
    return SimpleNamespace(pair=pair, x=x, c=c, free=free)


def force_of_basis(pair, y):
    """G of each configuration y (n, particles, 3): shape (n, 3 particles, n_coefficients)."""
    c = make_batch(y, None, torch.zeros(y.shape[1], dtype=torch.int64), pair.cutoff)
    return pair.design(c)[0].view(len(y), -1, pair.coefficients.numel())


def loss_gradients(cluster, sigma, draws, seed=0):
    """Gradient of |F - T|^2 by the coefficients, for every copy: antithetic ones are k and k + draws."""
    eps = draw_noise(cluster.x[None], draws, True, torch.Generator().manual_seed(seed))[:, 0]
    G = force_of_basis(cluster.pair, cluster.x + sigma * eps)
    off = (G @ cluster.c) - denoising_force(eps.flatten(1), sigma, KT)
    return 2 * torch.einsum("nik,ni->nk", G, off)[:, cluster.free]


def exact_gradient(cluster):
    x = cluster.x[None]
    m = moments(cluster.pair, x, torch.zeros_like(x), None, torch.zeros(6, dtype=torch.int64), KT)
    return 2 * (m.A @ cluster.c - m.b)[cluster.free]


def test_antithetic_gradient_tends_to_that_of_exact_score_matching(cluster):
    draws, exact = 20_000, exact_gradient(cluster)
    pairs = loss_gradients(cluster, 1e-4, draws).view(2, draws, -1).mean(0)
    error = pairs.std(0) / np.sqrt(draws)
    assert ((pairs.mean(0) - exact).abs() < 4 * error).all()
    assert error.norm() < 0.02 * exact.norm(), "the test must resolve the gradient"
    # The part of the squared force alone is another gradient: the rest is the divergence.
    G = force_of_basis(cluster.pair, cluster.x[None])[0]
    squared = 2 * (G.T @ (G @ cluster.c))[cluster.free]
    assert ((pairs.mean(0) - squared).abs() > 10 * error).all()


def test_variance_of_the_gradient_with_and_without_antithetic_pairs(cluster):
    draws, sigmas = 4000, np.array([0.00025, 0.0005, 0.001, 0.002])
    single, antithetic = [], []
    for sigma in sigmas:
        copies = loss_gradients(cluster, sigma, draws).view(2, draws, -1)
        single.append(float(copies[0].var(0).sum()))
        antithetic.append(float(copies.mean(0).var(0).sum()))
    assert exponent(sigmas, single) == pytest.approx(-2, abs=0.02)
    assert exponent(sigmas, antithetic) == pytest.approx(0, abs=0.1)
    # Closed forms: (2 kT/sigma)^2 |G_k|^2, and Hutchinson's 8 kT^2 |grad G_k|^2.
    G = force_of_basis(cluster.pair, cluster.x[None])[0][:, cluster.free]
    h = 1e-6
    steps = h * torch.eye(18, dtype=torch.float64).view(18, 6, 3)
    slope = (force_of_basis(cluster.pair, cluster.x + steps) - force_of_basis(cluster.pair, cluster.x - steps)) / (
        2 * h
    )
    assert single[0] == pytest.approx((2 * KT / sigmas[0]) ** 2 * float((G**2).sum()), rel=0.05)
    assert antithetic[0] == pytest.approx(8 * KT**2 * float((slope[..., cluster.free] ** 2).sum()), rel=0.1)
    # Two independent copies, which cost as much as a pair, are this many times noisier.
    gain = np.array(single) / 2 / np.array(antithetic)
    assert gain[sigmas == 0.001][0] == pytest.approx(69, rel=0.15)


# ---- 6. exact score matching


def dimers(pair, coefficients, n=20_000, radius=0.75):
    """Two particles at equally weighted quantiles of r^2 exp(-u(r)/kT), r < radius: an ensemble by quadrature."""
    pair.coefficients.copy_(coefficients)
    r = np.linspace(0, radius, 400_001)
    p = r**2 * np.exp(-pair.curve(0, r) / KT)
    cumulative = np.concatenate([[0], np.cumsum((p[1:] + p[:-1]) / 2)])
    x = np.zeros((n, 2, 3))
    x[:, 1, 2] = np.interp((np.arange(n) + 0.5) / n, cumulative / cumulative[-1], r)
    return torch.as_tensor(x)


def spline_potential():
    pair = SplinePair(1, 0.6, 0.1, 0.05)
    c = torch.zeros(1, pair.n_basis, dtype=torch.float64)
    c[0, :-3] = torch.as_tensor(-2 * KT * np.cos(0.9 * np.arange(pair.n_basis - 3)))
    return pair, c


def dimer_moments(pair, x, prior_forces=None):
    prior_forces = torch.zeros_like(x) if prior_forces is None else prior_forces
    return moments(pair, x, prior_forces, None, torch.zeros(2, dtype=torch.int64), KT, frames_per_chunk=2000)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_score_matching_solves_for_the_potential_that_the_prior_leaves(share):
    # Positions alone; a prior that holds a share of the true forces leaves the rest of them.
    pair, truth = spline_potential()
    x = dimers(pair, truth)
    prior = share * (force_of_basis(pair, x) @ truth[0]).view_as(x)
    c = solve(pair, [dimer_moments(pair, x, prior)], 1e-12)
    off, m = (c - (1 - share) * truth).flatten(), dimer_moments(pair, x)
    # What is left, 0.2 %, is the quadrature of the curvature's jump at the first knot.
    assert float((off @ m.A @ off) / (truth[0] @ m.A @ truth[0])) ** 0.5 < 0.004


def test_score_objective_is_the_force_error_up_to_a_constant():
    pair, truth = spline_potential()
    m = dimer_moments(pair, dimers(pair, truth))
    rng = np.random.default_rng(0)
    for _ in range(5):
        c = torch.zeros_like(truth)
        c[0, :-3] = torch.as_tensor(rng.normal(size=pair.n_basis - 3))
        off = (c - truth).flatten()
        error = 0.5 * float(off @ m.A @ off)
        assert score_objective(c, [m]) - score_objective(truth, [m]) == pytest.approx(error, rel=0.01)


def test_slope_at_the_cutoff_makes_a_force_from_nothing():
    # Free particles: the answer is no force.  b holds kT times the surface integral of the slope at the cutoff.
    pair = SplinePair(1, 0.6, 0.1, 0.05)
    radius = 0.75
    m = dimer_moments(pair, dimers(pair, torch.zeros(1, pair.n_basis), radius=radius))
    slope = np.zeros(pair.n_basis)
    slope[-3], slope[-1] = -0.5 / pair.spacing, 0.5 / pair.spacing
    surface = 2 * KT * 3 * pair.cutoff**2 / radius**3 * slope
    np.testing.assert_allclose(m.b, surface, atol=1e-3 * np.abs(surface).max())
    # The last spline but one has a value at the cutoff and no slope: its b is zero like the others'.
    assert [float(value) for value in splines(torch.tensor(1.0))] == pytest.approx([0, 1 / 6, 2 / 3, 1 / 6])
    spurious = torch.linalg.solve(m.A + 1e-9 * m.A.diagonal().max() * torch.eye(pair.n_basis), m.b)
    force = np.sqrt(float(spurious @ m.A @ spurious) / 6)
    allowed = solve(pair, [m], 1e-12).flatten()
    # Root mean square per coordinate, kJ/mol/nm.
    assert force == pytest.approx(27, rel=0.05)
    assert np.sqrt(float(allowed @ m.A @ allowed) / 6) < 0.1


# ---- 7. priors


def test_a_prior_belongs_to_the_noised_positions():
    # A spring as prior, k_p, taken off at x by mistake; simulations have it at y.
    sigma, prior = 0.015, 0.7 * SPRING
    _, mean = noised(spring, sigma, Y, lambda x: x)
    total = smoothed_force(spring, sigma)
    # Targets less F_prior(x) = -k_p x teach F_sigma + k_p E[x | y]; F_prior(y) comes on top.
    at_x = (total + prior * mean) - prior * Y
    error = -prior * sigma**2 / (WIDTH**2 + sigma**2) * Y
    np.testing.assert_allclose(at_x - total, error, atol=1e-8 * np.abs(total).max())
    assert np.abs(error).max() > 0.1 * np.abs(total).max()


def test_the_right_prior_leaves_only_the_smoothing():
    sigma, p = 0.001, density(double_well, Y)
    left = smoothed_force(double_well, sigma) - double_well(Y)[1]
    leading = -(sigma**2) * double_well(Y)[3]
    assert rms(left - leading, p) < 0.02 * rms(left, p)


# ---- 8. the limit of data duplication


def kernel_denoised(y, frames, sigma):
    """E[x | y] where x is one of some frames: the denoiser of infinitely many copies of them."""
    logs = -((y[..., None] - frames) ** 2) / (2 * sigma**2)
    weights = np.exp(logs - logs.max(-1, keepdims=True))
    return (weights * frames).sum(-1) / weights.sum(-1)


def kernel_force(y, frames, sigma):
    return force_from_denoised(kernel_denoised(y, frames, sigma), y, sigma, KT)


def test_fresh_noise_on_few_frames_leads_to_their_kernel_density():
    frames, sigma, h = WIDTH * np.random.default_rng(0).normal(size=12), 0.008, 1e-6
    y = np.linspace(-0.07, 0.07, 141)

    def log_density(at):
        return np.log(np.exp(-((at[:, None] - frames) ** 2) / (2 * sigma**2)).sum(1))

    score = (log_density(y + h) - log_density(y - h)) / (2 * h)
    force = kernel_force(y, frames, sigma)
    np.testing.assert_allclose(force, KT * score, atol=1e-5 * np.abs(force).max())
    # Least squares on fresh draws of these frames, in bins of y, finds it.
    positions = torch.as_tensor(frames)[:, None, None].expand(12, 1, 3)
    eps = draw_noise(positions, 15_000, True, torch.Generator().manual_seed(1))[..., 0, 0].numpy()
    draws, labels = (frames + sigma * eps).ravel(), denoising_force(eps, sigma, KT).ravel()
    # Between the frames: beyond the last, labels of other frames are too rare to have an error bar.
    bins = np.digitize(draws, np.linspace(-0.035, 0.035, 26))

    def chi_squared(residual):
        return np.mean((np.bincount(bins, residual) ** 2 / np.bincount(bins, residual**2))[1:-1])

    # 25 bins: 1 +- 0.28.
    assert chi_squared(labels - kernel_force(draws, frames, sigma)) < 2
    well = -KT / (WIDTH**2 + sigma**2) * draws
    assert chi_squared(labels - well) > 20, "must tell the frames from the well that they were drawn from"


@pytest.mark.parametrize("sigma", [0.005, 0.02])
def test_labels_scatter_less_where_the_potential_is_stiff(sigma):
    h = 1e-5
    p, mean, square = noised(double_well, sigma, Y, lambda x: x, lambda x: x**2)
    # T = kT (x - y) / sigma^2: its variance is that of x.
    scatter = (KT / sigma**2) ** 2 * (square - mean**2)
    below, above = (smoothed_force(double_well, sigma, Y + step) / KT for step in (-h, h))
    expected = (KT / sigma) ** 2 * (1 + sigma**2 * (above - below) / (2 * h))
    np.testing.assert_allclose(scatter, expected, rtol=1e-5)
    stiff = double_well(Y)[2] * 2 + double_well(Y)[1] ** 2 / KT > 4 * KT / LENGTH**2
    assert (scatter[stiff] < (KT / sigma) ** 2).all() and (scatter > (KT / sigma) ** 2).any()
    s = sigma / WIDTH
    p, mean, square = noised(spring, sigma, Y, lambda x: x, lambda x: x**2)
    np.testing.assert_allclose(square - mean**2, sigma**2 / (1 + s**2), rtol=1e-5)


def held_out_loss(force, y, sigma):
    """<|F|^2 - 2 F . F_sigma> over the true noised density, in units of <|F_sigma|^2>: -1 at best, 0 for no force."""
    true = -KT / (WIDTH**2 + sigma**2) * y
    p = np.exp(-(y**2) / (2 * (WIDTH**2 + sigma**2)))
    return np.sum(p * (force**2 - 2 * force * true)) / np.sum(p * true**2)


def test_few_frames_and_little_noise_are_worse_than_no_force():
    rng, y, kernel, one = np.random.default_rng(0), np.linspace(-0.2, 0.2, 401), {}, {}
    for n in (30, 300):
        sets = WIDTH * rng.normal(size=(100, n))
        for ratio in (0.1, 0.3, 1.0):
            s = ratio * WIDTH
            kernel[n, ratio] = np.mean([held_out_loss(kernel_force(y, x, s), y, s) for x in sets])
        # One parameter on the same frames: F = -k y, by exact score matching k = kT / <x^2>.
        one[n] = np.mean([held_out_loss(-KT / np.mean(x**2) * y, y, 0) for x in sets])
    assert [kernel[30, ratio] for ratio in (0.1, 0.3, 1.0)] == pytest.approx([288, 2.6, -0.937], rel=0.1)
    assert [kernel[300, ratio] for ratio in (0.1, 0.3, 1.0)] == pytest.approx([15, -0.75, -0.994], rel=0.1)
    assert one == pytest.approx({30: -0.875, 300: -0.993}, rel=0.03)


# ---- 9. force labels beside noise


@pytest.mark.parametrize("sigma", [0.005, 0.02])
def test_both_targets_have_the_same_mean(sigma):
    _, labels = noised(double_well, sigma, Y, lambda x: double_well(x)[1])
    expected = smoothed_force(double_well, sigma)
    np.testing.assert_allclose(labels, expected, atol=1e-7 * np.abs(expected).max())


def mixture_variance(potential, sigma, c, label_noise):
    """Variance of c (-kT eps/sigma) + (1 - c) (F(x) + noise) about F_sigma(y), over the joint ensemble."""

    def mixture(x):
        # -kT eps/sigma = kT (x - y)/sigma^2; at given y, its y does not vary.
        return c * scale(sigma, KT) * x + (1 - c) * potential(x)[1]

    p, mean, square = noised(potential, sigma, np.arange(-0.25, 0.25, 0.0005), mixture, lambda x: mixture(x) ** 2)
    return np.sum(p * (square - mean**2)) / np.sum(p) + ((1 - c) * label_noise) ** 2


@pytest.mark.parametrize("potential", [spring, double_well])
@pytest.mark.parametrize("label_noise", [0.0, 300.0])
def test_textbook_weight_leaves_the_least_variance(potential, label_noise):
    sigma = 0.015
    p = density(potential)
    mean_square = np.sum(p * potential(X)[1] ** 2) / np.sum(p) + label_noise**2
    c = mean_square / (mean_square + (KT / sigma) ** 2)
    around = np.array([mixture_variance(potential, sigma, c + d, label_noise) for d in (-0.02, 0.0, 0.02)])
    slope, curvature = (around[2] - around[0]) / 0.04, (around[0] - 2 * around[1] + around[2]) / 0.02**2
    assert curvature > 0 and abs(slope / curvature) < 1e-6
    if potential is spring and not label_noise:
        assert c == pytest.approx(sigma**2 / (sigma**2 + WIDTH**2))
        assert around[1] < 1e-6 * around[0], "of a spring, the two errors cancel altogether"


def test_textbook_weights_of_the_package_where_labels_are_mostly_noise():
    pair, truth = spline_potential()
    x, label_noise, sigma = dimers(pair, truth, 4000), 340.0, 0.0086
    forces = (force_of_basis(pair, x) @ truth[0]).view_as(x)
    labels = forces + label_noise * torch.as_tensor(np.random.default_rng(0).normal(size=x.shape))
    species = torch.zeros(2, dtype=torch.int64)
    parts = [labelled_moments(pair, x[k::4], 0 * x[k::4], labels[k::4], None, species, KT) for k in range(4)]
    weight = textbook_weights(pair, parts, sigma, KT)[0]
    assert weight == pytest.approx((KT / sigma) ** 2 / ((KT / sigma) ** 2 + label_noise**2), abs=0.01)


# ---- 10. smoothing taken out


def levels(*sigmas):
    """Weights that the package gives to models at some noise levels, nm."""
    one = licl_denoiser(kinds=("pair",))
    term = one.header.terms[0]
    parts = [one.rebuilt([term.model_copy(update={"sigma": s})], one.modules()) for s in sigmas]
    return [term.weight for term in extrapolated(parts).header.terms]


def test_two_levels_leave_the_fourth_order():
    p = density(double_well, Y)
    force = double_well(Y)[1]
    assert levels(0.005, 0.010) == pytest.approx([4 / 3, -1 / 3])
    left = []
    for sigma in SIGMAS:
        weights = levels(sigma, 2 * sigma)
        combined = sum(w * smoothed_force(double_well, s) for w, s in zip(weights, (sigma, 2 * sigma)))
        left.append(rms(combined - force, p))
    assert exponent(SIGMAS, left) == pytest.approx(4, abs=0.15)
    assert left[-1] < 0.2 * rms(smoothed_force(double_well, SIGMAS[-1]) - force, p)


def stepped(potential, sigma, y):
    """Half step and whole jump of saved frames y (nm, one coordinate) under the exact force."""
    frames = np.zeros((len(y), 1, 3))
    frames[:, 0, 0] = y
    forces = np.zeros_like(frames)
    forces[:, 0, 0] = smoothed_force(potential, sigma, y)
    header = SimpleNamespace(temperature=300.0, particles=[3], was_noised=lambda particles: np.ones((1, 3)))
    model = SimpleNamespace(sigma=sigma, header=header, forces=lambda *arguments: forces)
    half = half_step(model, frames)[:, 0, 0]
    return half, 2 * half - y


def test_half_step_removes_smoothing_to_fourth_order_and_the_whole_overshoots():
    y, sigmas = np.arange(-0.3, 0.3001, 0.0005), SIGMAS[1:]
    # A spring, in closed form: w^2 + sigma^2 -> w^2 + sigma^4 / 4 (w^2 + sigma^2), and w^4 / (w^2 + sigma^2).
    for sigma in sigmas:
        p = noised(spring, sigma, y)[0]
        half, whole = (np.sum(p * z**2) / np.sum(p) for z in stepped(spring, sigma, y))
        wide = WIDTH**2 + sigma**2
        assert half == pytest.approx(WIDTH**2 + sigma**4 / (4 * wide), rel=1e-9)
        assert whole == pytest.approx(WIDTH**4 / wide, rel=1e-9)
    # The double well.
    clean = np.sum(density(double_well) * np.cos(X / WIDTH)) / np.sum(density(double_well))
    errors = []
    for sigma in sigmas:
        p = noised(double_well, sigma, y)[0]
        errors.append([np.sum(p * np.cos(z / WIDTH)) / np.sum(p) - clean for z in (y, *stepped(double_well, sigma, y))])
    none, half, whole = np.transpose(errors)
    assert exponent(sigmas, none) == pytest.approx(2, abs=0.05)
    assert exponent(sigmas, half) == pytest.approx(4, abs=0.1)
    assert exponent(sigmas, whole) == pytest.approx(2, abs=0.05)
    assert whole[0] / none[0] == pytest.approx(-1, abs=0.02)


# ---- 11. the accumulator of a vector head


def network(head):
    """A network alone, untrained, as a function of positions; five particles of both kinds."""
    model = licl_denoiser(head, ("network",), "double").model
    species = torch.tensor([0, 1, 0, 1, 1])
    positions = torch.as_tensor(np.random.default_rng(0).uniform(0, 0.45, (5, 3)))
    return model, species, positions


def total_force(head, flat):
    model, species, _ = network(head)
    y = flat.view(1, 5, 3)
    if head == "vector":
        return model(y, None, species)[1].flatten()
    y = y if y.requires_grad else y.detach().requires_grad_(True)
    return -torch.autograd.grad(model(y, None, species)[0].sum(), y, create_graph=True)[0].flatten()


def test_accumulator_has_the_right_gradient_and_is_no_potential():
    model, species, positions = network("vector")
    module = OpenEnergy(model, species, False, torch.float64, False)
    force = total_force("vector", positions.flatten()).detach().view(5, 3)
    y = positions.clone().requires_grad_(True)
    E = module(y)
    gradient = torch.autograd.grad(E, y)[0]
    torch.testing.assert_close(gradient, -force)
    assert float(E.detach()) == pytest.approx(-float((force * positions).sum()))
    # No net force: the value does not depend on the origin.
    assert force.sum(0).abs().max() < 1e-12 * force.abs().max()
    moved = module(positions + torch.tensor([3.0, -2.0, 1.0]))
    assert float(moved) == pytest.approx(float(E.detach()), rel=1e-8)
    # Its differences are not its gradient: it is a number, not a potential.
    h = 1e-6
    step = torch.zeros_like(positions)
    step[0, 0] = h
    difference = float(module(positions + step) - module(positions - step)) / (2 * h)
    assert abs(difference + float(force[0, 0])) > 0.1 * float(force.abs().max())


def test_curl_and_work_around_a_loop():
    flat = network("energy")[2].flatten()
    curls, works = {}, {}
    for head in ("energy", "vector"):
        J = torch.autograd.functional.jacobian(lambda z, head=head: total_force(head, z), flat)
        curls[head] = float((J - J.T).norm() / (J + J.T).norm())
        # A circle in two coordinates: work by the trapezoidal rule, exact to rounding for a smooth loop.
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        work, size = 0.0, 0.0
        for a in angles:
            z, velocity = flat.clone(), torch.zeros_like(flat)
            z[0], z[4] = z[0] + 0.02 * np.cos(a), z[4] + 0.02 * np.sin(a)
            velocity[0], velocity[4] = -0.02 * np.sin(a), 0.02 * np.cos(a)
            power = float(total_force(head, z).detach() @ velocity)
            work, size = work + power, size + abs(power)
        works[head] = abs(work) / size
    assert curls["energy"] < 1e-10 and curls["vector"] > 0.1
    assert works["energy"] < 1e-6 and works["vector"] > 0.1


# ---- 12. dynamics


def test_friction_changes_rates_and_no_statistics():
    # Langevin dynamics of a spring, dv = (-k x / m - friction v) dt + noise: linear, so its covariance solves
    # Lyapunov's equation, and its correlation time is the integral of the matrix exponential.
    mass, times = 10.0, []
    for friction in (20.0, 200.0):  # 1/ps
        drift = np.array([[0, 1], [-SPRING / mass, -friction]])
        covariance = solve_continuous_lyapunov(drift, -np.diag([0, 2 * friction * KT / mass]))
        assert covariance == pytest.approx(np.diag([WIDTH**2, KT / mass]), abs=1e-9)
        times.append(float((-np.linalg.inv(drift) @ covariance)[0, 0] / covariance[0, 0]))
        assert times[-1] == pytest.approx(friction * mass / SPRING)
    assert times[1] / times[0] == pytest.approx(10)


# ---- the document


def theory():
    return (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def test_every_test_that_the_theory_names_exists():
    existing = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", theory()))
    assert named - existing == set()
    ours = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(), re.M))
    assert {name for name in ours if "theory" not in name and "section" not in name} - named == set(), "not in the text"


def test_every_section_says_what_checks_it():
    sections = re.split(r"^## ", theory(), flags=re.M)[1:]
    numbered = [s for s in sections if re.match(r"\d+\. ", s)]
    assert [int(s.split(".")[0]) for s in numbered] == list(range(1, 14))
    for section in numbered:
        assert re.search(r"Checked\s+by\s+`test_", section), section.splitlines()[0]
