"""Commands that compare and tell: evaluate, rdf, report."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .. import rundirectory
from .application import MODEL, Output, command, found_frames, found_model, say, say_report, written

PANEL = "Is it right?"


@command(PANEL, "evaluate licl examples/licl/licl.npz -t runs/md --output runs/evaluation")
def evaluate(
    model: Annotated[
        str, typer.Argument(help=f"{MODEL[:-1]}; or the directory of a run, with its trajectories and model.")
    ],
    frames: Annotated[Path, typer.Argument(help="File of reference frames, or YAML of a training on them.")],
    output: Output,
    trajectory: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--trajectory", "-t", help="MD under the model: directory of a run, or a file; repeat for several runs."
        ),
    ] = None,
    top: Annotated[
        Optional[Path], typer.Option(help="Topology of the trajectories (PDB).", show_default="that in the directory")
    ] = None,
    discard: Annotated[float, typer.Option(help="Start of each run to leave out, ps.")] = 5.0,
    interval: Annotated[
        Optional[float],
        typer.Option(help="Time between saved frames, ps.", show_default="what the directory tells"),
    ] = None,
    temperature: Annotated[
        Optional[float], typer.Option(help="Temperature of frames that do not say, K.", show_default="what they say")
    ] = None,
):
    """Compare a model with frames: structure, molecules, forces, calibration, held-out loss; tables and pictures."""
    from ..evaluation.record import record
    from ..evaluation.report import evaluate as run
    from ..evaluation.tables import readable, write
    from ..figures.evaluation import evaluation_figure
    from ..figures.molecules import molecule_figures
    from ..figures.structure import rdf_figure
    from ..model.denoiser import Denoiser

    file = found_model(model)
    denoiser, reference = Denoiser.load(file), found_frames(frames, temperature)
    if not trajectory and Path(model).is_dir() and not (Path(model) / "model.safetensors").exists():
        trajectory = [Path(model)]
    result = run(denoiser, reference, trajectory or [], top, discard, interval)
    write(result, output)
    record(
        output, denoiser, reference, model=file, file=frames, trajectories=trajectory or [], topology=top,
        discard=discard, interval=interval, temperature=temperature,
    )  # fmt: skip
    if len(result.errors):
        rdf_figure(result.rdf, output / "rdf.png", denoiser.sigma)
    evaluation_figure(result, output / "evaluation.png", denoiser.sigma)
    if result.molecules is not None:
        molecule_figures(result.molecules, output)
    say("\n".join(["", readable(result.table), "", *(f"- {note}" for note in result.notes)]))
    say("\n".join(["", "In short:", *(f"- {sentence}" for sentence in result.verdict["sentence"])]))
    say(f"\n{output}: {written(output)}")
    say_report(output)


@command(PANEL, "rdf MD=runs/md data=examples/licl/licl.npz --output runs/rdf")
def rdf(
    trajectory: Annotated[
        list[str],
        typer.Argument(
            help="Runs, each independent: directories that simulate wrote, trajectories, or a file of frames (npz, "
            "extxyz). LABEL=PATH draws sets of their own, side by side; those of one label are one set."
        ),
    ],
    output: Output,
    top: Annotated[
        Optional[Path], typer.Option(help="Topology of trajectories (PDB).", show_default="that in the directory")
    ] = None,
    select: Annotated[str, typer.Option(help="Atoms of trajectories, in mdtraj's selection language.")] = "all",
    types: Annotated[
        str, typer.Option(help="Type of a particle of trajectories: element, name or residue:name.")
    ] = "element",
    discard: Annotated[float, typer.Option(help="Start of each run to leave out, ps; not of files of frames.")] = 0.0,
    interval: Annotated[
        Optional[float],
        typer.Option(help="Time between saved frames, ps.", show_default="what the directory tells"),
    ] = None,
    r_min: Annotated[float, typer.Option(help="Shortest distance, nm.")] = 0.2,
    r_max: Annotated[float, typer.Option(help="Longest distance, nm.")] = 1.0,
    bin_width: Annotated[float, typer.Option(help="Width of a bin, nm.")] = 0.01,
    box: Annotated[
        Optional[tuple[float, float, float]], typer.Option(help="Edges of the box, nm, of files that hold none.")
    ] = None,
):
    """g(r) of every pair of species, with error bars: rdf.csv and rdf.png."""
    from ..analysis.rdf import compute_rdf, side_by_side
    from ..data.sets import labelled_sets
    from ..figures.structure import compared_rdf_figure
    from ..progress import Progress

    sets = labelled_sets(trajectory, top, select, types, box, discard, interval)
    with Progress("g(r)", sum(map(len, sets.values()))) as told:
        tables = {
            name: compute_rdf(frames, (r_min, r_max), bin_width, progress=told.add).table()
            for name, frames in sets.items()
        }
    single = list(tables) == [""]
    table = tables[""] if single else side_by_side(tables)
    rundirectory.write_table(rundirectory.made(output) / "rdf.csv", table.round(5))
    compared_rdf_figure({name or "g(r)": one for name, one in tables.items()}, output / "rdf.png")
    say(f"{output / 'rdf.csv'}, {output / 'rdf.png'}")


@command(PANEL, "report runs/evaluation --output runs/page")
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Directories that train, simulate, evaluate, refine or distil wrote, on one page; what they name is "
            "followed: runs and model of an evaluation, model of a simulation, training of a model."
        ),
    ],
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Directory of the page.", show_default="the first of the runs"),
    ] = None,
):
    """Write one page about runs, report.html: data, fit, curves, g(r), forces, MD, warnings, how to repeat it."""
    from ..workflows.page.page import write_page

    say(write_page(runs, output))
