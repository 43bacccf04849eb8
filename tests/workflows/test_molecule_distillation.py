"""Distillation of models of bonded particles: what is in the span of the energies fitted comes back."""

import functools
from dataclasses import replace

import branched
import numpy as np
import pytest
import torch
from freechain import BONDS, TYPES, frames

from openmm_diffusion import Frames, train
from openmm_diffusion.energies.network import NetworkConfig, NetworkTerm
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.model.combination import ensemble, extrapolated
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.workflows.distillation import APART, distil, learnt_forces

DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}
ALONE = {"pair": None, "maps": None, "onethree": None, "onefour": None, "prior": {"wall": None}}
PAIR = PairTerm(sigma=0.0, cutoff=0.7, start=0.2, spacing=0.05)
TRICLINIC = np.array([[1.6, 0.0, 0.0], [0.4, 1.5, 0.0], [-0.5, 0.3, 1.55]])


@functools.cache
def molecules(box=False):
    """The 400 frames whose ranges the terms of `branched` have; in a box, across its boundary."""
    x = branched.positions(400, seed=1) + (1.5 if box else 0.0)
    return Frames(
        x, [0] * 9, TRICLINIC if box else None, 300.0, replica=np.arange(400) // 40, types=branched.TYPES,
        bonds=branched.BONDS, masses=[{"A": 72.0, "B": 60.0, "C": 48.0}[kind] for kind in branched.TYPES],
    )  # fmt: skip


def value(result, quantity):
    table = result.table[result.table["of"] == "all"].set_index("quantity")["value"]
    return float(table[quantity])


def kinds(result):
    return [term.kind for term in result.denoiser.header.learnt]


@pytest.mark.parametrize("box", [False, True])
def test_energies_of_every_kind_are_themselves(box):
    edges = {"box": TRICLINIC.tolist()} if box else {}
    model = branched.denoiser(more=[PAIR], **edges)
    result = distil(model, molecules(box))
    assert sorted(kinds(result)) == sorted(["pair", *branched.KINDS])
    own = dict(zip([term.kind for term in model.header.terms], model.modules()))
    for kind, found in zip(kinds(result), result.denoiser.modules()):
        torch.testing.assert_close(found.coefficients, own[kind].coefficients, rtol=0, atol=1e-4)
    assert value(result, "residual rms") < 1e-5 * value(result, "learnt force rms")


@functools.cache
def chain():
    """Frames of the chain of `freechain`, and a model of its bonds, angles and dihedrals."""
    given = frames(600)
    return given, train(given, {"data": DATA, **ALONE}, progress=False)


def test_energies_come_back_in_bases_that_hold_theirs():
    """Knots twice as dense and two multiples more, and nothing of their own to start from."""
    given, model = chain()
    sections = {"bonds": {"intervals": 32}, "angles": {"intervals": 32}, "dihedrals": {"order": 8}}
    result = distil(model, given, energies=sections)
    assert kinds(result) == list(sections) and result.denoiser.header.learnt[0].intervals == 32
    # The penalty keeps them from being the same.
    assert value(result, "residual rms") < 1e-3 * value(result, "learnt force rms")
    bonds = distil(model, given, energies={"bonds": {}})
    assert value(bonds, "residual rms") > 0.1 * value(bonds, "learnt force rms")


def test_sums_of_models_of_one_basis_become_their_weighted_energy():
    near = [branched.denoiser(seed=seed) for seed in (2, 3)]
    far = near[1].rebuilt([term.model_copy(update={"sigma": 0.01}) for term in near[1].header.terms], near[1].modules())
    first = near[0].rebuilt([t.model_copy(update={"sigma": 0.005}) for t in near[0].header.terms], near[0].modules())
    # Within the ranges: at their ends, what pulls outwards is left out of each model.
    given, x = replace(molecules(), positions=branched.positions(400, 0.007, 4)), branched.positions(5, 0.007)
    for model in (ensemble(near), extrapolated([first, far])):
        result = distil(model, given)
        assert len(result.denoiser.header.learnt) == len(branched.KINDS) and result.denoiser.sigma == model.sigma
        expected = model.forces(x)
        np.testing.assert_allclose(result.denoiser.forces(x), expected, atol=1e-4 * np.abs(expected).max())


def test_an_ensemble_on_resampled_frames_becomes_one_model():
    """Its members have ranges of their own, and their mean no spline of one set of knots: what is lost is little."""
    given, _ = chain()
    model = train(given, {"data": DATA, **ALONE, "ensemble": {"members": 3}}, progress=False)
    assert len({term.basis for term in model.header.learnt if term.kind == "bonds"}) == 3
    result = distil(model, given)
    assert kinds(result) == ["bonds", "angles", "dihedrals"]
    assert value(result, "residual rms") < 2e-3 * value(result, "learnt force rms")
    low, high = result.denoiser.header.learnt[0].ranges[0]
    assert all(
        low <= one.ranges[0][0] and one.ranges[0][1] <= high for one in model.header.learnt if one.kind == "bonds"
    )


@functools.cache
def with_network(bonded=("bonds", "angles")):
    """The branched molecule with a network whose weights nothing was learnt from."""
    settings = NetworkConfig(cutoff=0.5, lmax=1, features=4, layers=1, radial_width=8)
    term = NetworkTerm(sigma=0.0, network=settings, neighbours=6.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = Denoiser(branched.header([term]))
    base = branched.denoiser(bonded)
    model = own.rebuilt([*base.header.terms, term], [*base.modules(), *own.modules()])
    model.model.double()
    return model


def test_bonded_energies_take_over_from_a_network():
    model, given = with_network(), molecules()
    result = distil(model, given)
    assert kinds(result) == ["bonds", "angles"]
    alone = value(result, "residual rms of its bonds + angles part alone")
    assert value(result, "residual rms") < 0.9 * alone
    # No other coefficients are nearer to the forces of the frames fitted.
    fitted, learnt = learnt_forces(model, given.split(APART)[0]), result.denoiser.learnt

    def left():
        return np.square(fitted.forces - learnt.evaluated(fitted.positions, None, fitted.types, fitted.bonds)[1]).sum()

    least, generator = left(), torch.Generator().manual_seed(1)
    for module in learnt.modules():
        for _ in range(3):
            step = 0.1 * torch.randn(module.coefficients.shape, generator=generator, dtype=torch.float64)
            module.coefficients.add_(step)
            assert left() > least
            module.coefficients.sub_(step)


def test_a_network_alone_becomes_all_that_is_bonded():
    result = distil(with_network(()), molecules())
    assert set(kinds(result)) == {"pair", *branched.KINDS}
    assert value(result, "explained fraction") > 0.5


def test_what_frames_have_nothing_of_is_refused():
    three = Frames(
        frames(50).positions[:, :3], [0] * 3, None, 300.0, types=TYPES[:3], bonds=BONDS[:2], masses=[72.0] * 3
    )
    model = train(three, {"data": DATA, "prior": {"wall": None}}, progress=False)
    with pytest.raises(
        ValueError, match="config: frames have nothing that a dihedral potential is of: leave dihedrals"
    ):
        distil(model, three, energies={"dihedrals": {}})
    with pytest.raises(ValueError, match="topology has no bonds, but A, B were bonded in the training data"):
        distil(model, Frames(three.positions, [0] * 3, None, 300.0, types=TYPES[:3], masses=[72.0] * 3))
