"""Molecular dynamics of all atoms under a model: which runs live, and for how long.

A run ends where positions are NaN, where a bond is broken (half as long again as its mean in the data), or where two
atoms without a bond between them come within 0.1 nm.  The guard of `simulate` is left out: of a molecule in few frames
it takes another conformation for a collision.
"""

import numpy as np
import openmm
from openmm import unit

from openmm_diffusion import create_system
from openmm_diffusion.systems import training_topology

BROKEN, COLLIDED = 1.5, 0.1  # of the mean length; nm
TIMESTEP, FRICTION = 0.001, 1.0  # ps, 1/ps
LOOK = 20  # steps between looks for a copy that has died
CAUSES = ("", "broken bond", "collision", "not a number")
BLOCK = 50.0  # ps of a long run that are kept together
#: Of a Context on the processor: without the second the order in which PME adds up, and so a run, depends on what else
#: the processor does.
PROPERTIES = {"Threads": "1", "DeterministicForces": "true"}


class Limits:
    """Where a molecule is no longer one, and by what.

    Parameters
    ----------
    frames : Frames
    """

    def __init__(self, frames):
        n = len(frames.types)
        self.bonds, self.box = frames.bonds, None if frames.boxes is None else frames.boxes[0]
        self.longest = BROKEN * lengths(frames.positions, frames.bonds, self.box).mean(0)
        bonded = set(map(tuple, frames.bonds.tolist()))
        self.others = np.array([(i, j) for j in range(n) for i in range(j) if (i, j) not in bonded]).reshape(-1, 2)

    def passed(self, positions):
        """What of `CAUSES` some configurations (n_frames, n_particles, 3), nm, died of: their numbers, 0 if none."""
        lost = ~np.isfinite(positions).all((1, 2))
        whole = np.where(lost[:, None, None], 0.0, positions)
        broken = (lengths(whole, self.bonds, self.box) > self.longest).any(1)
        collided = (lengths(whole, self.others, self.box) < COLLIDED).any(1)
        return np.select([lost, broken, collided], [3, 1, 2], 0)


def lengths(positions, pairs, box=None):
    """Distances of pairs, shape (n_frames, n_pairs), nm; to the nearest image in a box (3, 3), which is a cuboid."""
    vectors = positions[:, pairs[:, 0]] - positions[:, pairs[:, 1]]
    if box is not None:
        edges = np.diagonal(box)
        vectors -= edges * np.round(vectors / edges)
    return np.sqrt(np.sum(np.square(vectors, dtype=float), axis=-1))


def context_of(denoiser, copies, backend, timestep, seed):
    """A Context of copies of a molecule, none of which feels another."""
    system = create_system(denoiser, training_topology(denoiser), replicas=copies, backend=backend)
    integrator = openmm.LangevinMiddleIntegrator(denoiser.header.temperature, FRICTION, timestep)
    integrator.setRandomNumberSeed(seed + 1)
    return openmm.Context(system, integrator, openmm.Platform.getPlatform("CPU"), PROPERTIES)


def step(context, steps):
    """Some steps; positions that became NaN are left for a look."""
    try:
        context.getIntegrator().step(steps)
    except openmm.OpenMMException as error:
        if "NaN" not in str(error):
            raise


def state_of(context):
    """Positions (nm) and velocities (nm/ps), shape (n_particles, 3)."""
    state = context.getState(positions=True, velocities=True)
    x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return x, state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)


