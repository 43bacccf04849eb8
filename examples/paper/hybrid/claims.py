"""What is said of labels and draws, what was measured, and verdicts."""

import pandas
from protocol.judge import Judge, of
from protocol.verdicts import mean_error

from hybrid.blends import LABELS, MEASURED, PACKAGE, POSITIONS, TEXTBOOK
from hybrid.network import LEARNER as NETWORK

FORCE, RDF, SURVIVAL = "force error / kJ/mol/nm", "g(r) error", "survival"
INFINITE = float("inf")
KEYS = ["part", "learner", "sigma / nm", "draws", "n", "fraction", "labels", "strategy"]


def named(m):
    """Draws of noise in words."""
    return "all draws" if m == INFINITE else f"{m:g} draw{'s' * int(m > 1)}"


def percent(fractions):
    """Fractions of the frames that are labelled, by their names."""
    return {f"{100 * f:g} %": f for f in sorted(fractions)}


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
    linear, md = (table[table["part"].str.startswith(part)] for part in ("linear", "md"))
    exact = of(linear, sigma=0.0)
    for kind in [kind for kind in ("instantaneous", "averaged") if (linear["labels"] == kind).any()]:
        _labels(exact, kind, judge)
        for sigma in sorted(s for s in linear["sigma / nm"].unique() if s > 0):
            _draws(of(linear, sigma=sigma), exact, sigma, kind, judge)
        _weights(linear, kind, judge)
        _best(linear, kind, judge)
    _dynamics(md, judge)
    _networks(of(table, learner=NETWORK), of(md, sigma=0.0), judge)
    return judge.table()


def _labels(rows, kind, judge):
    """Labels beside positions, by the exact solve without noise, for several numbers of frames."""
    sizes = {f"{n:g} frames": n for n in sorted(rows["n"].unique())}
    both = of(rows, strategy=PACKAGE, labels=kind)
    for name, fraction in percent({both["fraction"].min(), 1.0}).items():
        judge.compare(
            f"no noise: {kind} labels of {name} of the frames beside positions are better than positions alone",
            sizes, FORCE, lambda n, f=fraction: of(both, n=n, fraction=f), lambda n: of(rows, n=n, strategy=POSITIONS),
        )  # fmt: skip
    doubled = {name: n for name, n in sizes.items() if 2 * n in sizes.values()}
    judge.compare(
        f"no noise: {kind} labels of all frames are as good as twice the frames", doubled, FORCE,
        lambda n: of(both, n=n, fraction=1.0), lambda n: of(rows, n=2 * n, strategy=POSITIONS), better=False,
    )  # fmt: skip
    judge.compare(
        f"no noise: {kind} labels of all frames beside positions are better than labels alone", sizes, FORCE,
        lambda n: of(both, n=n, fraction=1.0), lambda n: of(rows, n=n, fraction=1.0, labels=kind, strategy=LABELS),
    )  # fmt: skip
    judge.compare(
        f"no noise: {kind} labels of all frames alone are as good as beside positions", sizes, FORCE,
        lambda n: of(rows, n=n, fraction=1.0, labels=kind, strategy=LABELS), lambda n: of(both, n=n, fraction=1.0),
        better=False,
    )  # fmt: skip


def _draws(rows, exact, sigma, kind, judge):
    """Draws of noise beside labels, at one noise level."""
    n = _middle(rows)

    def both(table):
        here = of(table, n=n)
        return pandas.concat([of(here, strategy=POSITIONS), of(here, strategy=PACKAGE, labels=kind)])

    rows, exact, at = both(rows), both(exact), f"{10 * sigma:g} A, {kind} labels"
    parts, draws = percent(rows["fraction"].unique()), sorted(rows["draws"].unique())
    most = max(m for m in draws if m != INFINITE)
    judge.compare(
        f"{at}: {named(most)} are better than one", parts, FORCE,
        lambda f: of(rows, fraction=f, draws=most), lambda f: of(rows, fraction=f, draws=1),
    )  # fmt: skip
    if INFINITE in draws:
        judge.compare(
            f"{at}: all draws, in closed form, are better than {most:g}", parts, FORCE,
            lambda f: of(rows, fraction=f, draws=INFINITE), lambda f: of(rows, fraction=f, draws=most),
        )  # fmt: skip
    judge.compare(
        f"{at}: one draw with labels of all frames is better than draws without", {named(m): m for m in draws}, FORCE,
        lambda m: of(rows, fraction=1.0, draws=1), lambda m: of(rows, fraction=0.0, draws=m),
    )  # fmt: skip
    judge.compare(
        f"{at}: the exact solve without noise is better than {named(most)} at {10 * sigma:g} A", parts, FORCE,
        lambda f: of(exact, fraction=f), lambda f: of(rows, fraction=f, draws=most),
    )  # fmt: skip


