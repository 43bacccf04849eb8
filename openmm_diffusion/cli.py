"""The command line: parses, calls, prints."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import openmm
import typer
import typer.core

from . import rundirectory

#: Commands that go on with what there is.
RESUMABLE = ("train", "simulate", "refine", "generate")

interruption = rundirectory.Interruption()


class Commands(typer.core.TyperGroup):
    """Commands whose ends are told in words of ours."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            # What an interruption breaks on its way is nobody's mistake.
            if interruption.number is not None or isinstance(error, KeyboardInterrupt):
                interruption.over()
                resumable = ctx.invoked_subcommand in RESUMABLE
                then = "the same command with --resume goes on" if resumable else "nothing goes on, give it again"
                typer.echo(f"interrupted: {then}", err=True)
                raise SystemExit(interruption.status) from None
            if isinstance(error, EOFError):  # typer would say "Aborted."
                raise RuntimeError("a file ended before it was read: look for an empty one") from error
            raise


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Molecular dynamics potentials for OpenMM, learnt by denoising equilibrium configurations.",
)  # fmt: skip

Output = Annotated[Path, typer.Option("--output", "-o", help="Directory of the run.")]
Resume = Annotated[bool, typer.Option(help="Go on with the run in --output.")]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, such as examples/licl/licl.yaml.")],
    output: Output,
    frames: Annotated[
        Optional[list[Path]], typer.Option(help="Overrides data.frames; repeat for several systems.")
    ] = None,
    resume: Resume = False,
):
    """Learn a denoiser from configurations: writes model.safetensors, log and loss picture."""
    from .data.frames import Frames
    from .figures import loss_figure
    from .learning.config import read_config
    from .learning.training import train as run

    settings = read_config(config)
    given = [Frames.load(path, settings.data.temperature) for path in frames or []] or None
    denoiser = run(given, settings, output, resume)
    metrics = output / "log" / "metrics.csv"
    if metrics.exists():
        loss_figure(metrics, output / "loss.png")
    kinds = [term.kind for term in denoiser.header.terms]
    parts = [kind if kinds.count(kind) == 1 else f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    typer.echo(f"{output / 'model.safetensors'}: {' + '.join(parts)}")


@app.command()
def simulate(
    model: Annotated[str, typer.Argument(help="Model file, or licl or licl_vector.")],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with the settings of the run.")] = None,
    duration: Annotated[Optional[float], typer.Option(help="ps")] = None,
    timestep: Annotated[Optional[float], typer.Option(help="ps")] = None,
    interval: Annotated[Optional[float], typer.Option(help="ps between saved frames")] = None,
    format: Annotated[Optional[str], typer.Option(help="of the trajectory: dcd, xtc or h5")] = None,
    temperature: Annotated[Optional[float], typer.Option(help="K")] = None,
    edge: Annotated[Optional[float], typer.Option(help="nm")] = None,
    molarity: Annotated[Optional[float], typer.Option(help="mol/L")] = None,
    top: Annotated[Optional[Path], typer.Option(help="Particles and box of your own: PDB, GRO, mmCIF.")] = None,
    start: Annotated[
        Optional[Path],
        typer.Option("--start", "--positions", help="First positions: frames, PDB, GRO; beside --top a trajectory."),
    ] = None,
    state: Annotated[Optional[Path], typer.Option(help="First positions, velocities and box: a State (XML).")] = None,
    anneal: Annotated[Optional[float], typer.Option(help="ps, to minimise and cool the start in")] = None,
    anneal_temperature: Annotated[Optional[float], typer.Option(help="K, to cool from [twice that of the run]")] = None,
    pressure: Annotated[Optional[float], typer.Option(help="bar, of a barostat")] = None,
    allow_barostat: Annotated[
        Optional[bool], typer.Option(help="Over a model that was fitted without a pressure too.")
    ] = None,
    platform: Annotated[Optional[str], typer.Option(help="OpenMM's platform")] = None,
    device: Annotated[Optional[int], typer.Option(help="of the platform (DeviceIndex), for OpenMM and torch")] = None,
    precision: Annotated[Optional[str], typer.Option(help="single, mixed or double: of platform and model")] = None,
    threads: Annotated[Optional[int], typer.Option(help="of the CPU platform; [1 for small systems]")] = None,
    backend: Annotated[Optional[str], typer.Option(help="auto, torchscript, python, compiled or native")] = None,
    replicas: Annotated[Optional[int], typer.Option(help="independent copies in one System")] = None,
    seed: Optional[int] = None,
    resume: Resume = False,
):
    """Run Langevin dynamics under a model, from random places or a start."""
    from .settings import read_yaml, validated
    from .simulation.langevin import SimulationConfig
    from .simulation.langevin import simulate as run

    given = dict(
        duration=duration, timestep=timestep, interval=interval, format=format, temperature=temperature, edge=edge,
        molarity=molarity, top=top, start=start, state=state, anneal=anneal, anneal_temperature=anneal_temperature,
        pressure=pressure, allow_barostat=allow_barostat, platform=platform, device=device,
        precision=precision, threads=threads, backend=backend, replicas=replicas, seed=seed,
    )  # fmt: skip
    settings = read_yaml(config) if config else {}
    settings.update({key: value for key, value in given.items() if value is not None})
    written = run(model, output, validated(SimulationConfig, settings, str(config or "options")), resume)
    typer.echo("\n".join(map(str, written)) if isinstance(written, list) else written)


@app.command("compile")
def compile_force(
    model: Annotated[str, typer.Argument(help="Model file, or licl or licl_vector.")],
    top: Annotated[Optional[Path], typer.Option(help="Particles and box (PDB); without one, the training's.")] = None,
    start: Annotated[Optional[Path], typer.Option(help="Positions: frames, or a PDB or GRO file.")] = None,
    replicas: Annotated[int, typer.Option(help="independent copies in one System")] = 1,
):
    """Compile the force of a model ahead, for the platform CPU: runs then begin at once."""
    from .workflows.compilation import compile_ahead

    written = compile_ahead(model, top, start, replicas)
    typer.echo("\n".join(map(str, written)) or "it is compiled already")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Model file, or licl or licl_vector.")],
    frames: Annotated[Path, typer.Argument(help="Reference frames.")],
    output: Output,
    trajectory: Annotated[Optional[list[Path]], typer.Option("--trajectory", "-t", help="MD under the model.")] = None,
    top: Annotated[Optional[Path], typer.Option(help="Topology of the trajectories (PDB).")] = None,
    discard: Annotated[float, typer.Option(help="ps to leave out of each run")] = 5.0,
    interval: Annotated[Optional[float], typer.Option(help="ps between saved frames")] = None,
    temperature: Annotated[Optional[float], typer.Option(help="K, of frames that do not say")] = None,
):
    """Compare a model with frames: structure, molecules, forces, calibration, held-out loss; tables and pictures."""
    from .data.frames import Frames
    from .evaluation.report import evaluate as run
    from .evaluation.tables import readable, write
    from .figures import evaluation_figure, molecule_figures, rdf_figure
    from .model.denoiser import Denoiser

    denoiser = Denoiser.load(model)
    result = run(denoiser, Frames.load(frames, temperature), trajectory or [], top, discard, interval)
    write(result, output)
    if len(result.errors):
        rdf_figure(result.rdf, output / "rdf.png", denoiser.sigma)
    evaluation_figure(result, output / "evaluation.png", denoiser.sigma)
    if result.molecules is not None:
        molecule_figures(result.molecules, output)
    typer.echo("\n".join(["", readable(result.table), "", *(f"- {note}" for note in result.notes)]))
    typer.echo(f"\n{output}: " + ", ".join(sorted(p.name for p in output.glob("*.*") if p.suffix in (".csv", ".png"))))


