"""What a training, a distillation and an export have learnt: losses and curves of energies."""

import numpy as np
import pandas
from matplotlib.figure import Figure

from .drawing import dashed, save


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
            ax.plot(curve["value"], curve["u_kJ/mol"], label=types)
        ax.set(title=energy, xlabel=names[own["axis"].iloc[0]], ylabel="energy / (kJ/mol)", ylim=(0, 40))
        if own["types"].nunique() <= 12:
            ax.legend(fontsize="x-small")
    save(figure, path, 150)


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
        ax.set(xlabel="r / nm", title=dashed(pair), ylim=(np.clip(1.2 * curves["u_kJ/mol"].min(), -25, -2), 25))
    axes[0, 0].set_ylabel("learnt u(r) / (kJ/mol)")
    axes[0, 0].legend(frameon=False, fontsize=8)
    save(figure, path, 150)


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
