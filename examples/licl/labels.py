"""What force labels add to configurations: labels alone, positions alone, and both, on 2.4 mol/L LiCl.

    python labels.py FRAMES.npz OUTPUT [--real]

Fits the pair potential at sigma = 0 to 100 ... 2,000 frames, evenly spaced over the
training replicas, in three divisions of the replicas.  Without --real the file holds
exact mean forces: labels are these plus Gaussian noise of the size published for all-atom
forces on ions in water, and errors are taken against the exact forces of replicas
that nothing was trained on.  With --real the labels are those of the file, of one run
cut into contiguous stretches, and a model is judged by how much of the labels' variance it
explains on stretches kept apart.  divisions-*.csv holds every division: a later call
goes on after those that are done.  Penalties and weights are chosen on training replicas alone.
"""

import argparse
import copy
from pathlib import Path

import matplotlib
import numpy as np
import pandas
import torch

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.energies.coulomb import CoulombTerm
from openmm_diffusion.energies.pair import PairConfig, SplinePair
from openmm_diffusion.learning.linear.forcematching import (
    fit_labelled,
    label_residual,
    labelled_moments,
    mixed,
    textbook_weights,
)
from openmm_diffusion.learning.linear.scorematching import fit
from openmm_diffusion.model.header import Header
from openmm_diffusion.particles import ordered
from openmm_diffusion.units import ANGSTROM, ELECTRONVOLT, thermal_energy

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported

SIZES, TEST_REPLICAS, DIVISIONS, STRETCHES = (100, 250, 500, 1000, 2000), 8, 3, 24
#: Published noise of force labels per component, kJ/mol/nm (0.349 and 0.249 eV/Angstrom).
NOISE = {3: 0.349 * ELECTRONVOLT / ANGSTROM, 17: 0.249 * ELECTRONVOLT / ANGSTROM}
#: Noise level that textbook weights are stated for, nm: the package's default.
SIGMA = 0.005
CONFIG = PairConfig(sigma=0)
STYLE = {"positions": ("tab:blue", "o"), "labels": ("tab:orange", "s"), "both": ("tab:red", "D")}


def prior_of(frames):
    """Coulomb in water, as a denoiser."""
    coulomb = CoulombTerm(charges={"Li": 1, "Cl": -1}, relative_permittivity=78.3)
    species = sorted(set(frames.species.tolist()))
    header = Header(
        species=species, particles=frames.species.tolist(), temperature=frames.temperature, box=frames.box.tolist(),
        number_density=frames.number_density, shortest_distances=[[None] * len(species)] * len(species),
        terms=[coulomb],
    )  # fmt: skip
    return Denoiser(header)


def replicas_of(pair, frames, labels, prior, rows, group):
    """Moments of the chosen rows, one for each number in `group`."""
    _, species = np.unique(frames.species, return_inverse=True)
    tensors = [torch.as_tensor(array) for array in (frames.positions, prior, labels, frames.boxes)]
    result = []
    for number in np.unique(group[rows]):
        chosen = torch.as_tensor(rows[group[rows] == number])
        x, known, forces, boxes = (t[chosen] for t in tensors)
        kT = thermal_energy(frames.temperature)
        result.append(labelled_moments(pair, x, known, forces, boxes, torch.as_tensor(species), kT))
    return result


def fitted(pair, replicas, target, kT):
    """Fit in place; weights of labels and the textbook's, by species."""
    if target == "positions":
        nothing = np.zeros(len(pair.kinds))
        fit(pair, mixed(replicas, nothing), CONFIG)
        return nothing, textbook_weights(pair, replicas, SIGMA, kT)
    result = fit_labelled(pair, replicas, CONFIG, {"labels": "force", "both": "hybrid"}[target], SIGMA, kT)
    return result["weights"], result["textbook"]


def rms(pair, replicas):
    """Rms of F_label - F over all components, kJ/mol/Angstrom."""
    components = replicas[0].components.numpy()
    return np.sqrt(np.average(label_residual(pair, replicas), weights=components)) * ANGSTROM


def gain(pair, reference, replicas):
    """Percentage of the labels' variance (the prior's part taken off) explained beyond what a reference explains.

    With its standard error over replicas.
    """
    zero = SplinePair(len(pair.kinds), pair.cutoff, pair.start, pair.spacing)
    squares = np.array([[rms(p, [r]) ** 2 for p in (zero, reference or zero, pair)] for r in replicas])
    ratio = (squares[:, 1].sum() - squares[:, 2].sum()) / squares[:, 0].sum()
    scatter = (squares[:, 1] - squares[:, 2] - ratio * squares[:, 0]) / squares[:, 0].mean()
    return 100 * ratio, 100 * scatter.std(ddof=1) / np.sqrt(len(squares))


def divisions(frames, real):
    """(training rows, test rows, number of the replica or stretch of each frame) of every division."""
    numbers = np.arange(len(frames))
    group = numbers * STRETCHES // len(frames) if real else frames.replica
    groups = np.unique(group)
    for k in range(DIVISIONS):
        # Of a single run contiguous thirds: frames either side of a cut are alike, and there are few cuts.
        test = groups[k * 8 : k * 8 + 8] if real else np.random.default_rng(k).permutation(groups)[:TEST_REPLICAS]
        held_out = np.isin(group, test)
        yield numbers[~held_out], numbers[held_out], group


