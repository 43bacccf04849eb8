"""Verlet lists: no pair within a cutoff is ever missed, and the search is not repeated without need."""

import numpy as np
import pytest
import torch

from openmm_diffusion.space.neighbours import neighbour_pairs
from openmm_diffusion.space.verlet import VerletList

CUTOFFS, SKIN = (0.5, 0.9), 0.1
BOX = torch.tensor([[2.6, 0.0, 0.0], [0.6, 2.5, 0.0], [-0.5, 0.4, 2.4]], dtype=torch.float64)


def gas(n_frames=2, n=60, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((n_frames, n, 3))) @ BOX


def pairs_of(first, second):
    return set(zip(first.tolist(), second.tolist()))


@pytest.mark.parametrize("skin", [0.0, SKIN])
@pytest.mark.parametrize("box", [BOX, None], ids=["triclinic", "open"])
def test_the_first_pairs_hold_all_within_each_cutoff_at_every_step(box, skin):
    positions, generator = gas(), torch.Generator().manual_seed(1)
    pairs, searches = VerletList(CUTOFFS, skin), 0
    for _ in range(40):
        searches += pairs.update(positions, box)
        for cutoff in CUTOFFS:
            n = pairs.counts[cutoff]
            exact = pairs_of(*neighbour_pairs(positions, box, cutoff)[:2])
            assert exact <= pairs_of(pairs.first[:n], pairs.second[:n])
        positions = positions + 0.004 * torch.randn(positions.shape, dtype=torch.float64, generator=generator)
    # Steps of 0.004 nm per coordinate take the fastest particle half the skin, 0.05 nm, in some ten steps.
    assert searches == 40 if skin == 0 else 2 <= searches <= 20


def test_one_particle_that_moved_half_the_skin_is_enough():
    positions, pairs = gas(), VerletList(CUTOFFS, SKIN)
    assert pairs.update(positions, BOX)
    moved = positions.clone()
    moved[1, 7, 2] += 0.49 * SKIN
    assert not pairs.update(moved, BOX)
    moved[1, 7, 2] += 0.02 * SKIN
    assert pairs.update(moved, BOX)
    assert not pairs.update(moved, BOX)


def test_another_box_is_searched_anew():
    positions, pairs = gas(), VerletList(CUTOFFS, SKIN)
    pairs.update(positions, BOX)
    assert pairs.update(positions, 1.0001 * BOX)


def test_a_list_of_nothing():
    pairs = VerletList([], SKIN)
    assert pairs.update(gas(), BOX) and len(pairs.first) == 0 and pairs.counts == {}


@pytest.mark.parametrize("particles", [slice(0, 1), slice(None)], ids=["one", "all"])
def test_nan_does_not_stay_in_the_list(particles):
    positions, pairs = gas(), VerletList(CUTOFFS, SKIN)
    broken = positions.clone()
    broken[0, particles] = torch.nan
    pairs.update(broken, BOX)
    assert pairs.update(positions, BOX)
    assert pairs_of(*neighbour_pairs(positions, BOX, 0.9)[:2]) <= pairs_of(pairs.first, pairs.second)
