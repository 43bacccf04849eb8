"""The picture of 08_transfer.py, from its tables alone."""

import matplotlib
import numpy as np
from protocol.judge import of
from protocol.verdicts import mean_error

from transfer.claims import FORCE, RDF, moves, pairs, value_of
from transfer.measure import ALL, LINE, OTHER, OWN, SCALED

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

COLOURS = {OWN: "tab:green", OTHER: "tab:red", SCALED: "tab:orange", LINE: "tab:blue", ALL: "tab:purple"}
UNITS = {"K": "temperature", "M": "concentration"}


def draw(table, curves, path):
    """A row of panels for each liquid: errors of g(r) and forces against the distance of states, and curves of one.

    Parameters
    ----------
    table, curves : pandas.DataFrame
        As `08_transfer.csv` and `08_transfer_curves.csv`.
    path : Path
    """
    liquids = list(table["liquid"].unique())
    figure, axes = plt.subplots(len(liquids), 3, figsize=(17, 5 * len(liquids)), layout="constrained", squeeze=False)
    for row, liquid in zip(axes, liquids):
        rows = of(table, liquid=liquid)
        _errors(row[0], of(rows, part="md"), RDF, liquid)
        _forces(row[1], of(rows, part="force"), liquid)
        _curves(row[2], of(curves, liquid=liquid), liquid)
    for ax, letter in zip(axes.flat, "abcdef"):
        ax.set_title(f"{letter})  {ax.get_title()}", loc="left", fontsize=11)
        ax.set_title("")
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _points(ax, rows, kind, column, scale=1.0):
    """Mean and standard error over divisions of each pair of states, at their distance."""
    at, means, errors = [], [], []
    for source, target in pairs(of(rows, kind=kind)):
        values = of(rows, kind=kind, source=source, target=target)[column] * scale
        mean, error = mean_error(values)
        at.append(value_of(source) - value_of(target))
        means.append(mean)
        errors.append(error)
    if at:
        order = np.argsort(at, kind="stable")
        at, means, errors = (np.array(values)[order] for values in (at, means, np.nan_to_num(errors)))
        ax.errorbar(at, means, errors, fmt="o", ms=5, capsize=3, color=COLOURS[kind], label=kind)


def _errors(ax, rows, column, liquid):
    """g(r) in MD off the data's, against the distance of the state whose force it is."""
    for kind in (OTHER, SCALED):
        _points(ax, rows, kind, column)
    for kind, marker in ((OWN, "s"), (LINE, "D"), (ALL, "^")):
        means = [
            mean_error(of(rows, kind=kind, target=target)[column]) for target in of(rows, kind=kind)["target"].unique()
        ]
        if means:
            values, errors = np.transpose(means)
            place = np.linspace(-0.02, 0.02, len(values)) * _width(rows)
            ax.errorbar(
                place, values, np.nan_to_num(errors), fmt=marker, ms=6, capsize=3, color=COLOURS[kind], label=kind
            )
    floor = of(rows, kind=OWN)["halves"].mean()
    ax.axhline(floor, color="k", ls=":", label="halves of the data")
    ax.set(xlabel=f"{_quantity(rows)} of the force's data - that of MD / {_unit(rows)}", ylim=(0, None))
    ax.set(ylabel="RMSD of g(r) from the data", title=f"{liquid}: structure")
    ax.legend(frameon=False, fontsize=8)


def _forces(ax, rows, liquid):
    """Forces off the own, in parts of it, against the distance of states."""
    rows = rows.assign(part_of=100 * rows[FORCE] / rows["force"])
    for kind in (OTHER, SCALED):
        _points(ax, rows, kind, "part_of")
    chance = (100 * of(rows, kind=OWN)["noise"] / of(rows, kind=OWN)["force"]).mean()
    ax.axhline(chance * np.sqrt(2), color="k", ls=":", label="two fits to one state, by chance")
    ax.set(xlabel=f"{_quantity(rows)} of the force's data - that of the frames / {_unit(rows)}", ylim=(0, None))
    ax.set(ylabel="rms difference from the own force / % of its rms", title=f"{liquid}: forces")
    ax.legend(frameon=False, fontsize=8)


def _curves(ax, curves, liquid):
    """The first pair's g(r) where the move is largest: data, own force, the other's force."""
    far = list(moves(of(curves, kind=OTHER)).values())
    if not far:
        return
    source, target = next(iter(far[-1].values()))
    there = of(curves, target=target)
    pair = sorted(there["pair"].unique())[len(there["pair"].unique()) // 2]
    there = of(there, pair=pair)
    data = of(there, kind="data")
    ax.plot(data["r / nm"], data["g"], "k-", lw=2, label=f"data at {target}")
    for kind, style in ((OWN, "-"), (OTHER, "--"), (SCALED, "-."), (LINE, ":"), (ALL, ":")):
        rows = of(there, kind=kind)
        rows = of(rows, source=source) if kind in (OTHER, SCALED) else rows
        label = f"{kind}: {source}" if kind in (OTHER, SCALED) else kind
        if len(rows):
            ax.plot(rows["r / nm"], rows["g"], style, color=COLOURS[kind], lw=1.5, label=label)
    ax.set(xlabel="r / nm", ylabel=f"g(r) of {pair}", ylim=(0, None), title=f"{liquid}: MD at {target}")
    ax.legend(frameon=False, fontsize=8)


def _unit(rows):
    return rows["target"].iloc[0].split()[1].replace("M", "mol/L")


def _quantity(rows):
    return UNITS[rows["target"].iloc[0].split()[1]]


def _width(rows):
    values = [value_of(target) for target in rows["target"].unique()]
    return max(values) - min(values)
