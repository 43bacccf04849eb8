"""Periodic boxes: which images are nearest, and which pairs are neighbours.

A box holds its three vectors as rows, in OpenMM's reduced triclinic form::

    a = (ax, 0, 0),  b = (bx, by, 0),  c = (cx, cy, cz)
    ax >= 2 |bx|,  ax >= 2 |cx|,  by >= 2 |cy|

in which subtracting c, then b, then a finds the nearest image of every vector
shorter than half the smallest diagonal element.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor


def check_box(box, argument="box"):
    """Refuse box vectors that are not finite, positive and in OpenMM's reduced form.

    Parameters
    ----------
    box : Tensor, shape (..., 3, 3), nm
        Box vectors as rows.

    Raises
    ------
    ValueError
    """
    if box.shape[-2:] != (3, 3):
        raise ValueError(
            f"{argument} has shape {tuple(box.shape)}: give three box vectors as rows, shape (3, 3), in nm"
        )
    if not torch.isfinite(box).all():
        raise ValueError(f"{argument} holds NaN or Inf: give three finite box vectors in nm")
    a, b, c = box.unbind(-2)
    slack = 1e-5 * a[..., 0].abs()
    triangular = (a[..., 1:].abs().amax(-1) <= slack) & (b[..., 2].abs() <= slack)
    positive = (a[..., 0] > 0) & (b[..., 1] > 0) & (c[..., 2] > 0)
    reduced = (
        (2 * b[..., 0].abs() <= a[..., 0] + slack)
        & (2 * c[..., 0].abs() <= a[..., 0] + slack)
        & (2 * c[..., 1].abs() <= b[..., 1] + slack)
    )
    if not bool((triangular & positive & reduced).all()):
        raise ValueError(
            f"{argument} is not in OpenMM's reduced form (a along x, b in the xy plane, skew at most half an edge): "
            "reduce it with openmm.app.internal.unitcell.reducePeriodicBoxVectors"
        )


def check_cutoff(cutoff, box, argument="cutoff"):
    """Refuse a cutoff (nm) above half the smallest width of the box (..., 3, 3), where images would be missed."""
    half = 0.5 * float(torch.diagonal(box, dim1=-2, dim2=-1).min())
    if cutoff > half * (1 + 1e-6):
        raise ValueError(
            f"{argument} is {cutoff:.4g} nm, over half the box ({half:.4g} nm), and periodic images would be missed: "
            f"bring it to at most {half:.4g} nm, or use a larger box"
        )


def minimum_image(vectors: Tensor, box: Optional[Tensor]) -> Tensor:
    """The nearest periodic image of each vector.

    Parameters
    ----------
    vectors : Tensor, shape (..., 3), nm
    box : Tensor, shape (3, 3) or broadcastable to (..., 3, 3), nm, or None
        None leaves the vectors as they are: no periodicity.

    Returns
    -------
    Tensor, shape (..., 3), nm
    """
    if box is None:
        return vectors
    for axis in (2, 1, 0):
        shift = torch.round(vectors[..., axis] / box[..., axis, axis])
        vectors = vectors - shift.unsqueeze(-1) * box[..., axis, :]
    return vectors


def wrap(positions: Tensor, box: Tensor) -> Tensor:
    """Positions (..., 3) shifted by whole box vectors into the cell at the origin."""
    for axis in (2, 1, 0):
        shift = torch.floor(positions[..., axis] / box[..., axis, axis])
        positions = positions - shift.unsqueeze(-1) * box[..., axis, :]
    return positions


def neighbour_pairs(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor, Tensor]:
    """All pairs closer than a cutoff, each once, in every frame of a batch.

    The particles of the batch are numbered through: particle i of frame f is
    f * n_particles + i.  Cost and memory grow as the square of n_particles.

    Parameters
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    box : Tensor, shape (3, 3) or (n_frames, 3, 3), nm, or None
    cutoff : float, nm
        At most half the smallest width of the box; not checked here.

    Returns
    -------
    first, second : Tensor, shape (n_pairs,), dtype int64
    vectors : Tensor, shape (n_pairs, 3), nm
        From `first` to the nearest image of `second`; differentiable.
    """
    n_particles = positions.shape[1]
    upper = torch.triu_indices(n_particles, n_particles, offset=1, device=positions.device)
    vectors = positions[:, upper[1]] - positions[:, upper[0]]
    if box is not None and box.dim() == 3:
        vectors = minimum_image(vectors, box.unsqueeze(1))
    else:
        vectors = minimum_image(vectors, box)
    near = torch.nonzero((vectors * vectors).sum(-1) < cutoff * cutoff)
    offset = near[:, 0] * n_particles
    return upper[0][near[:, 1]] + offset, upper[1][near[:, 1]] + offset, vectors[near[:, 0], near[:, 1]]


class Configuration(NamedTuple):
    """A batch of frames with its neighbour pairs: what every energy term reads.

    Attributes
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
        Wrapped into the box, where there is one.
    box : Tensor, shape (3, 3) or (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,), dtype int64
        Index into the model's list of species.
    first, second : Tensor, shape (n_pairs,), dtype int64
        As `neighbour_pairs` numbers them.
    vectors : Tensor, shape (n_pairs, 3), nm
    distances : Tensor, shape (n_pairs,), nm
    sigma : Tensor, shape (n_frames,), nm, or None
        Noise level of each frame, where terms that know many are to be evaluated at it;
        None: the one that each term stands at.
    """

    positions: Tensor
    box: Optional[Tensor]
    species: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor
    distances: Tensor
    sigma: Optional[Tensor] = None


def pair_species(c: Configuration) -> Tuple[Tensor, Tensor]:
    """Species of both ends of every pair, shape (n_pairs,) each."""
    n_particles = c.positions.shape[1]
    return c.species[c.first % n_particles], c.species[c.second % n_particles]


def sum_pairs(c: Configuration, values: Tensor) -> Tensor:
    """Per-pair values (n_pairs,) summed over each frame, shape (n_frames,)."""
    total = torch.zeros(c.positions.shape[0], dtype=values.dtype, device=values.device)
    return total.index_add(0, c.first // c.positions.shape[1], values)


def within(c: Configuration, cutoff: float) -> Configuration:
    """The same configuration with only the pairs closer than a smaller cutoff (nm)."""
    near = torch.nonzero(c.distances < cutoff).squeeze(-1)
    return Configuration(
        c.positions, c.box, c.species, c.first[near], c.second[near], c.vectors[near], c.distances[near], c.sigma
    )


def configuration(
    positions: Tensor, box: Optional[Tensor], species: Tensor, cutoff: float, sigma: Optional[Tensor] = None
) -> Configuration:
    """The `Configuration` of positions (n_frames, n_particles, 3) with all pairs within `cutoff` (nm)."""
    first, second, vectors = neighbour_pairs(positions, box, cutoff)
    distances = torch.sqrt((vectors * vectors).sum(-1))
    return Configuration(positions, box, species, first, second, vectors, distances, sigma)
