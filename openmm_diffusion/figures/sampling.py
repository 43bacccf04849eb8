"""Samples from noise: what their weights are worth, and their g(r)."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import BAND, dashed, save

#: Curves of g(r): how the columns end, what they are called, colour and line.
CURVES = [
    ("noised", "reference", "black", "-"),
    ("model", "samples", "tab:red", "-"),
    ("weighted", "samples, by weight", "tab:orange", "--"),
]


def samples_figure(levels, number, curves, path):
    """Effective samples and accepted steps level by level, and beside them g(r), where there is something to compare.

    Parameters
    ----------
    levels : DataFrame
        As `Samples.levels`.
    number : int
        Samples.
    curves : DataFrame or None
        As `workflows.annealing.compare` has them.
    path : path
        PNG to write.
    """
    pairs = [] if curves is None else [c.removesuffix("_clean") for c in curves if c.endswith("_clean")]
    figure = Figure(figsize=(4.2 * (1 + len(pairs)), 3.6), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(pairs), squeeze=False)[0]
    first.plot(levels["sigma"], levels["effective"] / number, color="tab:red", label="effective samples")
    first.plot(levels["sigma"], levels["accepted"], color="tab:gray", label="accepted steps")
    first.set(xscale="log", xlabel=r"noise level $\sigma$ / nm", ylabel="part of all", ylim=(0, 1.02))
    first.invert_xaxis()
    first.legend(frameon=False, fontsize=8, title="from noise (left) to data", title_fontsize=8)
    for ax, pair in zip(others, pairs):
        for end, label, colour, line in CURVES:
            if f"{pair}_{end}" in curves:
                g, error = np.asarray(curves[f"{pair}_{end}"]), np.asarray(curves[f"{pair}_{end}_error"])
                ax.plot(curves["r_nm"], g, line, color=colour, label=label, lw=1.5)
                ax.fill_between(curves["r_nm"], g - 2 * error, g + 2 * error, color=colour, alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        top = max(1.2, float(np.nanmax([curves[f"{pair}_noised"], curves[f"{pair}_model"]])))
        ax.set(xlabel="r / nm", title=dashed(pair), ylim=(0, 1.08 * top))
    if others:
        others[0].set_ylabel("g(r)")
        others[0].legend(frameon=False, fontsize=8, loc="lower right", title=BAND, title_fontsize=8)
    save(figure, path, 150)
