"""Maps: products of the Fourier functions of two dihedrals that follow each other in a chain, such as phi and psi.

U(phi, psi) = sum_nm sum over {cos, sin} x {cos, sin} c_nm f(n phi) g(m psi), n, m = 1 ... order, of the five particles
of four bonds in a row.  What depends on one of the two alone is in `dihedrals`.
"""

from typing import ClassVar, Literal, Tuple

import numpy as np
import openmm
import torch
from pydantic import Field
from torch import Tensor

from ...space.batch import Batch, vectors_between
from ...space.connectivity import Connectivity
from ..base import ModelHeader, register
from .coordinates import Coordinate, dihedral_of, multiples, phase, placed
from .dihedrals import FourierEnergy, FourierSettings, FourierTerm, combined, multiples_of

#: Points to a period of the fastest function, of the grid that maps of many molecules are interpolated on: forces of a
#: map are off by 3e-4 of their root mean square, and by the cube of the distance of the points.
GRID = 18
#: Points to such a period of the tables of a few maps, and idle ones around them: forces of coefficients at random are
#: off by 6e-5 of their root mean square.
TABLE, IDLE = 36, 8
#: Maps of a force over donors and acceptors: GPUs leave out four acceptors for each donor at most.
AT_ONCE = 5
#: Maps up to which these forces are used, and points of all their tables.
FEW, POINTS = 20, 150_000
#: Points of all grids for each map from which on the products themselves are faster.  OpenMM's CPU platform copies
#: every grid at every step (0.06 us a point), and gains 2.9 us for each map.
PER_MAP = 50


class MapsConfig(FourierSettings):
    """The products and how they are fitted; see `FourierSettings`."""

    order: int = Field(2, ge=1, le=6)


