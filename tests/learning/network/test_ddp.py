"""Training in several processes: the step, the losses and the model are those of one process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ddp_step import take_step
from models import LICL, licl_frames

from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.network.processes import run_processes
from openmm_diffusion.learning.training import train
from openmm_diffusion.model.denoiser import Denoiser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU; here are GPUs"),
]


def test_two_processes_take_the_step_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # of `models`
    alone = take_step(tmp_path, devices=1)
    run_processes([str(Path(__file__).with_name("ddp_step.py")), str(tmp_path)], 2)
    two = [torch.load(tmp_path / f"step-{process}.pt", weights_only=True) for process in range(2)]
    scale = max(g.abs().max() for g in alone["gradient"].values())
    assert scale > 1e-3 and len(alone["gradient"]) > 10
    for other in two:
        assert other["gradient"].keys() == alone["gradient"].keys()
        for name, gradient in alone["gradient"].items():
            assert (other["gradient"][name] - gradient).abs().max() < 1e-10 * scale, name
        # Adam divides by the gradient's size: where that is rounding, so is the step.
        for name, weight in alone["weights"].items():
            torch.testing.assert_close(other["weights"][name], weight, rtol=0, atol=1e-6)
        assert other["loss"] == pytest.approx(alone["loss"], rel=1e-6)  # Lightning averages in single precision
    for name, weight in two[0]["weights"].items():
        assert torch.equal(two[1]["weights"][name], weight), "both processes must have the same weights"


# A pair potential of the far range only, so that the network has something to find.
TINY = {
    "data": {"frames": str(LICL), "limit": 60},
    "pair": {"start": 0.7, "spacing": 0.06},
    "network": {"cutoff": 0.45, "features": 2, "layers": 1, "radial_width": 8},
    "training": {"steps": 20, "batch": 4, "check_every": 10, "learning_rate": 0.01, "devices": 2},
}


def test_the_command_line_trains_in_two_processes(tmp_path):
    path, output = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(TINY))
    command = [sys.executable, "-m", "openmm_diffusion", "train", str(path), "-o", str(output)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    model = Denoiser.load(output / "model.safetensors")
    assert [term.kind for term in model.header.terms] == ["wall", "pair", "network"]
    assert model.header.held_out["network_steps"] == 20
    rows = (output / "log" / "metrics.csv").read_text().splitlines()
    assert sum("," in row for row in rows) >= 3, "one log, of the first process"

    alone = train(None, TINY | {"training": TINY["training"] | {"devices": 1}}, progress=False)
    positions = licl_frames().positions[:5]
    expected = alone.forces(positions) - alone.subset(["wall", "pair"]).forces(positions)
    found = model.forces(positions) - model.subset(["wall", "pair"]).forces(positions)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert model.header.held_out["network_loss"] == pytest.approx(alone.header.held_out["network_loss"], rel=1e-3)


def test_a_process_that_fails_ends_the_others():
    code = "import os, sys, time; time.sleep(60) if os.environ['LOCAL_RANK'] == '0' else sys.exit(3)"
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="process 1 of 2 of the training ended with status 3"):
        run_processes(["-c", code], 2)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("devices", "message"),
    [(0, r"training\.devices is 0"), (3, "devices is 3, batch 16: give a batch that is a multiple of devices")],
)
def test_impossible_numbers_of_processes_are_refused(devices, message):
    with pytest.raises(ValueError, match=message):
        read_config({"training": {"devices": devices}})


def test_more_processes_than_validation_frames_are_refused():
    with pytest.raises(ValueError, match="training.devices is 16, but there are 3 validation frames to share"):
        train(licl_frames(), {"data": {"test_fraction": 0}, "training": {"devices": 16}}, progress=False)
