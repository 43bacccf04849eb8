"""What a page is made of: runs that are followed, unfinished, at work, read-only, damaged or named to deceive."""

import os
import shutil

import pandas
import pytest
import yaml
from models import LICL
from pages import page_of

from openmm_diffusion import Denoiser, simulate
from openmm_diffusion.rundirectory import occupied
from openmm_diffusion.workflows.page.page import write_page
from openmm_diffusion.workflows.page.runs import found_runs

pytestmark = pytest.mark.slow


def files_of(folder):
    """Everything in a folder with its contents and times, by name."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_a_run_names_is_followed(made):
    folder = made.folder
    found = found_runs([folder / "evaluated"])
    assert [(run.kind, run.path.name) for run in found.runs] == [
        ("evaluation", "evaluated"), ("training", "trained"), ("simulation", "md"),
    ]  # fmt: skip
    assert [model.file for model in found.models] == [str(folder / "trained" / "model.safetensors")]
    assert [run.path.name for run in found_runs([folder / "md"]).runs] == ["md", "trained"]
    assert [run.kind for run in found_runs([folder / "trained"]).runs] == ["training"]
    several = found_runs([folder / "trained", folder / "md", folder / "evaluated"])
    assert [run.kind for run in several.runs] == ["training", "simulation", "evaluation"], "each once"


def test_what_is_missing_is_said_in_its_place(made, tmp_path):
    page = page_of(write_page([made.folder / "trained"], tmp_path / "page"))
    assert "No evaluation was given, which compares the model with frames: openmm-diffusion evaluate" in page.words
    model = made.folder / "trained" / "model.safetensors"
    assert f"No simulation was given: openmm-diffusion simulate {model} --output DIRECTORY." in page.words
    assert "Whether the model is right is not known: no evaluation" in page.words
    alone = page_of(write_page([made.folder / "md"], tmp_path / "other"))
    assert "frames of MD in md alone, compared with nothing" in alone.words


def test_a_page_writes_nothing_but_itself(made, tmp_path):
    """Elsewhere where somebody asks for that: runs may be on a disk that can only be read."""
    before = {name: files_of(made.folder / name) for name in ("trained", "md", "evaluated")}
    assert write_page([made.folder / "evaluated"], tmp_path / "page") == tmp_path / "page" / "report.html"
    assert {name: files_of(made.folder / name) for name in before} == before
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["report", "report.html"]
    first = (tmp_path / "page" / "report.html").stat().st_ino
    write_page([made.folder / "evaluated"], tmp_path / "page")
    assert (tmp_path / "page" / "report.html").stat().st_ino != first, "a new file took the place of the old one"
    assert not list((tmp_path / "page").rglob("*.tmp"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_can_only_be_read_is_told(made, tmp_path):
    shutil.copytree(made.folder / "trained", tmp_path / "run")
    (tmp_path / "run").chmod(0o500)
    with pytest.raises(OSError, match="or name another directory"):
        write_page([tmp_path / "run"])


def test_an_interrupted_run_is_told_and_one_that_went_on_too(made, tmp_path):
    folder, times = tmp_path / "md", iter([False] * 2 + [True] * 100)
    asked = {"duration": 20.0, "interval": 0.1, "backend": "native", "platform": "Reference", "start": str(LICL)}
    model = made.folder / "trained" / "model.safetensors"
    with pytest.raises(BaseException, match="was ended at"):
        simulate(model, folder, asked, progress=False, stop=lambda: next(times))
    state = pandas.read_csv(folder / "state.csv") if (folder / "state.csv").stat().st_size else pandas.DataFrame()
    page = page_of(write_page([folder], tmp_path / "page"))
    reached = state["Time (ps)"].iloc[-1] if len(state) else 0.0
    assert 0 <= reached < 20 and f"is unfinished: {reached:g} of 20 ps" in page.words
    simulate(model, folder, asked | {"duration": 4.0}, resume=True, progress=False)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["duration"] == 4.0
    page = page_of(write_page([folder], tmp_path / "page"))
    assert "unfinished" not in page.words
    rows = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert rows["length"].startswith("4 of 4 ps") and rows["resumed"] == ("once" if len(state) else "never")


def test_a_run_that_is_at_work_has_a_page(made, tmp_path):
    """Its lock is held, and its last line and frame are half written."""
    shutil.copytree(made.folder / "md", tmp_path / "md")
    state, trajectory = tmp_path / "md" / "state.csv", tmp_path / "md" / "trajectory-01.dcd"
    state.write_bytes(state.read_bytes()[:-9])
    trajectory.write_bytes(trajectory.read_bytes()[:-100])
    with occupied(tmp_path / "md"):
        page = page_of(write_page([tmp_path / "md"], tmp_path / "page"))
    assert f"unfinished: 2.95 of 3 ps (in use by process {os.getpid()} on " in page.words
    assert "cannot be read" in page.words and "trajectory-01.dcd" in page.words


def test_a_training_that_has_not_ended_has_a_page(made, tmp_path):
    shutil.copytree(made.folder / "trained", tmp_path / "run")
    for name in ("model.safetensors", "account.yaml"):
        (tmp_path / "run" / name).unlink()
    page = page_of(write_page([tmp_path / "run"], tmp_path / "page"))
    assert "The training in " in page.words and "is unfinished" in page.words
    assert "The training has not ended: what each part gains" in page.words
    (tmp_path / "run" / "pair.safetensors").unlink()
    assert "has fitted nothing yet" in page_of(write_page([tmp_path / "run"], tmp_path / "page")).words


def test_names_of_files_and_types_are_text_and_nothing_else(made, tmp_path):
    """Markup, formulas of pictures, quotes and control characters in the names of directories and types."""
    hostile = tmp_path / "<script>alert(1)</script> & \"quoted' $x$\n\x1b[31m"
    shutil.copytree(made.folder / "evaluated", hostile, ignore=shutil.ignore_patterns("report*", "evaluation.yaml"))
    for path in hostile.glob("*.csv"):
        path.write_text(path.read_text().replace("Li", "<b onload=alert(2)>$\\frac$"))
    page = page_of(write_page([hostile], tmp_path / "page"))
    assert page.faults == [] and "alert(1)" in page.words
    assert not {"script", "b"} & {name for name, _ in page.elements}
    assert not any(key.startswith("on") for _, of in page.elements for key in of)
    assert "\x1b" not in (tmp_path / "page" / "report.html").read_text()
    assert any(row[0] == "<b onload=alert(2)>$\\frac$-Cl" for table in page.tables for row in table)


def test_warnings_are_in_plain_words(made, tmp_path):
    """A thermostat at another temperature than the data's, one run alone, and a model that is another now."""
    model = tmp_path / "model.safetensors"
    shutil.copy(made.folder / "trained" / "model.safetensors", model)
    asked = {"duration": 1.0, "interval": 0.1, "backend": "native", "platform": "Reference", "temperature": 350.0}
    simulate(model, tmp_path / "md", asked | {"start": str(LICL)}, progress=False)
    words = page_of(write_page([tmp_path / "md"], tmp_path / "page")).words
    assert "is at 350 K, but the forces are those of 300 K" in words
    assert f"The training of {model} was not found beside it" in words
    Denoiser.load("licl").save(model)
    words = page_of(write_page([tmp_path / "md"], tmp_path / "page")).words
    assert "ran under another model (" in words
    model.unlink()
    words = page_of(write_page([tmp_path / "md"], tmp_path / "page")).words
    assert f"names the model {model}, which is not there any more" in words


