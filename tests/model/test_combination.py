"""Sums of models: smoothing extrapolated away at the right order, ensembles and their spread, the half step."""

import numpy as np
import pytest
from models import licl_denoiser, licl_frames

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.data.sets import blocks, resampled
from openmm_diffusion.energies.manybody import ManyBodyTerm
from openmm_diffusion.learning.training import train
from openmm_diffusion.model.combination import ensemble, extrapolated, half_step, members, merged, spread
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.systems import create_system
from openmm_diffusion.units import thermal_energy

LI, CL, KT = 3, 17, thermal_energy(300)
#: Width per component of a harmonic bond between two particles, nm; noise on both ends makes it w^2 + 2 sigma^2.
W = 0.06


def bonds(n=20000, seed=0):
    """Two particles on a spring, the sample's second moments exactly those of the ensemble."""
    r = np.random.default_rng(seed).normal(size=(n, 3))
    r *= W / np.sqrt(np.mean(r**2))
    return Frames(np.stack([0 * r, r], 1), [LI, CL], None, 300.0, replica=np.arange(n) * 10 // n)


@pytest.fixture(scope="module")
def models():
    """Pair potentials at several noise levels, nm."""
    config = {"data": {"test_fraction": 0, "validation_fraction": 0}, "prior": {"wall": None}, "network": None}
    pair = {"cutoff": 0.6, "start": 0.02, "spacing": 0.04, "penalties": [1e4], "draws": 1}
    return {s: train(bonds(), {**config, "pair": {**pair, "sigma": s}}) for s in (0, 0.01, 0.015, 0.02, 0.03, 0.04)}


def spring(denoiser):
    """Force constant: that of the line through the forces on a typical bond, kJ/mol/nm^2."""
    r = np.linspace(0.03, 0.15, 25)
    y = np.zeros((25, 2, 3))
    y[:, 1, 0] = r
    weight = r**2 * np.exp(-(r**2) / (2 * W**2))
    return -(weight * r * denoiser.forces(y, box=False)[:, 1, 0]).sum() / (weight * r**2).sum()


def exponent(sigmas, errors):
    return np.polyfit(np.log(sigmas), np.log(errors), 1)[0]


def test_smoothing_is_of_second_order_and_none_without_noise(models):
    assert spring(models[0]) == pytest.approx(KT / W**2, rel=0.01)
    # Against the same frames without noise: what is left of their statistical error is common to all.
    exact = spring(models[0])
    sigmas = [0.01, 0.015, 0.02]
    bias = [exact - spring(models[s]) for s in sigmas]
    expected = [KT / W**2 - KT / (W**2 + 2 * s**2) for s in sigmas]
    assert bias == pytest.approx(expected, rel=0.1)
    assert exponent(sigmas, bias) == pytest.approx(exponent(sigmas, expected), abs=0.15)


def test_extrapolation_leaves_smoothing_of_fourth_order(models):
    def left(small, large):
        return KT / W**2 - (large**2 * KT / (W**2 + 2 * small**2) - small**2 * KT / (W**2 + 2 * large**2)) / (
            large**2 - small**2
        )

    pairs = [(0.01, 0.02), (0.015, 0.03), (0.02, 0.04)]
    bias = [spring(models[0]) - spring(extrapolated([models[a], models[b]])) for a, b in pairs]
    expected = [left(*pair) for pair in pairs]
    assert bias[1:] == pytest.approx(expected[1:], rel=0.2)
    sizes = [a for a, _ in pairs]
    assert exponent(sizes, expected) > 3, "the closed form itself: 4 less what higher orders take"
    assert exponent(sizes[1:], bias[1:]) == pytest.approx(exponent(sizes[1:], expected[1:]), abs=0.6)
    for a, error in zip(sizes, bias):
        assert abs(error) < 0.5 * (spring(models[0]) - spring(models[a])), "better than the smaller level alone"


def test_three_levels_cancel_two_orders():
    terms = [licl_denoiser(kinds=("coulomb", "pair"))]
    for factor in (2, 3):
        other = terms[0].rebuilt(
            [
                t if t.kind != "pair" else t.model_copy(update={"sigma": factor * t.sigma})
                for t in terms[0].header.terms
            ],
            terms[0].modules(),
        )
        terms.append(other)
    combined = extrapolated(terms)
    weights = np.array([term.weight for term in combined.header.learnt])
    sigmas = np.array([1, 2, 3])
    assert [np.sum(weights * sigmas**p) for p in (0, 2, 4)] == pytest.approx([1, 0, 0], abs=1e-12)
    assert combined.sigma == 0
    # Three times one potential is that potential, prior once.
    x = licl_frames().positions[:2]
    np.testing.assert_allclose(combined.forces(x), terms[0].forces(x), atol=1e-8)


def test_a_combination_is_conservative_and_deploys_like_any_model(tmp_path):
    one = licl_denoiser(kinds=("coulomb", "wall", "pair"))
    two = one.rebuilt(
        [t if t.kind != "pair" else t.model_copy(update={"sigma": 0.01}) for t in one.header.terms], one.modules()
    )
    two.modules()[-1].coefficients.mul_(0.7)
    combined = extrapolated([one, two])
    combined.save(tmp_path / "m.safetensors")
    loaded, x = Denoiser.load(tmp_path / "m.safetensors"), licl_frames().positions[0].astype(float)
    forces = loaded.forces(x)
    learnt = [d.subset(["pair"]).forces(x) for d in (one, two)]
    np.testing.assert_allclose(
        forces, one.subset(["coulomb", "wall"]).forces(x) + 4 / 3 * learnt[0] - 1 / 3 * learnt[1], atol=1e-8
    )
    shifted = x.copy()
    step = 1e-5
    shifted[7, 1] += step
    slope = (loaded.energy(shifted) - loaded.energy(x)) / step
    assert -slope == pytest.approx(forces[7, 1], rel=1e-2, abs=0.05)
    system = create_system(loaded, licl_frames().topology(), backend="native")
    names = [force.getName() for force in system.getForces()]
    assert sum(name.startswith("DiffusionForce") for name in names) == 1, "pair terms of the same knots are one force"
    assert merged(loaded).sigma == loaded.sigma == 0


def test_an_ensemble_is_the_mean_and_its_spread_the_members_deviation():
    parts = []
    for factor in (0.9, 1.0, 1.2):
        part = licl_denoiser(kinds=("coulomb", "pair"))
        part = part.rebuilt(part.header.terms, part.modules())
        part.modules()[-1].coefficients.mul_(factor)
        parts.append(part)
    whole, x = ensemble(parts), licl_frames().positions[:3]
    forces = np.stack([part.forces(x) for part in parts])
    np.testing.assert_allclose(whole.forces(x), forces.mean(0), atol=1e-8)
    np.testing.assert_allclose(spread(whole, x), np.sqrt(forces.var(0, ddof=1).sum(-1)), rtol=1e-8)
    assert whole.sigma == parts[0].sigma
    for found, part in zip(members(whole), parts, strict=True):
        np.testing.assert_allclose(found.forces(x), part.forces(x), atol=1e-8)
    assert members(parts[0]) == []


def test_an_ensemble_is_trained_on_bootstrap_samples(tmp_path):
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0},
        "prior": {"wall": None},
        "pair": {"sigma": 0, "cutoff": 0.6, "start": 0.02, "spacing": 0.04},
        "network": None,
        "ensemble": {"members": 12},
    }
    whole = train(bonds(4000), config, tmp_path / "run")
    assert (tmp_path / "run" / "member-11" / "model.safetensors").exists()
    springs = [spring(member) for member in members(Denoiser.load(tmp_path / "run" / "model.safetensors"))]
    # The variance of n bonds has the standard error sqrt(2 / 3n), and so has the spring.  Its estimate from
    # ten replicas scatters by a quarter, that from twelve members by another fifth.
    expected = KT / W**2 * np.sqrt(2 / (3 * 4000))
    assert 0.4 * expected < np.std(springs, ddof=1) < 2 * expected
    assert whole.header.held_out["spread_largest"] >= whole.header.held_out["spread_rms"] > 0


