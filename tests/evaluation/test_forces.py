"""Forces against labels, with and without noise of known size, for a potential known exactly."""

import numpy as np
import pytest
import torch
from mixture import BOX, CUTOFF, SPACING, SPECIES, START, energy, sample, true_forces

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.analysis.resampling import block_numbers
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.evaluation.calibration import calibration, explained_variance, projections
from openmm_diffusion.evaluation.forces import compare_forces, force_rows, noise_rows
from openmm_diffusion.evaluation.report import evaluate
from openmm_diffusion.model.header import Header

LI, CL = 3, 17
NOISE = 60.0  # kJ/mol/nm


@pytest.fixture(scope="module")
def frames():
    """Independent samples of the known pair potential, with its exact forces."""
    x = sample(800, seed=3)
    replica = np.arange(800) // 50
    return Frames(x % BOX[0, 0], np.where(SPECIES == 0, LI, CL), BOX, 300, true_forces(x), replica)


@pytest.fixture(scope="module")
def exact():
    """The known potential as splines: a model of clean frames (sigma = 0)."""
    term = PairTerm(sigma=0, cutoff=CUTOFF, start=START, spacing=SPACING)
    header = Header(
        species=[LI, CL], particles=np.where(SPECIES == 0, LI, CL).tolist(), temperature=300, box=BOX.tolist(),
        number_density=None, shortest_distances=[[None, None], [None, None]], terms=[term],
    )  # fmt: skip
    denoiser = Denoiser(header)
    (pair,) = denoiser.modules()
    r = np.linspace(START, CUTOFF, 400)
    for kind, (a, b) in enumerate([(0, 0), (0, 1), (1, 1)]):
        basis = np.zeros((len(r), pair.n_basis - 3))
        for k in range(pair.n_basis - 3):
            pair.coefficients[kind] = torch.eye(pair.n_basis, dtype=torch.float64)[k]
            basis[:, k] = pair.curve(kind, r)
        pair.coefficients[kind] = 0
        pair.coefficients[kind, :-3] = torch.as_tensor(np.linalg.lstsq(basis, energy(r, a, b), rcond=None)[0])
    return denoiser


def scaled(denoiser, factor):
    other = Denoiser.from_bytes(denoiser.to_bytes())
    other.model.energy_weights = [w * factor for w in other.model.energy_weights]
    return other


def noisy(frames, size=NOISE):
    forces = frames.forces + np.random.default_rng(0).normal(0, size, frames.forces.shape)
    return Frames(frames.positions, frames.species, frames.box, 300, forces, frames.replica)


def values(rows):
    return {row[:2]: row[4:] for row in rows}


def test_the_splines_are_the_known_potential(frames, exact):
    comparison = compare_forces(exact, frames, {})
    assert comparison.rms()["all"] < 0.02 * comparison.rms()["labels"]


def test_slope_of_an_exact_potential_is_one_on_clean_frames(frames, exact):
    """sigma = 0: the targets at 0.001 nm are Hutchinson's estimate of the divergence."""
    slope, error = calibration(exact, frames)
    assert error < 0.05
    assert abs(slope - 1) < 3 * error
    wrong, _ = calibration(scaled(exact, 1.25), frames)
    assert np.isclose(wrong, slope / 1.25, rtol=1e-6)


def test_explained_variance_of_an_exact_potential_is_that_of_the_forces(frames, exact):
    fresh = projections(exact, frames)
    value, error = explained_variance(*fresh, frames.replica)
    assert error < 0.1 * value
    assert abs(value - np.mean(frames.forces**2)) < 3 * error
    share, share_error = explained_variance(*fresh, frames.replica, frames.forces)
    assert abs(share - 1) < 3 * share_error
    # A force of twice the size is as wrong as none: 2 * 2 - 4 = 0.
    doubled, error = explained_variance(*projections(scaled(exact, 2), frames), frames.replica)
    assert abs(doubled) < 3 * error


