"""Dihedrals: a Fourier series of the angle about a bond.

U(phi) = sum_n a_n cos(n phi) + b_n sin(n phi), n = 1 ... order.  The sines tell a molecule from its mirror image.

Where three particles in a row come into line a dihedral has no meaning and |grad phi| ~ 1 / sin(theta): averages of its
square diverge, and dynamics explodes.  If the data come near, every function is multiplied by sin^3 of both angles,
which takes it away there with two derivatives (a combined bending-torsion potential); if they stay away, the angles
hold the dynamics away too, and the series alone is simpler and faster.

References
----------
Bulacu, Goga, Zhao, Rossi, Monticelli, Periole, Tieleman & Marrink, J. Chem. Theory Comput. 9, 3282 (2013).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Tuple

import numpy as np
import openmm
import torch
from numpy.polynomial import chebyshev, polynomial
from pydantic import Field
from torch import Tensor

from ...space.batch import Batch, vectors_between
from ...space.connectivity import Connectivity
from ..base import ModelHeader, register
from ..linear import Sample
from ..native import of_groups
from .base import BondedEnergy, BondedSettings, BondedTerm
from .coordinates import (
    Coordinate,
    bending_derivatives,
    bending_factor,
    cosine,
    cosine_of,
    dihedral_of,
    multiples,
    phase,
    placed,
)
from .survey import surveyed

#: sin^2 of an angle below which data are near a line: 17 degrees from it.
NEAR_LINE = 0.085


class FourierSettings(BondedSettings):
    """A Fourier series and how it is fitted.

    Attributes
    ----------
    order : int
        Highest multiple of an angle.
    chiral : bool
        Whether a molecule may differ from its mirror image; False: terms that change sign with it are left out.
    sigma, draws, penalties, folds
        As in `LinearSettings`.
    """

    caution: ClassVar[float] = 0.0

    order: int = Field(6, ge=1, le=12)
    chiral: bool = True


class FourierTerm(BondedTerm):
    """Fourier series of dihedrals.

    Attributes
    ----------
    damped : bool
        Whether functions vanish where three particles are in line.
    """

    order: int = Field(ge=1, le=12)
    chiral: bool
    #: Particles of a group.
    members: ClassVar[int]

    damped: bool

    def native(
        self,
        header: ModelHeader,
        module: Any,
        species: np.ndarray,
        box: np.ndarray | list[list[float]] | None,
        tolerance: float,
        connectivity: Connectivity | None = None,
    ) -> openmm.Force | list[openmm.Force]:
        """The series as OpenMM forces, without torch: those for dihedrals away from lines, where it has such.

        Otherwise it is a CustomCompoundBondForce, its coefficients parameters of each group.
        """
        groups, coefficients = self.groups_of(module, species, connectivity), self.weight * module.coefficients
        away = None if self.damped else self.away_from_lines(coefficients.numpy(), groups, box is not None)
        if away is not None:
            return away
        terms, where = self.words()
        names = [f"c{number}" for number in range(len(terms))]
        series = " + ".join(f"{name}*{term}" for name, term in zip(names, terms))
        corners = [f"sin(angle(p{i}, p{i + 1}, p{i + 2}))" for i in range(1, self.members - 1)]
        damping = f"({'*'.join(corners)})^3*" if self.damped else ""
        force = openmm.CustomCompoundBondForce(self.members, f"{damping}({series}); {where}")
        rows = coefficients.tolist()
        listed = [(group, rows[kind]) for group, kind in groups]
        return of_groups(force, str(self.native_name), names, listed, box is not None)

    def away_from_lines(
        self, coefficients: np.ndarray, groups: list[tuple[list[int], int]], periodic: bool
    ) -> openmm.Force | list[openmm.Force] | None:
        """The undamped series as forces that are faster than a CustomCompoundBondForce, or None.

        Parameters
        ----------
        coefficients : array, shape (n_kinds, n_functions), kJ/mol
        groups : list of (list of int, int)
            Particles and kind of each.
        periodic : bool
        """
        raise NotImplementedError

    def words(self) -> tuple[list[str], str]:
        """Functions of a group in OpenMM's words, in the order of the coefficients, and what defines their names."""
        raise NotImplementedError

    @classmethod
    def measured(cls, spreads: Sequence[Any], sample: Sample) -> dict[str, Any]:
        angles = surveyed("angles", sample.batches()).values()
        near = any(1 - max(abs(one.low), abs(one.high)) ** 2 < NEAR_LINE for one in angles)
        return {"damped": near}

    def arguments(self, header: ModelHeader) -> tuple[Any, ...]:
        """What the module of a subclass is made from."""
        kinds = self.indexed(header)
        return kinds, self.order, self.chiral, self.damped, self.slopes, len(header.species), self.sigmas


