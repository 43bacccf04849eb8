"""What is said of duplication, what was measured, what theory expects, and verdicts."""

import numpy as np
import pandas
from protocol.verdicts import below, by_states, listed, places, states, verdict, where

from duplication.law import SMALL, laws, predicted, ratio
from duplication.licl import EXACT
from duplication.network import LEARNER as NETWORK
from duplication.wells import threshold

INFINITE = float("inf")
#: A division is said to replace frames where its error is at most this much larger: less is not told by five sets.
ALLOWED = 1.5
#: The law is said to hold at a level where no squared error is further from it than this part.  Standard errors of a
#: few sets of frames are too uncertain to excuse more, or to condemn less; the largest deviation in them is shown.
PART = 0.2
#: Linear theory is said to give a squared error where it is not further from it than this part: 15 % in the error.
NEAR = 1 / 3
#: Of m* on the spring to its closed form, beside the scatter that chi squared allows.
CLOSE = 0.5
SINGLE, PAIRS = "single draws", "antithetic pairs"


def claims(table):
    """Claims and verdicts, one row each.

    Parameters
    ----------
    table : pandas.DataFrame
        As `04_duplication.csv`.

    Returns
    -------
    pandas.DataFrame
        Columns claim, measured, expected, verdict and where: the places at which a claim holds that does not
        hold at all of them, and those at which it is not decided.
    """
    found, law = [], laws(table)

    def judge(claim, measured, expected, verdict, where=""):
        row = {"claim": claim, "measured": measured, "expected": expected, "verdict": verdict, "where": where}
        found.append(row)

    spring(law[law["system"] == "spring"], judge)
    labels(table, law[law["system"] == "LiCl"], judge)
    replaced(table, law[law["system"] == "LiCl"], judge)
    networks(table, judge)
    wells(table[table["system"] == "three wells"], judge)
    return pandas.DataFrame(found)


def spring(law, judge):
    """Claims on the spring."""
    for learner in (SINGLE, PAIRS):
        rows = law[law["learner"] == learner]
        closed = threshold(rows["sigma / nm"].to_numpy(), learner != SINGLE) * np.ones(len(rows))
        near = states(rows["m*"] / closed, rows["error"] / closed, 1, CLOSE)
        near[(rows["p"] < 1e-3).to_numpy()] = -1
        levels, measured = angstrom(rows["sigma / nm"]), pairs(rows["m*"], rows["error"])
        judge(f"spring, {learner}: m* at {levels}", measured, listed(closed, ".3g"), by_states(near))


def labels(table, law, judge):
    """Claims on the law of LiCl, on the variance of its labels, and on pairs."""
    rows = licl_rows(table)
    theory = {name: table[table["quantity"] == f"{name}, theory"].groupby("sigma / nm")["value"] for name in "AB"}
    expected_ratio = theory["B"].mean() / theory["A"].mean()
    most, fewest = int(rows["n"].max()), rows["n"].min()
    for learner in (SINGLE, PAIRS):
        part = law[law["learner"] == learner]
        expected = "" if learner != SINGLE else listed(expected_ratio, ".2g")
        right = (part["largest deviation"] < PART) & ((part["beyond"] - 1).abs() < PART)
        judge(
            f"LiCl, {learner}: squared errors are (A + B/m)/n from {most / 4:.0f} frames on, and from {fewest:.0f}; m* "
            f"at {angstrom(part['sigma / nm'])}; largest deviation, largest |z|; {fewest:.0f} frames over the law",
            f"{pairs(part['m*'], part['error'])}; {listed(part['largest deviation'], '.2f')}, "
            f"{listed(part['largest |z|'], '.1f')}; {listed(part['beyond'], '.2f')}",
            expected, verdict(right), places(right, 10 * part["sigma / nm"], "A"),
        )  # fmt: skip
    part = law[law["learner"] == SINGLE].set_index("sigma / nm")
    for name, what in (("B", "the noise of labels"), ("A", "the scatter of frames")):
        mean = theory[name].mean()
        over = part[name] / mean
        # Divisions scatter in the theory too; of one alone that is not known, and nothing is decided.
        error = over * np.hypot(part[f"{name} error"] / part[name], theory[name].sem() / mean)
        near = states(over, error, 1, NEAR, sets(rows))
        judge(
            f"LiCl: {name} is what linear theory gives for {what}: {name} over it at {angstrom(part.index)}",
            pairs(over, error), "1", by_states(near), where(near > 0, near == 0, 10 * part.index, "A"),
        )  # fmt: skip
    fixed = rows[rows["learner"].isin([f"{PAIRS}, fixed penalty", EXACT]) & (rows["sigma / nm"] <= SMALL)]
    if ((fixed["n"] == most) & (fixed["m"] == 2)).any():
        levels, factors, lawful = [], [], []
        pairwise = law[law["learner"] == PAIRS].set_index("sigma / nm")
        for sigma, level in fixed.groupby("sigma / nm"):
            value, error = ratio(level, (most, 2), (most, INFINITE))
            levels.append(10 * sigma)
            factors.append((value**2, 2 * value * error))
            A, B = pairwise.loc[sigma, ["A", "B"]].astype(float)
            one, every = (predicted(most, m, A, B, level["pool"].iloc[0]) for m in (1, INFINITE))
            lawful.append(one / every)
        judge(
            f"LiCl: one pair is within a factor of two, in squares, of all draws: {most} frames at {listed(levels)} A",
            pairs(*zip(*factors)), listed(lawful, ".2g"),
            *bounded(factors, 2, levels, "A", sets(rows)),
        )  # fmt: skip


