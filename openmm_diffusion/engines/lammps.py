"""A model as files of LAMMPS: tables, data and an input script of Langevin dynamics, in its units "real".

What is a sum over pairs becomes one table for each pair of types, the wall a part of it; Coulomb is LAMMPS' own, in
the dielectric of the model.  Bonds, angles and dihedrals are tables; distances of the ends of two and three bonds are
bonds of types of their own, which `create_bonds` adds when LAMMPS knows already who is excluded from whom.  A dihedral
that fades where three particles come into line, sin^3 sin^3 cos(n phi), is a sum of products of cosines, which
`dihedral_style spherical` computes: with degrees, sin^3(x) = (3 cos(x - 90) - cos(3 (x - 30))) / 4.

LAMMPS computes with 332.06371 kcal/mol Angstrom/e^2 (src/update.cpp), 1e-8 less than the constant of OpenMM, and with
a Boltzmann constant that is 1.2e-6 larger than that of the SI, which only its thermostat feels.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from openmm import app, unit

from ..energies.native import chosen_cutoff
from ..forces.subset import bonds_of
from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..rundirectory import made, write_whole
from ..space.boxes import check_cutoff
from ..space.connectivity import Connectivity
from ..space.molecules import BondGraph
from ..systems.system import masses_of
from ..units import ANGSTROM
from .tables import BONDED_POINTS, PAIR_POINTS, Table, bonded_table, harmonics, no_energy, pair_table, written

#: How far (nm) Coulomb reaches where there is no box, and so no end of it; particles are to stay within it.
FAR = 100.0
#: nm; bonded particles may be so far apart, and LAMMPS must know of them, where no pair reaches farther.
REACH = 1.2
#: Friction (1/ps), and time steps (ps) without and with bonds: those of the other exported scripts.
FRICTION, TIMESTEP, BONDED_TIMESTEP = 2.0, 0.004, 0.002

#: LAMMPS' name of the groups whose energy is drawn over an axis.
NAMES = {"r_nm": "bond", "theta_degree": "angle", "phi_degree": "dihedral"}


@dataclass
class Style:
    """One of LAMMPS' kinds of bonded groups.

    Attributes
    ----------
    name : str
        "bond", "angle" or "dihedral".
    coefficients : list of (str, str)
        Sub-style and coefficients of each type.
    groups, later : list of (int, list of int)
        Type, from 1 on, and particles of each group; `later` are those that must not tell who is bonded to whom.
    tables : list of Table
    """

    name: str
    coefficients: list[tuple[str, str]] = field(default_factory=list)
    groups: list[tuple[int, list[int]]] = field(default_factory=list)
    later: list[tuple[int, list[int]]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def add(self, table: Table, damped: bool = False) -> int:
        """The number of a new type with the energy of a table."""
        if damped:
            self.coefficients.append(("spherical", _spherical(table)))
        else:
            self.tables.append(table)
            self.coefficients.append(("table", f"{self.name}.table {table.name}"))
        return len(self.coefficients)

    def commands(self) -> list[str]:
        """The lines of the input script before and after the data are read."""
        used = list(dict.fromkeys(style for style, _ in self.coefficients))
        arguments = [f"table spline {BONDED_POINTS}" if style == "table" else style for style in used]
        mixed = len(used) > 1
        lines = [f"{self.name}_style {'hybrid ' if mixed else ''}{' '.join(arguments)}"]
        for number, (style, text) in enumerate(self.coefficients, start=1):
            lines.append(f"{self.name}_coeff {number} {style + ' ' if mixed else ''}{text}")
        return lines


@dataclass
class LammpsSystem:
    """What the data file and the input script are made from.

    Attributes
    ----------
    denoiser : Denoiser
    names : list of str
        Type of every particle.
    types : list of str
        The types that there are, in LAMMPS' order.
    masses, charges : dict of str to float, amu and e
    permittivity : float or None
        Relative one; None: there are no charges.
    box : array, shape (3, 3), nm, or None
    pairs : dict of (int, int) to Table
        By the numbers of two types, from 1 on.
    styles : list of Style
    """

    denoiser: Denoiser
    names: list[str]
    types: list[str]
    masses: dict[str, float]
    charges: dict[str, float]
    permittivity: float | None
    box: np.ndarray | None
    pairs: dict[tuple[int, int], Table]
    styles: list[Style]

    @property
    def later(self) -> list[tuple[int, list[int]]]:
        """Type and particles of the bonds that the data file does not hold."""
        return [one for style in self.styles for one in style.later]


def lammps_obstacle(denoiser: Denoiser) -> str | None:
    """Why the tables of LAMMPS cannot hold a model, after "the model ..."; None where they can."""
    for term in denoiser.header.terms:
        expressible = term.axis is not None if term.bonded else term.charged or term.joins
        if not expressible:
            return f"has a {term.noun}"
    if denoiser.header.exclusions > 3:
        return f"leaves out pairs up to {denoiser.header.exclusions} bonds apart, and LAMMPS those up to three"
    return None


def check_lammps(denoiser: Denoiser) -> None:
    """Refuse a model that the tables of LAMMPS cannot hold."""
    obstacle = lammps_obstacle(denoiser)
    if obstacle:
        raise ValueError(
            f"format is lammps, whose tables hold pairs, bonds, angles and dihedrals, but the model {obstacle}: fit "
            "one without it (openmm-diffusion distil), or run the model in OpenMM or ASE"
        )


def write_lammps(
    denoiser: Denoiser, topology: app.Topology, positions: np.ndarray, output: Path, tolerance: float = 5e-4
) -> list[str]:
    """Write tables, data file and input script of a model.

    Parameters
    ----------
    denoiser : Denoiser
    topology : openmm.app.Topology
        With the box, if there is one.
    positions : array, shape (n_particles, 3), nm
    output : path
        Directory, made where it is not there.
    tolerance : float
        Relative error of the forces of PPPM.

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    ValueError, FileExistsError
        For a model that tables cannot hold, a topology that does not fit it, an output that is a file; nothing is
        written then.
    """
    check_lammps(denoiser)
    system = _read(merged(denoiser), topology)
    files = {"system.data": _data(system, positions)}
    if system.pairs:
        files["pair.table"] = written(system.pairs.values(), "Angstrom and kcal/mol")
    for style in system.styles:
        if style.tables:
            unit_of_q = "Angstrom" if style.name == "bond" else "degrees"
            files[f"{style.name}.table"] = written(style.tables, f"{unit_of_q} and kcal/mol")
    if system.later:
        lines = [f"create_bonds single/bond {kind} {i + 1} {j + 1} special no" for kind, (i, j) in system.later]
        files["bonds.in"] = "\n".join(lines) + "\n"
    files["in.lammps"] = _script(system, tolerance)
    output = made(output)
    for name, text in files.items():
        write_whole(output / name, text)
    return sorted(files)


def _read(denoiser: Denoiser, topology: app.Topology) -> LammpsSystem:
    """A model and a topology in LAMMPS' terms; ValueErrors as those of `create_system`."""
    header, names = denoiser.header, denoiser.types_of(topology)
    index = denoiser.species_index(names)
    connected = denoiser.connectivity(index, bonds_of(topology))
    vectors = topology.getPeriodicBoxVectors()
    box = None if vectors is None else np.array(vectors.value_in_unit(unit.nanometer), dtype=float)
    if box is not None:
        check_cutoff(denoiser.cutoff, torch.as_tensor(box), "the model's cutoff")
    for term in header.terms:
        term.check(names, box is not None)
    masses = dict(zip(names, masses_of(denoiser, topology, names)))
    types = [kind for kind in header.species if kind in masses]
    charged = next((term for term in header.terms if term.charged), None)
    summed = denoiser.part(lambda term: term.joins)
    pairs = {
        (i, j): pair_table(summed, f"PAIR_{i}_{j}", types[i - 1], types[j - 1])
        for i in range(1, len(types) + 1)
        for j in range(i, len(types) + 1)
        if summed.model.cutoff > 0
    }
    return LammpsSystem(
        denoiser,
        names,
        types,
        masses,
        {kind: 0.0 if charged is None else charged.charges[kind] for kind in types},
        None if charged is None else charged.relative_permittivity / charged.weight,
        box,
        pairs,
        _styles(denoiser, index.numpy(), connected),
    )


