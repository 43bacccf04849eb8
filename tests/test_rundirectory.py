"""A directory has one run at a time: another process is told who is there, and a dead one keeps nobody out."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml
from models import licl_denoiser, licl_frames

from openmm_diffusion import simulate
from openmm_diffusion.rundirectory import LOCK, SETTINGS, RunDirectoryError, begun

HOLDER = """
import sys, time
from openmm_diffusion.rundirectory import begun
with begun(sys.argv[1], {"key": 1}):
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process at work in a directory."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "there"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_named_and_nothing_written(holder, tmp_path):
    told = rf"run is in use by process {holder.pid} on {socket.gethostname()}: wait for its end, or name another"
    with pytest.raises(RunDirectoryError, match=told):
        with begun(tmp_path / "run", {"key": 2}):
            pass
    assert yaml.safe_load((tmp_path / "run" / SETTINGS).read_text()) == {"key": 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_died_keeps_nobody_out(holder, tmp_path, how):
    os.kill(holder.pid, how)
    holder.wait()
    with begun(tmp_path / "run", {"key": 2}):
        assert (tmp_path / "run" / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [SETTINGS]


def test_one_after_the_other_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            with begun(tmp_path / "run", {}):
                raise ZeroDivisionError
    with begun(tmp_path / "run", {}):
        with pytest.raises(RunDirectoryError, match="is in use by process"):
            with begun(tmp_path / "run", {}):
                pass


def test_a_run_is_not_gone_on_with_by_two(tmp_path):
    """The one that came second stops before it touches a file."""
    run = {"duration": 0.02, "interval": 0.01, "timestep": 0.005, "backend": "native", "platform": "Reference"}
    denoiser, start = licl_denoiser(kinds=("wall", "pair")), licl_frames().positions[0]
    simulate(denoiser, tmp_path / "run", run, positions=start, progress=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    longer = {**run, "duration": 0.04}
    with begun(tmp_path / "run", yaml.safe_load((tmp_path / "run" / SETTINGS).read_text())):
        with pytest.raises(RunDirectoryError, match="is in use by"):
            simulate(denoiser, tmp_path / "run", longer, resume=True, progress=False)
    time.sleep(0.01)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    simulate(denoiser, tmp_path / "run", longer, resume=True, progress=False)
