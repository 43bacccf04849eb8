"""g(r): the ideal gas, a histogram by hand, error bars that are true, and smearing against noised samples."""

from pathlib import Path

import numpy as np
import pytest

from openmm_diffusion.analysis.rdf import compute_rdf, rebin, rmsd, smear
from openmm_diffusion.data.frames import Frames

LI, CL = 3, 17
CUBIC = 2.0 * np.eye(3)
TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.6, 2.1, 0.0], [-0.7, 0.5, 1.9]])
R_RANGE = (0.2, 0.9)


@pytest.fixture(scope="module")
def licl():
    return Frames.load(Path(__file__).parents[2] / "examples" / "licl" / "licl.npz")


def ideal_gas(n_frames=1000, box=CUBIC, seed=0):
    """Particles that do not know of each other, in 20 replicas."""
    rng, species = np.random.default_rng(seed), [LI] * 12 + [CL] * 8
    positions = rng.random((n_frames, 20, 3)) @ box
    return Frames(positions, species, box, 300.0, replica=np.arange(n_frames) % 20)


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
def test_ideal_gas_has_no_structure(box):
    rdf = compute_rdf(ideal_gas(box=box), R_RANGE, 0.05)
    assert list(rdf.g) == ["Li-Li", "Li-Cl", "Cl-Cl"]
    for pair, g in rdf.g.items():
        z = (g - 1) / rdf.error[pair]
        # 14 bins, errors from 20 blocks: Student's t with 19 degrees of freedom.
        assert np.abs(z).max() < 4.5
        assert 0.2 < np.mean(z**2) < 2.5
        assert rdf.error[pair].max() < 0.15