def test_the_half_step_takes_the_smoothing_out_of_saved_frames(models):
    sigma = 0.02
    rng = np.random.default_rng(3)
    y = rng.normal(size=(20000, 2, 3)) * sigma
    y[:, 1] += bonds(seed=5).positions[:, 1]
    moved = half_step(models[sigma], y, box=False)
    whole = models[sigma].denoised(y, box=False)
    variances = [np.mean((z[:, 1] - z[:, 0]) ** 2) for z in (y, moved, whole)]
    noised = W**2 + 2 * sigma**2
    # In closed form both ends move by sigma^2/2 and sigma^2 times F/kT: y (1 - 2 a sigma^2 / (w^2 + 2 sigma^2)).
    expected = [noised, noised * (1 - sigma**2 / noised) ** 2, noised * (1 - 2 * sigma**2 / noised) ** 2]
    # The standard error of such a variance is sqrt(2 / 60,000) = 0.6 %.
    assert variances == pytest.approx(expected, rel=0.02)
    assert abs(variances[1] / W**2 - 1) < 0.05 < 1 - variances[2] / W**2


def test_a_bootstrap_sample_has_no_copy_of_a_frame_in_two_folds():
    single = Frames(bonds(400).positions, [LI, CL], None, 300.0)
    two = Frames(single.positions, [LI, CL], None, 300.0, None, np.arange(400) // 200)
    for frames in (bonds(400), single, two):
        for seed in range(20):
            sample = resampled(frames, seed)
            folds = [{x.tobytes() for x in block.positions} for block in blocks(sample, 20)]
            assert len(folds) > 1
            assert sum(len(fold) for fold in folds) == len(set.union(*folds)), "folds share frames"


def test_an_ensemble_of_pair_and_network_stands_at_the_networks_noise_level():
    one = licl_denoiser()
    x = licl_frames().positions[:1]
    whole = ensemble([one, one, one])
    assert whole.sigma == merged(whole).sigma == one.sigma
    np.testing.assert_allclose(merged(whole).forces(x), one.forces(x), atol=1e-3)
    pair, network = one.header.terms[-2:]
    other = one.rebuilt([*one.header.terms[:-2], pair.model_copy(update={"sigma": 0.0}), network], one.modules())
    assert other.sigma == network.sigma, "the network saw the pair potential as fixed"


@pytest.mark.parametrize(
    "noised, clean", [(dict(species=["Li"], axes="xyz"), np.s_[24:]), (dict(species=None, axes="x"), np.s_[:, 1:])]
)
def test_coordinates_without_noise_are_not_moved(noised, clean):
    """They are clean already: the best guess of a clean coordinate is itself."""
    one = licl_denoiser()
    denoiser = Denoiser(one.header.model_copy(update={"noised": noised}))
    denoiser.model.load_state_dict(one.model.state_dict())
    y = licl_frames().positions[0].astype(float)
    for moved in (denoiser.denoised(y), half_step(denoiser, y)):
        assert np.array_equal(moved[clean], y[clean])
        assert (moved != y).mean() > 0.3, "the others move"


def test_a_lone_pair_term_keeps_its_weight_in_every_backend():
    one = licl_denoiser(kinds=("coulomb", "pair"))
    half = one.rebuilt([one.header.terms[0], one.header.terms[1].model_copy(update={"weight": 0.5})], one.modules())
    x = licl_frames().positions[0]
    np.testing.assert_allclose(merged(half).forces(x), half.forces(x), atol=1e-9)
    assert merged(half).header.terms[-1].weight == 1


@pytest.mark.parametrize("levels", [[0.005], [0.005, 0.005], [0.0, 0.005]])
def test_extrapolation_needs_two_noise_levels(levels):
    one = licl_denoiser(kinds=("pair",))
    parts = [one.rebuilt([one.header.terms[0].model_copy(update={"sigma": s})], one.modules()) for s in levels]
    with pytest.raises(ValueError, match="two different positive noise levels"):
        extrapolated(parts)


def test_models_of_different_systems_are_not_combined():
    one, other = licl_denoiser(kinds=("coulomb", "pair")), licl_denoiser(kinds=("pair",))
    with pytest.raises(ValueError, match="another Coulomb prior"):
        ensemble([one, other])
    with pytest.raises(ValueError, match="model 1 has box"):
        ensemble([one, licl_denoiser(kinds=("coulomb", "pair"), edge=3.0)])
    far = one.rebuilt([one.header.terms[0], one.header.terms[1].model_copy(update={"sigma": 0.01})], one.modules())
    with pytest.raises(ValueError, match="an ensemble has one noise level"):
        ensemble([one, far])
    with pytest.raises(ValueError, match="sums of different kinds or numbers"):
        extrapolated([ensemble([one, one]), ensemble([far, far, far])])
    with pytest.raises(ValueError, match="is such a sum already"):
        ensemble([ensemble([one, one])] * 2)
    with pytest.raises(ValueError, match="no ensemble"):
        spread(one, licl_frames().positions[0])


def test_members_of_several_linear_energies_are_joined_basis_by_basis():
    base = licl_denoiser(kinds=("coulomb", "pair"))
    term = ManyBodyTerm(sigma=0.005, cutoff=0.6, start=0.18, radial=2, lmax=1)
    module = term.module(base.header)
    module.coefficients.fill_(0.02)
    one = base.rebuilt([*base.header.terms, term], [*base.modules(), module])
    two = one.rebuilt(one.header.terms, one.modules())
    for energy in two.modules()[1:]:
        energy.coefficients.mul_(0.3)
    whole, x = ensemble([one, two]), licl_frames().positions[:2]
    joined = merged(whole)
    assert [(term.kind, term.weight) for term in joined.header.learnt] == [("pair", 1.0), ("manybody", 1.0)]
    np.testing.assert_allclose(joined.forces(x), whole.forces(x), atol=1e-9 * np.abs(whole.forces(x)).max())
    assert merged(joined) is joined and merged(one) is one
    # One whose members have another basis each stays a sum of both.
    other = term.model_copy(update={"radial": 3})
    mixed = ensemble([one, base.rebuilt([*base.header.terms, other], [*base.modules(), other.module(base.header)])])
    assert [term.kind for term in merged(mixed).header.learnt] == ["pair", "manybody", "manybody"]
    np.testing.assert_allclose(merged(mixed).forces(x), mixed.forces(x), atol=1e-9 * np.abs(mixed.forces(x)).max())
