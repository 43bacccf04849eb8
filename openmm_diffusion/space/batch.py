"""A batch of frames with its neighbour pairs: what every energy term reads."""

from typing import Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .boxes import minimum_image
from .connectivity import Connectivity
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
    exact : Tensor, shape (n_frames, n_particles, 3), nm, or None
        The positions in the precision that they came in, where `positions` have less: see `cast`.
    connectivity : Connectivity or None
        Who is bonded to whom; None: nobody is.
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
    exact: Optional[Tensor] = None
    connectivity: Optional[Connectivity] = None


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
        first, second, vectors, distances = c.first[:n], c.second[:n], c.vectors[:n], c.distances[:n]
        return _of_pairs(c, first, second, vectors, distances)
    near = torch.nonzero(c.distances < cutoff).squeeze(-1)
    return _chosen(c, near)


def nonbonded(c: Batch, cutoff: float) -> Batch:
    """As `within`, without the pairs that the connectivity excludes."""
    near = within(c, cutoff)
    connectivity = near.connectivity
    if connectivity is None:
        return near
    excluded, n_particles = connectivity.excluded, near.positions.shape[1]
    if excluded.shape[0] == 0:
        return near
    key = near.first % n_particles * n_particles + near.second % n_particles
    out = excluded[torch.searchsorted(excluded, key).clamp(max=excluded.shape[0] - 1)] == key
    if near.sizes is None:
        return _chosen(near, torch.nonzero(torch.logical_not(out)).squeeze(-1))
    # Of a fixed number of pairs none can be left out: they stand where nothing acts.
    distances = torch.where(out, torch.full_like(near.distances, cutoff), near.distances)
    return _of_pairs(near, near.first, near.second, near.vectors, distances)


def _chosen(c: Batch, pairs: Tensor) -> Batch:
    """The same configuration with some of its pairs."""
    # index_select: the gradient of a[pairs] costs several times as much.
    first, second = c.first.index_select(0, pairs), c.second.index_select(0, pairs)
    return _of_pairs(c, first, second, c.vectors.index_select(0, pairs), c.distances.index_select(0, pairs))


def _of_pairs(c: Batch, first: Tensor, second: Tensor, vectors: Tensor, distances: Tensor) -> Batch:
    """The same configuration with other pairs."""
    return Batch(
        c.positions, c.box, c.species, first, second, vectors, distances, c.sigma, c.sizes, c.exact, c.connectivity
    )


def vectors_between(c: Batch, start: Tensor, end: Tensor) -> Tensor:
    """Vectors (n_frames, n, 3), nm, between particles (n,) of each frame: nearest images, in the batch's precision."""
    exact, box = c.exact, c.box
    positions = c.positions if exact is None else exact
    vectors = positions.index_select(1, end) - positions.index_select(1, start)
    if box is not None:
        box = box.to(positions.dtype)
        vectors = minimum_image(vectors, box.unsqueeze(1) if box.dim() == 3 else box)
    return vectors.to(c.positions.dtype)


def make_batch(
    positions: Tensor,
    box: Optional[Tensor],
    species: Tensor,
    cutoff: float,
    sigma: Optional[Tensor] = None,
    connectivity: Optional[Connectivity] = None,
) -> Batch:
    """The `Batch` of positions (n_frames, n_particles, 3) with all pairs within `cutoff` (nm)."""
    first, second, vectors = neighbour_pairs(positions, box, cutoff)
    distances = torch.sqrt((vectors * vectors).sum(-1))
    return Batch(positions, box, species, first, second, vectors, distances, sigma, None, positions, connectivity)


def listed_batch(
    positions: Tensor,
    box: Optional[Tensor],
    species: Tensor,
    first: Tensor,
    second: Tensor,
    sizes: Dict[float, int],
    connectivity: Optional[Connectivity] = None,
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
    connectivity : Connectivity or None
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
    return Batch(positions, box, species, first, second, vectors, distances, None, sizes, positions, connectivity)


def cast(c: Batch, like: Tensor) -> Batch:
    """The same configuration in the precision of another tensor.

    Differences of positions taken before lose fewer digits than those taken after: in single
    precision, positions in a box of 16 nm are known to 1e-6 nm, pair vectors to 1e-7 nm.
    `exact` stays as it is, for differences that are still to be taken.
    """
    box = c.box
    if box is not None:
        box = box.to(like.dtype)
    positions, vectors, distances = c.positions.to(like.dtype), c.vectors.to(like.dtype), c.distances.to(like.dtype)
    return Batch(
        positions, box, c.species, c.first, c.second, vectors, distances, c.sigma, c.sizes, c.exact, c.connectivity
    )
