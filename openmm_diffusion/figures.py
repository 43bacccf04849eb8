"""Every picture, drawn from tables only."""

import matplotlib

matplotlib.use("Agg")

import pandas  # noqa: E402 - the backend must be chosen before pyplot is imported
from matplotlib import pyplot as plt  # noqa: E402

COLOURS = {"clean": "black", "noised": "tab:gray", "model": "tab:red"}
LABELS = {"clean": "reference", "noised": "reference, noised", "model": "MD under the model"}


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
    pairs = [c.removesuffix("_clean") for c in table if c.endswith("_clean")]
    figure, axes = plt.subplots(1, len(pairs), figsize=(4.2 * len(pairs), 3.6), sharex=True, layout="constrained")
    for ax, pair in zip(axes if len(pairs) > 1 else [axes], pairs):
        for curve, colour in COLOURS.items():
            g, error = table[f"{pair}_{curve}"], table[f"{pair}_{curve}_error"]
            label = LABELS[curve]
            if curve == "noised" and sigma:
                label += rf" ($\sigma$ = {sigma * 1000:g} pm)"
            style = "--" if curve == "noised" else "-"
            ax.plot(table["r_nm"], g, style, color=colour, label=label, lw=1.5, zorder=3 if curve == "model" else 2)
            if curve != "noised":
                ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color=colour, alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        ax.set(xlabel="r / nm", title=pair.replace("-", "\N{EN DASH}"), ylim=(0, None))
    first = axes[0] if len(pairs) > 1 else axes
    first.set_ylabel("g(r)")
    first.legend(frameon=False, fontsize=8, loc="lower right")
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def simple_rdf_figure(table, path):
    """One g(r) per pair, as `RDF.table` has them, with bands of two standard errors."""
    pairs = [c.removesuffix("_error") for c in table if c.endswith("_error")]
    figure, axes = plt.subplots(1, len(pairs), figsize=(4.2 * len(pairs), 3.6), layout="constrained", squeeze=False)
    for ax, pair in zip(axes[0], pairs):
        g, error = table[pair], table[f"{pair}_error"]
        ax.plot(table["r_nm"], g, color="tab:blue")
        ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color="tab:blue", alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        ax.set(xlabel="r / nm", ylabel="g(r)", title=pair.replace("-", "\N{EN DASH}"), ylim=(0, None))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def loss_figure(log, path):
    """Training and held-out loss against the step, from the CSV log of the loop.

    Parameters
    ----------
    log : path
        metrics.csv.
    path : path
        PNG to write.
    """
    table = pandas.read_csv(log)
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for column, label, colour in (
        ("training_loss", "training, fresh noise", "tab:blue"),
        ("held_out_loss", "held out", "tab:red"),
    ):
        rows = table.dropna(subset=[column])
        ax.plot(rows["step"] + 1, rows[column], "o-", ms=3, color=colour, label=label)
    ax.axhline(0, color="0.7", lw=0.8, label="no network")
    ax.set(xlabel="step", ylabel=r"$\langle |F|^2 - 2\,F\cdot T\rangle$ / (kT / 0.1 nm)$^2$")
    ax.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
