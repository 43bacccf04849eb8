"""What "auto" takes: the fastest way that works on the platform, found out without ending the process."""

import logging
import subprocess
import sys
import time

import numpy as np
import openmm
import pytest
import torch
from commandline import run
from models import licl_context, licl_denoiser, licl_frames

from openmm_diffusion import DiffusionForce, create_system
from openmm_diffusion.energies.manybody import ManyBodyTerm
from openmm_diffusion.forces import choice, platforms, pythonforce
from openmm_diffusion.forces.choice import choose
from openmm_diffusion.forces.compiled.cache import CACHE
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.workflows.compilation import compile_ahead


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(choice, "compiler_failure", lambda: "there is no C++ compiler")


def test_the_fastest_way_that_works_is_chosen_and_said(no_compiler, monkeypatch):
    def asked(platform):
        return {"CPU": None, "Reference": None}.get(platform, f"TorchForce does not run on {platform}")

    monkeypatch.setattr(choice, "torchforce_failure", asked)
    assert choose(1, "CPU") == (
        "torchscript",
        "TorchForce passed its self-test on the platform CPU, and there is no C++ compiler",
    )
    assert choose(1, "OpenCL") == (
        "python", "compiled forces are for the platforms CPU and Reference, and TorchForce does not run on OpenCL"
    )  # fmt: skip
    assert choose(1, "CPU", replicas=4).backend == "python"
    monkeypatch.setattr(choice, "compiler_failure", lambda: None)
    assert choose(1, "CPU").backend == choose(2, "Reference", steps=20_000).backend == "compiled"
    assert choose(1, "CPU", replicas=4).backend == "compiled"
    assert choose(2, "CPU", steps=19_999) == (
        "torchscript",
        "TorchForce passed its self-test on the platform CPU, and 19999 steps are too few for compiling to pay",
    )


def test_a_system_is_native_where_openmm_has_the_energies(caplog):
    denoiser, topology = licl_denoiser(kinds=("coulomb", "wall", "pair")), licl_frames().topology()
    with caplog.at_level(logging.INFO):
        system = create_system(denoiser, topology)
    assert {type(force) for force in system.getForces()} == {openmm.NonbondedForce, openmm.CustomNonbondedForce}
    assert "OpenMM's own forces (native)" in caplog.text
    assert create_system(denoiser, topology, native_prior=True, backend="python").getForces()[-1].getName()