def measure(frames, real, path):
    """One row per division, number of frames and target, kept in `path` after every division."""
    done = pandas.read_csv(path) if path.exists() else pandas.DataFrame({"division": []})
    prior = prior_of(frames).forces(frames.positions)
    names = ordered(frames.types)
    kT, rows = thermal_energy(frames.temperature), done.to_dict("records")
    for k, (training, test, group) in enumerate(divisions(frames, real)):
        if k in set(done["division"]):
            continue
        labels = frames.forces.astype(float)
        if not real:
            noise = np.array([NOISE[z] for z in frames.species])[:, None]
            labels = labels + noise * np.random.default_rng(100 + k).normal(size=labels.shape)
        pair = SplinePair(len(names), CONFIG.cutoff, CONFIG.start, CONFIG.spacing)
        judged = replicas_of(pair, frames, frames.forces, prior, test, group)
        sizes = sorted({min(n, len(training) // 50 * 50) for n in SIZES})
        for n in sizes:
            chosen = training[np.linspace(0, len(training) - 1, n).round().astype(int)]
            replicas = replicas_of(pair, frames, labels, prior, chosen, group)
            for target in STYLE:
                weights, textbook = fitted(pair, replicas, target, kT)
                row = {"division": k, "target": target, "frames": n, "rms": rms(pair, judged)}
                row["explained"], row["explained error"] = gain(pair, None, judged)
                if target == "positions":
                    positions = copy.deepcopy(pair)
                row["gain"], row["gain error"] = gain(pair, positions, judged)
                row |= {f"weight {s}": w for s, w in zip(names, weights)}
                row |= {f"textbook {s}": w for s, w in zip(names, textbook)}
                rows.append(row)
                print(
                    f"division {k}, {n:5d} frames, {target:9s}: rms {row['rms']:.3f} kJ/mol/A, explained "
                    f"{row['explained']:.2f} +- {row['explained error']:.2f} %, over positions "
                    f"{row['gain']:.2f} +- {row['gain error']:.2f} %, weights {np.round(weights, 3)}, "
                    f"textbook {np.round(textbook, 3)}",
                    flush=True,
                )
        pandas.DataFrame(rows).to_csv(path, index=False)
    return pandas.DataFrame(rows)


def summary(rows):
    """Mean and spread over the divisions."""
    grouped = rows.groupby(["target", "frames"], sort=False)
    table = pandas.DataFrame({"rms / kJ/mol/A": grouped["rms"].mean(), "spread": grouped["rms"].std()})
    # One close pair of a kind that training saw too rarely can spoil a mean.
    for name in ("min", "median", "max"):
        table[name] = getattr(grouped["rms"], name)()
    for name, column in (("explained", "explained / %"), ("gain", "over positions / %")):
        table[column] = grouped[name].mean()
        # Of one division and of the mean of divisions that test on different frames.
        table[f"{name} error"] = grouped[f"{name} error"].apply(lambda e: np.sqrt((e**2).sum()) / len(e))
    for column in rows.columns[rows.columns.str.match("weight|textbook")]:
        table[column] = grouped[column].mean()
    return table.reset_index()


def worth(table):
    """How many labelled frames are as good as so many positions, by median error: power law between the points."""
    labels = table[table["target"] == "labels"].sort_values("frames")
    errors, frames = np.log(labels["median"]), np.log(labels["frames"])
    for _, row in table[table["target"] == "positions"].iterrows():
        log_error = np.log(row["median"])
        if errors.min() <= log_error <= errors.max():
            n = np.exp(np.interp(-log_error, -errors, frames))
            print(f"{row['frames']:5.0f} positions are worth {n:5.0f} labelled frames used for their labels alone")
        else:
            side = f"more than {labels['frames'].max()}" if log_error < errors.min() else "fewer than 100"
            print(f"{row['frames']:5.0f} positions are worth {side} labelled frames used for their labels alone")


def draw(table, path, real):
    """Error, or explained variance, against frames."""
    figure, ax = plt.subplots(figsize=(5, 3.8), layout="constrained")
    y = "explained / %" if real else "median"
    for shift, (target, (colour, marker)) in zip((0.97, 1.0, 1.03), STYLE.items()):
        part = table[table["target"] == target]
        bars = part["explained error"] if real else np.abs(part[["min", "max"]].to_numpy().T - part[y].to_numpy())
        ax.errorbar(part["frames"] * shift, part[y], bars, color=colour, marker=marker, label=target, capsize=2)
    ax.set_xscale("log")
    sizes = sorted(table["frames"].unique())
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.minorticks_off()
    if real:
        ax.axhline(0, color="0.7", lw=0.8)
        ax.set(ylabel="explained variance of held-out labels / %")
    else:
        ax.set(ylabel=r"rms force error / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$", yscale="log")
        ax.set_yticks([tick for tick in (0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if tick < 1.1 * part["max"].max()])
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    ax.set(xlabel="training frames")
    ax.legend(frameon=False, title="learnt from")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, help="npz with forces in every frame")
    parser.add_argument("output", type=Path, help="directory for labels.csv and labels.png")
    parser.add_argument("--real", action="store_true", help="the file's forces are noisy labels themselves")
    arguments = parser.parse_args()
    frames = Frames.load(arguments.frames)
    frames = frames[frames.labelled]
    n_replicas = len(np.unique(frames.replica))
    if not arguments.real and n_replicas <= TEST_REPLICAS + 1:
        parser.error(f"{arguments.frames} holds {n_replicas} replicas, {TEST_REPLICAS + 2} are needed: --real cuts one")
    arguments.output.mkdir(parents=True, exist_ok=True)
    # Of these frames and this kind of labels: those of others are no start to go on from.
    done = f"divisions-{frames.digest()}{'-real' if arguments.real else ''}.csv"
    table = summary(measure(frames, arguments.real, arguments.output / done))
    table.round(4).to_csv(arguments.output / "labels.csv", index=False)
    draw(table, arguments.output / "labels.png", arguments.real)
    print(table.round(3).to_string(index=False))
    if not arguments.real:
        worth(table)


if __name__ == "__main__":
    main()
