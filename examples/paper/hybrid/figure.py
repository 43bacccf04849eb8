"""The picture of 06_hybrid.py, from its table alone."""

import matplotlib
import numpy as np
from protocol.judge import of
from protocol.verdicts import mean_error

from hybrid.blends import LABELS, MEASURED, PACKAGE, POSITIONS, TEXTBOOK
from hybrid.claims import FORCE, INFINITE, RDF, SURVIVAL
from hybrid.network import LEARNER as NETWORK
from openmm_diffusion.units import ANGSTROM

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

COLOURS = {1: "tab:red", 2: "tab:orange", 4: "tab:blue", INFINITE: "tab:green", 0: "k"}
STYLES = {PACKAGE: ("o", "-"), TEXTBOOK: ("s", "--"), MEASURED: ("^", ":"), LABELS: ("D", "-.")}
FORCES = r"force error / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$ (rms)"
SHARE = "part of the frames with force labels / %"


def draw(table, path):
    """Nine panels: force errors of the linear energies, ways to weigh labels, and networks beside them.

    Parameters
    ----------
    table : pandas.DataFrame
        As `06_hybrid.csv`.
    path : Path
    """
    figure, axes = plt.subplots(3, 3, figsize=(17, 14), layout="constrained")
    linear, md = (table[table["part"].str.startswith(part)] for part in ("linear", "md"))
    networks = of(table, learner=NETWORK)
    n = sorted(linear["n"].unique())[len(linear["n"].unique()) // 2]
    sigma = max(linear["sigma / nm"])
    _draws(axes[0, 0], linear, n, sigma, "instantaneous")
    _draws(axes[0, 1], linear, n, sigma, "averaged")
    _sizes(axes[0, 2], of(linear, sigma=0.0))
    some = of(linear, n=n, labels="instantaneous")
    _ways(axes[1, 0], of(some, sigma=0.0), f"{n:g} frames, no noise")
    for ax, m in zip(axes[1, 1:], (1, 4)):
        _ways(
            ax, of(some, sigma=sigma, draws=m), rf"{n:g} frames, $\sigma$ = {10 * sigma:g} $\mathrm{{\AA}}$, {_name(m)}"
        )
    for ax, column, label in (
        (axes[2, 0], FORCE, FORCES),
        (axes[2, 1], RDF, "RMSD of g(r) from the data, rms of three pairs"),
        (axes[2, 2], SURVIVAL, "mean life of runs / length of runs"),
    ):
        _runs(ax, networks, md, column, label)
    for ax, letter in zip(axes.flat, "abcdefghi"):
        ax.set_title(f"{letter})  {ax.get_title()}", loc="left", fontsize=11)
        ax.set_title("")
        ax.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(ax, rows, by, column, scale=1.0, shift=0.0, **style):
    """Mean and standard error over seeds, at the values of a column."""
    at, means, errors = [], [], []
    for value, group in rows[rows[column].notna()].groupby(by):
        mean, error = mean_error(group[column])
        at.append(scale * value + shift)
        means.append(mean)
        errors.append(error)
    if at:
        factor = ANGSTROM if column == FORCE else 1
        errors = np.nan_to_num(errors)
        ax.errorbar(at, factor * np.array(means), factor * errors, capsize=3, ms=5, **style)


def _with_bare(rows, kind, **values):
    """Rows of the package's fits with labels of a kind, and of those without labels."""
    found = of(rows, **values)
    return found[(found["strategy"] == POSITIONS) | ((found["strategy"] == PACKAGE) & (found["labels"] == kind))]


def _name(m):
    return "all draws" if m == INFINITE else f"{m:g} draw{'s' * int(m > 1)}"


def _draws(ax, linear, n, sigma, kind):
    """Force error against the part that is labelled, for every number of draws, and without noise."""
    there = of(linear, sigma=sigma, n=n)
    for m in sorted(there["draws"].unique()):
        rows = _with_bare(there, kind, draws=m)
        _curve(ax, rows, "fraction", FORCE, 100, color=COLOURS[m], marker="o", label=_name(m))
    clean = _with_bare(linear, kind, sigma=0.0, n=n)
    _curve(ax, clean, "fraction", FORCE, 100, color="k", marker="s", label="no noise, exact")
    ax.set(xlabel=SHARE, ylabel=FORCES, ylim=(0, None))
    ax.set_title(rf"{n:g} frames, $\sigma$ = {10 * sigma:g} $\mathrm{{\AA}}$, {kind} labels")
    ax.legend(frameon=False, fontsize=8)


def _sizes(ax, exact):
    """Force error of the exact solve against the number of frames, with and without labels."""
    _curve(ax, of(exact, strategy=POSITIONS), "n", FORCE, color="k", marker="s", label="no labels")
    for kind, colour in (("instantaneous", "tab:purple"), ("averaged", "tab:cyan")):
        for fraction, line in ((0.1, ":"), (1.0, "-")):
            rows = of(exact, strategy=PACKAGE, labels=kind, fraction=fraction)
            label = f"{kind} labels of {fraction:.0%}"
            _curve(ax, rows, "n", FORCE, color=colour, ls=line, marker="o", label=label)
        rows = of(exact, strategy=LABELS, labels=kind, fraction=1.0)
        _curve(ax, rows, "n", FORCE, color=colour, ls="-.", marker="D", mfc="none", label=f"{kind} labels alone")
    sizes = sorted(exact["n"].unique())
    ax.set(xscale="log", xlabel="frames", ylabel=FORCES, ylim=(0, None))
    ax.set_xticks(sizes, [f"{n:g}" for n in sizes])
    ax.minorticks_off()
    ax.set_title("exact solve without noise")
    ax.legend(frameon=False, fontsize=8)


def _ways(ax, rows, how):
    """Force error by the ways to weigh labels; shifted a little from each other."""
    for place, (name, (marker, line)) in enumerate(STYLES.items()):
        label = {PACKAGE: "by pulls (the package)", MEASURED: "by pulls, with covariance"}.get(name, name)
        style = dict(marker=marker, ls=line, label=label, color=f"C{place}")
        _curve(ax, of(rows, strategy=name), "fraction", FORCE, 100, 1.0 * place - 1.0, **style)
    ax.set(xlabel=SHARE, ylabel=FORCES)
    ax.set_title(f"ways to weigh labels, {how}")
    ax.legend(frameon=False, fontsize=8)


def _runs(ax, networks, md, column, label):
    """A quantity of networks and of linear energies, against the part of the frames that is labelled."""
    for m in sorted(networks["draws"].unique()):
        text = "network, " + ("fresh draws" if m == INFINITE else _name(m))
        style = dict(color=COLOURS[m], marker="o", label=text)
        _curve(ax, of(networks, draws=m), "fraction", column, 100, **style)
    for sigma in sorted(md["sigma / nm"].unique()):
        for m in sorted(of(md, sigma=sigma)["draws"].unique()):
            rows = of(md, sigma=sigma, draws=m)
            for kind in ("instantaneous", "averaged"):
                chosen = rows[(rows["fraction"] == 0) | (rows["labels"] == kind)]
                if not (chosen["labels"] == kind).any():
                    continue
                text = "linear, " + ("no noise" if sigma == 0 else _name(m))
                colour = "k" if sigma == 0 else COLOURS[m]
                style = dict(color=colour, marker="s", ls="--" if kind == "instantaneous" else ":", mfc="none", lw=1)
                text += ", averaged labels" if kind == "averaged" else ""
                _curve(ax, chosen, "fraction", column, 100, 1.0, label=text, **style)
    ax.set(xlabel=SHARE, ylabel=label)
    ax.set_ylim(0, 1.05 if column == SURVIVAL else None)
    ax.set_title({FORCE: "networks and linear energies", RDF: "g(r) in MD", SURVIVAL: "survival of runs"}[column])
    ax.legend(frameon=False, fontsize=7.5)
