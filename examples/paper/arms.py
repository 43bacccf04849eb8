"""One arm of the comparison: what is learnt from, how, and the MD of what was learnt."""

import logging
from dataclasses import dataclass

import numpy as np
import openmm
import torch

from openmm_diffusion import Denoiser, Frames, compute_rdf, create_system, train
from openmm_diffusion.guard import closest_allowed
from openmm_diffusion.header import WallTerm
from openmm_diffusion.neighbours import neighbour_pairs
from openmm_diffusion.prior import WallConfig
from openmm_diffusion.rdf import rmsd, smear
from openmm_diffusion.structure import rmsd_error
from openmm_diffusion.systems import replicated, training_topology
from openmm_diffusion.units import ANGSTROM, ELECTRONVOLT

#: Published noise of force labels per component, kJ/mol/nm: 0.349 eV/Angstrom on Li, 0.249 on Cl.
LABEL_NOISE = {3: 0.349 * ELECTRONVOLT / ANGSTROM, 17: 0.249 * ELECTRONVOLT / ANGSTROM}
#: The same for every arm.  Chosen before any arm was compared: those of a network alone in examples/licl/accuracy.py.
NETWORK = {"cutoff": 0.6, "lmax": 1, "features": 8, "layers": 2}
TRAINING = {"learning_rate": 0.005, "weight_decay": 0.01, "ema_decay": 0.99, "patience": 1000, "validation_draws": 2}
COULOMB = {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}
R_RANGE, CONTACT = (0.15, 1.0), (0.2, 0.3)  # nm: of every g(r); where the Li-Cl contact peak is looked for
COMPARED = 0.2  # nm: RMSDs begin here, as everywhere in this project
TIMESTEP, INTERVAL, FRICTION = 0.005, 0.5, 2.0  # ps, ps, 1/ps
COPIES = 16  # noised or labelled copies of frames in every step of every training
LOOK = 20  # steps between looks for a replica that has died


@dataclass(frozen=True)
class Arm:
    """What is learnt from.

    Attributes
    ----------
    frames : int
        Training and validation together.
    target : str
        "denoise", "force" or "hybrid".
    draws : int
        Of noise per frame, fixed for the whole training; 0: fresh antithetic pairs at every step.
    network : bool
        False: the pair potential in closed form, by exact score matching without noise.
    """

    frames: int
    target: str = "denoise"
    draws: int = 1
    network: bool = True

    @property
    def noised(self):
        """Whether it has a noise level."""
        return self.network and self.target != "force"


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


def quiet():
    """Settings of a process that computes arms."""
    torch.set_num_threads(1)  # two arms at a time on two cores
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("openmm_diffusion").setLevel(logging.ERROR)


def labelled(path):
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


