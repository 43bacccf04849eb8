"""Commands that sample and run: simulate, sample, compile, generate, benchmark."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..cluster import connected
from .application import (
    MODEL,
    Output,
    Resume,
    Scheduler,
    Workers,
    command,
    found_frames,
    found_model,
    heard,
    say,
    say_report,
    written,
)

DATA, RUNS, SPEED = "Before a training", "Molecular dynamics", "Speed"


@command(RUNS, "simulate licl --output runs/md --duration 100")
def simulate(
    model: Annotated[str, typer.Argument(help=MODEL)],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with settings; options come before it.")] = None,
    duration: Annotated[Optional[float], typer.Option(help="Length of the run, ps.", show_default="100")] = None,
    timestep: Annotated[Optional[float], typer.Option(help="Time step, ps.", show_default="0.004")] = None,
    interval: Annotated[
        Optional[float], typer.Option(help="Time between saved frames, ps.", show_default="0.5")
    ] = None,
    format: Annotated[
        Optional[str], typer.Option(help="Of the trajectory: dcd, xtc or h5.", show_default="dcd")
    ] = None,
    temperature: Annotated[
        Optional[float], typer.Option(help="Of the thermostat, K.", show_default="that of the training data")
    ] = None,
    edge: Annotated[
        Optional[float], typer.Option(help="Edge of a cubic box, nm.", show_default="the box of the training data")
    ] = None,
    box: Annotated[
        Optional[tuple[float, float, float]],
        typer.Option(help="Edges of a rectangular box, nm.", show_default="the box of the training data"),
    ] = None,
    molarity: Annotated[
        Optional[float],
        typer.Option(help="Of the salt, mol/L, which gives the edge.", show_default="that of the training data"),
    ] = None,
    top: Annotated[
        Optional[Path],
        typer.Option(
            help="File of particles and box of your own: PDB, GRO, mmCIF.", show_default="those of the training data"
        ),
    ] = None,
    start: Annotated[
        Optional[Path],
        typer.Option(
            "--start",
            "--positions",
            show_default="random places",
            help="File of the first positions: frames, PDB, GRO; beside --top a trajectory.",
        ),
    ] = None,
    state: Annotated[
        Optional[Path], typer.Option(help="File of first positions, velocities and box: a State of OpenMM (XML).")
    ] = None,
    anneal: Annotated[
        Optional[float], typer.Option(help="Minimise the start and cool it in this time, ps.", show_default="none")
    ] = None,
    anneal_temperature: Annotated[
        Optional[float], typer.Option(help="To cool from, K.", show_default="twice that of the run")
    ] = None,
    pressure: Annotated[
        Optional[float], typer.Option(help="Of a barostat, bar.", show_default="constant volume")
    ] = None,
    allow_barostat: Annotated[
        Optional[bool],
        typer.Option(help="Let it act on a model that was fitted without a pressure too.", show_default="no"),
    ] = None,
    platform: Annotated[Optional[str], typer.Option(help="Of OpenMM.", show_default="its fastest")] = None,
    device: Annotated[
        Optional[int],
        typer.Option(help="Number of the GPU (DeviceIndex), for OpenMM and torch.", show_default="the first"),
    ] = None,
    precision: Annotated[
        Optional[str],
        typer.Option(help="Of platform and model: single, mixed or double.", show_default="the platform's"),
    ] = None,
    threads: Annotated[
        Optional[int],
        typer.Option(help="Of the CPU platform.", show_default="1 up to 500 particles, else OpenMM's choice"),
    ] = None,
    backend: Annotated[
        Optional[str],
        typer.Option(
            help="Way to run the model: auto, torchscript, python, compiled or native.",
            show_default="auto, the fastest for a run of this length",
        ),
    ] = None,
    guard_margin: Annotated[
        Optional[float],
        typer.Option(
            help="How much closer than in the data a pair may come before the run is stopped, nm.",
            show_default="0.04, or six noise levels",
        ),
    ] = None,
    replicas: Annotated[Optional[int], typer.Option(help="Independent copies in one System.", show_default="1")] = None,
    seed: Annotated[
        Optional[int], typer.Option(help="Of placement, velocities and thermostat.", show_default="1")
    ] = None,
    runs: Annotated[
        Optional[int],
        typer.Option(help="Independent runs side by side, in directories of their own.", show_default="one, in OUTPUT"),
    ] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    resume: Resume = False,
):
    """Run Langevin dynamics under a model, from random places or a start."""
    from ..settings import read_yaml, validated
    from ..simulation.langevin import SimulationConfig
    from ..simulation.langevin import simulate as run
    from ..simulation.sampling import simulate_runs

    given = dict(
        duration=duration, timestep=timestep, interval=interval, format=format, temperature=temperature, edge=edge,
        box=box, molarity=molarity, top=top, start=start, state=state, anneal=anneal,
        anneal_temperature=anneal_temperature, pressure=pressure, allow_barostat=allow_barostat, platform=platform,
        device=device, precision=precision, threads=threads, backend=backend, guard_margin=guard_margin,
        replicas=replicas, seed=seed,
    )  # fmt: skip
    settings = read_yaml(config) if config else {}
    settings.update({key: value for key, value in given.items() if value is not None})
    settings = validated(SimulationConfig, settings, str(config or "options"))
    if runs is None:
        if scheduler is not None or workers is not None:
            raise ValueError("workers share several runs, each of which one computes: say how many with --runs")
        paths = run(found_model(model), output, settings, resume, progress=heard())
    else:
        with connected(scheduler, workers) as client:
            paths = simulate_runs(found_model(model), output, settings, runs, resume, client)
    say("\n".join(map(str, paths)) if isinstance(paths, list) else paths)
    say_report(output)


@command(RUNS, "sample runs/sampling/model.safetensors --output runs/samples --frames examples/licl/licl.npz")
def sample(
    model: Annotated[str, typer.Argument(help="Model file, or directory of a training, over a range of noise levels.")],
    output: Output,
    frames: Annotated[
        Optional[Path],
        typer.Option(
            help="File of configurations to compare g(r) with, those of the training, best; or its YAML.",
            show_default="none",
        ),
    ] = None,
    samples: Annotated[Optional[int], typer.Option(help="Independent configurations.", show_default="1000")] = None,
    levels: Annotated[Optional[int], typer.Option(help="Noise levels from noise to data.", show_default="100")] = None,
    steps: Annotated[Optional[int], typer.Option(help="Langevin steps at each level.", show_default="10")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Of places and steps.", show_default="1")] = None,
    resume: Resume = False,
):
    """Make independent configurations from noise, with their weights in the ensemble of a model: annealed sampling."""
    from ..evaluation.report import kept_apart
    from ..figures.sampling import samples_figure
    from ..model.denoiser import Denoiser
    from ..rundirectory import write_table
    from ..settings import validated
    from ..workflows.annealing import AnnealingConfig, anneal, compare

    given = dict(samples=samples, levels=levels, steps=steps, seed=seed)
    settings = validated(AnnealingConfig, {k: v for k, v in given.items() if v is not None}, "options")
    denoiser = Denoiser.load(found_model(model))
    reference = None if frames is None else kept_apart(denoiser, found_frames(frames))
    result = anneal(denoiser, output, settings, resume, progress=heard())
    curves = None
    if reference is not None:
        errors, curves = compare(result, reference, denoiser.sigma)
        write_table(output / "errors.csv", errors.round(4))
        write_table(output / "rdf.csv", curves.round(5))
        say(errors.round(3).to_string(index=False, na_rep="-"))
    samples_figure(result.levels, len(result.frames), curves, output / "samples.png")
    free, error = result.free_energy()
    say(f"{len(result.frames)} samples, {result.effective:.3g} of them effective by their weights")
    say(f"excess free energy {free:.1f} +- {error:.1f} kJ/mol, from the ideal gas in the same box")
    say(f"{output}: samples.npz, {written(output)}")


@command(SPEED, "compile licl", name="compile")
def compile_force(
    model: Annotated[str, typer.Argument(help=MODEL)],
    top: Annotated[
        Optional[Path], typer.Option(help="File of particles and box (PDB).", show_default="those of the training")
    ] = None,
    start: Annotated[
        Optional[Path], typer.Option(help="File of positions: frames, PDB or GRO.", show_default="random places")
    ] = None,
    replicas: Annotated[int, typer.Option(help="Independent copies in one System.")] = 1,
):
    """Compile the force of a model ahead, for the platform CPU: runs then begin at once."""
    from ..workflows.compilation import compile_ahead

    paths = compile_ahead(found_model(model), top, start, replicas)
    say("\n".join(map(str, paths)) or "it is compiled already")


@command(DATA, "generate --output runs/data")
def generate(
    output: Output,
    config: Annotated[
        Optional[Path], typer.Argument(help="YAML file (see docs/generate.md); without one, 2.4 M LiCl.")
    ] = None,
    resume: Resume = False,
):
    """Make data: all-atom runs in OpenMM of ions, water or a solute, kept as frames of atoms or beads with forces."""
    from ..simulation.generation import generate as run

    frames = run(config or {}, output, resume)
    say(f"{output / 'frames.npz'}: {frames}")


@command(SPEED, "benchmark licl --output runs/benchmark --rounds 3")
def benchmark(
    model: Annotated[str, typer.Argument(help=MODEL)],
    output: Output,
    paths: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Way to run it: prior, eager, torchscript, compiled or native; repeat for several.",
            show_default="all",
        ),
    ] = None,
    replicas: Annotated[
        Optional[list[int]], typer.Option(help="Copies in one System; repeat for several.", show_default="1")
    ] = None,
    nequip: Annotated[
        Optional[Path],
        typer.Option(help="Deployed NequIP model to compare with: a TorchScript program, which runs on loading."),
    ] = None,
    platform: Annotated[Optional[str], typer.Option(help="Of OpenMM.", show_default="its fastest")] = None,
    threads: Annotated[
        Optional[int], typer.Option(help="Of OpenMM's CPU platform and of torch.", show_default="1")
    ] = None,
    rounds: Annotated[
        Optional[int], typer.Option(help="In each of which every path has its turn.", show_default="5")
    ] = None,
    seconds: Annotated[
        Optional[float], typer.Option(help="Of MD for each path in each round, s.", show_default="2")
    ] = None,
    timestep: Annotated[Optional[float], typer.Option(help="Time step, ps.", show_default="0.004")] = None,
):
    """Measure speed, memory and accuracy of every way to run a model in OpenMM: benchmark.csv, .yaml and .png."""
    from ..settings import validated
    from ..workflows.benchmark.run import BenchmarkConfig
    from ..workflows.benchmark.run import benchmark as run

    given = dict(
        paths=paths or None, replicas=replicas or None, nequip=nequip, platform=platform, threads=threads,
        rounds=rounds, seconds=seconds, timestep=timestep,
    )  # fmt: skip
    settings = {key: value for key, value in given.items() if value is not None}
    table = run(found_model(model), output, validated(BenchmarkConfig, settings, "options"), say)
    columns = ["path", "copies", "steps_per_s", "ratio", "force_ms", "ns_per_day", "rms_difference", "start_s"]
    say("\n" + table[columns].to_string(index=False, na_rep="-", float_format=_rounded))
    for row in table[table["note"] != ""].itertuples():
        say(f"- {row.path} x {row.copies}: {row.note}")
    say(f"\n{output}: benchmark.csv, rounds.csv, benchmark.yaml, benchmark.png")


def _rounded(number):
    """Three digits, with an exponent for what is very small alone."""
    from ..progress import significant

    return f"{number:.1e}" if 0 < abs(number) < 1e-3 else significant(number, 3)
