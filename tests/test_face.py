"""The face of the package: what it names, what it costs, and what it leaves alone."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import openmm_diffusion


def python(script):
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    return child.stdout.split()


def test_importing_the_package_loads_no_library():
    script = (
        "import sys, time; start = time.perf_counter(); import openmm_diffusion; took = time.perf_counter() - start; "
        "print(took, *({name.partition('.')[0] for name in sys.modules}))"
    )
    # The least of several: other work on the machine only adds to it.
    runs = [python(script) for _ in range(3)]
    assert min(float(run[0]) for run in runs) < 0.3
    assert not {"torch", "openmm", "mdtraj", "pandas", "numpy", "matplotlib"} & set(runs[0][1:])


@pytest.mark.parametrize("name", openmm_diffusion.__all__)
def test_names_are_what_they_say(name):
    assert getattr(openmm_diffusion, name).__name__ == name and name in dir(openmm_diffusion)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'Diffusion'"):
        openmm_diffusion.Diffusion  # noqa: B018


def test_the_version_is_that_of_the_package():
    assert openmm_diffusion.__version__ == version("openmm_diffusion")


@pytest.mark.parametrize("first", ["", "import openmm; ", "from openmm_diffusion.systems import electrolyte; "])
def test_the_plugin_finds_the_libraries_of_torch(first):
    """Whatever is imported first, a TorchForce can be made, saved and read back."""
    script = f"""{first}
from openmm_diffusion import DiffusionForce, Frames
import openmm
frames = Frames.load("examples/licl/licl.npz")
force = DiffusionForce("licl", frames.topology(), backend="torchscript")
print(type(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))).__name__, openmm.__name__)
"""
    assert python(script)[-1] == "openmm"


def test_modules_of_a_family_have_no_name_of_the_face():
    """A function and a module of one name would hide each other."""
    assert not set(openmm_diffusion.__all__) & set(openmm_diffusion._HOMES.values())
    import openmm_diffusion.evaluation.report as report

    assert report.evaluate is openmm_diffusion.evaluate
