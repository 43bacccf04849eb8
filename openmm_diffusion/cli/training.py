"""Commands that make a model from frames: train, refine."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .application import Output, Resume, command, found_model, heard, say

PANEL = "From frames to a model"


@command(PANEL, "train examples/licl/licl.yaml --output runs/mine")
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, such as examples/licl/licl.yaml.")],
    output: Output,
    frames: Annotated[
        Optional[list[Path]],
        typer.Option(help="File of frames, in place of data.frames of CONFIG; repeat for several systems."),
    ] = None,
    resume: Resume = False,
):
    """Learn a denoiser from configurations: writes model.safetensors, log and loss picture."""
    from ..data.frames import Frames
    from ..figures.training import loss_figure
    from ..learning.config import read_config
    from ..learning.training import train as run

    settings = read_config(config)
    given = [Frames.load(path, settings.data.temperature) for path in frames or []] or None
    denoiser = run(given, settings, output, resume, progress=heard())
    metrics = output / "log" / "metrics.csv"
    if metrics.exists():
        loss_figure(metrics, output / "loss.png")
    kinds = [term.kind for term in denoiser.header.terms]
    parts = [kind if kinds.count(kind) == 1 else f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    say(f"{output / 'model.safetensors'}: {' + '.join(parts)}")


@command(PANEL, "refine runs/mine/model.safetensors examples/licl/licl.npz --output runs/refined")
def refine(
    model: Annotated[str, typer.Argument(help="Model file with linear energies, or directory of a training.")],
    frames: Annotated[Path, typer.Argument(help="File of the frames it was trained on.")],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with the settings.")] = None,
    iterations: Annotated[
        Optional[int], typer.Option(help="Rounds of MD and step, before those of --config.", show_default="1")
    ] = None,
    temperature: Annotated[
        Optional[float], typer.Option(help="Temperature of frames that do not say, K.", show_default="what they say")
    ] = None,
    resume: Resume = False,
):
    """Give the linear energies of a model the relative populations of the data: MD, then a step."""
    from ..data.frames import Frames
    from ..settings import read_yaml, validated
    from ..workflows.refine import RefineConfig
    from ..workflows.refine import refine as run

    settings = read_yaml(config) if config else {}
    if iterations is not None:
        settings["iterations"] = iterations
    settings = validated(RefineConfig, settings, str(config or "options"))
    run(found_model(model), Frames.load(frames, temperature), output, settings, resume, say)
    say(output / "model.safetensors")
