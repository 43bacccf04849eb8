"""Independent runs of one model, side by side: the frames of its own ensemble."""

import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

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
from ..cluster import mapped
from ..data.sets import read_runs
from ..forces.platforms import default_platform
from ..model.denoiser import Denoiser
from ..progress import Progress
from .langevin import LOOK, simulate
from .trajectories import topology_path


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

    runs: PositiveInt = Field(8, le=10_000)
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

    def settings_of(number):
        threads = 1 if platform == "CPU" else None
        settings = config.model_dump(include={"duration", "interval", "timestep"})
        settings |= dict(seed=config.seed + number, platform=platform, threads=threads, format=extension)
        return settings, np.asarray(starts[number % len(starts)], dtype=float)

    def said(number):
        if report:
            report(f"{output.name}: run {number + 1} of {config.runs}, {config.duration:g} ps, done")

    if client is None:
        paths = _side_by_side(denoiser, output, config, settings_of, said, platform)
    else:
        paths = _shared(denoiser, output, config, settings_of, said, client)
    topology = topology_path(output / "run-0")
    known = header.species, header.elemental
    bonded = bool(header.bonds)
    frames = read_runs(paths, topology, header.temperature, config.discard, config.interval, *known, bonded=bonded)
    last = np.stack([frames.positions[frames.replica == number][-1] for number in range(config.runs)])
    return (replace(frames, bonds=np.array(header.bonds)) if bonded else frames), last


def _side_by_side(denoiser, output, config, settings_of, said, platform):
    """Trajectories of all runs, in threads of this process."""

    def one(number):
        settings, start = settings_of(number)
        path = simulate(
            denoiser, output / f"run-{number}", settings, resume=True, positions=start,
            progress=lambda time: come.update({number: time}), stop=ending.is_set,
        )  # fmt: skip
        said(number)
        return path

    ending = threading.Event()
    # Where each run is, ps: of its threads this one is told.
    come = {}
    # OpenMM leaves Python free while it steps: threads are enough.  Signals reach this one alone.
    with rundirectory.held() as asked, ThreadPoolExecutor(os.cpu_count() if platform == "CPU" else 1) as pool:
        runs = [pool.submit(one, number) for number in range(config.runs)]
        told = Together(f"{output}: MD of {config.runs} runs", config.runs * config.duration)
        while wait(runs, LOOK, FIRST_EXCEPTION).not_done and not any(run.done() and run.exception() for run in runs):
            told.at(dict(come))
            if asked():
                break
        told.close()
        if any(not run.done() for run in runs):
            ending.set()
            pool.shutdown(cancel_futures=True)
    failed = [run.exception() for run in runs if not run.cancelled() and run.exception() is not None]
    if failed:
        raise next((error for error in failed if not isinstance(error, rundirectory.Interrupted)), failed[0])
    return [run.result() for run in runs]


def _shared(denoiser, output, config, settings_of, said, client):
    """Trajectories of all runs, by the workers of a client."""
    content, place = denoiser.to_bytes(), output.resolve()
    pieces = ((content, place / f"run-{number}", *settings_of(number)) for number in range(config.runs))
    paths = []
    with Progress(f"{output}: MD of {config.runs} runs", config.runs, "runs") as told:
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


def _simulated(content, directory, settings, start):
    """In a worker: one run, from where another may have left it."""
    return simulate(Denoiser.from_bytes(content), directory, settings, resume=True, positions=start, progress=False)
