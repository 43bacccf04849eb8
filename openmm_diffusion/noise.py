"""Gaussian noise on configurations, and the way from noise to score to force.

y = x + sigma eps, with eps ~ N(0, 1) on every Cartesian component and no
shrinking of x, because the box is fixed.
"""

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator
from torch import Tensor

#: Noise level (nm) beyond which nothing is left of any structure.
LARGEST = 10


class NoiseConfig(BaseModel):
    """How frames are noised for training.

    Attributes
    ----------
    sigma : float or (float, float), nm
        Noise level per Cartesian component, or the smallest and the largest of a range:
        then one model learns all levels in between.
    draws : int
        Noise draws per frame; with `antithetic`, pairs (+eps, -eps) count as one draw.
    antithetic : bool
        Use x + sigma eps and x - sigma eps in the same batch: the O(1/sigma) part of
        the labels' noise cancels in the gradient.
    fresh : bool
        New noise at every step.  False fixes `draws` draws per frame for the whole
        training: "data duplication" as in Harcombe & Duignan (arXiv:2504.03187).
    species : list of str, or None
        Elements that are noised; the others keep their clean positions and no force
        is learnt for them.  None: all.
    axes : str
        Cartesian axes that are noised, such as "x" or "xyz".
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    sigma: float | tuple[float, float] = 0.005
    draws: PositiveInt = Field(1, le=10_000)
    antithetic: bool = True
    fresh: bool = True
    species: list[str] | None = None
    axes: Literal["x", "y", "z", "xy", "xz", "yz", "xyz"] = "xyz"

    @field_validator("sigma", mode="before")
    @classmethod
    def positive_and_increasing(cls, value):
        """One positive number, or two that increase."""
        ranged = isinstance(value, (list, tuple))
        try:
            levels = tuple(float(level) for level in (value if ranged else [value]))
        except (TypeError, ValueError):
            levels = ()
        if not all(0 < level <= LARGEST for level in levels) or len(levels) != 1 + ranged:
            raise ValueError(f"give one number greater than 0, up to {LARGEST:g}, or a range such as [0.003, 0.05]")
        if levels[0] >= levels[-1] and ranged:
            raise ValueError("give the smaller number of the range first")
        return levels if ranged else levels[0]

    @property
    def sigmas(self):
        """Smallest and largest level (nm) of a range; None for one level."""
        return self.sigma if isinstance(self.sigma, tuple) else None

    @property
    def smallest(self):
        """The level (nm), or the smallest of the range: the one that a model is evaluated at."""
        return self.sigma if self.sigmas is None else self.sigmas[0]

    @property
    def largest(self):
        """The level (nm), or the largest of the range."""
        return self.sigma if self.sigmas is None else self.sigmas[1]


def draw_noise(positions, draws, antithetic, generator=None, mask=None):
    """Standard normal noise for every draw of every frame.

    Parameters
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    draws : int
        Draws per frame.
    antithetic : bool
        Take every draw with its negative.
    generator : torch.Generator, optional
    mask : Tensor, shape (n_particles, 3) or (3,), dtype bool, optional
        False coordinates receive no noise.

    Returns
    -------
    Tensor, shape (n_copies, n_frames, n_particles, 3), dimensionless
        n_copies is `draws`, or twice that with antithetic pairs: then copy k + draws
        is minus copy k.

    Raises
    ------
    ValueError
        If `draws` is less than 1.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}: give 1 or more")
    shape = (draws, *positions.shape)
    eps = torch.randn(shape, generator=generator, dtype=positions.dtype, device=positions.device)
    if mask is not None:
        eps = eps * mask.to(eps.dtype)
    return torch.cat([eps, -eps]) if antithetic else eps


def draw_sigmas(eps, config, generator=None):
    """Noise level of every copy of every frame: log-uniform over the range, the same for an antithetic pair.

    Parameters
    ----------
    eps : Tensor, shape (n_copies, n_frames, n_particles, 3)
        As `draw_noise` returned it.
    config : NoiseConfig
    generator : torch.Generator, optional
        Not used where there is one level only.

    Returns
    -------
    Tensor, shape (n_copies, n_frames), nm
    """
    if config.sigmas is None:
        return eps.new_full(eps.shape[:2], config.sigma)
    place = torch.rand((config.draws, eps.shape[1]), generator=generator, dtype=eps.dtype, device=eps.device)
    sigma = config.smallest * (config.largest / config.smallest) ** place
    return torch.cat([sigma, sigma]) if config.antithetic else sigma


def log_place(sigma: Tensor, smallest: float, largest: float) -> Tensor:
    """Place of noise levels in a range on a logarithmic scale: 0 at the smallest, 1 at the largest."""
    return torch.log(sigma / smallest) / math.log(largest / smallest)


def force_from_denoised(denoised, noisy, sigma, kT):
    """Mean force of the noised ensemble, from a denoiser's estimate.

    By Tweedie's formula the best guess of the clean positions fixes the score of
    the noised density, and the score times kT is a force::

        F(y) = kT grad log p_sigma(y) = kT (D(y, sigma) - y) / sigma^2

    It is the force of the *noised* ensemble: it equals the mean force of the data
    only as sigma -> 0.

    Parameters
    ----------
    denoised : array, shape (..., n_particles, 3), nm
        D(y, sigma), not wrapped: in the same periodic image as `noisy`.
    noisy : array, shape (..., n_particles, 3), nm
    sigma : float, nm
        Noise level, per Cartesian component.
    kT : float, kJ/mol
        Thermal energy of the *training data*, whatever the thermostat is set to.

    Returns
    -------
    array, shape (..., n_particles, 3), kJ/mol/nm

    Raises
    ------
    ValueError
        If `sigma` is not positive, or the two shapes differ.

    References
    ----------
    Harcombe & Duignan, arXiv:2504.03187.

    Examples
    --------
    Data from a Gaussian well of width w has the exact denoiser
    D(y) = y w^2 / (w^2 + sigma^2), hence the force -kT y / (w^2 + sigma^2):

    >>> import numpy as np
    >>> y, w, sigma, kT = np.array([[0.2, 0.0, -0.1]]), 0.03, 0.04, 2.5
    >>> denoised = y * w**2 / (w**2 + sigma**2)
    >>> np.allclose(force_from_denoised(denoised, y, sigma, kT), -kT * y / (w**2 + sigma**2))
    True
    """
    _check(denoised, noisy, sigma)
    return scale(sigma, kT) * (denoised - noisy)


def denoised_from_force(force, noisy, sigma, kT):
    """The denoised configuration D(y, sigma) = y + sigma^2 F / kT: inverse of `force_from_denoised`."""
    _check(force, noisy, sigma)
    return noisy + force / scale(sigma, kT)


def scale(sigma, kT):
    """kT / sigma^2 (kJ/mol/nm^2), which turns a denoising displacement into a force."""
    return kT / sigma**2


def denoising_force(eps, sigma, kT):
    """Unbiased single-draw force label -kT eps / sigma (kJ/mol/nm); its variance is (kT / sigma)^2 per component."""
    return -kT * eps / sigma


def _check(first, second, sigma):
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma} nm: a score needs a positive noise level")
    if first.shape != second.shape:
        raise ValueError(
            f"the two configurations have shapes {tuple(first.shape)} and {tuple(second.shape)}: they must agree"
        )
