"""Files of LAMMPS: energies and forces of LAMMPS itself against OpenMM's native forces in double precision."""

import re
import subprocess
from pathlib import Path

import branched
import freechain
import numpy as np
import openmm
import pytest
import torch
from commandline import run as command
from lammps_program import executable
from models import ALL, QUICK, licl_denoiser, licl_frames
from openmm import unit

from openmm_diffusion import Denoiser, Frames, create_system, train
from openmm_diffusion.energies.coulomb import CoulombTerm
from openmm_diffusion.energies.manybody import ManyBodyTerm
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.engines.lammps import lammps_obstacle
from openmm_diffusion.particles import topology_of
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.systems import electrolyte
from openmm_diffusion.units import KILOCALORIE
from openmm_diffusion.workflows.export import export

TRICLINIC = np.array([[2.5, 0.0, 0.0], [0.8, 2.4, 0.0], [-0.9, 0.7, 2.3]])
ALANINE = Path(__file__).parents[3] / "shared" / "data" / "alanine.npz"

#: Evaluates the frames of a file, after the script has run no step.
RERUN = """include in.lammps
unfix motion
unfix bath
undump frames
dump forces all custom 1 forces.dump id fx fy fz
dump_modify forces sort id format float %.15g
thermo 1
thermo_style custom step pe
thermo_modify format float %.15g
rerun frames.dump dump x y z
"""


@pytest.fixture
def lmp():
    if executable() is None:
        pytest.skip("LAMMPS is not installed: pip install 'lammps[mpi]'")
    return executable()


def run(lmp, directory, script, *options):
    """What LAMMPS prints, run in a directory."""
    result = subprocess.run([lmp, "-in", script, *options], cwd=directory, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "ERROR" not in result.stdout, result.stdout[-2000:]
    return result.stdout


def in_lammps(lmp, directory, x, box):
    """Energies (kJ/mol) and forces (kJ/mol/nm) that LAMMPS computes for positions (n_frames, n, 3), nm."""
    with open(directory / "frames.dump", "w") as file:
        for number, frame in enumerate(10 * x):
            file.write(f"ITEM: TIMESTEP\n{number}\nITEM: NUMBER OF ATOMS\n{len(frame)}\n{bounds(frame, box)}")
            rows = [f"{i} {p[0]:.15g} {p[1]:.15g} {p[2]:.15g}" for i, p in enumerate(frame, start=1)]
            file.write("ITEM: ATOMS id x y z\n" + "\n".join(rows) + "\n")
    (directory / "rerun.in").write_text(RERUN)
    printed = run(lmp, directory, "rerun.in", "-var", "steps", "0").splitlines()
    last = max(i for i, line in enumerate(printed) if line.split() == ["Step", "PotEng"])
    rows = [line.split() for line in printed[last:] if re.fullmatch(r"\s*\d+\s+-?[\d.]+(e[+-]\d+)?\s*", line)]
    forces = [
        [[float(value) for value in line.split()[1:]] for line in part.splitlines()[8:]]
        for part in (directory / "forces.dump").read_text().split("ITEM: TIMESTEP\n")[1:]
    ]
    return np.array([float(row[1]) for row in rows]) * KILOCALORIE, np.array(forces) * KILOCALORIE * 10


def bounds(frame, box):
    """The box of one frame as a dump file has it."""
    if box is None:
        return "ITEM: BOX BOUNDS ss ss ss\n" + "".join(f"{f.min() - 10:.15g} {f.max() + 10:.15g}\n" for f in frame.T)
    edges, (xy, xz, yz) = 10 * np.diagonal(box), 10 * box[(1, 2, 2), (0, 0, 1)]
    low, high = min(0, xy, xz, xy + xz), edges[0] + max(0, xy, xz, xy + xz)
    return (
        f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{low:.15g} {high:.15g} {xy:.15g}\n"
        f"{min(0, yz):.15g} {edges[1] + max(0, yz):.15g} {xz:.15g}\n0 {edges[2]:.15g} {yz:.15g}\n"
        if xy or xz or yz
        else "ITEM: BOX BOUNDS pp pp pp\n" + "".join(f"0 {edge:.15g}\n" for edge in edges)
    )


def in_openmm(model, topology, x):
    """Energies and forces of the native System on the Reference platform, which computes in double precision."""
    native = {"backend": "native"} if model.header.learnt else {}
    system = create_system(model, topology, ewald_error_tolerance=1e-7, **native)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    energies, forces = [], []
    for frame in x:
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def assert_equal(lmp, directory, model, topology, x, tolerance=1e-5):
    """Ten frames in both: energies and forces equal, relative to the largest force and to the spread of energies."""
    export(model, topology, directory, format="lammps", positions=x[0], ewald_error_tolerance=1e-7)
    vectors = topology.getPeriodicBoxVectors()
    box = None if vectors is None else np.array(vectors.value_in_unit(unit.nanometer))
    energies, forces = in_lammps(lmp, directory, x, box)
    expected_energies, expected = in_openmm(model, topology, x)
    assert energies.shape == (len(x),) and forces.shape == x.shape
    np.testing.assert_allclose(forces, expected, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(energies, expected_energies, rtol=1e-5, atol=1e-5 * expected_energies.std())


# ---- LAMMPS and OpenMM


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("wall", "pair"), QUICK])
@pytest.mark.parametrize("box", ["cubic", "triclinic"])
def test_ions(lmp, tmp_path, kinds, box):
    model, topology = licl_denoiser(kinds=kinds), licl_frames().topology()
    if box == "triclinic":
        topology.setPeriodicBoxVectors(TRICLINIC * unit.nanometer)
    assert_equal(lmp, tmp_path, model, topology, licl_frames().positions[:10].astype(float))


