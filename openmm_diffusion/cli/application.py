"""The program `openmm-diffusion`: how commands are made, how loud they are, and how they end."""

import contextlib
import functools
import inspect
import logging
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Optional

import typer
import typer.core

from .. import rundirectory

NAME = "openmm-diffusion"
#: Commands in the order of the help, that in which they are first needed.
ORDER = (
    "init", "coarsen", "generate", "train", "simulate", "sample", "evaluate", "rdf", "report", "refine", "distil",
    "combine", "export", "compile", "benchmark",
)  # fmt: skip

log = logging.getLogger("openmm_diffusion")


class Commands(typer.core.TyperGroup):
    """Commands whose ends are told in words of ours; the object of their context is an `Interruption`."""

    def list_commands(self, ctx):
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def make_context(self, info_name, args, parent=None, **more):
        with more.get("obj") or contextlib.nullcontext():
            return super().make_context(info_name, args, parent, **more)

    def invoke(self, ctx):
        try:
            with ctx.obj or contextlib.nullcontext():
                return super().invoke(ctx)
        except EOFError as error:  # typer would say "Aborted."
            raise RuntimeError("a file ended before it was read: look for an empty one") from error


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Molecular dynamics potentials for OpenMM, learnt by denoising equilibrium configurations.",
    epilog=f"Example: {NAME} simulate licl --output runs/md --duration 10",
)  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and where in the program an error arose.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Directory of the run.")]
Scheduler = Annotated[
    Optional[str],
    typer.Option(help="Address of a Dask scheduler, tcp://host:8786, whose workers do the work.", show_default="none"),
]
Workers = Annotated[
    Optional[int], typer.Option(help="Processes on this machine that do the work.", show_default="this one alone")
]
Resume = Annotated[bool, typer.Option(help="Go on with the run in --output.")]
MODEL = "Model file, directory of a training, or name of a shipped model, such as licl, water or alanine."


def _tell_version(asked):
    if asked:
        from importlib.metadata import version

        typer.echo(f"{NAME} {version('openmm_diffusion')}")
        raise typer.Exit()


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell the version and end.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
):
    loudness(quiet, verbose)


def loudness(quiet, verbose):
    """Set what is said: warnings alone, or everything; what neither asks for stays as it is."""
    if quiet and verbose:
        raise ValueError("quiet and verbose are both given: keep one of them")
    if quiet or verbose:
        log.setLevel(logging.WARNING if quiet else logging.DEBUG)


def heard():
    """Whether anything but warnings is to be said: progress, sentences, tables."""
    return log.isEnabledFor(logging.INFO)


def say(text=""):
    """Text on standard output, unless the command is to be quiet."""
    if heard():
        _clear()
        typer.echo(text)


def command(panel, example, name=None):
    """Decorator of a function that becomes a command, with an example in its help, and --quiet and --verbose.

    Parameters
    ----------
    panel : str
        Heading of the list of commands that it stands under.
    example : str
        A line that runs, without the name of the program.
    name : str, optional
        Where it is not that of the function.
    """

    def made(function):
        @functools.wraps(function)
        def called(*args, quiet, verbose, **given):
            loudness(quiet, verbose)
            return function(*args, **given)

        more = {"quiet": Quiet, "verbose": Verbose}
        parameters = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for key, kind in more.items()
        ]
        signature = inspect.signature(function)
        called.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *parameters])
        called.__annotations__ = {**function.__annotations__, **more}
        app.command(name, rich_help_panel=panel, epilog=f"Example: {NAME} {example}")(called)
        return function

    return made


def found_model(model):
    """The file of a model that is named by itself, by the directory of its training, or by that of a run under it."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    if (folder / "model.safetensors").exists():
        return folder / "model.safetensors"
    told = rundirectory.asked_for(folder).get("model_file")
    if told is None:
        raise ValueError(f"model is {model}, a directory that names no model: give a model file")
    if not Path(told).exists() and Path(told).is_absolute():
        raise FileNotFoundError(f"{model} was run under {told}, which is not there any more: give the model file")
    return told


def found_frames(path, temperature=None):
    """Frames that are named by their file, or by the configuration of a training on them, such as of trajectories."""
    from ..data.frames import Frames
    from ..learning.config import read_config
    from ..learning.trainingset import frames_of

    suffix = Path(path).suffix.lower()
    if suffix in (".yaml", ".yml"):
        if temperature is not None:
            raise ValueError(f"temperature is {temperature:g} K, but {path} tells that of its frames: leave it out")
        found = frames_of(read_config(path).data)
        if len(found) > 1:
            raise ValueError(f"frames is {path}, of {len(found)} systems: name the file of frames of one of them")
        return found[0]
    if Path(path).is_file() and suffix not in (".npz", ".xyz", ".extxyz", ".traj"):
        raise ValueError(
            f"frames is {path}: name a file of frames (npz, extxyz), or the configuration of a training (YAML), whose "
            "data.trajectory and data.top name trajectories (init writes one)"
        )
    return Frames.load(path, temperature)


def written(directory):
    """Names of the tables and pictures in a directory, in one line."""
    return ", ".join(sorted(path.name for path in directory.glob("*.*") if path.suffix in (".csv", ".png", ".yaml")))


def say_report(directory):
    """How to get a page about what was just written."""
    say(f"page: {NAME} report {shlex.quote(str(directory))}")


def _clear():
    """Take away a bar of progress that stands on the terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


class _Lines(logging.StreamHandler):
    """Lines of the log, which begin where a bar of progress stands on a terminal."""

    def emit(self, record):
        _clear()
        super().emit(record)


def _sentence(error):
    """What an error says, on one line; its kind, where it says nothing."""
    told = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{kind} without a word: report it with the command" if told in ("", "<NULL>") else told


#: A user's mistakes, and what machines refuse.  OpenMM is not imported for the name of its own.
TOLD = (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, ImportError)


def main(interruption=None):
    """A user's mistake ends in one sentence, not in a traceback; an `Interruption` may have taken the signals over."""
    if interruption is None:
        interruption = rundirectory.Interruption()
        interruption.install()
    # Threads of torch that wait turning in circles take the cores from other programs: on a busy machine two of them
    # trained a small network ten times slower than one.  Its library reads this when torch is imported, later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", handlers=[_Lines(sys.stderr)])
    logging.getLogger("torch").setLevel(logging.WARNING)
    try:
        with rundirectory.explained("output"):
            app(obj=interruption)
    except MemoryError as error:
        typer.echo("error: this needs more memory than there is: give fewer particles, frames or replicas", err=True)
        raise SystemExit(1) from error
    except Exception as error:
        if not isinstance(error, TOLD) and type(error).__name__ != "OpenMMException":
            raise
        if log.isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        typer.echo(f"error: {_sentence(error)}", err=True)
        raise SystemExit(1) from error
