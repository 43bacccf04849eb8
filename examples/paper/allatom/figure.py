"""The picture of 07_all_atom.py, from its table alone."""

import matplotlib
import numpy as np
from protocol.verdicts import mean_error

from allatom.claims import (
    ALONE,
    BOTH,
    LINEAR,
    LONG,
    LONGER,
    LONGEST,
    NETWORKS,
    WALLED,
    WALLED_LONGEST,
    arms,
    survival,
)
from allatom.stiffness import STIFF, closed_form
from openmm_diffusion.units import thermal_energy

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

COLOURS = {
    ALONE: "tab:red", LONGER: "tab:purple", LONGEST: "tab:purple", WALLED: "tab:orange", WALLED_LONGEST: "tab:orange",
    BOTH: "tab:green", LINEAR: "tab:blue", LONG: "navy",
}  # fmt: skip
KINDS = {
    "C-H": "tab:orange",
    "N-H": "tab:purple",
    "O-H": "tab:purple",
    "C-C": "0.3",
    "C-N": "tab:brown",
    "C-O": "tab:pink",
}
ORDER = ("1 draw", "2 draws", "4 draws", "fresh pairs")


def draw(table, path):
    """Eight panels.

    Parameters
    ----------
    table : pandas.DataFrame
        As `07_all_atom.csv`.
    path : Path
    """
    # Those of long runs, which a quick table has not.
    table = table.reindex(columns=table.columns.union(["set", "at", "at psi"], sort=False))
    figure, axes = plt.subplots(2, 4, figsize=(20, 9.2), layout="constrained")
    _stiffness(axes[0, 0], table[table["quantity"] == "stiffness"])
    learners(axes[0, 1], table[table["quantity"] == "stiffness"])
    errors(axes[0, 2], table[table["quantity"] == "force error"])
    lives(axes[0, 3], table[table["quantity"] == "life"])
    long = table[table["learner"] == LONG]
    _map(axes[1, 0], long, "data")
    _map(axes[1, 1], long, "model")
    _basins(axes[1, 2], long[long["quantity"] == "basin"])
    _densities(axes[1, 3], long[long["quantity"].str.startswith("density")])
    finish(figure, axes, path)


def finish(figure, axes, path):
    """Legends, a word where a quick table has nothing, and the file."""
    for ax in axes.flat:
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=9)
        elif not ax.has_data():
            ax.text(0.5, 0.5, "in the full setting", ha="center", color="0.5", transform=ax.transAxes)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _stiffness(ax, rows):
    """What noise leaves of one bond and of those of the molecule, by linear energies."""
    kT = thermal_energy(300.0)
    line = np.linspace(0, 0.0055, 100)
    linear = rows[rows["learner"] == LINEAR]
    for kind, part in linear[linear["system"] == "alanine"].groupby("kind"):
        told = part.groupby("sigma / nm")["value"].agg(["mean", "std"])
        k = part["k clean"].mean()
        ax.plot(10 * line, closed_form(k, line, kT), color=KINDS[kind], lw=1)
        style = dict(ls="", marker="o", ms=5, color=KINDS[kind], label=kind)
        ax.errorbar(10 * told.index, told["mean"], 2 * told["std"].fillna(0), **style)
    one = linear[linear["system"] == "one bond"].groupby("sigma / nm")["value"].agg(["mean", "std"])
    style = dict(ls="", marker="D", mfc="none", ms=9, color="black", label="one C-H bond alone")
    ax.errorbar(10 * one.index, one["mean"], 2 * one["std"], **style)
    ax.plot(10 * line, closed_form(STIFF, line, kT), color="black", lw=1, ls=":")
    ax.set(xlabel=r"$\sigma$ / $\mathrm{\AA}$", ylabel="stiffness / kJ mol$^{-1}$ nm$^{-2}$", ylim=(0, None))
    ax.set_title(r"Noise softens bonds; lines: $k/(1+2\sigma^2 k/kT)$")


def beside(rows):
    """Networks that rows are of: how far from the number of draws each is drawn, beside the others, and how wide."""
    present = [learner for learner in NETWORKS if (rows["learner"] == learner).any()]
    width = min(0.25, 0.85 / max(len(present), 1))
    return {learner: (width * (k - (len(present) - 1) / 2), width) for k, learner in enumerate(present)}


def bars(ax, found, offset, width, learner):
    """Means with two standard errors for every number of draws."""
    names = [name for name in ORDER if name in found]
    at = np.array([ORDER.index(name) for name in names]) + offset
    values = np.array([mean_error(found[name]) for name in names])
    ax.bar(at, values[:, 0], 0.96 * width, color=COLOURS[learner], label=learner, alpha=0.85)
    ax.errorbar(at, values[:, 0], 2 * np.nan_to_num(values[:, 1]), ls="", color="black", capsize=3)
    ax.set_xticks(range(len(ORDER)), ORDER)


def learners(ax, rows, molecule="alanine dipeptide"):
    """Stiffness of all bonds of the molecule over the closed form, by learner and draws."""
    for learner, place in beside(rows).items():
        part = rows[rows["learner"] == learner]
        bars(ax, {n: p.groupby("seed")["ratio"].mean() for n, p in arms(part).items()}, *place, learner)
    ax.axhline(1, color="black", lw=1)
    ax.set(ylabel="stiffness / closed form", ylim=(0, 1.4))
    ax.set_title(f"Bonds of {molecule} under networks")


