"""The closed form beside sampled denoising labels with Adam, as AceCG 0.2 has them: same frames, time and error.

    python -m venv acecg && acecg/bin/pip install AceCG==0.2.0 mpich numba
    python benchmarks/denoising.py --acecg acecg/bin/python --output benchmarks/results/denoising

Pair potentials of the LiCl frames, without any prior on either side, cubic splines with a knot every 0.2 A up to 10 A:
B-splines of the energy here, of the force there.  70 % of the frames (whole replicas) are learnt from, by positions
alone; the error is that of the force on the labelled frames of the other replicas, against the exact mean force.  Times
are CPU times of one core, without imports and without reading the frames.  AceCG adds its noise anew in every step; its
learning rate has no default that suits all, so several are shown, and the best one by the error itself is named.  A
second call makes no fit of AceCG again that is in OUTPUT.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy start their threads

import matplotlib.pyplot as plt
import numpy as np
import pandas

from openmm_diffusion import Frames, train

ROOT = Path(__file__).resolve().parents[1]
KJ_PER_KCAL, ANGSTROM_PER_NM = 4.184, 10.0
GRID = np.linspace(1.8, 10.0, 4101)  # Angstrom
#: Steps of Adam after which the potentials are looked at.
KEPT = (30, 100, 300)
SPLINE = {"start": 1.8, "cutoff": 10.0, "coefficients": 44}  # one for each of 41 intervals and three at the ends


def error(model_forces, frames):
    """Rms difference from the labels per Cartesian component, kJ/mol/Angstrom."""
    return float(np.sqrt(np.mean((model_forces - frames.forces) ** 2)) / ANGSTROM_PER_NM)


def closed_form(training, test, sigma):
    """CPU time and error of the fit to frames as they are, or noised by sigma (nm)."""
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "prior": {"wall": None}, "network": None,
        "pair": {"sigma": sigma, "cutoff": 1.0, "start": 0.18, "spacing": 0.02},
    }  # fmt: skip
    begun = time.process_time()
    model = train(training, config, progress=False)
    return time.process_time() - begun, error(model.forces(test.positions), test)


def pair_forces(curves, frames):
    """Forces (kJ/mol/nm) of three pair potentials, given by their forces on GRID in kcal/mol/Angstrom."""
    x, edge, kind = frames.positions.astype(float) * ANGSTROM_PER_NM, frames.box[0, 0] * ANGSTROM_PER_NM, frames.species
    forces = np.zeros(x.shape)
    for number, (a, b) in enumerate(((3, 3), (3, 17), (17, 17))):
        of_kind = ((kind[:, None] == a) & (kind == b)) | ((kind[:, None] == b) & (kind == a))
        one, other = np.nonzero(of_kind & ~np.eye(len(kind), dtype=bool))
        vectors = x[:, one] - x[:, other]
        vectors -= edge * np.round(vectors / edge)
        r = np.linalg.norm(vectors, axis=-1)
        scale = np.interp(r, GRID, curves[number], right=0.0) / r
        for frame in range(len(x)):
            np.add.at(forces[frame], one, scale[frame, :, None] * vectors[frame])
    return forces * KJ_PER_KCAL * ANGSTROM_PER_NM


def learnt(python, training, sigma, rate, steps, neighbours, folder):
    """File of the potentials that AceCG learns: noise of sigma (nm), learning rate in kcal/mol/Angstrom."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "spline": SPLINE, "samples_per_frame": 8, "frames_per_step": 16, "sigma": sigma * ANGSTROM_PER_NM, "seed": 1,
        "learning_rate": rate, "steps": steps, "neighbours": neighbours,
        "keep": [step for step in KEPT if step < steps], "grid": GRID.tolist(),
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    np.savez(
        folder / "task.npz", positions=training.positions * ANGSTROM_PER_NM, temperature=training.temperature,
        types=np.where(training.species == 3, 1, 2), edge=training.box[0, 0] * ANGSTROM_PER_NM,
    )  # fmt: skip
    files = [str((folder / name).resolve()) for name in ("task.npz", "settings.json", "result.npz")]
    script = Path(__file__).with_name("acecg_denoising.py")
    if not Path(files[-1]).exists():
        with open(folder / "log.txt", "w") as log:
            subprocess.run([python, str(script), *files], check=True, stdout=log, stderr=log)
    return files[-1]


