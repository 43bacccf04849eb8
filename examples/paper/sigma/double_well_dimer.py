"""Dimers in a double well of their distance, eight to a frame, far apart: the smoothed force is known by quadrature."""

from functools import cache

import numpy as np

from openmm_diffusion import Frames
from sigma.learners import EXACT, FORCE, KT, TEMPERATURE, learn, rms

#: Middle of the well and its length, nm: minima 0.02 nm wide, 2 kT between; dimers of a frame.
CENTRE, LENGTH, DIMERS = 0.40, 0.07, 8
#: One penalty for all, and no scale, so that nothing but noise and frames makes a difference.
CONFIG = {
    "prior": {"coulomb": None, "wall": None},
    "pair": {"cutoff": 1.0, "start": 0.1, "spacing": 0.02, "penalties": [1.0]},
}
#: Per Cartesian component, of which a dimer has three for each of its ends.
COMPONENT = np.sqrt(1 / 3)


def double_well(r):
    """u(r) (kJ/mol) of a dimer and its force -u'(r) (kJ/mol/nm): barrier 2 kT, tilted."""
    t = (r - CENTRE) / LENGTH
    return KT * (2 * t**4 - 4 * t**2 + 0.5 * t), -KT * (8 * t**3 - 8 * t + 0.5) / LENGTH


#: Quadrature points of the distance, nm, and the density of r; where forces are compared, and how much each r counts.
R = np.arange(1e-4, 1.2, 1e-4)
DENSITY = R**2 * np.exp(-double_well(R)[0] / KT)
DENSITY /= DENSITY.sum()
LOOK = np.arange(0.27, 0.53, 0.001)
WEIGHT = np.interp(LOOK, R, DENSITY)


def smoothed_force(r, sigma):
    """Exact force of the noised dimer: r p_sigma(r) is a convolution with variance 2 sigma^2 (docs/theory.md, 4.1)."""
    variance, near, far = 2 * sigma**2, r[:, None] - R, r[:, None] + R
    below, above = np.exp(-(near**2) / (2 * variance)), np.exp(-(far**2) / (2 * variance))
    p = DENSITY / R
    value = (p * (below - above)).sum(1)
    slope = (p * (far * above - near * below)).sum(1) / variance
    return KT * (slope / value - 1 / r)


def drawn(frames, seed):
    """Frames of independent dimers in open space, far beyond the cutoff from each other."""
    rng = np.random.default_rng(seed)
    r = np.interp(rng.random((frames, DIMERS)), np.cumsum(DENSITY), R)
    half = rng.normal(size=(frames, DIMERS, 3))
    half *= (0.5 * r / np.linalg.norm(half, axis=-1))[..., None]
    centre = 3.0 * np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(DIMERS, 3)
    positions = np.stack([centre + half, centre - half], 2).reshape(frames, 2 * DIMERS, 3)
    return Frames(positions, [18] * 2 * DIMERS, None, TEMPERATURE)


def along_bond(denoiser):
    """Force (kJ/mol/nm) along the bond at `LOOK`, without the scale that training puts on penalised fits."""
    y = np.zeros((len(LOOK), 2, 3))
    y[:, 0, 0] = LOOK
    return denoiser.forces(y, box=False, species=[18, 18])[:, 0, 0] / denoiser.header.held_out["pair_scale"]


@cache
def clean_fit(frames, seed):
    """`along_bond` of the fit to clean frames."""
    return along_bond(learn(drawn(frames, 1000 + seed), EXACT, 0, CONFIG, seed))


def bias(sigma, frames, seed):
    """What noise changes in a fit to many frames, beside quadrature.

    `bias` is the change along the shape that theory gives it.  `change` is all of it: noise smooths
    the fit's own roughness too, and that falls more slowly than sigma^2 (at small sigma, noise acts
    on few of the pairs near a knot) and goes away with frames.
    """
    clean, (_, force) = clean_fit(frames, seed), double_well(LOOK)
    found = along_bond(learn(drawn(frames, 1000 + seed), EXACT, sigma, CONFIG, seed))
    exact = smoothed_force(LOOK, sigma)
    along = np.average((found - clean) * (exact - force), weights=WEIGHT) / rms(exact - force, WEIGHT)
    return {
        f"bias_{FORCE}": COMPONENT * along,
        f"change_{FORCE}": COMPONENT * rms(found - clean, WEIGHT),
        f"bias_theory_{FORCE}": COMPONENT * rms(exact - force, WEIGHT),
        f"scatter_{FORCE}": COMPONENT * rms(found - exact, WEIGHT),
        f"error_{FORCE}": COMPONENT * rms(found - force, WEIGHT),
        "denoiser_error_nm": COMPONENT * along * sigma**2 / KT,
    }


def scatter(learner, sigma, frames, seed):
    """How far a fit to few frames is from the exact smoothed force."""
    found = along_bond(learn(drawn(frames, 2000 + seed), learner, sigma, CONFIG, seed))
    exact, (_, force) = smoothed_force(LOOK, sigma), double_well(LOOK)
    return {
        f"bias_theory_{FORCE}": COMPONENT * rms(exact - force, WEIGHT),
        f"scatter_{FORCE}": COMPONENT * rms(found - exact, WEIGHT),
        f"error_{FORCE}": COMPONENT * rms(found - force, WEIGHT),
    }
