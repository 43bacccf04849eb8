"""What an evaluation comes to: on curves whose truth is known, with few and many runs."""

import types

import numpy as np
import pandas
import pytest

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.analysis.comparison import compare_rdf
from openmm_diffusion.analysis.structure import known_peaks
from openmm_diffusion.evaluation.report import evaluate
from openmm_diffusion.evaluation.verdict import largest_difference, verdict

R = np.arange(0.205, 1.0, 0.01)
SHIPPED = Denoiser.load("licl")


def curves(shift=0.0, error=0.02, seed=0):
    """g(r) of a reference and of MD that is higher by `shift` around 0.5 nm, with noise of a known size."""
    rng = np.random.default_rng(seed)
    g = 1 / (1 + np.exp(-(R - 0.35) / 0.02))
    found = {"r_nm": R}
    for name, more in (("clean", 0.0), ("noised", 0.0), ("model", shift * np.exp(-(((R - 0.5) / 0.03) ** 2)))):
        noise = np.where(g > 0.05, error * rng.normal(size=len(R)), 0)
        found |= {f"A-A_{name}": g + more + noise, f"A-A_{name}_error": np.where(g > 0.05, error, 0)}
    return pandas.DataFrame(found)


def judged(rdf, n_runs, smoothing=0.0):
    table = pandas.DataFrame(columns=["quantity", "of", "curve", "unit", "value", "error"])
    errors = pandas.DataFrame([("A-A", 0.02, smoothing)], columns=["pair", "learning", "smoothing"])
    found = types.SimpleNamespace(table=table, rdf=rdf, errors=errors, molecules=None, calibration=(1.2, 0.02))
    return verdict(found, SHIPPED, n_runs).set_index("about")


def test_curves_that_agree_are_said_to():
    """Of a hundred sets of noise alone, hardly any is called a difference."""
    findings = [judged(curves(seed=seed), 8)["finding"].to_dict() for seed in range(100)]
    assert sum(found.get("g(r)") == "agrees" for found in findings) >= 98


def test_a_difference_is_found_where_it_is():
    told = judged(curves(shift=0.2), 8)
    assert told.loc["g(r) A-A", "finding"] == "differs" and "lies above" in told.loc["g(r) A-A", "sentence"]
    r, difference, error = largest_difference(curves(shift=0.2), "A-A")
    assert abs(r - 0.5) < 0.02 and abs(difference - 0.2) < 4 * error
    assert "refine" in told.loc["next", "sentence"]
    assert told.loc["scale of forces", "sentence"].startswith("The forces are too weak by 20 %")


@pytest.mark.parametrize("n_runs, said", [(1, "One run alone cannot give an error"), (2, "Two runs cannot give")])
def test_few_runs_cannot_tell(n_runs, said):
    told = judged(curves(shift=0.2), n_runs)
    assert told.loc["runs", "sentence"].startswith(said) and told.loc["g(r) A-A", "finding"] == "cannot tell"
    assert "more independent runs" in told.loc["next", "sentence"]


def test_a_place_that_no_run_has_visited_is_no_difference():
    """Blocks of MD without a single pair have no scatter; that of the reference tells how rare it is."""
    rdf = curves()
    rare = (R > 0.24) & (R < 0.28)
    rdf.loc[rare, ["A-A_clean", "A-A_clean_error"]] = [0.2, 0.05]
    rdf[["A-A_model_error"]] *= 4
    told = judged(rdf, 8)
    assert told.loc["g(r)", "finding"] == "agrees"


def test_smoothing_is_named_where_it_is_the_larger_error():
    assert "smaller noise.sigma" in judged(curves(), 8, smoothing=0.1).loc["smoothing", "sentence"]
    assert "smoothing" not in judged(curves(), 8, smoothing=0.01).index


def test_no_peaks_are_read_from_noise():
    """A flat curve has none; beside another curve, a peak has the number of that which it lies at."""
    rng, r = np.random.default_rng(3), np.arange(0.2, 1.0, 0.005)
    flat = 1 + rng.normal(0, 0.3, len(r))
    assert known_peaks(flat, np.full(len(r), 0.3)) == {}
    g = 1 + np.exp(-(((r - 0.3) / 0.02) ** 2)) + 2 * np.exp(-(((r - 0.5) / 0.03) ** 2))
    own = known_peaks(g, np.full(len(r), 0.05))
    assert [round(r[top], 3) for top in own.values()] == [0.3, 0.5] and list(own) == [1, 2]
    second = 1 + 2 * np.exp(-(((r - 0.51) / 0.03) ** 2))
    assert list(known_peaks(second, np.full(len(r), 0.05), own)) == [2], "and not the first"


def test_the_frames_of_the_training_stand_beside(frames, denoiser, tmp_path):
    test, other = frames[:100], frames[500:600]
    _, curves, _ = compare_rdf(test, other, 0, training=frames[200:400])
    assert "Li-Cl_training" in curves and "Li-Cl_training" not in compare_rdf(test, other, 0)[1]
    frames[:30].to_mdtraj().save(str(tmp_path / "t.dcd"))
    frames[:1].to_mdtraj().save(str(tmp_path / "t.pdb"))
    pair = denoiser.subset(("coulomb", "wall", "pair"))
    result = evaluate(pair, frames, [tmp_path / "t.dcd"], tmp_path / "t.pdb", discard=0)
    assert "Li-Cl_training" in result.rdf and result.verdict["sentence"].str.startswith("One run alone").any()


def test_labels_whose_noise_may_be_the_error_are_said_to_be(frames, denoiser):
    """Noise of the size of the forces leaves more than half of the square explained, and is most of the error."""
    some = frames[frames.labelled][::4]
    noise = np.random.default_rng(0).normal(0, 25, some.positions.shape).astype(np.float32)
    noisy = Frames(some.positions, some.species, some.box, 300, forces=some.forces + noise, replica=some.replica)
    result = evaluate(denoiser, noisy)
    rows = result.table.set_index(["quantity", "of"])["value"]
    assert 0.5 < rows["explained fraction", "all"] < 0.9
    assert any("must not be read as the model's error" in note for note in result.notes)
    assert result.verdict.set_index("about").loc["forces", "finding"] == "cannot tell"