class DihedralsConfig(FourierSettings):
    """The Fourier series of dihedrals, and how it is fitted; see `FourierSettings`."""


@register
class DihedralsTerm(FourierTerm):
    """Fourier series of proper dihedrals."""

    Settings: ClassVar = DihedralsConfig
    noun: ClassVar = "dihedral potential"
    internal: ClassVar = "dihedrals"
    table: ClassVar = "dihedrals"
    native_name: ClassVar = "DihedralPotential"
    axis: ClassVar = "phi_degree"
    members: ClassVar = 4

    kind: Literal["dihedrals"] = "dihedrals"

    def words(self) -> tuple[list[str], str]:
        return multiples_of("theta", self.order), "theta = dihedral(p1, p2, p3, p4)"

    def away_from_lines(
        self, coefficients: np.ndarray, groups: list[tuple[list[int], int]], periodic: bool
    ) -> openmm.Force:
        """A CustomTorsionForce; sines and cosines of multiples take most of the time, and so one of each must do.

        cos(n phi) = T_n(cos phi) and sin(n phi) = sin(phi) U_n-1(cos phi) with Chebyshev's polynomials, here by powers.
        """
        even, odd = np.zeros((2, len(coefficients), self.order + 1))
        for n in range(1, self.order + 1):
            first = chebyshev.cheb2poly([0.0] * n + [1.0])
            even[:, : n + 1] += coefficients[:, n - 1, None] * first
            odd[:, :n] += coefficients[:, self.order + n - 1, None] * polynomial.polyder(first) / n
        names = [[f"{letter}{n}" for n in range(self.order + 1)] for letter in "ab"]
        expression = f"{horner(names[0])} + sin(theta)*{horner(names[1][:-1])}; c = cos(theta)"
        rows = np.concatenate([even, odd[:, :-1]], 1).tolist()
        force = openmm.CustomTorsionForce(expression)
        listed = [(group, rows[kind]) for group, kind in groups]
        return of_groups(force, self.native_name, [*names[0], *names[1][:-1]], listed, periodic)

    def points(self, module: Any, number: int) -> np.ndarray:
        return np.linspace(-180.0, 180.0, 181)

    def curve(self, module: Any, number: int, q: np.ndarray) -> np.ndarray:
        """A damped series at right angles, where the damping is one."""
        n = np.arange(1, self.order + 1) * np.radians(q)[:, None]
        return np.concatenate([np.cos(n), np.sin(n)], 1) @ module.coefficients[number].numpy()

    def module(self, header: ModelHeader) -> "Dihedrals":
        return Dihedrals(*self.arguments(header))


