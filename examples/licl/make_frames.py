"""Choose the example frames of 2.4 mol/L LiCl from the full sample: `python make_frames.py FULL_SAMPLE.npz`.

Provenance of the full sample: it was drawn for this project from the published
coarse-grained NequIP model of Zhang, Pagotto, Gould & Duignan (arXiv:2310.12535,
MIT licence), with Coulomb interactions in a dielectric of 78.3 added.  24 Li+ and
24 Cl- in a cubic box of 2.526 nm at 300 K; Langevin dynamics (BAOAB, 2 fs, friction
5/ps) of 26 independent replicas from random lattice placements; one frame every
0.5 ps from 8 to 67.5 ps.  Its forces are the exact mean forces of that model,
Coulomb included: they serve to measure a model, not to train one on positions.
"""

import argparse
from pathlib import Path

import numpy as np

from openmm_diffusion.data.frames import Frames

N_FRAMES, N_LABELLED = 2000, 400


def spread(replica, n_chosen):
    """Indices of `n_chosen` frames, shared out among the replicas and evenly spaced within each."""
    members = [np.flatnonzero(replica == number) for number in np.unique(replica)]
    share, rest = divmod(n_chosen, len(members))
    return np.concatenate(
        [
            frames[np.linspace(0, len(frames) - 1, share + (k < rest)).round().astype(int)]
            for k, frames in enumerate(members)
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", help="npz file of the full sample, in the native format")
    parser.add_argument("--output", default=Path(__file__).with_name("licl.npz"), help="npz file to write")
    arguments = parser.parse_args()

    full = Frames.load(arguments.sample)
    chosen = full[spread(full.replica, N_FRAMES)]
    forces = np.full_like(chosen.positions, np.nan)
    labelled = spread(chosen.replica, N_LABELLED)
    forces[labelled] = chosen.forces[labelled]
    example = Frames(chosen.positions, chosen.species, chosen.box, chosen.temperature, forces, chosen.replica)
    example.save(arguments.output)
    print(f"{arguments.output}: {example}, digest {example.digest()}")


if __name__ == "__main__":
    main()
