"""Sums over pairs as OpenMM's own forces: no torch at run time, on every platform."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import openmm

from ..space.connectivity import Connectivity

#: Cutoff (nm) of the native forces where the box leaves room; what reaches farther has no native form.
NATIVE_CUTOFF = 1.2


class Pairwise(NamedTuple):
    """A sum over pairs as part of one OpenMM CustomNonbondedForce.

    Attributes
    ----------
    energy : str
        An expression in the distance r (nm) and in `kind`, the number of the pair of species, (0, 0), (0, 1), ...:
        kJ/mol.
    functions : dict of str to openmm.TabulatedFunction
        That the expression names.
    """

    energy: str
    functions: dict[str, Any]


def pairwise_force(
    parts: Sequence[Pairwise],
    n_species: int,
    species: np.ndarray,
    box: np.ndarray | list[list[float]] | None,
    name: str,
    connectivity: Connectivity | None = None,
) -> openmm.CustomNonbondedForce:
    """Sums over pairs as one CustomNonbondedForce: no torch at run time, on every platform.

    Parameters
    ----------
    parts : list of Pairwise
    n_species : int
    species : array, shape (n_particles,), dtype int
    box : array, shape (3, 3), nm, or None
    name : str
    connectivity : Connectivity or None
        Its excluded pairs are left out.

    Returns
    -------
    openmm.CustomNonbondedForce
    """
    # Numbers of the pairs of species: arithmetic is several times faster than a look-up.
    kind = f"kind = low * (2 * {n_species - 1} - low + 1) / 2 + high; low = min(s1, s2); high = max(s1, s2)"
    force = openmm.CustomNonbondedForce(f"{' + '.join(part.energy for part in parts)}; {kind}")
    force.setName(name)
    for part in parts:
        for function, table in part.functions.items():
            force.addTabulatedFunction(function, table)
    force.addPerParticleParameter("s")
    for s in species:
        force.addParticle([int(s)])
    exclude(force, connectivity)
    cut_off(force, box)
    return force


def exclude(force: openmm.CustomNonbondedForce, connectivity: Connectivity | None) -> None:
    """Leave the excluded pairs out: the platforms want the same of all nonbonded forces."""
    if connectivity is not None:
        for i, j in connectivity.of_pairs(force.getNumParticles()).tolist():
            force.addExclusion(i, j)


def of_kind(values: Iterable[float]) -> str:
    """Expression for the value that belongs to each kind of pair, see `Pairwise`."""
    return " + ".join(f"{float(value)!r} * delta(kind - {number})" for number, value in enumerate(values))


def cut_off(force: openmm.CustomNonbondedForce, box: np.ndarray | list[list[float]] | None) -> None:
    """Give a CustomNonbondedForce the cutoff of all native forces: the platforms want one for all nonbonded ones."""
    if box is None:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
    else:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(native_cutoff(box))


def native_cutoff(box: np.ndarray | list[list[float]]) -> float:
    """Cutoff (nm) of the native forces: 1.2 nm, or just under half a smaller box."""
    return min(NATIVE_CUTOFF, 0.499 * float(np.diagonal(box).min()))
