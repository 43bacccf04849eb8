"""Alanine dipeptide, all 22 atoms, nothing rigid: its frames with forces, made by OpenMM.

amber14 and OBC2, 300 K, Langevin dynamics of 1 fs and friction 1/ps, some runs begun in alpha-R and the others in PPII.
OBC2 is taken as OpenMM's GBSAOBCForce with the radii of `implicit/obc2.xml`: the energy of the CustomGBForce of that
file, in two thirds of its time.
"""

from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app

from allatom.dynamics import kept_runs, sampled
from openmm_diffusion import Frames

PDB = Path(__file__).resolve().parents[2] / "alanine" / "alanine.pdb"
TEMPERATURE, TIMESTEP, FRICTION = 300.0, 0.001, 1.0  # K, ps, 1/ps
#: ps between frames; ps at the start of each run that it is held in a basin.
INTERVAL, HELD = 0.2, 2.0
#: Atoms of phi and psi.
PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
#: Where runs begin, (phi, psi) in degrees: each third in alpha-R, which equilibrium has about as often.
STARTS = ((-75.0, 150.0), (-70.0, -35.0), (-140.0, 155.0))
#: alpha-R is phi < 0 with psi (degrees) between these; beta and PPII are the rest of phi < 0.
ALPHA = (-120.0, 50.0)
#: From the centre of an atom to the radius of Born in OBC, nm.
OFFSET = 0.009


def topology():
    return app.PDBFile(str(PDB)).topology


def types():
    """What each atom is called: a heavy atom by its name and residue, a hydrogen as amber has them."""
    bonded = dict(sorted(pair, key=lambda atom: atom.element.symbol != "H") for pair in topology().bonds())
    carriers = {one.index: other.name for one, other in bonded.items()}
    kinds = {"N": "HN", "CA": "HA", "C": "H1"}
    return [
        kinds.get(carriers[atom.index], "HC") if atom.element.symbol == "H" else f"{atom.residue.name}:{atom.name}"
        for atom in topology().atoms()
    ]


def bonds():
    return np.array([sorted((one.index, other.index)) for one, other in topology().bonds()])


def make_system():
    """The System: flexible, in OBC2."""
    given = dict(nonbondedMethod=app.NoCutoff, constraints=None, removeCMMotion=False)
    reference = app.ForceField("amber14-all.xml", "implicit/obc2.xml").createSystem(topology(), **given)
    system = app.ForceField("amber14-all.xml").createSystem(topology(), **given)
    born = next(force for force in reference.getForces() if isinstance(force, openmm.CustomGBForce))
    force = openmm.GBSAOBCForce()
    force.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    for index in range(born.getNumParticles()):
        charge, offset_radius, scaled_radius = born.getParticleParameters(index)
        force.addParticle(charge, offset_radius + OFFSET, scaled_radius / offset_radius)
    system.addForce(force)
    return system


def _hold(system):
    """Add a bias that draws phi and psi to where its parameters say."""
    force = openmm.CustomTorsionForce("100*hold*(1-cos(theta-theta0))")
    force.addGlobalParameter("hold", 1.0)
    force.addPerTorsionParameter("theta0")
    for group in (PHI, PSI):
        force.addTorsion(*group, [0.0])
    system.addForce(force)
    return force


def run(number, duration, discard, seed):
    """One run: positions and forces of its frames.

    Parameters
    ----------
    number : int
        Of the run; where it begins.
    duration, discard : float, ps
        Of the run, and of its start that is left out, a part of which it is held.
    seed : int

    Returns
    -------
    positions, forces : array, shape (n_frames, 22, 3), nm and kJ/mol/nm, dtype float32
    """
    system = make_system()
    hold = _hold(system)
    for index, (group, angle) in enumerate(zip((PHI, PSI), STARTS[number % len(STARTS)])):
        hold.setTorsionParameters(index, *group, [np.radians(angle)])
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIMESTEP)
    # Zero asks OpenMM for a random one.
    integrator.setRandomNumberSeed(1 + 1000 * seed + number)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(app.PDBFile(str(PDB)).positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(TEMPERATURE, 1 + 1000 * seed + number)
    integrator.step(round(HELD / TIMESTEP))
    context.setParameter("hold", 0.0)
    integrator.step(round((discard - HELD) / TIMESTEP))
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
    positions, forces, replica = kept_runs(directory, "alanine", run, runs, duration, discard, seed)
    elements = [atom.element.atomic_number for atom in topology().atoms()]
    return Frames(positions, elements, None, TEMPERATURE, forces, replica, types(), bonds())


def dihedrals(positions):
    """phi and psi in degrees, shape (n_frames, 2)."""
    whole = mdtraj.Trajectory(np.asarray(positions, dtype=np.float32), None)
    return np.degrees(mdtraj.compute_dihedrals(whole, [PHI, PSI], periodic=False))


def basins(angles):
    """Whether frames are beta or PPII, alpha-R, or have phi > 0: shape (n_frames, 3)."""
    phi, psi = np.asarray(angles).T
    alpha = (psi > ALPHA[0]) & (psi < ALPHA[1])
    return np.stack([(phi < 0) & ~alpha, (phi < 0) & alpha, phi >= 0], axis=1)
