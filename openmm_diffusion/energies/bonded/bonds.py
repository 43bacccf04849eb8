"""Distances along bonds: a spline of each of bonded particles, and of the ends of two and of three bonds.

The ends of two bonds (1-3, Urey and Bradley) and of three (1-4) have energies of their own, told apart by the types of
all particles between them: what bonds, angles and dihedrals by themselves cannot say is how they depend on each other,
and these distances are functions of several.  Pairs further apart are those of the pair potential.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import openmm
import torch
from torch import Tensor

from ...space.batch import Batch, vectors_between
from ...space.connectivity import Connectivity
from ..base import ModelHeader, register
from ..linear import Sample
from .coordinates import dot
from .splines import SplineEnergy, SplineSettings, SplineTerm


class BondsConfig(SplineSettings):
    """The spline basis of bonds, and how it is fitted; see `SplineSettings`."""


class OneThreeConfig(SplineSettings):
    """The spline basis of the distances of the ends of two bonds, and how it is fitted; see `SplineSettings`."""


class OneFourConfig(SplineSettings):
    """The spline basis of the distances of the ends of three bonds, and how it is fitted; see `SplineSettings`."""


@register
class BondsTerm(SplineTerm):
    """Spline bond potentials; ranges and widths in nm.

    Attributes
    ----------
    partners : dict of str to list of int
        Numbers of bonds that a particle of each type had in the training data: a topology that lost some is refused.
    """

    Settings: ClassVar = BondsConfig
    noun: ClassVar = "bond potential"
    internal: ClassVar = "bonds"
    table: ClassVar = "bonds"
    native_name: ClassVar = "BondPotential"
    axis: ClassVar = "r_nm"
    custom: ClassVar = openmm.CustomBondForce
    variable: ClassVar = "r"

    kind: Literal["bonds"] = "bonds"
    partners: dict[str, list[int]]

    @classmethod
    def measured(cls, spreads: Sequence[Any], sample: Sample) -> dict[str, Any]:
        found: dict[str, set[int]] = {}
        for c in sample.batches():
            for name, numbers in _partners(sample.species, c.species, c.connectivity).items():
                found.setdefault(name, set()).update(numbers)
        return super().measured(spreads, sample) | {"partners": {name: sorted(ns) for name, ns in found.items()}}

    def check_bonds(self, header: ModelHeader, species: Tensor, connectivity: Connectivity | None) -> None:
        super().check_bonds(header, species, connectivity)
        # Types that the training data had free as well may be so here.
        alone = sorted(
            name for name in {header.species[s] for s in species.tolist()} if 0 not in self.partners.get(name, [0])
        )
        if connectivity is None and alone:
            raise ValueError(
                f"topology has no bonds, but {', '.join(alone)} were bonded in the training data: give the bonds "
                "(Topology.addBond, CONECT records of a PDB file, or bonds=)"
            )
        for name, numbers in _partners(header.species, species, connectivity).items():
            known = self.partners.get(name, [])
            strange = sorted(set(numbers) - set(known))
            if known and strange:
                raise ValueError(
                    f"topology has particles {name} with {strange[0]} bonds, and the training data had none such (but "
                    f"{', '.join(map(str, known))}): check its bonds (CONECT records of a PDB file are easily lost)"
                )

    def module(self, header: ModelHeader) -> "Distances":
        return Bonds(*self.arguments(header))


@register
class OneThreeTerm(SplineTerm):
    """Spline potentials of the ends of two bonds; ranges and widths in nm."""

    Settings: ClassVar = OneThreeConfig
    noun: ClassVar = "1-3 potential"
    internal: ClassVar = "onethree"
    table: ClassVar = "angles"
    native_name: ClassVar = "OneThreePotential"
    axis: ClassVar = "r_nm"
    custom: ClassVar = openmm.CustomBondForce
    variable: ClassVar = "r"

    kind: Literal["onethree"] = "onethree"

    def module(self, header: ModelHeader) -> "Distances":
        return OneThree(*self.arguments(header))


@register
class OneFourTerm(SplineTerm):
    """Spline potentials of the ends of three bonds; ranges and widths in nm."""

    Settings: ClassVar = OneFourConfig
    noun: ClassVar = "1-4 potential"
    internal: ClassVar = "onefour"
    table: ClassVar = "dihedrals"
    native_name: ClassVar = "OneFourPotential"
    axis: ClassVar = "r_nm"
    custom: ClassVar = openmm.CustomBondForce
    variable: ClassVar = "r"

    kind: Literal["onefour"] = "onefour"

    def module(self, header: ModelHeader) -> "Distances":
        return OneFour(*self.arguments(header))


def _partners(names: Sequence[str], species: Tensor, connectivity: Connectivity | None) -> dict[str, list[int]]:
    """Numbers of bonds that particles of each type have."""
    ends = torch.zeros(0, dtype=torch.int64) if connectivity is None else connectivity.bonds.flatten()
    numbers = torch.bincount(ends, minlength=len(species))
    return {names[s]: torch.unique(numbers[species == s]).tolist() for s in torch.unique(species).tolist()}


class Distances(SplineEnergy):
    """Potentials of the distance of the first and the last particle of each group, as a torch module."""

    def coordinate(self, c: Batch, groups: Tensor) -> Tensor:
        r = vectors_between(c, groups[:, 0], groups[:, -1])
        return torch.sqrt(dot(r, r))


class Bonds(Distances):
    """Bond potentials."""

    internal = "bonds"

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.bonds


class OneThree(Distances):
    """Potentials of the ends of two bonds."""

    internal = "onethree"

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.angles


class OneFour(Distances):
    """Potentials of the ends of three bonds."""

    internal = "onefour"

    def groups(self, connectivity: Connectivity) -> Tensor:
        return connectivity.dihedrals
