"""Trajectories in HDF5: what is written, and that a run goes on with no frame missing and none double."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import mdtraj
import numpy as np
import pytest
from models import licl_denoiser, licl_frames

from openmm_diffusion import Frames, simulate
from openmm_diffusion.simulation.trajectories import cut_back

#: pip install 'openmm_diffusion[hdf5]'
stored = pytest.mark.skipif(importlib.util.find_spec("tables") is None, reason="pytables is not installed")
RUN = dict(interval=0.02, timestep=0.005, backend="native", platform="Reference", format="h5")


def run(output, duration, resume=False, **settings):
    model, start = licl_denoiser(kinds=("wall", "pair")), licl_frames().positions[0]
    settings = {**RUN, "duration": duration, **settings}
    return simulate(model, output, settings, resume, None if resume else start, progress=False)


def assert_whole(path, n_frames, interval=0.02):
    """Every frame once, at its time."""
    found = mdtraj.load(str(path))
    np.testing.assert_allclose(found.time, interval * np.arange(1, n_frames + 1), atol=1e-5)
    rows = (path.parent / "state.csv").read_text().splitlines()
    assert len(rows) == n_frames + 1
    return found


def test_without_pytables_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"format is h5, which needs pytables: pip install 'openmm_diffusion\[hdf5\]'"
    ):
        run(tmp_path / "run", 0.1)
    assert not (tmp_path / "run").exists()


@stored
def test_frames_are_those_of_a_dcd_file_with_topology_times_and_cells(tmp_path):
    path, other = run(tmp_path / "h5", 0.1), run(tmp_path / "dcd", 0.1, format="dcd")
    assert path.name == "trajectory.h5"
    found, wanted = assert_whole(path, 5), mdtraj.load(str(other), top=str(tmp_path / "dcd" / "topology.pdb"))
    np.testing.assert_allclose(found.xyz, wanted.xyz, atol=1e-6)
    np.testing.assert_allclose(found.unitcell_vectors, wanted.unitcell_vectors, atol=1e-5)
    assert [atom.element.symbol for atom in found.topology.atoms] == ["Li"] * 24 + ["Cl"] * 24
    frames = Frames.from_trajectory(path, temperature=300)
    np.testing.assert_allclose(frames.positions, found.xyz, atol=1e-6)
    assert list(frames.types) == list(licl_frames().types)


@stored
def test_a_run_goes_on(tmp_path):
    path = run(tmp_path / "run", 0.1)
    before = mdtraj.load(str(path)).xyz
    run(tmp_path / "run", 0.2, resume=True)
    after = assert_whole(path, 10)
    np.testing.assert_array_equal(after.xyz[:5], before)
    assert len(np.unique(after.xyz[:, 0, 0])) == 10


@stored
def test_frames_behind_the_checkpoint_are_written_again(tmp_path):
    path = run(tmp_path / "run", 0.1)
    longer = run(tmp_path / "other", 0.2)
    before = mdtraj.load(str(path)).xyz
    path.write_bytes(longer.read_bytes())
    run(tmp_path / "run", 0.2, resume=True)
    np.testing.assert_array_equal(assert_whole(path, 10).xyz[:5], before)


@stored
def test_half_a_frame_behind_the_checkpoint_is_cut_off(tmp_path):
    """Positions were written, but neither time nor cell."""
    from mdtraj.formats import HDF5TrajectoryFile

    path = run(tmp_path / "run", 0.1)
    with HDF5TrajectoryFile(str(path), "a") as file:
        file._handle.root.coordinates.append(np.zeros((1, 48, 3), dtype=np.float32))
    run(tmp_path / "run", 0.2, resume=True)
    assert np.abs(assert_whole(path, 10).xyz).max() > 0


@stored
@pytest.mark.parametrize("lost", ["a frame", "the end of the file", "all"])
def test_a_file_without_frames_before_the_checkpoint_is_refused(tmp_path, lost):
    path = run(tmp_path / "run", 0.1)
    data = path.read_bytes()
    if lost == "a frame":
        path.write_bytes(run(tmp_path / "short", 0.08).read_bytes())
    elif lost == "all":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 3])
    told = r"trajectory\.h5 holds \d whole frames, but the checkpoint beside it is at frame 5: copy a whole file back"
    with pytest.raises(ValueError, match=told):
        run(tmp_path / "run", 0.2, resume=True)
    path.write_bytes(data)
    run(tmp_path / "run", 0.2, resume=True)
    assert_whole(path, 10)


@stored
def test_nothing_is_cut_where_a_table_lacks_rows(tmp_path):
    path = run(tmp_path / "run", 0.1)
    (tmp_path / "run" / "state.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"state\.csv holds 1 rows"):
        cut_back([path], 3)
    assert mdtraj.load(str(path)).n_frames == 5


@stored
def test_replicas_have_a_file_each(tmp_path):
    start = licl_frames().positions[:2].astype(float)
    settings = {**RUN, "duration": 0.04, "replicas": 2, "backend": "python"}
    paths = simulate(licl_denoiser(kinds=("wall", "pair")), tmp_path / "run", settings, positions=start, progress=False)
    found = [assert_whole(path, 2) for path in paths]
    assert [each.n_atoms for each in found] == [48, 48] and np.abs(found[0].xyz - found[1].xyz).max() > 0.1


@stored
@pytest.mark.slow
def test_a_killed_run_goes_on_in_another_process(tmp_path):
    licl_denoiser(kinds=("wall", "pair")).save(tmp_path / "model.safetensors")
    licl_frames()[:1].save(tmp_path / "start.npz")
    output = tmp_path / "run"

    def command(duration, *more):
        return [
            str(part) for part in (
                sys.executable, "-m", "openmm_diffusion", "simulate", tmp_path / "model.safetensors", "-o", output,
                "--start", tmp_path / "start.npz", "--duration", duration, "--interval", 0.02, "--timestep", 0.005,
                "--platform", "Reference", "--backend", "native", "--format", "h5", *more,
            )
        ]  # fmt: skip

    process = subprocess.Popen(command(1000), stdout=subprocess.DEVNULL)
    deadline = time.time() + 200
    while not (output / "checkpoint.xml").exists() and time.time() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    from openmm_diffusion.simulation.states import read_state

    saved = round(read_state(output / "checkpoint.xml").getTime()._value / 0.02)
    assert saved >= 10
    done = subprocess.run(command(0.02 * (saved + 5), "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_whole(output / "trajectory.h5", saved + 5)