def test_curves_equal_a_histogram_by_hand(licl):
    frames, edges = licl[:40], np.linspace(0.2, 1.0, 81)
    rdf = compute_rdf(frames)
    length, d = frames.box[0, 0], frames.positions[:, :, None].astype(float) - frames.positions[:, None]
    distances = np.linalg.norm(d - length * np.round(d / length), axis=-1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    first, second = np.triu_indices(48, 1)
    kinds = [tuple(sorted(pair)) for pair in zip(frames.species[first], frames.species[second])]
    for name, kind in {"Li-Li": (LI, LI), "Li-Cl": (LI, CL), "Cl-Cl": (CL, CL)}.items():
        chosen = np.array([k == kind for k in kinds])
        counts, _ = np.histogram(distances[:, first[chosen], second[chosen]], edges)
        by_hand = counts * length**3 / (shells * chosen.sum() * len(frames))
        # A pair at the edge of a bin may fall on either side in float32.
        one_pair = length**3 / (shells * chosen.sum() * len(frames))
        assert (np.abs(rdf.g[name] - by_hand) < 1.01 * one_pair + 1e-4).all()
        assert np.mean(np.abs(rdf.g[name] - by_hand) > 1e-4) < 0.1
        assert rdf.g[name].max() > 1


@pytest.mark.parametrize(
    "r_range, width, n_bins", [((0.2, 1.0), 0.01, 80), ((0.2, 1.0), 0.005, 160), ((0, 0.9), 0.3, 3)]
)
def test_bins_are_as_many_and_as_wide_as_asked(r_range, width, n_bins):
    rdf = compute_rdf(ideal_gas(40), r_range, width)
    assert len(rdf.r) == len(rdf.g["Li-Cl"]) == n_bins
    np.testing.assert_allclose(np.diff(rdf.r), width, rtol=1e-9)
    assert rdf.r[0] - width / 2 == pytest.approx(r_range[0]) and rdf.r[-1] + width / 2 == pytest.approx(r_range[1])


def test_chunks_and_mdtraj_trajectories_give_the_same_curve():
    frames = ideal_gas(100)
    expected = compute_rdf(frames, R_RANGE, 0.05)
    chunked = compute_rdf(frames, R_RANGE, 0.05, frames_per_chunk=3)
    trajectory = compute_rdf(frames.to_mdtraj(), R_RANGE, 0.05, n_blocks=5)
    for pair in expected.g:
        np.testing.assert_allclose(chunked.g[pair], expected.g[pair], rtol=1e-5)
        np.testing.assert_allclose(trajectory.g[pair], expected.g[pair], rtol=1e-5)
        assert expected.blocks[pair].shape == (20, 14) and trajectory.blocks[pair].shape == (5, 14)


def test_where_there_is_no_rdf_it_is_refused():
    with pytest.raises(ValueError, match="r_range is 0.2 to 1.1 nm: it must end within half the box, 1 nm"):
        compute_rdf(ideal_gas(4), (0.2, 1.1))
    with pytest.raises(ValueError, match="half the box, 0.95 nm"):
        compute_rdf(ideal_gas(4, TRICLINIC), (0.2, 1.0))
    with pytest.raises(ValueError, match="no periodic box"):
        compute_rdf(Frames(np.random.default_rng(0).random((3, 4, 3)), [LI] * 4, None, 300.0))
    with pytest.raises(ValueError, match="r_range is 0.5 to 0.4"):
        compute_rdf(ideal_gas(4), (0.5, 0.4))
    with pytest.raises(ValueError, match="bin_width is -0.01 nm"):
        compute_rdf(ideal_gas(4), R_RANGE, -0.01)


def test_table_has_a_curve_and_an_error_per_pair():
    rdf = compute_rdf(ideal_gas(40), R_RANGE, 0.1)
    table = rdf.table()
    assert list(table) == ["r_nm", "Li-Li", "Li-Li_error", "Li-Cl", "Li-Cl_error", "Cl-Cl", "Cl-Cl_error"]
    np.testing.assert_array_equal(table["Li-Cl_error"], rdf.error["Li-Cl"])


def test_bins_joined_are_bins_counted(licl):
    """g(r) in 0.01 nm bins from 0.005 nm bins is the same count."""
    fine, coarse = compute_rdf(licl[:50], bin_width=0.005), compute_rdf(licl[:50], bin_width=0.01)
    joined = rebin(fine, 2)
    assert np.allclose(joined.r, coarse.r)
    for pair in coarse.g:
        assert np.allclose(joined.g[pair], coarse.g[pair], atol=1e-9)
        assert np.allclose(joined.error[pair], coarse.error[pair], atol=1e-9)


# ---- error bars


def test_errors_of_independent_curves_are_true():
    # The same bins of 40 independent sets: their spread is what each of them reports.
    rdfs = [compute_rdf(ideal_gas(60, seed=seed), R_RANGE, 0.1) for seed in range(40)]
    for pair in rdfs[0].g:
        spread = np.std([rdf.g[pair] for rdf in rdfs], axis=0, ddof=1)
        reported = np.sqrt(np.mean([rdf.error[pair] ** 2 for rdf in rdfs], axis=0))
        ratio = np.sqrt(np.mean((spread / reported) ** 2))
        assert ratio == pytest.approx(1, abs=4 / np.sqrt(2 * 39 * 7))


def test_rmsd_is_the_root_mean_square():
    assert rmsd([1, 2, 3], [1, 2, 5]) == pytest.approx(np.sqrt(4 / 3))


# ---- smearing


@pytest.mark.parametrize("sigma", [0.005, 0.01])
def test_smeared_curve_is_that_of_noised_frames(licl, sigma):
    draws, width = 4, 0.0025
    clean = compute_rdf(licl, (0.15, 1.0), width)
    rng, noised = np.random.default_rng(0), []
    for _ in range(draws):
        y = licl.positions + sigma * rng.normal(size=licl.positions.shape)
        noised.append(compute_rdf(Frames(y, licl.species, licl.box, 300.0, replica=licl.replica), (0.15, 1.0), width))
    inside = (clean.r > 0.2) & (clean.r < 0.9)
    for pair in clean.g:
        # By replica, so that what noised and clean frames share cancels.
        rows = np.mean([rdf.blocks[pair] for rdf in noised], axis=0)
        smeared = np.array([smear(clean.r, g, sigma) for g in clean.blocks[pair]])

        def chi_squared(difference, inside=inside):
            mean, error = difference.mean(0), difference.std(0, ddof=1) / np.sqrt(len(difference))
            seen = inside & (error > 0)
            return np.mean((mean[seen] / error[seen]) ** 2)

        # 26 replicas: 25 / 23 is expected of Student's t; bins are correlated over sqrt(2) sigma.
        assert 0.7 < chi_squared(rows - smeared) < 1.6
        if pair == "Li-Cl":
            contact = (clean.r > 0.2) & (clean.r < 0.3)  # where g(r) is steep
            assert chi_squared(rows - smeared, contact) < 1.7
            assert chi_squared(rows - clean.blocks[pair], contact) > 2.5, "the test must tell smeared from clean"


def test_smearing_has_its_closed_forms():
    r = np.arange(0.0025, 1.5, 0.005)
    np.testing.assert_allclose(smear(r, np.ones_like(r), 0.03)[1:], 1, atol=1e-3)
    np.testing.assert_array_equal(smear(r, np.sin(r), 0), np.sin(r))
    # A three-dimensional Gaussian about the origin of variance a^2 becomes one of a^2 + 2 sigma^2, of equal volume.
    a, sigma = 0.2, 0.05
    wide = a**2 + 2 * sigma**2
    expected = (a**2 / wide) ** 1.5 * np.exp(-(r**2) / (2 * wide))
    np.testing.assert_allclose(smear(r, np.exp(-(r**2) / (2 * a**2)), sigma), expected, atol=2e-3)


def test_smearing_twice_is_smearing_by_both_variances():
    r = np.arange(0.20125, 1.2, 0.0025)
    g = 1 + 2 * np.exp(-(((r - 0.45) / 0.03) ** 2)) - np.exp(-(((r - 0.3) / 0.1) ** 2))
    twice, once = smear(r, smear(r, g, 0.006), 0.008), smear(r, g, 0.01)
    inside = (r > 0.3) & (r < 1.0)
    np.testing.assert_allclose(twice[inside], once[inside], atol=5e-3)


def test_noise_moves_pairs_but_loses_none():
    r = np.arange(0.0025, 1.5, 0.005)
    g = np.exp(-(((r - 0.5) / 0.05) ** 2))
    assert np.sum(r**2 * smear(r, g, 0.02)) == pytest.approx(np.sum(r**2 * g), rel=1e-3)
