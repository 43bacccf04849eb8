"""The benchmark beside AceCG: forces from curves in its units are those of the model that the curves are of."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from openmm_diffusion import Frames, train

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def denoising():
    spec = importlib.util.spec_from_file_location("denoising", ROOT / "benchmarks" / "denoising.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_forces_of_curves_are_those_of_the_model(denoising):
    frames = Frames.load(ROOT / "examples" / "licl" / "licl.npz")[::20]
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "prior": {"wall": None}, "network": None,
        "pair": {"sigma": 0, "cutoff": 1.0},
    }  # fmt: skip
    model = train(frames, config, progress=False)
    pairs = np.zeros((len(denoising.GRID), 2, 3))
    pairs[:, 1, 0] = denoising.GRID / denoising.ANGSTROM_PER_NM
    unit = denoising.KJ_PER_KCAL * denoising.ANGSTROM_PER_NM  # kJ/mol/nm in kcal/mol/Angstrom
    kinds = ([3, 3], [3, 17], [17, 17])
    curves = [model.forces(pairs, box=frames.box, species=kind)[:, 1, 0] / unit for kind in kinds]
    few = frames[:3]
    expected = model.forces(few.positions)
    np.testing.assert_allclose(denoising.pair_forces(curves, few), expected, atol=2e-3 * np.abs(expected).max())
    labelled = frames[frames.labelled]
    assert denoising.error(labelled.forces, labelled) == 0
    assert denoising.error(0 * labelled.forces, labelled) == pytest.approx(4.0, rel=0.1)  # kJ/mol/A, examples/licl
