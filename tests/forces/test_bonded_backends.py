"""Molecules in every backend: the same forces, whatever the box, the image and the platform; exclusions as OpenMM's."""

import itertools
import subprocess
import sys

import numpy as np
import openmm
import pandas
import pytest
from branched import BONDS, PLACES, TYPES, denoiser, positions, term
from openmm import app, unit

from openmm_diffusion import DiffusionForce
from openmm_diffusion.energies import REGISTRY
from openmm_diffusion.energies.bonded import maps as bonded_maps
from openmm_diffusion.forces.torchscript import torchscript_failure
from openmm_diffusion.particles import topology_of
from openmm_diffusion.simulation.trajectories import write_topology
from openmm_diffusion.systems import create_system
from openmm_diffusion.workflows.export import export

TRICLINIC = np.array([[2.9, 0, 0], [0.4, 2.8, 0], [-0.5, 0.6, 2.7]])
PAIR = {"sigma": 0.0, "cutoff": 1.2, "start": 0.15, "spacing": 0.05}
WALL = {"radii": [[0.36] * 3] * 3, "stiffness": 2e4}
COULOMB = {"charges": {"A": 0.5, "B": -0.5, "C": 0.0}, "relative_permittivity": 2.0}


def model(box=None, charged=True, n_molecules=1):
    """Every bonded energy, a pair potential, a wall and, if asked for, charges, which are neutral in two molecules."""
    more = [REGISTRY["pair"](**PAIR), REGISTRY["wall"](**WALL)]
    if charged:
        more.append(REGISTRY["coulomb"](**COULOMB))
    bonds = [(9 * m + i, 9 * m + j) for m in range(n_molecules) for i, j in BONDS]
    given = {"box": None if box is None else box.tolist(), "particles": TYPES * n_molecules, "bonds": bonds}
    kinds = [
        "bonds",
        "angles",
        "onethree",
        "onefour",
        "impropers",
        term("dihedrals", damped=False),
        term("maps", damped=True),
    ]
    return denoiser(kinds, more=more, **given)


def two_molecules(seed=0, box=None):
    """Positions (18, 3), nm, of two molecules beside each other, each particle in any image, and their topology."""
    one, other = positions(2, width=0.004, seed=seed)
    x = np.concatenate([one, other + np.array([0.25, 0.45, 0.2])])
    topology = topology_of(TYPES * 2, [0] * 18, [(9 * m + i, 9 * m + j) for m in range(2) for i, j in BONDS])
    if box is not None:
        x = x + np.random.default_rng(seed).integers(-2, 3, x.shape) @ box
        topology.setPeriodicBoxVectors(box * unit.nanometer)
    return x, topology


def computed(system, x, platform="Reference"):
    """Energy (kJ/mol) and forces (kJ/mol/nm) of a System."""
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions(x)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


@pytest.mark.parametrize(
    ("backend", "box"),
    [
        *itertools.product(["torchscript", "python", "native"], [None, 3.0 * np.eye(3), TRICLINIC]),
        pytest.param("compiled", TRICLINIC, marks=pytest.mark.slow),
    ],
)
def test_backends_give_the_forces_of_the_model(backend, box):
    if backend == "torchscript" and torchscript_failure():
        pytest.skip(torchscript_failure())
    charged = box is None  # with periodic images PME has its own tolerance: tested below
    given = model(box, charged, n_molecules=2)
    x, topology = two_molecules(box=box)
    energy, forces = given.evaluated(x, box, TYPES * 2, BONDS + [(i + 9, j + 9) for i, j in BONDS])
    precision = {} if backend == "native" else {"precision": "double"}
    system = create_system(given, topology, backend=backend, types="name", **precision)
    found, theirs = computed(system, x)
    assert found == pytest.approx(energy, rel=1e-9, abs=1e-7)
    np.testing.assert_allclose(theirs, forces, rtol=1e-8, atol=1e-6 * np.abs(forces).max())
    copy = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    np.testing.assert_allclose(computed(copy, x)[1], forces, rtol=1e-8, atol=1e-6 * np.abs(forces).max())


@pytest.mark.parametrize("backend", ["python", pytest.param("compiled", marks=[pytest.mark.slow, pytest.mark.long])])
def test_replicas_have_bonds_of_their_own(backend):
    given = model()
    topology = topology_of(TYPES, [0] * 9, BONDS)
    x = positions(3, width=0.004)
    forces = given.forces(x, False)
    options = {"backend": backend, "types": "name", "precision": "double", "replicas": 3}
    system = create_system(given, topology, **options)
    np.testing.assert_allclose(computed(system, x.reshape(-1, 3))[1], forces.reshape(-1, 3), rtol=1e-8, atol=1e-6)


