"""OpenMM's platforms by name, and on which of them TorchForce works."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import openmm

from .torchscript import torchscript_failure

#: s that a self-test may take; importing torch and OpenMM takes most of it, on a busy machine.
LONGEST = 120

_SELF_TEST = """
import sys
from openmm_diffusion.forces.torchscript import torchscript_failure
print(torchscript_failure(sys.argv[1]) or "works")
"""


def child_environment() -> dict[str, str]:
    """Environment of a Python process that finds this package, wherever it was imported from."""
    package = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}


@functools.cache
def default_platform() -> str:
    """Name of the platform that OpenMM takes by itself here: the fastest that works, not the fastest there is."""
    system = openmm.System()
    system.addParticle(1.0)
    return openmm.Context(system, openmm.VerletIntegrator(0.001)).getPlatform().getName()


def platform_names() -> list[str]:
    """Names of the platforms that OpenMM has here."""
    return [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]


def platform_named(name: str) -> openmm.Platform:
    """The openmm.Platform of a name; a ValueError where OpenMM has none of that name here."""
    names = platform_names()
    if name not in names:
        raise ValueError(f"platform is {name!r}: OpenMM has {', '.join(names)} on this machine")
    return openmm.Platform.getPlatformByName(name)


@functools.cache
def torchforce_failure(platform: str) -> str | None:
    """Why TorchForce cannot be used on a platform, in one sentence; None where its self-test passed there.

    The self-test runs in a process of its own: a library of openmm-torch that misses a symbol ends it.

    Parameters
    ----------
    platform : str
        Name of OpenMM's platform.
    """
    reason = torchscript_failure()
    if reason is not None or platform == "Reference":
        return reason
    command = [sys.executable, "-c", _SELF_TEST, platform]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, env=child_environment())
    except subprocess.TimeoutExpired:
        return f"TorchForce gave no force on the platform {platform} within {LONGEST} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return None if lines[-1] == "works" else lines[-1]
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return f"TorchForce ends the process on the platform {platform} ({said[-240:]})"
