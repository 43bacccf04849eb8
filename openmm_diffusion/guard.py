"""The guard of a run: stops it before its frames are worthless."""

from pathlib import Path

import numpy as np
import torch
from openmm import app, unit

from .geometry import minimum_image

#: How far below the data's shortest distance a pair may come (nm): no model knows its forces there.
GUARD_MARGIN = 0.03
#: The same in noise levels, where that is more: the noised ensemble itself comes closer than the data.
GUARD_SIGMAS = 6


class SimulationStopped(RuntimeError):
    """A run that left the region its model was trained on."""


class Guard:
    """OpenMM reporter that stops a run before its frames are worthless.

    Parameters
    ----------
    path : path
        The last frame that passed is kept here, as PDB.
    every : int
        Steps between looks.
    shortest : array, shape (n_particles, n_particles), nm
        A pair closer than this stops the run.
    topology : openmm.app.Topology
    """

    def __init__(self, path, every, shortest, topology):
        self.path, self.every, self.shortest, self.topology = Path(path), every, shortest, topology
        self.last_good = None
        self.upper = np.triu_indices(len(shortest), 1)

    def describeNextReport(self, simulation):  # noqa: N802 - OpenMM's reporter interface
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation, state):
        positions = state.getPositions(asNumpy=True)._value
        time = state.getTime()._value
        if not np.isfinite(positions).all():
            self.stop(f"positions became NaN at {time:g} ps")
        box = None
        if simulation.system.usesPeriodicBoundaryConditions():
            box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value)
        first, second = self.upper
        vectors = minimum_image(torch.from_numpy(positions[second] - positions[first]), box)
        short = vectors.norm(dim=1).numpy() - self.shortest[self.upper]
        worst = int(short.argmin())
        if short[worst] < 0:
            i, j = int(first[worst]), int(second[worst])
            names = [atom.element.symbol for atom in simulation.topology.atoms()]
            distance = short[worst] + self.shortest[i, j]
            self.stop(
                f"{names[i]} {i} and {names[j]} {j} came to {distance:.3f} nm of each other at {time:g} ps, "
                f"closer than the {self.shortest[i, j]:.3f} nm that the data support",
            )
        self.last_good = positions

    def stop(self, what):
        """Keep the last good frame and raise."""
        kept = "no frame before it was good"
        if self.last_good is not None:
            with open(self.path, "w") as file:
                app.PDBFile.writeFile(self.topology, self.last_good * unit.nanometer, file)
            kept = f"the last good frame is in {self.path}"
        raise SimulationStopped(f"{what}; {kept}: use a shorter time step, other start positions or more training data")


def closest_allowed(denoiser, topology):
    """Shortest distance allowed for every pair of particles (nm); 0 where the data have no such pair."""
    index = denoiser.species_index([atom.element.atomic_number for atom in topology.atoms()]).numpy()
    distances = np.array([[d or 0.0 for d in row] for row in denoiser.header.shortest_distances])
    margin = max(GUARD_MARGIN, GUARD_SIGMAS * denoiser.sigma)
    return np.maximum(distances - margin, 0.0)[np.ix_(index, index)]
