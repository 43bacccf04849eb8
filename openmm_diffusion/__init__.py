"""openmm_diffusion: molecular dynamics potentials for OpenMM, learnt by denoising equilibrium configurations.

Names are imported when they are used: importing the package itself loads no library.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .analysis.rdf import compute_rdf
    from .data.coarsening import coarsen
    from .data.frames import Frames
    from .data.mapping import Mapping
    from .engines.calculator import DiffusionCalculator
    from .evaluation.report import evaluate
    from .forces.diffusionforce import DiffusionForce
    from .model.denoiser import Denoiser
    from .simulation.langevin import simulate
    from .systems import create_system
    from .workflows.training import train

#: Module that each name of the face comes from.
_HOMES = {
    "Denoiser": "model.denoiser",
    "DiffusionCalculator": "engines.calculator",
    "DiffusionForce": "forces.diffusionforce",
    "Frames": "data.frames",
    "Mapping": "data.mapping",
    "coarsen": "data.coarsening",
    "compute_rdf": "analysis.rdf",
    "create_system": "systems",
    "evaluate": "evaluation.report",
    "simulate": "simulation.langevin",
    "train": "workflows.training",
}

__all__ = [
    "Denoiser", "DiffusionCalculator", "DiffusionForce", "Frames", "Mapping",
    "coarsen", "compute_rdf", "create_system", "evaluate", "simulate", "train",
]  # fmt: skip


def __getattr__(name):
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("openmm_diffusion")
    if name == "systems":  # public as a module
        return importlib.import_module(".systems", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # torch before OpenMM: openmm-torch's plugins load only where torch's libraries are.
    importlib.import_module("torch")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__, "__version__"])
