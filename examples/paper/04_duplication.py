"""Data duplication: when several draws of noise per frame replace frames, and when they cannot.

    python examples/paper/04_duplication.py [FRAMES] [--quick] [--seed 0] [--output DIR]

A number of labels, n m = 500, is divided into n frames with m draws of noise each.  A spring, where theory is a closed
form; three wells of which frames visit two, where it is known what was never seen; and 2.4 M LiCl (FRAMES with exact
mean forces, which are read for the error tables alone; default: the bundled ones), pair potentials over Coulomb and,
last, a small network.  With A of frames and B of labels, the squared error is (A + B/m)/n: duplication replaces frames
as long as m is small beside m* = B/A.
"""

import logging

import numpy as np
import pandas
import torch
from duplication_figure import draw
from duplication_law import laws, licl_law, ratio
from duplication_licl import EXACT, LEARNERS, Division, licl_rows, network_rows, reference_rows
from duplication_wells import spring_rows, threshold, visits_rows, wells_rows
from records import HERE, Records, parse

from openmm_diffusion import Frames

NAME = "04_duplication"
LABELS = ((500, 1), (250, 2), (125, 4), (62, 8), (31, 16))
INFINITE = float("inf")
SETTINGS = {
    False: dict(
        spring_sigmas=(0.002, 0.005, 0.01, 0.0175, 0.0265), spring_divisions=(*LABELS, (15, 32)), repeats=4000,
        well_sigmas=(0.005, 0.01, 0.0265), well_sets=200, visits=(0, 1, 2, 4, 8, 16), visit_draws=(1, 4, 16, 64, INFINITE),
        well_divisions=(*LABELS, (62, 1), (62, 64), *((n, INFINITE) for n, _ in LABELS)),
        licl_sigmas=(0.002, 0.005, 0.01, 0.0265), divisions=2, sets=4, pool=3000, tested=150,
        labels=LABELS, growing=((500, 2), (500, 4), (125, 1), (125, 16)),
        network=((500, 1), (250, 2), (125, 4)), network_sets=2, network_steps=500,
    ),
    True: dict(
        spring_sigmas=(0.005, 0.0265), spring_divisions=LABELS, repeats=800,
        well_sigmas=(0.01, 0.0265), well_sets=40, visits=(0, 4, 16), visit_draws=(1, 16, INFINITE),
        well_divisions=(*LABELS, (62, 1), *((n, INFINITE) for n, _ in LABELS)),
        licl_sigmas=(0.005, 0.0265), divisions=1, sets=3, pool=500, tested=40,
        labels=((200, 1), (50, 4), (25, 8)), growing=((200, 4),),
        network=(), network_sets=0, network_steps=0,
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
    of = {name: (both if chosen else fixed)[name.split(",")[0]] for name, (_, chosen) in LEARNERS.items()}
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
    for number in range(size["divisions"]):
        division = Division(frames, number, seed, size["pool"], size["tested"])
        about = dict(data=frames.digest(), division=number, pool=size["pool"], tested=size["tested"], seed=seed)
        for sigma in size["licl_sigmas"]:
            settings = {**about, "sigma": sigma, "frames": len(division.pool), "steps": 0}
            records.part("licl reference", settings, lambda s=sigma, d=division: reference_rows(d, s))
            for k in range(size["sets"]):
                settings = {**about, "sigma": sigma, "set": k, "arms": arms(size), "frames": 500, "steps": 0}
                compute = lambda s=sigma, d=division, k=k: licl_rows(d, k, s, arms(size), seed)  # noqa: E731
                records.part("licl", settings, compute)
    division = Division(frames, 0, seed, size["pool"], size["tested"])
    for k in range(size["network_sets"]):
        given = dict(number=k, sigma=0.01, divided=size["network"], steps=size["network_steps"], seed=seed)
        settings = {**given, "data": frames.digest(), "pool": size["pool"], "frames": 500}
        records.part("licl network", settings, lambda given=given: network_rows(division, **given))


# ---- claims


def claims(table):
    """What the paper says of duplication, what was measured, what theory expects, and a verdict, one row each."""
    found, law = [], laws(table)

    def judge(claim, measured, expected, verdict):
        found.append({"claim": claim, "measured": measured, "expected": expected, "verdict": verdict})

    for learner in ("single draws", "antithetic pairs"):
        rows = law[(law["system"] == "spring") & (law["learner"] == learner)]
        closed = threshold(rows["sigma / nm"].to_numpy(), learner != "single draws") * np.ones(len(rows))
        z = ((rows["m*"] - closed) / rows["error"]).abs().max()
        judge(
            f"spring, {learner}: m* at {listed(10 * rows['sigma / nm'], 'g')} A", pairs(rows["m*"], rows["error"]),
            listed(closed, ".3g"), "holds" if z < 3.5 and (rows["p"] > 1e-3).all() else "does not hold",
        )  # fmt: skip
    wells(table, judge)
    licl(table, law, judge)
    return pandas.DataFrame(found)


def wells(table, judge):
    """Claims on the landscape with a well never visited."""
    rows = table[table["system"] == "three wells"]
    infinite = rows[np.isinf(rows["m"])]
    for sigma, level in infinite.groupby("sigma / nm"):
        part = level[(level["quantity"] == "error where frames are") & (level["learner"] == "kernel density")]
        measured = dict(zip(part["n"], part["value"]))
        none = level[(level["quantity"] == "error where frames are") & (level["learner"] == "no force")]["value"].iloc[
            0
        ]
        most, fewest = max(measured), min(measured)
        judge(
            f"three wells, {10 * sigma:g} A: all draws on {most:.0f} and {fewest:.0f} frames, no constraint (kernel "
            "density), are better than no force where frames are",
            f"{measured[most]:.2f}, {measured[fewest]:.2f}", f"no force {none:.2f}",
            verdict([measured[most] < none, measured[fewest] < none]),
        )  # fmt: skip
        judge(
            f"three wells, {10 * sigma:g} A: reach beyond the last of 62 frames, in sigma, of kernel density and spline",
            listed([reach(level, name) for name in ("kernel density", "spline")], ".1f"), "", "measured",
        )  # fmt: skip
    visits = rows[rows["quantity"] == "error in the third well, visited"].set_index(["sigma / nm", "visits", "m"])
    value, error = visits["value"], visits["error"]
    for sigma in value.index.get_level_values(0).unique():
        most = value[sigma].index.get_level_values(0).max()
        shown = [(0, 1), (0, INFINITE), (most, 1), (most, INFINITE)]
        numbers, errors = ([of[(sigma, *at)] for at in shown] for of in (value, error))
        judge(
            f"three wells, {10 * sigma:g} A: draws replace frames in a well that no frame visits: error with 1 and all "
            f"draws, then with {most:.0f} of 62 frames there",
            pairs(numbers, errors), "no force 1.00", "does not hold" if numbers[1] > 1 > numbers[3] else "holds",
        )  # fmt: skip


def reach(level, learner, n=62):
    """Distance (in sigma) beyond the last frame up to which all draws give a better force than none."""
    part = level[(level["quantity"] == "error beyond the last frame") & (level["n"] == n)]
    none, there = (part[part["learner"] == name].set_index("at / sigma")["value"] for name in ("no force", learner))
    excess = np.log(there / none).dropna()
    worse = np.flatnonzero(excess > 0)
    if not len(worse):
        return float(excess.index[-1])
    k = worse[0]
    if k == 0:
        return float(excess.index[0])
    return float(np.interp(0, excess.iloc[k - 1 : k + 1], excess.index[k - 1 : k + 1]))


def licl(table, law, judge):
    """Claims on LiCl."""
    rows = table[(table["system"] == "LiCl") & (table["quantity"] == "squared learning error")]
    theory = table[table["quantity"] == "label variance, theory"].groupby("sigma / nm")["value"].mean()
    most = int(rows["n"].max())
    for learner in ("single draws", "antithetic pairs"):
        part = law[(law["system"] == "LiCl") & (law["learner"] == learner)]
        for one in part.to_dict("records"):
            sigma = one["sigma / nm"]
            expected = f"B of theory / A: {theory[sigma] / one['A']:.2g}" if learner == "single draws" else ""
            judge(
                f"LiCl, {10 * sigma:g} A, {learner}: m*", f"{one['m*']:.2g} +- {one['error']:.1g}, law within "
                f"{100 * one['largest deviation']:.0f} %", expected,
                "holds under conditions" if one["largest deviation"] > 0.25 else "holds",
            )  # fmt: skip
    first = rows[rows["learner"] == "single draws"]
    for sigma, level in first.groupby("sigma / nm"):
        kinds = sorted({(n, m) for n, m in zip(level["n"], level["m"])}, reverse=True)
        ratios = [ratio(level, kind, kinds[0]) for kind in kinds[1:]]
        names = ", ".join(f"{n:.0f} x {m:.0f}" for n, m in kinds[1:])
        judge(
            f"LiCl, {10 * sigma:g} A: learning error of {names} over that of {most} x 1, penalty chosen",
            pairs(*zip(*ratios)), "1", verdict([value - error < ALLOWED for value, error in ratios]),
        )  # fmt: skip


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
