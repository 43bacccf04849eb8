"""The pressure of a model: against the ideal gas, energies in other boxes, and OpenMM's own forces."""

import numpy as np
import openmm
import pytest
from models import PRIOR, QUICK, licl_denoiser, licl_frames

from openmm_diffusion import Denoiser
from openmm_diffusion.analysis.resampling import frame_mean
from openmm_diffusion.learning.measured import with_pressure
from openmm_diffusion.model.combination import ensemble
from openmm_diffusion.model.header import Header
from openmm_diffusion.model.pressure import PRICE, known_pressure, mean_pressure, pressure_obstacle, pressures
from openmm_diffusion.systems import create_system
from openmm_diffusion.units import BAR, thermal_energy

frames = licl_frames()[:4]
VOLUME = np.linalg.det(frames.box)
IDEAL = 48 * thermal_energy(300.0) / VOLUME / BAR


def of(denoiser, sigma=0.0):
    return pressures(denoiser, frames.positions, frames.boxes, frames.types, frames.bonds, 300.0, sigma)


def test_particles_that_do_not_feel_each_other_are_an_ideal_gas():
    """N kT / V, with Boltzmann's constant and the bar of the SI: 48 particles in 2.526^3 nm^3 at 300 K have 123.3."""
    gas = Denoiser(licl_denoiser(kinds=QUICK).header.model_copy(update={"terms": []}))
    np.testing.assert_allclose(of(gas), 48 * 1.380649e-23 * 300 / (2.526e-9) ** 3 / 1e5, rtol=1e-6)


@pytest.mark.parametrize("kinds", [PRIOR, QUICK], ids=len)
def test_it_is_the_slope_of_openmms_energy_with_the_volume(kinds):
    """Coulomb by PME, walls and pairs as OpenMM's own forces, in boxes a thousandth larger and smaller."""
    denoiser = licl_denoiser(kinds=kinds)
    options = {"backend": "native"} if "pair" in kinds else {}
    system = create_system(denoiser, frames.topology(), ewald_error_tolerance=1e-6, allow_barostat=True, **options)
    context = openmm.Context(system, openmm.VerletIntegrator(1), openmm.Platform.getPlatformByName("Reference"))

    def energy(x, change):
        scale = (1 + change) ** (1 / 3)
        context.setPeriodicBoxVectors(*(frames.box * scale))
        context.setPositions(x * scale)
        return context.getState(energy=True).getPotentialEnergy()._value

    x = frames.positions.astype(float)
    expected = [IDEAL - (energy(y, 1e-3) - energy(y, -1e-3)) / 2e-3 / VOLUME / BAR for y in x]
    np.testing.assert_allclose(of(denoiser), expected, rtol=2e-4, atol=0.2)


def test_noise_is_an_antithetic_pair():
    denoiser = licl_denoiser(kinds=("pair",))
    assert np.abs(of(denoiser, 1e-9) - of(denoiser)).max() < 1e-3
    assert np.abs(of(denoiser, 0.02) - of(denoiser)).max() > 1


def test_what_has_no_pressure_says_so():
    assert pressure_obstacle(licl_denoiser(), frames.box) is None
    assert "no box" in pressure_obstacle(licl_denoiser(), None)
    assert "vector head" in pressure_obstacle(licl_denoiser("vector"), frames.box)
    clean = licl_denoiser(kinds=("pair",))
    clean = Denoiser(clean.header.model_copy(update={"noised": {"species": ["Li"], "axes": "xyz"}}))
    assert "clean" in pressure_obstacle(clean, frames.box)


def test_a_header_tells_what_it_knows():
    header = licl_denoiser(kinds=("pair",)).header
    unknown = known_pressure(header)
    assert np.isnan(unknown.value) and not unknown.fitted and not unknown.osmotic
    told = header.model_copy(update={"held_out": {"pressure": 1.5, "pressure_error": 0.1, PRICE: 0.0}})
    again = known_pressure(Header.parse(told.model_dump_json(), "model"))
    assert again == (1.5, 0.1, True, False)
    # A dielectric stands for a solvent, the vacuum does not.
    charged = licl_denoiser(kinds=PRIOR).header
    assert known_pressure(charged).osmotic
    vacuum = [term.model_copy(update={"relative_permittivity": 1.0}) for term in charged.terms if term.charged]
    assert not known_pressure(charged.model_copy(update={"terms": vacuum})).osmotic


def test_the_shipped_model_has_the_osmotic_pressure_of_an_ideal_solution_within_a_third():
    """2.4 M LiCl: 2 x 2.4 mol/L x R x 300 K = 123 bar; real solutions have some 1.2 times that (Robinson & Stokes)."""
    known = known_pressure(Denoiser.load("licl").header)
    assert known.osmotic and not known.fitted and 0 < known.error < 5
    assert 1.0 < known.value / IDEAL < 1.4


def test_the_mean_over_frames_has_the_error_of_its_replicas():
    rng = np.random.default_rng(0)
    shift = rng.normal(size=12)
    values, replica = (shift[:, None] + 0.01 * rng.normal(size=(12, 30))).ravel(), np.repeat(np.arange(12), 30)
    mean, error = frame_mean(values, replica)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(shift.std(ddof=1) / np.sqrt(12), rel=0.05)


def test_the_mean_of_models_tells_the_pressure_that_it_has():
    """Measured over the same frames: a pressure is linear in the energy."""
    frames, models = licl_frames(), []
    for factor in (1.0, -1.0):
        model = licl_denoiser(kinds=QUICK)
        model = model.rebuilt(model.header.terms, model.modules())
        (pair,) = [module for module in model.modules() if hasattr(module, "coefficients")]
        pair.coefficients.mul_(factor)
        models.append(with_pressure(model, frames))
    told = [known_pressure(model.header) for model in models]
    assert abs(told[0].value - told[1].value) > 5 * told[0].error
    mean = ensemble(models)
    expected = known_pressure(with_pressure(mean, frames).header)
    found = known_pressure(mean.with_held_out(mean_pressure([model.header for model in models])).header)
    assert found.value == pytest.approx(expected.value, rel=1e-4) and not found.fitted and found.osmotic
    assert expected.error <= found.error * (1 + 1e-6)
    assert mean_pressure([models[0].header, licl_denoiser(kinds=QUICK).header]) == {}
