"""Speed of every way to run a model."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import save


def benchmark_figure(table, path, title=None):
    """Bars of steps per second, all copies together, with quartiles over the rounds, and the ratio to the prior.

    Parameters
    ----------
    table : DataFrame
        As `benchmark` returns it; rows that were not measured have their note instead of a bar.
    path : path
        PNG to write.
    title : str, optional
    """
    figure = Figure(figsize=(8, 1.4 + 0.45 * len(table)), layout="constrained")
    ax = figure.subplots()
    speed, low, high = (table["copies"] * table[f"steps_per_s{end}"] for end in ("", "_low", "_high"))
    largest = 1.0 if speed.isna().all() else high.max()
    names = []
    for y, row in enumerate(table.itertuples()):
        names.append(row.path if row.copies == 1 else f"{row.path}, {row.copies} copies")
        if np.isnan(speed.iloc[y]):
            # A sentence of any length must not push the axes aside.
            text = row.note if len(row.note) <= 95 else row.note[:92] + "..."
            ax.text(0.01 * largest, y, text, va="center", fontsize=8, color="0.4")
            continue
        colour = "0.7" if row.path == "prior" else "tab:blue"
        spread = [[speed.iloc[y] - low.iloc[y]], [high.iloc[y] - speed.iloc[y]]]
        ax.barh(y, speed.iloc[y], xerr=spread, color=colour, height=0.6, capsize=3)
        ratio = "" if row.path == "prior" or np.isnan(row.ratio) else f"  ({row.ratio:.2g})"
        ax.text(high.iloc[y] + 0.015 * largest, y, f"{speed.iloc[y]:,.0f}{ratio}", va="center", fontsize=9)
    ax.set_yticks(range(len(table)), names)
    ax.set_ylim(len(table) - 0.5, -0.5)
    meaning = "in brackets: ratio to the prior alone; bars: quartiles of the rounds"
    ax.set(xlabel=f"steps / s, all copies together; {meaning}", xlim=(0, 1.3 * largest))
    ax.set_title(title, fontsize=10)
    save(figure, path, 150)