def test_single_precision_keeps_stiff_bonds_exact_in_far_images():
    """Bond vectors are taken before positions lose digits: an image a hundred boxes away costs nothing."""
    box = 3.0 * np.eye(3)
    given = model(box, charged=False, n_molecules=2)
    x, topology = two_molecules(box=box)
    forces = given.forces(x, box)
    far = x + 100 * box[0]
    system = create_system(given, topology, backend="python", types="name")
    for place in (x, far):
        np.testing.assert_allclose(computed(system, place)[1], forces, atol=3e-5 * np.abs(forces).max())


def test_native_forces_are_the_same_on_the_cpu_platform():
    given = model(charged=False, n_molecules=2)
    x, topology = two_molecules()
    forces = given.forces(x, False)
    system = create_system(given, topology, backend="native", types="name")
    np.testing.assert_allclose(computed(system, x, "CPU")[1], forces, atol=1e-5 * np.abs(forces).max())


def test_a_native_force_of_its_own_names_what_it_cannot_hold():
    with pytest.raises(ValueError, match="holds no bond potential: .* use create_system"):
        DiffusionForce(model(charged=False), topology_of(TYPES, [0] * 9, BONDS), backend="native", types="name")


# ---- exclusions


def excluded(exclusions):
    """Pairs at most so many bonds apart, by the definition."""
    reached = {i: {i} for i in range(9)}
    for _ in range(exclusions):
        reached = {i: set(r) | {b if a in r else a for a, b in BONDS if a in r or b in r} for i, r in reached.items()}
    return {(i, j) for i, j in itertools.combinations(range(9), 2) if j in reached[i]}


@pytest.mark.parametrize("exclusions", [0, 1, 2, 3])
def test_charges_leave_out_what_openmm_excludes(exclusions):
    """The Ewald sum of torch against NonbondedForce with exceptions made here, and the open sum against the pairs."""
    charges = [COULOMB["charges"][kind] for kind in TYPES]
    charges[3] = -sum(charges[:3] + charges[4:])  # C, alone of its type, makes the molecule neutral
    terms = {**COULOMB, "charges": {"A": 0.5, "B": -0.5, "C": charges[3]}}
    box = 2.4 * np.eye(3)
    x = positions(1)[0]
    for cell in (None, box):
        coulomb = REGISTRY["coulomb"](**terms, tolerance=1e-8)
        given = denoiser([], more=[coulomb], box=None if cell is None else cell.tolist(), exclusions=exclusions)
        force = openmm.NonbondedForce()
        for q in charges:
            force.addParticle(q / np.sqrt(2.0), 1.0, 0.0)
        for i, j in excluded(exclusions):
            force.addException(i, j, 0.0, 1.0, 0.0)
        if cell is not None:
            force.setNonbondedMethod(openmm.NonbondedForce.Ewald)
            force.setCutoffDistance(1.1)
            force.setEwaldErrorTolerance(1e-8)
        system = openmm.System()
        for _ in charges:
            system.addParticle(1.0)
        if cell is not None:
            system.setDefaultPeriodicBoxVectors(*cell)
        system.addForce(force)
        energy, forces = computed(system, x)
        ours = given.evaluated(x, cell, TYPES, BONDS)
        assert ours[0] == pytest.approx(energy, rel=1e-5, abs=1e-5)
        np.testing.assert_allclose(ours[1], forces, atol=1e-5 * np.abs(forces).max() + 1e-6)


def test_pairs_and_wall_leave_out_what_the_bonds_exclude():
    """Against a sum over the pairs that are left, each pair of particles evaluated alone."""
    more = [REGISTRY["pair"](**PAIR), REGISTRY["wall"](**WALL)]
    given = denoiser([], more=more)
    x = positions(1, width=0.03)[0]
    expected = sum(
        float(given.energy(x[[i, j]], False, [TYPES[i], TYPES[j]]))
        for i, j in itertools.combinations(range(9), 2)
        if (i, j) not in excluded(3)
    )
    everything = sum(
        float(given.energy(x[[i, j]], False, [TYPES[i], TYPES[j]])) for i, j in itertools.combinations(range(9), 2)
    )
    assert given.energy(x, False) == pytest.approx(expected, rel=1e-10)
    assert abs(everything - expected) > 1.0


