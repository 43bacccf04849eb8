"""`sample`: from noise to tables and a picture, killed and gone on with."""

import subprocess
import sys
import time

import numpy as np
import pandas
import pytest
from commandline import run
from twoparticles import EDGE, two_particles

from openmm_diffusion import Frames
from openmm_diffusion.workflows.annealing import anneal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model, and frames of particles at random places."""
    folder = tmp_path_factory.mktemp("inputs")
    two_particles().save(folder / "model.safetensors")
    x = np.random.default_rng(0).uniform(0, EDGE, (200, 2, 3))
    Frames(x, ["Li", "Cl"], EDGE * np.eye(3), 300).save(folder / "frames.npz")
    return folder


def test_samples_beside_frames(inputs, run_prepared, tmp_path):
    model, output = inputs / "model.safetensors", tmp_path / "run"
    given = ["--samples", 150, "--levels", 10, "--steps", 3, "--frames", inputs / "frames.npz"]
    done = run_prepared("sample", model, "-o", output, *given)
    assert done.returncode == 0, done.stderr
    names = {"samples.npz", "weights.csv", "levels.csv", "lengths.csv", "errors.csv", "rdf.csv", "samples.png"}
    assert names <= {path.name for path in output.iterdir()}
    expected = anneal(model, tmp_path / "here", {"samples": 150, "levels": 10, "steps": 3}, progress=False)
    np.testing.assert_array_equal(Frames.load(output / "samples.npz").positions, expected.frames.positions)
    assert f"150 samples, {expected.effective:.3g} of them effective" in done.stdout
    # In so small a box every place is of Li-Cl alone; the frames know nothing of the potential, the samples do.
    errors = pandas.read_csv(output / "errors.csv")
    assert errors["pair"].tolist() == ["Li-Cl"] and errors["as_they_are"][0] > 3 * errors["as_they_are_error"][0] > 0
    again = run_prepared("sample", model, "-o", output, *given)
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "--resume" in again.stderr


def test_a_killed_command_goes_on_and_ends_as_if_nothing_had_been(inputs, tmp_path):
    model, output = inputs / "model.safetensors", tmp_path / "run"
    given = ["--samples", "300", "--levels", "100"]
    command = [sys.executable, "-m", "openmm_diffusion", "sample", str(model), "-o", str(output), *given]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not (output / "part-00000.npz").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.kill()
    assert (output / "part-00000.npz").exists() and not (output / "samples.npz").exists()
    done = run("sample", model, "-o", output, *given, "--resume")
    assert done.returncode == 0, done.stderr
    whole = anneal(model, tmp_path / "whole", {"samples": 300}, progress=False)
    np.testing.assert_array_equal(Frames.load(output / "samples.npz").positions, whole.frames.positions)
    table = pandas.read_csv(output / "weights.csv")
    np.testing.assert_allclose(table["log_weight"], whole.log_weights, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["licl"], "one noise level"),
        (["water"], "one noise level"),
        (["alanine"], "no box"),
        (["nothing.safetensors"], "nothing.safetensors"),
        (["MODEL", "--samples", "0"], "samples"),
        (["MODEL", "--levels", "1"], "levels"),
        (["MODEL", "--frames", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, says, inputs, run_prepared, tmp_path):
    given = [str(inputs / "model.safetensors") if word == "MODEL" else word for word in arguments]
    done = run_prepared("sample", *given, "-o", tmp_path / "run")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: ") and says in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()
