"""DiffusionForce in real OpenMM contexts: the same forces on every backend and platform, and what is refused."""

import functools
import json
import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import openmm
import pytest
import torch
from models import LI, PRIOR, QUICK, licl_denoiser, licl_frames
from openmm import XmlSerializer, app, unit

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.forces import choice, torchscript
from openmm_diffusion.forces.diffusionforce import DiffusionForce, check_system
from openmm_diffusion.systems import electrolyte, random_positions

HEADS = ["energy", "vector"]
# Backend, and whether TorchForce is given forces or differentiates the energy.
BACKENDS = [("torchscript", True), ("torchscript", False), ("python", True)]
PRESENT = {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}
PLATFORMS = [
    "Reference",
    "CPU",
    pytest.param(
        "CUDA",
        marks=[pytest.mark.gpu, pytest.mark.skipif("CUDA" not in PRESENT, reason="OpenMM has no CUDA platform here")],
    ),
]


@functools.cache
def frame():
    """Positions of one frame, shape (48, 3), nm."""
    return licl_frames().positions[0].astype(float)


@functools.cache
def expected(head):
    """Forces (48, 3), kJ/mol/nm, of that frame by numpy's way into the model, in double precision."""
    return licl_denoiser(head, precision="double").forces(frame())


@functools.cache
def expected_energy():
    return float(licl_denoiser(precision="double").energy(frame()))


def system_of(force, n_particles, box=None):
    system = openmm.System()
    for _ in range(n_particles):
        system.addParticle(20.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*np.asarray(box))
    system.addForce(force)
    return system


@functools.lru_cache(maxsize=4)  # a TorchForce holds 75 MB
def licl_system(head, backend, outputs_forces=True, precision="single", include_prior=True):
    frames = licl_frames()
    force = DiffusionForce(
        licl_denoiser(head),
        frames.topology(),
        backend=backend,
        outputs_forces=outputs_forces,
        precision=precision,
        include_prior=include_prior,
    )
    return system_of(force, len(frames.species), frames.box)


