"""Pair and many-body energies from positions and labels: errors of all sets at one noise level, and MD of some."""

import numpy as np
import torch
from arms.comparison import structure
from arms.runs import Copies
from protocol.licl import COULOMB
from protocol.training import quiet

from hybrid.blends import LABELS as LABELS_ALONE
from hybrid.blends import PACKAGE, POSITIONS, by_targets, fitted
from hybrid.subsets import subsets
from hybrid.witnesses import Witnesses
from openmm_diffusion import Denoiser, compute_rdf
from openmm_diffusion.energies.coulomb import CoulombTerm
from openmm_diffusion.energies.linear import LinearSum
from openmm_diffusion.energies.manybody import ManyBodyConfig, ManyBodyTerm
from openmm_diffusion.energies.pair import PairConfig, PairTerm
from openmm_diffusion.model.header import Header
from openmm_diffusion.particles import ordered
from openmm_diffusion.simulation.guard import closest_allowed
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.units import thermal_energy

#: nm, of every g(r), as in part 3.
R_RANGE = (0.15, 1.0)
FOLDS, INFINITE = 5, float("inf")


def prior_of(frames):
    """Coulomb in water, for these frames."""
    species = ordered(frames.types)
    found = frames.shortest_distances()
    shortest = [[found.get((a, b), found.get((b, a))) for b in species] for a in species]
    header = Header(
        species=species, particles=frames.types.tolist(), temperature=frames.temperature, box=frames.box.tolist(),
        number_density=frames.number_density, shortest_distances=shortest, terms=[CoulombTerm(**COULOMB)],
    )  # fmt: skip
    return Denoiser(header)


def energies_of(prior, sigma, basis):
    """Terms and modules of a pair potential and a many-body energy, not fitted, and how they are fitted.

    Parameters
    ----------
    prior : Denoiser
    sigma : float, nm
    basis : dict
        Of the many-body energy: cutoff (nm), radial, lmax.
    """
    settings = [PairConfig(folds=FOLDS), ManyBodyConfig(folds=FOLDS, **basis)]
    terms = [kind.blank(one, sigma, None) for kind, one in zip((PairTerm, ManyBodyTerm), settings)]
    return terms, [term.module(prior.header) for term in terms], settings


def fits(path, seed, sigma, sizes, draws, fractions, labels, strategies, basis):
    """Every fit at a noise level, one after the other: what it is of, and its denoiser.

    Parameters
    ----------
    path : str
    seed : int
    sigma : float, nm
        0: exact score matching at clean positions, which is that of all draws.
    sizes : tuple of int
        Numbers of frames.
    draws : tuple of float
        Of noise for each frame, independent of each other; increasing.  Infinite: exact score matching on frames
        with as many draws as came before.
    fractions : tuple of float
    labels, strategies : tuple of str
    basis : dict
        As `energies_of` takes it.

    Yields
    ------
    about : dict
    denoiser : Denoiser
    given : Subsets
    """
    given = subsets(path, seed, sizes, fractions)
    prior = prior_of(given.frames)
    kT, shares = thermal_energy(given.frames.temperature), [f for f in fractions if f > 0]
    witnesses = Witnesses(LinearSum(energies_of(prior, sigma, basis)[1]), prior, given, sigma, seed)
    for m in draws if sigma else (INFINITE,):
        while witnesses.draws < (1 if m == INFINITE else m):
            witnesses.draw()
        witnesses.exact = m == INFINITE
        for place, n in enumerate(sizes):
            own = prior_of(given.frames[given.size <= place])
            start = None
            for name in labels:
                for share in range(len(shares) + 1):
                    parts = witnesses.parts(place, share, name)
                    weights = by_targets(given.labels[name], witnesses.species.numpy(), sigma, kT)
                    middle = place == len(sizes) // 2
                    for strategy in _asked(strategies, share, sigma, middle, start):
                        terms, modules, settings = energies_of(own, sigma, basis)
                        result = fitted(LinearSum(modules), parts, settings, strategy, weights, start)
                        if strategy == POSITIONS:
                            start = result
                            if 0 not in fractions:
                                continue
                        for term, penalty in zip(terms, result["penalty"]):
                            term.penalty = penalty
                        about = {
                            "learner": "linear", "sigma / nm": sigma, "draws": m, "n": n,
                            "fraction": shares[share - 1] if share else 0.0, "labels": name if share else "none",
                            "strategy": strategy,
                        }  # fmt: skip
                        for key in ("weights", "others"):
                            for kind, value in zip(own.header.species, result[key]):
                                about[f"{key}, {kind}"] = value
                        about |= {"penalty": result["penalty"][0], "penalty of many bodies": result["penalty"][1]}
                        model = own.rebuilt([*own.header.terms, *terms], [*own.modules(), *modules])
                        yield about, model, given


