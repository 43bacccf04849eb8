"""Pair potentials of cubic B-splines, fitted in closed form by exact score matching.

U(y) = sum_{i<j} u_ab(r_ij) with u_ab(r) = sum_k c_k B_k(r) is linear in c, and so
is its force F = G c.  The c that minimises Hyvarinen's score-matching objective
<|F|^2 / 2 kT^2 + div F / kT>, with F = F_prior + G c, solves

    A c = b,   A = <G^T G>,   b = -<G^T F_prior + kT div G>

with averages over configurations alone.  Averages over noised frames give the
optimal pair potential at that noise level, U_sigma, without the variance
(kT/sigma)^2 of denoising labels; averages over clean frames give sigma = 0.
Every B_k vanishes at the cutoff with its first two derivatives: otherwise the
partial integration behind the objective misses a boundary term.

References
----------
Hyvarinen, J. Mach. Learn. Res. 6, 695 (2005).
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor, nn

from .geometry import Configuration, configuration, pair_species, sum_pairs, within

log = logging.getLogger(__name__)


class PairConfig(BaseModel):
    """The spline basis and how it is fitted.

    Attributes
    ----------
    cutoff : float, nm
    start : float, nm
        First knot: below it the potential goes on linearly.
    spacing : float, nm
        Distance of the knots.
    draws : int
        Antithetic noise pairs per frame that the averages run over (ignored at sigma = 0).
    penalties : list of float
        Strengths of the smoothness penalty, of which cross-validation over replicas
        picks the one with the best held-out score.
    folds : int
    """

    model_config = ConfigDict(extra="forbid")

    cutoff: PositiveFloat = 1.0
    start: PositiveFloat = 0.18
    spacing: PositiveFloat = 0.02
    draws: PositiveInt = 2
    penalties: list[PositiveFloat] = [float(10**e) for e in np.arange(0, 6.5, 0.5)]
    folds: PositiveInt = 5


class SplinePair(nn.Module):
    """Sum of pair potentials, one spline per pair of species.

    Parameters
    ----------
    n_species : int
    cutoff, start, spacing : float, nm
        As in `PairConfig`.

    Attributes
    ----------
    coefficients : Tensor, shape (n_species (n_species + 1) / 2, n_basis), kJ/mol
        Rows in the order (0, 0), (0, 1), ..., (1, 1), ...  The last three are zero.
    """

    def __init__(self, n_species, cutoff, start, spacing):
        super().__init__()
        if not start + 4 * spacing < cutoff:
            raise ValueError(
                f"pair.start is {start:g} nm: it must lie at least four knots below pair.cutoff = {cutoff:g} nm"
            )
        n_intervals = round((cutoff - start) / spacing)
        self.cutoff, self.start = cutoff, start
        self.spacing = (cutoff - start) / n_intervals
        self.n_basis = n_intervals + 3
        kinds = torch.zeros(n_species, n_species, dtype=torch.int64)
        rows, columns = np.triu_indices(n_species)
        kinds[rows, columns] = torch.arange(len(rows))
        kinds[columns, rows] = torch.arange(len(rows))
        self.register_buffer("kinds", kinds, persistent=False)
        self.register_buffer("coefficients", torch.zeros(len(rows), self.n_basis, dtype=torch.float64))

    def forward(self, c: Configuration) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        near = within(c, self.cutoff)
        first, second = pair_species(near)
        kind = self.kinds[first, second]
        # Below the first knot: straight on, with the slope there.
        inside = torch.clamp(near.distances, min=self.start)
        knot, t = self.locate(inside)
        coefficients = self.coefficients.to(t.dtype)
        energy = torch.zeros_like(t)
        for m, weight in enumerate(_splines(t)):
            energy = energy + weight * coefficients[kind, knot + m]
        slope = 0.5 * (coefficients[:, 2] - coefficients[:, 0])[kind] / self.spacing
        return sum_pairs(near, energy + slope * (near.distances - inside))

    def locate(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the interval between knots and the position in it, 0 to 1."""
        s = (distances - self.start) / self.spacing
        knot = torch.clamp(torch.floor(s.detach()), 0, self.n_basis - 4)
        return knot.to(torch.int64), s - knot


def _splines(t: Tensor) -> list[Tensor]:
    """The four uniform cubic B-splines that are not zero at t in [0, 1)."""
    s = 1 - t
    return [s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6]


def _spline_derivatives(t):
    """First and second derivatives of `_splines` by t."""
    s = 1 - t
    first = [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * s**2 - 4 * s) / 2, t**2 / 2]
    second = [s, 3 * t - 2, 3 * s - 2, t]
    return torch.stack(first, -1), torch.stack(second, -1)


@dataclass
class Moments:
    """Averages that the fit needs, of one replica.

    Attributes
    ----------
    A : Tensor, shape (n_coefficients, n_coefficients), 1/nm^2
        <G^T G> per frame.
    b : Tensor, shape (n_coefficients,), kJ/mol/nm^2
        -<G^T F_prior + kT div G> per frame.
    weight : float
        Frames averaged over.
    """

    A: Tensor
    b: Tensor
    weight: float


