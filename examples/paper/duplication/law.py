"""The law of duplication, fitted to the tables of 04_duplication.py, from them alone.

n frames with m independent draws each leave a squared error of

    V = A (1/n - 1/N) + B / (n m),        m* = B / A

with A of frames and B of the noise of labels.  N is the number of frames behind the reference that errors are
taken from, of which the n are a part; infinite where the exact force is known.
"""

import numpy as np
import pandas
from scipy.optimize import nnls
from scipy.stats import chi2

from openmm_diffusion.analysis.resampling import jackknife

#: Noise levels (nm) up to which exact score matching on a few draws stands for all draws of LiCl: at 0.265 Angstrom
#: it is three times noisier, in squares, than what many labels tend to.
SMALL = 0.01


def solve(n, m, value, pool=np.inf):
    """A and B by least squares of relative deviations; arrays of shape (n_divisions,)."""
    X = np.stack([1 / n - 1 / pool, 1 / (n * m)], axis=1)
    model = value
    for _ in range(10):
        coefficients = nnls(X / model[:, None], value / model)[0]
        model = X @ coefficients
    return coefficients


def predicted(n, m, A, B, pool=np.inf):
    return A * (1 / n - 1 / pool) + B / (n * m)


def spring_law(rows, resamples=200):
    """A, B, m* and its error, largest deviation in standard errors, chi squared's p: of one sigma and one learner."""
    n, m, value, error = (rows[name].to_numpy(float) for name in ("n", "m", "value", "error"))
    A, B = solve(n, m, value)
    rng = np.random.default_rng(0)
    spread = [np.divide(*solve(n, m, value + error * rng.normal(size=len(n)))[::-1]) for _ in range(resamples)]
    z = (value - predicted(n, m, A, B)) / error
    return {"A": A, "B": B, "m*": B / A, "error": np.std(spread), "largest |z|": abs(z).max(),
            "p": chi2.sf((z**2).sum(), len(n) - 2)}  # fmt: skip


def by_sets(rows):
    """Values with a line for every set of frames, columns (n, m): only divisions that every set has."""
    wide = rows.pivot_table(index=["division", "set"], columns=["n", "m"], values="value")
    return wide.dropna(axis=1)


def licl_law(rows):
    """A, B and m* with errors by leaving out sets, fitted where n is a quarter of the most frames at least.

    With fewer frames the equations of the fit scatter themselves, and errors are larger than the law: by how much,
    with the fewest frames, is `beyond`, a ratio of squared errors.
    """
    least, pool = rows["n"].max() / 4, rows["pool"].iloc[0]
    wide, few = by_sets(rows[rows["n"] >= least]), rows[rows["n"] == rows["n"].min()]
    n, m = (wide.columns.get_level_values(name).to_numpy(float) for name in ("n", "m"))
    sums = np.hstack([wide.to_numpy(), np.ones((len(wide), 1))])

    def fitted(what):
        def statistic(totals):
            found = [what(*solve(n, m, one[:-1] / one[-1], pool)) for one in np.atleast_2d(totals)]
            return np.array(found) if np.ndim(totals) > 1 else found[0]

        return jackknife(sums, statistic)

    (A, A_error), (B, B_error) = fitted(lambda A, B: A), fitted(lambda A, B: B)
    with np.errstate(invalid="ignore"):  # where frames leave no error that can be seen: infinite, its error unknown
        ratio, error = fitted(lambda A, B: B / A if A > 0 else np.inf)
    model = predicted(n, m, A, B, pool)
    off, z = wide.mean().to_numpy() / model - 1, (wide.mean().to_numpy() - model) / wide.sem().to_numpy()
    few = few[few["m"] == few["m"].max()]
    beyond = few["value"].mean() / predicted(few["n"].iloc[0], few["m"].iloc[0], A, B, pool)
    return {"A": A, "A error": A_error, "B": B, "B error": B_error, "m*": ratio, "error": error,
            "largest deviation": abs(off).max(), "largest |z|": abs(z).max(), "beyond": beyond}  # fmt: skip


def ratio(rows, other, one):
    """Error of the division `other` (n, m) over that of `one`, root mean squares over sets, and its standard error."""
    wide = by_sets(rows[[pair in (other, one) for pair in zip(rows["n"], rows["m"])]])
    sums = wide[[other, one]].to_numpy()
    return jackknife(sums, lambda totals: np.sqrt(totals[..., 0] / totals[..., 1]))


def laws(table):
    """Laws of the spring and of LiCl, a row for each learner and noise level."""
    rows = []
    for (learner, sigma), part in table[table["system"] == "spring"].groupby(["learner", "sigma / nm"], sort=False):
        part = part.assign(m=part["m"] / 2) if learner == "antithetic pairs" else part
        rows.append({"system": "spring", "learner": learner, "sigma / nm": sigma, **spring_law(part)})
    licl = table[(table["system"] == "LiCl") & (table["quantity"] == "squared learning error")]
    for sigma, level in licl.groupby("sigma / nm"):
        exact = level[level["learner"].str.startswith("all draws") & (sigma <= SMALL)]
        for learner in ("single draws", "antithetic pairs"):
            part = level[level["learner"] == f"{learner}, fixed penalty"]
            part = part.assign(m=part["m"] / 2) if learner == "antithetic pairs" else part
            rows.append(
                {"system": "LiCl", "learner": learner, "sigma / nm": sigma, **licl_law(pandas.concat([part, exact]))}
            )
    return pandas.DataFrame(rows)
