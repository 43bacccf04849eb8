"""What was measured, kept part by part in a CSV file, and the table and picture made of it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure
from scores import COLUMNS, FLOOR

from openmm_diffusion.rundirectory import write_table, write_whole

KEYS = ["system", "learner", "split", "part"]


def digest(settings):
    """Twelve hexadecimal characters that tell settings, as JSON can hold them, apart."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def read(path):
    """Rows of a file; what is a number is said, for digests and names may look like one."""
    table = pandas.read_csv(path, dtype=str, keep_default_na=False)
    numbers = {name: table[name].replace("", "nan").astype(float) for name in ("value", "error")}
    return table.assign(split=table["split"].astype(int), **numbers)


class Records:
    """Rows of a CSV file; a part (system, learner, split, part) that is there with the same settings is not made again.

    Results of other settings leave the file when the first of the new ones comes.  Changed code is not noticed.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path):
        self.path = Path(path)
        self.table = pandas.DataFrame(columns=[*KEYS, *COLUMNS, "settings"])
        if self.path.exists():
            self.table = read(self.path)

    def part(self, key, settings, compute):
        """Rows of a part, from the file or made now by `compute`, which takes nothing and returns a list of rows.

        Returns
        -------
        DataFrame
        """
        found = self._of(key)
        if not (len(found) and (found["settings"] == settings).all()):
            new = pandas.DataFrame([(*key, *row, settings) for row in compute()], columns=self.table.columns)
            same = (self.table[["system", "learner", "part"]] == [key[0], key[1], key[3]]).all(axis=1)
            left = self.table[~(same & (self.table["settings"] != settings))]
            self.table = pandas.concat([left, new], ignore_index=True) if len(left) else new
            write_table(self.path, self.table, float_format="%.6g")
            found = self._of(key)
        return found

    def _of(self, key):
        return self.table[(self.table[KEYS] == list(key)).all(axis=1)]


def values(table, quantity, of):
    """Values of a quantity by split, an array; empty where there are none."""
    return table[(table["quantity"] == quantity) & (table["of"] == of)].sort_values("split")["value"].to_numpy(float)


def summary(table):
    """A row for each system and learner: median and worst over splits.

    Returns
    -------
    DataFrame
    """
    rows = []
    place = {name: number for number, name in enumerate(dict.fromkeys(table["system"]))}
    together = table.sort_values("system", key=lambda names: names.map(place), kind="stable")
    for (system, learner), part in together.groupby(["system", "learner"], sort=False):
        row = {"system": system, "learner": learner}
        error, labels = values(part, "force RMSE", "all"), values(part, "force rms, labels", "all")
        row["splits"] = part.loc[part["part"] == "fit", "split"].nunique()
        row |= median_and_worst("force error / (kJ/mol/nm)", error)
        row["rms of labels / (kJ/mol/nm)"] = median(labels)
        row["CPU time of a fit / s"] = median(values(part, "CPU time of the fit", ""))
        lives = part[part["quantity"] == "life"]
        shares = values(part, "share of runs that live", "")
        row["splits with MD"] = lives["split"].nunique()
        row["runs of MD"] = len(lives)
        row["share of runs that live"] = shares.mean() if len(shares) else np.nan
        row |= median_and_worst("structure", values(part, "structure", "worst"))
        row["structure, training frames"] = median(values(part, FLOOR, "worst"))
        rows.append(row)
    return pandas.DataFrame(rows)


def median(found):
    """The median, NaN of nothing."""
    return float(np.median(found)) if len(found) else float("nan")


def median_and_worst(name, found):
    """Two entries of a row; NaN where nothing was measured."""
    return {
        f"{name}, median": median(found),
        f"{name}, worst": np.max(found) if len(found) else np.nan,
    }


def shown(value):
    """A number in three digits, empty where nothing was measured; an infinite structure is that of no run at all."""
    if np.isinf(value):
        return "no run lives"
    return "" if np.isnan(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def markdown(rows):
    """The summary as a table of Markdown."""
    head = ["system", "learner", "splits", "force error, median / worst (kJ/mol/nm)", "rms of labels",
            "CPU time of a fit (s)", "runs of MD that live", "splits with MD", "structure, median / worst",
            "training frames"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows.to_dict("records"):
        pairs = [f"{shown(row[f'{name}, median'])} / {shown(row[f'{name}, worst'])}".strip(" /")
                 for name in ("force error / (kJ/mol/nm)", "structure")]  # fmt: skip
        live = round(row["share of runs that live"] * row["runs of MD"]) if row["runs of MD"] else None
        cells = [row["system"], row["learner"], str(row["splits"]), pairs[0], shown(row["rms of labels / (kJ/mol/nm)"]),
                 shown(row["CPU time of a fit / s"]), "" if live is None else f"{live} of {row['runs of MD']}",
                 str(row["splits with MD"]), pairs[1], shown(row["structure, training frames"])]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(table, path):
    """Force error and structure of every split, system by system; bars are medians, the dotted line no model beats."""
    systems = list(dict.fromkeys(table["system"]))
    figure = Figure(figsize=(10, 0.6 + 0.42 * table.groupby("system")["learner"].nunique().sum() + 0.9 * len(systems)),
                    layout="constrained")  # fmt: skip
    heights = [table.loc[table["system"] == name, "learner"].nunique() + 1.5 for name in systems]
    axes = figure.subplots(len(systems), 2, squeeze=False, height_ratios=heights)
    for (left, right), name in zip(axes, systems):
        part = table[table["system"] == name]
        learners = list(dict.fromkeys(part["learner"]))
        for place, learner in enumerate(learners):
            own = part[part["learner"] == learner]
            for axis, quantity, of in ((left, "force RMSE", "all"), (right, "structure", "worst")):
                found = values(own, quantity, of)
                found = found[np.isfinite(found)]
                axis.plot(found, np.full(len(found), place), "o", ms=4, alpha=0.6, color=f"C{place}")
                if len(found):
                    axis.plot([np.median(found)] * 2, [place - 0.3, place + 0.3], "-", color=f"C{place}")
        unit = part.loc[(part["quantity"] == "structure") & (part["of"] == "worst"), "unit"]
        floor = values(part, FLOOR, "worst")
        if len(floor):
            right.axvline(np.median(floor), color="0.6", ls=":")
        divergence = len(unit) and unit.iloc[-1] == "bit"
        left.set(yticks=range(len(learners)), yticklabels=learners, xlabel="force error / (kJ/mol/nm)", title=name)
        right.set(yticks=[], title=name,
                  xlabel="worst divergence / bit" if divergence else "worst RMSD of g(r)")  # fmt: skip
        for axis in (left, right):
            if not len(axis.dataLim.intervalx) or not np.isfinite(axis.dataLim.intervalx).all():
                axis.text(0.5, 0.5, "not measured", ha="center", color="0.5", transform=axis.transAxes)
                axis.set_xticks([])
                continue
            axis.set(ylim=(len(learners) - 0.5, -0.5), xlim=(0, 1.05 * axis.dataLim.xmax))
    told = "points: splits; bars: their median; dotted: the frames that were learnt from"
    figure.supxlabel(told, fontsize=9, color="0.3")
    figure.savefig(path, dpi=150)


def write(records, folder):
    """Write table.md, table.csv and suite.png of all that was measured; the table of Markdown."""
    rows = summary(records.table)
    write_table(folder / "table.csv", rows, float_format="%.4g")
    text = markdown(rows)
    write_whole(folder / "table.md", text)
    picture(records.table, folder / "suite.png")
    return text
