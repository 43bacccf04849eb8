"""Exact score matching: the known potential comes back from configurations alone."""

import numpy as np
import pytest
import torch
from mixture import (
    BOX,
    CUTOFF,
    KT,
    SPACING,
    SPECIES,
    START,
    crowded,
    curve,
    energy,
    error,
    fitted,
    random_pair,
    sample,
)

from openmm_diffusion.analysis.rdf import smear
from openmm_diffusion.energies.pair import PairConfig, SplinePair
from openmm_diffusion.learning.linear.scorematching import fit, moments, score_objective, solve


@pytest.fixture(scope="module")
def frames():
    return sample(2000)


def test_moments_are_the_averages_of_the_design():
    pair = random_pair()
    positions, c = crowded()
    prior = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    m = moments(pair, positions, prior, torch.as_tensor(BOX).expand(2, 3, 3), c.species, KT, frames_per_chunk=1)
    G, divergence = pair.design(c)
    torch.testing.assert_close(m.A, G.T @ G / 2)
    torch.testing.assert_close(m.b, -(G.T @ prior.flatten() + KT * divergence) / 2)
    # The score objective is half the squared force plus kT times the divergence, prior cross term included.
    flat = pair.coefficients.flatten()
    force = G @ flat
    by_hand = (0.5 * force @ force + force @ prior.flatten() + KT * divergence @ flat) / 2
    assert score_objective(pair.coefficients, [m]) == pytest.approx(float(by_hand), rel=1e-10)


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
        return score_objective(c, [m]) + 0.5 * 10.0 * float(c.flatten() @ pair.roughness() @ c.flatten())

    best = solve(pair, [m], 10.0)
    assert (best[:, -3:] == 0).all()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = torch.randn(best.shape, generator=generator, dtype=torch.float64)
        step[:, -3:] = 0
        for size in (0.01, 1.0):
            assert objective(best + size * step) > objective(best)


def test_the_penalty_begins_at_the_shortest_distance_of_each_pair_and_nowhere_vanishes():
    shortest = [[0.35, 0.2], [0.2, None]]
    pair = SplinePair(2, 1.0, 0.18, 0.02, shortest=shortest)
    assert pair.shortest == [0.35, 0.2, 0.18]  # of a pair that the data lack, the first knot
    blocks = pair.roughness().view(3, pair.n_basis, 3, pair.n_basis)
    centre = 0.18 + 0.02 * (np.arange(pair.n_basis) - 1)
    cost = []
    for kind, r_1 in enumerate(pair.shortest):
        own = blocks[kind, :, kind].numpy()
        assert all((blocks[kind, :, other] == 0).all() for other in range(3) if other != kind)
        # What no data bound below contact goes on as a cubic: that alone costs nothing.
        for power in range(4):
            curve = centre**power
            assert abs(curve @ own @ curve) < 1e-9 * own.max() * (curve @ curve)
        # A kink at one knot: fourth differences of (1, -4, 6, -4, 1), the middle one at its own distance.
        kinks = own.diagonal()[4:-4]
        weights = 0.003 + 1 / (1 + (0.5 / (np.maximum(centre - r_1, 0) + 0.05)) ** 4)
        expected = sum(c**2 * weights[4 + k : len(weights) - 4 + k] for k, c in zip(range(-2, 3), (1, 4, 6, 4, 1)))
        np.testing.assert_allclose(kinks, expected, rtol=1e-9)
        cost.append(kinks)
    below = centre[4:-4] < 0.2
    assert (cost[0][below] >= 70 * 0.003).all() and (cost[0][below] < 70 * 0.0035).all()
    assert (cost[1][~below] > cost[0][~below]).all()  # at the same distance, the pair that comes closer is smoother
