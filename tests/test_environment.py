"""conda's environment has what setup.cfg asks for, at the same versions."""

import configparser
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
#: What conda-forge calls it.
NAMES = {"torch": "pytorch", "openmmtorch": "openmm-torch", "matplotlib": "matplotlib-base", "build": "python-build"}
#: Wheels that are pinned to each other; conda matches their builds by itself.
PINNED = {"openmmtorch", "torch", "openmm"}
#: Tools of development, which no test needs.
TOOLS = {"ruff", "mypy"}


def asked_for():
    """Requirements of setup.cfg by name, the extras of a whole installation included."""
    config = configparser.ConfigParser(inline_comment_prefixes="#")
    config.read(ROOT / "setup.cfg")
    sections = [config["options"]["install_requires"]]
    sections += [config["options.extras_require"][extra] for extra in ("train", "dev")]
    lines = [line for section in sections for line in section.split("\n") if line.strip() and line.strip()[0] != "#"]
    return {one.name.lower(): one for one in map(Requirement, lines) if one.name not in TOOLS}


def in_conda():
    """Entries of environment.yml by name, those that pip installs there included."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    flat = [entry for entry in entries if isinstance(entry, str)]
    flat += [line for entry in entries if isinstance(entry, dict) for line in entry["pip"] if not line.startswith("-e")]
    return {one.name.lower(): one for one in map(Requirement, (line.replace(" ", "") for line in flat))}


def test_the_two_lists_agree():
    wanted, found = asked_for(), in_conda()
    for name, requirement in wanted.items():
        theirs = found[NAMES.get(name, name)]
        assert theirs.specifier == requirement.specifier, f"{theirs}, but setup.cfg has {requirement}"
    known = {NAMES.get(name, name) for name in wanted} | {NAMES[name] if name in NAMES else name for name in PINNED}
    assert set(found) - known == {"python", "pip"}, "environment.yml has what nobody asks for"
