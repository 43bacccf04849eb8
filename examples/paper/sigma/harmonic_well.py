"""A particle in a harmonic well: the force is -k y, k is learnt, and bias and scatter of k have closed forms."""

import numpy as np
import torch

from openmm_diffusion.noise import denoising_force, draw_noise
from sigma.learners import FORCE, KT, LEARNERS, rms

#: Standard deviation of a coordinate, nm.
WIDTH = 0.03


def spring(learner, sigma, frames, repeats, seed):
    """Bias and scatter of k by least squares, over many sets of frames of one particle, 3 coordinates each.

    Parameters
    ----------
    learner : str
    sigma : float, nm
    frames, repeats, seed : int
        Of one set; sets; of frames and noise.

    Returns
    -------
    dict
        Forces are those at one `WIDTH` from the centre.
    """
    draws, labels = LEARNERS[learner]
    rng = torch.Generator().manual_seed(1_000_000 * seed + frames)
    x = WIDTH * torch.randn(repeats * frames, 1, 3, generator=rng, dtype=torch.float64)
    eps = draw_noise(x, max(draws, 1), draws > 0, rng)
    y, label = x + sigma * eps, denoising_force(eps, sigma, KT)

    def mean(values):
        return values.view(len(values), repeats, -1).mean((0, 2)).numpy()

    # Labels by least squares; score matching of -k y: k <y^2> = kT <div y>, per coordinate.
    k = -mean(y * label) / mean(y**2) if labels else KT / mean(y**2)
    clean = KT / mean(x[None] ** 2)
    s2 = (sigma / WIDTH) ** 2
    # Variances of k / k_eff: var <y T> and var <y^2> of independent coordinates, and their covariance.
    m = max(draws, 1)
    if not labels:
        spread = np.sqrt((2 + 2 * s2**2 / m) / (3 * frames)) / (1 + s2)
    elif draws == 0:
        spread = 1 / np.sqrt(3 * frames * s2)
    else:
        spread = np.sqrt((2 / m + 2) / (3 * frames)) / (1 + s2)
    return {
        f"bias_{FORCE}": (k - clean).mean() * WIDTH, f"bias_error_{FORCE}": (k - clean).std() * WIDTH / repeats**0.5,
        f"bias_theory_{FORCE}": -KT / WIDTH * s2 / (1 + s2),
        f"scatter_{FORCE}": k.std() * WIDTH, f"scatter_theory_{FORCE}": KT / WIDTH / (1 + s2) * spread,
        f"error_{FORCE}": rms(k - KT / WIDTH**2) * WIDTH,
        "denoiser_error_nm": abs((k - clean).mean()) * WIDTH * sigma**2 / KT, "k_kJ/mol/nm^2": k.mean(),
    }  # fmt: skip


def crossing_theory(learner, frames):
    """Noise level where bias and scatter are the same, nm, with s = sigma / w.

    s^6 = 1 / 3n of single draws; s^2 (1 + s^2) = sqrt(2 (1 + 1/m) / 3n) of m antithetic pairs, and
    with m = infinity of exact score matching (where s^4 << m).
    """
    draws, labels = LEARNERS[learner]
    if draws == 0:
        return WIDTH * (1 / (3 * frames)) ** (1 / 6)
    c = np.sqrt((2 + (2 / draws if labels else 0)) / (3 * frames))
    return WIDTH * np.sqrt((np.sqrt(1 + 4 * c) - 1) / 2)
