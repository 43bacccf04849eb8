"""Copies of one system side by side under one model: their frames, and how long each lives."""

import numpy as np
import openmm
import torch
from openmm import unit

from openmm_diffusion import Frames, create_system
from openmm_diffusion.space.neighbours import neighbour_pairs
from openmm_diffusion.systems import training_topology

TIMESTEP, INTERVAL, FRICTION = 0.005, 0.5, 2.0  # ps, ps, 1/ps
LOOK = 20  # steps between looks for a copy that has died


class Copies:
    """Copies of a system side by side in one Context, none of which feels another.

    A copy dies where a pair comes closer than allowed, or a position becomes NaN; it is put back to its
    start then, so that the others go on, and its frames no longer count.

    Parameters
    ----------
    denoiser : Denoiser
    starts : array, shape (n_copies, n_particles, 3), nm
    limits : array, shape (n_species, n_species), nm
        Pairs may not come closer.
    backend : str
        Of `DiffusionForce`.
    seed : int
    """

    def __init__(self, denoiser, starts, limits, backend, seed):
        self.header, self.limits = denoiser.header, limits
        self.starts = np.asarray(starts, dtype=float)
        self.species = denoiser.species_index(self.header.particles).numpy()
        self.box = torch.as_tensor(np.array(self.header.box))
        topology = training_topology(denoiser)
        system = create_system(denoiser, topology, replicas=len(starts), backend=backend)
        self.integrator = openmm.LangevinMiddleIntegrator(self.header.temperature, FRICTION, TIMESTEP)
        self.integrator.setRandomNumberSeed(seed + 1)
        platform = openmm.Platform.getPlatform("CPU")
        self.context = openmm.Context(system, self.integrator, platform, {"Threads": "1"})
        self.context.setPositions(self.starts.reshape(-1, 3))
        self.context.setVelocitiesToTemperature(self.header.temperature, seed + 1)

    def run(self, duration, discard):
        """Frames of all copies while they lived, and how long each did.

        Parameters
        ----------
        duration, discard : float, ps

        Returns
        -------
        frames : Frames or None
            Whole copies one after the other, so that blocks of a g(r) are runs; None where there are none.
        lives : array, shape (n_copies,), ps
        """
        lives, kept = np.full(len(self.starts), float(duration)), []
        for look in range(1, round(duration / TIMESTEP) // LOOK + 1):
            self._step()
            time = look * LOOK * TIMESTEP
            positions, dead = self._look()
            lives[dead] = np.minimum(lives[dead], time)
            if look * LOOK % round(INTERVAL / TIMESTEP) == 0 and time > discard:
                kept += [(i, positions[i]) for i in np.flatnonzero(~dead & (lives >= time))]
        if not kept:
            return None, lives
        kept.sort(key=lambda pair: pair[0])
        numbers, positions = np.array([i for i, _ in kept]), np.array([x for _, x in kept])
        header = self.header
        frames = Frames(positions, header.particles, np.array(header.box), header.temperature, replica=numbers)
        return frames, lives

    def _step(self):
        try:
            self.integrator.step(LOOK)
        except openmm.OpenMMException as error:
            if "NaN" not in str(error):
                raise

    def _look(self):
        """Positions, shape (n_copies, n_particles, 3), nm, and which copies died: these are put back to their start."""
        positions = self.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        positions = positions.reshape(self.starts.shape)
        dead = ~np.isfinite(positions).all((1, 2))
        whole = np.where(dead[:, None, None], self.starts, positions)
        dead |= closer(whole, self.box, self.species, self.limits) > 0
        if dead.any():
            # Velocities too: those of the dead may be NaN.
            state = self.context.getState(velocities=True)
            velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
            velocities = velocities.reshape(self.starts.shape)
            self.context.setPositions(np.where(dead[:, None, None], self.starts, positions).reshape(-1, 3))
            self.context.setVelocities(np.where(dead[:, None, None], 0.0, velocities).reshape(-1, 3))
        return positions, dead


def closer(positions, box, species, limits):
    """Number of pairs closer than the limits (n_species, n_species), nm, in every frame: shape (n_frames,)."""
    first, second, vectors = neighbour_pairs(torch.as_tensor(positions, dtype=torch.float64), box, float(limits.max()))
    n = len(species)
    near = vectors.norm(dim=1).numpy() < limits[species[first.numpy() % n], species[second.numpy() % n]]
    return np.bincount(first.numpy()[near] // n, minlength=len(positions))