def test_pdb_files_bring_their_bonds(tmp_path):
    """Of residues that OpenMM takes for standard ones (A, C) its own writer leaves the bonds out."""
    given = model(charged=False)
    topology = topology_of(TYPES, [0] * 9, BONDS)
    read = app.PDBFile(str(write_topology(tmp_path, topology, PLACES)))
    system = create_system(given, topology, backend="python", types="name", precision="double")
    again = create_system(given, read.topology, backend="python", types="name", precision="double")
    x = positions(1)[0]
    np.testing.assert_allclose(computed(again, x)[1], computed(system, x)[1], atol=1e-9)


@pytest.mark.parametrize("types", [["ALA:CA", "ALA:N"] * 4 + ["P4"], ["LONGNAME", "A"] * 4 + ["CCCCC"]])
def test_topology_files_keep_every_bond_whatever_beads_are_called(tmp_path, types):
    path = write_topology(tmp_path, topology_of(types, [0] * 9, BONDS), PLACES)
    read = (app.PDBFile if path.suffix == ".pdb" else app.PDBxFile)(str(path)).topology
    assert sorted(tuple(sorted((b.atom1.index, b.atom2.index))) for b in read.bonds()) == sorted(BONDS)


def test_the_gradient_reaches_positions_through_the_exact_ones():
    """Of single precision the forces of bonds are those of double precision, to rounding of the terms alone."""
    given = denoiser(["bonds", "angles"])
    x = positions(1, width=0.004)[0] + 40.0  # far from the origin: 4e-6 nm of single precision
    forces = given.forces(x, False)
    system = create_system(given, topology_of(TYPES, [0] * 9, BONDS), backend="python", types="name")
    np.testing.assert_allclose(computed(system, x)[1], forces, atol=2e-5 * np.abs(forces).max())


