"""The page about runs: one whole file of HTML, whose numbers are those of the tables of the runs."""

import base64
import hashlib
import re
import shlex

import numpy as np
import pandas
import pytest
import typer
import yaml
from pages import page_of

from openmm_diffusion import Denoiser
from openmm_diffusion.cli import app
from openmm_diffusion.evaluation.tables import rounded
from openmm_diffusion.model.curves import two_particles
from openmm_diffusion.units import COULOMB
from openmm_diffusion.workflows.page import cautions
from openmm_diffusion.workflows.page.learnt import pair_terms

pytestmark = pytest.mark.slow
SECTIONS = ["summary", "warnings", "data", "fit", "curves", "structure", "forces", "health", "repeat", "files"]


@pytest.fixture(scope="module")
def page(written):
    return page_of(written)


def shown(value, error=np.nan):
    return rounded(value, error).replace(" +- ", "\N{NO-BREAK SPACE}\N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        (
            {"runs": "cannot tell", "g(r)": "cannot tell", "g(r) Li-Cl": "cannot tell", "scale of forces": "differs"},
            "it differs from the frames in scale of forces; what cannot be told: g(r).",
        ),
        (
            {"g(r)": "agrees", "g(r) A-A": "differs", "g(r) A-B": "differs"},
            "it differs from the frames in g(r) of A-A and g(r) of A-B; it agrees with the frames in all other g(r).",
        ),
        ({"runs": "cannot tell"}, "what cannot be told: runs."),
    ],
)
def test_the_line_names_nothing_twice(monkeypatch, findings, line):
    class Runs:
        def of(self, kind):
            return [kind]

    monkeypatch.setattr(cautions, "_findings", lambda runs: list(findings.items()))
    assert cautions.verdict_line(Runs()) == f"The model in one line: {line}"


def test_commands_say_how_to_get_the_page(made):
    for name, text in made.said.items():
        assert text.rstrip().splitlines()[-1] == f"page: openmm-diffusion report {made.folder / name}"


def test_the_page_is_whole(page, written):
    assert page.faults == []
    named = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(named)) == len(named)
    assert [attributes["id"] for attributes in page.all("section")] == SECTIONS
    assert [attributes["href"] for attributes in page.all("a")] == [f"#{name}" for name in SECTIONS]
    told = {name for _, of in page.elements for key in ("aria-labelledby",) for name in [of.get(key)] if name}
    assert told <= set(named) and page.all("html")[0] == {"lang": "en"}
    assert written.read_text().startswith("<!DOCTYPE html>\n")


def test_the_page_needs_nothing_but_itself(page, written):
    """No script, no address, and every picture is in the file, the same as beside it."""
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {name for name, _ in page.elements}
    for name, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), f"{name} has {key}"
            if key in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith(("data:image/png;base64,", "#")), value[:80]
    assert "http" not in re.sub(r"http-equiv", "", written.read_text().split("</style>")[0])
    assert not re.search(r"url\(|@import", written.read_text())
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    pictures, folder = page.all("img"), written.parent / "report"
    assert len(pictures) == len(list(folder.iterdir())) == 6
    inside = {base64.b64decode(one["src"].partition(",")[2]) for one in pictures}
    assert inside == {path.read_bytes() for path in folder.iterdir()}
    assert all(len(one["alt"]) > 30 and int(one["width"]) > 300 and int(one["height"]) > 100 for one in pictures)


def test_numbers_of_the_page_are_those_of_the_evaluation(page, made):
    table = pandas.read_csv(made.folder / "evaluated" / "evaluation.csv").fillna({"of": "", "curve": ""})
    numbers = table.set_index(["quantity", "of", "curve"]).sort_index()
    errors = page.table("pair", "learning", "smoothing")
    assert set(errors) == {"Li-Li", "Li-Cl", "Cl-Cl"}
    for pair, row in errors.items():
        for kind, cell in row.items():
            value, error = numbers.loc[(f"g(r) RMSD, {kind}", pair, ""), ["value", "error"]]
            assert cell == shown(value, error)
    forces = page.table("particles", "force RMSE / (kJ/mol/nm)")
    for group, row in forces.items():
        value, error = numbers.loc[("force RMSE", group, ""), ["value", "error"]]
        assert row["force RMSE / (kJ/mol/nm)"] == shown(value, error)
    assert len(forces) == 5
    others = page.table("quantity", "unit")
    for pair in errors:
        name = ("closest approach", pair)
        assert others[", ".join(name)]["MD"] == shown(*numbers.loc[(*name, "model"), ["value", "error"]])
    for sentence in pandas.read_csv(made.folder / "evaluated" / "verdict.csv")["sentence"]:
        words = sentence.replace(" +- ", "\N{NO-BREAK SPACE}\N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}")
        assert " ".join(words.split()) in page.words


