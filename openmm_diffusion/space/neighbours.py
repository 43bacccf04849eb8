"""Which pairs of particles are neighbours: all pairs closer than a cutoff, in a periodic box or without one.

Small systems look at every pair.  Large ones sort their particles into cells no
narrower than the cutoff, so that neighbours are in the same cell or in adjacent ones:
cost and memory are linear in the number of particles.  Cells are slices of the box
along its own vectors, so that a slanted box needs nothing special; only those that
hold particles exist, so that emptiness costs nothing.
"""

from typing import Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from .boxes import minimum_image


def neighbour_pairs(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor, Tensor]:
    """All pairs closer than a cutoff, each once, in every frame of a batch.

    The particles of the batch are numbered through: particle i of frame f is
    f * n_particles + i.  Pairs are sorted by `first`, then by `second`.

    Parameters
    ----------
    positions : Tensor, shape (n_frames, n_particles, 3), nm
        Anywhere: wrapped into the box or not.
    box : Tensor, shape (3, 3) or (n_frames, 3, 3), nm, or None
    cutoff : float, nm
        At most half the smallest width of the box; not checked here.  0: there are none.

    Returns
    -------
    first, second : Tensor, shape (n_pairs,), dtype int64
        first < second.
    vectors : Tensor, shape (n_pairs, 3), nm
        From `first` to the nearest image of `second`; differentiable.
    """
    # Measured at 3 ions per nm^3, gradients included, on one CPU thread, for cutoffs of 0.6 and 1.0 nm in single and
    # double precision: both take 1 ms a frame at 110 to 190 particles.  At 48, cells take 0.6 ms and all pairs 0.25;
    # at 1,200 cells take 4 to 8 ms and all pairs 60 to 120; at 12,288 cells take 30 to 50 ms.
    if cutoff <= 0:  # energies that are not of pairs need no search
        none = torch.zeros(0, dtype=torch.int64, device=positions.device)
        return none, none, positions.new_zeros(0, 3)
    if positions.shape[1] < 200:
        return dense_pairs(positions, box, cutoff)
    return cell_pairs(positions, box, cutoff)


def dense_pairs(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor, Tensor]:
    """`neighbour_pairs` by looking at every pair: cost and memory grow as the square of n_particles."""
    n_particles = positions.shape[1]
    upper = torch.triu_indices(n_particles, n_particles, offset=1, device=positions.device)
    # index_select: the gradient of positions[:, i] costs several times as much.
    vectors = positions.index_select(1, upper[1]) - positions.index_select(1, upper[0])
    if box is not None and box.dim() == 3:
        vectors = minimum_image(vectors, box.unsqueeze(1))
    else:
        vectors = minimum_image(vectors, box)
    near = torch.nonzero((vectors * vectors).sum(-1) < cutoff * cutoff)
    offset = near[:, 0] * n_particles
    chosen = vectors.flatten(0, 1).index_select(0, near[:, 0] * upper.shape[1] + near[:, 1])
    return upper[0][near[:, 1]] + offset, upper[1][near[:, 1]] + offset, chosen


def cell_pairs(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor, Tensor]:
    """`neighbour_pairs` by cells: cost and memory grow as n_particles times the density."""
    # Which pairs there are is not differentiable.  By detach, not by no_grad: TorchScript shares equal expressions
    # inside and outside of no_grad, and the vectors returned would lose their graph.
    still = positions.detach()
    order, left, right = _candidates(still, box, cutoff)
    placed = still.reshape(-1, 3).index_select(0, order).view_as(still)  # neighbours stand together in memory
    vectors = _pair_vectors(placed, box, left, right)
    # Within a cell candidates come in both orders, and paired with themselves.
    near = torch.nonzero(((vectors * vectors).sum(-1) < cutoff * cutoff) & (left < right)).squeeze(-1)
    left, right = order[left[near]], order[right[near]]
    first, second = torch.minimum(left, right), torch.maximum(left, right)
    sorted_pairs = torch.argsort(first * len(order) + second)
    first, second = first[sorted_pairs], second[sorted_pairs]
    return first, second, _pair_vectors(positions, box, first, second)


