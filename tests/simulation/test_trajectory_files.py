"""What a killed run left of its files: cut back to the checkpoint byte by byte, or refused where something is gone."""

import struct

import mdtraj
import pytest
from models import licl_denoiser, licl_frames

from openmm_diffusion import simulate

RUN = {"duration": 0.1, "interval": 0.02, "timestep": 0.005, "backend": "native", "platform": "Reference"}
FORMATS = pytest.mark.parametrize("kind", ["dcd", "xtc"])


def run(output, kind, duration, resume=False):
    settings = {**RUN, "format": kind, "duration": duration}
    model, start = licl_denoiser(kinds=("wall", "pair")), licl_frames().positions[0]
    return simulate(model, output, settings, resume, None if resume else start, progress=False)


def rows(output):
    return (output / "state.csv").read_text().splitlines()


def contents(output):
    return {path.name: path.read_bytes() for path in output.iterdir()}


@FORMATS
@pytest.mark.parametrize("more", [b"", b"half of a frame", "another run's frames"])
def test_what_follows_the_checkpoint_is_cut_off(tmp_path, kind, more):
    path = run(tmp_path / "run", kind, 0.1)
    before, table = path.read_bytes(), rows(tmp_path / "run")
    if isinstance(more, str):
        longer = run(tmp_path / "other", kind, 0.2).read_bytes()
        more = longer[len(before) :] if kind == "dcd" else longer
    path.write_bytes(before + more)
    (tmp_path / "run" / "state.csv").write_text("\n".join([*table, "24,0.12,half of a r"]))
    run(tmp_path / "run", kind, 0.2, resume=True)
    after = path.read_bytes()
    where = 92 if kind == "dcd" else 0  # behind the counts in the header
    assert after[where : len(before)] == before[where:] and len(after) > len(before)
    found = mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb"))
    assert found.n_frames == 10 and rows(tmp_path / "run")[:6] == table and len(rows(tmp_path / "run")) == 11


def test_the_header_of_a_dcd_file_is_that_of_a_run_without_a_break(tmp_path):
    """Frames, first step, interval and time step."""
    whole = run(tmp_path / "whole", "dcd", 0.2).read_bytes()
    run(tmp_path / "run", "dcd", 0.1)
    broken = run(tmp_path / "run", "dcd", 0.2, resume=True).read_bytes()
    assert struct.unpack("<3i", broken[8:20]) == struct.unpack("<3i", whole[8:20]) == (10, 4, 4)
    assert broken[44:48] == whole[44:48] and len(broken) == len(whole)


@FORMATS
@pytest.mark.parametrize("lost", ["the last frame", "a part of it", "all"])
def test_a_file_without_frames_before_the_checkpoint_is_refused(tmp_path, kind, lost):
    path = run(tmp_path / "run", kind, 0.1)
    data = path.read_bytes()
    if lost == "all":
        path.unlink()
    else:
        path.write_bytes(data[: -len(data) // 6 if lost == "the last frame" else -5])
    before = contents(tmp_path / "run")
    told = r"trajectory\.\w+ holds \d whole frames, but the checkpoint beside it is at frame 5: copy a whole file back"
    with pytest.raises(ValueError, match=told):
        run(tmp_path / "run", kind, 0.2, resume=True)
    after = contents(tmp_path / "run")
    assert {name: data for name, data in after.items() if name != "config.yaml"} == {
        name: data for name, data in before.items() if name != "config.yaml"
    }
    path.write_bytes(data)
    run(tmp_path / "run", kind, 0.2, resume=True)
    assert mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb")).n_frames == 10


def test_a_table_that_lacks_rows_is_refused(tmp_path):
    run(tmp_path / "run", "dcd", 0.1)
    table = rows(tmp_path / "run")
    (tmp_path / "run" / "state.csv").write_text("\n".join([*table[:3], ""]))
    with pytest.raises(ValueError, match=r"state\.csv holds 2 rows, but the checkpoint beside it is at frame 5"):
        run(tmp_path / "run", "dcd", 0.2, resume=True)
