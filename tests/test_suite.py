"""The suite of benchmarks: scores against closed forms, splits, resuming, and the README's lines as printed."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from openmm_diffusion import Frames
from openmm_diffusion.units import thermal_energy

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "benchmarks" / "suite"
README = (SUITE / "README.md").read_text()
NAMES = ("systems", "learners", "dynamics", "scores", "records", "run")


@pytest.fixture(scope="module")
def suite():
    """Modules of the suite by name; their plain names are forgotten again."""
    sys.path.insert(0, str(SUITE))
    try:
        yield {name: __import__(name) for name in NAMES}
    finally:
        sys.path.remove(str(SUITE))
        for name in NAMES:
            sys.modules.pop(name, None)


class Spring:
    """A spring between two particles, k in kJ/mol/nm^2."""

    def __init__(self, k):
        self.k = k

    def forces(self, positions, boxes=None):
        pull = self.k * (positions[..., 1:, :] - positions[..., :1, :])
        return np.concatenate([pull, -pull], axis=-2)


def dimers(n_frames=4000, runs=8, width=0.02):
    """Frames of two particles bonded by a spring without length, and its constant: exact samples and forces."""
    half = np.random.default_rng(3).normal(0, width / 2, (n_frames, 1, 3))
    k = thermal_energy(300.0) / width**2
    pull = 2 * k * half
    replica = np.arange(n_frames) * runs // n_frames
    frames = Frames(np.concatenate([-half, half], 1), [18, 18], None, 300.0, np.concatenate([pull, -pull], 1), replica,
                    ["one", "two"], [[0, 1]])  # fmt: skip
    return frames, k


@pytest.fixture(scope="module")
def dimer(suite):
    frames, k = dimers()
    system = suite["systems"].System(
        "d", "", lambda _: frames, most=4000, timestep=0.002, duration=4.0, discard=0.2, interval=0.02
    )
    return system, frames, k


def rows(found):
    return {(quantity, of): (value, error) for quantity, of, _, value, error in found}


def test_force_errors_are_those_of_closed_forms(suite, dimer):
    """A spring too stiff by a tenth is off by a tenth of every force, and one without any by all of it."""
    _, frames, k = dimer
    rms = float(np.sqrt(np.mean(frames.forces.astype(float) ** 2)))
    for wrong, part in ((1.0, 0.0), (1.1, 0.1), (0.0, 1.0)):
        found = rows(suite["scores"].forces(Spring(wrong * k), frames))
        assert found["force RMSE", "all"][0] == pytest.approx(part * rms, abs=1e-5 * rms)
        assert found["force RMSE", "one"][0] == pytest.approx(part * rms, abs=1e-5 * rms)
        assert found["explained fraction", "all"][0] == pytest.approx(1 - part**2, abs=1e-5)
    assert found["force rms, labels", "all"][0] == pytest.approx(k * 0.02, rel=4 / np.sqrt(2 * 12000))  # k s, by chance
    assert suite["scores"].forces(Spring(k), replace(frames, forces=None)) == []


def test_splits_keep_whole_runs_apart_and_every_four_cover_all(suite, dimer):
    system, frames, _ = dimer
    tested = []
    for number in range(8):
        training, apart = system.split(frames, number)
        assert training.forces is None and apart.forces is not None
        runs = set(training.replica), set(apart.replica)
        assert not runs[0] & runs[1] and runs[0] | runs[1] == set(range(8)) and len(runs[1]) == 2
        assert len(training) + len(apart) == len(frames)
        tested.append(sorted(runs[1]))
    assert sorted(sum(tested[:4], [])) == sorted(sum(tested[4:], [])) == list(range(8)) and tested[:4] != tested[4:]
    with pytest.raises(ValueError, match="frames of d are of 3 runs: give 4 independent runs or more"):
        system.split(frames[frames.replica < 3], 0)


def test_fewer_frames_are_evenly_of_all_runs(suite, dimer):
    _, frames, _ = dimer
    system = suite["systems"].System("d", "", None, most=60)
    training, _ = system.split(frames, 1)
    assert len(training) == 60 and np.bincount(training.replica).max() <= 11


def test_the_true_spring_lives_and_has_its_structure_and_a_weak_one_has_not(suite, dimer, tmp_path):
    system, frames, k = dimer
    training, apart = system.split(frames, 0)
    found = {}
    for name, constant in (("true", k), ("weak", 0.3 * k)):
        given = training, apart, tmp_path / name, system, 2, name
        found[name] = rows(suite["scores"].molecular_dynamics(Spring(constant), *given))
        assert found[name]["share of runs that live", ""][0] == 1 and found[name]["life", "run 1"][0] == 4.0
    floor = found["true"][suite["scores"].FLOOR, "worst"][0]
    assert 0 < floor < 0.1
    # 4 ps of two runs are some hundred bonds that do not know of each other; a width 1.8 times as large is seen by far.
    assert found["true"]["structure", "worst"][0] < 0.2 < 0.3 < found["weak"]["structure", "worst"][0]


def test_a_run_that_flies_apart_dies_when_its_bond_is_ten_widths_off(suite, dimer):
    _, frames, _ = dimer
    x = np.repeat(frames.positions[:1], 10, axis=0)
    assert suite["dynamics"].life(x, frames, 0.5) == 5.0
    x[6:, 1] += 10.0
    assert suite["dynamics"].life(x, frames, 0.5) == 3.0
    assert suite["dynamics"].life(x[:0], frames, 0.5) == 0.0


def test_a_run_dies_when_ions_come_closer_than_any_did(suite):
    licl = Frames.load(ROOT / "examples" / "licl" / "licl.npz")[:200]
    x = licl.positions[:8].copy()
    assert suite["dynamics"].life(x, licl, 0.5) == 4.0
    x[5, 1] = x[5, 0] + [0.0, 0.0, 0.05]
    assert suite["dynamics"].life(x, licl, 0.5) == 2.5


def test_equal_liquids_have_equal_structure(suite):
    licl = Frames.load(ROOT / "examples" / "licl" / "licl.npz")
    found = rows(suite["scores"].structure("structure", licl[::20], licl[::20]))
    assert {of for _, of in found} == {"Li-Li", "Li-Cl", "Cl-Cl", "worst"} and found["structure", "worst"][0] == 0


def test_no_run_that_lives_is_the_worst_structure(suite, dimer, tmp_path):
    system, frames, k = dimer
    training, apart = system.split(frames, 0)
    found = rows(suite["scores"].molecular_dynamics(Spring(-k), training, apart, tmp_path, system, 1, "unstable"))
    assert found["share of runs that live", ""][0] == 0 and found["structure", "worst"][0] == np.inf
    assert 0 <= found["life", "run 0"][0] < 4.0


def test_a_part_is_made_once_and_other_settings_replace_it(suite, tmp_path):
    path, made = tmp_path / "suite.csv", []

    def compute(value):
        made.append(value)
        return [("force RMSE", "all", "kJ/mol/nm", value, float("nan"))]

    for number, (split, settings, value) in enumerate([(0, "a", 1.0), (1, "a", 2.0), (0, "a", 3.0), (0, "b", 4.0)]):
        kept = suite["records"].Records(path)
        found = kept.part(("s", "l", split, "fit"), settings, lambda value=value: compute(value))
        assert found["value"].tolist() == [1.0 if number == 2 else value]
    assert made == [1.0, 2.0, 4.0]
    left = pandas.read_csv(path)
    assert left["value"].tolist() == [4.0] and left["settings"].tolist() == ["b"]


def test_the_table_has_median_and_worst(suite):
    columns = suite["records"].KEYS + list(suite["scores"].COLUMNS)
    table = [("s", "l", k, "fit", "force RMSE", "all", "kJ/mol/nm", v, np.nan) for k, v in enumerate((1.0, 9.0, 2.0))]
    table += [("s", "l", 0, "md", "share of runs that live", "", "1", 0.5, np.nan)]
    table += [("s", "l", 0, "md", "life", f"run {k}", "ps", 4.0, np.nan) for k in range(2)]
    table += [("s", "l", 0, "md", "structure", "worst", "1", np.inf, np.nan)]
    text = suite["records"].markdown(suite["records"].summary(pandas.DataFrame(table, columns=columns)))
    assert "| 2 / 9 |" in text and "| 1 of 2 |" in text and "| no run lives / no run lives |" in text


def command(folder, *words):
    """A call of the suite in a process of its own."""
    words = [sys.executable, str(SUITE / "run.py"), "--output", "out", "--data", "data", *words]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_lines_of_the_readme_work_as_printed_and_a_second_call_makes_nothing_again(tmp_path):
    """A learner and a system of ten lines each; the spring is right to the errors of its frames."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    names = re.findall(r"`(\w+\.py)`[^`]*:\n\n```python", README)
    assert names == ["spring.py", "dimer.py"]
    for name, block in zip(names, blocks):
        assert len([line for line in block.splitlines() if line.strip()]) <= 10
        (tmp_path / name).write_text(block)
    words = [*re.search(r"run\.py (--add .*)", README).group(1).split(), "--runs", "1"]
    first = command(tmp_path, *words, "--splits", "2")
    assert first.returncode == 0, first.stderr
    path = tmp_path / "out" / "suite.csv"
    table, written = pandas.read_csv(path, keep_default_na=False), path.read_bytes()
    error = table[(table["quantity"] == "force RMSE") & (table["of"] == "all")]["value"].astype(float)
    force = thermal_energy(300.0) / 0.02
    # The constant of a spring is known to sqrt(2 / 6000) of it from 2,000 frames, its force so well of k s.
    assert len(error) == 2 and (error > 0).all() and (error < 4 * np.sqrt(2 / 6000) * force).all()
    assert (tmp_path / "out" / "suite.png").exists() and "| dimer | spring | 2 |" in first.stdout
    # Whoever fits again now says so: the third split is the first to do it.
    failing = blocks[0].replace("    k = ", "    raise ValueError('fitted again')\n    k = ")
    assert failing != blocks[0]
    (tmp_path / "spring.py").write_text(failing)
    second = command(tmp_path, *words, "--splits", "3")
    assert second.returncode == 1 and "fitted again" in second.stderr
    assert path.read_bytes() == written and second.stdout.count("split 1, fit") == 1 and "split 2" not in second.stdout


def test_a_learner_of_ours_learns_a_bond_and_its_dynamics_keep_it(suite, tmp_path):
    """A bond of Gaussian length, whose force is known, between an O and an H that is called H:O."""
    rng, length, width, kT = np.random.default_rng(5), 0.1, 0.004, thermal_energy(300.0)
    directions = rng.normal(size=(1600, 1, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    r = rng.normal(length, width, (1600, 1, 1))
    # A density of r without the r^2 of space around it has 2 kT ln r in its energy.
    pull = (kT * (r - length) / width**2 + 2 * kT / r) * directions
    frames = Frames(np.concatenate([0 * r * directions, r * directions], 1), [8, 1], None, 300.0,
                    np.concatenate([pull, -pull], 1), np.arange(1600) // 200, ["O", "H:O"], [[0, 1]])  # fmt: skip
    times = dict(timestep=0.0005, duration=2.0, discard=0.2, interval=0.01)
    system = suite["systems"].System("d", "", lambda _: frames, **times)
    training, apart = system.split(frames, 0)
    model = suite["learners"].of_system("ethanol300")["all bonded terms"].fit(training, tmp_path)
    found = rows(suite["scores"].forces(model, apart))
    assert found["force RMSE", "all"][0] < 0.15 * found["force rms, labels", "all"][0]
    found = rows(suite["scores"].molecular_dynamics(model, training, apart, tmp_path, system, 2, "bond"))
    assert found["share of runs that live", ""][0] == 1 and found["structure", "worst"][0] < 0.2


def test_runs_that_are_there_are_read(suite, dimer, tmp_path):
    system, frames, k = dimer
    given = frames, tmp_path, system, 2, "again"
    first = suite["dynamics"].sampled(Spring(k), *given)
    for one, other in zip(first, suite["dynamics"].sampled(None, *given)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--system", "gold"], "system is 'gold': give some of "), (["--system", "water"], "nothing was measured"),
     (["--learner", "luck"], "learner is 'luck': give some of ")],
)  # fmt: skip
def test_what_is_not_there_is_said(suite, tmp_path, capsys, words, said):
    places = ["--output", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    with pytest.raises(ValueError, match=said):
        suite["run"].main([*places, *words])
    if "water" in words:
        assert "generate benchmarks/suite/water.yaml --output" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
