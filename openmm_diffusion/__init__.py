"""openmm_diffusion: molecular dynamics potentials for OpenMM, learnt by denoising equilibrium configurations."""

import torch  # noqa: F401 - before OpenMM: openmm-torch's plugins load only where torch's libraries are

from .analysis.rdf import compute_rdf
from .data.frames import Frames
from .evaluation.report import evaluate
from .forces.diffusionforce import DiffusionForce
from .learning.training import train
from .model.denoiser import Denoiser
from .simulation.langevin import simulate
from .systems.system import create_system

__all__ = ["Denoiser", "DiffusionForce", "Frames", "compute_rdf", "create_system", "evaluate", "simulate", "train"]
