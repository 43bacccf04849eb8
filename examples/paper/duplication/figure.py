"""The picture of 04_duplication.py, from its table alone."""

import matplotlib
import numpy as np

from duplication.law import laws, predicted, ratio
from duplication.network import LEARNER as NETWORK
from duplication.wells import spring_variance, threshold

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported
from matplotlib.colors import TwoSlopeNorm  # noqa: E402

COLOURS = {0.002: "tab:purple", 0.005: "tab:blue", 0.01: "tab:green", 0.0175: "tab:orange", 0.0265: "tab:red"}
SIGMA = r"noise level $\sigma$ / $\mathrm{\AA}$"
DRAWS = "draws of noise per frame $m$"
#: Of the two maps: error over that of as many labels from frames of their own.
NORM = TwoSlopeNorm(1.1, 1.0, 2.0)


def draw(table, path):
    """Eight panels.

    Parameters
    ----------
    table : pandas.DataFrame
        As `04_duplication.csv`.
    path : Path
    """
    figure, axes = plt.subplots(2, 4, figsize=(20, 9.6), layout="constrained")
    law = laws(table)
    _spring(axes[0, 0], table[table["system"] == "spring"])
    _thresholds(axes[0, 1], table, law)
    _spring_map(axes[0, 2], table)
    _licl_map(figure, axes[0, 3], table, law)
    wells = table[table["system"] == "three wells"]
    _forces(axes[1, 0], wells)
    _distances(axes[1, 1], wells)
    _visits(axes[1, 2], wells)
    _licl(axes[1, 3], table, law)
    for ax, letter in zip(axes.flat, "abcdefgh"):
        ax.set_title(f"{letter})  {ax.get_title()}", loc="left", fontsize=12)
        ax.set_title("")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _levels(ax, values, axis="x"):
    """Ticks (Angstrom) at noise levels (nm)."""
    values = 10 * np.array(sorted(values))
    (ax.set_xticks if axis == "x" else ax.set_yticks)(values, [f"{v:g}" for v in values])
    ax.minorticks_off()


