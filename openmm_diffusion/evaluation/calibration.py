"""What fresh noise on held-out frames says of a model without any label: its scale and its loss.

With y = x + sigma eps and the target T = -kT eps / sigma, averages over frames and
antithetic noise obey <T . F> = <F_sigma . F>, F_sigma being the exact force of the
noised density.  As sigma -> 0 this is E[F_true . F] = -kT E[div F], and the antithetic
pair is Hutchinson's estimate of the divergence.
"""

import logging

import numpy as np
import torch

from ..analysis.resampling import block_numbers, block_sums, jackknife
from ..noise import denoising_force, draw_noise
from ..units import thermal_energy

log = logging.getLogger(__name__)

#: Noise (nm) that stands for none: the density is smoothed by 1e-6 nm^2 only, and the rounding of float32 stays small.
DIVERGENCE_SIGMA = 0.001
#: The same where particles are bonded: noise s leaves a bond of width w a part 1 / (1 + 2 s^2/w^2) of its stiffness,
#: 0.75 at 0.001 nm with w = 0.0025 nm of a C=O bond, and 0.997 at this.
DIVERGENCE_SIGMA_OF_BONDS = 0.0001


def divergence_sigma(frames):
    """Noise (nm) that stands for none on these frames."""
    bonded = frames.bonds is not None and len(frames.bonds) > 0
    return DIVERGENCE_SIGMA_OF_BONDS if bonded else DIVERGENCE_SIGMA


def projections(denoiser, frames, sigma=None, draws=4, seed=1, told=None):
    """Products of targets and forces, and squared forces, on fresh antithetic noise.

    Parameters
    ----------
    denoiser : Denoiser
    frames : Frames
        Not trained on.
    sigma : float, nm, optional
        None: that of the model, or `divergence_sigma` for a model of clean frames (sigma = 0).
    draws : int
        Antithetic pairs per frame.
    seed : int
    told : callable, optional
        Called with the number of noised frames after each chunk; there are two for each pair.

    Returns
    -------
    products, squares : array, shape (n_frames, n_particles), (kJ/mol/nm)^2
        T . F and |F|^2 of each particle, summed over x, y, z, averaged over the copies.
    """
    if denoiser.header.noised != {"species": None, "axes": "xyz"}:
        raise ValueError(
            f"the model was trained with noise on {denoiser.header.noised} only: no slope of all coordinates"
        )
    sigma = sigma or denoiser.sigma or divergence_sigma(frames)
    kT = thermal_energy(frames.temperature)
    x = torch.as_tensor(frames.positions, dtype=torch.float64)
    eps = draw_noise(x, draws, True, torch.Generator().manual_seed(seed))
    products, squares = np.zeros(x.shape[:2]), np.zeros(x.shape[:2])
    for copy in eps:
        _, force = denoiser.evaluated((x + sigma * copy).numpy(), frames.boxes, frames.types, frames.bonds, told)
        products += (denoising_force(copy.numpy(), sigma, kT) * force).sum(-1) / len(eps)
        squares += (force * force).sum(-1) / len(eps)
    return products, squares


def calibration(denoiser, frames, draws=4, seed=1):
    """Slope of the denoising targets on the predicted forces, on fresh noise: 1 if kT/sigma^2 is right.

    <T . F> / <F . F> with T = -kT eps / sigma at y = x + sigma eps, in antithetic pairs.

    Parameters
    ----------
    denoiser, frames, draws, seed
        As `projections`.

    Returns
    -------
    slope, error : float
        Standard error from a jackknife over replicas, or over contiguous tenths of a single one.
    """
    return slope(*projections(denoiser, frames, None, draws, seed), frames.replica)


def slope(products, squares, replica):
    """<T . F> / <F . F> and its standard error, from `projections`."""
    sums = block_sums(np.stack([products.sum(1), squares.sum(1)], -1), block_numbers(replica))
    return jackknife(sums, lambda total: total[..., 0] / total[..., 1])


def explained_variance(products, squares, replica, labels=None):
    """2 <F . T> - <F . F>: how much nearer to the targets than no force at all, per Cartesian component.

    Minus the held-out denoising loss J = <F . F> - 2 <F . T>.  It equals
    <|F_sigma|^2> - <|F - F_sigma|^2>, and is at most the variance of the part of the
    targets that any force can predict, <|F_sigma|^2>.

    Parameters
    ----------
    products, squares : array, shape (n_frames, n_particles), (kJ/mol/nm)^2
        As `projections` gives them.
    replica : array, shape (n_frames,), dtype int
    labels : array, shape (n_frames, n_particles, 3), kJ/mol/nm, optional
        Give the share of their square instead: only for labels free of noise does it tend to 1.

    Returns
    -------
    value, error : float, (kJ/mol/nm)^2, or 1 with `labels`
        Standard error from a jackknife over replicas.
    """
    size = np.full(len(products), 3.0 * products.shape[1])
    if labels is not None:
        size = np.square(labels, dtype=np.float64).sum((1, 2))
    sums = block_sums(np.stack([(2 * products - squares).sum(1), size], -1), block_numbers(replica))
    return jackknife(sums, lambda total: total[..., 0] / total[..., 1])
