"""Commands that compare: evaluate, rdf."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .. import rundirectory
from .application import MODEL, Output, command, say, written

PANEL = "Is it right?"


@command(PANEL, "evaluate licl examples/licl/licl.npz --trajectory runs/md --output runs/evaluation")
def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL)],
    frames: Annotated[Path, typer.Argument(help="File of reference frames.")],
    output: Output,
    trajectory: Annotated[
        Optional[list[Path]], typer.Option("--trajectory", "-t", help="MD under the model; repeat for several runs.")
    ] = None,
    top: Annotated[Optional[Path], typer.Option(help="Topology of the trajectories (PDB).")] = None,
    discard: Annotated[float, typer.Option(help="Start of each run to leave out, ps.")] = 5.0,
    interval: Annotated[Optional[float], typer.Option(help="Time between saved frames, ps.")] = None,
    temperature: Annotated[
        Optional[float], typer.Option(help="Temperature of frames that do not say, K.", show_default="what they say")
    ] = None,
):
    """Compare a model with frames: structure, molecules, forces, calibration, held-out loss; tables and pictures."""
    from ..data.frames import Frames
    from ..evaluation.report import evaluate as run
    from ..evaluation.tables import readable, write
    from ..figures.evaluation import evaluation_figure
    from ..figures.molecules import molecule_figures
    from ..figures.structure import rdf_figure
    from ..model.denoiser import Denoiser

    denoiser = Denoiser.load(model)
    result = run(denoiser, Frames.load(frames, temperature), trajectory or [], top, discard, interval)
    write(result, output)
    if len(result.errors):
        rdf_figure(result.rdf, output / "rdf.png", denoiser.sigma)
    evaluation_figure(result, output / "evaluation.png", denoiser.sigma)
    if result.molecules is not None:
        molecule_figures(result.molecules, output)
    say("\n".join(["", readable(result.table), "", *(f"- {note}" for note in result.notes)]))
    say(f"\n{output}: {written(output)}")


@command(PANEL, "rdf runs/md/trajectory.dcd --top runs/md/topology.pdb --output runs/rdf")
def rdf(
    trajectory: Annotated[list[Path], typer.Argument(help="Trajectories, each an independent run.")],
    output: Output,
    top: Annotated[Optional[Path], typer.Option(help="Topology (PDB).")] = None,
    select: Annotated[str, typer.Option(help="Atoms, in mdtraj's selection language.")] = "all",
    types: Annotated[str, typer.Option(help="Type of a particle: element, name or residue:name.")] = "element",
    r_min: Annotated[float, typer.Option(help="Shortest distance, nm.")] = 0.2,
    r_max: Annotated[float, typer.Option(help="Longest distance, nm.")] = 1.0,
    bin_width: Annotated[float, typer.Option(help="Width of a bin, nm.")] = 0.01,
    box: Annotated[
        Optional[tuple[float, float, float]], typer.Option(help="Edges of the box, nm, of files that hold none.")
    ] = None,
):
    """g(r) of every pair of species, with error bars: rdf.csv and rdf.png."""
    from ..analysis.rdf import compute_rdf
    from ..data.frames import Frames
    from ..figures.structure import simple_rdf_figure

    # The temperature of the ensemble plays no part in a g(r).
    frames = Frames.from_trajectory(list(trajectory), top=top, select=select, temperature=300, types=types, box=box)
    table = compute_rdf(frames, (r_min, r_max), bin_width).table()
    rundirectory.write_table(rundirectory.made(output) / "rdf.csv", table.round(5))
    simple_rdf_figure(table, output / "rdf.png")
    say(f"{output / 'rdf.csv'}, {output / 'rdf.png'}")
