"""The picture of 07_water.py, from its table alone."""

import numpy as np

from allatom.claims import ALONE, BOTH, LINEAR, WALLED, arms
from allatom.figure import KINDS, errors, finish, learners, lives, plt
from allatom.stiffness import closed_form
from allatom.water.claims import CHARGED, MANY
from openmm_diffusion.units import thermal_energy

#: What there are curves of, as `internal_coordinates` calls it.
SHOWN = (("bond", "H-O"), ("angle", "H-O-H"))
#: Whose curves are drawn beside the data's, where there are any: name, learner, draws in words or noise (nm), style.
CURVES = (
    ("linear alone, no noise", LINEAR, 0.0, "tab:blue", "-"),
    (MANY, MANY, 0.0, "navy", "--"),
    (CHARGED, CHARGED, 0.0, "tab:cyan", ":"),
    ("network alone, 1 draw", ALONE, "1 draw", "tab:purple", "-"),
    ("network alone, fresh pairs", ALONE, "fresh pairs", "tab:red", "-"),
    ("network + wall, fresh pairs", WALLED, "fresh pairs", "tab:orange", "-"),
    ("linear + network, fresh pairs", BOTH, "fresh pairs", "tab:green", "-"),
)


def draw(table, path):
    """Nine panels.

    Parameters
    ----------
    table : pandas.DataFrame
        As `07_water.csv`.
    path : Path
    """
    figure, axes = plt.subplots(3, 3, figsize=(18, 14), layout="constrained")
    of = dict(list(table.groupby("quantity")))
    _stiffness(axes[0, 0], of["stiffness"])
    learners(axes[0, 1], of["stiffness"], "water")
    errors(axes[0, 2], of["force error"])
    _more(axes[0, 2], of["force error"])
    if "life" in of:
        lives(axes[1, 0], of["life"])
    _density(axes[1, 1], table, "density of bond", "O-H length / nm", "The bond between O and H, data without noise")
    _density(axes[1, 2], table, "density of angle", "H-O-H / degree", "The angle H-O-H")
    for ax, kind in zip(axes[2], ("O-O", "O-H", "H-H")):
        _radial(ax, of["g(r)"], kind)
    finish(figure, axes, path)


def _stiffness(ax, rows):
    """What noise leaves of O-H, by linear energies and by networks of fresh noise."""
    kT = thermal_energy(300.0)
    line = np.linspace(0, 0.0022, 100)
    linear = rows[rows["learner"] == LINEAR]
    colour = KINDS["O-H"]
    ax.plot(10 * line, closed_form(linear["k clean"].mean(), line, kT), color=colour, lw=1, label="closed form")
    fresh = arms(rows[rows["learner"] == ALONE]).get("fresh pairs", rows[:0])
    for own, marker, words in ((linear, "o", "linear alone"), (fresh, "s", "network alone, fresh pairs")):
        told = own.groupby("sigma / nm")["value"].agg(["mean", "std"])
        style = dict(ls="", marker=marker, ms=7, mfc="none" if marker == "s" else colour, color=colour, label=words)
        ax.errorbar(10 * told.index, told["mean"], 2 * told["std"].fillna(0), **style)
    ax.set(xlabel=r"$\sigma$ / $\mathrm{\AA}$", ylabel="stiffness of O-H / kJ mol$^{-1}$ nm$^{-2}$", ylim=(0, None))
    ax.set_title(r"Noise softens bonds; line: $k/(1+2\sigma^2 k/kT)$")


def _more(ax, rows):
    """Force errors of linear energies from more frames."""
    for learner, colour, style in ((MANY, "navy", "--"), (CHARGED, "tab:cyan", ":")):
        own = rows[rows["learner"] == learner]
        if len(own):
            ax.axhline(own["value"].mean(), color=colour, ls=style, lw=1.5, label=learner)


def _own(rows, learner, which):
    """Rows of a learner: of networks those of a number of draws, of linear energies those at a noise level."""
    part = rows[rows["learner"] == learner]
    return arms(part).get(which, part[:0]) if isinstance(which, str) else part[part["sigma / nm"] == which]


def _density(ax, table, quantity, label, title):
    """A distribution in runs of some learners, and in the data without noise."""
    rows = table[table["quantity"] == quantity]
    data = _own(rows, LINEAR, 0.0)
    data = data[data["set"] == "data"].sort_values("at")
    ax.plot(data["at"], data["value"], color="0.6", lw=5, alpha=0.6, label="data")
    for name, learner, which, colour, style in CURVES:
        own = _own(rows, learner, which)
        own = own[own["set"] == "model"].sort_values("at")
        if len(own):
            ax.plot(own["at"], own["value"], color=colour, ls=style, lw=1.5, label=name)
    unit = "nm" if "bond" in quantity else "degree"
    ax.set(xlabel=label, ylabel=f"density per {unit}", ylim=(0, None))
    ax.set_title(title)


def _radial(ax, rows, kind):
    """g(r) of a pair between molecules: means of seeds, bands of two standard errors over them or over runs."""
    rows = rows[rows["kind"] == kind]
    data = rows[rows["set"] == "data"].sort_values("at")
    ax.plot(data["at"], data["value"], color="0.6", lw=5, alpha=0.6, label="data")
    ax.fill_between(data["at"], data["value"] - 2 * data["error"], data["value"] + 2 * data["error"], color="0.4", lw=0)
    for name, learner, which, colour, style in CURVES:
        own = _own(rows, learner, which)
        own = own[own["set"] == "model"]
        if len(own):
            told = own.groupby("at")["value"].agg(["mean", "sem"]).fillna(0)
            ax.plot(told.index, told["mean"], color=colour, ls=style, lw=1.5, label=name)
            low, high = told["mean"] - 2 * told["sem"], told["mean"] + 2 * told["sem"]
            ax.fill_between(told.index, low, high, color=colour, alpha=0.15, lw=0)
    ax.axhline(1, color="black", lw=0.8)
    # Of a few runs that collapse, bands are taller than all there is.
    ax.set(xlabel="r / nm", ylabel="g(r)", ylim=(0, 1.6 * data["value"].max()), xlim=(0.1, 0.62))
    ax.set_title(f"{kind} between molecules")
