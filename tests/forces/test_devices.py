"""Where torch computes: beside OpenMM, on the platform and the device of the Context, and nowhere else in silence."""

import logging
import subprocess
import sys

import numpy as np
import openmm
import pytest
import torch
from models import licl_denoiser, licl_frames

from openmm_diffusion import create_system
from openmm_diffusion.forces import diffusionforce, platforms, pythonforce
from openmm_diffusion.forces.diffusionforce import DiffusionForce
from openmm_diffusion.forces.platforms import platform_names, platform_properties, torch_device

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch has no CUDA device here")


def pair_force(**options):
    return DiffusionForce(licl_denoiser(kinds=("pair",)), licl_frames().topology(), backend="python", **options)


def evaluator(monkeypatch, **options):
    """The arguments of the Evaluator that a DiffusionForce makes, whatever devices there are."""
    kept = []

    class Kept(pythonforce.Evaluator):
        def __init__(self, *arguments):
            kept.append(arguments[11])
            super().__init__(*arguments[:11], "cpu")

    monkeypatch.setattr(diffusionforce, "Evaluator", Kept)
    pair_force(**options)
    return kept[0]


@pytest.mark.parametrize("platform, there, index, device", [
    ("CPU", True, None, "cpu"), ("Reference", True, 1, "cpu"), ("CUDA", True, None, "cuda"),
    ("CUDA", True, 1, "cuda:1"), ("HIP", True, 2, "cuda:2"), ("OpenCL", True, None, "cuda"),
    ("OpenCL", True, 1, "cuda"), ("CUDA", False, 1, "cpu"), ("OpenCL", False, None, "cpu"),
])  # fmt: skip
def test_the_device_of_a_platform(monkeypatch, platform, there, index, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert torch_device(platform, index) == device


@pytest.mark.parametrize(
    "default, device", [("CPU", "cpu"), ("Reference", "cpu"), ("CUDA", "cuda"), ("OpenCL", "cuda")]
)
def test_without_a_name_it_is_that_of_the_fastest_platform(monkeypatch, default, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(platforms, "default_platform", lambda: default)
    assert torch_device() == device


@pytest.mark.parametrize("there, options, device", [
    (True, {"platform": "CPU"}, "cpu"), (True, {"platform": "Reference"}, "cpu"), (False, {"platform": "CPU"}, "cpu"),
    # Nobody knows the platform, nor the machine that will read the System: the Evaluator finds out where it is.
    (True, {}, None), (False, {}, None),
    (True, {"device": "cuda:1"}, "cuda:1"), (True, {"device": "cpu"}, "cpu"),
    (True, {"platform": "CPU", "device": "cuda:0"}, "cuda:0"),  # who says so knows better
])  # fmt: skip
def test_a_force_follows_the_platform_that_is_named(monkeypatch, there, options, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert evaluator(monkeypatch, **options) == device


@pytest.mark.skipif("OpenCL" not in platform_names(), reason="OpenMM has no OpenCL here")
@pytest.mark.parametrize("there, device", [(True, "cuda"), (False, None)])
def test_a_force_follows_opencl(monkeypatch, there, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert evaluator(monkeypatch, platform="OpenCL") == device


@cuda
@pytest.mark.gpu
@pytest.mark.parametrize("platform", [None, "CPU", "Reference", "CUDA"])
def test_tensors_are_there_and_forces_are_the_same(platform):
    if platform == "CUDA" and platform not in platform_names():
        pytest.skip("OpenMM has no CUDA here")
    given = {} if platform is None else {"platform": platform}
    system = create_system(licl_denoiser(kinds=("pair",)), licl_frames().topology(), backend="python", **given)
    device = torch_device(platform)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), platforms.platform_named(platform or platforms.default_platform())
    )
    before = torch.cuda.memory_allocated()
    context.setPositions(licl_frames().positions[0])
    found = context.getState(forces=True).getForces(asNumpy=True)._value
    expected = licl_denoiser(kinds=("pair",)).forces(licl_frames().positions[0])
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    assert (torch.cuda.memory_allocated() > before) == (device != "cpu")


def test_a_device_is_no_reason_to_compile_nothing(caplog):
    """Of the backends that take a device, "auto" takes the faster, and says so."""
    with caplog.at_level(logging.INFO):
        force = DiffusionForce(licl_denoiser(kinds=("pair",)), licl_frames().topology(), device="cpu", platform="CPU")
    assert isinstance(force, openmm.PythonForce) and "backend compiled" in caplog.text


@pytest.mark.parametrize("device, message", [
    ("gpu", "device is 'gpu': give 'cpu', 'cuda' or 'cuda:1'"), ("cuda:x", "device is 'cuda:x': give"),
    ("mps", "device is 'mps': give"), ("", "device is '': give"), (1.5, "device is 1.5: give"),
    ("cuda:99", r"device is 'cuda:99', but torch has \d CUDA devices here: give another"),
])  # fmt: skip
def test_a_device_that_is_none_is_refused(device, message):
    with pytest.raises(ValueError, match=message):
        pair_force(device=device)


@pytest.mark.parametrize("platform, device, precision, properties", [
    ("CPU", None, None, {}), ("Reference", None, "double", {}), ("CPU", None, "single", {}), ("CPU", None, "mixed", {}),
])  # fmt: skip
def test_properties_of_a_context(platform, device, precision, properties):
    assert platform_properties(platform, device, precision) == properties


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.skipif(name not in platform_names(), reason=f"OpenMM has no {name} here"))
    for name in ("OpenCL", "CUDA")
])  # fmt: skip
def test_properties_of_platforms_with_devices(name):
    assert platform_properties(name, 1, "double") == {"DeviceIndex": "1", "Precision": "double"}


