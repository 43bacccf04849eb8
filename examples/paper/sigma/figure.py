"""The picture of 02_error_against_sigma.py, from its tables alone."""

import matplotlib
import numpy as np

from openmm_diffusion.units import ANGSTROM
from sigma.double_well_dimer import COMPONENT, LOOK, WEIGHT, double_well, smoothed_force
from sigma.harmonic_well import WIDTH, crossing_theory
from sigma.learners import EXACT, FORCE, KT, LEARNERS, SINGLE, rms
from sigma.licl_runs import TIME_STEP

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported
from matplotlib.lines import Line2D  # noqa: E402

#: Learners that the picture shows.
SHOWN = (SINGLE, "labels, 1 antithetic pair", "labels, 4 antithetic pairs", EXACT)
COLOURS = dict(zip(LEARNERS, ("tab:red", "tab:orange", "goldenrod", "tab:olive", "tab:blue")))
#: kJ/mol/nm and nm of the table to kJ/mol/Angstrom and Angstrom of the picture.
PER_ANGSTROM, ANGSTROMS = ANGSTROM, 1 / ANGSTROM


def draw(table, summary, path):
    """Seven panels: bias of the three systems, the denoiser, where bias and scatter cross, g(r) and survival.

    Parameters
    ----------
    table, summary : pandas.DataFrame
        As `02_error_against_sigma.csv` and `02_error_against_sigma_fits.csv`.
    path : Path
    """
    figure, axes = plt.subplots(2, 4, figsize=(20, 9.4), layout="constrained")
    _harmonic(axes[0, 0], table)
    _dimer(axes[0, 1], table)
    _licl(axes[0, 2], table)
    _denoiser(axes[0, 3], table, summary)
    _crossings(axes[1, 0], summary)
    _structure(axes[1, 1], table)
    _survival(axes[1, 2], table)
    for ax, letter in zip(axes.flat, "abcdefg"):
        ax.set_title(f"{letter})  {ax.get_title()}", loc="left", fontsize=12)
        ax.set_title("")
    for ax in axes[0]:
        ax.set(xscale="log", yscale="log", xlabel=r"noise level $\sigma$ / $\mathrm{\AA}$")
        ax.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"])
        ax.minorticks_off()
    for ax in axes[0, :3]:
        ax.set_ylabel(r"rms force error / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$")
    learners = [Line2D([], [], color=COLOURS[learner], lw=4, label=learner) for learner in SHOWN]
    axes[1, 3].axis("off")
    axes[1, 3].legend(handles=learners, loc="center left", frameon=False, fontsize=12, title_fontsize=12,
                      alignment="left", title="learners in a, b, c, e, f\n"
                      "(bands: one standard deviation over seeds)")  # fmt: skip
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _levels(rows, column):
    """Mean, standard deviation over seeds, of a column at each level: x in Angstrom."""
    grouped = rows.dropna(subset=[column]).groupby("sigma_nm")[column]
    mean, spread = grouped.mean().abs(), grouped.std().fillna(0)
    return mean.index.to_numpy() * ANGSTROMS, mean.to_numpy(), spread.to_numpy()


def _points(ax, rows, column, factor=PER_ANGSTROM, **style):
    x, y, spread = _levels(rows, column)
    ax.errorbar(x, factor * y, factor * np.minimum(spread, 0.9 * y), ls="none", capsize=2, zorder=4, **style)


def _scatters(ax, rows, sizes):
    """Scatter of the learners at the fewest and the most frames, with bands of one standard deviation over seeds."""
    for learner in (SHOWN[0], SHOWN[1], EXACT):
        for n, style in zip(sizes, ("--", "-")):
            part = rows[(rows["learner"] == learner) & (rows["frames"] == n)]
            x, y, spread = _levels(part, f"scatter_{FORCE}")
            y, spread = PER_ANGSTROM * y, PER_ANGSTROM * spread
            ax.plot(x, y, style, color=COLOURS[learner], lw=1.4)
            ax.fill_between(x, np.maximum(y - spread, 0.3 * y), y + spread, color=COLOURS[learner], alpha=0.15, lw=0)
    for n, style in zip(sizes, ("--", "-")):
        ax.plot([], [], style, color="0.4", lw=1.4, label=f"scatter, {n:,} frames")


