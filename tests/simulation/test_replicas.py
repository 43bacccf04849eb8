"""Independent copies in one System: none feels another, each has its own images, each its own trajectory."""

import mdtraj
import numpy as np
import openmm
import pytest
import yaml
from models import QUICK, licl_denoiser, licl_frames

from openmm_diffusion import Frames, create_system, simulate
from openmm_diffusion.forces import choice
from openmm_diffusion.forces.diffusionforce import DiffusionForce, check_system
from openmm_diffusion.simulation.guard import SimulationStopped
from openmm_diffusion.systems import fastest, replicated

pytestmark = pytest.mark.slow

COPIES = 3


def forces_of(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(np.reshape(positions, (-1, 3)))
    state = context.getState(forces=True, energy=True)
    return state.getForces(asNumpy=True)._value.reshape(np.shape(positions)), state.getPotentialEnergy()._value


@pytest.fixture(scope="module")
def system():
    return create_system(
        licl_denoiser(), licl_frames().topology(), replicas=COPIES, backend="python", precision="double"
    )


def copies(seed=0):
    """Frames that differ, some of their particles in other images: shape (COPIES, 48, 3), nm."""
    frames, rng = licl_frames(), np.random.default_rng(seed)
    return frames.positions[:COPIES].astype(float) + rng.integers(-1, 2, (COPIES, 48, 3)) @ frames.box


def test_each_copy_has_the_forces_it_has_alone(system):
    """Against the numpy way into the model, and against Coulomb by OpenMM's own PME."""
    positions = copies()
    forces, energy = forces_of(system, positions)
    denoiser = licl_denoiser(precision="double").with_ewald(tolerance=5e-4)
    assert np.abs(forces - denoiser.forces(positions)).max() < 1e-9 * np.abs(forces).max()
    assert energy == pytest.approx(denoiser.energy(positions).sum(), rel=1e-10)
    native = create_system(
        licl_denoiser(), licl_frames().topology(), backend="python", precision="double", ewald_error_tolerance=1e-6
    )
    for one, expected in zip(forces, positions):
        # Two Ewald sums, of tolerances 5e-4 and 1e-6.
        assert np.abs(one - forces_of(native, expected)[0]).max() < 1e-3 * np.abs(one).max()


def test_moving_one_copy_changes_no_force_of_another(system):
    before, moved = copies(), copies()
    moved[1] += 0.05 * np.random.default_rng(1).normal(size=(48, 3))
    one, other = forces_of(system, before)[0], forces_of(system, moved)[0]
    assert np.array_equal(one[[0, 2]], other[[0, 2]])
    assert np.abs(one[1] - other[1]).max() > 1, "the copy that moved feels it"


def test_copies_in_one_place_do_not_feel_each_other(system):
    """Particles of different copies may lie on top of each other: each has the force of the same frame."""
    same = np.repeat(copies()[:1], COPIES, axis=0)
    forces = forces_of(system, same)[0]
    assert np.isfinite(forces).all() and np.abs(forces - forces[0]).max() < 1e-12 * np.abs(forces).max()


def test_the_topology_of_all_copies():
    one = licl_frames().topology()
    all_of_them = replicated(one, COPIES)
    symbols = [atom.element.symbol for atom in one.atoms()]
    assert [atom.element.symbol for atom in all_of_them.atoms()] == COPIES * symbols
    assert all_of_them.getNumChains() == COPIES * one.getNumChains()
    boxes = [np.array(t.getPeriodicBoxVectors()._value) for t in (one, all_of_them)]
    assert np.array_equal(*boxes)


RUN = dict(duration=0.4, interval=0.1, timestep=0.004, replicas=2, backend="python", seed=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("replicas")
    return output, simulate(licl_denoiser(kinds=("coulomb", "wall", "pair")), output, RUN, progress=False)


def test_a_run_writes_one_trajectory_for_each_copy(run):
    output, paths = run
    assert [path.name for path in paths] == ["trajectory-00.dcd", "trajectory-01.dcd"]
    frames = [mdtraj.load(str(path), top=str(output / "topology.pdb")) for path in paths]
    assert [f.n_frames for f in frames] == [4, 4] and frames[0].n_atoms == 48
    assert np.abs(frames[0].xyz - frames[1].xyz).max() > 0.1, "copies begin in different places"
    joined = Frames.from_trajectory(list(paths), top=output / "topology.pdb", temperature=300)
    assert list(np.unique(joined.replica)) == [0, 1]


def test_a_run_goes_on_with_all_its_copies(run):
    output, _ = run
    before = mdtraj.load(str(output / "trajectory-01.dcd"), top=str(output / "topology.pdb"))
    denoiser = licl_denoiser(kinds=("coulomb", "wall", "pair"))
    paths = simulate(denoiser, output, {**RUN, "duration": 0.6}, resume=True, progress=False)
    for path in paths:
        assert mdtraj.load(str(path), top=str(output / "topology.pdb")).n_frames == 6
    after = mdtraj.load(str(paths[1]), top=str(output / "topology.pdb"))
    assert np.array_equal(after.xyz[:4], before.xyz)
    with pytest.raises(ValueError, match="replicas is 3, but the run in .* was begun with 2"):
        simulate(denoiser, output, {**RUN, "replicas": 3}, resume=True, progress=False)


def test_the_guard_looks_at_every_copy(tmp_path):
    """One copy with two ions too close to each other stops the run; the message says which."""
    start = licl_frames().positions[:2].astype(float)
    start[1, 30] = start[1, 4] + [0.15, 0, 0]
    with pytest.raises(SimulationStopped, match="Li 4 and Cl 30 came to 0.150 nm of each other in replica 1 at 0 ps"):
        simulate("licl", tmp_path, RUN, positions=start, progress=False)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"backend": "torchscript", "replicas": 2},
            'backend is "torchscript", which holds one replica: for 2 replicas',
        ),
        ({"backend": "native", "replicas": 2}, 'backend is "native", which holds one replica'),
        ({"backend": "python", "replicas": 0}, "replicas is 0: give a whole number from 1 to"),
        ({"backend": "python", "replicas": "4"}, "replicas is '4': give a whole number from 1 to"),
        ({"backend": "python", "replicas": 2.5}, "replicas is 2.5: give a whole number from 1 to"),
    ],
)
def test_impossible_replicas_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionForce(licl_denoiser(kinds=("pair",)), licl_frames().topology(), **options)