@app.command()
def refine(
    model: Annotated[str, typer.Argument(help="Model file with linear energies.")],
    frames: Annotated[Path, typer.Argument(help="The frames it was trained on.")],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with the settings.")] = None,
    iterations: Annotated[Optional[int], typer.Option(help="rounds of MD and step")] = None,
    temperature: Annotated[Optional[float], typer.Option(help="K, of frames that do not say")] = None,
    resume: Resume = False,
):
    """Give the linear energies of a model the relative populations of the data: MD, then a step."""
    from .data.frames import Frames
    from .settings import read_yaml, validated
    from .workflows.refine import RefineConfig
    from .workflows.refine import refine as run

    settings = read_yaml(config) if config else {}
    if iterations is not None:
        settings["iterations"] = iterations
    settings = validated(RefineConfig, settings, str(config or "options"))
    run(model, Frames.load(frames, temperature), output, settings, resume, typer.echo)
    typer.echo(output / "model.safetensors")


@app.command()
def combine(
    models: Annotated[list[Path], typer.Argument(help="Model files of one system.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    extrapolate: Annotated[bool, typer.Option(help="To no noise, from different noise levels.")] = False,
):
    """One model from several: the mean of an ensemble, or an extrapolation of noise levels to none (Richardson)."""
    from .model.combination import ensemble, extrapolated
    from .model.denoiser import Denoiser

    if output.suffix != ".safetensors":
        raise ValueError(f"output is {output}: give a name that ends in .safetensors")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}: there is no directory {output.parent}; make it first")
    parts = [Denoiser.load(path) for path in models]
    combined = extrapolated(parts) if extrapolate else ensemble(parts)
    combined.save(output)
    weights = ", ".join(f"{term.weight:g} x {term.kind} at {term.sigma:g} nm" for term in combined.header.learnt)
    typer.echo(f"{output}: {weights}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Model file, or licl or licl_vector.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the files.")],
    top: Annotated[Optional[Path], typer.Option(help="Particles and box (PDB); without one, the training's.")] = None,
    format: Annotated[str, typer.Option(help="native (pair potentials), torchscript or lammps")] = "native",
):
    """Write a model for scripts that do without this package: System XML, curves or TorchScript, or LAMMPS tables."""
    from .workflows.export import export as run
    from .workflows.export import read_pdb

    topology, positions = (None, None) if top is None else read_pdb(top)
    run(model, topology, output, format=format, positions=positions)
    typer.echo(f"{output}: " + ", ".join(sorted(p.name for p in output.iterdir())))


