"""The closed-form part of a training: moments, replica by replica, and a fit of each linear energy at every level."""

import functools
import logging
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...cluster import mapped
from ...data.sets import blocks
from ...energies.linear import LEVELS, LinearSum, Sample
from ...model.sum import energy_and_forces
from ...noise import draw_noise
from ...progress import Progress
from ...rundirectory import write_table
from ...space.batch import make_batch
from ...units import thermal_energy
from ..trainingset import set_up_for, tensors
from .assessment import assess, force_sd
from .forcematching import fit_labelled, labelled_moments
from .pressure import strain
from .scorematching import fit, moments
from .uncertainty import curves

log = logging.getLogger(__name__)

#: What a joint fit tells of each of its energies.
OF_EACH = ("penalty", "scale", "scale_error", "degrees_of_freedom", "force_square", "force_variance")


#: Numbers of the design that a piece of the frames has at most, seconds of work for a worker, and coordinates: 8 MB.
PIECE, COORDINATES = 500_000_000, 1_000_000
#: Pieces of all frames, if there are enough: of fewer, workers that are done wait long for the last one.
PIECES = 100


def fit_linear(denoiser, training, config, table=None, client=None):
    """A denoiser with the linear energies that a configuration asks for, fitted in one joint solve.

    They are fitted to frames noised by their noise level, or to those as they are.  Over a range of
    noise levels, each level of the tables is a fit of its own, of the same frames with the same
    noise, scaled: what the draws do by chance then changes slowly with the level.

    Parameters
    ----------
    denoiser : Denoiser
        Its terms are held fixed; stays as it is.
    training : list of Frames
        Of each system.
    config : Config
    table : path, optional
        CSV file to write the learnt pair potential to, with its standard deviation.
    client : distributed.Client, optional
        Whose workers average over the frames, piece by piece; None: this process does.

    Returns
    -------
    Denoiser
        Its header says under `held_out` how the fit did.
    """
    if not config.linear:
        return denoiser
    noise = config.noise
    levels = None if noise.sigmas is None else np.geomspace(*noise.sigmas, LEVELS).tolist()
    sample = Sample(denoiser.header.species, lambda: _batches(denoiser, training, config, levels))
    asked = [(kind.blank(one, config.linear_sigma, levels, sample), one) for kind, one in config.linear]
    terms, settings = ([pair[i] for pair in asked if pair[0] is not None] for i in range(2))
    if not terms:
        return denoiser
    energies = [term.module(denoiser.header) for term in terms]
    # One energy is no sum: it keeps its own way of being fitted with labels, and its one penalty.
    energy, given = (energies[0], settings[0]) if len(terms) == 1 else (LinearSum(energies), settings)
    noun, kT = " + ".join(term.noun for term in terms), thermal_energy(training[0].temperature)
    results = []
    for i, level in enumerate(levels or [terms[0].sigma]):
        replicas, system = _replicas(energy, denoiser, settings, training, config, level, client)
        if config.target == "denoise" and not any(replica.A.any() for replica in replicas):
            raise ValueError(
                f"no frame holds anything that a {noun} is of: the only pairs within the cutoff are at most "
                f"{config.exclusions} bonds apart; leave it out, or set exclusions lower"
            )
        if config.target == "denoise":
            results.append(fit(energy, replicas, given, noun, system, config.pressure))
        else:
            known = level or noise.smallest
            results.append(fit_labelled(energy, replicas, given, config.target, known, kT, noun, system))
        if levels:
            for one in energies:
                one.table[i] = one.coefficients
    for term, one in zip(terms, energies):
        term.set_level(one)
    fitted, held_out = [], {}
    counts = [int(part.labelled.sum()) if config.target == "force" else len(part) for part in training]
    n_frames, n_coordinates = sum(counts), _coordinates(training, config)
    kept = [number for number, one in enumerate(energies) if len(energies) == 1 or _has_learnt(one)]
    if not kept:
        log.warning("none of the energies has learnt anything that frames kept from the fit confirm")
        return denoiser
    for number in sorted(set(range(len(terms))) - set(kept)):
        log.info("the %s adds nothing that frames kept from the fit confirm: left out", terms[number].noun)
    for number, term in [(number, terms[number]) for number in kept]:
        told = [_of_family(result, number, len(terms)) for result in results]
        # The first is the level that the model is evaluated at.
        fitted.append(term.model_copy(update={"penalty": told[0]["penalty"]}))
        assess(term.noun, told[0], n_frames, n_coordinates)
        held_out |= _report(term.kind, told, levels, len(training))
        held_out[f"{term.kind}_force_sd"] = force_sd(told[0], n_coordinates)
    if config.pressure is not None:
        held_out |= {key: results[0][key] for key in ("pressure", "pressure_error", "pressure_price")}
    if config.target == "hybrid":
        held_out |= weights_report(
            denoiser.header.species, terms[0].kind, results[0]["weights"], results[0]["textbook"]
        )
    left = [energies[number] for number in kept]
    other = denoiser.rebuilt([*denoiser.header.terms, *fitted], [*denoiser.modules(), *left])
    if table is not None:
        parts = results[0]["deviations"].split([one.coefficients.numel() for one in energies])
        found = curves(other, torch.cat([parts[number] for number in kept]), [len(parts[number]) for number in kept])
        if found is not None:
            write_table(table, found, float_format="%.6g")
    return other.with_held_out(held_out)


