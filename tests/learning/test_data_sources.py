"""Trajectories in the configuration of a training, with a map of atoms to beads and without."""

import mdtraj
import numpy as np
import pytest
import yaml

from openmm_diffusion import Frames, train
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.trainingset import frames_of

EDGE = 1.9
BEADS = {"beads": [{"type": "W", "select": "water", "per": "residue", "at": "mass"}]}


@pytest.fixture
def directory(tmp_path):
    """Two runs of 27 waters each, an atom here and there in another image, with a topology and a map beside."""
    rng = np.random.default_rng(3)
    top = mdtraj.Topology()
    for _ in range(27):
        residue = top.add_residue("HOH", top.chain(0) if top.n_chains else top.add_chain())
        for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
            top.add_atom(name, mdtraj.element.get_by_symbol(element), residue)
    top.create_standard_bonds()
    corner = np.stack(np.unravel_index(np.arange(27), (3, 3, 3)), axis=-1)[:, None] * EDGE / 3
    shape = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [-0.0333, 0.0943, 0.0]])
    for name, n_frames in (("one", 40), ("two", 60)):
        oxygen = corner + rng.uniform(0, 0.38, (n_frames, 27, 1, 3))
        positions = (oxygen + shape).reshape(n_frames, 81, 3)
        positions = positions + EDGE * rng.integers(-1, 2, positions.shape)
        run = mdtraj.Trajectory(positions.astype(np.float32), top)
        run.unitcell_vectors = np.array(np.broadcast_to(EDGE * np.eye(3), (n_frames, 3, 3)))
        run.save(str(tmp_path / f"{name}.dcd"))
        run[:1].save(str(tmp_path / "top.pdb"))
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(BEADS))
    return tmp_path


def settings(directory, **data):
    values = {"data": {"trajectory": ["one.dcd", "two.dcd"], "top": "top.pdb", "temperature": 300} | data}
    path = directory / "train.yaml"
    path.write_text(yaml.safe_dump(values))
    return read_config(path).data


@pytest.mark.parametrize("mapping", ["map.yaml", BEADS])
def test_paths_start_at_the_file_and_the_map_is_a_file_or_written_out(directory, mapping):
    frames = frames_of(settings(directory, map=mapping))[0]
    assert set(frames.types) == {"W"} and frames.positions.shape == (100, 27, 3)
    assert frames.replica.tolist() == [0] * 40 + [1] * 60 and frames.temperature == 300
    # From oxygen to the centre of mass: hydrogens are at (0.1, 0) and (-0.0333, 0.0943) nm.
    runs, hydrogen = [directory / "one.dcd", directory / "two.dcd"], 1.008 / 18.015
    oxygen = Frames.from_trajectory(runs, directory / "top.pdb", "name O", 300)
    offset = frames.positions - oxygen.positions
    offset -= EDGE * np.round(offset / EDGE)
    expected = [(0.1 - 0.0333) * hydrogen, 0.0943 * hydrogen, 0]
    np.testing.assert_allclose(offset.reshape(-1, 3).mean(0), expected, atol=2e-6)


def test_atoms_are_selected_and_named_without_a_map(directory):
    frames = frames_of(settings(directory, trajectory="one.dcd", select="name O", types="residue:name"))[0]
    assert set(frames.types) == {"HOH:O"} and frames.positions.shape == (40, 27, 3)


@pytest.mark.parametrize("more", [{"map": BEADS}, {"select": "name O"}])
def test_a_box_that_the_files_lack_is_given(directory, more):
    run = mdtraj.load(str(directory / "one.dcd"), top=str(directory / "top.pdb"))
    run.unitcell_vectors = None
    run.save(str(directory / "free.dcd"))
    given = ({}, {"box": [EDGE] * 3})
    boxes = [frames_of(settings(directory, trajectory="free.dcd", **more, **box))[0].box for box in given]
    assert boxes[0] is None
    np.testing.assert_allclose(boxes[1], EDGE * np.eye(3))