def _styles(denoiser: Denoiser, species: np.ndarray, connected: Connectivity | None) -> list[Style]:
    """Everything bonded, in LAMMPS' kinds; none without bonds."""
    if connected is None:
        return []
    found = {axis: Style(name) for axis, name in NAMES.items()}
    bonded: set[tuple[int, int]] = set()
    for term, module in zip(denoiser.header.terms, denoiser.modules()):
        if not term.bonded:
            continue
        style, numbers = found[term.axis], {}
        for group, kind in term.groups_of(module, species, connected):
            if kind not in numbers:
                name = f"{style.name.upper()}_{len(style.coefficients) + 1}"
                damped = bool(getattr(term, "damped", False))
                numbers[kind] = style.add(bonded_table(denoiser, name, term, module, kind), damped)
            if style.name != "bond":
                style.groups.append((numbers[kind], group))
                continue
            ends = min(group[0], group[-1]), max(group[0], group[-1])
            tells = len(group) == 2 and ends not in bonded
            (style.groups if tells else style.later).append((numbers[kind], list(ends)))
            bonded |= {ends} if tells else set()
    silent = [bond for bond in map(sorted, connected.bonds.tolist()) if tuple(bond) not in bonded]
    if silent:  # bonds without an energy, which say all the same who is excluded from whom
        number = found["r_nm"].add(no_energy("BOND_NONE", 1e-3, FAR))
        found["r_nm"].groups.extend((number, bond) for bond in silent)
    return [style for style in found.values() if style.coefficients]