def errors(ax, rows):
    """Force errors."""
    for learner, place in beside(rows).items():
        part = rows[rows["learner"] == learner]
        bars(ax, {n: p.groupby("seed")["value"].mean() for n, p in arms(part).items()}, *place, learner)
    for (sigma, part), style in zip(rows[rows["learner"] == LINEAR].groupby("sigma / nm"), ("-", "--", "-.", ":")):
        label = rf"linear alone, $\sigma$ = {10 * sigma:g} $\mathrm{{\AA}}$"
        ax.axhline(part["value"].mean(), color=COLOURS[LINEAR], ls=style, lw=1.5, label=label)
    if rows["of"].notna().any():
        ax.axhline(rows["of"].max(), color="0.5", lw=1, label="rms of the true forces")
    top = 1.75 * rows["of"].max() if rows["of"].notna().any() else None
    ax.set(ylabel="force error / kJ mol$^{-1}$ nm$^{-1}$", ylim=(0, top))
    ax.set_title("Error against the true forces, other runs")


def lives(ax, rows, title="Lives of runs, and how many reached the end"):
    """Lives of runs: every one, and the share that reached the end."""
    networks = rows[rows["learner"].isin(NETWORKS)]
    placed = beside(networks)
    ends = networks.groupby("learner")["of"].first()
    for above, (learner, (offset, width)) in enumerate(placed.items()):
        part = rows[rows["learner"] == learner]
        for name, own in arms(part).items():
            at = ORDER.index(name) + offset + np.linspace(-0.36, 0.36, len(own)) * width
            ax.plot(at, own["value"], ls="", marker="o", ms=5, color=COLOURS[learner], alpha=0.7)
            alive, of, _ = survival(own)
            place = (ORDER.index(name) + offset, 1.25 * 1.5**above * ends[learner])
            ax.annotate(f"{alive}/{of}", place, ha="center", fontsize=9, color=COLOURS[learner])
        ax.plot([], [], ls="", marker="o", color=COLOURS[learner], label=f"{learner}, to {ends[learner]:g} ps")
    told = [
        rf"{10 * part['sigma / nm'].iloc[0]:g} $\mathrm{{\AA}}$ {survival(part)[0]} of {len(part)}, "
        f"{part['of'].iloc[0]:g} ps"
        for _, part in rows[rows["learner"].isin([LINEAR, LONG])].groupby(["learner", "sigma / nm"])
    ]
    lines = ["; ".join(told[k : k + 2]) for k in range(0, len(told), 2)]
    # Room for the counts above and the legend below.
    ax.set(
        yscale="log",
        ylim=(0.0004, 1.25 * 1.5 ** (len(placed) + 1) * ends.max()),
        ylabel="life of a run / ps",
        xlabel="linear energies alone:\n" + "\n".join(lines),
    )
    ax.set_xticks(range(len(ORDER)), ORDER)
    ax.set_title(title)


def _map(ax, rows, of):
    """Free energy of phi and psi, in kT."""
    counts = rows[(rows["quantity"] == "map") & (rows["set"] == of)]
    if counts.empty:
        return
    edges = np.linspace(-180, 180, 37)
    H = np.histogram2d(counts["at"], counts["at psi"], bins=[edges, edges], weights=counts["value"])[0]
    with np.errstate(divide="ignore"):
        F = -np.log(H / H.max())
    mesh = ax.pcolormesh(edges, edges, np.where(np.isfinite(F), F, np.nan).T, cmap="viridis", vmin=0, vmax=7)
    ax.figure.colorbar(mesh, ax=ax, label="free energy / kT")
    ax.set(xlabel=r"$\phi$ / degree", ylabel=r"$\psi$ / degree")
    names = {"data": "amber14 and OBC2, 4.6 ns", "model": "linear energies, from positions alone"}
    ax.set_title(f"All 22 atoms: {names[of]}")


def _basins(ax, rows):
    """Populations with two standard errors."""
    for of, offset, colour in (("data", -0.2, "0.4"), ("model", 0.2, COLOURS[LONG])):
        part = rows[rows["set"] == of]
        if len(part):
            at = np.arange(len(part)) + offset
            ax.bar(at, part["value"], 0.38, color=colour, label=of)
            ax.errorbar(at, part["value"], 2 * part["error"], ls="", color="black", capsize=3)
            ax.set_xticks(range(len(part)), part["kind"])
    ax.set(ylabel="population")
    ax.set_title("Basins, two standard errors over runs")


def _densities(ax, rows):
    """Distributions, each scaled to its own height and moved to a place of its own."""
    for place, (kind, part) in enumerate(rows.groupby(["quantity", "kind"])):
        for of, style in (("data", dict(color="0.4", lw=4, alpha=0.5)), ("model", dict(color=COLOURS[LONG], lw=1.4))):
            own = part[part["set"] == of]
            low, high = part["at"].min(), part["at"].max()
            y = place + 0.9 * own["value"] / part["value"].max()
            ax.plot((own["at"] - low) / (high - low), y, label=of if place == 0 else None, **style)
        unit = "nm" if "bond" in kind[0] else "degree"
        ax.text(0.01, place + 0.55, f"{kind[1]}\n{low:.3g} to {high:.3g} {unit}", fontsize=8)
    if len(rows):
        ax.set(xticks=[], yticks=[])
        ax.set_title("Bonds, angles and dihedrals")