@pytest.mark.parametrize("arguments, message", [
    (("CPU", 1), "device is 1, but the platform CPU has no devices: leave device out"),
    (("Reference", 0), "device is 0, but the platform Reference has no devices"),
    (("CPU", None, "double"), "precision is 'double', but the platform CPU computes in single and mixed.*Reference"),
    (("Reference", None, "single"), "precision is 'single', but the platform Reference computes in double.*\"CPU\""),
    (("Abacus",), "platform is 'Abacus': OpenMM has Reference"),
])  # fmt: skip
def test_properties_that_no_platform_has_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        platform_properties(*arguments)


def test_torchforce_is_refused_where_it_would_end_the_process(monkeypatch):
    """By name or by default; where another platform is named, it is taken."""
    if platforms.torchscript_failure():
        pytest.skip(platforms.torchscript_failure())
    told = "TorchForce ends the process on the platform OpenCL (symbol lookup error)"
    monkeypatch.setattr(diffusionforce, "default_platform", lambda: "OpenCL")
    monkeypatch.setattr(diffusionforce, "torchforce_failure", lambda platform: told)
    denoiser, topology = licl_denoiser(kinds=("pair",)), licl_frames().topology()
    with pytest.raises(ImportError, match=r"on the platform OpenCL \(symbol.*give the platform of the Context"):
        DiffusionForce(denoiser, topology, backend="torchscript")
    force = DiffusionForce(denoiser, topology, backend="torchscript", platform="CPU")
    assert force.getName().startswith("DiffusionForce")


SCRIPT = """
import sys
sys.path.insert(0, "tests")
from models import licl_denoiser, licl_frames
from openmm_diffusion import DiffusionForce, simulate
denoiser, topology = licl_denoiser(kinds=("pair",)), licl_frames().topology()
try:
    {call}
except ImportError as error:
    print("refused:", error)
"""


@pytest.mark.slow
@pytest.mark.skipif("OpenCL" not in platform_names(), reason="OpenMM has no OpenCL here")
@pytest.mark.parametrize("call", [
    'DiffusionForce(denoiser, topology, backend="torchscript", platform="OpenCL")',
    'DiffusionForce(denoiser, topology, backend="torchscript")',
    'simulate(denoiser, "{output}", {{"backend": "torchscript", "platform": "OpenCL"}}, progress=False)',
])  # fmt: skip
def test_where_opencl_misses_a_symbol_a_sentence_says_so(tmp_path, call):
    failure = platforms.torchforce_failure("OpenCL")
    if failure is None:
        pytest.skip("TorchForce works on OpenCL here")
    script = SCRIPT.format(call=call.format(output=tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "refused: TorchForce ends the process on the platform OpenCL" in done.stdout
    assert not (tmp_path / "run").exists()
