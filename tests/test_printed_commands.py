"""What README and pages print runs as printed, in that order, from a fresh shell; what takes hours is parsed alone."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from openmm_diffusion.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [Path("README.md"), *sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app).commands
#: Files of a reader's own.
OWN = {"run.xtc", "run1.xtc", "run2.xtc", "conf.gro", "top.gro", "map.yaml", "frames.npz", "beads.npz"}
OWN |= {"A.safetensors", "B.safetensors"}
#: Words in capitals stand for what a reader puts there.
PLACEHOLDER = re.compile(r"(?<![\w-])(?:[A-Z]{3,}(?:\.\w+)?|CONFIG\.yaml)(?![\w=])")
#: Of these commands the page itself says that they take hours, or what they install.
LEFT_OUT = re.compile(r"#.*hours|^make |^pip |^conda ")


def blocks(page):
    """Python and lines of a shell, as (language, text), in the order printed."""
    found, fenced, text = [], None, []
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```"):
            if fenced == "python":
                found.append(("python", "\n".join(text) + "\n"))
            fenced, text = (line.removeprefix("```").strip() or "text", []) if fenced is None else (None, [])
        elif fenced is not None:
            text.append(line)
        elif line.startswith("    ") and line.strip():
            if found and found[-1][0] == "shell" and found[-1][1].endswith("\\\n"):
                found[-1] = ("shell", found[-1][1] + line.strip() + "\n")
            elif re.match(r"    (openmm-diffusion|python|make|pip|conda) ", line):
                found.append(("shell", line.strip() + "\n"))
    return found


def commands(page):
    """Words of every command of this package on a page."""
    lines = [text for language, text in blocks(page) if language == "shell" and text.startswith("openmm-diffusion ")]
    return [shlex.split(line.replace("\\\n", " "), comments=True)[1:] for line in lines]


PRINTED = [page for page in PAGES if commands(page)]


@pytest.mark.parametrize("page", PRINTED, ids=str)
def test_every_command_that_is_printed_is_one(page):
    """Parsed by the program; it reads what is there or what one before it has written, and writes where none has."""
    outputs = set()
    for words in commands(page):
        command = COMMANDS[words[0]]
        given = command.make_context(words[0], words[1:]).params
        output = str(given["output"]) if "output" in given else None
        if PLACEHOLDER.search(" ".join(words)):
            continue
        reads = [word.partition("=")[2] or word for word in words[1:] if "/" in word or re.search(r"\.\w{3,}$", word)]
        for word in reads:
            if word == output or word in OWN:
                continue
            written = any(Path(word).is_relative_to(other) for other in outputs)
            assert written or (ROOT / word).exists(), f"{' '.join(words)}: there is no {word}"
        if output is not None:
            assert output not in outputs, f"{' '.join(words)}: {output} holds the results of another command"
            outputs.add(output)


def test_the_pages_print_commands():
    assert {"README.md", "docs/start/quickstart.md", "docs/guide/data.md", "docs/guide/export.md"} <= set(
        map(str, PRINTED)
    )
    assert sum(len(commands(page)) for page in PRINTED) >= 18


@pytest.fixture
def fresh(tmp_path):
    """A directory as after a clone, whose runs are its own, and an environment in which the program is found."""
    for name in ("examples", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "bin").mkdir()
    for name, call in {"openmm-diffusion": "-m openmm_diffusion", "python": ""}.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    places = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return tmp_path, {**os.environ, **places, "OMP_NUM_THREADS": "1"}


def printed(page, fresh):
    """Run the blocks of a page; what the shell said."""
    directory, environment = fresh
    lines = ["set -e"]
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            (directory / f"block-{number}.py").write_text(text)
            lines.append(f"python block-{number}.py")
        elif not LEFT_OUT.search(text) and not PLACEHOLDER.search(text):
            lines.append(text.rstrip("\n"))
    done = subprocess.run(
        ["bash"], input="\n".join(lines), cwd=directory, env=environment, capture_output=True, text=True, timeout=1700
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "\r" not in done.stdout + done.stderr and "dcdplugin" not in done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_page_of_export_runs_as_printed(fresh):
    """From the shipped model to files that run without this package."""
    printed(Path("docs/guide/export.md"), fresh)
    directory, environment = fresh
    done = subprocess.run(
        ["python", "runs/exported/run.py"], cwd=directory, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("It worked: 100 steps of 0.004 ps of 24 Li and 24 Cl")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", ["README.md", "docs/start/quickstart.md", "docs/guide/data.md"])
def test_a_page_runs_as_printed(page, fresh):
    said = printed(Path(page), fresh)
    directory, _ = fresh
    pictures = {path.parent.name + "/" + path.name for path in (directory / "runs").rglob("*.png")}
    if page != "docs/start/quickstart.md":
        assert {"mine/potential.png", "script/potential.png", "evaluation/evaluation.png", "rdf/rdf.png"} <= pictures
        assert "In short:" in said and "Fitted to" in said
    else:
        assert "shipped-rdf/rdf.png" in pictures
