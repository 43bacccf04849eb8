"""Independent samples from noise: two particles whose distances and free energy are known in closed form."""

import numpy as np
import pandas
import pytest
from models import licl_denoiser
from twoparticles import CUTOFF, EDGE, two_particles

from openmm_diffusion import Frames
from openmm_diffusion.units import thermal_energy
from openmm_diffusion.workflows.annealing import anneal, effective

KT = thermal_energy(300.0)


def boltzmann(denoiser, edges):
    """Part of configurations whose distance falls between edges (nm, up to the cutoff), and Z/V^N, by quadrature."""
    r = np.linspace(1e-4, CUTOFF, 20001)
    x = np.zeros((len(r), 2, 3))
    x[:, 1, 0] = r
    density = 4 * np.pi * r**2 / EDGE**3
    weight = density * np.exp(-denoiser.energy(x, EDGE * np.eye(3)) / KT)
    area = np.concatenate([[0], np.cumsum(0.5 * (weight[1:] + weight[:-1]) * np.diff(r))])
    z = 1 + area[-1] - np.trapezoid(density, r)
    return np.diff(np.interp(edges, r, area)) / z, z


def distances(frames):
    vectors = np.diff(frames.positions.astype(float), axis=1)[:, 0]
    return np.linalg.norm(vectors - EDGE * np.round(vectors / EDGE), axis=1)


def deviations(samples, weights, edges, expected):
    """Weighted histogram of distances from the expected one, in standard errors."""
    inside = [
        (distances(samples.frames) >= low) & (distances(samples.frames) < high) for low, high in zip(edges, edges[1:])
    ]
    found = np.array([np.sum(weights * one) for one in inside])
    error = np.array([np.sqrt(np.sum((weights * (one - f)) ** 2)) for one, f in zip(inside, found)])
    return (found - expected) / error


def test_weights_give_the_ensemble_that_a_closed_form_knows(tmp_path):
    """Two levels and one step, from particles at random places: the samples are wrong, their weighted means are not."""
    denoiser = two_particles()
    samples = anneal(denoiser, tmp_path / "run", {"samples": 8000, "levels": 3, "steps": 1, "at_once": 4000})
    edges = np.linspace(0.1, CUTOFF, 10)
    expected, z = boltzmann(denoiser, edges)
    even = np.full(8000, 1 / 8000)
    assert np.abs(deviations(samples, even, edges, expected)).max() > 6, "nothing is left for the weights to mend"
    weighted = deviations(samples, samples.weights, edges, expected)
    assert np.abs(weighted).max() < 4 and np.mean(weighted**2) < 2.5
    found, error = samples.free_energy()
    assert 0 < error < 0.1 * KT
    assert found == pytest.approx(-KT * np.log(z), abs=4 * error)


def test_slow_annealing_leaves_even_weights(tmp_path):
    denoiser = two_particles()
    fast = anneal(denoiser, tmp_path / "fast", {"samples": 1000, "levels": 3, "steps": 1, "at_once": 1000})
    slow = anneal(denoiser, tmp_path / "slow", {"samples": 1000, "levels": 40, "steps": 5, "at_once": 1000})
    assert fast.effective < 700 < 850 < slow.effective <= 1000
    expected, _ = boltzmann(denoiser, edges := np.linspace(0.1, CUTOFF, 10))
    assert np.abs(deviations(slow, np.full(1000, 1e-3), edges, expected)).max() < 4
    assert 0.4 < slow.levels["accepted"].iloc[-1] < 0.8
    assert slow.levels["effective"].iloc[-1] == pytest.approx(slow.effective)
    drawn = slow.reweighted()
    counts = pandas.Series(drawn.positions[:, 0, 0]).map(dict(zip(slow.frames.positions[:, 0, 0], range(1000))))
    often = np.bincount(counts.to_numpy(), minlength=1000)
    assert np.abs(often - 1000 * slow.weights).max() <= 1, "every sample is there as often as its weight says"


