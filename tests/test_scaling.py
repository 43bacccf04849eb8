"""The scaling benchmark: copies are what they claim, and exponents are found again."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from models import licl_frames

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "scaling.py"
spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
scaling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scaling)


def test_copies_keep_density_composition_and_structure():
    frames = licl_frames()
    x, box, species = scaling.replicate(frames.positions[0], frames.box, frames.species, (1, 2, 3))
    assert x.shape == (288, 3) and (species == 3).sum() == (species == 17).sum() == 144
    np.testing.assert_allclose(len(x) / np.linalg.det(box), frames.number_density, rtol=1e-6)
    # Folded back into one box, every copy differs from the frame by the displacement and from the other copies too.
    moved = x.reshape(6, 48, 3) - frames.positions[0].astype(float)
    moved -= np.round(moved / np.diagonal(frames.box)) * np.diagonal(frames.box)
    assert abs(moved.std() / scaling.DISPLACEMENT - 1) < 4 / np.sqrt(2 * moved.size)
    assert np.abs(np.corrcoef(moved.reshape(6, -1)) - np.eye(6)).max() < 0.4  # five standard errors of 144 numbers


def test_exponents_of_power_laws_are_found_above_the_smallest_size():
    rows = [{"ions": n, "rounds": 1, "ms": 1e9} for n in (48, 384)]
    rows += [{"ions": n, "rounds": 1, "ms": 0.02 * n**1.3} for n in (1296, 3072, 6000)]
    rows += [{"ions": None, "rounds": 0, "error": "out of memory"}]
    slope, error, constant = scaling.fit(rows, "ms", 1000)
    assert abs(slope - 1.3) < 1e-9 and error < 1e-6 and abs(np.exp(constant) - 0.02) < 1e-9
    assert scaling.fit(rows[:3], "ms", 1000) is None


@pytest.mark.parametrize("copies", ["2", "2x2", "0x1x1", "axbxc", "2x2x2x2"])
def test_wrong_numbers_of_copies_are_refused(copies):
    with pytest.raises(ValueError, match=f"copies is '{copies}': give three numbers"):
        scaling.block_of(copies)
