"""Platforms with memory of their own (OpenCL, CUDA): forces of every backend, at every precision, near and far.

OpenCL runs on any processor by PoCL: `make opencl`.
"""

import functools

import numpy as np
import openmm
import pytest
from models import licl_denoiser, licl_frames

from openmm_diffusion import create_system
from openmm_diffusion.forces.platforms import platform_names, torchforce_failure

#: Prior inside what torch evaluates; native forces have it as OpenMM's own.
KINDS = ("coulomb", "wall", "pair")
BACKENDS = ("python", "compiled", "torchscript", "native")
#: Where another compilation would tell nothing new.
NOT_COMPILED = ("python", "torchscript", "native")
PRECISIONS = {"single": 3e-5, "mixed": 1e-5, "double": 1e-5}  # of forces, over the largest; the terms are in single
TRICLINIC = np.array([[2.526, 0.0, 0.0], [0.9, 2.526, 0.0], [-0.7, 0.8, 2.526]])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize(
        "platform",
        [
            pytest.param(
                name, marks=pytest.mark.skipif(name not in platform_names(), reason=f"OpenMM has no {name} here")
            )
            for name in ("OpenCL", "CUDA")
        ],
    ),
]


@functools.cache
def system(backend, box=None, native_prior=False):
    """48 ions; a System is kept, Contexts are not."""
    topology = licl_frames().topology()
    if box is not None:
        topology.setPeriodicBoxVectors(np.array(box) * openmm.unit.nanometer)
    kinds = KINDS[1:] if backend == "native" else KINDS  # PME in single precision is OpenMM's matter
    return create_system(licl_denoiser(kinds=kinds), topology, backend=backend, native_prior=native_prior)


def context(given, platform, precision="mixed", timestep=0.002):
    integrator = openmm.LangevinMiddleIntegrator(300, 2, timestep)
    integrator.setRandomNumberSeed(1)
    if platform == "Reference":
        return openmm.Context(given, integrator, openmm.Platform.getPlatformByName(platform))
    return openmm.Context(given, integrator, openmm.Platform.getPlatformByName(platform), {"Precision": precision})


def forces(one, positions=None):
    if positions is not None:
        one.setPositions(positions)
    return one.getState(getForces=True).getForces(asNumpy=True)._value


def expected(backend, positions, box=None, native_prior=False):
    """The same System on OpenMM's Reference platform, which is in double precision."""
    reference = "python" if backend == "torchscript" else backend  # compiled forces split the Ewald sum elsewhere
    return forces(context(system(reference, box, native_prior), "Reference"), positions)


def assert_close(found, wanted, tolerance):
    assert np.abs(wanted).max() > 50
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()


def runs_there(backend, platform):
    """Skip a TorchForce that would end the process: the wheel's OpenCL library misses a symbol."""
    if backend == "torchscript" and torchforce_failure(platform):
        pytest.skip(torchforce_failure(platform))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_those_of_double_precision(platform, backend, precision):
    """In the box, and with ions that have drifted a hundred boxes away, each into an image of its own."""
    runs_there(backend, platform)
    frames, one = licl_frames(), context(system(backend), platform, precision)
    images = np.random.default_rng(0).integers(-1, 2, (48, 3)) @ frames.box
    for positions in (frames.positions[0], frames.positions[1] + images):
        assert_close(forces(one, positions), expected(backend, positions), PRECISIONS[precision])
    if precision != "single":  # whose positions hold seven digits
        far = frames.positions[2] + 100 * np.array([1, -1, 1]) * np.diagonal(frames.box)
        # What stays on the device sees positions of single precision: 252 nm are known to 2e-5 nm.
        single = precision == "mixed" and backend in ("torchscript", "native")
        tolerance = 1e-3 if single else PRECISIONS[precision]
        assert_close(forces(one, far), expected(backend, frames.positions[2]), tolerance)


@pytest.mark.parametrize("backend", NOT_COMPILED)
def test_a_slanted_box(platform, backend):
    runs_there(backend, platform)
    box = tuple(map(tuple, TRICLINIC))
    positions = licl_frames().positions[3]
    assert_close(forces(context(system(backend, box), platform), positions), expected(backend, positions, box), 1e-5)


@pytest.mark.parametrize("backend", NOT_COMPILED)
def test_a_run_whose_particles_are_sorted_anew(platform, backend):
    """The platform sorts particles in its memory every 250 steps; with native forces beside, which have a cutoff."""
    runs_there(backend, platform)
    one = context(system(backend, native_prior=True), platform)
    one.setPositions(licl_frames().positions[0])
    one.getIntegrator().step(600)
    state = one.getState(positions=True, forces=True)
    positions, found = (values._value for values in (state.getPositions(True), state.getForces(True)))
    wanted = expected(backend, positions, native_prior=True)
    assert_close(found, wanted, 1e-5 if backend == "native" else 3e-4)  # PME beside the others, in single precision


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_and_an_xml_file_hold_the_run(platform, backend):
    runs_there(backend, platform)
    one = context(system(backend), platform)
    one.setPositions(licl_frames().positions[0])
    one.getIntegrator().step(20)
    before, checkpoint = forces(one), one.createCheckpoint()
    one.getIntegrator().step(20)
    one.loadCheckpoint(checkpoint)
    np.testing.assert_allclose(forces(one), before, atol=2e-6 * np.abs(before).max())
    text = openmm.XmlSerializer.serialize(one.getState(positions=True))
    again = context(openmm.XmlSerializer.clone(system(backend)), platform)
    found = forces(again, openmm.XmlSerializer.deserialize(text).getPositions())
    np.testing.assert_allclose(found, before, atol=1e-5 * np.abs(before).max())
