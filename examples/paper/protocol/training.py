"""Trainings on LiCl that several scripts compare: what is learnt from, and how."""

import logging
from dataclasses import dataclass

import torch

from openmm_diffusion import train
from protocol.licl import COULOMB

#: The same for every arm.  Those of a network alone in examples/licl/accuracy.py, but for cutoff and learning rate.
#: These were chosen by the held-out loss of 3000-forces (seed 0): -2.26, -2.28 with three times the steps, now -2.37.
NETWORK = {"cutoff": 0.8, "lmax": 1, "features": 8, "layers": 2}
TRAINING = {"learning_rate": 0.01, "weight_decay": 0.01, "ema_decay": 0.99, "patience": 1000, "validation_draws": 2}
COPIES = 16  # noised or labelled copies of frames in every step of every training


@dataclass(frozen=True)
class Arm:
    """What is learnt from.

    Attributes
    ----------
    frames : int
        Training and validation together.
    target : str
        "denoise", "force" or "hybrid".
    draws : int
        Of noise per frame, fixed for the whole training; 0: fresh antithetic pairs at every step.
    network : bool
        False: the pair potential in closed form, by exact score matching without noise.
    """

    frames: int
    target: str = "denoise"
    draws: int = 1
    network: bool = True

    @property
    def noised(self):
        """Whether it has a noise level."""
        return self.network and self.target != "force"


def quiet():
    """Settings of a process that computes arms."""
    torch.set_num_threads(1)  # two arms at a time on two cores
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("openmm_diffusion").setLevel(logging.ERROR)


def learn(arm, sigma, coulomb, frames, steps, seed):
    """The denoiser of an arm at a noise level (nm)."""
    prior = {"coulomb": COULOMB if coulomb else None, "wall": None}
    data = {"test_fraction": 0, "validation_fraction": 0.1 if arm.network else 0, "seed": seed}
    config = {"target": arm.target, "data": data, "prior": prior}
    if not arm.network:
        return train(frames, config | {"pair": {"sigma": 0}, "network": None}, progress=False)
    fresh = arm.draws == 0
    copies = 2 if fresh else arm.draws
    if arm.noised:
        noise = {"sigma": sigma, "draws": max(arm.draws, 1), "antithetic": fresh, "fresh": fresh}
        config["noise"] = noise
    batch = COPIES // copies if arm.noised else COPIES
    config |= {"pair": None, "network": NETWORK}
    config["training"] = TRAINING | {"steps": steps, "check_every": max(steps // 10, 1), "batch": batch, "seed": seed}
    return train(frames, config, progress=False)
