"""Models of all atoms: linear energies of bonded particles in closed form, networks, and both; each kept on disk."""

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from openmm_diffusion import Denoiser, train

#: Penalties tried, and folds of the cross-validation that chooses them.
CHOICE = {"penalties": [1e-1, 10.0], "folds": 3}
#: Energies along bonds, in the order of the fits.
BONDED = ("bonds", "angles", "impropers", "dihedrals")
#: With these, how bonds, angles and dihedrals depend on each other, and what atoms further apart feel.
ALL = (*BONDED, "onethree", "onefour", "maps", "pair")
#: Of particles four bonds apart and more, in a coarse basis: 91 pairs of types must learn from few frames.
PAIR = {"cutoff": 0.8, "spacing": 0.04}
#: Penalties of all terms together, where they are not 10: what cross-validation took from the package's own lists, with
#: the same 2,000 frames; to choose them again takes most of the time of such a fit.
TAKEN = {"angles": 0.1, "dihedrals": 0.1, "pair": 1e6}


@dataclass(frozen=True)
class Learner:
    """A network and how it is trained: the same for every arm of a molecule.

    Attributes
    ----------
    network, training : dict
        Of the configuration.
    copies : int
        Noised copies of frames in every step.
    checks : int
        Of the held-out loss, evenly over the steps.
    held_out : float
        Share of the frames that the loss is held out on.
    pair, prior : dict
        Of the configuration, beside what every molecule has: of the pair potential, where an arm has one, and what is
        known beforehand.
    """

    network: dict
    training: dict
    copies: int
    checks: int = 10
    held_out: float = 0.1
    pair: dict = field(default_factory=lambda: PAIR)
    prior: dict = field(default_factory=dict)


#: Of alanine dipeptide.
ALANINE = Learner(
    {"cutoff": 0.4, "lmax": 1, "features": 8, "layers": 2},
    {"learning_rate": 0.01, "weight_decay": 0.01, "ema_decay": 0.98, "patience": 1000, "validation_draws": 2},
    copies=8,
)


@dataclass(frozen=True)
class Arm:
    """What learns, and from what noise.

    Attributes
    ----------
    linear : tuple of str
        Energies in closed form; none of them for a network alone.
    network : bool
    sigma : float, nm
        0: exact score matching at clean positions, of linear energies alone.
    draws : int
        Of noise for each frame, fixed for the whole training of a network; 0: fresh antithetic pairs at every step.
        The linear energies are fitted by exact score matching over noised frames, the mean over all draws.
    walled : bool
        A network alone with a wall below the shortest distances of the frames, of all atoms two bonds apart and more.
    times : int
        The network is trained for so many times the steps of others.

    Linear energies have that wall, of atoms four bonds apart and more, as a prior; a network alone has none.
    """

    linear: tuple[str, ...] = BONDED
    network: bool = False
    sigma: float = 0.0
    draws: int = 1
    walled: bool = False
    times: int = 1

    @property
    def name(self):
        parts = ["linear"] * bool(self.linear) + ["network"] * self.network + ["wall"] * self.walled
        name = " + ".join(parts) if len(parts) > 1 else f"{parts[0]} alone"
        return name if self.times == 1 else f"{name}, {self.times} times the steps"


def quiet():
    """Settings of a process that computes arms."""
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "openmm_diffusion"):
        logging.getLogger(name).setLevel(logging.ERROR)


def recipe(arm, steps, seed, learner=ALANINE):
    """The configuration of a training."""
    wall = {} if arm.linear or arm.walled else None
    config = {"prior": {"wall": wall, **learner.prior}, "network": None, "data": {"test_fraction": 0, "seed": seed}}
    config["data"]["validation_fraction"] = learner.held_out if arm.network else 0
    if arm.walled:
        config["exclusions"] = 1
    for kind in ALL:
        config[kind] = None if kind not in arm.linear else CHOICE
    if set(arm.linear) == set(ALL):
        config |= {kind: {"penalties": [TAKEN.get(kind, 10.0)], "folds": 3} for kind in ALL}
    if "pair" in arm.linear:
        config["pair"] = {**config["pair"], **learner.pair}
    if not arm.network:
        for kind in arm.linear:
            config[kind] = {**config[kind], "sigma": arm.sigma}
        return config
    fresh = arm.draws == 0
    config["noise"] = {"sigma": arm.sigma, "draws": max(arm.draws, 1), "antithetic": fresh, "fresh": fresh}
    config["network"] = learner.network
    batch, steps = learner.copies // (2 if fresh else arm.draws), steps * arm.times
    config["training"] = {
        **learner.training, "steps": steps, "check_every": max(steps // learner.checks, 1), "batch": batch,
        "seed": seed,
    }  # fmt: skip
    return config


def trained(arm, frames, directory, steps, seed, learner=ALANINE):
    """The denoiser of an arm; one that is there is taken.

    Parameters
    ----------
    arm : Arm
    frames : Frames
    directory : Path
    steps : int
        Of networks, but for `Arm.times`.
    seed : int
    learner : Learner
    """
    config = recipe(arm, steps, seed, learner)
    text = json.dumps([config, frames.digest()], sort_keys=True)
    path = Path(directory) / f"{arm.name.replace(' ', '-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train(frames, config, progress=False).save(path)
    return Denoiser.load(path)


def without_wall(denoiser):
    """The same model without the wall."""
    kept = [(term, module) for term, module in zip(denoiser.header.terms, denoiser.modules()) if term.kind != "wall"]
    return denoiser.rebuilt(*map(list, zip(*kept)))


def with_wall(denoiser, other):
    """The same model with the wall of another one, between atoms that this one does not exclude.

    What it would be after a training with that wall, which no noised frame touches.
    """
    walls = [(term, module) for term, module in zip(other.header.terms, other.modules()) if term.kind == "wall"]
    return denoiser.rebuilt(*map(list, zip(*zip(denoiser.header.terms, denoiser.modules()), *walls)))


def chosen(frames, number, seed):
    """So many random frames, in order of their runs and times."""
    rng = np.random.default_rng([seed, 7])
    return frames[np.sort(rng.choice(len(frames), min(number, len(frames)), replace=False))]


def error(denoiser, tests):
    """Rms of the force off the true force, kJ/mol/nm, per component, on frames of other runs."""
    off = denoiser.forces(tests.positions, tests.boxes) - tests.forces
    return float(np.sqrt(np.mean(np.square(off, dtype=float))))
