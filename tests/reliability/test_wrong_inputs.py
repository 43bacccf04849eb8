"""Every wrong input of the table ends in one sentence, soon, in little memory, and writes nothing."""

import re
import resource
import time
from collections import Counter

import commandline
import pytest
import wrong_data
import wrong_files
import wrong_models
import wrong_runs
from cases import Inputs, shared_files

ENTRIES = [*wrong_data.ENTRIES, *wrong_files.ENTRIES, *wrong_models.ENTRIES, *wrong_runs.ENTRIES]

#: How a wrong input may end; a pydantic ValidationError, which has many lines, is a ValueError too and fails below.
SENTENCES = (ValueError, TypeError, OSError, ImportError, RuntimeError)
SECONDS, MEGABYTES, LETTERS = 5, 1000, 700


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return shared_files(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def run_prepared():
    with commandline.prepared() as function:
        yield function


@pytest.fixture(scope="module", autouse=True)
def warm(shared, tmp_path_factory):
    """Imports are nobody's hang."""
    import openmm_diffusion.cli  # noqa: F401
    from openmm_diffusion.systems import create_system

    inputs = Inputs(shared, tmp_path_factory.mktemp("warm"))
    create_system(inputs.denoiser, inputs.topology)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_a_wrong_input_ends_in_a_sentence(entry, shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = Inputs(shared, tmp_path)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(SENTENCES) as caught:
        entry.call(inputs)
    seconds = time.process_time() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    told = str(caught.value)
    assert re.search(entry.says, told), told
    assert 10 < len(told) < LETTERS and len(told.splitlines()) == 1, told
    assert "Traceback" not in told and "<NULL>" not in told
    assert seconds < SECONDS and megabytes < MEGABYTES, f"{seconds:.1f} s, {megabytes:.0f} MB"
    assert not inputs.out.exists(), f"{inputs.out} was written: {list(inputs.out.rglob('*'))}"


def test_the_table_has_enough_of_everything():
    letters, doors = Counter(entry.letter for entry in ENTRIES), {entry.door for entry in ENTRIES}
    assert len(ENTRIES) >= 400 and len(doors) >= 12, (len(ENTRIES), doors)
    assert all(letters[letter] >= 10 for letter in "ACDEF"), letters
    names = Counter(map(str, ENTRIES))
    assert max(names.values()) == 1, names.most_common(3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, says",
    [
        (["evaluate", "licl", "{frames}", "-o", "{out}", "--interval", "-1"], "interval is -1 ps"),
        (["evaluate", "licl", "{frames}", "-o", "{out}", "--discard", "nan"], "discard is nan ps"),
        (["simulate", "licl", "-o", "{out}", "--duration", "inf"], "duration is inf"),
        (["simulate", "{frames}", "-o", "{out}"], "not a model file"),
        (["simulate", "licl", "-o", "{out}", "--replicas", "1000000000"], "replicas is 1000000000"),
        (["rdf", "{run}", "--top", "{top}", "-o", "{out}", "--bin-width", "nan"], "bin_width is nan nm"),
        (["coarsen", "{run}", "--map", "missing.yaml", "-o", "beads.npz"], "missing.yaml"),
        (["train", "missing.yaml", "-o", "{out}"], "missing.yaml"),
        (["distil", "licl", "{frames}", "-o", "{out}", "--cutoff", "nan"], "cutoff is nan nm"),
        (["export", "licl", "-o", "{out}", "--top", "missing.pdb"], "missing.pdb"),
    ],
)
def test_the_command_says_it_too(arguments, says, shared, tmp_path, run_prepared):
    names = {"frames": "frames.npz", "run": "run.dcd", "top": "top.pdb"}
    paths = {name: shared / file for name, file in names.items()} | {"out": tmp_path / "out"}
    done = run_prepared(*[argument.format(**paths) for argument in arguments])
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0], done.stderr
    assert not (tmp_path / "out").exists()
