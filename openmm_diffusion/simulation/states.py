"""States of runs on disk: read as States and nothing else, whoever wrote the file."""

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
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
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise _damaged(path, given) from error
    if root.tag != "State" or root.get("type") != "State":
        kind = root.get("type") or root.tag
        remedy = "give a State, as saveState writes it" if given else "it is not of this run, do not use it"
        raise ValueError(f"{path} holds a {kind}, no State: {remedy}")
    try:
        # What was looked at and no other text: OpenMM takes a System in a processing instruction for the first element.
        state = openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))
        state.getPositions()
    except (openmm.OpenMMException, AttributeError, TypeError, ValueError) as error:
        raise _damaged(path, given) from error
    return state


def write_state(path: str | os.PathLike[str], state: openmm.State) -> None:
    """Write a State, whole or not at all: as XML, it can be resumed on another platform or machine."""
    rundirectory.write_whole(path, openmm.XmlSerializer.serialize(state))


def noise_seed(seed: int, done: int) -> int:
    """Seed of OpenMM's random numbers from a step on: of new ones where a run goes on, for a State holds none.

    Never 0, which OpenMM takes for chance.
    """
    if seed and not done:
        return seed
    return int(np.random.SeedSequence([seed, done]).generate_state(1)[0] % (2**31 - 2)) + 1


def _damaged(path: Path, given: bool) -> ValueError:
    if given:
        return ValueError(f"{path} is damaged, or has no positions: give a State, as saveState writes it")
    return ValueError(
        f"{path} is damaged: copy a whole one back, or delete the directory {path.parent} and begin again"
    )


def go_on(simulation, state, done):
    """Put a simulation where a State of it was, `done` steps from its beginning."""
    context = simulation.context
    context.setState(state)
    # A Context whose positions come from a State alone ends the process in its first PythonForce (OpenMM 8.5).
    context.setPositions(context.getState(positions=True).getPositions(asNumpy=True))
    simulation.currentStep = done
