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
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...space.batch import make_batch

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

    def weighted(self, factor):
        """The same, each frame counting `factor` times."""
        return self if factor == 1 else replace(self, weight=factor * self.weight)


def moments(energy, positions, prior_forces, box, species, kT, frames_per_chunk=32):
    """`Moments` of a set of configurations.

    Parameters
    ----------
    energy : LinearEnergy
    positions, prior_forces : Tensor, shape (n_frames, n_particles, 3), nm and kJ/mol/nm
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,)
    kT : float, kJ/mol
    """
    size = energy.coefficients.numel()
    A, b = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for start in range(0, len(positions), frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        c = make_batch(positions[chunk].double(), None if box is None else box[chunk], species, energy.cutoff)
        G, divergence = energy.design(c)
        A += G.T @ G
        b -= G.T @ prior_forces[chunk].double().reshape(-1) + kT * divergence
    return Moments(A / len(positions), b / len(positions), float(len(positions)))


def mean_moments(replicas):
    """A and b averaged over the frames of several `Moments`."""
    total = sum(m.weight for m in replicas)
    return sum(m.A * (m.weight / total) for m in replicas), sum(m.b * (m.weight / total) for m in replicas)


def solve(energy, replicas, penalty):
    """Penalised solution c of A c = b, shape of `energy.coefficients`, kJ/mol.

    The last three coefficients of each spline stay zero.
    """
    A, b = mean_moments(replicas)
    matrix, free = penalised(energy, A, penalty)
    c = torch.zeros(energy.coefficients.numel(), dtype=torch.float64)
    c[free] = torch.linalg.solve(matrix, b[free])
    return c.view_as(energy.coefficients)


def penalised(energy, A, penalty):
    """A + penalty R of the free coefficients, and which are free: all but the last three of each spline."""
    free = energy.free()
    matrix = (A + penalty * energy.roughness())[free][:, free]
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


def held_out_scale(energy, folds, penalty):
    """Best factor on the solution of a penalty, and the held-out score with it.

    A penalty that leaves the least noise also shrinks the forces.  On each fold
    left out, a c scores a^2 c^T A c / 2 - a b^T c; the minimum over one common a
    undoes the shrinkage, and brings the slope of targets on forces to 1.

    Parameters
    ----------
    energy : LinearEnergy
    folds : list of (list of Moments, list of Moments)
        To fit, and left out.
    penalty : float

    Returns
    -------
    scale : float
    scores : array, shape (n_folds,), kJ^2/mol^2/nm^2 per frame
        `score_objective` of each fold left out, with that factor.
    """
    solutions = [solve(energy, kept, penalty) for kept, _ in folds]
    linear = quadratic = 0.0
    for c, (_, left_out) in zip(solutions, folds):
        A, b = mean_moments(left_out)
        linear, quadratic = linear + b @ c.flatten(), quadratic + c.flatten() @ A @ c.flatten()
    scale = float(linear / quadratic)
    scores = [score_objective(scale * c, left_out) for c, (_, left_out) in zip(solutions, folds)]
    return scale, np.array(scores)


def fit(energy, replicas, config, noun="pair potential", systems=None):
    """Fit `energy` in place; penalty and scale are chosen by the held-out score over folds of replicas.

    The penalty chosen is the largest whose score is within one standard error of the best one's
    (Breiman et al., Classification and Regression Trees, 1984): held-out scores are noisy, and
    too rough a potential errs far more where data are sparse than too smooth a one.

    Parameters
    ----------
    energy : LinearEnergy
    replicas : list of Moments
        One per independent replica, or per contiguous stretch of a single run.
    config : LinearSettings
    noun : str
        What the log calls the energy.
    systems : list of int, optional
        Number of the system that each replica is of; None: all of one.

    Returns
    -------
    dict
        `penalty`; `scale`; `held_out_score`, mean over folds; `path`, a list of (penalty, score, standard
        error of its difference from the best); `system_scores`, the held-out score of each system, per frame of it.
    """
    if len(replicas) < 2:
        raise ValueError("one replica or frame cannot be cross-validated: give at least two frames to train on")
    n_folds = min(config.folds, len(replicas))
    numbered = list(enumerate(replicas))
    folds = [
        ([m for i, m in numbered if i % n_folds != fold], [m for i, m in numbered if i % n_folds == fold])
        for fold in range(n_folds)
    ]
    scales, scores = zip(*[held_out_scale(energy, folds, penalty) for penalty in config.penalties])
    scores = np.array(scores)
    best = scores.mean(1).argmin()
    errors = (scores - scores[best]).std(1, ddof=1) / np.sqrt(n_folds)
    path = list(zip(config.penalties, scores.mean(1).tolist(), errors.tolist()))
    allowed = scores.mean(1) <= scores.mean(1)[best] + errors
    chosen = max(np.flatnonzero(allowed), key=lambda row: config.penalties[row])
    penalty, score, scale = config.penalties[chosen], path[chosen][1], float(scales[chosen])
    energy.coefficients.copy_(scale * solve(energy, replicas, penalty))
    log.info("%s: penalty %g, scale %.3f, held-out score %.0f kJ^2/mol^2/nm^2 per frame", noun, penalty, scale, score)
    found = {"penalty": penalty, "scale": scale, "held_out_score": score, "path": path}
    fold_of = [i % n_folds for i in range(len(replicas))]
    kept = [scale * solve(energy, kept, penalty) for kept, _ in folds] if systems and len(set(systems)) > 1 else None
    return found | {"system_scores": [score] if kept is None else _scores_of(kept, replicas, fold_of, systems)}


def _scores_of(solutions, replicas, fold_of, systems):
    """Held-out score of each system: of each of its replicas under the fit that did not see it, weighted by frames."""
    scores = []
    for number in sorted(set(systems)):
        own = [i for i, system in enumerate(systems) if system == number]
        total = sum(replicas[i].weight for i in own)
        parts = [replicas[i].weight / total * score_objective(solutions[fold_of[i]], [replicas[i]]) for i in own]
        scores.append(sum(parts))
    return scores
