"""How much labels count beside noise: four answers, one family.

The pull of a frame on the coefficients is g = A c - b, with the target of noise g_D, with its force label g_F; both
have the mean zero where the force is right, and so has their difference.  A labelled frame pulls by (1 - w) g_D + w g_F
and counts 1; a frame without label pulls by g_D and counts u.  With the (co)variances V of the pulls of one frame, that
of n_l labelled and n_u other frames is least, for a given sum of weights, where

    w = (V_DD - V_DF) / (V_DD + V_FF - 2 V_DF),    u = V_mix / V_DD,    V_mix = (1-w)^2 V_DD + w^2 V_FF + 2 w (1-w) V_DF

The first is the control variate's coefficient, g_D - g_F being the variate; the second is what a frame without label
knows beside one with.  Where the two pulls are independent, V_DF = 0, they are w = V_DD / (V_DD + V_FF) and u = 1 - w:
the package's `target: hybrid`.  Where pulls are replaced by targets, one draw each, and every frame counts 1, V_DD is
(kT/sigma)^2 and V_FF the mean square of a label (docs/theory.md, 9.2): the coefficient of arXiv:2512.20003, one number
for each noise level (and here for each species).
"""

import numpy as np
import torch

from openmm_diffusion.learning.linear.forcematching import balance
from openmm_diffusion.learning.linear.scorematching import fit, mean_moments, penalised, solve

#: Names of the answers; all are the same without labels, where noise is the only witness.
POSITIONS, LABELS = "positions alone", "labels alone"
PACKAGE, TEXTBOOK, MEASURED = "package", "control variate, by targets", "control variate, by pulls"
PASSES = 3


def fitted(energy, parts, settings, strategy, target_weights=None, start=None):
    """Fit `energy` in place.

    Parameters
    ----------
    energy : LinearSum
    parts : list of Parts
        One for each replica.
    settings : list of LinearSettings
        One for each energy of the sum.
    strategy : str
    target_weights : array, shape (n_species,), optional
        Of labels, for `TEXTBOOK`.
    start : dict, optional
        Result of the fit of the same frames to positions alone, where the measuring of weights begins.

    Returns
    -------
    dict
        As `scorematching.fit`, with `weights` (of labels) and `others` (of frames without), by species.
    """
    n = energy.n_species
    if strategy == POSITIONS:
        weights, others = np.zeros(n), np.ones(n)
    elif strategy == LABELS:
        weights, others = np.ones(n), np.zeros(n)
    elif strategy == TEXTBOOK:
        weights, others = target_weights, np.ones(n)
    else:
        energy.assign(start["coefficients"])
        for _ in range(PASSES):
            if strategy == PACKAGE:
                weights = balance(energy, [part.moments() for part in parts], start["penalty"])
                others = 1 - weights
            else:
                weights, others = least_variance(pulls(energy, parts, start["penalty"]))
            energy.assign(solve(energy, blended(parts, weights, others), start["penalty"]))
    result = fit(energy, blended(parts, weights, others), settings)
    return {**result, "weights": weights, "others": others, "coefficients": energy.coefficients}


def blended(parts, weights, others):
    """`Moments` of the replicas of which any frame counts."""
    found = (part.blend(weights, others) for part in parts)
    return [moments for moments in found if moments is not None]


def pulls(energy, parts, penalty):
    """(Co)variances of the pulls of a labelled frame by noise and by label, from their scatter over replicas.

    In the metric (A + penalty R)^-1, in which the square of a pull is a squared error of the force.

    Returns
    -------
    array, shape (n_species, 2, 2)
    """
    c, n = energy.coefficients.flatten(), energy.n_species
    A, _ = mean_moments(blended(parts, np.zeros(n), np.ones(n)))
    metric, free = penalised(energy, A, penalty)
    labelled = [part.labelled for part in parts if part.labelled[-1] > 0]
    counts = torch.tensor([count for *_, count in labelled], dtype=torch.float64)
    found = []
    for s in range(n):
        both = torch.stack([torch.stack([A[s] @ c - b[s] for b in (noise, label)]) for A, noise, label, _ in labelled])
        mean = both.sum(0) / counts.sum()
        off = (both - counts[:, None, None] * mean)[..., free]
        solved = torch.linalg.solve(metric, off.flatten(0, 1).T).T.view_as(off)
        found.append(torch.einsum("rip,rjp->ij", off, solved) / counts.sum() * len(off) / (len(off) - 1))
    return torch.stack(found).numpy()


def least_variance(V):
    """Weights of labels, and of frames without, that leave the summed pull the least variance; V (n_species, 2, 2)."""
    DD, FF, DF = V[:, 0, 0], V[:, 1, 1], V[:, 0, 1]
    w = np.clip((DD - DF) / np.maximum(DD + FF - 2 * DF, 1e-300), 0, 1)
    mixed = (1 - w) ** 2 * DD + w**2 * FF + 2 * w * (1 - w) * DF
    return w, np.clip(mixed / DD, 0, 1)


def by_targets(labels, species, sigma, kT):
    """Weight of a force label beside one denoising label, (kT/sigma)^2 / ((kT/sigma)^2 + <F_label^2>), by species.

    Parameters
    ----------
    labels : array, shape (n_frames, n_particles, 3), kJ/mol/nm
    species : array, shape (n_particles,)
    sigma : float, nm
        0: labels alone count where they are.
    kT : float, kJ/mol
    """
    square = np.array([np.mean(labels[:, species == s] ** 2) for s in range(species.max() + 1)])
    return np.ones_like(square) if sigma == 0 else 1 / (1 + square * sigma**2 / kT**2)
