"""Denoising score matching of pair potentials by AceCG 0.2, in AceCG's own Python: `denoising.py` calls this.

    ACECG_PYTHON benchmarks/acecg_denoising.py TASK.npz SETTINGS.json RESULT.npz

The task holds positions (n_frames, n_ions, 3) in Angstrom, types (n_ions,) counted from 1, the edge of the cube and
the temperature; the result the forces of the three pair potentials on a grid, kcal/mol/Angstrom, at several steps
with the CPU time until then.  The workflow is AceCG's (DSMWorkflow: its noise, its B-splines, its Adam), except that
each pass over the frames runs in this process: AceCG starts a new one for it.  `solved` are the forces of the
coefficients that solve the normal equations of all labels that Adam has seen, which AceCG has at hand in every step but
does not solve in this workflow.
"""

import json
import logging
import pickle
import sys
import time
import warnings
from pathlib import Path

import AceCG.workflows.dsm as dsm
import MDAnalysis
import numpy as np
from AceCG.compute.mpi_engine import build_default_engine
from AceCG.configs.models import (
    AARefConfig,
    AARefNoiseConfig,
    ACGConfig,
    FMInteractionSpec,
    FMTrainingSpecs,
    SystemConfig,
    TrainingConfig,
)

#: Pairs are looked for this much beyond the cutoff around the clean frame (Angstrom).  AceCG's default takes those
#: within the cutoff in the first noised sample of a frame: noise then has a part in which pairs there are, and the
#: potentials get a spike of 1.3 kcal/mol/Angstrom at the cutoff.
SKIN = 0.7
PAIRS = (("Li", "Li"), ("Li", "Cl"), ("Cl", "Cl"))


def write_inputs(task, folder):
    """A LAMMPS data file, each ion a molecule of its own, and a DCD file; returns their paths."""
    data, trajectory = folder / "ions.data", folder / "ions.dcd"
    edge, types, positions = float(task["edge"]), task["types"], task["positions"]
    lines = ["ions", "", f"{len(types)} atoms", "2 atom types", ""]
    lines += [f"0.0 {edge} {axis}lo {axis}hi" for axis in "xyz"]
    lines += ["", "Masses", "", "1 6.94", "2 35.45", "", "Atoms # full", ""]
    lines += [f"{i + 1} {i + 1} {kind} 0.0 {x} {y} {z}" for i, (kind, (x, y, z)) in enumerate(zip(types, positions[0]))]
    data.write_text("\n".join(lines) + "\n")
    universe = MDAnalysis.Universe.empty(len(types), trajectory=True)
    with MDAnalysis.Writer(str(trajectory), len(types)) as writer:
        for frame in positions:
            universe.atoms.positions = frame
            universe.dimensions = [edge, edge, edge, 90, 90, 90]
            writer.write(universe.atoms)
    return data, trajectory


def configured(settings, task, data, trajectory, folder):
    """AceCG's configuration of the fit."""
    spline = settings["spline"]
    specs = [
        FMInteractionSpec(
            style="pair", types=pair, model="bspline", model_size=spline["coefficients"],
            domain=(spline["start"], spline["cutoff"]), max_force=1e6, model_overrides={"degree": 3},
            init_mode="authored_zero", resolution=0.05,
        )
        for pair in PAIRS
    ]  # fmt: skip
    noise = AARefNoiseConfig(
        enabled=True, samples_per_frame=settings["samples_per_frame"], sigma=settings["sigma"], seed=settings["seed"],
        subsample_per_epoch=settings["frames_per_step"], neighbor_mode=settings["neighbours"], neighbor_skin=SKIN,
    )  # fmt: skip
    return ACGConfig(
        path=folder / "dsm.acg",
        system=SystemConfig(topology_file=str(data), cutoff=spline["cutoff"], type_names={1: "Li", 2: "Cl"}),
        training=TrainingConfig(
            method="dsm", fm_specs=FMTrainingSpecs(pair_specs=tuple(specs)), optimizer="adam",
            lr=settings["learning_rate"], n_epochs=settings["steps"], output_dir=str(folder / "output"),
            temperature=float(task["temperature"]), seed=settings["seed"],
        ),
        aa_ref=AARefConfig(trajectory_files=(str(trajectory),), trajectory_format="DCD", ref_has_vp=False, noise=noise),
    )  # fmt: skip


def curves(forcefield, r):
    """Forces of the three pair potentials at r (Angstrom), kcal/mol/Angstrom."""
    found = {tuple(sorted(key.types)): potential for key, potential in forcefield.iter_potentials()}
    return [found[tuple(sorted(pair))].force(r) for pair in PAIRS]


def main(task, settings, result):
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    folder = Path(result).parent
    task, settings = dict(np.load(task)), json.loads(Path(settings).read_text())
    r = np.asarray(settings["grid"])
    config = configured(settings, task, *write_inputs(task, folder), folder)
    engine = build_default_engine()
    workflow = dsm.DSMWorkflow(config)
    begun, steps, seconds, kept = time.process_time(), [], [], []
    normal = [0.0, 0.0]

    def in_this_process(spec, *_, **__):
        step = spec["step_index"]
        if step in settings["keep"]:
            steps.append(step)
            seconds.append(time.process_time() - begun)
            kept.append(curves(workflow.forcefield, r))
        engine.run_post(spec)
        with open(spec["steps"][0]["output_file"], "rb") as file:
            batch = pickle.load(file)
        normal[0], normal[1] = normal[0] + batch["JtJ"], normal[1] + batch["Jty"]

    dsm.run_post = in_this_process
    workflow._write_workflow_checkpoint = workflow._snapshot_optimizer = lambda folder: folder  # files of every step
    workflow.run()
    steps.append(settings["steps"])
    seconds.append(time.process_time() - begun)
    kept.append(curves(workflow.forcefield, r))
    workflow.forcefield.update_params(np.linalg.lstsq(*normal, rcond=1e-10)[0])
    np.savez(result, steps=steps, seconds=seconds, forces=kept, solved=curves(workflow.forcefield, r))


if __name__ == "__main__":
    main(*sys.argv[1:])
