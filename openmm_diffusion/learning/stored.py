"""Frames that stay in their file: of a training on more of them than one machine's memory holds.

Of every file, what is said of all its frames is read once, by a worker where there are some; positions and forces are
read where they are needed, and one file at a time is kept in each process.
"""

import functools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cluster import mapped
from ..data.frames import Frames


@dataclass(frozen=True)
class File:
    """A file of frames, as it was when a training first looked at it.

    Attributes
    ----------
    path : str
    more : tuple
        Arguments of `Frames.load`: temperature (K) and box (nm), or None, and the key of the forces.
    stamp : tuple of int
        Its size (bytes) and time of change (ns).
    """

    path: str
    more: tuple
    stamp: tuple

    @classmethod
    def found(cls, path, temperature=None, box=None, forces_key=None):
        path = os.path.abspath(path)
        there = os.stat(path) if os.path.exists(path) else None
        return cls(path, (temperature, box, forces_key), (there.st_size, there.st_mtime_ns) if there else ())

    def read(self):
        """Its frames, all of them: of the file read last, as they were read."""
        now = File.found(self.path, *self.more)
        if now.stamp != self.stamp:
            what = "was changed" if now.stamp else "cannot be found any more, or not on the machine of a worker"
            raise ValueError(f"{self.path} {what} while a training went on: leave files where all workers see them")
        return _last_read(self)


@functools.lru_cache(maxsize=1)
def _last_read(file):
    temperature, box, forces_key = file.more
    return Frames.load(file.path, temperature, box=box, forces_key=forces_key)


class StoredFrames(Frames):
    """Some or all frames of a file: what Frames are and can do, but positions and forces are read when asked for.

    Parameters
    ----------
    file : File
    frames : Frames
        Of that file, or stored ones of it; of the former all rows.
    known : dict
        What was found out about them all: `digest`.
    """

    file: File
    known: dict[str, Any]
    rows: np.ndarray
    labels: np.ndarray | None
    biased: bool

    def __init__(self, file: File, frames: Frames, known: dict[str, Any]) -> None:
        same = ("species", "box", "temperature", "replica", "types", "bonds", "masses")
        self.__dict__.update({name: getattr(frames, name) for name in same})
        labels = None if frames.forces is None else frames.labelled
        fields = {"labels": labels, "biased": frames.bias_forces is not None, "rows": np.arange(len(frames))}
        self.__dict__.update(fields, file=file, known=dict(known))

    def _with(self, **changes: Any) -> "StoredFrames":
        other = object.__new__(StoredFrames)
        other.__dict__.update({**self.__dict__, "known": {}, **changes})
        return other

    def _of(self, name: str) -> np.ndarray | None:
        """Rows of an array of the file."""
        values = getattr(self.file.read(), name)
        return None if values is None else values[self.rows]

    @property
    def positions(self):
        return self._of("positions")

    @property
    def forces(self):
        return None if self.labels is None else self._of("forces")

    @property
    def bias_forces(self):
        return self._of("bias_forces") if self.biased else None

    @property
    def labelled(self):
        return np.zeros(len(self), dtype=bool) if self.labels is None else self.labels

    def digest(self):
        if "digest" not in self.known:
            self.known["digest"] = self.here().digest()
        return self.known["digest"]

    def shortest_distances(self, exclusions=0):
        key = f"shortest {exclusions}"
        if key not in self.known:
            self.known[key] = self.here().shortest_distances(exclusions)
        return self.known[key]

    def here(self):
        """The same frames in memory."""
        return self.file.read()[self.rows].renumbered(self.replica)

    def save(self, path):
        self.here().save(path)

    def renumbered(self, replica):
        return self._with(replica=np.asarray(replica, dtype=np.int64))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        chosen = np.atleast_1d(np.arange(len(self))[index])
        box = self.box[chosen] if self.box is not None and self.box.ndim == 3 else self.box
        labels = None if self.labels is None else self.labels[chosen]
        return self._with(rows=self.rows[chosen], box=box, replica=self.replica[chosen], labels=labels)


def survey(file):
    """`StoredFrames` of all frames of a file, which it reads once, digest included."""
    frames = file.read()
    return StoredFrames(file, frames, {"digest": frames.digest()})


def stored(paths, temperature, box, forces_key, client):
    """`StoredFrames` of each of some files of frames, looked at by the workers of a client."""
    files = [(File.found(path, temperature, box, forces_key),) for path in paths]
    missing = [file.path for (file,) in files if not file.stamp]
    if missing:
        raise FileNotFoundError(f"{missing[0]} does not exist: name a file of frames")
    return list(mapped(client, survey, files))
