"""All-atom aqueous electrolytes in OpenMM, reduced to frames of their ions and the force on each.

Several independent runs at constant volume start from different random
placements; each first discards its relaxation.  A directory holds::

    config.yaml                  what was asked for
    run-00/frames-0000000.npz    a chunk of frames, named by its first frame
    run-00/state.xml             positions, velocities, step count
    frames.npz                   all runs joined, `replica` = run number

A chunk is written before the state that follows it, each under a temporary
name and then renamed, and the step count in the state says how many frames
count.  A process killed at any moment so loses only what came after its last
state: on resuming, a chunk beyond the state is dropped and sampled again.
"""

import logging
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from .. import rundirectory
from ..data.frames import Frames
from ..systems.platforms import platform_named, platform_names
from ..systems.solution import GenerateConfig, build_system, place_molecules

logger = logging.getLogger(__name__)

#: Enough to remove the overlaps of a random placement; the discarded time does the rest.
MINIMISER_STEPS = 500

NOT_EMPTY = "{directory} is not empty: continue it with resume=True (--resume), or give another directory"
MADE_WITH = "{key} is {new}, but {directory} was made with {key} {old}: resume with that, or give another directory"


def generate(config, directory, resume=False, progress=None):
    """Frames of the ions of an all-atom solution, with the instantaneous force on each.

    The force is the total one, of water and ions, at that configuration: its
    average over the water is the mean force on the ions, a single one is mostly
    noise.

    Parameters
    ----------
    config : GenerateConfig, dict or path of a YAML file
    directory : path
        Made if missing.  If not empty, `resume` must be True.
    resume : bool
        Go on from the last saved states, or start if there are none.  `platform`
        and `chunk` may differ from before and `frames` and `runs` be larger,
        nothing else.  The thermostat's random numbers start afresh: the
        trajectory is another one than without the break, equally valid.
    progress : callable, optional
        Called as progress(run, frames, ns_per_day) after each save; frames is 0
        during the relaxation.

    Returns
    -------
    Frames
        Wrapped into the box; also saved as `frames.npz` in the directory.

    Raises
    ------
    FileExistsError
        If the directory is not empty and `resume` is False.
    ValueError
        If the configuration differs from the one in the directory, saved frames
        are missing there, or OpenMM lacks the platform.
    FloatingPointError
        If a force is not finite.
    """
    if not isinstance(config, GenerateConfig):
        config = GenerateConfig.load(config)
    _platform(config.platform)  # refused before anything is written
    directory = Path(directory)
    started = directory.is_dir() and any(directory.iterdir())
    if started and resume and not (directory / rundirectory.SETTINGS).exists():
        if any(path.suffix != ".tmp" for path in directory.iterdir()):
            raise ValueError(
                f"{directory} is not empty but holds no config.yaml to resume from: give another directory"
            )
        started = False
    given = config.model_dump()
    rundirectory.check(
        directory, given, resume, started, may_differ=_may_differ, understood=_understood,
        holds=NOT_EMPTY, differs=MADE_WITH,
    )  # fmt: skip
    rundirectory.begin(directory, given)
    logger.info(
        "%d %s%s (%.3f mol/L) and %d waters in a cube of %g nm",
        config.pairs, config.cation, config.anion, config.true_molarity, config.n_waters, config.edge,
    )  # fmt: skip
    chunks = [_run(config, run, directory / f"run-{run:02d}", progress) for run in range(config.runs)]
    numbers = [app.Element.getBySymbol(symbol).atomic_number for symbol in (config.cation, config.anion)]
    frames = Frames(
        np.concatenate([positions for positions, _ in chunks]),
        np.repeat(numbers, config.pairs),
        config.edge * np.eye(3),
        config.temperature,
        forces=np.concatenate([forces for _, forces in chunks]),
        replica=np.repeat(np.arange(config.runs), config.frames),
    )
    frames.save(directory / "frames.npz")
    return frames


def _understood(old):
    return GenerateConfig.load(old).model_dump()


def _may_differ(key, new, old):
    """What a resumed generation may be asked for anew: where it runs, how often it saves, and more of it."""
    return key in ("platform", "chunk") or (key in ("frames", "runs") and new > old)


