"""Wells of 01_scaling.py, a spring and a tilted double well: forces by quadrature, samples, MD at 300 K."""

import functools

import numpy as np
import openmm
from openmm import unit

from openmm_diffusion.analysis.rdf import smear
from openmm_diffusion.analysis.resampling import jackknife
from openmm_diffusion.noise import force_from_denoised, scale
from openmm_diffusion.units import thermal_energy

DATA, WRONG = 300.0, 293.15  # K; 0.0252617 eV is kT at the second
KT = thermal_energy(DATA)
WIDTH, LENGTH, BOND = 0.03, 0.07, 0.36  # nm: of the spring's well, between maximum and minima, of a bond
#: Langevin: mass (amu), friction (1/ps), step (ps), 44 of them to the stiffest vibration; steps between snapshots.
MASS, FRICTION, STEP, EVERY = 40.0, 10.0, 0.01, 10


def energy(well, x):
    """U(x), kJ/mol; the barrier of the double well is about 2 kT."""
    t = x / LENGTH
    return KT * x**2 / (2 * WIDTH**2) if well == "harmonic" else KT * (2 * t**4 - 4 * t**2 + 0.5 * t)


def clean_force(well, x):
    t = x / LENGTH
    return -KT * x / WIDTH**2 if well == "harmonic" else -KT * (8 * t**3 - 8 * t + 0.5) / LENGTH


@functools.cache
def exact(well, sigma, bond=False):
    """Grid y (nm), p_sigma(y) up to a constant, and the forces of the noised and of the clean ensemble (kJ/mol/nm).

    Of a bond, y is its length, p_sigma the density of the distance vector, and both ends are noised.
    """
    y = np.arange(-0.22, 0.22, 0.0005) + (BOND if bond else 0)
    if bond:
        p = smear(y, np.exp(-energy(well, y - BOND) / KT), sigma)
        return y, p, KT * np.gradient(np.log(p), y, edge_order=2), clean_force(well, y - BOND)
    x = np.arange(-0.32, 0.32, 1e-4)
    joint = np.exp(-energy(well, x) / KT - (y[:, None] - x) ** 2 / (2 * sigma**2))
    p = joint.sum(1)
    return y, p, force_from_denoised(joint @ x / p, y, sigma, KT), clean_force(well, y)


def variance(y, p, bond=False):
    """Variance (nm^2) of the coordinate under a density on a grid, of a distance vector with `bond`."""
    p = p * y**2 if bond else p
    mean = np.sum(p * y) / np.sum(p)
    return np.sum(p * (y - mean) ** 2) / np.sum(p)


def drawn(well, n, rng, bond=False):
    """Samples of the exact density, by its inverse cumulative sum: shape (n,), nm."""
    x = np.arange(-0.32, 0.32, 1e-5)
    p = np.exp(-energy(well, x) / KT) * ((x + BOND) ** 2 if bond else 1)
    return np.interp(rng.random(n) * p.sum(), np.cumsum(p), x) + (BOND if bond else 0)


def row(quantity, unit_name, value, error, expected=None, **more):
    return {**more, "quantity": quantity, "unit": unit_name, "value": value, "error": error, "expected": expected}


def slopes(sigma, found, p, smoothed, clean):
    """Regression of learnt forces, shape (n, n_y), on the exact ones, weighted by p: over the noised ensemble."""
    on = {name: (found @ (p * f)) / np.sum(p * f**2) for name, f in (("noised", smoothed), ("clean", clean))}
    rest = np.sqrt(np.sum(p * (found - smoothed) ** 2, axis=1) / np.sum(p * smoothed**2))
    return [
        ("slope on noised force", "1", on["noised"], 1.0),
        ("slope on clean force", "1", on["clean"], np.sum(p * smoothed * clean) / np.sum(p * clean**2)),
        ("unscaled slope", "nm^2 mol/kJ", on["noised"] / scale(sigma, KT), 1 / scale(sigma, KT)),
        ("rms error / rms force", "1", rest, None),
    ]


def run(system, start, steps, seed):
    """Snapshots of Langevin dynamics at 300 K, a fifth discarded: (n_snapshots, n_particles, 3), nm.

    The same seed gives the same noise, so that runs under two forces can be compared far better
    than either is known.
    """
    integrator = openmm.LangevinMiddleIntegrator(DATA, FRICTION, STEP)
    integrator.setRandomNumberSeed(seed + 1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(start)
    context.setVelocitiesToTemperature(DATA, seed + 1)
    integrator.step(steps // 5)
    snapshots = []
    for _ in range(0, steps - steps // 5, EVERY):
        integrator.step(EVERY)
        snapshots.append(context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    return np.array(snapshots)


def spread(x, other=None, within=(-np.inf, np.inf)):
    """Variance over time and independent coordinates (n_snapshots, n), or its relative excess over that of another run.

    Of what lies `within` two values alone.
    """
    runs = [x] if other is None else [x, other]
    inside = [(z > within[0]) & (z < within[1]) for z in runs]
    sums = np.stack([np.sum(z**k * i, axis=0) for z, i in zip(runs, inside) for k in range(3)], axis=1)

    def statistic(total):
        n, first, second = (total[..., k::3] for k in range(3))
        found = second / n - (first / n) ** 2
        return found[..., 0] if other is None else found[..., 0] / found[..., 1] - 1

    return jackknife(sums, statistic)
