"""The truth of the example: chains of beads A and B in OpenMM, and equilibrium configurations of them.

    python examples/chain/truth.py BEADS OUTPUT.npz [--copies 32] [--frames 4000]

The pattern is AABB, repeated.  Bonds are harmonic; angles are restricted bending potentials, which keep away from
straight (Bulacu et al., J. Chem. Theory Comput. 9, 3282 (2013)); torsions are short cosine series; beads more than
three bonds apart attract and repel each other by a Lennard-Jones potential that ends smoothly at 1 nm.  A System holds
several copies of a chain, none of which feels another: each is an independent replica.  There is no box.  The file
written holds positions, types, bonds and masses, and no forces.
"""

import argparse
from pathlib import Path

import numpy as np
import openmm

from openmm_diffusion import Frames

TEMPERATURE, MASS, FRICTION, TIMESTEP = 300.0, 72.0, 1.0, 0.01  # K, amu, 1/ps, ps
PATTERN = "AABB"
#: k (kJ/mol/nm^2) and r0 (nm) by the two beads.
BONDS = {"AA": (20000.0, 0.38), "AB": (25000.0, 0.40), "BB": (16000.0, 0.42)}
#: k (kJ/mol) and theta0 (degrees) by the bead at the vertex.
ANGLES = {"A": (45.0, 118.0), "B": (60.0, 100.0)}
#: Amplitudes (kJ/mol) of 1 + cos(phi) and 1 + cos(3 phi) by the two beads in the middle.
TORSIONS = {"AA": (2.0, 1.5), "AB": (1.0, 2.0), "BB": (-1.5, 1.0)}
#: epsilon (kJ/mol) and sigma (nm).
PAIRS = {"AA": (0.8, 0.45), "AB": (1.2, 0.47), "BB": (2.0, 0.50)}
#: Where the Lennard-Jones potential begins to be switched off, and where it is zero (nm).
SWITCH, CUTOFF = 0.8, 1.0

#: The same in OpenMM's words; `c` is the cosine of an angle.
BOND = "0.5*k*(r - r0)^2"
ANGLE = "0.5*k*(c - cos(theta0))^2/(1 - c*c); c = cos(theta)"
TORSION = "k1*(1 + cos(theta)) + k3*(1 + cos(3*theta))"
PAIR = (
    "4*epsilon*x*(x - 1)*switch; x = (sigma/r)^6; switch = 1 - t^3*(10 - 15*t + 6*t^2);"
    f" t = min(max((r - {SWITCH})/{CUTOFF - SWITCH}, 0), 1)"
)


def beads_of(n_beads):
    """Types of the beads of a chain."""
    return [PATTERN[i % len(PATTERN)] for i in range(n_beads)]


def of_two(table, one, other):
    """The entry of two beads, in any order."""
    return table["".join(sorted(one + other))]


def energy(table, kind, q):
    """Energy (kJ/mol) of one coordinate: r (nm) of BONDS and PAIRS, cos(theta) of ANGLES, phi (rad) of TORSIONS."""
    first, second = table[kind]
    if table is BONDS:
        return 0.5 * first * (q - second) ** 2
    if table is ANGLES:
        return 0.5 * first * (q - np.cos(np.radians(second))) ** 2 / (1 - q**2)
    if table is TORSIONS:
        return first * (1 + np.cos(q)) + second * (1 + np.cos(3 * q))
    x, t = (second / q) ** 6, np.clip((q - SWITCH) / (CUTOFF - SWITCH), 0, 1)
    return 4 * first * x * (x - 1) * (1 - t**3 * (10 - 15 * t + 6 * t**2))


def truth(n_beads, copies=1):
    """OpenMM System of copies of a chain, none of which feels another."""
    kinds, system = beads_of(n_beads), openmm.System()
    bond, angle = openmm.CustomBondForce(BOND), openmm.CustomAngleForce(ANGLE)
    torsion, pair = openmm.CustomTorsionForce(TORSION), openmm.CustomBondForce(PAIR)
    for force, add, names in (
        (bond, bond.addPerBondParameter, ("k", "r0")),
        (angle, angle.addPerAngleParameter, ("k", "theta0")),
        (torsion, torsion.addPerTorsionParameter, ("k1", "k3")),
        (pair, pair.addPerBondParameter, ("epsilon", "sigma")),
    ):
        for name in names:
            add(name)
        system.addForce(force)
    for copy in range(copies):
        for _ in kinds:
            system.addParticle(MASS)
        at, end = copy * n_beads, (copy + 1) * n_beads
        for i in range(at, end):
            a = kinds[i - at]
            if i + 1 < end:
                bond.addBond(i, i + 1, of_two(BONDS, a, kinds[i + 1 - at]))
            if i + 2 < end:
                k, degrees = ANGLES[kinds[i + 1 - at]]
                angle.addAngle(i, i + 1, i + 2, [k, np.radians(degrees)])
            if i + 3 < end:
                middle = of_two(TORSIONS, kinds[i + 1 - at], kinds[i + 2 - at])
                torsion.addTorsion(i, i + 1, i + 2, i + 3, middle)
            for j in range(i + 4, end):
                pair.addBond(i, j, of_two(PAIRS, a, kinds[j - at]))
    return system


