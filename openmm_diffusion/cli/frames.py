"""Commands that prepare frames: coarsen."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .application import command, heard, say

PANEL = "Before a training"


@command(PANEL, "coarsen run.xtc --top topology.pdb --map map.yaml --temperature 300 --output beads.npz")
def coarsen(
    trajectory: Annotated[list[Path], typer.Argument(help="Trajectories of atoms, each an independent run.")],
    map: Annotated[Path, typer.Option(help="YAML file that says which atoms are which beads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of frames to write, .npz.")],
    top: Annotated[Optional[Path], typer.Option(help="Topology, with bonds (PDB).")] = None,
    temperature: Annotated[Optional[float], typer.Option(help="Of the simulated ensemble, K.")] = None,
    stride: Annotated[int, typer.Option(help="Keep every so many frames.")] = 1,
    box: Annotated[
        Optional[tuple[float, float, float]], typer.Option(help="Edges of the box, nm, of files that hold none.")
    ] = None,
):
    """Turn trajectories of atoms into frames of beads, streamed: one npz file."""
    import time

    from ..data.coarsening import coarsen as run
    from ..data.coarsening import summary

    shown = time.monotonic()

    def progress(path, frames):
        nonlocal shown
        if time.monotonic() - shown > 5 and heard():
            shown = time.monotonic()
            typer.echo(f"{path}: {frames} frames read", err=True)

    made = run(trajectory, top, map, temperature, output, stride=stride, box=box, progress=progress)
    say(f"{made}: {summary(made)}")
