"""Standard errors from blocks, against the spread they estimate."""

import numpy as np
import pytest

from openmm_diffusion.analysis.rdf import RDF, rmsd
from openmm_diffusion.analysis.resampling import (
    block_numbers,
    block_sums,
    bootstrap,
    jackknife,
    mean_and_error,
    rmsd_error,
    split_half_error,
)


def ratio(total):
    return total[..., 0] / total[..., 1]


@pytest.mark.parametrize("method", [bootstrap, jackknife])
@pytest.mark.parametrize("n_blocks", [4, 30])
def test_the_error_of_a_mean_is_its_spread_over_repetitions(method, n_blocks):
    """Blocks with a normal mean each: the variance of the mean of n is 1/n, few blocks included."""
    rng, repetitions = np.random.default_rng(0), 400
    squares = []
    for _ in range(repetitions):
        sums = np.stack([rng.normal(size=n_blocks) + 5, np.ones(n_blocks)], -1)
        squares.append(method(sums, ratio)[1] ** 2)
    # The variance of a sample variance of n normal numbers is 2/(n - 1), relative to it.
    slack = 4 * np.sqrt(2 / (n_blocks - 1) / repetitions) + 0.01
    assert abs(np.mean(squares) * n_blocks - 1) < slack


def test_the_jackknife_of_a_mean_is_the_textbook_formula():
    values = np.random.default_rng(1).normal(size=12)
    value, error = jackknife(np.stack([values, np.ones(12)], -1), ratio)
    assert np.isclose(value, values.mean()) and np.isclose(error, values.std(ddof=1) / np.sqrt(12))


def test_correlated_frames_count_as_their_blocks():
    """Ten equal frames per replica are worth one."""
    means = np.random.default_rng(2).normal(size=20)
    values, blocks = np.repeat(means, 10), block_numbers(np.repeat(np.arange(20) + 7, 10))
    sums = block_sums(np.stack([values, np.ones(200)], -1), blocks)
    assert np.isclose(jackknife(sums, ratio)[1], means.std(ddof=1) / np.sqrt(20))


def test_a_single_run_is_cut_into_tenths():
    assert block_numbers(np.full(40, 3)).tolist() == np.repeat(np.arange(10), 4).tolist()
    assert block_numbers(np.zeros(3)).tolist() == [0, 1, 2]
    assert np.isnan(bootstrap(np.ones((1, 2)), ratio)[1])


@pytest.mark.parametrize("weights", [np.ones(10), np.arange(1, 11)])
def test_reported_errors_are_the_spread_of_means(weights):
    # Blocks of `weights` frames each: the variance of a block's mean falls with its weight.
    rng, trials = np.random.default_rng(0), 4000
    rows = rng.normal(size=(len(weights), trials)) / np.sqrt(weights)[:, None]
    mean, error = mean_and_error(rows, weights.astype(float))
    ratio = mean.std() / np.sqrt(np.mean(error**2))
    # Relative error of a standard deviation from n values: 1 / sqrt(2 n), for both numbers.
    assert ratio == pytest.approx(1, abs=0.05 if len(set(weights)) == 1 else 0.1)
    assert np.isnan(mean_and_error(rows[:1], weights[:1].astype(float))[1]).all()


def synthetic(n_blocks, spread=0.3, seed=0):
    rows = 1 + spread * np.random.default_rng(seed).normal(size=(n_blocks, 400))
    return RDF(np.arange(400) / 400, {}, {}, {"Li-Cl": rows}, np.ones(n_blocks))


@pytest.mark.parametrize("n_blocks", [4, 16, 64])
def test_split_half_error_falls_as_the_square_root_of_the_blocks(n_blocks):
    # Two halves of n/2 blocks each differ by sqrt(2 / (n/2)) of the spread of one block.
    error = split_half_error(synthetic(n_blocks))["Li-Cl"]
    assert error == pytest.approx(0.3 * np.sqrt(4 / n_blocks), rel=0.1)
    assert np.isnan(split_half_error(synthetic(1))["Li-Cl"])


def test_error_of_an_rmsd_is_its_spread_over_repetitions():
    """Two curves 0.2 apart, blocks of each with noise common to all bins and noise of their own."""
    rng, n_bins, n_blocks = np.random.default_rng(0), 40, 8
    values, errors = [], []

    def curve(height):
        shared, own = rng.normal(0, 0.1, (n_blocks, 1)), rng.normal(0, 0.1, (n_blocks, n_bins))
        rows, weights = height + shared + own, np.ones(n_blocks)
        return RDF(np.arange(n_bins), {"Li-Cl": rows.mean(0)}, {}, {"Li-Cl": rows}, weights)

    for _ in range(200):
        first, second = curve(1.0), curve(1.2)
        values.append(rmsd(first.g["Li-Cl"], second.g["Li-Cl"]))
        errors.append(rmsd_error(first, second, "Li-Cl"))
        assert rmsd_error(first, first, "Li-Cl", seeds=(0, 0)) == 0
    # The spread of 200 values is known to 1/sqrt(400) = 5 %.
    assert abs(np.sqrt(np.mean(np.square(errors))) / np.std(values) - 1) < 0.2
