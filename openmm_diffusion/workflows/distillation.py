"""The best linear energies behind a model's learnt force, and what is lost with them.

The learnt force of any model, network or not, is known at every configuration without
noise.  The force F = G c nearest to it of energies that are linear in their coefficients, a pair
potential or several kinds together, is a least-squares problem in closed form,

    min_c <|F_learnt(y) - G(y) c|^2>,   <G^T G> c = <G^T F_learnt>

over configurations y of the ensemble that the model belongs to: frames noised by its
sigma.  Energies of bonds, angles and dihedrals are among them where particles are
bonded.  What the residual holds are the forces that none of these energies has, such as
the many-body forces beside a pair potential, measured on replicas that the fit never saw.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas
import torch
from pydantic import ConfigDict, create_model

from ..analysis.comparison import noised
from ..analysis.structure import first_minima
from ..data.sets import as_frames, kept_apart
from ..energies.base import REGISTRY
from ..energies.linear import LinearSettings, LinearSum, Sample
from ..evaluation.forces import compare_forces, force_rows
from ..evaluation.tables import COLUMNS
from ..learning.linear.forcematching import labelled_moments, mixed
from ..learning.linear.scorematching import solve
from ..learning.measured import with_pressure
from ..model.combination import merged
from ..model.curves import pair_curves
from ..model.denoiser import Denoiser
from ..progress import Progress
from ..rundirectory import made, write_table
from ..settings import validated
from ..space.batch import make_batch
from ..space.boxes import check_cutoff, wrap
from ..units import nanometers, shown, thermal_energy

#: Weight of the smoothness (`SplinePair.roughness`): next to nothing, as forces have no noise.  It decides only how
#: the potential goes on where no frames are.  On 2.4 M LiCl the residual on replicas apart is the same within 1 %
#: from 1e-8 to 1 (1,386 frames; within 1.5 % to 0.1 for 100 frames), and 10-20 % more at 100 (up to twice as much).
#: That of a many-body energy beside it differs by 0.6 % from 1e-8 to 10 (1,386 frames).  Of 100 frames such an energy
#: needs 1,000 or more: they are too few for 468 coefficients more.
PENALTY = 0.01
#: The same for energies of bonded particles, whose roughness is scaled to their stiffness.  An ensemble of three on 600
#: resampled frames of a chain of five loses 0.04 % of its forces from 1e-8 to 1e-5 and 0.3 % at 1e-3; with 1-3 and 1-4
#: potentials, which say in part what angles and dihedrals do, 7 % at 1e-5, 13 % at 1e-3 and 110 % at 1e-7.
PENALTY_OF_BONDED = 1e-5
#: Part of the frames to measure the loss on, where the model does not name one.
APART = 0.2


@dataclass
class Distillation:
    """Linear energies in the place of all learnt terms, and what that costs.

    Attributes
    ----------
    denoiser : Denoiser
        The prior of the model and the energies fitted.
    table : DataFrame
        One number per row: quantity, of, curve, unit, value, error, over `apart`; for all particles, by
        element, and with and without contact.  Per Cartesian component, errors by bootstrap over replicas.
    curves : DataFrame
        As `pair_curves`, with a column curve: "distilled", and the model's own "pair part" if it has one.
        Empty where no energy fitted is a sum over pairs.
    fitted, apart : int
        Frames of the fit, and those that the loss was measured on.
    """

    denoiser: Denoiser
    table: pandas.DataFrame
    curves: pandas.DataFrame
    fitted: int
    apart: int


def distil(model, frames, *, energies=None, cutoff=None, spacing=None):
    """The best linear energies for a model's learnt force, in closed form.

    Where the model has a linear energy of the same basis, the one fitted is this one and a
    correction; beyond the frames, where nothing is known, it stays close to it.  A model over
    a range of noise levels is distilled at the level it is evaluated at (`Denoiser.at`).

    Splines of bonded particles are over the range of the model's own, where it has one energy of the kind or several of
    equal ranges; else, as of an ensemble on resampled frames, over that of the frames.

    Parameters
    ----------
    model : path or Denoiser
    frames : Frames
        Configurations of the model's ensemble, without noise: its training frames, best.  Of those,
        the replicas that training kept apart serve to measure the loss; of others, a fifth.
    energies : dict, optional
        Sections of linear energies, as in the configuration of a training: those to fit, jointly.  What a section
        does not say is as in the model's own energy of that kind, or the default.  None: the model's linear
        energies, where it has learnt something beside them or some are of bonded particles; else a pair potential,
        and where particles are bonded all that is.
    cutoff, spacing : float, nm, optional
        Knots of the pair potential; None: as in `energies`.

    Returns
    -------
    Distillation

    Raises
    ------
    ValueError
        For a model without learnt terms, or whose noise left coordinates clean; energies that are unknown or not
        linear; frames of unknown species, or bonded as the model does not know; a cutoff above half the box.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    _check(denoiser)
    denoiser.header.check_frames(as_frames(frames).types, frames.box is not None)
    terms = _blank(denoiser, _sections(denoiser, energies, cutoff, spacing), frames, energies is not None)
    modules = [term.module(denoiser.header) for term in terms]
    own = _own(denoiser, terms)
    fitted, apart = _divided(denoiser, frames)
    bases = {term.basis for term in terms}
    start = merged(own).part(lambda term: term.basis in bases)
    energy = modules[0] if len(modules) == 1 else LinearSum(modules)
    penalties = [PENALTY_OF_BONDED if term.bonded else PENALTY for term in terms]
    energy.assign(_correction(energy, penalties, learnt_forces(denoiser, fitted), denoiser, start))
    known = {term.basis: (term.weight, module) for term, module in zip(start.header.terms, start.modules())}
    for term, module in zip(terms, modules):
        if term.basis in known:
            weight, own_module = known[term.basis]
            module.coefficients.add_(weight * own_module.coefficients)
    prior = denoiser.prior
    distilled = prior.rebuilt([*prior.header.terms, *terms], [*prior.modules(), *modules])
    table = _loss(denoiser, distilled, own, apart)
    whole = table[table["of"] == "all"].set_index("quantity")["value"]
    distilled.header.held_out = {
        "distilled_from": denoiser.digest(),
        "learnt_force_rms": float(whole["learnt force rms"]),
        "residual_rms": float(whole["residual rms"]),
    }
    distilled = with_pressure(distilled, fitted)
    return Distillation(distilled, table, _curves(distilled, own), len(fitted), len(apart))


