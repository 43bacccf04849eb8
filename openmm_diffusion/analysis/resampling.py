"""Standard errors from blocks that are nearly independent: replicas, or contiguous stretches of a single run."""

import numpy as np


def block_numbers(replica, n_blocks=10):
    """Block of each frame, shape (n_frames,), dtype int, from 0: its replica, or its tenth of a single one."""
    numbers, inverse = np.unique(replica, return_inverse=True)
    if len(numbers) > 1:
        return inverse
    n_blocks = min(n_blocks, len(replica))
    return np.arange(len(replica)) * n_blocks // len(replica)


def block_sums(values, blocks):
    """Values (n_frames, ...) added up over the frames of each block, shape (n_blocks, ...)."""
    values = np.asarray(values, dtype=np.float64)
    sums = np.zeros((blocks.max() + 1, *values.shape[1:]))
    np.add.at(sums, blocks, values)
    return sums


def bootstrap(sums, statistic, resamples=1000, seed=0):
    """A statistic of totals and its standard error, from blocks drawn with replacement.

    Parameters
    ----------
    sums : array, shape (n_blocks, n_quantities)
        As `block_sums` gives them.
    statistic : callable
        From totals, shape (..., n_quantities), to values, shape (...).
    resamples, seed : int

    Returns
    -------
    value, error : float
        NaN for the error of a single block.
    """
    n = len(sums)
    value = float(statistic(sums.sum(0)))
    if n < 2:
        return value, float("nan")
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    with np.errstate(invalid="ignore", divide="ignore"):  # resamples without any particle of a rare group
        spread = float(np.nanstd(statistic(counts @ sums)))
    # The spread of n draws from n blocks is (n - 1)/n of the variance of what the blocks were drawn from.
    return value, spread * np.sqrt(n / (n - 1))


def jackknife(sums, statistic):
    """A statistic of totals and its standard error, from leaving each block out; arguments as `bootstrap`."""
    n, total = len(sums), sums.sum(0)
    value = float(statistic(total))
    if n < 2:
        return value, float("nan")
    return value, float(np.sqrt((n - 1) * np.var(statistic(total - sums))))
