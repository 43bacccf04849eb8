"""What is said of the scale, what was measured, and verdicts."""

import numpy as np
import pandas
from protocol.verdicts import CONDITIONS, FAILS, HOLDS, by_states, states
from scipy.stats import chi2

#: What must be known of a slope or a variance to confirm theory, two standard errors over it.
KNOWN = 0.05
#: Of slopes of networks, which are not linear: what they have not learnt is no statistical error.
NETWORK, TRAININGS = 0.1, 3


def agreement(rows):
    """Largest deviation of the rows from what is expected, in standard errors, and whether chi squared allows all."""
    z = ((rows["value"] - rows["expected"]) / rows["error"]).dropna()
    return float(z.abs().max()), bool(chi2.sf((z**2).sum(), len(z)) > 1e-3)


def confirmed(rows):
    """Whether the rows agree with what is expected, and are known well enough to say so."""
    return agreement(rows)[1] and bool((2 * rows["error"] <= KNOWN * rows["expected"].abs()).all())


def claims(table):
    """What the paper says of the scale, what was measured, and a verdict, one row each."""
    found = []

    def judge(claim, measured, rows, holds, verdict=HOLDS):
        found.append(
            {"claim": claim, "measured": measured, "rows": int(rows["expected"].notna().sum())}
            | {"largest |z|": agreement(rows)[0], "verdict": verdict if holds else FAILS}
        )

    scaled = table[table["quantity"] == "slope on noised force"]
    for learner, rows in scaled.groupby("learner", sort=False):
        weight = rows["error"] ** -2.0
        mean, error = np.average(rows["value"], weights=weight), weight.sum() ** -0.5
        if learner == "network":
            each = ", ".join(f"{v:.3f} +- {e:.3f}" for v, e in zip(rows["value"], rows["error"]))
            told = by_states(states(rows["value"], rows["error"], 1, NETWORK, TRAININGS))
            judge(f"slope after kT/sigma^2, {learner}, within {NETWORK:g}", each, rows, True, told)
        else:
            judge(f"slope after kT/sigma^2, {learner}", f"{mean:.4f} +- {error:.4f}", rows, confirmed(rows))
    unscaled = table[(table["quantity"] == "unscaled slope") & (table["learner"] == "regression")]
    design = np.stack([np.ones(len(unscaled)), np.log(unscaled["sigma / nm"])], axis=1)
    weight = (unscaled["value"] / unscaled["error"]).to_numpy() ** 2
    covariance = np.linalg.inv(design.T * weight @ design)
    prefactor, exponent = covariance @ (design.T * weight @ np.log(unscaled["value"]))
    error = np.sqrt(covariance[1, 1])
    measured = (
        f"sigma^({exponent:.4f} +- {error:.4f}), kT = {np.exp(-prefactor - (exponent - 2) * design[:, 1].mean()):.4f}"
    )
    judge("slope of the displacement itself is sigma^2/kT", measured, unscaled, confirmed(unscaled))
    clean = table[(table["quantity"] == "slope on clean force") & (table["learner"] == "regression")]
    ends = clean.groupby("sigma / nm")["value"].mean()
    measured = ", ".join(f"{v:.3f} at {s:g} nm" for s, v in ends.items())
    judge("the same on the clean force: 1 as sigma -> 0", measured, clean, confirmed(clean), CONDITIONS)
    excess = table[table["quantity"] == "excess variance"]
    for arm, rows in excess.groupby("arm", sort=False):
        shown = rows[rows["system"] == "harmonic"]
        measured = ", ".join(f"{100 * v:.2f} +- {100 * e:.2f} %" for v, e in zip(shown["value"], shown["error"]))
        resolved = (shown["value"].abs() > 3 * shown["error"]).all()
        judge(
            f"variance in excess, scale of {arm}, all wells (harmonic: measured)",
            measured,
            rows,
            agreement(rows)[1] and resolved,
        )
    right = table[(table["quantity"] == "variance") & (table["arm"] == "right")]
    measured = f"{(right['value'] / right['expected']).min():.4f} to {(right['value'] / right['expected']).max():.4f}"
    judge("variance in MD / variance of the noised data, right scale", measured, right, confirmed(right))
    return pandas.DataFrame(found)
