"""The guards of a run: one stops it before its frames are worthless, one says where an ensemble disagrees."""

import csv
import io
import logging
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import app, unit

from ..forces.subset import bonds_of
from ..model.combination import deviation, members
from ..model.pressure import known_pressure
from ..rundirectory import write_whole
from ..space.batch import make_batch, nonbonded, pair_species

log = logging.getLogger(__name__)

#: How far below the data's shortest distance a pair may come (nm): no model knows its forces there.
GUARD_MARGIN = 0.04
#: The same in noise levels, where that is more: the noised ensemble itself comes closer than the data.
GUARD_SIGMAS = 6


class SimulationStopped(RuntimeError):
    """A run that left the region its model was trained on.

    Attributes
    ----------
    time : float or None, ps
        Since its beginning; None where it was not known.
    distance : float or None, nm
        Distance of the pair that came too close; None where positions became NaN.
    """

    def __init__(self, message, time=None, distance=None):
        super().__init__(message)
        self.time, self.distance = time, distance


class Guard:
    """OpenMM reporter that stops a run before its frames are worthless.

    Parameters
    ----------
    path : path
        The last frame that passed is kept here, as PDB.
    every : int
        Steps between looks.
    denoiser : Denoiser
        A pair closer than `closest_allowed` of it stops the run, unless few bonds join them.
    topology : openmm.app.Topology
        That of one replica.
    margin : float, nm, optional
        Of `closest_allowed`.
    """

    def __init__(self, path, every, denoiser, topology, margin=None):
        self.path, self.every, self.topology = Path(path), every, topology
        self.allowed = closest_allowed(denoiser, margin)
        self.names = denoiser.types_of(topology)
        self.species = denoiser.species_index(self.names)
        # What bonds hold comes closer than any other pair of the data.
        self.connectivity = denoiser.connectivity(self.species, bonds_of(topology))
        self.last_good = None

    def describeNextReport(self, simulation):  # noqa: N802 - OpenMM's reporter interface
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation, state):
        positions = state.getPositions(asNumpy=True)._value
        time = state.getTime()._value
        if not np.isfinite(positions).all():
            self.stop(f"positions became NaN at {time:g} ps", time)
        box = None
        if simulation.system.usesPeriodicBoundaryConditions():
            box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value)
        n = len(self.species)
        copies = torch.from_numpy(positions).view(-1, n, 3)
        cutoff = float(self.allowed.max())
        near = nonbonded(make_batch(copies, box, self.species, cutoff, None, self.connectivity), cutoff)
        first, second, distances = near.first.numpy(), near.second.numpy(), near.distances.numpy()
        one, other = pair_species(near)
        allowed = self.allowed[one.numpy(), other.numpy()]
        if (distances < allowed).any():
            worst = int((distances - allowed).argmin())
            i, j, copy = first[worst] % n, second[worst] % n, int(first[worst] // n)
            replica = f" in replica {copy}" if len(copies) > 1 else ""
            self.stop(
                f"{self.names[i]} {i} and {self.names[j]} {j} came to {distances[worst]:.3f} nm of each other{replica} "
                f"at {time:g} ps, closer than the {allowed[worst]:.3f} nm that the data support",
                time,
                copy,
                float(distances[worst]),
            )
        self.last_good = positions.reshape(-1, n, 3)

    def step(self, simulation, steps, timestep):
        """Some steps (of `timestep` ps); a run whose positions become NaN stops as the guard says."""
        try:
            simulation.step(steps)
        except openmm.OpenMMException as error:
            if "NaN" not in str(error):
                raise
            time = simulation.currentStep * timestep
            self.stop(f"positions became NaN after {time:g} ps", time)

    def stop(self, what, time, replica=0, distance=None):
        """Keep the last good frame of a replica and raise."""
        kept = "no frame before it was good"
        if self.last_good is not None:
            text = io.StringIO()
            app.PDBFile.writeFile(self.topology, self.last_good[replica] * unit.nanometer, text)
            write_whole(self.path, text.getvalue())
            kept = f"the last good frame is in {self.path}"
        remedy = "use a shorter time step, other start positions or more training data"
        if distance is not None and self.connectivity is not None:
            remedy += "; if the frame is a conformation of a molecule that the data never had, let it with guard_margin"
        raise SimulationStopped(f"{what}; {kept}: {remedy}", time, distance)


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
        self.parts = [part.learnt for part in members(denoiser)]
        vectors = topology.getPeriodicBoxVectors()
        if vectors is not None:
            box = np.array(vectors.value_in_unit(unit.nanometer), dtype=float)
            self.parts = [part.in_box(box) for part in self.parts]
        self.names = denoiser.types_of(topology)
        self.file = open(path, "a" if append else "w", newline="")
        self.rows = csv.writer(self.file)
        if not append:
            self.rows.writerow(["time_ps", "largest_spread_kJ_per_mol_nm", "particle"])

    def describeNextReport(self, simulation):  # noqa: N802 - OpenMM's reporter interface
        steps = self.every - simulation.currentStep % self.every
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation, state):
        box = None
        if simulation.system.usesPeriodicBoundaryConditions():
            box = state.getPeriodicBoxVectors(asNumpy=True)._value
        positions = state.getPositions(asNumpy=True)._value.reshape(-1, len(self.names), 3)
        values = deviation(self.parts, positions, box, self.names).ravel()
        worst, time = int(values.argmax()), state.getTime()._value
        self.rows.writerow([f"{time:.4f}", f"{values[worst]:.3f}", worst])
        self.file.flush()
        self.looks, self.over = self.looks + 1, self.over + int(values[worst] > self.limit)
        if values[worst] > max(self.limit, self.largest):
            log.warning(
                "at %g ps the members' forces on %s %d spread by %.0f kJ/mol/nm, over the limit of %.0f: "
                "the model is not sure of this configuration; more training data of its kind would help",
                time, self.names[worst % len(self.names)], worst, values[worst], self.limit,
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


def closest_allowed(denoiser, margin=None):
    """Shortest distance allowed for each pair of species (nm); 0 where the data have no such pair.

    They may come closer than in the data by a margin (nm); None: 0.04 nm, or six noise levels.
    """
    distances = np.array([[d or 0.0 for d in row] for row in denoiser.header.shortest_distances])
    if margin is None:
        margin = max(GUARD_MARGIN, GUARD_SIGMAS * denoiser.sigma)
    return np.maximum(distances - margin, 0.0)


def spread_limit(denoiser, config):
    """From which spread of an ensemble to warn (kJ/mol/nm), infinite where nobody says; None for other models."""
    if not members(denoiser):
        if config.spread_limit is not None:
            raise ValueError("spread_limit is given, but the model is no ensemble: leave it out")
        return None
    return config.spread_limit or denoiser.header.held_out.get("spread_largest", np.inf)


def warn_of_conditions(denoiser, topology, config):
    """Log a warning where temperature or density are not those the model was trained at."""
    header = denoiser.header
    if config.temperature is not None and abs(config.temperature - header.temperature) > 0.5:
        log.warning(
            "temperature is %g K, but the model was trained on data at %g K: its forces are those of that "
            "temperature; use %g K, or data at %g K",
            config.temperature, header.temperature, header.temperature, config.temperature,
        )  # fmt: skip
    box = topology.getPeriodicBoxVectors()
    if config.edge is not None and header.box is not None and not np.allclose(header.box, header.box[0][0] * np.eye(3)):
        log.warning("edge makes a cube of the box, which is none in the training data: leave it out to keep its shape")
    learnt_at = [system["number_density"] for system in header.data.get("systems", [])] or [header.number_density]
    learnt_at = [density for density in learnt_at if density]
    if box is not None and learnt_at:
        volume = float(np.linalg.det(np.array(box.value_in_unit(unit.nanometer), dtype=float)))
        density = topology.getNumAtoms() / volume
        if not 0.8 * min(learnt_at) < density < 1.2 * max(learnt_at):
            log.warning(
                "density is %.3g particles/nm^3, more than 20 %% off the data's %s: coarse-grained forces hold "
                "at the density they were learnt at; change the box or the number of ions",
                density, " to ".join(f"{value:.3g}" for value in sorted({min(learnt_at), max(learnt_at)})),
            )  # fmt: skip


def tell_pressure(denoiser, config):
    """Log the pressure that a model has at the volume of its data beside that of the barostat, where it is known."""
    known = known_pressure(denoiser.header)
    if np.isfinite(known.value):
        log.info(
            "the barostat is set to %g bar; at the volume of its data the model has %s%.0f bar",
            config.pressure, "an osmotic pressure of " if known.osmotic else "", known.value,
        )  # fmt: skip
