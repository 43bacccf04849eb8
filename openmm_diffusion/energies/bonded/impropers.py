"""Impropers: a spline of the dihedral of a particle with three partners, which holds it in or out of their plane.

A Fourier series would have no value outside the arc that data sample; a spline has its continuation there.  Of three
partners of different types the sign of the dihedral is the handedness of the centre, and one that the data never show
costs energy.  Where two partners are alike there is no such sign, and the curve is even.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import openmm
import torch
from torch import Tensor

from ...space.batch import Batch, vectors_between
from ...space.connectivity import Connectivity
from ..base import ModelHeader, register
from .coordinates import phase
from .splines import SplineEnergy, SplineSettings, SplineTerm


class ImpropersConfig(SplineSettings):
    """The spline basis of improper dihedrals, and how it is fitted.

    Attributes
    ----------
    chiral : bool
        Whether a centre may prefer one hand; False: all curves are even.
    intervals, sigma, draws, penalties, folds
        As in `SplineSettings`.
    """

    chiral: bool = True


@register
class ImpropersTerm(SplineTerm):
    """Spline potentials of improper dihedrals; ranges and widths in rad."""

    Settings: ClassVar = ImpropersConfig
    noun: ClassVar = "improper potential"
    internal: ClassVar = "impropers"
    table: ClassVar = "impropers"
    native_name: ClassVar = "ImproperPotential"
    axis: ClassVar = "phi_degree"
    custom: ClassVar = openmm.CustomTorsionForce
    variable: ClassVar = "theta"

    kind: Literal["impropers"] = "impropers"
    chiral: bool

    def points(self, module: Any, number: int) -> np.ndarray:
        return np.degrees(super().points(module, number))

    def curve(self, module: Any, number: int, q: np.ndarray) -> np.ndarray:
        return module.curve(number, np.radians(q))

    def module(self, header: ModelHeader) -> "Impropers":
        even = [not self.chiral or kind[1] == kind[2] for kind in self.kinds]
        return Impropers(*self.arguments(header), even=even)


class Impropers(SplineEnergy):
    """Improper potentials as a torch module."""

    internal = "impropers"

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.impropers

    def coordinate(self, c: Batch, groups: Tensor) -> Tensor:
        F = vectors_between(c, groups[:, 1], groups[:, 0])
        G = vectors_between(c, groups[:, 2], groups[:, 1])
        cos, sin = phase(F, G, vectors_between(c, groups[:, 2], groups[:, 3]))
        return torch.atan2(sin, cos)
