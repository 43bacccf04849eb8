"""Systems for OpenMM: their topologies, positions and masses, and the forces of a model."""

from .system import (
    COMPILED_STEPS,
    EWALD_PARTICLES,
    create_system,
    default_platform,
    electrolyte,
    fastest,
    random_positions,
    replicated,
    training_topology,
)

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
