"""Data duplication: when several draws of noise per frame replace frames, and when they cannot.

    python examples/paper/04_duplication.py [FRAMES] [--quick] [--seed 0] [--output DIR]

A number of labels, n m = 500, is divided into n frames with m draws of noise each.  A spring, where theory is a closed
form; three wells of which frames visit two, where it is known what was never seen; and 2.4 M LiCl (FRAMES with exact
mean forces, which are read for the error tables alone; default: the bundled ones), pair potentials over Coulomb.
With A of frames and B of labels, the squared error is (A + B/m)/n: duplication replaces frames as long as m is small
beside m* = B/A.
"""

import logging

import numpy as np
import pandas
import torch
from duplication_figure import draw
from duplication_law import SMALL, laws, predicted, ratio
from duplication_licl import EXACT, LEARNERS, Division, licl_rows, reference_rows
from duplication_wells import spring_rows, threshold, visits_rows, wells_rows
from records import HERE, Records, parse

from openmm_diffusion import Frames

NAME = "04_duplication"
LABELS = ((500, 1), (250, 2), (125, 4), (62, 8), (31, 16))
INFINITE = float("inf")
SETTINGS = {
    False: dict(
        spring_sigmas=(0.002, 0.005, 0.01, 0.0175, 0.0265), spring_divisions=(*LABELS, (15, 32)), repeats=4000,
        well_sigmas=(0.005, 0.01, 0.0265), well_sets=200, visits=(0, 1, 2, 4, 8, 16),
        visit_draws=(1, 4, 16, 64, INFINITE),
        well_divisions=(*LABELS, (62, 1), (62, 64), *((n, INFINITE) for n, _ in LABELS)),
        licl_sigmas=(0.002, 0.005, 0.01, 0.0265), sets=(4, 1), pool=3000, tested=150,
        labels=LABELS, growing=((500, 2), (500, 4), (125, 1), (125, 16)),
        learners=tuple(LEARNERS),
    ),
    True: dict(
        spring_sigmas=(0.005, 0.0265), spring_divisions=LABELS, repeats=800,
        well_sigmas=(0.01, 0.0265), well_sets=40, visits=(0, 4, 16), visit_draws=(1, 16, INFINITE),
        well_divisions=(*LABELS, (62, 1), *((n, INFINITE) for n, _ in LABELS)),
        licl_sigmas=(0.005, 0.0265), sets=(3,), pool=500, tested=40,
        labels=((160, 1), (40, 4), (20, 8)), growing=((160, 4),),
        learners=("single draws", "single draws, fixed penalty", "antithetic pairs, fixed penalty"),
    ),
}  # fmt: skip
#: A division is said to replace frames where its error is at most this much larger.
ALLOWED = 1.1


def arms(size):
    """n and m of every learner on LiCl; antithetic draws come in pairs."""
    labels, growing = list(size["labels"]), list(size["growing"])
    both = {"single draws": labels, "antithetic pairs": [(n, m) for n, m in labels if m > 1]}
    fixed = {
        "single draws": labels + growing,
        "antithetic pairs": both["antithetic pairs"] + [(n, m) for n, m in growing if n == labels[0][0]],
    }
    kinds = {name: LEARNERS[name][1] for name in size["learners"]}
    of = {name: (both if chosen else fixed)[name.split(",")[0]] for name, chosen in kinds.items()}
    return {**of, EXACT: [(n, INFINITE) for n, _ in labels]}


def measure(records, options, size):
    """All parts, each with the settings that its rows depend on."""
    seed = options.seed
    for sigma in size["spring_sigmas"]:
        given = dict(sigma=sigma, divisions=size["spring_divisions"], repeats=size["repeats"], seed=seed)
        records.part("spring", {**given, "frames": 500, "steps": 0}, lambda given=given: spring_rows(**given))
    for sigma in size["well_sigmas"]:
        given = dict(sigma=sigma, divisions=size["well_divisions"], repeats=size["well_sets"], seed=seed)
        records.part("wells", {**given, "frames": 500, "steps": 0}, lambda given=given: wells_rows(**given))
        given = dict(sigma=sigma, n=62, visits=size["visits"], draws=size["visit_draws"], repeats=size["well_sets"])
        given["seed"] = seed
        records.part("visits", {**given, "frames": 62, "steps": 0}, lambda given=given: visits_rows(**given))
    frames = Frames.load(options.frames)
    divisions = [Division(frames, number, seed, size["pool"], size["tested"]) for number in range(len(size["sets"]))]
    about = dict(data=frames.digest(), pool=size["pool"], tested=size["tested"], seed=seed, steps=0)
    for division, k in [(d, k) for d, n in zip(divisions, size["sets"]) for k in range(n)]:
        for sigma in size["licl_sigmas"]:
            settings = {**about, "sigma": sigma, "division": division.number, "frames": len(division.pool)}
            if k == 0:
                records.part("licl reference", settings, lambda s=sigma, d=division: reference_rows(d, s))
            settings |= {"set": k, "arms": arms(size), "frames": 500}
            compute = lambda s=sigma, d=division, k=k: licl_rows(d, k, s, arms(size), seed)  # noqa: E731
            records.part("licl", settings, compute)


# ---- claims


