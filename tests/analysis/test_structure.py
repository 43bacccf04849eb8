"""Peaks, minima and coordination numbers, on curves and configurations made by hand."""

import numpy as np
import pytest

from openmm_diffusion import Frames
from openmm_diffusion.analysis.structure import coordination, find_peaks, first_minima, first_minimum, first_peak

LI, CL, EDGE = 3, 17, 2.0


def gas(n_frames, counts, seed=0, edge=EDGE):
    """Particles anywhere: no structure."""
    species = np.repeat(list(counts), list(counts.values()))
    x = np.random.default_rng(seed).uniform(0, edge, (n_frames, len(species), 3))
    return Frames(x, species, edge * np.eye(3), 300)


def test_the_coordination_number_of_an_ideal_gas_is_density_times_volume():
    frames, r = gas(400, {LI: 10, CL: 30}), {"Li-Li": 0.5, "Li-Cl": 0.4, "Cl-Cl": 0.3}
    numbers = coordination(frames, r)
    partners = {
        "Li around Li": (9, 0.5),
        "Cl around Li": (30, 0.4),
        "Li around Cl": (10, 0.4),
        "Cl around Cl": (29, 0.3),
    }
    assert set(numbers) == set(partners)
    for pair, (n, distance) in partners.items():
        value, error = numbers[pair]
        expected = n / EDGE**3 * 4 / 3 * np.pi * distance**3
        assert error < 0.06 * expected
        assert abs(value - expected) < 4 * error


def test_two_peaks_and_the_minimum_between_them_are_found_through_noise():
    r = np.arange(0.2, 1.0, 0.005)
    peaks = [(0.24, 1.2, 0.02), (0.45, 2.0, 0.04)]
    g = sum(height * np.exp(-(((r - place) / width) ** 2)) for place, height, width in peaks) + 1 / (
        1 + np.exp(-(r - 0.4) / 0.02)
    )
    g += np.random.default_rng(0).normal(0, 0.03, len(r))
    tops = find_peaks(g, np.full(len(r), 0.01))
    assert np.allclose(r[tops][:2], [0.24, 0.45], atol=0.01)
    assert 0.27 < r[first_minimum(g, np.full(len(r), 0.01))] < 0.38
    assert find_peaks(g, np.full(len(r), 2.0)) == tops[:1], "within the errors only the first is told"


def test_first_peak_is_found_through_noise():
    r = np.arange(0.2, 1.0, 0.005)
    g = 1 + 0.5 * np.exp(-(((r - 0.45) / 0.04) ** 2)) - np.exp(-(((r - 0.2) / 0.1) ** 2))
    noise = np.random.default_rng(0).normal(0, 0.03, len(r))
    assert abs(r[first_peak(g + noise)] - 0.45) < 0.02


def test_a_gas_has_no_first_minimum():
    assert first_minima(gas(300, {LI: 20, CL: 20})) == {}
    assert first_minima(Frames(np.zeros((2, 2, 3)) + [[0], [1]], [LI, CL], None, 300)) == {}


@pytest.fixture(scope="module")
def frames():
    return Frames.load("examples/licl/licl.npz")


def test_the_example_has_its_contact_minimum_where_the_ions_part(frames):
    minima = first_minima(frames)
    assert 0.28 < minima["Li-Cl"] < 0.32
