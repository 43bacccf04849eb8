"""Cubic B-splines of one internal coordinate, over the range that it has in the data, and on beyond it.

Beyond the range a straight line goes on from its end, and a parabola k/2 (q - q_end)^2 of the data's own stiffness,
k = kT / (width of q)^2, brings q back.  It is zero wherever there are data, and so no part of the fit; it bounds what
the ends of a fitted curve, where data are rare, can do.  A line that would pull outwards is left out.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Tuple

import numpy as np
import openmm
import torch
from numpy.typing import ArrayLike
from pydantic import Field
from torch import Tensor

from ...space.batch import Batch
from ...space.connectivity import Connectivity
from ...units import thermal_energy
from ..base import ModelHeader, Positive
from ..linear import Sample
from ..native import of_groups, spline_expression, spline_parameters
from ..pair import PADDING, POINTS, spline_derivatives, splines
from .base import BondedEnergy, BondedSettings, BondedTerm
from .coordinates import Coordinate
from .survey import COORDINATES

#: Knot intervals up to which a native curve is an expression and not a table, which takes three times as long on the
#: CPU platform: an expression grows with the intervals, and with their square the time that it is compiled in.
WRITTEN = 24

#: A native curve with what goes on beyond its ends, s being the place in units of its intervals.  Where min and max
#: meet OpenMM takes either slope: not at the very end of the data.
CURVE = (
    "curve + first*below + last*above + stiffness*(below^2 + above^2); curve = {curve}; x = s - below - above;"
    " below = min(0, s + 1e-9); above = max(0, s - {end!r}); s = density*({variable} - low)"
)
PARAMETERS = ("low", "density", "first", "last", "stiffness")
#: The coordinates of OpenMM's forces, with their numbers of particles, in the words of CustomCompoundBondForce.
WORDS = {
    openmm.CustomBondForce: (2, "r = distance(p1, p2)"),
    openmm.CustomAngleForce: (3, "theta = angle(p1, p2, p3)"),
    openmm.CustomTorsionForce: (4, "theta = dihedral(p1, p2, p3, p4)"),
}


class SplineSettings(BondedSettings):
    """The spline basis of each kind of coordinate and how it is fitted.

    Attributes
    ----------
    intervals : int
        Knot intervals over the range of the data.
    sigma, draws, penalties, folds
        As in `LinearSettings`.
    """

    intervals: int = Field(16, ge=4, le=1000)


class SplineTerm(BondedTerm):
    """Splines of internal coordinates; ranges and widths in the unit of the coordinate.

    Attributes
    ----------
    ranges : list of (float, float)
        Of each kind: least and largest value in the training frames.
    widths : list of float
        Standard deviation of each kind in the training frames.
    """

    #: OpenMM's force of the coordinate, and the coordinate in its words.
    custom: ClassVar[type[openmm.Force]]
    variable: ClassVar[str]

    intervals: int = Field(ge=4, le=1000)
    ranges: list[tuple[float, float]]
    widths: list[Positive]

    @classmethod
    def measured(cls, spreads: Sequence[Any], sample: Sample) -> dict[str, Any]:
        return {"ranges": [(s.low, s.high) for s in spreads], "widths": [s.width for s in spreads]}

    def native(
        self,
        header: ModelHeader,
        module: Any,
        species: np.ndarray,
        box: np.ndarray | list[list[float]] | None,
        tolerance: float,
        connectivity: Connectivity | None = None,
    ) -> openmm.Force:
        """The curves as a custom force: the same up to rounding, without torch."""
        n_members, words = WORDS[self.custom]
        written, function = self.intervals <= WRITTEN, None
        if written:
            curve, own = (
                spline_expression(self.intervals),
                spline_parameters(self.weight * module.curve_coefficients().numpy()),
            )
        else:
            curve, (function, own) = f"table(place + {POINTS}*x)", module.tabulated(self.weight)
        expression = CURVE.format(curve=curve, variable=self.variable, end=self.intervals + 1e-9)
        force: Any
        if written:
            force = self.custom(expression)
        else:  # of OpenMM's forces of bonded particles it alone knows tabulated functions
            force = openmm.CustomCompoundBondForce(n_members, f"{expression}; {words}")
            force.addTabulatedFunction("table", function)
        names = [*PARAMETERS, *(f"c{k}" for k in range(own.shape[1]))] if written else [*PARAMETERS, "place"]
        rows = np.concatenate([module.ends(self.weight), own], 1).tolist()
        groups = []
        for group, kind in self.groups_of(module, species, connectivity):
            groups.append((group if n_members == len(group) else [group[0], group[-1]], rows[kind]))
        return of_groups(force, self.native_name, names, groups, box is not None)

    def points(self, module: Any, number: int) -> np.ndarray:
        """Over the range of the data and a tenth of it beyond either end."""
        low, high = float(module.low[number]), float(module.high[number])
        return np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), 121)

    def curve(self, module: Any, number: int, q: np.ndarray) -> np.ndarray:
        return module.curve(number, q)

    def arguments(self, header: ModelHeader) -> tuple[Any, ...]:
        """What the module of a subclass is made from."""
        kinds = self.indexed(header)
        kT = thermal_energy(header.temperature)
        stiffness = [kT / width**2 for width in self.widths]
        roughness = [slope / width**2 for slope, width in zip(self.slopes, self.widths)]
        return kinds, self.ranges, self.widths, stiffness, roughness, self.intervals, len(header.species), self.sigmas


class SplineEnergy(BondedEnergy):
    """Splines of an internal coordinate as a torch module; a subclass tells the coordinate.

    Parameters
    ----------
    kinds : list, shape (n_kinds, n_members)
    ranges : list of (float, float)
        Where the splines of each kind lie.
    widths, stiffness, roughness : list of float
        Of each kind: the width s of the coordinate in the data, the curvature beyond the range (kJ/mol per unit of
        q squared), and the weight of the smoothness penalty (1/nm^2).
    intervals, n_species : int
    sigmas : list of float, nm, or None
    even : list of bool, or None
        Kinds whose curves are even; None: none is.

    Attributes
    ----------
    coefficients : Tensor, shape (n_kinds, intervals + 3), kJ/mol
    """

    internal: str

    def __init__(
        self,
        kinds: Sequence[Sequence[int]],
        ranges: Sequence[Sequence[float]],
        widths: Sequence[float],
        stiffness: Sequence[float],
        roughness: Sequence[float],
        intervals: int,
        n_species: int,
        sigmas: Sequence[float] | None = None,
        even: Sequence[bool] | None = None,
    ) -> None:
        super().__init__(kinds, intervals + 3, n_species, sigmas)
        self.intervals, self.widths, self.weights = intervals, list(widths), list(roughness)
        ends = np.array(ranges, dtype=float).reshape(-1, 2)
        reach = np.abs(ends).max(1)
        mirrored = np.array([False] * len(kinds) if even is None else list(even))
        ends[mirrored] = np.stack([-reach, reach], 1)[mirrored]
        for name, values in (("low", ends[:, 0]), ("high", ends[:, 1]), ("stiffness", stiffness)):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64), persistent=False)
        # Of an even curve, the coefficient that each spline takes: that of its mirror image beyond the middle.
        taken = torch.arange(self.n_functions).repeat(len(kinds), 1)
        taken[mirrored] = torch.minimum(taken[mirrored], self.n_functions - 1 - taken[mirrored])
        self.register_buffer("taken", taken, persistent=False)

    def coordinate(self, c: Batch, groups: Tensor) -> Tensor:
        """The coordinate of every group, shape (n_frames, n_groups), differentiable."""
        raise NotImplementedError

    def located(self, q: Tensor, kind: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Index of the interval, the position in it (0 to 1), and how far q (..., n_groups) is beyond the range."""
        low, high = self.low[kind].to(q.dtype), self.high[kind].to(q.dtype)
        inside = torch.minimum(torch.maximum(q, low), high)
        s = (inside - low) / (high - low) * self.intervals
        knot = torch.clamp(torch.floor(s.detach()), 0, self.intervals - 1)
        return knot.to(torch.int64), s - knot, q - inside

    def columns(self, knot: Tensor, kind: Tensor) -> Tensor:
        """Columns of the four splines that are not zero in intervals (..., n_groups)."""
        local = knot.unsqueeze(-1) + torch.arange(4, device=knot.device)
        row = kind.unsqueeze(-1).expand(local.shape)
        return row * self.n_functions + self.taken[row, local]

    def functions(self, c: Batch, groups: Tensor, kind: Tensor) -> Tuple[Tensor, Tensor]:
        knot, t, out = self.located(self.coordinate(c, groups), kind)
        step = ((self.high - self.low) / self.intervals)[kind].to(t.dtype)
        # A straight line beyond the range, with the slope there.
        values = torch.stack(splines(t), -1) + spline_derivatives(t)[0] * (out / step).unsqueeze(-1)
        return self.columns(knot, kind), values

    def beyond(self, c: Batch, groups: Tensor, kind: Tensor) -> Tensor:
        q = self.coordinate(c, groups)
        inside = torch.minimum(torch.maximum(q, self.low[kind].to(q.dtype)), self.high[kind].to(q.dtype))
        out = (q - inside).abs()
        first, last = self.end_slopes(c.sigma)
        outward = torch.where(q > inside, -last[:, kind].to(q.dtype), first[:, kind].to(q.dtype))
        return (torch.relu(outward) * out + 0.5 * self.stiffness[kind].to(q.dtype) * out * out).sum(1)

    def end_slopes(self, sigma: Tensor | None) -> Tuple[Tensor, Tensor]:
        """dU/dq at both ends of the range, shape (1 or n_frames, n_kinds)."""
        coefficients = self.coefficients.unsqueeze(0)
        if sigma is not None and self.n_levels > 0:
            coefficients = self.at(sigma)
        kinds = torch.arange(self.taken.shape[0], device=self.taken.device).unsqueeze(1)
        curves = coefficients[:, kinds, self.taken]
        step = 2 * (self.high - self.low) / self.intervals
        return (curves[:, :, 2] - curves[:, :, 0]) / step, (curves[:, :, -1] - curves[:, :, -3]) / step

    def derivatives(self, c: Batch, groups: Tensor, kind: Tensor) -> tuple[list[Coordinate], Tensor, Tensor, Tensor]:
        q = COORDINATES[self.internal][1](c, groups)
        knot, t, out = self.located(q.value, kind)
        step = ((self.high - self.low) / self.intervals)[kind].unsqueeze(-1)
        first, second = spline_derivatives(t)
        second = second * (out == 0).unsqueeze(-1)
        return [q], self.columns(knot, kind), (first / step).unsqueeze(-1), (second / step**2)[..., None, None]

    def free(self) -> Tensor:
        """All coefficients, but of even curves those of one half."""
        used = torch.zeros_like(self.taken, dtype=torch.bool)
        return used.scatter(1, self.taken, torch.ones_like(used)).flatten()

    def roughness(self) -> Tensor:
        """Quadratic form of the smoothness penalty, shape (n_coefficients, n_coefficients), 1/nm^2.

        The squared third derivative, in units of the width s of the coordinate, integrated over the range: a
        parabola costs nothing, so that where data are few a curve goes on as a harmonic one.  It is scaled by
        |grad q|^2 / s^2, so that one strength means the same for a stiff bond and for a soft angle.  A constant,
        which no force tells of, is fixed by a sum of coefficients of zero, at no other cost.
        """
        order = 3
        differences = torch.as_tensor(np.diff(np.eye(self.n_functions), order, axis=0))
        blocks = []
        for kind, (width, weight) in enumerate(zip(self.widths, self.weights)):
            step = float(self.high[kind] - self.low[kind]) / self.intervals
            tie = one_hot(self.taken[kind], self.n_functions)
            form = (differences @ tie).T @ (differences @ tie)
            constant = tie.T @ torch.ones_like(form) @ tie / self.n_functions
            blocks.append(weight * ((width / step) ** (2 * order - 1) * form + constant))
        return torch.block_diag(*blocks)

    def curve_coefficients(self) -> Tensor:
        """Coefficients of the splines of every kind, shape (n_kinds, intervals + 3), kJ/mol."""
        return torch.gather(self.coefficients, 1, self.taken)

    def ends(self, weight: float) -> np.ndarray:
        """The `PARAMETERS` of each kind, weighed, shape (n_kinds, 5)."""
        first, last = (slopes[0] for slopes in self.end_slopes(None))
        low, stiffness = self.get_buffer("low"), self.get_buffer("stiffness")
        step = (self.high - low) / self.intervals
        # What is outwards is left out before it is weighed, as in `beyond`.
        first, last = weight * step * first.clamp(max=0), weight * step * last.clamp(min=0)
        return torch.stack([low, 1 / step, first, last, 0.5 * weight * stiffness * step**2], 1).numpy()

    def tabulated(self, weight: float) -> tuple[openmm.Continuous1DFunction, np.ndarray]:
        """All curves in one function, one after the other, and the place of each in it, shape (n_kinds, 1).

        It is the natural cubic spline through points of which the knots are a part.  Idle intervals, where the cubic
        of the last one goes on, keep the curves from feeling each other.
        """
        idle, n_kinds = POINTS * PADDING, len(self.coefficients)
        n = POINTS * self.intervals + 2 * idle + 1
        s = (torch.arange(n, dtype=torch.float64) - idle) / POINTS
        knot = torch.clamp(torch.floor(s), 0, self.intervals - 1).to(torch.int64)
        coefficients = self.curve_coefficients()[:, knot.unsqueeze(-1) + torch.arange(4)]
        tables = weight * (coefficients * torch.stack(splines(s - knot), -1)).sum(-1)
        function = openmm.Continuous1DFunction(tables.flatten().tolist(), 0, n_kinds * n - 1.0)
        return function, np.arange(n_kinds)[:, None] * n + idle

    def curve(self, kind: int, q: ArrayLike) -> np.ndarray:
        """U(q) (kJ/mol) of one kind, as numpy, the continuation beyond the range included."""
        values = torch.as_tensor(np.array(q), dtype=torch.float64).reshape(1, -1)
        row = torch.full((values.shape[1],), kind)
        knot, t, out = self.located(values, row)
        step = float(self.high[kind] - self.low[kind]) / self.intervals
        basis = torch.stack(splines(t), -1) + spline_derivatives(t)[0] * (out / step).unsqueeze(-1)
        energy = (basis * self.coefficients.flatten()[self.columns(knot, row)]).sum(-1)
        first, last = (float(ends[0, kind]) for ends in self.end_slopes(None))
        outward = torch.where(out > 0, -last, first).clamp(min=0)
        return (energy + outward * out.abs() + 0.5 * self.stiffness[kind] * out**2)[0].numpy()


def one_hot(index: Tensor, n: int) -> Tensor:
    """Matrix (len(index), n) with a one in each row."""
    return torch.nn.functional.one_hot(index, n).double()
