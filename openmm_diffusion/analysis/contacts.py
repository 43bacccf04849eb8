"""Which particles are near each other, in which frame."""

import numpy as np
import pandas
import torch

from ..particles import ordered, pair_of
from ..space.boxes import check_cutoff, minimum_image
from ..space.connectivity import free_pairs
from ..space.neighbours import neighbour_pairs


def close_pairs(frames, distances):
    """Pairs closer than a distance of their own, a chunk of frames after the other.

    Parameters
    ----------
    frames : Frames
    distances : dict of str to float, nm
        By pair of types "A-B", in the order of `particles.ordered`; at most half the box.

    Yields
    ------
    pair : str
    frame, first, second : array, shape (n_close,), dtype int
    """
    names, order = np.array(frames.types), ordered(frames.types)
    n, place = len(names), np.array([order.index(kind) for kind in names])
    step = max(1, 2_000_000 // (n * n))  # about 50 MB of pair vectors at a time
    for start in range(0, len(frames) if distances else 0, step):
        x = torch.from_numpy(frames.positions[start : start + step]).double()
        box = None if frames.box is None else torch.from_numpy(frames.boxes[start : start + step])
        first, second, vectors = (v.numpy() for v in neighbour_pairs(x, box, max(distances.values())))
        r = np.sqrt((vectors**2).sum(-1))
        frame, first, second = start + first // n, first % n, second % n
        light = np.where(place[first] <= place[second], first, second)
        heavy = first + second - light
        for pair, distance in distances.items():
            a, b = pair_of(pair, order)
            chosen = (names[light] == a) & (names[heavy] == b) & (r < distance)
            yield pair, frame[chosen], light[chosen], heavy[chosen]


def distance_histogram(frames, r_max, exclusions=0, width=0.005, n_frames=200):
    """How often particles are at a distance.

    Parameters
    ----------
    frames : Frames
    r_max : float, nm
        Where the histogram ends; at most half the box, to which it is cut.
    exclusions : int
        Bonds between two particles up to which they are not counted.
    width : float, nm
        Of a bin.
    n_frames : int
        Frames that are counted at most, evenly over all runs.

    Returns
    -------
    DataFrame
        Columns pair ("A-B"), r_nm (middle of a bin) and pairs, the number of pairs in it per frame; only of pairs of
        types of which there are any.
    """
    some = frames[:: max(1, -(-len(frames) // n_frames))]
    if some.box is not None:
        r_max = min(r_max, 0.5 * float(np.diagonal(some.boxes, axis1=1, axis2=2).min()))
    order, n = ordered(some.types), len(some.types)
    place = np.array([order.index(kind) for kind in some.types])
    free = np.zeros((n, n), dtype=bool)
    free[free_pairs(n, some.bonds, exclusions)] = True
    free |= free.T
    edges = np.arange(0, r_max + 1e-9, width)
    counts = np.zeros((len(order), len(order), len(edges) - 1))
    step = max(1, 2_000_000 // (n * n))
    for start in range(0, len(some), step):
        x = torch.from_numpy(some.positions[start : start + step]).double()
        box = None if some.box is None else torch.from_numpy(some.boxes[start : start + step])
        first, second, vectors = (v.numpy() for v in neighbour_pairs(x, box, r_max))
        first, second, r = first % n, second % n, np.sqrt((vectors**2).sum(-1))
        a, b = np.sort(np.stack([place[first], place[second]]), axis=0)
        kept = free[first, second] & (r < edges[-1])
        np.add.at(counts, (a[kept], b[kept], (r[kept] / width).astype(int)), 1)
    middle, tables = 0.5 * (edges[1:] + edges[:-1]), []
    for a, b in zip(*np.triu_indices(len(order))):
        if counts[a, b].any():
            pairs = counts[a, b] / len(some)
            tables.append(pandas.DataFrame({"pair": f"{order[a]}-{order[b]}", "r_nm": middle, "pairs": pairs}))
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=["pair", "r_nm", "pairs"])


def contact_pairs(distances, types):
    """The distances of those pairs that can be in contact: of two different types, among those given."""
    return {pair: distance for pair, distance in distances.items() if len(set(pair_of(pair, types))) == 2}


def in_contact(frames, distances):
    """Which particles have a partner of another type within the distance of that pair.

    Parameters
    ----------
    frames, distances
        As `close_pairs`; pairs of one type do not count.

    Returns
    -------
    array, shape (n_frames, n_particles), dtype bool
    """
    contact = np.zeros(frames.positions.shape[:2], dtype=bool)
    for _, frame, first, second in close_pairs(frames, contact_pairs(distances, frames.types)):
        contact[frame, first] = contact[frame, second] = True
    return contact


def contacts(positions, box, pairs, cutoff):
    """Which pairs are within a distance in which frame.

    Parameters
    ----------
    positions : array, shape (n_frames, n_particles, 3), nm
    box : array, shape (3, 3), nm, or None
    pairs : array, shape (n_pairs, 2), dtype int
        As `rdf.species_pairs` gives them.
    cutoff : float, nm
        At most half the box.

    Returns
    -------
    array, shape (n_frames, n_pairs), dtype bool
    """
    box = None if box is None else torch.as_tensor(np.asarray(box, dtype=np.float64))
    if box is not None:
        check_cutoff(cutoff, box)
    first, second = np.asarray(pairs).T
    found = []
    for chunk in np.array_split(positions, max(1, len(positions) * len(first) // 1_000_000)):
        vectors = torch.from_numpy(np.asarray(chunk[:, second] - chunk[:, first], dtype=np.float64))
        found.append((minimum_image(vectors, box).norm(dim=-1) < cutoff).numpy())
    return np.concatenate(found)
