"""The picture of 01_scaling.py, from its table alone."""

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

COLOURS = {0.0025: "tab:purple", 0.005: "tab:blue", 0.01: "tab:green", 0.0265: "tab:red"}
ARMS = {"right": ("black", "right scale"), "293.15 K": ("tab:orange", "kT of 293.15 K"), "left out": (None, "left out")}
LEARNERS = {"regression": "tab:blue", "pair": "tab:green", "network": "tab:orange"}
MARKERS = {"harmonic": "o", "double well": "s", "harmonic bond": "D", "double well bond": "v"}
FORCE = r"force / kJ mol$^{-1}$ nm$^{-1}$"


def draw(table, path, kT):
    """Six panels.

    Parameters
    ----------
    table : pandas.DataFrame
        As `01_scaling.csv`.
    path : Path
    kT : float, kJ/mol
    """
    figure, axes = plt.subplots(2, 3, figsize=(14, 8.2), layout="constrained")
    levels = sorted(table.loc[table["quantity"] == "force", "sigma / nm"].unique())
    for ax, system in zip(axes[0], ("harmonic", "double well")):
        shown = [levels[0] if 0.005 not in levels else 0.005, levels[-1]]
        _forces(ax, table[(table["system"] == system) & table["sigma / nm"].isin(shown)])
        ax.set(xlabel="x / nm", ylabel=FORCE, title=f"{system.capitalize()}: force from a 1-D denoiser")
    _forces(axes[0, 2], table[(table["system"] == "double well bond")])
    axes[0, 2].set(xlabel="bond length / nm", ylabel=FORCE, title="Double-well bond: force from the package")
    _unscaled(axes[1, 0], table, kT)
    _slopes(axes[1, 1], table)
    _densities(axes[1, 2], table)
    for ax in (*axes[1, :2], *axes[1, 0].child_axes):
        ax.set_xticks(levels, [f"{level:g}" for level in levels])
        ax.minorticks_off()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _forces(ax, rows):
    """Learnt force with a band of two standard errors, on the exact ones; axes fit what the data know."""
    rows = rows[rows["quantity"] == "force"]
    clean = rows.sort_values("at / nm")
    ax.plot(clean["at / nm"], clean["clean"], color="0.6", lw=5, alpha=0.6, label="clean ensemble, exact")
    limit = 1.15 * max(rows["value"].abs().max(), rows["expected"].abs().max())
    for (sigma, learner), part in rows.groupby(["sigma / nm", "learner"], sort=False):
        colour = {"network": "tab:orange"}.get(learner, COLOURS[sigma])
        x, y, error = (part[name] for name in ("at / nm", "value", "error"))
        if learner != "network":
            ax.plot(x, part["expected"], color=colour, lw=1.5, label=f"noised by {sigma:g} nm, exact")
        ax.fill_between(x, y - 2 * error, y + 2 * error, color=colour, alpha=0.3, lw=0)
        mark = dict(ls="", marker="x" if learner == "network" else "o", ms=4, mfc="none", color=colour)
        ax.plot(x, y, **mark, label=f"learnt{'' if learner == 'regression' else f' by a {learner}'}, {sigma:g} nm")
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.set_ylim(-limit, limit)
    ax.legend(frameon=False, fontsize=8)


