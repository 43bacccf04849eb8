"""How averages over frames speed up with the workers that share them, and how they grow with frames and particles.

    python benchmarks/workers.py --output OUTPUT

The job is what `openmm-diffusion train --workers N` shares: averages of the pair potential of the LiCl example over
frames in files, noised. In every round workers of one thread each, first one, then two, then four, are started and do
the same job, the order reversed from round to round, so that a passing disturbance meets all. Starting them is not
counted. Ratios are within a round, the speed with N workers over that with one; parallel efficiency is the ratio over
N.

How they grow is measured in CPU time of this process, which other work beside hardly changes: over more frames, and
over frames of more particles at one density, blocks of copies of the example's, each ion moved a little.

Writes workers.csv (one row per number of workers), growth.csv and workers.png; `--rounds 0` measures growth alone.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas
import torch

from openmm_diffusion import Frames
from openmm_diffusion.cluster import connected
from openmm_diffusion.learning.linear import fit
from openmm_diffusion.learning.training import train

FRAMES = Path(__file__).parents[1] / "examples" / "licl" / "licl.npz"
FILES = 8
#: Energies whose averages grow: settings and number of frames of 48 ions.
ENERGIES = {"pair": ({}, [500, 1000, 2000]), "pair + many-body": ({"manybody": {}}, [50, 100, 200])}
#: Standard deviation (nm) by which copies differ in every coordinate.
DISPLACEMENT = 0.005
#: Copies along each axis, and frames.
COPIES = {1: 640, 2: 80, 4: 10}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/workers"), help="directory of tables and picture")
    parser.add_argument(
        "--workers", nargs="+", type=int, default=[1, 2, 4], help="numbers of workers; 1 is one of them"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=2000, help="of the example")
    parser.add_argument("--draws", type=int, default=8, help="antithetic pairs of noise of each frame")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), args.frames)
        begun, times = os.getloadavg(), {n: [] for n in args.workers if args.rounds}
        for number in range(args.rounds):
            for n in list(times)[:: 1 if number % 2 == 0 else -1]:
                with connected(workers=n) as client:
                    for _ in range(n):  # imports are made once, by every worker
                        averages(files, 1, client, 0.0)
                    times[n].append(averages(files, args.draws, client))
            print(f"round {number + 1}: " + ", ".join(f"{n} workers {times[n][-1]:.2f} s" for n in times), flush=True)
    rows = [speed(n, own, times[args.workers[0]], begun[0]) for n, own in times.items() if own]
    shared, grown = pandas.DataFrame(rows), growth()
    if rows:
        shared.to_csv(args.output / "workers.csv", index=False, float_format="%.4g")
        print(shared.to_string(index=False))
    grown.to_csv(args.output / "growth.csv", index=False, float_format="%.4g")
    print(grown.to_string(index=False))
    draw(shared, grown, args.output / "workers.png")


def speed(workers, own, of_one, load):
    """A row: how much faster these workers are than one, within rounds."""
    low, middle, high = np.percentile([one / other for one, other in zip(of_one, own)], [25, 50, 75])
    return {
        "workers": workers, "rounds": len(own), "seconds": statistics.median(own), "ratio": middle, "ratio_low": low,
        "ratio_high": high, "efficiency": middle / workers, "cores": os.cpu_count(), "load_before": load,
        "load_after": os.getloadavg()[0],
    }  # fmt: skip


def growth():
    """CPU seconds of averages in this process: energy, particles, frames, and those of a frame and a particle."""
    torch.set_num_threads(1)
    frames, rows = Frames.load(FRAMES), []
    averages(frames[:100], 1, None, sigma=0.0)  # what is done once
    for energy, (settings, numbers) in ENERGIES.items():
        for number in numbers:
            rows.append((energy, frames[:number], settings))
    for copies, number in COPIES.items():
        rows.append(("pair", larger(frames[:number], copies), {}))
    found = []
    for energy, part, settings in rows:
        seconds = min(averages(part, 1, None, 0.0, settings, time.process_time) for _ in range(2))
        n = len(part.types)
        found.append(
            {
                "energy": energy, "particles": n, "frames": len(part), "cpu_s": seconds,
                "ms_per_frame": 1e3 * seconds / len(part), "us_per_particle": 1e6 * seconds / len(part) / n,
            }
        )  # fmt: skip
        print("  ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in found[-1].values()))
    return pandas.DataFrame(found)


def larger(frames, copies):
    """Frames of so many copies along each axis, each particle moved a little."""
    rng, edge = np.random.default_rng(0), float(frames.box[0, 0])
    places = edge * np.stack(np.meshgrid(*[np.arange(copies)] * 3), -1).reshape(-1, 1, 3)
    x = (frames.positions[:, None] + places).reshape(len(frames), -1, 3)
    x = x + rng.normal(0, DISPLACEMENT, x.shape)
    replica = np.arange(len(frames)) * 3 // len(frames)
    species = np.tile(frames.species, copies**3)
    return Frames(x, species, copies * frames.box, frames.temperature, replica=replica)


def written(folder, number):
    """The frames of the example as files of equal numbers of them, a replica each."""
    frames, files = Frames.load(FRAMES)[:number], []
    for part in np.array_split(np.arange(len(frames)), FILES):
        files.append(folder / f"frames-{len(files)}.npz")
        frames[part].save(files[-1])
    return files


def averages(given, draws, client, sigma=0.005, settings=None, clock=time.monotonic):
    """Seconds that the averages of a training take, without what comes before and after."""
    spent, original = [], fit._replicas

    def timed(*arguments):
        begin = clock()
        found = original(*arguments)
        spent.append(clock() - begin)
        return found

    named = None if isinstance(given, Frames) else list(map(str, given))
    config = {
        "data": {"frames": named, "test_fraction": 0, "validation_fraction": 0}, "network": None,
        "pair": {"sigma": sigma, "draws": draws}, **(settings or {}),
    }  # fmt: skip
    fit._replicas = timed
    try:
        train(given if named is None else None, config, progress=False, client=client)
    finally:
        fit._replicas = original
    return sum(spent)


def draw(shared, grown, path):
    """Ratio of speeds against workers, and CPU time against frames and particles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    if len(shared):
        errors = [shared["ratio"] - shared["ratio_low"], shared["ratio_high"] - shared["ratio"]]
        left.errorbar(shared["workers"], shared["ratio"], errors, fmt="o-", capsize=3, label="measured (quartiles)")
        left.plot(shared["workers"], shared["workers"], "k:", label="ideal")
        left.axvline(shared["cores"][0], color="grey", lw=0.8, label=f"{shared['cores'][0]} cores")
        left.set(xticks=shared["workers"])
        left.legend(frameon=False)
    left.set(xlabel="workers of one thread", ylabel="speed over that of one worker")
    small = grown["particles"].min()
    for energy, rows in grown[grown["particles"] == small].groupby("energy"):
        rows = rows.sort_values("frames")
        middle.loglog(rows["frames"], rows["cpu_s"], "o-", label=energy)
    middle.set(xlabel=f"frames of {small} ions", ylabel="CPU time of averages / s")
    middle.legend(frameon=False)
    rows = grown[grown["energy"] == "pair"].groupby("particles")["ms_per_frame"].min()
    right.loglog(rows.index, rows, "o-")
    right.set(xlabel="ions, at one density", ylabel="CPU time of a frame / ms")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
