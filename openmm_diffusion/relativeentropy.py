"""The weight of basins: a pair potential that also has the data's g(r), by relative entropy.

Score matching knows the relative population of two basins only through the forces on the
sparsely sampled barrier between them.  The relative entropy of the data to the model,

    S_rel(c) = c . <B>_data / kT + ln Z(c) + const,   B_k = sum_{i<j} B_k(r_ij),

knows it from the populations themselves; at its minimum <B_k>_model = <B_k>_data, which is
to say equal g(r).  Its gradient and Hessian need averages over the model's own ensemble, of
which molecular dynamics at coefficients c_0 gives a sample:

    S_rel(c) = S_rel(c_0) + (<B>_data - <B>_0) . d / kT + d^T C d / 2 kT^2,   d = c - c_0,

with C the covariance of B there.  The sum of both objectives, forces from the one and
populations from the other, is quadratic in c:

    c^T A c / 2 - b^T c + penalty + w kT^2 S_rel(c)

References
----------
Shell, J. Chem. Phys. 129, 144108 (2008); Lyubartsev & Laaksonen, Phys. Rev. E 52, 3730 (1995).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .geometry import configuration, pair_species
from .pair import splines
from .scorematching import mean_moments, roughness, score_objective


@dataclass
class Sample:
    """Averages over the model's own ensemble.

    Attributes
    ----------
    c : Tensor, shape (n_coefficients,), kJ/mol
        Coefficients c_0 that the ensemble belongs to.
    B : Tensor, shape (n_coefficients,)
        <B>_0.
    C : Tensor, shape (n_coefficients, n_coefficients)
        Covariance of B.
    """

    c: Tensor
    B: Tensor
    C: Tensor


def basis_sums(pair, positions, box, species, frames_per_chunk=64):
    """B_k of every frame, shape (n_frames, n_coefficients): how often the pairs visit each basis function.

    Parameters
    ----------
    pair : SplinePair
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,)
    """
    size, rows = pair.coefficients.numel(), []
    for start in range(0, len(positions), frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        c = configuration(positions[chunk].double(), None if box is None else box[chunk], species, pair.cutoff)
        knot, t = pair.locate(torch.clamp(c.distances, min=pair.start))
        column = c.first // positions.shape[1] * size + pair.kinds[pair_species(c)] * pair.n_basis + knot
        sums = torch.zeros(len(c.positions) * size, dtype=torch.float64)
        for m, weight in enumerate(splines(t)):
            sums.index_add_(0, column + m, weight)
        rows.append(sums.view(-1, size))
    return torch.cat(rows)


def sample(pair, sums):
    """`Sample` of the ensemble of `pair` from its `basis_sums`."""
    return Sample(pair.coefficients.flatten().clone(), sums.mean(0), torch.cov(sums.T))


def change(c, data, model, kT):
    """S_rel(c) - S_rel(c_0) per frame (dimensionless), to second order around the `Sample`.

    Parameters
    ----------
    c : Tensor, kJ/mol
    data : Tensor, shape (n_coefficients,)
        <B>_data.
    model : Sample
    kT : float, kJ/mol
    """
    d = c.flatten() - model.c
    return float((data - model.B) @ d / kT + 0.5 * d @ model.C @ d / kT**2)


def solve(pair, replicas, data, model, penalty, weight, kT):
    """Minimum of score matching, penalty and `weight` kT^2 S_rel together, shape of `pair.coefficients`, kJ/mol.

    Parameters
    ----------
    pair : SplinePair
    replicas : list of Moments
    data : Tensor
        <B>_data of the same frames.
    model : Sample
    penalty : float
    weight : float, 1/nm^2
        0: score matching alone.
    kT : float, kJ/mol
    """
    A, b = mean_moments(replicas)
    free = (torch.arange(pair.n_basis) < pair.n_basis - 3).repeat(len(pair.coefficients))
    matrix = A + penalty * roughness(pair) + weight * model.C
    right = b - weight * kT * (data - model.B) + weight * (model.C @ model.c)
    matrix, right = matrix[free][:, free], right[free]
    ridge = 1e-9 * matrix.diagonal().max() * torch.eye(len(matrix), dtype=matrix.dtype)
    c = torch.zeros(pair.coefficients.numel(), dtype=torch.float64)
    c[free] = torch.linalg.solve(matrix + ridge, right)
    return c.view_as(pair.coefficients)


def choose_weight(pair, replicas, sums, model, penalty, weights, kT, n_folds=5):
    """The largest weight whose held-out score is within one standard error of the best.

    Forces decide how far populations may pull: the held-out score is that of score
    matching, on replicas left out, and the standard error that of its difference from the
    best over the folds (the one-standard-error rule of Breiman et al., CART, 1984).

    Parameters
    ----------
    pair : SplinePair
    replicas : list of Moments
    sums : list of Tensor
        <B>_data of each replica.
    model, penalty, kT
        As `solve`.
    weights : list of float, 1/nm^2
        Tried beside 0.
    n_folds : int

    Returns
    -------
    weight : float, 1/nm^2
    path : list of (weight, held-out score, its error against the best, held-out change of S_rel)
    """
    n_folds = min(n_folds, len(replicas))
    weights = [0.0, *sorted(weights)]
    scores, entropies = np.zeros((len(weights), n_folds)), np.zeros((len(weights), n_folds))
    for fold in range(n_folds):
        out = [i for i in range(len(replicas)) if i % n_folds == fold]
        kept = [i for i in range(len(replicas)) if i % n_folds != fold]
        data, left = mean_sums(replicas, sums, kept), mean_sums(replicas, sums, out)
        for row, weight in enumerate(weights):
            c = solve(pair, [replicas[i] for i in kept], data, model, penalty, weight, kT)
            scores[row, fold] = score_objective(c, [replicas[i] for i in out])
            entropies[row, fold] = change(c, left, model, kT)
    best = scores.mean(1).argmin()
    errors = (scores - scores[best]).std(1, ddof=1) / np.sqrt(n_folds)
    allowed = scores.mean(1) <= scores.mean(1)[best] + errors
    path = list(zip(weights, scores.mean(1).tolist(), errors.tolist(), entropies.mean(1).tolist()))
    return weights[int(np.flatnonzero(allowed).max())], path


def mean_sums(replicas, sums, chosen=None):
    """<B>_data over replicas, weighted by their frames."""
    chosen = range(len(replicas)) if chosen is None else chosen
    total = sum(replicas[i].weight for i in chosen)
    return sum(sums[i] * (replicas[i].weight / total) for i in chosen)