@app.command()
def distil(
    model: Annotated[str, typer.Argument(help="Model file, or licl or licl_vector.")],
    frames: Annotated[Path, typer.Argument(help="Configurations of its ensemble: the frames it was trained on, best.")],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with a section for each energy to fit.")] = None,
    cutoff: Annotated[Optional[float], typer.Option(help="nm, of the pair potential; else as in the model")] = None,
    temperature: Annotated[Optional[float], typer.Option(help="K, of frames that do not say")] = None,
):
    """Fit the best linear energies to a model's learnt force, and say what is lost: model, table and picture."""
    from .data.frames import Frames
    from .evaluation.tables import readable
    from .figures import distillation_figure
    from .settings import read_yaml
    from .workflows.distillation import distil as run
    from .workflows.distillation import write

    energies = read_yaml(config) if config else None
    result = run(model, Frames.load(frames, temperature), energies=energies, cutoff=cutoff)
    write(result, output)
    if len(result.curves):
        distillation_figure(result.curves, output / "distillation.png")
    typer.echo(f"\n{readable(result.table)}\n")
    typer.echo(f"Fitted on {result.fitted} frames; the table is of {result.apart} frames kept apart.")
    curves = ", distillation.png, pair.csv" if len(result.curves) else ""
    typer.echo(f"{output}: model.safetensors, distillation.csv{curves}")


@app.command()
def rdf(
    trajectory: Annotated[list[Path], typer.Argument(help="Trajectories, each an independent run.")],
    output: Output,
    top: Annotated[Optional[Path], typer.Option(help="Topology (PDB).")] = None,
    select: Annotated[str, typer.Option(help="mdtraj selection")] = "all",
    types: Annotated[str, typer.Option(help="Of a particle: element, name or residue:name")] = "element",
    r_min: Annotated[float, typer.Option(help="nm")] = 0.2,
    r_max: Annotated[float, typer.Option(help="nm")] = 1.0,
    bin_width: Annotated[float, typer.Option(help="nm")] = 0.01,
    box: Annotated[Optional[tuple[float, float, float]], typer.Option(help="nm, edges, if a file holds none")] = None,
):
    """g(r) of every pair of species, with error bars: rdf.csv and rdf.png."""
    from .analysis.rdf import compute_rdf
    from .data.frames import Frames
    from .figures import simple_rdf_figure

    # The temperature of the ensemble plays no part in a g(r).
    frames = Frames.from_trajectory(list(trajectory), top=top, select=select, temperature=300, types=types, box=box)
    table = compute_rdf(frames, (r_min, r_max), bin_width).table()
    rundirectory.write_table(rundirectory.made(output) / "rdf.csv", table.round(5))
    simple_rdf_figure(table, output / "rdf.png")
    typer.echo(f"{output / 'rdf.csv'}, {output / 'rdf.png'}")