def zigzag(n_beads, copies, seed):
    """Stretched chains, (copies, n_beads, 3), nm, with a little noise: where a run begins."""
    i = np.arange(n_beads)
    plane = np.stack([0.32 * i, 0.2 * (i % 2), 0 * i], -1)
    return plane + np.random.default_rng(seed).normal(0, 0.01, (copies, n_beads, 3))


def dynamics(system, starts, n_frames, interval, discard, seed, platform="Reference", timestep=TIMESTEP, progress=None):
    """Langevin dynamics on one thread of several chains in one System.

    Parameters
    ----------
    system : openmm.System
        Of the chains one after the other.
    starts : array, shape (n_chains, n_beads, 3), nm
    n_frames : int
        Of each chain.
    interval, discard : float, ps
        Between frames, and before the first.
    seed : int
    platform : str
    timestep : float, ps
    progress : callable, optional
        Called with the part that is done.

    Returns
    -------
    array, shape (n_chains, n_frames, n_beads, 3), nm
        Each chain about its centre: in the vacuum they drift.
    """
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, timestep)
    integrator.setRandomNumberSeed(seed + 1)
    properties = {"Threads": "1"} if platform == "CPU" else {}
    run = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    run.setPositions(starts.reshape(-1, 3))
    openmm.LocalEnergyMinimizer.minimize(run, maxIterations=200)
    run.setVelocitiesToTemperature(TEMPERATURE, seed + 1)
    integrator.step(round(discard / timestep))
    found = []
    for number in range(n_frames):
        integrator.step(round(interval / timestep))
        positions = run.getState(positions=True).getPositions(asNumpy=True)._value.reshape(starts.shape)
        found.append(positions - positions.mean(1, keepdims=True))
        if progress and (number + 1) % max(1, n_frames // 5) == 0:
            progress((number + 1) / n_frames)
    return np.array(found).swapaxes(0, 1)


def energies_and_forces(positions):
    """Exact energies (kJ/mol) and forces (kJ/mol/nm) of configurations (n_frames, n_beads, 3), nm, of one chain."""
    system = truth(positions.shape[1])
    at = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    energies, forces = [], []
    for frame in positions:
        at.setPositions(np.asarray(frame, dtype=float))
        state = at.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def sample(n_beads, copies=32, n_frames=4000, interval=20.0, discard=300.0, seed=0, progress=None):
    """Equilibrium configurations of the truth.

    Parameters
    ----------
    n_beads : int
    copies : int
        Independent chains, the replicas of the frames.
    n_frames : int
        Of all copies together.
    interval, discard : float, ps
        Between frames of a copy, and before the first.
    seed : int
    progress : callable, optional
        Called with the part that is done.

    Returns
    -------
    Frames
        Without forces.
    """
    starts, each = zigzag(n_beads, copies, seed), n_frames // copies
    chains = dynamics(truth(n_beads, copies), starts, each, interval, discard, seed, progress=progress)
    return frames_of(chains)


def frames_of(chains):
    """Frames of chains (n_chains, n_frames, n_beads, 3), nm, each a replica."""
    n_chains, n_frames, n_beads = chains.shape[:3]
    bonds = np.stack([np.arange(n_beads - 1), np.arange(1, n_beads)], -1)
    return Frames(
        chains.reshape(-1, n_beads, 3), np.zeros(n_beads, dtype=int), None, TEMPERATURE,
        replica=np.repeat(np.arange(n_chains), n_frames), types=beads_of(n_beads), bonds=bonds,
        masses=np.full(n_beads, MASS),
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("beads", type=int)
    parser.add_argument("output", type=Path)
    parser.add_argument("--copies", type=int, default=32)
    parser.add_argument("--frames", type=int, default=4000)
    options = parser.parse_args()

    def progress(part):
        print(f"{options.beads} beads: {100 * part:.0f} %", flush=True)

    options.output.parent.mkdir(parents=True, exist_ok=True)
    frames = sample(options.beads, options.copies, options.frames, seed=options.beads, progress=progress)
    frames.save(options.output)
    print(f"{options.output}: {frames}")


if __name__ == "__main__":
    main()
