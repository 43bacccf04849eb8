"""The polymer example runs as printed, with less data and shorter runs, and a second call computes nothing again."""

import functools
import importlib
import sys

import pandas
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def chain(monkeypatch):
    """The script, made short."""
    monkeypatch.syspath_prepend("examples/chain")
    names = ("chain", "compare", "truth")
    script, _, truth = (importlib.import_module(name) for name in names)
    few = functools.partial(truth.sample, copies=16, n_frames=960, interval=10.0, discard=50.0)
    monkeypatch.setattr(truth, "sample", few)
    for name, value in dict(DURATION=40.0, DISCARD=5.0, SETS=2, CHAINS=2, FRAMES=4, RELAXED=5.0).items():
        monkeypatch.setattr(script, name, value)
    yield script
    for name in names:
        sys.modules.pop(name)


def test_the_polymer_goes_from_its_truth_to_tables_and_pictures(chain, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["chain.py", "--output", str(tmp_path), "--results", str(tmp_path / "results")])
    chain.main()
    results = tmp_path / "results"
    found = {name: pandas.read_csv(results / f"{name}.csv") for name in ("widths", "sizes", "reweighted", "forces")}
    assert found["widths"]["ratio_of_widths"].between(0.7, 1.3).all()
    assert list(found["sizes"]["beads"]) == [12, 12, 16, 24] and found["sizes"].notna().all(axis=None)
    forces = found["forces"]
    assert (forces["rms_error_kJ/mol/nm"] < 0.15 * forces["rms_force_kJ/mol/nm"]).all()
    assert {"pair", "bonds", "angles", "dihedrals"} == set(pandas.read_csv(results / "curves.csv")["kind"])
    assert all((results / f"{name}.png").stat().st_size > 20_000 for name in ("structure", "potentials"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz") if not path.name.startswith("start")}
    chain.main()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert pandas.read_csv(results / "sizes.csv").equals(found["sizes"])
