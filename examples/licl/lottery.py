"""Thirty random subsets, fitted each by itself: whether a fit to positions alone is a lottery.

    python examples/licl/lottery.py FRAMES [--output DIR] [--subsets 30] [--frames 500 2000]

FRAMES are frames of several replicas with exact mean forces, which serve to measure alone: six replicas, others for
each subset, take no part in a fit.  All choices of a fit are made on the frames that it is given.  Writes lottery.csv,
a row for each fit (a second call goes on where the first was stopped), and lottery.png.
"""

import argparse
import csv
import logging
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch

from openmm_diffusion import Frames, train

TEST_REPLICAS = 6
PRIOR = {"coulomb": {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}}
BASE = {"data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": PRIOR}
MODELS = {"pair": {"pair": {"sigma": 0}}, "pair + many-body": {"pair": {"sigma": 0}, "manybody": {"sigma": 0}}}
COLUMNS = ["model", "frames", "subset", "error_kJ_per_mol_A", "held_out_score", "penalties", "seconds"]


def subset(frames, number, n_frames):
    """Frames to fit and frames to measure with, of different replicas, drawn by the number of the subset."""
    rng = np.random.default_rng(number)
    replicas = rng.permutation(np.unique(frames.replica))
    unseen = np.isin(frames.replica, replicas[:TEST_REPLICAS])
    rest = frames[~unseen]
    return rest[np.sort(rng.choice(len(rest), n_frames, replace=False))], frames[unseen]


def force_error(model, frames):
    """Root mean square force error per component, kJ/mol/A."""
    return float(np.sqrt(np.mean((model.forces(frames.positions, frames.boxes) - frames.forces) ** 2))) / 10


def figure(table, path):
    """Every error, with the median of each column of them."""
    sizes, names = sorted(table["frames"].unique()), list(MODELS)
    fig, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for place, name in enumerate(names):
        for column, size in enumerate(sizes):
            errors = table[(table["model"] == name) & (table["frames"] == size)]["error_kJ_per_mol_A"]
            x = column + 0.4 * (place - 0.5) + np.linspace(-0.12, 0.12, len(errors))
            axis.plot(x, errors, "o", ms=3, color=f"C{place}", label=name if column == 0 else None)
            centre = column + 0.4 * (place - 0.5)
            axis.plot([centre - 0.16, centre + 0.16], [errors.median()] * 2, "-", color=f"C{place}")
    axis.set_xticks(range(len(sizes)), [f"{size:,} frames" for size in sizes])
    axis.set_ylabel("rms force error on unseen replicas / kJ/mol/Å")
    axis.set_ylim(0, None)
    axis.legend(title="30 random subsets each; lines: medians" if len(table) >= 120 else None, loc="lower left")
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/lottery"))
    parser.add_argument("--subsets", type=int, default=30)
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 2000])
    arguments = parser.parse_args()
    logging.getLogger("openmm_diffusion").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    frames, path = Frames.load(arguments.data), arguments.output / "lottery.csv"
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    done = {(row.model, row.frames, row.subset) for row in pandas.read_csv(path).itertuples()}
    for number in range(arguments.subsets):
        for size in arguments.frames:
            for name, energies in MODELS.items():
                if (name, size, number) in done:
                    continue
                training, unseen = subset(frames, number, size)
                start = time.perf_counter()
                model = train(training, {**BASE, **energies}, progress=False)
                seconds = time.perf_counter() - start
                terms = model.header.learnt
                penalties = " ".join(f"{term.penalty:g}" for term in terms)
                score = model.header.held_out["pair_score"]
                row = [name, size, number, round(force_error(model, unseen), 4), round(score, 1), penalties]
                with open(path, "a", newline="") as file:
                    csv.writer(file).writerow([*row, round(seconds, 1)])
                print(*row, f"{seconds:.0f} s", flush=True)
    table = pandas.read_csv(path)
    figure(table, arguments.output / "lottery.png")
    errors = table.groupby(["model", "frames"])["error_kJ_per_mol_A"]
    print(errors.agg(["median", "max", "count"]).round(3).to_string())


if __name__ == "__main__":
    main()
