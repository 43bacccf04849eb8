"""Alanine dipeptide without hydrogens and solvent: bonds to phi-psi map from positions alone, in one exact solve.

    python examples/alanine/alanine.py [OUTPUT] [--each N] [--map FILE] [--frames FILE] [--duration PS] [--results DIR]

Fits alanine.yaml to frames (those that generate.yaml makes, or FILE), runs native molecular dynamics of 4 x PS, and
compares bonds, angles, dihedrals, the phi-psi map, basins and chirality with the frames.  A second call goes on where
the first was stopped, and makes nothing again that is in OUTPUT (runs/alanine by default).  Tables and pictures go to
DIR (examples/alanine/results by default).  With --map examples/alanine/map5.yaml, the five beads of the backbone alone
are learnt, of the same frames: give an OUTPUT and a DIR of their own, and --frames runs/alanine/data/frames.npz.
"""

import argparse
import logging
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pandas

from openmm_diffusion import Denoiser, Frames, train
from openmm_diffusion.analysis.molecules.distributions import divergence, evenly
from openmm_diffusion.analysis.resampling import standard_error
from openmm_diffusion.settings import read_yaml
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.simulation.langevin import simulate
from openmm_diffusion.systems.composition import GenerateConfig

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "openmm_diffusion"]
RUNS = 4
#: Residues and atoms of phi and psi, and of the improper that tells the hand.
PHI = (("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C"))
PSI = (("ALA", "N"), ("ALA", "CA"), ("ALA", "C"), ("NME", "N"))
HAND = (("ALA", "CA"), ("ALA", "N"), ("ALA", "CB"), ("ALA", "C"))
#: Basins with phi < 0 by psi in degrees: alpha-R between these, beta and PPII elsewhere.
ALPHA = (-120.0, 50.0)
BINS = np.linspace(-np.pi, np.pi, 37)


def beads_of(path):
    """Residue and atom of each bead of a map whose beads lie at atoms."""
    return [(rule["residue"], rule["at"]) for rule in read_yaml(path)["beads"]]


#: Those of the frames.
BEADS = beads_of(HERE / "map.yaml")


def part(frames, beads):
    """Frames of some of the ten beads, with the bonds among them."""
    kept = [BEADS.index(bead) for bead in beads]
    bonds = [(kept.index(i), kept.index(j)) for i, j in frames.bonds.tolist() if i in kept and j in kept]
    forces = None if frames.forces is None else frames.forces[:, kept]
    return replace(
        frames, positions=frames.positions[:, kept], species=frames.species[kept], types=frames.types[kept],
        masses=frames.masses[kept], bonds=np.array(bonds), forces=forces,
    )  # fmt: skip


def command(*arguments):
    """One command of the package; where it fails, it has said why."""
    code = subprocess.run([str(part) for part in [*COMMAND, *arguments]]).returncode
    if code:
        raise SystemExit(code)


def fitted(frames, path):
    """The model, and what its fit took (s; None where it was there)."""
    if path.exists():
        return Denoiser.load(path), None
    config = read_yaml(HERE / "alanine.yaml")
    del config["data"]["frames"]
    begun = time.perf_counter()
    model = train(frames, config, path.parent, resume=path.parent.exists())
    return model, time.perf_counter() - begun


