"""States of runs on disk: read as States and nothing else, whoever wrote the file."""

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openmm

from .. import rundirectory


def read_state(path: str | os.PathLike[str], given: bool = False) -> openmm.State:
    """The State of an XML file: the checkpoint of a run, or one that was `given` by a user.

    OpenMM makes of XML whatever the file says it is: a System too, with a PythonForce, which is a program.  So
    what the file says it is comes first.

    Raises
    ------
    ValueError
        For a damaged file, and one that holds something else.
    """
    path = Path(path)
    if given and not path.is_file():
        raise FileNotFoundError(f"state is {path}, but there is no such file: give a State, as saveState writes it")
    try:
        with open(path, "rb") as file:
            _, root = next(ElementTree.iterparse(file, events=("start",)))
    except (ElementTree.ParseError, StopIteration) as error:
        raise _damaged(path, given) from error
    if root.tag != "State" or root.get("type") != "State":
        kind = root.get("type") or root.tag
        remedy = "give a State, as saveState writes it" if given else "it is not of this run, do not use it"
        raise ValueError(f"{path} holds a {kind}, no State: {remedy}")
    try:
        state = openmm.XmlSerializer.deserialize(path.read_text())
        state.getPositions()
    except (openmm.OpenMMException, UnicodeDecodeError, TypeError, ValueError) as error:
        raise _damaged(path, given) from error
    return state


def write_state(path: str | os.PathLike[str], state: openmm.State) -> None:
    """Write a State, whole or not at all: as XML, it can be resumed on another platform or machine."""
    rundirectory.write_whole(path, openmm.XmlSerializer.serialize(state))


def _damaged(path: Path, given: bool) -> ValueError:
    if given:
        return ValueError(f"{path} is damaged, or has no positions: give a State, as saveState writes it")
    return ValueError(
        f"{path} is damaged: copy a whole one back, or delete the directory {path.parent} and begin again"
    )
