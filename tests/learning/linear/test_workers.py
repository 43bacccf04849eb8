"""Fits whose averages several workers make: those of one process, whoever dies, of more frames than memory holds."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from freechain import frames as chains
from models import LICL

from openmm_diffusion import Denoiser, Frames, train
from openmm_diffusion.cluster import connected
from openmm_diffusion.data.sets import blocks, divide, resampled
from openmm_diffusion.learning import trainingset
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.linear import fit as fitting
from openmm_diffusion.learning.linear import scorematching
from openmm_diffusion.learning.stored import File, StoredFrames, survey

pytest.importorskip("distributed")

PAIR = {"spacing": 0.05, "sigma": 0.0}
ALONE = {"network": None, "prior": {"wall": None}}


@pytest.fixture(scope="module")
def client():
    with connected(workers=2) as found:
        yield found


@pytest.fixture
def small_pieces(monkeypatch):
    """So that every replica is several of them."""
    monkeypatch.setattr(fitting, "PIECE", 1)
    monkeypatch.setattr(fitting, "frames_at_once", lambda energy, species: 7)


def licl(n=200):
    return Frames.load(LICL)[:n]


def known(monkeypatch, given, config, client):
    """The moments of a training, as its fit is given them, and the model."""
    kept = []

    def recorded(original):
        def call(energy, replicas, *more):
            kept.append(replicas)
            return original(energy, replicas, *more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit", recorded(scorematching.fit))
        patch.setattr(fitting, "fit_labelled", recorded(fitting.fit_labelled))
        model = train(given, config, progress=False, client=client)
    return kept, model


def assert_same(mine, theirs, of=1e-12):
    assert mine.weight == theirs.weight
    for one, other in ((mine.A, theirs.A), (mine.b, theirs.b)):
        assert (one - other).abs().max() <= of * other.abs().max()


CASES = {
    "frames as they are": {"pair": PAIR},
    "noised frames": {"pair": {**PAIR, "sigma": 0.004, "draws": 3}},
    "a range of noise": {"pair": {"spacing": 0.1}, "noise": {"sigma": [0.003, 0.02]}},
    "with a pressure": {"pair": PAIR, "pressure": {"value": 100.0}},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_averages_of_workers_are_those_of_one_process(case, client, small_pieces, monkeypatch):
    config = {**ALONE, **CASES[case]}
    serial, _ = known(monkeypatch, licl(), config, None)
    shared, _ = known(monkeypatch, licl(), config, client)
    assert len(serial) == len(shared) == (7 if "range" in case else 1)
    for one, other in zip(serial, shared):
        assert len(one) == len(other) >= 2
        for mine, theirs in zip(other, one):
            assert_same(mine, theirs)
            if "pressure" in case:
                for a, b in zip(mine.strain, theirs.strain):
                    a, b = np.asarray(a), np.asarray(b)
                    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(b).max())


@pytest.mark.slow
def test_averages_over_labels_too(client, small_pieces, monkeypatch):
    rng = np.random.default_rng(2)
    forces = rng.normal(0, 300, (200, 48, 3))
    forces[::3] = np.nan
    given = replace(licl(), forces=forces, replica=np.arange(200) // 20)
    config = {**ALONE, "target": "hybrid", "pair": {**PAIR, "sigma": 0.004}}
    serial, _ = known(monkeypatch, given, config, None)
    shared, _ = known(monkeypatch, given, config, client)
    for one, other in zip(shared[0], serial[0]):
        for mine, theirs in zip(one.score + one.force, other.score + other.force):
            assert_same(mine, theirs)
        assert (one.power - other.power).abs().max() <= 1e-12 * other.power.abs().max()


@pytest.mark.long
def test_models_are_the_same_to_the_last_digit_for_any_number_of_workers(client, small_pieces, tmp_path):
    """Of frames in memory, and of the same in a file."""
    given, config = licl(), {**ALONE, "pair": {**PAIR, "sigma": 0.004}}
    given.save(tmp_path / "frames.npz")
    named = config | {"data": {"frames": str(tmp_path / "frames.npz")}}
    digests = [train(given, config, progress=False, client=client).digest()]
    digests.append(train(None, named, progress=False, client=client).digest())
    for number in (1, 4):
        with connected(workers=number) as other:
            digests.append(train(None, named, progress=False, client=other).digest())
    assert len(set(digests)) == 1


@pytest.mark.slow
def test_energies_of_what_the_frames_hold_are_shared_too(client, small_pieces, monkeypatch):
    """Kinds and ranges of bonds, angles and dihedrals are surveyed before."""
    molecules = chains(300)
    (alone,), serial = known(monkeypatch, molecules, {"pair": None}, None)
    (shared,), model = known(monkeypatch, molecules, {"pair": None}, client)
    for mine, theirs in zip(shared, alone, strict=True):
        assert_same(mine, theirs)
    forces = [one.forces(molecules.positions[:20]) for one in (model, serial)]
    assert np.abs(forces[0] - forces[1]).max() < 1e-4 * np.abs(forces[1]).max()


def test_a_generator_goes_on_as_if_all_had_been_drawn_at_once():
    for number in (3, 15, 16, 17, 1000, 4096, 4097, 4111, 12_345):
        one, other = (torch.Generator().manual_seed(5) for _ in range(2))
        torch.randn(number, generator=one, dtype=torch.float64)
        fitting._skip(other, number, at_once=1024)
        assert torch.equal(one.get_state(), other.get_state()), number


@pytest.fixture(scope="module")
def in_file(tmp_path_factory):
    """Frames with labels in some, boxes that differ, three replicas; and the same in a file."""
    rng = np.random.default_rng(4)
    given = licl(60)
    forces = rng.normal(size=given.positions.shape)
    forces[::2] = np.nan
    boxes = given.boxes * rng.uniform(1.0, 1.01, (60, 1, 1))
    given = replace(given, forces=forces, box=boxes, replica=np.repeat([4, 7, 9], 20))
    path = tmp_path_factory.mktemp("stored") / "frames.npz"
    given.save(path)
    return Frames.load(path), survey(File.found(path))


def assert_equal(stored, frames):
    assert isinstance(stored, StoredFrames) and len(stored) == len(frames)
    for name in ("positions", "forces", "box", "replica", "types", "species", "masses", "boxes", "labelled"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(frames, name), err_msg=name)
    assert stored.temperature == frames.temperature and stored.number_density == frames.number_density
    assert stored.bias_forces is None and stored.bonds is None


def test_stored_frames_are_what_frames_are(in_file):
    frames, stored = in_file
    assert "positions" not in vars(stored)
    assert stored.digest() == frames.digest()
    assert_equal(stored, frames)
    assert_equal(stored[5:50:3], frames[5:50:3])
    assert_equal(stored[frames.replica == 7][[3, 1]], frames[frames.replica == 7][[3, 1]])
    for mine, theirs in zip(divide(stored, limit=30), divide(frames, limit=30)):
        assert_equal(mine, theirs)
        assert mine.shortest_distances() == theirs.shortest_distances()
    for number in (3, 10):
        for mine, theirs in zip(blocks(stored, number), blocks(frames, number), strict=True):
            assert_equal(mine, theirs)
    assert_equal(resampled(stored, 3), resampled(frames, 3))
    assert stored[:7].here().digest() == frames[:7].digest()


def test_a_file_that_changes_meanwhile_is_refused(tmp_path):
    licl(30).save(tmp_path / "frames.npz")
    stored = survey(File.found(tmp_path / "frames.npz"))
    licl(40).save(tmp_path / "frames.npz")
    with pytest.raises(ValueError, match="frames.npz was changed while a training went on"):
        _ = stored.positions
    (tmp_path / "frames.npz").unlink()
    with pytest.raises(ValueError, match="frames.npz cannot be found any more, or not on the machine of a worker"):
        _ = stored.positions


@pytest.mark.slow
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(client, tmp_path):
    config = {**ALONE, "pair": PAIR, "data": {"frames": [str(LICL), str(tmp_path / "none.npz")]}}
    with pytest.raises(FileNotFoundError, match="none.npz does not exist"):
        train(None, config, progress=False, client=client)
    (tmp_path / "none.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="none.npz cannot be read as npz"):
        train(None, config, progress=False, client=client)
    config["data"]["frames"] = str(LICL)
    with pytest.raises(ValueError, match=r"pair\.cutoff"):
        train(None, {**config, "pair": {"cutoff": 2.0}}, progress=False, client=client)


@pytest.mark.slow
def test_nothing_is_lost_with_a_worker_that_is_killed(small_pieces, monkeypatch):
    """SIGKILL when a third of the pieces has come; another takes its place and goes on."""
    given, config = licl(400), read_config({**ALONE, "pair": {**PAIR, "sigma": 0.004}})
    whole, _ = known(monkeypatch, given, config, None)
    killed, original = [], fitting.mapped
    with connected(workers=2) as client:
        pids = list(client.run(os.getpid).values())

        def counted(*arguments):
            for number, result in enumerate(original(*arguments)):
                if number == 12:
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])
                yield result

        monkeypatch.setattr(fitting, "mapped", counted)
        found, _ = known(monkeypatch, given, config, client)
        client.wait_for_workers(2, timeout=300)
        assert killed and killed[0] not in client.run(os.getpid).values()
    for mine, theirs in zip(found[0], whole[0], strict=True):
        assert_same(mine, theirs)


@pytest.mark.long
def test_the_command_line_with_a_scheduler_whose_worker_is_killed(tmp_path):
    """Scheduler, workers and training are processes of their own; one worker is killed, and the model is the same."""
    licl(300).save(tmp_path / "frames.npz")
    config = {**ALONE, "pair": {**PAIR, "sigma": 0.004, "draws": 60}, "data": {"frames": str(tmp_path / "frames.npz")}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    address = tmp_path / "scheduler.json"
    begun = []

    def begin(*arguments, **more):
        begun.append(subprocess.Popen([*map(str, arguments)], env=environment, cwd=tmp_path, **more))
        return begun[-1]

    try:
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        begin(*scheduler, "--scheduler-file", address, "--port", 0, "--no-dashboard", **quiet)
        more = ["--scheduler-file", address, "--nthreads", 1, "--no-nanny", "--no-dashboard"]
        workers = [begin(*worker, *more, **quiet) for _ in range(2)]
        import distributed

        with distributed.Client(scheduler_file=str(address), timeout=60, set_as_default=False) as watching:
            watching.wait_for_workers(2, timeout=60)
            command = [sys.executable, "-m", "openmm_diffusion", "train", "config.yaml", "-o", "shared"]
            training = begin(*command, "--scheduler", watching.scheduler.address, stderr=subprocess.PIPE, text=True)

            def busy():
                return any("_called" in key for keys in watching.processing().values() for key in keys)

            deadline = threading.Event()
            while not (busy() and len(watching.has_what()) == 2) and training.poll() is None:
                deadline.wait(0.1)
            deadline.wait(1.0)
            assert training.poll() is None, "it was over before a worker could be killed"
            workers[0].kill()
            _, said = training.communicate(timeout=300)
        assert training.returncode == 0, said
        alone = begin(*command[:-1], "alone", stderr=subprocess.PIPE, text=True)
        assert alone.wait(300) == 0
    finally:
        for process in begun:
            process.kill()
            process.wait()
    mine, theirs = (Denoiser.load(tmp_path / name / "model.safetensors") for name in ("shared", "alone"))
    for one, other in zip(mine.modules(), theirs.modules()):
        torch.testing.assert_close(one.coefficients, other.coefficients, rtol=1e-8, atol=1e-9)


MEMORY = """
import resource, sys
from openmm_diffusion.cluster import connected
from openmm_diffusion.learning.training import train


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ready():
    import openmm_diffusion.learning.training
    import scipy.linalg
    return peak()