def long_run(denoiser, directory, start, duration, timestep, interval, seed, limits):
    """One run with OpenMM's own forces, kept block by block, and gone on with from the last of them.

    Parameters
    ----------
    denoiser : Denoiser
    directory : Path
    start : array, shape (n_particles, 3), nm
    duration, timestep, interval : float, ps
    seed : int
    limits : Limits

    Returns
    -------
    positions : array, shape (n_frames, n_particles, 3), nm
        While it lived.
    life : float, ps
    cause : str
        Of `CAUSES`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found, last, block = [], None, min(BLOCK, duration)
    for number in range(round(duration / block)):
        path = directory / f"{number:03d}.npz"
        if not path.exists():
            context = context_of(denoiser, 1, "native", timestep, seed + 7919 * number)
            if last is None:
                context.setPositions(start)
                context.setVelocitiesToTemperature(denoiser.header.temperature, seed + 1)
            else:
                context.setPositions(last[0])
                context.setVelocities(last[1])
            kept = []
            for _ in range(round(block / interval)):
                step(context, round(interval / timestep))
                last = state_of(context)
                kept.append(last[0].astype(np.float32))
                if limits.passed(last[0][None]).any():
                    break
            draft = path.with_suffix(".part.npz")
            np.savez(draft, positions=np.array(kept), x=last[0], v=last[1])
            draft.replace(path)
        with np.load(path) as kept:
            positions, last = kept["positions"], (kept["x"], kept["v"])
        found.append(positions)
        if limits.passed(positions[-1:]).any():
            whole = np.concatenate(found)
            return whole[:-1], (len(whole) - 0.5) * interval, CAUSES[limits.passed(positions[-1:])[0]]
    return np.concatenate(found), duration, ""


def sampled(context, duration, interval):
    """What a run in a Context passes through.

    Parameters
    ----------
    context : Context
    duration, interval : float, ps
        Of the run, and between frames.

    Returns
    -------
    positions, forces : array, shape (n_frames, n_particles, 3), nm and kJ/mol/nm, dtype float32
    """
    integrator, positions, forces = context.getIntegrator(), [], []
    for _ in range(round(duration / interval)):
        integrator.step(round(interval / integrator.getStepSize().value_in_unit(unit.picosecond)))
        state = context.getState(positions=True, forces=True)
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        forces.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    return np.array(positions, dtype=np.float32), np.array(forces, dtype=np.float32)


def kept_runs(directory, name, run, runs, duration, discard, seed):
    """Positions, forces and replica of all runs; a run that is there is not made again.

    Parameters
    ----------
    directory : Path
    name : str
        Of the files.
    run : callable
        Called with the number of a run, duration, discard and seed; gives positions and forces.
    runs : int
    duration, discard : float, ps
    seed : int
    """
    directory.mkdir(parents=True, exist_ok=True)
    positions, forces = [], []
    for number in range(runs):
        path = directory / f"{name}-{duration:g}-{discard:g}ps-{seed}-{number:02d}.npz"
        if not path.exists():
            x, f = run(number, duration, discard, seed)
            draft = path.with_suffix(".part.npz")
            np.savez(draft, positions=x, forces=f)
            draft.replace(path)
            print(f"{path.name}: {len(x)} frames", flush=True)
        with np.load(path) as kept:
            positions.append(kept["positions"])
            forces.append(kept["forces"])
    replica = np.repeat(np.arange(runs), [len(part) for part in positions])
    return np.concatenate(positions), np.concatenate(forces), replica


class Copies:
    """Copies of a molecule in one Context, none of which feels another; one that dies is put back to its start.

    Parameters
    ----------
    denoiser : Denoiser
    starts : array, shape (n_copies, n_particles, 3), nm
    limits : Limits
    backend : str
    seed : int

    Attributes
    ----------
    positions : array, shape (n_copies, n_particles, 3), nm
        At the last look.
    """

    def __init__(self, denoiser, starts, limits, backend, seed):
        self.starts, self.limits = np.asarray(starts, dtype=float), limits
        self.positions = self.starts
        self.context = context_of(denoiser, len(starts), backend, TIMESTEP, seed)
        self.context.setPositions(self.starts.reshape(-1, 3))
        self.context.setVelocitiesToTemperature(denoiser.header.temperature, seed + 1)

    def lives(self, duration, kept=None, every=1):
        """How long each copy lives, shape (n_copies,), ps, and what of `CAUSES` ends it; ends where none lives.

        Positions of every so many looks go to the list `kept`, those of the dead as NaN.
        """
        lives, causes = np.full(len(self.starts), float(duration)), np.full(len(self.starts), 0)
        for look in range(1, round(duration / TIMESTEP) // LOOK + 1):
            step(self.context, LOOK)
            cause = self._buried()
            first = (cause > 0) & (lives >= duration)
            lives[first], causes[first] = (look - 0.5) * LOOK * TIMESTEP, cause[first]
            alive = lives >= duration
            if kept is not None and look % every == 0:
                kept.append(np.where(alive[:, None, None], self.positions, np.nan))
            if not alive.any():
                break
        return lives, [CAUSES[cause] for cause in causes]

    def _buried(self):
        """What copies died of, by its number in `CAUSES`; these are put back to their start, at rest."""
        x, v = (values.reshape(self.starts.shape) for values in state_of(self.context))
        self.positions = x
        cause = self.limits.passed(x)
        dead = cause > 0
        if dead.any():
            self.context.setPositions(np.where(dead[:, None, None], self.starts, x).reshape(-1, 3))
            self.context.setVelocities(np.where(dead[:, None, None], 0.0, v).reshape(-1, 3))
        return cause
