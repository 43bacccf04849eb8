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
from ..cluster import checked, mapped
from ..data import sets
from ..data.frames import Frames
from ..data.sets import resampled
from ..energies.network import NetworkTerm
from ..model.combination import deviation, ensemble, members
from ..model.denoiser import Denoiser
from ..model.pressure import PRICE
from ..particles import ordered
from ..settings import validated
from ..space.neighbours import neighbour_pairs
from ..units import thermal_energy
from .checks import check_bias, check_devices, check_labels, check_pressure, check_system
from .config import Config, config_model, read_config
from .defaults import for_systems
from .header import header_of
from .linear.fit import fit_linear, weights_report
from .measured import with_pressure
from .network.processes import place, run_processes, shared
from .stored import StoredFrames
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
    client: Any = None,
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
    client : distributed.Client, optional
        Whose workers make the averages that fits in closed form need, piece by piece; files of frames that `data` names
        are read by them, and need not fit into memory together.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For configurations, frames and directories that do not fit.
    """
    config, client = read_config(config), checked(client)
    if frames is None:
        frames = frames_of(config.data, client)
    several = isinstance(frames, Sequence) and not isinstance(frames, (str, Frames))
    systems = [sets.as_frames(one) for one in (frames if several else [frames])]
    config = for_systems(config, systems)
    here = place()
    if not here.first:  # the first process has the directory, and tells this one what it needs
        with tempfile.TemporaryDirectory() as directory:
            check_training(systems, config)
            return _train_all(systems, config, Path(directory), resume, False)
    resume = resume or here.starts > 0
    if output is None:
        with tempfile.TemporaryDirectory() as directory:
            check_training(systems, config, client)
            return _train_all(systems, config, Path(directory), False, progress, client)
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
        check_training(systems, config, client)
        with rundirectory.begun(output, given):
            return _train_all(systems, config, output, resume, progress, client)


def _kept(path):
    """A model that the run has saved."""
    try:
        return Denoiser.load(path)
    except ValueError as error:
        raise rundirectory.damaged(path, "delete it and resume: it is fitted again") from error


def _train_all(systems, config, output, resume, progress, client=None):
    """One model, or the members of an ensemble one after the other, each in a directory of its own."""
    if config.ensemble is None:
        return _train(systems, config, output, resume, progress, client=client)
    found = []
    for number in range(config.ensemble.members):
        log.info("member %d of %d", number + 1, config.ensemble.members)
        seed = config.training.seed + number
        one = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
        directory = output / f"member-{number}"
        directory.mkdir(parents=True, exist_ok=True)
        sample = seed if config.ensemble.bootstrap else None
        found.append(_train(systems, one, directory, resume, progress, sample, client))
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


def _train(systems, config, output, resume, progress, sample=None, client=None):
    """Train one model; `sample` seeds a bootstrap sample of its training frames."""
    training, validation, test = zip(*[config.data.divide(frames) for frames in systems])
    for number, parts in enumerate(zip(training, validation, test)):
        which = f"system {number}: " if len(systems) > 1 else ""
        counts = [0 if part is None else len(part) for part in parts]
        log.info("%s%d frames to train on, %d to validate, %d kept apart", which, *counts)
    header = header_of(systems, training, validation, test, config, client)
    if sample is not None:
        training = [resampled(part, sample + 7919 * number) for number, part in enumerate(training)]
    finished, fitted = output / "model.safetensors", output / "pair.safetensors"
    here = place()
    if known := shared(finished.read_bytes() if here.first and resume and finished.exists() else b""):
        log.info("%s is finished", finished)
        return _kept(finished) if here.first else Denoiser.from_bytes(known)
    if here.first and resume and fitted.exists():
        denoiser = _kept(fitted)
    elif here.first:
        denoiser = fit_linear(Denoiser(header), training, config, output / "curves.csv", client)
        denoiser.save(fitted)
    if here.world > 1:
        denoiser = Denoiser.from_bytes(shared(denoiser.to_bytes() if here.first else b""))
    if config.network is not None:
        denoiser = _add_network(denoiser, training, validation, config, output, resume, progress)
    denoiser = with_pressure(denoiser, training[0])
    denoiser.save(finished)
    return denoiser


def check_training(systems, config, client=None):
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
    # Of frames that lie in files, workers look at all of them.
    apart = client if all(isinstance(frames, StoredFrames) for frames in systems) else None
    for _ in mapped(apart, check_system, [(frames, config) for frames in systems]):
        pass
    training, validation, _ = zip(*[config.data.divide(frames) for frames in systems])
    check_labels(training, validation, config)
    check_devices(validation, config)
    if unknown:
        raise ValueError(f"noise.species is {unknown}, but the frames hold {names}")


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
    if config.training.devices == 1 or place().world > 1:
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