def test_models_of_every_kind_have_a_page(tmp_path):
    """A network and a vector head, which no curve shows; molecules, whose bonds have curves; a liquid of one bead."""
    for name, told in {
        "licl": "No curve can show the network", "licl_vector": "The forces are no gradient of an energy",
        "alanine": "Energies of bonds, angles and dihedrals", "water": "1 W|No curve can show the many-body energy",
    }.items():  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        asked = {"model_file": name, "timestep": 0.002, "friction": 1.0, "force": {}, "duration": 1.0}
        (folder / "config.yaml").write_text(yaml.safe_dump(asked | {"model": Denoiser.load(name).digest()}))
        page = page_of(write_page([folder]))
        assert page.faults == [] and any(one in page.words for one in told.split("|")), name
        assert "The run has saved no frame yet." in page.words


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("evaluation.csv", b"\x00\xff\xfe", "evaluation.csv is damaged or empty"),
        ("evaluation.csv", b"a,b\n1,2\n", "evaluation.csv has no column quantity"),
        ("evaluation.csv", b"quantity,of,curve,unit,value,error\na,b,c,d,much,0\n", "has words in column value"),
        ("evaluation.csv", b"", "evaluation.csv is missing or empty"),
        ("verdict.csv", b"about\nforces\n", "verdict.csv has no column finding"),
        ("evaluation.yaml", b"{", "evaluation.yaml is damaged or empty"),
        ("evaluation.yaml", b"- 1\n", "evaluation.yaml is damaged or empty"),
        ("rdf.csv", b"r_nm,A-B_clean\n0.1,1\n", "rdf.csv has no column A-B_clean_error"),
        ("molecules.png", b"<svg/>", "molecules.png is no picture"),
    ],
)
def test_damaged_tables_end_in_one_sentence(made, tmp_path, name, content, says):
    shutil.copytree(made.folder / "evaluated", tmp_path / "run", ignore=shutil.ignore_patterns("report*"))
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(ValueError, match=says) as caught:
        write_page([tmp_path / "run"])
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "report.html").exists()
    assert not (tmp_path / "run" / "report").exists()