def test_files_hold_what_is_returned_and_a_resumed_run_is_the_whole_one(tmp_path):
    denoiser, settings = two_particles(), {"levels": 4, "steps": 2, "at_once": 20}
    whole = anneal(denoiser, tmp_path / "whole", settings | {"samples": 50})
    anneal(denoiser, tmp_path / "run", settings | {"samples": 20})
    again = anneal(denoiser, tmp_path / "run", settings | {"samples": 50}, resume=True)
    np.testing.assert_array_equal(again.frames.positions, whole.frames.positions)
    np.testing.assert_array_equal(again.log_weights, whole.log_weights)
    saved = Frames.load(tmp_path / "run" / "samples.npz")
    np.testing.assert_array_equal(saved.positions, again.frames.positions)
    table = pandas.read_csv(tmp_path / "run" / "weights.csv")
    np.testing.assert_allclose(table["log_weight"], again.log_weights, atol=1e-6)
    np.testing.assert_allclose(table["energy"], denoiser.energy(saved.positions), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="levels is 5"):
        anneal(denoiser, tmp_path / "run", settings | {"samples": 50, "levels": 5}, resume=True)
    with pytest.raises(ValueError, match="samples is 40"):
        anneal(denoiser, tmp_path / "run", settings | {"samples": 40}, resume=True)
    with pytest.raises(FileExistsError, match="resume it"):
        anneal(denoiser, tmp_path / "run", settings | {"samples": 50})


def test_damaged_samples_are_named_and_made_again(tmp_path):
    denoiser, settings = two_particles(), {"samples": 40, "levels": 4, "steps": 2, "at_once": 20}
    whole = anneal(denoiser, tmp_path / "run", settings, progress=False)
    part = tmp_path / "run" / "part-00001.npz"
    part.write_bytes(part.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"part-00001.npz is damaged or empty: .*delete it, and --resume"):
        anneal(denoiser, tmp_path / "run", settings, resume=True, progress=False)
    part.unlink()
    again = anneal(denoiser, tmp_path / "run", settings, resume=True, progress=False)
    np.testing.assert_array_equal(again.frames.positions, whole.frames.positions)
    # What was killed before its first samples has the lengths of the steps already, of its own levels and model.
    for path in (tmp_path / "run").glob("part-*"):
        path.unlink()
    with pytest.raises(FileExistsError, match="resume it"):
        anneal(denoiser, tmp_path / "run", settings | {"levels": 5}, progress=False)


def test_beads_in_a_slanted_box_are_placed_all_over_it(tmp_path):
    box = ((1.3, 0, 0), (0.4, 1.25, 0), (-0.3, 0.5, 1.2))
    denoiser = two_particles(particles=("A", "B"), box=box)
    samples = anneal(denoiser, tmp_path / "run", {"samples": 2000, "levels": 2, "steps": 1, "at_once": 2000})
    assert samples.frames.types.tolist() == ["A", "B"]
    x = samples.frames.positions.reshape(-1, 3)
    assert (x > -1e-5).all() and (x < np.diag(box) + 1e-5).all(), "wrapped as OpenMM wraps"
    places = x @ np.linalg.inv(box) % 1
    # Each alone is anywhere: 4,000 places, in tenths of every vector.
    counts = np.array([np.histogram(column, 10, (0, 1))[0] for column in places.T])
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


@pytest.mark.parametrize(
    "denoiser, says",
    [
        (lambda: licl_denoiser("vector"), "vector head"),
        (lambda: licl_denoiser(kinds=("coulomb", "wall", "pair")), "one noise level, sigma = 0.005 nm"),
        (lambda: two_particles(sigmas=None), "one noise level"),
        (lambda: two_particles(box=None), "no box"),
        (lambda: licl_denoiser(kinds=("coulomb", "wall")), "one noise level|no learnt"),
    ],
)
def test_models_without_a_way_from_noise_to_data_are_refused(denoiser, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        anneal(denoiser(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"samples": 0}, {"levels": 1}, {"steps": 0.5}, {"seed": -1}, {"sample": 10}])
def test_settings_that_make_no_sense_are_refused(settings, tmp_path):
    with pytest.raises(ValueError, match=next(iter(settings))):
        anneal(two_particles(), tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_a_weight_that_holds_everything_is_one_sample():
    assert effective(np.array([[0.0, -800.0, -900.0], [0.0, 0.0, 0.0]])).tolist() == pytest.approx([1, 3])
