"""Frames on their way into a training: who trains, who validates, and as which tensors."""

from dataclasses import dataclass

import numpy as np
import torch

from ..data.frames import Frames


@dataclass
class TrainingSet:
    """Frames as tensors.

    Attributes
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,), dtype int64
    mask : Tensor, shape (n_particles, 3), dtype bool
        Coordinates that are noised.
    forces : Tensor, shape (n_frames, n_particles, 3), kJ/mol/nm, or None
        Labels; NaN in frames without.
    """

    positions: torch.Tensor
    box: torch.Tensor | None
    species: torch.Tensor
    mask: torch.Tensor
    forces: torch.Tensor | None = None

    def to(self, device):
        """The same on another device."""
        return TrainingSet(*(None if t is None else t.to(device) for t in vars(self).values()))

    def at(self, chosen):
        """Some of the frames."""
        box, forces = (None if t is None else t[chosen] for t in (self.box, self.forces))
        return TrainingSet(self.positions[chosen], box, self.species, self.mask, forces)

    @property
    def labelled(self):
        """Which frames have force labels, shape (n_frames,), dtype bool."""
        if self.forces is None:
            return torch.zeros(len(self.positions), dtype=torch.bool)
        return ~torch.isnan(self.forces[:, 0, 0])

    def noised(self, sigma, eps):
        """Positions and boxes of all copies in eps (n_copies, n_frames, n_particles, 3), one after the other.

        `sigma`, shape (n_copies, n_frames), nm, is the noise level of each.
        """
        y = (self.positions + sigma[..., None, None] * eps).flatten(0, 1)
        return y, None if self.box is None else self.box.repeat(len(eps), 1, 1)


def divide(frames, data):
    """Training, validation and test frames, as `DataConfig` asks; the last two may be None."""
    rest, test = (frames, None) if data.test_fraction == 0 else frames.split(data.test_fraction, data.seed)
    if data.limit is not None and data.limit < len(rest):
        # Evenly over all runs: as independent as so many frames can be.
        rest = rest[np.linspace(0, len(rest) - 1, data.limit).round().astype(int)]
    if data.validation_fraction == 0:
        return rest, None, test
    training, validation = rest.split(data.validation_fraction, data.seed + 2)
    return training, validation, test


def resampled(frames, seed):
    """A bootstrap sample of frames: whole replicas, or tenths of a single run, drawn with replacement.

    What is drawn twice is there twice under one replica number, so that no fold of a
    cross-validation holds a copy of a frame of another.  At least two are different.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(frames.replica == number) for number in np.unique(frames.replica)]
    if len(groups) == 1:
        groups = [rows for rows in np.array_split(groups[0], 10) if len(rows)]
    if len(groups) < 2:
        raise ValueError("ensemble.bootstrap needs at least two training frames to draw from: give more frames")
    chosen = [0]
    while len(set(chosen)) < 2:
        chosen = rng.integers(len(groups), size=len(groups))
    part = frames[np.concatenate([groups[number] for number in chosen])]
    numbers = np.concatenate([np.full(len(groups[number]), number) for number in chosen])
    return Frames(part.positions, part.species, part.box, part.temperature, part.forces, numbers)


#: Fewer labelled frames than this tell nothing of their noise, and so not how far to trust them.
MIN_LABELLED = 10


def check_labels(training, validation, config):
    """Refuse a target that needs force labels where the divided frames have none, or too few."""
    if config.target == "denoise":
        return
    n = int(training.labelled.sum())
    if n < MIN_LABELLED:
        raise ValueError(
            f"target is {config.target}, but {n or 'none'} of the {len(training)} training frames have force labels: "
            f"give frames with forces (kJ/mol/nm), {MIN_LABELLED} at least, or set target: denoise"
        )
    if config.target == "force" and config.network is not None and not validation.labelled.any():
        raise ValueError(
            "target is force, but none of the validation frames have force labels to stop the network by: "
            "label frames of more runs, or set another data.seed"
        )


def check_devices(validation, config):
    """Refuse more processes than there are GPUs, on a machine that has some, or frames for their held-out loss."""
    number = config.training.devices
    if config.network is None or number == 1:
        return
    if torch.cuda.is_available() and number > torch.cuda.device_count():
        raise ValueError(
            f"training.devices is {number}, but this machine has {torch.cuda.device_count()} GPUs: give no more "
            "than that, or hide them (CUDA_VISIBLE_DEVICES=) to train on the CPU"
        )
    # Force matching knows labelled frames only.
    n = int(validation.labelled.sum()) if config.target == "force" else len(validation)
    if number > n:
        raise ValueError(
            f"training.devices is {number}, but there are {n} validation frames to share: give fewer devices, or more "
            "frames (data.validation_fraction)"
        )


def tensors(frames, denoiser, config, dtype):
    """A `TrainingSet` of frames, with the coordinates that the configuration noises."""
    index = denoiser.species_index(frames.species)
    chosen = np.isin(frames.symbols, config.noise.species) if config.noise.species else np.ones(len(index), bool)
    axes = np.array([axis in config.noise.axes for axis in "xyz"])
    box = None if frames.box is None else torch.as_tensor(frames.boxes).to(dtype)
    mask = torch.as_tensor(chosen[:, None] & axes[None, :])
    forces = None if frames.forces is None else torch.as_tensor(frames.forces).to(dtype)
    return TrainingSet(torch.as_tensor(frames.positions).to(dtype), box, index, mask, forces)


def blocks(frames, n_blocks):
    """The replicas of frames, or contiguous stretches of a single one: sets that are nearly independent."""
    numbers = np.unique(frames.replica)
    if len(numbers) > 1:
        return [frames[frames.replica == number] for number in numbers]
    return [frames[rows] for rows in np.array_split(np.arange(len(frames)), n_blocks) if len(rows)]
