"""Models as potentials of openmm-ml: whole and mixed Systems, against the energies that they must add up from."""

import contextlib
import functools
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import openmm
import pytest
from branched import BONDS, TYPES, denoiser, positions
from models import licl_denoiser, licl_frames
from openmm import app, unit

from openmm_diffusion.particles import topology_of
from openmm_diffusion.potentials import PotentialFactory

openmmml = pytest.importorskip("openmmml", reason="openmm-ml is not installed: make matrix tests with it")
from openmmml.mlpotential import MLPotential, MLPotentialImpl  # noqa: E402

PAIRS = ("wall", "pair")
LONG_RANGE = hasattr(MLPotentialImpl, "getMLLongRange")  # openmm-ml 1.8
needs_long_range = pytest.mark.skipif(not LONG_RANGE, reason="openmm-ml before 1.8")


@functools.cache
def vacuum_model():
    """Ions with full charges, a pair potential and a wall that they cannot fall through: for explicit water."""
    model = licl_denoiser(kinds=("coulomb", *PAIRS))
    coulomb, wall, pair = model.header.terms
    coulomb = coulomb.model_copy(update={"relative_permittivity": 1.0})
    return model.rebuilt([coulomb, wall.model_copy(update={"stiffness": 2e5}), pair], model.modules())


@functools.cache
def solution(periodic=True):
    """Topology, force field's System, positions (nm) and numbers of 3 Li+ and 3 Cl- in water, the ions in the midst."""
    topology = app.Topology()
    chain, places = topology.addChain(), []
    for number, (name, element) in enumerate([("LI", app.element.lithium), ("CL", app.element.chlorine)] * 3):
        topology.addAtom(name, element, topology.addResidue(name, chain))
        places.append(openmm.Vec3(0.3 + 0.35 * number, 1.0 + 0.1 * (number % 3), 1.0))
    forcefield = app.ForceField("amber14/tip3p.xml")
    modeller = app.Modeller(topology, places * unit.nanometer)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(2.2, 2.2, 2.2), neutralize=False)
    # The ions to the end, so that their numbers in the System are not their places in the model.
    modeller.delete(list(modeller.topology.residues())[:6])
    modeller.add(topology, places * unit.nanometer)
    topology, x = modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer))
    if not periodic:
        topology.setPeriodicBoxVectors(None)
    method = app.PME if periodic else app.NoCutoff
    system = forcefield.createSystem(
        topology, nonbondedMethod=method, nonbondedCutoff=0.9, switchDistance=0.7, ewaldErrorTolerance=1e-6
    )
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setUseDispersionCorrection(False)
    return topology, system, x, list(range(len(x) - 6, len(x)))


def energy(system, x, **parameters):
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    for name, value in parameters.items():
        context.setParameter(name, value)
    return context.getState(getEnergy=True).getPotentialEnergy()._value


def of_ions_alone(system, atoms, box):
    """The conventional force field of some atoms without the others."""
    alone, nonbonded = openmm.System(), openmm.NonbondedForce()
    whole = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    nonbonded.setNonbondedMethod(whole.getNonbondedMethod())
    nonbonded.setCutoffDistance(whole.getCutoffDistance())
    nonbonded.setUseSwitchingFunction(whole.getUseSwitchingFunction())
    nonbonded.setSwitchingDistance(whole.getSwitchingDistance())
    nonbonded.setEwaldErrorTolerance(whole.getEwaldErrorTolerance())
    nonbonded.setUseDispersionCorrection(False)
    for i in atoms:
        alone.addParticle(1.0)
        nonbonded.addParticle(*whole.getParticleParameters(i))
    if box is not None:
        alone.setDefaultPeriodicBoxVectors(*box)
    alone.addForce(nonbonded)
    return alone


# ---- whole Systems


def test_openmm_ml_finds_the_factories_and_loads_no_torch():
    script = (
        "import openmmml, sys; print('torch' in sys.modules, 'openmm_diffusion.forces' in sys.modules, "
        "sorted({'diffusion', 'licl', 'licl_vector'} & set(openmmml.MLPotential._implFactories)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False ['diffusion', 'licl']"


@pytest.mark.parametrize("precision", [None, "double"])
def test_forces_are_those_of_the_denoiser(precision):
    frames, model = licl_frames(), licl_denoiser()
    x, options = frames.positions[0], {} if precision is None else {"precision": precision}
    system = MLPotential("diffusion", modelPath=model).createSystem(frames.topology(), backend="python", **options)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    forces = context.getState(getForces=True).getForces(asNumpy=True)._value
    expected = licl_denoiser(precision="double").forces(x)
    np.testing.assert_allclose(forces, expected, atol=(1e-9 if precision else 1e-5) * np.abs(expected).max())
    assert any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())