def evaluated(system, positions, platform="Reference"):
    """Forces (n, 3), kJ/mol/nm, and energy, kJ/mol."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    state = context.getState(getForces=True, getEnergy=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return forces, state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


@functools.cache
def licl_result(head, backend, outputs_forces=True, precision="single", platform="Reference"):
    return evaluated(licl_system(head, backend, outputs_forces, precision), frame(), platform)


def assert_close(forces, reference, relative):
    """Largest deviation, relative to the largest component."""
    assert np.abs(forces - reference).max() < relative * np.abs(reference).max()


def run_python(script, *arguments):
    """Standard output of a script in a fresh Python process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the same forces everywhere


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("backend, outputs_forces", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
def test_forces_are_those_of_the_denoiser(head, backend, outputs_forces, platform):
    forces, energy = licl_result(head, backend, outputs_forces, platform=platform)
    assert_close(forces, expected(head), 1e-5)
    if head == "energy":
        assert energy == pytest.approx(expected_energy(), rel=1e-5)


@pytest.mark.parametrize("backend, outputs_forces", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
def test_double_precision(head, backend, outputs_forces):
    forces, energy = licl_result(head, backend, outputs_forces, "double")
    assert_close(forces, expected(head), 1e-12)
    if head == "energy":
        assert energy == pytest.approx(expected_energy(), rel=1e-12)


def test_force_is_minus_the_gradient_of_the_energy():
    system, x, h = licl_system("energy", "torchscript", True, "double"), frame(), 1e-5
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))

    def energy(i, axis, step):
        moved = x.copy()
        moved[i, axis] += step
        context.setPositions(moved)
        return context.getState(getEnergy=True).getPotentialEnergy()._value

    for i, axis in [(0, 0), (17, 1), (30, 2), (47, 0)]:
        slope = (energy(i, axis, h) - energy(i, axis, -h)) / (2 * h)
        # Error h^2 U''' / 6 with U''' up to 1e6 kJ/mol/nm^3 in these rough potentials: 2e-5 kJ/mol/nm.
        assert slope == pytest.approx(-expected("energy")[i, axis], abs=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_autograd_path_equals_direct_path(head):
    direct = licl_result(head, "torchscript", True, "double")
    autograd = licl_result(head, "torchscript", False, "double")
    assert_close(autograd[0], direct[0], 1e-12)
    assert autograd[1] == pytest.approx(direct[1], rel=1e-12)


def test_surrogate_energy_of_a_vector_head():
    """E = U - sum_i F_i . r_i: the energy of the other terms, and the accumulator of the network's forces."""
    _, energy = licl_result("vector", "torchscript", True, "double")
    rest = licl_denoiser(kinds=QUICK)
    network_forces = expected("vector") - rest.forces(frame())
    assert np.abs(network_forces).max() > 0.1  # kJ/mol/nm
    assert energy == pytest.approx(float(rest.energy(frame())) - (network_forces * frame()).sum(), rel=1e-9)


@pytest.mark.parametrize("backend, outputs_forces", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
def test_whole_box_vectors_change_nothing(head, backend, outputs_forces):
    shifts = np.random.default_rng(1).integers(-3, 4, frame().shape) @ licl_frames().box
    # As good as without shifts, although 8 nm hold one digit less than 1 nm: wrapping comes before casting.
    forces, _ = evaluated(licl_system(head, backend, outputs_forces), frame() + shifts)
    assert_close(forces, expected(head), 1e-5)


@pytest.mark.parametrize("backend", ["torchscript", "python"])
def test_triclinic_box(backend):
    box = np.array([[2.7, 0, 0], [0.8, 2.6, 0], [-1.1, 0.9, 2.65]])
    topology = electrolyte({"Li": 10, "Cl": 10}, edge=2.6)
    topology.setPeriodicBoxVectors(box * unit.nanometer)
    model = licl_denoiser(kinds=QUICK, pairs=10)
    x = random_positions(model, topology, seed=3)
    system = system_of(DiffusionForce(model, topology, backend=backend, precision="double"), 20, box)
    shifts = np.random.default_rng(2).integers(-2, 3, x.shape) @ box
    for positions in (x, x + shifts):
        assert_close(evaluated(system, positions)[0], model.forces(x, box=box), 1e-9)


@pytest.fixture(scope="module")
def cluster():
    """Topology without a box and positions (12, 3), nm, of an isolated cluster."""
    topology = electrolyte({"Li": 6, "Cl": 6}, edge=1.3)
    x = random_positions(licl_denoiser(kinds=PRIOR), topology, seed=5)
    topology.setPeriodicBoxVectors(None)
    return topology, x


@pytest.mark.parametrize(
    "head, backend, outputs_forces",
    [("energy", "torchscript", True), ("vector", "torchscript", False), ("vector", "python", True)],
)
def test_isolated_cluster_rotates(head, backend, outputs_forces, cluster):
    topology, x = cluster
    force = DiffusionForce(
        licl_denoiser(head), topology, backend=backend, outputs_forces=outputs_forces, precision="double"
    )
    assert not force.usesPeriodicBoundaryConditions()
    system = system_of(force, len(x))
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    forces, energy = evaluated(system, x)
    species = [atom.element.atomic_number for atom in topology.atoms()]
    assert_close(forces, licl_denoiser(head, precision="double").forces(x, box=False, species=species), 1e-9)
    rotated, same_energy = evaluated(system, x @ rotation.T + [5.0, -3.0, 40.0])
    # Coordinates of 40 nm keep 14 digits.
    assert_close(rotated, forces @ rotation.T, 1e-11)
    if head == "energy":
        assert same_energy == pytest.approx(energy, rel=1e-11)


@pytest.mark.parametrize("backend", ["torchscript", "python"])
@pytest.mark.parametrize("head", HEADS)
def test_prior_left_out_is_exactly_the_prior(head, backend):
    learnt, _ = evaluated(licl_system(head, backend, include_prior=False), frame())
    everything, _ = licl_result(head, backend)
    prior = licl_denoiser(head).subset(PRIOR).forces(frame())
    assert np.abs(prior).max() > 0.1 * np.abs(everything).max()
    assert_close(everything - learnt, prior, 1e-5)
    assert_close(learnt, expected(head) - prior, 1e-5)
    # Internal forces push nothing as a whole.
    assert np.abs(learnt.sum(0)).max() < 1e-5 * np.abs(learnt).max()


def test_another_box_than_the_training_data():
    """The Ewald sum inside follows the topology's box; the same ions repeated in space feel the same forces."""
    one, model = licl_frames(), licl_denoiser(kinds=("coulomb",))
    x, box = np.concatenate([frame(), frame() + one.box[0]]), one.box * [[2], [1], [1]]
    topology = Frames(x[None], np.tile(one.species, 2), box, one.temperature).topology()
    force = DiffusionForce(model, topology, backend="python", precision="double")
    forces, _ = evaluated(system_of(force, 96, box), x)
    once = model.forces(frame())
    # Both sums are converged to about 1e-5.
    assert_close(forces, np.concatenate([once, once]), 1e-4)


# ---- the force as an OpenMM Force


READ_XML = """
import sys, json
import openmm, numpy as np
folder = sys.argv[1]
positions = np.load(folder + "/positions.npy")
answer = {}
for name in json.load(open(folder + "/names.json")):
    if name == "torchscript":
        import openmmtorch
        from openmm_diffusion.forces.torchscript import torchscript_failure
        assert torchscript_failure() is None, torchscript_failure()
    system = openmm.XmlSerializer.deserialize(open(f"{folder}/{name}.xml").read())
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    np.save(f"{folder}/{name}.npy", context.getState(getForces=True).getForces(asNumpy=True)._value)
"""


@pytest.fixture(scope="module")
def read_elsewhere(tmp_path_factory):
    """Forces of all Systems written as XML and read by a fresh process, PythonForces before any of our imports."""
    folder = tmp_path_factory.mktemp("xml")
    names = {"python": ("vector", "python"), "torchscript": ("energy", "torchscript")}
    for name, arguments in names.items():
        (folder / f"{name}.xml").write_text(XmlSerializer.serialize(licl_system(*arguments)))
    np.save(folder / "positions.npy", frame())
    (folder / "names.json").write_text(json.dumps(list(names)))
    run_python(READ_XML, folder)
    return {arguments: np.load(folder / f"{name}.npy") for name, arguments in names.items()}


@pytest.mark.parametrize("head, backend", [("energy", "torchscript"), ("vector", "python")])
def test_fresh_process_reads_xml(head, backend, read_elsewhere):
    assert_close(read_elsewhere[head, backend], licl_result(head, backend)[0], 1e-6)


@pytest.mark.parametrize("backend, outputs_forces", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
def test_xml_round_trip(head, backend, outputs_forces):
    import openmmtorch

    original = XmlSerializer.clone(licl_system(head, backend, outputs_forces))
    original.getForce(0).setForceGroup(7)
    system = XmlSerializer.deserialize(XmlSerializer.serialize(original))
    force = system.getForce(0)
    assert force.getForceGroup() == 7
    assert force.usesPeriodicBoundaryConditions() and system.usesPeriodicBoundaryConditions()
    assert force.getName() == original.getForce(0).getName()
    if backend == "torchscript":
        assert openmmtorch.TorchForce.isinstance(force)
        assert openmmtorch.TorchForce.cast(force).getOutputsForces() == outputs_forces
    else:
        assert isinstance(force, openmm.PythonForce)
    before, after = licl_result(head, backend, outputs_forces), evaluated(system, frame())
    assert_close(after[0], before[0], 1e-6)
    assert after[1] == pytest.approx(before[1], rel=1e-6)


def test_returned_types():
    import openmmtorch

    model, topology = licl_denoiser(kinds=QUICK), licl_frames().topology()
    assert isinstance(DiffusionForce(model, topology, backend="torchscript"), openmmtorch.TorchForce)
    assert isinstance(DiffusionForce(model, topology, backend="python"), openmm.PythonForce)


def test_model_file(tmp_path):
    licl_denoiser().save(tmp_path / "model.safetensors")
    force = DiffusionForce(tmp_path / "model.safetensors", licl_frames().topology(), backend="python")
    forces, _ = evaluated(system_of(force, 48, licl_frames().box), frame())
    assert_close(forces, expected("energy"), 1e-5)


def test_vector_head_is_warned_of(caplog):
    topology = licl_frames().topology()
    with caplog.at_level(logging.WARNING, "openmm_diffusion.forces.diffusionforce"):
        DiffusionForce(licl_denoiser("energy"), topology, backend="python")
        assert not caplog.records
        DiffusionForce(licl_denoiser("vector"), topology, backend="python")
    assert "its forces have no potential" in caplog.text and "barostat" in caplog.text


# ---- what the System holds already


def charged_system():
    system, nonbonded = openmm.System(), openmm.NonbondedForce()
    for z in licl_frames().species:
        system.addParticle(1.0)
        nonbonded.addParticle(1.0 if z == LI else -1.0, 0.3, 0.0)
    system.addForce(nonbonded)
    return system


@pytest.mark.parametrize("head", HEADS)
def test_coulomb_counted_twice_is_warned_of(head):
    system, topology = charged_system(), licl_frames().topology()
    with pytest.warns(UserWarning, match="Coulomb is counted twice.*include_prior=False"):
        force = DiffusionForce(licl_denoiser(head), topology, backend="python", system=system)
    system.addForce(force)
    with pytest.warns(UserWarning, match="Coulomb is counted twice"):
        check_system(system)


def test_coulomb_counted_once_is_fine():
    model, topology = licl_denoiser(kinds=QUICK), licl_frames().topology()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DiffusionForce(model, topology, backend="python", system=charged_system(), include_prior=False)
        # A wall is a prior, but no charge.
        uncharged = licl_denoiser(kinds=("wall", "pair"))
        DiffusionForce(uncharged, topology, backend="python", system=charged_system())
        without_charges = system_of(openmm.NonbondedForce(), 0)
        DiffusionForce(model, topology, backend="python", system=without_charges)


def test_barostat_over_a_vector_head_is_refused():
    topology, system = licl_frames().topology(), openmm.System()
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    for include_prior in (True, False):
        with pytest.raises(ValueError, match="MonteCarloBarostat needs an energy.*vector head"):
            DiffusionForce(licl_denoiser("vector"), topology, system=system, include_prior=include_prior)
    DiffusionForce(licl_denoiser(kinds=QUICK), topology, system=system, backend="python", allow_barostat=True)
    system.addForce(DiffusionForce(licl_denoiser("vector"), topology, backend="python"))
    with pytest.raises(ValueError, match="use an energy head"):
        check_system(system)


# ---- wrong input


def licl_with(symbol, element):
    topology = licl_frames().topology()
    chain = topology.addChain()
    topology.addAtom(symbol, element, topology.addResidue(symbol, chain))
    return topology


@pytest.mark.parametrize(
    "topology, options, match",
    [
        (None, {"backend": "tensorflow"}, "backend is 'tensorflow': choose one of auto, torchscript, python"),
        (None, {"precision": "half"}, "precision is 'half': choose single or double"),
        (lambda: licl_with("NA", app.element.sodium), {}, "species Na unknown to the model.*trained on Li, Cl"),
        (lambda: licl_with("M", None), {}, r"1 atoms without an element \(first: atom 48, M of M\)"),
        (app.Topology, {}, "topology has no atoms: build one with .*electrolyte"),
        (
            lambda: electrolyte({"Li": 2, "Cl": 2}, edge=1.6),
            {},
            r"cutoff is 0\.9 nm, over half the box \(0\.8 nm\).*larger box",
        ),
    ],
    ids=["backend", "precision", "species", "no element", "empty", "small box"],
)
def test_wrong_input_is_refused(topology, options, match):
    topology = licl_frames().topology() if topology is None else topology()
    with pytest.raises(ValueError, match=match):
        DiffusionForce(licl_denoiser(kinds=QUICK), topology, **{"backend": "python", **options})


def test_missing_model_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file .*nowhere.safetensors: give a .safetensors file"):
        DiffusionForce(tmp_path / "nowhere.safetensors", licl_frames().topology())


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_truncated_model_file(tmp_path, kept):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(licl_denoiser().to_bytes()[:kept])
    with pytest.raises(ValueError, match="cut.safetensors is truncated or not a model file"):
        DiffusionForce(path, licl_frames().topology())


# ---- machines on which TorchForce does not work


@pytest.mark.torchforce
def test_torchforce_works_here(self_test_again):
    assert torchscript.torchscript_failure() is None


@pytest.mark.torchforce
def test_wrong_openmm_version(self_test_again, monkeypatch, caplog):
    monkeypatch.setattr(torchscript, "version", lambda name: "1.10")
    monkeypatch.setattr(openmm, "__version__", "8.6.0")
    assert "openmm-torch 1.10 from the package index does not fit" in torchscript.torchscript_failure()
    torchscript.torchscript_failure.cache_clear()
    monkeypatch.setattr(torchscript, "version", lambda name: "1.5")
    topology = licl_frames().topology()
    with pytest.raises(ImportError, match=r"openmm-torch 1\.5 .* does not fit OpenMM 8\.6\.0 \(needs 8\.5\): pip"):
        DiffusionForce(licl_denoiser(kinds=QUICK), topology, backend="torchscript")
    monkeypatch.setattr(choice, "compiler_failure", lambda: "there is no C++ compiler")
    assert isinstance(DiffusionForce(licl_denoiser(kinds=QUICK), topology), openmm.PythonForce)
    assert "backend python: there is no C++ compiler, and openmm-torch 1.5 from the package index" in caplog.text


class Failing(torch.nn.Module):
    """A self-test on a torch that TorchForce does not work with."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return positions.reshape([7, 7]).sum()


class Stiffer(torch.nn.Module):
    """A self-test whose force is twice what it should be."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return (positions * positions).sum()


@pytest.mark.torchforce
@pytest.mark.parametrize(
    "module, match",
    [
        (Failing, r"openmm-torch does not work with torch 2\..*: pip install"),
        (Stiffer, r"gives a wrong force with torch 2\..*\(-1 instead of -0\.5\): pip install"),
    ],
)
def test_failing_self_test(self_test_again, monkeypatch, module, match):
    monkeypatch.setattr(torchscript, "_Spring", module)
    with pytest.raises(ImportError, match=match):
        DiffusionForce(licl_denoiser(kinds=QUICK), licl_frames().topology(), backend="torchscript")


WITHOUT_OPENMMTORCH = """
import sys, logging
sys.modules["openmmtorch"] = None  # as if it were not installed: importing it fails
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.forces import choice
from openmm_diffusion.forces.diffusionforce import DiffusionForce
from openmm_diffusion.systems import electrolyte
choice.compiler_failure = lambda: "there is no C++ compiler"
model, topology = Denoiser.load(sys.argv[1]), electrolyte({"Li": 2, "Cl": 2}, edge=2.526)
print("TYPE", type(DiffusionForce(model, topology, backend="auto")).__name__)
try:
    DiffusionForce(model, topology, backend="torchscript")
except ImportError as error:
    print("ERROR", error)
"""


def test_without_openmmtorch(tmp_path):
    licl_denoiser(kinds=QUICK).save(tmp_path / "model.safetensors")
    output = run_python(WITHOUT_OPENMMTORCH, tmp_path / "model.safetensors").splitlines()
    assert "TYPE PythonForce" in output
    (logged,) = [line for line in output if line.startswith("WARNING")]
    assert "backend python: there is no C++ compiler, and" in logged and "openmm-torch cannot be imported" in logged
    (error,) = [line for line in output if line.startswith("ERROR")]
    assert "pip install 'openmm_diffusion[torchforce]'" in error


OPENMM_FIRST = """
import sys
import openmm  # loads its plugins before torch has brought the libraries that openmm-torch's need
import numpy as np
assert "torch" not in sys.modules
from openmm_diffusion.forces.diffusionforce import DiffusionForce
from openmm_diffusion.systems import electrolyte
topology, x = electrolyte({"Li": 1, "Cl": 1}, edge=2.526), np.array([[0.1, 0.2, 0.3], [0.1, 0.6, 0.3]])
system = openmm.System()
system.addParticle(7.0), system.addParticle(35.0)
system.setDefaultPeriodicBoxVectors(*topology.getPeriodicBoxVectors())
system.addForce(DiffusionForce(sys.argv[1], topology, backend="torchscript"))
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
context.setPositions(x)
print(context.getState(getForces=True).getForces(asNumpy=True)._value[0, 1])
"""


@pytest.mark.torchforce
def test_openmm_imported_before_torch(tmp_path):
    model = licl_denoiser(kinds=QUICK)
    model.save(tmp_path / "model.safetensors")
    force = float(run_python(OPENMM_FIRST, tmp_path / "model.safetensors").splitlines()[-1])
    pair = model.forces(np.array([[0.1, 0.2, 0.3], [0.1, 0.6, 0.3]]), species=[3, 17])
    assert force == pytest.approx(pair[0, 1], rel=1e-5)


# ---- dynamics


def small_system():
    """Eight ion pairs in 2 nm, double precision, and where they start."""
    topology = electrolyte({"Li": 8, "Cl": 8}, edge=2.0)
    model = licl_denoiser(edge=2.0, pairs=8)
    force = DiffusionForce(model, topology, backend="torchscript", precision="double")
    return system_of(force, 16, 2.0 * np.eye(3)), random_positions(model, topology, seed=1)


def test_energy_is_conserved():
    """Velocity Verlet conserves a shadow energy, which differs from the energy by O(dt^2)."""
    system, x = small_system()
    wobble = []
    for dt in (0.004, 0.002):  # ps
        context = openmm.Context(system, openmm.VerletIntegrator(dt), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(x)
        context.setVelocitiesToTemperature(300.0, 1)
        total, kinetic = [], []
        for _ in range(60):
            context.getIntegrator().step(round(0.008 / dt))
            state = context.getState(getEnergy=True)
            kinetic.append(state.getKineticEnergy()._value)
            total.append(state.getPotentialEnergy()._value + kinetic[-1])
        wobble.append(np.std(total))
        drift = abs(np.mean(total[-20:]) - np.mean(total[:20]))
        assert drift < 0.02 * np.std(kinetic)
    # Halving the step takes a quarter of the deviation; a force that is no gradient would leave its own drift.
    assert 3 < wobble[0] / wobble[1] < 5


@pytest.mark.parametrize("platform", PLATFORMS)
def test_langevin_dynamics_through_pythonforce(platform):
    integrator = openmm.LangevinMiddleIntegrator(300.0, 2.0, 0.002)
    integrator.setRandomNumberSeed(1)
    system = licl_system("energy", "python")
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions(frame())
    context.setVelocitiesToTemperature(300.0, 1)
    integrator.step(200)
    state = context.getState(getPositions=True, getForces=True)
    moved = state.getPositions(asNumpy=True)._value
    assert np.isfinite(moved).all() and 0.001 < np.abs(moved - frame()).max() < 1.0
    # The forces are those of where the particles are, not of where they were.
    assert_close(state.getForces(asNumpy=True)._value, licl_denoiser(precision="double").forces(moved), 1e-4)
