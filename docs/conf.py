"""The site of documentation: `make docs` builds it into build/docs, with the root of the repository as its source.

So every page lies where it is read without a site too, and links between pages, to scripts and to tables are checked.
"""

import importlib.metadata
import os
import sys
from pathlib import Path

# One thread, for the notebook that a build runs, as the pages advise.
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))

project = "openmm_diffusion"
author = "the authors of openmm_diffusion"
release = version = importlib.metadata.version("openmm_diffusion")

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",  # types in our docstrings are shapes and units, which napoleon would take for names of classes
    "myst_nb",
    "sphinx_copybutton",
    "commands",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "examples/*/*.md",
    "benchmarks/README.md",
    "benchmarks/suite/README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "build", "runs", "**/runs", "**/.ipynb_checkpoints"]
nitpicky = True
smartquotes = False  # "--output" is an option

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4  # as long as the deepest heading that a page links to

# Notebooks are kept with the outputs of a whole run.  The one that takes seconds, your-trajectory, is run anew by every
# build, and an exception in it ends the build.
KEPT = ["openmm", "water", "alanine", "ase", "lammps"]
nb_execution_mode = "force"
nb_execution_excludepatterns = [f"docs/tutorials/{name}.ipynb" for name in KEPT]
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_typehints = "none"  # docstrings say more: shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"openmm_diffusion {release}"
html_show_sourcelink = False
html_copy_source = False
# The address of the site is the first page.
html_extra_path = ["index.html"]
