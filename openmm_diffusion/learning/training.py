"""Training: frames and a configuration in, a denoiser out.

First the prior is set up, then the pair potential fitted in closed form, then the
network trained on what they leave over.
"""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import rundirectory
from ..data import sets
from ..data.checks import checked_masses
from ..data.frames import Frames
from ..data.sets import resampled
from ..energies.base import DataSummary
from ..energies.network import NetworkTerm
from ..model.combination import deviation, ensemble, members
from ..model.denoiser import Denoiser
from ..model.header import Header
from ..model.pressure import PRICE
from ..particles import atomic_number, ordered
from ..settings import validated
from ..space.boxes import check_cutoff
from ..space.neighbours import neighbour_pairs
from ..units import thermal_energy
from .checks import (
    check_apart,
    check_bias,
    check_devices,
    check_internal,
    check_labels,
    check_pressure,
    warn_of_smoothing,
)
from .config import Config, config_model, kind_of, read_config
from .defaults import for_systems
from .linear.fit import fit_linear, weights_report
from .measured import with_pressure
from .network.processes import run_processes
from .trainingset import TrainingSystem, frames_of, set_up_for, tensors

log = logging.getLogger(__name__)

#: Keys of `data` that name files.
PLACES = ("frames", "trajectory", "top")

ANOTHER = (
    "{key} is {new}, but output {directory} was begun with another configuration ({old}): resume with that one, or "
    "name another directory"
)


