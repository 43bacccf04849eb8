"""A batch of frames with its neighbour pairs: what every energy term reads."""

from typing import Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .boxes import minimum_image
from .neighbours import neighbour_pairs


class Batch(NamedTuple):
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
    sizes : dict of float to int, or None
        None: the pairs are exactly those within the cutoff.  Otherwise they are of fixed number,
        for graphs of fixed shape, and may be farther apart: the first `sizes[cutoff]` hold all
        pairs within that cutoff (nm), and every term makes those beyond it count nothing.
    """

    positions: Tensor
    box: Optional[Tensor]
    species: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor
    distances: Tensor
    sigma: Optional[Tensor] = None
    sizes: Optional[Dict[float, int]] = None


def pair_species(c: Batch) -> Tuple[Tensor, Tensor]:
    """Species of both ends of every pair, shape (n_pairs,) each."""
    n_particles = c.positions.shape[1]
    return c.species[c.first % n_particles], c.species[c.second % n_particles]


def sum_pairs(c: Batch, values: Tensor) -> Tensor:
    """Per-pair values (n_pairs,) summed over each frame, shape (n_frames,)."""
    total = torch.zeros(c.positions.shape[0], dtype=values.dtype, device=values.device)
    return total.index_add(0, c.first // c.positions.shape[1], values)


def within(c: Batch, cutoff: float) -> Batch:
    """The same configuration with only the pairs closer than a smaller cutoff (nm), or those that `sizes` tells."""
    sizes = c.sizes
    if sizes is not None:
        n = sizes[cutoff]
        return Batch(
            c.positions, c.box, c.species, c.first[:n], c.second[:n], c.vectors[:n], c.distances[:n], c.sigma, sizes
        )
    near = torch.nonzero(c.distances < cutoff).squeeze(-1)
    # index_select: the gradient of a[near] costs several times as much.
    first, second = c.first.index_select(0, near), c.second.index_select(0, near)
    vectors, distances = c.vectors.index_select(0, near), c.distances.index_select(0, near)
    return Batch(c.positions, c.box, c.species, first, second, vectors, distances, c.sigma, None)


def make_batch(
    positions: Tensor, box: Optional[Tensor], species: Tensor, cutoff: float, sigma: Optional[Tensor] = None
) -> Batch:
    """The `Batch` of positions (n_frames, n_particles, 3) with all pairs within `cutoff` (nm)."""
    first, second, vectors = neighbour_pairs(positions, box, cutoff)
    distances = torch.sqrt((vectors * vectors).sum(-1))
    return Batch(positions, box, species, first, second, vectors, distances, sigma, None)


def listed_batch(
    positions: Tensor,
    box: Optional[Tensor],
    species: Tensor,
    first: Tensor,
    second: Tensor,
    sizes: Dict[float, int],
) -> Batch:
    """The `Batch` of listed pairs: no search, and shapes that depend on no value.

    Parameters
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    box : Tensor, shape (3, 3), nm, or None
    species : Tensor, shape (n_particles,), dtype int64
    first, second : Tensor, shape (capacity,), dtype int64
        As a `VerletList` holds them: idle entries name one particle twice.
    sizes : dict of float to int
        See `Batch`.
    """
    flat = positions.reshape(-1, 3)
    vectors = minimum_image(flat[second] - flat[first], box)
    # Idle entries stand at the largest cutoff, where nothing acts.  Without a tensor made on the host: CUDA
    # graphs have no copies from there.
    apart = (first == second).to(vectors.dtype) * max(sizes.keys())
    none = torch.zeros_like(apart)
    vectors = vectors + torch.stack([apart, none, none], -1)
    distances = torch.sqrt((vectors * vectors).sum(-1))
    return Batch(positions, box, species, first, second, vectors, distances, None, sizes)


def cast(c: Batch, like: Tensor) -> Batch:
    """The same configuration in the precision of another tensor.

    Differences of positions taken before lose fewer digits than those taken after: in single
    precision, positions in a box of 16 nm are known to 1e-6 nm, pair vectors to 1e-7 nm.
    """
    box = c.box
    if box is not None:
        box = box.to(like.dtype)
    positions, vectors, distances = c.positions.to(like.dtype), c.vectors.to(like.dtype), c.distances.to(like.dtype)
    return Batch(positions, box, c.species, c.first, c.second, vectors, distances, c.sigma, c.sizes)