def _powers(ax, most, axis="x"):
    """Ticks at powers of two."""
    ticks = 2 ** np.arange(np.log2(most) + 0.1)
    (ax.set_xticks if axis == "x" else ax.set_yticks)(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def _spring(ax, rows):
    """Squared error of n frames with m draws over that of n m frames, measured on the closed form."""
    m = np.geomspace(1, rows["m"].max(), 50)
    for sigma, level in rows.groupby("sigma / nm"):
        one = spring_variance(sigma, 1, 1)
        for learner, part in level.groupby("learner", sort=False):
            pairs = learner == "antithetic pairs"
            counts = part["n"] * part["m"] / one
            style = dict(marker="s" if pairs else "o", ls="", ms=5, capsize=2, mfc="none" if pairs else None)
            ax.errorbar(part["m"], part["value"] * counts, part["error"] * counts, color=COLOURS[sigma], **style)
            x = m[m >= 2] if pairs else m
            curve = x * spring_variance(sigma, 1, x / 2 if pairs else x, pairs) / one
            text = rf"{10 * sigma:g} $\mathrm{{\AA}}$, $m^* = {threshold(sigma):.3g}$"
            ax.plot(x, curve, "--" if pairs else "-", color=COLOURS[sigma], lw=1.3, label=None if pairs else text)
    ax.plot([], [], "ks", mfc="none", ls="--", label="antithetic pairs ($m/2$)")
    ax.set(xscale="log", yscale="log", xlabel=f"{DRAWS},  $n\\,m$ = 500", ylabel=r"squared error / that of $m = 1$")
    _powers(ax, m[-1])
    ax.set_title(r"spring: $(m + m^*)/(1 + m^*)$, closed form")
    ax.legend(frameon=False, fontsize=8)


def _thresholds(ax, table, law):
    """m* against sigma: closed form of the spring, fits to it, and LiCl beside its theory."""
    sigma = np.geomspace(0.0018, 0.035, 80)
    ax.plot(10 * sigma, threshold(sigma), "k-", lw=1.5, label=r"spring, $\frac{1}{2}[(w/\sigma)^2 + (\sigma/w)^2]$")
    ax.axhline(1, color="0.5", ls="--", lw=1, label="spring, antithetic pairs")
    styles = {
        ("spring", "single draws"): ("ko", "spring, fitted"), ("spring", "antithetic pairs"): ("ks", None),
        ("LiCl", "single draws"): ("D", "LiCl, fitted"), ("LiCl", "antithetic pairs"): ("s", "LiCl, pairs"),
    }  # fmt: skip
    for (system, learner), part in law.groupby(["system", "learner"], sort=False):
        form, label = styles[system, learner]
        style = {} if system == "spring" else {"color": "tab:blue"}
        empty = "none" if learner != "single draws" else None
        x = 10 * part["sigma / nm"] * (0.97 if system == "LiCl" else 1)
        ax.errorbar(x, part["m*"], 2 * part["error"], fmt=form, ms=6, capsize=2, mfc=empty, label=label, **style)
    A, B = (table[table["quantity"] == f"{name}, theory"].groupby("sigma / nm")["value"].mean() for name in ("A", "B"))
    ax.plot(10 * A.index * 1.04, B / A, "x", color="tab:blue", ms=8, label="LiCl, theory")
    ax.set(xscale="log", yscale="log", xlabel=SIGMA, ylabel=r"$m^* = V_\mathrm{label}/V_\mathrm{frames}$")
    _levels(ax, law["sigma / nm"].unique())
    ax.set_title("where draws stop to pay (two standard errors)")
    ax.legend(frameon=False, fontsize=8)


def _spring_map(ax, table):
    """Error of n/m frames with m draws over that of n frames with one, in closed form."""
    levels = sorted(table.loc[table["system"] == "spring", "sigma / nm"].unique())
    m, sigma = np.geomspace(1, 64, 200), np.geomspace(0.0018, 0.03, 200)
    errors = np.sqrt((m + threshold(sigma[:, None])) / (1 + threshold(sigma[:, None])))
    ax.pcolormesh(m, 10 * sigma, errors, cmap="RdYlGn_r", norm=NORM, shading="auto", rasterized=True)
    lines = ax.contour(m, 10 * sigma, errors, [1.1, 1.5, 2, 3], colors="0.2", linewidths=0.8)
    ax.clabel(lines, fontsize=8)
    ax.plot(threshold(sigma), 10 * sigma, "k-", lw=2.5, label=r"$m^*(\sigma)$")
    ax.set(xscale="log", yscale="log", xlabel=DRAWS, ylabel=SIGMA, xlim=(1, 64), ylim=(0.018, 0.3))
    _powers(ax, 64)
    _levels(ax, levels, "y")
    ax.set_title("map, spring: error of $n/m$ frames / of $n$")
    ax.legend(loc="upper right")


def _licl_map(figure, ax, table, law):
    """The same for LiCl, as measured, with standard errors: pair potentials, and below them networks."""
    licl = table[table["system"] == "LiCl"]
    rows = licl[(licl["learner"] == "single draws") & (licl["quantity"] == "squared learning error")]
    levels = sorted(rows["sigma / nm"].unique())
    kinds = sorted(set(zip(rows["n"], rows["m"])), reverse=True)
    nets = licl[licl["learner"] == NETWORK]
    lines = [(nets, s) for s in sorted(nets["sigma / nm"].unique())] + [(rows, s) for s in levels]
    found = np.full((len(lines), len(kinds) - 1, 2), np.nan)
    for i, (learner, sigma) in enumerate(lines):
        level = learner[learner["sigma / nm"] == sigma]
        for k, kind in enumerate(kinds[1:]):
            if ((level["n"] == kind[0]) & (level["m"] == kind[1])).any():
                found[i, k] = ratio(level, kind, kinds[0])
    edges, low = np.arange(len(kinds)) - 0.5, len(lines) - len(levels)
    image = ax.pcolormesh(edges, np.arange(len(lines) + 1) - 0.5, found[..., 0], cmap="RdYlGn_r", norm=NORM)
    ax.axhline(low - 0.5, color="black", lw=2)
    for i, k in np.argwhere(np.isfinite(found[..., 0])):
        ax.text(k, i, f"{found[i, k, 0]:.2f}\n± {found[i, k, 1]:.2f}", ha="center", va="center", fontsize=10)
    draws = np.log2([m for _, m in kinds[1:]])
    part = law[(law["system"] == "LiCl") & (law["learner"] == "single draws")].set_index("sigma / nm").loc[levels]
    place = np.interp(np.log2(part["m*"]), draws, np.arange(len(draws)), left=-0.5, right=len(draws) - 0.5)
    ax.plot(place, low + np.arange(len(levels)), "k-", lw=5, alpha=0.25)
    ax.set_xticks(range(len(kinds) - 1), [f"{n:.0f} x {m:.0f}" for n, m in kinds[1:]])
    names = [f"{'network' if t is nets else 'pair'}\n{10 * s:g} " + r"$\mathrm{\AA}$" for t, s in lines]
    ax.set_yticks(range(len(lines)), names)
    ax.set(xlabel="frames x draws")
    ax.set_title(rf"map, LiCl: error / of {kinds[0][0]:.0f} x 1 (line: $m^*$)")
    figure.colorbar(image, ax=ax, shrink=0.8, extend="max")


def _forces(ax, wells):
    """Force curves of one set of frames and all draws."""
    rows = wells[wells["quantity"] == "force"]
    rows = rows[rows["sigma / nm"] == (0.01 if (rows["sigma / nm"] == 0.01).any() else rows["sigma / nm"].max())]
    sigma, last = rows["sigma / nm"].iloc[0], 10 * rows["last frame / nm"].iloc[0]
    for learner, colour in (("kernel density", "tab:red"), ("spline", "tab:blue")):
        part = rows[rows["learner"] == learner].sort_values("at / nm")
        ax.plot(10 * part["at / nm"], part["value"] / 10, color=colour, lw=1.5, label=f"{learner}, all draws")
    limit = 2 * part["expected"].abs().max() / 10
    ax.plot(10 * part["at / nm"], part["expected"] / 10, "k-", lw=2, label="exact")
    ax.axvspan(last, 10 * part["at / nm"].max(), color="0.92", zorder=0, label="beyond the last frame")
    for k in range(1, 4):
        ax.axvline(last + 10 * k * sigma, color="0.7", lw=0.8, ls=":")
    ax.text(last + 10 * sigma, -0.97 * limit, r" $\sigma$, 2$\sigma$, 3$\sigma$", fontsize=8, color="0.4")
    ax.set(xlabel=r"x / $\mathrm{\AA}$", ylabel=r"force / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$", ylim=(-limit, limit))
    ax.set_title(rf"three wells, 62 frames in two, {10 * sigma:g} $\mathrm{{\AA}}$")
    ax.legend(frameon=False, fontsize=8)


def _distances(ax, wells):
    """Error beyond the last of 62 frames, in sigma: one draw, all of them, no force."""
    rows = wells[(wells["quantity"] == "error beyond the last frame") & (wells["n"] == 62)]
    shown = {
        ("spline", 1): ("tab:blue", ":", "spline, $m = 1$"),
        ("spline", np.inf): ("tab:blue", "-", "spline, all draws"),
        ("kernel density", np.inf): ("tab:red", "-", "kernel density, all draws"),
        ("no force", np.inf): ("0.4", "--", "no force at all"),
    }
    for marker, (sigma, level) in zip("osD", rows.groupby("sigma / nm")):
        for (learner, m), (colour, style, _) in shown.items():
            part = level[(level["learner"] == learner) & (level["m"] == m)].sort_values("at / sigma")
            x, y, error = (part[name] for name in ("at / sigma", "value", "error"))
            ax.plot(x, y, ls=style, color=colour, marker=marker, ms=4, mfc="none", lw=1.2)
            ax.fill_between(x, y - 2 * error, y + 2 * error, color=colour, alpha=0.15, lw=0)
        ax.plot([], [], "k", marker=marker, ls="", mfc="none", label=rf"$\sigma$ = {10 * sigma:g} $\mathrm{{\AA}}$")
    for colour, style, label in shown.values():
        ax.plot([], [], ls=style, color=colour, label=label)
    ax.set(
        yscale="log", xlabel=r"distance beyond the last frame / $\sigma$", ylabel="force error / rms force in a well"
    )
    ax.set_title("error beyond the last frame")
    ax.legend(frameon=False, fontsize=8, ncols=2)


def _visits(ax, wells):
    """Error in the third well against the frames that are there, for several numbers of draws."""
    rows = wells[wells["quantity"] == "error in the third well, visited"]
    sigma = 0.01 if (rows["sigma / nm"] == 0.01).any() else rows["sigma / nm"].max()
    rows = rows[rows["sigma / nm"] == sigma]
    places = {v: k for k, v in enumerate(sorted(rows["visits"].unique()))}
    draws = sorted(rows["m"].unique())
    for m, colour in zip(draws, plt.get_cmap("viridis")(np.linspace(0, 0.85, len(draws)))):
        part = rows[rows["m"] == m].sort_values("visits")
        label = "all draws" if np.isinf(m) else f"m = {m:g}"
        style = dict(color=colour, marker="o", ms=5, capsize=2)
        ax.errorbar([places[v] for v in part["visits"]], part["value"], 2 * part["error"], label=label, **style)
    ax.axhline(1, color="0.4", ls="--", lw=1, label="no force at all")
    ax.set_xticks(range(len(places)), [f"{v:.0f}" for v in places])
    ax.set(yscale="log", xlabel="of 62 frames, in the third well", ylabel="force error there / rms force in a well")
    ax.set_title(rf"the third well, spline, {10 * sigma:g} $\mathrm{{\AA}}$")
    ax.legend(frameon=False, fontsize=8)


def _licl(ax, table, law):
    """Learning error on LiCl at n m = 500: penalty fixed, with the law, and chosen."""
    rows = table[(table["system"] == "LiCl") & (table["quantity"] == "squared learning error")]
    labels = rows.loc[rows["learner"] == "single draws", "n"].max()
    part = law[(law["system"] == "LiCl") & (law["learner"] == "single draws")].set_index("sigma / nm")
    for sigma, level in rows.groupby("sigma / nm"):
        one, pool = part.loc[sigma], level["pool"].iloc[0]
        for learner, marker, full in (
            ("single draws, fixed penalty", "o", True), ("single draws", "o", False),
            ("antithetic pairs, fixed penalty", "^", True),
        ):  # fmt: skip
            some = level[(level["learner"] == learner) & (level["n"] * level["m"] <= labels)]
            some = some[some["n"] * some["m"] > 0.9 * labels]
            squares = some.groupby("m")["value"].agg(["mean", "sem"])
            y = np.sqrt(squares["mean"])
            style = dict(color=COLOURS[sigma], marker=marker, ms=6, mfc=None if full else "none", ls="", capsize=2)
            ax.errorbar(squares.index, y / 10, squares["sem"] / (2 * y) / 10, **style)
        m = np.geomspace(1, rows.loc[np.isfinite(rows["m"]), "m"].max(), 40)
        curve = np.sqrt(predicted(labels / m, m, one["A"], one["B"], pool)) / 10
        ax.plot(m, curve, color=COLOURS[sigma], lw=1.2, label=rf"{10 * sigma:g} $\mathrm{{\AA}}$")
    for marker, full, text in (("o", True, "fixed penalty, and its law"), ("o", False, "penalty chosen"),
                               ("^", True, "antithetic pairs, fixed")):  # fmt: skip
        ax.plot([], [], "k", marker=marker, ls="", mfc=None if full else "none", label=text)
    ax.set(xscale="log", yscale="log", xlabel=f"{DRAWS},  $n\\,m$ = {labels:.0f}")
    ax.set_ylabel(r"learning error / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$")
    _powers(ax, m[-1])
    ax.set_yticks([0.2, 0.5, 1, 2, 3], ["0.2", "0.5", "1", "2", "3"])
    ax.set_ylim(0.35 * ax.get_ylim()[0], None)
    ax.set_title("LiCl: learning error of a pair potential")
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower left")
