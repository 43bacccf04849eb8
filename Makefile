# make install | quickstart | test | check | lint | doctest.  Needs Python 3.11-3.13, make and a C compiler; installs the rest into .venv.
PYTHON ?= python3
VENV := .venv
RUN := runs/quickstart

.PHONY: install quickstart test check lint doctest

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found: install Python 3.11-3.13, or make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "error: $$($(PYTHON) --version) found, Python 3.11-3.13 needed: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "error: $(PYTHON) has no venv module: install python3-venv"; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || { echo "error: no C compiler found: install gcc"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train,torchforce,dev]'
	@touch $@

quickstart: install
	$(VENV)/bin/python examples/licl/quickstart.py $(RUN)

# Everything, some seventeen minutes.
test: install
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadscope

# What takes no long run, no compiler and no process of its own: about two minutes.
check: install
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadscope -m "not slow"

# The examples in docstrings.
doctest: install
	$(VENV)/bin/python -m pytest --doctest-modules openmm_diffusion --ignore openmm_diffusion/__main__.py

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
