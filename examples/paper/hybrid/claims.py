"""What is said of labels and draws, what was measured, and verdicts."""

import numpy as np
import pandas
from protocol.verdicts import below, listed, mean_error, verdict, where

from hybrid.blends import LABELS, MEASURED, PACKAGE, POSITIONS, TEXTBOOK
from hybrid.network import LEARNER as NETWORK

FORCE, RDF, SURVIVAL = "force error / kJ/mol/nm", "g(r) error", "survival"
INFINITE = float("inf")
#: "As good" allows so much more, as in part 3.
ALLOWED = 1.1
KEYS = ["part", "learner", "sigma / nm", "draws", "n", "fraction", "labels", "strategy"]


def of(table, **values):
    """Rows of some values: `sigma`, `column` names with underscores for spaces otherwise."""
    found = table
    for column, value in values.items():
        found = found[found["sigma / nm" if column == "sigma" else column] == value]
    return found


def ratios(first, second, quantity):
    """log(first / second), seed by seed: the same seed has the same frames, labels and noise."""
    a, b = (rows.set_index("seed")[quantity].dropna() for rows in (first, second))
    return np.log(a / b).replace([np.inf, -np.inf], np.nan).dropna().to_numpy()


class Judge:
    """Collects claims, each with a ratio at several places.

    Attributes
    ----------
    rows : list of dict
    """

    def __init__(self):
        self.rows = []

    def compare(self, claim, places, unit, quantity, first, second, better):
        """A claim that `first(place)` is better than `second(place)`, or as good; rows of both, place by place.

        What has no pair of seeds somewhere is left out there.
        """
        at, found, samples = [], [], []
        for place in places:
            values = ratios(first(place), second(place), quantity)
            if len(values) > 1:
                at.append(place)
                found.append(mean_error(values))
                samples.append(len(values))
        if not at:
            return
        bound = 0.0 if better else np.log(ALLOWED)
        told = [below([one], bound, n) for one, n in zip(found, samples)]
        good, bad = (np.array([one[k][0] for one in told]) for k in (0, 1))
        measured = ", ".join(f"{np.exp(mean):.2f} +- {np.exp(mean) * error:.2f}" for mean, error in found)
        self.rows.append(
            {"claim": f"{claim}: {listed(at) if unit else ', '.join(map(str, at))}{' ' + unit if unit else ''}",
             "ratio": measured, "verdict": verdict(good, bad), "where": where(good, ~(good | bad), at, unit)
             if unit else _named(good, ~(good | bad), at)}
        )  # fmt: skip


def _named(good, undecided, at):
    """As `protocol.verdicts.where`, of places that are no numbers."""
    told = []
    for which, words in ((good, ""), (undecided, "not decided: ")):
        chosen = [str(place) for place, yes in zip(at, which) if yes]
        if 0 < len(chosen) < len(at):
            told.append(words + ", ".join(chosen))
    return "; ".join(told)


def claims(table):
    """Claims and verdicts, one row each: ratios of errors, geometric means over seeds with standard errors.

    Parameters
    ----------
    table : pandas.DataFrame
        As `06_hybrid.csv`.

    Returns
    -------
    pandas.DataFrame
        Columns claim, ratio, verdict, where.
    """
    judge = Judge()
    linear = table[table["part"].str.startswith("linear")]
    exact = of(linear, sigma=0.0)
    _labels(exact, judge)
    for sigma in sorted(s for s in linear["sigma / nm"].unique() if s > 0):
        _draws(of(linear, sigma=sigma), exact, sigma, judge)
    _weights(linear, exact, judge)
    _dynamics(table[table["part"].str.startswith("md")], judge)
    _networks(of(table, learner=NETWORK), table[table["part"].str.startswith("md")], judge)
    return pandas.DataFrame(judge.rows, columns=["claim", "ratio", "verdict", "where"])


def _kinds(rows):
    return [kind for kind in ("instantaneous", "averaged") if (rows["labels"] == kind).any()]


