"""LiCl for 04_duplication.py: networks over Coulomb from n frames with m fixed draws of noise each."""

from arms import Arm, learn, quiet
from duplication_licl import SQUARE, Division, ion_frames

LEARNER = "network"


def network_rows(path, division, number, sigma, divisions, steps, pool, tested, seed):
    """Squared errors of networks from one set of frames, divided in all ways; all take the same number of steps.

    Parameters
    ----------
    path : str
        Of frames with exact mean forces.
    division, number : int
        Of the replicas, and of the set of frames, as in `duplication_licl`.
    sigma : float, nm
    divisions : tuple of (int, int)
        n and m.
    steps : int
        Of each training, on 16 noised copies.
    pool, tested, seed : int
        As `Division` takes them; the seed is that of noise and networks too.

    Returns
    -------
    list of dict
        The total error, against the exact mean force: smoothing is the same in all of them.
    """
    quiet()
    split = Division(ion_frames(path), division, seed, pool, tested)
    rows = []
    for n, m in divisions:
        frames, own = split.chosen(n, number), seed + 1 + 100 * number + 10_000 * division
        denoiser = learn(Arm(n, draws=m), sigma, True, frames, steps, own)
        error = split.forces(denoiser, True) - split.test.forces
        about = {"system": "LiCl", "learner": LEARNER, "sigma / nm": sigma, "n": n, "m": m, "division": division}
        about |= {"set": number, "pool": len(split.pool), "quantity": "squared total error", "unit": SQUARE}
        rows.append({**about, "value": float((error**2).mean())})
    return rows
