"""Angles between neighbours: of independent directions, of a crystal, of two types."""

import numpy as np
import pytest

from openmm_diffusion import Frames
from openmm_diffusion.analysis.angles import neighbour_angles
from openmm_diffusion.analysis.resampling import split_half_error


def crystal(basis, edge, cells):
    """Positions (1, n, 3) of a crystal: fractional coordinates of a cubic cell of an edge (nm), cells^3 times."""
    corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    return (edge * (corners + np.asarray(basis))).reshape(1, -1, 3)


FCC = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def test_independent_directions_have_all_cosines_alike():
    x = np.random.default_rng(1).uniform(0, 2.0, (200, 60, 3))
    frames = Frames(x, ["W"] * 60, 2 * np.eye(3), 300, replica=np.arange(200) // 20)
    found = neighbour_angles(frames, 0.5, 30)
    density, error = found.density["W"], found.error["W"]
    assert density.mean() == pytest.approx(1) and error.max() < 0.05
    assert (np.abs(density - 1) < 5 * error).all()  # 30 bins, five standard errors of ten blocks
    assert 0 < split_half_error(found)["W"] < 0.05


def test_diamond_is_tetrahedral_across_the_boundary():
    x = crystal(np.concatenate([FCC, FCC + 0.25]), 0.6, 2)
    frames = Frames(x + 0.03, ["C"] * x.shape[1], 1.2 * np.eye(3), 300)
    found = neighbour_angles(frames, 0.3, 40)
    # The cosine is -1/3, in the bin of -0.35 to -0.3.
    (bin_of_all,) = np.flatnonzero(found.density["C"])
    assert found.cosine[bin_of_all] == pytest.approx(-0.325) and list(found.table()) == ["cosine", "C", "C_error"]
    assert found.density["C"][bin_of_all] == pytest.approx(40)


def test_each_type_has_a_distribution_of_its_own():
    # The twelve neighbours in a face-centred cubic crystal: 24 couples at 60 degrees, 12 at 90, 24 at 120, 6 at 180.
    x = crystal(FCC, 0.5, 2)
    lattice, other = x[0], np.array([[0.25, 0.25, 0.25]])  # an octahedral hole: six neighbours at right angles
    types = ["A"] * len(lattice) + ["B"]
    frames = Frames(np.concatenate([lattice, other])[None] + 0.01, types, np.eye(3), 300)
    found = neighbour_angles(frames, 0.36, 41)  # bins around -1, -0.5, 0 and 0.5
    assert set(found.density) == {"A", "B"}
    hole = found.density["B"] * 15 / 41
    assert hole[20] == pytest.approx(12) and hole[0] == pytest.approx(3)
    alone = neighbour_angles(Frames(x + 0.01, ["A"] * len(lattice), np.eye(3), 300), 0.36, 41)
    couples = alone.density["A"] * 66 / 41
    np.testing.assert_allclose(couples[[0, 10, 20, 30]], [6, 24, 12, 24])


def test_distances_without_angles_are_refused():
    frames = Frames(crystal(FCC, 0.5, 2), ["A"] * 32, np.eye(3), 300)
    with pytest.raises(ValueError, match="distance is 0.2 nm: no A has two neighbours so near"):
        neighbour_angles(frames, 0.2)
    with pytest.raises(ValueError, match="distance is 0.6 nm, over half the box"):
        neighbour_angles(frames, 0.6)