def learn(arm, sigma, coulomb, frames, steps, seed):
    """The denoiser of an arm at a noise level (nm)."""
    prior = {"coulomb": COULOMB if coulomb else None, "wall": None}
    data = {"test_fraction": 0, "validation_fraction": 0.1 if arm.network else 0, "seed": seed}
    config = {"target": arm.target, "data": data, "prior": prior}
    if not arm.network:
        return train(frames, config | {"pair": {"sigma": 0}, "network": None}, progress=False)
    fresh = arm.draws == 0
    copies = 2 if fresh else arm.draws
    if arm.noised:
        noise = {"sigma": sigma, "draws": max(arm.draws, 1), "antithetic": fresh, "fresh": fresh}
        config["noise"] = noise
    batch = COPIES // copies if arm.noised else COPIES
    config |= {"pair": None, "network": NETWORK}
    config["training"] = TRAINING | {"steps": steps, "check_every": max(steps // 10, 1), "batch": batch, "seed": seed}
    return train(frames, config, progress=False)


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


class Runs:
    """Copies of a system side by side under one model, none of which feels another.

    A copy dies where a pair comes closer than allowed, or a position becomes NaN; it is put back to its
    start then, so that the others go on, and its frames no longer count.

    Parameters
    ----------
    denoiser : Denoiser
    starts : array, shape (n_runs, n_particles, 3), nm
    duration, discard : float, ps
    limits : array, shape (n_species, n_species), nm
        Pairs may not come closer.
    backend : str
        Of `DiffusionForce`.
    seed : int

    Attributes
    ----------
    frames : Frames or None
        Of all copies while they lived, without the discarded beginning; None where there are none.
    lives : array, shape (n_runs,), ps
    """

    def __init__(self, denoiser, starts, duration, discard, limits, backend, seed):
        self.limits = limits
        topology = training_topology(denoiser)
        self.species = denoiser.species_index(denoiser.header.particles).numpy()
        self.box = torch.as_tensor(np.array(denoiser.header.box))
        system = create_system(denoiser, topology, replicas=len(starts), backend=backend)
        temperature = denoiser.header.temperature
        integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, TIMESTEP)
        integrator.setRandomNumberSeed(seed + 1)
        platform = openmm.Platform.getPlatform("CPU")
        simulation = openmm.app.Simulation(
            replicated(topology, len(starts)), system, integrator, platform, {"Threads": "1"}
        )
        self.context = simulation.context
        self.starts = np.asarray(starts, dtype=float)
        self.context.setPositions(self.starts.reshape(-1, 3))
        self.context.setVelocitiesToTemperature(temperature, seed + 1)
        self.lives, self.kept = np.full(len(starts), float(duration)), []
        every, looks = round(INTERVAL / TIMESTEP), round(duration / TIMESTEP) // LOOK
        for look in range(1, looks + 1):
            self._step(integrator)
            time = look * LOOK * TIMESTEP
            positions = self._look(time)
            if look * LOOK % every == 0 and time > discard:
                alive = np.flatnonzero(self.lives >= time)
                self.kept += [(i, positions[i]) for i in alive]
        numbers, kept = [i for i, _ in self.kept], np.array([x for _, x in self.kept])
        order = np.argsort(numbers, kind="stable")  # whole runs one after the other: blocks of a g(r) are runs
        header = denoiser.header
        self.frames = None
        if len(kept):
            self.frames = Frames(
                kept[order], header.particles, np.array(header.box), temperature, replica=np.array(numbers)[order]
            )

    def _step(self, integrator):
        try:
            integrator.step(LOOK)
        except openmm.OpenMMException as error:
            if "NaN" not in str(error):
                raise

    def _look(self, time):
        """Positions, shape (n_runs, n_particles, 3), nm; the dead are noted and put back to their start."""
        positions = self.context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(self.starts.shape)
        dead = ~np.isfinite(positions).all((1, 2))
        whole = np.where(dead[:, None, None], self.starts, positions)
        dead |= closer(whole, self.box, self.species, self.limits) > 0
        if dead.any():
            self.lives[dead] = np.minimum(self.lives[dead], time)
            # Velocities too: those of the dead may be NaN.
            state = self.context.getState(velocities=True)
            velocities = state.getVelocities(asNumpy=True)._value.reshape(self.starts.shape)
            self.context.setPositions(np.where(dead[:, None, None], self.starts, positions).reshape(-1, 3))
            self.context.setVelocities(np.where(dead[:, None, None], 0.0, velocities).reshape(-1, 3))
        return positions


def closer(positions, box, species, limits):
    """Number of pairs closer than the limits (n_species, n_species), nm, in every frame: shape (n_frames,)."""
    first, second, vectors = neighbour_pairs(torch.as_tensor(positions, dtype=torch.float64), box, float(limits.max()))
    n = len(species)
    near = vectors.norm(dim=1).numpy() < limits[species[first.numpy() % n], species[second.numpy() % n]]
    return np.bincount(first.numpy()[near] // n, minlength=len(positions))


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
    data = labelled(path)
    rest, test = divided(data, seed)
    denoiser = learn(ARMS[name], sigma, coulomb, training_frames(rest, frames, seed), steps, seed)
    force = denoiser.forces(test.positions, test.boxes)
    rng = np.random.default_rng([seed, 3])
    starts = rest.positions[np.sort(rng.choice(len(rest), runs, replace=False))]
    alone = Runs(denoiser, starts, duration / 2, 0.0, closest_allowed(denoiser), backend, seed)
    model, radii = walled(denoiser)
    md = Runs(model, starts, duration, discard, np.zeros_like(radii), backend, seed)
    at_wall = closer(md.frames.positions, md.box, md.species, radii).mean() if md.frames else np.nan
    about = {
        "arm": name, "sigma / nm": sigma, "coulomb": coulomb,
        "force error / kJ/mol/nm": float(np.sqrt(np.mean(np.square(force - test.forces, dtype=float)))),
        "slope": float(np.sum(force * test.forces) / np.sum(force**2)), "runs": runs,
        "survival": float(alone.lives.mean() / (duration / 2)), "finished": int((alone.lives >= duration / 2).sum()),
        "finished with wall": int((md.lives >= duration).sum()), "md frames": len(md.frames) if md.frames else 0,
        "pairs at the wall": at_wall,
    }  # fmt: skip
    clean = compute_rdf(data, R_RANGE)
    own = compute_rdf(md.frames, R_RANGE) if about["md frames"] > 1 else None
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
