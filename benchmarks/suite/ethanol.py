"""Ethanol in the gas phase with quantum-chemical forces: frames of independent runs under GFN2-xTB.

    pip install tblite
    python benchmarks/suite/ethanol.py DIR --temperature 300 [--runs 8] [--duration 14] [--interval 0.05]

Every run is Langevin dynamics of its own seed, begun in turn in the trans and the two gauche conformers; nothing is
rigid.  A run is a file in DIR, and one that is there is not made again.  All together are
DIR/ethanol-300K.npz, which `Frames.load` reads: positions (nm), forces (kJ/mol/nm), elements, types, bonds and the
number of the run as replica; DIR/ethanol-300K.csv has the temperature of every run, by its velocities and by its
positions.  The frames are in the manner of MD17 (ethanol at 500 K), and are not MD17's: its labels are of density
functionals.

Energies are those of tblite's GFN2-xTB: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # nine atoms are too few for more; before tblite starts its threads

import numpy as np
import openmm
import pandas
from openmm import unit

from openmm_diffusion import Frames
from openmm_diffusion.rundirectory import made, whole, write_table
from openmm_diffusion.units import BOHR, BOLTZMANN, HARTREE, count, number

#: C of CH3, C of CH2, O, its H, those of CH3, those of CH2; equivalent atoms have one type.
ELEMENTS = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])
TYPES = ["C1", "C2", "OH", "HO", *3 * ["H1"], *2 * ["H2"]]
BONDS = np.array([[0, 1], [1, 2], [2, 3], [0, 4], [0, 5], [0, 6], [1, 7], [1, 8]])
#: C-C-O-H.
DIHEDRAL = (0, 1, 2, 3)
#: nm, where a run begins: near enough to a minimum for `discard` to forget it.
LENGTHS = {"C-C": 0.152, "C-O": 0.142, "C-H": 0.109, "O-H": 0.097}
METHOD, FRICTION = "GFN2-xTB", 5.0  # 1/ps: energies forget themselves in 0.1 ps, and dynamics are not asked for
#: Of the self-consistent field, in units of tblite's default: forces are then minus the gradient to a part in 1e5.
ACCURACY = 0.1
DEFAULTS = {"runs": 8, "duration": 14.0, "discard": 1.5, "interval": 0.05, "timestep": 0.0005, "seed": 0}


def conformer(which):
    """Positions (9, 3), nm, of ideal tetrahedra: 0 trans, 1 and 2 gauche.

    From CH2 the neighbours lie in four directions; from CH3 and O, staggered, in the opposite ones.
    """
    directions = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    methyl = LENGTHS["C-C"] * directions[0]
    oxygen = LENGTHS["C-O"] * directions[1]
    hydrogen = oxygen - LENGTHS["O-H"] * directions[(0, 2, 3)[which]]
    of_methyl = methyl - LENGTHS["C-H"] * directions[1:]
    of_methylene = LENGTHS["C-H"] * directions[2:]
    return np.concatenate([[methyl, np.zeros(3), oxygen, hydrogen], of_methyl, of_methylene])


class Quantum:
    """Energy and forces of GFN2-xTB, as OpenMM's PythonForce calls them.

    Raises
    ------
    ImportError
        Of one sentence, where there is no tblite.
    """

    def __init__(self):
        try:
            from tblite.interface import Calculator
        except ImportError as error:
            raise ImportError(
                "ethanol's forces come from tblite, which is not installed: pip install tblite"
            ) from error
        self.calculator = Calculator(METHOD, ELEMENTS, conformer(0) / BOHR)
        self.calculator.set("verbosity", 0)
        self.calculator.set("accuracy", ACCURACY)
        self.last = None

    def evaluate(self, positions):
        """Energy (kJ/mol) and forces (9, 3), kJ/mol/nm, at positions (9, 3), nm."""
        self.calculator.update(np.asarray(positions, dtype=float) / BOHR)
        # The density of the last step is where the next one begins.
        self.last = self.calculator.singlepoint(self.last)
        return HARTREE * float(self.last["energy"]), -HARTREE / BOHR * np.asarray(self.last["gradient"])

    def __call__(self, state):
        return self.evaluate(state.getPositions(asNumpy=True)._value)


def context_of(temperature, timestep, seed):
    """A Context of one molecule in a vacuum."""
    system = openmm.System()
    for element in ELEMENTS.tolist():
        system.addParticle(openmm.app.Element.getByAtomicNumber(element).mass)
    system.addForce(openmm.PythonForce(Quantum()))
    integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, timestep)
    integrator.setRandomNumberSeed(seed)
    return openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))


def run(run_number, temperature, duration, discard, interval, timestep, seed):
    """One run.

    Parameters
    ----------
    run_number : int
    temperature : float, K
    duration, discard, interval, timestep : float, ps
        What is kept comes after `discard`.
    seed : int

    Returns
    -------
    dict of array
        positions and forces, shape (n_frames, 9, 3), nm and kJ/mol/nm; energy and kinetic, shape (n_frames,), kJ/mol.
        Positions are about the centre of mass.
    """
    own = 1 + 1000 * seed + run_number  # zero asks OpenMM for a random one
    context = context_of(temperature, timestep, own)
    context.setPositions(conformer(run_number % 3))
    context.setVelocitiesToTemperature(temperature, own)
    integrator = context.getIntegrator()
    integrator.step(round(discard / timestep))
    masses = np.array([openmm.app.Element.getByAtomicNumber(int(element)).mass._value for element in ELEMENTS])
    kept = {"positions": [], "forces": [], "energy": [], "kinetic": []}
    for _ in range(round((duration - discard) / interval)):
        integrator.step(round(interval / timestep))
        state = context.getState(positions=True, forces=True, energy=True)
        x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        kept["positions"].append(x - masses @ x / masses.sum())
        kept["forces"].append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
        kept["energy"].append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
        kept["kinetic"].append(state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole))
    return {name: np.array(values) for name, values in kept.items()}


def temperatures(positions, forces, kinetic):
    """Temperature (K) by velocities, and by positions: the mean of -F.x about the centre is 24 kT for 27 coordinates.

    The second is the identity <F.g> = -kT <div g> with g the positions about their centre; it holds for frames alone.
    Velocities of a leapfrog are those of half steps, whose temperature is off by (omega dt)^2/4 of a vibration.
    """
    free = positions.shape[1] * 3
    virial = -np.mean(np.sum(forces * positions, axis=(1, 2), dtype=float))
    return float(2 * np.mean(kinetic) / (free * BOLTZMANN)), float(virial / ((free - 3) * BOLTZMANN))


def made_run(path, given, run_number, temperature):
    """A run from its file, made where there is none.

    Raises
    ------
    ValueError
        If the file is of other settings.
    """
    asked = json.dumps({**given, "temperature": temperature, "run": run_number, "method": METHOD}, sort_keys=True)
    if not path.exists():
        arrays = run(run_number, temperature, **{name: given[name] for name in DEFAULTS if name != "runs"})
        with whole(path) as file:
            np.savez(file, asked=np.array(asked), **arrays)
        print(f"{path.name}: {len(arrays['positions'])} frames", flush=True)
    with np.load(path) as kept:
        if str(kept["asked"]) != asked:
            raise ValueError(f"{path} was made with {kept['asked']}, not {asked}: name another directory")
        return {name: kept[name] for name in kept.files if name != "asked"}


def frames(directory, temperature, **given):
    """Frames of all runs; a run that is there is not made again.

    Parameters
    ----------
    directory : path-like
    temperature : float, K
    given : dict
        Any of `DEFAULTS`.

    Returns
    -------
    Frames
    """
    given = {**DEFAULTS, **given}
    runs, temperature = count(given.pop("runs"), "runs"), number(temperature, unit.kelvin, "temperature", above=0)
    if not 0 <= given["discard"] < given["duration"]:
        raise ValueError(f"discard is {given['discard']:g} ps of {given['duration']:g} ps: give less than the duration")
    directory, name = Path(directory), f"ethanol-{temperature:g}K"
    paths = [directory / f"{name}-run-{k:02d}.npz" for k in range(runs)]
    if not all(path.exists() for path in paths):
        Quantum()  # before a directory is made for what cannot be computed
    made(directory)
    parts = [made_run(path, given, k, temperature) for k, path in enumerate(paths)]
    told = [temperatures(part["positions"], part["forces"], part["kinetic"]) for part in parts]
    table = pandas.DataFrame(told, columns=["temperature by velocities / K", "temperature by positions / K"])
    write_table(directory / f"{name}.csv", table.rename_axis("run").reset_index(), float_format="%.5g")
    positions, forces = (np.concatenate([part[key] for part in parts]) for key in ("positions", "forces"))
    replica = np.repeat(np.arange(runs), [len(part["positions"]) for part in parts])
    result = Frames(positions, ELEMENTS, None, temperature, forces, replica, TYPES, BONDS)
    result.save(directory / f"{name}.npz")
    return result


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where runs and frames are kept")
    parser.add_argument("--temperature", type=float, default=300.0, help="K; default: 300")
    parser.add_argument("--runs", type=int, default=DEFAULTS["runs"], help="independent runs; default: 8")
    units = {"duration": "ps, of a run", "discard": "ps, of its start that are left out",
             "interval": "ps, between frames", "timestep": "ps"}  # fmt: skip
    for key, words in units.items():
        parser.add_argument(f"--{key}", type=float, default=DEFAULTS[key], help=f"{words}; default: {DEFAULTS[key]:g}")
    parser.add_argument("--seed", type=int, default=DEFAULTS["seed"], help="of all thermostats")
    given = vars(parser.parse_args(arguments))
    try:
        print(frames(given.pop("directory"), given.pop("temperature"), **given))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
