"""Pair potentials of cubic B-splines.

U(y) = sum_{i<j} u_ab(r_ij) with u_ab(r) = sum_k c_k B_k(r), linear in c.  Every B_k
vanishes at the cutoff with its first two derivatives, as exact score matching and
constant-energy dynamics need.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import openmm
import torch
from numpy.typing import ArrayLike
from pydantic import Field, PositiveFloat
from torch import Tensor

from ..space.batch import Batch, nonbonded, pair_species, sum_pairs
from .base import Length, Level, ModelHeader, register
from .linear import LinearEnergy, LinearSettings, LinearTerm
from .native import Pairwise, spline_expression, spline_parameters

#: Knot intervals up to which a potential of listed pairs is an expression and not a table.
WRITTEN = 64

#: The smoothness penalty's length (nm), what it adds to a distance beyond the shortest of the data (nm), and its
#: least weight: see `SplinePair.roughness`.
SMOOTH_FROM, OFFSET, FLOOR = 0.5, 0.05, 3e-3

#: Knots of the finest potential that is built; frames tell those of some hundred.
KNOTS = 10_000
#: Coefficients of 1, t, t^2 and t^3 in the four uniform cubic B-splines that are not zero at t in [0, 1).
CUBIC = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6
#: Points per knot interval of a tabulated curve, and idle intervals at both ends of each of its curves.
POINTS, PADDING = 4, 6


class PairConfig(LinearSettings):
    """The spline basis and how it is fitted.

    Attributes
    ----------
    cutoff : float, nm
    start : float, nm
        First knot: below it the potential goes on linearly.
    spacing : float, nm
        Distance of the knots.
    sigma, draws, penalties, folds
        As in `LinearSettings`.
    """

    cutoff: PositiveFloat = Field(1.0, le=100)
    start: PositiveFloat = 0.18
    spacing: PositiveFloat = Field(0.02, ge=1e-4)


@register
class PairTerm(LinearTerm):
    """Spline pair potential at noise level sigma (nm, 0: clean frames); knots in nm.

    `sigmas` are the levels (nm) that it was fitted at and is interpolated between; None: sigma alone.
    """

    Settings: ClassVar = PairConfig
    noun: ClassVar = "pair potential"

    kind: Literal["pair"] = "pair"
    sigma: Level
    sigmas: list[Level] | None = Field(None, min_length=2, max_length=1000)
    cutoff: Length
    start: Length
    spacing: Length
    penalty: float | None = None

    def module(self, header: ModelHeader) -> "SplinePair":
        shortest = getattr(header, "shortest_distances", None)
        return SplinePair(len(header.species), self.cutoff, self.start, self.spacing, self.sigmas, shortest)

    def pairwise(self, module: Any, tag: str = "") -> Pairwise:
        return module.pairwise(f"curves{tag}")


class SplinePair(LinearEnergy):
    """Sum of pair potentials, one spline per pair of species.

    Parameters
    ----------
    n_species : int
    cutoff, start, spacing : float, nm
        As in `PairConfig`.
    sigmas : list of float, nm, or None
        Noise levels of the table, evenly spaced on a logarithmic scale; None: one level only.
    shortest : list, shape (n_species, n_species), nm, or None
        Shortest distance of each pair of species in the data, where the penalty begins; None, as a whole or for
        a pair: at `start`.

    Attributes
    ----------
    coefficients : Tensor, shape (n_species (n_species + 1) / 2, n_basis), kJ/mol
        At the level evaluated.  Rows in the order (0, 0), (0, 1), ..., (1, 1), ...  The last
        three are zero.
    table : Tensor, shape (n_levels, n_species (n_species + 1) / 2, n_basis), kJ/mol
        At each of `sigmas`; no levels without them.
    """

    def __init__(
        self,
        n_species: int,
        cutoff: float,
        start: float,
        spacing: float,
        sigmas: Sequence[float] | None = None,
        shortest: Sequence[Sequence[float | None]] | None = None,
    ) -> None:
        if not start + 4 * spacing < cutoff:
            raise ValueError(
                f"pair.start is {start:g} nm: it must lie at least four knots below pair.cutoff = {cutoff:g} nm"
            )
        n_intervals = round((cutoff - start) / spacing)
        if n_intervals > KNOTS:
            raise ValueError(f"pair.spacing is {spacing:g} nm, {n_intervals:g} knots up to the cutoff: {KNOTS} will do")
        rows, columns = np.triu_indices(n_species)
        super().__init__((len(rows), n_intervals + 3), n_species, sigmas)
        self.cutoff, self.start = cutoff, start
        told = [None if shortest is None else shortest[int(a)][int(b)] for a, b in zip(rows, columns)]
        self.shortest = [start if distance is None else float(distance) for distance in told]
        self.spacing = (cutoff - start) / n_intervals
        self.n_basis = n_intervals + 3
        kinds = torch.zeros(n_species, n_species, dtype=torch.int64)
        kinds[rows, columns] = torch.arange(len(rows))
        kinds[columns, rows] = torch.arange(len(rows))
        self.register_buffer("kinds", kinds, persistent=False)

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        near = nonbonded(c, self.cutoff)
        first, second = pair_species(near)
        kind = self.kinds[first, second]
        # Below the first knot: straight on, with the slope there.  Beyond the cutoff: the zero at it.
        inside = torch.clamp(near.distances, self.start, self.cutoff)
        below = -torch.relu(self.start - near.distances)
        knot, t = self.locate(inside)
        coefficients, row, sigma = self.coefficients, kind, near.sigma
        if sigma is not None and self.n_levels > 0:
            coefficients = self.at(sigma).flatten(0, 1)
            row = kind + near.first // near.positions.shape[1] * self.coefficients.shape[0]
        coefficients = coefficients.to(t.dtype)
        energy = torch.zeros_like(t)
        for m, weight in enumerate(splines(t)):
            energy = energy + weight * coefficients[row, knot + m]
        slope = 0.5 * (coefficients[:, 2] - coefficients[:, 0])[row] / self.spacing
        return sum_pairs(near, energy + slope * below)

    def values(self, c: Batch) -> Tensor:
        """B_k of every frame, shape (n_frames, n_coefficients): how often its pairs visit each basis function."""
        c = nonbonded(c, self.cutoff)
        knot, t = self.locate(torch.clamp(c.distances, min=self.start))
        size = self.coefficients.numel()
        column = c.first // c.positions.shape[1] * size + self.kinds[pair_species(c)] * self.n_basis + knot
        sums = torch.zeros(len(c.positions) * size, dtype=torch.float64)
        for m, weight in enumerate(splines(t)):
            sums.index_add_(0, column + m, weight)
        return sums.view(-1, size)

    def design(self, c: Batch) -> tuple[Tensor, Tensor]:
        """Force of every basis function on every coordinate, and its divergence: see `LinearEnergy.design`.

        div G = -2 sum_{i<j} (B'' + 2 B'/r), for both ends of a pair move.
        """
        c = nonbonded(c, self.cutoff)
        kind = self.kinds[pair_species(c)]
        knot, t = self.locate(torch.clamp(c.distances, min=self.start))
        first, second = spline_derivatives(t)
        # Below the first knot the potential is straight.
        second = second * (c.distances >= self.start).unsqueeze(-1)
        first, second = first / self.spacing, second / self.spacing**2
        size = self.coefficients.numel()
        column = (kind * self.n_basis + knot).unsqueeze(-1) + torch.arange(4)
        divergence = torch.zeros(size, dtype=torch.float64)
        divergence.index_add_(0, column.flatten(), -2 * (second + 2 * first / c.distances.unsqueeze(-1)).flatten())
        n_coordinates = c.positions.numel()
        G = torch.zeros(n_coordinates * size, dtype=torch.float64)
        unit_vectors = c.vectors / c.distances.unsqueeze(-1)
        for axis in range(3):
            push = (first * unit_vectors[:, axis : axis + 1]).flatten()
            G.index_add_(0, ((c.first.unsqueeze(-1) * 3 + axis) * size + column).flatten(), push)
            G.index_add_(0, ((c.second.unsqueeze(-1) * 3 + axis) * size + column).flatten(), -push)
        return G.view(n_coordinates, size), divergence

    def share(self) -> Tensor:
        """Half a pair's part of the divergence belongs to either end: see `LinearEnergy.share`."""
        share = torch.zeros(self.n_species, len(self.coefficients), dtype=torch.float64)
        for a, b in zip(*np.triu_indices(self.n_species)):
            share[a, self.kinds[a, b]] += 0.5
            share[b, self.kinds[a, b]] += 0.5
        return share.repeat_interleave(self.n_basis, dim=1)

    def roughness(self) -> Tensor:
        """Quadratic form of the smoothness penalty, shape (n_coefficients, n_coefficients).

        Squared fourth differences of each spline's coefficients, weighted by
        0.003 + 1 / (1 + (l / x)^4), with l = 0.5 nm and x = max(r - r_1, 0) + 0.05 nm, r_1 being
        the shortest distance of that pair in the data: potentials are steep and curved near
        contact and smooth far out.  Order, length and exponent were chosen by the held-out score
        at sigma = 0 on 2.4 M LiCl: order 4 beats order 3 by 600 +- 110 (500 frames) and 280 +- 70
        (2,000 frames) (kJ/mol/nm)^2 per frame, order 2 by ten times that; order 5 and l = 1 nm
        score alike.  The least weight ties the potential below the data to the cubic that
        better-sampled knots determine.  Without it a few rare contacts of the training frames shape
        it there, and the held-out score, ruled by contacts as rare, does not see it: the worst of 30
        random subsets had a force error of 1.5 (500 frames) and 1.4 kJ/mol/A (2,000).  With it the
        worst of thirty have 0.85 and 0.72, the medians being 0.78 and 0.70 (examples/licl/lottery.py).
        """
        n, order = self.n_basis, 4
        differences = np.diff(np.eye(n), order, axis=0)
        # Coefficient k belongs to the spline centred at start + (k - 1) spacing.
        centre = self.start + self.spacing * (np.arange(n - order) + order / 2 - 1)
        # Written for knots 0.02 nm apart; differences of a given curve scale as spacing^order,
        # and there are 1/spacing of them.
        scale = (0.02 / self.spacing) ** (2 * order - 1)
        blocks = []
        for shortest in self.shortest:
            x = np.maximum(centre - shortest, 0) + OFFSET
            weight = FLOOR + 1 / (1 + (SMOOTH_FROM / x) ** 4)
            blocks.append(torch.as_tensor(scale * differences.T @ (weight[:, None] * differences)))
        return torch.block_diag(*blocks)

    def free(self) -> Tensor:
        """All but the last three coefficients of each spline, which end it at the cutoff."""
        return (torch.arange(self.n_basis) < self.n_basis - 3).repeat(len(self.coefficients))

    def points(self) -> np.ndarray:
        """Distances (nm) through which a cubic spline is the potential itself: four to a knot, down to the first knot.

        Below it the potential is a straight line; points go on to zero, which is left out.
        """
        step = self.spacing / POINTS
        r = self.start + step * np.arange(-int(self.start / step), POINTS * (self.n_basis - 3) + 1)
        return r[r > 0.5 * step]

    def curve(self, kind: int, r: ArrayLike) -> np.ndarray:
        """u(r) (kJ/mol) of one pair of species, as numpy; `r` is an array, nm."""
        distances = torch.as_tensor(np.asarray(r), dtype=torch.float64)
        inside = distances.clamp(self.start, self.cutoff)
        knot, t = self.locate(inside)
        c = self.coefficients[kind]
        energy: Any = sum(weight * c[knot + m] for m, weight in enumerate(splines(t)))
        slope = 0.5 * (c[2] - c[0]) / self.spacing
        return (energy + slope * (distances - inside) * (distances < self.start)).numpy()

    def pairwise(self, name: str) -> Pairwise:
        """The potential as four tabulated functions called `name` and a number, see `native.Pairwise`.

        They hold the cubic of each interval, all curves one after the other, and zeros beyond the cutoff; below `start`
        a straight line goes on.  OpenMM finds a place in a Continuous1DFunction by bisection, which takes longer than
        all else of a pair: a place that is computed is twice as fast.
        """
        intervals = self.n_basis - 3
        cubics = np.zeros((4, len(self.coefficients), intervals + 1))
        windows = np.lib.stride_tricks.sliding_window_view(self.coefficients.numpy(), 4, axis=1)
        cubics[:, :, :-1] = np.einsum("pm,knm->pkn", CUBIC, windows)
        functions = {f"{name}{p}": openmm.Discrete1DFunction(one.ravel().tolist()) for p, one in enumerate(cubics)}
        first, second, third, fourth = (f"{function}(place_{name})" for function in functions)
        straight = {f"slope_{name}": (CUBIC[1] @ windows[:, 0].T / self.spacing).tolist()}
        x = f"min(max(0, (r - {self.start!r}) / {self.spacing!r}), {intervals})"
        energy = (
            f"{first} + t_{name} * ({second} + t_{name} * ({third} + t_{name} * {fourth}))"
            f" + slope_{name} * min(0, r - {self.start!r}); t_{name} = x_{name} - knot_{name};"
            f" place_{name} = knot_{name} + {intervals + 1} * kind; knot_{name} = floor(x_{name}); x_{name} = {x}"
        )
        return Pairwise(energy, functions, straight, self.cutoff, self.written(straight))

    def written(self, straight: dict[str, list[float]]) -> Pairwise | None:
        """The potential without a table, with its coefficients as values, where they are few enough."""
        intervals = self.n_basis - 3
        if intervals > WRITTEN:
            return None
        (slope,) = straight
        curve, names = spline_expression(intervals).split(";", 1)
        x = f"min(max(0, (r - {self.start!r}) / {self.spacing!r}), {intervals})"
        energy = f"{curve} + {slope} * min(0, r - {self.start!r});{names}; x = {x}"
        columns = spline_parameters(self.coefficients.numpy()).T.tolist()
        return Pairwise(energy, {}, {f"c{k}": column for k, column in enumerate(columns)} | straight, self.cutoff)

    def locate(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the interval between knots and the position in it, 0 to 1."""
        s = (distances - self.start) / self.spacing
        knot = torch.clamp(torch.floor(s.detach()), 0, self.n_basis - 4)
        return knot.to(torch.int64), s - knot


def splines(t: Tensor) -> list[Tensor]:
    """The four uniform cubic B-splines that are not zero at t in [0, 1)."""
    s = 1 - t
    return [s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6]


def spline_derivatives(t: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivatives of `splines` by t."""
    s = 1 - t
    first = [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * s**2 - 4 * s) / 2, t**2 / 2]
    second = [s, 3 * t - 2, 3 * s - 2, t]
    return torch.stack(first, -1), torch.stack(second, -1)
