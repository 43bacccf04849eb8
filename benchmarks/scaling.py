"""How time and memory grow with the number of ions: 2.4 M LiCl of 48 to 12,288 ions at constant density.

    python benchmarks/scaling.py --output OUTPUT

Every size is a block of copies of one frame of the example data, each ion moved a little, in a process of its own.
Measured are the time per MD step (shipped model through TorchForce, its prior as native OpenMM forces with PME), the
time of the learnt force alone in the same Context, the time of the neighbour search alone, and the peak resident
memory during all this, above that of the process with the model loaded, with and without what the smallest size needs
too (compiled code, mostly).
Rounds over all sizes follow one another, so that a passing disturbance meets every size; medians over rounds count.

Writes scaling.csv after every round and scaling.png at the end, also when it is interrupted or its minutes are over.
"""

import argparse
import contextlib
import csv
import ctypes
import itertools
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

# Heavy imports are made by the processes that need them: the peak memory of a new process begins at that of its parent.

FRAMES = Path(__file__).parents[1] / "examples" / "licl" / "licl.npz"
COPIES = ["1x1x1", "2x2x2", "3x3x3", "4x4x4", "5x5x5", "4x8x8"]
#: Quantities measured: column, what it is, unit.
QUANTITIES = [
    ("md_step_ms", "MD step", "ms"),
    ("force_ms", "learnt force alone", "ms"),
    ("neighbours_ms", "neighbour search alone", "ms"),
    ("memory_above_smallest_MB", "memory above that of the smallest", "MB"),
]
TIMES = [column for column, _, unit in QUANTITIES if unit == "ms"]
#: Standard deviation (nm) by which copies differ in every coordinate.
DISPLACEMENT = 0.005


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/scaling"), help="directory of scaling.csv and .png")
    parser.add_argument("--model", default="licl", help="model file, or shipped model")
    parser.add_argument("--copies", nargs="+", default=COPIES, help="copies of 48 ions along each axis, as 2x2x2")
    parser.add_argument("--rounds", type=int, default=5, help="repeats over all sizes")
    parser.add_argument("--seconds", type=float, default=1.5, help="aimed at for each measurement of a round")
    parser.add_argument("--minutes", type=float, default=5.0, help="no round begins later")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of OpenMM's CPU platform")
    parser.add_argument("--platform", default="CPU", help="OpenMM's")
    parser.add_argument("--fit-from", type=int, default=1000, help="ions: exponents are fitted to sizes from here on")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    rows = measure(args)
    if not any(row["rounds"] for row in rows):
        sys.exit("nothing was measured: see the errors above")
    fits = {column: fit(rows, column, args.fit_from) for column, _, _ in QUANTITIES}
    print_table(rows, fits, args.fit_from)
    draw(rows, fits, args.fit_from, args.output / "scaling.png")
    print(f"wrote {args.output / 'scaling.csv'} and {args.output / 'scaling.png'}")


# ---- the measurement


