"""One-bead water, from atoms to a liquid of beads: what a pair potential misses, and three bodies bring back.

    python examples/water/water.py [OUTPUT] [--results DIR]

Generates SPC/E water, keeps one bead for each molecule, fits the pair potential alone, all of water.yaml, and the same
with a row for the pressure; runs each and compares g(r) and the angles between neighbours with the runs that no fit
saw; then it lets the box breathe at 1 bar.  Every fit sees positions alone.  A second call goes on where the first was
stopped, and makes nothing again that is in OUTPUT (runs/water by default).  Tables and the picture go to DIR
(examples/water/results by default).
"""

import argparse
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import pandas
from matplotlib.figure import Figure
from openmm import app, unit

from openmm_diffusion import Denoiser, Frames, compute_rdf, train
from openmm_diffusion.analysis.angles import neighbour_angles
from openmm_diffusion.analysis.rdf import rmsd
from openmm_diffusion.analysis.resampling import rmsd_error, split_half_error, standard_error
from openmm_diffusion.analysis.structure import BIN_WIDTH, rdf_range
from openmm_diffusion.evaluation.report import kept_apart
from openmm_diffusion.settings import read_yaml
from openmm_diffusion.simulation.sampling import SamplingConfig, sample_ensemble
from openmm_diffusion.systems import create_system, training_topology
from openmm_diffusion.units import thermal_energy
from openmm_diffusion.workflows.refine import training_frames

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "openmm_diffusion"]
#: Models by name, and what each changes in water.yaml.
MODELS = {"pair alone": {"manybody": None}, "pair + many-body": {}, "the same at 1 bar": {"pressure": {"value": 1.0}}}
SAMPLING = SamplingConfig(runs=4, duration=100, discard=10, interval=0.2)
#: nm: within the first shell, whose end is the first minimum of g(r) at about 0.33 nm.
NEIGHBOURS = 0.35
#: At 1 bar: runs of each model and their length; compiled, because a barostat wants energies at every size of the box.
BREATHING, BACKEND = SamplingConfig(runs=2, duration=60), "compiled"
COLOURS = {"data": "black", "pair alone": "tab:blue", "pair + many-body": "tab:red", "the same at 1 bar": "tab:green"}


def command(*arguments):
    """One command of the package; where it fails, it has said why."""
    code = subprocess.run([str(part) for part in [*COMMAND, *arguments]]).returncode
    if code:
        raise SystemExit(code)


def beads(output):
    """Frames of one bead for each molecule, from all-atom runs."""
    data, path = output / "data", output / "beads.npz"
    if not (data / "frames.npz").exists():
        command("generate", HERE / "generate.yaml", "--output", data, "--resume")
    if not path.exists():
        options = ("--top", data / "topology.pdb", "--map", HERE / "map.yaml", "--output", path)
        command("coarsen", data / "frames.npz", *options)
    return Frames.load(path)


def folder(output, name):
    """Where all of one model lies."""
    return output / name.replace(" + ", "-").replace(" ", "-")


def fitted(frames, directory, left_out):
    """The model of water.yaml without what is left out, trained or read."""
    if (directory / "model.safetensors").exists():
        return Denoiser.load(directory / "model.safetensors")
    config = read_yaml(HERE / "water.yaml") | left_out
    del config["data"]["frames"]
    return train(frames, config, directory, resume=True)


def compared(name, own, reference, key):
    """Entries of a row: how far a curve of MD is from that of the data, of all runs together and of each by itself."""
    data, curves = (np.average(part.blocks[key], axis=0, weights=part.weights) for part in (reference, own))
    each = [rmsd(row, data) for row in own.blocks[key]]
    found = {"model": name, "rmsd": rmsd(curves, data), "error": rmsd_error(own, reference, key)}
    return found | {"best_run": min(each), "worst_run": max(each)}


