"""Exact score matching of what is linear in its parameters: the pair potential, in closed form.

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
from torch import Tensor

from ...energies.pair import spline_derivatives
from ...space.batch import make_batch, pair_species

log = logging.getLogger(__name__)


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
        c = make_batch(positions[chunk].double(), None if box is None else box[chunk], species, pair.cutoff)
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
    first, second = spline_derivatives(t)
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

    Squared fourth differences of each spline's coefficients, weighted by
    1 / (1 + (l / (r - r_0))^4), with l = 0.5 nm and r_0 = start - 0.03 nm: potentials
    are steep and curved near contact and smooth far out.  Chosen by the held-out score
    at sigma = 0 on 2.4 M LiCl (training replicas of three divisions, 500 and 2,000
    frames) among orders 2-5, exponents 2-8 and l = 0.2-3 nm: order 4 beats order 3 by
    600 +- 110 and 280 +- 70 (kJ/mol/nm)^2 per frame, order 2 by ten times that; order 5
    and l = 1 nm score alike.
    """
    n, order = pair.n_basis, 4
    differences = np.diff(np.eye(n), order, axis=0)
    # Coefficient k belongs to the spline centred at start + (k - 1) spacing.
    centre = pair.start + pair.spacing * (np.arange(n - order) + order / 2 - 1)
    weight = 1 / (1 + (0.5 / np.maximum(centre - pair.start + 0.03, 0.03)) ** 4)
    one = differences.T @ (weight[:, None] * differences)
    # Written for knots 0.02 nm apart; differences of a given curve scale as spacing^order,
    # and there are 1/spacing of them.
    one *= (0.02 / pair.spacing) ** (2 * order - 1)
    return torch.as_tensor(np.kron(np.eye(len(pair.coefficients)), one))


def mean_moments(replicas):
    """A and b averaged over the frames of several `Moments`."""
    total = sum(m.weight for m in replicas)
    return sum(m.A * (m.weight / total) for m in replicas), sum(m.b * (m.weight / total) for m in replicas)


def solve(pair, replicas, penalty):
    """Penalised solution c of A c = b, shape of `pair.coefficients`, kJ/mol.

    The last three coefficients of each spline stay zero.
    """
    A, b = mean_moments(replicas)
    matrix, free = penalised(pair, A, penalty)
    c = torch.zeros(pair.coefficients.numel(), dtype=torch.float64)
    c[free] = torch.linalg.solve(matrix, b[free])
    return c.view_as(pair.coefficients)


def penalised(pair, A, penalty):
    """A + penalty R of the free coefficients, and which are free: all but the last three of each spline."""
    free = (torch.arange(pair.n_basis) < pair.n_basis - 3).repeat(len(pair.coefficients))
    matrix = (A + penalty * roughness(pair))[free][:, free]
    # Curves of no fourth difference where no data are: without a ridge the matrix is singular.
    return matrix + 1e-9 * matrix.diagonal().max() * torch.eye(len(matrix), dtype=matrix.dtype), free


def score_objective(c, replicas):
    """c^T A c / 2 - b^T c (kJ^2/mol^2/nm^2 per frame): lower is better, zero for no pair potential.

    kT^2 times Hyvarinen's objective, up to the prior's own part; on held-out frames
    it falls as the mean squared force error / 2 does.
    """
    A, b = mean_moments(replicas)
    c = c.flatten()
    return float(0.5 * c @ A @ c - b @ c)


def held_out_scale(pair, folds, penalty):
    """Best factor on the solution of a penalty, and the held-out score with it.

    A penalty that leaves the least noise also shrinks the forces.  On each fold
    left out, a c scores a^2 c^T A c / 2 - a b^T c; the minimum over one common a
    undoes the shrinkage, and brings the slope of targets on forces to 1.

    Parameters
    ----------
    pair : SplinePair
    folds : list of (list of Moments, list of Moments)
        To fit, and left out.
    penalty : float

    Returns
    -------
    scale : float
    scores : array, shape (n_folds,), kJ^2/mol^2/nm^2 per frame
        `score_objective` of each fold left out, with that factor.
    """
    solutions = [solve(pair, kept, penalty) for kept, _ in folds]
    linear = quadratic = 0.0
    for c, (_, left_out) in zip(solutions, folds):
        A, b = mean_moments(left_out)
        linear, quadratic = linear + b @ c.flatten(), quadratic + c.flatten() @ A @ c.flatten()
    scale = float(linear / quadratic)
    scores = [score_objective(scale * c, left_out) for c, (_, left_out) in zip(solutions, folds)]
    return scale, np.array(scores)


def fit(pair, replicas, config):
    """Fit `pair` in place; penalty and scale are chosen by the held-out score over folds of replicas.

    Of the penalties, the largest whose score is within one standard error of the best one's
    (Breiman et al., Classification and Regression Trees, 1984): held-out scores are noisy, and
    too rough a potential errs far more where data are sparse than too smooth a one.

    Parameters
    ----------
    pair : SplinePair
    replicas : list of Moments
        One per independent replica, or per contiguous stretch of a single run.
    config : PairConfig

    Returns
    -------
    dict
        `penalty`; `scale`; `held_out_score`, mean over folds; `path`, a list of (penalty, score, standard
        error of its difference from the best).
    """
    if len(replicas) < 2:
        raise ValueError("one replica or frame cannot be cross-validated: give at least two frames to train on")
    n_folds = min(config.folds, len(replicas))
    numbered = list(enumerate(replicas))
    folds = [
        ([m for i, m in numbered if i % n_folds != fold], [m for i, m in numbered if i % n_folds == fold])
        for fold in range(n_folds)
    ]
    scales, scores = zip(*[held_out_scale(pair, folds, penalty) for penalty in config.penalties])
    scores = np.array(scores)
    best = scores.mean(1).argmin()
    errors = (scores - scores[best]).std(1, ddof=1) / np.sqrt(n_folds)
    path = list(zip(config.penalties, scores.mean(1).tolist(), errors.tolist()))
    allowed = scores.mean(1) <= scores.mean(1)[best] + errors
    chosen = max(np.flatnonzero(allowed), key=lambda row: config.penalties[row])
    penalty, score, scale = config.penalties[chosen], path[chosen][1], float(scales[chosen])
    pair.coefficients.copy_(scale * solve(pair, replicas, penalty))
    log.info(
        "pair potential: penalty %g, scale %.3f, held-out score %.0f kJ^2/mol^2/nm^2 per frame", penalty, scale, score
    )
    return {"penalty": penalty, "scale": scale, "held_out_score": score, "path": path}
