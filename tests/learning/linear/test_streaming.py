"""Fits over many frames: sums in chunks and over joined replicas are the same, memory is bounded, progress is told."""

import itertools
import logging

import branched
import pytest
import torch
from freechain import frames

from openmm_diffusion import progress, train
from openmm_diffusion.energies.linear import LinearSum
from openmm_diffusion.energies.pair import SplinePair
from openmm_diffusion.learning.linear import fit as fitting
from openmm_diffusion.learning.linear.fit import frames_at_once, replicas_at_most
from openmm_diffusion.learning.linear.forcematching import labelled_moments
from openmm_diffusion.learning.linear.scorematching import Moments, determined, mean_moments, moments, solved
from openmm_diffusion.space.batch import make_batch

KT = 2.494  # kJ/mol at 300 K
DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}
ALONE = {"maps": None, "onethree": None, "onefour": None, "prior": {"wall": None}}


def bonded():
    """Energies of the branched molecule, with pairs that few bonds join left out."""
    model = branched.denoiser(("bonds", "angles", "dihedrals"))
    return LinearSum([SplinePair(3, 0.8, 0.2, 0.1), *model.modules()])


def known(energy, n=40, per_chunk=32, told=None):
    x = torch.as_tensor(branched.positions(n, seed=3))
    links = branched.links()
    return moments(energy, x, torch.zeros_like(x), None, branched.INDEX, KT, per_chunk, links, told)


def test_chunks_add_up_whatever_their_size():
    counted = []
    whole, parts = known(bonded(), per_chunk=40), known(bonded(), per_chunk=7, told=counted.append)
    torch.testing.assert_close(parts.A, whole.A, rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(parts.b, whole.b, rtol=1e-10, atol=1e-8)
    assert counted == [7] * 5 + [5]


def test_joined_replicas_are_the_mean_of_both():
    energy = bonded()
    one, two = known(energy, 30), known(energy, 10)
    both = one.joined(two)
    assert both.weight == 40
    for found, expected in zip((both.A, both.b), mean_moments([one, two])):
        torch.testing.assert_close(found, expected)
    x = torch.as_tensor(branched.positions(20, seed=5))
    labels = torch.full_like(x, torch.nan)
    labels[12:] = 1.0
    parts = [
        labelled_moments(energy, x[rows], 0 * x[rows], labels[rows], None, branched.INDEX, KT, 8, branched.links())
        for rows in (slice(0, 8), slice(8, 20), slice(None))
    ]
    joined, whole = parts[0].joined(parts[1]), parts[2]
    torch.testing.assert_close(joined.power, whole.power)
    for mine, all_of_it in zip(joined.score + joined.force, whole.score + whole.force):
        assert mine.weight == all_of_it.weight
        torch.testing.assert_close(mine.A, all_of_it.A, rtol=1e-9, atol=1e-7)
        torch.testing.assert_close(mine.b, all_of_it.b, rtol=1e-9, atol=1e-7)


def test_curves_without_data_cost_nothing_and_stay_zero():
    """Of the pairs of types many are no more than three bonds apart in every molecule."""
    energy = bonded()
    found = known(energy)
    fitted = determined(energy, found.A.diagonal())
    pair = energy.energies[0]
    rows = fitted[: pair.coefficients.numel()].view(pair.coefficients.shape)
    seen = (found.A.diagonal()[: rows.numel()] > 0).view_as(rows).any(1)
    assert 0 < int(seen.sum()) < len(rows)
    assert (rows.any(1) == seen).all() and (rows.sum(1)[seen] == pair.n_basis - 3).all()
    c = solved(energy, found.A, found.b, [1.0] * 4)
    assert c[fitted].abs().min() > 0 and not c[~fitted].any()
    # They would be zero in a solution of all, too: nothing pulls on them.
    free = energy.free()
    matrix = (found.A + energy.penalty([1.0] * 4))[free][:, free]
    whole = torch.linalg.solve(matrix + 1e-9 * torch.diag(matrix.diagonal().clamp(min=1)), found.b[free])
    assert whole[~fitted[free]].abs().max() < 1e-12


def test_memory_of_chunks_and_of_replicas_is_bounded():
    energy = bonded()
    n = sum(energy.sizes)
    for particles in (1, 10, 1000, 100_000):
        count = frames_at_once(energy, torch.zeros(particles, dtype=torch.int64))
        assert count >= 1
        assert count * 3 * particles * n * 8 <= 512e6 or count == 1
    assert frames_at_once(energy, torch.zeros(9, dtype=torch.int64)) >= 32
    for folds, matrices in itertools.product((2, 10), (1, 6)):
        most = replicas_at_most(energy, folds, matrices)
        assert most % folds == 0 and (most == folds or most * matrices * 8 * n**2 <= 512e6)


def test_a_fit_of_joined_replicas_is_that_of_all(monkeypatch):
    """Replicas of one fold are joined where memory holds no more: the folds, and so the fit, stay what they are."""
    given, config = frames(400, replicas=25), {"data": DATA, **ALONE, "pair": None}
    apart = train(given, config, progress=False)
    monkeypatch.setattr(fitting, "replicas_at_most", lambda energy, folds, matrices: folds)
    joined = train(given, config, progress=False)
    for one, other in zip(apart.modules(), joined.modules()):
        torch.testing.assert_close(one.coefficients, other.coefficients, rtol=1e-6, atol=1e-6)


def test_progress_is_told_now_and_then_with_the_time_left(monkeypatch, caplog):
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        train(frames(600, replicas=6), {"data": DATA, **ALONE, "pair": None}, progress=False)
    lines = [record.getMessage() for record in caplog.records if "left" in record.getMessage()]
    assert lines[0] == "averages over frames: 33 % of 600 frames, 40 s left"
    assert len(lines) == 2  # every second of six, not the last


@pytest.mark.parametrize("left, said", [(40.0, "40 s left"), (400.0, "7 min left")])
def test_what_is_left_is_in_seconds_or_minutes(left, said, monkeypatch, caplog):
    times = iter([0.0, left])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO):
        progress.Progress("work", 2).add(1)
    assert caplog.records[0].getMessage() == f"work: 50 % of 2 frames, {said}"


def test_of_few_columns_in_use_the_moments_are_the_same():
    """Where most functions have no data, the product is of those that have some, and half of it is computed."""
    energy = bonded()
    found = known(energy, 12)
    x = torch.as_tensor(branched.positions(12, seed=3))
    G, _ = energy.design(make_batch(x, None, branched.INDEX, energy.cutoff, None, branched.links()))
    used = G.abs().amax(0) > 0
    assert used.double().mean() < 0.9
    torch.testing.assert_close(found.A, G.T @ G / 12, rtol=1e-12, atol=1e-9)
    assert torch.equal(found.A, found.A.T)


def test_replicas_without_a_frame_that_counts_are_joined_too():
    """Labels may be missing in two replicas that memory makes one of."""
    none, some = (Moments(torch.full((2, 2), w), torch.full((2,), w), w) for w in (0.0, 3.0))
    assert none.joined(none).weight == 0
    both = none.joined(some)
    assert both.weight == 3 and torch.equal(both.A, some.A) and torch.equal(both.b, some.b)
