"""The guards of a run: one stops it before its frames are worthless, one says where an ensemble disagrees."""

import csv
import logging
from pathlib import Path

import numpy as np
import torch
from openmm import app, unit

from .combination import deviation, members
from .neighbours import neighbour_pairs

log = logging.getLogger(__name__)

#: How far below the data's shortest distance a pair may come (nm): no model knows its forces there.
GUARD_MARGIN = 0.04
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
    shortest : array, shape (n_species, n_species), nm
        A pair closer than this stops the run.
    index : array, shape (n_particles,), dtype int
        Species of every particle in that table.
    topology : openmm.app.Topology
    """

    def __init__(self, path, every, shortest, index, topology):
        self.path, self.every, self.shortest, self.index, self.topology = Path(path), every, shortest, index, topology
        self.last_good = None

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
        x = torch.from_numpy(positions).unsqueeze(0)
        first, second, vectors = (v.numpy() for v in neighbour_pairs(x, box, float(self.shortest.max())))
        distances, allowed = np.sqrt((vectors**2).sum(-1)), self.shortest[self.index[first], self.index[second]]
        if (distances < allowed).any():
            worst = int((distances - allowed).argmin())
            i, j = int(first[worst]), int(second[worst])
            names = [atom.element.symbol for atom in simulation.topology.atoms()]
            self.stop(
                f"{names[i]} {i} and {names[j]} {j} came to {distances[worst]:.3f} nm of each other at {time:g} ps, "
                f"closer than the {allowed[worst]:.3f} nm that the data support",
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


class SpreadWatch:
    """OpenMM reporter that says where the members of an ensemble disagree more than a limit.

    Parameters
    ----------
    path : path
        CSV file: time (ps), largest spread of any particle (kJ/mol/nm) and its number; one row per look.
    every : int
        Steps between looks.
    denoiser : Denoiser
        An ensemble.
    topology : openmm.app.Topology
    limit : float, kJ/mol/nm
        A look that finds more, and more than any before, is logged as a warning; the run goes on.
    append : bool
        Go on with the file, instead of beginning it.
    """

    def __init__(self, path, every, denoiser, topology, limit, append=False):
        self.every, self.limit, self.largest, self.looks, self.over = every, limit, 0.0, 0, 0
        self.parts = [part.subset(["pair", "network"]) for part in members(denoiser)]
        vectors = topology.getPeriodicBoxVectors()
        if vectors is not None:
            box = np.array(vectors.value_in_unit(unit.nanometer), dtype=float)
            self.parts = [part.in_box(box) for part in self.parts]
        self.names = [atom.element.symbol for atom in topology.atoms()]
        self.species = [atom.element.atomic_number for atom in topology.atoms()]
        self.file = open(path, "a" if append else "w", newline="")
        self.rows = csv.writer(self.file)
        if not append:
            self.rows.writerow(["time_ps", "largest_spread_kJ_per_mol_nm", "particle"])

    def describeNextReport(self, simulation):  # noqa: N802 - OpenMM's reporter interface
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation, state):
        box = False
        if simulation.system.usesPeriodicBoundaryConditions():
            box = state.getPeriodicBoxVectors(asNumpy=True)._value
        values = deviation(self.parts, state.getPositions(asNumpy=True)._value, box, self.species)
        worst, time = int(values.argmax()), state.getTime()._value
        self.rows.writerow([f"{time:.4f}", f"{values[worst]:.3f}", worst])
        self.file.flush()
        self.looks, self.over = self.looks + 1, self.over + int(values[worst] > self.limit)
        if values[worst] > max(self.limit, self.largest):
            log.warning(
                "at %g ps the members' forces on %s %d spread by %.0f kJ/mol/nm, over the limit of %.0f: "
                "the model is not sure of this configuration; more training data of its kind would help",
                time, self.names[worst], worst, values[worst], self.limit,
            )  # fmt: skip
        self.largest = max(self.largest, float(values[worst]))

    def finish(self):
        """Close the file; say how often the limit was passed."""
        self.file.close()
        if self.over:
            log.warning(
                "the members' forces spread by more than %.0f kJ/mol/nm in %d of %d looks: see %s",
                self.limit, self.over, self.looks, self.file.name,
            )  # fmt: skip


def closest_allowed(denoiser):
    """Shortest distance allowed for every pair of species (nm), shape (n_species, n_species); 0 without such data."""
    distances = np.array([[d or 0.0 for d in row] for row in denoiser.header.shortest_distances])
    margin = max(GUARD_MARGIN, GUARD_SIGMAS * denoiser.sigma)
    return np.maximum(distances - margin, 0.0)
