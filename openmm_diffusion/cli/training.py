"""Commands that make a model from frames: train, refine."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..cluster import connected
from .application import (
    Output,
    Resume,
    Scheduler,
    Workers,
    command,
    found_frames,
    found_model,
    heard,
    loudness,
    say,
    say_report,
    written,
)

PANEL = "From frames to a model"


@command(PANEL, "train examples/licl/licl.yaml --output runs/mine")
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, such as examples/licl/licl.yaml.")],
    output: Output,
    frames: Annotated[
        Optional[list[Path]],
        typer.Option(help="File of frames, in place of data.frames of CONFIG; repeat for several systems."),
    ] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    resume: Resume = False,
):
    """Learn a denoiser from configurations: writes model.safetensors, log and loss picture."""
    from ..learning.config import read_config
    from ..learning.network.processes import place
    from ..learning.trainingset import frames_of
    from ..workflows.training import read_account
    from ..workflows.training import train as run

    settings, first = read_config(config), place().first
    if not first:  # one of several processes, of which one speaks
        loudness(True, False)
    with connected(*((scheduler, workers) if first else ())) as client:
        given = frames_of(settings.data, client, frames) if frames else None
        denoiser = run(given, settings, output, resume, heard(), client)
    if not first:
        return
    say("\n".join(["", *read_account(output)["sentences"], ""]))
    kinds = [term.kind for term in denoiser.header.terms]
    parts = [kind if kinds.count(kind) == 1 else f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    say(f"{output / 'model.safetensors'}: {' + '.join(parts)}")
    say(f"{output}: {written(output)}")
    files = settings.data.frames if settings.data.frames is not None and not frames else None
    where = None if files is None or isinstance(files, list) else _shown(files)
    free = denoiser.header.box is not None and not denoiser.header.bonds  # which random places are a start for
    start = "--replicas 4" if free else f"--start {where or 'FRAMES'}"
    say(f"next: openmm-diffusion simulate {output} --output {output}-md --duration 100 {start}")
    if where is None and not frames and settings.data.trajectory is not None:
        where = _shown(config)  # which tells the trajectories
    if where is not None:
        say(f"then: openmm-diffusion evaluate {output}-md {where} --output {output}-evaluation")
    say_report(output)


def _shown(path):
    """A path as one would type it from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@command(PANEL, "refine runs/mine/model.safetensors examples/licl/licl.npz --output runs/refined")
def refine(
    model: Annotated[str, typer.Argument(help="Model file with linear energies, or directory of a training.")],
    frames: Annotated[Path, typer.Argument(help="File of the frames it was trained on, or YAML of the training.")],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with the settings.")] = None,
    iterations: Annotated[
        Optional[int], typer.Option(help="Rounds of MD and step, before those of --config.", show_default="1")
    ] = None,
    temperature: Annotated[
        Optional[float], typer.Option(help="Temperature of frames that do not say, K.", show_default="what they say")
    ] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    resume: Resume = False,
):
    """Give the linear energies of a model the relative populations of the data: MD, then a step."""
    from ..settings import read_yaml, validated
    from ..workflows.refine import RefineConfig
    from ..workflows.refine import refine as run

    settings = read_yaml(config) if config else {}
    if iterations is not None:
        settings["iterations"] = iterations
    settings = validated(RefineConfig, settings, str(config or "options"))
    with connected(scheduler, workers) as client:
        run(found_model(model), found_frames(frames, temperature), output, settings, resume, say, client)
    say(output / "model.safetensors")
