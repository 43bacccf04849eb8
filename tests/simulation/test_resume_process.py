"""A run that holds nothing but a PythonForce goes on in a process of its own."""

import subprocess
import sys

import mdtraj
import pytest

SCRIPT = """
import sys
from openmm_diffusion.simulation.langevin import simulate
settings = {{"duration": {duration}, "interval": 0.04, "timestep": 0.004, "replicas": 2, "platform": "Reference"}}
simulate(sys.argv[1], sys.argv[2], settings, resume={resume}, progress=False)
"""


@pytest.mark.slow
def test_replicas_are_gone_on_with_in_another_process(tmp_path):
    """A Context whose positions came from a State alone ended the process in its first PythonForce."""
    for duration, resume in ((0.08, False), (0.16, True)):
        script = SCRIPT.format(duration=duration, resume=resume)
        arguments = [sys.executable, "-c", script, "licl", str(tmp_path / "run")]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for number in range(2):
        found = mdtraj.load(tmp_path / "run" / f"trajectory-0{number}.dcd", top=tmp_path / "run" / "topology.pdb")
        assert found.n_frames == 4
