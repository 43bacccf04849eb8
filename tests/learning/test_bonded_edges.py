"""Molecules at the edges: sums of models, systems with and without bonds, energies without data, what is refused."""

import numpy as np
import openmm
import pytest
from freechain import BONDS, TYPES, frames

from openmm_diffusion import Frames, train
from openmm_diffusion.model.combination import ensemble, extrapolated, merged, spread
from openmm_diffusion.model.curves import bonded_curves
from openmm_diffusion.particles import topology_of
from openmm_diffusion.systems import create_system

DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}
ALONE = {"maps": None, "onethree": None, "onefour": None, "dihedrals": None, "prior": {"wall": None}, "network": None}


def fitted(given, **changes):
    return train(given, {"data": DATA, **ALONE, **changes}, progress=False)


def stretched(factor=1.3):
    """One chain whose bonds lie far beyond their data."""
    return factor * frames(1, seed=5).positions[0].astype(float)


def native(model, x):
    """Energy of a native System of the chain."""
    system = create_system(model, topology_of(TYPES, [0] * 5, BONDS), backend="native", types="name")
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    return context.getState(getEnergy=True).getPotentialEnergy()._value


def test_sums_of_models_hold_molecules_as_their_parts_do():
    """Ensembles and extrapolations, merged or not, native or not, are the weighted sum beyond the data too."""
    members = [fitted(frames(400, seed=seed), pair=None) for seed in range(3)]
    levels = [fitted(frames(400), pair=None, noise={"sigma": sigma}) for sigma in (0.004, 0.008)]
    weights = np.array([4, -1]) / 3
    for parts, shares, whole in (
        (members, np.full(3, 1 / 3), ensemble(members)),
        (levels, weights, extrapolated(levels)),
    ):
        for x in (frames(1, seed=9).positions[0].astype(float), stretched()):
            expected = sum(share * part.energy(x, False) for share, part in zip(shares, parts))
            assert whole.energy(x, False) == pytest.approx(float(expected), rel=1e-9, abs=1e-9)
            assert merged(whole).energy(x, False) == pytest.approx(float(expected), rel=1e-9, abs=1e-9)
            assert native(whole, x) == pytest.approx(float(expected), rel=1e-6, abs=1e-5)
        table = bonded_curves(whole)
        assert len(table) == len(bonded_curves(parts[0]))
    x = frames(4, seed=9).positions
    assert spread(ensemble(members), x, False, TYPES, BONDS).shape == (4, 5)


def test_systems_with_bonds_and_without_are_fitted_together():
    """Free beads of the types of a dimer: the model knows both, and refuses neither."""
    dimers, rng = frames(300), np.random.default_rng(0)
    two = Frames(dimers.positions[:, :2], [0, 0], None, 300.0, types=TYPES[:2], bonds=[(0, 1)], masses=[72.0, 72.0])
    free = Frames(rng.random((300, 2, 3)), [0, 0], None, 300.0, types=TYPES[:2], masses=[72.0, 72.0])
    model = fitted([free, two])
    assert np.isfinite(model.energy(free.positions[:5], False, TYPES[:2], [])).all()
    bonded = model.energy(two.positions[:5], False, TYPES[:2], [(0, 1)])
    assert np.abs(bonded - model.energy(two.positions[:5], False, TYPES[:2], [])).max() > 0.1


def test_an_energy_that_has_no_data_is_left_out_and_says_so_where_it_is_alone():
    chains = frames(300)
    three = Frames(chains.positions[:, :3], [0] * 3, None, 300.0, types=TYPES[:3], bonds=BONDS[:2], masses=[72.0] * 3)
    model = fitted(three)
    assert [term.kind for term in model.header.learnt] == ["bonds", "angles"]  # every pair is excluded
    without = fitted(three, pair=None)
    for key in ("bonds_scale", "angles_scale"):
        assert model.header.held_out[key] == pytest.approx(without.header.held_out[key], rel=1e-6)
    with pytest.raises(ValueError, match="no frame holds anything that a pair potential is of: .* 3 bonds apart"):
        fitted(three, bonds=None, angles=None)


def test_what_is_not_there_yet_for_molecules_is_refused():
    given = frames(300)
    with pytest.raises(ValueError, match="noise.species and noise.axes leave .* set bonds: null, angles: null"):
        fitted(given, noise={"axes": "xy"}, pair=None)
    few = Frames(
        np.repeat(given.positions[:1], 5, 0), [0] * 5, None, 300.0, types=TYPES, bonds=BONDS, masses=[72.0] * 5
    )
    with pytest.raises(ValueError, match="have no width in the frames"):
        fitted(few)
