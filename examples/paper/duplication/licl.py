"""LiCl for 04_duplication.py: pair potentials over Coulomb from n frames with m draws of noise each."""

import functools

import numpy as np
from protocol.draws import labelled
from protocol.licl import COULOMB, first_knot, ion_frames
from protocol.training import quiet

from duplication.theory import variances
from openmm_diffusion import train

#: Learners: antithetic pairs or not, and whether the penalty is chosen by cross-validation or that of the reference.
LEARNERS = {
    "single draws": (False, True),
    "single draws, fixed penalty": (False, False),
    "antithetic pairs": (True, True),
    "antithetic pairs, fixed penalty": (True, False),
}
#: Exact score matching on 4 antithetic pairs of each frame: no label noise.  It stands for all draws while sigma is
#: small beside the width of wells; then its own noise over the draws, (sigma / w)^4 / 4 of that over frames, is small.
EXACT = "all draws, fixed penalty"
SQUARE = "(kJ/mol/nm)^2"


def config(sigma, penalty=None, exact=None):
    """Coulomb prior and spline basis for frames noised by sigma, whose ions come closer; labels, or `exact` draws."""
    pair = {"start": first_knot(sigma)}
    if penalty is not None:
        pair["penalties"] = [penalty]
    if exact:
        pair |= {"sigma": sigma, "draws": exact}
    return {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None,
        "target": "denoise" if exact else "force", "prior": {"coulomb": COULOMB, "wall": None}, "pair": pair,
    }  # fmt: skip


class Division:
    """Replicas to learn from (the pool), and others to test on; the reference of each noise level.

    Exact forces are read from `test` alone.

    Parameters
    ----------
    frames : Frames
    number, seed : int
    pool, tested : int
        Frames of the pool at most, and frames to test on.
    """

    def __init__(self, frames, number, seed, pool, tested):
        rest, test = frames.split(0.3, 100 * seed + number)
        test = test[test.labelled]
        self.number, self.seed = number, seed
        self.pool = rest[np.linspace(0, len(rest) - 1, min(pool, len(rest))).round().astype(int)]
        self.test = test[:: max(1, len(test) // tested)]
        self.reference = functools.cache(self._reference)

    def chosen(self, n, number):
        """n random frames of the pool; those of a smaller n are among those of a larger one."""
        order = np.random.default_rng([self.seed, self.number, number]).permutation(len(self.pool))
        return self.pool[np.sort(order[:n])]

    def noise_seed(self, number):
        """Seed of the noise (and networks) of a set."""
        return self.seed + 1 + 100 * number + 10_000 * self.number

    def _reference(self, sigma):
        """The potential that the pool gives at sigma: no label noise, the penalty by cross-validation."""
        denoiser = train(self.pool, config(sigma, exact=2), progress=False)
        return denoiser, denoiser.header.terms[-1].penalty

    def forces(self, denoiser, scaled):
        """On the test frames, kJ/mol/nm; without the scale that training puts on penalised fits if not `scaled`."""
        found = denoiser.forces(self.test.positions, self.test.boxes)
        if scaled:
            return found
        prior = denoiser.subset({"coulomb"}).forces(self.test.positions, self.test.boxes)
        return prior + (found - prior) / denoiser.header.held_out["pair_scale"]


@functools.lru_cache(maxsize=4)
def divided(path, number, seed, pool, tested):
    """`Division` of the frames of a file: a process that computes several parts of one fits its references once."""
    return Division(ion_frames(path), number, seed, pool, tested)


def reference_rows(at, sigma, count, draws):
    """Error of the reference, and theory for the variances of frames and of labels; `at` as `divided` takes it."""
    quiet()
    division = divided(*at)
    denoiser, penalty = division.reference(sigma)
    total = np.mean((division.forces(denoiser, True) - division.test.forces) ** 2)
    about = {"system": "LiCl", "learner": "reference", "sigma / nm": sigma, "division": division.number}
    about |= {"n": len(division.pool)}
    rows = [("squared total error", SQUARE, total), ("penalty", "1", penalty)]
    found = variances(denoiser, penalty, division.pool, division.test, sigma, count, draws)
    names = ("A, theory", "B, theory", "B, leading order")
    rows += [(name, SQUARE, value) for name, value in zip(names, found)]
    return [{**about, "quantity": quantity, "unit": unit, "value": value} for quantity, unit, value in rows]


def licl_rows(at, number, sigma, arms):
    """Squared errors of one set of frames, divided in all ways.

    Parameters
    ----------
    at : tuple
        Of the division, as `divided` takes it; its seed is that of the noise too.
    number : int
        Of the set of frames.
    sigma : float, nm
    arms : dict of str to list of (int, int)
        n and m of every learner; with antithetic draws m / 2 pairs, so that n m counts labels.

    Returns
    -------
    list of dict
        The learning error, against the reference of the pool, and the total error, against the exact mean force.
    """
    quiet()
    division = divided(*at)
    reference, penalty = division.reference(sigma)
    rows = []
    for learner, kinds in arms.items():
        for n, m in kinds:
            frames = division.chosen(n, number)
            noise = division.noise_seed(number)
            if learner == EXACT:
                chosen, denoiser = False, train(frames, config(sigma, penalty, exact=4), progress=False)
            else:
                antithetic, chosen = LEARNERS[learner]
                copies = labelled(frames, sigma, m // 2 if antithetic else m, noise, antithetic)
                denoiser = train(copies, config(sigma, None if chosen else penalty), progress=False)
            found = division.forces(denoiser, chosen)
            errors = {
                "squared learning error": found - division.forces(reference, chosen),
                "squared total error": found - division.test.forces,
            }
            about = {"system": "LiCl", "learner": learner, "sigma / nm": sigma, "n": n, "m": m}
            about |= {"division": division.number, "set": number, "pool": len(division.pool)}
            about |= {"penalty": denoiser.header.terms[-1].penalty}
            rows += [{**about, "quantity": k, "unit": SQUARE, "value": np.mean(e**2)} for k, e in errors.items()]
    return rows
