"""The picture of 05_long_runs.py, from its tables alone."""

import matplotlib
import numpy as np
from openmm import app, unit

from longruns.runs import FRICTION
from openmm_diffusion.units import DIFFUSION, thermal_energy

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

COLOURS = {
    "reference": "black", "pair": "tab:blue", "pair + network": "tab:green", "pair + vector": "tab:orange",
    "network alone": "tab:red",
}  # fmt: skip
FRICTIONS = {1.0: "tab:cyan", 5.0: "tab:blue", 20.0: "navy"}
MARKERS = {"Li": "o", "Cl": "s"}


def draw(table, lives, path):
    """Eight panels.

    Parameters
    ----------
    table, lives : pandas.DataFrame
        As `05_long_runs.csv` and `05_long_runs_series.csv`.
    path : Path
    """
    figure, axes = plt.subplots(2, 4, figsize=(19, 8.8), layout="constrained")
    same = table[table["friction"] == FRICTION]
    _shortest(axes[0, 0], lives[lives["friction"] == FRICTION], table)
    _curves(axes[0, 1], same[(same["quantity"] == "g") & (same["pair"] == "Li-Cl")], COLOURS, "model")
    axes[0, 1].set(xlabel="r / nm", ylabel="g(r), Li-Cl", xlim=(0.2, 0.8), ylim=(0, None))
    axes[0, 1].set_title("Structure at the friction of the reference")
    pair = table[table["model"] == "pair"]
    _curves(axes[0, 2], pair[(pair["quantity"] == "g") & (pair["pair"] == "Li-Cl")], FRICTIONS, "friction")
    axes[0, 2].set(xlabel="r / nm", ylabel="g(r), Li-Cl", xlim=(0.2, 0.8), ylim=(0, None))
    axes[0, 2].set_title("Structure does not know the friction (pair)")
    _diffusion(axes[0, 3], table[table["quantity"] == "D"])
    _correlations(axes[1, 0], table[table["quantity"] == "intermittent correlation"])
    _fluctuations(axes[1, 1], table[table["quantity"] == "fluctuation of energy"])
    _loops(axes[1, 2], table)
    _temperatures(axes[1, 3], table[table["quantity"] == "T in 2 ps"])
    for ax in axes.flat:
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=8, loc="lower left" if ax is axes[0, 3] else "best")
        elif not ax.has_data():
            ax.text(0.5, 0.5, "in the full setting", ha="center", color="0.5", transform=ax.transAxes)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _shortest(ax, lives, table):
    """Least Li-Cl distance of every 2 ps and all runs of a model; crosses where a run was stopped."""
    for model, part in lives.groupby("model", sort=False):
        least = part.groupby("time / ps")["Li-Cl / nm"].min()
        ax.plot(
            least.index, least, color=COLOURS[model], lw=1.1, alpha=0.8, label=f"{model}, {part['run'].nunique()} runs"
        )
    lived = table[(table["quantity"] == "survived") & (table["friction"] == FRICTION)]
    for model, part in lived[lived["value"] < lived["value"].max()].groupby("model", sort=False):
        ends, style = part["value"], dict(ls="", marker="x", ms=9, mew=2, color=COLOURS[model])
        ax.plot(ends, np.full(len(ends), 0.18), label=f"{model}: stopped", **style)
    ax.axhline(0.2, color="0.4", ls="--", lw=1)
    ax.set(xlabel="time / ps", ylabel="shortest Li-Cl distance in 2 ps, all runs / nm", ylim=(0.17, 0.28))
    ax.set_title("Closest approach in long runs")


def _curves(ax, rows, colours, key):
    """Curves with bands of two standard errors."""
    for value, part in rows.groupby(key, sort=False):
        label = value if key == "model" else f"{value:g}/ps"
        wide = dict(lw=3, alpha=0.5) if value == "reference" else dict(lw=1.3)
        ax.plot(part["at"], part["value"], color=colours[value], label=label, **wide)
        low, high = (part["value"] + k * part["error"] for k in (-2, 2))
        ax.fill_between(part["at"], low, high, color=colours[value], alpha=0.15, lw=0)