def test_replicas_have_no_barostat():
    """One pressure for R copies in one box would be the pressure of R times the particles."""
    system = create_system(licl_denoiser(kinds=("pair",)), licl_frames().topology(), replicas=2)
    system.addForce(openmm.MonteCarloBarostat(1, 300))
    with pytest.raises(ValueError, match="MonteCarloBarostat would set one pressure for all replicas together"):
        check_system(system)


def test_a_run_goes_on_with_the_forces_it_was_begun_with(tmp_path, monkeypatch):
    """However long it becomes: a State of one System fits no other."""
    run = dict(duration=0.2, interval=0.1, timestep=0.004)
    simulate(licl_denoiser(kinds=QUICK[:2] + ("network",)), tmp_path, run, progress=False)
    begun = yaml.safe_load((tmp_path / "config.yaml").read_text())["force"]
    assert begun["backend"] != "compiled"
    monkeypatch.setattr(choice, "COMPILED_STEPS", 1)
    denoiser = licl_denoiser(kinds=QUICK[:2] + ("network",))
    assert fastest(denoiser, licl_frames().topology(), 100, platform="CPU")["backend"] == "compiled"
    path = simulate(denoiser, tmp_path, {**run, "duration": 0.4}, resume=True, progress=False)
    assert mdtraj.load(str(path), top=str(tmp_path / "topology.pdb")).n_frames == 4
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["force"] == begun


def test_starts_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"positions have shape \(48, 3\): give \(2, 48, 3\)"):
        simulate("licl", tmp_path, RUN, positions=licl_frames().positions[0], progress=False)


def test_the_fastest_way_depends_on_the_model_and_the_length_of_the_run():
    topology, network, pair = licl_frames().topology(), licl_denoiser(), licl_denoiser(kinds=("coulomb", "pair"))
    assert fastest(pair, topology, 100) == {"backend": "native"}
    assert fastest(network, topology, 100, platform="CPU") == {"backend": "torchscript", "native_prior": True}
    assert fastest(network, topology, 100, replicas=4, platform="CPU") == {"backend": "python", "native_prior": True}
    assert fastest(network, topology, 10**6, platform="CPU") == {"backend": "compiled", "native_prior": False}
    assert fastest(network, topology, platform="CPU") == {"backend": "compiled", "native_prior": False}
    # There is no such platform here, on which TorchForce could have passed a test.
    assert fastest(network, topology, 10**6, platform="CUDA") == {"backend": "python", "native_prior": True}