def _spherical(table: Table) -> str:
    """A dihedral that fades where three particles come into line, for `dihedral_style spherical`.

    Its terms are C (u - cos(K (phi - a))) (v - cos(L (theta_1 - b))) (w - cos(M (theta_2 - c))), here with
    u = v = w = 0.
    """
    sines = [(0.75, 1, 90), (-0.25, 3, 30)]
    terms = [
        f"{-amplitude * one * other:.14g} {n} {delta:.14g} 0 {L} {b} 0 {M} {c} 0"
        for n, amplitude, delta in harmonics(table)
        for one, L, b in sines
        for other, M, c in sines
    ]
    return " &\n  ".join([str(len(terms)), *terms])


def _data(system: LammpsSystem, positions: np.ndarray) -> str:
    """The data file, of atom_style full."""
    x, box = positions / ANGSTROM, system.box
    lines = ["written by openmm_diffusion, in units real", "", f"{len(x)} atoms", f"{len(system.types)} atom types"]
    for style in system.styles:
        lines += [f"{len(style.groups)} {style.name}s", f"{len(style.coefficients)} {style.name} types"]
    if system.later:
        most = int(np.bincount([i for _, ends in system.later for i in ends]).max())
        lines.append(f"{most} extra bond per atom")
    lines.append("")
    low, high = x.min(0) - 10, x.max(0) + 10
    if box is not None:
        low, high = np.zeros(3), np.diagonal(box) / ANGSTROM
    lines += [f"{low[k]:.14g} {high[k]:.14g} {axis}lo {axis}hi" for k, axis in enumerate("xyz")]
    if box is not None and np.abs(np.tril(box, -1)).max() > 0:
        lines.append(" ".join(f"{box[k] / ANGSTROM:.14g}" for k in ((1, 0), (2, 0), (2, 1))) + " xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{number} {system.masses[kind]:.10g}  # {kind}" for number, kind in enumerate(system.types, start=1)]
    lines += ["", "Atoms  # full", ""]
    numbers = {kind: number for number, kind in enumerate(system.types, start=1)}
    bonds = [group for style in system.styles if style.name == "bond" for _, group in style.groups]
    molecules = BondGraph(len(x), np.array(bonds)).molecules()
    for i, kind in enumerate(system.names):
        place = " ".join(f"{value:.14g}" for value in x[i])
        lines.append(f"{i + 1} {molecules[i] + 1} {numbers[kind]} {system.charges[kind]:.10g} {place}")
    for style in system.styles:
        if style.groups:
            lines += ["", f"{style.name.capitalize()}s", ""]
        for number, (of, group) in enumerate(style.groups, start=1):
            lines.append(f"{number} {of} {' '.join(str(i + 1) for i in group)}")
    return "\n".join(lines) + "\n"


