"""Every picture, drawn from tables only, without pyplot: nothing here touches the backend or figures of a caller."""

import contextlib
import io
import os
import re
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

COLOURS = {"clean": "black", "noised": "tab:gray", "model": "tab:red"}
LABELS = {"clean": "reference", "noised": "reference, noised", "model": "MD under the model"}
#: Panels of one quantity and in a row, and maps, that are drawn of molecules; highest free energy of a map, kJ/mol.
PANELS, PANEL_COLUMNS, MAPS, MAP_HIGHEST = 18, 6, 12, 25.0


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
    pairs = _pairs(table)
    figure = Figure(figsize=(4.2 * len(pairs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(pairs), sharex=True, squeeze=False)
    _draw_rdf(axes[0], table, pairs, sigma)
    if title:
        figure.suptitle(title)
    _save(figure, path, 150)


def _save(figure, path, dpi):
    """Write a picture that appears whole or not at all."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(drawn.getvalue())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _pairs(table):
    return [c.removesuffix("_clean") for c in table if c.endswith("_clean")]


def _draw_rdf(axes, table, pairs, sigma):
    """g(r) of each pair into an axis of its own; without noise, noised frames are clean ones and not drawn."""
    for ax, pair in zip(axes, pairs):
        for curve, colour in COLOURS.items():
            g, error = table[f"{pair}_{curve}"], table[f"{pair}_{curve}_error"]
            if curve == "noised" and np.array_equal(g, table[f"{pair}_clean"]):
                continue
            label = LABELS[curve]
            if curve == "noised" and sigma:
                label += rf" ($\sigma$ = {sigma * 1000:g} pm)"
            style = "--" if curve == "noised" else "-"
            ax.plot(table["r_nm"], g, style, color=colour, label=label, lw=1.5, zorder=3 if curve == "model" else 2)
            if curve != "noised":
                ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color=colour, alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        ax.set(xlabel="r / nm", title=_dashed(pair), ylim=(0, None))
    axes[0].set_ylabel("g(r)")
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")


def _dashed(pair):
    return pair.replace("-", "\N{EN DASH}")


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
    below = [] if evaluation.comparison is None else [_draw_parity, _draw_force_errors]
    pairs = _pairs(evaluation.rdf)
    below += [_draw_differences] if pairs else []
    if not below:
        return False
    columns = max(3 if pairs else 2, min(len(pairs), 4))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * (rows + 1)), layout="constrained")
    parts = figure.subfigures(2 if pairs else 1, 1, height_ratios=[rows, 1] if pairs else None, squeeze=False)[:, 0]
    if pairs:
        axes = parts[0].subplots(rows, columns, sharex=True, squeeze=False).ravel()
        _draw_rdf(axes, evaluation.rdf, pairs, sigma)
        for ax in axes[len(pairs) :]:
            ax.remove()
    for ax, draw in zip(parts[-1].subplots(1, len(below), squeeze=False)[0], below):
        draw(ax, evaluation)
    _save(figure, path, 150)
    return True


def _draw_parity(ax, evaluation):
    """Density of (label, force of the model), every Cartesian component a point."""
    labels, forces = (values.ravel() for values in (evaluation.comparison.labels, evaluation.comparison.forces))
    edge = 1.05 * max(np.abs(labels).max(), np.abs(forces).max())
    density = ax.hexbin(
        labels, forces, gridsize=60, extent=(-edge, edge, -edge, edge), bins="log", mincnt=1, cmap="viridis", lw=0.2
    )
    ax.plot([-edge, edge], [-edge, edge], color="tab:red", lw=0.8)
    ax.figure.colorbar(density, ax=ax, label="components")
    ax.set(xlabel="label / (kJ/mol/nm)", ylabel="model / (kJ/mol/nm)", title="force components")
    ax.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")


def _draw_force_errors(ax, evaluation):
    """RMSE by group beside the rms of the labels, and the bound on their noise; bars of one standard error."""
    table = evaluation.table
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
    ax.set_xticks(place, rmse.index, rotation=20)
    ax.set(
        ylabel="per component / (kJ/mol/nm)",
        title="force error",
        ylim=(0, 1.35 * (labels["value"] + labels["error"].fillna(0)).max()),
    )
    ax.legend(frameon=False, fontsize=8)


def _draw_differences(ax, evaluation):
    """g(r) of the model minus that of the clean frames, with bands of two standard errors of the difference."""
    table, largest = evaluation.rdf, 0
    for k, pair in enumerate(_pairs(table)):
        difference = table[f"{pair}_model"] - table[f"{pair}_clean"]
        band = 2 * np.hypot(table[f"{pair}_model_error"], table[f"{pair}_clean_error"])
        ax.plot(table["r_nm"], difference, color=f"C{k}", label=_dashed(pair))
        ax.fill_between(table["r_nm"], difference - band, difference + band, color=f"C{k}", alpha=0.2, lw=0)
        largest = max(largest, np.nanmax(np.abs(difference) + np.nan_to_num(band)))
    ax.axhline(0, color="0.5", lw=0.8, zorder=1)
    ax.set(xlabel="r / nm", ylabel="g(r), MD - reference", title="difference (band: 2 standard errors)")
    ax.set_ylim(-1.05 * largest, 1.05 * largest)
    ax.legend(frameon=False, fontsize=8)


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
    _save(figure, directory / "molecules.png", 110)
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
    ax.set_title(_dashed(kind) if len(kind) < 30 else f"{kind[:27]}...", fontsize=9)
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
        f"{_dashed(each.kind)}: Jensen-Shannon divergence {each.divergence:.3f} bit, "
        f"of two halves of the data {each.floor:.3f} bit"
    )
    _save(figure, path, 120)


def simple_rdf_figure(table, path):
    """One g(r) per pair, as `RDF.table` has them, with bands of two standard errors."""
    pairs = [c.removesuffix("_error") for c in table if c.endswith("_error")]
    figure = Figure(figsize=(4.2 * len(pairs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)
    for ax, pair in zip(axes[0], pairs):
        g, error = table[pair], table[f"{pair}_error"]
        ax.plot(table["r_nm"], g, color="tab:blue")
        ax.fill_between(table["r_nm"], g - 2 * error, g + 2 * error, color="tab:blue", alpha=0.2, lw=0)
        ax.axhline(1, color="0.8", lw=0.8, zorder=1)
        ax.set(xlabel="r / nm", ylabel="g(r)", title=_dashed(pair), ylim=(0, None))
    _save(figure, path, 150)


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
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    ax = figure.subplots()
    for column, label, colour in (
        ("training_loss", "training, fresh noise", "tab:blue"),
        ("held_out_loss", "held out", "tab:red"),
    ):
        rows = table.dropna(subset=[column])
        ax.plot(rows["step"] + 1, rows[column], "o-", ms=3, color=colour, label=label)
    ax.axhline(0, color="0.7", lw=0.8, label="no network")
    ax.set(xlabel="step", ylabel=r"$\langle |F|^2 - 2\,F\cdot T\rangle$ / (kT / 0.1 nm)$^2$")
    ax.legend(frameon=False)
    _save(figure, path, 150)


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
    ax.set(xlabel="steps / s, all copies together; in brackets: ratio to the prior alone", xlim=(0, 1.3 * largest))
    ax.set_title(title, fontsize=10)
    _save(figure, path, 150)


def bonded_figure(table, path):
    """Energies of bonds, angles and dihedrals, a panel for each energy; `table` as of `model.curves.bonded_curves`."""
    energies = list(dict.fromkeys(table["energy"]))
    names = {"r_nm": "distance / nm", "theta_degree": "angle / degrees", "phi_degree": "dihedral / degrees"}
    rows, columns = -(-len(energies) // 3), min(3, len(energies))
    figure = Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(energies) :]:
        ax.set_axis_off()
    for ax, energy in zip(panels, energies):
        own = table[table["energy"] == energy]
        for types, curve in own.groupby("types", sort=False):
            ax.plot(curve["value"], curve["u_kJ/mol"], label=types)
        ax.set(title=energy, xlabel=names[own["axis"].iloc[0]], ylabel="energy / (kJ/mol)", ylim=(0, 40))
        if own["types"].nunique() <= 12:
            ax.legend(fontsize="x-small")
    _save(figure, path, 150)


def distillation_figure(curves, path):
    """u(r) of every pair of species: distilled, and the pair part that the model had already.

    Parameters
    ----------
    curves : DataFrame
        As `Distillation.curves`.
    path : path
        PNG to write.
    """
    pairs = list(curves["pair"].unique())
    figure = Figure(figsize=(4.2 * len(pairs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)
    styles = {"distilled": ("-", "tab:red", 2), "pair part": ("--", "tab:gray", 3)}
    for ax, pair in zip(axes[0], pairs):
        for curve, (style, colour, order) in styles.items():
            rows = curves[(curves["pair"] == pair) & (curves["curve"] == curve)]
            if len(rows):
                ax.plot(rows["r_nm"], rows["u_kJ/mol"], style, color=colour, label=curve, lw=1.5, zorder=order)
        ax.axhline(0, color="0.8", lw=0.8, zorder=1)
        # Cut off at 25 kJ/mol, 10 kT at 300 K: what lies beyond is in no data.
        ax.set(xlabel="r / nm", title=_dashed(pair), ylim=(np.clip(1.2 * curves["u_kJ/mol"].min(), -25, -2), 25))
    axes[0, 0].set_ylabel("learnt u(r) / (kJ/mol)")
    axes[0, 0].legend(frameon=False, fontsize=8)
    _save(figure, path, 150)
