"""Radial distribution functions."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import BAND, COLOURS, LABELS, dashed, save


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
    columns = max(1, min(len(pairs), 4))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    draw_rdf(axes, table, pairs, sigma)
    for ax in axes[len(pairs) :]:
        ax.remove()
    if title:
        figure.suptitle(title)
    save(figure, path, 150)


def pairs_of(table):
    return [c.removesuffix("_clean") for c in table if c.endswith("_clean")]


def draw_rdf(axes, table, pairs, sigma):
    """g(r) of each pair into an axis of its own; without noise, noised frames are clean ones and not drawn."""
    for ax, pair in zip(axes, pairs):
        for curve, colour in COLOURS.items():
            if f"{pair}_{curve}" not in table:
                continue
            g, error = table[f"{pair}_{curve}"], table[f"{pair}_{curve}_error"]
            if curve == "noised" and np.array_equal(g, table[f"{pair}_clean"]):
                continue
            label = LABELS[curve]
            if curve == "noised" and sigma:
                label += rf" ($\sigma$ = {sigma * 1000:g} pm)"
            style, order = {"noised": ("--", 2), "training": (":", 2), "model": ("-", 3)}.get(curve, ("-", 2))
            ax.plot(table["r_nm"], g, style, color=colour, label=label, lw=1.5, zorder=order)
            if curve in ("clean", "model"):
                ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color=colour, alpha=0.2, lw=0)
        _frame(ax, pair, [(table[f"{pair}_{curve}"], table[f"{pair}_{curve}_error"]) for curve in ("clean", "model")])
    axes[0].set_ylabel("g(r)")
    axes[0].legend(frameon=False, fontsize=8, loc="lower right", title=BAND, title_fontsize=8)


def _frame(ax, pair, curves):
    """Axes of the g(r) of a pair, up to the highest point of its curves that is known."""
    ax.axhline(1, color="0.8", lw=0.8, zorder=1)
    ax.set(xlabel="r / nm", title=dashed(pair), ylim=(0, 1.08 * max(_highest(*curve) for curve in curves)))


def _highest(g, error):
    """Highest point of a curve and its band where it is known to a quarter: one rare pair of particles is no peak."""
    g, error = np.asarray(g, dtype=float), np.nan_to_num(np.asarray(error, dtype=float))
    known = (g > 4 * error) & np.isfinite(g)
    top = (g + 2 * error)[known] if known.any() else g[np.isfinite(g)]
    return max(1.2, float(np.max(top, initial=0.0)))


def simple_rdf_figure(table, path):
    """One g(r) per pair, as `RDF.table` has them, with bands of two standard errors."""
    compared_rdf_figure({"g(r)": table}, path)


def compared_rdf_figure(tables, path):
    """One g(r) per pair, a curve for each set, with bands of two standard errors.

    Parameters
    ----------
    tables : dict of str to DataFrame
        By label, as `RDF.table` has them.
    path : path
        PNG to write.
    """
    pairs = list(dict.fromkeys(c.removesuffix("_error") for t in tables.values() for c in t if c.endswith("_error")))
    columns = max(1, min(len(pairs), 4))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, pair in zip(axes, pairs):
        for number, (label, table) in enumerate(tables.items()):
            if pair in table:
                g, error = table[pair], table[f"{pair}_error"]
                ax.plot(table["r_nm"], g, color=f"C{number}", label=label, lw=1.5)
                ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color=f"C{number}", alpha=0.2, lw=0)
        some = [table for table in tables.values() if pair in table]
        _frame(ax, pair, [(table[pair], table[f"{pair}_error"]) for table in some])
    for ax in axes[len(pairs) :]:
        ax.remove()
    axes[0].set_ylabel("g(r)")
    axes[0].legend(frameon=False, fontsize=8, title=BAND, title_fontsize=8)
    save(figure, path, 150)
