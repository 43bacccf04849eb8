"""Pair potentials of cubic B-splines.

U(y) = sum_{i<j} u_ab(r_ij) with u_ab(r) = sum_k c_k B_k(r), linear in c.  Every B_k
vanishes at the cutoff with its first two derivatives, as exact score matching and
constant-energy dynamics need.

Over a range of noise levels the coefficients depend on sigma, and nothing else does:

    c_k(sigma) = sum_l h_l(log sigma) c_kl

with c_kl fitted at `LEVELS` levels, each from frames noised by it, and h_l the hat
functions on them: linear between neighbouring levels in log sigma.
"""

import numpy as np
import openmm
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ..noise import log_place
from ..space.batch import Batch, pair_species, sum_pairs, within
from .coulomb import cut_off

#: Noise levels that a range is fitted at, evenly on a logarithmic scale: each is 1.6 times the last over
#: [0.003, 0.05] nm, close enough for a linear interpolation (see `level_weights`).
LEVELS = 7


class PairConfig(BaseModel):
    """The spline basis and how it is fitted.

    Attributes
    ----------
    sigma : float, nm, or None
        Noise level of the frames that it is fitted on; None: `noise.sigma`.  0 takes the
        frames as they are: no smoothing, and no noise that the data do not have.
    cutoff : float, nm
    start : float, nm
        First knot: below it the potential goes on linearly.
    spacing : float, nm
        Distance of the knots.
    draws : int
        Antithetic noise pairs per frame that the averages run over (ignored at sigma = 0).
    penalties : list of float
        Strengths of the smoothness penalty, of which cross-validation over replicas
        picks one by the held-out score.
    folds : int
        Of the cross-validation; at most one for each replica.
    """

    model_config = ConfigDict(extra="forbid")

    sigma: NonNegativeFloat | None = None
    cutoff: PositiveFloat = 1.0
    start: PositiveFloat = 0.18
    spacing: PositiveFloat = 0.02
    draws: PositiveInt = 2
    penalties: list[PositiveFloat] = [float(10**e) for e in np.arange(0, 6.5, 0.5)]
    folds: int = Field(20, ge=2)


