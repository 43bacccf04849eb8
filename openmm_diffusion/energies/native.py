"""Sums over pairs as OpenMM's own forces: no torch at run time, on every platform."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import openmm

from ..space.connectivity import Connectivity

#: Longest cutoff (nm) of the native forces; what reaches farther has no native form.
NATIVE_CUTOFF = 1.2

#: Cutoff of a sum that may choose it, as PME may, in widths of the first box: OpenMM refuses a box below twice the
#: cutoff, and this lets a barostat take a fifth of the width, half of the volume.
SHARE = 0.4

#: nm; a cutoff of zero, of a wall that no pair has, is none.
LEAST_CUTOFF = 0.1


class Pairwise(NamedTuple):
    """A sum over pairs as part of one OpenMM CustomNonbondedForce.

    Attributes
    ----------
    energy : str
        An expression in the distance r (nm) and in `kind`, the number of the pair of species, (0, 0), (0, 1), ...:
        kJ/mol.
    functions : dict of str to openmm.TabulatedFunction
        That the expression names.
    cutoff : float or None, nm
        Where the energy has ended; None: as far as the box allows.
    """

    energy: str
    functions: dict[str, Any]
    cutoff: float | None = None


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
    reaches = [part.cutoff for part in parts if part.cutoff is not None]
    cut_off(force, box, max(reaches) if len(reaches) == len(parts) else None)
    return force


def exclude(force: openmm.CustomNonbondedForce, connectivity: Connectivity | None) -> None:
    """Leave the excluded pairs out: the platforms want the same of all nonbonded forces."""
    if connectivity is not None:
        for i, j in connectivity.of_pairs(force.getNumParticles()).tolist():
            force.addExclusion(i, j)


def of_kind(values: Iterable[float]) -> str:
    """Expression for the value that belongs to each kind of pair, see `Pairwise`."""
    return " + ".join(f"{float(value)!r} * delta(kind - {number})" for number, value in enumerate(values))


def cut_off(
    force: openmm.CustomNonbondedForce, box: np.ndarray | list[list[float]] | None, reach: float | None = None
) -> None:
    """Give a CustomNonbondedForce the cutoff that its energy needs (nm), and no more: the box may shrink to twice it.

    None is just under half of the box, or 1.2 nm.
    """
    if box is None:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
    else:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(chosen_cutoff(box, 0.499) if reach is None else max(reach, LEAST_CUTOFF))


def chosen_cutoff(box: np.ndarray | list[list[float]], share: float = SHARE) -> float:
    """Cutoff (nm) of a native force that may choose it: 1.2 nm, or a share of the width of a smaller box."""
    return min(NATIVE_CUTOFF, share * float(np.diagonal(box).min()))


def share_cutoff(forces: Iterable[openmm.Force]) -> None:
    """Give all nonbonded forces with a cutoff the longest among them: the platforms want one for all of a System."""
    ending = [
        force
        for force in forces
        if isinstance(force, openmm.NonbondedForce | openmm.CustomNonbondedForce)
        and force.getNonbondedMethod() != openmm.NonbondedForce.NoCutoff
    ]
    longest = max((force.getCutoffDistance()._value for force in ending), default=0.0)
    for force in ending:
        force.setCutoffDistance(longest)
