"""How averages over frames speed up with the workers that share them, and how they grow with the number of frames.

    python benchmarks/workers.py --output OUTPUT

The job is what `openmm-diffusion train --workers N` shares: averages of the pair potential of the LiCl example over
frames in files, noised. Clusters of all sizes stand side by side, each of workers of one thread; in every round each
does the same job, the order reversed from round to round, so that a passing disturbance meets all. Ratios are within a
round, the speed with N workers over that with one; parallel efficiency is the ratio over N. Then one worker averages
over 1/8, 1/4, 1/2 and all of the frames: the slope is the time per frame.

Writes workers.csv (one row per number of workers), frames.csv (one per number of frames), workers.png, and on the
terminal what 10^6 frames would take.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas

from openmm_diffusion import Frames
from openmm_diffusion.cluster import connected
from openmm_diffusion.learning.linear import fit
from openmm_diffusion.learning.training import train

FRAMES = Path(__file__).parents[1] / "examples" / "licl" / "licl.npz"
FILES = 8


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
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        files = written(Path(folder), args.frames)
        clients = {n: stack.enter_context(connected(workers=n)) for n in args.workers}
        for client in clients.values():  # imports are made once
            averages(files[:1], 1, client)
        begun, times = os.getloadavg(), {n: [] for n in clients}
        for number in range(args.rounds):
            for n in list(clients)[:: 1 if number % 2 == 0 else -1]:
                times[n].append(averages(files, args.draws, clients[n]))
            print(f"round {number + 1}: " + ", ".join(f"{n} workers {times[n][-1]:.2f} s" for n in times), flush=True)
        parts, grown = [len(files) // 8, len(files) // 4, len(files) // 2, len(files)], {}
        for _ in range(3):
            for part in parts:
                grown.setdefault(part, []).append(averages(files[:part], args.draws, clients[args.workers[0]]))
        load = {"load_before": begun[0], "load_after": os.getloadavg()[0], "cores": os.cpu_count()}
    rows = []
    for n, own in times.items():
        ratios = [one / other for one, other in zip(times[args.workers[0]], own)]
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        rows.append(
            {
                "workers": n, "rounds": args.rounds, "seconds": statistics.median(own), "ratio": middle,
                "ratio_low": low, "ratio_high": high, "efficiency": middle / n, **load,
            }
        )  # fmt: skip
    table = pandas.DataFrame(rows)
    each = args.frames // FILES
    frames = pandas.DataFrame(
        [
            {"frames": part * each, "seconds": statistics.median(own), "low": min(own), "high": max(own)}
            for part, own in grown.items()
        ]
    )
    table.to_csv(args.output / "workers.csv", index=False, float_format="%.4g")
    frames.to_csv(args.output / "frames.csv", index=False, float_format="%.4g")
    slope, rest = np.polyfit(frames["frames"], frames["seconds"], 1)
    print(table.to_string(index=False))
    print(f"{1e3 * slope:.3g} ms a frame and {rest:.2g} s: 10^6 frames take {1e6 * slope / 3600:.2g} h by one worker")
    draw(table, frames, slope, rest, args.output / "workers.png")


def written(folder, number):
    """The frames of the example as files of equal numbers of them, a replica each."""
    frames, files = Frames.load(FRAMES)[:number], []
    for part in np.array_split(np.arange(len(frames)), FILES):
        files.append(folder / f"frames-{len(files)}.npz")
        frames[part].save(files[-1])
    return files


def averages(files, draws, client):
    """Seconds that the averages of a training take, without what comes before and after."""
    spent, original = [], fit._replicas

    def timed(*arguments):
        begin = time.monotonic()
        found = original(*arguments)
        spent.append(time.monotonic() - begin)
        return found

    config = {
        "data": {"frames": list(map(str, files)), "test_fraction": 0, "validation_fraction": 0},
        "pair": {"sigma": 0.005, "draws": draws}, "network": None,
    }  # fmt: skip
    fit._replicas = timed
    try:
        train(None, config, progress=False, client=client)
    finally:
        fit._replicas = original
    return sum(spent)


def draw(table, frames, slope, rest, path):
    """Ratio of speeds against workers, and time against frames."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    errors = [table["ratio"] - table["ratio_low"], table["ratio_high"] - table["ratio"]]
    left.errorbar(table["workers"], table["ratio"], errors, fmt="o-", capsize=3, label="measured (quartiles)")
    left.plot(table["workers"], table["workers"], "k:", label="ideal")
    left.axvline(table["cores"][0], color="grey", lw=0.8, label=f"{table['cores'][0]} cores")
    left.set(xlabel="workers of one thread", ylabel="speed over that of one worker", xticks=table["workers"])
    left.legend(frameon=False)
    right.errorbar(
        frames["frames"], frames["seconds"],
        [frames["seconds"] - frames["low"], frames["high"] - frames["seconds"]], fmt="o", capsize=3,
    )  # fmt: skip
    right.plot(frames["frames"], slope * frames["frames"] + rest, "-", label=f"{1e3 * slope:.3g} ms a frame")
    right.set(xlabel="frames", ylabel="time of averages, one worker / s")
    right.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
