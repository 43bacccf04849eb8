"""Commands before a training: init, coarsen."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from .application import command, say

PANEL = "Before a training"


@command(PANEL, "init examples/licl/licl.npz --output licl.yaml")
def init(
    frames: Annotated[
        list[Path], typer.Argument(help="File of frames (npz, extxyz); or trajectories, each an independent run.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="YAML file to write.")] = Path("train.yaml"),
    top: Annotated[Optional[Path], typer.Option(help="Topology: FRAMES are trajectories then (PDB, GRO).")] = None,
    select: Annotated[str, typer.Option(help="Atoms of trajectories, in mdtraj's selection language.")] = "all",
    types: Annotated[
        str, typer.Option(help="Type of a particle of trajectories: element, name or residue:name.")
    ] = "element",
    temperature: Annotated[
        Optional[float], typer.Option(help="Of the simulated ensemble, K.", show_default="what the file says")
    ] = None,
    box: Annotated[
        Optional[tuple[float, float, float]], typer.Option(help="Edges of the box, nm, of files that hold none.")
    ] = None,
):
    """Write a configuration to train with: the defaults for your frames, every key with its meaning and unit."""
    import os

    from ..learning.config import DataConfig
    from ..learning.template import template
    from ..learning.trainingset import frames_of
    from ..rundirectory import write_whole

    if output.exists():
        raise FileExistsError(f"output is {output}, which is there already: name another file")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}: there is no directory {output.parent}; make it first")
    given: dict[str, Any] = {"temperature": temperature, "box": box}
    if len(frames) == 1 and frames[0].suffix.lower() in (".npz", ".xyz", ".extxyz") and top is None:
        given |= {"frames": frames[0]}
    else:
        given |= {"trajectory": frames, "top": top, "select": select, "types": types}
    given = {key: value for key, value in given.items() if value is not None}
    (found,) = frames_of(DataConfig(**given))

    def seen_from_there(path):
        return Path(os.path.relpath(path, output.absolute().parent))

    for key in ("frames", "trajectory", "top"):
        if key in given:
            place = given[key]
            given[key] = [seen_from_there(one) for one in place] if isinstance(place, list) else seen_from_there(place)
    write_whole(output, template(found, given))
    say(f"{output}: the defaults for {found}")
    if found.box is not None and found.bonds is None:
        say(f"Nothing is taken to be charged: of ions, give the charges first, under prior: coulomb in {output}")
    say(f"next: openmm-diffusion train {output} --output runs/mine")


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
    from ..data.coarsening import coarsen as run
    from ..data.coarsening import summary
    from ..progress import Progress

    told = Progress("", None, "frames read")

    def progress(path, frames):
        told.what = str(path)
        told.at(frames)

    made = run(trajectory, top, map, temperature, output, stride=stride, box=box, progress=progress)
    told.close()
    say(f"{made}: {summary(made)}")
