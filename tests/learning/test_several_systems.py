"""Several systems in one training: other compositions, boxes and temperatures, one table of types."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from mixture import BOX, KT, SPECIES, START, error, forces, sample, true_forces
from models import LICL

from openmm_diffusion import Denoiser, Frames, train
from openmm_diffusion.data import sets
from openmm_diffusion.evaluation.report import evaluate

#: The mixture's species as elements.
NUMBERS = np.where(SPECIES == 0, 3, 17)
PAIR = {"cutoff": 0.7, "start": START, "spacing": 0.05, "sigma": 0, "penalties": [10.0, 100.0, 1000.0]}
CONFIG = {"data": {"test_fraction": 0, "validation_fraction": 0}, "pair": PAIR, "network": None}


def mixture(n_frames=1000, seed=0, temperature=300.0, replicas=4):
    positions = sample(n_frames, 120, seed)
    replica = np.repeat(np.arange(replicas), n_frames // replicas)
    return Frames(positions, NUMBERS, BOX, temperature, true_forces(positions), replica)


@pytest.fixture(scope="module")
def two():
    """The same mixture, sampled twice."""
    return mixture(seed=1), mixture(seed=2)


def fitted(frames, **data):
    return train(frames, {**CONFIG, "data": {**CONFIG["data"], **data}}, progress=False)


def coefficients(model):
    return model.modules()[-1].coefficients.numpy()


def test_frames_of_one_system_are_the_same_in_two_sets(two):
    together = fitted(Frames.concatenate(two))
    apart = fitted(list(two))
    np.testing.assert_array_equal(coefficients(apart), coefficients(together))
    assert apart.header.data["digest"] != together.header.data["digest"]


def test_a_weight_of_two_is_every_frame_twice(two):
    a, b = two
    twice = Frames.concatenate([b, b])
    # The same folds: each replica of b with its copy.
    twice = replace(twice, replica=np.tile(b.replica, 2))
    weighted, doubled = fitted([a, b], weights=[1, 2]), fitted([a, twice])
    np.testing.assert_allclose(coefficients(weighted), coefficients(doubled), rtol=1e-8, atol=1e-10)
    assert np.abs(coefficients(weighted) - coefficients(fitted([a, b]))).max() > 1e-3


def test_order_of_the_systems_changes_no_more_than_the_folds(two):
    a, b = two
    forward, backward = (fitted(systems, weights=[1, 1]).forces(a.positions[:20]) for systems in ([a, b], [b, a]))
    assert np.abs(forward - backward).max() < 0.2 * np.abs(forward).max()


def grown(frames):
    """Copies of a mixture side by side: twice the box and the particles along x, the same physics."""
    shift = [BOX[0, 0], 0, 0]
    positions = np.concatenate([frames.positions, frames.positions + shift], axis=1)
    labels = np.concatenate([frames.forces] * 2, axis=1)
    return Frames(positions, np.tile(frames.species, 2), BOX * [[2], [1], [1]], 300.0, labels, frames.replica)


def test_systems_of_other_sizes_boxes_and_species_share_a_potential(two, caplog):
    a, b = two
    # Of the larger system, one species is called otherwise: three types in one table.
    c = mixture(seed=3)
    renamed = replace(c, species=np.where(c.species == 17, 35, 3), types=None, masses=None)
    with caplog.at_level(logging.INFO):
        model = fitted([a, grown(b), renamed])
    assert model.header.species == ["Li", "Cl", "Br"]
    assert model.header.particles == a.types.tolist()  # what is not said is as in the first
    assert [len(model.header.held_out["pair_score_of_systems"]), len(model.header.data["systems"])] == [3, 3]
    assert model.header.data["systems"][1]["composition"] == {"Li": 12, "Cl": 12}
    assert "system 1: 1000 frames to train on" in caplog.text
    # The potential is known: 1,000 frames give its forces to 14 %, and the like pairs of lithium are in all three.
    unseen = mixture(seed=9)
    truth = true_forces(unseen.positions.astype(float))
    found = model.forces(unseen.positions, BOX)
    alone = fitted(a).forces(unseen.positions, BOX)
    rms = [np.sqrt(np.mean((f - truth) ** 2) / np.mean(truth**2)) for f in (found, alone)]
    assert rms[0] < 0.85 * rms[1] and rms[0] < 0.13, rms
    bromide = model.forces(unseen.positions, BOX, np.where(SPECIES == 0, 3, 35))
    assert np.sqrt(np.mean((bromide - truth) ** 2) / np.mean(truth**2)) < 0.2


def test_the_held_out_score_is_told_system_by_system(two):
    scores = fitted(list(two)).header.held_out["pair_score_of_systems"]
    both = fitted(list(two)).header.held_out["pair_score"]
    # Both are of equal size: the score of all is the mean of the two, up to the unequal folds.
    assert np.mean(scores) == pytest.approx(both, rel=0.05) and all(score < 0 for score in scores)


def test_evaluation_keeps_apart_what_each_system_kept_apart(two):
    systems = list(two)
    model = fitted(systems, test_fraction=0.25)
    for frames in systems:
        rest, apart = sets.kept_apart(model.header.data, frames)
        assert len(apart) == 250 and not np.isin(apart.replica, rest.replica).any()
        table = evaluate(model, frames).comparison
        assert table.labels.shape[0] == 250
    other = mixture(40, seed=5)
    assert sets.kept_apart(model.header.data, other) is None


def test_temperatures_are_one_unless_asked_for(two):
    hot = replace(two[1], temperature=330.0)
    with pytest.raises(ValueError, match="frames are at 300 to 330 K.*set data.several_temperatures"):
        fitted([two[0], hot])


def test_one_potential_at_two_temperatures(two, monkeypatch):
    # exp(-u/kT) sampled at 450 K and at 300 K: the potential that they share comes back from both, each with its kT.
    monkeypatch.setattr("mixture.KT", KT * 1.5)
    hot = replace(mixture(seed=4), temperature=450.0)
    monkeypatch.undo()
    model = fitted([two[0], hot], several_temperatures=True)
    unseen = sample(200, 120, 8)
    assert error(model.modules()[-1], unseen) < 0.15
    # Taken to be at 300 K, the hot frames would give a force that is 1/1.5 of it.
    wrong = fitted([two[0], replace(hot, temperature=300.0)])
    assert error(wrong.modules()[-1], unseen) > 0.18


def test_a_prior_is_that_of_each_box():
    ions = Frames.load(LICL)[::30]
    shift = [ions.boxes[0, 0, 0], 0, 0]
    larger = Frames(
        np.concatenate([ions.positions, ions.positions + shift], axis=1), np.tile(ions.species, 2),
        ions.box * [[2], [1], [1]], 300.0, replica=ions.replica,
    )  # fmt: skip

    def fit(frames, penalty):
        pair = {"cutoff": 0.8, "spacing": 0.06, "sigma": 0, "penalties": [penalty]}
        prior = {"coulomb": {"charges": {"Li": 1.0, "Cl": -1.0}}}
        return coefficients(
            train(frames, {"data": CONFIG["data"], "network": None, "prior": prior, "pair": pair}, progress=False)
        )

    # Images side by side feel the forces of one, in moments twice as large: a prior set up for another box would show.
    one = fit([ions], 1e4)
    np.testing.assert_allclose(fit([larger], 2e4), one, atol=1e-3 * np.abs(one).max())
    # Of both, each fold has seen its frames: the same curve, of another scale.
    both = fit([ions, larger], 1.5e4)
    assert np.sum(both * one) == pytest.approx(np.linalg.norm(both) * np.linalg.norm(one), rel=1e-5)


NETWORK = {
    "data": {"test_fraction": 0, "validation_fraction": 0.25}, "pair": None,
    "network": {"cutoff": 0.7, "lmax": 0, "features": 4, "layers": 1, "radial": 6, "radial_width": 16},
    "noise": {"sigma": 0.01, "draws": 2},
    "training": {"steps": 120, "check_every": 40, "batch": 8, "learning_rate": 0.01, "validation_draws": 1},
}  # fmt: skip


def test_a_network_learns_from_two_systems(two, tmp_path):
    systems = [two[0], grown(two[1])]
    model = train(systems, NETWORK, tmp_path / "run", progress=False)
    assert model.header.held_out["network_loss"] < -0.02
    text = (tmp_path / "run" / "log" / "metrics.csv").read_text().splitlines()
    assert {"held_out_loss", "held_out_loss_system_0", "held_out_loss_system_1"} <= set(text[0].split(","))
    unseen = two[0].positions[:50].astype(float)
    doubled = grown(two[0][:50])
    np.testing.assert_allclose(
        model.forces(doubled.positions, doubled.box, doubled.types)[:, :12], model.forces(unseen, BOX), atol=2e-3
    )


def test_a_network_on_several_systems_resumes_with_the_same_frames_only(two, tmp_path):
    model = train(list(two), NETWORK, tmp_path / "run", progress=False)
    again = train(list(two), NETWORK, tmp_path / "run", resume=True, progress=False)
    np.testing.assert_allclose(again.forces(two[0].positions[:2]), model.forces(two[0].positions[:2]), atol=1e-3)
    with pytest.raises(ValueError, match="was begun with other frames"):
        train([two[1], two[0]], NETWORK, tmp_path / "run", resume=True, progress=False)


def test_hybrid_and_force_targets_take_several_systems(two):
    for target in ("force", "hybrid"):
        config = {**CONFIG, "target": target, "noise": {"sigma": 0.005}}
        model = train([two[0], grown(two[1])], config, progress=False)
        assert error(model.modules()[-1], sample(200, 120, 8)) < 0.05
        assert len(model.header.held_out["pair_score_of_systems"]) == 2


def test_files_of_several_systems_are_named_in_the_configuration(two, tmp_path):
    for name, frames in zip("ab", two):
        frames.save(tmp_path / f"{name}.npz")
    (tmp_path / "train.yaml").write_text(
        "data: {frames: [a.npz, b.npz], weights: [1, 2], test_fraction: 0, validation_fraction: 0}\n"
        f"pair: {PAIR}\nnetwork: null\n"
    )
    model = train(None, tmp_path / "train.yaml", tmp_path / "run", progress=False)
    assert [system["weight"] for system in model.header.data["systems"]] == [1, 2]
    np.testing.assert_array_equal(coefficients(model), coefficients(fitted(list(two), weights=[1, 2])))
    loaded = Denoiser.load(tmp_path / "run" / "model.safetensors")
    assert loaded.header.data == model.header.data and loaded.header.held_out == model.header.held_out


@pytest.mark.parametrize(
    ("systems", "data", "message"),
    [
        (2, {"weights": [1.0]}, "data.weights has 1 entries for 2 systems"),
        (2, {"weights": [1.0, -1.0]}, "data.weights.1"),
        (0, {}, "frames is an empty list"),
    ],
)
def test_systems_that_cannot_be_fitted_are_refused(two, systems, data, message):
    with pytest.raises(ValueError, match=message):
        fitted(list(two)[:systems], **data)


def test_an_ensemble_draws_from_each_system(two):
    config = {**CONFIG, "ensemble": {"members": 2}}
    model = train([two[0], grown(two[1])], config, progress=False)
    assert model.header.held_out["spread_rms"] > 0
    assert torch.isfinite(torch.as_tensor(forces(model.modules()[-1], two[0].positions[:2].astype(float)))).all()