def test_the_shipped_model_has_a_name():
    topology = licl_frames().topology()
    named = MLPotential("licl").createSystem(topology, backend="python")
    by_path = MLPotential("diffusion", modelPath="licl").createSystem(topology, backend="python")
    x = licl_frames().positions[0]
    assert energy(named, x) == energy(by_path, x)


def test_beads_have_the_masses_and_the_bonds_of_the_data(tmp_path):
    given = denoiser(["bonds", "angles"])
    given.save(tmp_path / "model.safetensors")
    topology = topology_of(TYPES, [0] * 9, BONDS)
    potential = MLPotential("diffusion", modelPath=tmp_path / "model.safetensors")
    for types in ("name", TYPES):
        system = potential.createSystem(topology, types=types, backend="python", precision="double")
        masses = [system.getParticleMass(i)._value for i in range(9)]
        assert masses == [{"A": 72.0, "B": 60.0, "C": 48.0}[kind] for kind in TYPES]
        x = positions(1)[0]
        assert energy(system, x) == pytest.approx(float(given.energy(x, False)), rel=1e-9)
    unknown = denoiser(["bonds"], masses=None)
    with pytest.raises(ValueError, match="atom 0 of topology has the type A, whose mass is known neither"):
        MLPotential("diffusion", modelPath=unknown).createSystem(topology, types="name", backend="python")


@pytest.mark.slow
def test_the_documentation_runs_in_ten_lines():
    text = Path("docs/openmm-ml.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len([line for line in block.splitlines() if line and not line.startswith(("from", "import"))]) <= 10
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("kJ/mol")


# ---- mixed Systems


@pytest.mark.parametrize("periodic", [False, pytest.param(True, marks=needs_long_range)])
def test_a_mixed_system_adds_up(periodic):
    """E(mixed) + E(ions by the force field) = E(force field) + E(ions by the model): no interaction twice or never."""
    topology, whole, x, atoms = solution(periodic)
    potential = MLPotential("diffusion", modelPath=vacuum_model())
    mixed = potential.createMixedSystem(topology, whole, atoms, backend="python", precision="double")
    box = topology.getPeriodicBoxVectors()
    cell = False if box is None else np.array(box.value_in_unit(unit.nanometer))
    own = float(vacuum_model().energy(x[atoms], cell, ["Li", "Cl"] * 3))
    alone = energy(of_ions_alone(whole, atoms, box), x[atoms])
    assert abs(own - alone) > 5  # kJ/mol: the two are not the same
    everything = energy(whole, x)
    # PME and our Ewald sum are each converged to some 1e-5 of charges' energies of 1e3 kJ/mol.
    assert energy(mixed, x) + alone == pytest.approx(everything + own, abs=0.1 if periodic else 1e-5)


@pytest.mark.skipif(LONG_RANGE, reason="openmm-ml 1.8 or later")
def test_coulomb_of_images_counted_twice_is_refused():
    topology, whole, _, atoms = solution()
    with pytest.raises(ValueError, match="which this openmm-ml leaves in the mixed System too: install openmm-ml 1.8"):
        MLPotential("diffusion", modelPath=vacuum_model()).createMixedSystem(topology, whole, atoms)


@pytest.mark.parametrize("kinds", [PAIRS, pytest.param(("coulomb", *PAIRS), marks=needs_long_range)])
def test_long_range_is_told(kinds):
    potential = MLPotential("diffusion", modelPath=licl_denoiser(kinds=kinds))
    assert potential._impl.getMLLongRange() == ("coulomb" in kinds)


@pytest.mark.parametrize("periodic", [False, pytest.param(True, marks=needs_long_range)])
def test_interpolation_has_both_ends(periodic):
    topology, whole, x, atoms = solution(periodic)
    potential = MLPotential("diffusion", modelPath=vacuum_model())
    options = {"backend": "python", "precision": "double"}
    mixed = potential.createMixedSystem(topology, whole, atoms, **options)
    between = potential.createMixedSystem(topology, whole, atoms, interpolate=True, **options)
    ends = energy(whole, x), energy(mixed, x)
    assert abs(ends[0] - ends[1]) > 5  # kJ/mol
    # openmm-ml takes Lennard-Jones within the ions without the cutoff: 0.01 kJ/mol here.
    for value, expected in ((0.0, ends[0]), (1.0, ends[1]), (0.5, sum(ends) / 2)):
        found = energy(between, x, lambda_interpolate=value)
        assert found == pytest.approx(expected, abs=0.05 if periodic else 1e-3)


@pytest.mark.slow
@needs_long_range
def test_a_mixed_system_conserves_energy():
    """Velocity Verlet conserves a shadow energy, which differs from the energy by O(dt^2): here with rigid water."""
    topology, whole, x, atoms = solution()
    potential = MLPotential("diffusion", modelPath=vacuum_model())
    system = potential.createMixedSystem(topology, whole, atoms, backend="python", precision="double")
    cpu = openmm.Platform.getPlatformByName("CPU")
    relaxed = openmm.Context(system, openmm.LangevinMiddleIntegrator(300, 5, 0.001), cpu)
    relaxed.setPositions(x)
    openmm.LocalEnergyMinimizer.minimize(relaxed, maxIterations=100)
    relaxed.setVelocitiesToTemperature(300, 1)
    relaxed.getIntegrator().step(200)
    start, wobble = relaxed.getState(getPositions=True, getVelocities=True), []
    for dt in (0.002, 0.001):  # ps
        integrator = openmm.VerletIntegrator(dt)
        integrator.setConstraintTolerance(1e-8)
        context = openmm.Context(system, integrator, cpu)
        context.setState(start)
        context.applyConstraints(1e-8)
        context.applyVelocityConstraints(1e-8)
        total, kinetic = [], []
        for _ in range(30):
            integrator.step(round(0.008 / dt))
            state = context.getState(getEnergy=True)
            kinetic.append(state.getKineticEnergy()._value)
            total.append(state.getPotentialEnergy()._value + kinetic[-1])
        wobble.append(np.std(total))
    assert wobble[1] < 0.1 * np.std(kinetic)
    assert 2.5 < wobble[0] / wobble[1] < 6  # 4, but for single precision and a cell list that is made anew


# ---- what is refused, and what is warned of


def test_a_solvent_is_not_counted_twice():
    topology, whole, x, atoms = solution(periodic=False)
    potential = MLPotential("diffusion", modelPath=licl_denoiser(kinds=("coulomb", *PAIRS)))
    with pytest.raises(ValueError, match="its screening would count twice; model the whole System, or give allowDiel"):
        potential.createMixedSystem(topology, whole, atoms)
    mixed = potential.createMixedSystem(topology, whole, atoms, allowDielectric=True, backend="python")
    assert np.isfinite(energy(mixed, x))


def test_another_temperature_is_warned_of():
    frames = licl_frames()
    potential = MLPotential("diffusion", modelPath=licl_denoiser(kinds=PAIRS))
    for temperature in (350.0, 350 * unit.kelvin):
        with pytest.warns(UserWarning, match="temperature is 350 K, but the model was trained on data at 300 K"):
            potential.createSystem(frames.topology(), backend="python", temperature=temperature)
    topology, whole, _, atoms = solution(periodic=False)
    hot = openmm.XmlSerializer.clone(whole)
    hot.addForce(openmm.AndersenThermostat(320, 1))
    with pytest.warns(UserWarning, match="AndersenThermostat is 320 K, but the model"):
        potential.createMixedSystem(topology, hot, atoms, backend="python")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential.createSystem(frames.topology(), backend="python", temperature=300.2)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("diffusion",), 'modelPath of MLPotential."diffusion". is missing: give a model file'),
        (("licl", "model.safetensors"), 'modelPath of MLPotential."licl". is given: leave it out'),
        (("diffusion", "licl_vector"), "modelPath is licl_vector, whose vector head has no energy"),
    ],
)
def test_wrong_models_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        PotentialFactory().createImpl(*arguments)