def _unscaled(ax, table, kT):
    """Slope of displacement on force against sigma, and the law."""
    rows = table[(table["quantity"] == "unscaled slope") & (table["learner"] == "regression")]
    sigma = np.geomspace(0.8 * rows["sigma / nm"].min(), 1.25 * rows["sigma / nm"].max(), 50)
    ax.plot(sigma, sigma**2 / kT, color="0.4", label=r"$\sigma^2/kT$, 300 K")
    for system, part in rows.groupby("system", sort=False):
        # Errors are smaller than the symbols.
        ax.plot(part["sigma / nm"], part["value"], ls="", marker=MARKERS[system], mfc="none", ms=8, label=system)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\sigma$ / nm",
        ylabel=r"slope of $D(y) - y$ on force / nm$^2$ mol kJ$^{-1}$",
    )
    ax.set_title("Without the scale: displacement per force")
    ax.legend(frameon=False)
    small = ax.inset_axes((0.62, 0.08, 0.36, 0.33))
    rows = table[(table["quantity"] == "slope on clean force") & (table["learner"] == "regression")]
    for system, part in rows.groupby("system", sort=False):
        small.plot(part["sigma / nm"], part["expected"], color="0.6", lw=1)
        small.plot(part["sigma / nm"], part["value"], ls="", marker=MARKERS[system], mfc="none", ms=5)
    small.set(xscale="log", ylim=(0, 1.05))
    small.set_title("scaled, on the clean force", fontsize=8)
    small.tick_params(labelsize=7)


def _slopes(ax, table):
    """By how much the slopes on the force of the noised ensemble differ from 1, with errors."""
    rows = table[table["quantity"] == "slope on noised force"]
    for k, ((system, learner), part) in enumerate(rows.groupby(["system", "learner"], sort=False)):
        # Side by side, where they belong to the same level.
        place = part["sigma / nm"] * 1.06 ** (k - 2.5)
        style = dict(ls="", marker=MARKERS[system], ms=6, capsize=2, color=LEARNERS[learner])
        deviation, error = 100 * (part["value"] - 1), 100 * part["error"]
        ax.errorbar(place, deviation, error, **style, label=f"{system}, {learner}")
    ax.axhline(0, color="0.4", lw=0.8)
    limit = 1.3 * (100 * (rows["value"] - 1).abs() + 100 * rows["error"]).max()
    ax.set(xscale="log", xlabel=r"$\sigma$ / nm", ylabel="(slope - 1) / %", ylim=(-limit, limit))
    ax.set_title(r"With the scale $kT/\sigma^2$: slope on the noised force")
    ax.legend(frameon=False, fontsize=8)


def _densities(ax, table):
    """Density in MD of the harmonic well in every arm, on the exact Gaussian of each, with the variances."""
    rows = table[(table["system"] == "harmonic") & (table["part"] == "md")]
    for (sigma, arm), part in rows.groupby(["sigma / nm", "arm"], sort=False):
        if arm != "left out" and sigma != 0.005:
            continue
        density, variance = part[part["quantity"] == "density"], part[part["quantity"] == "variance"].iloc[0]
        reference = rows[(rows["sigma / nm"] == sigma) & (rows["quantity"] == "variance")].iloc[0]["expected"]
        colour = ARMS[arm][0] or COLOURS[sigma]
        ratio, error = variance["value"] / reference, variance["error"] / reference
        excess = rows[(rows["sigma / nm"] == sigma) & (rows["arm"] == arm) & (rows["quantity"] == "excess variance")]
        if len(excess):
            ratio, error = 1 + excess["value"].iloc[0], excess["error"].iloc[0]
        digits = max(0, int(np.ceil(-np.log10(error))) + 1) if error > 0 else 4
        label = (
            f"{ARMS[arm][1]}{f', {sigma:g} nm' if arm == 'left out' else ''}: {ratio:.{digits}f} ± {error:.{digits}f}"
        )
        ax.plot(density["at / nm"], density["value"], ls="", marker=".", ms=4, color=colour, label=label)
        x = np.linspace(-0.3, 0.3, 400)
        gauss = np.exp(-(x**2) / 2 / variance["expected"]) / np.sqrt(2 * np.pi * variance["expected"])
        ax.plot(x, gauss, color=colour, lw=1)
    ax.set(xlabel="x / nm", ylabel=r"density in MD / nm$^{-1}$", xlim=(-0.2, 0.2))
    ax.set_ylim(0, 1.45 * ax.get_ylim()[1])
    ax.set_title("Harmonic well in MD at 300 K")
    ax.legend(frameon=False, fontsize=8, title="scale: variance / right one", title_fontsize=8, loc="upper right")