def _weights(linear, kind, judge):
    """Ways to weigh labels: by the variances of targets or of pulls, these independent or not."""
    n, levels = _middle(linear), {}
    for sigma in sorted(linear["sigma / nm"].unique()):
        rows = of(linear, sigma=sigma, n=n, labels=kind)
        for m in sorted(rows["draws"].unique()):
            levels["no noise" if sigma == 0 else f"{10 * sigma:g} A, {named(m)}"] = of(rows, draws=m)
    for how, part in levels.items():
        if how == "no noise" or part["draws"].iloc[0] in (1, 4):
            judge.compare(
                f"{how}, {kind} labels: weights by pulls are better than the control variate's by targets",
                percent(part["fraction"].unique()), FORCE, lambda f, part=part: of(part, fraction=f, strategy=PACKAGE),
                lambda f, part=part: of(part, fraction=f, strategy=TEXTBOOK),
            )  # fmt: skip
    judge.compare(
        f"{kind} labels of half of the frames: weights by pulls taken as independent are as good as with their "
        "covariance", levels, FORCE, lambda part: of(part, fraction=0.5, strategy=PACKAGE),
        lambda part: of(part, fraction=0.5, strategy=MEASURED), better=False,
    )  # fmt: skip


def _best(linear, kind, judge):
    """The exact solve without noise, its labels weighed by pulls, beside the best of all other ways."""
    n = _middle(linear)
    rows = linear[(linear["n"] == n) & (linear["strategy"] != MEASURED)]
    ours = (rows["sigma / nm"] == 0) & (rows["strategy"] == PACKAGE)

    def best(f):
        others = of(rows[~ours], labels=kind, fraction=f).groupby(["sigma / nm", "draws", "strategy"])
        return min((group for _, group in others), key=lambda group: group[FORCE].mean(), default=rows[:0])

    judge.compare(
        f"{kind} labels: the exact solve without noise, labels weighed by pulls, is as good as the best other way",
        percent(of(rows, labels=kind)["fraction"].unique()), FORCE,
        lambda f: of(rows[ours], labels=kind, fraction=f), best, better=False,
    )  # fmt: skip


def _dynamics(rows, judge):
    """g(r) in MD of the linear energies."""
    sizes = {f"{n:g} frames": n for n in rows["n"].unique()}
    for kind in ("instantaneous", "averaged"):
        judge.compare(
            f"MD, no noise: {kind} labels of all frames make g(r) better", sizes, RDF,
            lambda n, kind=kind: of(rows, n=n, labels=kind, fraction=1.0), lambda n: of(rows, n=n, fraction=0.0),
        )  # fmt: skip


def _networks(rows, clean, judge):
    """Networks: labels, draws, and the linear energies of the same frames without noise."""
    if rows.empty:
        return
    draws, parts = sorted(rows["draws"].unique()), percent(rows["fraction"].unique())
    by_draws = {named(m): m for m in draws}
    judge.compare(
        "networks: labels of all frames make the force better", by_draws, FORCE,
        lambda m: of(rows, draws=m, fraction=1.0), lambda m: of(rows, draws=m, fraction=0.0),
    )  # fmt: skip
    if len(draws) > 1:
        fewest, most = draws[0], draws[-1]
        judge.compare(
            f"networks: {named(most)} make the force better than {fewest:g}", parts, FORCE,
            lambda f: of(rows, draws=most, fraction=f), lambda f: of(rows, draws=fewest, fraction=f),
        )  # fmt: skip
        judge.compare(
            f"networks: one draw with labels of all frames is as good as {named(most)} without", {"500 frames": None},
            FORCE, lambda _: of(rows, draws=fewest, fraction=1.0), lambda _: of(rows, draws=most, fraction=0.0),
            better=False,
        )  # fmt: skip
    judge.compare(
        f"linear energies without noise have a better force than networks of {named(draws[-1])}", parts, FORCE,
        lambda f: of(clean[clean["labels"] != "averaged"], fraction=f), lambda f: of(rows, draws=draws[-1], fraction=f),
    )  # fmt: skip
    # A shorter life is the larger error.
    judge.compare(
        "networks: runs live longer with labels of all frames (life without over life with)", by_draws, SURVIVAL,
        lambda m: of(rows, draws=m, fraction=0.0), lambda m: of(rows, draws=m, fraction=1.0),
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
