"""Tables and pictures of the example: what the model has of the truth, in numbers with error bars."""

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch
import truth

from openmm_diffusion.analysis.resampling import block_sums, jackknife, mean_and_error
from openmm_diffusion.units import thermal_energy


def radius_of_gyration(frames):
    """Rg (nm) of every frame."""
    x = frames.positions.astype(float)
    return np.sqrt(((x - x.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1))


def blocks_of(frames, longest=200):
    """Block of each frame: its replica, cut into stretches of so many frames at most."""
    numbers, inverse, counts = np.unique(frames.replica, return_inverse=True, return_counts=True)
    place = np.concatenate([np.arange(count) for count in counts])
    return np.unique(inverse * 1_000_000 + place // longest, return_inverse=True)[1]


def averaged(values, blocks):
    """Mean of values (n_frames,) and its standard error, from blocks."""
    counts = np.bincount(blocks)
    mean, error = mean_and_error((np.bincount(blocks, values) / counts)[:, None], counts.astype(float))
    return float(mean[0]), float(error[0])


def internal(frames):
    """Bond lengths (nm) and cosines of angles of every kind, dict by name ("A-B", "A-A-B") to array (n_frames, n)."""
    x, kinds, found = frames.positions.astype(float), frames.types, {}
    bonds = x[:, 1:] - x[:, :-1]
    r = np.linalg.norm(bonds, axis=-1)
    cosines = -(bonds[:, :-1] * bonds[:, 1:]).sum(-1) / (r[:, :-1] * r[:, 1:])
    for values, width in ((r, 2), (cosines, 3)):
        names = [name_of(kinds[i : i + width]) for i in range(values.shape[1])]
        for name in sorted(set(names)):
            found[name] = values[:, [i for i, one in enumerate(names) if one == name]]
    return found


def name_of(beads):
    """What a bond, an angle or a dihedral is called: from that end which comes first."""
    return "-".join(min(list(beads), list(beads)[::-1]))


def shown(name, values):
    """A bond length (nm) as it is, the cosine of an angle in degrees."""
    return values if name.count("-") == 1 else np.degrees(np.arccos(values))


def widths(reference, run):
    """Mean and width of bonds and angles of the 12-mer: data beside the model."""
    rows, found = [], internal(run)
    for name, values in internal(reference).items():
        row = []
        for frames, q in ((reference, values), (run, found[name])):
            q = shown(name, q)
            square, error = averaged(((q - q.mean()) ** 2).mean(1), blocks_of(frames))
            row += [q.mean(), square**0.5, error / (2 * square**0.5)]
        rows.append([name, "nm" if name.count("-") == 1 else "degrees", *row, row[4] / row[1]])
    columns = [f"{what}_{whose}" for whose in ("data", "model") for what in ("mean", "width", "width_error")]
    return pandas.DataFrame(rows, columns=["coordinate", "unit", *columns, "ratio_of_widths"])


def sizes(reference, runs, trained):
    """Radius of gyration: truth beside every run of the model.

    Parameters
    ----------
    reference : dict of int to Frames
        By the number of beads.
    runs : dict of (int, str) to Frames
        By the number of beads and how it was run.
    trained : tuple of int
        Lengths that the fit saw.
    """
    rows = []
    for (n, how), frames in runs.items():
        of_both = [averaged(radius_of_gyration(f), blocks_of(f)) for f in (reference[n], frames)]
        (a, da), (b, db) = of_both
        rows.append([n, n in trained, how, a, da, b, db, (b - a) / np.hypot(da, db)])
    columns = ["beads", "trained", "run_by", "truth_nm", "truth_error_nm", "model_nm", "model_error_nm"]
    return pandas.DataFrame(rows, columns=[*columns, "standard_errors_apart"])


def reweighted(model, frames):
    """Radius of gyration of the model without any dynamics: by the truth's frames with weights exp(-dU/kT).

    The difference to the truth has a smaller error than a run has, for both are of the same frames.
    """
    rows = []
    for n, part in frames.items():
        exact = truth.energies_and_forces(part.positions)[0]
        difference = model.energy(part.positions, None, part.types, part.bonds) - exact
        weights = np.exp(-(difference - difference.mean()) / thermal_energy(part.temperature))
        rg = radius_of_gyration(part)
        sums = block_sums(np.stack([weights, weights * rg, np.ones(len(rg)), rg], -1), blocks_of(part))
        shift, error = jackknife(sums, lambda total: total[..., 1] / total[..., 0] - total[..., 3] / total[..., 2])
        rows.append([n, rg.mean(), shift, error, weights.sum() ** 2 / (weights**2).sum() / len(weights)])
    columns = ["beads", "truth_nm", "model_minus_truth_nm", "error_nm", "effective_part_of_frames"]
    return pandas.DataFrame(rows, columns=columns)


def force_errors(model, frames, trained):
    """Rms error of the model's forces per component, on replicas that the fit has not seen.

    Beside it what the fit says of itself, for the data that it saw: all its `force_sd`, as if independent.
    """
    told = np.sqrt(sum(sd**2 for key, sd in model.header.held_out.items() if key.endswith("_force_sd")))
    rows = []
    for n, all_of_it in frames.items():
        apart = all_of_it.split(model.header.data["test_fraction"], model.header.data["seed"])[1][::4]
        exact = truth.energies_and_forces(apart.positions)[1]
        found = model.forces(apart.positions, None, apart.types, apart.bonds)
        error = np.sqrt(((found - exact) ** 2).mean((1, 2)))
        blocks, square = blocks_of(apart), (exact**2).mean()
        mean, spread = averaged(error**2, blocks)
        rows.append([n, n in trained, len(apart), square**0.5, mean**0.5, spread / (2 * mean**0.5), told])
    columns = ["rms_force", "rms_error", "standard_error", "told_by_the_fit"]
    units = [f"{column}_kJ/mol/nm" for column in columns]
    return pandas.DataFrame(rows, columns=["beads", "trained", "frames", *units])


def curves(model, frames, pairs):
    """Every curve of the model beside the truth's, where the data are: q in nm or degrees, energies in kJ/mol.

    Curves of bonded beads are known up to a constant, which is the mean difference over the data.  The truth has no
    potentials of beads two and three bonds apart; those of the model are added to its angles and dihedrals, at mean
    bond lengths and angles.

    Parameters
    ----------
    model : Denoiser
    frames : list of Frames
        What the model was trained on.
    pairs : DataFrame
        Its pair potentials with their standard deviation, `curves.csv` of the training.
    """
    tables, seen, ends = [], {}, Ends(model)
    for part in frames:
        for name, values in internal(part).items():
            seen.setdefault(name, []).append(values.ravel())
    seen = {name: np.concatenate(values) for name, values in seen.items()}
    mean = {name: values.mean() for name, values in seen.items()}
    for term, module in zip(model.header.terms, model.modules()):
        for number, beads in enumerate(getattr(term, "kinds", [])):
            name, where = name_of(beads), {"kind": term.kind, "beads": name_of(beads)}
            lengths = [mean[name_of(beads[i : i + 2])] for i in range(len(beads) - 1)]
            if term.kind in ("bonds", "angles"):
                table, kind = (truth.BONDS, "".join(sorted(beads))) if len(beads) == 2 else (truth.ANGLES, beads[1])
                q = np.linspace(*np.quantile(seen[name], [5e-4, 1 - 5e-4]), 100)
                difference = [
                    module.curve(number, x) + ends.energy(beads, lengths, x) - truth.energy(table, kind, x)
                    for x in (q, seen[name])
                ]
                exact = truth.energy(table, kind, q)
                tables.append(
                    where | {"q": shown(name, q), "truth": exact, "model": exact + difference[0] - difference[1].mean()}
                )
            elif term.kind == "dihedrals":
                phi = np.linspace(-np.pi, np.pi, 181)
                exact = truth.energy(truth.TORSIONS, "".join(sorted(beads[1:3])), phi)
                found = (module.series(torch.as_tensor(phi))[0] @ module.coefficients[number].double()).numpy()
                cosines = [mean[name_of(beads[i : i + 3])] for i in range(2)]
                found = found + ends.energy(beads, lengths, phi, cosines)
                # Both without their mean over a turn, which has its end once.
                found = found - found[1:].mean() + exact[1:].mean()
                tables.append(where | {"q": np.degrees(phi), "truth": exact, "model": found})
    names = model.header.species
    shortest = {
        name_of([names[i], names[j]]): d
        for i, row in enumerate(model.header.shortest_distances)
        for j, d in enumerate(row)
    }
    for pair, part in pairs.groupby("pair"):
        name = name_of(pair.split("-"))
        part = part[part["r_nm"] >= shortest[name]]
        exact = truth.energy(truth.PAIRS, name.replace("-", ""), part["r_nm"].to_numpy())
        tables.append(
            {"kind": "pair", "beads": name, "q": part["r_nm"], "truth": exact, "model": part["u_kJ/mol"],
             "sd": part["sd_kJ/mol"]}
        )  # fmt: skip
    return pandas.concat([pandas.DataFrame(table) for table in tables], ignore_index=True)


class Ends:
    """What a model's potentials of beads two and three bonds apart add to its angles and dihedrals."""

    def __init__(self, model):
        self.curves = {
            name_of(beads): (module, number)
            for term, module in zip(model.header.terms, model.modules())
            if term.kind in ("onethree", "onefour")
            for number, beads in enumerate(term.kinds)
        }

    def energy(self, beads, lengths, q, cosines=()):
        """Energy (kJ/mol) at bond lengths (nm), by the cosine of an angle, or by a dihedral (rad) between two."""
        if name_of(beads) not in self.curves:
            return 0.0
        if len(beads) == 3:
            a, b = lengths
            square = a**2 + b**2 - 2 * a * b * q
        else:
            (a, b, c), (first, second) = lengths, cosines
            up, down = a * np.sqrt(1 - first**2), c * np.sqrt(1 - second**2)
            square = (b - a * first - c * second) ** 2 + up**2 + down**2 - 2 * up * down * np.cos(q)
        module, number = self.curves[name_of(beads)]
        return module.curve(number, np.sqrt(square))


def structure_figure(reference, runs, table, path):
    """A bond and an angle of the chain of 12, and the radius of gyration of all lengths: truth against model."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), layout="constrained")
    first = next(frames for (n, _), frames in runs.items() if n == 12)
    data, run = internal(reference[12]), internal(first)
    for axis, name, label in zip(axes[0], ("A-B", "A-A-B"), ("bond A–B / nm", "angle A–A–B / degrees")):
        both = shown(name, data[name]).ravel(), shown(name, run[name]).ravel()
        histograms(axis, *both, np.linspace(both[0].min(), both[0].max(), 51))
        axis.set(xlabel=label, title="chain of 12")
    for axis, n in zip(axes[1], reference):
        longest = max((frames for (m, _), frames in runs.items() if m == n), key=lambda f: len(np.unique(f.replica)))
        both = radius_of_gyration(reference[n]), radius_of_gyration(longest)
        histograms(axis, *both, np.linspace(both[0].min(), both[0].max(), 26))
        unseen = "" if table.set_index("beads")["trained"].loc[[n]].iloc[0] else ", not in the training"
        axis.set(xlabel="radius of gyration / nm", title=f"chain of {n}{unseen}")
    axis, apart = axes[0, 2], table["run_by"].unique()
    axis.errorbar(
        table["beads"], table["truth_nm"], 2 * table["truth_error_nm"], fmt="o", ms=4, capsize=3, color="black",
        label="truth",
    )  # fmt: skip
    for how, shift, colour in zip(apart, (-0.3, 0.3), ("tab:orange", "tab:red")):
        part = table[table["run_by"] == how]
        axis.errorbar(
            part["beads"] + shift, part["model_nm"], 2 * part["model_error_nm"], fmt="o", ms=4, capsize=3,
            color=colour, label=f"model, {how}",
        )  # fmt: skip
    axis.set(xlabel="beads", ylabel="mean radius of gyration / nm", xticks=list(reference))
    axis.set_title("bars are two standard errors")
    axis.legend(frameon=False, fontsize=8)
    for axis in (*axes[0, :2], *axes[1]):
        axis.set_ylabel("probability density")
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def histograms(axis, truth_values, model_values, edges):
    """Two densities in one axis."""
    axis.hist(truth_values, edges, density=True, color="0.75", label="truth")
    axis.hist(model_values, edges, density=True, color="tab:red", histtype="step", lw=1.5, label="model")


def potentials_figure(table, path):
    """All curves of the model over the truth's own."""
    labels = {"pair": "r / nm", "bonds": "r / nm", "angles": "angle / degrees", "dihedrals": "dihedral / degrees"}
    figure, axes = plt.subplots(len(labels), 3, figsize=(11, 12), layout="constrained")
    for row, (kind, label) in zip(axes, labels.items()):
        parts = list(table[table["kind"] == kind].groupby("beads"))
        for axis, (beads, part) in zip(row, parts):
            axis.plot(part["q"], part["truth"], color="black", lw=2.5, alpha=0.5, label="truth")
            axis.plot(part["q"], part["model"], color="tab:red", lw=1.2, label="model, from positions alone")
            if kind == "pair":
                low, high = part["model"] - 2 * part["sd"], part["model"] + 2 * part["sd"]
                axis.fill_between(part["q"], low, high, color="tab:red", alpha=0.2, lw=0)
                axis.set_ylim(-3, 4)
            axis.set(xlabel=label, title=f"{kind.removesuffix('s')} {beads.replace('-', '–')}")
        for axis in row[len(parts) :]:
            axis.set_axis_off()
        row[0].set_ylabel("energy / kJ/mol")
    axes[0, 0].set_title("pair A–A (band: two standard deviations)", fontsize=10)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
