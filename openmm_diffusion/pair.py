"""Pair potentials of cubic B-splines.

U(y) = sum_{i<j} u_ab(r_ij) with u_ab(r) = sum_k c_k B_k(r), linear in c.  Every B_k
vanishes at the cutoff with its first two derivatives, as exact score matching and
constant-energy dynamics need.
"""

import numpy as np
import openmm
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from .geometry import Configuration, pair_species, sum_pairs, within
from .prior import native_cutoff


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

    Attributes
    ----------
    coefficients : Tensor, shape (n_species (n_species + 1) / 2, n_basis), kJ/mol
        Rows in the order (0, 0), (0, 1), ..., (1, 1), ...  The last three are zero.
    """

    def __init__(self, n_species, cutoff, start, spacing):
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

    def forward(self, c: Configuration) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        near = within(c, self.cutoff)
        first, second = pair_species(near)
        kind = self.kinds[first, second]
        # Below the first knot: straight on, with the slope there.
        inside = torch.clamp(near.distances, min=self.start)
        knot, t = self.locate(inside)
        coefficients = self.coefficients.to(t.dtype)
        energy = torch.zeros_like(t)
        for m, weight in enumerate(splines(t)):
            energy = energy + weight * coefficients[kind, knot + m]
        slope = 0.5 * (coefficients[:, 2] - coefficients[:, 0])[kind] / self.spacing
        return sum_pairs(near, energy + slope * (near.distances - inside))

    def curve(self, kind, r):
        """u(r) (kJ/mol) of one pair of species, as numpy; `r` is an array, nm."""
        r = torch.as_tensor(np.asarray(r), dtype=torch.float64)
        inside = r.clamp(self.start, self.cutoff)
        knot, t = self.locate(inside)
        c = self.coefficients[kind]
        energy = sum(weight * c[knot + m] for m, weight in enumerate(splines(t)))
        slope = 0.5 * (c[2] - c[0]) / self.spacing
        return (energy + slope * (r - inside) * (r < self.start)).numpy()

    def locate(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the interval between knots and the position in it, 0 to 1."""
        s = (distances - self.start) / self.spacing
        knot = torch.clamp(torch.floor(s.detach()), 0, self.n_basis - 4)
        return knot.to(torch.int64), s - knot


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


#: Points per knot interval of the tabulated potential, and idle intervals between two of its curves.
POINTS, PADDING = 4, 6


def pair_force(pair, species, box):
    """A `SplinePair` as a native OpenMM force: no torch at run time, on every platform.

    All curves lie in one tabulated function, one after the other.  It is the natural cubic
    spline through points of which the knots are a part, and so the same function up to
    rounding, except within `start` where the second derivative jumps.

    Parameters
    ----------
    pair : SplinePair
    species : array, shape (n_particles,), dtype int
    box : array, shape (3, 3), nm, or None

    Returns
    -------
    openmm.CustomNonbondedForce
    """
    step = pair.spacing / POINTS
    # Every curve from the last grid point at or above 0 to some way beyond the cutoff, where it is 0.
    below = int(pair.start / step)
    first = pair.start - below * step
    n = below + POINTS * (pair.n_basis - 3 + PADDING) + 1
    r = first + step * np.arange(n)
    tables = [pair.curve(kind, r) for kind in range(len(pair.coefficients))]
    kinds = pair.kinds.numpy()
    function = openmm.Continuous1DFunction(np.concatenate(tables), 0, len(tables) * n - 1.0)
    force = openmm.CustomNonbondedForce(
        f"curves(max(0, (r - {first!r}) / {step!r}) + {n} * kind(s1, s2)) * step({pair.cutoff!r} - r)"
    )
    force.setName("PairPotential")
    force.addTabulatedFunction("curves", function)
    force.addTabulatedFunction("kind", openmm.Discrete2DFunction(*kinds.shape, kinds.T.ravel().astype(float)))
    force.addPerParticleParameter("s")
    for s in species:
        force.addParticle([int(s)])
    if box is None:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
    else:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(native_cutoff(box))
    return force