def _diffusion(ax, rows):
    """Diffusion coefficients against friction, beside those of free particles."""
    friction = np.geomspace(0.8, 25, 20)
    for species in MARKERS:
        mass = app.Element.getBySymbol(species).mass.value_in_unit(unit.dalton)
        style = dict(color="0.6", lw=1, ls="-" if species == "Li" else "--")
        ax.plot(
            friction, DIFFUSION * thermal_energy(300) / mass / friction, label=rf"free {species}, $kT/m\gamma$", **style
        )
        part = rows[rows["species"] == species]
        for k, (model, found) in enumerate(part.groupby("model", sort=False)):
            style = dict(ls="", marker=MARKERS[species], ms=6, color=COLOURS[model], mfc="none", capsize=2)
            label = f"{species}, {model}"
            # Side by side, where they belong to the same friction.
            at = found["friction"] * 1.06 ** (k - 2)
            ax.errorbar(at, DIFFUSION * found["value"], 2 * DIFFUSION * found["error"], label=label, **style)
    ax.set(xscale="log", yscale="log", xlabel=r"friction $\gamma$ / ps$^{-1}$", ylabel=r"D / $10^{-9}$ m$^2$ s$^{-1}$")
    ax.set_title("Diffusion does (errors: two standard errors)")


def _correlations(ax, rows):
    """Correlation of being in contact, at the friction of the reference; of the pair potential at others too."""
    for (model, friction), part in rows.groupby(["model", "friction"], sort=False):
        part = part[(part["value"] > 3 * part["error"]) & (part["value"] > 0.02)]
        style = dict(color=COLOURS[model], lw=3, alpha=0.5) if model == "reference" else dict(color=COLOURS[model])
        if friction != FRICTION:
            style = dict(color=FRICTIONS[friction], ls="--")
        ax.plot(part["at"], part["value"], label=f"{model}, {friction:g}/ps", **style)
        low, high = (part["value"] + k * part["error"] for k in (-2, 2))
        ax.fill_between(part["at"], np.maximum(low, 1e-3), high, color=style["color"], alpha=0.1, lw=0)
    ax.set(yscale="log", ylim=(0.02, 1.1), xlabel="t / ps", ylabel="<h(0) h(t)> / <h>, Li-Cl within 0.30 nm")
    ax.set_title("Lifetimes of contact pairs depend on it too")


def _fluctuations(ax, rows):
    """Fluctuation of the conserved energy against the time step, and the law."""
    for model, part in rows.groupby("model", sort=False):
        style = dict(ls="", marker="o", ms=7, mfc="none", color=COLOURS[model], capsize=3)
        ax.errorbar(1000 * part["step"], part["value"], 2 * part["error"].fillna(0), label=model, **style)
        step = np.array([0.9, 4.4])
        first = part.iloc[-1]
        ax.plot(step, first["value"] * (step / 1000 / first["step"]) ** 2, color=COLOURS[model], lw=1)
    ax.set(xscale="log", yscale="log", xlabel="time step / fs", ylabel="rms fluctuation of energy / kJ mol$^{-1}$")
    ax.set_xticks([1, 2, 4], ["1", "2", "4"])
    ax.minorticks_off()
    ax.set_title("Energy heads, no thermostat; lines: (time step)$^2$")


def _loops(ax, table):
    """Work around closed loops over that along a side."""
    around = table[table["quantity"] == "work around a loop, rms"].set_index("model")
    side = table[table["quantity"] == "work along a side, rms"].set_index("model")["value"]
    share = around["value"] / side
    ax.bar(range(len(share)), share, color=[COLOURS[m] for m in share.index], width=0.6)
    ax.errorbar(range(len(share)), share, 2 * around["error"] / side, ls="", color="black", capsize=3)
    ax.set_xticks(range(len(share)), share.index)
    ax.set(yscale="log", ylabel="work around a loop / work along a side (rms)", ylim=(1e-7, 0.3))
    ax.set_title("A vector head has no potential")


def _temperatures(ax, rows):
    """Kinetic temperature without a thermostat, means of 2 ps, runs thin and their mean thick."""
    for (model, step), part in rows.groupby(["model", "step"], sort=False):
        table = part.pivot(index="at", columns="run", values="value")
        style = dict(color=COLOURS[model], ls="-" if step == 0.002 else ":")
        ax.plot(table.index, table, lw=0.5, alpha=0.4, **style)
        ax.plot(table.index, table.mean(axis=1), lw=2.2, label=f"{model}, {1000 * step:g} fs", **style)
    ax.set(xlabel="time / ps", ylabel="kinetic temperature / K")
    ax.set_title("No thermostat: temperature")
