"""Error estimates from blocks that are nearly independent: replicas, or contiguous stretches of a single run."""

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


def frame_mean(values, replica):
    """Mean of values (n_frames,) and its standard error: a jackknife over `block_numbers` of the replicas."""
    sums = block_sums(np.stack([values, np.ones(len(values))], -1), block_numbers(replica))
    return jackknife(sums, lambda total: total[..., 0] / total[..., 1])


def standard_error(values):
    """Standard error of the mean of independent values, from their spread; NaN of a single one."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def mean_and_error(rows, weights):
    """Weighted mean of rows (n_blocks, ...) and its standard error from their spread; NaN from a single row."""
    weights = weights / weights.sum()
    mean = np.tensordot(weights, rows, 1)
    if len(rows) < 2:
        return mean, np.full_like(mean, np.nan)
    variance = np.tensordot(weights**2, (rows - mean) ** 2, 1) * len(rows) / (len(rows) - 1)
    return mean, np.sqrt(variance)


def split_half_error(rdf, splits=20, seed=0):
    """Root mean square, over random splits of the blocks into halves, of the RMSD between the halves, by pair.

    Two reference sets half as long as this one differ by so much.

    Parameters
    ----------
    rdf : RDF
    splits, seed : int

    Returns
    -------
    dict of str to float
        NaN from a single block.
    """
    rng = np.random.default_rng(seed)
    errors = {}
    for pair, rows in rdf.blocks.items():
        half, distances = len(rows) // 2, []
        for _ in range(splits):
            order = rng.permutation(len(rows))
            difference = rows[order[:half]].mean(0) - rows[order[half:]].mean(0) if half else np.nan
            distances.append(np.sqrt(np.mean(difference**2)))
        errors[pair] = float(np.sqrt(np.mean([distance**2 for distance in distances])))
    return errors


def rmsd_error(first, second, pair, seeds=(0, 1), resamples=300):
    """Standard error of the RMSD between the curves of a pair in two `RDF`, from blocks of each drawn with replacement.

    Parameters
    ----------
    first, second : RDF
    pair : str
    seeds : (int, int)
        Equal seeds draw the same blocks of both: give them for curves from the same frames.
    resamples : int

    Returns
    -------
    float
        NaN where either has a single block.
    """
    drawn = []
    for rdf, seed in zip((first, second), seeds):
        n, weights = len(rdf.weights), rdf.weights / rdf.weights.sum()
        if n < 2:
            return float("nan")
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) * weights
        mean = weights @ rdf.blocks[pair]
        means = counts @ rdf.blocks[pair] / counts.sum(1, keepdims=True)
        drawn.append(mean + np.sqrt(n / (n - 1)) * (means - mean))
    return float(np.sqrt(((drawn[0] - drawn[1]) ** 2).mean(1)).std())
