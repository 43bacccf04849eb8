"""Systems for OpenMM: their topologies, positions and masses, and the forces of a model."""

# Before OpenMM: openmm-torch's plugins load only where torch's libraries are loaded already.
import torch  # noqa: F401

from ..forces.choice import COMPILED_STEPS
from ..forces.platforms import default_platform
from .system import EWALD_PARTICLES, create_system, fastest
from .topologies import electrolyte, random_positions, replicated, training_topology

__all__ = [
    "COMPILED_STEPS",
    "EWALD_PARTICLES",
    "create_system",
    "default_platform",
    "electrolyte",
    "fastest",
    "random_positions",
    "replicated",
    "training_topology",
]