def _has_learnt(energy):
    """Whether any coefficient of an energy is not zero, at any level."""
    return bool(energy.coefficients.any()) or bool(energy.table.any())


def _batches(denoiser, training, config, levels, frames_at_once=256):
    """The frames that are fitted to as `Batch` after `Batch`, at the largest of several levels, without pairs."""
    generator = torch.Generator().manual_seed(config.training.seed)
    sigma = levels[-1] if levels else config.linear_sigma
    for frames in training:
        for block in blocks(frames, min(one.folds for _, one in config.linear)):
            data = tensors(block, denoiser, config, torch.float64)
            y, boxes = _noised(data, config.linear_draws, sigma, generator)
            for start in range(0, len(y), frames_at_once):
                chunk = slice(start, start + frames_at_once)
                box = None if boxes is None else boxes[chunk]
                yield make_batch(y[chunk], box, data.species, 0.0, None, data.connectivity)


def _noised(data, draws, sigma, generator, whole=None, rows=slice(None)):
    """Positions and boxes of the frames of a `TrainingSet`, noised by sigma (nm): `rows` of a `whole` of frames.

    The generator may be the state of one.
    """
    if not sigma > 0:
        return data.positions, data.box
    if isinstance(generator, torch.Tensor):
        generator = torch.Generator().set_state(generator)
    shape = data.positions[:1].expand(len(data.positions) if whole is None else whole, -1, -1)
    eps = draw_noise(shape, draws, True, generator)[:, rows]
    return data.noised(eps.new_full(eps.shape[:2], sigma), eps)


def _of_family(result, number, of):
    """The result of a fit as that of one energy among `of`."""
    return result if of == 1 else result | {key: result[key][number] for key in OF_EACH}


def _report(kind, told, levels, n_systems):
    """Entries of `held_out` of one energy, from its results at every level."""
    first = told[0]
    entries = {f"{kind}_score": first["held_out_score"]}
    entries |= {f"{kind}_{key}": first[key] for key in ("scale", "scale_error", "degrees_of_freedom")}
    if n_systems > 1:
        entries[f"{kind}_score_of_systems"] = first["system_scores"]
    if levels:
        entries[f"{kind}_levels"] = [
            {"sigma": level, **{key: result[key] for key in ("penalty", "scale", "held_out_score")}}
            for level, result in zip(levels, told)
        ]
    return entries


