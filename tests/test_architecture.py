"""The floor plan of ARCHITECTURE.md: which package may import which, and how large a house may grow."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import openmm_diffusion

PACKAGE = Path(openmm_diffusion.__file__).parent
BELOW = "units particles noise yamlfile settings rundirectory progress cluster figures"
WORKFLOWS = "engines simulation systems forces evaluation learning model energies analysis data space"
ALLOWED = {
    **dict.fromkeys(BELOW.split(), ""),
    **dict.fromkeys(("settings", "rundirectory"), "yamlfile"),
    "space": "units",
    "data": "space noise particles units settings rundirectory",
    "energies": "space noise particles units",
    "analysis": "data space noise particles units",
    "model": "energies space noise particles units",
    "learning": f"model energies analysis data space {BELOW.removesuffix(' figures')}",
    "evaluation": "model analysis data noise particles units yamlfile rundirectory progress",
    "forces": "model energies space particles units",
    "systems": "forces model energies space particles units yamlfile settings",
    "engines": "systems forces model energies space particles units rundirectory",
    "simulation": "systems forces model data space particles units settings rundirectory progress cluster",
    "potentials": "forces",
    "workflows": f"{WORKFLOWS} {BELOW}",
    "cli": f"workflows {WORKFLOWS} {BELOW}",
}
KINDS = ("coulomb", "wall", "pair", "manybody", "network")
#: Parts of one package that never import each other.
APART = [("learning.linear", "learning.network")]
#: Files at the root that nobody inside imports: the face, its command, and signposts at former paths.
FACE, SIGNPOSTS = ("__init__", "__main__"), ("combination", "nequip", "pythonforce")
FILES, LINES, SIGNPOST_LINES = 9, 400, 5


def modules(package=PACKAGE):
    """Files of a package by dotted name, "space.boxes"; `__init__` has the name of its folder."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports(name, path, known):
    """Modules of the package that a module imports, wherever in it the statement stands."""
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    here = [part for part in here if part != "__init__"]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] or "__init__" for alias in node.names if _ours(alias.name)}
        elif isinstance(node, ast.ImportFrom) and (node.level or _ours(node.module)):
            if node.level:
                base = here[: len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
            else:
                base = node.module.split(".")[1:]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.add(whole if whole in known else ".".join(base) or "__init__")
    return found - {name}


def family(name):
    return name.partition(".")[0]


def _ours(name):
    return name.split(".")[0] == "openmm_diffusion"


def faults(package=PACKAGE):
    """Sentences about every import that the table does not allow, and every module that it does not know."""
    known = modules(package)
    told = [] if set(map(family, known)) >= set(ALLOWED) else ["the house lacks packages of the table"]
    for name, path in known.items():
        if name in FACE or name in SIGNPOSTS:
            continue
        if family(name) not in ALLOWED:
            told.append(f"{name} has no place on the floor plan")
            continue
        for other in imports(name, path, known):
            if family(other) != family(name) and family(other) not in ALLOWED[family(name)].split():
                told.append(f"{name} imports {other}")
            told += [
                f"{name} imports {other}: they are apart"
                for pair in APART
                for one, two in (pair, pair[::-1])
                if name.startswith(one) and other.startswith(two)
            ]
    graph = {name: imports(name, path, known) for name, path in known.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        told.append(f"a circle: {' -> '.join(error.args[1])}")
    return told


def test_imports_run_as_the_table_allows():
    assert faults() == []


def test_the_longest_chain_of_packages_has_nine_floors():
    order = TopologicalSorter({name: below.split() for name, below in ALLOWED.items()})
    floor = {}
    for name in order.static_order():
        floor[name] = 1 + max((floor[below] for below in ALLOWED[name].split()), default=0)
    assert max(floor.values()) == floor["cli"] <= 9


def test_the_checker_sees_the_imports():
    known = modules()
    assert {"space.connectivity", "model.header", "model.sum"} <= imports(
        "model.denoiser", known["model.denoiser"], known
    )
    assert "learning.network.loop" in imports("learning.training", known["learning.training"], known), (
        "imports inside functions count"
    )


@pytest.mark.parametrize(
    "files, told",
    [
        ({}, "the house lacks packages"),
        ({"space/boxes.py": "from ..model import denoiser", "model/denoiser.py": ""}, "space.boxes imports model"),
        ({"space/boxes.py": "def f():\n    import openmm_diffusion.cli"}, "space.boxes imports cli"),
        ({"attic/box.py": ""}, "attic.box has no place"),
        ({"learning/linear/fit.py": "from ..network import loop", "learning/network/loop.py": ""}, "they are apart"),
        ({"space/a.py": "from .b import x", "space/b.py": "from .a import x"}, "a circle"),
        (
            {"systems/system.py": "from openmm_diffusion.simulation import langevin"},
            "systems.system imports simulation",
        ),
    ],
)
def test_the_checker_finds_what_is_wrong(files, told, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert any(sentence.startswith(told) or told in sentence for sentence in faults(tmp_path))


def kinds_asked_for(source):
    """Comparisons of a kind with a name, and choices of terms by names, in a source text."""
    asked = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            of_kind = any(isinstance(side, ast.Attribute) and side.attr == "kind" for side in sides)
            parts = [part for side in sides for part in ast.walk(side)]
            named = any(isinstance(part, ast.Constant) and part.value in KINDS for part in parts)
            asked += [ast.unparse(node)] if of_kind and named else []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "subset":
            asked.append(ast.unparse(node))
    return asked


@pytest.mark.parametrize("name", [name for name in modules() if family(name) != "energies"])
def test_nobody_but_an_energy_asks_for_a_kind_by_its_name(name):
    assert kinds_asked_for(modules()[name].read_text()) == []


def test_a_kind_that_is_asked_for_is_seen():
    assert kinds_asked_for("if term.kind in ('pair', 'network'): pass")
    assert kinds_asked_for("denoiser.subset(['pair'])") and not kinds_asked_for("term.kind == other.kind")


@pytest.mark.parametrize("folder", sorted({path.parent for path in modules().values()}), ids=lambda path: path.name)
def test_a_folder_can_be_read_at_a_glance(folder):
    names = [path.stem for path in folder.glob("*.py") if path.stem not in (*SIGNPOSTS, "__init__")]
    assert len(names) <= FILES, f"{folder.name} holds {len(names)} files: make a family of some"


def test_names_of_tests_are_told_apart():
    """Two files of one name are one module for pytest, wherever they lie."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) > 100 and sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", modules())
def test_modules_are_short(name):
    lines = len(modules()[name].read_text().splitlines())
    limit = SIGNPOST_LINES if name in SIGNPOSTS else LINES
    assert lines <= limit, f"{name} has {lines} lines, over {limit}: split it, for a reason one can name"