def learnt_forces(denoiser, frames):
    """Frames of the ensemble that a model belongs to, labelled with its learnt forces (without the prior).

    With noise, an antithetic pair of each frame; without, the frames as they are.
    """
    y = noised(frames, denoiser.sigma, draws=1) if denoiser.sigma > 0 else frames
    with Progress("forces of the model", len(y)) as told:
        _, forces = denoiser.learnt.evaluated(y.positions, y.boxes, y.types, y.bonds, told.add)
    return replace(y, forces=forces)


def write(distillation, directory):
    """Write model.safetensors, distillation.csv (the loss) and pair.csv (the curves of sums over pairs)."""
    directory = made(directory)
    distillation.denoiser.save(directory / "model.safetensors")
    write_table(directory / "distillation.csv", distillation.table.round(5))
    if len(distillation.curves):
        write_table(directory / "pair.csv", distillation.curves, float_format="%.8g")


def _check(denoiser):
    """Refuse models whose learnt force no energy can stand for."""
    header = denoiser.header
    if not header.learnt:
        raise ValueError("the model has no learnt terms, only a prior: there is nothing to distil")
    if header.noised["species"] is not None or header.noised["axes"] != "xyz":
        raise ValueError(
            f"the model was trained with noise on {header.noised['species'] or 'all species'} along "
            f"{header.noised['axes']} alone and knows no other forces, but an energy pushes all "
            "particles along all axes: distil a model trained without noise.species and noise.axes"
        )


def _linear_kinds():
    """Classes of the terms that can be fitted, by kind."""
    return {kind: term for kind, term in REGISTRY.items() if term.linear and term.Settings is not None}


