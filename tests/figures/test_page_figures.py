"""Pictures of the page about runs: any names, any number of pairs, series of any length, and nothing stretched."""

import numpy as np
import pandas
import pytest
from matplotlib.image import imread

from openmm_diffusion.figures import distances_figure, health_figure, terms_figure, two_errors_figure

R = np.arange(0.2, 1.0, 0.01)


def curves(pairs, **more):
    return pandas.concat(
        [
            pandas.DataFrame({"pair": pair, "term": term, "r_nm": R, "u_kJ/mol": size / R, **more})
            for pair in pairs
            for term, size in (("learnt", 1.0), ("Coulomb", -2.0), ("sum", -1.0))
        ]
    )


def counts(pairs):
    return pandas.concat([pandas.DataFrame({"pair": pair, "r_nm": R, "pairs": k + R}) for k, pair in enumerate(pairs)])


@pytest.mark.parametrize("number, rows", [(1, 1), (4, 2), (12, 4), (30, 4)])
def test_curves_of_any_number_of_pairs(number, rows, tmp_path):
    """Twelve at most, three in a row; those of which the data hold most."""
    pairs = [f"A-B{k}" for k in range(number)]
    terms_figure(curves(pairs, **{"sd_kJ/mol": 0.1}), tmp_path / "a.png", counts(pairs))
    terms_figure(curves(pairs), tmp_path / "b.png")
    distances_figure(counts(pairs), tmp_path / "c.png")
    for name, height in (("a", 4.2), ("b", 3.0)):
        image = imread(tmp_path / f"{name}.png")
        assert image.shape[:2] == (round(130 * height * rows), round(130 * 3.5 * min(number, 3)))
    assert imread(tmp_path / "c.png").shape[1] == round(130 * 8.4)


@pytest.mark.parametrize("pair", [r"$\frac$-$", "$x^{-$", "<b>&amp;-\\", "L\N{GREEK SMALL LETTER ALPHA}-_^"])
def test_names_begin_no_formula(pair, tmp_path):
    terms_figure(curves([pair]), tmp_path / "a.png", counts([pair]))
    distances_figure(counts([pair]), tmp_path / "b.png")
    errors = pandas.DataFrame({"pair": [pair], "error": ["learning"], "value": [0.1], "se": [np.nan]})
    two_errors_figure(errors, tmp_path / "c.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in "abc")


@pytest.mark.parametrize("rows", [1, 2, 81, 1000])
def test_health_of_runs_of_any_length(rows, tmp_path):
    """Also where nothing changes, and where a run has no energy."""
    time = 0.5 * np.arange(1, rows + 1)
    table = pandas.DataFrame({"time_ps": time, "temperature_K": 300.0, "spread_kJ/mol/nm": np.sqrt(time)})
    health_figure(table, tmp_path / "a.png", 300.0, settled=5.0, limit=np.inf)
    health_figure(table.assign(**{"energy_kJ/mol": np.nan}), tmp_path / "b.png", None, limit=3.0)
    first, second = (imread(tmp_path / f"{name}.png") for name in "ab")
    assert first.shape[:2] == second.shape[:2] == (416, 1092), "two panels: temperature and spread"