class FourierEnergy(BondedEnergy):
    """Fourier series of dihedrals as a torch module: what one and two of them share.

    Parameters
    ----------
    kinds : list, shape (n_kinds, n_members)
    order : int
    chiral, damped : bool
    slopes : list of float, 1/nm^2
        Mean |grad phi|^2 of each kind.
    n_species : int
    sigmas : list of float, nm, or None
    """

    def __init__(
        self,
        kinds: Sequence[Sequence[int]],
        order: int,
        chiral: bool,
        damped: bool,
        slopes: Sequence[float],
        n_species: int,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        super().__init__(kinds, self.number(order), n_species, sigmas)
        self.n_order, self.chiral, self.damped, self.weights = order, chiral, damped, list(slopes)

    @staticmethod
    def number(order: int) -> int:
        """Functions of each kind."""
        raise NotImplementedError

    def all_columns(self, n_frames: int, kind: Tensor) -> Tensor:
        """Columns of all functions of every group, shape (n_frames, n_groups, n_functions)."""
        own = kind.unsqueeze(-1) * self.n_functions + torch.arange(self.n_functions, device=kind.device)
        return own.unsqueeze(0).expand(n_frames, -1, -1)

    def damping(self, bonds: list[Tensor]) -> Tensor:
        """sin^3 of every angle between bonds (n_frames, n_groups, 3) in a row, multiplied."""
        factor = bending_factor(cosine(-bonds[0], bonds[1]))
        for i in range(1, len(bonds) - 1):
            factor = factor * bending_factor(cosine(-bonds[i], bonds[i + 1]))
        return factor

    def series(self, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """cos(n phi) and sin(n phi), and their first and second derivatives: shape (..., 2 order) each."""
        n = torch.arange(1, self.n_order + 1, dtype=phi.dtype)
        cos, sin = torch.cos(n * phi.unsqueeze(-1)), torch.sin(n * phi.unsqueeze(-1))
        return (
            torch.cat([cos, sin], -1),
            torch.cat([-n * sin, n * cos], -1),
            torch.cat([-n * n * cos, -n * n * sin], -1),
        )


class Dihedrals(FourierEnergy):
    """Dihedral potentials as a torch module.

    Attributes
    ----------
    coefficients : Tensor, shape (n_kinds, 2 order), kJ/mol
        Of cos(n phi), then of sin(n phi).
    """

    @staticmethod
    def number(order: int) -> int:
        return 2 * order

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.dihedrals

    def functions(self, c: Batch, groups: Tensor, kind: Tensor) -> Tuple[Tensor, Tensor]:
        bonds = [vectors_between(c, groups[:, i], groups[:, i + 1]) for i in range(3)]
        cos, sin = phase(-bonds[0], -bonds[1], bonds[2])
        both = multiples(cos, sin, self.n_order)
        values = torch.cat([both[0], both[1]], -1)
        if self.damped:
            values = values * self.damping(bonds).unsqueeze(-1)
        return self.all_columns(values.shape[0], kind), values

    def derivatives(self, c: Batch, groups: Tensor, kind: Tensor) -> tuple[list[Coordinate], Tensor, Tensor, Tensor]:
        bonds = [vectors_between(c, groups[:, i], groups[:, i + 1]) for i in range(3)]
        phi = dihedral_of(-bonds[0], -bonds[1], bonds[2])
        values = list(self.series(phi.value))
        coordinates, first, second = combined([phi], [values], self.damped, bonds)
        return coordinates, self.all_columns(len(c.positions), kind), first, second

    def free(self) -> Tensor:
        """All coefficients, but without chirality those of the cosines alone."""
        even = torch.arange(self.n_functions) < self.n_order
        return (even | self.chiral).repeat(len(self.coefficients))

    def roughness(self) -> Tensor:
        """Quadratic form of the penalty: the mean squared second derivative, n^4, scaled by |grad phi|^2 (1/nm^2)."""
        n = torch.arange(1, self.n_order + 1, dtype=torch.float64).repeat(2)
        return torch.diag(torch.cat([weight * n**4 for weight in self.weights]))


def horner(names: list[str]) -> str:
    """The polynomial in c of coefficients with these names, the constant first."""
    return names[0] if len(names) == 1 else f"({names[0]} + c*{horner(names[1:])})"


def multiples_of(angle: str, order: int) -> list[str]:
    """cos(n angle), then sin(n angle), in OpenMM's words."""
    return [f"{function}({n}*{angle})" for function in ("cos", "sin") for n in range(1, order + 1)]


def combined(
    angles: list[Coordinate], values: list[list[Tensor]], damped: bool, bonds: list[Tensor]
) -> tuple[list[Coordinate], Tensor, Tensor]:
    """Coordinates and derivatives of products of functions, damped where three particles in a row are in line.

    Parameters
    ----------
    angles : list of Coordinate
        Dihedrals, each of all members of its group.
    values : list of [values, first, second derivatives]
        Of the functions of each: shape (n_frames, n_groups, n_functions) each.
    damped : bool
    bonds : list of Tensor, shape (n_frames, n_groups, 3), nm
        Along the chain of each group.

    Returns
    -------
    coordinates : list of Coordinate
    first : Tensor, shape (n_frames, n_groups, n_functions, n_q)
    second : Tensor, shape (n_frames, n_groups, n_functions, n_q, n_q)
    """
    coordinates, factors = list(angles), [list(one) for one in values]
    if damped:
        for i in range(len(bonds) - 1):
            own = cosine_of(-bonds[i], bonds[i + 1])
            coordinates.append(placed(own, (i, i + 1, i + 2), len(bonds) + 1))
            factors.append([v.unsqueeze(-1) for v in bending_derivatives(own.value)])
    n = len(factors)

    def product(orders: list[int]) -> Tensor:
        total = factors[0][orders[0]]
        for factor, order in zip(factors[1:], orders[1:]):
            total = total * factor[order]
        return total

    def order_of(*places: int) -> list[int]:
        return [places.count(i) for i in range(n)]

    first = torch.stack([product(order_of(p)) for p in range(n)], -1)
    second = torch.stack([torch.stack([product(order_of(p, q)) for q in range(n)], -1) for p in range(n)], -1)
    return coordinates, first, second
