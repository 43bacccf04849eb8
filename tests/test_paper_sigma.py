"""The paper's error against the noise level, in its quick setting: exponents, closed forms, records."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from openmm_diffusion.units import thermal_energy

SCRIPT = Path("examples/paper/02_error_against_sigma.py")
NAME = SCRIPT.stem
#: Width of the script's harmonic well, nm.
WIDTH, KT = 0.03, thermal_energy(300)
EXACT = "exact score matching"


def run(output, *options):
    command = [sys.executable, SCRIPT, "examples/licl/licl.npz", output, "--quick", *options]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sigma")
    run(directory)
    return directory


@pytest.fixture(scope="module")
def table(output):
    return pandas.read_csv(output / f"{NAME}.csv")


@pytest.fixture(scope="module")
def fits(output):
    return pandas.read_csv(output / f"{NAME}_fits.csv")


def test_every_row_says_what_it_was_made_of(table, output):
    needed = ["part", "learner", "sigma_nm", "frames", "draws", "seed", "steps", "config", "wall_s"]
    assert table[needed].notna().all(axis=None) and table["config"].is_unique
    assert set(table["part"]) == {"harmonic", "dimer", "dimer scatter", "licl", "licl scatter", "licl theory", "md"}
    assert (output / f"{NAME}.png").stat().st_size > 50_000


def test_a_second_call_measures_only_what_is_missing(table, output):
    missing = table["part"].eq("harmonic") & table["frames"].eq(125) & table["sigma_nm"].eq(0.005)
    table[~missing].to_csv(output / f"{NAME}.csv", index=False)
    printed = run(output, "--parts", "harmonic")
    assert printed.count("harmonic, sigma") == missing.sum() == 5
    again = pandas.read_csv(output / f"{NAME}.csv").set_index("config").loc[table["config"]].reset_index()
    # Only the wall time of a measurement is another one.
    pandas.testing.assert_frame_equal(again[table.columns].drop(columns="wall_s"), table.drop(columns="wall_s"))


@pytest.mark.parametrize("system, slack", [("harmonic", 0.002), ("dimer", 0.05)])
@pytest.mark.parametrize("of, expected", [("force", 2), ("unscaled denoiser", 4)])
def test_exponents_are_those_of_theory_within_their_errors(fits, system, slack, of, expected):
    row = fits[(fits["quantity"] == f"exponent of sigma, {of}") & (fits["system"] == system)].iloc[0]
    # The standard error of three seeds may be small by chance, and terms beyond sigma^4 are not fitted: the slack.
    assert abs(row["value"] - expected) < 4 * row["error"] + slack
    assert row["error"] < 0.25, "else 1 or 3 would pass too"


def test_the_learnt_spring_is_that_of_the_closed_form(table):
    rows = table[table["part"] == "harmonic"]
    s2 = (rows["sigma_nm"] / WIDTH) ** 2
    closed = -KT / WIDTH * s2 / (1 + s2)
    np.testing.assert_allclose(rows["bias_theory_kJ/mol/nm"], closed, rtol=1e-4)
    off = (rows["bias_kJ/mol/nm"] - closed) / rows["bias_error_kJ/mol/nm"]
    # The inverse of a mean over 3 n coordinates is too large by 2 / 3n of it: seen where errors are smallest.
    allowed = 4.5 + (2 / (3 * rows["frames"])) * closed.abs() / rows["bias_error_kJ/mol/nm"]
    assert (off.abs() < allowed).all(), off.abs().max()
    # A standard deviation of 60 sets of frames is known to 9 %.
    ratio = rows["scatter_kJ/mol/nm"] / rows["scatter_theory_kJ/mol/nm"]
    assert (abs(ratio - 1) < 4 * 0.092).all(), ratio.describe()


def test_variance_of_single_labels_grows_as_their_noise_and_that_of_antithetic_pairs_does_not(table):
    rows = table[(table["part"] == "harmonic") & (table["frames"] == 2000)].set_index(["learner", "sigma_nm"])
    scatter = rows["scatter_kJ/mol/nm"]
    single, pair = (scatter[name] for name in ("labels, single draw", "labels, 1 antithetic pair"))
    assert single[0.001] / single[0.005] == pytest.approx(5, rel=0.3)
    assert pair[0.001] / pair[0.005] == pytest.approx(1, rel=0.15)
    assert scatter[EXACT][0.001] < pair[0.001] < 0.2 * single[0.001]


def test_the_dimer_has_the_bias_that_quadrature_gives(table):
    rows = table[(table["part"] == "dimer") & (table["sigma_nm"] >= 0.005)].groupby("sigma_nm").mean(numeric_only=True)
    np.testing.assert_allclose(rows["bias_kJ/mol/nm"], rows["bias_theory_kJ/mol/nm"], rtol=0.2)
    assert (rows["bias_kJ/mol/nm"] > 3 * rows["scatter_kJ/mol/nm"]).iloc[-1]
