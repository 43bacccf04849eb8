"""Verdicts: what the measurements at several places say of a claim."""

import numpy as np
from scipy.stats import t as student

HOLDS, CONDITIONS, FAILS, OPEN = "holds", "holds under conditions", "does not hold", "not decided"


def verdict(good, bad=None):
    """Of a claim with several instances.

    Parameters
    ----------
    good : iterable of bool
        Whether each instance was seen to be so.
    bad : iterable of bool, optional
        Whether it was seen not to be so; by default where it is not good.  What is neither decides nothing, and nor
        does a claim without an instance.
    """
    good = np.fromiter(good, dtype=bool)
    bad = ~good if bad is None else np.fromiter(bad, dtype=bool)
    if not good.size:
        return OPEN
    return HOLDS if good.all() else CONDITIONS if good.any() else FAILS if bad.any() else OPEN


def mean_error(values):
    """Mean of the finite values and its standard error, which is not known of one value."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return (values.mean() if len(values) else np.nan), error


def spare(samples=None):
    """Standard errors that a verdict wants to spare: two; of few samples as many as Student's t has at 95 %, one-sided.

    Parameters
    ----------
    samples : int, optional
        That the error is the scatter of; by default many.
    """
    return 2.0 if samples is None else max(2.0, float(student.ppf(0.95, samples - 1)))


def states(value, error, expected, tolerance, samples=None):
    """1 where a value agrees with the expected one, -1 where it does not, 0 where its error (or none) leaves it open.

    Either is told with `spare` standard errors to spare: a larger error helps no claim.

    Parameters
    ----------
    value, error, expected : array, shape (n,), or float
    tolerance : float
    samples : int, optional
        As `spare` takes it.

    Returns
    -------
    array, shape (n,), dtype int
    """
    value, error, expected = (np.asarray(given, dtype=float) for given in (value, error, expected))
    off, slack = np.abs(value - expected), spare(samples) * error
    return np.atleast_1d((off + slack <= tolerance).astype(int) - (off - slack > tolerance))


def by_states(found):
    """Verdict on a claim with several instances, by their states."""
    found = np.asarray(found)
    return verdict(found > 0, found < 0)


def below(found, bound, samples):
    """Which values (with errors) are told to be below a bound, and which above it: by `spare` standard errors."""
    values, errors = np.array(found, dtype=float).T
    slack = spare(samples) * errors
    return values + slack <= bound, values - slack > bound


def where(good, undecided, at, unit):
    """Where a claim holds, and where it is not decided; nothing of what is so everywhere or nowhere."""
    return "; ".join(filter(None, [places(good, at, unit), places(undecided, at, unit, "not decided at ")]))


def places(which, at, unit, words=""):
    """Where something is so, unless it is so everywhere or nowhere."""
    found = some(which, [f"{value:g}" for value in at], words)
    return f"{found} {unit}" if found else ""


def some(which, names, words=""):
    """The names of which something is so, after some words; nothing where it is so of all or of none."""
    chosen = [name for name, yes in zip(names, which) if yes]
    return words + ", ".join(chosen) if 0 < len(chosen) < len(names) else ""


def listed(values, form="g"):
    return ", ".join(f"{value:{form}}" for value in values)
