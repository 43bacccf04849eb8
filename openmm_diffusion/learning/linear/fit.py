"""The pair part of a training: its moments, replica by replica, and the fit in closed form at every noise level."""

import logging

import numpy as np
import torch

from ...energies.pair import LEVELS
from ...model.header import PairTerm
from ...model.sum import energy_and_forces, term_module
from ...noise import draw_noise
from ...units import symbols, thermal_energy
from ..trainingset import blocks, tensors
from .forcematching import fit_labelled, labelled_moments
from .scorematching import fit, moments

log = logging.getLogger(__name__)


def fit_pair(denoiser, training, config):
    """A denoiser with a pair potential, fitted in closed form on frames noised by `pair_sigma`, or as they are.

    Over a range of noise levels, each level of the table is a fit of its own, of the same frames
    with the same noise, scaled: what the draws do by chance then changes slowly with the level.

    Parameters
    ----------
    denoiser : Denoiser
        Prior alone; stays as it is.
    training : Frames
    config : Config

    Returns
    -------
    Denoiser
        Its header says under `held_out` how the fit did.
    """
    prior, noise = denoiser.model, config.noise
    levels = None if noise.sigmas is None else np.geomspace(*noise.sigmas, LEVELS).tolist()
    term = PairTerm(
        sigma=config.pair_sigma, sigmas=levels, cutoff=config.pair.cutoff, start=config.pair.start,
        spacing=config.pair.spacing,
    )  # fmt: skip
    header = denoiser.header
    pair, kT = term_module(term, header), thermal_energy(training.temperature)
    results = []
    for i, level in enumerate(levels or [term.sigma]):
        replicas = _replicas(pair, prior, denoiser, training, config, level)
        if config.target == "denoise":
            results.append(fit(pair, replicas, config.pair))
        else:
            results.append(fit_labelled(pair, replicas, config.pair, config.target, level or noise.smallest, kT))
        if levels:
            pair.table[i] = pair.coefficients
    if levels:
        pair.set_level(term.sigma)
    # The first is the level that the model is evaluated at.
    first = results[0]
    held_out = {"pair_score": first["held_out_score"], "pair_scale": first["scale"]}
    if levels:
        held_out["pair_levels"] = [
            {"sigma": level, **{key: result[key] for key in ("penalty", "scale", "held_out_score")}}
            for level, result in zip(levels, results)
        ]
    if config.target == "hybrid":
        held_out |= weights_report(header.species, "pair", first["weights"], first["textbook"])
    fitted = term.model_copy(update={"penalty": first["penalty"]})
    other = denoiser.rebuilt([*header.terms, fitted], [*denoiser.modules(), pair])
    return other.with_held_out(held_out)


def _replicas(pair, prior, denoiser, training, config, sigma):
    """Moments of the training frames noised by sigma (nm), one for each replica; with labels, `LabelledMoments`."""
    kT = thermal_energy(training.temperature)
    noise = config.noise.model_copy(update={"antithetic": True, "draws": config.pair.draws})
    generator = torch.Generator().manual_seed(config.training.seed)
    replicas = []
    for block in blocks(training, config.pair.folds):
        data = tensors(block, denoiser, config, torch.float64)
        y, boxes = data.positions, data.box
        if sigma > 0:
            eps = draw_noise(data.positions, noise, generator)
            y, boxes = data.noised(eps.new_full(eps.shape[:2], sigma), eps)
        level = y.new_full((len(y),), sigma)
        parts = zip(y.split(32), [None] * len(y) if boxes is None else boxes.split(32), level.split(32))
        prior_forces = torch.cat([energy_and_forces(prior, *part, data.species, sigma=at)[1] for *part, at in parts])
        if config.target == "denoise":
            replicas.append(moments(pair, y, prior_forces, boxes, data.species, kT))
        else:
            labels = torch.full_like(data.positions, torch.nan) if data.forces is None else data.forces
            labels = labels.repeat(len(y) // len(labels), 1, 1)
            replicas.append(labelled_moments(pair, y, prior_forces, labels, boxes, data.species, kT))
    return replicas


def weights_report(species, part, weights, textbook):
    """Entries of `held_out` with the weight of force labels by species, beside the textbook's; logged too.

    Parameters
    ----------
    species : list of int
        Atomic numbers.
    part : str
        Name of the part of the model that was fitted with them.
    weights, textbook : sequence of float, one per species

    Returns
    -------
    dict
    """
    names = symbols(species)
    for name, w, t in zip(names, weights, textbook):
        log.info(
            "%s: weight of force labels on %s %.3f, of positions %.3f (textbook %.3f: single independent draws only)",
            part, name, w, 1 - w, t,
        )  # fmt: skip
    both = (("force_weights", weights), ("textbook_weights", textbook))
    return {f"{part}_{key}": {name: float(v) for name, v in zip(names, values)} for key, values in both}
