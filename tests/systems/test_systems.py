"""Coarse-grained Systems: the prior inside or native, ions in a box, and where they start."""

import math

import mdtraj
import numpy as np
import openmm
import pytest
from models import PRIOR, QUICK, licl_denoiser, licl_frames
from openmm import app, unit

from openmm_diffusion.systems import create_system, electrolyte, random_positions


def evaluated(system, positions, platform="Reference"):
    """Forces (n, 3), kJ/mol/nm, and energy, kJ/mol."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    state = context.getState(getForces=True, getEnergy=True)
    return state.getForces(asNumpy=True)._value, state.getPotentialEnergy()._value


def assert_close(forces, reference, relative):
    """Largest deviation, relative to the largest component."""
    assert np.abs(forces - reference).max() < relative * np.abs(reference).max()


def box_of(topology):
    return np.array(topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))


# ---- create_system


@pytest.fixture(scope="module", params=[("energy", "torchscript"), ("vector", "python")])
def native_and_inside(request):
    """Two Systems: prior as native forces, and inside the DiffusionForce."""
    head, backend = request.param
    return [
        create_system(
            licl_denoiser(head),
            licl_frames().topology(),
            native_prior=native,
            ewald_error_tolerance=1e-5,
            backend=backend,
            precision="double",
        )  # fmt: skip
        for native in (True, False)
    ]


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_native_prior_is_the_same_physics(native_and_inside, platform):
    energies = []
    for x in licl_frames().positions[[0, 10]].astype(float):
        (native, native_energy), (inside, inside_energy) = (evaluated(s, x, platform) for s in native_and_inside)
        assert_close(native, inside, 1e-4)
        energies.append([native_energy, inside_energy])
    # OpenMM's PME and our Ewald sum aim at 1e-5 each; both leave the self energy out.
    energies = np.array(energies)
    assert energies[:, 0] == pytest.approx(energies[:, 1], rel=1e-5)
    native_step, inside_step = energies[1] - energies[0]
    assert abs(inside_step) > 1 and native_step == pytest.approx(inside_step, rel=1e-5)


def test_pme_has_the_accuracy_that_it_is_asked_for():
    model, topology = licl_denoiser(kinds=("coulomb",)), licl_frames().topology()
    x = licl_frames().positions[0].astype(float)
    expected = model.forces(x)
    for tolerance in (5e-4, 1e-4):
        forces, _ = evaluated(create_system(model, topology, ewald_error_tolerance=tolerance), x, "CPU")
        error = np.sqrt(np.mean((forces - expected) ** 2) / np.mean(expected**2))
        assert 0.05 * tolerance < error < 3 * tolerance


@pytest.mark.parametrize("edge", [1.9, 2.526, 3.2, 5.0])
def test_coulomb_in_other_boxes_than_the_training_data(edge):
    model, topology = licl_denoiser(kinds=("coulomb",)), electrolyte({"Li": 16, "Cl": 16}, edge=edge)
    x = random_positions(model, topology)
    native, native_energy = evaluated(create_system(model, topology, ewald_error_tolerance=1e-5), x)
    options = dict(native_prior=False, backend="python", precision="double", ewald_error_tolerance=1e-5)
    system = create_system(model, topology, **options)
    inside, inside_energy = evaluated(system, x)
    assert_close(native, inside, 1e-4)
    assert native_energy == pytest.approx(inside_energy, rel=2e-5)


def test_triclinic_box():
    model, topology = licl_denoiser(kinds=PRIOR), electrolyte({"Li": 16, "Cl": 16}, edge=2.6)
    topology.setPeriodicBoxVectors(np.array([[2.7, 0, 0], [0.8, 2.6, 0], [-1.1, 0.9, 2.65]]) * unit.nanometer)
    x = random_positions(model, topology)
    native, _ = evaluated(create_system(model, topology, ewald_error_tolerance=1e-5), x)
    options = dict(native_prior=False, backend="python", precision="double", ewald_error_tolerance=1e-5)
    system = create_system(model, topology, **options)
    assert_close(native, evaluated(system, x)[0], 1e-4)


def test_without_a_box():
    model, topology = licl_denoiser(kinds=QUICK), electrolyte({"Li": 6, "Cl": 6}, edge=1.3)
    x = random_positions(model, topology)
    topology.setPeriodicBoxVectors(None)
    native, inside = (
        create_system(model, topology, native_prior=native, backend="python", precision="double")
        for native in (True, False)
    )
    assert not native.usesPeriodicBoundaryConditions() and not inside.usesPeriodicBoundaryConditions()
    # Nothing is cut off: only OpenMM's Coulomb constant could differ.
    assert_close(evaluated(native, x)[0], evaluated(inside, x)[0], 1e-6)


def test_masses_box_and_forces():
    frames = licl_frames()
    model = licl_denoiser(kinds=QUICK)
    system = create_system(model, frames.topology(), backend="python")
    masses = [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())]
    # IUPAC's standard atomic weights: Li 6.94, Cl 35.45.
    assert masses == pytest.approx([6.94 if z == 3 else 35.45 for z in frames.species], abs=0.01)
    box = np.array([vector.value_in_unit(unit.nanometer) for vector in system.getDefaultPeriodicBoxVectors()])
    np.testing.assert_allclose(box, frames.box, rtol=1e-12)
    assert system.usesPeriodicBoundaryConditions()
    kinds = [type(force).__name__ for force in system.getForces()]
    assert kinds == ["NonbondedForce", "CustomNonbondedForce", "PythonForce"]
    inside = create_system(model, frames.topology(), native_prior=False, backend="python")
    assert [type(force).__name__ for force in inside.getForces()] == ["PythonForce"]


@pytest.mark.parametrize(
    "backend, kinds", [("python", PRIOR), ("python", (*PRIOR, "pair")), ("native", (*PRIOR, "pair"))]
)
def test_a_prior_that_counts_half_counts_half_as_forces_of_openmm_too(backend, kinds):
    plain = licl_denoiser(kinds=kinds, precision="double")
    terms = [term if term.learnt else term.model_copy(update={"weight": 0.5}) for term in plain.header.terms]
    model, x = plain.rebuilt(terms, plain.modules()), licl_frames().positions[0]
    options = dict(native_prior=True, backend=backend, ewald_error_tolerance=1e-5)
    system = create_system(model, licl_frames().topology(), **options)
    forces, energy = evaluated(system, x)
    assert_close(forces, model.forces(x), 1e-4)
    assert energy == pytest.approx(float(model.energy(x)), rel=1e-4)
    assert abs(energy - float(plain.energy(x))) > 10, "the weight is felt"


def test_prior_alone_needs_no_diffusion_force():
    system = create_system(licl_denoiser(kinds=PRIOR), licl_frames().topology(), backend="python")
    assert [force.getName() for force in system.getForces()] == ["CoulombPrior", "WallPrior"]


def test_users_own_global_parameters_do_not_collide():
    frames = licl_frames()
    system = create_system(licl_denoiser(kinds=PRIOR), frames.topology())
    restraint = openmm.CustomExternalForce("0.5*k*x^2")
    restraint.addGlobalParameter("k", 3.0)
    restraint.addParticle(0, [])
    free, _ = evaluated(system, frames.positions[0])
    system.addForce(restraint)
    forces, _ = evaluated(system, frames.positions[0])
    assert forces[0, 0] - free[0, 0] == pytest.approx(-3.0 * frames.positions[0, 0, 0], rel=1e-6)


def test_the_models_species_are_asked_for():
    with pytest.raises(ValueError, match="species K unknown to the model"):
        create_system(licl_denoiser(kinds=PRIOR), electrolyte({"K": 2, "Cl": 2}, edge=3.0), backend="python")


# ---- electrolyte


def test_composition():
    topology = electrolyte({"Mg": 3, "Cl": 6}, edge=2.5)
    assert [atom.element.symbol for atom in topology.atoms()] == ["Mg"] * 3 + ["Cl"] * 6
    assert topology.getNumResidues() == 9 and topology.getNumBonds() == 0
    np.testing.assert_allclose(box_of(topology), 2.5 * np.eye(3))


@pytest.mark.parametrize("edge", [25.0 * unit.angstrom, 2.5 * unit.nanometer, 2.5])
def test_edge_in_any_unit(edge):
    np.testing.assert_allclose(box_of(electrolyte({"Li": 1, "Cl": 1}, edge=edge)), 2.5 * np.eye(3), rtol=1e-12)


@pytest.mark.parametrize("molarity", [2.4, 2.4 * unit.molar, 2400 * unit.millimolar])
@pytest.mark.parametrize("composition", [{"Li": 24, "Cl": 24}, {"Mg": 24, "Cl": 48}])
def test_molarity_is_that_of_the_salt(composition, molarity):
    box = box_of(electrolyte(composition, molarity=molarity))
    litres = np.linalg.det(box) * 1e-24  # 1 L = 1e24 nm^3
    assert 24 / 6.02214076e23 / litres == pytest.approx(2.4, rel=1e-9)
    assert math.isclose(box[0, 0], box[2, 2]) and np.count_nonzero(box) == 3


def test_pdb_round_trip(tmp_path):
    topology = electrolyte({"Li": 12, "Cl": 12}, edge=2.5)
    model = licl_denoiser(kinds=PRIOR)
    x = random_positions(model, topology)
    path = tmp_path / "ions.pdb"
    with path.open("w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    back = app.PDBFile(str(path))
    symbols = [atom.element.symbol for atom in topology.atoms()]
    assert [atom.element.symbol for atom in back.topology.atoms()] == symbols
    assert back.topology.getNumBonds() == 0
    np.testing.assert_allclose(box_of(back.topology), box_of(topology), atol=1e-4)
    trajectory = mdtraj.load(path)
    assert [atom.element.symbol for atom in trajectory.topology.atoms] == symbols
    # PDB keeps 0.001 Angstrom.
    np.testing.assert_allclose(trajectory.xyz[0], x, atol=1e-4)
    np.testing.assert_allclose(trajectory.unitcell_lengths[0], 2.5, atol=1e-4)
    # What was read serves as the topology of a System.
    read, original = create_system(model, back.topology), create_system(model, topology)
    assert_close(evaluated(read, x)[0], evaluated(original, x)[0], 1e-5)


@pytest.mark.parametrize(
    "composition, options, match",
    [
        ({"Li": 2}, {}, r"give either edge \(nm\) or molarity \(mol/L\)"),
        ({"Li": 2}, {"edge": 2.0, "molarity": 1.0}, "exactly one"),
        ({}, {"edge": 2.0}, "composition is {}: give a positive number of each element"),
        ({"Li": 0, "Cl": 2}, {"edge": 2.0}, "give a whole number from 1"),
        ({"Li": 1.5}, {"edge": 2.0}, "give a whole number from 1"),
        ({"Xx": 2}, {"edge": 2.0}, "composition names 'Xx', which is no element: use symbols such as Li"),
        ({"Li": 2}, {"molarity": -1.0}, "molarity is -1 mol/L: give a positive number in mol/L"),
        ({"Li": 2}, {"molarity": float("nan")}, "molarity is nan mol/L"),
        ({"Li": 2}, {"edge": 0.0}, "edge is 0 nm: give a number above 0"),
        ({"Li": 2}, {"edge": 2.0 * unit.kelvin}, "edge is 2.0 K: give a quantity in nanometer"),
    ],
)
def test_wrong_electrolytes_are_refused(composition, options, match):
    with pytest.raises(ValueError, match=match):
        electrolyte(composition, **options)


# ---- random_positions


def trajectory_of(topology, x):
    trajectory = mdtraj.Trajectory(x[None], mdtraj.Topology.from_openmm(topology))
    trajectory.unitcell_vectors = box_of(topology)[None]
    return trajectory


@pytest.mark.parametrize("box", [2.5 * np.eye(3), np.array([[2.7, 0, 0], [0.8, 2.6, 0], [-1.1, 0.9, 2.65]])])
def test_random_positions_keep_their_distance(box):
    model, topology = licl_denoiser(kinds=PRIOR), electrolyte({"Li": 20, "Cl": 20}, edge=2.5)
    topology.setPeriodicBoxVectors(box * unit.nanometer)
    trajectory = trajectory_of(topology, random_positions(model, topology, seed=4))
    # 0.02 nm beyond the header's 0.3 (LiLi) and 0.2 nm (LiCl); no ClCl is in it, for which 0.3 nm stands in.
    for one, other, least in [("Li", "Li", 0.32), ("Li", "Cl", 0.22), ("Cl", "Cl", 0.32)]:
        pairs = trajectory.topology.select_pairs(f"element {one}", f"element {other}")
        shortest = mdtraj.compute_distances(trajectory, pairs, periodic=True).min()
        assert least - 1e-6 < shortest < 2 * least


def test_seeds_differ_and_repeat():
    model, topology = licl_denoiser(kinds=PRIOR), electrolyte({"Li": 4, "Cl": 4}, edge=2.0)
    first, again, other = (random_positions(model, topology, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == (8, 3) and (first >= 0).all() and (first <= 2.0).all()


def test_full_box_is_refused():
    with pytest.raises(ValueError, match="no room for particle .* of 40 in the box: use a larger box or fewer"):
        random_positions(licl_denoiser(kinds=PRIOR), electrolyte({"Li": 20, "Cl": 20}, edge=0.7), attempts=50)


def test_no_box_to_fill_is_refused():
    topology = electrolyte({"Li": 2, "Cl": 2}, edge=2.0)
    topology.setPeriodicBoxVectors(None)
    with pytest.raises(ValueError, match="topology has no periodic box vectors"):
        random_positions(licl_denoiser(kinds=PRIOR), topology)


# ---- pair potentials as native forces


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_native_pair_potential_is_the_same_physics(platform):
    model, topology = licl_denoiser(kinds=QUICK), licl_frames().topology()
    x = licl_frames().positions[3].astype(float)
    native = create_system(model, topology, backend="native", ewald_error_tolerance=1e-5)
    assert not any("Torch" in force.getName() or "Python" in type(force).__name__ for force in native.getForces())
    forces, energy = evaluated(native, x, platform)
    assert_close(forces, model.forces(x), 1e-4)
    python, python_energy = evaluated(
        create_system(model, topology, backend="python", precision="double", ewald_error_tolerance=1e-5), x
    )
    assert_close(forces, python, 1e-4)
    assert energy == pytest.approx(python_energy, rel=1e-4)
    copy = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(native))
    assert_close(evaluated(copy, x)[0], forces, 1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            dict(kinds=("coulomb", "wall", "pair", "network")),
            "needs pair potentials of one set of knots and no network",
        ),
        (dict(kinds=PRIOR), "the terms none"),
    ],
)
def test_native_backend_refuses_networks(options, message):
    with pytest.raises(ValueError, match=message):
        create_system(licl_denoiser(**options), licl_frames().topology(), backend="native")
    with pytest.raises(ValueError, match="include_prior=False"):
        create_system(licl_denoiser(kinds=QUICK), licl_frames().topology(), backend="native", native_prior=False)
