"""Molecules with noise, over a range of it, with force labels, in ensembles: what works for pairs works for them."""

import functools
from dataclasses import replace

import numpy as np
import openmm
import pytest
from freechain import BONDS, KT, LENGTHS, STIFFNESS, TYPES, forces, frames

from openmm_diffusion import train
from openmm_diffusion.model.combination import spread
from openmm_diffusion.particles import topology_of
from openmm_diffusion.systems import create_system
from openmm_diffusion.workflows.distillation import distil

DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}
ALONE = {"maps": None, "onethree": None, "onefour": None, "pair": None, "prior": {"wall": None}}
RANGE = [0.002, 0.008]  # nm


def fitted(given, **changes):
    return train(given, {"data": DATA, **ALONE, **changes}, progress=False)


@functools.cache
def given(n=1200, seed=0):
    return frames(n, seed=seed)


@functools.cache
def ranged():
    return fitted(given(), noise={"sigma": RANGE})


def error(model):
    """Rms force error on other frames, over the rms force."""
    x = frames(300, seed=99).positions.astype(float)
    truth = forces(x)
    return np.sqrt(((model.forces(x, False) - truth) ** 2).mean() / (truth**2).mean())


def stiffness(model):
    """Curvature of the A-B bonds over what clean data have: a parabola through the curve, within a width."""
    ((term, module),) = [(t, m) for t, m in zip(model.header.terms, model.modules()) if t.kind == "bonds"]
    number = term.kinds.index(["B", "A"] if ["B", "A"] in term.kinds else ["A", "B"])
    r = LENGTHS["AB"] + np.sqrt(KT / STIFFNESS["AB"]) * np.linspace(-1.2, 1.2, 25)
    return 2 * np.polyfit(r, module.curve(number, r), 2)[0] / STIFFNESS["AB"]


def softened(sigma):
    """What noise of sigma leaves of it: both ends are noised."""
    return 1 / (1 + 2 * sigma**2 * STIFFNESS["AB"] / KT)


def test_the_forces_of_the_chain_are_those_of_its_ensemble():
    """Virial: <x . F> about the centre is -3 (N - 1) kT."""
    x = frames(4000, seed=7).positions.astype(float)
    virial = (x * forces(x)).sum((1, 2))
    assert abs(virial.mean() + 12 * KT) < 4 * virial.std() / np.sqrt(len(x))


def test_noise_softens_a_bond_as_it_must():
    # 1,200 frames of three such bonds know a stiffness to sqrt(2 / 3600) = 2.4 %.
    model = fitted(given(), noise={"sigma": 0.006})
    assert model.sigma == 0.006
    assert stiffness(model) == pytest.approx(softened(0.006), abs=0.08)
    assert softened(0.006) < 0.65


def test_a_range_of_noise_softens_at_each_level():
    model = ranged()
    for sigma in (0.002, 0.004, 0.008):
        at = model.at(sigma)
        assert stiffness(at) == pytest.approx(softened(sigma), abs=0.1), sigma
        x = given().positions[:3].astype(float)
        system = create_system(at, topology_of(TYPES, [0] * 5, BONDS), backend="native", types="name")
        context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
        for frame, energy in zip(x, at.energy(x, False)):
            context.setPositions(frame)
            found = context.getState(getEnergy=True).getPotentialEnergy()._value
            assert found == pytest.approx(float(energy), rel=1e-6, abs=1e-5)
    assert stiffness(model.at(0.002)) - stiffness(model.at(0.008)) > 0.3


def test_a_range_is_distilled_at_the_level_it_stands_at():
    at = ranged().at(0.004)
    result = distil(at, given()[::4])
    x = given().positions[:50].astype(float)
    expected = at.forces(x, False)
    assert result.denoiser.sigma == 0.004 and all(term.sigmas is None for term in result.denoiser.header.learnt)
    np.testing.assert_allclose(result.denoiser.forces(x, False), expected, atol=1e-3 * np.abs(expected).max())


def labelled(n, seed, noise=0.0, every=1):
    """Frames with the true forces and Gaussian noise on them (kJ/mol/nm), one of `every` labelled."""
    clean = frames(n, seed=seed)
    labels = forces(clean.positions) + noise * np.random.default_rng(seed).normal(size=clean.positions.shape)
    labels[np.arange(n) % every > 0] = np.nan
    return replace(clean, forces=labels)


def test_exact_labels_give_the_exact_force():
    assert error(fitted(labelled(400, 1), target="force")) < 0.02


@pytest.mark.slow
def test_labels_and_positions_know_more_together_than_apart():
    found = []
    for seed in range(2):
        both = labelled(400, seed, noise=300.0)
        positions, hybrid = (fitted(both, target=target) for target in ("denoise", "hybrid"))
        alone = fitted(both, target="force")
        weights = hybrid.header.held_out["bonds_force_weights"]
        assert all(0 < weight < 1 for weight in weights.values())
        found.append([error(one) for one in (hybrid, positions, alone)])
    found = np.mean(found, axis=0)
    assert found[0] < found[1:].min()


@pytest.mark.slow
def test_few_labels_among_many_frames_and_noise_are_used():
    both = labelled(600, 4, noise=100.0, every=3)
    hybrid = fitted(both, target="hybrid", noise={"sigma": 0.002})
    assert error(hybrid) < error(fitted(replace(both, forces=None), noise={"sigma": 0.002}))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"noise": {"sigma": RANGE}}, {"target": "hybrid"}])
def test_ensembles_know_ranges_and_labels(changes):
    model = fitted(labelled(200, 5, noise=300.0), ensemble={"members": 2}, **changes)
    assert {term.member for term in model.header.learnt} == {0, 1}
    x = given().positions[:4]
    assert (spread(model, x, False, TYPES, BONDS) > 0).all()
    assert error(model) < 0.4
