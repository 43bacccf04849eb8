"""The compiled force: the same forces as without compiling, at every step, and no capacity that is silently passed."""

import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openmm
import pytest
import torch
from models import QUICK, licl_context, licl_denoiser, licl_frames

from openmm_diffusion import Denoiser, create_system
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.forces import pythonforce
from openmm_diffusion.forces.compiled import graph
from openmm_diffusion.forces.compiled.cache import CACHE
from openmm_diffusion.forces.compiled.graph import CompiledForces, room
from openmm_diffusion.forces.diffusionforce import DiffusionForce
from openmm_diffusion.forces.pythonforce import Evaluator
from openmm_diffusion.model.sum import energy_and_forces
from openmm_diffusion.space.boxes import wrap

pytestmark = pytest.mark.slow

TRICLINIC = np.array([[2.526, 0.0, 0.0], [0.9, 2.526, 0.0], [-0.7, 0.8, 2.526]])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A directory of its own for what these tests compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A directory that holds the compiled pair potential, as the one of this module does, and no more."""
    force = evaluator(licl_denoiser(kinds=("pair",)))
    evaluated(force, licl_frames().positions[0], licl_frames().box)
    for suffix in (".pt2", ".sha256"):
        shutil.copy2(force.graph.path.with_suffix(suffix), tmp_path)
    monkeypatch.setenv(CACHE, str(tmp_path))
    return tmp_path


def evaluator(denoiser, precision="single", compiled=True, replicas=1, periodic=True):
    species = denoiser.species_index(licl_frames().species).tolist()
    return Evaluator(denoiser.to_bytes(), species, periodic, precision, compiled, replicas)


def evaluated(force, positions, box):
    box = None if box is None else torch.as_tensor(np.array(box, dtype=float))
    energy, forces = force.evaluate(torch.as_tensor(np.array(positions, dtype=float)), box)
    return float(energy), forces.numpy()


def assert_same(force, reference, positions, box, relative):
    (energy, forces), (expected_energy, expected) = (evaluated(f, positions, box) for f in (force, reference))
    assert np.abs(forces - expected).max() < relative * np.abs(expected).max()
    assert energy == pytest.approx(expected_energy, rel=10 * relative, abs=10 * relative)


@pytest.mark.parametrize(
    "head, precision, relative", [("energy", "single", 2e-5), ("energy", "double", 1e-11), ("vector", "single", 2e-5)]
)
def test_forces_are_those_without_compiling(head, precision, relative):
    """Prior inside; frames near and far, images shifted by whole box vectors, and a triclinic box."""
    denoiser, frames = licl_denoiser(head).with_ewald(cutoff=1.0), licl_frames()
    force, rng = evaluator(denoiser, precision), np.random.default_rng(2)
    reference = evaluator(licl_denoiser(head), "double", compiled=False)
    for positions in frames.positions[:10]:
        shifts = rng.integers(-2, 3, positions.shape) @ frames.box
        # Two ways to split one Ewald sum, each good to 1e-5, and so compared with the same way below.
        same_sum = evaluator(denoiser, "double", compiled=False)
        assert_same(force, same_sum, positions + shifts, frames.box, relative)
        assert_same(force, reference, positions, frames.box, max(relative, 1e-4))
    assert_same(force, same_sum, positions, TRICLINIC, relative)
    assert force.graph is not None, "nothing was compiled"


def test_isolated_particles_without_a_box():
    denoiser = licl_denoiser(kinds=("pair",))
    force, reference = evaluator(denoiser, periodic=False), evaluator(denoiser, "double", False, periodic=False)
    for positions in licl_frames().positions[:3]:
        assert_same(force, reference, positions, None, 2e-5)
    assert force.graph is not None


def test_a_run_keeps_the_forces_of_its_positions():
    """The list of pairs is reused from step to step: after many, forces are still those of the positions."""
    frames, denoiser = licl_frames(), licl_denoiser(kinds=QUICK)
    system = create_system(denoiser, frames.topology(), backend="compiled", native_prior=False)
    integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.004)
    integrator.setRandomNumberSeed(3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(frames.positions[0])
    reference = denoiser.with_ewald(tolerance=5e-4, cutoff=1.0)
    for _ in range(8):
        integrator.step(25)
        state = context.getState(positions=True, forces=True)
        forces = state.getForces(asNumpy=True)._value
        expected = reference.forces(state.getPositions(asNumpy=True)._value)
        assert np.abs(forces - expected).max() < 1e-5 * np.abs(expected).max()


def test_more_pairs_than_places_are_evaluated_all_the_same(monkeypatch):
    """Squeezed into half the volume, particles have twice the pairs: first without the graph, then with a larger."""
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    force, reference = evaluator(denoiser), evaluator(denoiser, "double", compiled=False)
    monkeypatch.setattr(pythonforce, "PATIENCE", 3)
    evaluated(force, frames.positions[0], frames.box)
    small, rng = force.graph, np.random.default_rng(4)
    box = 0.76 * frames.box  # 1.92 nm: over twice the cutoff, 0.9 nm
    for number in range(4):
        positions = 0.76 * frames.positions[number] + 0.001 * rng.normal(size=(48, 3))
        assert_same(force, reference, positions, box, 2e-5)
        assert (force.graph is small) == (number < 2), "compiled anew after three lists that did not fit"
    assert force.graph.capacity > small.capacity
    assert_same(force, reference, frames.positions[0], frames.box, 2e-5)


def test_the_second_start_compiles_nothing(monkeypatch):
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    first = evaluator(denoiser)
    energy, _ = evaluated(first, frames.positions[0], frames.box)

    def compile_again(*arguments):
        raise AssertionError("compiled again")

    monkeypatch.setattr(CompiledForces, "_compile", compile_again)
    again = evaluator(denoiser)
    assert evaluated(again, frames.positions[0], frames.box)[0] == energy
    assert again.graph is not None


def test_two_threads_may_compile_at_once(tmp_path, monkeypatch):
    """Runs side by side begin so."""
    monkeypatch.setenv(CACHE, str(tmp_path))
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()

    def energy(_):
        return evaluated(evaluator(denoiser), frames.positions[0], frames.box)[0]

    with ThreadPoolExecutor(2) as pool:
        energies = list(pool.map(energy, range(2)))
    assert energies[0] == energies[1] == energy(0)
    assert len(list(tmp_path.glob("*.pt2"))) == 1


def test_a_graph_is_known_by_the_sources_that_it_is_made_from(tmp_path, monkeypatch):
    """An edit of an energy asks for another graph, an edit of a picture does not."""
    (tmp_path / "softcore.py").write_text("import torch\n\n\nclass Softcore(torch.nn.Module):\n    power = 6\n")
    monkeypatch.syspath_prepend(tmp_path)
    from softcore import Softcore

    files = graph.sources(torch.nn.ModuleList([licl_denoiser().model, Softcore()]))
    names = {path.name for path in files}
    assert {inspect.getsourcefile(type(part)) for part in licl_denoiser().modules()} <= set(map(str, files))
    assert "figures.py" not in names and "softcore.py" in names
    before = graph._digest(["same"], files)
    assert graph._digest(["same"], files) == before
    (tmp_path / "softcore.py").write_text("import torch\n\n\nclass Softcore(torch.nn.Module):\n    power = 9\n")
    assert graph._digest(["same"], files) != before


@pytest.mark.parametrize("head", ["energy", "vector"])
def test_other_weights_take_the_same_graph(head):
    """A model that was trained anew is compiled already, pair potential and network; its forces are its own."""
    frames, one = licl_frames(), licl_denoiser(head).with_ewald(cutoff=1.0)  # as compiled above
    other = one.rebuilt(one.header.terms, one.modules())
    generator = torch.Generator().manual_seed(3)
    for name, tensor in [*other.model.named_parameters(), *other.model.named_buffers()]:
        if tensor.requires_grad or name.endswith("coefficients"):
            tensor.data.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
    other.header.held_out["network_loss"] = -1.0
    graphs = []
    for denoiser in (one, other):
        force, reference = evaluator(denoiser), evaluator(denoiser, compiled=False)
        assert_same(force, reference, frames.positions[0], frames.box, 2e-5)
        assert force.graph is not None
        graphs.append((force.graph.path, force.graph.path.stat().st_ino))
    assert np.abs(one.forces(frames.positions[0]) - other.forces(frames.positions[0])).max() > 1
    assert graphs[0] == graphs[1], "one file, not written again"


def test_another_fit_takes_the_same_graph(own_cache):
    """Penalty, shortest distances and radii of the wall are of a fit; each wall is its own where pairs overlap."""
    frames, one = licl_frames(), licl_denoiser(kinds=("pair",))
    wall = WallTerm(radii=[[0.161, 0.161], [0.161, 0.161]], stiffness=2e5)
    changed = [{"penalty": 7.0} if term.learnt else {} for term in one.header.terms]
    modules = [*one.modules(), wall.module(one.header)]
    terms = [[*one.header.terms, wall]]
    further = wall.model_copy(update={"radii": [[0.179, 0.171], [0.171, 0.165]]})
    terms.append([*(term.model_copy(update=u) for term, u in zip(one.header.terms, changed)), further])
    positions = 0.4 * frames.positions[0]  # a drop, its closest pairs within both walls
    found = []
    for own in terms:
        header = one.header.model_copy(update={"terms": own, "shortest_distances": [[0.2 + len(found)] * 2] * 2})
        denoiser = Denoiser(header).rebuilt(own, [*modules[:-1], own[-1].module(header)])
        force, reference = evaluator(denoiser), evaluator(denoiser, "double", compiled=False)
        assert_same(force, reference, positions, 0.8 * frames.box, 2e-5)
        found.append((force.graph.path, evaluated(force, positions, 0.8 * frames.box)[0]))
    assert found[0][0] == found[1][0]
    assert abs(found[0][1] - found[1][1]) > 1, "the walls are not told apart by these positions"


def test_another_structure_is_compiled_anew(own_cache):
    """What is no tensor is part of the graph: here the weight of a term in a sum."""
    frames, one = licl_frames(), licl_denoiser(kinds=("pair",))
    terms = [term.model_copy(update={"weight": 1.5}) for term in one.header.terms]
    energies = [
        evaluated(evaluator(d), frames.positions[0], frames.box)[0] for d in (one, one.rebuilt(terms, one.modules()))
    ]
    assert energies[1] == pytest.approx(1.5 * energies[0], rel=1e-5)
    assert len(list(own_cache.glob("*.pt2"))) == 2


NO_COMPILER = """
import logging, sys
import numpy as np, torch
from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.forces.pythonforce import Evaluator
from openmm_diffusion.model.sum import energy_and_forces
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
frames, denoiser = Frames.load(sys.argv[1]), Denoiser.load("licl").subset(["pair"])
species = denoiser.species_index(frames.species).tolist()
force = Evaluator(denoiser.to_bytes(), species, True, "double", True)
positions, box = torch.tensor(frames.positions[0]).double(), torch.tensor(frames.box)
_, forces = force.evaluate(positions, box)
force.evaluate(positions, box)
print(np.abs(forces.numpy() - denoiser.forces(frames.positions[0])).max() < 1e-9)
"""


def test_without_a_compiler_the_force_is_the_same_and_one_line_says_so(tmp_path):
    environment = {"PATH": str(tmp_path), "OMP_NUM_THREADS": "1", CACHE: str(tmp_path), "HOME": str(tmp_path)}
    path = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "licl", "licl.npz")
    done = subprocess.run([sys.executable, "-c", NO_COMPILER, path], capture_output=True, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert lines[-1] == "True", done.stderr
    assert [line for line in lines if "not compiled" in line] == [
        "the force is not compiled, and runs several times slower: there is no C++ compiler: install g++, or name "
        "yours in the environment variable CXX"
    ]


def test_a_broken_file_in_the_cache_is_no_force(own_cache):
    """A file cut short is compiled again, not believed."""
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    expected, _ = evaluated(evaluator(denoiser), frames.positions[0], frames.box)
    (path,) = own_cache.glob("*.pt2")
    path.write_bytes(path.read_bytes()[:1000])
    force = evaluator(denoiser)
    assert evaluated(force, frames.positions[0], frames.box)[0] == pytest.approx(expected, rel=1e-6)
    assert force.graph is not None


def test_a_damaged_library_in_the_cache_is_not_run(own_cache):
    """The archive looks whole, but what is in it is not: run, it would end the process."""
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    expected, _ = evaluated(evaluator(denoiser), frames.positions[0], frames.box)
    (path,) = own_cache.glob("*.pt2")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    assert zipfile.is_zipfile(path)
    force = evaluator(denoiser)
    assert evaluated(force, frames.positions[0], frames.box)[0] == pytest.approx(expected, rel=1e-6)


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, caplog):
    monkeypatch.setenv(CACHE, "/proc/nowhere")
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    assert_same(evaluator(denoiser), evaluator(denoiser, "double", False), frames.positions[0], frames.box, 2e-5)
    assert "/proc/nowhere cannot be written to" in caplog.text and CACHE in caplog.text


@pytest.mark.parametrize("factors", [(1.01, 1.01), (1.01, 1.0), (1.0, 1.01), (1.0, float("nan"))])
def test_a_graph_that_computes_something_else_is_not_used(factors, monkeypatch, caplog):
    """Compilers have faults: what one made is compared with the force without it, before a run depends on it."""
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    right = CompiledForces.__call__
    monkeypatch.setattr(
        CompiledForces, "__call__", lambda *given: [f * value for f, value in zip(factors, right(*given))]
    )
    force = evaluator(denoiser)
    for number in range(2):
        assert_same(force, evaluator(denoiser, "double", False), frames.positions[number], frames.box, 2e-5)
    assert not force.compiled and "its compiled form is wrong by" in caplog.text


def test_a_force_that_is_not_finite_makes_no_graph_trusted():
    """Two particles at one place at first: nothing to compare with, until they have parted."""
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    force, box = evaluator(denoiser), torch.tensor(frames.box)
    x = torch.tensor(frames.positions[0])
    force.evaluate(x, box)
    force.graph.trusted = False
    wanted = force._eager(x[None], box)
    nothing = tuple(values * float("nan") for values in wanted)
    assert force._compared(wanted, nothing) is nothing and force.compiled and not force.graph.trusted
    assert force._compared(wanted, wanted) is wanted and force.graph.trusted


def test_a_process_that_ends_without_a_graph_is_not_waited_for(tmp_path, monkeypatch, caplog):
    """Nor does a large model hold up the run while the process starts: the request is a file, no pipe of 64 KB."""
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setattr(pythonforce, "WORTH", 0.0)
    frames, denoiser = licl_frames(), licl_denoiser(kinds=("pair",))
    species = denoiser.species_index(frames.species).tolist()
    force = pythonforce.Evaluator(denoiser.to_bytes(), species, True, "single", True, later=True)
    real, go = subprocess.Popen, tmp_path / "go"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)"
    x, box = torch.tensor(frames.positions[0]), torch.tensor(frames.box)
    expected = force.evaluate(x, box)[1]  # without a graph
    monkeypatch.setattr(graph.subprocess, "Popen", lambda _, **given: real([sys.executable, "-c", waiting], **given))
    force.graph.compilation.data = bytes(10**7)
    torch.testing.assert_close(force.evaluate(x, box)[1], expected)
    process = force.graph.compilation.process
    assert process.poll() is None and force.compiled, "the run goes on before the process has read anything"
    go.touch()
    assert process.wait(60) == 0
    torch.testing.assert_close(force.evaluate(x, box)[1], expected)
    assert not force.compiled and "has left nothing whole at" in caplog.text


def test_threads_may_share_a_force():
    """Two Contexts of one System, stepped in two threads: each evaluation has the pairs of its own positions."""
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()
    force, reference = evaluator(denoiser), evaluator(denoiser, "double", compiled=False)
    expected = [evaluated(reference, frames.positions[k], frames.box)[1] for k in range(2)]
    evaluated(force, frames.positions[0], frames.box)

    def worst(k):
        forces = [evaluated(force, frames.positions[k], frames.box)[1] for _ in range(400)]
        return max(np.abs(f - expected[k]).max() for f in forces)

    with ThreadPoolExecutor(2) as pool:
        errors = list(pool.map(worst, range(2)))
    assert max(errors) < 2e-5 * np.abs(expected).max()


def test_a_box_that_changes():
    """Under a barostat: the forces are those of the positions and the box of every step."""
    frames, denoiser = licl_frames(), licl_denoiser(kinds=QUICK)
    system = create_system(denoiser, frames.topology(), backend="compiled", native_prior=False, allow_barostat=True)
    barostat = openmm.MonteCarloBarostat(200, 300, 2)
    barostat.setRandomNumberSeed(1)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.004)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(frames.positions[0])
    reference, volumes = denoiser.with_ewald(tolerance=5e-4, cutoff=1.0), set()
    for _ in range(6):
        integrator.step(10)
        state = context.getState(positions=True, forces=True)
        box = state.getPeriodicBoxVectors(asNumpy=True)._value
        volumes.add(np.linalg.det(box))
        # The Ewald sum of the box at the start, as the compiled force has it.
        y = torch.as_tensor(state.getPositions(asNumpy=True)._value)[None]
        index = denoiser.species_index(frames.species)
        _, expected = energy_and_forces(reference.model, wrap(y, torch.as_tensor(box)), torch.as_tensor(box), index)
        forces = state.getForces(asNumpy=True)._value
        assert np.abs(forces - expected[0].numpy()).max() < 2e-5 * np.abs(forces).max()
    assert len(volumes) > 1, "the box did change"


def test_a_box_that_became_too_small_is_refused():
    force = evaluator(licl_denoiser(kinds=("pair",)), compiled=False)
    with pytest.raises(ValueError, match="the model's cutoff is 0.9 nm, over half the box"):
        evaluated(force, 0.6 * licl_frames().positions[0], 0.6 * licl_frames().box)


def test_a_system_of_other_size_is_refused():
    force = evaluator(licl_denoiser(kinds=("pair",)), compiled=False)
    with pytest.raises(ValueError, match="the System has 47 particles, but the DiffusionForce was made for 48"):
        evaluated(force, licl_frames().positions[0][:47], licl_frames().box)


@pytest.mark.parametrize("count", [0, 1, 13, 100, 5000])
def test_room_is_a_fifth_more_at_least_and_half_more_at_most(count):
    assert 1.2 * count <= room(count) <= max(16, 1.5 * count + 1)


def test_a_compiled_force_survives_xml(tmp_path):
    frames, denoiser = licl_frames(), licl_denoiser(kinds=("pair",))
    force = DiffusionForce(denoiser, frames.topology(), backend="compiled")
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))
    results = []
    for f in (force, again):
        results.append(licl_context(f).getState(forces=True).getForces(asNumpy=True)._value)
    assert np.abs(results[0]).max() > 10 and np.array_equal(*results)
