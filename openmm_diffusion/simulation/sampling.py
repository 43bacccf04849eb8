"""Independent runs of one model, side by side: the frames of its own ensemble."""

import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from .. import rundirectory
from ..cluster import checked, mapped
from ..data.sets import read_runs
from ..forces.platforms import default_platform
from ..model.denoiser import Denoiser
from ..progress import Progress
from ..units import count
from .langevin import LOOK, configured, simulate
from .trajectories import topology_path

#: Runs of one ensemble at most, beyond which a number is a slip.
MOST = 10_000


class SamplingConfig(BaseModel):
    """Several runs from different starts.

    Attributes
    ----------
    runs : int
    duration, discard, interval, timestep : float, ps
        Each run's length, start that is left out, time between frames, and time step.
    platform : str or None
        Of OpenMM; None: its fastest.  On the CPU, each run has one core.
    seed : int
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    runs: PositiveInt = Field(8, le=MOST)
    duration: PositiveFloat = Field(210.0, le=1e12)
    discard: NonNegativeFloat = 10.0
    interval: PositiveFloat = 0.5
    timestep: PositiveFloat = 0.005
    platform: str | None = None
    seed: NonNegativeInt = Field(1, lt=2**31)

    @model_validator(mode="after")
    def some_frames(self):
        """What is discarded must leave frames, and frames must fall on steps."""
        if not self.discard + self.interval <= self.duration:
            raise ValueError(
                f"duration is {self.duration:g} ps: with discard {self.discard:g} ps and interval {self.interval:g} ps "
                "no frame is left"
            )
        steps = self.interval / self.timestep
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
            raise ValueError(f"interval is {self.interval:g} ps: give a multiple of timestep, {self.timestep:g} ps")
        return self


class Together(Progress):
    """Progress of runs side by side, of which some go on from where they were."""

    def __init__(self, what, total):
        super().__init__(what, total, "ps")
        self.seen = {}

    def at(self, come, more=""):
        """Runs, by number, are at these times (ps)."""
        for number, time in come.items():
            if number not in self.seen:
                self.first += time
                self.seen[number] = time
        super().at(sum(come.values()), more)


@dataclass(frozen=True)
class Run:
    """One of several runs.

    Attributes
    ----------
    model : Denoiser, or path or name of one, or the content of its file
    directory : Path
        Gone on with where it was begun.
    settings : SimulationConfig or dict
    positions : array, shape (n_particles, 3), nm, or None
    """

    model: Any
    directory: Path
    settings: Any
    positions: np.ndarray | None = None

    def made(self, **more):
        """The path of its trajectory; with `more` of `simulate`."""
        model = Denoiser.from_bytes(self.model) if isinstance(self.model, bytes) else self.model
        begun = (self.directory / rundirectory.SETTINGS).exists()
        return simulate(model, self.directory, self.settings, resume=begun, positions=self.positions, **more)


def simulate_runs(model, output, config=None, runs=4, resume=False, client=None, report=None):
    """Independent runs of one model, side by side: what gives g(r) its error.

    Parameters
    ----------
    model : path, name or Denoiser
    output : path
        Receives run-0/, run-1/, ..., each as `simulate` leaves it.
    config : SimulationConfig, path of a YAML file or dict, optional
        Of each run; the seed is that of the first, and one more for each other.  A start is that of all.
    runs : int
    resume : bool
        Go on with those in `output`, and begin those that are not there yet.
    client : distributed.Client, optional
        Whose workers simulate, a run each; they must see `output` as this machine does.  With a run whose worker dies
        another goes on.  None: threads of this process, one on each core.
    report : callable, optional
        Called with one line of text when a run is finished.

    Returns
    -------
    list of Path
        Of the trajectories.

    Raises
    ------
    FileExistsError
        If runs are in `output` already, and none is to be gone on with.
    ValueError
        As `simulate`.
    """
    runs, config, output = count(runs, "runs", at_most=MOST), configured(config), rundirectory.named(output)
    if config.replicas > 1:
        raise ValueError(
            f"replicas is {config.replicas} and runs {runs}: give one of them, for copies in one System or for runs "
            "side by side"
        )
    if config.seed + runs > 2**31:
        raise ValueError(f"seed is {config.seed}: with {runs} runs give at most {2**31 - runs}, each has one more")
    checked(client)
    directories = [output / f"run-{number}" for number in range(runs)]
    begun = [directory for directory in directories if (directory / rundirectory.SETTINGS).exists()]
    if begun and not resume:
        raise rundirectory.RunDirectoryError(rundirectory.HOLDS.format(directory=begun[0], what="simulation"))
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    known = str(Path(model).resolve()) if denoiser is not model and Path(model).exists() else model
    platform = config.platform or default_platform()
    threads = 1 if platform == "CPU" and config.threads is None else config.threads
    given = [
        Run(known, directory, config.model_copy(update={"seed": config.seed + number, "threads": threads}))
        for number, directory in enumerate(directories)
    ]
    return _together(denoiser, output, given, config.duration, platform, report, client)


def sample_ensemble(denoiser, output, starts, config, report=None, client=None):
    """Frames of MD under a model; runs that are in `output` already are gone on with, finished ones only read.

    Parameters
    ----------
    denoiser : Denoiser
    output : path
        Receives run-0/, run-1/, ..., each as `simulate` leaves it.
    starts : array, shape (n_starts, n_particles, 3), nm
        Taken in turn; particles in the order of `simulate`: grouped by type, or with bonds as in the training data.
    config : SamplingConfig
    report : callable, optional
        Called with one line of text when a run is finished.
    client : distributed.Client, optional
        Whose workers simulate, a run each; they must see `output` as this machine does.  With a run whose worker dies
        another goes on.

    Returns
    -------
    frames : Frames
        One replica per run, the start of each left out.  Bonds are those of the model.
    last : array, shape (n_runs, n_particles, 3), nm
        The last frame of each run.
    """
    output = Path(output)
    platform, header = config.platform or default_platform(), denoiser.header
    # XTC rounds to 0.001 nm: far below any feature of a g(r), but it widens a bond of width 0.003 nm by 1 %.
    extension = "dcd" if header.bonds else "xtc"
    given = []
    for number in range(config.runs):
        settings = config.model_dump(include={"duration", "interval", "timestep"})
        settings |= dict(seed=config.seed + number, platform=platform, format=extension)
        settings["threads"] = 1 if platform == "CPU" else None
        start = np.asarray(starts[number % len(starts)], dtype=float)
        given.append(Run(denoiser, output / f"run-{number}", settings, start))
    paths = _together(denoiser, output, given, config.duration, platform, report, client)
    topology = topology_path(output / "run-0")
    known = header.species, header.elemental
    bonded = bool(header.bonds)
    frames = read_runs(paths, topology, header.temperature, config.discard, config.interval, *known, bonded=bonded)
    last = np.stack([frames.positions[frames.replica == number][-1] for number in range(config.runs)])
    return (replace(frames, bonds=np.array(header.bonds)) if bonded else frames), last


def _together(denoiser, output, runs, duration, platform, report, client):
    """Trajectories of all runs, each of a duration (ps)."""

    def said(number):
        if report:
            report(f"{output.name}: run {number + 1} of {len(runs)}, {duration:g} ps, done")

    if client is None:
        return _side_by_side(output, runs, duration, platform, said)
    content, pieces = denoiser.to_bytes(), []
    for run in runs:
        # Workers may have another working directory.
        sent = {"directory": run.directory.resolve()} | ({"model": content} if isinstance(run.model, Denoiser) else {})
        pieces.append((replace(run, **sent),))
    paths = _shared(output, pieces, said, client)
    return [run.directory / Path(path).name for run, path in zip(runs, paths)]


def _side_by_side(output, runs, duration, platform, said):
    """Trajectories of all runs, in threads of this process."""

    def one(number):
        path = runs[number].made(progress=lambda time: come.update({number: time}), stop=ending.is_set)
        said(number)
        return path

    ending = threading.Event()
    # Where each run is, ps: of its threads this one is told.
    come = {}
    # OpenMM leaves Python free while it steps: threads are enough.  Signals reach this one alone.
    with rundirectory.held() as asked, ThreadPoolExecutor(os.cpu_count() if platform == "CPU" else 1) as pool:
        waiting = [pool.submit(one, number) for number in range(len(runs))]
        told = Together(f"{output}: MD of {len(runs)} runs", len(runs) * duration)
        while wait(waiting, LOOK, FIRST_EXCEPTION).not_done and not any(
            run.done() and run.exception() for run in waiting
        ):
            told.at(dict(come))
            if asked():
                break
        told.close()
        if any(not run.done() for run in waiting):
            ending.set()
            pool.shutdown(cancel_futures=True)
    failed = [run.exception() for run in waiting if not run.cancelled() and run.exception() is not None]
    if failed:
        raise next((error for error in failed if not isinstance(error, rundirectory.Interrupted)), failed[0])
    return [run.result() for run in waiting]


def _shared(output, pieces, said, client):
    """Trajectories of all runs, by the workers of a client."""
    paths = []
    with Progress(f"{output}: MD of {len(pieces)} runs", len(pieces), "runs") as told:
        for number, path in enumerate(mapped(client, _simulated, pieces)):
            if not Path(path).exists():
                raise FileNotFoundError(
                    f"{path} was written by a worker and is not there on this machine: name an output on a disk that "
                    "all machines share"
                )
            paths.append(path)
            told.add()
            said(number)
    return paths


def _simulated(run):
    """In a worker: one run, from where another may have left it."""
    return run.made(progress=False)
