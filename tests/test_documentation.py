"""What the build of the site cannot see: whole notebooks without traces of a machine, and references without gaps."""

import json
import re
from pathlib import Path

import pytest

import openmm_diffusion
from openmm_diffusion import systems
from openmm_diffusion.cli import app
from openmm_diffusion.learning.config import config_model

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_one_whole_run(path):
    text = path.read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs and "error" not in {output["output_type"] for output in outputs}
    assert not re.search(r"/(?:home|root|tmp|work|usr)/|https?://(?!arxiv\.org|ase-lib\.org)|Traceback", text)


def test_the_site_has_all_notebooks_and_runs_one():
    index = (DOCS / "index.md").read_text()
    assert len(NOTEBOOKS) >= 6 and all(f"\ntutorials/{path.stem}\n" in index for path in NOTEBOOKS)
    kept = re.search(r"KEPT = \[(.*?)\]", (DOCS / "conf.py").read_text()).group(1)
    assert {path.stem for path in NOTEBOOKS} - set(re.findall(r'"(\S+?)"', kept)) == {"your-trajectory"}


def test_the_reference_of_python_names_the_whole_face():
    page = (DOCS / "reference" / "api.md").read_text()
    documented = set(re.findall(r":: (\w+)\n", page))
    assert set(openmm_diffusion.__all__) <= documented
    assert "automodule:: openmm_diffusion.systems\n   :members:" in page and len(systems.__all__) > 5


def test_the_reference_of_configurations_names_every_energy():
    page = (DOCS / "reference" / "configurations.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    sections = set(config_model().model_fields) - {"target", "exclusions"}
    others = {"data": "DataConfig", "noise": "NoiseConfig", "prior": "PriorConfig", "training": "TrainingConfig"}
    others |= {"ensemble": "EnsembleConfig", "pressure": "PressureConfig"}
    assert sections - set(others) <= named and all(re.search(rf"\b{name}\n", page) for name in others.values())


def test_every_command_has_a_line_of_help():
    assert len(app.registered_commands) >= 12
    assert all(command.callback.__doc__ for command in app.registered_commands)
