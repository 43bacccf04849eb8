"""A disk that takes no more ends a run in one sentence and loses nothing; the run goes on where there is space."""

import os
import shutil
import subprocess

import commandline
import kills
import numpy as np
import pytest
from models import LICL, QUICK, licl_denoiser, licl_frames

from openmm_diffusion import Denoiser, simulate, train
from openmm_diffusion.learning.network.kept import read_checkpoint
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.workflows.export import export
from openmm_diffusion.workflows.refine import refine

pytestmark = pytest.mark.slow

GO_ON = "go on with --resume: what was saved before is whole"


class Disk:
    """A small disk in memory."""

    def __init__(self, path):
        self.path, self.ballast = path, path / "ballast"

    def options(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)

    def leave(self, size):
        """Fill it up to so many bytes."""
        free = os.statvfs(self.path)
        self.ballast.write_bytes(b"x" * (free.f_bavail * free.f_frsize - size))

    def free(self):
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mounts a small disk in memory, which needs root: {made.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", path], check=True)


def run(output, resume=False, n_frames=120, **more):
    settings = kills.run_of(n_frames, backend="native", **more)
    return simulate(licl_denoiser(kinds=QUICK), output, settings, resume, licl_frames().positions[0], progress=False)


def refused(disk, call, says=f"there is no space left for it: free some space or inodes, and {GO_ON}"):
    """A call ends in one sentence that names a path on the disk, and leaves nothing half made."""
    with pytest.raises(OSError) as caught:
        call()
    told = str(caught.value)
    assert told.startswith(str(disk.path)) and told.endswith(says) and len(told.splitlines()) == 1, told
    left = [path for path in disk.path.rglob("*") if path.suffix == ".tmp" or path.name == ".lock"]
    assert not left, left


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["dcd", "xtc"])
@pytest.mark.parametrize("space", [0, 20_000, 60_000])
def test_a_run_on_a_full_disk(disk, kind, space):
    output = disk.path / "run"
    disk.leave(space)
    refused(disk, lambda: run(output, format=kind))
    disk.free()
    run(output, resume=True, format=kind)
    kills.check_run(output, 120)


def test_a_run_without_inodes(disk):
    disk.options("nr_inodes=8")
    for number in range(6):
        (disk.path / f"inode-{number}").touch()
    refused(disk, lambda: run(disk.path / "run"))
    assert not (disk.path / "run").exists()
    disk.options("nr_inodes=1000")
    run(disk.path / "run", resume=True)
    kills.check_run(disk.path / "run", 120)


def test_a_directory_that_can_only_be_read(disk):
    run(disk.path / "run", n_frames=20)
    before = {path.name: path.read_bytes() for path in (disk.path / "run").iterdir()}
    disk.options("ro")
    says = f"its file system can only be read: make it writable, or name a directory elsewhere, and {GO_ON}"
    refused(disk, lambda: run(disk.path / "run", resume=True), says)
    refused(disk, lambda: run(disk.path / "other"), says)
    disk.options("rw")
    assert {path.name: path.read_bytes() for path in (disk.path / "run").iterdir()} == before
    run(disk.path / "run", resume=True)
    kills.check_run(disk.path / "run", 120)


def test_a_training_on_a_full_disk(disk, tmp_path):
    """The model is that of a training with space; best and last are whole, wherever it stopped."""
    config, output = kills.SCENARIOS["train, network"].config, disk.path / "run"
    whole = train(None, config, tmp_path / "whole", progress=False)
    checkpoint = (tmp_path / "whole" / "checkpoints" / "last.ckpt").stat().st_size
    # Room for nothing; for what is fitted first; for one checkpoint or two; for none beside those that are there.
    for space in (0, checkpoint, 2 * checkpoint, checkpoint // 2):
        disk.leave(space)
        refused(disk, lambda: train(None, config, output, resume=True, progress=False))
        disk.free()
        assert all(read_checkpoint(path) for path in output.glob("checkpoints/*"))
    assert train(None, config, output, resume=True, progress=False).digest() == whole.digest()


def test_a_generation_on_a_full_disk(disk, monkeypatch):
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    scenario = kills.SCENARIOS["generate"]
    config, output = scenario.config | {"runs": 1, "frames": 6, "chunk": 1}, disk.path / "run"
    for space in (0, 40_000, 8_000):
        disk.leave(space)
        refused(disk, lambda: generate(config, output, resume=True))
        disk.free()
    frames = generate(config, output, resume=True)
    assert len(frames) == 6 and len(np.unique(frames.positions.reshape(6, -1), axis=0)) == 6


def test_a_refinement_on_a_full_disk(disk):
    sampling = kills.SCENARIOS["refine"].config["sampling"]
    config, output = {"sampling": sampling | {"duration": 0.4}}, disk.path / "run"
    model = train(None, kills.FITTED | {"network": None}, progress=False)
    frames = kills.Frames.load(LICL)[:60]
    for space in (0, 30_000):
        disk.leave(space)
        refused(disk, lambda: refine(model, frames, output, config, resume=True))
        disk.free()
    refine(model, frames, output, config, resume=True)
    for path in output.glob("iteration-0/run-*"):
        kills.check_run(path, 20)


def test_files_of_one_call_on_a_full_disk(disk, tmp_path):
    """What was there stays; the command says what to do."""
    licl_denoiser(kinds=QUICK).save(tmp_path / "model.safetensors")
    output = disk.path / "out"
    export(licl_denoiser(kinds=QUICK), None, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    disk.leave(0)
    with pytest.raises(OSError, match="No space left on device: '.*system.xml'"):
        export(licl_denoiser(kinds=QUICK), None, output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    done = commandline.run("export", tmp_path / "model.safetensors", "-o", output)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    told = f"error: {output / 'system.xml'} cannot be written, there is no space left for it: free some space or inodes"
    assert done.stderr.splitlines()[-1] == f"{told}, and give the command again"


def test_a_model_on_a_full_disk(disk, tmp_path):
    path, denoiser = disk.path / "model.safetensors", licl_denoiser(kinds=QUICK)
    denoiser.save(path)
    disk.leave(0)
    for save in (denoiser.save, lambda path: licl_frames().save(path.with_suffix(".npz"))):
        with pytest.raises(OSError, match="No space left on device: '.*model"):
            save(path)
    assert Denoiser.load(path).digest() == denoiser.digest()
    assert sorted(path.name for path in disk.path.iterdir()) == ["ballast", "model.safetensors"]


def test_a_file_that_may_not_grow(tmp_path):
    """The limit of a shell (ulimit -f) is a full disk too."""
    arguments = kills.Campaign("simulate, native", kills.prepared(tmp_path), tmp_path).arguments(tmp_path / "run")
    command = " ".join(["ulimit -f 40; exec", kills.sys.executable, "-m openmm_diffusion", *map(str, arguments)])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=kills.environment())
    assert done.returncode == 1 and "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"raise that limit (ulimit -f), and {GO_ON}"), done.stderr
    kills.finished([*arguments, "--resume"], tmp_path / "log")
    kills.check_run(tmp_path / "run", 300)
    shutil.rmtree(tmp_path / "run")
