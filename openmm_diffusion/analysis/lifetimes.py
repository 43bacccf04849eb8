"""Lifetimes of ion pairs: intermittent and continuous correlation of being together.

Under Langevin dynamics they depend on the thermostat's friction, as diffusion coefficients do: see `dynamics`.
Runs with frames missing are told by `steps`, as there.
"""

import numpy as np

from .dynamics import correlation, on_grid
from .resampling import jackknife


def pair_sums(together, steps=None):
    """Sums over pairs and times of one run from which correlations and lifetimes follow; runs may be added up.

    Parameters
    ----------
    together : array, shape (n_frames, n_pairs), dtype bool
        h, as `contacts.contacts` gives it.
    steps : array, shape (n_frames,), dtype int, optional

    Returns
    -------
    array, shape (4, n_lags)
        Sums of h(t0) h(t0 + t), of h(t0) H(t0, t), of h(t0), and of 1: over all pairs and all t0 for which
        there is a frame at t0 + t.  H(t0, t) is 1 where the pair is together in every frame from t0 to t0 + t.
    """
    together = np.asarray(together, dtype=bool)
    h, there = on_grid(together.astype(np.float64), steps)
    numbers = np.arange(len(together)) if steps is None else np.asarray(steps)
    ever = h[:, together.any(0)]
    sums = np.zeros((4, len(h)))
    sums[0] = np.round(correlation(ever, ever).sum(1))
    sums[2] = np.round(correlation(h.sum(1), there))
    sums[3] = np.round(correlation(there, there)) * together.shape[1]
    # Stretches of frames in which a pair stays together, as first and last frame.
    padded = np.pad(together, ((1, 1), (0, 0))).T.astype(np.int8)
    change = np.diff(padded, axis=1)
    begin, end = np.nonzero(change == 1)[1], np.nonzero(change == -1)[1]
    for (a, b), count in zip(*np.unique(np.stack([begin, end], 1), axis=0, return_counts=True)):
        lags = (numbers[None, a:b] - numbers[a:b, None])[np.triu_indices(b - a)]
        sums[1] += count * np.bincount(lags, minlength=len(h))
    return sums


def pair_correlations(sums):
    """Intermittent C(t) = <h(0) h(t)>/<h> and continuous S(t) = <h(0) H(0, t)>/<h> of sums (..., 4, n_lags)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0, :] / sums[..., 2, :], sums[..., 1, :] / sums[..., 2, :]


def pair_lifetimes(sums, interval, limit):
    """Intermittent and continuous lifetime of pairs, as integrals, with standard errors by jackknife over runs.

    The continuous one is the integral of S(t), the intermittent one that of (C(t) - <h>)/(1 - <h>): C falls
    to <h>, the share of pairs together at any time.  Trapezoids from 0 to `limit`, and nothing beyond: exponential
    decay of time tau loses the share exp(-limit/tau).  A pair that parts and meets again between two frames
    has not parted, so that the continuous lifetime depends on the time between frames.

    Parameters
    ----------
    sums : array, shape (n_runs, 4, n_lags)
        As `pair_sums` gives them.
    interval : float, ps
    limit : float, ps

    Returns
    -------
    intermittent, continuous : (float, float), ps
        Value and error, NaN of one run.
    """
    sums = np.asarray(sums, dtype=np.float64)
    n_runs, _, n_lags = sums.shape
    if not 0 < limit <= interval * (n_lags - 1) * (1 + 1e-9):
        raise ValueError(
            f"limit is {limit:g} ps: give a time up to the length of a run, {interval * (n_lags - 1):g} ps"
        )
    if not sums[:, 2, 0].any():
        raise ValueError("no pair is ever together: give a longer cutoff (nm) or longer runs")
    time = interval * np.arange(n_lags)
    # Lags that no two frames of thinned runs are apart are bridged.
    known = (sums[:, 3].sum(0) > 0) & (time <= limit * (1 + 1e-9))

    def integral(curve):
        return np.trapezoid(curve[..., known], time[known], axis=-1)

    def intermittent(totals):
        totals = totals.reshape(*totals.shape[:-1], 4, n_lags)
        share = totals[..., 2, :1] / totals[..., 3, :1]
        return integral((pair_correlations(totals)[0] - share) / (1 - share))

    def continuous(totals):
        return integral(pair_correlations(totals.reshape(*totals.shape[:-1], 4, n_lags))[1])

    with np.errstate(invalid="ignore", divide="ignore"):
        return tuple(jackknife(sums.reshape(n_runs, -1), statistic) for statistic in (intermittent, continuous))