def _script(system: LammpsSystem, tolerance: float) -> str:
    """The input script."""
    header, box, eps = system.denoiser.header, system.box, system.permittivity
    names = system.names
    composition = " and ".join(f"{names.count(kind)} {kind}" for kind in system.types)
    noise = f", noise of {system.denoiser.sigma:g} nm" if system.denoiser.sigma else ""
    lines = [
        f"# {composition} at {header.temperature:g} K{noise}: written by openmm_diffusion from model "
        f"{system.denoiser.digest()}.",
        f"# The forces are those of {header.temperature:g} K, whatever the thermostat is set to.",
        "#   lmp -in in.lammps [-var steps 100000] [-var seed 1]",
        "variable steps index 10000",
        "variable seed index 1",
        "",
        "units real",
        "atom_style full",
        f"boundary {'p p p' if box is not None else 's s s'}",
    ]
    if system.styles:
        left_out = ["0.0" if bonds < header.exclusions else "1.0" for bonds in range(3)]
        lines.append(f"special_bonds lj/coul {' '.join(left_out)}  # pairs one, two and three bonds apart")
    lines.append("read_data system.data")
    if eps is not None:
        lines.append(f"dielectric {eps:.12g}")
    lines += ["", *_pair_commands(system, tolerance)]
    for style in system.styles:
        lines += ["", *style.commands()]
    if system.later:
        lines += ["", "# Ends of two and of three bonds: bonds that change nothing in who is excluded from whom.",
                  "include bonds.in"]  # fmt: skip
    timestep = BONDED_TIMESTEP if system.styles else TIMESTEP
    lines += [
        "",
        f"velocity all create {header.temperature:g} ${{seed}} mom yes rot no dist gaussian",
        "# Langevin dynamics: from and to K, and the inverse of the friction in fs",
        "fix motion all nve",
        f"fix bath all langevin {header.temperature:g} {header.temperature:g} {1000 / FRICTION:g} ${{seed}}",
        f"timestep {1000 * timestep:g}  # fs",
        "thermo_style custom step temp pe ke etotal",
        "thermo 1000",
        "dump frames all custom 100 trajectory.lammpstrj id type xu yu zu  # Angstrom",
        "dump_modify frames sort id",
        "run ${steps}",
        "",
    ]
    return "\n".join(lines)


def _pair_commands(system: LammpsSystem, tolerance: float) -> list[str]:
    """Styles and coefficients of pairs, and what computes Coulomb beyond its cutoff."""
    box, eps = system.box, system.permittivity
    table, coulomb = f"table spline {PAIR_POINTS}", ""
    if eps is not None:
        reach = FAR if box is None else chosen_cutoff(box, 0.499)
        coulomb = f"coul/{'cut' if box is None else 'long'} {reach / ANGSTROM:.10g}"
    mixed = bool(system.pairs) and eps is not None
    if mixed:
        lines = [f"pair_style hybrid/overlay {table} {coulomb}"]
    elif system.pairs:
        lines = [f"pair_style {table}"]
    else:
        lines = [f"pair_style {coulomb or f'zero {REACH / ANGSTROM:g}'}"]
    if eps is not None or not system.pairs:
        lines.append(f"pair_coeff * * {coulomb.split()[0]}" if mixed else "pair_coeff * *")
    for (i, j), one in system.pairs.items():
        lines.append(f"pair_coeff {i} {j} {'table ' if mixed else ''}pair.table {one.name}  # {one.comment}")
    if eps is not None and box is None:
        lines.append("neighbor 2.0 nsq  # all pairs")
    if eps is not None and box is not None:
        style = "pair coul/long " if mixed else ""
        lines += [
            f"pair_modify {style}table 0  # erfc itself, not LAMMPS' table of it",
            # LAMMPS' measure is the force of two charges in vacuum.
            f"kspace_style pppm {tolerance / eps:.4g}  # {tolerance:g} of the force of two charges in the dielectric",
        ]
    reach = max(REACH, system.denoiser.model.cutoff, 0.0 if eps is None or box is None else chosen_cutoff(box, 0.499))
    if system.styles and (eps is None or box is not None):
        # At least as far as the pairs and the skin of 2 Angstrom of their list.
        lines.append(f"comm_modify cutoff {reach / ANGSTROM + 2:.10g}  # bonded particles are to know each other")
    return lines
