"""Molecular dynamics under any learner's forces, the same for all: runs, how long each lives, and their frames."""

from dataclasses import replace

import numpy as np
import openmm
from openmm import unit

from openmm_diffusion import Denoiser
from openmm_diffusion.analysis.molecules.comparison import BROKEN
from openmm_diffusion.analysis.molecules.coordinates import internal_coordinates
from openmm_diffusion.progress import Progress
from openmm_diffusion.rundirectory import made, whole
from openmm_diffusion.simulation.guard import GUARD_MARGIN
from openmm_diffusion.systems import create_system
from openmm_diffusion.systems.system import fastest

FRICTION = 2.0  # 1/ps
#: Bonds between particles that are nearer to each other than any bound on distances may ask for.
EXCLUSIONS = 3


class Forces:
    """What OpenMM's PythonForce calls: the forces of a model, whose energy nobody asks for."""

    def __init__(self, model, periodic):
        self.model, self.periodic = model, periodic

    def __call__(self, state):
        x = state.getPositions(asNumpy=True)._value[None]
        boxes = np.array(state.getPeriodicBoxVectors(asNumpy=True)._value)[None] if self.periodic else None
        return 0.0, np.ascontiguousarray(self.model.forces(x, boxes)[0], dtype=float)


def system_of(model, frames, steps):
    """An OpenMM System of a model: a denoiser as it runs fastest, another model by its forces."""
    topology = frames.topology()
    if isinstance(model, Denoiser):
        return create_system(model, topology, **fastest(model, topology, steps, platform="CPU"))
    system = openmm.System()
    for mass in frames.masses.tolist():
        system.addParticle(mass)
    force = openmm.PythonForce(Forces(model, frames.box is not None))
    if frames.box is not None:
        system.setDefaultPeriodicBoxVectors(*frames.boxes[0])
        force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    return system


def run(system, temperature, start, seed, settings, told):
    """Positions (n_frames, n, 3), nm, of one run, fewer than asked for where they became NaN."""
    integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, settings.timestep)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("CPU"), {"Threads": "1"})
    context.setPositions(start)
    context.setVelocitiesToTemperature(temperature, seed)
    kept = []
    try:
        for _ in range(round(settings.duration / settings.interval)):
            integrator.step(round(settings.interval / settings.timestep))
            x = context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
            if not np.isfinite(x).all():
                break
            kept.append(x)
            told.add(settings.interval)
    except openmm.OpenMMException as error:  # of whatever else is wrong with a model the caller must hear
        if "NaN" not in str(error):
            raise
    return np.array(kept, dtype=np.float32).reshape(-1, *np.shape(start))


def sampled(model, frames, folder, settings, runs, title):
    """Positions of each of some runs from frames that lie far apart; runs that are in the folder are read.

    Parameters
    ----------
    model : object
        With `forces`, as `learners` says.
    frames : Frames
        Those that it was learnt from.
    folder : Path
    settings : System
    runs : int
    title : str

    Returns
    -------
    list of array, shape (n_frames, n_particles, 3), nm
    """
    steps = round(settings.duration / settings.timestep)
    starts = frames.positions[np.linspace(0, len(frames) - 1, runs + 2).round().astype(int)[1:-1]]
    paths = [made(folder) / f"run-{k}.npz" for k in range(runs)]
    system = None
    with Progress(title, runs * settings.duration, "ps", shown=True) as told:
        for number, (path, start) in enumerate(zip(paths, starts.astype(float))):
            if path.exists():
                continue
            system = system or system_of(model, frames, runs * steps)
            positions = run(system, frames.temperature, start, number + 1, settings, told)
            with whole(path) as file:
                np.savez_compressed(file, positions=positions)
    return [np.load(path)["positions"] for path in paths]


def life(positions, training, interval):
    """Time (ps) until the last frame before one that is no configuration of the system.

    That is one with a pair closer than the shortest distance in training less 0.04 nm, with a bond ten widths of the
    data off its mean, or with NaN; bounds are of the frames that were learnt from.
    """
    n = len(positions)
    if n == 0:
        return 0.0
    frames = replace(training, positions=positions, forces=None, replica=None, bias_forces=None, box=_box(training))
    allowed = {pair: near - GUARD_MARGIN for pair, near in training.shortest_distances(EXCLUSIONS).items()}
    bad = np.zeros(n, dtype=bool)
    found = internal_coordinates(frames)
    for (quantity, kind), there in internal_coordinates(training).items():
        if quantity == "bond":
            off = np.abs(found[quantity, kind].values - there.values.mean(dtype=float))
            bad |= (off > max(BROKEN * there.values.std(dtype=float), 1e-6)).any(1)

    def close(part):
        return any(near < allowed[pair] for pair, near in part.shortest_distances(EXCLUSIONS).items())

    if close(frames):
        bad |= np.array([close(frames[k : k + 1]) for k in range(n)])
    return interval * float(np.argmax(bad) if bad.any() else n)


def _box(frames):
    return None if frames.box is None else frames.boxes[0]
