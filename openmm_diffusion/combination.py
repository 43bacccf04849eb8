"""The path that scripts written for version 0.1.0 name; see `openmm_diffusion.model.combination`."""

from .model.combination import ensemble, extrapolated, half_step, merged, spread  # noqa: F401
