"""Refinement of all linear energies against the data's own populations: molecular dynamics, then a convex step."""

import logging
from pathlib import Path

import numpy as np
import pandas
import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from .. import rundirectory
from ..analysis.comparison import noised
from ..analysis.rdf import compute_rdf, rmsd
from ..analysis.structure import BIN_WIDTH, rdf_range
from ..data.sets import blocks, trained_on
from ..energies.linear import LinearSum
from ..learning.linear.relativeentropy import basis_sums, change, crossed, held_out, mean_sums, sample, solve
from ..learning.linear.scorematching import moments
from ..learning.measured import with_pressure
from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..model.sum import energy_and_forces
from ..noise import draw_noise
from ..settings import validated
from ..simulation.sampling import SamplingConfig, sample_ensemble
from ..units import thermal_energy

log = logging.getLogger(__name__)

ANOTHER = "output {directory} was begun with another {key}: resume with the same, or name another directory"


class RefineConfig(BaseModel):
    """How the linear energies of a model are refined.

    Attributes
    ----------
    iterations : int
        Rounds of molecular dynamics and step; each starts from the last one's potential.  One is
        enough where the first potential's ensemble overlaps with the data's: the log says so where not.
    weight : float, 1/nm^2
        w of the relative entropy beside the score-matching objective.  On 2.4 M LiCl the held-out
        score is best at 300 to 3,000, for 500 as for 1,400 frames, and differs little within; with 468 many-body
        coefficients beside the pairs (2,000 frames) at 1,000.
    sampling : SamplingConfig
        Its populations limit what a step can know: make it as long as the data, and longer for many coefficients.
    """

    model_config = ConfigDict(extra="forbid")

    iterations: PositiveInt = 1
    weight: PositiveFloat = 1000.0
    sampling: SamplingConfig = SamplingConfig()


