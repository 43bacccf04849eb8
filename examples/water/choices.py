"""How the many-body basis of water.yaml was chosen: by the held-out score of positions, on the frames that train.

    python examples/water/choices.py [OUTPUT] [--results DIR]

OUTPUT is where water.py has been (runs/water by default).  Writes choices.csv, a row for each basis beside the pair
potential, with the score over the runs left out in turn, its difference from the best and the standard error of that
over the runs, and penalties.csv, the scores of every penalty of the basis taken, each beside the other energy's chosen
one.  No molecular dynamics, no test run.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas
import torch

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.data.sets import blocks
from openmm_diffusion.energies.linear import LinearSum
from openmm_diffusion.energies.manybody import ManyBodyConfig, ManyBodyTerm
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.linear.scorematching import fit, folds_of, held_out_scale, moments
from openmm_diffusion.units import thermal_energy
from openmm_diffusion.workflows.refine import training_frames

HERE = Path(__file__).parent
#: Cutoff (nm), radial functions, highest degree of the angles; None: the pair potential alone.
BASES = [None, (0.4, 6, 3), (0.45, 6, 3), (0.45, 6, 4), (0.5, 6, 2), (0.5, 6, 3), (0.5, 6, 4), (0.5, 8, 3), (0.6, 6, 3)]


def scored(basis, frames, header, config):
    """Row of one basis: its penalties, and its score on each run left out; scores of all penalties tried."""
    settings = [config.pair]
    energies = [PairTerm.blank(config.pair, 0.0, None).module(header)]
    if basis is not None:
        settings.append(ManyBodyConfig(sigma=0, cutoff=basis[0], radial=basis[1], lmax=basis[2]))
        energies.append(ManyBodyTerm.blank(settings[-1], 0.0, None).module(header))
    energy, replicas = LinearSum(energies), []
    species, kT = torch.zeros(len(frames.types), dtype=torch.int64), thermal_energy(frames.temperature)
    for block in blocks(frames, 10):
        x, box = torch.as_tensor(block.positions), torch.as_tensor(block.boxes)
        replicas.append(moments(energy, x, torch.zeros_like(x), box, species, kT))  # the wall is beyond the data
    result = fit(energy, replicas, settings)
    folds = folds_of(replicas, min(settings[0].folds, len(replicas)))
    _, scores = held_out_scale(energy, folds, tuple(result["penalty"]))
    row = dict(zip(("cutoff_nm", "radial", "lmax"), basis or (None, None, None)))
    row |= {"coefficients": sum(energy.sizes), "penalties": " ".join(f"{one:g}" for one in result["penalty"])}
    return row, scores, result["path"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=Path("runs/water"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    denoiser = Denoiser.load(options.output / "pair-alone" / "model" / "model.safetensors")
    frames = training_frames(denoiser, Frames.load(options.output / "beads.npz"))
    config, rows, scores, paths = read_config(HERE / "water.yaml"), [], [], []
    for basis in BASES:
        row, of_runs, path = scored(basis, frames, denoiser.header, config)
        rows.append(row)
        scores.append(of_runs)
        paths.append(path)
        print(basis, row["penalties"], f"{of_runs.mean():.0f}", flush=True)
    best = int(np.mean(scores, axis=1).argmin())
    for row, of_runs in zip(rows, scores):
        behind = of_runs - scores[best]
        row |= {"held_out_score": of_runs.mean(), "behind_the_best": behind.mean()}
        row["standard_error"] = behind.std(ddof=1) / np.sqrt(len(behind))
    pandas.DataFrame(rows).round(2).to_csv(options.results / "choices.csv", index=False)
    taken = paths[BASES.index((config.manybody.cutoff, config.manybody.radial, config.manybody.lmax))]
    columns = ["penalty", "held_out_score", "standard_error_of_difference"]
    tables = [pandas.DataFrame(path, columns=columns) for path in taken]
    for name, table in zip(("pair", "manybody"), tables):
        table.insert(0, "energy", name)
    penalties = pandas.concat(tables).round(2)
    penalties.to_csv(options.results / "penalties.csv", index=False)


if __name__ == "__main__":
    main()