def _labels(rows, judge):
    """Labels beside positions, by the exact solve without noise."""
    bare, sizes = of(rows, strategy=POSITIONS), sorted(rows["n"].unique())
    both = of(rows, strategy=PACKAGE)
    least = min(rows.loc[rows["fraction"] > 0, "fraction"], default=1.0)
    for kind in _kinds(rows):
        for fraction in sorted({least, 1.0}):
            some = of(both, labels=kind, fraction=fraction)
            judge.compare(
                f"{kind} labels of {fraction:.0%} of the frames make the force better, no noise",
                sizes, "frames", FORCE, lambda n, some=some: of(some, n=n), lambda n: of(bare, n=n), True,
            )  # fmt: skip
        doubled = [n for n in sizes if 2 * n in sizes]
        judge.compare(
            f"{kind} labels of all frames are as good as twice the frames, no noise", doubled, "frames", FORCE,
            lambda n, kind=kind: of(both, labels=kind, fraction=1.0, n=n), lambda n: of(bare, n=2 * n), False,
        )  # fmt: skip
        judge.compare(
            f"positions beside {kind} labels of all frames make the force better than labels alone, no noise",
            sizes, "frames", FORCE, lambda n, kind=kind: of(both, labels=kind, fraction=1.0, n=n),
            lambda n, kind=kind: of(rows, strategy=LABELS, labels=kind, fraction=1.0, n=n), True,
        )  # fmt: skip


def _draws(rows, exact, sigma, judge):
    """Draws of noise beside labels, at one noise level."""
    at, n = f"{10 * sigma:g} A", _middle(rows)
    rows, exact = of(rows, n=n), of(exact, n=n)
    most = max(m for m in rows["draws"].unique() if m != INFINITE)
    for kind in _kinds(rows):
        chosen = pandas.concat([of(rows, strategy=POSITIONS), of(rows, strategy=PACKAGE, labels=kind)])
        fractions = sorted(chosen["fraction"].unique())
        judge.compare(
            f"{at}, {n:g} frames, {kind} labels: {most:g} draws are better than one, at labelled parts",
            fractions, "of the frames", FORCE, lambda f, c=chosen: of(c, fraction=f, draws=most),
            lambda f, c=chosen: of(c, fraction=f, draws=1), True,
        )  # fmt: skip
        judge.compare(
            f"{at}, {n:g} frames: one draw with {kind} labels of all frames is better than draws without labels, of "
            "number", sorted(chosen["draws"].unique()), "draws", FORCE,
            lambda m, c=chosen: of(c, fraction=1.0, draws=1), lambda m, c=chosen: of(c, fraction=0.0, draws=m), True,
        )  # fmt: skip
        if INFINITE in chosen["draws"].unique():
            judge.compare(
                f"{at}, {n:g} frames, {kind} labels: all draws are better than {most:g}, at labelled parts",
                fractions, "of the frames", FORCE, lambda f, c=chosen: of(c, fraction=f, draws=INFINITE),
                lambda f, c=chosen: of(c, fraction=f, draws=most), True,
            )  # fmt: skip
        clean = pandas.concat([of(exact, strategy=POSITIONS), of(exact, strategy=PACKAGE, labels=kind)])
        judge.compare(
            f"{n:g} frames, {kind} labels: the exact solve without noise is better than {most:g} draws at {at}, at "
            "labelled parts", fractions, "of the frames", FORCE, lambda f, c=clean: of(c, fraction=f),
            lambda f, c=chosen: of(c, fraction=f, draws=most), True,
        )  # fmt: skip


def _weights(linear, exact, judge):
    """Ways to weigh labels: by the variance of targets, or of pulls, independent or not."""
    n = _middle(linear)
    for kind in _kinds(linear):
        for sigma in sorted(linear["sigma / nm"].unique()):
            rows = of(linear, sigma=sigma, n=n, labels=kind)
            fractions = sorted(rows["fraction"].unique())
            for m in [m for m in sorted(rows["draws"].unique()) if m in (1, 4) or sigma == 0]:
                part = of(rows, draws=m)
                how = "no noise" if sigma == 0 else f"{10 * sigma:g} A, {m:g} draw{'s' * int(m > 1)}"
                for name, claim, better in (
                    (TEXTBOOK, "variances of pulls weigh better than those of targets", True),
                    (MEASURED, "pulls taken as independent weigh as well as with their covariance", False),
                ):
                    judge.compare(
                        f"{n:g} frames, {kind} labels, {how}: {claim}, at labelled parts", fractions, "of the frames",
                        FORCE, lambda f, p=part: of(p, fraction=f, strategy=PACKAGE),
                        lambda f, p=part, name=name: of(p, fraction=f, strategy=name), better,
                    )  # fmt: skip