def test_targets_give_the_divergence(frames, exact):
    """Against the exact divergence of the forces, by central differences of every coordinate."""
    some, step, kT = frames[:20], 1e-4, 2.494
    x = some.positions.astype(float)
    divergence = np.zeros(len(x))
    for i in range(x.shape[1]):
        for axis in range(3):
            move = np.zeros(x.shape[1:])
            move[i, axis] = step
            difference = exact.forces(x + move) - exact.forces(x - move)
            divergence += difference[:, i, axis] / (2 * step)
    estimates = [projections(exact, some, sigma=0.001, draws=20, seed=seed)[0].sum() for seed in range(10)]
    error = np.std(estimates, ddof=1) / np.sqrt(10)
    assert error < 0.05 * abs(kT * divergence.sum())
    assert abs(np.mean(estimates) + kT * divergence.sum()) < 3 * error


def test_noise_of_labels_is_bounded_and_known_within_some_per_cent(frames, exact):
    noised_labels = noisy(frames)
    bound = values(noise_rows(noised_labels, *projections(exact, frames)))
    for name in ("all", "Li", "Cl"):
        value, error = bound["label noise, at most", name]
        assert value > NOISE - 3 * error, "the bound must hold"
        assert abs(value / NOISE - 1) < 0.05


def test_bound_holds_for_a_poor_model_and_does_not_depend_on_its_scale(frames, exact):
    """A model of one pair of elements only explains less, and so bounds less."""
    poor = Denoiser.from_bytes(exact.to_bytes())
    poor.modules()[0].coefficients[1:] = 0
    labels = noisy(frames)
    good, bad = (
        values(noise_rows(labels, *projections(m, frames)))["label noise, at most", "all"] for m in (exact, poor)
    )
    assert bad[0] > good[0] + 1 and bad[0] < np.sqrt(np.mean(labels.forces**2))
    wrong = values(noise_rows(labels, *projections(scaled(exact, 0.5), frames)))["label noise, at most", "all"]
    assert np.isclose(wrong[0], good[0], rtol=1e-6)


def test_unlabelled_frames_serve_the_bound(frames, exact):
    labels = noisy(frames)
    forces = labels.forces.copy()
    forces[::2] = np.nan
    half = Frames(labels.positions, labels.species, labels.box, 300, forces, labels.replica)
    value, error = values(noise_rows(half, *projections(exact, frames)))["label noise, at most", "all"]
    assert abs(value - NOISE) < 3 * error + 0.5


def test_force_rows_are_the_plain_averages(frames, exact):
    labels, distances = noisy(frames, 5.0), {"Li-Cl": 0.35}
    comparison = compare_forces(exact, labels, distances)
    rows = values(force_rows(comparison))
    difference = exact.forces(labels.positions, labels.boxes, labels.species) - labels.forces
    chlorine = labels.species == CL
    assert np.isclose(rows["force RMSE", "Cl"][0], np.sqrt((difference[:, chlorine] ** 2).mean()))
    assert np.isclose(rows["force rms, labels", "Cl"][0], np.sqrt((labels.forces[:, chlorine] ** 2).mean()), rtol=1e-5)
    assert np.isclose(
        rows["explained fraction", "all"][0], 1 - (difference**2).sum() / (labels.forces**2).sum(), rtol=1e-4
    )
    # Errors of independent Gaussian components: RMSE / sqrt(2 n).
    value, error = rows["force RMSE", "all"]
    assert 0.5 < error / (value / np.sqrt(2 * difference.size)) < 2
    # With and without contact together are all.
    share = rows["share of particles", "contact"][0]
    assert 0.05 < share < 0.95
    parts = share * rows["force RMSE", "contact"][0] ** 2 + (1 - share) * rows["force RMSE", "no contact"][0] ** 2
    assert np.isclose(parts, rows["force RMSE", "all"][0] ** 2)


def test_noisy_labels_are_said_to_be_no_error_of_the_model(frames, exact):
    clean, noise = evaluate(exact, frames), evaluate(exact, noisy(frames, 100.0))
    assert any("must not be read as the model's error" in note for note in noise.notes)
    assert not any("must not be read" in note for note in clean.notes)
    assert any("Hutchinson" in note for note in clean.notes)
    assert clean.calibration == noise.calibration, "labels play no part in it"
    assert len(np.unique(block_numbers(frames.replica))) == 16
