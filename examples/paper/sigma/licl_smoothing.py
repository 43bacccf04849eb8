"""What theory says that noise changes in a potential of LiCl: to second order in sigma, and by sampling to all."""

from functools import cached_property

import numpy as np
import openmm
from openmm import unit

from openmm_diffusion import create_system
from openmm_diffusion.particles import topology_of
from sigma.learners import FORCE, KT, TEMPERATURE, rms


class Smoothing:
    """Bias of the fits of `Levels` on some of its test frames, beside that of theory for the fit to clean frames.

    Parameters
    ----------
    levels : Levels
    count, samples : int
        Test frames; samples of the clean ensemble about each.
    seed : int
    """

    def __init__(self, levels, count, samples, seed):
        self.levels, self.samples, self.seed = levels, samples, seed
        _, test = levels.divided(0)
        self.frames = test[np.linspace(0, len(test) - 1, count).round().astype(int)]

    @cached_property
    def curvature(self):
        """Rms of (F_sigma - F) / sigma^2 as sigma -> 0, kJ/mol/nm^3."""
        clean = self.levels.fit(0, 0)
        return cross_rms(*second_order(clean, self.frames.positions, self.samples // 6, self.seed))

    def bias(self, sigma):
        """Measured; second order; all orders; and the part of the measured one along the shape of the last."""
        clean, positions = self.levels.fit(0, 0), self.frames.positions
        found = self.levels.fit(0, sigma).forces(positions) - clean.forces(positions)
        halves = [sampled(clean, y, sigma, self.samples, self.seed + i) for i, y in enumerate(positions)]
        first, last = (np.array([half[k] for half in halves]) for k in (0, 1))
        size = cross_rms(first, last)
        return {
            f"bias_{FORCE}": rms(found), f"bias_second_order_{FORCE}": sigma**2 * self.curvature,
            f"bias_theory_{FORCE}": size,
            f"bias_along_theory_{FORCE}": np.mean(found * (first + last) / 2) / size if size else np.nan,
        }  # fmt: skip


def cross_rms(first, second):
    """Rms of what two independent estimates have in common: their noise does not count."""
    return float(np.sqrt(max(np.mean(first * second), 0)))


def second_order(denoiser, y, draws, seed, h=1e-3):
    """(F_sigma - F) / sigma^2 as sigma -> 0, twice: lap F / 2 + (F . grad) F / kT (docs/theory.md, 2.1).

    By differences; the Laplacian along random directions (Hutchinson).
    """
    y, rng = np.asarray(y, dtype=float), np.random.default_rng(seed)
    force = denoiser.forces(y)
    size = np.sqrt(np.square(force).sum((1, 2), keepdims=True))
    along = (denoiser.forces(y + h * force / size) - denoiser.forces(y - h * force / size)) * size / (2 * h)
    halves = []
    for _ in range(2):
        total = np.zeros_like(y)
        for _ in range(draws // 2):
            step = h * rng.normal(size=y.shape)
            total += (denoiser.forces(y + step) + denoiser.forces(y - step) - 2 * force) / h**2
        halves.append(0.5 * total / (draws // 2) + along / KT)
    return halves


def sampled(denoiser, y, sigma, samples, seed):
    """F_sigma(y) - F(y), twice: the mean of F over clean x given y, from dynamics with every ion on a spring to y.

    p(x | y) ~ exp(-U(x)/kT - |x - y|^2 / 2 sigma^2), and F_sigma(y) = E[F(x) | y] (docs/theory.md, 9.1).
    """
    topology = topology_of(denoiser.header.particles)
    topology.setPeriodicBoxVectors(np.array(denoiser.header.box) * unit.nanometer)
    system = create_system(denoiser, topology, backend="native")
    springs = openmm.CustomExternalForce("k / 2 * periodicdistance(x, y, z, x0, y0, z0)^2")
    springs.addGlobalParameter("k", KT / sigma**2)
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for i, place in enumerate(y):
        springs.addParticle(i, [float(v) for v in place])
        system.setParticleMass(i, 10.0)  # any mass samples the same: one that needs one time step
    springs.setForceGroup(1)
    system.addForce(springs)
    period = min(sigma * np.sqrt(10.0 / KT), 0.05)  # ps, of the springs / 2 pi; ions in contact have stiffer ones
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 1 / period, min(0.25 * period, 0.004))
    integrator.setRandomNumberSeed(seed + 1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("CPU"), {"Threads": "1"})
    context.setPositions(np.asarray(y, dtype=float))

    def force():
        forces = context.getState(forces=True, groups={0}).getForces(asNumpy=True)
        return forces.value_in_unit(unit.kilojoules_per_mole / unit.nanometer)

    there = np.array(force())
    halves = []
    for _ in range(2):
        integrator.step(40)
        total = np.zeros_like(there)
        for _ in range(samples // 2):
            integrator.step(8)
            total += force()
        halves.append(total / (samples // 2) - there)
    return halves