def _coordinates(training, config):
    """Coordinates of a frame, on average over the frames of all systems as they count."""
    counts = [len(frames) * w for frames, w in zip(training, config.data.system_weights(len(training)))]
    return float(np.average([np.prod(frames.positions.shape[1:]) for frames in training], weights=counts))


def _replicas(energy, denoiser, settings, training, config, sigma, client=None):
    """Moments of the training frames noised by sigma (nm), one for each replica, and the system that each is of.

    With labels, `LabelledMoments`.  Where memory holds no more, several replicas of one fold are joined.
    """
    weights, folds = config.data.system_weights(len(training)), min(one.folds for one in settings)
    most = replicas_at_most(energy, folds, 1 if config.target == "denoise" else 2 * energy.n_species)
    copies = 2 * config.linear_draws if sigma > 0 else 1
    at = f" at sigma = {sigma:g} nm" if sigma > 0 else ""
    told = Progress(f"averages over frames{at}", copies * sum(map(len, training)))
    # Of every piece, the replica that it is of, in the order in which pieces are made: results have the same.
    owners: list[tuple[int, int]] = []
    found: list[dict[int, Any]] = [{} for _ in training]
    pieces = _pieces(energy, denoiser, training, config, sigma, folds, client, told.add, owners)
    for result in mapped(client, _averages, pieces):
        system, number = owners.pop(0)
        if client is not None:
            told.add(copies * result.frames)
        known, number = found[system], number % most
        known[number] = known[number].joined(result.moments) if number in known else result.moments
    told.close()
    replicas = [known[n].weighted(w) for known, w in zip(found, weights) for n in sorted(known)]
    return replicas, [number for number, known in enumerate(found) for _ in known]


@dataclass
class Averaged:
    """What a piece of the frames has come to: its moments, and how many frames it has, without their noised copies."""

    moments: Any
    frames: int


@dataclass
class Piece:
    """Frames of one replica, and which of the noise of that replica is theirs.

    Attributes
    ----------
    frames : Frames
    generator : torch.Generator, or Tensor
        That draws it, or its state before it draws that of the whole replica.
    whole : int
        Frames of the replica.
    rows : slice
        Which of them these are.
    """

    frames: Any
    generator: Any
    whole: int
    rows: slice


@dataclass
class Asked:
    """What averages of the frames of one system are of.

    Attributes
    ----------
    energy : LinearEnergy or LinearSum
    denoiser : Denoiser
        What is known of their forces, set up for their mean box.
    sigma : float, nm
    draws : int
    noise : NoiseConfig
    temperature : float, K
    labels, strain : bool
        Whether to average over labels too, and over what the pressure depends on.
    """

    energy: Any
    denoiser: Any
    sigma: float
    draws: int
    noise: Any
    temperature: float
    labels: bool
    strain: bool


