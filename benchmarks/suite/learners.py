"""The learners of the suite: from frames without forces to an object with forces.

A learner is a function of Frames and of a folder of its own (Path).  What it keeps there it may take from there when it
is asked again: a fit that was stopped finds the folder empty.  What it returns has

    forces(positions, boxes)    # (..., n, 3) nm, (..., 3, 3) nm or None -> (..., n, 3) kJ/mol/nm

and may have `cpu_s`, the CPU time of the fit alone, where that of the process and its children holds more.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from systems import ROOT

from openmm_diffusion import Denoiser, train
from openmm_diffusion.settings import read_yaml


@dataclass(frozen=True)
class Learner:
    """A way to learn, of some systems.

    Attributes
    ----------
    name : str
        Several of one name are one row of the table, each of systems of its own.
    fit : callable
    systems : tuple of str
        None at all: it takes every system.
    settings : dict
        What its results depend on, as JSON can hold it: others make them anew.
    """

    name: str
    fit: Callable[..., Any]
    systems: tuple[str, ...] = ()
    settings: dict = field(default_factory=dict)


LEARNERS: list[Learner] = []


def learner(name, systems=(), **settings):
    """Make a function known as a learner: a decorator."""

    def add(fit):
        LEARNERS.append(Learner(name, fit, tuple(systems), settings))
        return fit

    return add


def of_system(name):
    """Learners of a system, by name."""
    return {one.name: one for one in LEARNERS if not one.systems or name in one.systems}


def recipe(path=None, **changes):
    """A configuration of `train`: that of an example, changed, with all frames to learn from."""
    config = {} if path is None else read_yaml(ROOT / "examples" / path)
    return config | changes | {"data": {"test_fraction": 0, "validation_fraction": 0}}


def ours(name, systems, config):
    """Make a configuration of `openmm_diffusion.train` known as a learner."""

    @learner(name, systems, **config)
    def fit(frames, folder):
        path = folder / "model.safetensors"
        if not path.exists():
            train(frames, config, progress=False).save(path)
        return Denoiser.load(path)


ours("pair", ["licl"], recipe("licl/manybody.yaml", manybody=None))
ours("pair + many-body", ["licl"], recipe("licl/manybody.yaml"))
ours("pair", ["water"], recipe("water/water.yaml", manybody=None))
ours("pair + many-body", ["water"], recipe("water/water.yaml"))
MOLECULES = ["alanine10", "alanine5", "ethanol300", "ethanol500"]
ours("all bonded terms", MOLECULES, recipe())
ours("bonds, angles, dihedrals alone", MOLECULES, recipe(onethree=None, onefour=None, maps=None, pair=None))
