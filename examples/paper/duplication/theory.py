"""The two variances of 04_duplication.py for LiCl, predicted without any fit to few frames.

The pair potential from n frames with m draws solves (A + R) c = <G^T (T - F_prior)> with labels T = -kT eps/sigma at
y = x + sigma eps.  About the reference F* the right side scatters by the mean of g = G^T (T - F*(y)), so that with
C the covariance of g the squared error of the force, per component of the test frames, is that of

    tr[(A + R)^-1 C (A + R)^-1 A_test] / components

for C between frames (averaged over draws): A of the law; for C between the draws of one frame: B.  The leading order
of B takes (kT/sigma)^2 for the variance of every label.  It is too large, for at a given y that is

    Cov(T | y) = (kT/sigma)^2 (1 + sigma^2 grad grad log p_sigma(y)),

less where the potential is stiff, and only a part of that is between the draws of one frame.
"""

import numpy as np
import torch

from openmm_diffusion.learning.linear.scorematching import moments, penalised
from openmm_diffusion.noise import draw_noise
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.units import thermal_energy


def variances(denoiser, penalty, pool, test, sigma, count, draws):
    """A and B of the law, and B to leading order, (kJ/mol/nm)^2.

    Parameters
    ----------
    denoiser : Denoiser
        The reference: a Coulomb prior, and a pair potential of that penalty (float) fitted to the pool at sigma.
    pool, test : Frames
        `count` frames of the pool, evenly spaced, are noised; the test frames say where errors count.
    sigma : float, nm
    count, draws : int
        Frames, and independent draws of noise of each.
    """
    pair, prior, kT = denoiser.modules()[-1], denoiser.subset({"coulomb"}), thermal_energy(pool.temperature)
    # As fitted, before training scaled it: with a fixed penalty there are no folds to scale by.
    coefficients = pair.coefficients.double().flatten() / denoiser.header.held_out["pair_scale"]
    some = pool[np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)]
    species, boxes = torch.as_tensor(denoiser.species_index(some.species)), torch.as_tensor(some.boxes)
    x = torch.as_tensor(some.positions, dtype=torch.float64)
    A, g = 0, np.zeros((len(x), draws, len(coefficients)))
    for d, eps in enumerate(draw_noise(x, draws, False, torch.Generator().manual_seed(1))):
        y = x + sigma * eps
        rest = -kT * eps / sigma - torch.as_tensor(prior.forces(y.numpy(), some.boxes), dtype=torch.float64)
        for k in range(len(x)):
            G, _ = pair.design(make_batch(y[k : k + 1], boxes[k : k + 1], species, pair.cutoff))
            g[k, d] = G.T @ (rest[k].flatten() - G @ coefficients)
            A = A + G.T @ G / (len(x) * draws)
    own = np.mean([np.cov(one.T) for one in g], axis=0)
    between = np.cov(g.mean(1).T) - own / draws
    at = torch.as_tensor(test.positions, dtype=torch.float64)
    tested = moments(pair, at, torch.zeros_like(at), torch.as_tensor(test.boxes), species, kT).A
    matrix, free = penalised(pair, A, penalty)
    inverse, kept = np.linalg.inv(matrix.numpy()), np.ix_(free.numpy(), free.numpy())
    weight = inverse @ tested.numpy()[kept] @ inverse / x[0].numel()
    return tuple(float(np.sum(weight * C[kept])) for C in (between, own, (kT / sigma) ** 2 * A.numpy()))
