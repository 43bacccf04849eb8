"""A polymer of two kinds of beads: one fit to chains of 12 and of 16, and dynamics of chains of 12, 16 and 24.

    python examples/chain/chain.py [--output runs/chain] [--results DIR]

Everything is known here: `truth.py` makes the data, positions only.  One training with the defaults of bonded particles
(`chain.yaml`) learns from both lengths.  The model runs the chain of 12 by `simulate`, twice 1 ns, and 32 chains
of every length by `create_system`, those of 24 among them, which it has never seen.  What is in OUTPUT already is not
computed again; tables and pictures (`compare.py`) go to RESULTS, OUTPUT/results if not given.
"""

import argparse
import logging
import time
from pathlib import Path

import compare
import mdtraj
import numpy as np
import pandas
import truth

from openmm_diffusion import Denoiser, Frames, create_system, simulate, train
from openmm_diffusion.systems.topologies import replicated

HERE = Path(__file__).parent
LENGTHS, TRAINED = (12, 16, 24), (12, 16)
#: Runs of the chain of 12, and their length, time between frames and start that is left out (ps).
RUNS, DURATION, INTERVAL, DISCARD = 2, 1000.0, 1.0, 50.0
#: Of every length: sets that are computed one after the other, chains in each, and frames of each chain.
SETS, CHAINS, FRAMES = 8, 4, 100
#: Time between these frames, start that is left out, and time step (ps).
BETWEEN, RELAXED, TIMESTEP = 10.0, 200.0, 0.02
#: Distance (nm) of chains in one System: they do not meet within a run.
APART = 25.0


def data(output):
    """Frames of the truth of every length."""
    for n in LENGTHS:
        path = output / f"chain{n}.npz"
        if not path.exists():
            truth.sample(n, seed=n, progress=said(f"truth, {n} beads")).save(path)
    return {n: Frames.load(output / f"chain{n}.npz") for n in LENGTHS}


def said(what):
    """A report of progress that prints the part that is done."""
    return lambda part: print(f"{what}: {part:.0%}", flush=True)


def fitted(output, frames):
    """The model: one training of the lengths that it may see."""
    directory = output / "model"
    if not (directory / "model.safetensors").exists():
        resume = (directory / "config.yaml").exists()
        train([frames[n] for n in TRAINED], HERE / "chain.yaml", directory, resume, progress=False)
    return Denoiser.load(directory / "model.safetensors")


def runs_of_12(output, model, frames):
    """The chain of 12 under the model: runs by `simulate`, from frames that the fit has not seen."""
    _, apart = frames.split(model.header.data["test_fraction"], model.header.data["seed"])
    runs = []
    for number in range(RUNS):
        directory, start = output / f"md12-{number}", output / f"start-{number}.npz"
        apart[number * len(apart) // RUNS].save(start)
        settings = dict(duration=DURATION, interval=INTERVAL, timestep=truth.TIMESTEP, start=start, seed=number + 1)
        resume = (directory / "config.yaml").exists()
        path = simulate(output / "model" / "model.safetensors", directory, settings, resume)
        run = mdtraj.load(str(path), top=str(directory / "topology.pdb"))
        runs.append(run.xyz[round(DISCARD / INTERVAL) :])
    return truth.frames_of(np.stack(runs).astype(float))


def runs_of(n_beads, output, model, topology):
    """Chains of one length under the model, several in one System, each from a stretched chain."""
    # What has learnt nothing (the map of two dihedrals here) costs a third of the time and adds no force.
    held_out = model.header.held_out
    useful = model.part(lambda term: held_out.get(f"{term.kind}_scale", 1.0) > 0)
    system = create_system(useful, replicated(topology, CHAINS), backend="native")
    runs = []
    for number in range(SETS):
        path = output / f"md{n_beads}-{number}.npz"
        if not path.exists():
            starts = truth.zigzag(n_beads, CHAINS, seed=100 + number)
            starts[:, :, 2] += APART * np.arange(CHAINS)[:, None]
            progress = said(f"model, {n_beads} beads, set {number + 1} of {SETS}")
            seed = 100 * n_beads + number
            run = truth.dynamics(system, starts, FRAMES, BETWEEN, RELAXED, seed, "CPU", TIMESTEP, progress)
            truth.frames_of(run).save(path)
        runs.append(Frames.load(path))
    return Frames.concatenate(runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/chain"))
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    output, results, begun = options.output, options.results or options.output / "results", time.time()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for directory in (output, results):
        directory.mkdir(parents=True, exist_ok=True)

    frames = data(output)
    model = fitted(output, frames)
    runs = {(12, "simulate"): runs_of_12(output, model, frames[12])}
    runs |= {(n, "create_system"): runs_of(n, output, model, frames[n].topology()) for n in LENGTHS}

    tables = {
        "widths": compare.widths(frames[12], runs[12, "simulate"]),
        "sizes": compare.sizes(frames, runs, TRAINED),
        "reweighted": compare.reweighted(model, frames),
        "forces": compare.force_errors(model, frames, TRAINED),
        "curves": compare.curves(model, [frames[n] for n in TRAINED], pandas.read_csv(output / "model" / "curves.csv")),
    }
    for name, table in tables.items():
        table.to_csv(results / f"{name}.csv", index=False, float_format="%.5g")
        if name != "curves":
            print(f"\n{name}\n{table.to_string(index=False, float_format='{:.4g}'.format)}")
    compare.structure_figure(frames, runs, tables["sizes"], results / "structure.png")
    compare.potentials_figure(tables["curves"], results / "potentials.png")
    print(f"\n{results}: tables and pictures; {(time.time() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
