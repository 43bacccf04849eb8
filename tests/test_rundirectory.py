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

from openmm_diffusion import simulate, train
from openmm_diffusion.rundirectory import LOCK, SETTINGS, RunDirectoryError, asked_for, begun, occupied
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.workflows.refine import refine

HOLDER = """
import sys, time
from openmm_diffusion.rundirectory import begun, occupied
with occupied(sys.argv[1]), begun(sys.argv[1], {"key": 1}):
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
        with occupied(tmp_path / "run"):
            pass
    assert yaml.safe_load((tmp_path / "run" / SETTINGS).read_text()) == {"key": 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_died_keeps_nobody_out(holder, tmp_path, how):
    os.kill(holder.pid, how)
    holder.wait()
    with occupied(tmp_path / "run"), begun(tmp_path / "run", {"key": 2}):
        assert (tmp_path / "run" / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [SETTINGS]


def test_what_could_not_be_read_again_is_not_begun(tmp_path):
    files = [f"/somewhere/on/a/large/disk/frames-{number:06d}.npz" for number in range(25_000)]
    with pytest.raises(ValueError, match="the settings have 1.* bytes, and only 1000000 can be read again"):
        with occupied(tmp_path / "run"), begun(tmp_path / "run", {"frames": files}):
            raise AssertionError("it was begun")
    assert not (tmp_path / "run" / SETTINGS).exists()


def test_a_list_that_stands_twice_in_settings_is_read_again(tmp_path):
    edges = [2.5, 2.5, 2.5]
    with occupied(tmp_path / "run"), begun(tmp_path / "run", {"box": edges, "inside": {"box": edges}}):
        pass
    assert asked_for(tmp_path / "run") == {"box": edges, "inside": {"box": edges}}


def test_one_after_the_other_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            with occupied(tmp_path / "run"), begun(tmp_path / "run", {}):
                raise ZeroDivisionError
    with occupied(tmp_path / "run"), begun(tmp_path / "run", {}):
        with pytest.raises(RunDirectoryError, match="is in use by process"):
            with occupied(tmp_path / "run"):
                pass


def test_a_run_is_not_gone_on_with_by_two(tmp_path):
    """The one that came second stops before it touches a file."""
    run = {"duration": 0.02, "interval": 0.01, "timestep": 0.005, "backend": "native", "platform": "Reference"}
    denoiser, start = licl_denoiser(kinds=("wall", "pair")), licl_frames().positions[0]
    simulate(denoiser, tmp_path / "run", run, positions=start, progress=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    longer = {**run, "duration": 0.04}
    with occupied(tmp_path / "run"):
        with pytest.raises(RunDirectoryError, match="is in use by"):
            simulate(denoiser, tmp_path / "run", longer, resume=True, progress=False)
    time.sleep(0.01)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    simulate(denoiser, tmp_path / "run", longer, resume=True, progress=False)


def test_what_fails_in_its_checks_leaves_a_directory_as_it_was(tmp_path):
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "there", tmp_path / "new", tmp_path / "of" / "several"):
        with pytest.raises(ZeroDivisionError), occupied(path):
            assert (path / LOCK).exists()
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    with occupied(tmp_path / "of" / "several"):
        pass
    assert (tmp_path / "of" / "several").is_dir() and not list((tmp_path / "of" / "several").iterdir())


CHECKING = """
import sys
sys.path[:0] = sys.argv[1:2]
from models import licl_denoiser
from openmm_diffusion import simulate, train
from openmm_diffusion.simulation import langevin
read = langevin.read_state

def slowly(path):
    state = read(path)
    print("read", flush=True)
    sys.stdin.readline()
    return state

langevin.read_state = slowly
run = {"duration": 0.04, "interval": 0.01, "timestep": 0.005, "backend": "native", "platform": "Reference"}
simulate(licl_denoiser(kinds=("wall", "pair")), sys.argv[2], run, resume=True, progress=False)
"""


@pytest.mark.slow
def test_nothing_changes_between_the_checks_of_a_run_and_its_work(tmp_path):
    """Another process that would go on meanwhile is refused: the first would write what has been written since."""
    run = {"duration": 0.02, "interval": 0.01, "timestep": 0.005, "backend": "native", "platform": "Reference"}
    denoiser, start, output = licl_denoiser(kinds=("wall", "pair")), licl_frames().positions[0], tmp_path / "run"
    simulate(denoiser, output, run, positions=start, progress=False)
    arguments = [sys.executable, "-c", CHECKING, os.path.dirname(__file__), str(output)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "read"
        longer = {**run, "duration": 0.03}
        with pytest.raises(RunDirectoryError, match=rf"is in use by process {process.pid} on"):
            simulate(denoiser, output, longer, resume=True, progress=False)
        process.stdin.close()
        assert process.wait(60) == 0
    steps = [int(row.split(",")[0]) for row in (output / "state.csv").read_text().splitlines()[1:]]
    assert steps == [2, 4, 6, 8]


@pytest.mark.parametrize("command", ["train", "simulate", "refine", "generate"])
def test_every_run_reads_its_directory_when_nobody_else_can_write_there(command, tmp_path, monkeypatch):
    from openmm_diffusion import rundirectory

    calls = {
        "train": lambda: train(licl_frames(), {"network": None}, tmp_path / "run", progress=False),
        "simulate": lambda: simulate(
            licl_denoiser(kinds=("wall", "pair")), tmp_path / "run", {"backend": "native"}, progress=False
        ),
        "refine": lambda: refine(
            train(licl_frames(), {"network": None}, progress=False), licl_frames(), tmp_path / "run"
        ),
        "generate": lambda: generate({"pairs": 2, "edge": 1.5, "cutoff": 0.7}, tmp_path / "run"),
    }  # fmt: skip
    asked = []

    def check(directory, *_, **__):
        with pytest.raises(RunDirectoryError, match=f"is in use by process {os.getpid()} on"), occupied(directory):
            pass
        asked.append(directory)
        raise ZeroDivisionError

    monkeypatch.setattr(rundirectory, "check", check)
    with pytest.raises(ZeroDivisionError):
        calls[command]()
    assert asked == [tmp_path / "run"] and not (tmp_path / "run").exists()