def pressure(denoiser, frames, step=1e-4):
    """Mean pressure of frames under a model and its standard error over runs, bar.

    P = N kT / V - <dU / dV>, every coordinate scaled with the box.
    """
    x, boxes = frames.positions.astype(float), frames.boxes.astype(float)
    volume = np.linalg.det(boxes)
    energies = [denoiser.energy((1 + change) * x, (1 + change) * boxes) for change in (step, -step)]
    slope = (energies[0] - energies[1]) / (6 * step * volume)
    values = x.shape[1] * thermal_energy(frames.temperature) / volume - slope
    bar = (1 * unit.kilojoule_per_mole / unit.nanometer**3 / unit.AVOGADRO_CONSTANT_NA).value_in_unit(unit.bar)
    runs = [values[frames.replica == number].mean() * bar for number in np.unique(frames.replica)]
    return float(np.mean(runs)), standard_error(runs)


def breathe(denoiser, positions, path, seed):
    """Density (g/cm^3) over time (ps) of one run at 1 bar, read where it is done: a DataFrame."""
    if not path.exists():
        topology = training_topology(denoiser)
        # Two of the models were fitted without a pressure: what a barostat makes of them is to be seen.
        system = create_system(denoiser, topology, native_prior=False, backend=BACKEND, allow_barostat=True)
        temperature = denoiser.header.temperature
        barostat = openmm.MonteCarloBarostat(1 * unit.bar, temperature, 10)
        barostat.setRandomNumberSeed(seed)
        system.addForce(barostat)
        integrator = openmm.LangevinMiddleIntegrator(temperature, 2, SAMPLING.timestep)
        integrator.setRandomNumberSeed(seed)
        platform = openmm.Platform.getPlatformByName("CPU")
        simulation = app.Simulation(topology, system, integrator, platform, {"Threads": "1"})
        simulation.context.setPositions(positions)
        simulation.context.setVelocitiesToTemperature(temperature, seed)
        written, every = path.with_suffix(".part"), round(SAMPLING.interval / SAMPLING.timestep)
        simulation.reporters.append(app.StateDataReporter(str(written), every, time=True, density=True))
        simulation.step(round(BREATHING.duration / SAMPLING.timestep))
        written.rename(path)
    table = pandas.read_csv(path)
    table.columns = ["time_ps", "density"]
    return table


def pressures(frames, sets, breaths, models):
    """Row of each model: its pressure at the density of the data, its density at 1 bar, and that one's change."""
    grams = frames.masses.sum() / np.linalg.det(frames.boxes[0]) / 602.214076
    rows = [{"model": "data", "density_g/cm3": grams}]
    for name, model in models.items():
        bar, error = pressure(model, sets[name])
        # The last sixth of every run, and the sixth before it: whether the density has settled.
        before, last = np.transpose([[p.mean() for p in np.array_split(t["density"], 6)[-2:]] for t in breaths[name]])
        row = {"model": name, "pressure_bar": bar, "pressure_error": error, "density_g/cm3": last.mean()}
        row |= {"density_error": standard_error(last), "density_before": before.mean()}
        rows.append(row)
    return pandas.DataFrame(rows)


