"""The path that Systems saved by version 0.1.0 name; see `openmm_diffusion.forces.pythonforce`."""

from .forces.pythonforce import Evaluator  # noqa: F401
