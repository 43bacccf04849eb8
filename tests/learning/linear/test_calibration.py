"""Factors on the solutions of folds: closed forms, error bars, and when all energies have the same."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openmm_diffusion.energies.linear import LinearSum
from openmm_diffusion.learning.linear.calibration import best_scale, scaled
from openmm_diffusion.learning.linear.scorematching import Fold, Moments, fit, folds_of, held_out_scale, solve

STIFF = 1e6  # how much larger the squared forces of bonds are than those of pairs


class Known:
    """Coefficients c of orthogonal forces, penalised by |c|^2: all that a fit in closed form asks of an energy."""

    n_species, cutoff = 1, 1.0

    def __init__(self, n):
        self.sizes, self.coefficients = [n], torch.zeros(n, dtype=torch.float64)

    def free(self):
        return torch.ones(self.sizes[0], dtype=torch.bool)

    def roughness(self):
        return torch.eye(self.sizes[0], dtype=torch.float64)

    def penalty(self, strength):
        return strength * self.roughness()

    def curves(self):
        return torch.arange(self.sizes[0])

    def assign(self, coefficients):
        self.coefficients = coefficients


def both():
    return LinearSum([Known(4), Known(4)])


def two(n_replicas=10, seed=0, noise=0.0, mixed=0.0):
    """Replicas of a stiff energy and a soft one, of 4 coefficients each, all of them 1 but for the noise.

    `mixed` is the correlation of the forces of their first coefficients."""
    rng, size = np.random.default_rng(seed), torch.tensor([STIFF] * 4 + [1.0] * 4, dtype=torch.float64)
    A = torch.diag(size)
    A[0, 4] = A[4, 0] = mixed * STIFF**0.5
    b = [A @ torch.ones(8, dtype=torch.float64) for _ in range(n_replicas)]
    return [Moments(A, one + noise * size.sqrt() * torch.as_tensor(rng.normal(size=8)), 100.0) for one in b]


def test_each_energy_is_freed_of_its_own_shrinkage():
    # A ridge of 1 on forces of square 1 halves them; of 0.1 STIFF on those of square STIFF leaves 1 / 1.1.
    energy, penalty = both(), (0.1 * STIFF, 1.0)
    found = held_out_scale(energy, folds_of(two(), 5), penalty)
    assert found.own
    np.testing.assert_allclose(found.factors, [1.1, 2.0], rtol=1e-6)
    np.testing.assert_allclose(found.errors, 0, atol=1e-6)
    c = scaled(solve(energy, two(), penalty), found.factors, energy.sizes)
    torch.testing.assert_close(c, torch.ones(8, dtype=torch.float64), rtol=1e-6, atol=0)
    # All that there is to gain: -c^T A c / 2.
    np.testing.assert_allclose(found.scores, -2 * (STIFF + 1), rtol=1e-6)


def test_errors_are_those_of_a_slope_on_given_forces():
    energy, penalty, noise = both(), (0.1 * STIFF, 1.0), 0.3
    found = [held_out_scale(energy, folds_of(two(10, seed, noise), 10), penalty) for seed in range(200)]
    told = np.sqrt(np.mean([one.errors**2 for one in found], axis=0))
    # l_f scatters by noise |c_f| sqrt(size) over 10 folds, and Q_ff is size |c_f|^2.
    expected = noise * np.array([1.1, 2.0]) / np.sqrt(10 * 4 * np.array([STIFF, 1.0]))
    # The noise of a fold is in the solutions of the nine others, too: 1/9 more; the mean of 200 is known to 2 %.
    assert (told > expected).all() and (told < 1.25 * expected).all()
    scatter = np.std([one.factors for one in found], axis=0, ddof=1)
    assert (scatter < told).all()


def test_one_energy_keeps_the_factor_of_its_whole_solution():
    energy, folds = Known(8), folds_of(two(6, 1, 0.3), 3)
    found = held_out_scale(energy, folds, 2.0)
    seen = [fold.seen for fold in folds]
    solutions = [torch.linalg.solve(A + 2.0 * torch.eye(8), b) for A, b in seen]
    linear = sum(float(f.b_out @ c) for f, c in zip(folds, solutions))
    quadratic = sum(float(c @ f.A_out @ c) for f, c in zip(folds, solutions))
    assert found.factors == pytest.approx([linear / quadratic]) and not found.own


@pytest.mark.parametrize(("correlation", "own"), [(0.9, True), (0.99, False), (-0.9, True), (-0.99, False)])
def test_energies_that_nearly_cancel_have_one_factor(correlation, own):
    A = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    rng = np.random.default_rng(0)
    c = torch.ones(2, dtype=torch.float64)
    folds = [Fold((A, A @ c), A, A @ c + 0.01 * torch.as_tensor(rng.normal(size=2)), 0.2, []) for _ in range(5)]
    found = best_scale([0.8 * c] * 5, folds, [1, 1])
    assert found.own == own
    if not own:
        assert found.factors[0] == found.factors[1] == pytest.approx(1.25, abs=0.2)


def test_an_energy_that_is_zero_has_no_say_in_the_factors_of_others():
    A = torch.eye(2, dtype=torch.float64)
    c = torch.tensor([0.5, 0.0], dtype=torch.float64)
    found = best_scale([c] * 3, [Fold((A, c), A, 2 * c, 1 / 3, [])] * 3, [1, 1])
    assert found.own and found.factors == pytest.approx([2.0, 0.0])


def test_the_log_says_when_one_factor_serves_all(caplog):
    energy, config = both(), SimpleNamespace(penalties=[1e-3], folds=5, caution=1.0)
    rank_one = torch.ones(8, 8, dtype=torch.float64)
    replicas = [Moments(rank_one, rank_one[0], 100.0) for _ in range(5)]
    with caplog.at_level(logging.INFO):
        result = fit(energy, replicas, [config, config], "one + one more")
    assert "one + one more: one scale for all" in caplog.text and result["scale"][0] == result["scale"][1]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        result = fit(energy, two(), [config, config], "bonds + pairs")
    assert "one scale" not in caplog.text and result["scale"] == pytest.approx([1.0, 1.0], abs=2e-3)


def test_no_factor_turns_an_energy_round():
    # The second energy is noise: held-out frames would have its opposite.
    A = torch.eye(2, dtype=torch.float64)
    fold = Fold((A, A[0]), A, torch.tensor([1.0, -0.5], dtype=torch.float64), 1 / 3, [])
    found = best_scale([torch.ones(2, dtype=torch.float64)] * 3, [fold] * 3, [1, 1])
    assert found.own and found.factors == pytest.approx([1.0, 0.0])
