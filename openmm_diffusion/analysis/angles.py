"""Angles between the neighbours of a particle: the local order that a g(r) does not show."""

from dataclasses import dataclass

import numpy as np
import pandas
import torch

from ..particles import ordered
from ..space.boxes import check_cutoff
from ..space.neighbours import neighbour_pairs
from .resampling import block_numbers, block_sums, mean_and_error


@dataclass(frozen=True)
class AngleDistribution:
    """Distribution of the angle at a particle between every two of its neighbours, by the type of the particle.

    It is to angles what g(r) is to distances: the density over the cosine, divided by that of directions that know
    nothing of each other, which is the same for every cosine.  Its blocks are those of an `RDF`: `rmsd_error` and
    `split_half_error` take it as they take one.

    Attributes
    ----------
    cosine : array, shape (n_bins,)
        Bin centres, from -1 to 1.
    density : dict of str to array, shape (n_bins,), dimensionless
        By type; its mean over all bins is 1.
    error : dict of str to array, shape (n_bins,)
        Standard error of the mean from the spread over blocks; NaN from one block alone.
    blocks : dict of str to array, shape (n_blocks, n_bins)
        Of each block: an independent run, or a contiguous stretch of a single one.
    weights : array, shape (n_blocks,)
        Frames in each block.
    """

    cosine: np.ndarray
    density: dict
    error: dict
    blocks: dict
    weights: np.ndarray

    def table(self):
        """All curves as a pandas DataFrame: cosine, then one column density and one column error per type."""
        columns = {"cosine": self.cosine}
        for kind in self.density:
            columns[kind], columns[f"{kind}_error"] = self.density[kind], self.error[kind]
        return pandas.DataFrame(columns)


def neighbour_angles(frames, distance, n_bins=50):
    """Distribution of the angles at every particle between neighbours within a distance, of whatever type.

    Parameters
    ----------
    frames : Frames
    distance : float, nm
        Up to where a particle is a neighbour; at most half the smallest width of the box.
    n_bins : int
        Of equal width in the cosine.

    Returns
    -------
    AngleDistribution

    Raises
    ------
    ValueError
        For a distance beyond half the box, or at which the particles of a type never have two neighbours.
    """
    if frames.box is not None:
        check_cutoff(distance, torch.from_numpy(frames.boxes), "distance")
    names, kinds = np.array(frames.types), ordered(frames.types)
    n, blocks = len(names), block_numbers(frames.replica)
    counts = np.zeros((len(frames), len(kinds), n_bins))
    step = max(1, 2_000_000 // (n * n))  # about 50 MB of pair vectors at a time
    for start in range(0, len(frames), step):
        x = torch.from_numpy(frames.positions[start : start + step]).double()
        box = None if frames.box is None else torch.from_numpy(frames.boxes[start : start + step])
        centre, cosine = _cosines(*neighbour_pairs(x, box, distance))
        bins = np.minimum(((1 + cosine) / 2 * n_bins).astype(int), n_bins - 1)
        for number, kind in enumerate(kinds):
            own = names[centre % n] == kind
            np.add.at(counts, (start + centre[own] // n, number, bins[own]), 1)
    sums = block_sums(counts, blocks)
    weights = np.bincount(blocks).astype(float)
    density, error, curves = {}, {}, {}
    for number, kind in enumerate(kinds):
        rows = sums[:, number]
        if not rows.sum(1).all():
            raise ValueError(f"distance is {distance:g} nm: no {kind} has two neighbours so near; give a larger one")
        curves[kind] = rows / rows.mean(1, keepdims=True)
        density[kind], error[kind] = mean_and_error(curves[kind], weights)
    return AngleDistribution((np.arange(n_bins) + 0.5) * 2 / n_bins - 1, density, error, curves, weights)


def _cosines(first, second, vectors):
    """Particles and the cosines between every two of their neighbours, each couple once: shape (n_angles,) each."""
    centre = torch.cat([first, second]).numpy()
    direction = torch.nn.functional.normalize(torch.cat([vectors, -vectors]), dim=-1).numpy()
    order = np.argsort(centre, kind="stable")
    centre, direction = centre[order], direction[order]
    found, cosines = [centre[:0]], [direction[:0, 0]]
    # Neighbours stand together now: the k-th after each is a couple where it has the same centre.
    for k in range(1, len(centre)):
        same = centre[k:] == centre[:-k]
        if not same.any():
            break
        found.append(centre[k:][same])
        cosines.append((direction[k:][same] * direction[:-k][same]).sum(-1))
    return np.concatenate(found), np.clip(np.concatenate(cosines), -1, 1)
