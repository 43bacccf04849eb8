"""A run on the platform, the device and in the precision that it is asked for: OpenMM and the model alike."""

import mdtraj
import numpy as np
import pytest
from commandline import run as command
from models import licl_denoiser, licl_frames

from openmm_diffusion import simulate
from openmm_diffusion.forces.platforms import platform_names
from openmm_diffusion.simulation import langevin

RUN = dict(duration=0.02, interval=0.01, timestep=0.002, backend="python")


def present(*names):
    """Platforms as parameters, skipped where OpenMM has them not."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(name not in platform_names(), reason=f"OpenMM has no {name} here"))
        for name in names
    ]


@pytest.fixture
def asked(monkeypatch):
    """What a run gives to `create_system`, and the Context that it makes."""
    kept = {}
    makes, begins = langevin.create_system, langevin.app.Simulation

    def made(*arguments, **options):
        kept["options"] = options
        return makes(*arguments, **options)

    def begun(*arguments):
        kept["simulation"] = begins(*arguments)
        return kept["simulation"]

    monkeypatch.setattr(langevin, "create_system", made)
    monkeypatch.setattr(langevin.app, "Simulation", begun)
    return kept


def started(output, **settings):
    model, start = licl_denoiser(kinds=("wall", "pair")), licl_frames().positions[0]
    return simulate(model, output, {**RUN, **settings}, positions=start, progress=False)


@pytest.mark.parametrize("platform", ["CPU", "Reference"])
def test_on_the_processor_tensors_are_there_whatever_devices_torch_has(tmp_path, asked, monkeypatch, platform):
    from openmm_diffusion.forces import platforms

    monkeypatch.setattr(platforms.torch.cuda, "is_available", lambda: True)
    started(tmp_path / "run", platform=platform)
    assert asked["options"]["device"] == "cpu" and asked["options"]["platform"] == platform
    assert asked["simulation"].context.getPlatform().getName() == platform


@pytest.mark.parametrize("platform", present("OpenCL", "CUDA"))
@pytest.mark.parametrize("precision", ["single", "mixed", "double"])
def test_a_device_and_a_precision_reach_both(tmp_path, asked, platform, precision):
    started(tmp_path / "run", platform=platform, device=0, precision=precision)
    context = asked["simulation"].context
    assert context.getPlatform().getPropertyValue(context, "Precision") == precision
    assert context.getPlatform().getPropertyValue(context, "DeviceIndex") == "0"
    assert asked["options"]["precision"] == ("double" if precision == "double" else "single")
    assert asked["options"]["device"] == ("cuda:0" if platform == "CUDA" else "cpu")


def test_double_precision_is_that_of_the_terms_too(tmp_path, asked):
    """Forces of the run's own System against those of the model in double precision."""
    started(tmp_path / "run", platform="Reference", precision="double")
    exact = licl_denoiser(kinds=("wall", "pair"), precision="double")
    context, x = asked["simulation"].context, licl_frames().positions[1].astype(float)
    context.setPositions(x)
    found, wanted = context.getState(forces=True).getForces(asNumpy=True)._value, exact.forces(x)
    assert np.abs(found - wanted).max() < 1e-9 * np.abs(wanted).max()


@pytest.mark.parametrize("platform", present("CPU", "OpenCL", "CUDA"))
def test_a_run_goes_on_elsewhere(tmp_path, platform):
    started(tmp_path / "run", platform="Reference")
    model, there = licl_denoiser(kinds=("wall", "pair")), {} if platform == "CPU" else {"device": 0}
    settings = {**RUN, "duration": 0.04, "platform": platform, "precision": "mixed", **there}
    path = simulate(model, tmp_path / "run", settings, resume=True, progress=False)
    assert mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb")).n_frames == 4


WRONG = [
    (dict(platform="CPU", device=0), "device is 0, but the platform CPU has no devices"),
    (dict(platform="CPU", precision="double"), "precision is 'double', but the platform CPU computes in single"),
    (dict(platform="Reference", precision="mixed"), "precision is 'mixed', but the platform Reference computes"),
    (dict(device=-1), "device is -1"), (dict(device=1.5), "device is 1.5"), (dict(device=True), "device is True"),
    (dict(device="first"), "device is 'first'"), (dict(precision="half"), "precision is 'half'"),
]  # fmt: skip


@pytest.mark.parametrize("settings, message", WRONG)
def test_what_no_platform_has_is_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        started(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("platform", present("OpenCL", "CUDA"))
def test_a_device_that_is_not_there_is_refused(tmp_path, platform):
    with pytest.raises(ValueError, match=f"platform {platform} is not to be had with device 77 |device is 'cuda:77'"):
        started(tmp_path / "run", platform=platform, device=77)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("platform", present("Reference", "OpenCL", "CUDA"))
def test_from_the_command_line(tmp_path, platform):
    licl_denoiser(kinds=("wall", "pair")).save(tmp_path / "model.safetensors")
    where = ["--platform", platform, "--precision", "double", *(["--device", "0"] if platform != "Reference" else [])]
    options = ["--duration", 0.02, "--interval", 0.01, "--timestep", 0.002, "--backend", "python", *where]
    done = command("simulate", tmp_path / "model.safetensors", "-o", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    wrong = command("simulate", tmp_path / "model.safetensors", "-o", tmp_path / "no", *options, "--device", 99)
    assert wrong.returncode == 1 and "error: " in wrong.stderr and "99" in wrong.stderr
    assert "Traceback" not in wrong.stderr and not (tmp_path / "no").exists()