def _run(config, run, folder, progress):
    """One run, from its last saved state to its end: positions and forces of its ions, (frames, 2 pairs, 3) each."""
    folder.mkdir(exist_ok=True)
    every, discard = config.steps(config.interval), config.steps(config.discard)
    state = None
    if (folder / "state.xml").exists():
        state = openmm.XmlSerializer.deserialize((folder / "state.xml").read_text())
    step = state.getStepCount() if state else 0
    saved = max(0, (step - discard) // every)
    _drop_uncounted(folder, saved)
    if saved:
        _load_chunks(folder, saved)  # a missing chunk should show now, not after hours
    if saved < config.frames:
        context = _start(config, run, state, step)
        if state is None:
            _save_state(context, folder)
        first_step, started = step, time.perf_counter()
        while saved < config.frames:
            if step < discard:
                context.getIntegrator().step(min(config.chunk * every, discard - step))
            else:
                count = min(config.chunk, config.frames - saved)
                chunk = _sample(context, config, count, every, run)
                rundirectory.write_whole(folder / f"frames-{saved:07d}.npz", chunk)
                saved += count
            _save_state(context, folder)
            step = context.getStepCount()
            speed = (step - first_step) * config.timestep / (time.perf_counter() - started) * 86.4  # ps/s in ns/day
            logger.info(
                "run %d: %g ps, %d of %d frames, %.1f ns/day", run, step * config.timestep, saved, config.frames, speed
            )
            if progress is not None:
                progress(run, saved, speed)
    return _load_chunks(folder, config.frames)


def _drop_uncounted(folder, saved):
    """Delete what a killed process left beyond its last state."""
    for path in folder.glob("*.tmp"):
        path.unlink()
    for path in folder.glob("frames-*.npz"):
        if int(path.stem.partition("-")[2]) >= saved:
            path.unlink()


def _start(config, run, state, step):
    """A Context at a saved state, or at a fresh random placement, its energy minimised."""
    _, system = build_system(config)
    integrator = openmm.LangevinMiddleIntegrator(config.temperature, config.friction, config.timestep)
    # The step is part of the seed: a resumed run must not repeat the noise it has already seen.
    thermostat, velocities = np.random.SeedSequence([config.seed, run, step]).generate_state(2) % (2**31 - 2) + 1
    integrator.setRandomNumberSeed(int(thermostat))
    context = openmm.Context(system, integrator, *_platform(config.platform))
    if state is not None:
        context.setState(state)
        return context
    context.setPositions(place_molecules(config, np.random.default_rng([config.seed, run])))
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=MINIMISER_STEPS)
    context.setVelocitiesToTemperature(config.temperature, int(velocities))
    return context


def _platform(name):
    """Arguments of a Context that say its platform: none where OpenMM is to choose."""
    if name is None:
        return ()
    try:
        return (platform_named(name),)
    except ValueError as error:
        known = ", ".join(platform_names())
        raise ValueError(
            f"platform is {name!r}, but this OpenMM has {known}: use one of these, or leave it out"
        ) from error


def _save_state(context, folder):
    # XML rather than a binary checkpoint: it can be resumed on another platform or machine.
    state = context.getState(positions=True, velocities=True)
    rundirectory.write_whole(folder / "state.xml", openmm.XmlSerializer.serialize(state).encode())


def _sample(context, config, count, every, run):
    """The next `count` frames as the bytes of an npz file: wrapped positions, forces."""
    n_ions = 2 * config.pairs
    positions, forces = np.empty((2, count, n_ions, 3))
    for index in range(count):
        context.getIntegrator().step(every)
        state = context.getState(positions=True, forces=True)
        positions[index] = state.getPositions(asNumpy=True)[:n_ions].value_in_unit(unit.nanometer)
        # Potential forces only, without those that hold constraints: all there is on an ion, for no
        # constraint touches one.  Hydrogen masses do not enter.
        forces[index] = state.getForces(asNumpy=True)[:n_ions].value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    if not (np.isfinite(forces).all() and np.isfinite(positions).all()):
        raise FloatingPointError(
            f"run {run} has NaN or Inf forces (kJ/mol/nm) with a timestep of {config.timestep:g} ps: "
            "resume from its last state with another platform, or generate anew with a shorter timestep"
        )
    positions -= config.edge * np.floor(positions / config.edge)
    file = BytesIO()
    np.savez(file, positions=positions.astype(np.float32), forces=forces.astype(np.float32))
    return file.getvalue()


def _load_chunks(folder, count):
    positions, forces, loaded = [], [], 0
    for path in sorted(folder.glob("frames-*.npz")):
        if int(path.stem.partition("-")[2]) != loaded:
            break
        with np.load(path) as chunk:
            positions.append(chunk["positions"])
            forces.append(chunk["forces"])
        loaded += len(positions[-1])
    if loaded != count:
        raise ValueError(f"{folder} lacks the chunk of frame {loaded} of {count}: delete this folder and resume")
    return np.concatenate(positions), np.concatenate(forces)