def refine(model, frames, output, config=None, resume=False, report=None):
    """A model whose linear energies also give the relative populations of the data.

    All of them move together, each with the penalty of its own fit; what else is learnt stays.
    Only positions are used, and of the frames that the model was trained on only those that it
    was trained on.  The model given stays as it is.

    Parameters
    ----------
    model : path or Denoiser
        With linear energies whose penalties its file tells: one of each basis, or sums of models of such alone.
    frames : Frames
    output : path
        Receives config.yaml, iteration-0/, ..., refine.csv and model.safetensors.
    config : RefineConfig, dict or None
    resume : bool
        Go on with the refinement in `output`.
    report : callable, optional
        Called with lines of text as the work goes on.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For a model without a linear energy or with a range of noise levels, frames of another system
        or not in a cubic box, and directories that hold something else.
    """
    if not isinstance(config, RefineConfig):
        config = validated(RefineConfig, config or {}, "config")
    original = model if isinstance(model, Denoiser) else Denoiser.load(model)
    denoiser, output = merged(original), Path(output)
    places = [i for i, term in enumerate(denoiser.header.terms) if term.linear]
    terms = [denoiser.header.terms[i] for i in places]
    if not terms or any(term.penalty is None for term in terms):
        raise ValueError(
            "the model needs an energy that is linear in its coefficients and was fitted to data, whose populations "
            "can be refined: train one with a pair section"
        )
    if len({term.basis for term in terms}) < len(terms) or any(term.weight != 1 for term in terms):
        raise ValueError("the model is a sum of models with a network: refine each of them, and sum them up again")
    if any(term.sigmas is not None for term in terms):
        raise ValueError("the model knows a range of noise levels, and its populations at one: train at one sigma")
    if not original.conservative:
        raise ValueError("the model has a vector head: without an energy there is no relative entropy to refine by")
    if original.header.bonds or frames.bonds is not None:
        raise ValueError(
            "the model has bonded particles, and refine moves those of a liquid of single ones alone: it has no way "
            "of keeping molecules whole yet"
        )
    used = training_frames(original, frames)
    if used.box is None or not np.allclose(used.boxes, used.boxes[0, 0, 0] * np.eye(3), rtol=0.01, atol=1e-6):
        raise ValueError("frames are not in a cubic box: simulations make cubic boxes, so there is nothing to compare")
    given = {**config.model_dump(mode="json"), "model": original.digest(), "frames": frames.digest()}
    started = (output / rundirectory.SETTINGS).exists()
    rundirectory.check(output, given, resume, started, what="refinement", differs=ANOTHER)
    rundirectory.begin(output, given)
    replicas, sums = _reference(denoiser, places, used)
    data = mean_sums(replicas, sums)
    # Simulations group particles by type, in the order of their first appearance.
    seen = list(dict.fromkeys(used.types))
    order = np.argsort([seen.index(kind) for kind in used.types], kind="stable")
    starts = used.positions[:: max(1, len(used) // config.sampling.runs)][:, order]
    # One energy is no sum: its penalty is a number.
    penalty = terms[0].penalty if len(terms) == 1 else [term.penalty for term in terms]
    rows, kT = [], thermal_energy(denoiser.header.temperature)
    for iteration in range(config.iterations):
        directory = output / f"iteration-{iteration}"
        md, starts = sample_ensemble(denoiser, directory, starts, config.sampling, report)
        row = {"iteration": iteration, **_structure(md, noised(used, original.sigma) if original.sigma else used)}
        energy = _linear(denoiser, places)
        current = sample(energy, basis_sums(energy, *_tensors(md), denoiser.species_index(md.types)))
        c = solve(energy, replicas, data, current, penalty, config.weight, kT)
        for label, weight in (("", config.weight), (", forces alone", 0.0)):
            score, entropy = held_out(energy, replicas, sums, current, penalty, weight, kT)
            row[f"held-out score{label}"], row[f"held-out relative entropy{label}"] = score, entropy
        row.update(effective_sample=current.effective(c, kT), relative_entropy=change(c, data, current, kT))
        other = crossed(energy, replicas, data, current, penalty, config.weight, kT)
        row["relative_entropy, other half"] = other
        rows.append(row)
        if other > 0:
            log.warning(
                "iteration %d: a step from half of the sampled frames gains nothing in the other half (%+.3f per "
                "frame): give longer sampling before more iterations", iteration, other,
            )  # fmt: skip
        elif row["effective_sample"] < 0.5:
            log.warning(
                "iteration %d went as far as its sample reaches (%.0f %% of it effective): give more iterations",
                iteration, 100 * row["effective_sample"],
            )  # fmt: skip
        denoiser = denoiser.rebuilt(denoiser.header.terms, denoiser.modules())
        _linear(denoiser, places).assign(c)
        pandas.DataFrame(rows).to_csv(output / "refine.csv", index=False)
        if report:
            report(
                f"iteration {iteration}: relative entropy on held-out replicas {row['held-out relative entropy']:+.3f} "
                f"per frame, held-out score {row['held-out score']:.0f} (forces alone: "
                f"{row['held-out score, forces alone']:.0f}) (kJ/mol/nm)^2"
            )
    # What was held out of the fit says nothing of the refined potential.
    denoiser.header = denoiser.header.model_copy(update={"held_out": {"refined": rows}})
    denoiser = with_pressure(denoiser, used)
    denoiser.save(output / "model.safetensors")
    return denoiser


def training_frames(denoiser, frames):
    """The frames that training used, if these are the frames it saw; else all of them."""
    denoiser.species_index(frames.types)
    return trained_on(denoiser.header.data, frames)


def _tensors(frames):
    return torch.as_tensor(frames.positions), None if frames.box is None else torch.as_tensor(frames.boxes)


def _linear(denoiser, places):
    """The energy of the terms at these places: `LinearEnergy`, or `LinearSum` of several."""
    energies = [denoiser.modules()[i] for i in places]
    return energies[0] if len(energies) == 1 else LinearSum(energies)


def _reference(denoiser, places, frames):
    """Moments and sums of each replica of frames, noised as the model's ensemble is."""
    energy, sigma = _linear(denoiser, places), denoiser.sigma
    index, kT = denoiser.species_index(frames.types), thermal_energy(frames.temperature)
    others = [(t, m) for i, (t, m) in enumerate(zip(denoiser.header.terms, denoiser.modules())) if i not in places]
    rest = denoiser.rebuilt([term for term, _ in others], [module for _, module in others]).model.double()
    averages, sums, generator = [], [], torch.Generator().manual_seed(0)
    for block in blocks(frames, 10):
        x, box = _tensors(block)
        x = x.double()
        if sigma > 0:
            eps = draw_noise(x, 2, True, generator)
            x = (x + sigma * eps).flatten(0, 1)
            box = None if box is None else box.repeat(len(eps), 1, 1)
        parts = zip(x.split(32), [None] * len(x) if box is None else box.split(32))
        links = denoiser.connectivity(index, frames.bonds)
        forces = torch.cat([energy_and_forces(rest, *part, index, connectivity=links)[1] for part in parts])
        averages.append(moments(energy, x, forces, box, index, kT, connectivity=links))
        sums.append(basis_sums(energy, x, box, index, connectivity=links).mean(0))
    return averages, sums


def _structure(md, frames):
    """RMSD of g(r) of MD from the frames, by pair."""
    curves = [compute_rdf(part, rdf_range(frames), BIN_WIDTH) for part in (md, frames)]
    return {f"rmsd {pair}": rmsd(curves[0].g[pair], curves[1].g[pair]) for pair in curves[0].g}