def _dynamics(rows, judge):
    """g(r) in MD of the linear energies."""
    sets = {"no noise": of(rows, sigma=0.0)}
    for sigma in sorted(s for s in rows["sigma / nm"].unique() if s > 0):
        sets |= {f"{m:g} draw{'s' * int(m > 1)} at {10 * sigma:g} A": of(rows, sigma=sigma, draws=m)
                 for m in sorted(of(rows, sigma=sigma)["draws"].unique())}  # fmt: skip
    for kind in _kinds(rows):
        judge.compare(
            f"{kind} labels of all frames make g(r) better", [name for name in sets], "", RDF,
            lambda name, kind=kind: of(sets[name], labels=kind, fraction=1.0),
            lambda name: of(sets[name], fraction=0.0), True,
        )  # fmt: skip
    clean = sets.pop("no noise")
    judge.compare(
        "no noise makes g(r) better, all frames labelled (instantaneous)", list(sets), "", RDF,
        lambda name: of(clean, labels="instantaneous", fraction=1.0), lambda name: of(sets[name], fraction=1.0), True,
    )  # fmt: skip


def _networks(rows, md, judge):
    """Networks: labels, draws, and the linear energies of the same frames."""
    draws = sorted(rows["draws"].unique())
    names = {m: "fresh draws" if m == INFINITE else f"{m:g} draw{'s' * int(m > 1)}" for m in draws}
    by_name = {names[m]: of(rows, draws=m) for m in draws}
    for quantity, what in ((FORCE, "force"), (RDF, "g(r)")):
        judge.compare(
            f"networks: labels of all frames make the {what} better", list(by_name), "", quantity,
            lambda name: of(by_name[name], fraction=1.0), lambda name: of(by_name[name], fraction=0.0), True,
        )  # fmt: skip
        for more, fewer in zip(draws[1:], draws):
            judge.compare(
                f"networks: {names[more]} make the {what} better than {names[fewer]}, at labelled parts",
                sorted(rows["fraction"].unique()), "of the frames", quantity,
                lambda f, more=more: of(rows, draws=more, fraction=f),
                lambda f, fewer=fewer: of(rows, draws=fewer, fraction=f), True,
            )  # fmt: skip
        judge.compare(
            f"linear energies of the same frames have a better {what} (no noise) than networks of fresh draws, at "
            "labelled parts", sorted(rows["fraction"].unique()), "of the frames", quantity,
            lambda f: of(md, sigma=0.0, fraction=f)[lambda t: t["labels"] != "averaged"],
            lambda f: of(rows, draws=INFINITE, fraction=f), True,
        )  # fmt: skip


def _middle(rows):
    """The middle one of the numbers of frames."""
    sizes = sorted(rows["n"].unique())
    return sizes[len(sizes) // 2]


def summary(table):
    """Every arm: means over seeds with standard errors, as text."""
    rows = []
    for key, group in table.groupby(KEYS, sort=False):
        cells = dict(zip(KEYS, key)) | {"seeds": len(group)}
        for column, factor in ((FORCE, 0.1), (RDF, 1), (SURVIVAL, 1), ("contact", 1)):
            if column in group and group[column].notna().any():
                mean, error = mean_error(factor * group[column])
                cells[column.replace("kJ/mol/nm", "kJ/mol/A")] = f"{mean:.3f} +- {error:.3f}"
        rows.append(cells)
    return pandas.DataFrame(rows).fillna("")


__all__ = ["MEASURED", "TEXTBOOK", "claims", "summary"]
