"""How well configurations alone give the mean force and g(r): every learner on the same frames.

    python accuracy.py FRAMES OUTPUT [LEARNER ...] [--duration PS]

FRAMES: 2.4 M LiCl with the exact mean force of every configuration, in several independent
replicas.  For three divisions of the replicas (30 % kept apart), with 2,000 and with 500
frames: force error on the replicas kept apart, and g(r) of 8 x 200 ps of MD against all
clean frames (--duration 1010: of 8 ns, in tables of their own).  Models see positions only;
labels are read for the table alone.  Goes on where an earlier call stopped; writes
accuracy.csv (every row) and accuracy_summary.csv (mean and standard deviation over divisions).
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import pandas

from openmm_diffusion import Denoiser, Frames, compute_rdf, train
from openmm_diffusion.analysis.rdf import rebin, rmsd
from openmm_diffusion.analysis.structure import first_peak
from openmm_diffusion.evaluation.report import kept_apart
from openmm_diffusion.model.combination import extrapolated, half_step
from openmm_diffusion.simulation.guard import SimulationStopped
from openmm_diffusion.simulation.sampling import SamplingConfig, sample_ensemble
from openmm_diffusion.workflows.refine import RefineConfig, refine

SAMPLING = SamplingConfig(runs=8, duration=210, discard=10, interval=0.5)
NETWORK = {"cutoff": 0.6, "lmax": 1, "features": 8, "layers": 2}
#: Noise levels (nm) and learners; None: no such learner.
CONFIGS = {
    "pair": {"pair": {"sigma": 0}, "network": None},
    "pair + many-body": {"pair": {"sigma": 0}, "manybody": {"sigma": 0}, "network": None},
    "pair, 0.05 A": {"noise": {"sigma": 0.005}, "network": None},
    "pair, 0.1 A": {"noise": {"sigma": 0.01}, "network": None},
    "pair, 0.265 A": {"noise": {"sigma": 0.0265}, "network": None},
    "pair, 0.265 A, near wall": {"noise": {"sigma": 0.0265}, "network": None},
    "network, 0.05 A": {
        "noise": {"sigma": 0.005},
        "pair": None,
        "network": {**NETWORK, "cutoff": 0.8},
        "training": dict(steps=1500, learning_rate=0.005, weight_decay=0.01, ema_decay=0.99, patience=6),
    },
    "pair + network, 0.05 A": {
        "noise": {"sigma": 0.005},
        "network": NETWORK,
        "training": dict(steps=800, weight_decay=0.3, ema_decay=0.995, check_every=50),
    },
    # The network's noise is small enough to do without a correction, the pair potential needs none at all.
    "pair + network, 0.01 A": {
        "noise": {"sigma": 0.001},
        "pair": {"sigma": 0},
        "network": {**NETWORK, "features": 16},
        "training": dict(steps=1500, weight_decay=0.3, ema_decay=0.995, check_every=50, patience=8),
    },
}
#: Learners that are refined of others.
REFINED = {
    "refined": "pair",
    "pair + many-body, refined": "pair + many-body",
    "pair + many-body, refined twice": "pair + many-body, refined",
}
#: Learners made of others; those whose g(r) is measured, always or of 2,000 frames of the first division; and those
#: that are made of 2,000 frames alone, or of these in the first division.
DERIVED = [*REFINED, "0.05 and 0.1 A to none", "0.1 A, half step"]
EVERYWHERE = list(dict.fromkeys([*REFINED.values(), *REFINED]))
FIRST = [n for n in (*CONFIGS, *DERIVED) if n not in EVERYWHERE]
LARGE = ["pair + many-body", "pair + many-body, refined"]
ONCE = ["pair + many-body, refined twice", "0.1 A, half step"]


def folder(name):
    """Name of the folder of a learner."""
    return name.replace(", ", "-").replace(" ", "_")


def md_name(sampling):
    """Name of what is of MD of another length than the table's."""
    return f"md-{sampling.duration:g}-ps"


def model(name, frames, n_frames, division, root):
    """Train one learner, or read what an earlier call trained."""
    directory = root / f"{n_frames}-{division}" / folder(name)
    if name in REFINED:
        base = model(REFINED[name], frames, n_frames, division, root)
        if (directory / "model.safetensors").exists():
            return Denoiser.load(directory / "model.safetensors")
        settings = RefineConfig(sampling=SAMPLING)
        return refine(base, frames, directory, settings, True, lambda line: print("  " + line, flush=True))
    if name == "0.05 and 0.1 A to none":
        return extrapolated([model(f"pair, {s} A", frames, n_frames, division, root) for s in ("0.05", "0.1")])
    if name == "0.1 A, half step":
        return model("pair, 0.1 A", frames, n_frames, division, root)
    config = {
        "data": {
            "test_fraction": 0.3,
            "validation_fraction": 0.15 if CONFIGS[name]["network"] else 0,
            "limit": n_frames,
            "seed": division,
        },
        "prior": {
            "coulomb": {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3},
            # Noise of 0.265 A brings pairs so much closer: a wall at the usual place stands among them.  Without it,
            # though, ions of unlike charge fall into each other in MD.
            "wall": {"margin": 0.1 if name == "pair, 0.265 A" else 0.02},
        },
        **CONFIGS[name],
    }
    return train(frames, config, directory, resume=True)


