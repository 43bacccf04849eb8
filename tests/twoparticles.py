"""Two particles in a box, with a pair potential at three noise levels that nothing was learnt from."""

import functools

import numpy as np
import torch

from openmm_diffusion import Denoiser
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.model.header import Header

EDGE, CUTOFF, LEVELS = 1.2, 0.55, [0.004, 0.04, 0.4]


@functools.cache
def two_particles(particles=("Li", "Cl"), box=EDGE, sigmas=tuple(LEVELS)):
    """A pair potential of a few kT that differs from level to level, of nothing learnt; all shared, left as it is."""
    term = PairTerm(sigma=LEVELS[0], sigmas=list(sigmas) if sigmas else None, cutoff=CUTOFF, start=0.1, spacing=0.05)
    species = list(dict.fromkeys(particles))
    header = Header(
        species=species, particles=list(particles), temperature=300.0, number_density=None,
        box=None if box is None else (np.array(box) if np.ndim(box) == 2 else box * np.eye(3)).tolist(),
        shortest_distances=[[0.1] * len(species)] * len(species), terms=[term],
        numbers=None if species == ["Li", "Cl"] else [0] * len(species),
    )  # fmt: skip
    denoiser = Denoiser(header)
    (module,) = denoiser.modules()
    rng = np.random.default_rng(5)
    if sigmas:
        wiggle = rng.normal(size=module.table.shape) * np.array([6.0, 3.0, 0.5])[:, None, None]
        wiggle[:, :, -3:] = 0
        module.table.copy_(torch.as_tensor(wiggle))
        return denoiser.at(LEVELS[0])
    return denoiser
