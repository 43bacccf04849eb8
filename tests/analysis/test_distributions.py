"""Means, widths, divergences and free energies where they are known in closed form or by quadrature."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from openmm_diffusion.analysis.molecules.distributions import (
    BINS_OF_MAPS,
    binned,
    circular_mean,
    common_bins,
    divergence,
    evenly,
    floor,
    free_energy,
    mapped,
    mean_and_width,
)


def test_mean_and_width_of_a_gaussian_bond():
    rng = np.random.default_rng(1)
    lengths = rng.normal(0.153, 0.0031, (8000, 2)).astype(np.float32)
    (mean, error), (width, wide_error) = mean_and_width(lengths, np.repeat(np.arange(20), 400), 0.15, periodic=False)
    assert abs(mean - 0.153) < 4 * error and np.isclose(error, 0.0031 / np.sqrt(16000), rtol=0.4)
    assert abs(width - 0.0031) < 4 * wide_error and np.isclose(wide_error, 0.0031 / np.sqrt(32000), rtol=0.4)


@pytest.mark.parametrize("centre", [174.0, -179.0, 0.0])
def test_width_of_a_wrapped_normal_is_that_of_the_normal(centre):
    """The length of the mean vector is exp(-s^2/2), wherever the circle is cut."""
    rng = np.random.default_rng(2)
    angles = (rng.normal(centre, 20, (6000, 1)) + 180) % 360 - 180
    (mean, error), (width, wide_error) = mean_and_width(angles, np.zeros(6000), circular_mean(angles), periodic=True)
    assert abs((mean - centre + 180) % 360 - 180) < 4 * error < 2
    assert abs(width - 20) < 4 * wide_error < 2


def test_divergence_of_two_gaussians_is_that_of_the_integral():
    p, q = norm(0.150, 0.003), norm(0.153, 0.004)

    def integrand(x):
        a, b = p.pdf(x), q.pdf(x)
        return 0.5 * (a * np.log2(2 * a / (a + b)) + b * np.log2(2 * b / (a + b)))

    exact = quad(integrand, 0.13, 0.18, points=[0.15, 0.153], limit=200)[0]
    rng = np.random.default_rng(3)
    data, model = p.rvs(200_000, random_state=rng), q.rvs(200_000, random_state=rng)
    edges = common_bins(data, model, whole_circle=False)
    # Bins of a fifth of a width lose some 0.4 %; K bins of n samples add (K - 1) / (4 n ln 2).
    assert np.isclose(divergence(binned(data, edges), binned(model, edges)), exact, rtol=0.02)


def test_divergence_is_zero_of_equal_and_one_of_disjoint_histograms():
    counts = np.random.default_rng(4).integers(0, 50, (6, 6))
    assert divergence(counts, counts) == divergence(3 * counts, counts) == 0
    assert np.isclose(divergence([1, 2, 0, 0], [0, 0, 5, 1]), 1)


def test_floor_is_what_chance_does_to_two_halves():
    """(K - 1) / (4 n ln 2) of K bins with n independent samples in each half."""
    rng = np.random.default_rng(5)
    angles = rng.uniform(-180, 180, (40_000, 1))
    counts = binned(angles, common_bins(angles, angles, whole_circle=True), np.repeat(np.arange(20), 2000))
    assert counts.shape == (20, 72) and np.isclose(floor(counts), 71 / (4 * 20_000 * np.log(2)), rtol=0.25)
    assert np.isnan(floor(counts[:1]))


def test_bins_follow_the_data_and_reach_for_the_model_within_bounds():
    data = np.linspace(1.0, 2.0, 101)
    near, far = common_bins(data, np.array([0.5, 2.2]), False), common_bins(data, np.array([-90.0, 1.5]), False)
    assert np.allclose(np.diff(near), 0.025) and near[0] <= 0.5 and near[-1] >= 2.2 and len(near) < 75
    assert np.isclose(far[0], 1 - 4 * 1.0) and np.isclose(far[-1], 2.0)
    assert binned(np.array([-90.0, 1.5]), far)[0] == 1, "what lies beyond is counted at the end"
    assert binned(data, common_bins(data, data, False)).sum() == 101


def test_free_energy_is_that_of_the_populations():
    energy = free_energy(np.array([[200, 50], [0, 100]]), kT=2.5)
    assert np.allclose(energy[[0, 0, 1], [0, 1, 1]], 2.5 * np.log([1, 4, 2])) and np.isnan(energy[1, 0])


def test_maps_count_the_first_dihedral_along_the_first_axis():
    counts = mapped(np.array([[[-179.0, 5.0], [179.99, -0.01]], [[180.0, -180.0], [-179.0, 5.0]]]))
    assert counts.shape == (BINS_OF_MAPS, BINS_OF_MAPS) and counts.sum() == 4
    assert counts[0, 18] == 2 and counts[35, 17] == 1 and counts[35, 0] == 1


def test_frames_are_taken_evenly():
    assert list(evenly(np.arange(11), 3)) == [0, 5, 10] and len(evenly(np.arange(7), 7)) == 7
