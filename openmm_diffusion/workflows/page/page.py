"""One page about runs, in HTML that needs nothing but itself, and its pictures beside it."""

import base64
import datetime
import os
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2

from ... import rundirectory
from ...evaluation.record import versions
from ...units import shown
from .cautions import summary_section, tone, verdict_line, warnings_section
from .commands import files_section, repeat_section
from .compared import compared_sections
from .health import health_of, health_sections, structure_alone
from .learnt import model_sections
from .runs import SIMULATION, found_runs

#: The page, and the folder of its pictures.
PAGE, PICTURES = "report.html", "report"
#: Pixels of a picture to one of the page: letters of both are as large then.
DENSITY = 1.5


def write_page(runs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str] | None = None) -> Path:
    """Write a page about runs: report.html, and its pictures in report/, which are in the page too.

    Runs are read and never changed; they may be unfinished, and at work.

    Parameters
    ----------
    runs : list of path
        Directories that `train`, `simulate`, `evaluate`, `refine` or `distil` wrote.  What they name is followed: the
        MD and the model of an evaluation, the model of a simulation, the training that a model lies in.
    output : path, optional
        Directory of the page; None: the first of the runs.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, ValueError
        For what is no run of ours, and tables that are damaged; nothing is written then.
    """
    if isinstance(runs, (str, os.PathLike)) or not isinstance(runs, Sequence):
        raise TypeError(f"runs is {shown(runs)}: give a list of directories")
    if not runs:
        raise ValueError("runs is empty: name the directory of a run")
    for run in runs:
        if not isinstance(run, (str, os.PathLike)):
            raise TypeError(f"run is {shown(run)}: give the path of a directory")
    output = Path(runs[0]) if output is None else rundirectory.named(output)
    found = found_runs(runs)
    written = [output.resolve() / PAGE, output.resolve() / PICTURES]
    healths = {run.path: health_of(run, found.model_of(run)) for run in found.of(SIMULATION)}
    sections = [
        summary_section(found, healths),
        warnings_section(found, healths),
        *model_sections(found),
        *compared_sections(found, structure_alone(found, healths)),
        *health_sections(found, healths),
        repeat_section(found),
        files_section(found, written),
    ]
    title = " and ".join(Path(run).resolve().name for run in runs)
    with tempfile.TemporaryDirectory() as folder:
        pictures = _drawn(sections, Path(folder))
    page = _rendered(title, (verdict_line(found), tone(found)), sections, pictures)
    with rundirectory.explained(output, "or name another directory (--output)"):
        folder = rundirectory.made(rundirectory.made(output) / PICTURES)
        for name, content in pictures.items():
            rundirectory.write_whole(folder / f"{name}.png", content)
        rundirectory.write_whole(output / PAGE, page)
    return output / PAGE


def _drawn(sections, folder):
    """The PNG of every picture, by its name."""
    pictures = {}
    for section in sections:
        for block in section.blocks:
            if block.form == "picture":
                path = folder / f"{block.name}.png"
                block.draw(path)
                pictures[block.name] = path.read_bytes()
    return pictures


def _rendered(title, verdict, sections, pictures):
    """The page as bytes; whatever names the runs bring along is text in it and nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_printable,
    )  # fmt: skip
    embedded = {name: (base64.b64encode(content).decode(), *_shown_size(content)) for name, content in pictures.items()}
    text = environment.get_template("page.html").render(
        title=title, verdict=verdict, sections=sections, pictures=embedded, folder=PICTURES,
        version=versions()["openmm_diffusion"], now=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )  # fmt: skip
    return text.encode("utf-8", "replace")


def _shown_size(content):
    """Width and height at which a PNG is shown, in pixels of a page."""
    return tuple(round(number / DENSITY) for number in struct.unpack(">II", content[16:24]))


def _printable(value):
    """Text without what no page may hold: control characters, and halves of letters from names of files."""
    if not isinstance(value, str) or type(value) is not str:
        return value
    return "".join(
        letter if letter.isprintable() or letter in "\n\N{NO-BREAK SPACE}" else "\N{REPLACEMENT CHARACTER}"
        for letter in value
    )
