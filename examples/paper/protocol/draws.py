"""Frames with denoising labels: fixed draws of noise that can be handed on as force labels."""

import numpy as np
import torch

from openmm_diffusion import Frames
from openmm_diffusion.noise import denoising_force, draw_noise
from openmm_diffusion.units import thermal_energy


def labelled(frames, sigma, draws, seed, antithetic=True):
    """Noised copies of frames with their denoising labels; copies of a frame stay in its replica.

    `draws` antithetic pairs of each frame, 0: one single draw.  Without `antithetic`: `draws` single draws,
    independent of each other.
    """
    x = torch.as_tensor(frames.positions, dtype=torch.float64)
    eps = draw_noise(x, max(draws, 1), antithetic and draws > 0, torch.Generator().manual_seed(seed))
    kT = thermal_energy(frames.temperature)
    y, label = (x + sigma * eps).flatten(0, 1), denoising_force(eps, sigma, kT).flatten(0, 1)
    replica = np.tile(frames.replica, len(eps))
    return Frames(y.numpy(), frames.species, frames.box, frames.temperature, label.numpy(), replica)
