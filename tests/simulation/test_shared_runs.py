"""Runs of an ensemble that workers share: those of one process, and gone on with where a worker was killed."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from models import LICL

from openmm_diffusion import Frames, train
from openmm_diffusion.cluster import connected
from openmm_diffusion.simulation.sampling import SamplingConfig, sample_ensemble

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
