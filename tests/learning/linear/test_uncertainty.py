"""The standard deviation of a fit: closed forms, and the scatter of fits over independent sets of frames."""

import numpy as np
import pandas
import pytest
import torch
from mixture import BOX, CUTOFF, KT, SPACING, SPECIES, START, fitted, forces, sample

from openmm_diffusion import Frames, train
from openmm_diffusion.energies.pair import SplinePair
from openmm_diffusion.learning.linear.scorematching import folds_of, mean_moments, moments, solved
from openmm_diffusion.learning.linear.uncertainty import deviations, force_squares
from openmm_diffusion.model.curves import pair_curves

SETS, SIZE = 24, 200


@pytest.fixture(scope="module")
def sets():
    """Independent sets of independent frames."""
    return np.split(sample(SETS * SIZE, 120, seed=5), SETS)


def reduced(positions, n_replicas=20):
    """A pair, and moments of so many parts of the positions."""
    pair, species = SplinePair(2, CUTOFF, START, SPACING), torch.as_tensor(SPECIES)
    parts = [torch.as_tensor(x) for x in np.array_split(positions, n_replicas)]
    box = torch.as_tensor(BOX)
    return pair, [moments(pair, x, torch.zeros_like(x), box.expand(len(x), 3, 3), species, KT) for x in parts]


def spread(pair, replicas, penalty, n_folds=10):
    """Solution and its deviations."""
    folds, c = folds_of(replicas, n_folds), solved(pair, *mean_moments(replicas), penalty)
    without = [solved(pair, *fold.seen, penalty) for fold in folds]
    return c, deviations(c, without, [fold.share for fold in folds])


def test_the_variance_of_a_mean_is_that_of_its_parts():
    # Of a mean, a solution without a fold is the mean of the others, and the jackknife is exact.
    x = torch.as_tensor(np.random.default_rng(0).normal(size=(8, 3)))
    without = [torch.cat([x[:i], x[i + 1 :]]).mean(0) for i in range(8)]
    found = deviations(x.mean(0), without, [1 / 8] * 8)
    torch.testing.assert_close(found @ found.T, torch.cov(x.T) / 8)


def test_folds_of_unequal_size_tell_the_same_variance():
    # Weighted means of folds of 1 to 8 frames of unit variance: the variance of a mean of 36 frames is 1/36.
    rng, sizes = np.random.default_rng(1), np.arange(1, 9)
    means = torch.as_tensor(rng.normal(size=(20_000, 8)) / np.sqrt(sizes)).T
    weights = torch.as_tensor(sizes / sizes.sum()).unsqueeze(1)
    whole = (weights * means).sum(0)
    without = [(whole - w * m) / (1 - w) for w, m in zip(weights, means)]
    found = float((deviations(whole, without, (sizes / sizes.sum()).tolist()) ** 2).sum(1).mean())
    # Each variance has 7 degrees of freedom at most; the mean of 20,000 is known to better than 1 %.
    assert found == pytest.approx(1 / 36, rel=0.02)


