"""Sums of models: noise levels extrapolated to none, members of an ensemble, linear terms of one basis joined."""

import logging
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from openmm import unit

from ..units import array, shown, thermal_energy

if TYPE_CHECKING:
    from openmm.unit import Quantity

    from ..energies.base import Term
    from .denoiser import Denoiser

log = logging.getLogger(__name__)


def extrapolated(denoisers: Sequence["Denoiser"]) -> "Denoiser":
    """Models at several noise levels as one whose leading smoothing cancels (Richardson).

    The force at noise level sigma is that of U_sigma = U + sigma^2 U_1 + sigma^4 U_2 + ...
    with U_1 = (lap U - (grad U)^2/kT)/2, so with weights that solve::

        sum_k w_k = 1,   sum_k w_k sigma_k^(2 j) = 0   for j = 1 ... n - 1

    the sum over n levels, sum_k w_k U_sigma_k, is U up to order sigma^(2 n).  For two
    levels, w = (sigma_2^2, -sigma_1^2) / (sigma_2^2 - sigma_1^2).  The sum of
    conservative models is conservative.  Weights exceed one and amplify the statistical
    errors of the models: far apart levels, trained on the same frames, do best.

    Parameters
    ----------
    denoisers : list of Denoiser
        At least two, at different positive noise levels, trained on the same data.

    Returns
    -------
    Denoiser
        Its `sigma` is 0: what it aims at.

    Raises
    ------
    ValueError
        For equal or missing noise levels, or models of different systems.

    References
    ----------
    Richardson, Phil. Trans. R. Soc. A 210, 307 (1911).
    """
    _check_models(denoisers)
    sigmas = [denoiser.sigma for denoiser in denoisers]
    if len(set(sigmas)) < max(2, len(sigmas)) or min(sigmas) <= 0:
        raise ValueError(
            f"the models are at sigma = {', '.join(f'{s:g}' for s in sigmas)} nm: an extrapolation to zero needs at "
            "least two different positive noise levels"
        )
    levels = np.array(sigmas) ** 2 / max(sigmas) ** 2
    right = np.zeros(len(levels))
    right[0] = 1
    weights = np.linalg.solve(np.vander(levels, increasing=True).T, right)
    return _sum(denoisers, weights.tolist(), "level")


def ensemble(denoisers: Sequence["Denoiser"]) -> "Denoiser":
    """Models of the same system as one: their mean force, and a spread (`spread`).

    Parameters
    ----------
    denoisers : list of Denoiser
        Trained with different seeds, or on bootstrap samples of the frames.

    Returns
    -------
    Denoiser
    """
    _check_models(denoisers)
    if len(denoisers) < 2:
        raise ValueError(f"an ensemble needs at least two models, not {len(denoisers)}")
    sigmas = sorted({denoiser.sigma for denoiser in denoisers})
    if len(sigmas) > 1:
        raise ValueError(
            f"the models are at sigma = {', '.join(f'{s:g}' for s in sigmas)} nm: an ensemble has one noise level; "
            "combine several by extrapolation (--extrapolate)"
        )
    if len({denoiser.conservative for denoiser in denoisers}) > 1:
        raise ValueError("some models have an energy head and some a vector head: an ensemble has one kind")
    return _sum(denoisers, [1 / len(denoisers)] * len(denoisers), "member")


def members(denoiser: "Denoiser") -> list["Denoiser"]:
    """The models that an ensemble is the mean of, prior included; an empty list for any other model."""
    numbers = sorted({term.member for term in denoiser.header.terms if term.member is not None})
    found = []
    for number in numbers:
        pairs = [(t, m) for t, m in zip(denoiser.header.terms, denoiser.modules()) if t.member in (None, number)]
        terms = [
            t if t.member is None else t.model_copy(update={"member": None, "weight": t.weight * len(numbers)})
            for t, _ in pairs
        ]
        found.append(denoiser.rebuilt(terms, [module for _, module in pairs]))
    return found


