"""Refinement of all linear energies against the data's own populations: molecular dynamics, then a convex step."""

import logging

import numpy as np
import pandas
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from .. import rundirectory
from ..analysis.comparison import noised
from ..analysis.molecules.comparison import compare_molecules
from ..analysis.rdf import compute_rdf, rmsd
from ..analysis.structure import BIN_WIDTH, rdf_range
from ..cluster import checked
from ..data.formats import as_path
from ..data.sets import as_frames, blocks, trained_on
from ..energies.linear import LinearSum
from ..learning.linear.relativeentropy import basis_sums, change, crossed, held_out, mean_sums, sample, solve
from ..learning.linear.scorematching import moments
from ..learning.measured import with_pressure
from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..model.sum import energy_and_forces
from ..noise import draw_noise
from ..progress import Progress
from ..settings import validated
from ..simulation.sampling import SamplingConfig, sample_ensemble
from ..space.molecules import BondGraph
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

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    iterations: PositiveInt = Field(1, le=10_000)
    weight: PositiveFloat = 1000.0
    sampling: SamplingConfig = SamplingConfig()


def refine(model, frames, output, config=None, resume=False, report=None, client=None):
    """A model whose linear energies also give the relative populations of the data.

    All of them move together, each with the penalty of its own fit; what else is learnt stays.
    Only positions are used, and of the frames that the model was trained on only those that it
    was trained on.  The model given stays as it is.

    Molecules begin where the frames have them: those of the data, in the order and with the bonds of the model.
    Where MD stretches a coordinate beyond the range of its spline, the step takes the straight line that goes on
    there for the curve: what holds molecules together farther out is no part of it, and stays.

    Parameters
    ----------
    model : path or Denoiser
        With linear energies whose penalties its file tells: one of each basis, or sums of models of such alone.
    frames : Frames
    output : path
        Receives config.yaml, iteration-0/, ..., refine.csv and model.safetensors; of molecules,
        iteration-0/molecules.csv, ..., which hold their coordinates in MD beside those of the frames.
    config : RefineConfig, dict or None
    resume : bool
        Go on with the refinement in `output`.
    report : callable, optional
        Called with lines of text as the work goes on.
    client : distributed.Client, optional
        Of a Dask scheduler, whose workers simulate, a run each; they must see `output` as this machine does.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For a model without a linear energy or with a range of noise levels, frames of another system,
        without bonds and not in a cubic box, with bonds and not in the box of the model, of several molecules
        without a box, or biased ones; and directories that hold something else.
    """
    if not isinstance(config, RefineConfig):
        config = validated(RefineConfig, config or {}, "config")
    original = model if isinstance(model, Denoiser) else Denoiser.load(model)
    denoiser, output = merged(original), as_path(output, "output")
    checked(client)
    as_frames(frames)
    places = [i for i, term in enumerate(denoiser.header.terms) if term.linear]
    terms = [denoiser.header.terms[i] for i in places]
    if not terms or any(term.penalty is None for term in terms):
        raise ValueError(
            "the model needs an energy that is linear in its coefficients and was fitted to data, whose populations "
            "can be refined: train one with a pair section"
        )
    if len({term.basis for term in terms}) < len(terms) or any(term.weight != 1 for term in terms):
        of = "with bonds, whose energies have other ranges" if original.header.bonds else "with a network"
        raise ValueError(f"the model is a sum of models {of}: refine each of them, and sum them up again")
    if any(term.sigmas is not None for term in terms):
        raise ValueError("the model knows a range of noise levels, and its populations at one: train at one sigma")
    if not original.conservative:
        raise ValueError("the model has a vector head: without an energy there is no relative entropy to refine by")
    original.header.check_frames(frames.types, frames.box is not None)
    used = training_frames(original, frames)
    _check_frames(original.header, used)
    given = {**config.model_dump(mode="json"), "model": original.digest(), "frames": frames.digest()}
    with rundirectory.occupied(output):
        started = (output / "model.safetensors").exists() or any(output.glob("iteration-*/run-*/checkpoint.xml"))
        rundirectory.check(output, given, resume, started, what="refinement", differs=ANOTHER)
        with rundirectory.begun(output, given):
            return _refined(original, denoiser, places, used, output, config, report, client)


