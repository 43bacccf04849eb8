"""Commands that make other models and files of a model: combine, distil, export."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from .application import MODEL, Output, command, found_frames, found_model, say

PANEL = "From a model to others"


@command(PANEL, "combine runs/a/model.safetensors runs/b/model.safetensors --output mean.safetensors")
def combine(
    models: Annotated[list[Path], typer.Argument(help="Model files of one system.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    extrapolate: Annotated[bool, typer.Option(help="To no noise, from different noise levels.")] = False,
):
    """One model from several: the mean of an ensemble, or an extrapolation of noise levels to none (Richardson)."""
    from ..model.combination import ensemble, extrapolated
    from ..model.denoiser import Denoiser
    from ..model.pressure import mean_pressure

    if output.suffix != ".safetensors":
        raise ValueError(f"output is {output}: give a name that ends in .safetensors")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}: there is no directory {output.parent}; make it first")
    parts = [Denoiser.load(found_model(path)) for path in models]
    if extrapolate:
        combined = extrapolated(parts)
    else:
        combined = ensemble(parts).with_held_out(mean_pressure([part.header for part in parts]))
    combined.save(output)
    weights = ", ".join(f"{term.weight:.3g} x {term.kind} at {term.sigma:g} nm" for term in combined.header.learnt)
    say(f"{output}: {weights}")


@command(PANEL, "distil licl examples/licl/licl.npz --output runs/distilled")
def distil(
    model: Annotated[str, typer.Argument(help=MODEL)],
    frames: Annotated[
        Path,
        typer.Argument(help="File of configurations of its ensemble: the training's, best; or YAML of the training."),
    ],
    output: Output,
    config: Annotated[Optional[Path], typer.Option(help="YAML file with a section for each energy to fit.")] = None,
    cutoff: Annotated[
        Optional[float], typer.Option(help="Of the pair potential, nm.", show_default="that of the model")
    ] = None,
    temperature: Annotated[
        Optional[float], typer.Option(help="Temperature of frames that do not say, K.", show_default="what they say")
    ] = None,
):
    """Fit the best linear energies to a model's learnt force, and say what is lost: model, table and picture."""
    from ..evaluation.tables import readable
    from ..figures.training import distillation_figure
    from ..settings import read_yaml
    from ..workflows.distillation import distil as run
    from ..workflows.distillation import write

    energies = read_yaml(config) if config else None
    result = run(found_model(model), found_frames(frames, temperature), energies=energies, cutoff=cutoff)
    write(result, output)
    if len(result.curves):
        distillation_figure(result.curves, output / "distillation.png", result.table)
    say(f"\n{readable(result.table)}\n")
    say(f"Fitted on {result.fitted} frames; the table is of {result.apart} frames kept apart.")
    curves = ", distillation.png, pair.csv" if len(result.curves) else ""
    say(f"{output}: model.safetensors, distillation.csv{curves}")


@command(PANEL, "export runs/distilled/model.safetensors --output runs/exported")
def export(
    model: Annotated[str, typer.Argument(help=MODEL)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the files.")],
    top: Annotated[
        Optional[Path], typer.Option(help="File of particles and box (PDB).", show_default="those of the training")
    ] = None,
    format: Annotated[str, typer.Option(help="native (pair potentials), torchscript or lammps.")] = "native",
):
    """Write a model for scripts that do without this package: System XML, curves or TorchScript, or LAMMPS tables."""
    from ..workflows.export import export as run
    from ..workflows.export import read_pdb

    topology, positions = (None, None) if top is None else read_pdb(top)
    run(found_model(model), topology, output, format=format, positions=positions)
    say(f"{output}: " + ", ".join(sorted(p.name for p in output.iterdir())))
