"""The pair potentials of a denoiser as one native OpenMM force: no torch at run time."""

import re
from typing import Any

import openmm
import torch

from ..energies.native import NATIVE_CUTOFF, pairwise_force
from ..model.denoiser import Denoiser
from ..space.connectivity import Connectivity
from .subset import Subset


def native_obstacle(denoiser: Denoiser) -> str | None:
    """Why the learnt terms of a `merged` model have no native form, after "the model ..."; None where they have."""
    learnt = denoiser.header.learnt
    if not learnt:
        return "has no learnt terms"
    other = next((term for term in learnt if not term.joins and term.native_name is None), None)
    if other is not None:
        return f"has a {other.noun}"
    far = next((term for term in learnt if term.cutoff > NATIVE_CUTOFF), None)
    if far is not None:
        return f"has a {far.noun} up to {far.cutoff:g} nm, and native forces end at {NATIVE_CUTOFF:g} nm"
    inside = next((t for t in denoiser.header.terms if not t.learnt and not t.joins and t.native_name is None), None)
    if inside is not None:
        return f"has a {inside.noun} in its prior that no OpenMM force holds"
    kinds = [term.kind for term in learnt if term.joins]
    twice = next((term for term in learnt if kinds.count(term.kind) > 1), None)
    return None if twice is None else f"has {kinds.count(twice.kind)} {twice.noun}s of different knots"


def native_force(
    denoiser: Denoiser,
    species: torch.Tensor,
    periodic: bool,
    connectivity: Connectivity | None,
    subset: Subset,
    scaling_parameter: str | None = None,
    system: openmm.System | None = None,
) -> openmm.Force:
    """All terms as one force over pairs; learnt ones first.

    Particles outside of the subset are there too, as OpenMM wants, but no pair of them.

    Parameters
    ----------
    denoiser : Denoiser
        A `merged` one.
    species : Tensor, shape (n_particles,), dtype int64
        Of the particles of the subset.
    periodic : bool
    connectivity : Connectivity or None
        By places in the subset.
    subset : Subset
    scaling_parameter : str, optional
        Name of the global parameter that the energy is multiplied by.
    system : openmm.System, optional
        What the force will join: a subset takes over the exclusions of the nonbonded forces there.
    """
    terms = sorted(zip(denoiser.header.terms, denoiser.modules()), key=lambda pair: not pair[0].learnt)
    apart = next((term for term, _ in terms if not term.joins and term.native_name), None)
    if apart is not None:
        raise ValueError(
            f'backend is "native", which holds no {apart.noun}: give include_prior=False, or use create_system, '
            "which adds it"
        )
    if native_obstacle(denoiser):
        kinds = " + ".join(term.kind for term in denoiser.header.learnt) or "none"
        raise ValueError(
            f'backend is "native", but the model has the terms {kinds}: it needs pair potentials of one set of knots '
            f'and no network, up to {NATIVE_CUTOFF:g} nm; use "torchscript" or "python"'
        )
    parts = []
    for number, (term, module) in enumerate(terms):
        part: Any = term.pairwise(module, str(number or ""))
        forms = [part.energy, part.listed.energy if part.listed else ""]
        if scaling_parameter is not None and re.search(rf"\b{scaling_parameter}\b", "; ".join(forms)):
            raise ValueError(
                f"scaling_parameter is {scaling_parameter!r}, a name within the native form of the {term.noun}: give "
                "another, such as 'lambda_diffusion'"
            )
        factors = [repr(term.weight)] if term.weight != 1 else []
        if scaling_parameter is not None:
            factors.append(scaling_parameter)
        parts.append(part.times(factors))
    if subset.indices is not None:
        chosen, inside = torch.tensor(subset.indices), species
        species = torch.zeros(subset.n_system, dtype=torch.int64)
        species[chosen] = inside
        if connectivity is not None:
            low, high = chosen[connectivity.of_pairs(len(inside))].sort(-1).values.unbind(-1)
            connectivity = connectivity._replace(excluded=low * subset.n_system + high)
    n_species = len(denoiser.header.species)
    box = denoiser.header.box if periodic else None
    force: Any = pairwise_force(parts, n_species, species.numpy(), box, "PairPotential", connectivity, subset.indices)
    if subset.indices is not None and system is not None and isinstance(force, openmm.CustomNonbondedForce):
        _share_exclusions(force, subset.indices, system)
    if scaling_parameter is not None:
        force.addGlobalParameter(scaling_parameter, 1.0)
        force.addEnergyParameterDerivative(scaling_parameter)
    return force


def _share_exclusions(force: openmm.CustomNonbondedForce, atoms: list[int], system: openmm.System) -> None:
    """Exclude what other nonbonded forces do, as the platforms want it: only outside of the subset it means nothing."""
    own = {tuple(sorted(force.getExclusionParticles(k))) for k in range(force.getNumExclusions())}
    theirs, inside = set(), set(atoms)
    for other in system.getForces():
        if isinstance(other, openmm.NonbondedForce):
            theirs |= {tuple(sorted(other.getExceptionParameters(k)[:2])) for k in range(other.getNumExceptions())}
        elif isinstance(other, openmm.CustomNonbondedForce):
            theirs |= {tuple(sorted(other.getExclusionParticles(k))) for k in range(other.getNumExclusions())}
        else:
            continue
        unlike = {pair for pair in theirs ^ own if inside.issuperset(pair)}
        if unlike:
            raise ValueError(
                f'backend is "native", but {other.getName()} in system excludes other pairs of the subset than the '
                f"model, {min(unlike)} for instance, and OpenMM wants the same of all: use "
                '"torchscript", "python" or "compiled"'
            )
    for pair in sorted(theirs - own):
        force.addExclusion(*pair)
