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


def test_independent_directions_have_half_the_sine():
    x = np.random.default_rng(1).uniform(0, 2.0, (200, 60, 3))
    frames = Frames(x, ["W"] * 60, 2 * np.eye(3), 300, replica=np.arange(200) // 20)
    found = neighbour_angles(frames, 0.5, 30)
    density, error = found.density["W"], found.error["W"]
    # In terms of the mean of the sine over a bin: 30 bins, five standard errors of ten blocks.
    edges = np.linspace(0, np.pi, 31)
    expected = (np.cos(edges[:-1]) - np.cos(edges[1:])) / 2 / np.diff(edges)
    assert density.sum() * np.pi / 30 == pytest.approx(1)
    assert (np.abs(density - expected) < 5 * error + 1e-3).all() and error.max() < 0.02
    assert 0 < split_half_error(found)["W"] < 0.02


def test_diamond_is_tetrahedral_across_the_boundary():
    x = crystal(np.concatenate([FCC, FCC + 0.25]), 0.6, 2)
    frames = Frames(x + 0.03, ["C"] * x.shape[1], 1.2 * np.eye(3), 300)
    found = neighbour_angles(frames, 0.3, 36)
    # arccos(-1/3) = 109.47 degrees, in the bin of 105 to 110.
    (bin_of_all,) = np.flatnonzero(found.density["C"])
    assert found.angle[bin_of_all] == 107.5 and list(found.table()) == ["angle_deg", "C", "C_error"]
    assert found.density["C"][bin_of_all] == pytest.approx(36 / np.pi)


def test_each_type_has_a_distribution_of_its_own():
    # The twelve neighbours in a face-centred cubic crystal: 24 couples at 60 degrees, 12 at 90, 24 at 120, 6 at 180.
    x = crystal(FCC, 0.5, 2)
    lattice, other = x[0], np.array([[0.25, 0.25, 0.25]])  # an octahedral hole: six neighbours at right angles
    types = ["A"] * len(lattice) + ["B"]
    frames = Frames(np.concatenate([lattice, other])[None] + 0.01, types, np.eye(3), 300)
    found = neighbour_angles(frames, 0.36, 36)
    assert set(found.density) == {"A", "B"}
    hole = found.density["B"] * np.pi / 36 * 15
    assert hole[17:19].sum() == pytest.approx(12) and hole[-1] == pytest.approx(3)
    only = neighbour_angles(Frames(x + 0.01, ["A"] * len(lattice), np.eye(3), 300), 0.36, 36)
    couples = only.density["A"] * np.pi / 36 * 66
    assert couples[11:13].sum() == pytest.approx(24) and couples[17:19].sum() == pytest.approx(12)
    assert couples[23:25].sum() == pytest.approx(24) and couples[-1] == pytest.approx(6)


def test_distances_without_angles_are_refused():
    frames = Frames(crystal(FCC, 0.5, 2), ["A"] * 32, np.eye(3), 300)
    with pytest.raises(ValueError, match="distance is 0.2 nm: no A has two neighbours so near"):
        neighbour_angles(frames, 0.2)
    with pytest.raises(ValueError, match="distance is 0.6 nm, over half the box"):
        neighbour_angles(frames, 0.6)
