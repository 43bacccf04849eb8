# make install | quickstart | test | check | lint | doctest | opencl.  Needs Python 3.11-3.13, make and a C compiler; installs the rest into .venv.
PYTHON ?= python3
VENV := .venv
RUN := runs/quickstart

.PHONY: install quickstart test check lint doctest opencl

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

# The tests run where OpenMM has no OpenCL: with a driver, its platform would take all that name none.
test check doctest: export OCL_ICD_VENDORS := $(CURDIR)/.no-opencl

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

# OpenMM's OpenCL platform on the processor, by PoCL (Debian: pocl-opencl-icd, ocl-icd-libopencl1): about a minute.
POCL ?= $(firstword $(wildcard .pocl/pocl.icd /etc/OpenCL/vendors/pocl.icd))
opencl: export OCL_ICD_VENDORS = $(dir $(abspath $(POCL)))
opencl: export POCL_CACHE_DIR = $(CURDIR)/.pocl/cache
opencl: install
	@test -f "$(POCL)" || { echo "error: no pocl.icd: install pocl-opencl-icd and ocl-icd-libopencl1, or make opencl POCL=/path/to/pocl.icd"; exit 1; }
	@mkdir -p $(POCL_CACHE_DIR)
	$(VENV)/bin/python -m pytest -k OpenCL tests/forces/test_device_platforms.py
