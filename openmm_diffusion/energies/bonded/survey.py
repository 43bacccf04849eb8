"""What configurations say of their internal coordinates, kind by kind: where they are, how wide, how stiff noise is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...space.batch import Batch, vectors_between
from .coordinates import Coordinate, cosine_of, dihedral_of, distance_of, placed

#: By the species of its particles, in the order of `space.connectivity`.
Kind = tuple[int, ...]


def bond_lengths(c: Batch, groups: Tensor) -> Coordinate:
    """Distance of the particles of every bond (n_bonds, 2)."""
    return distance_of(vectors_between(c, groups[:, 0], groups[:, 1]))


def angle_cosines(c: Batch, groups: Tensor) -> Coordinate:
    """Cosine of every angle (n_angles, 3)."""
    i, j, k = groups.unbind(1)
    return cosine_of(vectors_between(c, j, i), vectors_between(c, j, k))


def dihedral_angles(c: Batch, groups: Tensor) -> Coordinate:
    """Angle of every dihedral (n_dihedrals, 4)."""
    i, j, k, m = groups.unbind(1)
    return dihedral_of(vectors_between(c, j, i), vectors_between(c, k, j), vectors_between(c, k, m))


def end_distances(c: Batch, groups: Tensor) -> Coordinate:
    """Distance of the first and the last particle of every group (n_groups, n_members)."""
    ends = groups[:, (0, -1)]
    return placed(bond_lengths(c, ends), (0, groups.shape[1] - 1), groups.shape[1])


#: The table of a `Connectivity` that each kind of coordinate is of, and how it is computed.
COORDINATES: dict[str, tuple[str, Callable[[Batch, Tensor], Coordinate]]] = {
    "bonds": ("bonds", bond_lengths),
    "angles": ("angles", angle_cosines),
    "onethree": ("angles", end_distances),
    "dihedrals": ("dihedrals", dihedral_angles),
    "onefour": ("dihedrals", end_distances),
    "impropers": ("impropers", dihedral_angles),
    "chains": ("chains", lambda c, groups: placed(dihedral_angles(c, groups[:, :4]), (0, 1, 2, 3), 5)),
}


@dataclass
class Spread:
    """Where a coordinate of one kind is in some frames.

    Attributes
    ----------
    low, high : float
        Its least and its largest value.
    mean, width : float
        Mean and standard deviation; for a dihedral those of the angle between -pi and pi.
    slope : float, per nm^2
        Mean of |grad q|^2: noise of variance sigma^2 widens q by sigma^2 times this.
    """

    low: float
    high: float
    mean: float
    width: float
    slope: float


def surveyed(coordinate: str, batches: Iterable[Batch]) -> dict[Kind, Spread]:
    """The `Spread` of each kind of coordinate in some frames.

    Parameters
    ----------
    coordinate : str
        One of `COORDINATES`.
    batches : iterable of Batch

    Returns
    -------
    dict of tuple of int to Spread
        By the species of the particles of a group.
    """
    sums: dict[Kind, Tensor] = {}
    extremes: dict[Kind, tuple[float, float]] = {}
    table, compute = COORDINATES[coordinate]
    for c in batches:
        if c.connectivity is None or not len(getattr(c.connectivity, table)):
            continue
        groups = getattr(c.connectivity, table)
        q = compute(c, groups)
        slope = (q.gradient**2).sum((-1, -2))
        kinds, place = torch.unique(c.species[groups], dim=0, return_inverse=True)
        for number, kind in enumerate(map(tuple, kinds.tolist())):
            value = q.value[:, place == number]
            powers = value.new_tensor(value.numel()), value.sum(), (value**2).sum(), slope[:, place == number].sum()
            sums[kind] = sums.get(kind, torch.zeros(4, dtype=torch.float64)) + torch.stack(powers)
            low, high = extremes.get(kind, (torch.inf, -torch.inf))
            extremes[kind] = min(low, float(value.min())), max(high, float(value.max()))
    return {kind: _spread(sums[kind].tolist(), extremes[kind]) for kind in sorted(sums)}


def _spread(sums: list[float], extremes: tuple[float, float]) -> Spread:
    n, first, second, slope = sums
    mean = first / n
    return Spread(*extremes, mean, max(second / n - mean**2, 0.0) ** 0.5, slope / n)
