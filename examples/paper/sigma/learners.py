"""What learns from noised frames: denoising labels, drawn once in several ways, and exact score matching without."""

import numpy as np
from protocol.draws import labelled

from openmm_diffusion import train
from openmm_diffusion.units import thermal_energy

TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
#: Unit in the names of the columns of forces.
FORCE = "kJ/mol/nm"
EXACT, SINGLE = "exact score matching", "labels, single draw"
#: Antithetic draws of noise per frame, 0: one single draw; and whether there are labels.
LEARNERS = {
    SINGLE: (0, True),
    "labels, 1 antithetic pair": (1, True),
    "labels, 2 antithetic pairs": (2, True),
    "labels, 4 antithetic pairs": (4, True),
    EXACT: (2, False),
}


def learn(frames, learner, sigma, config, seed):
    """The pair potential of a learner at a noise level.

    Parameters
    ----------
    frames : Frames
    learner : str
        One of `LEARNERS`.
    sigma : float, nm
        0: clean frames.
    config : dict
        Sections `prior` and `pair` of a configuration.
    seed : int

    Returns
    -------
    Denoiser
    """
    draws, labels = LEARNERS[learner]
    pair, target = {**config["pair"], "sigma": sigma, "draws": max(draws, 1)}, "denoise"
    if labels:
        frames, target = labelled(frames, sigma, draws, seed + 1), "force"
        del pair["sigma"]
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "target": target,
        "prior": config["prior"], "pair": pair, "training": {"seed": seed},
    }  # fmt: skip
    return train(frames, config, progress=False)


def rms(values, weight=None):
    """Root of the (weighted) mean square."""
    return float(np.sqrt(np.average(np.square(values), weights=weight)))
