"""Files of a run that are empty or cut: one sentence that names the file and what to do, and nothing is changed."""

import shutil

import kills
import numpy as np
import pytest
from models import LICL, QUICK, licl_denoiser, licl_frames
from openmm import app

from openmm_diffusion import simulate, train
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.workflows.refine import refine

pytestmark = pytest.mark.slow

NETWORK = kills.SCENARIOS["train, network"].config
GENERATION = kills.SCENARIOS["generate"].config | {"runs": 1, "frames": 6, "chunk": 3}
REFINEMENT = {"sampling": kills.SCENARIOS["refine"].config["sampling"] | {"duration": 0.4}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One directory of each kind of run, whose last file is not there yet."""
    folder = tmp_path_factory.mktemp("made")
    model = train(None, kills.FITTED | {"network": None}, folder / "fit", progress=False)
    train(None, NETWORK, folder / "train", progress=False)
    (folder / "train" / "model.safetensors").unlink()
    inputs = kills.prepared(folder)
    simulated(inputs, folder / "simulate", 20)
    generate(GENERATION, folder / "generate")
    refine(model, kills.Frames.load(LICL)[:60], folder / "refine", REFINEMENT)
    (folder / "refine" / "model.safetensors").unlink()
    return folder


def simulated(inputs, output, n_frames, resume=False):
    settings = kills.run_of(n_frames, spread_limit=1e6, backend="native")
    return simulate(
        inputs / "ensemble.safetensors", output, settings, resume, licl_frames().positions[0], progress=False
    )


def resumed(command, folder, output):
    """The call of each kind of run again, with more to do."""
    if command == "train":
        return train(None, NETWORK, output, resume=True, progress=False)
    if command == "simulate":
        return simulated(folder, output, 40, resume=True)
    if command == "generate":
        return generate(GENERATION | {"frames": 9}, output, resume=True)
    model = kills.Denoiser.load(folder / "fit" / "model.safetensors")
    return refine(model, kills.Frames.load(LICL)[:60], output, REFINEMENT, resume=True)


FILES = {
    "train": ["config.yaml", "pair.safetensors", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "log/metrics.csv"],
    "simulate": ["config.yaml", "checkpoint.xml", "trajectory.dcd", "state.csv", "spread.csv"],
    "generate": ["config.yaml", "run-00/state.xml", "run-00/frames-0000003.npz"],
    "refine": ["config.yaml", "iteration-0/run-1/config.yaml", "iteration-0/run-1/checkpoint.xml"],
}


@pytest.mark.parametrize("share", [0.0, 0.6])
@pytest.mark.parametrize("command, name", [(command, name) for command in FILES for name in FILES[command]])
def test_a_damaged_file_is_named(command, name, share, made, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(made / command, output)
    path = output / name
    data = path.read_bytes()
    # A table is cut within a row, and settings where they are no settings any more.
    cut = b"duration: [" if name.endswith("yaml") else data[: int(share * len(data))]
    path.write_bytes(cut if share else b"")
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file() and p.name != "config.yaml"}
    if name == "log/metrics.csv" and share:
        pytest.skip("a table that is cut within a row is a shorter one, and the steps that follow are logged again")
    with pytest.raises(ValueError) as caught:
        resumed(command, made, output)
    told = str(caught.value)
    assert told.startswith(str(path)) and len(told.splitlines()) == 1 and len(told) < 500, told
    assert "copy" in told or "delete" in told, told
    assert not any(word in told for word in ("weights_only", "pickle", "Traceback", "trust")), told
    assert {p: p.read_bytes() for p in before} == before
    path.write_bytes(data)
    if command == "simulate":
        resumed(command, made, output)
        kills.check_run(output, 40)


@pytest.mark.parametrize(
    "command, name",
    [
        ("train", "pair.safetensors"), ("train", "checkpoints"), ("train", "log/metrics.csv"),
        ("simulate", "state.csv"), ("simulate", "spread.csv"), ("generate", "run-00"),
    ],
)  # fmt: skip
def test_what_the_sentence_says_helps(command, name, made, tmp_path):
    """Where it says to delete a file and resume, the run goes on."""
    output = tmp_path / "run"
    shutil.copytree(made / command, output)
    shutil.rmtree(output / name) if (output / name).is_dir() else (output / name).unlink()
    resumed(command, made, output)
    if command == "simulate":
        assert (output / name).read_text().count("\n") == 21 and (output / name).read_text()[0] in "#t"
        simulate(
            made / "ensemble.safetensors", output, kills.run_of(60, spread_limit=1e6, backend="native"), True,
            licl_frames().positions[0], progress=False,
        )  # fmt: skip
        assert (output / name).read_text().count("\n") == 41


@pytest.mark.parametrize("how", ["moved", "copied"])
@pytest.mark.parametrize("command", FILES)
def test_a_directory_that_was_moved_goes_on(command, how, made, tmp_path):
    """Its files are those beside it, whatever stands where it was."""
    first, output = tmp_path / "first", tmp_path / "elsewhere" / "run"
    shutil.copytree(made / command, first)
    if command == "train":  # it learnt best at its last check; the network of another training lies where it was
        pytest.importorskip("lightning")
    output.parent.mkdir()
    if how == "moved":
        first.rename(output)
    else:
        shutil.copytree(first, output)
        for path in first.rglob("*.ckpt"):
            path.write_bytes(b"")
    found = resumed(command, made, output)
    if command == "train":
        assert found.digest() == resumed("train", made, made / "train").digest()
        assert found.header.held_out["network_loss"] < 0
    if command == "simulate":
        kills.check_run(output, 40)
    if command == "generate":
        assert len(found) == 9
    if how == "copied":
        assert all(path.read_bytes() == b"" for path in first.rglob("*.ckpt"))
    if command == "train":
        (made / "train" / "model.safetensors").unlink()


def test_a_project_that_was_moved_goes_on(tmp_path):
    """Configuration and frames in another place: the frames are the same, and so is the training."""
    import yaml

    (tmp_path / "here").mkdir()
    shutil.copy(LICL, tmp_path / "here" / "licl.npz")
    config = kills.FITTED | {"network": None, "data": {"frames": "licl.npz", "limit": 60}}
    (tmp_path / "here" / "fit.yaml").write_text(yaml.safe_dump(config))
    model = train(None, tmp_path / "here" / "fit.yaml", tmp_path / "here" / "run", progress=False)
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "there" / "run" / "model.safetensors").unlink()
    found = train(None, tmp_path / "there" / "fit.yaml", tmp_path / "there" / "run", resume=True, progress=False)
    assert found.digest() == model.digest()


def test_a_start_that_is_elsewhere_now(tmp_path):
    licl_frames()[:1].save(tmp_path / "start.npz")
    denoiser, settings = licl_denoiser(kinds=QUICK), kills.run_of(20, backend="native")
    simulate(denoiser, tmp_path / "run", settings | {"start": tmp_path / "start.npz"}, progress=False)
    (tmp_path / "start.npz").unlink()
    more = kills.run_of(40, backend="native") | {"start": tmp_path / "moved.npz"}
    simulate(denoiser, tmp_path / "run", more, resume=True, progress=False)
    kills.check_run(tmp_path / "run", 40)


@pytest.mark.parametrize("share", [None, 0.0, 0.6])
@pytest.mark.parametrize("command, name", [("simulate", ""), ("refine", "iteration-0/run-0/"), ("generate", "")])
def test_a_topology_that_was_lost_is_written_again(command, name, share, made, tmp_path, caplog):
    """Of the same atoms in the same box; that of a run has the positions of the checkpoint now."""
    output = tmp_path / "run"
    shutil.copytree(made / command, output)
    path = output / f"{name}topology.pdb"
    whole, data = app.PDBFile(str(path)), path.read_bytes()
    path.write_bytes(data[: int((share or 0) * len(data))])
    if share is None:
        path.unlink()
    resumed(command, made, output)
    found = app.PDBFile(str(path))
    names = [[(atom.name, atom.residue.name, atom.element) for atom in of.topology.atoms()] for of in (found, whole)]
    assert names[0] == names[1]
    assert found.topology.getNumBonds() == whole.topology.getNumBonds()
    boxes = [of.topology.getPeriodicBoxVectors()._value for of in (found, whole)]
    np.testing.assert_allclose(*boxes, atol=2e-4)
    if command == "generate":
        assert path.read_bytes() == data
    else:
        assert f"{path} was damaged or missing: it is written again" in caplog.text
        kills.mdtraj.load(str(next(path.parent.glob("trajectory*"))), top=str(path))


@pytest.mark.parametrize("command", ["train", "simulate", "refine"])
def test_settings_that_are_gone_or_cut_are_no_others(command, made, tmp_path):
    """What is not there has not been said otherwise."""
    output = tmp_path / "run"
    shutil.copytree(made / command, output)
    path = output / "config.yaml"
    text = path.read_text()
    cut = text.index("\n", len(text) // 2) - 1
    path.write_text(text[:cut])
    with pytest.raises(ValueError, match="config.yaml is damaged or empty: copy a whole one back, or begin again in"):
        resumed(command, made, output)
    path.unlink()
    with pytest.raises(ValueError, match="config.yaml is missing: copy a whole one back, or begin again in another"):
        resumed(command, made, output)


@pytest.mark.parametrize("resume", [False, True])
def test_frames_whose_checkpoint_is_gone_are_not_written_over(resume, made, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(made / "simulate", output)
    (output / "checkpoint.xml").unlink()
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(ValueError, match="checkpoint.xml is missing, but trajectory.dcd beside it holds 20 frames"):
        simulated(made, output, 40, resume=resume)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    chunks = tmp_path / "generated"
    shutil.copytree(made / "generate", chunks)
    (chunks / "run-00" / "state.xml").unlink()
    with pytest.raises(ValueError, match="state.xml is missing: copy a whole one back, or delete the folder"):
        resumed("generate", made, chunks)
    assert len(list(chunks.glob("run-00/frames-*.npz"))) == 2
