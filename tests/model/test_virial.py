"""The virial: finite differences of the energy by strain, for every energy, and closed forms."""

import functools

import branched
import numpy as np
import pytest
import torch
from models import ALL, licl_denoiser, licl_frames

from openmm_diffusion.energies.coulomb import CoulombTerm
from openmm_diffusion.energies.manybody import ManyBodyTerm
from openmm_diffusion.model.denoiser import Denoiser

CUBIC = licl_frames().box.astype(float)
TRICLINIC = np.array([[2.5, 0.0, 0.0], [0.8, 2.4, 0.0], [-0.9, 0.7, 2.3]])
BOXES = {"cubic": CUBIC, "triclinic": TRICLINIC, "none": False}


@functools.cache
def many_body():
    base = licl_denoiser(kinds=())
    term = ManyBodyTerm(sigma=0.005, cutoff=0.6, start=0.18, radial=3, lmax=2)
    model = Denoiser(base.header.model_copy(update={"terms": [term]}))
    values = torch.randn(model.modules()[0].coefficients.shape, generator=torch.Generator().manual_seed(1))
    model.modules()[0].coefficients.copy_(1e-3 * values)
    return model


@functools.cache
def model(kind):
    if kind == "manybody":
        return many_body()
    return licl_denoiser(kinds=ALL if kind == "all" else (kind,), precision="double")


def by_differences(denoiser, x, box, h=2e-5, **options):
    """dU/d(strain) by central differences, of strains that leave the box reduced; the others by symmetry."""
    slope = np.zeros((3, 3))
    for a, b in zip(*np.triu_indices(3)):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h
            strained = False if box is False else box @ strain.T
            ends.append(float(denoiser.energy(x @ strain.T, strained, **options)))
        slope[a, b] = slope[b, a] = (ends[0] - ends[1]) / (2 * h)
    return slope


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", ["coulomb", "wall", "pair", "manybody", "network", "all"])
def test_it_is_the_slope_of_the_energy_by_strain(kind, box):
    denoiser, x, box = model(kind), licl_frames().positions[3].astype(float), BOXES[box]
    denoiser = denoiser.in_box(None if box is False else box)
    found = denoiser.virial(x, box)
    assert found.shape == (3, 3) and found.dtype == np.float64
    expected = by_differences(denoiser, x, box)
    assert np.abs(expected).max() > 0.1
    # Differences are exact to h^2; pairs that cross the end of the Ewald sum in real space jump by its tolerance.
    np.testing.assert_allclose(
        found, expected, atol=(2e-4 if kind in ("coulomb", "all") else 2e-6) * np.abs(found).max()
    )


@pytest.mark.parametrize("box", ["triclinic", "none"])
@pytest.mark.parametrize("kind", branched.KINDS)
def test_bonded_energies(kind, box):
    denoiser, box = branched.denoiser([kind]), BOXES[box]
    x = branched.positions(1)[0] + [0.0, 2.0, -0.1]  # over the faces of the box
    found, expected = denoiser.virial(x, box), by_differences(denoiser, x, box)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_charges_that_are_excluded_from_one_another():
    coulomb = CoulombTerm(charges={"A": 0.4, "B": -0.5, "C": -0.5}, relative_permittivity=3.0)  # neutral: 5, 3 and 1
    denoiser, x = branched.denoiser((), more=[coulomb]).in_box(TRICLINIC), branched.positions(1)[0]
    found, expected = denoiser.virial(x, TRICLINIC), by_differences(denoiser, x, TRICLINIC)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("box", BOXES)
def test_the_trace_of_coulomb_is_minus_its_energy(box):
    """U(s r, s box) = U / s, so that dU/ds = -U: of all images, however the sum over them is done."""
    denoiser, x, box = model("coulomb"), licl_frames().positions[:4].astype(float), BOXES[box]
    trace = np.trace(denoiser.virial(x, box), axis1=-2, axis2=-1)
    # The sum ends where its terms are 1e-5 of the interaction at that distance.
    np.testing.assert_allclose(trace, -denoiser.energy(x, box), rtol=1e-3 if box is not False else 1e-12)


def test_of_pairs_it_is_their_sum():
    denoiser, frames = model("pair"), licl_frames()
    x = frames.positions[:3].astype(float)
    kinds = denoiser.header.particles
    expected = np.zeros((3, 3, 3))
    for i, j in zip(*np.triu_indices(len(kinds), k=1)):
        vector = x[:, j] - x[:, i]
        vector -= np.round(vector / np.diagonal(CUBIC)) * np.diagonal(CUBIC)
        near = np.linalg.norm(vector, axis=-1) < denoiser.cutoff
        dimer = np.stack([np.zeros_like(vector), vector], 1)[near]
        if len(dimer):
            force = denoiser.forces(dimer, False, [kinds[i], kinds[j]])[:, 1]
            expected[near] -= force[:, :, None] * vector[near, None, :]
    np.testing.assert_allclose(denoiser.virial(x, CUBIC), expected, atol=1e-8 * np.abs(expected).max())


def test_many_frames_in_boxes_of_their_own():
    denoiser, x = model("pair"), np.tile(licl_frames().positions[:10].astype(float), (7, 1, 1))
    boxes = CUBIC * np.linspace(1, 1.004, len(x))[:, None, None]
    found = denoiser.virial(x, boxes)
    assert found.shape == (70, 3, 3)
    for frame in (0, 65):
        np.testing.assert_allclose(found[frame], denoiser.virial(x[frame], boxes[frame]), rtol=1e-9)


def test_it_is_in_double_precision_whatever_the_network_is_in():
    x = licl_frames().positions[3].astype(float)
    single, double = licl_denoiser(kinds=ALL), licl_denoiser(kinds=ALL, precision="double")
    assert single.dtype == torch.float32
    found, expected = single.virial(x), double.virial(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_vector_head_has_none():
    with pytest.raises(ValueError, match="vector head, which has no potential: a virial needs an energy head"):
        licl_denoiser("vector").virial(licl_frames().positions[0])


def test_nothing_that_acts_has_none():
    assert not licl_denoiser(kinds=("wall",)).virial(np.array([[0.0, 0, 0], [1.0, 0, 0]]), False, [3, 3]).any()