def claims(table):
    """What the paper says of duplication, what was measured, what theory expects, and a verdict, one row each."""
    found, law = [], laws(table)

    def judge(claim, measured, expected, verdict):
        found.append({"claim": claim, "measured": measured, "expected": expected, "verdict": verdict})

    for learner in ("single draws", "antithetic pairs"):
        rows = law[(law["system"] == "spring") & (law["learner"] == learner)]
        closed = threshold(rows["sigma / nm"].to_numpy(), learner != "single draws") * np.ones(len(rows))
        near = ((rows["m*"] - closed).abs() < 3.5 * rows["error"]) & (rows["p"] > 1e-3)
        levels, measured = listed(10 * rows["sigma / nm"], "g"), pairs(rows["m*"], rows["error"])
        judge(f"spring, {learner}: m* at {levels} A", measured, listed(closed, ".3g"), verdict(near))
    licl(table, law, judge)
    wells(table[table["system"] == "three wells"], judge)
    return pandas.DataFrame(found)


def licl(table, law, judge):
    """Claims on LiCl."""
    rows = table[(table["system"] == "LiCl") & (table["quantity"] == "squared learning error")]
    theory = table[table["quantity"] == "label variance, theory"].groupby("sigma / nm")["value"].mean()
    most = int(rows["n"].max())
    for learner in ("single draws", "antithetic pairs"):
        part = law[(law["system"] == "LiCl") & (law["learner"] == learner)]
        expected = (
            "1 (spring)" if learner != "single draws" else listed(theory.to_numpy() / part["A"].to_numpy(), ".2g")
        )
        fits = (part["largest deviation"] < 0.2) | (part["largest |z|"] < 3)
        judge(
            f"LiCl, {learner}: the law (A + B/m)/n from {most / 4:.0f} and from {rows['n'].min():.0f} frames on; m* at "
            f"{listed(10 * part['sigma / nm'], 'g')} A", pairs(part["m*"], part["error"]), expected,
            verdict([*fits, *((part["beyond"] - 1).abs() < 0.2)]),
        )  # fmt: skip
    single = law[(law["system"] == "LiCl") & (law["learner"] == "single draws")].set_index("sigma / nm")
    for sigma, level in rows.groupby("sigma / nm"):
        fixed = level[level["learner"].isin(["single draws, fixed penalty", EXACT])]
        draws = (4, INFINITE) if sigma <= SMALL else (4,)
        gains = [ratio(fixed, (most, m), (most, 1)) for m in draws]
        star = single.loc[sigma, "m*"]
        work = [most * m * (1 + star) / (m + star) for m in (4, 1e9)]
        judge(
            f"LiCl, {10 * sigma:g} A: {most} frames with 4 and with all draws do the work of more: learning error over "
            f"that of one draw (all: to 0.1 A); frames with one draw that they are worth",
            f"{pairs(*zip(*gains))}; {listed(work, ',.0f')}", f"at most {most} (1 + m*)",
            verdict([value + 2 * error < 1 for value, error in gains]),
        )  # fmt: skip
        chosen = level[level["learner"] == "single draws"]
        kinds = sorted(set(zip(chosen["n"], chosen["m"])), reverse=True)
        ratios = [ratio(chosen, kind, kinds[0]) for kind in kinds[1:]]
        names = ", ".join(f"{n:.0f} x {m:.0f}" for n, m in kinds[1:])
        lawful = predicted(*np.array(kinds).T, *single.loc[sigma, ["A", "B"]].astype(float), chosen["pool"].iloc[0])
        judge(
            f"LiCl, {10 * sigma:g} A, penalty chosen: draws replace frames: learning error of {names} over {most} x 1",
            pairs(*zip(*ratios)), listed(np.sqrt(lawful[1:] / lawful[0]), ".2f"),
            verdict([value - error < ALLOWED for value, error in ratios]),
        )  # fmt: skip


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
    for sigma in sigmas:
        of = visits.loc[sigma]
        last = of.index.get_level_values(0).max()
        shown = of.loc[[(0, 1), (0, INFINITE), (last, 1), (last, INFINITE)]]
        replaced = shown["value"].iloc[1] < 1
        judge(
            f"three wells, {10 * sigma:g} A: draws replace visits: error in the third well with 1 and all draws, then "
            f"with {last:.0f} of 62 frames there",
            pairs(shown["value"], shown["error"]), "no force: 1.00", "holds" if replaced else "does not hold",
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


def verdict(holds):
    """Of claims that hold at some places only: under conditions."""
    return "holds" if all(holds) else "holds under conditions" if any(holds) else "does not hold"


def listed(values, form):
    return ", ".join(f"{value:{form}}" for value in values)


def pairs(values, errors):
    """Values with their errors, to two digits of the error."""
    shown = []
    for value, error in zip(values, errors):
        digits = max(0, 1 - int(np.floor(np.log10(error)))) if 0 < error < np.inf else 2
        shown.append(f"{value:.{digits}f} +- {error:.{digits}f}")
    return ", ".join(shown)


def main(arguments=None):
    options = parse(__doc__, arguments, HERE.parent / "licl" / "licl.npz")
    for name in ("lightning.pytorch", "openmm_diffusion"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    records = Records(options.output / f"{NAME}.csv")
    measure(records, options, SETTINGS[options.quick])
    table = records.table()
    draw(table, options.output / f"{NAME}.png")
    pandas.set_option("display.width", 250, "display.max_colwidth", 160)
    print(laws(table).to_string(index=False, float_format="%.3g"))
    print(claims(table).to_string(index=False))
    return table


if __name__ == "__main__":
    main()
