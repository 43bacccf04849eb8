"""Pictures leave matplotlib as a caller has it; what they show is tested beside what they are made from."""

import subprocess
import sys

PROGRAM = """
import sys
import matplotlib
matplotlib.use("svg")
import pandas
from openmm_diffusion.figures import simple_rdf_figure
loaded = "matplotlib.pyplot" in sys.modules
table = pandas.DataFrame({"r_nm": [0.2, 0.3], "Li-Cl": [1.0, 1.1], "Li-Cl_error": [0.1, 0.1]})
simple_rdf_figure(table, sys.argv[1])
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
from matplotlib import pyplot
assert not loaded and pyplot.get_fignums() == []
"""


def test_drawing_neither_selects_a_backend_nor_keeps_a_figure(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "rdf.png")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "rdf.png").read_bytes().startswith(b"\x89PNG")
