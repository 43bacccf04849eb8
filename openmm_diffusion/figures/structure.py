"""Radial distribution functions."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import COLOURS, LABELS, dashed, save


def rdf_figure(table, path, sigma=None, title=None):
    """The three g(r) side by side, model over clean and noised reference, with bands of two standard errors.

    Parameters
    ----------
    table : DataFrame
        As `Evaluation.rdf`.
    path : path
        PNG to write.
    sigma : float, nm, optional
        Noise level, for the legend.
    title : str, optional
    """
    pairs = pairs_of(table)
    figure = Figure(figsize=(4.2 * len(pairs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(pairs), sharex=True, squeeze=False)
    draw_rdf(axes[0], table, pairs, sigma)
    if title:
        figure.suptitle(title)
    save(figure, path, 150)


def pairs_of(table):
    return [c.removesuffix("_clean") for c in table if c.endswith("_clean")]


def draw_rdf(axes, table, pairs, sigma):
    """g(r) of each pair into an axis of its own; without noise, noised frames are clean ones and not drawn."""
    for ax, pair in zip(axes, pairs):
        for curve, colour in COLOURS.items():
            g, error = table[f"{pair}_{curve}"], table[f"{pair}_{curve}_error"]
            if curve == "noised" and np.array_equal(g, table[f"{pair}_clean"]):
                continue
            label = LABELS[curve]
            if curve == "noised" and sigma:
                label += rf" ($\sigma$ = {sigma * 1000:g} pm)"
            style = "--" if curve == "noised" else "-"
            ax.plot(table["r_nm"], g, style, color=colour, label=label, lw=1.5, zorder=3 if curve == "model" else 2)
            if curve != "noised":
                ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color=colour, alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        ax.set(xlabel="r / nm", title=dashed(pair), ylim=(0, None))
    axes[0].set_ylabel("g(r)")
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")


def simple_rdf_figure(table, path):
    """One g(r) per pair, as `RDF.table` has them, with bands of two standard errors."""
    pairs = [c.removesuffix("_error") for c in table if c.endswith("_error")]
    figure = Figure(figsize=(4.2 * len(pairs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)
    for ax, pair in zip(axes[0], pairs):
        g, error = table[pair], table[f"{pair}_error"]
        ax.plot(table["r_nm"], g, color="tab:blue")
        ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color="tab:blue", alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        ax.set(xlabel="r / nm", ylabel="g(r)", title=dashed(pair), ylim=(0, None))
    save(figure, path, 150)