def test_a_training_reads_trajectories_through_the_map(directory):
    config = {"pair": {"sigma": 0, "cutoff": 0.9}, "network": None}
    split = {"validation_fraction": 0, "test_fraction": 0.4}
    runs = {"trajectory": [str(directory / "one.dcd"), str(directory / "two.dcd")], "top": str(directory / "top.pdb")}
    data = split | runs | {"temperature": 300, "map": BEADS}
    denoiser = train(None, config | {"data": data}, directory / "run")
    resumed = train(None, config | {"data": data}, directory / "run", resume=True)
    assert denoiser.header.species == ["W"]
    (frames,) = frames_of(read_config(config | {"data": data}).data)
    expected = train(frames, config | {"data": split}).forces(frames.positions[0], frames.box)
    assert np.abs(expected).max() > 1
    for one in (denoiser, resumed):
        np.testing.assert_array_equal(one.forces(frames.positions[0], frames.box), expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"frames": "a.npz", "trajectory": "a.dcd"}, "data.frames and data.trajectory are both given: keep one"),
        ({"map": BEADS}, "data.map is given without data.trajectory: name the trajectories"),
        ({"top": "a.pdb"}, "data.top is given without data.trajectory"),
        ({"trajectory": "a.dcd", "map": BEADS, "types": "name"}, "data.map is given with data.types or data.select"),
        ({"trajectory": "a.dcd", "map": {"beads": [{"tpye": "W"}]}}, "unknown key beads.0.tpye; did you mean type?"),
        ({"trajectroy": "a.dcd"}, "unknown key data.trajectroy; did you mean trajectory?"),
    ],
)
def test_contradictions_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read_config({"data": data})


def test_what_is_missing_is_asked_for(directory):
    with pytest.raises(ValueError, match="data.frames is missing: name a file of frames .or data.trajectory."):
        train(None, {})
    with pytest.raises(ValueError, match="temperature is missing: pass the temperature of the simulated ensemble in K"):
        frames_of(settings(directory, temperature=None, map=BEADS))
    with pytest.raises(FileNotFoundError, match="three.dcd is no file"):
        frames_of(settings(directory, trajectory="three.dcd", map=BEADS))


def test_the_column_of_forces_is_said_in_the_configuration(tmp_path):
    x, rng = np.arange(12.0).reshape(1, 4, 3) * 2.1, np.random.default_rng(3)
    columns = {"dft_forces": rng.normal(size=(1, 4, 3)), "old_forces": rng.normal(size=(1, 4, 3))}
    with open(tmp_path / "a.xyz", "w") as file:
        file.write("4\nProperties=species:S:1:pos:R:3:" + ":".join(f"{name}:R:3" for name in columns) + "\n")
        for row in np.concatenate([x, *columns.values()], axis=-1)[0]:
            file.write("Na " + " ".join(f"{value:.8f}" for value in row) + "\n")
    data = {"trajectory": None, "top": None, "frames": "a.xyz"}
    with pytest.raises(ValueError, match="in the configuration of a training, data.forces_key: dft_forces"):
        frames_of(settings(tmp_path, **data))
    (frames,) = frames_of(settings(tmp_path, **data, forces_key="old_forces"))
    np.testing.assert_allclose(frames.forces / columns["old_forces"], 964.853, rtol=1e-5)  # 1 eV/A
    with pytest.raises(ValueError, match="data.forces_key is given with data.trajectory"):
        settings(tmp_path, forces_key="old_forces")


def test_the_command_of_the_rdf_takes_the_box_that_a_file_lacks(directory):
    from typer.testing import CliRunner

    from openmm_diffusion.cli import app

    run = mdtraj.load(str(directory / "one.dcd"), top=str(directory / "top.pdb"))
    run.unitcell_vectors = None
    run.save(str(directory / "free.dcd"))
    words = ["rdf", str(directory / "free.dcd"), "--top", str(directory / "top.pdb"), "--select", "name O"]
    words += ["--r-max", "0.9", "-o", str(directory / "out")]
    said = CliRunner().invoke(app, [*words, "--box", str(EDGE), str(EDGE), str(EDGE)])
    assert said.exit_code == 0, said.output
    assert "O-O" in (directory / "out" / "rdf.csv").read_text()
