"""Configurations that users give to a denoiser: checked, wrapped into their boxes, and cut into chunks."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from openmm import unit
from torch import Tensor

from ..particles import as_types
from ..space.boxes import check_box, check_cutoff, wrap
from ..space.connectivity import Connectivity
from ..units import array
from .header import Header
from .sum import WeightedSum

if TYPE_CHECKING:
    from openmm.unit import Quantity

#: Frames and particles that are evaluated at a time: 150 MB with the shipped model.
FRAMES, PARTICLES = 64, 16384


class Evaluable(Protocol):
    """What a configuration asks of its `Denoiser`, which is a floor above."""

    header: Header
    model: WeightedSum

    @property
    def cutoff(self) -> float: ...

    def in_box(self, box: ArrayLike | None) -> "Evaluable": ...

    def species_index(self, types: Sequence[str | int] | np.ndarray) -> Tensor: ...

    def connectivity(self, index: Tensor, bonds: Any) -> Optional[Connectivity]: ...


class Configuration(NamedTuple):
    """Frames of one system, and the module that evaluates them in their boxes.

    Attributes
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm, float64
        Wrapped into the box, where there is one.
    boxes : Tensor, shape (n_frames, 3, 3), nm, float64, or None
    species : Tensor, shape (n_particles,)
        As `Denoiser.species_index` finds them.
    connectivity : Connectivity or None
    model : WeightedSum
        With its Ewald sum set up for the mean of the boxes.
    shape : tuple of int
        That of the positions given.
    """

    positions: Tensor
    boxes: Optional[Tensor]
    species: Tensor
    connectivity: Optional[Connectivity]
    model: WeightedSum
    shape: tuple[int, ...]

    def chunks(self, dtype: torch.dtype) -> Iterator[tuple[Tensor, Optional[Tensor]]]:
        """Positions and boxes of some frames at a time, in a precision."""
        step = max(1, min(FRAMES, PARTICLES // max(1, self.positions.shape[1])))
        for start in range(0, len(self.positions), step):
            chunk = slice(start, start + step)
            yield self.positions[chunk].to(dtype), None if self.boxes is None else self.boxes[chunk].to(dtype)


def read_configuration(
    denoiser: Evaluable,
    positions: "ArrayLike | Quantity",
    box: "ArrayLike | Quantity | None",
    species: Sequence[str | int] | np.ndarray | None = None,
    bonds: "ArrayLike | None" = None,
) -> Configuration:
    """What a denoiser is to be evaluated for; arguments as `Denoiser.evaluated`.

    Raises
    ------
    ValueError
        For shapes that disagree, NaN, unknown species, a cutoff over half the box.
    """
    positions = array(positions, unit.nanometer, "positions", (..., "n_particles", 3))
    header = denoiser.header
    types = header.particles if species is None else as_types(species)
    if bonds is None and types == header.particles:
        bonds = header.bonds
    index = denoiser.species_index(types)
    if len(index) != positions.shape[-2]:
        raise ValueError(
            f"species has {len(index)} entries for {positions.shape[-2]} particles: give one type for each"
        )
    connected = denoiser.connectivity(index, bonds)
    y = torch.as_tensor(positions.reshape(-1, *positions.shape[-2:]))
    boxes, model = None, denoiser.model
    if box is not None:
        boxes = torch.as_tensor(array(box, unit.nanometer, "box"))
        check_box(boxes)
        if boxes.ndim > 2 and boxes.shape[:-2] != positions.shape[:-2]:
            raise ValueError(f"box has shape {tuple(boxes.shape)}, positions {positions.shape}: give one for each")
        check_cutoff(denoiser.cutoff, boxes, "the model's cutoff")
        model = denoiser.in_box(boxes.reshape(-1, 3, 3).mean(0).numpy()).model
        boxes = boxes.expand(*positions.shape[:-2], 3, 3).reshape(-1, 3, 3)
        y = wrap(y, boxes.unsqueeze(1))
    return Configuration(y, boxes, index, connected, model, positions.shape)
