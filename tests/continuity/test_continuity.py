"""Files of version 0.1.0 load, evaluate to the same numbers and resume: `make_files.py` says how they were made."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pandas
import pytest

from openmm_diffusion import Denoiser

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FRAMES = HERE.parents[1] / "examples" / "licl" / "licl.npz"
EXPECTED = np.load(HERE / "expected.npz")
MODELS = ["prior", "pair", "pair_network", "vector", "range", "ensemble", "extrapolated"]


def size(forces):
    return np.sqrt(np.mean(np.square(forces)))


@pytest.mark.parametrize("name", [*MODELS, "licl", "licl_vector"])
def test_a_model_file_gives_the_forces_it_gave(name):
    """Networks are in single precision, whose last bits are the processor's; all else is in double."""
    denoiser = Denoiser.load(HERE / f"{name}.safetensors" if name in MODELS else name)
    single = any(parameter.numel() for parameter in denoiser.model.parameters())
    tolerance = 2e-6 if single else 1e-12
    forces, expected = denoiser.forces(EXPECTED["positions"]), EXPECTED[f"{name} forces"]
    assert size(expected) > 1  # kJ/mol/nm: something is there to compare
    assert size(forces - expected) < tolerance * size(expected)
    if f"{name} energy" in EXPECTED:
        energy = EXPECTED[f"{name} energy"]
        np.testing.assert_allclose(denoiser.energy(EXPECTED["positions"]), energy, rtol=tolerance, atol=tolerance)


def test_a_range_of_noise_levels_is_evaluated_at_another_one():
    forces = Denoiser.load(HERE / "range.safetensors").at(0.01).forces(EXPECTED["positions"])
    expected = EXPECTED["range at 0.01 forces"]
    assert size(forces - expected) < 2e-6 * size(expected)
    assert size(expected - EXPECTED["range forces"]) > 0.01 * size(expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_is_written_as_it_was_read(name, tmp_path):
    denoiser = Denoiser.load(HERE / f"{name}.safetensors")
    denoiser.save(tmp_path / "again.safetensors")
    again = Denoiser.load(tmp_path / "again.safetensors")
    assert again.digest() == denoiser.digest()
    np.testing.assert_array_equal(again.forces(EXPECTED["positions"]), denoiser.forces(EXPECTED["positions"]))


@pytest.mark.parametrize("backend", ["python", "torchscript"])
def test_a_saved_system_gives_the_forces_it_gave(backend, tmp_path):
    """In a new process, whose script names nothing of the package but its face."""
    xml = tmp_path / "system.xml"
    xml.write_bytes(gzip.decompress((HERE / f"system_{backend}.xml.gz").read_bytes()))
    script = f"""
import numpy as np
import {"openmm_diffusion" if backend == "python" else "torch, openmmtorch"}
import openmm
system = openmm.XmlSerializer.deserialize(open({str(xml)!r}).read())
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
context.setPositions(np.load({str(HERE / "expected.npz")!r})["positions"][0])
forces = context.getState(getForces=True).getForces(asNumpy=True)._value
np.save({str(tmp_path / "forces.npy")!r}, forces)
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    forces, expected = np.load(tmp_path / "forces.npy"), EXPECTED[f"system_{backend} forces"]
    assert size(forces - expected) < 2e-6 * size(expected)


def resumed(command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "openmm_diffusion", *map(str, command)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert child.returncode == 0, child.stderr
    return child


def test_a_simulation_goes_on(tmp_path):
    run = shutil.copytree(HERE / "simulation", tmp_path / "run")
    before = (run / "state.csv").read_text()
    command = ["simulate", HERE / "pair.safetensors", "-o", run, "--duration", 0.6, "--interval", 0.1]
    resumed([*command, "--platform", "Reference", "--resume"])
    assert (run / "state.csv").read_text().startswith(before)
    table = pandas.read_csv(run / "state.csv")
    np.testing.assert_allclose(table.iloc[:, 1], 0.1 * np.arange(1, 7), atol=1e-9)
    frames = mdtraj.load(str(run / "trajectory.dcd"), top=str(run / "topology.pdb"))
    old = mdtraj.load(str(HERE / "simulation" / "trajectory.dcd"), top=str(run / "topology.pdb"))
    assert len(frames) == 6 and len(old) == 4
    np.testing.assert_array_equal(frames.xyz[:4], old.xyz)
    # It went on from the checkpoint: within 0.1 ps no ion moves far, and random places would be.
    step = frames.xyz[4] - frames.xyz[3]
    step -= np.round(step / frames.unitcell_lengths[0]) * frames.unitcell_lengths[0]
    assert 0.005 < np.abs(step).max() < 0.2


def test_a_training_goes_on(tmp_path):
    run = shutil.copytree(HERE / "training", tmp_path / "run")
    assert not (run / "model.safetensors").exists()
    before = pandas.read_csv(run / "log" / "metrics.csv")
    assert 0 < before["step"].max() < 59
    resumed(["train", run / "config.yaml", "-o", run, "--frames", FRAMES, "--resume"])
    after = pandas.read_csv(run / "log" / "metrics.csv")
    pandas.testing.assert_frame_equal(after[: len(before)][list(before)], before, check_dtype=False)
    assert after["step"].max() == 59
    denoiser = Denoiser.load(run / "model.safetensors")
    assert denoiser.header.held_out["network_steps"] == 60
    # The pair part is that of the interrupted run, to the last bit.
    first = Denoiser.load(run / "pair.safetensors")
    np.testing.assert_array_equal(
        denoiser.subset(["pair"]).forces(EXPECTED["positions"]), first.subset(["pair"]).forces(EXPECTED["positions"])
    )
