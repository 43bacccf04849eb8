"""Several linear energies in one solve, and frames that were sampled with a known bias."""

import logging

import numpy as np
import pytest
import torch
from mixture import BOX, CUTOFF, KT, SPACING, SPECIES, START, fitted, sample, true_forces

from openmm_diffusion import Frames, train
from openmm_diffusion.energies import REGISTRY, register
from openmm_diffusion.energies.linear import LinearSum
from openmm_diffusion.energies.pair import PairConfig, SplinePair
from openmm_diffusion.learning.linear.calibration import scaled
from openmm_diffusion.learning.linear.scorematching import fit, folds_of, mean_moments, moments, solve
from openmm_diffusion.space.batch import make_batch


@pytest.fixture(scope="module", autouse=True)
def gaussian():
    from gaussian import GaussianTerm

    yield register(GaussianTerm)
    REGISTRY.pop("gaussian")


@pytest.fixture(scope="module")
def positions():
    return sample(600, 120, seed=1)


def parts(energy, positions, prior=None):
    species, prior = torch.as_tensor(SPECIES), np.zeros_like(positions) if prior is None else prior
    return [
        moments(energy, torch.as_tensor(x), torch.as_tensor(f), torch.as_tensor(BOX).expand(len(x), 3, 3), species, KT)
        for x, f in zip(np.array_split(positions, 6), np.array_split(prior, 6))
    ]


def energies(gaussian):
    pair = SplinePair(2, CUTOFF, START, 2 * SPACING)
    return pair, gaussian(sigma=0, width=0.12, cutoff=0.5).module(type("Header", (), {"species": [3, 17]}))


def test_a_sum_is_its_parts_one_after_the_other(gaussian, positions):
    pair, other = energies(gaussian)
    both = LinearSum([pair, other])
    y = torch.as_tensor(positions[:4])
    c = make_batch(y, torch.as_tensor(BOX), torch.as_tensor(SPECIES), both.cutoff)
    G, divergence = both.design(c)
    assert both.sizes == [pair.coefficients.numel(), 3] and G.shape[1] == len(both.coefficients)
    for energy, part, div in zip((pair, other), G.split(both.sizes, 1), divergence.split(both.sizes)):
        own = energy.design(make_batch(y, torch.as_tensor(BOX), torch.as_tensor(SPECIES), energy.cutoff))
        torch.testing.assert_close(part, own[0])
        torch.testing.assert_close(div, own[1])
    values = torch.arange(float(len(both.coefficients)), dtype=torch.float64)
    both.assign(values)
    assert torch.equal(both.coefficients, values) and torch.equal(other.coefficients, values[-3:])
    assert torch.equal(both.penalty((2.0, 3.0))[-3:, -3:], 3.0 * other.roughness())


def test_folds_leave_out_what_the_others_hold(gaussian, positions):
    pair, _ = energies(gaussian)
    replicas = parts(pair, positions)
    for number, fold in enumerate(folds_of(replicas, 3)):
        kept = [m for i, m in enumerate(replicas) if i % 3 != number]
        for found, expected in zip(
            (*fold.seen, fold.A_out, fold.b_out), (*mean_moments(kept), *mean_moments(replicas[number::3]))
        ):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7)


def test_a_joint_fit_finds_each_part_of_a_force_that_one_alone_cannot(gaussian, positions):
    # Half of the force is known beforehand; a coarse spline with a Gaussian finds the rest better than either.
    pair, other = energies(gaussian)
    both = LinearSum([pair, other])
    settings = [PairConfig(cutoff=CUTOFF, start=START, spacing=2 * SPACING, penalties=[1.0, 100.0]), _gaussian()]
    prior = 0.5 * true_forces(positions)
    result = fit(both, parts(both, positions, prior), settings, "both")
    assert len(result["penalty"]) == len(result["degrees_of_freedom"]) == len(result["path"]) == 2
    _, single = energies(gaussian)
    alone = fit(single, parts(single, positions, prior), _gaussian())
    assert result["held_out_score"] < alone["held_out_score"]
    # The solution is that of the stacked equations at the penalties chosen, each part times its scale.
    stacked = scaled(solve(both, parts(both, positions, prior), result["penalty"]), result["scale"], both.sizes)
    torch.testing.assert_close(both.coefficients, stacked)


def _gaussian():
    from gaussian import GaussianConfig

    return GaussianConfig(width=0.12, penalties=[1e-4, 1e-2])


def test_degrees_of_freedom_fall_with_the_penalty(positions):
    found = [fitted(positions, penalties=[penalty])[1]["degrees_of_freedom"] for penalty in (1e-6, 1e2, 1e4, 1e8)]
    assert np.all(np.diff(found) < 0)
    # All that are free and visited at first; a stiff penalty on fourth differences leaves no more than cubics.
    n_free = 3 * round((CUTOFF - START) / SPACING)
    assert 0.8 * n_free < found[0] <= n_free and found[-1] < 13