class SplinePair(nn.Module):
    """Sum of pair potentials, one spline per pair of species.

    Parameters
    ----------
    n_species : int
    cutoff, start, spacing : float, nm
        As in `PairConfig`.
    sigmas : list of float, nm, or None
        Noise levels of the table, evenly spaced on a logarithmic scale; None: one level only.

    Attributes
    ----------
    coefficients : Tensor, shape (n_species (n_species + 1) / 2, n_basis), kJ/mol
        At the level evaluated.  Rows in the order (0, 0), (0, 1), ..., (1, 1), ...  The last
        three are zero.
    table : Tensor, shape (n_levels, n_species (n_species + 1) / 2, n_basis), kJ/mol
        At each of `sigmas`; no levels without them.
    """

    def __init__(self, n_species, cutoff, start, spacing, sigmas=None):
        super().__init__()
        if not start + 4 * spacing < cutoff:
            raise ValueError(
                f"pair.start is {start:g} nm: it must lie at least four knots below pair.cutoff = {cutoff:g} nm"
            )
        n_intervals = round((cutoff - start) / spacing)
        self.cutoff, self.start = cutoff, start
        self.spacing = (cutoff - start) / n_intervals
        self.n_basis = n_intervals + 3
        kinds = torch.zeros(n_species, n_species, dtype=torch.int64)
        rows, columns = np.triu_indices(n_species)
        kinds[rows, columns] = torch.arange(len(rows))
        kinds[columns, rows] = torch.arange(len(rows))
        self.register_buffer("kinds", kinds, persistent=False)
        self.register_buffer("coefficients", torch.zeros(len(rows), self.n_basis, dtype=torch.float64))
        self.n_levels = 0 if sigmas is None else len(sigmas)
        self.smallest, self.largest = (0.0, 0.0) if sigmas is None else (float(sigmas[0]), float(sigmas[-1]))
        table = torch.zeros(self.n_levels, *self.coefficients.shape, dtype=torch.float64)
        self.register_buffer("table", table, persistent=sigmas is not None)

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        near = within(c, self.cutoff)
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

    def at(self, sigma: Tensor) -> Tensor:
        """Coefficients at noise levels (n,), nm, interpolated in the table: shape (n, n_kinds, n_basis), kJ/mol."""
        weights = level_weights(log_place(sigma, self.smallest, self.largest), self.n_levels)
        return torch.tensordot(weights.to(self.table.dtype), self.table, 1)

    def set_level(self, sigma: float):
        """Evaluate at a noise level (nm) of the range from now on."""
        self.coefficients.copy_(self.at(torch.tensor([sigma], dtype=torch.float64))[0])

    def single(self):
        """This potential at the level evaluated, and at no other."""
        other = SplinePair(len(self.kinds), self.cutoff, self.start, self.spacing)
        other.coefficients.copy_(self.coefficients)
        return other

    def curve(self, kind, r):
        """u(r) (kJ/mol) of one pair of species, as numpy; `r` is an array, nm."""
        r = torch.as_tensor(np.asarray(r), dtype=torch.float64)
        inside = r.clamp(self.start, self.cutoff)
        knot, t = self.locate(inside)
        c = self.coefficients[kind]
        energy = sum(weight * c[knot + m] for m, weight in enumerate(splines(t)))
        slope = 0.5 * (c[2] - c[0]) / self.spacing
        return (energy + slope * (r - inside) * (r < self.start)).numpy()

    def slope(self, kind, r):
        """u'(r) (kJ/mol/nm) of one pair of species, as numpy; `r` is an array, nm."""
        inside = torch.as_tensor(np.asarray(r), dtype=torch.float64).clamp(self.start, self.cutoff)
        knot, t = self.locate(inside)
        first, _ = spline_derivatives(t)
        return ((first * self.coefficients[kind][knot.unsqueeze(-1) + torch.arange(4)]).sum(-1) / self.spacing).numpy()

    def locate(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the interval between knots and the position in it, 0 to 1."""
        s = (distances - self.start) / self.spacing
        knot = torch.clamp(torch.floor(s.detach()), 0, self.n_basis - 4)
        return knot.to(torch.int64), s - knot


def level_weights(place: Tensor, n_levels: int) -> Tensor:
    """Weights of the levels in the interpolation over the noise, shape (n, n_levels).

    Linear in log sigma between the two nearest levels of the table: hat functions.  On 417 frames of
    2.4 M LiCl, with every second of 13 levels held out, the forces interpolated at those differ from
    the fits there by 0.6-0.8 % (rms) where cross-validation chose the same penalty for all, and by
    3-9 % where it did not: less than the statistical error of a fit (25 %).  Cubics (local Lagrange, spline) are
    within 1 % of that, either way, and can amplify the noise of the levels.

    Parameters
    ----------
    place : Tensor, shape (n,)
        `log_place` of the noise levels: 0 at the first level of the table, 1 at the last.
    n_levels : int
    """
    levels = torch.arange(n_levels, dtype=place.dtype, device=place.device)
    return torch.relu(1 - (place.unsqueeze(1) * (n_levels - 1) - levels).abs())


def splines(t: Tensor) -> list[Tensor]:
    """The four uniform cubic B-splines that are not zero at t in [0, 1)."""
    s = 1 - t
    return [s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6]


def spline_derivatives(t):
    """First and second derivatives of `splines` by t."""
    s = 1 - t
    first = [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * s**2 - 4 * s) / 2, t**2 / 2]
    second = [s, 3 * t - 2, 3 * s - 2, t]
    return torch.stack(first, -1), torch.stack(second, -1)


#: Points per knot interval of the tabulated potential, and idle intervals at both ends of each of its curves.
POINTS, PADDING = 4, 6


def pair_force(pair, species, box, wall=None):
    """A `SplinePair` as a native OpenMM force: no torch at run time, on every platform.

    All curves lie in one tabulated function, one after the other.  It is the natural cubic
    spline through points of which the knots are a part, and so the same function up to
    rounding; below `start` a straight line goes on.

    Parameters
    ----------
    pair : SplinePair
    species : array, shape (n_particles,), dtype int
    box : array, shape (3, 3), nm, or None
    wall : Wall, optional
        To be part of it: one force less to be evaluated.

    Returns
    -------
    openmm.CustomNonbondedForce
    """
    step = pair.spacing / POINTS
    # Idle intervals keep the curves from feeling each other: beyond the cutoff 0, below `start` the cubic of the
    # first interval, so that the spline knows of no end there.
    idle = POINTS * PADDING
    n = POINTS * (pair.n_basis - 3) + 2 * idle + 1
    r = torch.clamp(pair.start + step * (torch.arange(n, dtype=torch.float64) - idle), max=pair.cutoff)
    knot, t = pair.locate(r)
    c = pair.coefficients
    tables = sum(weight * c[:, knot + m] for m, weight in enumerate(splines(t)))
    slopes = (0.5 * (c[:, 2] - c[:, 0]) / pair.spacing).numpy()
    function = openmm.Continuous1DFunction(tables.numpy().ravel(), 0, len(tables) * n - 1.0)
    energy = (
        f"curves(max(0, (r - {pair.start!r}) / {step!r}) + {idle} + {n} * kind) * step({pair.cutoff!r} - r)"
        f" + ({_of_kind(slopes)}) * min(0, r - {pair.start!r})"
    )
    if wall is not None:
        radii = wall.radii.numpy()[np.triu_indices(len(pair.kinds))]
        energy += f" + {0.5 * wall.stiffness!r} * max(0, {_of_kind(radii)} - r)^2"
    # Numbers of the pairs of species as in `coefficients`: arithmetic is several times faster than a look-up.
    last = len(pair.kinds) - 1
    kind = f"kind = low * (2 * {last} - low + 1) / 2 + high; low = min(s1, s2); high = max(s1, s2)"
    force = openmm.CustomNonbondedForce(f"{energy}; {kind}")
    force.setName("PairPotential")
    force.addTabulatedFunction("curves", function)
    force.addPerParticleParameter("s")
    for s in species:
        force.addParticle([int(s)])
    cut_off(force, box)
    return force


def _of_kind(values):
    """Expression for the value that belongs to each kind of pair."""
    return " + ".join(f"{float(value)!r} * delta(kind - {number})" for number, value in enumerate(values))
