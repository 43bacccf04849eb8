"""Angles: a spline of the cosine of the angle between two bonds.

The cosine is smooth where three particles are in line, and a function of it is flat there, as a function of the angle
must be: the angle itself has slopes that no average of their squares bounds (see `coordinates`).
"""

from typing import Any, ClassVar, Literal

import numpy as np
import openmm
from torch import Tensor

from ...space.batch import Batch, vectors_between
from ...space.connectivity import Connectivity
from ..base import ModelHeader, register
from .coordinates import cosine
from .splines import SplineEnergy, SplineSettings, SplineTerm


class AnglesConfig(SplineSettings):
    """The spline basis of the cosines of angles, and how it is fitted; see `SplineSettings`."""


@register
class AnglesTerm(SplineTerm):
    """Spline angle potentials; ranges and widths are of the cosine."""

    Settings: ClassVar = AnglesConfig
    noun: ClassVar = "angle potential"
    internal: ClassVar = "angles"
    table: ClassVar = "angles"
    native_name: ClassVar = "AnglePotential"
    axis: ClassVar = "theta_degree"
    custom: ClassVar = openmm.CustomAngleForce
    variable: ClassVar = "cos(theta)"

    kind: Literal["angles"] = "angles"

    def points(self, module: Any, number: int) -> np.ndarray:
        return np.degrees(np.arccos(np.clip(super().points(module, number), -1, 1)))[::-1]

    def curve(self, module: Any, number: int, q: np.ndarray) -> np.ndarray:
        return module.curve(number, np.cos(np.radians(q)))

    def module(self, header: ModelHeader) -> "Angles":
        return Angles(*self.arguments(header))


class Angles(SplineEnergy):
    """Angle potentials as a torch module."""

    internal = "angles"

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.angles

    def coordinate(self, c: Batch, groups: Tensor) -> Tensor:
        first = vectors_between(c, groups[:, 1], groups[:, 0])
        return cosine(first, vectors_between(c, groups[:, 1], groups[:, 2]))
