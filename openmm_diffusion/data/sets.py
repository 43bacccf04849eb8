"""Sets of frames: who trains, who validates, who is kept apart; resampled, in blocks, and joined from runs."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..particles import atom_types
from ..units import picoseconds, shown
from .frames import Frames
from .trajectories import read_topology, read_trajectory

#: Parts of the frames that are kept out of everything, and of the rest to validate with, where nobody says.
TEST_FRACTION, VALIDATION_FRACTION = 0.3, 0.15


def as_frames(value: Any, argument: str = "frames") -> Frames:
    """What a caller gives as frames, if that is what it is."""
    if not isinstance(value, Frames):
        raise TypeError(
            f"{argument} is {shown(value)}: give Frames, as Frames.load or Frames.from_trajectory make them"
        )
    return value


def divide(
    frames: Frames,
    test_fraction: float = TEST_FRACTION,
    validation_fraction: float = VALIDATION_FRACTION,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[Frames, Frames | None, Frames | None]:
    """Training, validation and test frames; the last two may be None.

    Parameters
    ----------
    frames : Frames
    test_fraction : float
        Kept out of everything.
    validation_fraction : float
        Share of the rest to validate with.
    limit : int or None
        Use at most so many frames for training and validation together, evenly over all runs.
    seed : int
        Seed of the choice of replicas, see `Frames.split`.
    """
    rest, test = (frames, None) if test_fraction == 0 else frames.split(test_fraction, seed)
    if limit is not None and limit < len(rest):
        # Evenly over all runs: as independent as so many frames can be.
        rest = rest[np.linspace(0, len(rest) - 1, limit).round().astype(int)]
    if validation_fraction == 0:
        return rest, None, test
    training, validation = rest.split(validation_fraction, seed + 2)
    return training, validation, test


def digest(systems: Sequence[Frames]) -> str:
    """One digest for the frames of one system, or of several in this order."""
    digests = [frames.digest() for frames in systems]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def saw(data: Mapping[str, Any], frames: Frames) -> bool:
    """Whether a training that describes its frames by `data`, as the header of a model does, saw these frames."""
    systems = data.get("systems", [data])
    return frames.digest() in [system.get("digest") for system in systems]


def trained_on(data: Mapping[str, Any], frames: Frames) -> Frames:
    """The frames that such a training used of those it saw; all of them, where it saw others."""
    if not saw(data, frames):
        return frames
    keys = ("test_fraction", "validation_fraction", "limit", "seed")
    return divide(frames, **{key: data[key] for key in keys if key in data})[0]


def kept_apart(data: Mapping[str, Any], frames: Frames) -> tuple[Frames, Frames | None] | None:
    """The frames that such a training kept apart of those it saw, and the rest: (rest, apart).

    None where it saw other frames; apart is None where it kept none.
    """
    if not saw(data, frames):
        return None
    return frames.split(data["test_fraction"], data["seed"]) if data["test_fraction"] else (frames, None)


def resampled(frames: Frames, seed: int) -> Frames:
    """A bootstrap sample of frames: whole replicas, or tenths of a single run, drawn with replacement.

    What is drawn twice is there twice under one replica number, so that no fold of a
    cross-validation holds a copy of a frame of another.  At least two are different.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(frames.replica == number) for number in np.unique(frames.replica)]
    if len(groups) == 1:
        groups = [rows for rows in np.array_split(groups[0], 10) if len(rows)]
    if len(groups) < 2:
        raise ValueError("ensemble.bootstrap needs at least two training frames to draw from: give more frames")
    chosen: Any = [0]
    while len(set(chosen)) < 2:
        chosen = rng.integers(len(groups), size=len(groups))
    part = frames[np.concatenate([groups[number] for number in chosen])]
    numbers = np.concatenate([np.full(len(groups[number]), number) for number in chosen])
    return replace(part, replica=numbers)


def blocks(frames: Frames, n_blocks: int) -> list[Frames]:
    """The replicas of frames, or contiguous stretches of a single one: sets that are nearly independent."""
    numbers = np.unique(frames.replica)
    if len(numbers) > 1:
        return [frames[frames.replica == number] for number in numbers]
    return [frames[rows] for rows in np.array_split(np.arange(len(frames)), n_blocks) if len(rows)]


def types_in(
    trajectory: str | os.PathLike[str], top: str | os.PathLike[str] | None, known: Sequence[str], elemental: bool
) -> str | list[str]:
    """What `Frames.from_trajectory` must be told of the types, for particles to be called as those `known` are."""
    if elemental:
        return "element"
    return atom_types(read_topology(trajectory, top).atoms, known=known, elements=False)


def read_runs(
    trajectories: Iterable[str | os.PathLike[str]],
    topology: str | os.PathLike[str] | None,
    temperature: float,
    discard: float,
    interval: float | None,
    known: Sequence[str],
    elemental: bool,
    bonded: bool = False,
) -> Frames:
    """Independent runs as one set of Frames, one replica each, the first `discard` ps of each left out.

    Particles are known by their element if the `known` types are elements (`elemental`), else by name.
    Where they are of molecules (`bonded`), these may have broken: that is for the caller to see, and no reason to
    refuse the file.
    """
    discard = picoseconds(discard, "discard", at_least=0)
    interval = None if interval is None else picoseconds(interval, "interval", above=0)
    if discard > 0 and interval is None:
        raise ValueError(
            f"interval is missing: to discard {discard:g} ps of each run, give the ps between saved frames"
        )
    skip = round(discard / interval) if interval is not None and discard > 0 else 0
    parts = []
    for path in trajectories:
        types = types_in(path, topology, known, elemental)
        fields = read_trajectory(path, topology, types=types, temperature=temperature, check=not bonded)
        run = Frames(temperature=temperature, **fields)
        if len(run) <= skip:
            raise ValueError(f"{path} has {len(run)} frames and {skip} are discarded: run longer, or discard less")
        parts.append(run[skip:])
    return Frames.concatenate(parts)
