"""Who is learnt from: random frames of some replicas, and which of them have force labels."""

from dataclasses import dataclass

import numpy as np
from arms.comparison import LABEL_NOISE, frames_with_forces

from openmm_diffusion import Frames

#: Labels by their noise, in parts of that of instantaneous all-atom forces, which is published.  A tenth of it is the
#: mean over a hundred independent configurations of the solvent about one of the ions.
LABELS = {"instantaneous": 1.0, "averaged": 0.1}
#: Part of the replicas that nothing is learnt from, and of their frames those that are compared with, at most.
APART, TESTS = 0.25, 300


@dataclass
class Subsets:
    """Nested random sets of frames, each with nested random sets of labelled ones.

    Attributes
    ----------
    all : Frames
        Those of the file that have exact mean forces.
    frames : Frames
        The largest set, in the order in which smaller ones begin it.
    tests : Frames
        Of replicas of which no frame is learnt from.
    labels : dict of array, shape (n_frames, n_particles, 3), kJ/mol/nm
        By the names of `LABELS`: the exact mean force and Gaussian noise.  The noise of a frame is the same in every
        set, and of one shape in both kinds of labels.
    size, share : array, shape (n_frames,), dtype int
        The smallest set that each frame is in, and the smallest fraction at which it is labelled: places in `sizes`
        and among the fractions above none.
    """

    all: Frames
    frames: Frames
    tests: Frames
    labels: dict
    size: np.ndarray
    share: np.ndarray


def subsets(path, seed, sizes, fractions):
    """The sets of a seed.

    Parameters
    ----------
    path : str
        Of frames with exact mean forces.
    seed : int
    sizes : tuple of int, increasing
        Frames of each set.
    fractions : tuple of float, increasing
        Of frames that are labelled; 0 may be among them.

    Raises
    ------
    ValueError
        If there are fewer frames than the largest set asks for.
    """
    known = frames_with_forces(path)
    rest, tests = known.split(APART, seed)
    if len(rest) < sizes[-1]:
        raise ValueError(
            f"{path} leaves {len(rest)} frames with forces to learn from, after {APART:.0%} of its replicas are kept "
            f"apart, and the largest set has {sizes[-1]}: give a larger file, or --quick"
        )
    tests = tests[:: max(1, len(tests) // TESTS)]
    order = np.random.default_rng([seed, 1]).permutation(len(rest))[: sizes[-1]]
    noise = np.array([LABEL_NOISE[z] for z in known.species.tolist()])[:, None]
    drawn = noise * np.random.default_rng([seed, 2]).normal(size=rest.forces.shape)
    labels = {name: (rest.forces + part * drawn)[order] for name, part in LABELS.items()}
    size = np.searchsorted(sizes, np.arange(sizes[-1]), side="right")
    share, rng = np.zeros(sizes[-1], int), np.random.default_rng([seed, 3])
    parts = [fraction for fraction in fractions if fraction > 0]
    for tier in range(len(sizes)):
        rows = rng.permutation(np.flatnonzero(size == tier))
        # Within every set the fraction is met to a frame.
        share[rows] = np.searchsorted(np.round(np.array(parts) * len(rows)), np.arange(len(rows)), side="right")
    return Subsets(known, rest[order], tests, labels, size, share)
