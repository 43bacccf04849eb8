"""Molecules from configurations alone: a known energy comes back, and what cannot be learnt is refused."""

import logging
import re

import numpy as np
import pytest
from freechain import (
    BENDING,
    BONDS,
    COSINE,
    KT,
    LENGTHS,
    STIFFNESS,
    TYPES,
    angle_energy,
    bond_energy,
    dihedral_energy,
    frames,
)

from openmm_diffusion import Frames, train
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.defaults import for_systems

ALONE = {"pair": None, "maps": None, "onethree": None, "onefour": None, "prior": {"wall": None}}


@pytest.fixture(scope="module")
def sample():
    return frames(4000)


DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}


@pytest.fixture(scope="module")
def models():
    """Fits to eight independent sets of 1,500 frames."""
    return [train(frames(1500, seed=seed), {"data": DATA, **ALONE}, progress=False) for seed in range(1, 9)]


def term_and_module(model, kind):
    return next((t, m) for t, m in zip(model.header.terms, model.modules()) if t.kind == kind)


def test_samples_are_of_the_energy(sample):
    """The mean of a bond and of a cosine, to four standard errors of their quadratures."""
    x = sample.positions.astype(float)
    r = np.linalg.norm(x[:, 1] - x[:, 0], axis=1)
    q = np.linspace(0.2, 0.45, 2001)
    weight = q**2 * np.exp(-bond_energy("AB", q) / KT)
    assert abs(r.mean() - (q * weight).sum() / weight.sum()) < 4 * r.std() / np.sqrt(len(r))
    u, v = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]
    c = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    q = np.linspace(-1, 1, 2001)
    weight = np.exp(-angle_energy(q) / KT)
    assert abs(c.mean() - (q * weight).sum() / weight.sum()) < 4 * c.std() / np.sqrt(len(c))


def test_bonds_angles_and_dihedrals_come_back(models):
    """The mean curve of eight fits is the truth within its error bar and 0.03 kT, over where the data are."""
    width = {name: np.sqrt(KT / k) for name, k in STIFFNESS.items()}
    term, _ = term_and_module(models[0], "bonds")
    for number, kind in enumerate(term.kinds):
        name = "".join(sorted(kind))
        q = LENGTHS[name] + width[name] * np.linspace(-2, 2, 41)
        agree([term_and_module(one, "bonds")[1].curve(number, q) for one in models], bond_energy(name, q))
    term, _ = term_and_module(models[0], "angles")
    for number in range(len(term.kinds)):
        q = COSINE + np.sqrt(KT / BENDING) * np.linspace(-2, 2, 41)
        agree([term_and_module(one, "angles")[1].curve(number, q) for one in models], angle_energy(q))
    phi = np.linspace(-np.pi, np.pi, 145)
    phi = phi[dihedral_energy(phi) < dihedral_energy(phi).min() + 3 * KT]  # above that, one frame in a hundred
    term, _ = term_and_module(models[0], "dihedrals")
    n = np.arange(1, term.order + 1)
    functions = np.concatenate([np.cos(n * phi[:, None]), np.sin(n * phi[:, None])], 1)
    assert not term.damped
    for number in range(len(term.kinds)):
        curves = [functions @ term_and_module(one, "dihedrals")[1].coefficients.numpy()[number] for one in models]
        agree(curves, dihedral_energy(phi))


def agree(curves, truth, slack=0.03):
    """The mean of independent curves, whose zeros are arbitrary, is the truth within three standard errors."""
    apart = np.array([curve - truth - (curve - truth).mean() for curve in curves])
    error = np.sqrt((apart.std(axis=0, ddof=1) ** 2).mean() / len(curves))
    assert np.sqrt((apart.mean(0) ** 2).mean()) < 3 * error + slack * KT
    assert error < 0.2 * KT  # the test could see a difference


def test_more_frames_bring_the_forces_nearer(sample):
    """The error of the force falls as one over the root of the number of frames: by two for four times as many."""
    errors = []
    for n in (500, 2000):
        found = [train(frames(n, seed=seed), {"data": DATA, **ALONE}, progress=False) for seed in range(10, 14)]
        probe = sample[:200]
        forces = np.array([one.forces(probe.positions, False) for one in found])
        errors.append(np.sqrt(forces.var(axis=0, ddof=1).mean()))
    # Of four fits each, the ratio of two standard deviations has an error of about 0.35 even if forces are correlated.
    assert 1.3 < errors[0] / errors[1] < 3.0


