"""The examples run as printed."""

import subprocess
import sys
from pathlib import Path

import mdtraj
import pandas
import pytest
import yaml

pytestmark = pytest.mark.slow

EXAMPLES = Path("examples/licl")


def test_the_simulation_script_is_short_and_runs(tmp_path):
    script = EXAMPLES / "simulate.py"
    assert len(script.read_text().splitlines()) <= 40
    for start in ([], [EXAMPLES / "licl.npz"]):
        command = [sys.executable, script, "licl", tmp_path, 3, 0.4, *start]
        subprocess.run([str(part) for part in command], check=True, timeout=300)
        assert mdtraj.load(str(tmp_path / "run-3.dcd"), top=str(tmp_path / "topology.pdb")).n_frames == 2


def test_the_quickstart_runs_from_frames_to_pictures(tmp_path):
    """The quickstart itself, with a small network and short runs."""
    config = yaml.safe_load((EXAMPLES / "licl.yaml").read_text())
    config["data"].update(frames=str((EXAMPLES / "licl.npz").resolve()), limit=200)
    config["network"].update(features=4, layers=1)
    config["training"].update(steps=20, check_every=10, batch=4, validation_draws=1)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    output = tmp_path / "quickstart"
    command = [sys.executable, EXAMPLES / "quickstart.py", output, "--config", path, "--picoseconds", 7, "--runs", 2]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    errors = pandas.read_csv(output / "errors.csv")
    assert list(errors.columns) == ["pair", "learning", "smoothing", "reference", "total"]
    assert list(errors["pair"]) == ["Li-Li", "Li-Cl", "Cl-Cl"]
    assert (errors["smoothing"] < 0.05).all() and errors.iloc[:, 1:].notna().all(axis=None)
    for name in ("model.safetensors", "rdf.csv", "rdf.png", "loss.png", "summary.csv", "md/run-0.dcd"):
        assert (output / name).stat().st_size > 500 or name == "summary.csv"
    assert "learning" in result.stdout and "calibration" in result.stdout


def test_labels_and_positions_together_are_no_worse_than_either(tmp_path):
    command = [sys.executable, EXAMPLES / "labels.py", EXAMPLES / "licl.npz", tmp_path]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    table = pandas.read_csv(tmp_path / "labels.csv").set_index(["target", "frames"])
    assert (tmp_path / "labels.png").stat().st_size > 5000 and "positions are worth" in result.stdout
    for frames in sorted(set(table.index.get_level_values("frames"))):
        errors = table.xs(frames, level="frames")["median"]
        assert errors["both"] < 1.1 * min(errors["positions"], errors["labels"])
    # The label noise of the two ions is in the textbook weights: (kT / sigma)^2 against 337 and 240 kJ/mol/nm.
    assert abs(table["textbook Li"] - 0.687).max() < 0.03 and abs(table["textbook Cl"] - 0.811).max() < 0.03