@pytest.mark.slow
@pytest.mark.torchforce
def test_torchforce_is_tried_in_a_process_of_its_own(self_test_again, monkeypatch):
    assert platforms.torchforce_failure("CPU") is None
    assert "There is no registered Platform called" in platforms.torchforce_failure("Abacus")
    platforms.torchforce_failure.cache_clear()
    monkeypatch.setattr(platforms, "_SELF_TEST", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert platforms.torchforce_failure("CPU") == "TorchForce ends the process on the platform CPU (exit status -11)"
    platforms.torchforce_failure.cache_clear()
    monkeypatch.setattr(platforms, "_SELF_TEST", "raise SystemExit('symbol lookup error: libOpenMMTorchOpenCL.so')")
    assert platforms.torchforce_failure("CPU").endswith("(symbol lookup error: libOpenMMTorchOpenCL.so)")


@pytest.mark.slow
def test_compiling_goes_on_beside_the_run(tmp_path, monkeypatch, caplog):
    """Nobody waits for it; then forces come from the graph, and are the same."""
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setattr(pythonforce, "WORTH", 0.0)
    denoiser, frames = licl_denoiser(kinds=("pair",)), licl_frames()

    def begun():
        return licl_context(DiffusionForce(denoiser, frames.topology(), platform="Reference"))

    def forces(context):
        context.setPositions(frames.positions[0])
        return context.getState(getForces=True).getForces(asNumpy=True)._value

    with caplog.at_level(logging.INFO):
        context, began = begun(), time.perf_counter()
        first = forces(context)
        forces(context)
        assert not list(tmp_path.glob("*.pt2")), "the run waited"
        while not list(tmp_path.glob("*.pt2")) and time.perf_counter() - began < 400:
            time.sleep(0.5)
            forces(context)
    assert "compiling the force beside the run" in caplog.text and "is not compiled" not in caplog.text
    another = begun()  # the next start finds it
    for one in (context, another):
        forces(one)  # compared with what it is without the graph
    monkeypatch.setattr(pythonforce.Evaluator, "_eager", None)  # from now on nothing but the graph will do
    for one in (context, another):
        np.testing.assert_allclose(forces(one), first, atol=2e-5 * np.abs(first).max())


@pytest.mark.slow
def test_a_compilation_that_fails_leaves_the_run_as_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setattr(pythonforce, "WORTH", 0.0)
    frames, denoiser = licl_frames(), licl_denoiser(kinds=("pair",))
    species = denoiser.species_index(frames.species).tolist()
    force = pythonforce.Evaluator(denoiser.to_bytes(), species, True, "single", True, later=True)
    state = licl_context(None).getState(positions=True)
    monkeypatch.setenv("CXX", "/nonexistent/compiler")  # that of the process which compiles
    expected, began = force(state)[1], time.perf_counter()
    while force.compiled and time.perf_counter() - began < 200:
        np.testing.assert_allclose(force(state)[1], expected)
        time.sleep(0.2)
    assert "the force is not compiled, and runs several times slower" in caplog.text
    np.testing.assert_allclose(force(state)[1], expected)


def manybody():
    """A model that no OpenMM force holds, and that compiles soon."""
    term = ManyBodyTerm(sigma=0.005, cutoff=0.6, start=0.18, radial=1, lmax=0)
    denoiser = Denoiser(licl_denoiser(kinds=("pair",)).header.model_copy(update={"terms": [term]}))
    (module,) = denoiser.modules()
    module.assign(torch.randn(module.coefficients.shape, generator=torch.Generator().manual_seed(0)).double())
    return denoiser


@pytest.mark.slow
def test_a_force_that_was_compiled_ahead_is_there_for_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    frames, denoiser = licl_frames(), manybody()
    frames[:1].save(tmp_path / "start.npz")
    denoiser.save(tmp_path / "model.safetensors")
    arguments = "compile", tmp_path / "model.safetensors", "--start", tmp_path / "start.npz"
    first, second = run(*arguments), run(*arguments)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert [first.stdout.strip()] == [str(path) for path in (tmp_path / "cache").glob("*.pt2")]
    assert second.stdout.strip() == "it is compiled already"
    system = create_system(denoiser, frames.topology(), platform="CPU")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(frames.positions[0])
    context.getState(getForces=True)  # compared with what it is without the graph
    monkeypatch.setattr(pythonforce.Evaluator, "_eager", None)  # nothing but the graph will do
    found = context.getState(getForces=True).getForces(asNumpy=True)._value
    expected = denoiser.forces(frames.positions[0])
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_what_cannot_be_compiled_is_refused(tmp_path):
    native = licl_denoiser(kinds=("wall", "pair"))
    with pytest.raises(ValueError, match="there is nothing to compile: the learnt energies .* OpenMM's own forces"):
        compile_ahead(native)
    with pytest.raises(ValueError, match="top is a.pdb and start is b.npz: a PDB file says"):
        compile_ahead(licl_denoiser(), "a.pdb", "b.npz")
    bonded = Denoiser(licl_denoiser(kinds=("network",)).header.model_copy(update={"bonds": [(0, 24)]}))
    with pytest.raises(ValueError, match="start is missing: particles that have bonds"):
        compile_ahead(bonded)


TWO_AT_ONCE = """
import importlib.abc, logging, sys, threading, time
from openmm_diffusion.forces.torchscript import torchscript_failure

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "openmmtorch":
            time.sleep(1)

sys.meta_path.insert(0, Slow())
threads = [threading.Thread(target=torchscript_failure) for _ in range(2)]
for thread in threads:
    thread.start()
    time.sleep(0.3)
for thread in threads:
    thread.join()
print(logging.getLogger("openmm_diffusion").isEnabledFor(logging.WARNING), logging.root.filters)
"""


@pytest.mark.slow
def test_runs_that_look_for_torchforce_at_once_leave_warnings_as_they_are():
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True)
    assert done.stdout == "True []\n" and "simtk" not in done.stderr, done.stderr
