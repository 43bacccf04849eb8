"""Claims that one error is smaller than another, or as small: ratios over seeds, and verdicts."""

import numpy as np
import pandas

from protocol.verdicts import below, mean_error, some, verdict

#: "As good" allows so much more, as in part 3.
ALLOWED = 1.1


def of(table, sigma=None, **values):
    """Rows of some values of columns, and of a noise level (nm)."""
    found = table if sigma is None else table[table["sigma / nm"] == sigma]
    for column, value in values.items():
        found = found[found[column] == value]
    return found


def ratios(first, second, quantity):
    """log(first / second), seed by seed: the same seed has the same frames, labels and noise."""
    a, b = (rows.set_index("seed")[quantity].dropna() for rows in (first, second))
    return np.log(a / b).replace([np.inf, -np.inf], np.nan).dropna().to_numpy()


class Judge:
    """Collects claims, each a ratio of two errors at several places.

    Attributes
    ----------
    rows : list of dict
    """

    def __init__(self):
        self.rows = []

    def compare(self, claim, places, quantity, first, second, better=True):
        """A claim that `first` has a smaller error than `second`, or (not `better`) one as small.

        Parameters
        ----------
        claim : str
        places : dict
            By the names of places, what `first` and `second` take and return rows for.  A place with fewer than two
            seeds in common is left out.
        quantity : str
            A column.
        first, second : callable
        better : bool
        """
        bound, found = 0.0 if better else np.log(ALLOWED), {}
        for name, place in places.items():
            values = ratios(first(place), second(place), quantity)
            if len(values) > 1:
                mean, error = mean_error(values)
                good, bad = (told[0] for told in below([(mean, error)], bound, len(values)))
                found[name] = f"{np.exp(mean):.2f} +- {np.exp(mean) * error:.2f}", good, bad
        if not found:
            return
        shown, good, bad = (np.array(column) for column in zip(*found.values()))
        where = [some(good, found), some(~(good | bad), found, "not decided at ")]
        self.rows.append(
            {"claim": f"{claim}: {', '.join(found)}", "ratio": ", ".join(shown), "verdict": verdict(good, bad),
             "where": "; ".join(filter(None, where))}
        )  # fmt: skip

    def table(self):
        """Claims and verdicts, one row each: a DataFrame of claim, ratio, verdict and where."""
        return pandas.DataFrame(self.rows, columns=["claim", "ratio", "verdict", "where"])
