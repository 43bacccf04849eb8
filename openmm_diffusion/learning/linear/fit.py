"""The closed-form part of a training: moments, replica by replica, and a fit of each linear energy at every level."""

import logging

import numpy as np
import torch

from ...data.sets import blocks
from ...energies.linear import LEVELS
from ...model.sum import energy_and_forces
from ...noise import draw_noise
from ...units import thermal_energy
from ..trainingset import set_up_for, tensors
from .forcematching import fit_labelled, labelled_moments
from .scorematching import fit, moments

log = logging.getLogger(__name__)


def fit_linear(denoiser, training, config):
    """A denoiser with every linear energy that a configuration asks for, fitted in closed form one after the other.

    Parameters
    ----------
    denoiser : Denoiser
        Prior alone; stays as it is.
    training : list of Frames
        Of each system.
    config : Config

    Returns
    -------
    Denoiser
        Its header says under `held_out` how the fits did.
    """
    for term, settings in config.linear:
        denoiser = fit_term(denoiser, term, settings, training, config)
    return denoiser


def fit_term(denoiser, kind, settings, training, config):
    """A denoiser with one more linear energy, fitted to frames noised by its noise level, or to those as they are.

    Over a range of noise levels, each level of the table is a fit of its own, of the same frames
    with the same noise, scaled: what the draws do by chance then changes slowly with the level.

    Parameters
    ----------
    denoiser : Denoiser
        Its terms are held fixed; stays as it is.
    kind : type
        The `LinearTerm` to add.
    settings : LinearSettings
    training : list of Frames
        Of each system.
    config : Config

    Returns
    -------
    Denoiser
    """
    noise = config.noise
    levels = None if noise.sigmas is None else np.geomspace(*noise.sigmas, LEVELS).tolist()
    term = kind.blank(settings, config.linear_sigma(settings), levels)
    energy, kT = term.module(denoiser.header), thermal_energy(training[0].temperature)
    results = []
    for i, level in enumerate(levels or [term.sigma]):
        replicas, system = _replicas(energy, denoiser, settings, training, config, level)
        if config.target == "denoise":
            results.append(fit(energy, replicas, settings, term.noun, system))
        else:
            known = level or noise.smallest
            results.append(fit_labelled(energy, replicas, settings, config.target, known, kT, term.noun, system))
        if levels:
            energy.table[i] = energy.coefficients
    term.set_level(energy)
    # The first is the level that the model is evaluated at.
    first = results[0]
    held_out = {f"{term.kind}_score": first["held_out_score"], f"{term.kind}_scale": first["scale"]}
    if len(training) > 1:
        held_out[f"{term.kind}_score_of_systems"] = first["system_scores"]
    if levels:
        held_out[f"{term.kind}_levels"] = [
            {"sigma": level, **{key: result[key] for key in ("penalty", "scale", "held_out_score")}}
            for level, result in zip(levels, results)
        ]
    if config.target == "hybrid":
        held_out |= weights_report(denoiser.header.species, term.kind, first["weights"], first["textbook"])
    fitted = term.model_copy(update={"penalty": first["penalty"]})
    other = denoiser.rebuilt([*denoiser.header.terms, fitted], [*denoiser.modules(), energy])
    return other.with_held_out(held_out)


def _replicas(energy, denoiser, settings, training, config, sigma):
    """Moments of the training frames noised by sigma (nm), one for each replica, and the system that each is of.

    With labels, `LabelledMoments`.
    """
    generator = torch.Generator().manual_seed(config.training.seed)
    replicas, system = [], []
    for number, (frames, weight) in enumerate(zip(training, config.data.system_weights(len(training)))):
        found = _moments_of(energy, denoiser, settings, frames, config, sigma, generator)
        replicas += [replica.weighted(weight) for replica in found]
        system += [number] * len(found)
    return replicas, system


def _moments_of(energy, denoiser, settings, training, config, sigma, generator):
    """Moments of the replicas of one system."""
    kT, model = thermal_energy(training.temperature), set_up_for(denoiser, training).model
    replicas = []
    for block in blocks(training, settings.folds):
        data = tensors(block, denoiser, config, torch.float64)
        y, boxes = data.positions, data.box
        if sigma > 0:
            eps = draw_noise(data.positions, settings.draws, True, generator)
            y, boxes = data.noised(eps.new_full(eps.shape[:2], sigma), eps)
        level = y.new_full((len(y),), sigma)
        parts = zip(y.split(32), [None] * len(y) if boxes is None else boxes.split(32), level.split(32))
        prior_forces = torch.cat([energy_and_forces(model, *part, data.species, sigma=at)[1] for *part, at in parts])
        if config.target == "denoise":
            replicas.append(moments(energy, y, prior_forces, boxes, data.species, kT))
        else:
            labels = torch.full_like(data.positions, torch.nan) if data.forces is None else data.forces
            labels = labels.repeat(len(y) // len(labels), 1, 1)
            replicas.append(labelled_moments(energy, y, prior_forces, labels, boxes, data.species, kT))
    return replicas


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
