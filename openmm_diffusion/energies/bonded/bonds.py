"""Bonds: a spline of the distance of two bonded particles."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...space.batch import Batch
from ...space.connectivity import Connectivity
from ..base import ModelHeader, register
from .coordinates import dot, vectors_between
from .splines import SplineEnergy, SplineSettings, SplineTerm


class BondsConfig(SplineSettings):
    """The spline basis of bonds, and how it is fitted; see `SplineSettings`."""


@register
class BondsTerm(SplineTerm):
    """Spline bond potentials; ranges and widths in nm."""

    Settings: ClassVar = BondsConfig
    noun: ClassVar = "bond potential"
    table: ClassVar = "bonds"
    native_name: ClassVar = "BondPotential"
    variable: ClassVar = "distance(p1, p2)"

    kind: Literal["bonds"] = "bonds"

    def module(self, header: ModelHeader) -> "Bonds":
        return Bonds(*self.arguments(header))


class Bonds(SplineEnergy):
    """Bond potentials as a torch module."""

    internal = "bonds"

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.bonds

    def coordinate(self, c: Batch, groups: Tensor) -> Tensor:
        r = vectors_between(c, groups[:, 0], groups[:, 1])
        return torch.sqrt(dot(r, r))