def replaced(table, law, judge):
    """Claims on LiCl: draws make frames worth more, and draws replace frames."""
    rows, single = licl_rows(table), law[law["learner"] == SINGLE].set_index("sigma / nm")
    most, levels = int(rows["n"].max()), sorted(rows["sigma / nm"].unique())
    few, every = [], []
    for sigma in levels:
        fixed = rows[(rows["sigma / nm"] == sigma) & rows["learner"].isin([f"{SINGLE}, fixed penalty", EXACT])]
        few.append(ratio(fixed, (most, 4), (most, 1)))
        if sigma <= SMALL:
            every.append(ratio(fixed, (most, INFINITE), (most, 1)))
    work = [listed((most * m * (1 + single["m*"]) / (m + single["m*"])), ",.0f") for m in (4, 1e9)]
    judge(
        f"LiCl: {most} frames with 4 and (to 0.1 A) with all draws do the work of more: learning error over that of "
        f"one draw at {angstrom(levels)}; frames with one draw that they are worth",
        f"{pairs(*zip(*few))} and {pairs(*zip(*every))}; {work[0]} and {work[1]}", f"at most {most} (1 + m*)",
        verdict(*below(few + every, 1, sets(rows))),
    )  # fmt: skip
    for sigma in levels:
        chosen = rows[(rows["sigma / nm"] == sigma) & (rows["learner"] == SINGLE)]
        kinds = divisions(chosen)
        lawful = predicted(*np.array(kinds).T, *single.loc[sigma, ["A", "B"]].astype(float), chosen["pool"].iloc[0])
        expected = listed(np.sqrt(lawful[1:] / lawful[0]), ".2f")
        begun = f"LiCl, {10 * sigma:g} A, penalty chosen: draws replace frames: learning error"
        judge_divisions(begun, chosen, expected, sets(rows), judge)


def networks(table, judge):
    """Claims on networks: draws make frames worth more, and draws replace frames; by total errors."""
    rows = table[(table["system"] == "LiCl") & (table["learner"] == NETWORK)]
    if rows.empty:
        return
    levels, most = sorted(rows["sigma / nm"].unique()), int(rows["n"].max())
    level = {sigma: rows[rows["sigma / nm"] == sigma] for sigma in levels}
    four = [ratio(level[sigma], (most, 4), (most, 1)) for sigma in levels]
    judge(
        f"LiCl, network: total error of {most} frames with 4 draws over that with one, at {angstrom(levels)}",
        pairs(*zip(*four)), "below 1", *bounded(four, 1, 10 * np.array(levels), "A", sets(rows)),
    )  # fmt: skip
    for sigma in levels:
        same = level[sigma][level[sigma]["n"] * level[sigma]["m"] <= most]
        begun = f"LiCl, network, {10 * sigma:g} A: draws replace frames: total error"
        judge_divisions(begun, same, "", sets(rows), judge)


def divisions(rows):
    """n and m of the divisions of the same number of labels, undivided frames first."""
    return sorted(set(zip(rows["n"], rows["m"])), reverse=True)


def judge_divisions(begun, rows, expected, samples, judge):
    """Claim that the errors of divided frames are no more than `ALLOWED` times that of undivided ones."""
    whole, *divided = divisions(rows)
    found = [ratio(rows, kind, whole) for kind in divided]
    names = ", ".join(f"{n:.0f} x {m:.0f}" for n, m in divided)
    judge(
        f"{begun} of {names} over {whole[0]:.0f} x 1 at most {ALLOWED:g}",
        pairs(*zip(*found)), expected, *bounded(found, ALLOWED, [m for _, m in divided], "draws", samples),
    )  # fmt: skip


