"""Distributions and maps of molecules."""

import re

import numpy as np
from matplotlib.figure import Figure

from .drawing import COLOURS, LABELS, dashed, plain, save

#: Panels of one quantity and in a row, and maps, that are drawn of molecules; highest free energy of a map, kJ/mol.
PANELS, PANEL_COLUMNS, MAPS, MAP_HIGHEST = 18, 6, 12, 25.0


def molecule_figures(comparison, directory):
    """Distributions of every internal coordinate, molecules.png, and maps of two dihedrals, map-*.png.

    Of many kinds those are drawn that differ most, and the picture says so.  What MD has far beyond the data is in
    the outermost bin.

    Parameters
    ----------
    comparison : MoleculeComparison
    directory : Path
    """
    table, curves = comparison.table, comparison.curves
    quantities = list(dict.fromkeys(curves["quantity"]))
    drawn = {}
    for quantity in quantities:
        rows = table[table["quantity"] == f"{quantity}, divergence"].set_index("of")["value"]
        worst = set(rows.sort_values().index[-PANELS:])
        drawn[quantity] = [kind for kind in rows.index if kind in worst], len(rows)
    columns = min(PANEL_COLUMNS, max(3, *(len(kinds) for kinds, _ in drawn.values())))
    heights = [-(-len(kinds) // columns) for kinds, _ in drawn.values()]
    figure = Figure(figsize=(2.6 * columns, 2.3 * sum(heights) + 0.4 * len(heights) + 0.4), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=[n + 0.17 for n in heights], squeeze=False)[:, 0]
    for part, height, (quantity, (kinds, number)) in zip(parts, heights, drawn.items()):
        some = f", the {len(kinds)} of {number} kinds that differ most" if number > PANELS else ""
        part.suptitle(quantity + some)
        axes = part.subplots(height, columns, squeeze=False).ravel()
        for ax, kind in zip(axes, kinds):
            _draw_distribution(ax, curves[(curves["quantity"] == quantity) & (curves["of"] == kind)], quantity, kind)
        for ax in axes[len(kinds) :]:
            ax.remove()
    figure.legend(*parts[0].axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save(figure, directory / "molecules.png", 110)
    for each in sorted(comparison.maps, key=lambda each: each.divergence)[-MAPS:]:
        name = re.sub(r"[^A-Za-z0-9_+-]", "_", each.kind)
        _map_figure(each, comparison.kT, directory / f"map-{name}.png")


def _draw_distribution(ax, rows, quantity, kind):
    """One density, the data solid, the model dashed."""
    unit = rows["unit"].iloc[0]
    for curve, style in (("clean", "-"), ("model", "--")):
        ax.plot(rows["value"], rows[curve], style, color=COLOURS[curve], lw=1.3, label=LABELS[curve])
    name = {"bond": "length", "radius of gyration": "radius"}.get(quantity, "angle")
    # What lies beyond all bins is in the outermost, which would dwarf the data.
    top = min(rows[["clean", "model"]].to_numpy().max(), 2.5 * rows["clean"].max())
    ax.set(xlabel=f"{name} / {unit}", ylabel=f"density / (1/{unit})", ylim=(0, 1.08 * top))
    ax.set_title(dashed(kind) if len(kind) < 30 else f"{plain(kind[:27])}...", fontsize=9)
    ax.tick_params(labelsize=7)
    ax.xaxis.label.set_size(8)
    ax.yaxis.label.set_size(8)
    if rows["value"].max() - rows["value"].min() > 350:
        ax.set_xticks(range(-180, 181, 90))


def _map_figure(each, kT, path):
    """Free energy of data and model, and its difference, by the two dihedrals of a chain of five."""
    clean, model, difference = each.free_energies(kT)
    figure = Figure(figsize=(12.6, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    highest = min(max(np.nanmax(clean), np.nanmax(model)), MAP_HIGHEST)
    largest = np.clip(np.nanmax(np.abs(difference), initial=kT), kT, 4 * kT)
    scales = (dict(vmin=0, vmax=highest, cmap="viridis"),) * 2 + (dict(vmin=-largest, vmax=largest, cmap="RdBu_r"),)
    titles = "reference", "MD under the model", "MD - reference"
    for ax, energy, scale, title in zip(axes, (clean, model, difference), scales, titles):
        edges = np.linspace(-180, 180, len(energy) + 1)
        drawn = ax.pcolormesh(edges, edges, energy.T, **scale)
        figure.colorbar(drawn, ax=ax, label="free energy / (kJ/mol)", extend="both" if scale["vmin"] < 0 else "max")
        ax.set(title=title, xlabel="dihedral of the first four / degree", aspect="equal", facecolor="0.9")
        ax.set_xticks(range(-180, 181, 90))
        ax.set_yticks(range(-180, 181, 90))
    axes[0].set_ylabel("dihedral of the last four / degree")
    figure.suptitle(
        f"{dashed(each.kind)}: Jensen-Shannon divergence {each.divergence:.3f} bit, "
        f"of two halves of the data {each.floor:.3f} bit"
    )
    save(figure, path, 120)
