"""What a compiled many-body force takes beside a compiled network: 48 ions of 2.4 M LiCl, one thread.

    python benchmarks/manybody.py --output OUTPUT

The energies have weights that nothing was learnt from, which take the same time.  The many-body energy has its default
basis (two species, six radial functions, l <= 2, up to 0.8 nm), networks have eight features, l <= 1 and two layers, up
to 0.6 nm (as the shipped model) and to 0.8 nm.  Measured is one evaluation of energy and forces in single precision,
positions in, forces out, the list of pairs included.  Rounds over all follow one another, and a ratio is that of two
times of the same round.  Times are of the processor (of this thread): on a machine with other work those of the clock
say nothing.

Writes manybody.csv and manybody.png.
"""

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas
import torch

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.energies.manybody import ManyBodyTerm
from openmm_diffusion.energies.network import NetworkConfig, NetworkTerm
from openmm_diffusion.forces.pythonforce import Evaluator

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - after its backend

FRAMES = Path(__file__).parents[1] / "examples" / "licl" / "licl.npz"
CALLS = 20


def terms(features):
    """The energies to be timed, by name."""
    found = {"many-body, 0.8 nm": ManyBodyTerm(sigma=0.0, cutoff=0.8, start=0.18, radial=6, lmax=2)}
    for cutoff in (0.6, 0.8):
        network = NetworkConfig(cutoff=cutoff, lmax=1, features=features, layers=2)
        found[f"network, {cutoff:g} nm"] = NetworkTerm(sigma=0.005, network=network, neighbours=8.0)
    return found


def force(term, frames):
    """The compiled force of one energy alone."""
    header = Denoiser.load("licl").header
    model = Denoiser(header.model_copy(update={"terms": [term]}))
    if term.linear:
        (module,) = model.modules()
        module.assign(torch.randn(module.coefficients.shape, generator=torch.Generator().manual_seed(0)).double())
    species = model.species_index(frames.species).tolist()
    return Evaluator(model.to_bytes(), species, True, "single", True, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--features", type=int, default=8, help="of the networks")
    parser.add_argument("--output", type=Path, default=Path("runs/manybody"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    frames = Frames.load(FRAMES)
    x, box = torch.as_tensor(frames.positions[0].astype(float)), torch.as_tensor(frames.box, dtype=torch.float64)
    forces = {name: force(term, frames) for name, term in terms(given.features).items()}
    for one in forces.values():
        for _ in range(CALLS):
            one.evaluate(x, box)
        if not one.compiled:
            raise SystemExit("nothing can be compiled here: see the warning above")
    times = {name: [] for name in forces}
    for _ in range(given.rounds):
        for name, one in forces.items():
            begun = time.thread_time()
            for _ in range(CALLS):
                one.evaluate(x, box)
            times[name].append(1e3 * (time.thread_time() - begun) / CALLS)
    rows = []
    first = np.array(next(iter(times.values())))
    for name, values in times.items():
        low, ratio, high = np.quantile(first / np.array(values), [0.25, 0.5, 0.75])
        row = {"force": name, "ms": np.median(values), "least_ms": min(values)}
        rows.append({**row, "many-body_over_it": ratio, "low": low, "high": high})
    table = pandas.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    table.round(4).to_csv(given.output / "manybody.csv", index=False)
    figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
    ax.boxplot(list(times.values()), orientation="horizontal", showfliers=False, tick_labels=list(times))
    ax.set(xlabel="energy and forces of 48 ions (ms of the processor)", xlim=(0, None))
    figure.savefig(given.output / "manybody.png", dpi=150)


if __name__ == "__main__":
    main()
