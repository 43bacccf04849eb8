"""Runs of an ensemble that workers share: those of one process, and gone on with where a worker was killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import mdtraj
import numpy as np
import pytest
import yaml
from models import LICL

from openmm_diffusion import Frames, simulate, train
from openmm_diffusion.cluster import connected
from openmm_diffusion.simulation.sampling import SamplingConfig, sample_ensemble, simulate_runs

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

SAMPLING = {"duration": 0.6, "discard": 0.1, "interval": 0.1, "timestep": 0.005, "platform": "Reference", "runs": 3}


@pytest.fixture(scope="module")
def model():
    config = {"network": None, "pair": {"spacing": 0.05}, "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}}}}
    return train(Frames.load(LICL)[:600], config, progress=False)


@pytest.fixture(scope="module")
def starts():
    frames = Frames.load(LICL)
    order = np.argsort(frames.types != frames.types[0], kind="stable")
    return frames.positions[:600:200][:, order]


def test_workers_simulate_what_one_process_does_and_a_killed_one_loses_no_run(model, starts, tmp_path):
    config = SamplingConfig(**SAMPLING)
    alone, last = sample_ensemble(model, tmp_path / "alone", starts, config)
    told = []
    with connected(workers=2) as client:
        pids = list(client.run(os.getpid).values())

        def kill():
            """A worker, as soon as it is at work on a run."""
            while not any((tmp_path / "shared").glob("run-*/config.yaml")):
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        shared, other = sample_ensemble(model, tmp_path / "shared", starts, config, told.append, client)
        killer.join(60)
        client.wait_for_workers(2, timeout=300)
        assert pids[0] not in client.run(os.getpid).values()
    assert told == [f"shared: run {number} of 3, 0.6 ps, done" for number in (1, 2, 3)]
    np.testing.assert_array_equal(shared.replica, alone.replica)
    np.testing.assert_allclose(shared.positions, alone.positions, atol=1e-4)
    np.testing.assert_allclose(other, last, atol=1e-4)


SHORT = {"duration": 0.4, "interval": 0.2, "platform": "Reference", "backend": "python"}


def frames_of(paths):
    return [
        mdtraj.load(str(path), top=str(path.parent / "topology.pdb")).xyz.astype(float).reshape(-1, 48, 3)
        for path in paths
    ]


def test_runs_side_by_side_are_those_of_workers_each_with_its_own_seed(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    alone = simulate_runs(model, tmp_path / "alone", SHORT, 3)
    with connected(workers=2) as client:
        shared = simulate_runs(tmp_path / "model.safetensors", tmp_path / "shared", SHORT, 3, client=client)
    assert [path.parent for path in shared] == [tmp_path / "shared" / f"run-{number}" for number in range(3)]
    mine, theirs = frames_of(alone), frames_of(shared)
    np.testing.assert_allclose(mine, theirs, atol=1e-4)
    assert np.abs(mine[0] - mine[1]).max() > 0.1  # nm: other places, other seeds
    single = simulate(model, tmp_path / "single", {**SHORT, "seed": 2})
    np.testing.assert_allclose(frames_of([single])[0], mine[1], atol=1e-4)
    asked = yaml.safe_load((tmp_path / "shared" / "run-2" / "config.yaml").read_text())
    assert asked["seed"] == 3 and asked["model_file"] == str(tmp_path / "model.safetensors")


def test_runs_that_are_there_are_gone_on_with_when_asked_and_else_left_alone(model, tmp_path):
    first = simulate_runs(model, tmp_path, SHORT, 2)
    before = [path.read_bytes() for path in first]
    with pytest.raises(FileExistsError, match="run-0 holds a simulation already: resume it"):
        simulate_runs(model, tmp_path, SHORT, 3)
    assert [path.read_bytes() for path in first] == before and not (tmp_path / "run-2").exists()
    longer = simulate_runs(model, tmp_path, {**SHORT, "duration": 0.8}, 3, resume=True)
    assert [len(x) for x in frames_of(longer)] == [4, 4, 4]
    whole = simulate_runs(model, tmp_path / "whole", {**SHORT, "duration": 0.8}, 3)
    np.testing.assert_allclose(frames_of(longer)[2], frames_of(whole)[2], atol=1e-4)


@pytest.mark.parametrize(
    "more, says",
    [
        ({"runs": 0}, "runs is 0: give a whole number"),
        ({"runs": 2.0}, "runs is 2.0"),
        ({"config": {**SHORT, "replicas": 2}}, "replicas is 2 and runs 2: give one of them"),
        ({"config": {**SHORT, "duration": 0.1}}, "shorter than interval"),
    ],
)
def test_runs_that_cannot_be_begin_nothing(model, tmp_path, more, says):
    given = {"config": SHORT, "runs": 2} | more
    with pytest.raises(ValueError, match=says):
        simulate_runs(model, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_on_the_command_line_runs_end_with_the_line_of_their_page(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    options = ["--duration", "0.2", "--interval", "0.1", "--platform", "Reference", "--backend", "python"]
    command = [sys.executable, "-m", "openmm_diffusion", "simulate", "model.safetensors", "--output", "md", *options]
    done = subprocess.run([*command, "--runs", "2"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "page: openmm-diffusion report md"
    alone = subprocess.run([*command, "--workers", "2"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert alone.returncode == 1 and "say how many with --runs" in alone.stderr
