"""The best pair potential behind a model's learnt force, and what is lost with it.

The learnt force of any model, network or not, is known at every configuration without
noise.  The pair force F = G c nearest to it is a least-squares problem in closed form,

    min_c <|F_learnt(y) - G(y) c|^2>,   <G^T G> c = <G^T F_learnt>

over configurations y of the ensemble that the model belongs to: frames noised by its
sigma.  What the residual holds are the many-body forces that no pair potential has,
measured on replicas that the fit never saw.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas
import torch

from ..analysis.comparison import noised
from ..analysis.structure import first_minima
from ..data.sets import kept_apart
from ..energies.pair import PairConfig, PairTerm, SplinePair
from ..evaluation.forces import compare_forces, force_rows
from ..evaluation.tables import COLUMNS
from ..learning.linear.forcematching import labelled_moments, mixed
from ..learning.linear.scorematching import solve
from ..model.combination import merged
from ..model.curves import pair_curves
from ..model.denoiser import Denoiser
from ..rundirectory import made
from ..space.boxes import check_cutoff, wrap
from ..units import thermal_energy

#: Weight of the smoothness (`SplinePair.roughness`): next to nothing, as forces have no noise.  It decides only how
#: the potential goes on where no frames are.  On 2.4 M LiCl the residual on replicas apart is the same within 1 %
#: from 1e-8 to 1 (1,386 frames; within 1.5 % to 0.1 for 100 frames), and 10-20 % more at 100 (up to twice as much).
PENALTY = 0.01
#: Part of the frames to measure the loss on, where the model does not name one.
APART = 0.2


@dataclass
class Distillation:
    """A pair potential in the place of all learnt terms, and what that costs.

    Attributes
    ----------
    denoiser : Denoiser
        The prior of the model and one pair potential.
    table : DataFrame
        One number per row: quantity, of, curve, unit, value, error, over `apart`; for all particles, by
        element, and with and without contact.  Per Cartesian component, errors by bootstrap over replicas.
    curves : DataFrame
        As `pair_curves`, with a column curve: "distilled", and the model's own "pair part" if it has one.
    fitted, apart : int
        Frames of the fit, and those that the loss was measured on.
    """

    denoiser: Denoiser
    table: pandas.DataFrame
    curves: pandas.DataFrame
    fitted: int
    apart: int


def distil(model, frames, *, cutoff=None, spacing=None):
    """The best pair potential for a model's learnt force, in closed form.

    Where the model has a pair part of the same knots, the potential is this one and a
    correction; beyond the frames, where nothing is known, it stays close to it.  A model over
    a range of noise levels is distilled at the level it is evaluated at (`Denoiser.at`).

    Parameters
    ----------
    model : path or Denoiser
    frames : Frames
        Configurations of the model's ensemble, without noise: its training frames, best.  Of those,
        the replicas that training kept apart serve to measure the loss; of others, a fifth.
    cutoff, spacing : float, nm, optional
        Knots of the spline; None: as in the model's pair part, or `PairConfig`.

    Returns
    -------
    Distillation

    Raises
    ------
    ValueError
        For a model without learnt terms, or whose noise left coordinates clean; frames of unknown
        species; a cutoff above half the box.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    _check(denoiser)
    own, pair = _pair_part(denoiser), _blank(denoiser, cutoff, spacing)
    if frames.box is not None:
        check_cutoff(pair.cutoff, torch.as_tensor(frames.boxes), "cutoff")
    fitted, apart = _divided(denoiser, frames)
    start = own if own and _knots(own.modules()[0]) == _knots(pair) else None
    pair.coefficients.copy_(_correction(pair, learnt_forces(denoiser, fitted), denoiser, start))
    if start:
        pair.coefficients.add_(start.modules()[0].coefficients)
    term = PairTerm(sigma=denoiser.sigma, cutoff=pair.cutoff, start=pair.start, spacing=pair.spacing)
    prior = denoiser.prior
    distilled = prior.rebuilt([*prior.header.terms, term], [*prior.modules(), pair])
    table = _loss(denoiser, distilled, own, apart)
    whole = table[table["of"] == "all"].set_index("quantity")["value"]
    distilled.header.held_out = {
        "distilled_from": denoiser.digest(),
        "learnt_force_rms": float(whole["learnt force rms"]),
        "residual_rms": float(whole["residual rms"]),
    }
    return Distillation(distilled, table, _curves(distilled, own), len(fitted), len(apart))


