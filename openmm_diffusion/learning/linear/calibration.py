"""Factors that undo the shrinkage of penalised solutions, one for each energy.

A penalty that leaves the least noise also shrinks the forces, and held-out frames
tell by how much.  On a fold left out, the solution c = sum_f c_f of several
energies, each with a factor a_f, scores

    a^T Q a / 2 - l^T a,   Q_fg = c_f^T A_out c_g,   l_f = b_out . c_f

and the minimum over a of the sum over folds undoes the shrinkage of each energy.
For one energy it brings the slope of targets on forces to 1.  One factor common to
all would be ruled by the stiffest: beside bonds whose held-out score is 1e7, a pair
potential could be shrunk by half and nothing would show.  Where no energy is that
stiff, factors of their own cost nothing: pair potential and many-body energy of
LiCl, six random subsets of 500 frames, rms force error on unseen replicas 0.742
kJ/mol/A on average either way, single ones between -0.007 and +0.008 of each other.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

#: Least eigenvalue of Q, scaled to a diagonal of ones, at which each energy has a factor of its own.  Of two energies
#: it is 1 - |correlation| of their forces: 0.28 to 0.48 for a pair potential beside a many-body energy of the same
#: ions.  Below it their forces nearly cancel, or are nearly one force: the data fix the sum, and factors of their own
#: would blow up what is left of it.
CONDITION = 0.05


class Scale(NamedTuple):
    """Best factors on the solutions of a penalty.

    Attributes
    ----------
    factors : array, shape (n_energies,)
    errors : array, shape (n_energies,)
        Standard errors: jackknife over folds, the solutions held fixed.  It is how well so many frames know the
        slope of targets on given forces; the factors themselves scatter less, for what is too large in one fold
        is so in the solutions of the others.
    scores : array, shape (n_folds,), kJ^2/mol^2/nm^2 per frame
        `score_objective` of each fold left out, with these factors.
    own : bool
        Whether each energy has a factor of its own; else all have the same.
    """

    factors: np.ndarray
    errors: np.ndarray
    scores: np.ndarray
    own: bool


def best_scale(solutions, folds, sizes, fixed=False):
    """`Scale` of solutions on the folds that they did not see.

    Each energy has a factor of its own where the forces of all are told apart (`CONDITION`), and no factor is below
    zero: that would turn a force round.  One energy alone has the minimum itself, whatever its sign.

    Parameters
    ----------
    solutions : list of Tensor, shape (n_coefficients,), kJ/mol
        One for each fold, from the other folds.
    folds : list of Fold
    sizes : list of int
        Number of coefficients of each energy.
    fixed : bool
        Leave all factors at one.

    Returns
    -------
    Scale
    """
    forms = [_forms(c, fold, sizes) for c, fold in zip(solutions, folds)]
    quadratic, linear = (np.array(part) for part in zip(*forms))
    # An energy without any force, such as that of pairs where all are excluded, has no say in the factors of others.
    alive = np.diag(quadratic.sum(0)) > 0
    own = len(sizes) > 1 and alive.any() and told_apart(quadratic.sum(0)[np.ix_(alive, alive)])
    find = _one if fixed else _own if own else _common
    factors = find(quadratic, linear)
    kept = [np.delete(np.arange(len(folds)), number) for number in range(len(folds))]
    without = np.array([find(quadratic[rows], linear[rows]) for rows in kept])
    spread = (without - without.mean(0)) ** 2
    errors = np.sqrt((len(folds) - 1) / len(folds) * spread.sum(0))
    if own or fixed:
        scores = 0.5 * np.einsum("f,ifg,g->i", factors, quadratic, factors) - linear @ factors
    else:
        scores = 0.5 * factors[0] ** 2 * quadratic.sum((1, 2)) - factors[0] * linear.sum(1)
    return Scale(factors, errors, scores, own)


def told_apart(Q):
    """Whether the forces of several energies are told apart: no energy is zero, and `CONDITION` holds."""
    size = np.sqrt(np.maximum(np.diag(Q), 0))
    return bool((size > 0).all()) and float(np.linalg.eigvalsh(Q / np.outer(size, size))[0]) >= CONDITION


def scaled(coefficients, factors, sizes):
    """Coefficients (n_coefficients,) with the factor of each energy."""
    parts = coefficients.flatten().split(sizes)
    return torch.cat([float(a) * part for a, part in zip(factors, parts, strict=True)])


def _forms(c, fold, sizes):
    """Q and l of one fold."""
    if len(sizes) == 1:
        return np.array([[float(c @ fold.A_out @ c)]]), np.array([float(fold.b_out @ c)])
    # One product for all: A_out may be large, and is read once.
    parts = torch.block_diag(*c.split(sizes))
    return (parts @ fold.A_out @ parts.T).numpy(), (parts @ fold.b_out).numpy()


def _own(quadratic, linear):
    """A factor for each energy, none below zero."""
    values, vectors = np.linalg.eigh(quadratic.sum(0))
    known = values > 1e-12 * values[-1]  # an energy may be zero in the folds that are left
    root = np.sqrt(values[known])
    return nnls(root[:, None] * vectors.T[known], vectors.T[known] @ linear.sum(0) / root)[0]


def _one(quadratic, linear):
    """No factor."""
    return np.ones(linear.shape[1])


def _common(quadratic, linear):
    """One factor for all."""
    return np.full(linear.shape[1], linear.sum() / quadratic.sum())
