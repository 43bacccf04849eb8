"""What tests of pages share: a training, MD and an evaluation, as the commands leave them, and the page about them."""

from types import SimpleNamespace

import pytest
import yaml
from commandline import prepared
from models import LICL

from openmm_diffusion import Frames

FITTED = {"data": {"frames": "frames.npz"}, "network": None, "pair": {"spacing": 0.05, "sigma": 0},
          "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3},
                    "wall": {}}}  # fmt: skip
MD = {"duration": 3.0, "timestep": 0.005, "interval": 0.05, "backend": "python", "platform": "Reference", "replicas": 3}


@pytest.fixture(scope="session")
def run_command():
    with prepared() as function:
        yield function


@pytest.fixture(scope="session")
def made(run_command, tmp_path_factory):
    """A folder with trained/, md/, evaluated/ and what the commands said."""
    folder = tmp_path_factory.mktemp("made")
    Frames.load(LICL)[::5].save(folder / "frames.npz")
    (folder / "config.yaml").write_text(yaml.safe_dump(FITTED))
    (folder / "md.yaml").write_text(yaml.safe_dump(MD | {"friction": 5.0}))
    said = {}
    for name, words in {
        "trained": ["train", folder / "config.yaml"],
        "md": ["simulate", folder / "trained", "--config", folder / "md.yaml", "--start", LICL],
        "evaluated": ["evaluate", folder / "md", folder / "frames.npz", "--discard", "1"],
    }.items():
        done = run_command(*words, "--output", folder / name)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    return SimpleNamespace(folder=folder, said=said)


@pytest.fixture(scope="session")
def written(made, run_command):
    """The page about the evaluation, and of all that it names: its path."""
    done = run_command("report", made.folder / "evaluated")
    assert done.returncode == 0, done.stderr
    return made.folder / "evaluated" / "report.html"
