"""LiCl at many noise levels: fits to many frames and to few, and their errors against the exact mean force."""

import numpy as np
from protocol.licl import COULOMB, first_knot

from sigma.learners import EXACT, FORCE, KT, learn, rms


def level_config(sigma, wall=True, penalty=None):
    """Prior and spline basis for frames noised by sigma (nm): wall and knots make way."""
    pair = {"start": first_knot(sigma)}
    if penalty:
        pair["penalties"] = [penalty]
    return {"prior": {"coulomb": COULOMB, "wall": {"margin": 0.02 + 3 * sigma} if wall else None}, "pair": pair}


class Levels:
    """Divisions of the replicas, and fits to many frames, each made once and when it is first asked for.

    Parameters
    ----------
    frames : Frames
        With forces, which are compared with and never learnt from.
    many, tests : int
        Frames of the fits that others are compared with; frames on which forces are compared.
    seed : int
    """

    def __init__(self, frames, many, tests, seed):
        self.frames, self.many, self.tests, self.seed = frames, many, tests, seed
        self._fits = {}

    def divided(self, division):
        """Training frames, and some of the replicas kept apart."""
        rest, test = self.frames.split(0.3, 100 * self.seed + division)
        test = test[test.labelled]
        return rest, test[:: max(1, len(test) // self.tests)]

    def some(self, division, n):
        """n training frames, spread over all replicas."""
        rest, _ = self.divided(division)
        return rest[np.linspace(0, len(rest) - 1, min(n, len(rest))).round().astype(int)]

    def fit(self, division, sigma):
        """Exact score matching on many frames, with the penalty that clean frames choose."""
        if (division, sigma) not in self._fits:
            penalty = self.fit(division, 0).header.terms[-1].penalty if sigma else None
            config = level_config(sigma, True, penalty)
            self._fits[division, sigma] = learn(self.some(division, self.many), EXACT, sigma, config, self.seed)
        return self._fits[division, sigma]

    def bias(self, division, sigma):
        """What noise changes in the fit to many frames, and its error against the exact mean force."""
        _, test = self.divided(division)
        base, there = self.fit(division, 0), self.fit(division, sigma)
        clean, found = (d.forces(test.positions, test.boxes) for d in (base, there))
        result = {f"error_{FORCE}": rms(found - test.forces)}
        if sigma:
            moved = there.denoised(test.positions, test.boxes) - test.positions
            result |= {f"bias_{FORCE}": rms(found - clean), "denoiser_error_nm": rms(moved - sigma**2 * clean / KT)}
        return result

    def scatter(self, division, learner, sigma, n):
        """How far a fit to few frames is from that to many, at the same noise level.

        A lower bound where frames are the reason: some of the few are among the many, which scatter too.
        """
        _, test = self.divided(division)
        there = learn(self.some(division, n), learner, sigma, level_config(sigma), self.seed)
        found = there.forces(test.positions, test.boxes)
        about = self.fit(division, sigma).forces(test.positions, test.boxes)
        return {f"scatter_{FORCE}": rms(found - about), f"error_{FORCE}": rms(found - test.forces)}