def _harmonic(ax, table):
    rows = table[table["part"] == "harmonic"]
    ax.set_title("harmonic well: bias and scatter of the learnt spring")
    sigma = np.geomspace(0.001, 0.05, 100)
    s2 = (sigma / WIDTH) ** 2
    ax.plot(ANGSTROMS * sigma, PER_ANGSTROM * KT / WIDTH * s2 / (1 + s2), "k-", lw=2, label="bias, closed form")
    most = rows[rows["frames"] == rows["frames"].max()]
    _points(ax, most[most["learner"] == EXACT], f"bias_{FORCE}", fmt="ko", ms=5, label="bias, measured")
    sizes = sorted(rows["frames"].unique())
    _scatters(ax, rows, (sizes[0], sizes[-1]))
    ax.axhline(PER_ANGSTROM * KT / WIDTH, color="0.6", lw=0.8, ls=":")
    ax.text(0.0105, 1.06 * PER_ANGSTROM * KT / WIDTH, "rms force", color="0.4", fontsize=8, va="bottom")
    ax.set_ylim(0.0008, 20)
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _dimer(ax, table):
    rows, scatter = table[table["part"] == "dimer"], table[table["part"] == "dimer scatter"]
    ax.set_title("double-well dimer: spline pair potential")
    sigma, (_, force) = np.geomspace(0.001, 0.05, 40), double_well(LOOK)
    bias = [rms(smoothed_force(LOOK, s) - force, WEIGHT) * COMPONENT for s in sigma]
    ax.plot(ANGSTROMS * sigma, PER_ANGSTROM * np.array(bias), "k-", lw=2, label="bias, quadrature")
    _points(ax, rows, f"bias_{FORCE}", fmt="ko", ms=5, label="bias, measured")
    _points(ax, rows, f"error_{FORCE}", fmt="s", mfc="none", color="0.45", ms=5,
            label=f"total error, {rows['frames'].max():,} frames")  # fmt: skip
    sizes = sorted(scatter["frames"].unique())
    _scatters(ax, scatter, (sizes[0], sizes[-1]))
    size = PER_ANGSTROM * rms(force, WEIGHT) * COMPONENT
    ax.axhline(size, color="0.6", lw=0.8, ls=":")
    ax.text(0.0105, 1.06 * size, "rms force", color="0.4", fontsize=8, va="bottom")
    ax.set_ylim(0.004, 12)
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _licl(ax, table):
    rows, theory = table[table["part"] == "licl"], table[table["part"] == "licl theory"].sort_values("sigma_nm")
    scatter = table[table["part"] == "licl scatter"]
    ax.set_title("2.4 M LiCl: spline pair potential over Coulomb")
    x = ANGSTROMS * theory["sigma_nm"]
    ax.plot(
        x, PER_ANGSTROM * theory[f"bias_second_order_{FORCE}"], "k:", lw=1.5, label=r"bias, second order in $\sigma$"
    )
    ax.plot(x, PER_ANGSTROM * theory[f"bias_theory_{FORCE}"], "k-", lw=2, label="bias, sampled to all orders")
    # The bias on the very frames that theory was sampled for.
    _points(ax, theory, f"bias_{FORCE}", fmt="ko", ms=5, label="change by noise, measured")
    _points(ax, theory, f"bias_along_theory_{FORCE}", fmt="k+", ms=8, label="of it, along the shape of theory")
    most = rows["frames"].max()
    noisy = rows[rows["sigma_nm"] > 0]
    _points(ax, noisy, f"error_{FORCE}", fmt="s", mfc="none", color="0.45", ms=5, label=f"total error, {most:,} frames")
    clean = PER_ANGSTROM * rows[rows["sigma_nm"] == 0][f"error_{FORCE}"].mean()
    ax.axhline(clean, color="tab:blue", lw=0.8, ls=":")
    ax.text(0.52, 0.93 * clean, "fit to clean frames", ha="right", color="tab:blue", fontsize=8, va="top")
    sizes = sorted(scatter["frames"].unique())
    _scatters(ax, scatter, (sizes[0], sizes[-1]))
    ax.set_ylim(0.012, 12)
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _denoiser(ax, table, summary):
    ax.set_title(r"unscaled denoiser: error of $D(y) - y$ as $\sigma^2 F/kT$")
    styles = {"harmonic": ("tab:green", "o"), "dimer": ("tab:purple", "s"), "licl": ("tab:blue", "D")}
    for system, (colour, marker) in styles.items():
        rows = table[(table["part"] == system) & (table["learner"] == EXACT) & (table["sigma_nm"] > 0)]
        rows = rows[rows["frames"] == rows["frames"].max()]
        found = summary[(summary["system"] == system) & summary["quantity"].str.contains("unscaled")]
        text = f"{system.replace('licl', 'LiCl')}: exponent {found['value'].iloc[0]:.2f}" if len(found) else system
        text += rf" $\pm$ {found['error'].iloc[0]:.2f}" if len(found) and np.isfinite(found["error"].iloc[0]) else ""
        _points(ax, rows, "denoiser_error_nm", ANGSTROMS, fmt=marker, color=colour, ms=5, label=text)
        x, y, _ = _levels(rows, "denoiser_error_nm")
        guide = np.array([x[0], 8 * x[0]])
        ax.plot(guide, ANGSTROMS * y[0] * (guide / guide[0]) ** 4, color=colour, lw=1, ls="--")
    x = np.array([0.01, 0.5])
    ax.plot(x, x, color="0.6", lw=0.8, ls=":")
    ax.text(0.011, 0.014, r"$\sigma$ itself", color="0.4", fontsize=8, va="bottom")
    ax.plot([], [], "k--", lw=1, label=r"$\sigma^4$ through the first point")
    ax.set_ylabel(r"rms per component / $\mathrm{\AA}$")
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _crossings(ax, summary):
    ax.set_title("where bias and scatter cross")
    rows = summary[summary["quantity"].str.startswith("crossing")]
    markers = {"harmonic": "o", "dimer": "s", "licl": "D"}
    n = np.array([100, 2500])
    for learner in SHOWN:
        for system, marker in markers.items():
            part = rows[(rows["system"] == system) & (rows["learner"] == learner)].sort_values("frames")
            ax.errorbar(part["frames"], ANGSTROMS * part["value"], ANGSTROMS * part["error"].fillna(0), fmt=marker,
                        color=COLOURS[learner], ms=5, mfc="none" if system == "licl" else None, capsize=2,
                        ls="none" if system == "harmonic" else "-", lw=1)  # fmt: skip
        ax.plot(n, [ANGSTROMS * crossing_theory(learner, k) for k in n], "--", color=COLOURS[learner], lw=1)
    for system, marker in markers.items():
        name = system.replace("licl", "LiCl").replace("harmonic", "harmonic (dashed: closed form)")
        ax.plot([], [], marker, color="k", ls="none", mfc="none" if system == "licl" else None, label=name)
    ax.set(xscale="log", yscale="log", xlabel="frames", ylabel=r"$\sigma$ at the crossing / $\mathrm{\AA}$")
    ax.set_xticks([125, 250, 500, 1000, 2000], ["125", "250", "500", "1,000", "2,000"])
    ax.set_yticks([0.01, 0.02, 0.03, 0.05, 0.1], ["0.01", "0.02", "0.03", "0.05", "0.1"])
    ax.minorticks_off()
    ax.set_ylim(0.012, 0.15)
    ax.legend(frameon=False, fontsize=8, loc="lower left")


