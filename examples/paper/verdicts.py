"""Verdicts: what the measurements at several places say of a claim."""

import numpy as np

HOLDS, CONDITIONS, FAILS, OPEN = "holds", "holds under conditions", "does not hold", "not decided"


def verdict(good, bad=None):
    """Of a claim with several instances.

    Parameters
    ----------
    good : iterable of bool
        Whether each instance was seen to be so.
    bad : iterable of bool, optional
        Whether it was seen not to be so; by default where it is not good.  What is neither decides nothing.
    """
    good = np.fromiter(good, dtype=bool)
    bad = ~good if bad is None else np.fromiter(bad, dtype=bool)
    return HOLDS if good.all() else CONDITIONS if good.any() else FAILS if bad.any() else OPEN


def states(value, error, expected, tolerance):
    """1 where a value agrees with the expected one, -1 where it does not, 0 where its error (or none) leaves it open.

    Either is told with two standard errors to spare: a larger error helps no claim.

    Parameters
    ----------
    value, error, expected : array, shape (n,), or float
    tolerance : float

    Returns
    -------
    array, shape (n,), dtype int
    """
    off, slack = np.abs(np.subtract(value, expected)), 2 * np.asarray(error)
    return np.atleast_1d((off + slack <= tolerance).astype(int) - (off - slack > tolerance))


def by_states(found):
    """Verdict on a claim with several instances, by their states."""
    found = np.asarray(found)
    return verdict(found > 0, found < 0)
