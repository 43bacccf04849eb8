"""What the help says: every option with a meaning, the defaults that hold, an example that the program takes."""

import inspect
import os
import re
import subprocess
import sys

import pytest
import typer

from openmm_diffusion import Denoiser
from openmm_diffusion.cli import app
from openmm_diffusion.cli.application import ORDER

COMMANDS = typer.main.get_command(app).commands
#: Units, as they end the help of an option that has one.
UNITS = r"\b(ps|nm|K|bar|mol/L|s)[,.;]"
NUMBERS_WITH_UNITS = {
    "simulate": "duration timestep interval temperature edge molarity anneal anneal_temperature pressure",
    "evaluate": "discard interval temperature", "rdf": "r_min r_max bin_width discard interval box",
    "benchmark": "seconds timestep", "coarsen": "temperature box", "distil": "cutoff temperature",
    "refine": "temperature",
}  # fmt: skip


def test_commands_have_an_order():
    assert set(COMMANDS) == set(ORDER) & set(COMMANDS) and len(COMMANDS) >= 12
    assert list(typer.main.get_command(app).list_commands(None)) == [name for name in ORDER if name in COMMANDS]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_means(name):
    options = [parameter for parameter in COMMANDS[name].params if parameter.name != "help"]
    assert all(parameter.help and parameter.help[0].isupper() or parameter.name == "format" for parameter in options)
    for parameter in options:
        if parameter.name in NUMBERS_WITH_UNITS.get(name, "").split():
            assert re.search(UNITS, parameter.help), f"{parameter.name}: {parameter.help}"


@pytest.mark.parametrize(
    "name, module, config",
    [
        ("simulate", "simulation.langevin", "SimulationConfig"),
        ("benchmark", "workflows.benchmark.run", "BenchmarkConfig"),
        ("refine", "workflows.refine", "RefineConfig"),
    ],
)
def test_the_defaults_of_the_help_are_those_that_hold(name, module, config):
    import importlib

    fields = getattr(importlib.import_module(f"openmm_diffusion.{module}"), config).model_fields
    found = 0
    for parameter in COMMANDS[name].params:
        default = fields[parameter.name].default if parameter.name in fields else None
        if default is None or isinstance(default, bool):
            continue
        told = str(parameter.show_default).partition(",")[0]
        assert told == str(default).strip("[]").removesuffix(".0"), parameter.name
        found += 1
    assert found >= (1 if name == "refine" else 4)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_is_one_that_it_takes(name):
    """It is parsed by the program itself, whose options may not be misspelt; what it does is tested elsewhere."""
    words = COMMANDS[name].epilog.removeprefix("Example: openmm-diffusion ").split()
    assert words[0] == name
    made = COMMANDS[name].make_context(name, words[1:])
    assert made.params["output"] is not None if "output" in made.params else True


def test_quiet_and_verbose_go_anywhere(run_prepared, tmp_path):
    for words in (["--quiet", "combine"], ["combine", "--quiet"]):
        done = run_prepared(*words, "licl", "licl", "-o", tmp_path / "m.safetensors")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "0.5 x pair" in run_prepared("combine", "licl", "licl", "-o", tmp_path / "m.safetensors").stdout
    told, mean = (Denoiser.load(name).header.held_out for name in ("licl", tmp_path / "m.safetensors"))
    assert mean["pressure"] == told["pressure"], "the mean of two of the same"
    both = run_prepared("combine", "-q", "-v", "licl", "licl", "-o", tmp_path / "m.safetensors")
    assert both.returncode == 1 and "quiet and verbose are both given" in both.stderr
    wrong = ["combine", "licl", "-o", tmp_path / "n.safetensors"]
    assert "Traceback" in run_prepared(*wrong, "-v").stderr and "Traceback" not in run_prepared(*wrong).stderr


def test_the_version_is_told(run_prepared):
    import openmm_diffusion

    done = run_prepared("--version")
    assert (done.returncode, done.stdout) == (0, f"openmm-diffusion {openmm_diffusion.__version__}\n")


def test_help_answers_at_once():
    """In half a second of processor time, and without any library that takes longer to import."""
    script = (
        "import contextlib, sys\nfrom openmm_diffusion.cli import main\nsys.argv[1:] = ['simulate', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print(*({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    spent = []
    for _ in range(3):  # the least of several: other work on the machine only adds to it
        before = os.times()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert not {"torch", "openmm", "numpy", "pandas", "mdtraj", "matplotlib"} & set(done.stderr.split())
    assert min(spent) < 0.5, spent


def test_a_command_stays_a_function():
    """It is called from Python without what the program adds."""
    from openmm_diffusion.cli.models import combine

    assert "quiet" not in inspect.signature(combine).parameters