def _pair_vectors(positions: Tensor, box: Optional[Tensor], first: Tensor, second: Tensor) -> Tensor:
    """Vectors (n_pairs, 3) from `first` to the nearest image of `second`, numbered through the batch."""
    flat = positions.reshape(-1, 3)
    vectors = flat.index_select(0, second) - flat.index_select(0, first)
    if box is not None and box.dim() == 3:
        box = box.expand(positions.shape[0], 3, 3)[first // positions.shape[1]]
    return minimum_image(vectors, box)


def _candidates(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor, Tensor]:
    """Particles of the batch (n_frames * n_particles,) cell after cell, and the pairs that may be neighbours.

    A pair is two places (n_candidates,) in that order, of particles in the same or in
    adjacent cells; pairs with left < right are all there, each once.
    """
    cells, number = _cells(positions, box, cutoff)
    n_frames, n_particles = positions.shape[0], positions.shape[1]
    device = positions.device
    # One number for each cell of the batch.  Particles sorted by it: those of a cell stand together.
    size = number.amax(0)
    frames = torch.arange(n_frames, device=device).repeat_interleave(n_particles)
    keys, order = torch.sort(_key(frames, cells, size))
    new = torch.ones_like(keys, dtype=torch.bool)
    new[1:] = keys[1:] != keys[:-1]
    starts = torch.nonzero(new).squeeze(-1)
    occupied = keys[starts]
    counts = torch.diff(starts, append=torch.full_like(starts[:1], len(keys)))

    # The 27 cells around every occupied cell.  Of two adjacent cells the one of the lower number sees the other.
    step = torch.arange(-1, 2, device=device)
    steps = torch.cartesian_prod(step, step, step)
    cells, frames = cells[order[starts]].unsqueeze(1), frames[order[starts]].unsqueeze(1)
    number = number[frames]
    around = cells + steps
    if box is None:
        exists = ((around >= 0) & (around < number)).all(-1)
    else:
        # With one cell along an axis its neighbour is itself, with two both neighbours are the same.
        exists = (((steps == 0) | (number > 2)) | ((steps == 1) & (number == 2))).all(-1)
        around = torch.remainder(around, number)
    wanted = _key(frames, around, size)
    seen = torch.nonzero(exists & (wanted >= occupied.unsqueeze(1)))
    wanted = wanted[seen[:, 0], seen[:, 1]]
    place = torch.searchsorted(occupied, wanted).clamp(max=len(occupied) - 1)
    full = torch.nonzero(occupied[place] == wanted).squeeze(-1)
    one, other = seen[:, 0][full], place[full]

    # All particles of the one with all of the other.
    width = counts[other]
    products = counts[one] * width
    pair = torch.repeat_interleave(products)
    number_within = torch.arange(len(pair), device=device) - (torch.cumsum(products, 0) - products).index_select(
        0, pair
    )
    width = width.index_select(0, pair)
    row = torch.div(number_within, width, rounding_mode="floor")
    left = starts[one].index_select(0, pair) + row
    return order, left, starts[other].index_select(0, pair) + number_within - row * width


def _cells(positions: Tensor, box: Optional[Tensor], cutoff: float) -> Tuple[Tensor, Tensor]:
    """Cell of each particle (n_frames * n_particles, 3) and number of cells (n_frames, 3) along each axis, int64."""
    most = 65536  # along an axis: three of them and the frames number through in 64 bits
    # Somewhat wider than the cutoff, so that rounding separates no pair by two cells.
    least = 1.001 * cutoff + 1e-4  # nm
    if box is None:
        number = torch.full([positions.shape[0], 3], most, device=positions.device, dtype=torch.int64)
        cells = torch.floor(positions / least) + most // 2
    else:
        inverse = torch.linalg.inv(box.expand(positions.shape[0], 3, 3))
        # Its columns are perpendicular to the faces, and as long as one over the distance of opposite faces.
        number = torch.floor(1 / (least * torch.sqrt((inverse * inverse).sum(1)))).clamp(1, most).to(torch.int64)
        fractions = torch.matmul(positions, inverse)
        cells = (fractions - torch.floor(fractions)) * number.unsqueeze(1)
    # Rounding may reach the upper face; without a box, far outliers share the outermost cells; NaN must be somewhere.
    cells = torch.minimum(cells.to(torch.int64).clamp(min=0), number.unsqueeze(1) - 1)
    return cells.reshape(-1, 3), number


def _key(frames: Tensor, cells: Tensor, size: Tensor) -> Tensor:
    """Number of each cell (..., 3) of frames (...) in a batch with `size` (3,) cells along each axis, at most."""
    return ((frames * size[0] + cells[..., 0]) * size[1] + cells[..., 1]) * size[2] + cells[..., 2]


def closest_approach(
    positions: np.ndarray, box: Optional[np.ndarray], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """The shortest distance of each of some pairs over all frames.

    Parameters
    ----------
    positions : array, shape (n_frames, n_particles, 3), nm
    box : array, shape (n_frames, 3, 3), nm, or None
    first, second : array, shape (n_pairs,), dtype int

    Returns
    -------
    array, shape (n_pairs,), dtype float64, nm
    """
    nearest = torch.full((len(first),), torch.inf, dtype=torch.float64)
    # About 50 MB of pair vectors at a time.
    step = max(1, 2_000_000 // max(1, len(first)))
    for start in range(0, len(positions), step):
        part = torch.from_numpy(positions[start : start + step]).double()
        cells = None if box is None else torch.from_numpy(box[start : start + step, None])
        nearest = torch.minimum(nearest, minimum_image(part[:, second] - part[:, first], cells).norm(dim=-1).amin(0))
    return nearest.numpy()
