"""Liquid water, 64 molecules in a periodic box, nothing rigid: frames with forces, made by OpenMM.

SPC/E with the harmonic bonds and angle that OpenMM's `amber14/spce.xml` has for it, 300 K, PME, Lennard-Jones switched
off from 0.5 to 0.6 nm, Langevin dynamics of 0.5 fs and friction 1/ps.  `generate` of the package holds water rigid, so
that the System is made here; the random places that runs begin from are the package's own.
"""

import numpy as np
import openmm
from openmm import app

from allatom.dynamics import PROPERTIES, kept_runs, sampled
from openmm_diffusion import Frames
from openmm_diffusion.systems.solution import GenerateConfig, build_system, place_molecules

TEMPERATURE, TIMESTEP, FRICTION = 300.0, 0.0005, 1.0  # K, ps, 1/ps
#: 64 molecules at 0.997 g/cm^3, the density of water at 298 K; nm.
MOLECULES, EDGE = 64, 1.243
#: nm.
CUTOFF, SWITCH = 0.6, 0.5
#: ps between frames.
INTERVAL = 0.1
CONFIG = GenerateConfig(ions={}, waters=MOLECULES, edge=EDGE, cutoff=CUTOFF, keep="all")


def topology():
    return build_system(CONFIG)[0]


def make_system():
    """The System: flexible, all pairs by PME."""
    return app.ForceField("amber14/spce.xml").createSystem(
        topology(), nonbondedMethod=app.PME, nonbondedCutoff=CUTOFF, switchDistance=SWITCH, constraints=None,
        rigidWater=False, removeCMMotion=False,
    )  # fmt: skip


def run(number, duration, discard, seed):
    """One run from random places: positions and forces of its frames.

    Parameters
    ----------
    number : int
    duration, discard : float, ps
        Of the run, and of its start that is left out.
    seed : int

    Returns
    -------
    positions, forces : array, shape (n_frames, 192, 3), nm and kJ/mol/nm, dtype float32
        Molecules are whole.
    """
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIMESTEP)
    # Zero asks OpenMM for a random one.
    integrator.setRandomNumberSeed(1 + 1000 * seed + number)
    context = openmm.Context(make_system(), integrator, openmm.Platform.getPlatformByName("CPU"), PROPERTIES)
    context.setPositions(place_molecules(CONFIG, np.random.default_rng([seed, number])))
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=500)
    context.setVelocitiesToTemperature(TEMPERATURE, 1 + 1000 * seed + number)
    integrator.step(round(discard / TIMESTEP))
    return sampled(context, duration - discard, INTERVAL)


def frames(directory, runs, duration, discard, seed):
    """Frames of all runs; a run that is there is not made again.

    Parameters
    ----------
    directory : Path
    runs : int
    duration, discard : float, ps
    seed : int

    Returns
    -------
    Frames
    """
    positions, forces, replica = kept_runs(directory, "water", run, runs, duration, discard, seed)
    atoms = list(topology().atoms())
    bonds = np.array([sorted((one.index, other.index)) for one, other in topology().bonds()])
    return Frames(
        positions, [atom.element.atomic_number for atom in atoms], EDGE * np.eye(3), TEMPERATURE,
        forces, replica, [atom.element.symbol for atom in atoms], bonds,
    )  # fmt: skip
