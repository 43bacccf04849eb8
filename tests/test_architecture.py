"""The floor plan: imports run downwards only, without cycles, and no module grows out of hand."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import openmm_diffusion

PACKAGE = Path(openmm_diffusion.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

GROUND = "units geometry neighbours configuration verlet noise network rdf validation extxyz readers".split()
GROUND += "solution resampling outputs dynamics lifetimes".split()
NOUNS = "frames prior pair scorematching forcematching header terms relativeentropy config denoiser combination".split()
WINGS = {
    "training side": "training pairtraining trainingset loop forceloss processes rank".split(),
    "force side": "force torchscript pythonforce compiled".split(),
}
ABOVE = (
    "generate guard systems export trajectories simulation structure calibration forceerror evaluate distillation "
    "sampling figures refine nequip paths timing benchmark cli __init__ __main__"
).split()

FLOOR = dict.fromkeys(GROUND, 0) | dict.fromkeys(NOUNS, 1) | dict.fromkeys(sum(WINGS.values(), []), 2)
FLOOR |= {module: 3 + step for step, module in enumerate(ABOVE)}


def imports(module):
    """Modules of the package that a module imports, wherever in it the statement stands."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] or "__init__" for alias in node.names if _ours(alias.name)}
        elif isinstance(node, ast.ImportFrom) and (node.level or _ours(node.module)):
            base = (node.module or "") if node.level else node.module.partition(".")[2]
            names = [base] if base else [alias.name for alias in node.names]
            found |= {name if name in FLOOR or base else "__init__" for name in names}
    return found


def _ours(name):
    return name.split(".")[0] == "openmm_diffusion"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    assert module in FLOOR, f"{module}.py has no place on the floor plan: add it to {Path(__file__).name}"
    for other in imports(module):
        assert FLOOR[other] <= FLOOR[module], f"{module} imports {other}, which lies above it"
        sides = [side for side, names in WINGS.items() for name in (module, other) if name in names]
        assert len(set(sides)) < 2, f"{module} imports {other}: the wings never import each other"


def test_imports_have_no_cycle():
    order = list(TopologicalSorter({module: imports(module) for module in MODULES}).static_order())
    assert order.index("units") < order.index("denoiser") < order.index("training")


def test_the_checker_sees_the_imports():
    assert {"geometry", "header", "terms"} <= imports("denoiser")
    assert "loop" in imports("training"), "imports inside functions count"


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_at_most_300_lines(module):
    lines = len((PACKAGE / f"{module}.py").read_text().splitlines())
    assert lines <= 300, f"{module}.py has {lines} lines: split it, for a reason one can name"