def train(
    frames: Frames | Sequence[Frames] | None,
    config: str | os.PathLike[str] | dict[str, Any] | Config,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Denoiser:
    """Learn a denoiser from configurations.

    Parameters
    ----------
    frames : Frames, list of Frames, or None
        The frames of a list are of several systems, which have a table of types in common.  None: those
        that `data` of the configuration names, files of frames or trajectories.
    config : path, dict or Config
    output : path, optional
        Directory of the run: config.yaml, pair.safetensors (the model before the
        network), curves.csv (its pair potential with the standard deviation), checkpoints/,
        log/metrics.csv and model.safetensors.  Without one, nothing is kept but the result.
    resume : bool
        Go on with the run in `output`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For configurations, frames and directories that do not fit.
    """
    config = read_config(config)
    if frames is None:
        frames = frames_of(config.data)
    several = isinstance(frames, Sequence) and not isinstance(frames, (str, Frames))
    systems = [sets.as_frames(one) for one in (frames if several else [frames])]
    config = for_systems(config, systems)
    if output is None:
        with tempfile.TemporaryDirectory() as directory:
            check_training(systems, config)
            return _train_all(systems, config, Path(directory), False, progress)
    output, given = rundirectory.named(output), config.model_dump(mode="json")

    def understood(old):
        # Settings are compared, not the text of a file: an older version wrote other keys in another order.
        settings = validated(config_model(), old, str(output / rundirectory.SETTINGS))
        settings = for_systems(settings, systems).model_dump(mode="json")
        # Where the files lie plays no part: their frames are compared.
        return settings | {"data": settings["data"] | {key: given["data"][key] for key in PLACES}}

    with rundirectory.occupied(output):
        fitted = [part / "pair.safetensors" for part in (output, output / "member-0")]
        begun = next((path for path in fitted if path.exists()), None)
        rundirectory.check(output, given, resume, begun is not None, understood=understood, differs=ANOTHER)
        if begun and _kept(begun).header.data["digest"] != sets.digest(systems):
            raise ValueError(
                f"output {output} was begun with other frames: resume with those, or name another directory"
            )
        check_training(systems, config)
        with rundirectory.begun(output, given):
            return _train_all(systems, config, output, resume, progress)


def _kept(path):
    """A model that the run has saved."""
    try:
        return Denoiser.load(path)
    except ValueError as error:
        raise rundirectory.damaged(path, "delete it and resume: it is fitted again") from error


def _train_all(systems, config, output, resume, progress):
    """One model, or the members of an ensemble one after the other, each in a directory of its own."""
    if config.ensemble is None:
        return _train(systems, config, output, resume, progress)
    found = []
    for number in range(config.ensemble.members):
        log.info("member %d of %d", number + 1, config.ensemble.members)
        seed = config.training.seed + number
        one = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
        directory = output / f"member-{number}"
        directory.mkdir(parents=True, exist_ok=True)
        sample = seed if config.ensemble.bootstrap else None
        found.append(_train(systems, one, directory, resume, progress, sample))
    denoiser = ensemble(found)
    parts, values = [part.learnt for part in members(denoiser)], []
    for frames in systems:
        training, _, _ = config.data.divide(frames)
        some = training[:: max(1, len(training) // 100)]
        values.append(deviation(parts, some.positions, some.boxes, some.types, some.bonds).ravel())
    values = np.concatenate(values)
    rms, largest = float(np.sqrt(np.mean(values**2))), float(values.max())
    log.info(
        "spread of the members' forces on training frames: rms %.1f, largest %.1f kJ/mol/nm per particle", rms, largest
    )
    fits = [member.header.held_out for member in found]
    denoiser = denoiser.with_held_out({"spread_rms": rms, "spread_largest": largest, "members": fits})
    if all(PRICE in fit for fit in fits):  # energies, and so pressures, are means over the members
        denoiser = denoiser.with_held_out({PRICE: float(np.mean([fit[PRICE] for fit in fits]))})
    denoiser = with_pressure(denoiser, config.data.divide(systems[0])[0])
    denoiser.save(output / "model.safetensors")
    return denoiser


def _train(systems, config, output, resume, progress, sample=None):
    """Train one model; `sample` seeds a bootstrap sample of its training frames."""
    training, validation, test = zip(*[config.data.divide(frames) for frames in systems])
    for number, parts in enumerate(zip(training, validation, test)):
        which = f"system {number}: " if len(systems) > 1 else ""
        counts = [0 if part is None else len(part) for part in parts]
        log.info("%s%d frames to train on, %d to validate, %d kept apart", which, *counts)
    header = _header(systems, training, validation, test, config)
    if sample is not None:
        training = [resampled(part, sample + 7919 * number) for number, part in enumerate(training)]
    finished, fitted = output / "model.safetensors", output / "pair.safetensors"
    if resume and finished.exists():
        log.info("%s is finished", finished)
        return _kept(finished)
    if resume and fitted.exists():
        denoiser = _kept(fitted)
    else:
        denoiser = fit_linear(Denoiser(header), training, config, output / "curves.csv")
        denoiser.save(fitted)
    if config.network is not None:
        denoiser = _add_network(denoiser, training, validation, config, output, resume, progress)
    denoiser = with_pressure(denoiser, training[0])
    denoiser.save(finished)
    return denoiser


def check_training(systems, config):
    """Refuse what cannot work with these systems, warn of what will hurt: cutoffs, charges, smoothing."""
    if not systems:
        raise ValueError("frames is an empty list: give at least one set of frames")
    if not config.learners:
        raise ValueError(
            "nothing is to be learnt: pair, network and all other energies are null; leave one of them in, such as pair"
        )
    config.data.system_weights(len(systems))
    temperatures = [frames.temperature for frames in systems]
    if np.ptp(temperatures) > 1e-4 * temperatures[0] and not config.data.several_temperatures:
        raise ValueError(
            f"frames are at {min(temperatures):g} to {max(temperatures):g} K: a coarse-grained force is that of one "
            "temperature; give systems at one, or set data.several_temperatures to fit what they have in common"
        )
    check_bias(systems, config)
    check_pressure(systems, config)
    config.check_network()
    names = ordered(kind for frames in systems for kind in frames.types)
    unknown = sorted(set(config.noise.species or []) - set(names))
    for frames in systems:
        _check_system(frames, config)
    training, validation, _ = zip(*[config.data.divide(frames) for frames in systems])
    check_labels(training, validation, config)
    check_devices(validation, config)
    if unknown:
        raise ValueError(f"noise.species is {unknown}, but the frames hold {names}")


def _check_system(frames, config):
    config.prior.check(frames.types.tolist(), frames.box is not None)
    for kind, _ in config.learners:
        if not kind.linear and kind is not NetworkTerm:
            raise ValueError(
                f"{kind_of(kind)} is asked for, but nothing can learn a {kind.noun}: only energies that are linear in "
                "their coefficients and the network are trained"
            )
    check_apart(frames)
    if frames.box is not None:
        for kind, settings in config.learners:
            check_cutoff(settings.cutoff, torch.as_tensor(frames.boxes), f"{kind_of(kind)}.cutoff")
    if config.noise.species is not None or config.noise.axes != "xyz":
        if config.linear:
            kinds = [kind_of(kind) for kind, _ in config.linear]
            raise ValueError(
                f"noise.species and noise.axes leave coordinates clean, which the {kinds[0]} fit cannot: "
                f"set {', '.join(f'{kind}: null' for kind in kinds)}"
            )
    given = [kind for kind, settings in config.linear if settings.sigma is not None and config.network is None]
    key = f"{kind_of(given[0])}.sigma" if given else "noise.sigma"
    check_internal(frames, config, key)
    warn_of_smoothing(frames, config.sigma, key)


def _header(systems, training, validation, test, config):
    """The header of a model before anything is learnt; composition, box and bonds are those of the first system."""
    first = systems[0]
    species = ordered(kind for frames in systems for kind in frames.types)
    exclusions = config.exclusions if any(frames.bonds is not None for frames in systems) else 0
    shortest = [part.shortest_distances(exclusions) for part in training]
    distances = [
        [min((d for d in (s.get((a, b), s.get((b, a))) for s in shortest) if d is not None), default=None)
         for b in species]
        for a in species
    ]  # fmt: skip
    summary = DataSummary(species, distances, config.sigma, config.noise.sigmas is not None)
    parts = {"training": training, "validation": validation, "test": test}
    several = {}
    if len(systems) > 1:
        weights = config.data.system_weights(len(systems))
        several = {"systems": [_described(frames, weight) for frames, weight in zip(systems, weights)]}
    return Header(
        species=species,
        particles=first.types.tolist(),
        temperature=first.temperature,
        box=None if first.box is None else first.boxes.mean(0).tolist(),
        number_density=first.number_density,
        shortest_distances=distances,
        **_known_of(systems, species),
        bonds=None if first.bonds is None else first.bonds.tolist(),
        exclusions=exclusions,
        terms=config.prior.terms(summary),
        noised={"species": config.noise.species, "axes": config.noise.axes},
        data={
            "digest": sets.digest(systems),
            "n_frames": sum(map(len, systems)),
            **config.data.division,
            **{f"{k}_frames": sum(0 if part is None else len(part) for part in v) for k, v in parts.items()},
            "target": config.target,
            "labelled_training_frames": sum(int(part.labelled.sum()) for part in training),
            **several,
        },
    )


def _described(frames, weight):
    """What the header of a model says of one of several systems."""
    return {
        "digest": frames.digest(),
        "n_frames": len(frames),
        "weight": weight,
        "temperature": frames.temperature,
        "number_density": frames.number_density,
        "composition": {kind: int((frames.types == kind).sum()) for kind in ordered(frames.types)},
    }


def _known_of(systems, species):
    """Atomic number and mean mass (amu) of each type, as entries of a header: only what the types do not tell."""
    types, of_all, given = (
        np.concatenate([getattr(frames, name) for frames in systems]) for name in ("types", "species", "masses")
    )
    first = [int(np.argmax(types == kind)) for kind in species]
    numbers = of_all[first].tolist()
    masses = [float(given[types == kind].mean()) for kind in species]
    elements = checked_masses(None, of_all[first])
    told = [None if np.isnan(m) or np.isclose(m, own) else m for m, own in zip(masses, elements)]
    return {
        "numbers": None if numbers == [atomic_number(kind) for kind in species] else numbers,
        "masses": None if not any(told) else told,
    }


def _add_network(denoiser, training, validation, config, output, resume, progress):
    """The denoiser with a network trained on what its other terms leave over."""
    try:
        from .network.loop import load_weights, train_network  # Lightning, an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"training a network needs {error.name}: pip install 'openmm_diffusion[train]', or set network: null"
        ) from error
    task, term, module = network_task(denoiser, training, validation, config)
    held_out = {}
    if config.target == "hybrid":
        weights = task.force_weights.tolist(), task.textbook_weights.tolist()
        held_out = weights_report(denoiser.header.species, term.kind, *weights)
    if config.training.devices == 1:
        result = train_network(task, output, resume, progress)
    else:
        result = train_in_processes(denoiser, training, validation, config, output, resume, progress)
        load_weights(task, result["best"])
    if not result["held_out_loss"] < 0:
        if not config.linear:
            raise ValueError(
                f"the network learnt nothing: its held-out loss is {result['held_out_loss']:.4f}, and 0 without it; "
                "lower training.learning_rate, or give more frames"
            )
        log.warning("the network does not improve the held-out loss (%.4f): left out", result["held_out_loss"])
        return denoiser
    held_out |= {"network_loss": result["held_out_loss"], "network_steps": result["steps"]}
    other = denoiser.rebuilt([*denoiser.header.terms, term], [*denoiser.modules(), module])
    return other.with_held_out(held_out)


def network_task(denoiser, training, validation, config):
    """A network not trained yet: its Lightning task, its term, and its module, which the task trains."""
    from .network.forcematching import make_task

    torch.manual_seed(config.training.seed)
    weights = config.data.system_weights(len(training))
    systems = [
        TrainingSystem(
            set_up_for(denoiser, part).model,
            tensors(part, denoiser, config, torch.float32),
            tensors(held_out, denoiser, config, torch.float32),
            thermal_energy(part.temperature),
            weight,
        )
        for part, held_out, weight in zip(training, validation, weights)
    ]
    found = []
    for system in systems:
        some = torch.arange(0, len(system.training.positions), max(1, len(system.training.positions) // 100))
        sample = system.training.at(some)
        first, _, _ = neighbour_pairs(sample.positions, sample.box, config.network.cutoff)
        found.append(2 * len(first) / (len(some) * len(sample.species)))
    neighbours = float(np.mean(found))
    term = NetworkTerm(
        sigma=config.sigma, sigmas=config.noise.sigmas, network=config.network, neighbours=max(neighbours, 1.0)
    )
    alone = Denoiser(denoiser.header.model_copy(update={"terms": [term]}))
    # From zero: the pair potential is the starting point, and its held-out loss the one to beat.
    module = alone.modules()[0]
    torch.nn.init.zeros_(module.network.readout.weight)
    return make_task(alone.model, systems, config), term, module


def train_in_processes(denoiser, training, validation, config, output, resume, progress):
    """`train_network` in `training.devices` processes, which find in files what they need; its result."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number, parts in enumerate(zip(training, validation)):
            for which, part in zip(("training", "validation"), parts):
                part.save(directory / f"{which}-{number}.npz")
        denoiser.save(directory / "denoiser.safetensors")
        settings = {"output": str(output.resolve()), "resume": resume, "progress": progress}
        (directory / "run.json").write_text(json.dumps(settings | {"config": config.model_dump(mode="json")}))
        run_processes(["-m", "openmm_diffusion.learning.network.worker", name], config.training.devices)
        return json.loads((directory / "result.json").read_text())
