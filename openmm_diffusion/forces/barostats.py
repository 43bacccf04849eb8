"""Barostats over a model: which models are refused one, and how a force says so wherever it goes.

Energies that were fitted at one volume do not know the pressure of their data.  At that volume they have some pressure,
and a barostat at another moves the density to where the two agree, far from the data.  So a barostat needs a model that
was fitted with a pressure; a model with a vector head, which has no energy, and copies that share a box have none at
all.  A force that refuses barostats says so in its name, for `check_system`, and again where a Context is made:

- a PythonForce, whose XML keeps no name, sees the parameters of the Context, and so those of a barostat;
- other forces hold the parameters of barostats themselves, with a value that no barostat has: OpenMM makes no Context
  of two forces that disagree in the value of a parameter.  A TorchForce, whose parameters are arguments of its module,
  holds that of isotropic barostats alone, and none where CUDA graphs fix the arguments;
- a System of OpenMM's own forces alone gets a force of no particle that does.

What stands inside a CustomCVForce is evaluated in a Context of its own, without barostat: a PythonForce there is
refused by `check_system` alone.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import openmm

from ..model.pressure import Pressure

#: Ends of a force's name.
WITHOUT_ENERGY, COPIES, CONSTANT_VOLUME = " without energy", " copies", " at constant volume"

#: Parameters of a Context that has a barostat: isotropic or flexible, anisotropic, of a membrane.
PARAMETERS = ("MonteCarloPressure", "MonteCarloPressureX", "MembraneMonteCarloPressure")

#: Value (bar) of such a parameter that no barostat has.
NONE = -1.0e9


def volume_note(pressure: Pressure, allow_barostat: bool) -> str:
    """What the name of a force says of its volume: nothing, where a barostat may change it."""
    if pressure.fitted or allow_barostat:
        return ""
    known = [f"{pressure.value:.0f} bar"] if np.isfinite(pressure.value) else []
    known += ["osmotic"] if pressure.osmotic else []
    return CONSTANT_VOLUME + (f" ({', '.join(known)})" if known else "")


def refusal(name: str, barostat: str) -> str | None:
    """Why a force of this name is refused a barostat, in one sentence; None where it is not.

    Parameters
    ----------
    name : str
        Of a DiffusionForce.
    barostat : str
        What the sentence calls the barostat.
    """
    if COPIES in name:
        return (
            f"{barostat} would set one pressure for all replicas together, and so a wrong volume: simulate one replica"
        )
    if WITHOUT_ENERGY in name:
        return f"{barostat} needs an energy, but the model has a vector head, which has none: use an energy head"
    told = re.search(rf"{CONSTANT_VOLUME}(?: \(([^)]*)\))?", name)
    if told is None:
        return None
    known = (told[1] or "").split(", ")
    osmotic, value = "osmotic" in known, next((text for text in known if text.endswith("bar")), None)
    what = "the osmotic pressure of the model" if osmotic else "the pressure of the model"
    measured = f"{what} at the volume of its data is {value}" if value else f"{what} is not known"
    remedy = (
        "a dielectric stands for the solvent, whose pressure no barostat of the beads can set; keep the volume, or "
        "insist with allow_barostat=True"
        if osmotic
        else "where a bead is a whole molecule, fit with the pressure of the data (pressure: {value: 1.0}, in bar); "
        "where solvent was integrated out it is the osmotic pressure, so keep the volume; or insist with "
        "allow_barostat=True"
    )
    if value is None:
        remedy = f"`evaluate` measures it; {remedy}"
    return f"{barostat} is refused: {measured}, and it was fitted at constant volume, without a pressure: {remedy}"


def barostat_of(system: openmm.System) -> Any:
    """The first barostat of a System, or None."""
    return next((force for force in system.getForces() if "Barostat" in type(force).__name__), None)


def add_barostat(system: openmm.System, topology: Any, pressure: float, temperature: float, seed: int) -> None:
    """Add a Monte Carlo barostat (bar, K) to the System of an openmm.app.Topology.

    Raises
    ------
    ValueError
        Without a box.
    """
    if topology.getPeriodicBoxVectors() is None:
        raise ValueError(f"pressure is {pressure:g} bar, but there is no box: leave it out, or give edge (nm)")
    barostat = openmm.MonteCarloBarostat(pressure, temperature)
    barostat.setRandomNumberSeed(seed)
    system.addForce(barostat)


def has_barostat(parameters: Mapping[str, float]) -> bool:
    """Whether the parameters of a Context tell of a barostat, and not of a force that refuses them."""
    return any(name in parameters and parameters[name] != NONE for name in PARAMETERS)


def refusing_force(name: str) -> openmm.CustomExternalForce:
    """A force of no particle whose name and parameter refuse barostats: for Systems that hold no other with either."""
    force = openmm.CustomExternalForce("0")
    force.setName(name)
    refuse_in_contexts(force)
    return force


def refuse_in_contexts(force: Any, parameters: Iterable[str] = PARAMETERS) -> None:
    """Let a force that knows of no other's parameters make no Context beside a barostat."""
    for name in parameters:
        force.addGlobalParameter(name, NONE)