def test_an_export_has_every_curve_and_runs_without_the_package(tmp_path):
    """run.py in a process without openmm_diffusion gives finite positions; curves are those of the terms."""
    given = model(charged=False)
    topology = topology_of(TYPES, [0] * 9, BONDS)
    export(given, topology, tmp_path / "out", positions=PLACES)
    script = (tmp_path / "out" / "run.py").read_text()
    script += "\nstate = simulation.context.getState(getEnergy=True)\nprint(state.getPotentialEnergy()._value)\n"
    (tmp_path / "out" / "run.py").write_text("import sys\nsys.modules['openmm_diffusion'] = None\n" + script)
    done = subprocess.run([sys.executable, tmp_path / "out" / "run.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(float(done.stdout.splitlines()[-1]))
    table = pandas.read_csv(tmp_path / "out" / "bonded.csv")
    assert set(table["energy"]) == {"bonds", "angles", "onethree", "onefour", "impropers", "dihedrals"}
    assert (tmp_path / "out" / "bonded.png").stat().st_size > 10_000
    term_, module = next(pair for pair in zip(given.header.terms, given.modules()) if pair[0].kind == "angles")
    rows = table[(table["energy"] == "angles") & (table["types"] == "-".join(term_.kinds[0]))]
    u = module.curve(0, np.cos(np.radians(rows["value"])))
    np.testing.assert_allclose(rows["u_kJ/mol"], u - u.min(), atol=1e-5)


# ---- the forms of native forces


def native(given, x, box=None, n_molecules=1, platform="Reference"):
    """Forces of the native System of some molecules, read back from XML, and those of the model."""
    bonds = [(9 * m + i, 9 * m + j) for m in range(n_molecules) for i, j in BONDS]
    topology = topology_of(TYPES * n_molecules, [0] * len(x), bonds)
    if box is not None:
        topology.setPeriodicBoxVectors(box * unit.nanometer)
    system = create_system(given, topology, backend="native", types="name")
    copy = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    expected = given.forces(x, False if box is None else box, TYPES * n_molecules, bonds=bonds)
    return system, computed(copy, x, platform)[1], expected


@pytest.mark.parametrize("intervals", [4, 24, 25])
def test_native_curves_are_those_of_the_model_however_many_knots_they_have(intervals):
    """Inside the range, in both continuations, and with particles where the data have their ends."""
    kinds = [term(kind, intervals=intervals) for kind in ("bonds", "angles", "onethree", "onefour", "impropers")]
    given = denoiser(kinds)
    for seed, width in ((1, 0.012), (2, 0.03)):  # frames of the range itself are among the former
        for x in positions(2, width=width, seed=seed):
            _, found, forces = native(given, x)
            np.testing.assert_allclose(found, forces, rtol=1e-8, atol=1e-8 * np.abs(forces).max())


@pytest.mark.parametrize("order", [1, 6, 12])
def test_native_series_are_those_of_the_model(order):
    given = denoiser([term("dihedrals", order=order, damped=False)])
    _, found, forces = native(given, positions(1)[0])
    np.testing.assert_allclose(found, forces, atol=1e-9 * np.abs(forces).max())


@pytest.mark.parametrize(("order", "platform"), [(1, "CPU"), (2, "Reference")])
def test_maps_of_many_molecules_are_interpolated(order, platform):
    """Not those of one, whose products are exact; in any image of a triclinic box."""
    maps = [term("maps", order=order, damped=False)]
    alone, exact, forces = native(denoiser(maps, box=TRICLINIC.tolist()), positions(1)[0], TRICLINIC)
    assert type(alone.getForce(0)) is openmm.CustomCompoundBondForce
    np.testing.assert_allclose(exact, forces, atol=1e-9 * np.abs(forces).max())
    n = 200
    box = 10 * TRICLINIC
    x = (positions(n, width=0.004) + np.random.default_rng(0).uniform(0, 20, (n, 1, 3))).reshape(-1, 3)
    x += np.random.default_rng(1).integers(-1, 2, x.shape) @ box
    bonds = [(9 * m + i, 9 * m + j) for m in range(n) for i, j in BONDS]
    given = denoiser(maps, box=box.tolist(), particles=TYPES * n, bonds=bonds)
    system, found, forces = native(given, x, box, n, platform)
    assert type(system.getForce(0)) is openmm.CMAPTorsionForce
    assert np.sqrt(np.mean((found - forces) ** 2)) < 5e-4 * np.sqrt(np.mean(forces**2))


@pytest.mark.parametrize(("order", "platform"), [(1, "CPU"), (2, "Reference"), (3, "CPU")])
def test_a_few_maps_without_a_box_are_tables(order, platform, monkeypatch):
    """As near as a ten-thousandth of the forces, in parts that GPUs take; products where tables would be too many."""
    given = denoiser([term("maps", order=order, damped=False)])
    wrong = []
    for x in positions(12, width=0.02):
        system, found, forces = native(given, x, platform=platform)
        wrong.append([np.mean((found - forces) ** 2), np.mean(forces**2), np.abs(found - forces).max() ** 2])
    error, size, worst = np.mean(wrong, 0)
    assert np.sqrt(error) < 1e-4 * np.sqrt(size) and np.sqrt(worst) < 5e-4 * np.sqrt(size)
    # Donors and acceptors of as many maps as there are, none with more than four exclusions.
    parts = system.getForces()
    assert {type(force) for force in parts} == {openmm.CustomHbondForce}
    connectivity = given.connectivity(given.species_index(TYPES), BONDS)
    assert sum(force.getNumDonors() for force in parts) == len(connectivity.chains) > 5
    for force in parts:
        pairs = {tuple(force.getExclusionParticles(k)) for k in range(force.getNumExclusions())}
        n = force.getNumDonors()
        assert n <= 5 and pairs == {(i, j) for i in range(n) for j in range(n) if i != j}
    monkeypatch.setattr(bonded_maps, "POINTS", 1000)
    assert [type(force) for force in native(given, x)[0].getForces()] == [openmm.CustomCompoundBondForce]


@pytest.mark.parametrize(
    ("n_molecules", "spacing", "form"),
    [
        (3, 0.1, "CustomBondForce"),
        (3, 0.005, "CustomCompoundBondForce"),
        (4, 0.1, "CustomNonbondedForce"),
    ],
)
def test_pairs_are_listed_where_they_are_few(n_molecules, spacing, form):
    """Pair potential and wall, with exclusions, as a list of pairs and as a sum over all."""
    bonds = [(9 * m + i, 9 * m + j) for m in range(n_molecules) for i, j in BONDS]
    more = [REGISTRY["pair"](**PAIR | {"spacing": spacing}), REGISTRY["wall"](**WALL)]
    given = denoiser([], more=more, particles=TYPES * n_molecules, bonds=bonds)
    x = np.concatenate(positions(n_molecules, width=0.02) + 0.25 * np.arange(n_molecules)[:, None, None])
    system, found, forces = native(given, x, n_molecules=n_molecules)
    assert [type(force).__name__ for force in system.getForces()] == [form]
    np.testing.assert_allclose(found, forces, rtol=1e-7, atol=1e-7 * np.abs(forces).max())
