"""The unit system and its only conversions: nm, ps, amu, K, kJ/mol, e (OpenMM's own); and what is a number at all."""

import math
import numbers
import reprlib

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
#: Particles, copies and other counts beyond this are a slip of the pen: no machine of today has room for them.
MOST = 1_000_000
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


def number(value, expected, argument, *, above=None, at_least=None, below=None, at_most=None):
    """A finite number as a float: the one place where numbers that callers give are checked.

    Parameters
    ----------
    value : float or Quantity
        True and false are no numbers, nor are strings, complex numbers and arrays.
    expected : openmm.unit.Unit or None
        Unit of the result, which a Quantity is converted to; None: it has none.
    argument : str
        What the caller calls it, for the sentence.
    above, at_least, below, at_most : float, optional
        Limits, in that unit; `above` and `below` do not belong to the range.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        With argument, value, unit and remedy.
    """
    name, symbol = argument, _symbol(expected)
    found = _in_unit(value, expected, name)
    if getattr(found, "ndim", None) == 0 and hasattr(found, "item"):  # one number of numpy or torch
        found = found.item()
    remedy = f"give {_range(above, at_least, below, at_most)}{_in(symbol)}"
    if isinstance(found, (bool, np.bool_)) or not isinstance(found, numbers.Real):
        raise ValueError(f"{name} is {shown(found)}, which is no real number: {remedy}")
    try:
        result = float(found)
    except OverflowError:
        result = math.inf
    within = (
        math.isfinite(result)
        and (above is None or result > above)
        and (at_least is None or result >= at_least)
        and (below is None or result < below)
        and (at_most is None or result <= at_most)
    )
    if not within:
        raise ValueError(f"{name} is {result:g}{f' {symbol}' if symbol else ''}: {remedy}")
    return result


def count(value, argument, *, at_least=1, at_most=None):
    """A whole number as an int, with limits; arguments and errors as `number`, without a unit."""
    limits = f"from {at_least} on" if at_most is None else f"from {at_least} to {at_most}"
    found = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    whole = isinstance(found, numbers.Integral) and not isinstance(found, (bool, np.bool_))
    if not whole or found < at_least or (at_most is not None and found > at_most):
        raise ValueError(f"{argument} is {shown(value)}: give a whole number {limits}")
    return int(found)


def array(value, expected, argument, shape=None, *, finite=True, dtype=np.float64):
    """Real numbers as a contiguous array: the one place where arrays that callers give are checked.

    Parameters
    ----------
    value : array, Quantity, or (nested) list of numbers or Quantities
        Arrays of true and false, strings, complex numbers and objects are refused.
    expected : openmm.unit.Unit or None
        Unit of the result; None: it has none.
    argument : str
    shape : tuple of int, str or Ellipsis, optional
        What the array must have: a number; a name, for any number from 1 on; Ellipsis in the first place, for any
        dimensions before.
    finite : bool
        Whether NaN and Inf are refused.
    dtype : numpy dtype
        Of the result.

    Returns
    -------
    array

    Raises
    ------
    ValueError
    """
    unit_told = _in(_symbol(expected))
    if isinstance(value, (list, tuple)):
        value = [_in_unit(part, expected, argument) for part in value]
    value = _in_unit(value, expected, argument)
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # ragged lists; tensors that have a gradient
        raise ValueError(f"{argument} is no array of numbers: give a regular one{unit_told}") from error
    if raw.dtype.kind not in "iuf":
        raise ValueError(f"{argument} is {_kind(raw, value)}: give an array of real numbers{unit_told}")
    if shape is not None and not _fits(raw.shape, shape):
        wanted = ", ".join("..." if part is Ellipsis else str(part) for part in shape)
        raise ValueError(f"{argument} has shape {raw.shape}: give ({wanted}){unit_told}")
    with np.errstate(over="ignore"):  # what is too large for a float32 is told as Inf
        result = np.ascontiguousarray(raw, dtype=dtype)
    if finite and not np.isfinite(result).all():
        raise ValueError(f"{argument} holds NaN or Inf: give finite numbers{unit_told}")
    return result


