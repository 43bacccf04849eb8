"""The path that Systems saved by version 0.1.0 name; see `openmm_diffusion.workflows.benchmark.nequip`."""

from .workflows.benchmark.nequip import NequIPEvaluator  # noqa: F401