def moments(pair, positions, prior_forces, box, species, kT, frames_per_chunk=32):
    """`Moments` of a set of configurations.

    Parameters
    ----------
    pair : SplinePair
    positions, prior_forces : Tensor, shape (n_frames, n_particles, 3), nm and kJ/mol/nm
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,)
    kT : float, kJ/mol
    """
    size = pair.coefficients.numel()
    A, b = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for start in range(0, len(positions), frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        c = configuration(positions[chunk].double(), None if box is None else box[chunk], species, pair.cutoff)
        G, divergence = design(pair, c)
        A += G.T @ G
        b -= G.T @ prior_forces[chunk].double().reshape(-1) + kT * divergence
    return Moments(A / len(positions), b / len(positions), float(len(positions)))


def design(pair, c):
    """Force of every basis function on every coordinate, and its divergence.

    Returns
    -------
    G : Tensor, shape (n_frames n_particles 3, n_coefficients), 1/nm
        F = G c.
    divergence : Tensor, shape (n_coefficients,), 1/nm^2
        sum over frames of div G = -2 sum_{i<j} (B'' + 2 B'/r): both ends of a pair move.
    """
    kind = pair.kinds[pair_species(c)]
    knot, t = pair.locate(torch.clamp(c.distances, min=pair.start))
    first, second = _spline_derivatives(t)
    # Below the first knot the potential is straight.
    second = second * (c.distances >= pair.start).unsqueeze(-1)
    first, second = first / pair.spacing, second / pair.spacing**2
    size = pair.coefficients.numel()
    column = (kind * pair.n_basis + knot).unsqueeze(-1) + torch.arange(4)
    divergence = torch.zeros(size, dtype=torch.float64)
    divergence.index_add_(0, column.flatten(), -2 * (second + 2 * first / c.distances.unsqueeze(-1)).flatten())
    n_coordinates = c.positions.numel()
    G = torch.zeros(n_coordinates * size, dtype=torch.float64)
    unit_vectors = c.vectors / c.distances.unsqueeze(-1)
    for axis in range(3):
        push = (first * unit_vectors[:, axis : axis + 1]).flatten()
        G.index_add_(0, ((c.first.unsqueeze(-1) * 3 + axis) * size + column).flatten(), push)
        G.index_add_(0, ((c.second.unsqueeze(-1) * 3 + axis) * size + column).flatten(), -push)
    return G.view(n_coordinates, size), divergence


def roughness(pair):
    """Quadratic form of the smoothness penalty, shape (n_coefficients, n_coefficients).

    Squared third differences of each spline's coefficients, weighted by
    1 / (1 + (l / (r - r_0))^4), with l = 0.3 nm and r_0 = start - 0.03 nm: potentials
    are steep and curved near contact and smooth far out.  Order, exponent and l had
    the best held-out score on 2.4 M LiCl among orders 2-3, exponents 0-6 and
    l = 0.2-0.5 nm.
    """
    n = pair.n_basis
    differences = np.diff(np.eye(n), 3, axis=0)
    # Coefficient k belongs to the spline centred at start + (k - 1) spacing.
    centre = pair.start + pair.spacing * (np.arange(n - 3) + 0.5)
    weight = 1 / (1 + (0.3 / np.maximum(centre - pair.start + 0.03, 0.03)) ** 4)
    one = differences.T @ (weight[:, None] * differences)
    # Written for knots 0.02 nm apart; third differences of a given curve scale as spacing^3,
    # and there are 1/spacing of them.
    one *= (0.02 / pair.spacing) ** 5
    return torch.as_tensor(np.kron(np.eye(len(pair.coefficients)), one))


def solve(pair, replicas, penalty):
    """Penalised solution c of A c = b, shape of `pair.coefficients`, kJ/mol.

    The last three coefficients of each spline stay zero.
    """
    total = sum(m.weight for m in replicas)
    A = sum(m.A * (m.weight / total) for m in replicas)
    b = sum(m.b * (m.weight / total) for m in replicas)
    free = (torch.arange(pair.n_basis) < pair.n_basis - 3).repeat(len(pair.coefficients))
    matrix = (A + penalty * roughness(pair))[free][:, free]
    # Curves of no third difference where no data are: without a ridge the matrix is singular.
    ridge = 1e-9 * matrix.diagonal().max() * torch.eye(len(matrix), dtype=matrix.dtype)
    c = torch.zeros(pair.coefficients.numel(), dtype=torch.float64)
    c[free] = torch.linalg.solve(matrix + ridge, b[free])
    return c.view_as(pair.coefficients)


def score_objective(c, replicas):
    """c^T A c / 2 - b^T c (kJ^2/mol^2/nm^2 per frame): lower is better, zero for no pair potential.

    kT^2 times Hyvarinen's objective, up to the prior's own part; on held-out frames
    it falls as the mean squared force error / 2 does.
    """
    c = c.flatten()
    total = sum(m.weight for m in replicas)
    return float(sum(m.weight / total * (0.5 * c @ m.A @ c - m.b @ c) for m in replicas))


def fit(pair, replicas, config):
    """Fit `pair` in place; the penalty is chosen by the held-out score over folds of replicas.

    Parameters
    ----------
    pair : SplinePair
    replicas : list of Moments
        One per independent replica, or per contiguous stretch of a single run.
    config : PairConfig

    Returns
    -------
    dict
        `penalty`; `held_out_score`, mean over folds; `path`, a list of (penalty, score, standard error).
    """
    path = []
    folds = min(config.folds, len(replicas))
    for penalty in config.penalties:
        scores = []
        for fold in range(folds):
            kept = [m for i, m in enumerate(replicas) if i % folds != fold]
            left_out = [m for i, m in enumerate(replicas) if i % folds == fold]
            scores.append(score_objective(solve(pair, kept, penalty), left_out))
        path.append((penalty, float(np.mean(scores)), float(np.std(scores) / np.sqrt(folds))))
    penalty, score, _ = min(path, key=lambda row: row[1])
    pair.coefficients.copy_(solve(pair, replicas, penalty))
    log.info("pair potential: penalty %g, held-out score %.1f kJ^2/mol^2/nm^2 per frame", penalty, score)
    return {"penalty": penalty, "held_out_score": score, "path": path}