def shown(value):
    """A value for a sentence: at most a line, whatever its size."""
    try:
        return " ".join(_SHORT.repr(value).split())[:200]
    except Exception:  # a __repr__ of somebody else's may do anything
        return f"an object of type {type(value).__name__}"


def kelvin(temperature, argument="temperature"):
    """A positive temperature as a float in K; accepts a Quantity."""
    found = _in_unit(temperature, unit.kelvin, argument)
    if isinstance(found, numbers.Real) and not isinstance(found, (bool, np.bool_)) and not 0 < found < math.inf:
        raise ValueError(f"{argument} is {float(found):g} K: give a positive temperature in K")
    return number(found, unit.kelvin, argument, above=0)


def nanometers(length, argument="length", **limits):
    """A length as a float in nm, with the limits of `number`; without limits an array of lengths too."""
    if not limits and np.ndim(length._value if isinstance(length, openmm.unit.Quantity) else length):
        return array(length, unit.nanometer, argument)
    return number(length, unit.nanometer, argument, **limits)


def picoseconds(time, argument="time", **limits):
    """A time as a float in ps, with the limits of `number`; accepts a Quantity."""
    return number(time, unit.picosecond, argument, **limits)


def molar(concentration, argument="concentration"):
    """A positive concentration as a float in mol/L; accepts a Quantity."""
    return number(concentration, unit.molar, argument, above=0)


def millipascal_seconds(viscosity, argument="viscosity"):
    """A positive viscosity as a float in mPa s; accepts a Quantity."""
    return number(viscosity, unit.millipascal * unit.second, argument, above=0)


#: How values of any size are shown.
_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = _SHORT.maxlong = 60


def _in_unit(value, expected, argument):
    """A Quantity in a unit; anything else as it is."""
    if not isinstance(value, openmm.unit.Quantity):
        return value
    if expected is None:
        raise ValueError(f"{argument} is in {_symbol(value.unit)}, but it has no unit: give a bare number")
    if not value.unit.is_compatible(expected):
        # Of an array the unit says enough.
        told = f"an array in {value.unit}" if np.ndim(value._value) else f"{value}"
        raise ValueError(f"{argument} is {told}: give a quantity in {expected}, or a bare number in {expected}")
    return value.value_in_unit(expected)


def _symbol(expected):
    if expected is None:
        return ""
    return _SYMBOLS.get(str(expected)) or expected.get_symbol()


#: Units whose symbol in OpenMM is not the one in use.
_SYMBOLS = {
    "molar": "mol/L",
    "kilojoule/(nanometer*mole)": "kJ/mol/nm",
    "kilojoule/mole": "kJ/mol",
    "dalton": "amu",
    "/picosecond": "1/ps",
    "second*millipascal": "mPa s",
}


def _in(symbol):
    return f" in {symbol}" if symbol else ""


def _range(above, at_least, below, at_most):
    """Words for the limits of a number."""
    if above == 0 and below is None and at_most is None:
        return "a positive number"
    parts = [
        f"{word} {limit:g}"
        for word, limit in (("above", above), ("at least", at_least), ("below", below), ("at most", at_most))
        if limit is not None
    ]
    return f"a number {' and '.join(parts)}" if parts else "a finite number"


def _fits(found, wanted):
    if wanted and wanted[0] is Ellipsis:
        wanted = wanted[1:]
        found = found[len(found) - len(wanted) :] if len(found) >= len(wanted) else found
    if len(found) != len(wanted):
        return False
    return all(n > 0 if isinstance(part, str) else n == part for n, part in zip(found, wanted))


def _kind(raw, value):
    names = {"b": "an array of true and false", "c": "an array of complex numbers"}
    if raw.dtype.kind in names and raw.ndim:
        return names[raw.dtype.kind]
    return "an array of strings" if raw.dtype.kind in "US" and raw.ndim else shown(value)
