"""Sets of frames: who trains, who validates, who is kept apart; resampled, in blocks, and joined from runs."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import rundirectory
from ..particles import atom_types
from ..units import picoseconds, shown
from .frames import Frames
from .readers import read_frames
from .trajectories import read_topology, read_trajectory

#: Parts of the frames that are kept out of everything, and of the rest to validate with, where nobody says.
TEST_FRACTION, VALIDATION_FRACTION = 0.3, 0.15
#: Files of a run that are its trajectory, and its topology.
TRAJECTORY, TOPOLOGIES = re.compile(r"trajectory(-\d+)?\.(dcd|xtc|h5)"), ("topology.pdb", "topology.cif")
#: Temperature (K) where it plays no part.
ANY_TEMPERATURE = 300.0


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
    return part.renumbered(numbers)


def blocks(frames: Frames, n_blocks: int) -> list[Frames]:
    """The replicas of frames, or contiguous stretches of a single one: sets that are nearly independent."""
    numbers = np.unique(frames.replica)
    if len(numbers) > 1:
        return [frames[frames.replica == number] for number in numbers]
    return [frames[rows] for rows in np.array_split(np.arange(len(frames)), n_blocks) if len(rows)]


@dataclass(frozen=True)
class Run:
    """A trajectory, and what the directory that it lies in tells of it.

    Attributes
    ----------
    path : path
    top : path or None
    interval : float, ps, or None
        Between saved frames.
    model : str or None
        Digest of the model that made it.
    """

    path: Any
    top: Any = None
    interval: float | None = None
    model: str | None = None

    def skipped(self, discard: float) -> int:
        """Number of the frames of the first `discard` ps."""
        if discard > 0 and self.interval is None:
            raise ValueError(
                f"interval is missing: to discard {discard:g} ps of each run, give the ps between saved frames"
            )
        return round(discard / self.interval) if self.interval is not None and discard > 0 else 0

    def kept(self, frames: Frames, skip: int) -> Frames:
        """The frames of the run without the first so many."""
        if len(frames) <= skip:
            raise ValueError(
                f"{self.path} has {len(frames)} frames and {skip} are discarded: run longer, or discard less"
            )
        return frames[skip:]


def runs_in(
    trajectories: Iterable[str | os.PathLike[str]],
    top: str | os.PathLike[str] | None = None,
    interval: float | None = None,
) -> list[Run]:
    """Trajectories by their files, or by the directories of their runs, which tell topology, interval and model.

    A directory may also hold those of several runs, run-0, run-1 and so on.

    Parameters
    ----------
    trajectories : list of path
    top, interval : path or float (ps), optional
        They hold for all, whatever directories tell.

    Raises
    ------
    ValueError
        For a directory without a trajectory.
    """
    found = []
    for path in trajectories:
        if not isinstance(path, (str, os.PathLike)) or not Path(path).is_dir():
            found.append(Run(path, top, interval))
            continue
        folder = Path(path)
        files = sorted(file for file in folder.iterdir() if TRAJECTORY.fullmatch(file.name))
        several = sorted((part for part in folder.glob("run-*") if part.is_dir()), key=_number)
        if not files and not several:
            raise ValueError(
                f"{folder} is a directory without a trajectory: name one that simulate wrote, or its files"
            )
        if not files:
            found += runs_in(several, top, interval)
            continue
        told = rundirectory.asked_for(folder)
        own = next((folder / name for name in TOPOLOGIES if (folder / name).exists()), None)
        chosen = told.get("interval") if interval is None else interval
        found += [Run(file, own if top is None else top, chosen, told.get("model")) for file in files]
    return found


def _number(folder: Path) -> tuple[int, str]:
    digits = folder.name.partition("-")[2]
    return int(digits) if digits.isdigit() else 0, folder.name


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

    They are named by their files or directories, see `runs_in`.  Particles are known by their element if the `known`
    types are elements (`elemental`), else by name.  Where they are of molecules (`bonded`), these may have broken: that
    is for the caller to see, and no reason to refuse the file.
    """
    discard = picoseconds(discard, "discard", at_least=0)
    interval = None if interval is None else picoseconds(interval, "interval", above=0)
    parts = []
    for run in runs_in(trajectories, topology, interval):
        skip = run.skipped(discard)
        types = types_in(run.path, run.top, known, elemental)
        fields = read_trajectory(run.path, run.top, types=types, temperature=temperature, check=not bonded)
        frames = Frames(temperature=temperature, **fields)
        parts.append(run.kept(frames, skip))
    return Frames.concatenate(parts)


def labelled_sets(
    named: Sequence[str],
    top: str | os.PathLike[str] | None = None,
    select: str = "all",
    types: str | list[str] = "element",
    box: Any = None,
    discard: float = 0.0,
    interval: float | None = None,
) -> dict[str, Frames]:
    """Sets of frames by label, of things written LABEL=PATH; what has no label is the set "".

    Parameters
    ----------
    named : list of str
        Each PATH a file of frames, a trajectory or the directory of a run; those of one label are one set, one
        replica each, but a file of frames is a set alone.
    top, select, types, box
        Of trajectories, as of `Frames.from_trajectory`.
    discard, interval : float, ps
        As of `read_runs`; not of files of frames.

    Raises
    ------
    ValueError
        For sets with labels beside some without, and a file of frames beside others of its label.
    """
    discard = picoseconds(discard, "discard", at_least=0)
    paths: dict[str, list[Path]] = {}
    for text in named:
        label, sign, path = ("", "", text) if Path(text).exists() else text.partition("=")
        paths.setdefault(label if sign else "", []).append(Path(path if sign else text))
    if "" in paths and len(paths) > 1:
        raise ValueError(f"{paths[''][0]} has no label, but others have: write LABEL={paths[''][0]}")
    return {label: _one_set(files, top, select, types, box, discard, interval) for label, files in paths.items()}


def _one_set(
    paths: list[Path],
    top: str | os.PathLike[str] | None,
    select: str,
    types: str | list[str],
    box: Any,
    discard: float,
    interval: float | None,
) -> Frames:
    """Frames of one file of them, or of runs; their temperature plays no part."""
    of_frames = [path for path in paths if path.suffix == ".npz"]
    if of_frames and len(paths) > 1:
        raise ValueError(f"{of_frames[0]} is a file of frames beside others of its set: give it a label of its own")
    if of_frames:
        told = read_frames(of_frames[0])["temperature"]
        return Frames.load(of_frames[0], ANY_TEMPERATURE if told is None else None, box=box)
    parts = []
    for run in runs_in(paths, top, interval):
        skip = run.skipped(discard)
        frames = Frames.from_trajectory(
            [run.path], top=run.top, select=select, temperature=ANY_TEMPERATURE, types=types, box=box
        )
        parts.append(run.kept(frames, skip))
    return Frames.concatenate(parts)
