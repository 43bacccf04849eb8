"""What is given to others: wheel and source, how to cite them, and the recipe of conda."""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from test_environment import NAMES

import openmm_diffusion

ROOT = Path(__file__).parents[1]
SOURCE = ["setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"]


def setup():
    config = configparser.ConfigParser(inline_comment_prefixes="#")
    config.read(ROOT / "setup.cfg")
    return config


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """Wheel and sdist, built of a copy: building leaves folders in the source."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    for name in SOURCE:
        shutil.copy(ROOT / name, source)
    for name in ("openmm_diffusion", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--outdir", folder / "dist", source]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "dist"


@pytest.mark.slow
def test_wheel_and_source_hold_the_package_and_nothing_else(distribution):
    (wheel,), (sdist,) = distribution.glob("*.whl"), distribution.glob("*.tar.gz")
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "openmm_diffusion").rglob("*")
        if path.suffix in (".py", ".safetensors", ".typed", ".html", ".css") and "__pycache__" not in path.parts
    }
    assert len(package) > 100 and sum(name.endswith(".safetensors") for name in package) >= 2
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert in_wheel == package
    with tarfile.open(sdist) as archive:
        names = {member.name.split("/", 1)[1] for member in archive if member.isfile()}
    assert package | {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"} <= names
    assert not any(name.startswith("tests") for name in names), "a part of the tests would not run"


@pytest.mark.slow
def test_the_wheel_works_where_no_repository_is(distribution, tmp_path):
    (wheel,) = distribution.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(pip, check=True)
    ran = subprocess.run(
        [sys.executable, ROOT / "tests" / "installed.py", ROOT / "README.md"],
        cwd=empty, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (
        ran.stdout.splitlines()[-1] == f"openmm_diffusion {openmm_diffusion.__version__} from {site}/openmm_diffusion"
    )


def test_citation_is_of_this_version():
    """`make release` holds it against the schema of the format."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    metadata = setup()["metadata"]
    assert (found["title"], found["license"]) == (metadata["name"], metadata["license"])
    assert found["version"] == metadata["version"] == openmm_diffusion.__version__
    assert found["abstract"] == metadata["description"]
    (paper,) = found["references"]
    assert "2504.03187" in paper["url"] and [a["family-names"] for a in paper["authors"]] == ["Harcombe", "Duignan"]


def test_the_recipe_of_conda_asks_for_what_setup_cfg_asks_for():
    """`make release` has rattler-build read it."""
    recipe, config = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text()), setup()
    assert recipe["context"]["version"] == config["metadata"]["version"]
    needed = (config["options"]["install_requires"] + config["options.extras_require"]["train"]).strip()
    wanted = {NAMES.get(one.name, one.name): one.specifier for one in map(Requirement, needed.split("\n"))}
    found = {one.name: one.specifier for one in map(Requirement, recipe["requirements"]["run"])}
    assert found.pop("python") == Requirement("python" + config["options"]["python_requires"]).specifier
    assert found == wanted
    (script,) = config["options.entry_points"]["console_scripts"].split("\n")[1:]
    assert recipe["build"]["python"]["entry_points"] == [script]
