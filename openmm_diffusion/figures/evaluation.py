"""An evaluation in one picture."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import dashed, plain, save
from .structure import draw_rdf, pairs_of


def evaluation_figure(evaluation, path, sigma=None):
    """One picture of an evaluation: g(r) above; forces, force errors and differences of g(r) below.

    What there are no data for is left out.

    Parameters
    ----------
    evaluation : Evaluation
        Its tables `rdf` and `table`, and its `comparison`.
    path : path
        PNG to write.
    sigma : float, nm, optional
        Noise level, for the legend.

    Returns
    -------
    bool
        False, and no picture, where there are neither labels nor trajectories.
    """
    below = [] if evaluation.comparison is None else [_draw_parity, _draw_forces]
    pairs = pairs_of(evaluation.rdf)
    below += [_draw_differences] if pairs else []
    if not below:
        return False
    columns = max(3 if pairs else 2, min(len(pairs), 4))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * (rows + 1)), layout="constrained")
    parts = figure.subfigures(2 if pairs else 1, 1, height_ratios=[rows, 1] if pairs else None, squeeze=False)[:, 0]
    if pairs:
        axes = parts[0].subplots(rows, columns, sharex=True, squeeze=False).ravel()
        draw_rdf(axes, evaluation.rdf, pairs, sigma)
        for ax in axes[len(pairs) :]:
            ax.remove()
    for ax, draw in zip(parts[-1].subplots(1, len(below), squeeze=False)[0], below):
        draw(ax, evaluation)
    save(figure, path, 150)
    return True


def force_errors_figure(table, path):
    """Force errors by group beside the labels and the bound on their noise; `table` as `Evaluation.table`."""
    figure = Figure(figsize=(6.3, 3.6), layout="constrained")
    _draw_force_errors(figure.subplots(), table)
    save(figure, path, 130)


def two_errors_figure(errors, path):
    """The errors of g(r) apart: what learning left, what noise does, both, and two halves of the reference.

    Parameters
    ----------
    errors : DataFrame
        Columns pair, error ("learning", ...), value and standard error `se`, RMSDs of g(r).
    path : path
        PNG to write.
    """
    pairs, kinds = list(dict.fromkeys(errors["pair"])), list(dict.fromkeys(errors["error"]))
    figure = Figure(figsize=(max(6.3, 1.4 * len(pairs)), 3.4), layout="constrained")
    ax = figure.subplots()
    colours = {"learning": "tab:red", "smoothing": "tab:gray", "total": "black", "reference": "tab:blue"}
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        own = errors[errors["error"] == kind].set_index("pair").reindex(pairs)
        at = np.arange(len(pairs)) + (number - (len(kinds) - 1) / 2) * width
        ax.bar(at, own["value"], 0.9 * width, yerr=own["se"], capsize=2, label=kind, color=colours.get(kind))
    ax.set_xticks(range(len(pairs)), [dashed(pair) for pair in pairs])
    ax.set(ylabel="RMSD of g(r)", ylim=(0, None))
    ax.legend(frameon=False, fontsize=9, ncols=len(kinds), title="bars: 1 standard error", loc="lower center",
              bbox_to_anchor=(0.5, 1.0))  # fmt: skip
    save(figure, path, 130)


def _draw_parity(ax, evaluation):
    """Density of (label, force of the model), every Cartesian component a point."""
    labels, forces = (values.ravel() for values in (evaluation.comparison.labels, evaluation.comparison.forces))
    edge = 1.05 * max(np.abs(labels).max(), np.abs(forces).max())
    density = ax.hexbin(
        labels, forces, gridsize=60, extent=(-edge, edge, -edge, edge), bins="log", mincnt=1, cmap="viridis", lw=0.2
    )
    ax.plot([-edge, edge], [-edge, edge], color="tab:red", lw=0.8)
    ax.figure.colorbar(density, ax=ax, label="number of components")
    ax.set(xlabel="label / (kJ/mol/nm)", ylabel="model / (kJ/mol/nm)", title="force components")
    ax.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")


def _draw_forces(ax, evaluation):
    _draw_force_errors(ax, evaluation.table)


def _draw_force_errors(ax, table):
    """RMSE by group beside the rms of the labels, and the bound on their noise; bars of one standard error."""
    rows = {q: table[table["quantity"] == q].set_index("of") for q in table["quantity"].unique()}
    rmse, labels, noise = rows["force RMSE"], rows["force rms, labels"], rows.get("label noise, at most")
    place = np.arange(len(rmse))
    ax.bar(place - 0.2, labels["value"], 0.4, yerr=labels["error"], color="0.8", label="rms of the labels", capsize=2)
    ax.bar(
        place + 0.2, rmse["value"], 0.4, yerr=rmse["error"], color="tab:red", label="RMSE against the labels", capsize=2
    )
    if noise is not None:
        at = place[rmse.index.isin(noise.index)] + 0.2
        ax.errorbar(at, noise["value"], noise["error"], fmt="k_", ms=14, capsize=2, label="label noise, at most")
    ax.set_xticks(place, [plain(group) for group in rmse.index], rotation=20)
    ax.set(
        ylabel="per component / (kJ/mol/nm)",
        title="force error (bars: 1 standard error)",
        ylim=(0, 1.35 * (labels["value"] + labels["error"].fillna(0)).max()),
    )
    ax.legend(frameon=False, fontsize=8)


def _draw_differences(ax, evaluation):
    """g(r) of the model minus that of the clean frames, with bands of two standard errors of the difference."""
    table, largest = evaluation.rdf, 0
    for k, pair in enumerate(pairs_of(table)):
        difference = table[f"{pair}_model"] - table[f"{pair}_clean"]
        band = 2 * np.hypot(table[f"{pair}_model_error"], table[f"{pair}_clean_error"])
        ax.plot(table["r_nm"], difference, color=f"C{k}", label=dashed(pair))
        ax.fill_between(table["r_nm"], difference - band, difference + band, color=f"C{k}", alpha=0.2, lw=0)
        # A bin of few pairs, or two, must not stretch the axis.
        largest = max(largest, np.nanquantile(np.abs(difference) + np.nan_to_num(band), 0.97))
    ax.axhline(0, color="0.5", lw=0.8, zorder=1)
    ax.set(xlabel="r / nm", ylabel="g(r), MD - reference", title="difference (band: 2 standard errors)")
    ax.set_ylim(-1.05 * largest, 1.05 * largest)
    ax.legend(frameon=False, fontsize=8)
