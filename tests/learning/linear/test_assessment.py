"""What is said of a fit, and what is refused: sane fits pass without a word."""

import logging
import re

import numpy as np
import pytest
from mixture import BOX, CUTOFF, SPACING, SPECIES, START, sample

from openmm_diffusion import Frames, train
from openmm_diffusion.learning.linear.assessment import assess, force_sd

LOOSE = {"data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None}}
EDGE = 2.0  # nm


def told(scale=1.0, scale_error=0.02, force_square=900.0, force_variance=4.0):
    return {
        "scale": scale, "scale_error": scale_error, "force_square": force_square, "force_variance": force_variance,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        (told(), None),
        (told(1.3, 0.15), None),  # off by two standard errors
        (told(1.09, 0.01), None),  # off by nine of them, and by less than a tenth
        (told(1.3, 0.05), "forces of the pair potential had to be scaled by 1.3 +- 0.05 .* take the largest from its"),
        (told(0.6, 0.05), "had to be scaled by 0.6 +- 0.05 .* penalty is too weak for these 70 frames; add larger"),
        (told(3.2, 0.1), "had to be scaled by 3.2 +- 0.1 "),  # stiff bonds under strong penalties
        (told(2.5, 0.6), "had to be scaled by 2.5 +- 0.6 "),  # uncertain, but far off
        (told(0.3, 0.2), "pair potential has learnt nothing .* more than these 70 frames"),
        (told(-0.3, 0.2), "pair potential has learnt nothing"),
        (told(0.0, 0.0), "pair potential has learnt nothing"),
        (told(force_variance=36.0), "70 frames are few for the pair potential: .* by 2 of 10 kJ/mol/nm .20 %."),
        (told(force_variance=25.0), None),
    ],
)
def test_warnings(of, sentence, caplog):
    with caplog.at_level(logging.WARNING):
        assess("pair potential", of, 70, 9)
    assert len(caplog.records) == (sentence is not None)
    if sentence:
        assert re.search(sentence.replace("+-", r"\+-"), caplog.text)


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        (
            told(486.0, 20.0),
            r"forces of the pair potential are too weak by a factor of 486 \+- 20 .*constraints",
        ),
        (told(-0.7, 0.2), r"forces of the pair potential point the wrong way .*factor -0.7 \+- 0.2.*these 70 frames"),
    ],
)
def test_refusals(of, sentence):
    with pytest.raises(ValueError, match=sentence):
        assess("pair potential", of, 70, 9)


def test_a_factor_that_is_not_certain_is_not_refused(caplog):
    assess("pair potential", told(100.0, 30.0), 70, 9)
    assert "had to be scaled by 100 +- 30" in caplog.text


def test_the_deviation_is_by_coordinate():
    assert force_sd(told(force_variance=36.0), 9) == 2.0


def dimers(width, n=1000):
    """Two particles at a Gaussian distance of 0.3 nm, ten replicas."""
    rng = np.random.default_rng(1)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = rng.uniform(0, EDGE, (n, 1, 3)) + np.zeros((1, 2, 1))
    x[:, 1] += (0.3 + width * rng.normal(size=(n, 1))) * direction
    return Frames(x, [11, 11], EDGE * np.eye(3), 300.0, replica=np.arange(n) * 10 // n)


@pytest.mark.parametrize("width", [0, 1e-6, 1e-4])
def test_distances_of_no_width_are_refused(width):
    settings = {"cutoff": 0.7, "start": 0.2, "spacing": 0.01, "sigma": 0}
    with pytest.raises(ValueError, match="pair potential are too weak by a factor of .* constraints"):
        train(dimers(width), {**LOOSE, "pair": settings}, progress=False)


def test_a_stiff_bond_is_not():
    settings = {"cutoff": 0.7, "start": 0.2, "spacing": 0.01, "sigma": 0}
    model = train(dimers(0.003), {**LOOSE, "pair": settings}, progress=False)
    # The factor is what gives the bond its stiffness kT / width^2, to the 4 % that 1,000 frames know it.
    pair = np.zeros((3, 2, 3))
    pair[:, 1, 0] = [0.297, 0.3, 0.303]
    pull = model.forces(pair, EDGE * np.eye(3))[:, 1, 0]
    assert (pull[0] - pull[2]) / 0.006 == pytest.approx(2.494 / 0.003**2, rel=0.15)


def test_ideal_particles_teach_nothing_and_a_mixture_without_a_word_does(caplog):
    rng, settings = np.random.default_rng(0), {"cutoff": CUTOFF, "start": START, "spacing": SPACING, "sigma": 0}
    ideal = Frames(rng.uniform(0, 1.5, (40, 6, 3)), [11] * 6, BOX, 300.0, replica=np.arange(40) // 4)
    with caplog.at_level(logging.WARNING):
        train(ideal, {**LOOSE, "pair": {**settings, "penalties": [1e2, 1e4]}}, progress=False)
    assert "learnt nothing" in caplog.text and "40 frames are few" in caplog.text
    caplog.clear()
    mixture = Frames(sample(600, 120, seed=1), np.where(SPECIES == 0, 3, 17), BOX, 300.0, replica=np.arange(600) // 60)
    with caplog.at_level(logging.WARNING):
        train(mixture, {**LOOSE, "pair": settings}, progress=False)
    assert not [r for r in caplog.records if r.name.endswith("assessment")]
