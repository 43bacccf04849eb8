"""What a page is made of: sections of sentences, tables, pictures and commands, as data that the template draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lines:
    """Sentences.

    Attributes
    ----------
    sentences : list of str
    tone : str
        "plain"; "list"; "missing", of what is not known and what would tell it; "agrees", "differs" or "open".
    """

    sentences: Sequence[str]
    tone: str = "plain"
    form: str = field(default="lines", init=False)


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption.

    Attributes
    ----------
    caption : str
    columns : list of str
        With their units.
    rows : list of list of str
    numbers : bool
        Whether all but the first column are set as numbers.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: bool = True
    form: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn when the page is written.

    Attributes
    ----------
    name : str
        Of its file, without the ending; one of a kind on a page.
    caption, alt : str
        What it shows, and what is told to whom it cannot be shown.
    draw : callable
        Writes the PNG under the path that it is given.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[Path], Any]
    form: str = field(default="picture", init=False)


@dataclass(frozen=True)
class Commands:
    """Lines for a shell, and what has to be known of them."""

    lines: Sequence[str]
    form: str = field(default="commands", init=False)


@dataclass(frozen=True)
class Heading:
    """What a part of a section is about."""

    text: str
    form: str = field(default="heading", init=False)


@dataclass(frozen=True)
class Section:
    """A part of the page with a place in its table of contents."""

    name: str
    title: str
    blocks: Sequence[Any]


def missing(sentence):
    """What is not known, in the place where it would stand."""
    return Lines([sentence], "missing")