@app.command()
def coarsen(
    trajectory: Annotated[list[Path], typer.Argument(help="Trajectories of atoms, each an independent run.")],
    map: Annotated[Path, typer.Option(help="YAML file that says which atoms are which beads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of frames to write, .npz.")],
    top: Annotated[Optional[Path], typer.Option(help="Topology, with bonds (PDB).")] = None,
    temperature: Annotated[Optional[float], typer.Option(help="K, of the simulated ensemble")] = None,
    stride: Annotated[int, typer.Option(help="Keep every so many frames.")] = 1,
    box: Annotated[Optional[tuple[float, float, float]], typer.Option(help="nm, edges, if a file holds none")] = None,
):
    """Turn trajectories of atoms into frames of beads, streamed: one npz file."""
    import time

    from .data.coarsening import coarsen as run
    from .data.coarsening import summary

    shown = time.monotonic()

    def progress(path, frames):
        nonlocal shown
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            typer.echo(f"{path}: {frames} frames read", err=True)

    written = run(trajectory, top, map, temperature, output, stride=stride, box=box, progress=progress)
    typer.echo(f"{written}: {summary(written)}")


@app.command()
def generate(
    output: Output,
    config: Annotated[
        Optional[Path], typer.Argument(help="YAML file (see docs/generate.md); without one, 2.4 M LiCl.")
    ] = None,
    resume: Resume = False,
):
    """Make data: all-atom runs in OpenMM of ions, water or a solute, kept as frames of atoms or beads with forces."""
    from .settings import read_yaml, validated
    from .simulation.generation import GenerateConfig
    from .simulation.generation import generate as run

    def progress(number, frames, ns_per_day):
        typer.echo(f"run {number}: {frames} frames, {ns_per_day:.1f} ns/day")

    asked = GenerateConfig.anchored(read_yaml(config), config.parent) if config else {}
    frames = run(validated(GenerateConfig, asked, str(config)), output, resume, progress)
    typer.echo(f"{output / 'frames.npz'}: {frames}")


@app.command()
def benchmark(
    model: Annotated[str, typer.Argument(help="Model file, or licl or licl_vector.")],
    output: Output,
    paths: Annotated[
        Optional[list[str]], typer.Option(help="prior, eager, torchscript, compiled or native; repeat for several")
    ] = None,
    replicas: Annotated[Optional[list[int]], typer.Option(help="Copies in one System; repeat for several.")] = None,
    nequip: Annotated[
        Optional[Path],
        typer.Option(help="Deployed NequIP model to compare with: a TorchScript program, which runs on loading."),
    ] = None,
    platform: Annotated[Optional[str], typer.Option(help="OpenMM's platform")] = None,
    threads: Annotated[Optional[int], typer.Option(help="Of OpenMM's CPU platform and of torch [1].")] = None,
    rounds: Annotated[Optional[int], typer.Option(help="[5]")] = None,
    seconds: Annotated[Optional[float], typer.Option(help="Of MD for each path in each round [2].")] = None,
    timestep: Annotated[Optional[float], typer.Option(help="ps [0.004]")] = None,
):
    """Measure speed, memory and accuracy of every way to run a model in OpenMM: benchmark.csv, .yaml and .png."""
    from .settings import validated
    from .workflows.benchmark.run import BenchmarkConfig
    from .workflows.benchmark.run import benchmark as run

    given = dict(
        paths=paths or None, replicas=replicas or None, nequip=nequip, platform=platform, threads=threads,
        rounds=rounds, seconds=seconds, timestep=timestep,
    )  # fmt: skip
    settings = {key: value for key, value in given.items() if value is not None}
    table = run(model, output, validated(BenchmarkConfig, settings, "options"), typer.echo)
    columns = ["path", "copies", "steps_per_s", "ratio", "force_ms", "ns_per_day", "rms_difference", "start_s"]
    typer.echo("\n" + table[columns].to_string(index=False, na_rep="-", float_format="{:.3g}".format))
    for row in table[table["note"] != ""].itertuples():
        typer.echo(f"- {row.path} x {row.copies}: {row.note}")
    typer.echo(f"\n{output}: benchmark.csv, rounds.csv, benchmark.yaml, benchmark.png")


def _sentence(error):
    """What an error says, on one line; its kind, where it says nothing."""
    told = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{kind} without a word: report it with the command" if told in ("", "<NULL>") else told


def main():
    """Entry point: a user's mistake ends in one sentence, not in a traceback."""
    # Threads of torch that wait turning in circles take the cores from other programs: on a busy machine two of them
    # trained a small network ten times slower than one.  Its library reads this when torch is imported, later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    interruption.install()
    try:
        with rundirectory.explained("output"):
            app()
    except MemoryError as error:
        typer.echo("error: this needs more memory than there is: give fewer particles, frames or replicas", err=True)
        raise SystemExit(1) from error
    except (
        ValueError,
        TypeError,
        OSError,
        RuntimeError,
        ArithmeticError,
        ImportError,
        openmm.OpenMMException,
    ) as error:
        typer.echo(f"error: {_sentence(error)}", err=True)
        raise SystemExit(1) from error
