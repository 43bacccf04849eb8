"""What the rows of 02_error_against_sigma.py come to: exponents, and where bias and scatter cross."""

import numpy as np
import pandas
from protocol.verdicts import mean_error

from sigma.harmonic_well import WIDTH, crossing_theory
from sigma.learners import EXACT, FORCE, KT, LEARNERS, SINGLE

#: Levels that exponents are read from, nm: small beside the widths of the wells.
SMALL = {"harmonic": 0.003, "dimer": 0.002, "licl": 0.003}


def exponent(sigmas, values):
    """Power of sigma as sigma -> 0: of log value = a + p log sigma (+ b sigma^2, where there are levels enough)."""
    sigmas, values = np.asarray(sigmas), np.asarray(values)
    columns = [np.ones_like(sigmas), np.log(sigmas), sigmas**2][: min(3, len(sigmas))]
    return np.linalg.lstsq(np.stack(columns, 1), np.log(values), rcond=None)[0][1]


def loglog(x, xs, ys):
    """Interpolation, and extrapolation by the last slopes, of a power law through points."""
    x, xs, ys = (np.log(np.asarray(values)) for values in (x, xs, ys))
    at = np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2)
    return np.exp(ys[at] + (ys[at + 1] - ys[at]) / (xs[at + 1] - xs[at]) * (x - xs[at]))


def crossing(bias, scatter):
    """Level (nm) where bias begins to exceed scatter; both Series over sigma.  NaN outside of the levels measured."""
    if len(scatter) < 2:
        return np.nan
    sigma = np.geomspace(0.0007, 0.07, 2000)
    larger = loglog(sigma, bias.index, bias) > loglog(sigma, scatter.index, scatter)
    return sigma[larger.argmax()] if larger.any() and not larger[0] else np.nan


def fits(table):
    """Exponents and crossings with their errors over seeds, and what theory expects.

    Parameters
    ----------
    table : pandas.DataFrame
        As `02_error_against_sigma.csv`.

    Returns
    -------
    pandas.DataFrame
        As `02_error_against_sigma_fits.csv`: of `repeats` values mean and standard error.
    """
    rows = []

    def add(quantity, system, learner, frames, values, expected):
        value, error = mean_error(values)
        rows.append(
            dict(quantity=quantity, system=system, learner=learner, frames=frames, value=value, error=error,
                 expected=expected, repeats=len(values))
        )  # fmt: skip

    bias, denoiser, scatter = f"bias_{FORCE}", "denoiser_error_nm", f"scatter_{FORCE}"
    exact = table[(table["learner"] == EXACT) & (table["sigma_nm"] > 0)]
    for system, group in (("harmonic", ["seed", "frames"]), ("dimer", "seed"), ("licl", "seed")):
        part = exact[(exact["part"] == system) & (exact["sigma_nm"] <= SMALL[system])]
        for name, column, expected in (("force", bias, 2), ("unscaled denoiser", denoiser, 4)):
            found = [exponent(g["sigma_nm"], g[column].abs()) for _, g in part.groupby(group) if len(g) > 1]
            if found:
                add(f"exponent of sigma, {name}", system, EXACT, np.nan, found, expected)
    springs = table[(table["part"] == "harmonic") & (table["learner"] == EXACT)]
    most = springs["frames"].max()
    springs = springs[springs["frames"] == most]
    off = (springs[bias] - springs[f"bias_theory_{FORCE}"]) * WIDTH / KT
    worst = off.abs().idxmax()
    add("largest (k_eff - k / (1 + sigma^2 k / kT)) / k", "harmonic", EXACT, most, [off[worst]], 0)
    rows[-1]["error"] = springs[f"bias_error_{FORCE}"][worst] * WIDTH / KT
    for system, where in (("harmonic", "harmonic"), ("dimer", "dimer scatter"), ("licl", "licl scatter")):
        curve = exact[exact["part"] == system]
        column = f"bias_theory_{FORCE}" if system == "dimer" else bias
        curve = curve[column].abs().groupby(curve["sigma_nm"]).mean()
        for learner in LEARNERS:
            part = table[(table["part"] == where) & (table["learner"] == learner)]
            places = {}
            for n, same in part.groupby("frames"):
                found = [
                    crossing(curve, g.set_index("sigma_nm")[scatter].sort_index()) for _, g in same.groupby("seed")
                ]
                found = [sigma for sigma in found if np.isfinite(sigma)]
                if found:
                    places[n] = found
                    s = crossing_theory(learner, n) if system == "harmonic" else np.nan
                    add("crossing of bias and scatter, nm", system, learner, n, found, s)
            if len(places) > 1:
                repeats = min(len(v) for v in places.values())
                lines = [np.polyfit(np.log(list(places)), np.log([v[k] for v in places.values()]), 1)[0]
                         for k in range(repeats)]  # fmt: skip
                expected = -1 / 6 if learner == SINGLE else -1 / 4
                if system == "harmonic":  # of these numbers of frames, for which s^2 is not quite 0
                    theory = [crossing_theory(learner, n) for n in places]
                    expected = np.polyfit(np.log(list(places)), np.log(theory), 1)[0]
                add("exponent of frames, crossing", system, learner, np.nan, lines, expected)
    columns = ["quantity", "system", "learner", "frames", "value", "error", "expected", "repeats"]
    return pandas.DataFrame(rows, columns=columns)
