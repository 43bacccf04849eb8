"""The picture of 07_ethanol.py, from its table alone."""

import numpy as np

from allatom.claims import ALONE, BOTH, LINEAR, LONGER, WALLED, arms
from allatom.ethanol.frames import CONFORMERS
from allatom.figure import KINDS, errors, finish, learners, lives, plt
from allatom.stiffness import closed_form
from openmm_diffusion.units import thermal_energy

#: Whose distributions are drawn beside the data's, where there are any: name, learner, draws in words, style.
SHOWN = (
    ("linear alone, no noise", LINEAR, None, "tab:blue"),
    ("network alone, 1 draw", ALONE, "1 draw", "tab:purple"),
    ("network alone, fresh pairs", ALONE, "fresh pairs", "tab:red"),
    ("the same, 4 times the steps", LONGER, "fresh pairs", "tab:brown"),
    ("network + wall, fresh pairs", WALLED, "fresh pairs", "tab:orange"),
    ("linear + network, fresh pairs", BOTH, "fresh pairs", "tab:green"),
)


def draw(table, path, kelvin=300):
    """Eight panels, of one temperature (K).

    Parameters
    ----------
    table : pandas.DataFrame
        As `07_ethanol.csv`.
    path : Path
    """
    table = table.reindex(columns=table.columns.union(["set", "at", "cause"], sort=False))
    own = table[table["system"] == f"ethanol, {kelvin:g} K"]
    figure, axes = plt.subplots(2, 4, figsize=(20, 9.2), layout="constrained")
    _stiffness(axes[0, 0], own[own["quantity"] == "stiffness"], kelvin)
    learners(axes[0, 1], own[own["quantity"] == "stiffness"], f"ethanol, {kelvin:g} K,")
    errors(axes[0, 2], own[own["quantity"] == "force error"])
    if (own["quantity"] == "life").any():
        lives(axes[0, 3], own[own["quantity"] == "life"])
    _density(axes[1, 0], own, "density of bond", "O-H length / nm", "The bond between O and H, data without noise")
    _density(axes[1, 1], own, "density of dihedral", "C-C-O-H / degree", "Trans and gauche")
    _conformers(axes[1, 2], own[own["quantity"] == "conformer"])
    _bend(axes[1, 3], own[own["quantity"] == "bend"])
    finish(figure, axes, path)


def _stiffness(ax, rows, kelvin):
    """What noise leaves of every kind of bond, by linear energies and by networks of fresh noise."""
    kT = thermal_energy(float(kelvin))
    line = np.linspace(0, 0.0022, 100)
    fresh = arms(rows[rows["learner"] == ALONE]).get("fresh pairs", rows[:0])
    for kind, part in rows[rows["learner"] == LINEAR].groupby("kind"):
        ax.plot(10 * line, closed_form(part["k clean"].mean(), line, kT), color=KINDS[kind], lw=1)
        for own, marker, words in ((part, "o", kind), (fresh[fresh["kind"] == kind], "s", None)):
            told = own.groupby("sigma / nm")["value"].agg(["mean", "std"])
            style = dict(ls="", marker=marker, ms=6, mfc="none" if marker == "s" else KINDS[kind], color=KINDS[kind])
            ax.errorbar(10 * told.index, told["mean"], 2 * told["std"].fillna(0), label=words, **style)
    ax.plot([], [], ls="", marker="o", color="0.5", label="linear alone")
    ax.plot([], [], ls="", marker="s", mfc="none", color="0.5", label="network alone, fresh pairs")
    ax.set(xlabel=r"$\sigma$ / $\mathrm{\AA}$", ylabel="stiffness / kJ mol$^{-1}$ nm$^{-2}$", ylim=(0, None))
    ax.set_title(r"Noise softens bonds; lines: $k/(1+2\sigma^2 k/kT)$")


def _own(rows, learner, draws):
    """Rows of a learner; of linear energies those without noise."""
    part = rows[rows["learner"] == learner]
    if draws is None:
        return part[part["sigma / nm"] == 0]
    return arms(part).get(draws, part[:0])


def _density(ax, table, quantity, label, title):
    """A distribution in runs of some learners, and in the data without noise."""
    rows = table[table["quantity"] == quantity]
    if rows.empty:
        return
    data = _own(rows, LINEAR, None)
    data = data[(data["set"] == "data") & (data["seed"] == data["seed"].min())].sort_values("at")
    ax.plot(data["at"], data["value"], color="0.6", lw=5, alpha=0.6, label="data")
    for name, learner, draws, colour in SHOWN:
        own = _own(rows, learner, draws)
        own = own[own["set"] == "model"]
        if len(own):
            # Of linear energies there are two noise levels and one of networks: all are of the first seed.
            own = own[own["seed"] == own["seed"].min()].sort_values("at")
            ax.plot(own["at"], own["value"], color=colour, lw=1.5, label=name)
    # Above is the legend's place.
    top = 1.6 * max(line.get_ydata().max() for line in ax.get_lines())
    ax.set(xlabel=label, ylabel="density per nm" if "bond" in quantity else "density per degree", ylim=(0, top))
    ax.set_title(title)


def _bend(ax, rows):
    """Energy along C-O-H, mean of seeds."""
    if rows.empty:
        return
    for name, learner, draws, colour in SHOWN:
        own = _own(rows, learner, draws)
        if len(own):
            told = own.groupby("at")["value"].agg(["mean", "min", "max"])
            ax.plot(told.index, told["mean"], color=colour, lw=1.5, label=name)
            ax.fill_between(told.index, told["min"], told["max"], color=colour, alpha=0.15, lw=0)
    seen = rows.loc[rows["set"] == "in the data", "at"]
    if len(seen):
        ax.axvspan(seen.min(), seen.max(), color="0.9", zorder=0, label="angles in the data")
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlabel="C-O-H / degree", ylabel="energy / kJ mol$^{-1}$", ylim=(-150, 400))
    ax.set_title("Bending C-O-H: mean of seeds, and all of them")


def _conformers(ax, rows):
    """Populations, two standard errors over runs or seeds."""
    data = rows[rows["set"] == "data"].set_index("kind").reindex(CONFORMERS)
    places = np.arange(len(CONFORMERS))
    groups = [("data", data["value"], data["error"], "0.6")] if len(rows) else []
    for name, learner, draws, colour in SHOWN:
        own = _own(rows, learner, draws)
        if len(own):
            told = own.groupby("kind")["value"].agg(["mean", "sem"]).reindex(CONFORMERS)
            groups.append((name, told["mean"], told["sem"], colour))
    width = 0.8 / max(len(groups), 1)
    for k, (name, value, error, colour) in enumerate(groups):
        at = places + (k - (len(groups) - 1) / 2) * width
        ax.bar(at, value, width, color=colour, label=name)
        ax.errorbar(at, value, 2 * error.fillna(0), ls="", color="black", capsize=2)
    ax.set_xticks(places, CONFORMERS)
    ax.set(ylabel="population", ylim=(0, 1.3))
    ax.set_title("Conformers, two standard errors over runs or seeds")