def dynamics(name, denoiser, frames, n_frames, division, root, sampling):
    """Frames of MD under a model; that of an unrefined model is its refinement's first round, if as long."""
    where = {base: f"{folder(refined)}/iteration-0" for refined, base in REFINED.items()}
    where["0.1 A, half step"] = "pair-0.1_A/md"
    path = where.get(name, f"{folder(name)}/md") if sampling == SAMPLING else f"{folder(name)}/{md_name(sampling)}"
    directory = root / f"{n_frames}-{division}" / path
    starts = frames.positions[:: len(frames) // sampling.runs]
    md, _ = sample_ensemble(denoiser, directory, starts, sampling, lambda line: print("  " + line, flush=True))
    if name == "0.1 A, half step":
        moved = half_step(denoiser, md.positions, md.boxes)
        md = Frames(moved, md.species, md.box, md.temperature, None, md.replica)
    return md


def force_error(denoiser, frames):
    """Rms error per Cartesian component on frames kept apart, kJ/mol/Angstrom."""
    test = kept_apart(denoiser, frames)
    difference = denoiser.forces(test.positions, test.boxes) - test.forces
    return float(np.sqrt(np.mean(difference**2))) / 10


def structure(md, curves):
    """RMSD of g(r) from the data in 0.01 nm bins, and the Li-Cl contact peak in 0.005 nm bins."""
    own = compute_rdf(md, (0.2, 1.0), 0.005)
    coarse, reference = rebin(own, 2), rebin(curves, 2)
    row = {f"rmsd {pair}": rmsd(coarse.g[pair], reference.g[pair]) for pair in own.g}
    for label, rdf in (("", own), (", data", curves)):
        top = first_peak(rdf.g["Li-Cl"])
        row[f"contact{label}"], row[f"contact error{label}"] = rdf.g["Li-Cl"][top], rdf.error["Li-Cl"][top]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frames", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("learners", nargs="*", default=[*EVERYWHERE, *FIRST])
    parser.add_argument("--duration", type=float, default=SAMPLING.duration, help="ps of each of the eight runs of MD")
    options = parser.parse_args()
    sampling = SAMPLING.model_copy(update={"duration": options.duration})
    unknown = set(options.learners) - {*CONFIGS, *DERIVED}
    if unknown:
        raise SystemExit(f"learner {sorted(unknown)[0]!r} is unknown: choose among {', '.join([*CONFIGS, *DERIVED])}")
    logging.basicConfig(level=logging.WARNING)
    suffix = "" if sampling == SAMPLING else f"_{md_name(sampling)}"
    frames, table = Frames.load(options.frames), options.output / f"accuracy{suffix}.csv"
    options.output.mkdir(parents=True, exist_ok=True)
    curves = compute_rdf(frames, (0.2, 1.0), 0.005)
    rows = pandas.read_csv(table).to_dict("records") if table.exists() else []
    for name in dict.fromkeys(options.learners):
        for division in range(3):
            for n_frames in (2000, 500):
                key = {"learner": name, "frames": n_frames, "division": division}
                if any(all(row[k] == v for k, v in key.items()) for row in rows):
                    continue
                first = division == 0 and n_frames == 2000
                if (name in ONCE and not first) or (name in LARGE and n_frames != 2000):
                    continue
                print(f"{name}, {n_frames} frames, division {division}", flush=True)
                denoiser = model(name, frames, n_frames, division, options.output)
                row = {**key, "force error, kJ/mol/A": force_error(denoiser, frames)}
                if name in EVERYWHERE or (name in FIRST and first):
                    try:
                        md = dynamics(name, denoiser, frames, n_frames, division, options.output, sampling)
                        row.update(structure(md, curves))
                    except SimulationStopped as stop:  # a result, too
                        print(f"  {stop}", flush=True)
                        row["stopped"] = str(stop).split(";")[0]
                rows.append(row)
                pandas.DataFrame(rows).round(4).to_csv(table, index=False)
    numbers = pandas.DataFrame(rows).groupby(["learner", "frames"], sort=False)
    columns = [c for c in rows[0] if c not in ("learner", "frames", "division", "stopped")]
    summary = numbers[columns].agg(["mean", "std"])
    summary.columns = [f"{name}{'' if kind == 'mean' else ', sd'}" for name, kind in summary.columns]
    summary.insert(0, "divisions", numbers.size())
    summary.round(4).to_csv(options.output / f"accuracy_summary{suffix}.csv")
    print(summary.round(3).to_string())


if __name__ == "__main__":
    main()
