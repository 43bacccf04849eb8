"""The unit system and its only conversions: nm, ps, amu, K, kJ/mol, e (OpenMM's own)."""

import numpy as np
import openmm
from openmm import unit

#: Boltzmann constant times Avogadro's number, kJ/mol/K (exact in the 2019 SI).
BOLTZMANN = 8.31446261815324e-3
#: Electronvolt, kJ/mol (exact in the 2019 SI).
ELECTRONVOLT = 96.48533212331002
#: Thermochemical kilocalorie, kJ.
KILOCALORIE = 4.184
#: Hartree, kJ/mol (CODATA 2018).
HARTREE = 2625.4996394799
#: Angstrom, nm.
ANGSTROM = 0.1
#: Bohr radius, nm (CODATA 2018).
BOHR = 0.0529177210903
#: Coulomb constant 1/(4 pi epsilon_0), kJ/mol nm/e^2: the value OpenMM computes with.
COULOMB = 138.93545764438198
#: Bar, kJ/mol/nm^3 (exact in the 2019 SI).
BAR = 0.0602214076
#: Amount of particles per nm^3 in one mol/L.
MOLAR = 0.602214076
#: Millipascal second, amu/nm/ps (the same as kJ/mol ps/nm^3).
MILLIPASCAL_SECOND = 602.214076
#: Square nanometre per picosecond, 1e-9 m^2/s.
DIFFUSION = 1000.0


def thermal_energy(temperature):
    """kT in kJ/mol of a temperature in K (or a Quantity)."""
    return BOLTZMANN * kelvin(temperature)


def bare(value):
    """A Quantity as a number in OpenMM's unit system; anything else as it is."""
    if isinstance(value, openmm.unit.Quantity):
        return value.value_in_unit_system(unit.md_unit_system)
    return value


def _bare_in(value, expected, argument):
    if isinstance(value, openmm.unit.Quantity):
        if not value.unit.is_compatible(expected):
            # Of an array the unit says enough.
            shown = f"an array in {value.unit}" if np.ndim(value._value) else f"{value}"
            raise ValueError(f"{argument} is {shown}: give a quantity in {expected}, or a bare number in {expected}")
        return value.value_in_unit(expected)
    return value


def kelvin(temperature):
    """A positive temperature as a float in K; accepts a Quantity."""
    value = float(_bare_in(temperature, unit.kelvin, "temperature"))
    if not value > 0 or value == float("inf"):
        raise ValueError(f"temperature is {value:g} K: give a positive temperature in K")
    return value


def nanometers(length, argument="length"):
    """A length, or an array of lengths, in nm; accepts a Quantity."""
    return _bare_in(length, unit.nanometer, argument)


def molar(concentration, argument="concentration"):
    """A concentration in mol/L; accepts a Quantity."""
    return float(_bare_in(concentration, unit.molar, argument))


def millipascal_seconds(viscosity, argument="viscosity"):
    """A viscosity in mPa s; accepts a Quantity."""
    return float(_bare_in(viscosity, unit.millipascal * unit.second, argument))
