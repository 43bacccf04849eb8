"""Sums over pairs, and curves, as OpenMM's own forces: no torch at run time, on every platform."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import openmm
from numpy.typing import ArrayLike

from ..space.connectivity import Connectivity

#: Longest cutoff (nm) of the native forces; what reaches farther has no native form.
NATIVE_CUTOFF = 1.2

#: Pairs up to which those of a system without a box are listed, see `pairwise_force`: on one thread of the CPU platform
#: a listed pair takes 0.3 us, and each of all pairs of a CustomNonbondedForce, the excluded ones too, 0.4 us.
LISTED_PAIRS = 500
#: Cutoff of a sum that may choose it, as PME may, in widths of the first box: OpenMM refuses a box below twice the
#: cutoff, and this lets a barostat take a fifth of the width, half of the volume.
SHARE = 0.4

#: nm; a cutoff of zero, of a wall that no pair has, is none.
LEAST_CUTOFF = 0.1


class Pairwise(NamedTuple):
    """A sum over pairs as part of one OpenMM force.

    Attributes
    ----------
    energy : str
        An expression in the distance r (nm), in `kind`, the number of the pair of species, (0, 0), (0, 1), ..., and in
        the names of `values`: kJ/mol.  What defines names of its own stands after a semicolon.
    functions : dict of str to openmm.TabulatedFunction
        That the expression names.
    values : dict of str to sequence of float
        What has a value for each kind of pair.
    cutoff : float or None, nm
        Where the energy has ended; None: as far as the box allows.
    listed : Pairwise or None
        The same without functions, for pairs that are listed: of those its values are parameters, many or few.
    """

    energy: str
    functions: dict[str, Any]
    values: Mapping[str, Sequence[float]] = {}
    cutoff: float | None = None
    listed: "Pairwise | None" = None

    def times(self, factors: Sequence[str]) -> "Pairwise":
        """The same multiplied by expressions."""
        if not factors:
            return self
        energy, semicolon, names = self.energy.partition(";")
        energy = " * ".join([*factors, f"({energy})"]) + semicolon + names
        return self._replace(energy=energy, listed=self.listed and self.listed.times(factors))


def joined(parts: Sequence[Pairwise]) -> str:
    """The sum of energies as one expression, what defines their names at its end."""
    heads, _, tails = zip(*(part.energy.partition(";") for part in parts))
    return "; ".join([" + ".join(heads), *filter(None, tails)])


def pairwise_force(
    parts: Sequence[Pairwise],
    n_species: int,
    species: np.ndarray,
    box: np.ndarray | list[list[float]] | None,
    name: str,
    connectivity: Connectivity | None = None,
    among: Sequence[int] | None = None,
) -> openmm.Force:
    """Sums over pairs as one force: no torch at run time, on every platform.

    A CustomNonbondedForce, or, of few pairs and without a box, a force that lists them: a CustomBondForce where no
    part needs a function, else a CustomCompoundBondForce.

    Parameters
    ----------
    parts : list of Pairwise
    n_species : int
    species : array, shape (n_particles,), dtype int
    box : array, shape (3, 3), nm, or None
    name : str
    connectivity : Connectivity or None
        Its excluded pairs are left out.
    among : list of int or None
        Particles whose pairs these are; all others are there, as OpenMM wants, but have none.  None: all.

    Returns
    -------
    openmm.CustomNonbondedForce, openmm.CustomBondForce or openmm.CustomCompoundBondForce
    """
    members = range(len(species)) if among is None else among
    if box is None and len(members) * (len(members) - 1) // 2 <= LISTED_PAIRS:
        return _listed(parts, n_species, species, name, connectivity, sorted(members))
    energy = joined(parts)
    # Numbers of the pairs of species: arithmetic is several times faster than a look-up.
    kind = f"kind = low * (2 * {n_species - 1} - low + 1) / 2 + high; low = min(s1, s2); high = max(s1, s2)"
    values = [f"{key} = {of_kind(value)}; " for part in parts for key, value in part.values.items()]
    force = openmm.CustomNonbondedForce(f"{energy}; {''.join(values)}{kind}")
    force.setName(name)
    for part in parts:
        for function, table in part.functions.items():
            force.addTabulatedFunction(function, table)
    force.addPerParticleParameter("s")
    for s in species:
        force.addParticle([int(s)])
    exclude(force, connectivity)
    if among is not None:
        force.addInteractionGroup(among, among)
    reaches = [part.cutoff for part in parts if part.cutoff is not None]
    cut_off(force, box, max(reaches) if len(reaches) == len(parts) else None)
    return force


def _listed(
    parts: Sequence[Pairwise],
    n_species: int,
    species: np.ndarray,
    name: str,
    connectivity: Connectivity | None,
    among: Sequence[int],
) -> openmm.Force:
    """The pairs that are not excluded, one by one."""
    plain = [part.listed or part for part in parts]
    names = [key for part in plain for key in part.values]
    if not any(part.functions for part in plain) and len(set(names)) == len(names):
        # Several times faster: it takes one slope of each pair, the other one for each of six coordinates.
        parts, force = plain, openmm.CustomBondForce(joined(plain))
    else:
        force = openmm.CustomCompoundBondForce(2, f"{joined(parts)}; r = distance(p1, p2)")
    for part in parts:
        for function, table in part.functions.items():
            force.addTabulatedFunction(function, table)
    values = {key: value for part in parts for key, value in part.values.items()}
    rows, columns = np.triu_indices(n_species)
    number = np.zeros((n_species, n_species), dtype=int)
    number[rows, columns] = number[columns, rows] = np.arange(len(rows))
    left_out = set() if connectivity is None else set(map(tuple, connectivity.of_pairs(len(species)).tolist()))
    bonds = []
    for i, j in combinations(among, 2):
        if (i, j) not in left_out:
            kind = int(number[species[i], species[j]])
            bonds.append(([i, j], [kind, *(float(value[kind]) for value in values.values())]))
    of_groups(force, name, ["kind", *values], bonds, False)
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


def of_groups(
    force: Any, name: str, parameters: Sequence[str], groups: Iterable[tuple[list[int], list[float]]], periodic: bool
) -> openmm.Force:
    """A custom force of bonded particles, given its name, its parameters and its groups with a value of each."""
    what = next(what for what in ("Bond", "Angle", "Torsion") if hasattr(force, f"addPer{what}Parameter"))
    listed = isinstance(force, openmm.CustomCompoundBondForce)
    force.setName(name)
    for parameter in parameters:
        getattr(force, f"addPer{what}Parameter")(parameter)
    for particles, values in groups:
        getattr(force, f"add{what}")(*([particles] if listed else particles), values)
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def spline_expression(intervals: int) -> str:
    """A cubic spline as an expression in x, the place in units of its intervals, from 0 to their number.

    The parameters c0, c1, ... are `spline_parameters`.  The B-splines k, k + 4, k + 8, ... never overlap: the
    coefficient of the one that x is in is a staircase, which falls or rises where all of them vanish.  Nothing large
    cancels, and so it serves single precision too.
    """
    terms, places = [], []
    for j in range(4):
        steps = "".join(f" + c{k}*step(x - {k - 3})" for k in range(j + 4, intervals + 3, 4))
        terms.append(f"(c{j}{steps})*(v{j}^3 - 4*max(0, v{j} - 1)^3)")
        places.append(f"v{j} = 2 - abs(4*(y{j} - floor(y{j})) - 2); y{j} = 0.25*x + {(3 - j) / 4}")
    return f"{' + '.join(terms)}; {'; '.join(places)}"


def spline_parameters(coefficients: ArrayLike) -> np.ndarray:
    """Parameters of `spline_expression` for coefficients (..., intervals + 3) of uniform cubic B-splines."""
    values = np.asarray(coefficients) / 6
    values[..., 4:] -= values[..., :-4].copy()
    return values


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