def _sections(denoiser, energies, cutoff, spacing):
    """Settings of the energies to fit, by kind, with what was said alone in `model_fields_set`."""
    kinds = _linear_kinds()
    if energies is not None and not isinstance(energies, dict):
        raise TypeError(f"energies is {shown(energies)}: give a dict with a section for each energy to fit")
    if energies is None:
        energies = dict.fromkeys(_asked_for(denoiser), {})
    given = {kind: {} if section is None else section for kind, section in energies.items()}
    for name, value in (("cutoff", cutoff), ("spacing", spacing)):
        if value is not None:
            value = nanometers(value, name, above=0)
            if "pair" not in given:
                raise ValueError(f"{name} is {value:g} nm, but no pair potential is to be fitted: leave {name} out")
            given["pair"] = {**given["pair"], name: value}
    fields = {kind: (term.Settings | None, None) for kind, term in kinds.items()}
    config = create_model("DistillationConfig", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
    sections = validated(config, given, "config")
    found = {kind: getattr(sections, kind) for kind in kinds if getattr(sections, kind) is not None}
    if not found:
        raise ValueError(f"config names no energy to fit: give at least one section of {', '.join(kinds)}")
    for kind, section in found.items():
        idle = sorted(section.model_fields_set & set(LinearSettings.model_fields))
        if idle:
            raise ValueError(
                f"config: {kind}.{idle[0]} has no meaning here: noise is the model's, and forces without noise need "
                "no penalty to be chosen; leave it out"
            )
    return found


def _asked_for(denoiser):
    """Kinds of the energies to fit where nobody says."""
    learnt = denoiser.header.learnt
    own = [term.kind for term in learnt if term.linear]
    if own and (len(own) < len(learnt) or any(term.bonded for term in learnt)):
        return own
    bonded = [kind for kind, term in _linear_kinds().items() if term.bonded]
    return ["pair", *(bonded if denoiser.header.bonds else ())]


def _blank(denoiser, sections, frames, asked):
    """The terms to fit, their bases as the sections tell, or else as in the model's own of the longest range.

    What the frames have nothing of is left out, unless somebody `asked` for it.
    """
    terms = []
    for kind, section in sections.items():
        of_kind, alike = REGISTRY[kind], [term for term in denoiser.header.learnt if term.kind == kind]
        said = section.model_fields_set
        if alike:
            own = max(alike, key=lambda term: term.cutoff)
            missing = [name for name in type(section).model_fields if name in of_kind.shape() and name not in said]
            section = section.model_copy(update={name: getattr(own, name) for name in missing})
        section.check(frames.types, frames.box is not None)
        if of_kind.bonded and not said and len({term.basis for term in alike}) == 1:
            changes = {"sigma": denoiser.sigma, "sigmas": None, "penalty": None, "weight": 1.0}
            terms.append(alike[0].model_copy(update=changes | {"member": None, "level": None}))
            continue
        term = of_kind.blank(section, denoiser.sigma, None, _sample(denoiser, frames))
        if term is None:
            if asked:
                raise ValueError(f"config: frames have nothing that a {of_kind.noun} is of: leave {kind} out")
            continue
        if frames.box is not None:
            check_cutoff(term.cutoff, torch.as_tensor(frames.boxes), f"{kind}.cutoff")
        terms.append(term)
    return terms


def _sample(denoiser, frames):
    """The frames in the ensemble of the model, for what a basis takes from them."""

    def batches():
        y = noised(frames, denoiser.sigma, draws=1) if denoiser.sigma > 0 else frames
        index = denoiser.species_index(y.types)
        links = denoiser.connectivity(index, y.bonds)
        for start in range(0, len(y), 256):
            part = y[start : start + 256]
            box = None if part.box is None else torch.as_tensor(part.boxes)
            yield make_batch(torch.as_tensor(part.positions).double(), box, index, 0.0, None, links)

    return Sample(denoiser.header.species, batches)


def _own(denoiser, terms):
    """The denoiser of the model's own linear energies of the kinds that are fitted."""
    kinds = {term.kind for term in terms}
    return denoiser.part(lambda term: term.learnt and term.kind in kinds)


def _divided(denoiser, frames):
    """Frames to fit and frames kept apart: as the training divided them, if it saw these."""
    rest, apart = kept_apart(denoiser.header.data, frames) or (frames, None)
    return frames.split(APART) if apart is None else (rest, apart)


def _correction(energy, penalties, labelled, denoiser, start):
    """Coefficients that least squares adds to those of `start`, a denoiser, kJ/mol."""
    positions, boxes = torch.as_tensor(labelled.positions).double(), None
    known = torch.zeros_like(positions)
    if labelled.box is not None:
        boxes = torch.as_tensor(labelled.boxes)
        positions = wrap(positions, boxes.unsqueeze(1))
    if start.header.terms:
        known = torch.as_tensor(start.evaluated(labelled.positions, labelled.boxes, labelled.types, labelled.bonds)[1])
    index = denoiser.species_index(labelled.types)
    with Progress("averages over frames", len(labelled)) as told:
        moments = labelled_moments(
            energy, positions, known, torch.as_tensor(labelled.forces), boxes, index,
            thermal_energy(labelled.temperature), connectivity=denoiser.connectivity(index, labelled.bonds),
            told=told.add,
        )  # fmt: skip
    labels_alone = np.ones(energy.n_species)
    return solve(energy, mixed([moments], labels_alone), penalties if isinstance(energy, LinearSum) else penalties[0])


def _loss(denoiser, distilled, own, apart):
    """Rows of the loss on frames kept apart, and of the model's own part of the same kinds for comparison."""
    labelled, distances = learnt_forces(denoiser, apart), first_minima(apart)
    found = force_rows(compare_forces(distilled.learnt, labelled, distances))
    rows = _renamed(found, "force rms, labels", "learnt force rms") + _renamed(found, "force RMSE", "residual rms")
    kinds = dict.fromkeys(term.kind for term in own.header.terms)
    if kinds and len(denoiser.header.learnt) > len(own.header.terms):
        others = force_rows(compare_forces(own, labelled, distances))
        rows += _renamed(others, "force RMSE", f"residual rms of its {' + '.join(kinds)} part alone")
    rows += [row for row in found if row[0] in ("explained fraction", "share of particles")]
    return pandas.DataFrame(rows, columns=COLUMNS)


def _renamed(rows, quantity, name):
    """The rows of one quantity, under another name."""
    return [(name, *rest) for found, *rest in rows if found == quantity]


def _curves(distilled, own):
    """Curves of the distilled sums over pairs, and those of the model's own beside them."""
    parts = {"distilled": distilled, "pair part": own}
    tables = [
        pair_curves(part).assign(curve=name)
        for name, part in parts.items()
        if any(term.joins for term in part.header.learnt)
    ]
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame()