def molecule(exclusions=3, charged=True, damped=True, box=None):
    """A branched molecule with every bonded energy that is a curve, a wall and charges; positions and topology."""
    dihedrals = [branched.term("dihedrals", damped=damped)]
    more = [WallTerm(radii=[[0.45] * 3] * 3, stiffness=1e3)]
    if charged:  # five A, three B and one C: neutral
        more.append(CoulombTerm(charges={"A": 0.4, "B": -0.5, "C": -0.5}, relative_permittivity=20.0))
    kinds = ["bonds", "angles", "onethree", "onefour", "impropers", *dihedrals]
    model = branched.denoiser(kinds, more=more, exclusions=exclusions)
    topology = topology_of(branched.TYPES, [0] * 9, branched.BONDS)
    if box is not None:
        topology.setPeriodicBoxVectors(box * unit.nanometer)
    return model, topology, branched.positions(10, width=0.009, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"damped": False, "charged": False},
        {"box": TRICLINIC},
        {"exclusions": 0, "box": TRICLINIC},
        {"exclusions": 2, "box": TRICLINIC},
    ],
    ids=["damped", "undamped", "box", "none excluded", "two bonds excluded"],
)
def test_molecules(lmp, tmp_path, options):
    """Bonds, angles, both kinds of dihedrals, impropers, 1-3 and 1-4 distances, who is excluded from whom."""
    model, topology, x = molecule(**options)
    # Some positions are near the ends of what the random curves are of, where their curvature jumps.
    assert_equal(lmp, tmp_path, model, topology, x, tolerance=3e-5)


@pytest.mark.slow
def test_bonds_without_an_energy_exclude_all_the_same(lmp, tmp_path):
    model = branched.denoiser((), more=[WallTerm(radii=[[0.6] * 3] * 3, stiffness=1e3)])
    topology = topology_of(branched.TYPES, [0] * 9, branched.BONDS)
    assert_equal(lmp, tmp_path, model, topology, branched.positions(10))


@pytest.mark.slow
def test_a_fitted_chain(lmp, tmp_path):
    frames = freechain.frames(1000)
    model = train(frames, {"maps": None, "data": {"test_fraction": 0, "validation_fraction": 0}}, progress=False)
    assert_equal(lmp, tmp_path, model, frames.topology(), frames.positions[::100].astype(float), tolerance=1e-6)


def away_from_the_ends(model, x):
    """The positions none of whose coordinates is near the least or the largest of the fit, where a force may jump."""
    index, kept = model.species_index(model.header.particles), np.full(len(x), True)
    c = make_batch(torch.as_tensor(x), None, index, 0.0, None, model.connectivity(index, model.header.bonds))
    for module in model.modules():
        if hasattr(module, "low"):
            groups = module.groups(c.connectivity)
            kind, q = module.kind_of(index, groups), module.coordinate(c, groups)
            margin = 0.02 * (module.high - module.low)[kind]
            inside = (q > module.low[kind] + margin) & (q < module.high[kind] - margin)
            kept &= inside.all(1).numpy()
    return x[kept]


@pytest.mark.slow
def test_fitted_alanine_without_maps(lmp, tmp_path):
    if not ALANINE.exists():
        pytest.skip("the alanine frames are not here")
    every = Frames.load(ALANINE)
    frames = every[::60][:200]
    # One penalty each, where a fit chooses: what it is worth does not matter here.
    kinds = ("bonds", "angles", "onethree", "onefour", "impropers", "dihedrals")
    config = {kind: {"penalties": [0.1]} for kind in kinds} | {"pair": {"penalties": [1e-2], "spacing": 0.05}}
    config |= {"maps": None, "data": {"test_fraction": 0, "validation_fraction": 0}}
    model = train(frames, config, progress=False)
    x = away_from_the_ends(model, every.positions.astype(float))[:10]
    assert_equal(lmp, tmp_path, model, frames.topology(), x)


