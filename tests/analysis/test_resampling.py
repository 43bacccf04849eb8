"""Standard errors from blocks, against the spread they estimate."""

import numpy as np
import pytest

from openmm_diffusion.analysis.resampling import block_numbers, block_sums, bootstrap, jackknife


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
