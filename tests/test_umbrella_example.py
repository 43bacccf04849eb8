"""The umbrella example: its histogram gives a known potential back; a barrier without data has no height."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from openmm_diffusion.units import thermal_energy

FILE = Path(__file__).parents[1] / "examples" / "licl" / "umbrella.py"
KT = thermal_energy(300.0)


@pytest.fixture(scope="module")
def umbrella():
    spec = importlib.util.spec_from_file_location("umbrella", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def u(r):
    return 15 * np.exp(-0.5 * ((r - 0.32) / 0.04) ** 2) + 400 * (0.24 - r).clip(0)


def test_the_histogram_of_windows_gives_the_potential_back(umbrella):
    """Exact samples of every window: the reweighted histogram is the potential within its noise, barrier included."""
    windows = np.array([(c, 8000.0) for c in np.arange(0.21, 0.68, 0.03)])
    rng, fine = np.random.default_rng(1), np.linspace(0.1, 0.75, 40_001)
    samples = []
    for centre, stiffness in windows:
        weight = fine**2 * np.exp(-(u(fine) + stiffness * (fine - centre) ** 2 / 2) / KT)
        samples.append(np.interp(rng.random(1500), np.cumsum(weight) / weight.sum(), fine))
    r, window = np.concatenate(samples), np.repeat(np.arange(len(windows)), 1500)
    found = umbrella.reweighted(r, window, windows, KT)
    seen = np.histogram(r, umbrella.EDGES)[0] > 200
    truth = u(umbrella.MIDDLES) - u(umbrella.MIDDLES)[umbrella.ZERO].mean()
    # The bin's own width shifts its mean of the density by less than u''(0.01)^2/24, 0.04 kJ/mol.
    assert seen.sum() > 40 and abs(found - truth)[seen].max() < 0.9
    above, top, _, barrier = umbrella.heights(found)
    assert top == pytest.approx(15, abs=0.5) and barrier == pytest.approx(0.32, abs=0.011)
    assert np.isnan(umbrella.heights(np.where(umbrella.MIDDLES < 0.35, np.inf, 0.0))).all()
