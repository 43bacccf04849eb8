"""The README's first Python block runs as printed; its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

README = Path("README.md").read_text()


def test_the_five_lines_run():
    block = re.findall(r"```python\n(.*?)```", README, re.S)[0]
    result = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "DiffusionForce+Coulomb at constant volume (157 bar, osmotic) True"


def test_the_commands_of_the_readme_exist():
    named = set(re.findall(r"openmm-diffusion (\w+)", README))
    text = subprocess.run([sys.executable, "-m", "openmm_diffusion", "--help"], capture_output=True, text=True).stdout
    assert {"train", "simulate", "evaluate", "rdf", "generate"} <= named
    assert all(command in text for command in named)
