"""Radial distribution functions through mdtraj, with error bars, and their smearing by noise."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import mdtraj
import numpy as np
import pandas
from openmm import unit

from ..particles import atom_types, ordered
from ..units import array, count, nanometers, shown
from .resampling import mean_and_error

if TYPE_CHECKING:
    from ..data.frames import Frames


#: Bins of the finest g(r): at a picometre each, it ends at 10 nm.
BINS = 10_000


@dataclass(frozen=True)
class RDF:
    """Radial distribution functions of all pairs of species.

    Attributes
    ----------
    r : array, shape (n_bins,), nm
        Bin centres.
    g : dict of str to array, shape (n_bins,)
        By pair, such as "Li-Cl"; 1 at large distance.
    error : dict of str to array, shape (n_bins,)
        Standard error of the mean from the spread over blocks; NaN from one block alone.
    blocks : dict of str to array, shape (n_blocks, n_bins)
        g(r) of each block: an independent run, or a contiguous stretch of a single one.
    weights : array, shape (n_blocks,)
        Frames in each block.
    """

    r: np.ndarray
    g: dict
    error: dict
    blocks: dict
    weights: np.ndarray

    def table(self):
        """All curves as a pandas DataFrame: r (nm), then one column g and one column error per pair."""
        columns = {"r_nm": self.r}
        for pair in self.g:
            columns[pair], columns[f"{pair}_error"] = self.g[pair], self.error[pair]
        return pandas.DataFrame(columns)


def side_by_side(tables):
    """Tables of several sets of frames, as `RDF.table` has them, in one: columns PAIR_LABEL and PAIR_LABEL_error.

    Pairs that only some of the sets have are NaN in the others.

    Parameters
    ----------
    tables : dict of str to DataFrame
        By label, on the same bins.

    Returns
    -------
    DataFrame
    """
    first = next(iter(tables.values()))
    pairs = dict.fromkeys(c for table in tables.values() for c in table if c != "r_nm" and not c.endswith("_error"))
    columns = {"r_nm": first["r_nm"]}
    for pair in pairs:
        for label, table in tables.items():
            for end in ("", "_error"):
                columns[f"{pair}_{label}{end}"] = table.get(f"{pair}{end}", np.nan)
    return pandas.DataFrame(columns)


def rebin(rdf, factor):
    """The same g(r) in bins `factor` times as wide: shells of neighbouring bins joined by volume."""
    half = 0.5 * (rdf.r[1] - rdf.r[0])
    volume = (rdf.r + half) ** 3 - (rdf.r - half) ** 3

    def join(rows):
        parts = np.asarray(rows * volume).reshape(*np.shape(rows)[:-1], -1, factor)
        return parts.sum(-1) / volume.reshape(-1, factor).sum(-1)

    blocks = {name: join(rows) for name, rows in rdf.blocks.items()}
    weights = rdf.weights
    g = {name: mean_and_error(rows, weights) for name, rows in blocks.items()}
    r = rdf.r.reshape(-1, factor).mean(-1)
    return RDF(r, {n: v[0] for n, v in g.items()}, {n: v[1] for n, v in g.items()}, blocks, weights)


def compute_rdf(
    frames: "Frames | mdtraj.Trajectory",
    r_range: tuple[float, float] = (0.2, 1.0),
    bin_width: float = 0.01,
    n_blocks: int = 8,
    frames_per_chunk: int = 500,
    progress: Callable[[float], None] | None = None,
) -> RDF:
    """g(r) of every pair of species.

    Parameters
    ----------
    frames : Frames or mdtraj.Trajectory
        Periodic.  Blocks are the replicas of `Frames` that has more than one.
    r_range : (float, float), nm
        At most half the smallest width of the box.
    bin_width : float, nm
    n_blocks : int
        Contiguous blocks a single run is cut into.
    frames_per_chunk : int
        Frames whose distances are held in memory at once.
    progress : callable, optional
        Called with the number of frames after each chunk; a frame is done with its last pair of species, and each of
        these counts the same.

    Returns
    -------
    RDF

    Raises
    ------
    ValueError
        Without a box, or with `r_range` beyond half of it: there is no g(r) there.
    """
    replica = getattr(frames, "replica", None)
    if not isinstance(frames, mdtraj.Trajectory) and not hasattr(frames, "to_mdtraj"):
        raise TypeError(f"frames is {shown(frames)}: give Frames, or a Trajectory of mdtraj")
    if progress is not None and not callable(progress):
        raise TypeError(f"progress is {shown(progress)}: give a function of the number of frames done, or None")
    trajectory = frames.to_mdtraj() if hasattr(frames, "to_mdtraj") else frames
    if trajectory.unitcell_vectors is None:
        raise ValueError("frames have no periodic box: a g(r) needs a density")
    low, high = array(r_range, unit.nanometer, "r_range", (2,)).tolist()
    bin_width = nanometers(bin_width, "bin_width", above=0)
    n_blocks, frames_per_chunk = count(n_blocks, "n_blocks"), count(frames_per_chunk, "frames_per_chunk")
    half = 0.5 * float(np.diagonal(trajectory.unitcell_vectors, axis1=1, axis2=2).min())
    if not 0 <= low < high <= half * (1 + 1e-6):
        raise ValueError(f"r_range is {low:g} to {high:g} nm: it must end within half the box, {half:.4g} nm")
    n_bins, r_range = round((high - low) / bin_width), (low, high)
    if not 1 <= n_bins <= BINS:
        raise ValueError(f"bin_width is {bin_width:g} nm, {n_bins} bins over r_range: give 1 to {BINS}")
    if replica is not None and len(np.unique(replica)) > 1:
        blocks = [np.flatnonzero(replica == number) for number in np.unique(replica)]
    else:
        blocks = [b for b in np.array_split(np.arange(len(trajectory)), n_blocks) if len(b)]
    weights = np.array([len(b) for b in blocks], dtype=float)
    g, error, curves = {}, {}, {}
    every = species_pairs(trajectory.topology, getattr(frames, "types", None))

    def told(done):
        if progress is not None:
            progress(done / len(every))

    for name, pairs in every.items():
        rows = np.array([_curve(trajectory[b], pairs, r_range, n_bins, frames_per_chunk, told) for b in blocks])
        g[name], error[name], curves[name] = *mean_and_error(rows, weights), rows
    edges = np.linspace(r_range[0], r_range[1], n_bins + 1)
    return RDF(0.5 * (edges[1:] + edges[:-1]), g, error, curves, weights)


def species_pairs(topology, types=None):
    """Index pairs of every two types of an mdtraj Topology: dict of "A-B" to array (n_pairs, 2).

    The types are those given, one for each atom; else the elements, or the names where an atom has
    none.  The order is that of `particles.ordered`: lighter element first.  Pairs of which there are
    none are left out.
    """
    atoms = {}
    for atom, kind in zip(topology.atoms, atom_types(topology.atoms, types)):
        atoms.setdefault(kind, []).append(atom.index)
    pairs = {}
    for a, b in combinations_with_replacement(ordered(atoms), 2):
        pairs[f"{a}-{b}"] = topology.select_pairs(np.array(atoms[a]), np.array(atoms[b]))
    return {name: p for name, p in pairs.items() if len(p)}


def _curve(trajectory, pairs, r_range, n_bins, frames_per_chunk, told):
    total = np.zeros(n_bins)
    for start in range(0, len(trajectory), frames_per_chunk):
        chunk = trajectory[start : start + frames_per_chunk]
        # mdtraj builds frames x pairs distances in memory, and truncates the bin count unless n_bins is given.
        _, g = mdtraj.compute_rdf(chunk, pairs, r_range=r_range, n_bins=n_bins, periodic=True)
        total += g * len(chunk)
        told(len(chunk))
    return total / len(trajectory)


def rmsd(first, second):
    """Root mean square difference of two curves on the same bins, dimensionless."""
    return float(np.sqrt(np.mean((np.asarray(first) - np.asarray(second)) ** 2)))


def smear(r, g, sigma):
    """g(r) after both particles of every pair are noised by sigma.

    The distance vector receives a Gaussian of variance s^2 = 2 sigma^2 per component,
    which convolves the three-dimensional g; for a radial function::

        g_sigma(r) = int dr' (r'/r) g(r') [N(r - r'; s) - N(r + r'; s)]

    Parameters
    ----------
    r, g : array, shape (n_bins,), nm and dimensionless
        Equally spaced.  g is continued by 0 below and by its last value above.
    sigma : float, nm

    Returns
    -------
    array, shape (n_bins,)
    """
    if sigma == 0:
        return np.array(g)
    s, width = np.sqrt(2) * sigma, r[1] - r[0]
    # Quadrature needs several points per s, whatever the bins are.
    fine = np.arange(max(r[0] - 0.5 * width, 0) + 1e-6, r[-1] + 8 * s, min(width, s / 4))
    values = np.interp(fine, r, g, left=0.0)
    out, source = r[:, None], fine[None, :]
    kernel = np.exp(-((out - source) ** 2) / (2 * s**2)) - np.exp(-((out + source) ** 2) / (2 * s**2))
    kernel *= source / out / np.sqrt(2 * np.pi) / s
    return (kernel * values).sum(1) * (fine[1] - fine[0])
