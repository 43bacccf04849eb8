"""From configurations to a force to molecular dynamics to g(r): the main job, end to end.

    python quickstart.py OUTPUT [--picoseconds 60] [--runs 8] [--config licl.yaml]

Trains on the bundled frames (positions only), runs `simulate.py` several times, two at
a time, and compares the g(r) with frames that training never saw.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openmm_diffusion import Denoiser, Frames

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "openmm_diffusion"]


def run(command, threads):
    """One program, with so many threads; where it fails, it has said why."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENMM_CPU_THREADS": str(threads)}
    code = subprocess.run([str(part) for part in command], env=environment).returncode
    if code:
        raise SystemExit(code)


def simulate(output, number, picoseconds):
    """Run number 0 starts from random places, the others from configurations that were trained on."""
    table = output / "md" / f"run-{number}.csv"
    done, until, *_ = table.read_text().splitlines()[-1].split(",") if table.exists() else ("", 0)
    if done == "100.0%" and abs(float(until) - picoseconds) < 0.1:
        return  # done by an earlier call
    start = [] if number == 0 else [output / "start.npz"]
    script = [sys.executable, HERE / "simulate.py", output / "model.safetensors", output / "md", number, picoseconds]
    run([*script, *start], threads=1)
    print(f"  run {number}: {picoseconds:g} ps done", flush=True)


def start_frames(output, runs):
    """Starts of the runs, spread over the training frames: none of the reference they are compared with."""
    frames = Frames.load(HERE / "licl.npz")
    data = Denoiser.load(output / "model.safetensors").header.data
    trained, _ = frames.split(data["test_fraction"], data["seed"])
    trained[:: max(1, len(trained) // runs)].save(output / "start.npz")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--picoseconds", type=float, default=60, help="length of each run")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--config", type=Path, default=HERE / "licl.yaml")
    options = parser.parse_args()
    output, begun = options.output, time.time()

    print("1/3 training on configurations alone", flush=True)
    resume = ["--resume"] if (output / "config.yaml").exists() else []
    run([*COMMAND, "train", options.config, "--output", output, *resume], threads=os.cpu_count())

    start_frames(output, options.runs)
    print(f"2/3 molecular dynamics: {options.runs} runs of {options.picoseconds:g} ps", flush=True)
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count())) as pool:
        list(pool.map(lambda number: simulate(output, number, options.picoseconds), range(options.runs)))

    print("3/3 evaluation", flush=True)
    evaluation = [*COMMAND, "evaluate", output / "model.safetensors", HERE / "licl.npz", "--output", output]
    evaluation += ["--top", output / "md" / "topology.pdb", "--discard", 5, "--interval", 0.2]
    for number in range(options.runs):
        evaluation += ["--trajectory", output / "md" / f"run-{number}.dcd"]
    run(evaluation, threads=os.cpu_count())
    print(f"\n{(time.time() - begun) / 60:.1f} minutes; open {output / 'rdf.png'}")


if __name__ == "__main__":
    main()
