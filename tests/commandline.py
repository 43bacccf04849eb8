"""The command line in a process of its own."""

import subprocess
import sys


def run(*arguments):
    command = [sys.executable, "-m", "openmm_diffusion", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
