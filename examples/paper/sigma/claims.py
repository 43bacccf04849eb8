"""What is said of the error against sigma, what was measured, and verdicts."""

import numpy as np
import pandas
from protocol.verdicts import CONDITIONS, HOLDS, by_states, spare, states, verdict
from scipy.stats import fisher_exact

from sigma.learners import EXACT, FORCE, SINGLE

#: Noise levels of Harcombe & Duignan, nm.
PAPER = (0.005, 0.01, 0.0265)
#: Of k; of an exponent of sigma; of an exponent of frames, half way from one law to the other.
SPRING, POWER, CROSSING = 0.01, 0.1, 1 / 24
#: Of MD at the smallest to MD at the largest level: what "does not generalise" means here.
LARGER = 3


def claims(table, summary):
    """Claims and verdicts, one row each; of those that take several levels, where there are several.

    Parameters
    ----------
    table, summary : pandas.DataFrame
        As `02_error_against_sigma.csv` and `02_error_against_sigma_fits.csv`.

    Returns
    -------
    pandas.DataFrame
        Columns claim, measured, verdict.
    """
    return pandas.DataFrame(
        [_spring(table, summary), *_powers(table, summary), *_theories(table), *_crossings(summary), *_dynamics(table)],
        columns=["claim", "measured", "verdict"],
    )


def _listed(values, errors=None, digits=3):
    if errors is None:
        return ", ".join(f"{v:.{digits}g}" for v in values)
    return ", ".join(f"{v:.{digits}f} +- {e:.{digits}f}" for v, e in zip(values, errors))


def _spring(table, summary):
    rows = table[(table["part"] == "harmonic") & (table["learner"] == EXACT)]
    rows = rows[rows["frames"] == rows["frames"].max()]
    # Levels share their frames: no sum of squares, but the largest.
    z = ((rows[f"bias_{FORCE}"] - rows[f"bias_theory_{FORCE}"]) / rows[f"bias_error_{FORCE}"]).abs()
    worst = summary[summary["quantity"].str.startswith("largest")].iloc[0]
    measured = f"off by {worst['value']:.4f} +- {worst['error']:.4f} of k at most, by {z.max():.1f} standard errors"
    return "k_eff = k/(1 + sigma^2 k/kT)", measured, by_states(states(worst["value"], worst["error"], 0, SPRING))


def _powers(table, summary):
    """Exponents as sigma -> 0; and whether the law still describes the largest level."""
    for name, column, power in (("force", f"bias_{FORCE}", 2), ("unscaled denoiser", "denoiser_error_nm", 4)):
        # One value has no error, and says little.
        rows = summary[(summary["quantity"] == f"exponent of sigma, {name}") & summary["error"].notna()]
        right = by_states(np.concatenate([states(v, e, power, POWER, n) for v, e, n in _values(rows)]))
        share = []
        for system in rows["system"]:
            error = table[(table["part"] == system) & (table["learner"] == EXACT) & (table["sigma_nm"] > 0)]
            error = error.groupby("sigma_nm")[column].mean().abs()
            share.append(error.iloc[-1] / error.iloc[0] / (error.index[-1] / error.index[0]) ** power)
        whole = all(abs(part - 1) < 0.1 for part in share)
        judged = CONDITIONS if right == HOLDS and not whole else right
        measured = f"{', '.join(rows['system'])}: {_listed(rows['value'], rows['error'])} as sigma -> 0, "
        measured += f"{_listed(share, digits=2)} of the law at {error.index[-1]:g} nm"
        yield f"error of the {name} ~ sigma^{power}", measured, judged


def _theories(table):
    rows = table[table["part"] == "licl theory"].sort_values("sigma_nm")
    if len(rows) < 2:
        return
    shown = rows[rows["sigma_nm"].isin(PAPER)]
    for order, column in (("second order", "second_order"), ("all orders", "theory")):
        theory, found = f"bias_{column}_{FORCE}", f"bias_{FORCE}"
        close = (rows[found] / rows[theory] - 1).abs() < 0.1
        measured = f"theory {_listed(shown[theory])}, measured {_listed(shown[found])} {FORCE} at "
        measured += f"{_listed(shown['sigma_nm'])} nm; within 10 % at {close.sum()} of {len(close)} levels"
        yield f"theory to {order} describes the bias of LiCl", measured, verdict(close)


def _crossings(summary):
    """Fits that are nearer to a law than to the other one, which is wrong for these learners."""
    rows = summary[summary["quantity"] == "exponent of frames, crossing"]
    single = rows["learner"] == SINGLE
    for name, those in (
        ("N^(-1/6), single draws", rows[single]),
        ("N^(-1/4), antithetic pairs and exact", rows[~single]),
    ):
        found = [states(v, e, law, CROSSING, n)[0] for (v, e, n), law in zip(_values(those), those["expected"])]
        measured = f"{found.count(1)} of {len(found)} fits, against it {found.count(-1)}; "
        measured += "; ".join(f"{s} {_listed(g['value'], g['error'])}" for s, g in those.groupby("system", sort=False))
        yield f"bias and scatter cross at sigma ~ {name}", measured, by_states(found)


def _values(rows):
    """Values, their errors and how many repeats these are the scatter of; of one repeat the error is not known."""
    return zip(rows["value"], rows["error"], rows["repeats"].clip(lower=2))


def _dynamics(table):
    rows = table[(table["part"] == "md") & (table["sigma_nm"] > 0)].sort_values("sigma_nm")
    if rows["sigma_nm"].nunique() < 2:
        return
    grows, measured = [], []
    for learner in (EXACT, f"{SINGLE}, no wall"):
        found = rows[rows["learner"] == learner].set_index("sigma_nm")[["g_learning", "g_error"]].dropna()
        (first, first_error), (last, last_error) = found.iloc[[0, -1]].to_numpy()
        slack = spare() * np.hypot(first_error, LARGER * last_error)
        excess = first - LARGER * last
        grows.append(1 if excess > slack else -1 if excess < -slack else 0)
        measured.append(f"{learner}: {_listed(found['g_learning'], digits=2)}")
    yield "a small sigma does not generalise: learning error of g(r) in MD", "; ".join(measured), by_states(grows)
    small = rows["sigma_nm"] <= PAPER[0]
    stopped = [int((rows["runs"] - rows["finished"])[those].sum()) for those in (small, ~small)]
    runs = [int(rows["runs"][those].sum()) for those in (small, ~small)]
    counts = [[s, n - s] for s, n in zip(stopped, runs)]
    more, fewer = (fisher_exact(counts, alternative=way).pvalue < 0.05 for way in ("greater", "less"))
    measured = f"{stopped[0]} of {runs[0]} runs stopped up to {PAPER[0]:g} nm, {stopped[1]} of {runs[1]} above"
    yield "a small sigma makes MD unstable", measured, verdict([more], [fewer])