def test_numbers_of_the_page_are_those_of_training_and_md(page, made):
    account = yaml.safe_load((made.folder / "trained" / "account.yaml").read_text())
    pair = page.table("term", "coefficients")["pair potential"]
    own = account["parts"]["pair"]
    assert pair["gain / (kJ/mol/nm)\N{SUPERSCRIPT TWO}"].startswith(shown(own["gain"], own["error"]))
    assert pair["uncertainty / (kJ/mol/nm)"] == f"{own['force_sd']:.3g}" and float(pair["effective"]) > 3
    for sentence in account["sentences"]:
        start = sentence.split(" +- ")[0].replace("^2", "\N{SUPERSCRIPT TWO}")
        assert start in page.words
    state = pandas.read_csv(made.folder / "md" / "state.csv")
    later = state[state["Time (ps)"] > 0.25 * 3.0]["Temperature (K)"]
    rows = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    told = re.match(r"([\d.]+)\s.\s([\d.]+) K", rows["mean temperature"])
    assert abs(float(told[1]) - later.mean()) < 0.06 and 0 < float(told[2]) < 20
    assert rows["length"] == "3 of 3 ps in steps of 0.005 ps" and rows["resumed"] == "never"
    assert rows["frames"].startswith("60, one each 0.05 ps, of 3 independent copies")
    # Of 144 particles: the kinetic temperature has 432 degrees of freedom.
    assert rows["its fluctuation"].endswith(f"that of the canonical ensemble is {300 * np.sqrt(2 / 432):.3g} K")
    header = Denoiser.load(made.folder / "trained" / "model.safetensors").header
    approach = page.table("pair", "MD / nm", "data / nm")
    assert float(approach["Li-Cl"]["data / nm"]) == pytest.approx(header.shortest_distances[0][1], abs=6e-5)
    assert float(approach["Li-Cl"]["guard / nm"]) == pytest.approx(header.shortest_distances[0][1] - 0.04, abs=6e-5)


def test_the_curves_are_those_of_the_model(made):
    """Terms against the model itself, and their sum; the uncertainty is that of the fit."""
    denoiser = Denoiser.load(made.folder / "trained" / "model.safetensors")
    curves = pair_terms(denoiser, made.folder / "trained")
    kept = pandas.read_csv(made.folder / "trained" / "curves.csv")
    for number, pair in enumerate([(0, 0), (0, 1), (1, 1)]):
        name = list(dict.fromkeys(curves["pair"]))[number]
        own = curves[curves["pair"] == name].set_index("term")
        assert set(own.index) == {"learnt", "sum", "Coulomb"}, "the wall is zero where there are data"
        r = own.loc["learnt", "r_nm"].to_numpy(copy=True)
        assert np.allclose(own.loc["learnt", "u_kJ/mol"], two_particles(denoiser.learnt, *pair, r)[0])
        assert np.allclose(own.loc["sum", "u_kJ/mol"], two_particles(denoiser, *pair, r)[0])
        coulomb = [1, -1, 1][number] * COULOMB / 78.3 / r
        assert np.allclose(own.loc["Coulomb", "u_kJ/mol"], coulomb, atol=1e-6)
        sd = kept[kept["pair"] == name]
        assert np.allclose(own.loc["learnt", "sd_kJ/mol"], np.interp(r, sd["r_nm"], sd["sd_kJ/mol"]), atol=1e-9)


def test_the_commands_of_the_page_are_ones_that_the_program_takes(page, made):
    """And they ask for what the runs have kept."""
    commands = typer.main.get_command(app).commands
    (text,) = re.findall(r"openmm-diffusion train .*?(?=Versions\.)", "".join(page.text), re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in text.strip().splitlines()]
    given = {}
    for program, name, *words in [line for line in lines if line[0] == "openmm-diffusion"]:
        given[name] = commands[name].make_context(name, words).params
        assert program == "openmm-diffusion" and str(given[name]["output"]).endswith("-again")
    assert list(given) == ["train", "simulate", "evaluate"]
    assert given["simulate"]["duration"] == 3.0 and given["simulate"]["replicas"] == 3
    assert given["simulate"]["backend"] == "python" and given["simulate"]["interval"] == 0.05
    (echoed,) = [line for line in lines if line[0] == "echo"]
    assert yaml.safe_load(echoed[1]) == {"friction": 5.0}, "which is no option of the command"
    assert given["evaluate"]["discard"] == 1.0 and given["evaluate"]["trajectory"] == [made.folder / "md"]


def test_the_training_is_repeated_by_its_command(page, made, run_command):
    """The same configuration gives the same model, to the last digit."""
    (line,) = re.findall(r"openmm-diffusion (train \S+ --output \S+)", "".join(page.text))
    done = run_command(*line.split())
    assert done.returncode == 0, done.stderr
    again = Denoiser.load(made.folder / "trained-again" / "model.safetensors")
    assert again.digest() == Denoiser.load(made.folder / "trained" / "model.safetensors").digest()


def test_checksums_are_those_of_the_files(page, made):
    content = (made.folder / "trained" / "model.safetensors").read_bytes()
    assert page.table("file", "size", "SHA-256")["evaluation.csv"]["SHA-256"]
    assert hashlib.sha256(content).hexdigest() in page.words
    assert "report.html" not in [row[0] for table in page.tables for row in table], "the page itself is no part of it"
