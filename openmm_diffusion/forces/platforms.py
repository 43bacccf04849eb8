"""OpenMM's platforms by name, the devices of both OpenMM and torch, and on which platforms TorchForce works."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import openmm
import torch

from .torchscript import torchscript_failure

#: Platforms whose positions are in the memory of the processor.
HOST = ("CPU", "Reference")
#: Platforms whose DeviceIndex numbers the devices that torch calls cuda:0, cuda:1, ...
NUMBERED = ("CUDA", "HIP")
#: Platforms on which the TorchForce of a wheel has ended processes.
DEADLY = ("OpenCL",)

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


def platform_properties(platform: str, device: int | None = None, precision: str | None = None) -> dict[str, str]:
    """Properties of a Context on a platform.

    Parameters
    ----------
    platform : str
        Name of OpenMM's platform.
    device : int, optional
        OpenMM's DeviceIndex.
    precision : "single", "mixed" or "double", optional
        Of OpenMM's positions and forces.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        For a platform that OpenMM does not have here, or that has no devices, or another precision.
    """
    names, properties = platform_named(platform).getPropertyNames(), {}
    if device is not None:
        if "DeviceIndex" not in names:
            raise ValueError(f"device is {device}, but the platform {platform} has no devices: leave device out")
        properties["DeviceIndex"] = str(device)
    if precision is not None:
        own = {"Reference": ("double",), "CPU": ("single", "mixed")}.get(platform, ("single", "mixed", "double"))
        if precision not in own:
            other = "Reference" if precision == "double" else "CPU"
            raise ValueError(
                f"precision is {precision!r}, but the platform {platform} computes in {' and '.join(own)}: leave "
                f'precision out, or use platform "{other}"'
            )
        if "Precision" in names:
            properties["Precision"] = precision
    return properties


def torch_device(platform: str | None = None, index: int | None = None) -> str:
    """Where torch computes for a Context: beside OpenMM, as far as torch has the device.

    Parameters
    ----------
    platform : str, optional
        Name of OpenMM's platform; None: its fastest.
    index : int, optional
        OpenMM's DeviceIndex; on OpenCL, which numbers devices in an order of its own, it tells torch nothing.

    Returns
    -------
    str
        "cpu" on the platforms CPU and Reference, whatever devices there are, and where torch has no CUDA device;
        "cuda:1" for a DeviceIndex of CUDA, else "cuda", the first.
    """
    if not torch.cuda.is_available() or (platform or default_platform()) in HOST:
        return "cpu"
    return f"cuda:{index}" if platform in NUMBERED and index is not None else "cuda"


def checked_device(device: str) -> torch.device:
    """The torch.device of a name; a ValueError where this machine has none of it."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}: give 'cpu', 'cuda' or 'cuda:1', as torch calls devices")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= there:
        raise ValueError(f"device is {device!r}, but torch has {there} CUDA devices here: give another, or 'cpu'")
    return found


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
