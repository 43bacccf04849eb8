"""Is there an energy?  Runs at constant energy, and work around closed loops, of energy and of vector heads."""

import numpy as np
import openmm
from openmm import unit
from protocol.verdicts import mean_error

from longruns.runs import row
from openmm_diffusion import DiffusionForce, create_system
from openmm_diffusion.analysis.dynamics import energy_drift
from openmm_diffusion.units import BOLTZMANN, thermal_energy

#: Between samples, and the beginning of a run that its fluctuation is read from, ps.
SAMPLING, BEGINNING = 0.02, 0.8
#: Displacement of every coordinate along each side of a loop, nm (rms), and points of Gauss's rule on a side.
SIDE, POINTS = 0.01, 12


def constant_energy(denoiser, topology, start, duration, step, seed, backend="compiled"):
    """Velocity Verlet from 300 K: time (ps), potential and kinetic energy (kJ/mol).

    In double precision throughout, and with an Ewald sum of relative error 1e-5, or rounding would hide the error
    of the time step.  Of a vector head the potential energy is the surrogate of its force, which has no meaning: such
    models log that they must not be run so, and here it is done to show why.
    """
    options = {"native_prior": False, "precision": "double"} if backend == "compiled" else {}
    system = create_system(denoiser, topology, backend=backend, ewald_error_tolerance=1e-5, **options)
    integrator = openmm.VerletIntegrator(step)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(start)
    context.setVelocitiesToTemperature(denoiser.header.temperature, seed + 1)
    every, samples = round(SAMPLING / step), []
    for _ in range(round(duration / SAMPLING)):
        integrator.step(every)
        state = context.getState(energy=True)
        energies = (state.getPotentialEnergy(), state.getKineticEnergy())
        samples.append([energy.value_in_unit(unit.kilojoules_per_mole) for energy in energies])
    return SAMPLING * np.arange(1, len(samples) + 1), *np.array(samples).T


def drifts(denoiser, topology, starts, duration, steps, seed, backend):
    """Rows: drift of the conserved energy at each time step (ps), and its fluctuation, of runs from each start.

    The fluctuation is that of the beginning, where runs of all steps go the same way.  Later they part, and where ions
    come into the wall, whose force has a kink, the energy jumps: that is part of the drift.
    """
    kT, degrees, rows = thermal_energy(denoiser.header.temperature), 3 * topology.getNumAtoms(), []
    sizes = []
    for step in steps:
        found, size = [], []
        for k, start in enumerate(starts):
            time, potential, kinetic = constant_energy(denoiser, topology, start, duration, step, seed + k, backend)
            found.append(energy_drift(time, potential + kinetic, degrees))
            size.append((potential + kinetic)[time <= BEGINNING].std())
            if k == 0:
                energy = potential + kinetic
                rows += [row("E - E(0)", "kJ/mol", e - energy[0], at=t, step=step) for t, e in zip(time, energy)][::10]
        slope = np.array([d.slope for d in found]) / kT
        # Of one run alone the error is that of its line.
        error = slope.std(ddof=1) / len(slope) ** 0.5 if len(slope) > 1 else found[0].error / kT
        rows.append(row("drift of energy", "kT/ns/dof", slope.mean(), error, step=step, runs=len(slope)))
        rows.append(row("fluctuation of energy", "kJ/mol", *mean_error(size), step=step, runs=len(size)))
        sizes.append(size)
    powers = np.polyfit(np.log(steps), np.log(sizes), 1)[0]
    rows.append(row("exponent of fluctuation in time step", "1", *mean_error(powers), runs=len(powers), expected=2.0))
    return rows


def heating(denoiser, topology, starts, duration, step, seed):
    """Rows: rate of the kinetic temperature without a thermostat, from each start and their mean."""
    degrees, rates, sizes, rows = 3 * topology.getNumAtoms(), [], [], []
    for k, start in enumerate(starts):
        time, potential, kinetic = constant_energy(denoiser, topology, start, duration, step, seed + k)
        temperature = 2 * kinetic / (degrees * BOLTZMANN)
        rates.append(energy_drift(time, temperature, 1).slope / 1000)
        sizes.append(energy_drift(time, potential + kinetic, degrees).fluctuation)
        blocks = [np.mean(part) for part in np.array_split(temperature, round(duration / 2))]
        rows += [row("T in 2 ps", "K", t, at=2.0 * i + 1, run=k, step=step) for i, t in enumerate(blocks)]
    for quantity, unit_name, values in (
        ("rate of kinetic temperature", "K/ps", rates),
        ("fluctuation of kinetic + reported energy", "kJ/mol", sizes),
    ):
        rows.append(row(quantity, unit_name, *mean_error(values), step=step, runs=len(values)))
    return rows


def loop_work(denoiser, frames, loops, seed):
    """Rows: rms work of the force around rectangles in configuration space, beside that along a side.

    A force with a potential does none, whatever the way; exact integration aside, any work is a source of heat.
    """
    rng = np.random.default_rng(seed)
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    along, weights = (points + 1) / 2, weights / 2
    around, sides = [], []
    for x in frames.positions[rng.choice(len(frames), loops, replace=len(frames) < loops)].astype(np.float64):
        u, v = SIDE * rng.normal(size=(2, *x.shape))
        work = []
        for begin, way in ((x, u), (x + u, v), (x + u + v, -u), (x + v, -v)):
            force = denoiser.forces(begin + along[:, None, None] * way, frames.box, frames.species)
            work.append(np.einsum("p,pni,ni->", weights, force, way))
        around.append(sum(work))
        sides += work
    square = np.square(around)
    value = np.sqrt(square.mean())
    error = square.std(ddof=1) / len(square) ** 0.5 / (2 * value)
    return [
        row("work around a loop, rms", "kJ/mol", value, error, of=loops),
        row("work along a side, rms", "kJ/mol", float(np.sqrt(np.mean(np.square(sides)))), of=4 * loops),
    ]


def refusals(denoiser, topology):
    """Rows: what needs an energy and is refused for this model (1), or not (0)."""

    def barostat():
        system = create_system(denoiser, topology)
        system.addForce(openmm.MonteCarloBarostat(1 * unit.bar, 300 * unit.kelvin))
        DiffusionForce(denoiser, topology, include_prior=False, system=system, allow_barostat=True)

    def energy():
        denoiser.energy(np.random.default_rng(0).random((topology.getNumAtoms(), 3)))

    rows = []
    for name, attempt in (("a barostat", barostat), ("its energy", energy)):
        try:
            attempt()
            refused = 0
        except (ValueError, TypeError) as error:
            refused = 1
            print(f"refused: {error}", flush=True)
        rows.append(row(f"refused: {name}", "1", refused))
    return rows
