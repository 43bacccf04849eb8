"""Units: constants against OpenMM's own, Quantities in, and what is refused."""

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_diffusion import units

KJ = unit.kilojoule_per_mole


def test_boltzmann_constant_is_openmms_gas_constant():
    assert units.BOLTZMANN == pytest.approx(unit.MOLAR_GAS_CONSTANT_R.value_in_unit(KJ / unit.kelvin), rel=1e-9)
    # The 2019 SI: k_B N_A, exactly.
    assert units.BOLTZMANN == pytest.approx(1.380649e-23 * 6.02214076e23 / 1000, rel=1e-14)


def test_coulomb_constant_is_the_one_openmm_computes_with():
    # Two unit charges 1 nm apart.
    system, force = openmm.System(), openmm.NonbondedForce()
    for _ in range(2):
        system.addParticle(1)
        force.addParticle(1, 1, 0)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([[0, 0, 0], [1, 0, 0]])
    assert units.COULOMB == pytest.approx(context.getState(energy=True).getPotentialEnergy() / KJ, rel=1e-8)
    # e^2 N_A / (4 pi epsilon_0), CODATA 2018.
    si = 1.602176634e-19**2 * 6.02214076e23 / (4 * np.pi * 8.8541878128e-12) * 1e9 / 1000
    assert units.COULOMB == pytest.approx(si, rel=1e-6)


def test_electronvolt_angstrom_and_mol_per_litre():
    assert units.ELECTRONVOLT == pytest.approx(1.602176634e-19 * 6.02214076e23 / 1000, rel=1e-14)
    assert units.ANGSTROM == unit.angstrom.conversion_factor_to(unit.nanometer)
    per_nm3 = (1 * unit.molar * unit.AVOGADRO_CONSTANT_NA).value_in_unit(unit.nanometer**-3)
    assert units.MOLAR == pytest.approx(per_nm3, rel=1e-7)


def test_thermal_energy_of_a_number_and_of_a_quantity():
    assert units.thermal_energy(300) == pytest.approx(2.494338785, rel=1e-9)
    assert units.thermal_energy(300 * unit.kelvin) == units.thermal_energy(300.0)


def test_quantities_are_converted_and_numbers_are_taken_as_they_are():
    assert units.kelvin(298.15 * unit.kelvin) == 298.15
    assert units.nanometers(0.5) == 0.5
    assert units.nanometers(5.0 * unit.angstrom) == pytest.approx(0.5)
    np.testing.assert_allclose(units.nanometers(np.array([5.0, 10.0]) * unit.angstrom), [0.5, 1.0])
    assert units.molar(2.4) == 2.4
    assert units.molar(2.4 * unit.mole / unit.liter) == pytest.approx(2.4)
    assert units.bare(1 * unit.kilocalorie_per_mole) == pytest.approx(4.184)
    assert units.bare(2.5) == 2.5


@pytest.mark.parametrize(
    "convert, value, message",
    [
        (units.kelvin, 300 * unit.nanometer, "temperature is 300 nm: give a quantity in kelvin"),
        (units.nanometers, 3 * unit.picosecond, "length is 3 ps: give a quantity in nanometer"),
        (units.molar, 3 * unit.kelvin, "concentration is 3 K: give"),
    ],
)
def test_quantities_of_another_dimension_are_refused(convert, value, message):
    with pytest.raises(ValueError, match=message):
        convert(value)


def test_the_argument_is_named_in_the_message():
    with pytest.raises(ValueError, match="edge is 3 K"):
        units.nanometers(3 * unit.kelvin, "edge")


@pytest.mark.parametrize("value", [0, -10, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(value):
    with pytest.raises(ValueError, match="give a positive temperature in K"):
        units.kelvin(value)
