"""Commands that read what the package wrote: directories of runs, files of frames, several sets in one picture."""

import shutil

import numpy as np
import pandas
import pytest
import yaml
from models import LICL

from openmm_diffusion import Denoiser, Frames, simulate
from openmm_diffusion.data.sets import labelled_sets, runs_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Directories as `simulate` leaves them: of one replica, of two, and of a model that has another name."""
    folder = tmp_path_factory.mktemp("runs")
    given = {"duration": 0.4, "interval": 0.02, "backend": "python", "platform": "Reference", "start": str(LICL)}
    Denoiser.load("licl").subset(["coulomb", "wall", "pair"]).save(folder / "pair.safetensors")
    Frames.load(LICL)[::100].save(folder / "frames.npz")
    simulate(folder / "pair.safetensors", folder / "one", given, progress=False)
    simulate(folder / "pair.safetensors", folder / "two", given | {"replicas": 2}, progress=False)
    return folder


def test_a_directory_tells_topology_interval_and_model(directories):
    (one,) = runs_in([directories / "one"])
    assert (one.path, one.top) == (directories / "one" / "trajectory.dcd", directories / "one" / "topology.pdb")
    assert one.interval == 0.02 and one.model == Denoiser.load(directories / "pair.safetensors").digest()
    assert [run.path.name for run in runs_in([directories / "two"])] == ["trajectory-00.dcd", "trajectory-01.dcd"]
    assert runs_in([directories / "one"], "other.pdb", 0.5)[0].top == "other.pdb", "what is said holds"
    assert runs_in(["nowhere.dcd"])[0].path == "nowhere.dcd" and runs_in(["nowhere.dcd"])[0].interval is None
    with pytest.raises(ValueError, match="is a directory without a trajectory"):
        runs_in([directories])


def test_runs_beside_each_other_come_in_the_order_of_their_numbers(directories, tmp_path):
    for number in (0, 2, 10):
        shutil.copytree(directories / "one", tmp_path / f"run-{number}")
    assert [run.path.parent.name for run in runs_in([tmp_path])] == ["run-0", "run-2", "run-10"]


def test_an_evaluation_takes_the_directory_of_a_run(directories, run_prepared, tmp_path):
    """With or without the model, and as with everything said."""
    model, frames, more = directories / "pair.safetensors", directories / "frames.npz", ["--discard", 0.1]
    run = directories / "one"
    said = ["-t", run / "trajectory.dcd", "--top", run / "topology.pdb", "--interval", 0.02]
    commands = {"said": [model, frames, *said], "told": [model, frames, "-t", run], "alone": [run, frames]}
    tables = {}
    for name, words in commands.items():
        done = run_prepared("evaluate", *words, *more, "-o", tmp_path / name)
        assert done.returncode == 0 and "another model" not in done.stderr, done.stderr
        assert "dcdplugin" not in done.stdout + done.stderr
        tables[name] = pandas.read_csv(tmp_path / name / "evaluation.csv")
    assert (tables["said"]["quantity"] == "g(r) RMSD, total").sum() == 3
    pandas.testing.assert_frame_equal(tables["said"], tables["told"])
    pandas.testing.assert_frame_equal(tables["said"], tables["alone"])
    other = run_prepared("evaluate", "licl", frames, "-t", run, *more, "-o", tmp_path / "other")
    assert other.returncode == 0 and "was run under another model" in other.stderr


def test_frames_are_named_by_the_configuration_of_a_training_on_trajectories(directories, run_prepared, tmp_path):
    """Whoever has trajectories alone writes no other file of them: init, train and evaluate name the same YAML."""
    frames = Frames.load(LICL)
    for number in range(2):
        frames[frames.replica == number][::20].to_mdtraj().save(str(tmp_path / f"run{number}.xtc"))
    frames[:1].to_mdtraj().save(str(tmp_path / "top.pdb"))
    config, runs = tmp_path / "train.yaml", [tmp_path / "run0.xtc", tmp_path / "run1.xtc"]
    done = run_prepared("init", *runs, "--top", tmp_path / "top.pdb", "--temperature", 300, "-o", config)
    assert done.returncode == 0 and f"under prior: coulomb in {config}" in done.stdout, done.stderr
    asked = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(asked | {"network": None, "pair": {"sigma": 0}}))
    done = run_prepared("train", config, "-o", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    assert f"then: openmm-diffusion evaluate {tmp_path / 'mine'}-md {config} --output" in done.stdout
    Frames.from_trajectory(runs, tmp_path / "top.pdb", temperature=300).save(tmp_path / "same.npz")
    tables = []
    for named in (config, tmp_path / "mine" / "config.yaml", tmp_path / "same.npz"):
        done = run_prepared("evaluate", tmp_path / "mine", named, "-o", tmp_path / f"of-{named.stem}")
        assert done.returncode == 0 and "that training kept apart" in done.stderr, done.stderr
        tables.append(pandas.read_csv(tmp_path / f"of-{named.stem}" / "evaluation.csv"))
    pandas.testing.assert_frame_equal(tables[0], tables[1])
    pandas.testing.assert_frame_equal(tables[0], tables[2])
    for words, said in (
        ([runs[0]], "run0.xtc: name a file of frames (npz, extxyz), or the configuration of a training (YAML)"),
        ([config, "--temperature", 310], "train.yaml tells that of its frames: leave it out"),
    ):
        done = run_prepared("evaluate", tmp_path / "mine", *words, "-o", tmp_path / "none")
        assert done.returncode == 1 and said in done.stderr and not (tmp_path / "none").exists(), done.stderr
    for name in ("refine", "distil"):
        done = run_prepared(name, tmp_path / "mine", runs[0], "-o", tmp_path / "none")
        assert done.returncode == 1 and "or the configuration of a training (YAML)" in done.stderr, done.stderr
    done = run_prepared("sample", tmp_path / "mine", "--frames", runs[0], "-o", tmp_path / "none")
    assert done.returncode == 1 and "or the configuration of a training (YAML)" in done.stderr, done.stderr
    done = run_prepared("distil", tmp_path / "mine", config, "-o", tmp_path / "distilled")
    assert done.returncode == 0 and (tmp_path / "distilled" / "model.safetensors").exists(), done.stderr


def test_a_run_whose_model_is_gone_is_told_so(directories, run_prepared, tmp_path):
    shutil.copytree(directories / "one", tmp_path / "run")
    told = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    told["model_file"] = str(tmp_path / "gone.safetensors")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(told))
    done = run_prepared("evaluate", tmp_path / "run", directories / "frames.npz", "-o", tmp_path / "out")
    assert done.returncode == 1 and "which is not there any more: give the model file" in done.stderr


def test_a_run_goes_on_though_its_model_was_moved(directories, tmp_path):
    """The model is known by its contents."""
    shutil.copytree(directories / "one", tmp_path / "run")
    shutil.copy(directories / "pair.safetensors", tmp_path / "moved.safetensors")
    given = {"duration": 0.44, "interval": 0.02, "backend": "python", "platform": "Reference"}
    simulate(tmp_path / "moved.safetensors", tmp_path / "run", given, resume=True, progress=False)
    assert len(Frames.from_trajectory(tmp_path / "run" / "trajectory.dcd", tmp_path / "run" / "topology.pdb",
                                      temperature=300)) == 22  # fmt: skip


def test_a_training_is_named_by_its_directory(run_prepared, directories, tmp_path):
    (tmp_path / "training").mkdir()
    shutil.copy(directories / "pair.safetensors", tmp_path / "training" / "model.safetensors")
    done = run_prepared("export", tmp_path / "training", "-o", tmp_path / "exported")
    assert done.returncode == 0, done.stderr
    empty = run_prepared("export", tmp_path, "-o", tmp_path / "exported")
    assert empty.returncode == 1 and "a directory that names no model" in empty.stderr


def test_an_rdf_of_several_sets_is_that_of_each(directories, run_prepared, tmp_path):
    sets = [f"MD={directories / 'one'}", f"MD={directories / 'two'}", f"data={LICL}"]
    done = run_prepared("rdf", *sets, "-o", tmp_path / "all", "--discard", 0.1)
    assert done.returncode == 0 and "dcdplugin" not in done.stdout, done.stderr
    table = pandas.read_csv(tmp_path / "all" / "rdf.csv")
    assert list(table)[:5] == ["r_nm", "Li-Li_MD", "Li-Li_MD_error", "Li-Li_data", "Li-Li_data_error"]
    for label, words in {"data": [LICL], "MD": [directories / "one", directories / "two", "--discard", 0.1]}.items():
        alone = run_prepared("rdf", *words, "-o", tmp_path / label)
        assert alone.returncode == 0, alone.stderr
        single = pandas.read_csv(tmp_path / label / "rdf.csv")
        assert list(single)[:3] == ["r_nm", "Li-Li", "Li-Li_error"]
        np.testing.assert_array_equal(table[f"Li-Cl_{label}"], single["Li-Cl"])
    assert (tmp_path / "all" / "rdf.png").stat().st_size > 20_000


def test_what_is_discarded_and_what_a_label_is(directories, tmp_path):
    kept = labelled_sets([f"a={directories / 'two'}"], discard=0.1)["a"]
    assert len(kept) == 2 * 15 and set(kept.replica) == {0, 1}
    strange = tmp_path / "x=1"
    strange.mkdir()
    for name in ("trajectory.dcd", "topology.pdb", "config.yaml"):
        shutil.copy(directories / "one" / name, strange)
    assert list(labelled_sets([str(strange)])) == [""], "a path that is there is one, whatever its name"
    with pytest.raises(ValueError, match="has no label, but others have"):
        labelled_sets([str(strange), f"data={LICL}"])
    with pytest.raises(ValueError, match="is a file of frames beside others of its set"):
        labelled_sets([str(strange), str(LICL)])