def test_the_default_of_a_bonded_system_is_all_that_is_bonded_at_no_noise(sample):
    config = for_systems(read_config({}), [sample])
    asked = [term.model_fields["kind"].default for term, _ in config.linear]
    assert asked == ["pair", "bonds", "onethree", "onefour", "angles", "dihedrals", "maps"]  # no impropers
    assert config.network is None
    assert config.sigma == config.linear_sigma == 0
    ions = Frames(np.random.default_rng(0).random((10, 4, 3)), [3, 3, 17, 17], 2 * np.eye(3), 300.0)
    config = for_systems(read_config({}), [ions])
    assert [term.model_fields["kind"].default for term, _ in config.linear] == ["pair"]
    assert config.network is not None
    assert config.sigma == 0.005
    said = for_systems(read_config({"noise": {"sigma": 0.001}, "network": {"features": 4}}), [sample])
    assert said.network.features == 4
    assert said.linear_sigma == 0.001


def test_data_of_one_hand_give_its_mirror_image_a_higher_energy(models, sample):
    x = sample.positions[:500].astype(float)
    costs = [(one.energy(x * np.array([1, 1, -1]), False) - one.energy(x, False)).mean() for one in models]
    # kT times a relative entropy, and so never negative, by quadrature.
    phi = np.linspace(-np.pi, np.pi, 2001)
    weight = np.exp(-dihedral_energy(phi) / KT)
    expected = 2 * ((dihedral_energy(-phi) - dihedral_energy(phi)) * weight).sum() / weight.sum()
    assert expected > 3
    assert abs(np.mean(costs) - expected) < 4 * np.std(costs, ddof=1) / np.sqrt(len(costs)) + 0.1 * expected


def test_odd_terms_are_zero_for_a_chain_that_has_no_hand():
    """Sines of eight fits to achiral chains of 1,000 frames are zero within four standard errors."""
    found = []
    for seed in range(20, 28):
        one = train(frames(1000, seed, odd=(0, 0, 0)), {"data": DATA, **ALONE}, progress=False)
        term, module = term_and_module(one, "dihedrals")
        found.append(module.coefficients[:, term.order : term.order + 3].numpy())
    found = np.array(found)
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0)) < 4 * errors + 0.02).all()
    assert errors.max() < 1.0  # kJ/mol: the test could see the 5 kJ/mol of a chain that has a hand


def test_noise_softens_bonds_and_is_warned_of(sample, caplog):
    with caplog.at_level(logging.WARNING):
        train(sample[::4], {"noise": {"sigma": 0.01}, "data": DATA, **ALONE}, progress=False)
    (line,) = [r.getMessage() for r in caplog.records if "bonds B-A" in r.getMessage()]
    # 1 / (1 + 2 sigma^2 / w^2) with w^2 = kT / k, to within the sampling of w.
    expected = 100 / (1 + 2 * 0.01**2 * STIFFNESS["AB"] / KT)
    assert float(re.search(r"leaves bonds B-A (\d+) % of their stiffness", line)[1]) == pytest.approx(expected, abs=4)
    assert "give at most" in line


def test_constrained_bonds_are_refused_by_name(tmp_path):
    held = frames(200)
    x = held.positions.astype(float)
    x[:, 0] = x[:, 1] + 0.3 * (x[:, 0] - x[:, 1]) / np.linalg.norm(x[:, 0] - x[:, 1], axis=1, keepdims=True)
    of = {"types": TYPES[:3], "bonds": BONDS[:2], "masses": held.masses[:3]}
    given = Frames(x[:, :3], held.species[:3], None, 300.0, **of)
    with pytest.raises(ValueError, match=r"bonds B-A have no width in the frames .*constraint holds"):
        train(given, {}, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_rigid_molecules_whose_bonds_nobody_told_of_are_refused():
    rng = np.random.default_rng(0)
    centres = 3 * rng.random((50, 8, 3))
    turn = np.linalg.qr(rng.normal(size=(50, 8, 3, 3)))[0]
    rigid = (centres[:, :, None] + np.array([[0, 0, 0], [0.1, 0, 0]]) @ turn).reshape(50, 16, 3)
    given = Frames(rigid, [8, 1] * 8, 3 * np.eye(3), 300.0)
    with pytest.raises(
        ValueError, match=r"particles 0 \(O\) and 1 \(H\) stay 0\.1000 nm apart in all frames, and so do 7"
    ):
        train(given, {"network": None}, progress=False)
