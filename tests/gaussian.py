"""An energy of one's own, in one file: a Gaussian repulsion of every pair of species.

U = sum_{i<j} a_ab g(r_ij) with g(r) = exp(-r^2 / 2 w^2) (1 - r^2 / r_c^2)^3, which vanishes at the cutoff r_c with
two derivatives, and the amplitudes a_ab (kJ/mol) as coefficients.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor

from openmm_diffusion.energies import register
from openmm_diffusion.energies.linear import LinearEnergy, LinearSettings, LinearTerm
from openmm_diffusion.energies.native import Pairwise, of_kind
from openmm_diffusion.space.batch import Batch, pair_species, within


class GaussianConfig(LinearSettings):
    """Width w and cutoff r_c, nm."""

    width: PositiveFloat = 0.1
    cutoff: PositiveFloat = 0.5


class Gaussian(LinearEnergy):
    """The repulsion as a torch module."""

    def __init__(self, n_species, width, cutoff, sigmas=None):
        rows, columns = np.triu_indices(n_species)
        super().__init__((len(rows),), n_species, sigmas)
        self.width, self.cutoff = width, cutoff
        kinds = torch.zeros(n_species, n_species, dtype=torch.int64)
        kinds[rows, columns] = kinds[columns, rows] = torch.arange(len(rows))
        self.register_buffer("kinds", kinds, persistent=False)

    def values(self, c: Batch) -> Tensor:
        near = within(c, self.cutoff)
        first, second = pair_species(near)
        square = near.distances * near.distances
        inside = torch.relu(1 - square / self.cutoff**2)
        g = torch.exp(-square / (2 * self.width**2)) * inside * inside * inside
        n_frames, size = c.positions.shape[0], self.coefficients.shape[0]
        sums = torch.zeros(n_frames * size, dtype=g.dtype, device=g.device)
        place = near.first // c.positions.shape[1] * size + self.kinds[first, second]
        return sums.index_add(0, place, g).view(n_frames, size)

    def design(self, c):
        # With s = r^2: grad g = 2 g'(s) d, lap g = 6 g'(s) + 4 s g''(s), and both ends of a pair move.
        s, w2, c2 = c.distances**2, self.width**2, self.cutoff**2
        q, e = torch.relu(1 - s / c2), torch.exp(-s / (2 * w2))
        slope = -e * (q**3 / (2 * w2) + 3 * q**2 / c2)
        curvature = e * (q**3 / (4 * w2**2) + 3 * q**2 / (w2 * c2) + 6 * q / c2**2)
        kind, size = self.kinds[pair_species(c)], self.coefficients.numel()
        divergence = torch.zeros(size, dtype=torch.float64).index_add(0, kind, -2 * (6 * slope + 4 * s * curvature))
        G = torch.zeros(c.positions.numel() // 3, size, 3, dtype=torch.float64)
        push = 2 * slope.unsqueeze(-1) * c.vectors
        G.index_put_((c.first, kind), push, accumulate=True)
        G.index_put_((c.second, kind), -push, accumulate=True)
        return G.transpose(1, 2).reshape(-1, size), divergence

    def share(self):
        share = torch.zeros(self.n_species, self.coefficients.numel(), dtype=torch.float64)
        for a, b in zip(*np.triu_indices(self.n_species)):
            share[a, self.kinds[a, b]] += 0.5
            share[b, self.kinds[a, b]] += 0.5
        return share

    def roughness(self):
        return torch.eye(self.coefficients.numel(), dtype=torch.float64)


@register
class GaussianTerm(LinearTerm):
    """Gaussian repulsion at noise level sigma; width and cutoff in nm."""

    Settings: ClassVar = GaussianConfig
    noun: ClassVar = "Gaussian repulsion"

    kind: Literal["gaussian"] = "gaussian"
    sigma: float
    sigmas: list[float] | None = None
    width: float
    cutoff: float
    penalty: float | None = None

    def module(self, header):
        return Gaussian(len(header.species), self.width, self.cutoff, self.sigmas)

    def pairwise(self, module, tag=""):
        amplitudes = of_kind(module.coefficients)
        text = f"({amplitudes}) * exp(-r^2 / {2 * self.width**2!r}) * max(0, 1 - r^2 / {self.cutoff**2!r})^3"
        return Pairwise(text, {})
