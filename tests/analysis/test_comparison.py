"""The two errors of a g(r) where they are known: other noise on the same frames, and none."""

import numpy as np
import pytest

from openmm_diffusion import Frames, compute_rdf
from openmm_diffusion.analysis.comparison import compare_rdf, noised, structure_rows
from openmm_diffusion.analysis.rdf import rmsd, smear
from openmm_diffusion.analysis.structure import first_minima


@pytest.fixture(scope="module")
def frames():
    return Frames.load("examples/licl/licl.npz")


def test_noised_frames_have_the_noise_they_say(frames):
    noisy = noised(frames[:20], 0.005, draws=5)
    difference = noisy.positions.reshape(20, 10, 48, 3) - frames.positions[:20, None]
    assert abs(difference.std() - 0.005) < 4 * 0.005 / np.sqrt(2 * 5 * 20 * 144)  # the pairs are antithetic
    assert np.abs(difference.mean(1)).max() < 1e-6
    assert np.array_equal(noisy.replica[::10], frames.replica[:20])


def test_noise_does_not_shrink_the_error_bars_of_a_single_run(frames):
    """Copies of a frame are no new frames: the errors of the noised curve are about those of the clean one."""
    one = Frames(frames.positions[:400], frames.species, frames.box, frames.temperature)
    clean, noisy = compute_rdf(one), compute_rdf(noised(one, 0.002))
    ratio = np.mean(noisy.error["Li-Cl"]) / np.mean(clean.error["Li-Cl"])
    assert 0.5 < ratio < 1.1


def test_model_that_is_the_noised_reference_has_no_learning_error(frames):
    """MD that samples the noised ensemble exactly: other noise on the same frames."""
    reference, runs = frames[::5], noised(frames[::5], 0.005, seed=7)
    errors, curves, peaks = compare_rdf(reference, runs, 0.005)
    assert list(errors["pair"]) == ["Li-Li", "Li-Cl", "Cl-Cl"]
    assert (errors["learning"] < 0.02).all(), "only the draws differ"
    assert (errors["learning"] < errors["smoothing"]).all()
    assert len(curves) == 80


def test_smoothing_error_is_that_of_the_smeared_curve(frames):
    """The same number without any draw: g(r) convolved with a Gaussian of variance 2 sigma^2."""
    frames = frames[::3]
    errors, _, _ = compare_rdf(frames, frames, 0.01)
    rdf = compute_rdf(frames, (0.1, 1.1), 0.005)
    smoothed = smear(rdf.r, rdf.g["Li-Cl"], 0.01)
    inside = (rdf.r > 0.2) & (rdf.r < 1.0)
    clean, smooth = (curve[inside].reshape(-1, 2).mean(1) for curve in (rdf.g["Li-Cl"], smoothed))
    measured = errors.set_index("pair").loc["Li-Cl", "smoothing"]
    assert abs(measured - rmsd(clean, smooth)) < 0.1 * measured


def test_clean_frames_against_themselves_show_smoothing_as_learning_error(frames):
    """MD that samples the clean ensemble is wrong by the smoothing: the two errors are what they say."""
    errors, _, _ = compare_rdf(frames[::5], frames[::5], 0.01)
    assert np.allclose(errors["learning"], errors["smoothing"])


def test_total_error_is_learning_where_nothing_was_smoothed(frames):
    errors, curves, _ = compare_rdf(frames[:300], frames[300:600], 0)
    assert (errors["smoothing"] == 0).all() and (errors["total"] == errors["learning"]).all()
    for _, row in errors.iterrows():
        by_hand = curves[f"{row['pair']}_model"] - curves[f"{row['pair']}_clean"]
        assert np.isclose(row["total"], np.sqrt((by_hand**2).mean()))


def test_rows_name_both_peaks_coordination_and_closest_approach(frames):
    reference, runs = frames[::4], frames[2::4]
    errors, _, peaks = compare_rdf(reference, runs, 0.005)
    rows = structure_rows(reference, runs, errors, peaks, first_minima(reference))
    found = {row[:3]: row[4] for row in rows}
    assert abs(found["second peak, position", "Li-Cl", "clean"] - 0.45) < 0.01
    assert found["first peak, height", "Li-Cl", "noised"] < found["first peak, height", "Li-Cl", "clean"]
    assert np.isclose(found["closest approach", "Li-Cl", "clean"], reference.shortest_distances()["Li", "Cl"])
    # The number of contacts from the integral of g(r), in bins up to the first minimum.
    r_min = found["first minimum", "Li-Cl", "clean"]
    rdf = compute_rdf(reference, (0.1, 1.0), 0.0025)
    inside, density = rdf.r < r_min, 24 / 2.526**3
    integral = 4 * np.pi * density * (rdf.g["Li-Cl"] * rdf.r**2)[inside].sum() * 0.0025
    assert np.isclose(found["coordination number", "Cl around Li", "clean"], integral, rtol=0.02)