@pytest.mark.slow
def test_the_script_of_the_command_line_runs_langevin_dynamics(lmp, tmp_path):
    licl_denoiser(kinds=QUICK).save(tmp_path / "model.safetensors")
    result = command("export", tmp_path / "model.safetensors", "-o", tmp_path / "out", "--format", "lammps")
    assert result.returncode == 0, result.stderr
    assert "in.lammps, pair.table, system.data" in result.stdout
    printed = run(lmp, tmp_path / "out", "in.lammps", "-var", "steps", "4000", "-var", "seed", "7")
    rows = re.findall(r"^ *\d000 +([\d.]+) +-?[\d.]+ +[\d.]+ +-?[\d.]+ *$", printed, re.M)
    # 141 degrees of freedom: 12 % in one frame.
    assert len(rows) == 4 and np.mean([float(row) for row in rows]) == pytest.approx(300, abs=4 * 0.12 * 300 / 2)
    assert (tmp_path / "out" / "trajectory.lammpstrj").read_text().count("ITEM: TIMESTEP") == 41


# ---- tables


def columns(path, keyword):
    """Rows (q, energy, force) of a section of a file of tables."""
    lines = path.read_text().split(f"\n{keyword}\n")[1].split("\n\n")[1].splitlines()
    return np.array([[float(value) for value in line.split()[1:]] for line in lines]).T


def test_a_table_of_pairs_is_the_wall_in_kcal_and_angstrom(tmp_path):
    assert export(licl_denoiser(kinds=("wall",)), None, tmp_path, format="lammps") is None
    r, u, force = columns(tmp_path / "pair.table", "PAIR_1_2")
    closer = np.maximum(2.8 - r, 0)  # Angstrom; 2e3 kJ/mol/nm^2
    np.testing.assert_allclose(u, 0.5 * 2e3 / KILOCALORIE / 100 * closer**2, atol=1e-9)
    np.testing.assert_allclose(force, 2e3 / KILOCALORIE / 100 * closer, atol=1e-9)
    assert r[0] == 0.1 and r[-1] == 5.0 and "N 10000 RSQ 0.1 5" in (tmp_path / "pair.table").read_text()


def test_forces_of_tables_are_slopes_of_their_energies(tmp_path):
    model, topology, x = molecule(damped=False)
    export(model, topology, tmp_path, format="lammps", positions=x[0])
    for name, keyword in (("bond", "BOND_3"), ("angle", "ANGLE_2"), ("dihedral", "DIHEDRAL_4"), ("pair", "PAIR_1_1")):
        q, u, force = columns(tmp_path / f"{name}.table", keyword)
        slope = np.diff(u) / np.diff(q)
        error = np.abs(slope + 0.5 * (force[1:] + force[:-1]))
        # At the ends of the data a force may jump.
        assert np.sort(error)[-3] < 2e-3 * np.abs(force).max()


def test_types_masses_and_charges_of_the_data_file(tmp_path):
    topology = electrolyte({"Cl": 3, "Li": 3}, edge=2.6)
    export(licl_denoiser(kinds=QUICK), topology, tmp_path, format="lammps")
    text = (tmp_path / "system.data").read_text()
    assert "6 atoms\n2 atom types" in text and "1 6.9412  # Li\n2 35.4532  # Cl" in text and "0 26 zlo zhi" in text
    rows = [line.split() for line in text.split("Atoms  # full\n\n")[1].splitlines()]
    assert [row[2:4] for row in rows] == [["2", "-1"]] * 3 + [["1", "1"]] * 3
    assert len({row[1] for row in rows}) == 6, "each ion is a molecule of its own"


# ---- refused


def many_body():
    header = licl_denoiser(kinds=()).header
    term = ManyBodyTerm(sigma=0.005, cutoff=0.6, start=0.18, radial=3, lmax=2)
    return Denoiser(header.model_copy(update={"terms": [term]}))


@pytest.mark.parametrize(
    "model, message",
    [
        (
            lambda: licl_denoiser(kinds=ALL),
            "tables hold pairs, bonds, angles and dihedrals, but the model has a network",
        ),
        (lambda: licl_denoiser("vector"), "the model has a network"),
        (many_body, "the model has a many-body"),
        (lambda: branched.denoiser(("bonds", "maps")), "the model has a map of two dihedrals: fit one without it"),
        (lambda: branched.denoiser(("bonds",), exclusions=4), "leaves out pairs up to 4 bonds apart, and LAMMPS those"),
    ],
)
def test_what_tables_cannot_hold_is_refused_by_name(tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        export(model(), None, tmp_path / "out", format="lammps")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "topology, message",
    [
        (lambda: electrolyte({"Li": 4, "Cl": 4}, edge=1.5), "the model's cutoff is 0.9 nm, over half the box"),
        (lambda: electrolyte({"Na": 4, "Cl": 4}, edge=2.5), "species Na unknown to the model"),
        (lambda: electrolyte({"Li": 4, "Cl": 5}, edge=2.5), "a periodic system with a Coulomb prior must be neutral"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, topology, message):
    x = np.zeros((topology().getNumAtoms(), 3))
    with pytest.raises(ValueError, match=message):
        export(licl_denoiser(kinds=QUICK), topology(), tmp_path / "out", format="lammps", positions=x)
    assert not (tmp_path / "out").exists()


def test_what_is_in_the_way_is_named():
    assert lammps_obstacle(licl_denoiser(kinds=QUICK)) is None
    assert lammps_obstacle(branched.denoiser(("angles", "maps"))) == "has a map of two dihedrals"
