"""What the native forces of molecules cost beside harmonic bonds: time per MD step, force by force.

    python benchmarks/bonded.py NAME=MODEL,FRAMES[,COPIES] ... --output OUTPUT

Of every trained model of bonded beads, with frames of one molecule: one molecule without a box, or COPIES^3 of them on
a grid in a box.  Systems are the molecules with harmonic bonds only, those with one native force of the model beside,
with all of them in place of the harmonic bonds, and, as a yardstick, with OpenMM's built-in forces in their place: a
harmonic bond for each bond, 1-3 and 1-4 distance, a harmonic angle, a periodic torsion of one term, no maps and no
pairs.  One thread; steps are so short (1e-6 ps) that nothing moves.  Rounds over all Systems follow one another, so
that what else the machine does meets all of them alike.  `ratio` is that of the shortest times of both, which other
work disturbs least; quartiles are of the ratios of times of the same round.

Writes bonded.csv and bonded.png.
"""

import argparse
import copy
import time
from pathlib import Path

import matplotlib
import numpy as np
import openmm
import pandas
from openmm import app, unit

from openmm_diffusion import Denoiser, Frames, create_system

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - after its backend

#: Edge (nm) of the part of the box that each molecule has.
ROOM = 1.6


def molecules(frames, copies):
    """Topology, positions (n, 3), nm, and bonds of copies^3 molecules of different frames; of one without a box."""
    topology, positions, bonds = app.Topology(), [], []
    chain = topology.addChain()
    for number, place in enumerate(np.ndindex(copies, copies, copies)):
        residue = topology.addResidue("MOL", chain)
        atoms = [topology.addAtom(name, None, residue) for name in frames.types]
        for i, j in frames.bonds:
            topology.addBond(atoms[i], atoms[j])
            bonds.append((atoms[i].index, atoms[j].index))
        x = frames.positions[number * len(frames) // copies**3].astype(float)
        positions.append(x - x.mean(0) + ROOM * np.array(place))
    if copies > 1:
        topology.setPeriodicBoxVectors(ROOM * copies * np.eye(3) * unit.nanometer)
    return topology, np.concatenate(positions), bonds


def with_forces(system, forces):
    """A System of the same particles with other forces."""
    other = openmm.System()
    for i in range(system.getNumParticles()):
        other.addParticle(system.getParticleMass(i))
    other.setDefaultPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    for force in forces:
        other.addForce(copy.deepcopy(force))
    return other


def built_in(connectivity, x, periodic):
    """OpenMM's own forces for the same groups, each at rest where it is."""
    bonds, angles, torsions = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for table in (connectivity.bonds, connectivity.angles, connectivity.dihedrals):
        for group in table.tolist():
            bonds.addBond(group[0], group[-1], float(np.linalg.norm(x[group[0]] - x[group[-1]])), 1e4)
    for group in connectivity.angles.tolist():
        angles.addAngle(*group, 2.0, 100.0)
    for table in (connectivity.dihedrals, connectivity.impropers):
        for group in table.tolist():
            torsions.addTorsion(*group, 1, 0.0, 5.0)
    for force in (bonds, angles, torsions):
        force.setUsesPeriodicBoundaryConditions(periodic)
    return [bonds, angles, torsions]


def systems(model, frames, copies):
    """Systems to be timed, by name, and positions."""
    topology, x, pairs = molecules(frames, copies)
    whole = create_system(model, topology, backend="native", types="name")
    harmonic = openmm.HarmonicBondForce()
    for i, j in pairs:
        harmonic.addBond(i, j, float(np.linalg.norm(x[i] - x[j])), 1e5)
    harmonic.setUsesPeriodicBoundaryConditions(copies > 1)
    native = list(whole.getForces())
    connectivity = model.connectivity(model.species_index(list(frames.types) * copies**3), pairs)
    found = {"harmonic bonds": with_forces(whole, [harmonic])}
    found["built-in forces"] = with_forces(whole, built_in(connectivity, x, copies > 1))
    for name in dict.fromkeys(force.getName() for force in native):  # a term may have several
        found[f"+ {name}"] = with_forces(whole, [harmonic, *(force for force in native if force.getName() == name)])
    found["all but maps"] = with_forces(whole, [f for f in native if f.getName() != "DihedralMaps"])
    found["all bonded"] = with_forces(whole, [f for f in native if not f.getName().startswith("DiffusionForce")])
    found["all"] = with_forces(whole, native)
    return found, x


def context(system, x):
    integrator = openmm.LangevinMiddleIntegrator(300, 2.0, 1e-6)
    platform = openmm.Platform.getPlatformByName("CPU")
    made = openmm.Context(system, integrator, platform, {"Threads": "1"})
    made.setPositions(x)
    made.setVelocitiesToTemperature(300, 1)
    return made


def timed(name, found, x, rounds, seconds):
    """A row for every System: microseconds of a step, and its speed over that with harmonic bonds only."""
    contexts = {forces: context(system, x) for forces, system in found.items()}
    times = {forces: [] for forces in contexts}
    steps = {}
    for forces, one in contexts.items():
        one.getIntegrator().step(5)
        begun = time.perf_counter()
        one.getIntegrator().step(10)
        steps[forces] = max(5, int(10 * seconds / (time.perf_counter() - begun)))
    for number in range(rounds):
        for forces in list(contexts)[:: 1 if number % 2 else -1]:
            begun = time.perf_counter()
            contexts[forces].getIntegrator().step(steps[forces])
            times[forces].append((time.perf_counter() - begun) / steps[forces])
    rows = []
    for forces, values in times.items():
        ratios = np.array(times["harmonic bonds"]) / np.array(values)
        row = {"system": name, "particles": len(x), "forces": forces, "step_us": 1e6 * min(values)}
        row |= {"ratio": min(times["harmonic bonds"]) / min(values), "median_us": 1e6 * np.median(values)}
        rows.append(
            row | dict(zip(("ratio_low", "ratio_median", "ratio_high"), np.quantile(ratios, [0.25, 0.5, 0.75])))
        )
    return rows


def draw(table, path):
    """Speed over that of harmonic bonds only, of every System."""
    names = list(dict.fromkeys(table["system"]))
    figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 4.0), layout="constrained", squeeze=False)
    for ax, name in zip(axes[0], names):
        part = table[table["system"] == name].iloc[::-1]
        ax.barh(part["forces"], part["ratio"], color="C0")
        ax.axvline(0.8, color="0.6", linewidth=0.8)
        ax.set(title=f"{name}, {part['particles'].iloc[0]} particles", xlim=(0, 1.15))
        ax.set_xlabel("speed over that with harmonic bonds only")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", help="NAME=MODEL,FRAMES[,COPIES]")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.05, help="of every slice of MD")
    parser.add_argument("--output", type=Path, default=Path("runs/bonded"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in given.cases:
        name, _, files = case.partition("=")
        model, frames, *copies = files.split(",")
        found, x = systems(Denoiser.load(model), Frames.load(frames), int(copies[0]) if copies else 1)
        rows += timed(name, found, x, given.rounds, given.seconds)
    table = pandas.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    table.round(4).to_csv(given.output / "bonded.csv", index=False)
    draw(table, given.output / "bonded.png")


if __name__ == "__main__":
    main()
