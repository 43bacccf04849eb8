"""One arm of the comparison: what is learnt from, and the MD of what was learnt."""

import numpy as np
from protocol.training import Arm, learn, quiet

from arms.runs import Copies, closer
from openmm_diffusion import Denoiser, Frames, compute_rdf
from openmm_diffusion.analysis.rdf import rmsd, smear
from openmm_diffusion.analysis.resampling import rmsd_error
from openmm_diffusion.energies.wall import WallConfig, WallTerm
from openmm_diffusion.simulation.guard import closest_allowed
from openmm_diffusion.units import ANGSTROM, ELECTRONVOLT

#: Published noise of force labels per component, kJ/mol/nm: 0.349 eV/Angstrom on Li, 0.249 on Cl.
LABEL_NOISE = {3: 0.349 * ELECTRONVOLT / ANGSTROM, 17: 0.249 * ELECTRONVOLT / ANGSTROM}
R_RANGE, CONTACT = (0.15, 1.0), (0.2, 0.3)  # nm: of every g(r); where the Li-Cl contact peak is looked for
COMPARED = 0.2  # nm: RMSDs begin here, as everywhere in this project


#: Those of the paper, and ours.
PAPER = {
    "500-forces": Arm(500, "force"),
    "500-diff": Arm(500),
    "500-aug-diff": Arm(500, draws=2),
    "1000-diff": Arm(1000),
    "3000-forces": Arm(3000, "force"),
}
OURS = {
    "500-fresh-antithetic": Arm(500, draws=0),
    "500-hybrid": Arm(500, "hybrid", draws=0),
    "500-exact-pair": Arm(500, network=False),
}
ARMS = PAPER | OURS


def frames_with_forces(path):
    """Frames of a file that have forces."""
    frames = Frames.load(path)
    if not frames.labelled.any():
        raise ValueError(f"{path} has no forces: arms learn from exact mean forces and noise, give a file with them")
    return frames[frames.labelled]


def divided(frames, seed):
    """All replicas but one, and that one; another for every seed."""
    numbers = np.unique(frames.replica)
    apart = np.random.default_rng(seed).permutation(numbers)[0]
    return frames[frames.replica != apart], frames[frames.replica == apart]


def training_frames(frames, n, seed):
    """Some of the frames, with labels: the exact mean force, and Gaussian noise as large as that of all-atom forces."""
    rng = np.random.default_rng([seed, 1])
    chosen = np.sort(rng.permutation(len(frames))[:n])
    some = frames[chosen]
    noise = np.array([LABEL_NOISE[z] for z in some.species.tolist()])[:, None]
    # A frame has the same label in every arm.
    labels = frames.forces + noise * np.random.default_rng([seed, 2]).normal(size=frames.forces.shape)
    return Frames(some.positions, some.species, some.box, some.temperature, labels[chosen], some.replica)


def walled(denoiser):
    """The same with a wall below all that its training has seen, and the radii of the wall, shape (n, n), nm.

    It changes nothing where there are data: runs then last, and their g(r) can be taken, whatever the
    network makes up at distances that no frame has.
    """
    header, wall = denoiser.header, WallConfig()
    margin = wall.margin + 2 * denoiser.sigma
    radii = [[0.0 if d is None else max(d - margin, 0.0) for d in row] for row in header.shortest_distances]
    term = WallTerm(radii=radii, stiffness=wall.stiffness)
    alone = Denoiser(header.model_copy(update={"terms": [term]}))
    return denoiser.rebuilt([term, *header.terms], [*alone.modules(), *denoiser.modules()]), np.array(radii)


def compute(path, name, sigma, coulomb, frames, steps, runs, duration, discard, backend, seed):
    """Rows of one arm, one for each pair of elements: force error, survival, g(r) and its errors.

    Survival is that of runs under the model alone, g(r) that of as many runs with the wall.

    Parameters
    ----------
    path : str
        Of frames with exact mean forces.
    name : str
        In `ARMS`.
    sigma : float, nm
        0 for arms without noise.
    coulomb : bool
    frames : int
        To learn from, or all that there are.
    steps, runs : int
        Of the training, of molecular dynamics.
    duration, discard : float, ps
        With the wall; without it, half as long.
    backend : str
        Of `DiffusionForce`, for several replicas: compiling pays for long runs only.
    seed : int
    """
    quiet()
    data = frames_with_forces(path)
    rest, test = divided(data, seed)
    denoiser = learn(ARMS[name], sigma, coulomb, training_frames(rest, frames, seed), steps, seed)
    force = denoiser.forces(test.positions, test.boxes)
    rng = np.random.default_rng([seed, 3])
    starts = rest.positions[np.sort(rng.choice(len(rest), runs, replace=False))]
    _, lives = Copies(denoiser, starts, closest_allowed(denoiser), backend, seed).run(duration / 2, 0.0)
    model, radii = walled(denoiser)
    copies = Copies(model, starts, np.zeros_like(radii), backend, seed)
    md, walled_lives = copies.run(duration, discard)
    at_wall = closer(md.positions, copies.box, copies.species, radii).mean() if md is not None else np.nan
    about = {
        "arm": name, "sigma / nm": sigma, "coulomb": coulomb,
        "force error / kJ/mol/nm": float(np.sqrt(np.mean(np.square(force - test.forces, dtype=float)))),
        "slope": float(np.sum(force * test.forces) / np.sum(force**2)), "runs": runs,
        "survival": float(lives.mean() / (duration / 2)), "finished": int((lives >= duration / 2).sum()),
        "finished with wall": int((walled_lives >= duration).sum()), "md frames": 0 if md is None else len(md),
        "pairs at the wall": at_wall,
    }  # fmt: skip
    clean = compute_rdf(data, R_RANGE)
    own = compute_rdf(md, R_RANGE) if md is not None and len(md) > 1 else None
    return [about | {"pair": pair, **structure(clean, own, pair, sigma)} for pair in clean.g]


def structure(clean, own, pair, sigma):
    """RMSDs of the g(r) of a pair, its highest value where contacts are, and all of it."""
    r, known = clean.r, clean.r > COMPARED
    near = (r > CONTACT[0]) & (r < CONTACT[1])
    noised = smear(r, clean.g[pair], sigma) if sigma else clean.g[pair]
    result = {"smoothing": rmsd(noised[known], clean.g[pair][known]), "contact of data": clean.g[pair][near].max()}
    if own is None:
        return result
    g = own.g[pair]
    result |= {"total": rmsd(g[known], clean.g[pair][known]), "learning": rmsd(g[known], noised[known])}
    result |= {"block error": rmsd_error(own, clean, pair), "contact": g[near].max()}
    return result | {f"g({x:.3f})": value for x, value in zip(r, g)}