def measure(args):
    """Rows of the table, one for each size; as many rounds as the minutes allow."""
    begin = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    context = multiprocessing.get_context("spawn")
    workers, rows = [], []
    try:
        for copies in args.copies:
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, copies, args), daemon=True)
            process.start()
            theirs.close()
            row = {"copies": copies, "ions": None, "rounds": 0}
            workers.append((process, ours, row))
            row.update(answer(process, ours, row, 60 * args.minutes))
            rows.append(row)
            if "error" not in row:
                print(f"{row['ions']:>6} ions are ready after {time.monotonic() - begin:.0f} s", flush=True)
        samples = {row["copies"]: {column: [] for column in TIMES} for row in rows}
        for number in range(args.rounds):
            if number and time.monotonic() - begin > 60 * args.minutes:
                print(f"{args.minutes:g} minutes are over after {number} of {args.rounds} rounds")
                break
            for process, ours, row in workers:
                if "error" in row:
                    continue
                ours.send("measure")
                result = answer(process, ours, row, 60 * args.minutes)
                if "error" in result:
                    row.update(result)
                    continue
                row["memory_MB"], row["rounds"] = result.pop("memory_MB"), number + 1
                for column, value in result.items():
                    samples[row["copies"]][column].append(value)
                    row[column] = statistics.median(samples[row["copies"]][column])
                    row[f"{column}_min"] = min(samples[row["copies"]][column])
                    row[f"{column}_max"] = max(samples[row["copies"]][column])
            done = [row for row in rows if row["rounds"]]
            for row in done:
                row["memory_above_smallest_MB"] = row["memory_MB"] - min(done, key=lambda r: r["ions"])["memory_MB"]
            write(rows, args.output / "scaling.csv")
            print(f"round {number + 1} of {args.rounds} done after {time.monotonic() - begin:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("interrupted: the table has what was measured until here")
    finally:
        for _, ours, _ in workers:
            with contextlib.suppress(OSError):
                ours.send("end")
        for process, _, _ in workers:
            process.join(5)
            process.kill()
    return rows


def answer(process, connection, row, patience):
    """What a process sends, or its error."""
    try:
        if connection.poll(patience):
            result = connection.recv()
        else:
            result = {"error": f"no answer within {patience:.0f} s"}
    except (EOFError, ConnectionError):
        process.join(5)
        result = {"error": f"ended with exit code {process.exitcode}: out of memory?"}
    if "error" in result:
        print(f"{row['copies']}: {result['error']}", file=sys.stderr, flush=True)
    return result


def work(connection, copies, args):
    """A process: builds one size, then measures whenever it is told to."""
    try:
        import torch  # noqa: I001 - before OpenMM, whose torch plugin needs its libraries
        import openmm
        from openmm import app, unit

        from openmm_diffusion import Denoiser, Frames
        from openmm_diffusion.space.neighbours import neighbour_pairs
        from openmm_diffusion.systems import create_system

        torch.set_num_threads(args.threads)
        model = Denoiser.load(args.model)
        frames = Frames.load(FRAMES)

        reset_peak()
        resident = peak_memory()
        positions, box, species = replicate(frames.positions[0], frames.box, frames.species, block_of(copies))
        topology = app.Topology()
        residue = topology.addResidue("ions", topology.addChain())
        for z in species:
            topology.addAtom("ion", app.Element.getByAtomicNumber(int(z)), residue)
        topology.setPeriodicBoxVectors(box * unit.nanometer)
        system = create_system(model, topology, backend="torchscript")
        next(f for f in system.getForces() if f.getName().startswith("DiffusionForce")).setForceGroup(1)
        integrator = openmm.LangevinMiddleIntegrator(model.header.temperature, 2.0, 0.004)
        integrator.setRandomNumberSeed(1)
        properties = {"Threads": str(args.threads)} if args.platform == "CPU" else {}
        chosen = openmm.Platform.getPlatformByName(args.platform)
        context = openmm.Context(system, integrator, chosen, properties)
        context.setPositions(positions)
        context.setVelocitiesToTemperature(model.header.temperature, 1)
        x, box = torch.tensor(positions, dtype=torch.float32)[None], torch.tensor(box, dtype=torch.float32)

        def md(n):
            integrator.step(n)
            context.getState(positions=True)  # waits for a GPU

        def force(n):
            for _ in range(n):
                context.getState(forces=True, groups={1})

        def neighbours(n):
            for _ in range(n):
                neighbour_pairs(x, box, model.cutoff)

        actions = dict(zip(TIMES, (md, force, neighbours)))
        numbers = {}
        for column, action in actions.items():
            action(4)  # TorchScript optimises in the first calls
            numbers[column] = min(2000, max(2, round(args.seconds / seconds(action, 1))))
        reset_peak()  # what TorchScript needed to compile is over
        connection.send(
            {
                "ions": x.shape[1],
                "box_nm": "x".join(f"{edge:.3f}" for edge in box.diagonal().tolist()),
                **{column.replace("_ms", "_calls"): n for column, n in numbers.items()},
                "model": args.model,
                "platform": args.platform,
                "threads": args.threads,
                "processor": processor(),
                "openmm": openmm.__version__,
                "torch": torch.__version__,
                "openmm_diffusion": version("openmm_diffusion"),
                "python": platform.python_version(),
            }
        )
        while connection.recv() == "measure":
            times = {column: 1000 * seconds(action, numbers[column]) for column, action in actions.items()}
            if not math.isfinite(context.getState(energy=True).getPotentialEnergy()._value):
                raise RuntimeError("positions became NaN")
            connection.send({**times, "memory_MB": peak_memory() - resident})
    except Exception as error:  # whatever it is, the other sizes go on
        connection.send({"error": f"{type(error).__name__}: {error}"})


def seconds(action, n):
    """Time of one of n calls."""
    start = time.perf_counter()
    action(n)
    return (time.perf_counter() - start) / n


def reset_peak():
    """Forget the peak until now, free memory given back (Linux; elsewhere the peak stays that of the whole process)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory():
    """Largest resident size of this process since `reset_peak`, MB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def processor():
    """Name of the CPU."""
    with open("/proc/cpuinfo") if Path("/proc/cpuinfo").exists() else open(os.devnull) as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def block_of(copies):
    """Numbers of copies along the three axes, from text such as 4x8x8."""
    block = tuple(int(n) for n in copies.split("x")) if copies.replace("x", "").isdigit() else ()
    if len(block) != 3 or min(block) < 1:
        raise ValueError(f"copies is {copies!r}: give three numbers, such as 2x2x2")
    return block


def replicate(positions, box, species, block, seed=0):
    """A block of copies of a configuration, every coordinate moved at random by `DISPLACEMENT`.

    Parameters
    ----------
    positions : array, shape (n, 3), nm
    box : array, shape (3, 3), nm
    species : array, shape (n,)
    block : tuple of three int
        Copies along the box vectors.
    seed : int

    Returns
    -------
    positions : array, shape (n_copies n, 3), nm
    box : array, shape (3, 3), nm
    species : array, shape (n_copies n,)
    """
    import numpy as np

    box = np.asarray(box, dtype=float)
    corners = np.array(list(itertools.product(*map(range, block)))) @ box
    copies = (np.asarray(positions, dtype=float) + corners[:, None]).reshape(-1, 3)
    copies += np.random.default_rng(seed).normal(scale=DISPLACEMENT, size=copies.shape)
    return copies, box * np.array(block)[:, None], np.tile(species, len(corners))


# ---- what comes of it


def write(rows, path):
    """The table as a CSV file, replaced as a whole."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    partial = path.with_suffix(".partial")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    partial.replace(path)


def fit(rows, column, fit_from):
    """Power law y = a n^p: p, its standard error (NaN from two sizes), and log a; None from fewer sizes."""
    points = [(row["ions"], row[column]) for row in rows if row["rounds"] and row["ions"] >= fit_from]
    points = [(math.log(n), math.log(y)) for n, y in points if y > 0]
    if len(points) < 2:
        return None
    from scipy.stats import linregress

    line = linregress(*zip(*points))
    return line.slope, line.stderr if len(points) > 2 else math.nan, line.intercept


def exponent(found):
    """Text of a fitted exponent."""
    if found is None:
        return "no fit"
    return f"n^{found[0]:.2f}" + ("" if math.isnan(found[1]) else f" (+- {found[1]:.2f})")


def print_table(rows, fits, fit_from):
    """The table and the exponents, on standard output."""
    columns = [column for column, _, _ in QUANTITIES]
    print("\n" + f"{'ions':>8}" + "".join(f"{column:>26}" for column in columns))
    for row in rows:
        if row["rounds"]:
            print(f"{row['ions']:>8}" + "".join(f"{row[column]:>26.4g}" for column in columns))
        else:
            print(f"{row['copies']:>8} {row.get('error', 'not measured')}")
    print(f"{'fit':>8}" + "".join(f"{exponent(fits[column]):>26}" for column in columns))
    print(f"medians over rounds; fits over sizes of at least {fit_from} ions, standard errors from the residuals\n")


def draw(rows, fits, fit_from, path):
    """Times on the left, memory on the right, both axes logarithmic, with the fitted power laws."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row["rounds"]]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for k, (column, name, unit) in enumerate(QUANTITIES):
        ax, colour = axes[int(unit == "MB")], f"C{k}"
        points = [row for row in rows if row[column] > 0]
        n, y = [row["ions"] for row in points], [row[column] for row in points]
        label = name
        if fits[column]:
            power, error, constant = fits[column]
            label += rf": $n^{{{power:.2f} \pm {error:.2f}}}$" if error == error else rf": $n^{{{power:.2f}}}$"
            ends = [min(m for m in n if m >= fit_from), max(n)]
            ax.plot(ends, [math.exp(constant) * m**power for m in ends], color=colour, lw=1)
        bars = None
        if unit == "ms":
            low = [row[column] - row[f"{column}_min"] for row in points]
            bars = [low, [row[f"{column}_max"] - row[column] for row in points]]
        ax.errorbar(n, y, bars, fmt="o", ms=5, capsize=2, color=colour, label=label)
    first = min(rows, key=lambda row: row["ions"])
    for ax, unit in zip(axes, ("time / ms", f"peak memory above that of {first['ions']} ions / MB")):
        ax.set(xscale="log", yscale="log", xlabel="number of ions", ylabel=unit)
        ax.grid(color="0.9")
        ax.legend(frameon=False)
    figure.suptitle(
        f"2.4 M LiCl, {first['model']}, {first['platform']} platform, {first['threads']} thread(s), "
        f"OpenMM {first['openmm']}, torch {first['torch']}; bars: all rounds",
        fontsize=9,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
