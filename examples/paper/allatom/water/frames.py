"""Liquid water, 64 molecules in a periodic box, nothing rigid: frames with forces, made by OpenMM.

SPC/E with the harmonic bonds and angle that OpenMM's `amber14/spce.xml` has for it, 300 K, PME, Lennard-Jones switched
off from 0.5 to 0.6 nm, Langevin dynamics of 0.5 fs and friction 1/ps.  `generate` of the package holds water rigid, so
that the System is made here; the random places that runs begin from are the package's own.
"""

import numpy as np
import openmm
from openmm import app, unit

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
    system = app.ForceField("amber14/spce.xml").createSystem(
        topology(), nonbondedMethod=app.PME, nonbondedCutoff=CUTOFF, switchDistance=SWITCH, constraints=None,
        rigidWater=False, removeCMMotion=False,
    )  # fmt: skip
    return system


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
    context = openmm.Context(make_system(), integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(place_molecules(CONFIG, np.random.default_rng([seed, number])))
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=500)
    context.setVelocitiesToTemperature(TEMPERATURE, 1 + 1000 * seed + number)
    integrator.step(round(discard / TIMESTEP))
    positions, forces = [], []
    for _ in range(round((duration - discard) / INTERVAL)):
        integrator.step(round(INTERVAL / TIMESTEP))
        state = context.getState(positions=True, forces=True)
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        forces.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    return np.array(positions, dtype=np.float32), np.array(forces, dtype=np.float32)


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
    directory.mkdir(parents=True, exist_ok=True)
    positions, forces = [], []
    for number in range(runs):
        path = directory / f"water-{duration:g}-{discard:g}ps-{seed}-{number:02d}.npz"
        if not path.exists():
            x, f = run(number, duration, discard, seed)
            draft = path.with_suffix(".part.npz")
            np.savez(draft, positions=x, forces=f)
            draft.replace(path)
            print(f"{path.name}: {len(x)} frames", flush=True)
        with np.load(path) as kept:
            positions.append(kept["positions"])
            forces.append(kept["forces"])
    replica = np.repeat(np.arange(runs), [len(part) for part in positions])
    atoms = list(topology().atoms())
    bonds = np.array([sorted((one.index, other.index)) for one, other in topology().bonds()])
    return Frames(
        np.concatenate(positions), [atom.element.atomic_number for atom in atoms], EDGE * np.eye(3), TEMPERATURE,
        np.concatenate(forces), replica, [atom.element.symbol for atom in atoms], bonds,
    )  # fmt: skip
