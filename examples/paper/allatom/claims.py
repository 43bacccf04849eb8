"""What is said of all-atom simulation, what was measured, and verdicts."""

import numpy as np
import pandas
from protocol.verdicts import FAILS, HOLDS, OPEN, below, by_states, mean_error, some, spare, states, verdict

#: What noise leaves of a bond agrees with the closed form within so much of it; networks are given twice that.
WITHIN = 0.05
#: Overlap of two distributions of a dihedral, at least.
LEAST = 0.9
#: Crossings between the basins, from which on their populations are measured.
CROSSINGS = 10
ALONE, LINEAR, BOTH, LONG = "network alone", "linear alone", "linear + network", "linear, all terms"
WALLED, BARE = "network + wall", "linear, no wall"
LONGER, LONGEST = (f"{ALONE}, {times} times the steps" for times in (4, 16))
WALLED_LONGEST = f"{WALLED}, 16 times the steps"
NETWORKS = (ALONE, LONGER, LONGEST, WALLED, WALLED_LONGEST, BOTH)
LAW = "k_eff = k/(1 + 2 sigma^2 k/kT)"
COLUMNS = ["claim", "measured", "expected", "verdict", "where"]


def named(draws, fresh):
    """Draws of noise in words."""
    return "fresh pairs" if fresh else f"{draws:g} draw{'s' * int(draws > 1)}"


def by_seed(rows, column="value"):
    """Means of a column, by seed."""
    return rows.groupby("seed")[column].mean()


def survival(rows):
    """Share of runs that live to their end, and its binomial error: of (n + 1 of N + 2), which is none too small."""
    alive = (rows["value"] >= rows["of"]).sum()
    p = (alive + 1) / (len(rows) + 2)
    return int(alive), len(rows), float(np.sqrt(p * (1 - p) / (len(rows) + 2)))


def arms(rows):
    """Rows of every number of draws, by its name."""
    chosen = rows.groupby(["fresh", "draws"])
    return {named(draws, fresh): part for (fresh, draws), part in chosen}


class Judge:
    """Collects claims.

    Parameters
    ----------
    about : str
        Before every claim.

    Attributes
    ----------
    rows : list of dict
    """

    def __init__(self, about=""):
        self.rows, self.about = [], about

    def add(self, claim, measured, expected, told, where=""):
        self.rows.append(dict(zip(COLUMNS, (self.about + claim, measured, expected, told, where))))

    def all_live(self, claim, runs):
        """A claim that all runs (their rows) live to their end: it takes three to hold."""
        alive, of, error = survival(runs)
        told = FAILS if alive < of else HOLDS if of > 2 else OPEN
        self.add(claim, f"{alive} of {of} (+- {error:.2f})", "all", told)

    def stiff(self, claim, rows, tolerance=WITHIN):
        """A claim that bonds are as stiff as the closed form says, for every noise level or number of draws."""
        rows = rows.assign(fresh=rows["fresh"].eq(True))
        key = "sigma / nm" if rows["sigma / nm"].nunique() > 1 else "draws"
        found, good, bad, at = [], [], [], []
        for (fresh, value), part in rows.groupby(["fresh", key]):
            each = by_seed(part, "ratio")
            if len(each) < 2:
                continue
            mean, error = mean_error(each)
            state = states(mean, error, 1.0, tolerance, len(each))[0]
            found.append(f"{mean:.3f} +- {error:.3f}")
            at.append(f"{10 * value:g} A" if key == "sigma / nm" else named(value, fresh))
            good.append(state > 0)
            bad.append(state < 0)
        if found:
            expected = f"1, within {tolerance:g}"
            self.add(f"{claim}: {', '.join(at)}", ", ".join(found), expected, verdict(good, bad), some(good, at))

    def smaller(self, claim, pairs):
        """A claim that values of the first are smaller than those of the second, seed by seed: ratios, at some places.

        Parameters
        ----------
        claim : str
        pairs : dict of str to (Series, Series)
        """
        found, good, bad, at = [], [], [], []
        for name, (first, second) in pairs.items():
            ratio = np.log(first / second).replace([np.inf, -np.inf], np.nan).dropna().to_numpy()
            if len(ratio) < 2:
                continue
            mean, error = mean_error(ratio)
            # Equal values, as of runs that die at the same look, are not smaller.
            one, other = (told[0] for told in below([(mean, error)], -1e-9, len(ratio)))
            found.append(f"{np.exp(mean):.2f} +- {np.exp(mean) * error:.2f}")
            at.append(name)
            good.append(one)
            bad.append(other)
        if found:
            self.add(f"{claim}: {', '.join(at)}", ", ".join(found), "below 1", verdict(good, bad), some(good, at))