def _pieces(energy, denoiser, training, config, sigma, folds, client, told, owners) -> Iterator[tuple]:
    """Arguments of `_averages` for all frames: whole replicas, or for workers pieces of them.

    Their number does not depend on that of the workers.  `owners` receives system and replica of each.
    """
    generator = torch.Generator().manual_seed(config.training.seed)
    share = sum(map(len, training)) // PIECES
    for system, frames in enumerate(training):
        asked: Any = Asked(
            energy, set_up_for(denoiser, frames), sigma, config.linear_draws, config.noise, frames.temperature,
            config.target != "denoise", config.pressure is not None,
        )  # fmt: skip
        n, step = len(frames.types), 0
        if client is not None:
            asked = pickle.dumps(asked)  # once, not for every piece
            copies = 2 * config.linear_draws if sigma > 0 else 1
            at_once = max(1, frames_at_once(energy, frames.types) // copies)
            most = min(PIECE // max(1, sum(energy.sizes)), COORDINATES) // (3 * n * copies)
            step = max(at_once, min(most, share) // at_once * at_once)
        for number, block in enumerate(blocks(frames, folds)):
            if client is None:
                owners.append((system, number))
                yield asked, Piece(block, generator, len(block), slice(None)), told
                continue
            state = generator.get_state()
            if sigma > 0:
                _skip(generator, config.linear_draws * len(block) * n * 3)
            for start in range(0, len(block), step):
                rows = slice(start, min(start + step, len(block)))
                owners.append((system, number))
                yield asked, Piece(block[rows], state, len(block), rows)


def _skip(generator, number, at_once=1 << 20):
    """Leave a generator as it is after so many normal numbers of double precision, drawn at once.

    Torch draws them in groups of 16, and what is over together with the group before it.
    """
    while number > at_once + 16:
        torch.randn(at_once, generator=generator, dtype=torch.float64)
        number -= at_once
    torch.randn(number, generator=generator, dtype=torch.float64)


@functools.lru_cache(maxsize=2)
def _read(asked):
    """What a process of our own asks of this one."""
    return pickle.loads(asked)


def _averages(asked, piece, told=None):
    """`Averaged` of some frames of one replica; what a bias did to them is part of what is known of the forces."""
    asked = _read(asked) if isinstance(asked, bytes) else asked
    energy, model, kT, frames = asked.energy, asked.denoiser.model, thermal_energy(asked.temperature), piece.frames
    data = tensors(frames, asked.denoiser, asked, torch.float64)
    y, boxes = _noised(data, asked.draws, asked.sigma, piece.generator, piece.whole, piece.rows)
    level = y.new_full((len(y),), asked.sigma)
    step, links = frames_at_once(energy, data.species), data.connectivity
    parts = zip(y.split(step), [None] * len(y) if boxes is None else boxes.split(step), level.split(step))
    found = [energy_and_forces(model, *part, data.species, sigma=at, connectivity=links)[1] for *part, at in parts]
    prior_forces = torch.cat(found)
    if frames.bias_forces is not None:
        prior_forces = prior_forces + torch.as_tensor(frames.bias_forces)
    averages: Any
    if not asked.labels:
        averages = moments(energy, y, prior_forces, boxes, data.species, kT, step, links, told)
        if asked.strain:
            averages.strain = strain(energy, model, y, boxes, data.species, kT, links)
    else:
        labels = torch.full_like(data.positions, torch.nan) if data.forces is None else data.forces
        labels = labels.repeat(len(y) // len(labels), 1, 1)
        averages = labelled_moments(energy, y, prior_forces, labels, boxes, data.species, kT, step, links, told)
    return Averaged(averages, len(frames))


def frames_at_once(energy, species):
    """Frames whose design is computed together: as many as 32 MB hold, but 32 where 512 MB hold these.

    Larger arrays are given back to the system after each chunk, and fetched page by page for the next.
    """
    coordinates = max(1, 3 * len(species) * sum(energy.sizes))
    least = max(1, min(32, 64_000_000 // coordinates))
    return max(least, min(1024, 4_000_000 // coordinates))


def replicas_at_most(energy, folds, matrices):
    """Replicas whose moments are kept apart: a multiple of the folds, as many as 512 MB hold.

    Parameters
    ----------
    energy : LinearEnergy or LinearSum
    folds : int
    matrices : int
        That the moments of a replica have.
    """
    size = 8 * matrices * sum(energy.sizes) ** 2
    return folds * max(1, int(512e6 / size / folds))


def weights_report(species, part, weights, textbook):
    """Entries of `held_out` with the weight of force labels by species, beside the textbook's; logged too.

    Parameters
    ----------
    species : list of str
    part : str
        Name of the part of the model that was fitted with them.
    weights, textbook : sequence of float, one per species

    Returns
    -------
    dict
    """
    for name, w, t in zip(species, weights, textbook):
        log.info(
            "%s: weight of force labels on %s %.3f, of positions %.3f (textbook %.3f: single independent draws only)",
            part, name, w, 1 - w, t,
        )  # fmt: skip
    both = (("force_weights", weights), ("textbook_weights", textbook))
    return {f"{part}_{key}": {name: float(v) for name, v in zip(species, values)} for key, values in both}
