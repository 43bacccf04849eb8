"""The terms of a model as curves, and how often data hold the distances that they are of."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import dashed, plain, save

#: Pairs that are drawn at most, those of which the data hold most, and panels in a row.
PANELS, COLUMNS = 12, 3
#: Highest and lowest energy that is drawn, kJ/mol: 10 kT at 300 K, what lies above is hardly in any data.
HIGHEST = 25.0
STYLES = {"learnt": ("-", "tab:red", 3), "sum": ("-", "black", 2)}


def terms_figure(curves, path, distances=None):
    """u(r) of every term that is a sum over pairs and of all together, above how often the data hold each distance.

    Parameters
    ----------
    curves : DataFrame
        Columns pair, term, r_nm, u_kJ/mol and, where it is known, sd_kJ/mol; the terms "learnt" and "sum" have
        colours of their own, others are drawn dashed.
    path : path
        PNG to write.
    distances : DataFrame, optional
        As of `analysis.contacts.distance_histogram`.
    """
    pairs = list(dict.fromkeys(curves["pair"]))
    counts = {} if distances is None else distances.groupby("pair")["pairs"].sum().to_dict()
    drawn = sorted(pairs, key=lambda pair: -counts.get(pair, 0.0))[:PANELS]
    pairs, left = [pair for pair in pairs if pair in drawn], len(pairs) - PANELS
    columns = min(len(pairs), COLUMNS)
    rows = -(-len(pairs) // columns)
    each = 1 if distances is None else 2
    figure = Figure(figsize=(3.5 * columns, (3.0 if each == 1 else 4.2) * rows), layout="constrained")
    axes = figure.subplots(
        each * rows, columns, squeeze=False, sharex="col" if rows == 1 else False,
        height_ratios=[2.4, 1][:each] * rows,
    )  # fmt: skip
    priors = [term for term in dict.fromkeys(curves["term"]) if term not in STYLES]
    styles = STYLES | {term: ("--", f"C{number}", 1) for number, term in enumerate(priors) if number != 3}
    shown = {}
    for number, pair in enumerate(pairs):
        ax = axes[each * (number // columns), number % columns]
        own = curves[curves["pair"] == pair]
        for term, curve in own.groupby("term", sort=False):
            style, colour, order = styles.get(term, (":", "0.5", 1))
            (shown[term],) = ax.plot(
                curve["r_nm"],
                curve["u_kJ/mol"],
                style,
                color=colour,
                lw=1.4,
                label=plain(term),
                zorder=order,
            )
            if "sd_kJ/mol" in curve and curve["sd_kJ/mol"].notna().any():
                low, high = (curve["u_kJ/mol"] + sign * 2 * curve["sd_kJ/mol"] for sign in (-1, 1))
                ax.fill_between(curve["r_nm"], low, high, color=colour, alpha=0.2, lw=0)
        ax.axhline(0, color="0.8", lw=0.8, zorder=0)
        lowest, highest = own["u_kJ/mol"].min(), own["u_kJ/mol"].max()
        if "sd_kJ/mol" in own:  # most of the bands, for a few points at the ends of the data are known by nobody
            sd = 2 * own["sd_kJ/mol"].fillna(0)
            lowest = min(lowest, (own["u_kJ/mol"] - sd).quantile(0.1))
            highest = max(highest, (own["u_kJ/mol"] + sd).quantile(0.9))
        ax.set_ylim(max(1.15 * lowest, -HIGHEST) - 0.5, np.clip(1.15 * highest, 1.0, HIGHEST))
        span = own["r_nm"].min() - 0.02, own["r_nm"].max()
        ax.set(title=dashed(pair), xlim=span, ylabel="u(r) / (kJ/mol)" if number % columns == 0 else None)
        if each == 2:
            below = axes[2 * (number // columns) + 1, number % columns]
            seen = distances[distances["pair"] == pair]
            below.fill_between(seen["r_nm"], seen["pairs"], step="mid", color="0.6", lw=0)
            below.set(xlim=span, ylim=(0, None), ylabel="pairs per frame" if number % columns == 0 else None)
            below.set_xlabel("r / nm")
        else:
            ax.set_xlabel("r / nm")
    for number in range(len(pairs), rows * columns):
        for ax in axes[each * (number // columns) : each * (number // columns + 1), number % columns]:
            ax.remove()
    figure.legend(
        shown.values(), [line.get_label() for line in shown.values()], loc="outside lower center", ncols=4,
        frameon=False, fontsize=9, title=None if left <= 0 else f"{left} pairs more are not drawn",
    )  # fmt: skip
    save(figure, path, 130)


def distances_figure(table, path):
    """How often frames hold each distance, a curve for each pair; `table` as of `distance_histogram`."""
    counts = table.groupby("pair", sort=False)["pairs"].sum().sort_values(ascending=False)
    drawn = [pair for pair in dict.fromkeys(table["pair"]) if pair in set(counts.index[:PANELS])]
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    ax = figure.subplots()
    for number, pair in enumerate(drawn):
        own = table[table["pair"] == pair]
        ax.step(own["r_nm"], own["pairs"], where="mid", lw=1.3, color=f"C{number % 10}", label=dashed(pair))
    seen = table[table["pairs"] > 0]["r_nm"]
    ax.set(
        xlabel="r / nm", ylabel="pairs per frame and bin", ylim=(0, None), xlim=(max(0, seen.min() - 0.05), seen.max())
    )
    more = len(counts) - len(drawn)
    ax.legend(frameon=False, fontsize=9, ncols=2, title=f"{more} pairs more are not drawn" if more else None)
    save(figure, path, 130)
