"""Lifetimes of pairs against a two-state Markov process, and sums written out."""

import numpy as np
import pytest

from openmm_diffusion.analysis.lifetimes import pair_correlations, pair_lifetimes, pair_sums

#: Rates of parting and meeting, 1/ps, and time between frames, ps.
OFF, ON, INTERVAL = 0.5, 0.02, 0.1


def markov(runs, frames=2000, pairs=40, seed=0):
    """Two-state process of the rates above seen at every interval, at equilibrium: (n_runs, n_frames, n_pairs)."""
    rng = np.random.default_rng(seed)
    share, decay = ON / (ON + OFF), np.exp(-(ON + OFF) * INTERVAL)
    h = np.zeros((runs, frames, pairs), dtype=bool)
    h[:, 0] = rng.random((runs, pairs)) < share
    for t in range(1, frames):
        p = share + (h[:, t - 1] - share) * decay
        h[:, t] = rng.random((runs, pairs)) < p
    return h


def written_out(h, steps):
    """`pair_sums` by four loops."""
    sums = np.zeros((4, steps[-1] - steps[0] + 1))
    for i in range(len(h)):
        for j in range(i, len(h)):
            lag = steps[j] - steps[i]
            sums[0, lag] += (h[i] & h[j]).sum()
            sums[1, lag] += h[i : j + 1].all(0).sum()
            sums[2, lag] += h[i].sum()
            sums[3, lag] += h.shape[1]
    return sums


def test_two_state_process_has_its_lifetimes():
    sums = np.array([pair_sums(run) for run in markov(30)])
    intermittent, continuous = pair_lifetimes(sums, INTERVAL, limit=25)
    # C relaxes with both rates.  S sees the frames alone: together again unseen counts as never parted.
    share, decay = ON / (ON + OFF), np.exp(-(ON + OFF) * INTERVAL)
    stays = share + (1 - share) * decay

    def trapezoids(ratio):
        return INTERVAL * (0.5 + ratio / (1 - ratio))

    for (value, error), expected in ((intermittent, trapezoids(decay)), (continuous, trapezoids(stays))):
        assert abs(value - expected) < 4 * error and error < 0.05 * expected
    assert intermittent[0] == pytest.approx(1 / (ON + OFF), rel=0.1)
    assert continuous[0] == pytest.approx(1 / OFF, rel=0.1)
    C, S = pair_correlations(sums.sum(0))
    lags = np.arange(60)
    np.testing.assert_allclose(C[:60], share + (1 - share) * decay**lags, atol=0.03)
    np.testing.assert_allclose(S[:60], stays**lags, atol=0.03)
    assert (S <= C + 1e-12).all(), "together all the time is together at the end"


@pytest.mark.parametrize("steps", [np.arange(30), np.cumsum(np.tile([2, 1], 15)) + 3])
def test_sums_are_those_written_out_with_frames_missing_too(steps):
    h = np.random.default_rng(3).random((30, 7)) < 0.6
    h[:, 0] = True
    np.testing.assert_allclose(pair_sums(h, steps), written_out(h, steps))


def test_pairs_that_never_part_have_no_end_and_missing_pairs_are_refused():
    sums = pair_sums(np.ones((10, 2), dtype=bool))
    C, S = pair_correlations(sums)
    np.testing.assert_allclose([C, S], 1)
    with pytest.raises(ValueError, match="no pair is ever together"):
        pair_lifetimes(pair_sums(np.zeros((10, 2), dtype=bool))[None], 0.5, 2)
    with pytest.raises(ValueError, match="limit is 5 ps.*4.5 ps"):
        pair_lifetimes(sums[None], 0.5, 5)
