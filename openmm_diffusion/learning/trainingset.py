"""Frames on their way into a training, as tensors, and the systems that they are of."""

from dataclasses import dataclass

import numpy as np
import torch

from ..data.coarsening import coarsen
from ..data.frames import Frames
from ..space.connectivity import Connectivity
from .stored import stored


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
    connectivity : Connectivity or None
        Who is bonded to whom.
    """

    positions: torch.Tensor
    box: torch.Tensor | None
    species: torch.Tensor
    mask: torch.Tensor
    forces: torch.Tensor | None = None
    connectivity: Connectivity | None = None

    def to(self, device):
        """The same on another device."""
        return TrainingSet(*(None if t is None else t.to(device) for t in vars(self).values()))

    def at(self, chosen):
        """Some of the frames."""
        box, forces = (None if t is None else t[chosen] for t in (self.box, self.forces))
        return TrainingSet(self.positions[chosen], box, self.species, self.mask, forces, self.connectivity)

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


@dataclass
class TrainingSystem:
    """One of the systems that a network learns from.

    Attributes
    ----------
    fixed : WeightedSum
        What is known of its forces, set up for its box; not trained.
    training, validation : TrainingSet
    kT : float, kJ/mol
        That of its frames.
    weight : float
        What one of its frames counts beside one of another system.
    """

    fixed: torch.nn.Module
    training: TrainingSet
    validation: TrainingSet
    kT: float
    weight: float = 1.0

    def size(self, part):
        """What "training" or "validation" frames count: the noised coordinates of all, times the weight."""
        frames = getattr(self, part)
        return self.weight * len(frames.positions) * float(frames.mask.sum())


def set_up_for(denoiser, frames):
    """A denoiser whose Ewald sum is that of the mean box of some frames, or of no box."""
    return denoiser.in_box(None if frames.box is None else frames.boxes.mean(0))


def frames_of(data, client=None, paths=None):
    """The frames of each system that the `data` of a configuration names: those of files, or of trajectories.

    Parameters
    ----------
    data : DataConfig
    client : distributed.Client, optional
        With one, frames of files stay there until they are needed.
    paths : list of path, optional
        Files of frames in place of those that `data` names; what it says of these is their temperature alone.
    """
    if paths:
        data = data.model_copy(update={"frames": paths, "trajectory": None, "box": None, "forces_key": None})
    if data.trajectory is None:
        if data.frames is None:
            raise ValueError(
                "data.frames is missing: name a file of frames (or data.trajectory) in the configuration, or pass "
                "frames"
            )
        paths = data.frames if isinstance(data.frames, list) else [data.frames]
        if client is not None:
            return stored(paths, data.temperature, data.box, data.forces_key, client)
        return [Frames.load(path, data.temperature, box=data.box, forces_key=data.forces_key) for path in paths]
    if data.map is not None:
        return [coarsen(data.trajectory, data.top, data.map, data.temperature, box=data.box)]
    chosen = {"select": data.select, "types": data.types, "box": data.box}
    return [Frames.from_trajectory(data.trajectory, data.top, temperature=data.temperature, **chosen)]


def tensors(frames, denoiser, config, dtype):
    """A `TrainingSet` of frames, with the coordinates that the configuration noises."""
    index = denoiser.species_index(frames.types)
    chosen = np.isin(frames.types, config.noise.species) if config.noise.species else np.ones(len(index), bool)
    axes = np.array([axis in config.noise.axes for axis in "xyz"])
    box = None if frames.box is None else torch.as_tensor(frames.boxes).to(dtype)
    mask = torch.as_tensor(chosen[:, None] & axes[None, :])
    forces = None if frames.forces is None else torch.as_tensor(frames.forces).to(dtype)
    connected = denoiser.connectivity(index, frames.bonds)
    return TrainingSet(torch.as_tensor(frames.positions).to(dtype), box, index, mask, forces, connected)