def picture(rdfs, angles, breaths, density, path):
    """g(r) and angles of the data and of every model, with bands of two standard errors; densities at 1 bar."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, colour in COLOURS.items():
        label, style = "SPC/E, all atoms" if name == "data" else name, "--" if name == "pair alone" else "-"
        r, theta = rdfs[name], angles[name]
        degrees = np.degrees(np.arccos(theta.cosine))
        for ax, x, curves, errors in ((left, r.r, r.g, r.error), (middle, degrees, theta.density, theta.error)):
            for y, error in zip(curves.values(), errors.values()):
                ax.plot(x, y, style, color=colour, label=label, lw=1.5)
                ax.fill_between(x, y - 2 * error, y + 2 * error, color=colour, alpha=0.2, lw=0)
        for number, part in enumerate(breaths.get(name, [])):
            right.plot(part["time_ps"], part["density"], style, color=colour, label=None if number else label, lw=1)
    left.axhline(1, color="0.8", lw=0.8, zorder=1)
    left.set(xlabel="r / nm", ylabel="g(r) of molecules", ylim=(0, None))
    middle.axhline(1, color="0.8", lw=0.8, zorder=1)
    middle.set(xlabel="angle / degrees", ylabel="density / that of independent directions", ylim=(0, None))
    middle.set_xticks(range(0, 181, 30))
    middle.set_title(f"angle at a molecule between neighbours within {NEIGHBOURS:g} nm", fontsize=10)
    right.axhline(density, color="black", lw=1.5, label="the data's, fixed")
    right.set(xlabel="time / ps", ylabel="density / (g/cm$^3$)", ylim=(0, None), title="at 1 bar")
    left.legend(title="band: 2 standard errors", frameon=False)
    for ax in (middle, right):
        ax.legend(frameon=False)
    figure.savefig(path, dpi=150)


def table_of(curves, column):
    """Curves of the data and of every model side by side, with their errors."""
    parts = {}
    for name, own in curves.items():
        table = own.table()
        parts[column] = table[column]
        (value,) = [c for c in table if c != column and not c.endswith("_error")]
        parts[name], parts[f"{name}, error"] = table[value], table[f"{value}_error"]
    return pandas.DataFrame(parts)


def simulated(frames, models, output):
    """Frames of the data kept apart and of MD under each model; densities at 1 bar of each run, by model."""
    denoiser = next(iter(models.values()))
    seen, sets, breaths = training_frames(denoiser, frames), {"data": kept_apart(denoiser, frames)}, {}
    starts = seen.positions[:: max(1, len(seen) // SAMPLING.runs)]
    for name, model in models.items():
        directory = folder(output, name)
        print(f"{name}: {SAMPLING.runs} runs of {SAMPLING.duration:g} ps", flush=True)
        sets[name], last = sample_ensemble(model, directory / "md", starts, SAMPLING, print)
        print(f"{name}: {BREATHING.runs} runs of {BREATHING.duration:g} ps at 1 bar", flush=True)
        paths = [directory / f"breathing-{number}.csv" for number in range(BREATHING.runs)]
        breaths[name] = [breathe(model, last[i % len(last)], path, i + 1) for i, path in enumerate(paths)]
    return sets, breaths


def differences(curves, everything, quantity):
    """Rows of one quantity: the distance of each model from the runs kept apart and from all, and that of halves."""
    (key,), rows = curves["data"].blocks, []
    for reference, data in (("runs kept apart", curves["data"]), ("all runs", everything)):
        row = {"quantity": quantity, "reference": reference, "model": "data, split halves"}
        rows.append(row | {"rmsd": split_half_error(data)[key]})
        for name in MODELS:
            rows.append(row | compared(name, curves[name], data, key))
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=Path("runs/water"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    begun = time.time()
    options.output.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    frames = beads(options.output)
    models = {}
    for name, left_out in MODELS.items():
        models[name] = fitted(frames, folder(options.output, name) / "model", left_out)
    sets, breaths = simulated(frames, models, options.output)
    within = rdf_range(frames)
    rdfs = {name: compute_rdf(part, within, BIN_WIDTH) for name, part in sets.items()}
    angles = {name: neighbour_angles(part, NEIGHBOURS) for name, part in sets.items()}
    rows = differences(rdfs, compute_rdf(frames, within, BIN_WIDTH), "g(r)")
    structure = pandas.DataFrame(rows + differences(angles, neighbour_angles(frames, NEIGHBOURS), "angles"))
    thermodynamics = pressures(frames, sets, breaths, models)
    table_of(rdfs, "r_nm").round(4).to_csv(options.results / "rdf.csv", index=False)
    table_of(angles, "cosine").round(4).to_csv(options.results / "angles.csv", index=False)
    structure.round(4).to_csv(options.results / "structure.csv", index=False)
    thermodynamics.round(4).to_csv(options.results / "pressure.csv", index=False)
    columns = {f"{name}, run {i + 1}": t["density"] for name, runs in breaths.items() for i, t in enumerate(runs)}
    columns = {"time_ps": next(iter(breaths.values()))[0]["time_ps"], **columns}
    pandas.DataFrame(columns)[4::5].round(4).to_csv(options.results / "density.csv", index=False)
    density = thermodynamics["density_g/cm3"][0]
    picture(rdfs, angles, breaths, density, options.results / "water.png")
    for table in (structure, thermodynamics):
        print("\n" + table.round(3).to_string(index=False, na_rep=""))
    print(f"\n{(time.time() - begun) / 60:.1f} minutes on {os.cpu_count()} cores; open {options.results / 'water.png'}")


if __name__ == "__main__":
    main()
