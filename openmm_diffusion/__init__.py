"""openmm_diffusion: molecular dynamics potentials for OpenMM, learnt by denoising equilibrium configurations."""

import torch  # noqa: F401 - before OpenMM: openmm-torch's plugins load only where torch's libraries are

from .denoiser import Denoiser
from .evaluate import evaluate
from .force import DiffusionForce
from .frames import Frames
from .rdf import compute_rdf
from .simulation import simulate
from .systems import create_system
from .training import train

__all__ = ["Denoiser", "DiffusionForce", "Frames", "compute_rdf", "create_system", "evaluate", "simulate", "train"]
