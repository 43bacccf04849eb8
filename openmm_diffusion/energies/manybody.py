"""Many-body energies: a linear function of the power spectrum of every particle's neighbourhood.

With j over the neighbours of particle i that are of species Z, channels a = (Z, n), and Y_lm normalised to
sum_m Y_lm^2 = 1::

    A_i,a,lm = sum_j f_n(r_ij) Y_lm(r_ij)
    B_i,ab,l = sum_m A_i,a,lm A_i,b,lm = sum_jk f_a(r_ij) f_b(r_ik) P_l(cos theta_jik)
    U(y) = sum_i sum_{a <= b} sum_l c_ab,l(species of i) B_i,ab,l

It is the three-body part of the atomic cluster expansion, and knows the distances and the angle of every two
neighbours at a cost that is linear in the number of pairs.  j = k is part of the sums, and is a pair energy.

The radial functions are cos(k pi x) (1 - x^2)^3, k = 0, 1, ..., made orthonormal one after the other, with x from 0
at `start` to 1 at the cutoff, finer near `start`.  They vanish at the cutoff with two derivatives, as exact score
matching needs.  Below `start`, where no data should be, they stay as they are there, and for l > 0 the harmonics fade
away towards r = 0, where they have no direction: energy and force of two particles on top of each other are bounded.

References
----------
Bartok, Kondor & Csanyi, Phys. Rev. B 87, 184115 (2013);
Drautz, Phys. Rev. B 99, 014104 (2019).
"""

from collections.abc import Hashable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from e3nn import o3
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ..space.batch import Batch, within
from .base import ModelHeader, register
from .linear import LinearEnergy, LinearSettings, LinearTerm
from .messagepassing import SphericalHarmonics

#: x = (1 + p) t / (1 + p t) of t = (r - start) / (cutoff - start).
FINENESS = 1.0


class ManyBodyConfig(LinearSettings):
    """The basis and how it is fitted."""

    cutoff: PositiveFloat = 0.8
    start: PositiveFloat = 0.18
    radial: PositiveInt = 6
    lmax: int = Field(2, ge=0, le=6)


@register
class ManyBodyTerm(LinearTerm):
    """Many-body energy at noise level sigma (nm, 0: clean frames); cutoff and start in nm."""

    Settings: ClassVar = ManyBodyConfig
    noun: ClassVar = "many-body energy"

    kind: Literal["manybody"] = "manybody"
    sigma: float
    sigmas: list[float] | None = None
    cutoff: float
    start: float
    radial: int
    lmax: int
    penalty: float | None = None

    @classmethod
    def blank(cls, settings: ManyBodyConfig, sigma: float, sigmas: list[float] | None) -> "ManyBodyTerm":
        return cls(sigma=sigma, sigmas=sigmas, **settings.model_dump(include={"cutoff", "start", "radial", "lmax"}))

    @property
    def basis(self) -> Hashable:
        return self.kind, self.cutoff, self.start, self.radial, self.lmax

    def module(self, header: ModelHeader) -> "ManyBody":
        return ManyBody(len(header.species), self.cutoff, self.start, self.radial, self.lmax, self.sigmas)


