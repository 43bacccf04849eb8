"""What is said of forces away from their data, what was measured, and verdicts."""

import itertools

import numpy as np
import pandas
from protocol.judge import ALLOWED, Judge, of
from protocol.verdicts import mean_error

from transfer.measure import ALL, LINE, OTHER, OWN, SCALED

RDF, FORCE = "g(r) error", "off own"


def claims(table):
    """Claims and verdicts, one row each: ratios of errors, geometric means over divisions with standard errors.

    Parameters
    ----------
    table : pandas.DataFrame
        As `08_transfer.csv`.

    Returns
    -------
    pandas.DataFrame
        Columns claim, ratio, verdict, where.
    """
    judge = Judge()
    for liquid in table["liquid"].unique():
        rows = table[table["liquid"] == liquid]
        _structure(of(rows, part="md"), liquid, judge)
        _forces(of(rows, part="force"), liquid, judge)
    return judge.table()


def _structure(rows, liquid, judge):
    """g(r) in MD under forces of other states, beside that under the state's own."""

    def own(target):
        return of(rows, kind=OWN, target=target)

    for distance, there in moves(of(rows, kind=OTHER)).items():
        judge.compare(
            f"{liquid}, {distance} away: the g(r) under another state's force is as good as under the own", there, RDF,
            lambda pair: of(rows, kind=OTHER, source=pair[0], target=pair[1]), lambda pair: own(pair[1]), better=False,
        )  # fmt: skip
    scaled = {f"{a} at {b}": (a, b) for a, b in pairs(of(rows, kind=SCALED))}
    judge.compare(
        f"{liquid}: the force times the ratio of temperatures has a better g(r) than as it is", scaled, RDF,
        lambda pair: of(rows, kind=SCALED, source=pair[0], target=pair[1]),
        lambda pair: of(rows, kind=OTHER, source=pair[0], target=pair[1]),
    )  # fmt: skip
    for kind, words in ((LINE, "a line in temperature through two other states"), (ALL, "one fit to all states")):
        there = {target: target for target in of(rows, kind=kind)["target"].unique()}
        judge.compare(
            f"{liquid}: the g(r) under {words} is as good as under the own force", there, RDF,
            lambda target, kind=kind: of(rows, kind=kind, target=target), own, better=False,
        )  # fmt: skip


def _forces(rows, liquid, judge):
    """Forces of other states off the own."""
    scaled = {f"{a} at {b}": (a, b) for a, b in pairs(of(rows, kind=SCALED))}
    judge.compare(
        f"{liquid}: the force times the ratio of temperatures is nearer the own force than as it is", scaled, FORCE,
        lambda pair: of(rows, kind=SCALED, source=pair[0], target=pair[1]),
        lambda pair: of(rows, kind=OTHER, source=pair[0], target=pair[1]),
    )  # fmt: skip
    there = {target: target for target in of(rows, kind=LINE)["target"].unique()}
    judge.compare(
        f"{liquid}: a line in temperature through two other states is nearer the own force than the nearer of them",
        there, FORCE, lambda target: of(rows, kind=LINE, target=target), lambda target: _nearest(rows, target),
    )  # fmt: skip


def _nearest(rows, target):
    """Rows of the other state whose own temperature is nearest."""
    others = of(rows, kind=OTHER, target=target)
    away = others["source"].map(value_of) - value_of(target)
    return others[away.abs() == away.abs().min()].drop_duplicates("seed")


def pairs(rows):
    """Sources and targets that rows have, in their order."""
    return list(dict.fromkeys(zip(rows["source"], rows["target"])))


def value_of(state):
    """Temperature in K or concentration in mol/L."""
    return float(state.split()[0])


def moves(rows):
    """Pairs of states by how far they are apart: a dict of dicts of pairs by their names."""
    found = {}
    for a, b in sorted(pairs(rows), key=lambda pair: abs(value_of(pair[0]) - value_of(pair[1]))):
        unit = a.split()[1]
        far = f"{abs(value_of(a) - value_of(b)):g} {unit}"
        found.setdefault(far, {})[f"{a} at {b}"] = a, b
    return found


def reach(table):
    """How far from its data a force serves: a row for each liquid and seed, and their mean.

    The g(r) under another force is off that under the own by t = s |distance|, least squares through the origin over
    all pairs of states; beside an own error o, independent of it, the whole error sqrt(o^2 + t^2) is `ALLOWED` times o
    where t = o sqrt(ALLOWED^2 - 1).
    """
    rows = []
    for liquid, seed in itertools.product(table["liquid"].unique(), table["seed"].unique()):
        md = of(table, part="md", liquid=liquid, seed=seed)
        others = of(md, kind=OTHER).dropna(subset=["off own"])
        if others.empty:
            continue
        far = (others["source"].map(value_of) - others["target"].map(value_of)).abs()
        slope = float((far * others["off own"]).sum() / (far**2).sum())
        own = float(np.sqrt((of(md, kind=OWN)[RDF] ** 2).mean()))
        rows.append({"liquid": liquid, "seed": seed, "slope": slope, "own": own,
                     "reach": own * np.sqrt(ALLOWED**2 - 1) / slope})  # fmt: skip
    return pandas.DataFrame(rows)


def summary(table):
    """Every force in every state: means over divisions with standard errors, as text."""
    rows = []
    for key, group in table.groupby(["liquid", "target", "kind", "source"], sort=False):
        cells = dict(zip(["liquid", "state", "force", "of"], key))
        force, md = of(group, part="force"), of(group, part="md")
        cells["off own / force"] = _percent(force[FORCE] / force["force"])
        cells["chance of the fit"] = _percent(force["noise"] / force["force"])
        cells["g(r) error"] = _value(md[RDF])
        cells["of it by the other force"] = _value(md["off own"])
        cells["halves of the data"] = _value(md["halves"])
        cells["survival"] = f"{md['survival'].mean():.2f}"
        rows.append(cells)
    return pandas.DataFrame(rows)


def _percent(values):
    return "{:.1f} +- {:.1f} %".format(*(100 * value for value in mean_error(values)))


def _value(values):
    return "{:.3f} +- {:.3f}".format(*mean_error(values))