@register
class MapsTerm(FourierTerm):
    """Products of two dihedrals."""

    Settings: ClassVar = MapsConfig
    noun: ClassVar = "map of two dihedrals"
    internal: ClassVar = "chains"
    table: ClassVar = "chains"
    native_name: ClassVar = "DihedralMaps"
    members: ClassVar = 5

    kind: Literal["maps"] = "maps"

    def words(self) -> tuple[list[str], str]:
        left, right = multiples_of("phi", self.order), multiples_of("psi", self.order)
        where = "phi = dihedral(p1, p2, p3, p4); psi = dihedral(p2, p3, p4, p5)"
        return [f"{one}*{other}" for one in left for other in right], where

    def away_from_lines(
        self, coefficients: np.ndarray, groups: list[tuple[list[int], int]], periodic: bool
    ) -> openmm.Force | list[openmm.Force] | None:
        """A CMAPTorsionForce where there are many maps for each grid, and tables of a few maps without a box."""
        size, kinds = GRID * self.order, sorted({kind for _, kind in groups})
        if len(groups) * PER_MAP < len(kinds) * size**2:
            few = not periodic and len(groups) <= FEW
            if few and len(kinds) * (TABLE * self.order + 2 * IDLE + 1) ** 2 <= POINTS:
                parts = (groups[i : i + AT_ONCE] for i in range(0, len(groups), AT_ONCE))
                return [self.tabulated(coefficients, part) for part in parts]
            return None
        force = openmm.CMAPTorsionForce()
        force.setName(self.native_name)
        for kind in kinds:
            energies = self.energies(coefficients[kind], np.linspace(0, 2 * np.pi, size, endpoint=False))
            force.addMap(size, energies.flatten())
        for group, kind in groups:
            force.addTorsion(kinds.index(kind), *group[:4], *group[1:])
        force.setUsesPeriodicBoundaryConditions(periodic)
        return force

    def energies(self, coefficients: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Energy of one kind (kJ/mol) at every psi, and for each of them at every phi, of these angles (rad)."""
        n = np.arange(1, self.order + 1)[:, None] * angles
        functions = np.concatenate([np.cos(n), np.sin(n)])
        return functions.T @ coefficients.reshape(len(functions), -1).T @ functions

    def tabulated(self, coefficients: np.ndarray, groups: list[tuple[list[int], int]]) -> openmm.Force:
        """A CustomHbondForce of a few maps: of a donor of three particles and its acceptor of two.

        It takes the slopes along both dihedrals once.  A CustomCompoundBondForce takes one for each of 15 coordinates,
        and there neither a table nor fewer products are faster.  The tables of all kinds lie one after the other.
        """
        size, kinds = TABLE * self.order, sorted({kind for _, kind in groups})
        wide = size + 2 * IDLE + 1
        angles = 2 * np.pi / size * (np.arange(wide) - IDLE) - np.pi
        table = np.concatenate([self.energies(coefficients[kind], angles) for kind in kinds])
        last = float(len(table) - 1)
        function = openmm.Continuous2DFunction(
            wide, len(table), table.flatten(), float(angles[0]), float(angles[-1]), 0.0, last
        )
        force = openmm.CustomHbondForce(
            f"energy(phi, place + {size / (2 * np.pi)!r}*psi); phi = dihedral(d1, d2, d3, a1); "
            "psi = dihedral(d2, d3, a1, a2)"
        )
        force.setName(self.native_name)
        force.addTabulatedFunction("energy", function)
        force.addPerDonorParameter("place")
        for group, kind in groups:
            force.addDonor(*group[:3], [kinds.index(kind) * wide + IDLE + size / 2])
            force.addAcceptor(*group[3:], -1, [])
        for donor in range(len(groups)):
            for acceptor in range(len(groups)):
                if donor != acceptor:
                    force.addExclusion(donor, acceptor)
        return force

    def module(self, header: ModelHeader) -> "Maps":
        return Maps(*self.arguments(header))


class Maps(FourierEnergy):
    """Maps of two dihedrals as a torch module.

    Attributes
    ----------
    coefficients : Tensor, shape (n_kinds, (2 order)^2), kJ/mol
        Rows cos(n phi), then sin(n phi), columns cos(m psi), then sin(m psi).
    """

    @staticmethod
    def number(order: int) -> int:
        return 4 * order * order

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.chains

    def functions(self, c: Batch, groups: Tensor, kind: Tensor) -> Tuple[Tensor, Tensor]:
        bonds = [vectors_between(c, groups[:, i], groups[:, i + 1]) for i in range(4)]
        cos, sin = phase(-bonds[0], -bonds[1], bonds[2])
        one = multiples(cos, sin, self.n_order)
        cos, sin = phase(-bonds[1], -bonds[2], bonds[3])
        other = multiples(cos, sin, self.n_order)
        left, right = torch.cat([one[0], one[1]], -1), torch.cat([other[0], other[1]], -1)
        values = (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)
        if self.damped:
            values = values * self.damping(bonds).unsqueeze(-1)
        return self.all_columns(values.shape[0], kind), values

    def derivatives(self, c: Batch, groups: Tensor, kind: Tensor) -> tuple[list[Coordinate], Tensor, Tensor, Tensor]:
        bonds = [vectors_between(c, groups[:, i], groups[:, i + 1]) for i in range(4)]
        phi, psi = (dihedral_of(-bonds[i], -bonds[i + 1], bonds[i + 2]) for i in range(2))
        n = 2 * self.n_order
        left = [v.unsqueeze(-1).expand(*v.shape, n).flatten(-2) for v in self.series(phi.value)]
        right = [v.unsqueeze(-2).expand(*v.shape[:-1], n, n).flatten(-2) for v in self.series(psi.value)]
        both = [placed(phi, (0, 1, 2, 3), 5), placed(psi, (1, 2, 3, 4), 5)]
        coordinates, first, second = combined(both, [left, right], self.damped, bonds)
        return coordinates, self.all_columns(len(c.positions), kind), first, second

    def free(self) -> Tensor:
        """All coefficients, but without chirality those of products that a mirror leaves as they are."""
        even = torch.arange(2 * self.n_order) < self.n_order
        kept = (even.unsqueeze(1) == even.unsqueeze(0)).flatten()
        return (kept | self.chiral).repeat(len(self.coefficients))

    def roughness(self) -> Tensor:
        """Quadratic form of the penalty: the mean squared Laplacian, (n^2 + m^2)^2, scaled by |grad phi|^2 (1/nm^2)."""
        n = torch.arange(1, self.n_order + 1, dtype=torch.float64).repeat(2)
        form = (n.unsqueeze(1) ** 2 + n.unsqueeze(0) ** 2).flatten() ** 2
        return torch.diag(torch.cat([weight * form for weight in self.weights]))