def claims(table, kT):
    """Claims and verdicts, one row each.

    Parameters
    ----------
    table : pandas.DataFrame
        As `07_all_atom.csv`.
    kT : float, kJ/mol

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`.
    """
    judge = Judge()
    one = table[(table["quantity"] == "stiffness") & (table["system"] == "one bond")]
    judge.stiff(f"{LAW}, one bond alone, spline by exact score matching", one)
    of_molecule(table[table["system"] == "alanine"], judge, "alanine dipeptide")
    _long(table[table["learner"] == LONG], judge)
    return pandas.DataFrame(judge.rows, columns=COLUMNS)


def of_molecule(table, judge, molecule):
    """Add what is claimed of stiffness, forces and lives of one molecule, networks at one noise level.

    Parameters
    ----------
    table : pandas.DataFrame
    judge : Judge
    molecule : str
        What it is called.
    """
    stiff = table[table["quantity"] == "stiffness"]
    judge.stiff(f"{LAW}, every bond of {molecule}, linear energies", stiff[stiff["learner"] == LINEAR])
    moved = table[(table["quantity"] == "stiffness in MD") & (table["learner"] == LINEAR)]
    if len(moved):
        judge.stiff(f"{LAW}, the same in MD", moved)
    for learner in NETWORKS:
        judge.stiff(f"{LAW}, {learner}", stiff[stiff["learner"] == learner], 2 * WITHIN)
    _errors(table[table["quantity"] == "force error"], judge)
    _lives(table[table["quantity"] == "life"], judge)


def _errors(rows, judge):
    """Force errors against the true forces."""
    for learner in NETWORKS:
        found = {name: by_seed(part) for name, part in arms(rows[rows["learner"] == learner]).items()}
        first = found.pop("1 draw", None)
        if first is None:
            continue
        judge.smaller(
            f"force, {learner}: more draws make the error smaller than one",
            {name: (values, first) for name, values in found.items()},
        )  # fmt: skip
    linear = rows[rows["learner"] == LINEAR]
    for sigma in sorted(rows.loc[rows["learner"] == ALONE, "sigma / nm"].unique()):
        ours, alone = (by_seed(part[part["sigma / nm"] == sigma]) for part in (linear, rows[rows["learner"] == ALONE]))
        pairs = {f"{10 * sigma:g} A": (ours, alone)}
        clean = by_seed(linear[linear["sigma / nm"] == 0])
        pairs["no noise"] = (clean, alone)
        words = f"force: linear energies have a smaller error than a network alone at {10 * sigma:g} A"
        judge.smaller(words, pairs)
        both = {name: (by_seed(part), ours) for name, part in arms(rows[rows["learner"] == BOTH]).items()}
        judge.smaller("force: a network on top makes the error of linear energies smaller", both)
        judge.smaller("force: without noise linear energies have a smaller error than with", {
            f"{10 * sigma:g} A": (clean, ours)})  # fmt: skip