def _asked(strategies, share, sigma, middle, start):
    """Strategies of a set: without labels there is one, which others start from and which no labels change.

    Control variates are for sets of the middle size, labels alone for clean positions.
    """
    if share == 0:
        return [POSITIONS] if start is None else []
    where = {PACKAGE: True, LABELS_ALONE: sigma == 0}
    return [name for name in strategies if name != POSITIONS and where.get(name, middle)]


def error(denoiser, tests):
    """Rms of the force off the exact mean force, kJ/mol/nm, on frames of replicas that took no part."""
    off = denoiser.forces(tests.positions, tests.boxes) - tests.forces
    return float(np.sqrt(np.mean(np.square(off, dtype=float))))


class Tested:
    """The error of coefficients on the frames apart, whose forces by each of the basis functions are computed once.

    Parameters
    ----------
    given : Subsets
    sigma : float, nm
    basis : dict
    """

    def __init__(self, given, sigma, basis):
        prior, tests = prior_of(given.frames), given.tests
        energy, species = LinearSum(energies_of(prior, sigma, basis)[1]), prior.species_index(tests.types)
        x, boxes = torch.as_tensor(tests.positions).double(), torch.as_tensor(tests.boxes)
        parts = zip(x.split(8), boxes.split(8))
        self.G = torch.cat([energy.design(make_batch(*part, species, energy.cutoff))[0] for part in parts])
        self.rest = torch.as_tensor(tests.forces - prior.forces(tests.positions, tests.boxes)).double().flatten()

    def error(self, denoiser):
        """As `error`."""
        c = torch.cat([module.coefficients.flatten() for module in denoiser.modules()[-2:]])
        return float((self.G @ c - self.rest).square().mean().sqrt())


def error_rows(path, **which):
    """Rows of one noise level: the force errors of all fits; arguments of `fits`."""
    quiet()
    rows, tested = [], None
    for about, model, given in fits(path, **which):
        tested = tested or Tested(given, which["sigma"], which["basis"])
        rows.append(about | {"force error / kJ/mol/nm": tested.error(model)})
    return rows


def md_rows(path, runs, duration, discard, backend, **which):
    """Rows of MD of the fits: survival and g(r); other arguments as `fits`."""
    quiet()
    rows, clean = [], None
    for about, model, given in fits(path, **which):
        clean = clean or compute_rdf(given.all, R_RANGE)
        about["force error / kJ/mol/nm"] = error(model, given.tests)
        model = alike(model, given.all)
        rows.append(about | dynamics(model, given, clean, runs, duration, discard, backend, which["seed"]))
    return rows


def alike(model, frames):
    """The same model with the shortest distances of some frames, and without its penalties.

    The guard is the same for all such models of one noise level then, and so is what is compiled for them.
    """
    terms = [term.model_copy(update={"penalty": None}) if term.learnt else term for term in model.header.terms]
    shortest = prior_of(frames).header.shortest_distances
    header = model.header.model_copy(update={"terms": terms, "shortest_distances": shortest})
    return Denoiser(header).rebuilt(terms, model.modules())


def dynamics(model, given, clean, runs, duration, discard, backend, seed):
    """How long runs live, and how far the g(r) of what they leave while they live is from that of all clean frames.

    A life ends where a pair comes closer than the guard of all simulations allows; there is no wall.

    Parameters
    ----------
    model : Denoiser
    given : Subsets
    clean : RDF
    runs : int
    duration, discard : float, ps
        Of each run; its start that is left out of g(r).  Where all of it is, there is no g(r).
    backend : str
    seed : int

    Returns
    -------
    dict
        `survival`, the mean life over the duration; `finished`; `g(r) error`, root mean square over the three pairs of
        elements, and that of each; `contact`, the highest value of the Li-Cl g(r) at contact.
    """
    rng = np.random.default_rng([seed, 5])
    starts = given.frames.positions[np.sort(rng.choice(len(given.frames), runs, replace=False))]
    frames, lives = Copies(model, starts, closest_allowed(model), backend, seed).run(duration, discard)
    found = {"runs": runs, "duration / ps": duration, "survival": float(lives.mean() / duration)}
    found["finished"] = int((lives >= duration).sum())
    if frames is None or len(frames) < 2:
        return found
    own = compute_rdf(frames, R_RANGE)
    parts = {pair: structure(clean, own, pair, 0.0) for pair in clean.g}
    found |= {f"g(r) error, {pair}": part["total"] for pair, part in parts.items()}
    found["g(r) error"] = float(np.sqrt(np.mean([part["total"] ** 2 for part in parts.values()])))
    return found | {"contact": parts["Li-Cl"]["contact"], "contact of data": parts["Li-Cl"]["contact of data"]}
