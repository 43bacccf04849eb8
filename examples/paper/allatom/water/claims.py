"""What is said of liquid water, what was measured, and verdicts: those of any molecule, and of what runs look like."""

import pandas
from protocol.verdicts import by_states, mean_error, some, states

from allatom.claims import COLUMNS, LINEAR, NETWORKS, Judge, arms, by_seed, of_molecule

#: Linear energies of more frames, and with what is known of the charges.
MANY, CHARGED = "linear, 500 frames", "linear + charges, 500 frames"
#: Seeds that must have something to look at.
SEEDS = 2
#: Rms difference of a g(r) from that of the data, at most.
CLOSE = 0.1
KINDS = ("O-O", "O-H", "H-H")


def claims(table):
    """Claims and verdicts, one row each.

    Parameters
    ----------
    table : pandas.DataFrame
        As `07_water.csv`.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`.
    """
    judge = Judge()
    of_molecule(table, judge, "water")
    _more(table, judge)
    for name, part in groups_of(table).items():
        _looks(name, part, judge)
    return pandas.DataFrame(judge.rows, columns=COLUMNS)


def groups_of(table):
    """Rows of every learner, noise level and number of draws, by name."""
    linear = table[table["learner"] == LINEAR]
    found = {f"{LINEAR}, {10 * sigma:g} A": part for sigma, part in linear.groupby("sigma / nm")}
    found |= {name: table[table["learner"] == name] for name in (MANY, CHARGED)}
    for learner in NETWORKS:
        own = arms(table[table["learner"] == learner])
        found |= {f"{learner}, {name}": part for name, part in own.items()}
    return found


def _more(table, judge):
    """Linear energies of more frames: forces and lives."""
    errors = table[table["quantity"] == "force error"]
    few = by_seed(errors[(errors["learner"] == LINEAR) & (errors["sigma / nm"] == 0)])
    many, charged = (by_seed(errors[errors["learner"] == name]) for name in (MANY, CHARGED))
    words = "force: more frames make the error of linear energies without noise smaller"
    judge.smaller(words, {MANY: (many, few)})
    judge.smaller("force: known charges make it smaller still", {CHARGED: (charged, many)})
    for name in (MANY, CHARGED):
        lives = table[(table["quantity"] == "life") & (table["learner"] == name)]
        if len(lives):
            judge.all_live(f"runs of {name} live {lives['of'].iloc[0]:g} ps", lives)


def _looks(name, part, judge):
    """Widths of bonds and angles, and g(r), of a learner that has runs to look at in some seeds."""
    for of, which, tolerance in (("bond", "O-H bond", 0.05), ("angle", "H-O-H angle", 0.1)):
        each = by_seed(part[part["quantity"] == f"width of {of}"])
        if len(each) < SEEDS:
            return
        mean, error = mean_error(each)
        told = by_states(states(mean, error, 1.0, tolerance, len(each)))
        words = f"runs of {name}: width of the {which} over that of the noised data"
        judge.add(words, f"{mean:.3f} +- {error:.3f}", f"1, within {tolerance:g}", told)
    off = part[part["quantity"] == "g(r) off"]
    told, found = [], []
    for kind in KINDS:
        each = by_seed(off[off["kind"] == kind])
        mean, error = mean_error(each)
        told.append(int(states(mean, error, 0.0, CLOSE, len(each))[0]))
        found.append(f"{mean:.3f} +- {error:.3f}")
    judge.add(
        f"runs of {name}: g(r) between molecules off that of the data, rms: {', '.join(KINDS)}", ", ".join(found),
        f"below {CLOSE:g}", by_states(told), some([state > 0 for state in told], KINDS),
    )  # fmt: skip
