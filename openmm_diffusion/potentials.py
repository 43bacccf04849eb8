"""What openmm-ml finds by the entry points `openmmml.potentials`.

It makes a factory at every `import openmmml`, whichever potential is wanted: nothing is imported here until one is.
"""

from typing import Any


class PotentialFactory:
    """Factory of `MLPotential("diffusion", modelPath=...)` and of shipped models by their names."""

    def createImpl(self, name: str, modelPath: Any = None) -> Any:  # noqa: N802, N803 - the names are openmm-ml's
        """The potential of a model file.

        Parameters
        ----------
        name : str
            "diffusion", or a shipped model: "licl".
        modelPath : path or Denoiser
            Of "diffusion" only: a model file, a shipped model, or a denoiser in memory.

        Raises
        ------
        ValueError, FileNotFoundError
            For a missing or broken model file, and a model without an energy.
        """
        from .forces.mlpotential import DiffusionPotential

        if (modelPath is None) == (name == "diffusion"):
            remedy = "is missing: give a model file, or 'licl'" if modelPath is None else "is given: leave it out"
            raise ValueError(f'modelPath of MLPotential("{name}") {remedy}')
        return DiffusionPotential(name if modelPath is None else modelPath)
