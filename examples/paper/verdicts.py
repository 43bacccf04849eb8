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
