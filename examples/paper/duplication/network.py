"""LiCl for 04_duplication.py: networks over Coulomb from n frames with m fixed draws of noise each."""

from protocol.training import Arm, learn, quiet

from duplication.licl import SQUARE, divided

LEARNER = "network"


def network_rows(at, number, sigma, divisions, steps):
    """Squared errors of networks from one set of frames, divided in all ways; all take the same number of steps.

    Parameters
    ----------
    at : tuple
        Of the division of the replicas, as `duplication.licl.divided` takes it; its seed is that of noise and networks.
    number : int
        Of the set of frames.
    sigma : float, nm
    divisions : tuple of (int, int)
        n and m.
    steps : int
        Of each training, on 16 noised copies.

    Returns
    -------
    list of dict
        The total error, against the exact mean force: smoothing is the same in all of them.
    """
    quiet()
    split, rows = divided(*at), []
    for n, m in divisions:
        denoiser = learn(Arm(n, draws=m), sigma, True, split.chosen(n, number), steps, split.noise_seed(number))
        error = split.forces(denoiser, True) - split.test.forces
        about = {"system": "LiCl", "learner": LEARNER, "sigma / nm": sigma, "n": n, "m": m, "division": split.number}
        about |= {"set": number, "pool": len(split.pool), "quantity": "squared total error", "unit": SQUARE}
        rows.append({**about, "value": float((error**2).mean())})
    return rows
