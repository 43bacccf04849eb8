# make install | quickstart | test | long | reliability | check | lint | doctest | docs | opencl | matrix | release.  Needs Python 3.11-3.13, make and a C compiler; installs the rest into .venv.
PYTHON ?= python3
VENV := .venv
RUN := runs/quickstart
MATRIX := matrix-openmmtorch matrix-acellera matrix-openmmml matrix-openmmml17

.PHONY: install quickstart test long reliability check lint doctest docs opencl matrix release $(MATRIX)

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
test long reliability check doctest docs: export OCL_ICD_VENDORS := $(CURDIR)/.no-opencl

# All but the longest: some twenty-five minutes on two cores.  In two halves, for what torch keeps of every scripted or compiled
# module it keeps until the end of the process: in one, processes took 2.3 GB; in two, 1.6.
HALF := tests/energies tests/forces tests/model tests/space tests/systems
test: SUITE = $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadscope -m "not long and not reliability"
test: install
	$(SUITE) $(HALF)
	$(SUITE) tests $(HALF:%=--ignore %)

# The longest, some eight minutes more.
long: install
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist load -m long

# What can go wrong: wrong inputs, flipped bits, some hundred kills, full disks.  About an hour on two cores.
reliability: install
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist load tests/reliability

# What takes no long run, no compiler and no process of its own: about two minutes.
check: install
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadscope -m "not slow"

# The examples in docstrings; one module is imported by openmm-ml alone.
doctest: install
	$(VENV)/bin/python -m pytest --doctest-modules openmm_diffusion --ignore openmm_diffusion/__main__.py --ignore openmm_diffusion/forces/mlpotential.py

# The site of documentation, in build/docs: warnings are errors, links are checked, and one notebook is run.
docs: $(VENV)/docs-installed
	$(VENV)/bin/python -m sphinx -q -W --keep-going -c docs . build/docs
	@echo "open build/docs/index.html"

$(VENV)/docs-installed: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train,torchforce,docs]'
	@touch $@

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
	$(VENV)/bin/python -m pytest -k OpenCL tests/forces/test_device_platforms.py tests/forces/test_devices.py tests/simulation/test_platforms_of_runs.py

# The combinations of torch, OpenMM, TorchForce and openmm-ml that are supported: each in .matrix/NAME (1 to 7 GB), with
# the tests of forces.  `make matrix-openmmml` is one of them.
matrix: $(MATRIX)

matrix-openmmtorch: NEEDS = torch==2.9.* openmm==8.5.* openmmtorch==1.5.*
matrix-acellera: NEEDS = torch==2.12.* openmm==8.5.* acellera-openmmtorch-cpu==1.10.*
matrix-openmmml: NEEDS = torch openmm==8.6.1 openmmml==1.8
matrix-openmmml17: NEEDS = torch openmm==8.5.2 openmmml==1.7
matrix-openmmml matrix-openmmml17: export OPENMM_DIFFUSION_TESTS_WITHOUT_TORCHFORCE = 1

$(MATRIX): matrix-%:
	test -x .matrix/$*/bin/python || $(PYTHON) -m venv .matrix/$*
	.matrix/$*/bin/python -m pip install --quiet --disable-pip-version-check $(NEEDS:%='%') --editable '.[train]' 'pytest>=8' 'pytest-timeout>=2.3'
	.matrix/$*/bin/python -m pip list --disable-pip-version-check | grep -i -E '^(torch|openmm[^_]*|acellera[^ ]*) '
	OMP_NUM_THREADS=1 .matrix/$*/bin/python -m pytest tests/forces

# Wheel and sdist in dist/, their metadata, citation and recipe checked, and the wheel tried in an environment of its own
# (5 to 7 GB), in an empty folder.
release: TRIAL = .matrix/release
release: install
	rm -rf dist $(TRIAL)
	$(VENV)/bin/python -m build --outdir dist .
	$(PYTHON) -m venv $(TRIAL)-tools
	$(TRIAL)-tools/bin/python -m pip install --quiet --disable-pip-version-check twine cffconvert py-rattler-build
	$(TRIAL)-tools/bin/python -m twine check --strict dist/*
	$(TRIAL)-tools/bin/cffconvert --validate -i CITATION.cff
	$(TRIAL)-tools/bin/python -c 'import rattler_build; rattler_build.Stage0Recipe.from_file("conda/recipe.yaml").render()'
	$(PYTHON) -m venv $(TRIAL)
	$(TRIAL)/bin/python -m pip install --quiet --disable-pip-version-check "$$(echo dist/*.whl)[train]"
	mkdir $(TRIAL)/empty && cd $(TRIAL)/empty && ../bin/python $(CURDIR)/tests/installed.py $(CURDIR)/README.md