def _refined(original, denoiser, places, used, output, config, report, client):
    """Rounds of MD and a step; the terms at `places` of the merged denoiser are those that move."""
    terms = [denoiser.header.terms[i] for i in places]
    replicas, sums = _reference(denoiser, places, used)
    data = mean_sums(replicas, sums)
    order = np.arange(len(used.types))
    if not denoiser.header.bonds:
        # Simulations group single particles by type, in the order of their first appearance.
        seen = list(dict.fromkeys(used.types))
        order = np.argsort([seen.index(kind) for kind in used.types], kind="stable")
    starts = used.positions[:: max(1, len(used) // config.sampling.runs)][:, order]
    # One energy is no sum: its penalty is a number.
    penalty = terms[0].penalty if len(terms) == 1 else [term.penalty for term in terms]
    rows, kT = [], thermal_energy(denoiser.header.temperature)
    for iteration in range(config.iterations):
        directory = output / f"iteration-{iteration}"
        md, starts = sample_ensemble(denoiser, directory, starts, config.sampling, report, client)
        reference = noised(used, original.sigma) if original.sigma else used
        row = {"iteration": iteration, **_structure(md, reference), **_molecules(md, reference, directory)}
        energy, index = _linear(denoiser, places), denoiser.species_index(md.types)
        links = denoiser.connectivity(index, md.bonds if denoiser.header.bonds else None)
        current = sample(energy, basis_sums(energy, *_tensors(md), index, connectivity=links))
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
        rundirectory.write_table(output / "refine.csv", pandas.DataFrame(rows))
        if report:
            report(
                f"iteration {iteration}: relative entropy on held-out replicas "
                f"{row['held-out relative entropy']:+.3f} per frame, held-out score {row['held-out score']:.0f} "
                f"(forces alone: {row['held-out score, forces alone']:.0f}) (kJ/mol/nm)^2"
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


def _check_frames(header, used):
    """Refuse frames whose ensemble no simulation of the model is of."""
    if used.bias_forces is not None and used.bias_forces.any():
        raise ValueError("frames have bias_forces: their populations are those of the bias; give frames without")
    if not header.bonds and (used.bonds is None or not len(used.bonds)):
        if used.box is None or not np.allclose(used.boxes, used.boxes[0, 0, 0] * np.eye(3), rtol=0.01, atol=1e-6):
            raise ValueError(
                "frames are not in a cubic box: simulations make cubic boxes, so there is nothing to compare"
            )
        return
    both = (header.bonds or [], [] if used.bonds is None else used.bonds.tolist())
    ours, theirs = ({tuple(sorted(bond)) for bond in bonds} for bonds in both)
    if list(used.types) != header.particles or ours != theirs:
        raise ValueError(
            "frames are of other particles, or bonded otherwise, than the model's (of several systems, the first): "
            "give frames of its own molecules, in their order"
        )
    if (used.box is None) != (header.box is None):
        raise ValueError("only one of model and frames has a box: give frames as those that it was trained on")
    if used.box is not None and not np.allclose(
        used.boxes, header.box, rtol=0, atol=0.01 * np.min(np.diag(header.box))
    ):
        raise ValueError(
            "frames are in boxes that differ from the model's by more than 1 %, and simulations are in that one: give "
            "frames of one box"
        )
    if used.box is None and len(np.unique(BondGraph(len(used.types), used.bonds).molecules())) > 1:
        raise ValueError(
            "frames hold several molecules without a box, which nothing keeps together in a simulation: give frames of "
            "one molecule, or in a box"
        )


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
    told = Progress("averages over the data", len(frames) * (4 if sigma > 0 else 1))
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
        told.add(len(x))
        sums.append(basis_sums(energy, x, box, index, connectivity=links).mean(0))
    told.close()
    return averages, sums


def _structure(md, frames):
    """RMSD of g(r) of MD from the frames, by pair; nothing without a box."""
    if frames.box is None:
        return {}
    curves = [compute_rdf(part, rdf_range(frames), BIN_WIDTH) for part in (md, frames)]
    return {f"rmsd {pair}": rmsd(curves[0].g[pair], curves[1].g[pair]) for pair in curves[0].g}


def _molecules(md, frames, directory):
    """Divergence (bit) of the internal coordinates of MD from the frames', by kind; all else goes into a table."""
    found = compare_molecules(frames, md) if frames.bonds is not None else None
    if found is None:
        return {}
    if found.broken:
        log.warning(
            "molecules broke in %d of %d frames of MD (%s): no step mends that; give a shorter sampling.timestep, or "
            "train with energies of the bonds", len(found.broken_frames), found.n_frames, ", ".join(found.broken),
        )  # fmt: skip
    rundirectory.write_table(directory / "molecules.csv", found.table)
    ending = ", divergence"
    rows = found.table[found.table["quantity"].str.endswith(ending)]
    names = rows["quantity"].str.removesuffix(ending)
    return {f"divergence {name} {kind}": value for name, kind, value in zip(names, rows["of"], rows["value"])}
