"""What an evaluation was made of: the model, the frames and the runs, kept beside its tables."""

import platform
from importlib.metadata import version
from pathlib import Path

from .. import yamlfile
from ..rundirectory import write_whole

#: Not config.yaml: an evaluation may stand in the directory of the run that it is of.
RECORD = "evaluation.yaml"
#: Packages whose versions numbers may depend on.
PACKAGES = ("openmm_diffusion", "torch", "e3nn", "openmm", "mdtraj", "numpy")


def versions():
    """Versions of Python and of the packages that numbers may depend on, as they are installed here."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def record(directory, denoiser, frames, *, model, file, trajectories=(), topology=None, discard=5.0, interval=None,
           temperature=None):  # fmt: skip
    """Write evaluation.yaml, by which an evaluation is followed to what it was made of, and made again.

    Parameters
    ----------
    directory : Path
    denoiser : Denoiser
    frames : Frames
        As given, those that training kept apart and others.
    model, file : path
        Where these two were read from; a shipped model by its name.
    trajectories : list of path
    topology : path or None
    discard : float, ps
    interval, temperature : float (ps, K) or None
        As given.
    """
    told = {
        "model": denoiser.digest(),
        "model_file": _place(model),
        "frames": frames.digest(),
        "frames_file": _place(file),
        "trajectories": [_place(path) for path in trajectories],
        "topology": None if topology is None else _place(topology),
        "discard": float(discard),
        "interval": interval,
        "temperature": temperature,
        "versions": versions(),
    }
    write_whole(directory / RECORD, yamlfile.text(told))


def _place(path):
    """A path that holds from anywhere; a name that is none of a file stays."""
    return str(Path(path).resolve() if Path(path).exists() else path)
