"""Energies of two particles and of bonded groups as tables of LAMMPS: kcal/mol, Angstrom and degrees.

A table holds U and -dU/dq at so many points that LAMMPS' own splines between them are the model's, which are
splines themselves: but where a force or its slope jumps (the edge of a wall, the ends of the data of a bond), LAMMPS
rounds the edge over a few points.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..model.curves import two_particles
from ..model.denoiser import Denoiser
from ..model.sum import total_force
from ..space.batch import make_batch
from ..space.connectivity import Connectivity
from ..units import ANGSTROM, KILOCALORIE

#: Points of a table over pairs, evenly spaced in r^2 as LAMMPS wants them, and of one of bonded particles.
PAIR_POINTS, BONDED_POINTS = 10_000, 5_000
#: Shortest distance (nm) of a table over pairs: closer pairs end a run.
CLOSEST = 0.01
#: A table of distances along bonds goes from this part of the data's shortest to this multiple of their longest.
SHORTER, LONGER = 0.3, 1.5


class Table(NamedTuple):
    """U and -dU/dq over a coordinate q, in LAMMPS' units.

    Attributes
    ----------
    name : str
        Keyword of its section in the file.
    comment : str
        What it is of.
    settings : str
        What follows the number of points.
    q, energy, force : array, shape (n_points,)
        Angstrom or degrees; kcal/mol; kcal/mol/Angstrom or kcal/mol/degree.
    """

    name: str
    comment: str
    settings: str
    q: np.ndarray
    energy: np.ndarray
    force: np.ndarray

    def text(self) -> str:
        """The section of the file."""
        rows = zip(range(1, len(self.q) + 1), self.q.tolist(), self.energy.tolist(), self.force.tolist())
        lines = [f"{i} {q:.12g} {u:.15g} {f:.12g}" for i, q, u, f in rows]
        return "\n".join(
            [f"# {self.comment}", self.name, f"N {len(self.q)} {self.settings}".strip(), "", *lines, "", ""]
        )


def written(tables: Iterable[Table], units: str) -> str:
    """A file of tables."""
    return f"# {units}; forces are minus the slope of the energy.\n\n" + "".join(table.text() for table in tables)


def pair_table(denoiser: Denoiser, name: str, a: str, b: str) -> Table:
    """What the sums over pairs of a denoiser, which are all that it has, make of two particles of types a and b."""
    cutoff = denoiser.model.cutoff
    r = np.sqrt(np.linspace(CLOSEST**2, cutoff**2, PAIR_POINTS))
    first, second = (denoiser.header.species.index(kind) for kind in (a, b))
    u, force = two_particles(denoiser, first, second, r)
    settings = f"RSQ {CLOSEST / ANGSTROM:.10g} {cutoff / ANGSTROM:.10g}"
    return _in_lammps_units(name, f"{a}-{b}", settings, r / ANGSTROM, u, force * ANGSTROM)


def bonded_table(denoiser: Denoiser, name: str, term: Any, module: Any, number: int) -> Table:
    """The energy of one kind of bonded groups."""
    axis, kind = term.axis, term.kinds[number]
    shown: Any
    if axis == "r_nm":
        low, high = (float(end[number]) for end in (module.low, module.high))
        q = np.linspace(SHORTER * low, LONGER * high, BONDED_POINTS)
        scale, shown = ANGSTROM, q / ANGSTROM
    else:
        shown = np.linspace(0, 180, BONDED_POINTS)
        if axis == "phi_degree":  # once around, without the second of both ends
            shown = -180 + 360 / BONDED_POINTS * np.arange(BONDED_POINTS)
        q, scale = np.radians(shown), np.pi / 180
    u, force = _of_groups(term, module, torch.tensor(term.indexed(denoiser.header)[number]), q)
    settings = "DEGREES" if axis == "phi_degree" else ""
    return _in_lammps_units(name, f"{term.noun} {'-'.join(kind)}", settings, shown, u, force * scale)


def no_energy(name: str, low: float, high: float) -> Table:
    """The table of bonds (nm) that only say who is bonded to whom."""
    q = np.linspace(low, high, 10) / ANGSTROM
    return Table(name, "bonds without an energy", "", q, np.zeros(10), np.zeros(10))


def harmonics(table: Table) -> list[tuple[int, float, float]]:
    """A periodic table as a sum of A cos(n (phi - delta)): n, A (kcal/mol) and delta (degrees) of each."""
    waves = np.fft.rfft(table.energy)[1:13] * 2 / len(table.energy)  # no series of ours has more than 12
    found = []
    for n, wave in enumerate(waves, start=1):
        # The table begins at -180 degrees: a wave of odd n is the other way round there.
        wave = wave * (-1) ** n
        if abs(wave) > 1e-12 * np.abs(waves).max():
            found.append((n, float(abs(wave)), float(np.degrees(-np.angle(wave)) / n)))
    return found


def _of_groups(term: Any, module: Any, species: Tensor, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy (kJ/mol) and -dU/dq of one group of bonded particles at values (nm or rad) of its coordinate."""
    value = torch.tensor(q, dtype=torch.float64, requires_grad=True)
    y = _places(term.axis, len(species), value)
    tables = dict.fromkeys(Connectivity._fields, torch.zeros(0, len(species), dtype=torch.int64))
    tables["excluded"] = torch.zeros(0, dtype=torch.int64)
    tables[term.table] = torch.arange(len(species)).unsqueeze(0)
    energy = term.weight * module(make_batch(y, None, species, 0.0, None, Connectivity(**tables)))
    force = total_force(energy, torch.zeros_like(value), value)
    return energy.detach().numpy(), force.detach().numpy()


def _places(axis: str, n: int, q: Tensor) -> Tensor:
    """Positions (n_values, n, 3), nm, of a group whose coordinate is q."""
    none, one = torch.zeros_like(q), 0.1 * torch.ones_like(q)
    if axis == "r_nm":
        ends = [torch.stack([none, none, none], -1), torch.stack([q, none, none], -1)]
        between = [torch.stack([none, (i + 1) * one, none], -1) for i in range(n - 2)]
        return torch.stack([ends[0], *between, ends[1]], 1)
    arm = torch.stack([0.1 * torch.cos(q), 0.1 * torch.sin(q), none], -1)
    start, vertex = torch.stack([one, none, none], -1), torch.stack([none, none, none], -1)
    if axis == "theta_degree":
        return torch.stack([start, vertex, arm], 1)
    up = torch.stack([none, none, one], -1)  # both angles of the dihedral are right
    return torch.stack([start, vertex, up, up + arm], 1)


def _in_lammps_units(name: str, comment: str, settings: str, q: np.ndarray, u: np.ndarray, force: np.ndarray) -> Table:
    return Table(name, comment, settings, q, u / KILOCALORIE, force / KILOCALORIE)
