"""The pressure as a row of the fit: against the virial of known forces, and what it is refused for."""

from dataclasses import replace

import numpy as np
import pytest
from mixture import BOX, CUTOFF, KT, SPACING, SPECIES, START, radial_force, sample, true_forces
from models import licl_denoiser, licl_frames

from openmm_diffusion import Frames, train
from openmm_diffusion.evaluation.pressure import pressure_rows
from openmm_diffusion.learning.measured import with_pressure
from openmm_diffusion.model.pressure import known_pressure
from openmm_diffusion.units import BAR

PAIR = {"sigma": 0, "cutoff": CUTOFF, "start": START, "spacing": SPACING}
DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}
TYPES = np.where(SPECIES == 0, 3, 17)


@pytest.fixture(scope="module")
def frames():
    """600 independent frames of the mixture."""
    return Frames(sample(600) % BOX[0, 0], TYPES, BOX, 300.0, replica=np.arange(600) // 60)


def fitted(frames, pressure=None, **changes):
    config = {"data": DATA, "network": None, "prior": {"wall": None}, "pair": PAIR, "pressure": pressure, **changes}
    return train(frames, config, progress=False)


def virial(frames, model):
    """N kT / V - <dU/dV> (bar) of a model, from its energy alone, in boxes a thousandth larger and smaller."""
    volume, energies = BOX[0, 0] ** 3, []
    for change in (1e-3, -1e-3):
        length = (1 + change) ** (1 / 3)
        energies.append(model.energy(frames.positions.astype(float) * length, BOX * length).mean())
    return (len(TYPES) * KT - (energies[0] - energies[1]) / 2e-3) / volume / BAR


def true_pressure(frames):
    """The virial of the known forces: N kT / V + <sum over pairs r . f> / 3 V, frame by frame."""
    x = frames.positions.astype(float)
    totals = np.zeros(len(x))
    for i in range(len(TYPES)):
        for j in range(i):
            d = x[:, i] - x[:, j]
            d -= BOX[0, 0] * np.round(d / BOX[0, 0])
            r = np.linalg.norm(d, axis=1)
            totals += r * radial_force(r, SPECIES[i], SPECIES[j])
    return (len(TYPES) * KT + totals / 3) / BOX[0, 0] ** 3 / BAR


def test_a_fit_says_the_pressure_that_its_energy_has(frames):
    model = fitted(frames, {"value": 300.0, "weight": 1e-9})
    assert model.header.held_out["pressure"] == pytest.approx(virial(frames, model), rel=2e-3)
    # What is left of the price is that of the factor, which stays at one.
    assert 0 <= model.header.held_out["pressure_price"] < 0.01 * abs(model.header.held_out["pair_score"])
    truth = true_pressure(frames)
    error = truth.std() / np.sqrt(len(truth))
    # Forces at one volume tell the pressure within what their noise leaves open.
    assert model.header.held_out["pressure"] == pytest.approx(truth.mean(), abs=4 * error + 60)


def test_a_pressure_that_is_asked_for_is_that_of_the_model(frames):
    truth = float(true_pressure(frames).mean())
    free, forces = fitted(frames), true_forces(frames.positions.astype(float))
    errors = [np.sqrt(((free.forces(frames.positions) - forces) ** 2).mean())]
    for value in (truth, truth + 200):
        model = fitted(frames, {"value": value, "weight": 1e4})
        assert virial(frames, model) == pytest.approx(value, abs=0.01 * abs(value) + 5)
        errors.append(np.sqrt(((model.forces(frames.positions) - forces) ** 2).mean()))
    assert errors[1] < 1.1 * errors[0]  # the true one costs nothing
    assert errors[2] > errors[1]  # a wrong one does


def test_a_prior_has_its_share(frames):
    """With Coulomb in the prior the row leaves to the pair potential what Coulomb does not do."""
    coulomb = {"charges": {"Li": 0.3, "Cl": -0.3}, "relative_permittivity": 2.0}
    model = fitted(frames, {"value": 250.0, "weight": 1e4}, prior={"wall": None, "coulomb": coulomb})
    assert virial(frames, model) == pytest.approx(250.0, abs=5)


def test_a_model_that_no_pressure_was_asked_of_says_which_one_it_has(frames):
    known = known_pressure(fitted(frames).header)
    some = frames[::12]
    assert known.value == pytest.approx(virial(some, fitted(frames)), rel=2e-3)
    assert 0 < known.error < 100 and not known.fitted and not known.osmotic
    asked = known_pressure(fitted(frames, {"value": 250.0, "weight": 1e4}).header)
    assert asked.fitted and asked.value == pytest.approx(250, abs=1)
    # An ensemble has the mean of its members' energies, and was fitted if they were.
    members = fitted(frames, {"value": 250.0, "weight": 1e4}, ensemble={"members": 2})
    together = known_pressure(members.header)
    assert together.fitted and together.value == pytest.approx(virial(some, members), rel=2e-3)
    alone = Frames(frames.positions[:60], TYPES, None, 300.0, replica=np.arange(60) // 6)
    assert np.isnan(known_pressure(fitted(alone).header).value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair": {**PAIR, "sigma": 0.005}}, "pressure is given, which is a row of the fit .* set sigma: 0"),
        ({"network": {}, "data": {"test_fraction": 0.0}}, "network: null"),
        ({"pressure": {"value": 1.0, "weight": 0}}, r"pressure\.weight is 0"),
        ({"pressure": {"bar": 1.0}}, r"pressure\.(value|bar)"),
    ],
)
def test_what_has_no_pressure_is_refused(frames, change, message):
    config = {"data": DATA, "network": None, "pair": PAIR, "pressure": {"value": 1.0}, **change}
    with pytest.raises(ValueError, match=message):
        train(frames[:60], config, progress=False)


def test_frames_without_a_box_have_no_pressure(frames):
    alone = Frames(frames.positions[:60], TYPES, None, 300.0)
    with pytest.raises(ValueError, match="pressure is given, but frames have no box"):
        fitted(alone, {"value": 1.0})
    with pytest.raises(ValueError, match="pressure is given for 2 systems"):
        fitted([frames[:60], frames[60:120]], {"value": 1.0})


def test_biased_frames_tell_no_pressure_of_the_model():
    """Their average is that of an ensemble under another energy."""
    model, plain = licl_denoiser(kinds=("pair",)), licl_frames()
    biased = replace(plain, bias_forces=np.ones_like(plain.positions))
    assert np.isfinite(known_pressure(with_pressure(model, plain).header).value)
    assert with_pressure(model, biased) is model
    assert pressure_rows(model, plain) and pressure_rows(model, biased) == []
