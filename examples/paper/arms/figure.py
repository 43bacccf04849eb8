"""Pictures of the arms: g(r) of the three pairs in the layout of the paper, and what all arms come to."""

import matplotlib
import numpy as np

from openmm_diffusion import compute_rdf
from openmm_diffusion.units import ANGSTROM

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

ANGSTROMS, PER_ANGSTROM = 1 / ANGSTROM, ANGSTROM  # nm to Angstrom; kJ/mol/nm to kJ/mol/Angstrom
COLOURS = {
    "500-forces": "tab:orange", "500-diff": "tab:cyan", "500-aug-diff": "tab:blue", "1000-diff": "tab:purple",
    "3000-forces": "tab:red", "500-fresh-antithetic": "tab:green", "500-hybrid": "tab:olive",
    "500-exact-pair": "tab:brown",
}  # fmt: skip
SIGMA_COLOURS = ("tab:blue", "tab:orange", "tab:green")


def draw_rdf(table, frames, path, coulomb=True):
    """g(r) of every arm beside that of the frames: noise levels from top to bottom, pairs from left to right.

    Parameters
    ----------
    table : DataFrame
        Rows of `comparison.compute`.
    frames : Frames
        The reference.
    path : Path
    coulomb : bool
        Which of the two sets of arms.
    """
    columns = [column for column in table if column.startswith("g(")]
    rows = table[table["coulomb"] == coulomb]
    sigmas, pairs = sorted(s for s in rows["sigma / nm"].unique() if s > 0), list(rows["pair"].unique())
    figure, axes = plt.subplots(
        len(sigmas), len(pairs), figsize=(5 * len(pairs), 3.6 * len(sigmas)), layout="constrained", squeeze=False
    )
    if not columns:  # no run of any arm lived long enough
        figure.savefig(path, dpi=120)
        plt.close(figure)
        return
    r = np.array([float(column[2:-1]) for column in columns])
    clean = compute_rdf(frames, (r[0] - (r[1] - r[0]) / 2, r[-1] + (r[1] - r[0]) / 2))
    for i, sigma in enumerate(sigmas):
        for j, pair in enumerate(pairs):
            ax, here = axes[i, j], rows[(rows["pair"] == pair) & rows["sigma / nm"].isin([0, sigma])]
            ax.plot(ANGSTROMS * clean.r, clean.g[pair], color="k", lw=2.4, label="reference")
            for arm, group in here.groupby("arm", sort=False):
                curves = group[columns].dropna().to_numpy()
                if len(curves) == 0:
                    continue
                mean, error = curves.mean(0), curves.std(0, ddof=min(1, len(curves) - 1)) / np.sqrt(len(curves))
                ax.plot(ANGSTROMS * r, mean, color=COLOURS[arm], lw=1.2, label=arm)
                ax.fill_between(ANGSTROMS * r, mean - error, mean + error, color=COLOURS[arm], alpha=0.25, lw=0)
            top = {"Li-Cl": 4.5}.get(pair, 2.0)
            ax.set(xlim=(1.5, 10), ylim=(0, top), xlabel=r"$r$ / $\mathrm{\AA}$", ylabel=f"g(r), {pair}")
            ax.set_title(
                rf"{pair}, $\sigma$ = {ANGSTROMS * sigma:g} $\mathrm{{\AA}}$ (force arms: no noise)", fontsize=10
            )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_errors(models, path):
    """Force error, error of g(r), contact peak and survival of every arm: mean and standard error over seeds.

    Parameters
    ----------
    models : DataFrame
        One row per model.
    path : Path
    """
    arms = list(dict.fromkeys(models["arm"]))
    sigmas = sorted(s for s in models["sigma / nm"].unique() if s > 0)
    figure, axes = plt.subplots(2, 2, figsize=(15, 9), layout="constrained")
    quantities = (
        ("force error / kJ/mol/nm", PER_ANGSTROM, r"force error / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$ (rms)"),
        ("total", 1, "RMSD of g(r) from the data, rms of three pairs"),
        ("contact", 1, "Li-Cl contact peak of g(r)"),
        ("survival", 1, "mean life of runs / length of runs"),
    )
    for ax, (column, factor, label) in zip(axes.flat, quantities):
        for coulomb in (True, False):
            for number, sigma in enumerate([0.0, *sigmas]):
                part = models[(models["coulomb"] == coulomb) & (models["sigma / nm"] == sigma)]
                shift = 0.0 if sigma == 0 else 0.2 * (number - 1 - (len(sigmas) - 1) / 2)
                colour = "k" if sigma == 0 else SIGMA_COLOURS[(number - 1) % 3]
                for place, arm in enumerate(arms):
                    values = factor * part[part["arm"] == arm][column].dropna().to_numpy()
                    if len(values) == 0:
                        continue
                    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
                    at = place + shift + (0.0 if coulomb else 0.08)
                    ax.errorbar(at, values.mean(), error, fmt="o" if coulomb else "s", color=colour, capsize=3,
                                mfc=colour if coulomb else "none", ms=6)  # fmt: skip
        ax.set_xticks(range(len(arms)), arms, rotation=20, ha="right")
        ax.set_ylabel(label)
        ax.grid(axis="y", alpha=0.3)
        if column == "total":
            ax.set_yscale("log")
            ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
            ax.minorticks_off()
        if column == "contact":
            ax.axhline(models["contact of data"].iloc[0], color="0.5", ls=":")
            ax.text(-0.4, models["contact of data"].iloc[0], "data", va="bottom", color="0.4")
        if column == "survival":
            ax.set_ylim(0, 1.05)
    marks = [("k", "o", "no noise: force labels, or exact")]
    marks += [
        (SIGMA_COLOURS[k % 3], "o", rf"$\sigma$ = {ANGSTROMS * s:g} $\mathrm{{\AA}}$") for k, s in enumerate(sigmas)
    ]
    handles = [plt.Line2D([], [], color=c, marker=m, ls="none", label=text) for c, m, text in marks]
    handles += [plt.Line2D([], [], color="0.4", marker=m, mfc=f, ls="none", label=text)
                for m, f, text in (("o", "0.4", "with the Coulomb prior"), ("s", "none", "without"))]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
