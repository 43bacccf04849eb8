"""What a training, a distillation and an export have learnt: losses and curves of energies."""

import numpy as np
import pandas
from matplotlib.figure import Figure

from .drawing import dashed, plain, save


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
    save(figure, path, 150)


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
            ax.plot(curve["value"], curve["u_kJ/mol"], label=plain(types))
        ax.set(title=energy, xlabel=names[own["axis"].iloc[0]], ylabel="energy / (kJ/mol)", ylim=(0, 40))
        if own["types"].nunique() <= 12:
            ax.legend(fontsize="x-small")
    save(figure, path, 150)


def distillation_figure(curves, path, table=None):
    """u(r) of every pair of species, and beside them what is lost: rms of the learnt force and of what is left of it.

    The pair part that the model had already is drawn where it is another curve.

    Parameters
    ----------
    curves : DataFrame
        As `Distillation.curves`.
    path : path
        PNG to write.
    table : DataFrame, optional
        As `Distillation.table`.
    """
    pairs = list(curves["pair"].unique())
    panels = len(pairs) + (table is not None)
    figure = Figure(figsize=(4.2 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    styles = {"distilled": ("-", "tab:red", 2), "pair part": ("--", "tab:gray", 3)}
    for ax, pair in zip(axes, pairs):
        own = curves[curves["pair"] == pair]
        for curve, (style, colour, order) in styles.items():
            rows = own[own["curve"] == curve]
            if len(rows) and (curve == "distilled" or _differs(own)):
                ax.plot(rows["r_nm"], rows["u_kJ/mol"], style, color=colour, label=curve, lw=1.5, zorder=order)
        ax.axhline(0, color="0.8", lw=0.8, zorder=1)
        # Cut off at 25 kJ/mol, 10 kT at 300 K: what lies beyond is in no data.
        ax.set(xlabel="r / nm", title=dashed(pair), ylim=(np.clip(1.2 * curves["u_kJ/mol"].min(), -25, -2), 25))
        within = own[(own["u_kJ/mol"] < 25) | (own["r_nm"] > 0.3)]["r_nm"]
        ax.set_xlim(max(0.0, within.min() - 0.05), own["r_nm"].max())
    axes[0].set_ylabel("learnt u(r) / (kJ/mol)")
    axes[0].legend(frameon=False, fontsize=8)
    if table is not None:
        _draw_loss(axes[-1], table)
    save(figure, path, 150)


def _differs(own):
    """Whether the curves of a pair are apart by more than a line is wide, where data are."""
    first, second = (own[own["curve"] == curve] for curve in ("distilled", "pair part"))
    if len(first) != len(second):
        return len(second) > 0
    one, other = first["u_kJ/mol"].to_numpy(), second["u_kJ/mol"].to_numpy()
    # 4 kT at 300 K: what lies above is a matter of few frames.
    return bool((np.abs(one - other)[one < 10] > 0.3).any())


def _draw_loss(ax, table):
    """What the energies fitted miss of the learnt force, by group, beside what the model's own part of them missed."""
    rows = {name: table[table["quantity"] == name].set_index("of") for name in table["quantity"].unique()}
    whole = rows["learnt force rms"]["value"]
    own = next((rows[name] for name in rows if name.startswith("residual rms of its")), None)
    bars = [(rows["residual rms"], "tab:red", "distilled")]
    bars += [] if own is None else [(own, "tab:gray", "the model's own part alone")]
    width, place, top = 0.8 / len(bars), np.arange(len(whole)), 0.0
    for number, (values, colour, label) in enumerate(bars):
        share, error = 100 * values["value"] / whole, 100 * values["error"] / whole
        at = place + (number - (len(bars) - 1) / 2) * width
        ax.bar(at, share, width, yerr=error, color=colour, label=label, capsize=2)
        top = max(top, (share + error.fillna(0)).max())
    ax.set_xticks(place, [plain(group) for group in whole.index], rotation=20)
    ax.set(ylabel="rms lost / % of the learnt force", title="loss (bars: 1 standard error)")
    ax.set_ylim(0, 1.35 * top)
    ax.legend(frameon=False, fontsize=8)


def potential_figure(curves, distances, path):
    """Learnt u(r) of every pair of types with its uncertainty, above how often the frames hold each distance.

    Curves are drawn where there are such distances and nowhere else.

    Parameters
    ----------
    curves : DataFrame
        Columns pair, r_nm, u_kJ/mol and, where it is known, sd_kJ/mol.
    distances : DataFrame
        As of `analysis.contacts.distance_histogram`.
    path : path
        PNG to write.
    """
    pairs = [pair for pair in curves["pair"].unique() if (distances["pair"] == pair).any()]
    if not pairs:
        return
    columns = min(len(pairs), 4)
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 4.6 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, sharex="col", squeeze=False, height_ratios=[2.2, 1] * rows)
    lowest, highest = 0.0, 1.0
    for number, pair in enumerate(pairs):
        ax, below = axes[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        seen = distances[(distances["pair"] == pair) & (distances["pairs"] > 0)]
        own = curves[(curves["pair"] == pair) & (curves["r_nm"] >= seen["r_nm"].min())]
        own = own[own["r_nm"] <= seen["r_nm"].max() + 0.01]
        ax.plot(own["r_nm"], own["u_kJ/mol"], color="tab:red", lw=1.5, label="learnt u(r)")
        if "sd_kJ/mol" in own:
            low, high = (own["u_kJ/mol"] + sign * 2 * own["sd_kJ/mol"] for sign in (-1, 1))
            ax.fill_between(own["r_nm"], low, high, color="tab:red", alpha=0.2, lw=0, label="2 standard deviations")
        lowest, highest = min(lowest, own["u_kJ/mol"].min()), max(highest, own["u_kJ/mol"].max())
        all_bins = distances[distances["pair"] == pair]
        below.fill_between(all_bins["r_nm"], all_bins["pairs"], step="mid", color="0.6", lw=0)
        below.set(xlabel="r / nm", ylim=(0, None), xlim=(max(0, seen["r_nm"].min() - 0.05), seen["r_nm"].max()))
        ax.axhline(0, color="0.8", lw=0.8, zorder=1)
        ax.set_title(dashed(pair))
    for number in range(len(pairs)):
        # 10 kT at 300 K: what lies above is hardly in any data.
        axes[2 * (number // columns), number % columns].set_ylim(max(1.3 * lowest, -25) - 1, min(1.2 * highest, 25))
    for number in range(len(pairs), rows * columns):
        for ax in axes[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]:
            ax.remove()
    axes[0, 0].set_ylabel("learnt u(r) / (kJ/mol)")
    axes[1, 0].set_ylabel("pairs per frame")
    axes[0, 0].legend(frameon=False, fontsize=8)
    save(figure, path, 150)