def _lives(rows, judge):
    """Survival against the number of draws."""
    for learner in NETWORKS:
        parts = arms(rows[rows["learner"] == learner])
        if not parts:
            continue
        first, more = parts.get("1 draw"), {name: part for name, part in parts.items() if name != "1 draw"}
        # Runs that all reach the end tell nothing of who would live longer.
        if first is not None and more and (first["value"] < first["of"]).any():
            judge.smaller(
                f"runs of {learner} live longer with more draws than with one (life with one over life with more)",
                {name: (by_seed(first), by_seed(part)) for name, part in more.items()},
            )  # fmt: skip
        found, good, bad = [], [], []
        for name, part in parts.items():
            alive, of, error = survival(part)
            found.append(f"{name} {alive} of {of} (+- {error:.2f})")
            slack = spare() * error
            good.append((alive + 1) / (of + 2) - slack > 0.5)
            bad.append((alive + 1) / (of + 2) + slack < 0.5)
        length = rows.loc[rows["learner"] == learner, "of"].iloc[0]
        words = f"most runs of {learner} live {length:g} ps"
        judge.add(words, ", ".join(found), "more than half", verdict(good, bad), some(good, parts))
    for bare, walled in ((ALONE, WALLED), (LONGEST, WALLED_LONGEST)):
        without, along = (arms(rows[rows["learner"] == learner]) for learner in (bare, walled))
        pairs = {name: _clipped(without[name], part) for name, part in along.items() if name in without}
        judge.smaller(f"runs of {bare} live longer with a wall (life without over life with)", pairs)
    linear = rows[rows["learner"].isin([LINEAR, BARE])]
    for (learner, sigma, length), part in linear.groupby(["learner", "sigma / nm", "of"], sort=False):
        which = "linear energies alone" if learner == LINEAR else "linear energies without a wall"
        judge.all_live(f"runs of {which} live {length:g} ps, {10 * sigma:g} A", part)


def _clipped(first, second):
    """Lives of two kinds of runs by seed, ps, up to where both were followed."""
    end = min(first["of"].min(), second["of"].min())
    return tuple(by_seed(part.assign(value=part["value"].clip(upper=end))) for part in (first, second))


def _long(rows, judge):
    """The long runs."""
    lives = rows[rows["quantity"] == "life"]
    if lives.empty:
        return
    alive, of, _ = survival(lives)
    total = lives["value"].sum() / 1000
    told = HOLDS if alive == of and total >= 10 else FAILS if alive < of else OPEN
    claim = "linear energies without noise, all terms: stable for 10 ns in total"
    judge.add(claim, f"{total:.1f} ns, {alive} of {of} runs", "10 ns, all runs", told)
    basin = rows[rows["quantity"] == "basin"].set_index(["kind", "set"])
    found, good = [], []
    for name in ("beta and PPII", "alpha-R"):
        model, data = (basin.loc[(name, of)] for of in ("model", "data"))
        off, error = model["value"] - data["value"], np.hypot(model["error"], data["error"])
        good.append(abs(off) <= 2 * error)
        found.append(" / ".join([f"{name} {model['value']:.2f} +- {model['error']:.2f}",
                                 f"{data['value']:.2f} +- {data['error']:.2f}"]))  # fmt: skip
    crossed = rows[rows["quantity"] == "crossings"].set_index("set")["value"]
    found.append(f"{crossed['model']:.0f} / {crossed['data']:.0f} crossings")
    claim = "... both main basins have the populations of the data, within two errors, model / data"
    # Populations of runs that stay where they were begun are those of their starts.
    told = verdict(good) if crossed["model"] >= CROSSINGS else OPEN
    judge.add(claim, ", ".join(found), "equal", told)
    for quantity, tolerance in (("bond", 0.05), ("angle", 0.1)):
        widths = rows.loc[rows["quantity"] == f"width of {quantity}", "value"]
        claim = f"... widths of {quantity}s over those of the data"
        of_kinds(judge, claim, widths, (widths - 1).abs() <= tolerance, f"1, within {tolerance:g}")
    overlap = rows.loc[rows["quantity"] == "overlap of dihedral", "value"]
    claim = "... distributions of dihedrals overlap with those of the data"
    of_kinds(judge, claim, overlap, overlap >= LEAST, f"{LEAST:g} or more")


def of_kinds(judge, claim, values, inside, expected):
    """A claim of every kind of coordinate, judged by the size of the deviation alone."""
    measured = f"{values.min():.3f} to {values.max():.3f}, {len(values)} kinds"
    where = "" if inside.all() or not inside.any() else f"{inside.sum()} of {len(values)} kinds"
    judge.add(claim, measured, expected, by_states(np.where(inside, 1, -1)), where)