def spread(
    denoiser: "Denoiser",
    positions: "ArrayLike | Quantity",
    box: "ArrayLike | Quantity | Literal[False] | None" = None,
    species: Sequence[str | int] | np.ndarray | None = None,
    bonds: "ArrayLike | None" = None,
) -> np.ndarray:
    """Standard deviation of the members' forces on each particle.

    Members differ by what the data leave open: the spread says where the mean is not to
    be trusted.  It says nothing of what all members get wrong alike.

    Parameters
    ----------
    denoiser : Denoiser
        An ensemble.
    positions, box, species, bonds
        As `Denoiser.forces`.

    Returns
    -------
    array, shape (..., n_particles), kJ/mol/nm
        Root of the variance summed over the three components; of one member's force, not
        of the mean's.

    Raises
    ------
    ValueError
        For a model that is no ensemble.
    """
    parts = members(denoiser)
    if not parts:
        raise ValueError("the model is no ensemble: a spread needs members, see `ensemble` in the training's YAML")
    return deviation([part.learnt for part in parts], positions, denoiser.box(box), species, bonds)


def deviation(
    denoisers: Sequence["Denoiser"],
    positions: "ArrayLike | Quantity",
    box: "ArrayLike | Quantity | None",
    species: Sequence[str | int] | np.ndarray | None = None,
    bonds: "ArrayLike | None" = None,
) -> np.ndarray:
    """Standard deviation of several models' forces on each particle, shape (..., n_particles), kJ/mol/nm.

    Arguments as `Denoiser.evaluated`: a box of None is no periodicity.
    """
    if len(denoisers) < 2:
        raise ValueError(f"denoisers has {len(denoisers)} models: a deviation needs two or more")
    forces = np.stack([denoiser.evaluated(positions, box, species, bonds)[1] for denoiser in denoisers])
    return np.sqrt(forces.var(axis=0, ddof=1).sum(-1))


def half_step(
    denoiser: "Denoiser",
    positions: ArrayLike,
    box: "ArrayLike | Quantity | Literal[False] | None" = None,
    species: Sequence[str | int] | np.ndarray | None = None,
) -> np.ndarray:
    """Saved frames with the smoothing of their structure removed to O(sigma^4): y + (sigma^2/2) s(y).

    For frames of MD under a model at noise level sigma; a correction of structure, not
    of dynamics.  Half the denoising jump: the whole, D(y), over-sharpens by as much as
    the noise had smoothed.

    Parameters
    ----------
    denoiser : Denoiser
        At the noise level of the frames.
    positions, box, species
        As `Denoiser.forces`.

    Returns
    -------
    array, shape (..., n_particles, 3), nm
        In the periodic image of `positions`.

    Examples
    --------
    In a harmonic well of width w, frames y of the noised ensemble have the variance
    w^2 + sigma^2; after the half step, w^2 + O(sigma^4)::

        y (1 - sigma^2 / (2 (w^2 + sigma^2)))
    """
    kT = thermal_energy(denoiser.header.temperature)
    noised = denoiser.header.was_noised(denoiser.header.particles if species is None else species)
    positions = array(positions, unit.nanometer, "positions")
    return positions + 0.5 * denoiser.sigma**2 / kT * noised * denoiser.forces(positions, box, species)


