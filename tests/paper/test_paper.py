"""The scripts of examples/paper: quick runs agree with closed forms, and say how their rows were made."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from openmm_diffusion import Frames

PAPER = Path(__file__).parents[2] / "examples" / "paper"


def script(name, monkeypatch):
    """A script as a module: the name begins with a number."""
    monkeypatch.syspath_prepend(PAPER)
    spec = importlib.util.spec_from_file_location(f"paper_{name}", PAPER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scaling(tmp_path_factory):
    """01_scaling.py, its quick table and where it lies."""
    output = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        module = script("01_scaling", patch)
        module.main(["--quick", "--output", str(output)])
    return module, pandas.read_csv(output / "01_scaling.csv"), output


def of(table, **values):
    found = table
    for column, value in values.items():
        found = found[found[column] == value]
    assert len(found)
    return found


def test_scaled_denoiser_is_the_force_and_the_unscaled_one_is_not(scaling):
    module, table, _ = scaling
    rows = of(table, quantity="slope on noised force")
    assert (np.abs(rows["value"] - 1) < 4 * rows["error"]).all()
    precise = rows[rows["learner"] == "regression"]
    assert (precise["error"] < 0.01).all(), "a slope of 1 must be told from one that is a few per cent off"
    rows = of(table, quantity="unscaled slope", learner="regression")
    law = rows["sigma / nm"] ** 2 / (8.31446e-3 * 300)
    assert (np.abs(rows["value"] - law) < 4 * rows["error"]).all()


def test_clean_force_of_a_spring_is_approached_as_the_noise_goes(scaling):
    _, table, _ = scaling
    rows = of(table, quantity="slope on clean force", system="harmonic")
    law = 1 / (1 + rows["sigma / nm"] ** 2 / 0.03**2)
    assert (np.abs(rows["value"] - law) < 4 * rows["error"]).all()
    assert (np.abs(rows["value"] - 1) > 4 * rows["error"]).any(), "smoothing must be seen"


def test_wrong_scales_show_in_molecular_dynamics(scaling):
    _, table, _ = scaling
    right = of(table, quantity="variance", system="harmonic", arm="right").iloc[0]
    assert abs(right["value"] - (0.03**2 + 0.005**2)) < 4 * right["error"]
    wrong = of(table, quantity="excess variance", system="harmonic", arm="293.15 K").iloc[0]
    assert abs(wrong["value"] - (300 / 293.15 - 1)) < 4 * wrong["error"] and wrong["value"] > 3 * wrong["error"]
    # In eV and Angstrom the scale of 0.05 A is 0.0258520 eV / 0.0025 A^2.
    none = of(table, quantity="excess variance", system="harmonic", arm="left out").iloc[0]
    assert abs(none["value"] - (0.0258520 / 0.0025 - 1)) < 4 * none["error"] and none["value"] > 3 * none["error"]
    bond = of(table, quantity="excess variance", system="harmonic bond", arm="293.15 K").iloc[0]
    assert abs(bond["value"] - bond["expected"]) < 4 * bond["error"] and bond["value"] > 3 * bond["error"]


def test_every_row_says_how_it_was_made_and_is_made_once(scaling, capsys):
    module, table, output = scaling
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert (output / "01_scaling.png").stat().st_size > 50_000
    module.main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("fit", "md", "dimer"))]
    assert len(lines) == table["config"].nunique() and all("kept" in line for line in lines)
    pandas.testing.assert_frame_equal(pandas.read_csv(output / "01_scaling.csv"), table)


def test_committed_results_carry_their_verdicts(monkeypatch):
    table = pandas.read_csv(PAPER / "results" / "01_scaling.csv")
    found = script("01_scaling", monkeypatch).claims(table)
    section = (PAPER / "README.md").read_text().split("## 1. ")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    # Wells and bonds at another temperature are two rows of the README, and one claim.
    rows = [row for row in rows if not row[0].startswith("... of the harmonic bond")]
    assert [row[-1].split(":")[0] for row in rows] == list(found["verdict"])
    assert set(found["verdict"]) == {"holds", "holds under conditions"}
    for row, measured in zip(rows[:3], found["measured"]):
        assert row[1].split(" (")[0] == measured


def test_a_badly_known_slope_confirms_nothing(monkeypatch):
    module = script("01_scaling", monkeypatch)
    table = pandas.read_csv(PAPER / "results" / "01_scaling.csv")
    slopes = table["quantity"].eq("slope on noised force")

    def verdicts(learner, value, error):
        rows = slopes & table["learner"].eq(learner)
        changed = table.assign(value=table["value"].where(~rows, value), error=table["error"].where(~rows, error))
        found = module.claims(changed)
        return found.loc[found["claim"].str.startswith(f"slope after kT/sigma^2, {learner}"), "verdict"].item()

    assert [verdicts("regression", *x) for x in ((1.0, 0.002), (0.93, 0.002), (0.93, 0.1))] == [
        "holds", "does not hold", "does not hold",
    ]  # fmt: skip
    assert [verdicts("network", *x) for x in ((0.98, 0.01), (0.8, 0.01), (0.98, 0.1))] == [
        "holds", "does not hold", "not decided",
    ]  # fmt: skip


def test_verdicts_of_another_seed_are_told():
    """Of every script that was run with another seed: how many claims have the same verdict, and which have not."""
    section = (PAPER / "README.md").read_text().split("## Another seed")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    told = {int(row[0].split()[-1]): row for row in rows if row[0].startswith("part ")}
    others = sorted((PAPER / "results" / "seed-1").glob("*_claims.csv"))
    assert len(others) == len(told) >= 3
    for path in others:
        first, other = (pandas.read_csv(name) for name in (PAPER / "results" / path.name, path))
        pairs = first.merge(other, on=first.columns[0], how="right", validate="one_to_one")
        same = pairs["verdict_x"] == pairs["verdict_y"]
        _, claims, equal, differing = told[int(path.name[:2])]
        assert (int(claims), int(equal)) == (len(other), same.sum())
        assert differing.count(";") + bool(differing) == (~same).sum(), "one sentence for each that differs"
        # No verdict is turned round: what differs was not decided, or its conditions are others.
        turned = {"holds", "does not hold"}
        assert not any(set(pair) == turned for pair in zip(pairs["verdict_x"], pairs["verdict_y"]))


def test_frames_that_a_script_cannot_take_end_in_one_sentence(tmp_path):
    frames = Frames.load(PAPER.parent / "licl" / "licl.npz")[:4]
    Frames(frames.positions, [11] * 24 + [17] * 24, frames.box, 300.0, frames.forces).save(tmp_path / "nacl.npz")
    command = [sys.executable, PAPER / "02_error_against_sigma.py", tmp_path / "nacl.npz", "--output", tmp_path]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ") and "has Cl and Na instead of Li and Cl" in result.stderr
    assert not list(tmp_path.glob("*.csv")), "nothing is computed before"


def test_records_compute_what_settings_ask_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PAPER)
    from protocol.records import Records

    calls, path = [], tmp_path / "table.csv"

    def compute():
        calls.append(1)
        return [{"value": 0.1}, {"value": 0.2}]

    settings = dict(seed=0, frames=10, steps=0, sigma=0.005)
    records = Records(path)
    records.part("a", settings, compute)
    records.part("a", {**settings, "sigma": 0.01}, compute)
    again = Records(path)
    assert len(again.part("a", settings, compute)) == 2 and len(calls) == 2
    again.part("b", settings, compute)
    assert len(calls) == 3, "another part, though of the same settings"
    assert len(again.table()) == 4 == len(pandas.read_csv(path)), "rows of settings not asked for are gone"
    with pytest.raises(ValueError, match="steps"):
        again.part("a", {"seed": 0, "frames": 1}, compute)
