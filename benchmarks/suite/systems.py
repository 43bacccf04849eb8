"""The systems of the suite: where frames come from, what a split is, and the molecular dynamics that judges a model.

Frames are of independent runs.  Of split k the runs of fold k % 4 of the (k // 4)-th shuffling are kept apart, so that
every four splits, from a multiple of four on, test each run once.  Lengths nm, times ps, forces kJ/mol/nm.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openmm_diffusion import Frames

ROOT = Path(__file__).resolve().parents[2]
FOLDS = 4
#: Positions of the backbone (ACE:C, ALA:N, CA and C, NME:N) among the ten heavy atoms of examples/alanine/map.yaml.
BACKBONE = [1, 3, 4, 6, 8]


@dataclass(frozen=True)
class System:
    """What learners learn, and how they are judged.

    Attributes
    ----------
    name, about : str
        A word, and a line with what the labels are: noise in them adds the same to the squared error of every learner.
    load : callable
        From the folder of data (Path) to Frames of four runs or more.
    commands : tuple of str
        What makes the file that `load` reads, in the root of the repository; {data} and {python} stand for the folder
        and the interpreter.
    most : int
        Frames of a split that learners are given, evenly over those not kept apart.
    timestep, duration, discard, interval : float, ps
        Of molecular dynamics: time step, length of a run, its start that is left out, and time between frames.
    """

    name: str
    about: str
    load: Callable[[Path], Frames]
    commands: tuple[str, ...] = ()
    most: int = 2000
    timestep: float = 0.005
    duration: float = 60.0
    discard: float = 5.0
    interval: float = 0.5

    def split(self, frames, number):
        """Frames of a split.

        Parameters
        ----------
        frames : Frames
        number : int

        Returns
        -------
        training, apart : Frames
            Of different runs; those to learn from have no forces.

        Raises
        ------
        ValueError
            For frames of too few runs.
        """
        runs = np.unique(frames.replica)
        if len(runs) < FOLDS:
            raise ValueError(f"frames of {self.name} are of {len(runs)} runs: give {FOLDS} independent runs or more")
        order = np.random.default_rng(number // FOLDS).permutation(runs)
        apart = np.isin(frames.replica, order[number % FOLDS :: FOLDS])
        rest = np.flatnonzero(~apart)
        chosen = rest[np.linspace(0, len(rest) - 1, min(self.most, len(rest))).round().astype(int)]
        return replace(frames[chosen], forces=None), frames[apart]

    def words(self, data, python):
        """Commands that make the frames, as lists of words."""
        return [shlex.split(line.format(data=shlex.quote(str(data)), python=python)) for line in self.commands]


SYSTEMS: dict[str, System] = {}


def add(system):
    """Make a system known by its name."""
    SYSTEMS[system.name] = system
    return system


def file_of(name):
    """What reads a file in the folder of data."""
    return lambda data: Frames.load(Path(data) / name)


def backbone(data):
    """The five beads of the backbone of alanine dipeptide."""
    ten = Frames.load(Path(data) / "alanine" / "frames.npz")
    parts = {name: getattr(ten, name)[BACKBONE] for name in ("species", "types", "masses")}
    forces = None if ten.forces is None else ten.forces[:, BACKBONE]
    chain = np.array([[k, k + 1] for k in range(len(BACKBONE) - 1)])
    return replace(ten, positions=ten.positions[:, BACKBONE], forces=forces, bonds=chain, **parts)


PACKAGE = "{python} -m openmm_diffusion"
ALANINE = (f"{PACKAGE} generate benchmarks/suite/alanine.yaml --output {{data}}/alanine --resume",)
MOLECULE = dict(timestep=0.002, duration=200.0, discard=5.0, interval=0.5, most=4000)

add(System("licl", "2.4 M LiCl, 48 ions without water; exact mean forces", lambda _: Frames.load(
    ROOT / "examples" / "licl" / "licl.npz")))  # fmt: skip
add(System(
    "water", "one-bead SPC/E water, 216 beads; forces on whole molecules", file_of("water/frames.npz"),
    commands=(f"{PACKAGE} generate benchmarks/suite/water.yaml --output {{data}}/water --resume",),
    duration=20.0, interval=0.2,
))  # fmt: skip
add(System(
    "alanine10", "the 10 heavy atoms of alanine dipeptide in implicit solvent; forces without the mean over hydrogens",
    file_of("alanine/frames.npz"), commands=ALANINE, **MOLECULE,
))  # fmt: skip
add(System(
    "alanine5", "the 5 beads of the backbone of alanine dipeptide; forces without the mean over all else",
    backbone, commands=ALANINE, **MOLECULE,
))  # fmt: skip
for kelvin in (300, 500):
    add(System(
        f"ethanol{kelvin}", f"ethanol, all 9 atoms, GFN2-xTB at {kelvin} K; exact forces",
        file_of(f"ethanol/ethanol-{kelvin}K.npz"), most=1000,
        commands=(f"{{python}} benchmarks/suite/ethanol.py {{data}}/ethanol --temperature {kelvin}",),
        timestep=0.0005, duration=20.0, discard=2.0, interval=0.05,
    ))  # fmt: skip