def descent(python, training, test, sigma, rate, steps, neighbours, folder):
    """Rows (learner, steps, CPU time, error) of AceCG; arguments as `learnt`."""
    with np.load(learnt(python, training, sigma, rate, steps, neighbours, folder)) as result:
        rows = [
            ("AceCG", int(step), float(seconds), error(pair_forces(curves, test), test))
            for step, seconds, curves in zip(result["steps"], result["seconds"], result["forces"])
        ]
        return [*rows, ("AceCG's labels, solved", *rows[-1][1:3], error(pair_forces(result["solved"], test), test))]


def figure(table, path):
    fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    ours = table[table["learner"] == "closed form"]
    for (_, row), marker in zip(ours.iterrows(), "*os"):
        label = "closed form, clean frames" if row["sigma_nm"] == 0 else f"closed form, noise {row['sigma_nm']:g} nm"
        ax.plot(row["cpu_s"], row["error"], marker, color="C0", ms=10, label=label)
    for color, (sigma, rows) in enumerate(table[table["learner"] == "AceCG"].groupby("sigma_nm"), start=1):
        best = rows.loc[rows["error"].idxmin(), "learning_rate"]
        for rate, line in rows.groupby("learning_rate"):
            label = f"AceCG, noise {sigma:g} nm, rate {rate:g}" if rate == best else None
            ax.plot(
                line["cpu_s"], line["error"], ".-", color=f"C{color}", alpha=1 if rate == best else 0.25, label=label
            )
    solved = table[table["learner"] == "AceCG's labels, solved"]
    solved = solved.loc[solved.groupby("sigma_nm")["error"].idxmin()]
    ax.plot(solved["cpu_s"], solved["error"], "kx", label="all labels of AceCG, normal equations solved")
    ax.axhline(table["rms_force"].iloc[0], color="0.7", ls=":", label="no force at all")
    ax.set(xscale="log", yscale="log", xlabel="CPU time, s", ylabel="force error, kJ/mol/A")
    ax.legend(fontsize=8)
    fig.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acecg", required=True, help="Python interpreter that has AceCG")
    parser.add_argument("--frames", type=Path, default=ROOT / "examples" / "licl" / "licl.npz")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.005, 0.01], help="nm")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003, 0.01, 0.03], help="kcal/mol/A")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--neighbours", choices=("skin", "shared"), default="skin", help="AceCG's noise_neighbor_mode")
    given = parser.parse_args()
    training, test = Frames.load(given.frames).split(0.3)
    test = test[test.labelled]
    rows = []
    for sigma in (0.0, *given.sigmas):
        seconds, found = closed_form(training, test, sigma)
        rows.append(("closed form", sigma, np.nan, np.nan, seconds, found))
        print(rows[-1], flush=True)
    for sigma in given.sigmas:
        for rate in given.rates:
            folder = given.output / "acecg" / f"{given.neighbours}-{sigma:g}-{rate:g}"
            more = (sigma, rate, given.steps, given.neighbours, folder)
            for learner, *found in descent(given.acecg, training, test, *more):
                rows.append((learner, sigma, rate, *found))
                print(rows[-1], flush=True)
    table = pandas.DataFrame(rows, columns=["learner", "sigma_nm", "learning_rate", "steps", "cpu_s", "error"])
    table["rms_force"] = error(np.zeros(test.forces.shape), test)
    table.to_csv(given.output / "denoising.csv", index=False, float_format="%.4g")
    figure(table, given.output / "denoising.png")


if __name__ == "__main__":
    main()
