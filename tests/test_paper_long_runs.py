"""The paper's long runs in their quick setting: closed forms, invariances, records, verdicts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from test_paper import of, script

from openmm_diffusion import Frames
from openmm_diffusion.units import thermal_energy

PAPER = Path("examples/paper").resolve()
NAME = "05_long_runs"


def run(output, *options):
    command = [sys.executable, PAPER / f"{NAME}.py", "--quick", "--output", output, *options]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What the quick setting prints, its two tables, and where they lie."""
    output = tmp_path_factory.mktemp("long")
    printed = run(output)
    return printed, *(pandas.read_csv(output / f"{NAME}{suffix}.csv") for suffix in ("", "_series")), output


def test_a_pair_potential_is_stable_from_frames_and_random_places(quick):
    _, table, series, output = quick
    rows = of(table, quantity="survived")
    assert (rows["value"] == 25).all() and set(rows["start"]) == {"frame", "random"}
    # The tail of the contact peak has one ion in a thousand frames there; a false well holds them for many of 280.
    assert of(table, quantity="ions below 0.2 nm", model="pair")["value"].sum() <= 2
    assert of(table, quantity="ions below 0.2 nm", model="reference")["value"].sum() == 0
    # The least over a run is the least of its series.
    shortest = of(table, quantity="shortest", pair="Li-Cl").set_index(["friction", "run"])["value"]
    least = series.groupby(["friction", "run"])["Li-Cl / nm"].min()
    np.testing.assert_allclose(least.loc[shortest.index], shortest, rtol=1e-5)
    assert (output / f"{NAME}.png").stat().st_size > 50_000


def test_the_thermostat_has_its_temperature(quick):
    rows = of(quick[1], quantity="kinetic temperature")
    mean, error = rows["value"].mean(), np.sqrt((rows["error"] ** 2).sum()) / len(rows)
    # Of 144 degrees of freedom, T scatters by a factor sqrt(2/144): 280 samples know it to 2 K or more.
    assert abs(mean - 300) < 4 * error and 1 < error < 6


def test_motion_depends_on_the_friction_and_structure_does_not(quick):
    printed, table, *_ = quick
    for species, mass in (("Li", 6.94), ("Cl", 35.45)):
        rows = of(table, quantity="D", model="pair", species=species).sort_values("friction")
        value, error = rows["value"].to_numpy(), rows["error"].to_numpy()
        assert (np.diff(value) < -3 * np.hypot(error[1:], error[:-1])).all()
        # No ion among others is faster than a free one.
        assert (value < thermal_energy(300) / mass / rows["friction"]).all()
        reference = of(table, quantity="D", model="reference", species=species).iloc[0]
        same = rows[rows["friction"] == 5].iloc[0]
        assert abs(same["value"] - reference["value"]) < 4 * np.hypot(same["error"], reference["error"])
    rows = of(table, quantity="difference of g from friction 5/ps")
    assert (rows["value"] < 2 * rows["expected"] + 2 * rows["error"]).all()
    assert "structure, not kinetics" in printed and "not applied" in printed


def test_energy_heads_have_a_potential_and_vector_heads_are_refused_what_needs_one(quick):
    table = quick[1]
    around = of(table, quantity="work around a loop, rms").set_index("model")["value"]
    side = of(table, quantity="work along a side, rms").set_index("model")["value"]
    share = around / side
    assert (share[["pair", "pair + network"]] < 1e-4).all() and share["pair + vector"] > 1e-3
    for what in ("a barostat", "its energy"):
        refused = of(table, quantity=f"refused: {what}").set_index("model")["value"]
        assert refused["pair + vector"] == 1 and (refused.drop("pair + vector") == 0).all()


def test_energy_fluctuates_as_the_time_step_squared(quick):
    row = of(quick[1], quantity="exponent of fluctuation in time step").iloc[0]
    assert row["value"] == pytest.approx(2, abs=0.1)
    drift = of(quick[1], quantity="drift of energy")
    assert (abs(drift["value"]) < 4 * drift["error"] + 0.01).all()


def test_every_row_says_how_it_was_made_and_is_made_once(quick):
    _, table, series, output = quick
    for rows in (table, series):
        assert rows[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    printed = run(output)
    parts = [line for line in printed.splitlines() if line.startswith(("reference:", "MD", "loops", "NVE", "g(r)"))]
    assert len(parts) >= table["config"].nunique() and all("kept" in line for line in parts)
    pandas.testing.assert_frame_equal(pandas.read_csv(output / f"{NAME}.csv"), table)


def test_thinned_references_and_runs_are_cut_to_the_same_times(monkeypatch):
    script(NAME, monkeypatch)
    from long_runs import LENGTH, like, segments

    # A particle whose place is the number of its frame: full sample, and thinned as the bundled frames are.
    place = np.zeros((2 * LENGTH, 1, 3))
    place[:, 0, 0] = np.tile(np.arange(LENGTH), 2)
    full = Frames(place, [3], None, 300, replica=np.repeat([0, 1], LENGTH))
    chosen = np.linspace(0, LENGTH - 1, 77).round().astype(int)
    for frames, length in ((full, LENGTH), (full[np.concatenate([chosen, LENGTH + chosen])], 39)):
        pieces = list(segments(frames, length))
        assert len(pieces) == 2 * (LENGTH // length)
        for part, steps in pieces:
            assert (np.diff(part.positions[:, 0, 0]) == np.diff(steps)).all() and steps[-1] < length
    thinned = list(like(full, 39, pieces[0][1]))
    assert len(thinned) == 2 * (LENGTH // 39) and len(thinned[0][0]) == len(pieces[0][0]) < 39


def test_runs_that_the_guard_stops_are_results(monkeypatch, tmp_path):
    script(NAME, monkeypatch)
    import long_runs

    from openmm_diffusion import Denoiser
    from openmm_diffusion.guard import SimulationStopped

    calls = []

    def stop(denoiser, directory, *_, **__):
        calls.append(1)
        directory.mkdir()
        (directory / "state.csv").write_text('"Step","Kinetic Energy (kJ/mole)"\n')
        raise SimulationStopped("too close")

    monkeypatch.setattr(long_runs, "simulate", stop)
    for _ in range(2):
        runs = long_runs.sample(Denoiser.load("licl"), tmp_path, [None], 5.0, 10.0, 0)
    assert len(calls) == 1, "a run that was stopped is not gone on with"
    rows = long_runs.stability(runs, [None], 1.0)
    assert [(r["quantity"], r["value"]) for r in rows] == [("survived", 0.0)] and long_runs.kept(runs, 1.0) is None


def test_committed_results_carry_their_verdicts(monkeypatch):
    script(NAME, monkeypatch)
    from long_runs_claims import claims

    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    verdicts = claims(table).set_index("claim")["verdict"]
    text = (PAPER / "README.md").read_text().partition("## 5. Long runs")[2]
    assert all(verdict in text for verdict in set(verdicts))
    for claim, verdict in (
        ("kinetics are those of the forces", "does not hold"), ("structure is that of the forces", "holds"),
        ("energy heads conserve energy", "holds"), ("vector heads have a potential", "does not hold"),
    ):  # fmt: skip
        assert [v for c, v in verdicts.items() if c.startswith(claim)] == [verdict]
