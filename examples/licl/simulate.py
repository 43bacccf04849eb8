"""Molecular dynamics of coarse-grained LiCl under a learnt force, through TorchForce.

    python simulate.py MODEL OUTPUT SEED PICOSECONDS [FRAMES]

Starts from the frame number SEED of FRAMES, or from random places without it.
"""

import sys
from pathlib import Path

from openmm import LangevinMiddleIntegrator
from openmm.app import DCDReporter, PDBFile, Simulation, StateDataReporter
from openmm.unit import kelvin, nanometer, picosecond

from openmm_diffusion import Frames, create_system
from openmm_diffusion.systems import electrolyte, random_positions

model, output, seed, picoseconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
output.mkdir(parents=True, exist_ok=True)

topology = electrolyte({"Li": 24, "Cl": 24}, edge=2.526 * nanometer)
system = create_system(model, topology, backend="torchscript")
if len(sys.argv) > 5:
    positions = Frames.load(sys.argv[5]).positions[seed]
else:
    positions = random_positions(model, topology, seed)

integrator = LangevinMiddleIntegrator(300 * kelvin, 2 / picosecond, 0.005 * picosecond)
integrator.setRandomNumberSeed(seed + 1)
simulation = Simulation(topology, system, integrator)
simulation.context.setPositions(positions)
simulation.context.setVelocitiesToTemperature(300 * kelvin, seed + 1)
with open(output / "topology.pdb", "w") as file:
    PDBFile.writeFile(topology, positions * nanometer, file)

steps = round(picoseconds / 0.005)
simulation.reporters.append(DCDReporter(str(output / f"run-{seed}.dcd"), 40, enforcePeriodicBox=True))
progress = dict(totalSteps=steps, progress=True, time=True, temperature=True, speed=True, remainingTime=True)
simulation.reporters.append(StateDataReporter(str(output / f"run-{seed}.csv"), max(steps // 20, 1), **progress))
simulation.step(steps)
