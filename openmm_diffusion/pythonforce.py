"""A denoiser as the callable that OpenMM's PythonForce runs: any torch, no openmm-torch."""

import torch

from .denoiser import Denoiser
from .geometry import wrap
from .terms import energy_and_forces


class Evaluator:
    """What PythonForce calls; pickled as the bytes of a model file, never as code.

    Parameters
    ----------
    data : bytes
        Model file.
    species : list of int
    periodic : bool
    precision : "single" or "double"
    """

    def __init__(self, data, species, periodic, precision):
        self.data, self.species, self.periodic, self.precision = data, species, periodic, precision
        denoiser = Denoiser.from_bytes(data)
        self.dtype = torch.float32 if precision == "single" else torch.float64
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = denoiser.model.to(self.dtype).to(self.device).eval().requires_grad_(False)
        self.index = torch.tensor(species, device=self.device)

    def __reduce__(self):
        return Evaluator, (self.data, self.species, self.periodic, self.precision)

    def __call__(self, state):
        """Energy (kJ/mol) and forces (n_particles, 3), kJ/mol/nm, of an OpenMM State."""
        positions = torch.from_numpy(state.getPositions(asNumpy=True)._value).unsqueeze(0)
        box = None
        if self.periodic:
            box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value)
        y = positions if box is None else wrap(positions, box)
        box = None if box is None else box.to(self.device, self.dtype)
        energy, forces = energy_and_forces(self.model, y.to(self.device, self.dtype), box, self.index)
        return float(energy[0]), forces[0].double().cpu().numpy()