def learnt_forces(denoiser, frames):
    """Frames of the ensemble that a model belongs to, labelled with its learnt forces (without the prior).

    With noise, an antithetic pair of each frame; without, the frames as they are.
    """
    y = noised(frames, denoiser.sigma, draws=1) if denoiser.sigma > 0 else frames
    _, forces = denoiser.learnt.evaluated(y.positions, y.boxes, y.types, y.bonds)
    return replace(y, forces=forces)


def write(distillation, directory):
    """Write model.safetensors, distillation.csv (the loss) and pair.csv (the curves)."""
    directory = made(directory)
    distillation.denoiser.save(directory / "model.safetensors")
    distillation.table.round(5).to_csv(directory / "distillation.csv", index=False)
    distillation.curves.to_csv(directory / "pair.csv", index=False, float_format="%.8g")


def _check(denoiser):
    """Refuse models whose learnt force no pair potential can stand for."""
    header = denoiser.header
    if not header.learnt:
        raise ValueError("the model has no learnt terms, only a prior: there is nothing to distil")
    if header.noised["species"] is not None or header.noised["axes"] != "xyz":
        raise ValueError(
            f"the model was trained with noise on {header.noised['species'] or 'all species'} along "
            f"{header.noised['axes']} alone and knows no other forces, but a pair potential pushes both ends of a "
            "pair along all axes: distil a model trained without noise.species and noise.axes"
        )


def _pair_part(denoiser):
    """The model's own pair potential as a denoiser; None without one, or with several of different knots."""
    pairs = merged(_pairs(denoiser))
    return pairs if len(pairs.header.terms) == 1 else None


def _pairs(denoiser):
    """The denoiser of the model's pair potentials alone."""
    return denoiser.part(lambda term: isinstance(term, PairTerm))


def _blank(denoiser, cutoff, spacing):
    """The `SplinePair` to fit, with the knots asked for, or of the longest pair term, or `PairConfig`'s."""
    pairs = _pairs(denoiser).header.terms
    given = max(pairs, key=lambda term: term.cutoff, default=PairConfig())
    for name, value in (("cutoff", cutoff), ("spacing", spacing)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value:g} nm: give a positive length")
    return SplinePair(len(denoiser.header.species), cutoff or given.cutoff, given.start, spacing or given.spacing)


def _knots(pair):
    return pair.cutoff, pair.start, pair.n_basis


def _divided(denoiser, frames):
    """Frames to fit and frames kept apart: as the training divided them, if it saw these."""
    rest, apart = kept_apart(denoiser.header.data, frames) or (frames, None)
    return frames.split(APART) if apart is None else (rest, apart)


def _correction(pair, labelled, denoiser, start):
    """Coefficients that least squares adds to a pair potential (None: to nothing), kJ/mol."""
    positions, boxes = torch.as_tensor(labelled.positions).double(), None
    known = torch.zeros_like(positions)
    if labelled.box is not None:
        boxes = torch.as_tensor(labelled.boxes)
        positions = wrap(positions, boxes.unsqueeze(1))
    if start:
        known = torch.as_tensor(start.evaluated(labelled.positions, labelled.boxes, labelled.types, labelled.bonds)[1])
    moments = labelled_moments(
        pair, positions, known, torch.as_tensor(labelled.forces), boxes, denoiser.species_index(labelled.types),
        thermal_energy(labelled.temperature),
    )  # fmt: skip
    labels_alone = np.ones(pair.n_species)
    return solve(pair, mixed([moments], labels_alone), PENALTY)


def _loss(denoiser, distilled, own, apart):
    """Rows of the loss on frames kept apart, and of the model's own pair part for comparison."""
    labelled, distances = learnt_forces(denoiser, apart), first_minima(apart)
    found = force_rows(compare_forces(distilled.learnt, labelled, distances))
    rows = _renamed(found, "force rms, labels", "learnt force rms") + _renamed(found, "force RMSE", "residual rms")
    if own and len(denoiser.header.learnt) > len(_pairs(denoiser).header.terms):
        others = force_rows(compare_forces(own, labelled, distances))
        rows += _renamed(others, "force RMSE", "residual rms of its pair part alone")
    rows += [row for row in found if row[0] in ("explained fraction", "share of particles")]
    return pandas.DataFrame(rows, columns=COLUMNS)


def _renamed(rows, quantity, name):
    """The rows of one quantity, under another name."""
    return [(name, *rest) for found, *rest in rows if found == quantity]


def _curves(distilled, own):
    """Curves of the distilled potential, and those of the model's own pair part beside them."""
    parts = {"distilled": distilled} | ({} if own is None else {"pair part": own})
    return pandas.concat([pair_curves(part).assign(curve=name) for name, part in parts.items()], ignore_index=True)
