"""What is said of ethanol, what was measured, and verdicts: those of any molecule, and of what runs look like."""

import numpy as np
import pandas
from protocol.verdicts import FAILS, HOLDS, OPEN, below, by_states, mean_error, states, verdict

from allatom.claims import COLUMNS, LEAST, LINEAR, NETWORKS, Judge, arms, by_seed, of_kinds, of_molecule

#: A population agrees with that of the data within so much of it all.
SHARE = 0.1
#: Crossings between conformers, from which on their populations are measured.
CROSSINGS = 10
#: Seeds that must have something to look at.
SEEDS = 2


def claims(table):
    """Claims and verdicts, one row each.

    Parameters
    ----------
    table : pandas.DataFrame
        As `07_ethanol.csv`.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`.
    """
    rows = []
    for system, part in table.groupby("system", sort=False):
        judge = Judge(f"{system.split(', ')[-1]}: ")
        of_molecule(part, judge, "ethanol")
        _trained(part[part["quantity"] == "steps taken"], judge)
        _beyond(part[part["quantity"] == "beyond the data"], judge)
        _looks(part, judge)
        rows += judge.rows
    return pandas.DataFrame(rows, columns=COLUMNS)


def _trained(rows, judge):
    """Whether the held-out loss stopped to improve before the steps were at an end."""
    for learner in NETWORKS:
        part = rows[rows["learner"] == learner]
        if part.empty:
            continue
        found = {name: (own["value"] < own["of"]) for name, own in arms(part).items()}
        told = [f"{name} {stopped.sum()} of {len(stopped)}" for name, stopped in found.items()]
        good = [stopped.all() for stopped in found.values()]
        where = ", ".join(name for name, yes in zip(found, good) if yes) if 0 < sum(good) < len(good) else ""
        states_of = by_states(np.where(good, 1, -1))
        judge.add(f"{learner}: the held-out loss stops to improve before the last step", ", ".join(told), "all",
                  states_of, where)  # fmt: skip


def groups_of(table):
    """Rows of every learner, noise level and number of draws, by name."""
    linear = table[table["learner"] == LINEAR]
    found = {f"{LINEAR}, {10 * sigma:g} A": part for sigma, part in linear.groupby("sigma / nm")}
    for learner in NETWORKS:
        own = arms(table[table["learner"] == learner])
        found |= {f"{learner}, {name}": part for name, part in own.items()}
    return found


def _beyond(rows, judge):
    """Whether C-O-H angles that the data have not are higher in energy than those that they have."""
    for name, part in groups_of(rows).items():
        each = by_seed(part)
        if len(each) < SEEDS:
            continue
        mean, error = mean_error(each)
        one, other = (told[0] for told in below([(-mean, error)], 0.0, len(each)))
        judge.add(f"{name}: no angle C-O-H beyond the data is lower in energy than those in them",
                  f"{mean:.0f} +- {error:.0f} kJ/mol", "above 0", verdict([one], [other]))  # fmt: skip


def _looks(table, judge):
    """Distributions and conformers, of every learner that has runs to look at in some seeds."""
    data = table[(table["quantity"] == "conformer") & (table["set"] == "data")]
    for name, part in groups_of(table).items():
        widths = {of: part[part["quantity"] == f"width of {of}"] for of in ("bond", "angle")}
        if widths["bond"]["seed"].nunique() < SEEDS:
            continue
        for of, tolerance in (("bond", 0.05), ("angle", 0.1)):
            values = widths[of].groupby("kind")["value"].mean()
            words = f"runs of {name}: widths of {of}s over those of the noised data, mean of seeds"
            of_kinds(judge, words, values, (values - 1).abs() <= tolerance, f"1, within {tolerance:g}")
        overlap = part[part["quantity"] == "overlap of dihedral"].groupby("kind")["value"].mean()
        words = f"runs of {name}: distributions of dihedrals overlap with those of the data"
        of_kinds(judge, words, overlap, overlap >= LEAST, f"{LEAST:g} or more")
        _trans(part, data, name, judge)


def _trans(part, data, name, judge):
    """The population of the trans conformer, by seed."""
    rows = part[(part["quantity"] == "conformer") & (part["kind"] == "trans") & (part["set"] == "model")]
    truth = data[data["kind"] == "trans"].iloc[0]
    each = by_seed(rows)
    error = float(np.hypot(each.std(ddof=1) / np.sqrt(len(each)), truth["error"]))
    state = states(each.mean(), error, truth["value"], SHARE, len(each))[0]
    crossed = part.loc[(part["quantity"] == "crossings") & (part["set"] == "model"), "value"].sum()
    told = OPEN if crossed < CROSSINGS else {1: HOLDS, 0: OPEN, -1: FAILS}[int(state)]
    judge.add(
        f"runs of {name}: trans has the population of the data",
        f"{each.mean():.2f} +- {error:.2f} / {truth['value']:.2f}, {crossed:.0f} crossings", f"equal, within {SHARE:g}",
        told,
    )  # fmt: skip