def test_training_fits_all_linear_energies_together(positions, caplog):
    frames = Frames(positions, np.where(SPECIES == 0, 3, 17), BOX, 300.0, replica=np.arange(600) // 100)
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None},
        "pair": {"cutoff": CUTOFF, "start": START, "spacing": 2 * SPACING, "sigma": 0, "penalties": [1e4, 1e6]},
        "gaussian": {"width": 0.12, "sigma": 0, "penalties": [1e-4, 1e-2]},
    }  # fmt: skip
    with caplog.at_level(logging.INFO):
        model = train(frames, config, progress=False)
    assert "pair potential + Gaussian repulsion: penalty" in caplog.text
    assert [term.kind for term in model.header.terms] == ["pair", "gaussian"]
    found = model.header.held_out
    assert found["pair_score"] == found["gaussian_score"]
    assert model.header.terms[1].penalty in (1e-4, 1e-2)
    # As one fit of the two energies by hand.
    both = LinearSum(model.modules())
    by_hand = solve(both, parts(both, frames.positions.astype(float)), [term.penalty for term in model.header.terms])
    by_hand = scaled(by_hand, [found["pair_scale"], found["gaussian_scale"]], both.sizes)
    # By hand kT has four digits.
    torch.testing.assert_close(both.coefficients, by_hand, rtol=1e-3, atol=1e-3 * float(by_hand.abs().max()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gaussian": {"sigma": 0.005}}, "pair.sigma 0.0, gaussian.sigma 0.005: linear energies are fitted together"),
        (
            {"gaussian": {"draws": 5}, "pair": {"sigma": 0, "draws": 2}},
            "pair.draws 2, gaussian.draws 5: linear energies are fitted together",
        ),
    ],
)
def test_energies_that_are_fitted_together_see_the_same_frames(positions, change, message):
    frames = Frames(positions[:20], np.where(SPECIES == 0, 3, 17), BOX, 300.0)
    config = {"network": None, "pair": {"sigma": 0, "cutoff": CUTOFF}, **change}
    with pytest.raises(ValueError, match=message):
        train(frames, config, progress=False)


# ---- biased frames: a barrier that equilibrium never visits

EDGE, HEIGHT = 2.0, 20.0  # nm; kJ/mol, 8 kT


def u(r):
    """A contact well at 0.25 nm behind a barrier of 8 kT at 0.35 nm; kJ/mol."""
    return HEIGHT * np.exp(-(((r - 0.35) / 0.03) ** 2)) - 4 * np.exp(-(((r - 0.25) / 0.03) ** 2))


def dimers(n, centre, stiffness, rng):
    """Exact samples of two particles under u and a harmonic bias on their distance, with the bias's forces."""
    r = np.linspace(0.1, 0.5 * EDGE, 20_001)
    weight = r**2 * np.exp(-(u(r) + 0.5 * stiffness * (r - centre) ** 2) / KT)
    distance = np.interp(rng.random(n), np.cumsum(weight) / weight.sum(), r)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = np.zeros((n, 2, 3)) + rng.uniform(0, EDGE, (n, 1, 3))
    x[:, 1] += distance[:, None] * direction
    pull = -stiffness * (distance - centre)[:, None] * direction
    return x, np.stack([-pull, pull], axis=1)


def barrier(frames):
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None},
        "pair": {"cutoff": 0.7, "start": 0.2, "spacing": 0.01, "sigma": 0, "penalties": [0.1, 1.0]},
    }  # fmt: skip
    model = train(frames, config, progress=False)
    r = np.array([0.25, 0.35])
    pair = np.zeros((2, 2, 3))
    pair[:, 1, 0] = r
    contact, top = model.energy(pair, EDGE * np.eye(3))
    return top - contact


def windows(bias=True):
    rng = np.random.default_rng(3)
    made = [dimers(2000, centre, 10_000.0, rng) for centre in (0.24, 0.28, 0.32, 0.36, 0.40, 0.45, 0.5, 0.55, 0.6)]
    x, pull = (np.concatenate(part) for part in zip(*made))
    replica = np.repeat(np.arange(len(made) * 4), 500)
    return Frames(x, [11, 11], EDGE * np.eye(3), 300.0, replica=replica, bias_forces=pull if bias else None)


def test_windows_with_a_known_bias_give_the_barrier_between_them():
    truth = float(u(0.35) - u(0.25))
    assert barrier(windows()) == pytest.approx(truth, rel=0.06)
    # Taken for equilibrium, the windows would hold no barrier at all.
    assert abs(barrier(windows(bias=False)) - truth) > 0.5 * truth


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair": {"cutoff": 0.7}}, "the fit is to noised frames: set sigma: 0"),
        ({"pair": {"cutoff": 0.7, "sigma": 0}, "network": {"cutoff": 0.5}}, "a network learns from noised frames"),
        ({"pair": {"cutoff": 0.7, "sigma": 0}, "target": "hybrid"}, "target is hybrid"),
    ],
)
def test_biased_frames_are_for_clean_fits_to_positions(tmp_path, change, message):
    frames = windows()[::200]
    frames = Frames(**vars(frames) | {"forces": np.zeros_like(frames.positions)})
    with pytest.raises(ValueError, match=message):
        train(frames, {"network": None, "prior": {"wall": None}, **change}, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