if __name__ == "__main__":
    files = sys.argv[1:]
    pair = {"start": 0.3, "cutoff": 0.5, "spacing": 0.04, "sigma": 0.0}
    data = {"frames": files, "test_fraction": 0, "validation_fraction": 0}
    config = {"pair": pair, "network": None, "prior": {"wall": None}, "data": data}
    with connected(workers=2) as client:
        # Of three files, so that each worker has a share of what is done with them.
        train(None, config | {"data": data | {"frames": files[:3]}}, progress=False, client=client)
        before = [peak(), *client.run(ready).values()]
        train(None, config, progress=False, client=client)
        after = [peak(), *client.run(peak).values()]
    # Of the workers the largest: which of them has done most before is chance.
    print(after[0] - before[0], max(after[1:]) - max(before[1:]))
"""


@pytest.mark.long
def test_frames_of_more_files_than_memory_holds(tmp_path):
    """What peaks grow by from the training on a quarter of the files to that on all is far below what these hold."""
    rng, number, n = np.random.default_rng(1), 12, 40_000
    grid = np.stack(np.meshgrid(*[np.arange(3) * 0.6] * 3), -1).reshape(-1, 3)
    files = []
    for i in range(number):
        x = (grid + rng.normal(0, 0.05, (n, 27, 3))).astype(np.float32)
        files.append(tmp_path / f"frames-{i}.npz")
        arrays = {"positions": x, "atomic_numbers": np.full(27, 18), "box": 1.8 * np.eye(3), "temperature": 300.0}
        np.savez(files[-1], **arrays, replica=np.arange(n) // (n // 5))
    script = tmp_path / "memory.py"
    script.write_text(MEMORY)
    package = str(Path(trainingset.__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    command = [sys.executable, str(script), *map(str, files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    grown = [float(word) for word in done.stdout.split()]
    held = sum(file.stat().st_size for file in files) / 2**20
    assert held > 140
    assert len(grown) == 2 and max(grown) < 0.4 * held, (grown, held)