class ManyBody(LinearEnergy):
    """The energy as a torch module."""

    def __init__(
        self,
        n_species: int,
        cutoff: float,
        start: float,
        radial: int,
        lmax: int,
        sigmas: Sequence[float] | None = None,
        fineness: float = FINENESS,
    ) -> None:
        if not start < cutoff:
            raise ValueError(f"manybody.start is {start:g} nm: it must lie below manybody.cutoff = {cutoff:g} nm")
        channels = n_species * radial
        first, second = np.triu_indices(channels)
        super().__init__((n_species, len(first), lmax + 1), n_species, sigmas)
        self.cutoff, self.start, self.radial, self.lmax = cutoff, start, radial, lmax
        self.fineness = fineness
        self.channels = channels
        place = np.zeros((channels, channels), dtype=np.int64)
        place[first, second] = place[second, first] = np.arange(len(first))
        self.register_buffer("place", torch.as_tensor(place), persistent=False)
        # c_ab counts for a, b and b, a alike.
        self.register_buffer("share_of", torch.as_tensor(0.5 + 0.5 * np.eye(channels)), persistent=False)
        degree = np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)
        self.register_buffer("degree", torch.as_tensor(degree), persistent=False)
        self.register_buffer("parity", torch.as_tensor((-1.0) ** degree), persistent=False)
        self.register_buffer("k_pi", torch.pi * torch.arange(radial, dtype=torch.float64), persistent=False)
        self.harmonics = SphericalHarmonics(list(range(lmax + 1)), normalize=True, normalization="norm")
        self.register_buffer("mixing", torch.eye(radial, dtype=torch.float64), persistent=False)
        self.mixing.copy_(self.orthonormal())

    # Energy

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        sigma = c.sigma
        if sigma is not None and self.n_levels > 0:
            values = self.values(c)
            return (values * self.at(sigma).flatten(1).to(values.dtype)).sum(-1)
        A = self.expansion(within(c, self.cutoff))
        n_frames, n_particles = c.positions.shape[0], c.positions.shape[1]
        matrices = self.coefficients.transpose(1, 2)[:, :, self.place] * self.share_of
        matrices = matrices[:, self.degree].to(A.dtype)
        species = c.species.repeat(n_frames)
        energy = torch.zeros_like(A[0, :, 0])
        for s in range(self.n_species):
            own = (torch.matmul(A, matrices[s]) * A).sum(2).sum(0)
            energy = energy + own * (species == s).to(own.dtype)
        return energy.view(n_frames, n_particles).sum(1)

    def expansion(self, near: Batch) -> Tensor:
        """A of every particle, shape (number of l and m, n_frames n_particles, n_channels)."""
        n_particles = near.positions.shape[1]
        r = near.distances
        x = torch.clamp((r - self.start) / (self.cutoff - self.start), 0.0, 1.0)
        x = (1 + self.fineness) * x / (1 + self.fineness * x)
        q = 1 - x * x
        f = torch.matmul(torch.cos(self.k_pi.to(r.dtype) * x.unsqueeze(-1)) * (q * q * q).unsqueeze(-1),
                         self.mixing.to(r.dtype))
        Y = self.harmonics(near.vectors)
        z = torch.clamp(r / self.start, 0.0, 1.0)
        fade = (z * z * z * (10 - 15 * z + 6 * z * z)).unsqueeze(-1)
        Y = torch.where(self.degree > 0, Y * fade, Y)
        there = (f.unsqueeze(-1) * Y.unsqueeze(1)).flatten(1)
        back = (f.unsqueeze(-1) * (Y * self.parity.to(r.dtype)).unsqueeze(1)).flatten(1)
        centre, neighbour = torch.cat([near.first, near.second]), torch.cat([near.second, near.first])
        row = centre * self.n_species + near.species[neighbour % n_particles]
        n = near.positions.shape[0] * n_particles
        sums = torch.zeros(n * self.n_species, there.shape[1], dtype=r.dtype, device=r.device)
        sums = sums.index_add(0, row, torch.cat([there, back]))
        return sums.view(n, self.channels, -1).permute(2, 0, 1)

    def values(self, c: Batch) -> Tensor:
        """B of every frame, summed over the particles of each species, shape (n_frames, n_coefficients)."""
        n_frames, n_particles = c.positions.shape[0], c.positions.shape[1]
        A = self.expansion(within(c, self.cutoff))
        pairs = torch.triu_indices(self.channels, self.channels, device=A.device)
        by_degree = []
        for degree in range(self.lmax + 1):
            part = A[degree * degree : (degree + 1) * (degree + 1)]
            by_degree.append((part.index_select(2, pairs[0]) * part.index_select(2, pairs[1])).sum(0))
        B = torch.stack(by_degree, -1).flatten(1)
        frame = torch.arange(n_frames, device=A.device).repeat_interleave(n_particles)
        sums = torch.zeros(n_frames * self.n_species, B.shape[1], dtype=B.dtype, device=B.device)
        return sums.index_add(0, frame * self.n_species + c.species.repeat(n_frames), B).view(n_frames, -1)

    # Closed form

    @torch.no_grad()
    def design_by_species(self, c: Batch) -> tuple[Tensor, Tensor]:
        c = within(c, self.cutoff)
        n_particles, S, R = c.positions.shape[1], self.n_species, self.radial
        n, L = c.positions.shape[0] * n_particles, self.lmax + 1
        centre, neighbour = torch.cat([c.first, c.second]), torch.cat([c.second, c.first])
        r = torch.cat([c.distances, c.distances])
        u = torch.cat([c.vectors, -c.vectors]) / r.unsqueeze(-1)
        kind = c.species[neighbour % n_particles]
        species = c.species.repeat(c.positions.shape[0])
        Y, slope_Y = self.harmonics_and_slopes(u)
        f, f1, f2 = self.radial_functions(r)  # (2, E, R): l = 0 and l > 0
        row = centre * S + kind
        pairs = torch.triu_indices(self.channels, self.channels)
        n_pairs = pairs.shape[1]
        size = self.coefficients.numel()
        G = torch.zeros(n * 3 * S, n_pairs * L, dtype=torch.float64).view(n * 3 * S, n_pairs, L)
        divergence = torch.zeros(S, S, n_pairs, L, dtype=torch.float64)  # moved, centre
        axes = torch.arange(3)
        groups = [torch.nonzero(kind == z).squeeze(-1) for z in range(S)]
        columns = [self.columns(z) for z in range(S)]
        pushes = [torch.zeros(len(g), 3, len(columns[z][0]), L, dtype=torch.float64) for z, g in enumerate(groups)]
        for degree in range(L):
            m = slice(degree**2, (degree + 1) ** 2)
            k = min(degree, 1)
            y, slope = Y[:, m], slope_Y[:, :, m]  # (E, M), (E, 3, M)
            phi = f[k].unsqueeze(2) * y.unsqueeze(1)  # (E, R, M)
            lap = (f2[k] + 2 * f1[k] / r.unsqueeze(1) - degree * (degree + 1) * f[k] / (r * r).unsqueeze(1))
            lap = lap.unsqueeze(2) * y.unsqueeze(1)
            grad = f1[k][:, None, :, None] * (u.unsqueeze(2) * y.unsqueeze(1)).unsqueeze(2) + (f[k] / r.unsqueeze(1))[
                :, None, :, None
            ] * slope.unsqueeze(2)  # (E, 3, R, M)
            A, lap_A = (
                torch.zeros(n * S, R * (2 * degree + 1), dtype=torch.float64)
                .index_add_(0, row, part.flatten(1))
                .view(n, self.channels, -1)
                for part in (phi, lap)
            )
            grad_A = torch.zeros(n * S, grad[0].numel(), dtype=torch.float64).index_add_(0, row, grad.flatten(1))
            grad_A = grad_A.view(n, S, 3, R, -1).transpose(2, 3).reshape(n, self.channels, -1)
            for s in range(S):
                own = species == s
                A_s, lap_s, grad_s = (v[own].transpose(0, 1).flatten(1) for v in (A, lap_A, grad_A))
                cross = lap_s @ A_s.T  # (a, b): lap A_a A_b
                both = grad_s @ grad_s.T
                centre_part = (cross + cross.T + 2 * both)[pairs[0], pairs[1]]
                divergence[s, s, :, degree] -= centre_part
                for z in range(S):
                    of_z = torch.zeros_like(cross)
                    block = slice(z * R, (z + 1) * R)
                    of_z[block] = cross[block]
                    edges = grad[(kind == z) & (species[centre] == s)].transpose(1, 2).transpose(0, 1).flatten(1)
                    of_z[block, block] += edges @ edges.T
                    divergence[z, s, :, degree] -= (of_z + of_z.T)[pairs[0], pairs[1]]
            for z, g in enumerate(groups):
                H = torch.bmm(grad[g].flatten(1, 2), A.transpose(1, 2)[centre[g]])  # (e, 3 R, channels)
                H = H.view(len(g), 3, -1)
                _, one, other, has_other = columns[z]
                push = H.index_select(2, one)
                push += H.index_select(2, other) * has_other
                pushes[z][..., degree] = push
        for z, g in enumerate(groups):
            where = columns[z][0]
            for index, sign in ((neighbour[g], -1), (centre[g], 1)):
                rows = (index.unsqueeze(1) * 3 + axes) * S + species[centre[g]].unsqueeze(1)
                full = torch.zeros(len(g), 3, n_pairs, L, dtype=torch.float64)
                full[:, :, where] = sign * pushes[z]
                G.view(n * 3 * S, -1).index_add_(0, rows.flatten(), full.view(len(g) * 3, -1))
        return G.view(n * 3, size), divergence.view(S, size)

    def columns(self, z):
        """Pairs of channels that a neighbour of species z moves, and where their slopes stand."""
        R = self.radial
        a, b = np.triu_indices(self.channels)
        in_a, in_b = a // R == z, b // R == z
        where = np.flatnonzero(in_a | in_b)
        a, b, in_a, in_b = a[where], b[where], in_a[where], in_b[where]
        one = np.where(in_a, (a - z * R) * self.channels + b, (b - z * R) * self.channels + a)
        other = np.where(in_a & in_b, (b - z * R) * self.channels + a, 0)
        return tuple(torch.as_tensor(v) for v in (where, one, other, (in_a & in_b).astype(float)))

    def design(self, c: Batch) -> tuple[Tensor, Tensor]:
        G, divergence = self.design_by_species(c)
        return G, divergence.sum(0)

    def harmonics_and_slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Y_lm of unit vectors and r times its gradient, shape (E, n_lm) and (E, 3, n_lm)."""
        Y = self.harmonics(u)
        slopes = [torch.zeros(len(u), 3, 1, dtype=u.dtype)]
        some = torch.tensor([0.36, 0.48, 0.8], dtype=torch.float64)
        values = self.harmonics(some.unsqueeze(0))[0]
        for degree in range(1, self.lmax + 1):
            below, m = slice((degree - 1) ** 2, degree**2), slice(degree**2, (degree + 1) ** 2)
            # r^l Y_lm is a product of r^(l-1) Y_(l-1)m' and the vector, and its gradient l times what the vector meets.
            coupling = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64)
            product = torch.einsum("pkm,p,k->m", coupling, values[below], some)
            scale = values[m] @ product / (product @ product)
            solid = degree * scale * torch.einsum("pkm,ep->ekm", coupling, Y[:, below])
            slopes.append(solid - degree * u.unsqueeze(2) * Y[:, m].unsqueeze(1))
        return Y, torch.cat(slopes, 2)

    def radial_functions(self, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f, f', f'' for l = 0 and for l > 0: shape (2, E, radial) each."""
        width, p = self.cutoff - self.start, self.fineness
        inside = ((r > self.start) & (r < self.cutoff)).to(r.dtype)
        t = torch.clamp((r - self.start) / width, 0.0, 1.0)
        x = (1 + p) * t / (1 + p * t)
        x1 = inside * (1 + p) / (1 + p * t) ** 2 / width
        x2 = inside * -2 * p * (1 + p) / (1 + p * t) ** 3 / width**2
        x, x1, x2, k = x.unsqueeze(1), x1.unsqueeze(1), x2.unsqueeze(1), self.k_pi
        q = 1 - x * x
        e, e1, e2 = q**3, -6 * x * q**2, 24 * x * x * q - 6 * q**2
        cos, sin = torch.cos(k * x), torch.sin(k * x)
        h, h1, h2 = cos * e, cos * e1 - k * sin * e, cos * e2 - 2 * k * sin * e1 - k * k * cos * e
        f, f1, f2 = h @ self.mixing, (h1 * x1) @ self.mixing, (h2 * x1**2 + h1 * x2) @ self.mixing
        z = torch.clamp(r / self.start, 0.0, 1.0).unsqueeze(1)
        w, w1, w2 = z**3 * (10 - 15 * z + 6 * z * z), 30 * z**2 * (1 - z) ** 2, 60 * z * (1 - z) * (1 - 2 * z)
        w1, w2 = w1 / self.start, w2 / self.start**2
        return (
            torch.stack([f, f * w]),
            torch.stack([f1, f1 * w + f * w1]),
            torch.stack([f2, f2 * w + 2 * f1 * w1 + f * w2]),
        )

    def quadrature(self) -> tuple[Tensor, Tensor]:
        """Distances (nm) and weights 4 pi r^2 dr between start and cutoff."""
        points, weights = np.polynomial.legendre.leggauss(200)
        width = self.cutoff - self.start
        r = torch.as_tensor(self.start + 0.5 * width * (1 + points))
        return r, 4 * torch.pi * r * r * torch.as_tensor(0.5 * width * weights)

    def orthonormal(self) -> Tensor:
        """Mixing of the radial functions that makes them orthonormal over the volume, one after the other."""
        r, weights = self.quadrature()
        f = self.radial_functions(r)[0][0]
        return torch.linalg.inv(torch.linalg.cholesky(f.T @ (weights.unsqueeze(1) * f))).T

    def roughness(self) -> Tensor:
        return torch.eye(self.coefficients.numel(), dtype=torch.float64)
