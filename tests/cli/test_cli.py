"""The command line, as a tired user types it: one sentence for every mistake, no traceback."""

import subprocess
import sys

import pytest
import yaml
from commandline import run

pytestmark = pytest.mark.slow


def config(tmp_path, **changes):
    values = yaml.safe_load(open("examples/licl/licl.yaml"))
    values["data"]["frames"] = "../nowhere.npz"
    for key, value in changes.items():
        section, name = key.split("__")
        values[section][name] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_help_names_the_commands():
    text = run("--help").stdout
    commands = ("train", "simulate", "evaluate", "refine", "combine", "rdf", "coarsen", "benchmark")
    assert all(command in text for command in commands)


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_of_a_command_do_not_wait_in_circles(monkeypatch, given):
    """Said before torch is imported, which reads it then; what the user has said stays."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    script = (
        "import contextlib, os, sys\n"
        "from openmm_diffusion.cli import main\n"
        "assert 'torch' not in sys.modules\n"
        "sys.argv[1:] = ['--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == (given or "PASSIVE")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.yaml", "-o", "{tmp}/out"], "there is no configuration file nowhere.yaml"),
        (["simulate", "nowhere.safetensors", "-o", "{tmp}/out"], "there is no model file nowhere.safetensors"),
        (["simulate", "licl", "-o", "{tmp}/out", "--timestep", "-1"], "timestep is -1.0; input should be greater"),
        (["evaluate", "licl", "nowhere.npz", "-o", "{tmp}/out"], "nowhere.npz"),
        (["combine", "licl", "-o", "{tmp}/m.safetensors"], "an ensemble needs at least two models, not 1"),
        (["combine", "licl", "licl", "--extrapolate", "-o", "{tmp}/m.safetensors"], "at sigma = 0.005, 0.005 nm"),
        (["combine", "licl", "licl", "-o", "{tmp}/m.npz"], "give a name that ends in .safetensors"),
        (["refine", "licl", "nowhere.npz", "-o", "{tmp}/out"], "nowhere.npz"),
        (
            ["benchmark", "licl", "-o", "{tmp}/out", "--paths", "nativ"],
            "paths has 'nativ': choose from 'prior'",
        ),
        (["export", "licl", "-o", "{tmp}/out"], "the model has a network: fit a pair potential"),
        (["export", "licl", "-o", "{tmp}/out", "--top", "nowhere.pdb"], "there is no topology file nowhere.pdb"),
        (["export", "licl", "-o", "{tmp}/out", "--top", "README.md"], "README.md cannot be read as a PDB file"),
        (["distil", "licl", "nowhere.npz", "-o", "{tmp}/out"], "nowhere.npz"),
        (["rdf", "nowhere.dcd", "--top", "nowhere.pdb", "-o", "{tmp}/out"], "nowhere"),
    ],
)
def test_missing_files_and_impossible_values(tmp_path, arguments, message, run_prepared):
    result = run_prepared(*[a.replace("{tmp}", str(tmp_path)) for a in arguments])
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") or "\nerror: " in result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr


def test_config_typo_names_the_key_and_what_was_meant(tmp_path, run_prepared):
    result = run_prepared("train", config(tmp_path, noise__sigam=0.005), "-o", tmp_path / "out")
    assert result.returncode == 1 and "unknown key noise.sigam; did you mean sigma?" in result.stderr


def test_rdf_of_a_trajectory(tmp_path, run_prepared):
    from openmm_diffusion import Frames

    frames = Frames.load("examples/licl/licl.npz")[:200]
    frames.to_mdtraj().save(str(tmp_path / "t.dcd"))
    frames[:1].to_mdtraj().save(str(tmp_path / "t.pdb"))
    result = run("rdf", tmp_path / "t.dcd", "--top", tmp_path / "t.pdb", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "rdf.csv").read_text().startswith("r_nm,Li-Li,Li-Li_error,Li-Cl")
    assert (tmp_path / "out" / "rdf.png").stat().st_size > 10000
    beyond = run_prepared(
        "rdf", tmp_path / "t.dcd", "--top", tmp_path / "t.pdb", "-o", tmp_path / "out", "--r-max", 1.5
    )
    assert beyond.returncode == 1 and "within half the box, 1.263 nm" in beyond.stderr
