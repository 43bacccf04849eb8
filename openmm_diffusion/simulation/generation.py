"""All-atom runs in OpenMM, reduced to frames of what is kept of them and the force on each.

Several independent runs at constant volume start from different random
placements; each first discards its relaxation.  With a bias, run after run
takes the next window, and the first again after the last.  A directory holds::

    config.yaml                  what was asked for
    solute.pdb                   a copy of the solute, where there is one
    topology.pdb                 all atoms, in the first random placement
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
import zipfile
import zlib
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from .. import rundirectory
from ..data.frames import Frames
from ..forces.platforms import platform_named, platform_names
from ..progress import Progress
from ..settings import read_yaml, validated
from ..systems.composition import GenerateConfig
from ..systems.solution import build_system, place_molecules
from .kept import Kept
from .langevin import LOOK
from .states import read_state, write_state
from .trajectories import tells_of
from .umbrella import OTHER_GROUPS, Umbrella

logger = logging.getLogger(__name__)

#: Enough to remove the overlaps of a random placement; the discarded time does the rest.
MINIMISER_STEPS = 500

NOT_EMPTY = "{directory} is not empty: continue it with resume=True (--resume), or give another directory"
MADE_WITH = "{key} is {new}, but {directory} was made with {key} {old}: resume with that, or give another directory"


def generate(config, directory, resume=False, progress=None):
    """Frames of what is kept of all-atom runs, with the instantaneous force on each.

    The force is the total one, of everything there is, at that configuration: its
    average over what is not kept is the mean force, a single one is mostly noise.
    On an atom in a rigid unit it is that on the whole unit, see `kept`; where rigid
    bonds join kept atoms there is none.  That of a `bias` is no part of it: it
    stands in `bias_forces`.

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
        Beside what is said of progress: called as progress(run, frames, ns_per_day) after each save; frames is 0
        during the relaxation.

    Returns
    -------
    Frames
        Wrapped into the box, or, without one, with their middle at the origin;
        also saved as `frames.npz` in the directory.

    Raises
    ------
    FileExistsError
        If the directory is not empty and `resume` is False.
    ValueError
        If the configuration is wrong or differs from the one in the directory, saved frames
        are missing there, OpenMM lacks the platform, the force field does not
        describe the solute, or the bias is on something that is not kept.
    FloatingPointError
        If a force is not finite.
    """
    config = _asked(config)
    _platform(config.platform)  # refused before anything is written
    directory = Path(directory)
    with rundirectory.occupied(directory):
        _check(config, directory, resume)
        topology, system = build_system(config)
        kept = Kept(config, topology, system)
        umbrella = None if config.bias is None else Umbrella(config, kept, system)
        with rundirectory.begun(directory, config.model_dump()):
            return _generated(config, directory, topology, system, kept, umbrella, progress)


def _asked(config):
    """What is asked for: as it was given, from a dict, or from a YAML file."""
    if isinstance(config, GenerateConfig):
        return config
    if isinstance(config, dict):
        return validated(GenerateConfig, config, "config")
    values = read_yaml(config)
    return validated(GenerateConfig, GenerateConfig.anchored(values, Path(config).parent), str(config))


def _check(config, directory, resume):
    """Refuse a directory that holds something else."""
    # A process that was killed before it wrote anything leaves its lock, which holds nobody, and a temporary file.
    left = [path.name for path in directory.iterdir()]
    started = any(name != rundirectory.LOCK and not name.endswith(".tmp") for name in left)
    if started and resume and not (directory / rundirectory.SETTINGS).exists():
        raise ValueError(f"{directory} is not empty but holds no config.yaml to resume from: give another directory")
    rundirectory.check(
        directory, config.model_dump(), resume, started, may_differ=_may_differ,
        understood=lambda old: _understood(old, directory), holds=NOT_EMPTY, differs=MADE_WITH,
    )  # fmt: skip
    solute = _copy_of_solute(config, directory)
    if started and solute is not None and solute.exists() and solute.read_bytes() != Path(config.solute).read_bytes():
        raise ValueError(
            MADE_WITH.format(key="solute", new=config.solute, old=f"another file, {solute}", directory=directory)
        )


def _generated(config, directory, topology, system, kept, umbrella, progress):
    """All runs, gone on with where there are some, and the frames that they make."""
    solute = _copy_of_solute(config, directory)
    if solute is not None and not solute.exists():
        rundirectory.write_whole(solute, Path(config.solute).read_bytes())
    what = config.kept if config.map is None else "beads"
    logger.info("%s; kept: %s, %d particles", _described(config), what, len(kept.species))
    whole = config.discard + config.frames * config.interval
    chunks = []
    with Progress(f"{directory}", config.n_runs * whole, "ps") as told:
        for run in range(config.n_runs):
            told.what = f"{directory}: run {run + 1} of {config.n_runs}"
            folder = directory / f"run-{run:02d}"
            chunks.append(_run(config, run, folder, system, kept, umbrella, progress, told, run * whole))
    bias = None
    if umbrella is not None:
        bias = np.concatenate([umbrella.forces(positions, run) for run, (positions, _) in enumerate(chunks)])
    frames = Frames(
        np.concatenate([positions for positions, _ in chunks]),
        kept.species,
        config.edge * np.eye(3) if config.periodic else None,
        config.temperature,
        forces=np.concatenate([forces for _, forces in chunks]) if kept.labelled else None,
        replica=np.repeat(np.arange(config.n_runs), config.frames),
        types=kept.types,
        bonds=kept.bonds,
        masses=kept.masses,
        bias_forces=bias,
    )
    frames.save(directory / "frames.npz")
    _write_topology(config, topology, directory / "topology.pdb")
    return frames


def _understood(old, directory):
    """What a directory was made with, with all keys of today; its own copy of the solute stands for a lost file."""
    if old.get("solute") is not None and not Path(old["solute"]).is_file():
        old = old | {"solute": str(next(iter(directory.glob("solute.*")), old["solute"]))}
    return GenerateConfig.load(old).model_dump()


def _may_differ(key, new, old):
    """What a resumed generation may be asked for anew: where it runs, how often it saves, and more of it."""
    # Where the solute's file lies plays no part: its contents are compared.
    return (
        key in ("platform", "chunk") or (key in ("frames", "runs") and new > old) or (key == "solute" and new and old)
    )


def _copy_of_solute(config, directory):
    return None if config.solute is None else directory / f"solute{Path(config.solute).suffix}"


def _write_topology(config, topology, path):
    """All atoms of the first random placement, as a PDB file."""
    if not tells_of(path, topology):
        file = StringIO()
        positions = place_molecules(config, np.random.default_rng([config.seed, 0]))
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
        rundirectory.write_whole(path, file.getvalue())


def _described(config):
    """What is simulated, in words."""
    parts = [] if config.solute is None else [f"{config.copies} {Path(config.solute).name}"]
    parts += [f"{count} {symbol}" for symbol, count in config.composition.items()]
    if not config.periodic:
        return f"{parts[0]} in {'vacuum' if config.solvent == 'none' else config.solvent}"
    salt = f" ({config.true_molarity:.3f} mol/L)" if config.pairs else ""
    return f"{', '.join([*parts, f'{config.n_waters} waters'])} in a cube of {config.edge:g} nm{salt}"


def _run(config, run, folder, system, kept, umbrella, progress, told, before):
    """One run, from its last saved state to its end: positions and labels of what is kept, (frames, n_kept, 3) each.

    What is `told` of progress counts from `before` on, ps.
    """
    folder.mkdir(exist_ok=True)
    every, discard = config.steps(config.interval), config.steps(config.discard)
    state = None
    if (folder / "state.xml").exists():
        state = read_state(folder / "state.xml")
    elif any(folder.glob("frames-*.npz")):  # the first state is written before them
        raise rundirectory.damaged(folder / "state.xml", f"delete the folder {folder} and resume")
    step = state.getStepCount() if state else 0
    saved = max(0, (step - discard) // every)
    _drop_uncounted(folder, saved)
    if saved:
        _load_chunks(folder, saved)  # a missing chunk should show now, not after hours
    if saved < config.frames:
        context = _start(config, run, system, state, step, {} if umbrella is None else umbrella.parameters(run))
        if state is None:
            _save_state(context, folder)
        first_step, started = step, time.perf_counter()
        # What is there already took no time of this call.
        told.first += before + step * config.timestep - told.done
        told.done = before + step * config.timestep

        def come(number):
            told.at(before + number * config.timestep)

        while saved < config.frames:
            # An interruption waits for a moment at which all that is done can be saved.
            with rundirectory.held() as asked:
                if step < discard:
                    _advance(context, min(config.chunk * every, discard - step), asked, come)
                else:
                    count = min(config.chunk, config.frames - saved)
                    count, chunk = _sample(context, config, count, every, run, kept, asked, come)
                    if count:
                        rundirectory.write_whole(folder / f"frames-{saved:07d}.npz", chunk)
                    saved += count
                _save_state(context, folder)
            step = context.getStepCount()
            speed = (step - first_step) * config.timestep / (time.perf_counter() - started) * 86.4  # ps/s in ns/day
            logger.debug(
                "run %d: %g ps, %d of %d frames, %.1f ns/day", run, step * config.timestep, saved, config.frames, speed
            )
            if progress is not None:
                progress(run, saved, speed)
    return _load_chunks(folder, config.frames)


def _advance(context, steps, asked, come):
    """Some steps, or fewer, where an interruption waits; whether all were made.  `come` is called with their number."""
    some = 1
    while steps and not asked():
        some, begun = min(some, steps), time.monotonic()
        context.getIntegrator().step(some)
        steps -= some
        come(context.getStepCount())
        some = max(1, min(2 * some, round(some * LOOK / max(time.monotonic() - begun, 1e-6))))
    return not steps


def _drop_uncounted(folder, saved):
    """Delete what a killed process left beyond its last state."""
    for path in folder.glob("*.tmp"):
        path.unlink()
    for path in folder.glob("frames-*.npz"):
        if int(path.stem.partition("-")[2]) >= saved:
            path.unlink()


def _start(config, run, system, state, step, parameters):
    """A Context with these parameters, at a saved state, or at a fresh random placement, its energy minimised."""
    integrator = openmm.LangevinMiddleIntegrator(config.temperature, config.friction, config.timestep)
    # The step is part of the seed: a resumed run must not repeat the noise it has already seen.
    thermostat, velocities = np.random.SeedSequence([config.seed, run, step]).generate_state(2) % (2**31 - 2) + 1
    integrator.setRandomNumberSeed(int(thermostat))
    context = openmm.Context(system, integrator, *_platform(config.platform))
    for name, value in parameters.items():
        context.setParameter(name, value)
    if state is not None:
        context.setState(state)
        return context
    context.setPositions(place_molecules(config, np.random.default_rng([config.seed, run])))
    patience = _Patience()
    while not patience.satisfied:
        with rundirectory.held() as patience.asked:
            patience.satisfied = True
            openmm.LocalEnergyMinimizer.minimize(context, maxIterations=MINIMISER_STEPS, reporter=patience)
    context.setVelocitiesToTemperature(config.temperature, int(velocities))
    return context


class _Patience(openmm.MinimizationReporter):
    """Breaks a minimisation off where an interruption waits."""

    asked, satisfied = None, False

    def report(self, *_):
        self.satisfied = not self.asked()
        return not self.satisfied


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
    write_state(folder / "state.xml", context.getState(positions=True, velocities=True))


def _sample(context, config, count, every, run, kept, asked, come):
    """The next `count` frames, or fewer where an interruption waits: their number, and the bytes of an npz file.

    They hold positions, and forces where there are labels.
    """
    positions, forces = np.empty((2, count, len(kept.species), 3))
    for index in range(count):
        # An interrupted run goes on between two frames.
        if not _advance(context, every - (context.getStepCount() - config.steps(config.discard)) % every, asked, come):
            positions, forces = positions[:index], forces[:index]
            break
        state = context.getState(positions=True, forces=True, groups=OTHER_GROUPS)
        positions[index] = kept.positions(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        # Potential forces only, without a bias and those that hold constraints.  Hydrogen masses do not enter.
        forces[index] = kept.forces(
            state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        )
    if not (np.isfinite(forces).all() and np.isfinite(positions).all()):
        raise FloatingPointError(
            f"run {run} has NaN or Inf forces (kJ/mol/nm) with a timestep of {config.timestep:g} ps: "
            "resume from its last state with another platform, or generate anew with a shorter timestep"
        )
    if config.periodic:
        positions -= config.edge * np.floor(positions / config.edge)
    else:  # what diffuses away would lose its digits
        positions -= positions.mean(1, keepdims=True)
    arrays = {"positions": positions.astype(np.float32)}
    if kept.labelled:
        arrays["forces"] = forces.astype(np.float32)
    file = BytesIO()
    np.savez(file, **arrays)
    return len(positions), file.getvalue()


def _load_chunks(folder, count):
    """Positions and forces of all frames of a run; None for the forces where there are no labels."""
    positions, forces, loaded = [], [], 0
    for path in sorted(folder.glob("frames-*.npz")):
        if int(path.stem.partition("-")[2]) != loaded:
            break
        try:
            with np.load(path) as chunk:
                positions.append(chunk["positions"])
                if "forces" in chunk:
                    forces.append(chunk["forces"])
        except (ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise rundirectory.damaged(path, f"delete the folder {folder} and resume") from error
        loaded += len(positions[-1])
    if loaded != count:
        raise ValueError(f"{folder} lacks the chunk of frame {loaded} of {count}: delete this folder and resume")
    return np.concatenate(positions), np.concatenate(forces) if forces else None
