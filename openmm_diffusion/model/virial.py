"""The virial of a model: how its energy changes when space is strained.

    W = dU/d(strain),   r -> (1 + strain) r  for positions and box vectors alike

It is of the energy as a function of positions *and* box, so that it holds what the images do, and for forces over
pairs it is sum_{i<j} (u'(r)/r) r r^T.  It is no stress yet: that is W over the volume.
"""

import numpy as np
import torch
from torch import Tensor

from ..space.batch import cast, make_batch
from ..space.connectivity import Connectivity
from .configuration import Configuration
from .sum import TRACING, WeightedSum


def virial(system: Configuration, dtype: torch.dtype) -> np.ndarray:
    """dU/d(strain) of every frame, shape (..., 3, 3), kJ/mol, with the terms evaluated in a precision."""
    like = torch.zeros(1, dtype=dtype)
    found = [
        energy_and_virial(system.model, y, boxes, system.species, like, system.connectivity)[1]
        for y, boxes in system.chunks(torch.float64)
    ]
    return torch.cat(found).numpy().reshape(*system.shape[:-2], 3, 3)


def energy_and_virial(
    model: WeightedSum,
    positions: Tensor,
    box: Tensor | None,
    species: Tensor,
    like: Tensor,
    connectivity: Connectivity | None = None,
) -> tuple[Tensor, Tensor]:
    """Energy (n_frames,), kJ/mol, and dU/d(strain) (n_frames, 3, 3), kJ/mol, both float64.

    Positions and box are float64; the terms are evaluated in the precision of `like`.
    """
    with TRACING, torch.enable_grad():
        strain = torch.zeros(len(positions), 3, 3, dtype=positions.dtype, device=positions.device, requires_grad=True)
        # Strains that leave the box in its reduced form: x -> x + strain_xy y, never y -> y + strain_yx x.  A rotation
        # does not change the energy, so that the other three slopes are the same.
        deformation = torch.eye(3, dtype=strain.dtype, device=strain.device) + torch.triu(strain)
        y = positions @ deformation.mT
        strained = None if box is None else box.expand(len(positions), 3, 3) @ deformation.mT
        c = make_batch(y, strained, species, model.cutoff, None, connectivity)
        energy = model.total(cast(c, like))[0]
        slope = torch.zeros_like(strain)
        if energy.requires_grad:
            found = torch.autograd.grad([energy.sum()], [strain], allow_unused=True)[0]
            slope = slope if found is None else found
    upper = torch.triu(slope)
    return energy.detach().double(), upper + torch.triu(upper, diagonal=1).mT
