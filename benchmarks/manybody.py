"""What a compiled many-body force takes beside a compiled network: 48 ions of 2.4 M LiCl, one thread.

    python benchmarks/manybody.py --output OUTPUT

The energies have weights that nothing was learnt from, which take the same time.  The many-body energy has its default
basis (two species, six radial functions, l <= 2, up to 0.8 nm), the network eight features, l <= 1 and two layers, up
to 0.6 nm, as that of the shipped model.  Measured is one evaluation of energy and forces in single precision,
positions in, forces out, the list of pairs included.  Rounds over all follow one another, and a ratio is that of two
times of the same round.  Times are of the processor (of this thread): on a machine with other work those of the clock
say nothing.

Then the same many-body force of 48 to 12,288 ions at one density, as torch comes (not compiled): the least of some
calls with the search for pairs.

Writes manybody.csv, manybody_sizes.csv and manybody.png.
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
from scaling import replicate

FRAMES = Path(__file__).parents[1] / "examples" / "licl" / "licl.npz"
CALLS = 20


def terms(features):
    """The energies to be timed, by name."""
    found = {"many-body": ManyBodyTerm(sigma=0.0, cutoff=0.8, start=0.18, radial=6, lmax=2)}
    network = NetworkConfig(cutoff=0.6, lmax=1, features=features, layers=2)
    return found | {f"network, {features} features": NetworkTerm(sigma=0.005, network=network, neighbours=8.0)}


def force(term, species, compiled=True):
    """The force of one energy alone."""
    header = Denoiser.load("licl").header
    model = Denoiser(header.model_copy(update={"terms": [term]}))
    if term.linear:
        (module,) = model.modules()
        module.assign(torch.randn(module.coefficients.shape, generator=torch.Generator().manual_seed(0)).double())
    return Evaluator(model.to_bytes(), model.species_index(species).tolist(), True, "single", compiled, 1)


def sizes(frames, calls):
    """Time of the processor (ms) of the force of more and more ions."""
    rows = []
    term = next(iter(terms(8).values()))
    for block in ((1, 1, 1), (3, 3, 3), (4, 4, 4), (5, 5, 5), (4, 8, 8)):
        x, box, species = replicate(frames.positions[0], frames.box, frames.species, block)
        one = force(term, species, compiled=False)
        x, box = torch.as_tensor(x), torch.as_tensor(box)
        times = []
        for _ in range(calls):
            begun = time.thread_time()
            one.evaluate(x, box)
            times.append(1e3 * (time.thread_time() - begun))
        rows.append({"ions": len(x), "ms": min(times), "us_per_ion": 1e3 * min(times) / len(x)})
    return pandas.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--features", type=int, default=8, help="of the network")
    parser.add_argument("--output", type=Path, default=Path("runs/manybody"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    frames = Frames.load(FRAMES)
    x, box = torch.as_tensor(frames.positions[0].astype(float)), torch.as_tensor(frames.box, dtype=torch.float64)
    forces = {name: force(term, frames.species) for name, term in terms(given.features).items()}
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
    grown = sizes(frames, 6)
    print(grown.round(3).to_string(index=False))
    grown.round(4).to_csv(given.output / "manybody_sizes.csv", index=False)
    figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
    ax.boxplot(list(times.values()), orientation="horizontal", showfliers=False, tick_labels=list(times))
    ax.set(xlabel="energy and forces of 48 ions (ms of the processor)", xlim=(0, None))
    figure.savefig(given.output / "manybody.png", dpi=150)


if __name__ == "__main__":
    main()