def _places(ax, rows):
    """Levels as places on an axis that has room for 0, which no logarithm has."""
    place = {sigma: i for i, sigma in enumerate(sorted(rows["sigma_nm"].unique()))}
    ax.set_xticks(range(len(place)), [f"{ANGSTROMS * s:g}" for s in place])
    ax.set_xlabel(r"noise level $\sigma$ / $\mathrm{\AA}$")
    return place


def _structure(ax, table):
    ax.set_title("LiCl: g(r) of molecular dynamics")
    rows = table[table["part"] == "md"].sort_values("sigma_nm")
    if "g_total" not in rows or rows["g_total"].isna().all():
        return
    place, noisy = _places(ax, rows), f"{SINGLE}, no wall"
    for learner, column, style, colour, label in (
        (EXACT, "g_total", "o-", "k", "exact: MD from clean frames"),
        (EXACT, "g_learning", "D-", COLOURS[EXACT], "exact: MD from noised frames (learning)"),
        (noisy, "g_learning", "D-", COLOURS[SINGLE], "single draw: MD from noised frames (learning)"),
    ):
        part = rows[(rows["learner"] == learner) & rows[column].notna()]
        x = [place[s] for s in part["sigma_nm"]]
        n = f", {part['frames'].max():,.0f} frames" if len(part) else ""
        ax.errorbar(x, part[column], part["g_error"], fmt=style, color=colour, capsize=2, label=label + n)
    part = rows[(rows["learner"] == EXACT) & (rows["g_smoothing"] > 0)]
    ax.plot(
        [place[s] for s in part["sigma_nm"]], part["g_smoothing"], "k--", label="noised from clean frames (smoothing)"
    )
    ax.axhline(
        rows["g_reference"].mean(), color="0.5", lw=0.8, ls=":", label="one half of the clean frames from the other"
    )
    ax.set(yscale="log", ylabel="RMSD of g(r), rms of the three pairs", ylim=(0.003, 40))
    ax.legend(frameon=False, fontsize=8.5, loc="upper left")


def _survival(ax, table):
    ax.set_title("LiCl: survival of molecular dynamics")
    rows = table[table["part"] == "md"]
    place, whole = _places(ax, rows), rows["steps"].max() * TIME_STEP
    kinds = {EXACT: (COLOURS[EXACT], -0.27, 1), f"{EXACT}, no wall": (COLOURS[EXACT], 0, 0.4),
             f"{SINGLE}, no wall": (COLOURS[SINGLE], 0.27, 0.4)}  # fmt: skip
    for learner, (colour, shift, alpha) in kinds.items():
        part = rows[rows["learner"] == learner]
        ax.bar([place[s] + shift for s in part["sigma_nm"]], part["survival_ps"], 0.26, color=colour, alpha=alpha,
               label=f"{learner.replace(EXACT, 'exact')}, {part['frames'].max():,} frames")  # fmt: skip
    ax.axhline(whole, color="0.5", lw=0.8, ls=":")
    ax.set(ylim=(0, 1.4 * whole), ylabel=f"mean survival of {rows['runs'].max():.0f} runs / ps (of {whole:g})")
    ax.legend(frameon=False, fontsize=8.5, loc="upper left")
