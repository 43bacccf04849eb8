"""Distributions of numbers and of angles, and how far two of them are apart.

Angles are in degrees.
"""

import numpy as np
from scipy.spatial.distance import jensenshannon

from ..resampling import block_numbers, block_sums, bootstrap

#: Bins on the range of the data, which may go on for `BEYOND` ranges on either side, and on a circle.
BINS, BEYOND, BINS_ON_CIRCLE, BINS_OF_MAPS = 40, 4, 72, 36
#: Random halves of the data, of whose divergences the floor is the mean.
SPLITS = 10


def turned_into_circle(angles):
    """Angles in degrees brought to -180 ... 180."""
    return (np.asarray(angles) + 180) % 360 - 180


def circular_mean(angles):
    """Mean direction of angles, degrees."""
    radians = np.radians(np.asarray(angles, dtype=np.float64))
    return float(np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())))


def mean_and_width(values, replica, centre, periodic):
    """Mean and standard deviation with their standard errors, by bootstrap over replicas or tenths of a single one.

    On a circle the mean is the direction of the mean of (cos, sin), and the width sqrt(-2 ln R), R being its length.

    Parameters
    ----------
    values : array, shape (n_frames, n_groups)
    replica : array, shape (n_frames,), dtype int
    centre : float
        Near the values, from which they are counted: no mean that is resampled lies across the end of the circle.
    periodic : bool
        Whether the values are degrees on a circle.

    Returns
    -------
    (mean, error), (width, error) : tuples of float
    """
    away = values.astype(np.float64) - centre
    if periodic:
        radians = np.radians(away)
        parts = [np.ones_like(away), np.cos(radians), np.sin(radians)]
    else:
        parts = [np.ones_like(away), away, away**2]
    sums = block_sums(np.stack([part.sum(1) for part in parts], -1), block_numbers(replica))
    mean, error = bootstrap(sums, _circular_mean if periodic else lambda t: t[..., 1] / t[..., 0])
    mean = float(turned_into_circle(centre + mean)) if periodic else centre + mean
    return (mean, error), bootstrap(sums, _circular_width if periodic else _width)


def _width(total):
    return np.sqrt(np.maximum(total[..., 2] / total[..., 0] - (total[..., 1] / total[..., 0]) ** 2, 0))


def _circular_mean(total):
    return np.degrees(np.arctan2(total[..., 2], total[..., 1]))


def _circular_width(total):
    length = np.hypot(total[..., 1], total[..., 2]) / total[..., 0]
    return np.degrees(np.sqrt(-2 * np.log(np.clip(length, 1e-300, 1))))


def divergence(first, second):
    """Jensen-Shannon divergence of two histograms, bit: 0 of equal ones, 1 of those that share no bin."""
    # The square root of a rounding error below zero is NaN.
    return float(np.nan_to_num(jensenshannon(np.ravel(first), np.ravel(second), base=2) ** 2))


def floor(counts):
    """Mean divergence of two halves of the data, by random choice of half the blocks; NaN of a single one.

    Parameters
    ----------
    counts : array, shape (n_blocks, ...)
    """
    rng, half = np.random.default_rng(0), len(counts) // 2
    if half == 0:
        return float("nan")
    orders = [rng.permutation(len(counts)) for _ in range(SPLITS)]
    return float(np.mean([divergence(counts[o[:half]].sum(0), counts[o[half : 2 * half]].sum(0)) for o in orders]))


def common_bins(reference, runs, whole_circle):
    """Edges of bins as fine as the data ask for, that reach as far as MD does, within bounds.

    Parameters
    ----------
    reference, runs : array
    whole_circle : bool
        From -180 to 180 degrees, whatever the values.
    """
    if whole_circle:
        return np.linspace(-180, 180, BINS_ON_CIRCLE + 1)
    low, high = float(reference.min()), float(reference.max())
    width = max(high - low, 1e-3) / BINS
    below = np.clip(np.ceil((low - float(runs.min())) / width), 0, BEYOND * BINS)
    above = np.clip(np.ceil((float(runs.max()) - low) / width - BINS), 0, BEYOND * BINS)
    return low + width * np.arange(-below, BINS + above + 1)


def binned(values, edges, blocks=None):
    """Counts of values in bins, what lies beyond in the outermost: shape (n_bins,), or (n_blocks, n_bins) by frames."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return _counted(place, len(edges) - 1, blocks)


def mapped(values, blocks=None):
    """Counts of two dihedrals (n_frames, n_groups, 2), degrees: shape (36, 36), or (n_blocks, 36, 36) by frames."""
    place = np.clip(np.floor((values + 180) * (BINS_OF_MAPS / 360)), 0, BINS_OF_MAPS - 1).astype(int)
    counts = _counted(place[..., 0] * BINS_OF_MAPS + place[..., 1], BINS_OF_MAPS**2, blocks)
    return counts.reshape(*counts.shape[:-1], BINS_OF_MAPS, BINS_OF_MAPS)


def _counted(place, n_bins, blocks):
    if blocks is None:
        return np.bincount(place.ravel(), minlength=n_bins).astype(float)
    return np.stack([_counted(place[blocks == number], n_bins, None) for number in range(blocks.max() + 1)])


def free_energy(counts, kT):
    """-kT ln p of a histogram, from its lowest bin on, kJ/mol; NaN where there is nothing."""
    with np.errstate(divide="ignore"):
        energy = -kT * np.log(counts / counts.sum())
    return np.where(counts > 0, energy - energy[counts > 0].min(), np.nan)


def evenly(values, number):
    """So many frames of an array, evenly over all."""
    return values[np.linspace(0, len(values) - 1, number).round().astype(int)]
