"""Which pairs of particles are neighbours: all pairs closer than a cutoff, in a periodic box or without one."""

from typing import Optional, Tuple

import torch
from torch import Tensor

from .geometry import minimum_image


def neighbour_pairs(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor, Tensor]:
    """All pairs closer than a cutoff, each once, in every frame of a batch.

    The particles of the batch are numbered through: particle i of frame f is
    f * n_particles + i.  Cost and memory grow as the square of n_particles.

    Parameters
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    box : Tensor, shape (3, 3) or (n_frames, 3, 3), nm, or None
    cutoff : float, nm
        At most half the smallest width of the box; not checked here.

    Returns
    -------
    first, second : Tensor, shape (n_pairs,), dtype int64
    vectors : Tensor, shape (n_pairs, 3), nm
        From `first` to the nearest image of `second`; differentiable.
    """
    n_particles = positions.shape[1]
    upper = torch.triu_indices(n_particles, n_particles, offset=1, device=positions.device)
    vectors = positions[:, upper[1]] - positions[:, upper[0]]
    if box is not None and box.dim() == 3:
        vectors = minimum_image(vectors, box.unsqueeze(1))
    else:
        vectors = minimum_image(vectors, box)
    near = torch.nonzero((vectors * vectors).sum(-1) < cutoff * cutoff)
    offset = near[:, 0] * n_particles
    return upper[0][near[:, 1]] + offset, upper[1][near[:, 1]] + offset, vectors[near[:, 0], near[:, 1]]
