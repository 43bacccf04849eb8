"""What an entry of the table of wrong inputs is, and the right inputs that each entry makes one wrong thing of."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from models import QUICK, licl_denoiser, licl_frames
from openmm import app, unit

#: What no argument is that is a number: each with words of the sentence that refuses it.
NO_NUMBERS = {
    "NaN": (float("nan"), "nan"),
    "infinity": (float("inf"), "inf"),
    "minus infinity": (float("-inf"), "-inf"),
    "true": (True, "True"),
    "a string": ("1", "'1'"),
    "a complex number": (1 + 0j, r"\(1\+0j\)"),
    "a list": ([1.0], "1.0|shape"),
    "too large for a float": (10**400, "inf|1000"),
}
#: What no count is.
NO_COUNTS = {
    "NaN": (float("nan"), "nan"),
    "one and a half": (1.5, "1.5"),
    "true": (True, "True"),
    "a string": ("2", "'2'"),
    "minus one": (-1, "-1"),
    "nothing": (None, "None"),
    "a list": ([1], r"\[1\]"),
}
#: What no array of numbers is, made of one that is.
NO_ARRAYS = {
    "true and false": (lambda x: x > 0, "true and false"),
    "strings": (lambda x: x.astype(str), "strings"),
    "complex numbers": (lambda x: x + 0j, "complex"),
    "objects": (lambda x: x.astype(object), "array of real numbers"),
    "kelvin": (lambda x: x * unit.kelvin, "kelvin|no force per mole"),
    "NaN": (lambda x: x * np.nan, "NaN"),
    "infinity": (lambda x: x + np.inf, "Inf|NaN"),
    "a string": (lambda x: "positions", "array of real numbers|three edges"),
    "a dict": (lambda x: {}, "array of real numbers"),
    "a ragged list": (lambda x: [[0.0, 0.0], [0.0]], "array of numbers"),
}


@dataclass(frozen=True)
class Wrong:
    """One wrong input: how a door is called, and words of the sentence that refuses it."""

    letter: str  # A: crashes and absurd files, C: accepted, D: sizes and hangs, E: dead ends, F: words
    door: str
    what: str
    call: Callable[["Inputs"], Any]
    says: str

    def __str__(self):
        return f"{self.letter} {self.door}: {self.what}"


class Inputs:
    """Right inputs, cheap ones; `out` is a path where nothing is, and `folder` one for files of the entry."""

    def __init__(self, shared, folder):
        self.shared, self.folder, self.out = shared, folder, folder / "out"

    @property
    def frames(self):
        return few_frames()

    @property
    def fields(self):
        return dict(vars(self.frames))

    @property
    def denoiser(self):
        return licl_denoiser(kinds=QUICK)

    @property
    def bare(self):
        """A model without a box."""
        return boxless()

    @property
    def positions(self):
        return self.frames.positions[0].astype(float)

    @property
    def box(self):
        return np.array(self.frames.box)

    @property
    def topology(self):
        return few_frames().topology()

    def write(self, name, content):
        """A file of an entry."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def model_file(self, change=None, weights=None, name="wrong.safetensors"):
        """A model file whose header (a dict) or weights (a dict of tensors) were changed, its checksum left out."""
        import safetensors.torch

        denoiser = self.denoiser
        header = json.loads(denoiser.header.model_dump_json())
        tensors = {key: value.clone() for key, value in denoiser.model.state_dict().items()}
        if change is not None:
            change(header)
        if weights is not None:
            weights(tensors)
        return self.write(name, safetensors.torch.save(tensors, {"openmm_diffusion": json.dumps(header)}))

    def npz(self, **changes):
        """A native file of frames with some arrays replaced."""
        frames = self.frames
        arrays = {"positions": frames.positions, "atomic_numbers": frames.species, "box": frames.box}
        arrays = {**arrays, "temperature": np.array(300.0), **changes}
        path = self.folder / "wrong.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path


@functools.cache
def few_frames():
    return licl_frames()[:4]


@functools.cache
def boxless():
    """The quick model, as if it had been trained without a box, and without charges."""
    from openmm_diffusion.model.denoiser import Denoiser

    header = licl_denoiser(kinds=("wall", "pair")).header.model_copy(update={"box": None, "number_density": None})
    return Denoiser(header)


def shared_files(folder):
    """Files that many entries read: a model, frames, a topology, and a trajectory."""
    frames = few_frames()
    licl_denoiser(kinds=QUICK).save(folder / "model.safetensors")
    frames.save(folder / "frames.npz")
    trajectory = frames.to_mdtraj()
    for name in ("run.dcd", "run.xtc", "run.gro", "run.lammpstrj"):
        trajectory.save(str(folder / name))
    with open(folder / "top.pdb", "w") as file:
        app.PDBFile.writeFile(frames.topology(), frames.positions[0] * unit.nanometer, file)
    return Path(folder)


def numbers(letter, door, argument, call, kinds=NO_NUMBERS, more=None):
    """Entries for all that no number is: `call` takes the inputs and the value."""
    values = {**kinds, **(more or {})}
    return [
        Wrong(letter, door, f"{argument} is {what}", functools.partial(_called, call, value), f"{argument}.*({says})")
        for what, (value, says) in values.items()
    ]


def arrays(letter, door, argument, get, call, leave=(), kinds=NO_ARRAYS):
    """Entries for all that no array is: `get` takes the inputs and returns the right array."""
    return [
        Wrong(
            letter, door, f"{argument} of {what}",
            functools.partial(_changed, call, get, change), f"{argument}.*({says})",
        )
        for what, (change, says) in kinds.items()
        if what not in leave
    ]  # fmt: skip


def _called(call, value, inputs):
    return call(inputs, value)


def _changed(call, get, change, inputs):
    return call(inputs, change(get(inputs)))