def test_wrong_arguments_are_refused():
    potential, topology = MLPotential("diffusion", modelPath=licl_denoiser(kinds=PAIRS)), licl_frames().topology()
    with pytest.raises(TypeError, match="createSystem got presicion, which this potential does not know"):
        potential.createSystem(topology, presicion="double")
    with pytest.raises(ValueError, match="backend is 'native': choose auto"):
        potential.createSystem(topology, backend="native")
    with pytest.raises(FileNotFoundError, match="there is no model file nowhere"):
        MLPotential("diffusion", modelPath="nowhere")


def test_a_molecule_that_is_cut_is_refused():
    topology = topology_of(TYPES, [0] * 9, BONDS)
    system = openmm.System()
    for _ in TYPES:
        system.addParticle(50.0)
    impl = PotentialFactory().createImpl("diffusion", denoiser(["bonds"]))
    with pytest.raises(ValueError, match="atoms cuts the bond between atoms"):
        impl.addForces(topology, system, range(5), 0, types="name")


@pytest.mark.parametrize("allowed", [False, True])
def test_a_barostat_is_refused_unless_it_is_insisted_on(allowed):
    frames = licl_frames()
    system = MLPotential("licl").createSystem(frames.topology(), backend="python", allowBarostat=allowed)
    system.addForce(openmm.MonteCarloBarostat(1.0, 300, 5))
    refused = contextlib.nullcontext() if allowed else pytest.raises(openmm.OpenMMException, match="157 bar")
    with refused:
        context = openmm.Context(system, openmm.LangevinMiddleIntegrator(300, 1, 0.002))
        context.setPositions(frames.positions[0])
        context.getIntegrator().step(10)
