"""Structure of configurations: peaks and minima of their g(r), coordination numbers."""

import math

import numpy as np
import scipy.ndimage
import scipy.signal

from ..particles import pair_of
from .contacts import close_pairs
from .rdf import compute_rdf
from .resampling import block_numbers, block_sums, bootstrap, mean_and_error

#: Range and bin widths of every comparison, nm.
R_RANGE, BIN_WIDTH, PEAK_BIN_WIDTH = (0.2, 1.0), 0.01, 0.005
#: A maximum or minimum of g(r) stands out if it rises by so much over what surrounds it.
PROMINENCE = 0.1


def rdf_range(frames):
    """`R_RANGE`, cut at whole bins below half the box of the frames (nm)."""
    half = 0.5 * float(np.diagonal(frames.boxes, axis1=1, axis2=2).min())
    n_bins = math.floor((min(R_RANGE[1], half) - R_RANGE[0]) / BIN_WIDTH + 1e-6)
    return R_RANGE[0], R_RANGE[0] + n_bins * BIN_WIDTH


def _smooth(g, width=2.0):
    """g(r) smoothed over `width` bins, so that noise makes no extrema."""
    return scipy.ndimage.gaussian_filter1d(g, width, mode="nearest")


def smooth_error(rdf, pair):
    """Standard error of the smoothed g(r) of a pair, shape (n_bins,), from its blocks; 0 of one block alone."""
    return np.nan_to_num(mean_and_error(_smooth(rdf.blocks[pair]), rdf.weights)[1])


def find_peaks(g, error=None):
    """Indices of the maxima of g(r) that stand out, or of the highest point where none does.

    The first must rise by `PROMINENCE`; the others by three standard errors too, so that
    a rough curve has no more peaks than it can show.

    Parameters
    ----------
    g : array, shape (n_bins,)
    error : array, shape (n_bins,), optional
        As `smooth_error` gives it.
    """
    smooth = _smooth(g)
    tops, properties = scipy.signal.find_peaks(smooth, prominence=PROMINENCE)
    if len(tops) == 0:
        return [int(np.argmax(smooth))]
    least = np.zeros(len(g)) if error is None else 3 * error
    kept = [top for k, top in enumerate(tops) if k == 0 or properties["prominences"][k] > least[top]]
    lows = [max(0, top - 2) for top in kept]
    return [int(low + np.argmax(g[low : top + 3])) for low, top in zip(lows, kept)]


def known_peaks(g, error, near=None):
    """Maxima of g(r) that are no noise: index by number, 1 for the first.

    Alone, a curve tells a maximum that rises by `PROMINENCE`, and by two standard errors of it.  Beside another curve
    a maximum has the number of that of the other which it lies nearest to: within 0.03 nm, or, where it rises by three
    standard errors, within 0.08 nm.  Any other has no number.

    Parameters
    ----------
    g : array, shape (n_bins,)
        Bins of `PEAK_BIN_WIDTH`.
    error : array, shape (n_bins,)
        As `smooth_error` gives it.
    near : dict of int to int, optional
        Of the other curve.

    Returns
    -------
    dict of int to int
    """
    tops, properties = scipy.signal.find_peaks(_smooth(g), prominence=PROMINENCE)
    sure = {top: rise / error[top] if error[top] > 0 else np.inf for top, rise in zip(tops, properties["prominences"])}
    # The highest of the raw curve beside that of the smooth one.
    raw = {top: int(max(0, top - 2) + np.argmax(g[max(0, top - 2) : top + 3])) for top in tops}
    if near is None:
        return dict(enumerate((raw[top] for top in tops if sure[top] > 2), start=1))
    found = {}
    for number, place in near.items():
        close = [
            top for top in tops
            if sure[top] > 2 and abs(raw[top] - place) * PEAK_BIN_WIDTH <= (0.08 if sure[top] > 3 else 0.03) + 1e-9
        ]  # fmt: skip
        if close:
            found[number] = raw[min(close, key=lambda top: abs(raw[top] - place))]
    return found


def first_peak(g):
    """Index of the first peak of g(r)."""
    return find_peaks(g)[0]


def first_minimum(g, error):
    """Index of the first minimum of g(r) beyond its first peak that stands out as `find_peaks` asks, or None."""
    lows, properties = scipy.signal.find_peaks(-_smooth(g), prominence=PROMINENCE)
    beyond = lows[(lows > first_peak(g)) & (properties["prominences"] > 3 * error[lows])]
    return int(beyond[0]) if len(beyond) else None


def first_minima(frames):
    """First minimum (nm) of the g(r) of each pair, dict by "A-B"; pairs without one, or without a box, are left out."""
    if frames.box is None:
        return {}
    rdf = compute_rdf(frames, rdf_range(frames), PEAK_BIN_WIDTH)
    indices = {pair: first_minimum(g, smooth_error(rdf, pair)) for pair, g in rdf.g.items()}
    return {pair: round(float(rdf.r[i]), 4) for pair, i in indices.items() if i is not None}


def coordination(frames, distances):
    """Mean number of B around A within a distance, for every ordered pair.

    Parameters
    ----------
    frames, distances
        As `contacts.close_pairs`.

    Returns
    -------
    dict of str to (float, float)
        By "B around A": number and standard error over blocks.
    """
    counts = {pair: np.zeros(len(frames)) for pair in distances}
    for pair, frame, _, _ in close_pairs(frames, distances):
        np.add.at(counts[pair], frame, 1)
    names, blocks, result = frames.types.tolist(), block_numbers(frames.replica), {}
    for pair, count in counts.items():
        a, b = pair_of(pair, names)
        sums = block_sums(np.stack([count, np.ones(len(frames))], -1), blocks)
        number, error = bootstrap(sums, lambda total: total[..., 0] / total[..., 1])
        for centre, partner in {(a, b), (b, a)}:
            per = (2 if a == b else 1) / names.count(centre)
            result[f"{partner} around {centre}"] = number * per, error * per
    return dict(sorted(result.items(), key=lambda item: item[0].split()[::-1]))