def test_squares_of_forces_are_those_of_the_frames(sets):
    pair, replicas = reduced(sets[0][:20], 2)
    c, columns = spread(pair, replicas, 1e3, 2)
    pair.assign(c)
    A, _ = mean_moments(replicas)
    expected = float((forces(pair, sets[0][:20]) ** 2).sum() / 20)
    assert force_squares(c, A, pair.sizes) == pytest.approx([expected])
    # Columns add up; energies are told apart.
    half = [pair.coefficients.numel() // 2, pair.coefficients.numel() - pair.coefficients.numel() // 2]
    each = [force_squares(column, A, half) for column in columns.T]
    assert force_squares(columns, A, half) == pytest.approx(np.sum(each, axis=0))


@pytest.mark.parametrize("penalty", [1e3, 1e4])
def test_it_is_the_scatter_over_independent_sets(sets, penalty):
    reductions = [reduced(x) for x in sets]
    A, _ = mean_moments([m for _, replicas in reductions for m in replicas])
    found = [spread(pair, replicas, penalty) for pair, replicas in reductions]
    own = [mean_moments(replicas)[0] for _, replicas in reductions]
    told = np.mean([force_squares(columns, one, [len(one)])[0] for one, (_, columns) in zip(own, found)])
    c = torch.stack([one for one, _ in found])
    scatter = force_squares((c - c.mean(0)).T.contiguous(), A, [len(A)])[0] / (SETS - 1)
    # 24 sets of forces of some 20 effective coefficients know their scatter to 10 % or better.
    assert 0.7 < np.sqrt(told / scatter) < 1.3


def test_frames_that_say_the_same_again_do_not_make_it_smaller(sets):
    once = fitted(sets[0])[1]
    # Four frames of each, one after the other: as a trajectory that hardly moves.
    again = fitted(np.repeat(sets[0], 4, axis=0))[1]
    assert again["force_variance"] == pytest.approx(once["force_variance"], rel=1e-6)
    more = [fitted(np.concatenate(sets[k : k + 4]), penalties=[1e4])[1]["force_variance"] for k in (0, 4, 8)]
    few = [fitted(sets[k], penalties=[1e4])[1]["force_variance"] for k in range(12)]
    # Four times the frames: a quarter of the variance; each is known to sqrt(2 / (9 x 10)) = 15 %.
    assert np.mean(few) / np.mean(more) == pytest.approx(4, rel=0.3)


def test_a_training_tells_it_of_a_typical_force(sets):
    frames = Frames(sets[0], np.where(SPECIES == 0, 3, 17), BOX, 300.0, replica=np.arange(SIZE) // 20)
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None},
        "pair": {"cutoff": CUTOFF, "start": START, "spacing": SPACING, "sigma": 0, "penalties": [1e4]},
    }  # fmt: skip
    model = train(frames, config, progress=False)
    found = model.header.held_out["pair_force_sd"]
    # The same by hand, with the penalty that begins at the shortest distance of the frames; kT has four digits.
    _, replicas = reduced(frames.positions, 10)
    (pair,) = model.modules()
    _, columns = spread(pair, replicas, 1e4)
    variance = (
        model.header.held_out["pair_scale"] ** 2 * force_squares(columns, mean_moments(replicas)[0], pair.sizes)[0]
    )
    assert found == pytest.approx(np.sqrt(variance / sets[0][0].size), rel=1e-3)


def test_a_run_keeps_its_curves_with_their_standard_deviation(sets, tmp_path):
    """A table beside the model: as the model's own curves, and as the scatter of those of independent sets."""
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None},
        "pair": {"cutoff": CUTOFF, "start": START, "spacing": SPACING, "sigma": 0, "penalties": [1e4]},
    }  # fmt: skip
    tables = []
    for number, positions in enumerate(sets[:12]):
        frames = Frames(positions, np.where(SPECIES == 0, 3, 17), BOX, 300.0, replica=np.arange(SIZE) // 10)
        model = train(frames, config, tmp_path / str(number), progress=False)
        tables.append(pandas.read_csv(tmp_path / str(number) / "curves.csv"))
    first, own = tables[-1], pair_curves(model)
    assert list(first) == [*own, "sd_kJ/mol"]
    for name in ("r_nm", "u_kJ/mol", "force_kJ/mol/nm"):
        np.testing.assert_allclose(first[name], own[name], rtol=1e-5, atol=1e-5)
    last = first["r_nm"] >= CUTOFF - 1e-9
    assert (first["sd_kJ/mol"][last] == 0).all() and (first["sd_kJ/mol"][~last] > 0).all()
    seen = (own["r_nm"] > 0.3) & (own["r_nm"] < 0.6)
    told = np.sqrt(np.mean([table["sd_kJ/mol"][seen] ** 2 for table in tables]))
    scatter = np.sqrt(np.mean(np.var([table["u_kJ/mol"][seen] for table in tables], axis=0, ddof=1)))
    # Three curves of some five independent stretches, twelve times: known to sqrt(1 / (2 * 11 * 15)) = 6 %.
    assert 0.75 < told / scatter < 1.25