def sets(rows):
    """How many sets of frames there are, of all divisions."""
    return len(rows[["division", "set"]].drop_duplicates())


def licl_rows(table):
    return table[(table["system"] == "LiCl") & (table["quantity"] == "squared learning error")]


def wells(rows, judge):
    """Claims on the landscape with a well never visited."""
    infinite, sigmas = rows[np.isinf(rows["m"])], sorted(rows["sigma / nm"].unique())
    inside = infinite[infinite["quantity"] == "error where frames are"].set_index(["learner", "sigma / nm", "n"])[
        "value"
    ]
    most, fewest = infinite["n"].max(), infinite["n"].min()
    for learner in ("kernel density", "spline"):
        at = [[inside[learner, sigma, n] for sigma in sigmas] for n in (most, fewest)]
        none = [inside["no force", sigma, most] for sigma in sigmas]
        judge(
            f"three wells, all draws, {learner}: a force better than none where frames are; error of {most:.0f} and of "
            f"{fewest:.0f} frames at {listed(10 * np.array(sigmas), 'g')} A",
            f"{listed(at[0], '.2f')}; {listed(at[1], '.2f')}", f"no force: {listed(none, '.2f')}",
            verdict([value < other for one in at for value, other in zip(one, none)]),
        )  # fmt: skip
    reached = {
        learner: [reach(infinite[infinite["sigma / nm"] == sigma], learner) for sigma in sigmas]
        for learner in ("kernel density", "spline")
    }
    judge(
        "all draws of 62 frames know nothing more than 2.5 sigma beyond the last one: where no force becomes better, "
        f"{listed(10 * np.array(sigmas), 'g')} A, kernel density; spline",
        "; ".join(listed(values, ".1f") for values in reached.values()), "",
        verdict([value < 2.5 for values in reached.values() for value in values]),
    )  # fmt: skip
    visits = rows[rows["quantity"] == "error in the third well, visited"].set_index(["sigma / nm", "visits", "m"])
    last = visits.index.get_level_values("visits").max()
    kinds = [(0, 1), (0, INFINITE), (last, 1), (last, INFINITE)]
    shown = [visits.loc[[(sigma, *kind) for sigma in sigmas]] for kind in kinds]
    judge(
        f"three wells, {angstrom(sigmas)}: draws replace visits: error in the third well with 1 and with all draws, "
        f"then with {last:.0f} of 62 frames there",
        "; ".join(pairs(of["value"], of["error"]) for of in shown), "no force: 1.00",
        verdict(shown[1]["value"] < 1), places(shown[1]["value"] < 1, 10 * np.array(sigmas), "A"),
    )  # fmt: skip


def reach(level, learner, n=62):
    """Distance (in sigma) beyond the last frame at which no force becomes better than that of all draws."""
    part = level[(level["quantity"] == "error beyond the last frame") & (level["n"] == n)]
    none, there = (part[part["learner"] == name].set_index("at / sigma")["value"] for name in ("no force", learner))
    excess = np.log(there / none).dropna()
    worse = np.flatnonzero(excess > 0)
    if len(worse) == 0 or worse[0] == 0:
        return float(excess.index[-1] if len(worse) == 0 else excess.index[0])
    return float(np.interp(0, excess.iloc[worse[0] - 1 : worse[0] + 1], excess.index[worse[0] - 1 : worse[0] + 1]))


def bounded(found, bound, at, unit, samples):
    """Verdict on values that should not exceed a bound, and where they do not.

    Parameters
    ----------
    found : list of (float, float)
        Values with standard errors.
    bound : float
    at : list of float
        Where each was measured, in `unit` (str).
    samples : int
        That the errors are the scatter of.

    Returns
    -------
    (str, str)
        As columns `verdict` and `where` of `claims`.
    """
    good, bad = below(found, bound, samples)
    return verdict(good, bad), where(good, ~(good | bad), at, unit)


def angstrom(sigmas):
    return f"{listed(10 * np.asarray(sigmas))} A"


def pairs(values, errors):
    """Values with their errors, to two digits of the error."""
    shown = []
    for value, error in zip(values, errors):
        digits = max(0, 1 - int(np.floor(np.log10(error)))) if 0 < error < np.inf else 2
        shown.append(f"{value:.{digits}f} +- {error:.{digits}f}")
    return ", ".join(shown)
