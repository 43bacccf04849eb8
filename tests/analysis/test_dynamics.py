"""Diffusion, drift and kinetic temperature against closed forms, invariances and sums written out."""

import logging

import numpy as np
import pytest
import torch
from openmm import unit
from scipy.stats import linregress

from openmm_diffusion.analysis.dynamics import (
    diffusion_coefficient,
    energy_drift,
    kinetic_temperature,
    mean_square_displacement,
    unwrap,
    yeh_hummer_correction,
)
from openmm_diffusion.space.boxes import wrap
from openmm_diffusion.units import BOLTZMANN, DIFFUSION

CUBIC = 2.5 * np.eye(3)
TRICLINIC = np.array([[2.5, 0, 0], [-1.2, 2.4, 0], [1.1, 1.15, 2.2]])
#: nm^2/ps and ps of the walks.
D, INTERVAL = 0.02, 0.5


def walks(runs, frames=200, particles=20, seed=0, diffusion=D):
    """Brownian walks, shape (n_runs, n_frames, n_particles, 3), nm; D of one or of every particle."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(runs, frames, particles, 3)) * np.sqrt(2 * INTERVAL * np.reshape(diffusion, (-1, 1)))
    return np.cumsum(steps, axis=1)


def written_out(r, steps):
    """Mean-square displacement by lag, one difference after the other."""
    found = np.full(steps[-1] - steps[0] + 1, np.nan)
    for lag in range(len(found)):
        pairs = [(i, j) for i in range(len(r)) for j in range(i, len(r)) if steps[j] - steps[i] == lag]
        if pairs:
            found[lag] = np.mean([((r[j] - r[i]) ** 2).sum(-1) for i, j in pairs])
    return found


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_unwrapping_undoes_wrapping(box):
    path = walks(1, frames=600)[0]
    assert np.abs(path[-1] - path[0]).max() > 2 * box[0, 0], "faces must have been crossed"
    wrapped = wrap(torch.from_numpy(path), torch.from_numpy(box)).numpy()
    assert np.abs(np.diff(wrapped, axis=0)).max() > 1
    np.testing.assert_allclose(unwrap(wrapped, box) - wrapped[0], path - path[0], atol=1e-10)
    # Each particle at another image at every frame: the same path.
    images = np.random.default_rng(1).integers(-2, 3, size=path.shape) @ box
    np.testing.assert_allclose(unwrap(path + images, box)[1:] - images[0], path[1:], atol=1e-10)


def test_unwrapping_says_where_steps_are_too_long(caplog):
    # Of Gaussian steps of s, 2 (1 - Phi(L / 4s)) are longer than a quarter: 2.1 % at s = 0.27 nm, 11 % at 0.39 nm.
    few, many = (walks(1, diffusion=s**2 / (2 * INTERVAL))[0] for s in (0.27, 0.39))
    with caplog.at_level(logging.WARNING):
        unwrap(walks(1, diffusion=0.1**2)[0], CUBIC)
        assert not caplog.records
        unwrap(few, CUBIC)
    assert "quarter of the box" in caplog.text
    with pytest.raises(ValueError, match="longer than a quarter of the box .0.625 nm.*more often"):
        unwrap(many, CUBIC)
    with pytest.raises(ValueError, match="one fixed box"):
        unwrap(few, np.broadcast_to(CUBIC, (200, 3, 3)))
    np.testing.assert_array_equal(unwrap(many, None), many)


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_brownian_walks_through_the_boundary_have_their_diffusion_coefficient(box):
    wrapped = wrap(torch.from_numpy(walks(30)), torch.from_numpy(box)).numpy()
    msd = np.array([mean_square_displacement(unwrap(run, box)).mean(1) for run in wrapped])
    value, error = diffusion_coefficient(msd, INTERVAL, (1, 10))
    assert abs(value - D) < 4 * error and error < 0.02 * D
    # Every lag has <r^2> = 6 D t.
    np.testing.assert_allclose(msd.mean(0)[:20], 6 * D * INTERVAL * np.arange(20), rtol=0.08, atol=1e-12)
    assert DIFFUSION * D == pytest.approx(unit.Quantity(D, unit.nanometer**2 / unit.picosecond) / (
        1e-9 * unit.meter**2 / unit.second))  # fmt: skip


def test_relative_to_the_centre_of_mass_free_particles_lose_its_diffusion():
    # D = kT/(m gamma) of each, and of the centre of mass kT/(M gamma): what the docstring says.
    masses = np.repeat([6.94, 35.45], 4)
    free = 0.05 / masses
    runs = walks(400, particles=8, diffusion=free)
    drifting = runs + np.arange(runs.shape[1])[:, None, None] * np.array([0.3, 0.0, -0.2])
    msd = np.array([mean_square_displacement(run, masses) for run in drifting])
    for chosen in (masses == 6.94, masses == 35.45):
        value, error = diffusion_coefficient(msd[..., chosen].mean(2), INTERVAL, (1, 10))
        expected = free[chosen][0] - 0.05 / masses.sum()
        assert abs(value - expected) < 4 * error
        assert 0.05 / masses.sum() > 5 * error, "or the drift of the centre would not be seen"


def test_mean_square_displacement_is_the_sum_written_out_with_frames_missing_too():
    path = walks(1, frames=24, particles=3)[0] + 1000.0
    for steps in (np.arange(24), np.cumsum(np.tile([2, 1, 4], 8)) + 5):
        found = mean_square_displacement(path, steps=steps)
        expected = written_out(path, steps)
        np.testing.assert_array_equal(np.isnan(found[:, 0]), np.isnan(expected))
        np.testing.assert_allclose(found.mean(1), expected, rtol=1e-9, atol=1e-12)
        translated = mean_square_displacement(path[:, ::-1] + np.array([1.0, 2.0, 3.0]), steps=steps)
        np.testing.assert_allclose(translated[:, ::-1], found, rtol=1e-7, atol=1e-10)
    for steps in (np.arange(24) // 2, np.arange(23), np.arange(24.0)):
        with pytest.raises(ValueError, match="24 increasing whole numbers"):
            mean_square_displacement(path, steps=steps)


def test_ballistic_motion_has_no_diffusion_to_fit_without_lags():
    time = INTERVAL * np.arange(20)
    # v^2 t^2: the slope of the best line over 1, 2, ..., 5 ps is 6 v^2.
    value, error = diffusion_coefficient(0.3**2 * time**2, INTERVAL, (1, 5))
    assert value == pytest.approx(0.3**2 * linregress(time[2:11], time[2:11] ** 2).slope / 6) and np.isnan(error)
    with pytest.raises(ValueError, match="window is 9 to 30 ps, with 2 lags"):
        diffusion_coefficient(time, INTERVAL, (9, 30))


def test_finite_size_correction_is_the_formula_in_si():
    # kT xi / (6 pi eta L) of 0.85 mPa s, 300 K and 2.526 nm, in SI.
    si = 1.380649e-23 * 300 * 2.837297 / (6 * np.pi * 0.85e-3 * 2.526e-9)
    assert DIFFUSION * 1e-9 * yeh_hummer_correction(300, 0.85, 2.526) == pytest.approx(si, rel=1e-9)
    quantities = (300 * unit.kelvin, 0.85e-3 * unit.pascal * unit.second, 25.26 * unit.angstrom)
    assert yeh_hummer_correction(*quantities) == pytest.approx(yeh_hummer_correction(300, 0.85, 2.526))
    with pytest.raises(ValueError, match="viscosity is 0.85 nm"):
        yeh_hummer_correction(300, 0.85 * unit.nanometer, 2.526)
    with pytest.raises(ValueError, match="viscosity is 0 mPa s"):
        yeh_hummer_correction(300, 0, 2.526)


def test_drift_is_the_slope_of_a_line_under_a_correlated_fluctuation():
    time = np.arange(0, 20, 0.002)
    # An oscillation of 3 kJ/mol: rms 3/sqrt(2); drift 0.4 kJ/mol/ps of 141 degrees of freedom.
    energy = 50 + 0.4 * time + 3 * np.sin(2 * np.pi * time / 0.05)
    drift = energy_drift(time, energy, 141)
    assert drift.slope == pytest.approx(1000 * 0.4 / 141, rel=1e-3)
    assert drift.fluctuation == pytest.approx(3 / np.sqrt(2), rel=1e-3)
    rng = np.random.default_rng(0)
    z = []
    for _ in range(300):  # correlated over 50 samples: a tenth of a block
        noise = np.convolve(rng.normal(size=5049), np.ones(50) / 50, "valid")
        drift = energy_drift(time[:5000], noise + 0.01 * time[:5000], 1)
        z.append((drift.slope - 10) / drift.error)
    # Student's t of 8 degrees of freedom has the variance 8/6.
    assert np.mean(z) == pytest.approx(0, abs=4 * np.sqrt(8 / 6 / 300))
    assert np.var(z) == pytest.approx(8 / 6, rel=0.4)
    with pytest.raises(ValueError, match="energy has 20 samples"):
        energy_drift(time[:20], energy[:20], 1)


def test_kinetic_temperature_of_maxwell_velocities():
    degrees, temperature = 144, 300.0
    rng = np.random.default_rng(2)
    energy = 0.5 * BOLTZMANN * temperature * rng.chisquare(degrees, size=(40, 500))
    mean, error = kinetic_temperature(energy, degrees)
    # The variance of T is 2 T^2 / N_f per independent sample.
    expected = temperature * np.sqrt(2 / degrees / energy.size)
    assert abs(mean - temperature) < 4 * expected and error == pytest.approx(expected, rel=0.4)
    slow = np.repeat(energy[0], 10)
    blocked = kinetic_temperature(slow, degrees)[1]
    assert blocked == pytest.approx(temperature * np.sqrt(2 / degrees / 500), rel=0.7), "copies tell nothing new"
