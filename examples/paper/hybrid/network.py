"""A network over Coulomb from noised frames of which some have force labels: its error, and how long its runs live."""

import numpy as np
from arms.comparison import R_RANGE
from protocol.training import Arm, learn, quiet

from hybrid.linear import dynamics, error
from hybrid.subsets import subsets
from openmm_diffusion import Frames, compute_rdf

LEARNER = "network"


def network_rows(path, seed, sigma, n, draws, fraction, fractions, labels, steps, runs, duration, backend):
    """One row: a network of part 3, from n frames with fixed draws of noise.

    The package chooses the weight of labels by the gradient of the readout before training.

    Parameters
    ----------
    path : str
    seed : int
    sigma : float, nm
    n, draws : int
        Frames, and fixed draws of each; 0: fresh antithetic pairs at every step.
    fraction : float
        Of frames that are labelled: one of `fractions`.
    fractions : tuple of float
    labels : str
        Their name.
    steps : int
        Of the training, on 16 noised copies each.
    runs, duration, backend
        As `linear.dynamics` takes them.  Too few runs live for a g(r).
    """
    quiet()
    given = subsets(path, seed, (n,), fractions)
    clean, some = compute_rdf(given.all, R_RANGE), given.frames
    share = [one for one in fractions if one > 0].index(fraction) + 1 if fraction else 0
    with_label = (given.share < share)[:, None, None]
    forces = np.where(with_label, given.labels[labels], np.nan) if fraction else None
    frames = Frames(some.positions, some.species, some.box, some.temperature, forces, some.replica)
    denoiser = learn(Arm(n, "hybrid" if fraction else "denoise", draws), sigma, True, frames, steps, seed)
    about = {
        "learner": LEARNER, "sigma / nm": sigma, "draws": draws or np.inf, "n": n, "fraction": fraction,
        "labels": labels if fraction else "none", "strategy": "package" if fraction else "positions alone",
    }  # fmt: skip
    for key, column in (("network_force_weights", "weights"), ("network_textbook_weights", "by targets")):
        for kind, value in denoiser.header.held_out.get(key, {}).items():
            about[f"{column}, {kind}"] = value
    about["force error / kJ/mol/nm"] = error(denoiser, given.tests)
    return [about | dynamics(denoiser, given, clean, runs, duration, duration, backend, seed)]