def dynamics(model, frames, output, duration):
    """Trajectories (paths) of native runs from frames that lie far apart."""
    settings = {
        "duration": duration,
        "interval": 1.0,
        "timestep": 0.002,
        "friction": 2.0,
        "threads": 1,
        "platform": "CPU",
    }
    paths = []
    for number in range(RUNS):
        start = frames.positions[(2 * number + 1) * len(frames) // (2 * RUNS)].astype(float)
        given = settings | {"seed": number + 1}
        paths.append(simulate(model, output / f"run-{number}", given, resume=True, positions=start))
    return paths


def dihedrals(positions, beads, *named):
    """Dihedrals in rad, shape (n_frames, n_named), each named by residues and atoms of its beads."""
    groups = [[beads.index(bead) for bead in one] for one in named]
    return mdtraj.compute_dihedrals(mdtraj.Trajectory(positions, None), groups, periodic=False)


def basins(angles):
    """Whether each frame is beta or PPII, alpha-R, or has phi > 0: shape (n_frames, 3)."""
    phi, psi = np.degrees(angles).T
    alpha = (psi > ALPHA[0]) & (psi < ALPHA[1])
    return np.stack([(phi < 0) & ~alpha, (phi < 0) & alpha, phi >= 0], axis=1)


def counted(angles):
    """Counts of phi < 0 in 36 x 36 bins."""
    return np.histogram2d(*angles[angles[:, 0] < 0].T, bins=[BINS, BINS])[0]


def compared(frames, runs, beads=BEADS):
    """The rows of the table: populations at phi < 0, divergences of the map there, the hand of the molecule."""
    rows = []
    data, *model = [dihedrals(positions, beads, PHI, PSI) for positions in (frames.positions, *runs)]
    blocks = np.array_split(np.arange(len(data)), 10)
    for which, parts in (("data", [data[block] for block in blocks]), ("model", model)):
        of = [basins(part) for part in parts]
        share = [float(b[:, 0].sum() / b[:, :2].sum()) for b in of]
        every = np.concatenate(of)
        value = every[:, 0].sum() / every[:, :2].sum()
        rows.append(("beta + PPII of phi < 0", which, value, standard_error(np.array(share))))
        rows.append(("phi > 0", which, every[:, 2].mean(), standard_error(np.array([b[:, 2].mean() for b in of]))))
    together = np.concatenate(model)
    number = min(len(together), len(data)) // 2
    same = evenly(data, number), evenly(together, number)
    rows.append(("divergence of the map, phi < 0 (bit)", "model", divergence(*map(counted, same)), np.nan))
    halves = evenly(data[: len(data) // 2], number), evenly(data[len(data) // 2 :], number)
    rows.append(
        ("divergence of the map, phi < 0 (bit)", "halves of the data", divergence(*map(counted, halves)), np.nan)
    )
    interleaved = evenly(data[::2], number), evenly(data[1::2], number)
    rows.append(
        ("divergence of the map, phi < 0 (bit)", "every other frame", divergence(*map(counted, interleaved)), np.nan)
    )
    for which, positions in (("data", frames.positions), ("model", np.concatenate(runs))):
        if set(HAND) <= set(beads):
            rows.append(("frames of the L form", which, (dihedrals(positions, beads, HAND) < 0).mean(), np.nan))
    return pandas.DataFrame(rows, columns=["quantity", "of", "value", "error"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", default="runs/alanine", type=Path)
    parser.add_argument("--each", type=int, default=250, help="frames of each of 50 runs: 1000 make 50,000")
    parser.add_argument("--map", type=Path, default=HERE / "map.yaml", help="beads to learn, of those of map.yaml")
    parser.add_argument("--frames", type=Path, help="frames of the ten heavy atoms; without, generate.yaml makes them")
    parser.add_argument("--duration", type=float, default=1250.0, help="ps of each of the four runs")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given.output.mkdir(parents=True, exist_ok=True)
    if given.frames is None:
        given.frames = given.output / "data" / "frames.npz"
        config = GenerateConfig.load(HERE / "generate.yaml").model_copy(update={"frames": given.each})
        if not given.frames.exists() or len(Frames.load(given.frames)) < config.runs * config.frames:
            generate(config, given.output / "data", resume=True)
    beads = beads_of(given.map)
    frames = part(Frames.load(given.frames), beads)
    learnt = given.output / "frames.npz"
    frames.save(learnt)
    model, seconds = fitted(frames, given.output / "model" / "model.safetensors")
    begun = time.perf_counter()
    paths = dynamics(model, frames, given.output / "md", given.duration)
    logging.info("molecular dynamics: %.0f s", time.perf_counter() - begun)
    top = given.output / "md" / "run-0" / "topology.pdb"
    given.results.mkdir(parents=True, exist_ok=True)
    runs = [mdtraj.load(str(path), top=str(top)).xyz[10:] for path in paths]
    table = compared(frames, runs, beads)
    if seconds is not None:
        table.loc[len(table)] = ("fit (s)", "model", seconds, np.nan)
    table.to_csv(given.results / "basins.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False))
    report, trajectories = given.output / "report", [part for path in paths for part in ("-t", path)]
    shutil.rmtree(report, ignore_errors=True)
    command("evaluate", given.output / "model" / "model.safetensors", learnt, "-o", report, *trajectories,
            "--top", top, "--discard", "10", "--interval", "1")  # fmt: skip
    for path in [*report.glob("molecules.*"), *report.glob("map-C-N-CA-C-N.png")]:
        shutil.copy(path, given.results)


if __name__ == "__main__":
    main()