def merged(denoiser: "Denoiser") -> "Denoiser":
    """The same energy with one learnt term for each basis, where all are linear in their coefficients.

    Energies of bonded particles whose basis no other has stay as they are, with their weights.

    A joined term stands at the noise level of the sum, and knows no range any more.

    Parameters
    ----------
    denoiser : Denoiser

    Returns
    -------
    Denoiser
        The very one, where there is nothing to join.
    """
    pairs = zip(denoiser.header.terms, denoiser.modules())
    learnt: list[tuple[Term, Any]] = [(term, module) for term, module in pairs if term.learnt]
    if not all(term.linear for term, _ in learnt):
        return denoiser
    bases: dict[Hashable, list[tuple[Term, Any]]] = {}
    for term, module in learnt:
        bases.setdefault(term.basis, []).append((term, module))
    if len(bases) == len(learnt) and all(term.weight == 1 for term, _ in learnt):
        return denoiser
    prior = denoiser.prior
    terms, modules = list(prior.header.terms), prior.modules()
    for alike in bases.values():
        if len(alike) == 1 and alike[0][0].bonded:
            # What holds it beyond its data is no part of the coefficients: it keeps its weight.
            terms.append(alike[0][0])
            modules.append(alike[0][1])
            continue
        update = {"weight": 1.0, "sigma": denoiser.sigma, "sigmas": None, "member": None, "level": None}
        one = alike[0][0].model_copy(update=update)
        joined: Any = one.module(denoiser.header)
        joined.coefficients.copy_(sum(term.weight * part.coefficients for term, part in alike))
        terms.append(one)
        modules.append(joined)
    return denoiser.rebuilt(terms, modules)


def _check_models(denoisers: Sequence["Denoiser"]) -> None:
    if not isinstance(denoisers, Sequence) or not all(hasattr(one, "header") for one in denoisers):
        raise TypeError(f"denoisers is {shown(denoisers)}: give a list of models, as Denoiser.load reads them")


def _sum(denoisers: Sequence["Denoiser"], weights: Sequence[float], role: str) -> "Denoiser":
    """Weighted sum; the prior, which all must share, is taken once, from the first."""
    first = denoisers[0]
    for number, other in enumerate(denoisers[1:], start=1):
        for key in ("species", "particles", "temperature", "box", "noised", "exclusions"):
            ours, theirs = getattr(first.header, key), getattr(other.header, key)
            if ours != theirs:
                told = f"model {number} has {key} {shown(theirs)}, model 0 {shown(ours)}"
                raise ValueError(f"{told}: combine models of one system")
        ours, theirs = _shared_prior(first), _shared_prior(other)
        differing = [term for kind, term in (ours | theirs).items() if ours.get(kind) != theirs.get(kind)]
        if differing:
            raise ValueError(
                f"model {number} has another {differing[0].noun} prior than model 0: combine models with one prior"
            )
    for other_role in ("member", "level"):
        kinds = {frozenset(getattr(term, other_role) for term in d.header.learnt) for d in denoisers}
        if len(kinds) > 1:
            raise ValueError("the models are sums of different kinds or numbers of models: combine sums made alike")
    prior = first.prior
    terms, modules = list(prior.header.terms), prior.modules()
    for number, (denoiser, weight) in enumerate(zip(denoisers, weights)):
        for term, module in zip(denoiser.header.terms, denoiser.modules()):
            if term.learnt:
                if getattr(term, role) is not None:
                    raise ValueError(f"model {number} is such a sum already: combine its parts instead")
                terms.append(term.model_copy(update={"weight": weight * term.weight, role: number}))
                modules.append(module)
    combined = first.rebuilt(terms, modules)
    combined.header = combined.header.model_copy(update={"data": _common_data(denoisers), "held_out": {}})
    return combined


def _common_data(denoisers: Sequence["Denoiser"]) -> dict[str, Any]:
    """What the models say of their data, if they had the same frames divided alike; else nothing."""
    keys = ("digest", "test_fraction", "validation_fraction", "limit", "seed")
    divisions = {tuple(denoiser.header.data.get(key) for key in keys) for denoiser in denoisers}
    if len(divisions) == 1:
        return denoisers[0].header.data
    log.warning(
        "the models were trained on different frames, or on differently divided ones: an evaluation cannot know "
        "which frames all of them kept apart"
    )
    return {}


def _shared_prior(denoiser: "Denoiser") -> dict[str, "Term"]:
    """Terms of the prior, by kind, that models must have alike to be combined."""
    return {term.kind: term for term in denoiser.header.terms if not term.learnt and term.shared}
