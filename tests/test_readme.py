"""The README's first Python block runs as printed; its links and its commands, and those of the pages, exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

README = Path("README.md").read_text()
PAGES = sorted(Path("docs").rglob("*.md"))


def test_the_five_lines_run():
    block = re.findall(r"```python\n(.*?)```", README, re.S)[0]
    assert block in Path("docs/guide/force.md").read_text()  # where it is told in full
    result = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "DiffusionForce+Coulomb at constant volume (157 bar, osmotic) True"


def test_the_commands_exist():
    named = set(re.findall(r"openmm-diffusion (\w+)", README))
    text = subprocess.run([sys.executable, "-m", "openmm_diffusion", "--help"], capture_output=True, text=True).stdout
    assert {"train", "simulate", "evaluate", "rdf", "generate"} <= named
    named.update(*(re.findall(r"openmm-diffusion (\w+)", page.read_text()) for page in PAGES))
    assert {"compile", "coarsen", "combine", "refine", "distil", "export", "benchmark"} <= named
    assert all(command in text for command in named)


def test_the_links_of_the_readme_lead_to_files():
    """Those of the pages are checked where the site is built."""
    paths = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(paths) > 20 and [path for path in paths if not Path(path).is_file()] == []
