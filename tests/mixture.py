"""A mixture of two species with a known pair potential: samples, true forces, and fits to compare with them."""

import numpy as np
import torch

from openmm_diffusion.energies.pair import PairConfig, SplinePair
from openmm_diffusion.learning.linear.scorematching import fit, moments
from openmm_diffusion.space.batch import make_batch

KT = 2.494  # kJ/mol at 300 K
BOX = 1.5 * np.eye(3)
CUTOFF, START, SPACING = 0.7, 0.10, 0.025
# Known potentials: a soft core and a well, A exp(-(r/a)^2) - D exp(-((r - r_0)/w)^2), by pair of species.
A, CORE, WIDTH = 30.0, 0.18, 0.07  # kJ/mol, nm, nm
DEPTH, MINIMUM = np.array([[0.0, 5.0], [5.0, 2.0]]), np.array([[0.4, 0.3], [0.3, 0.42]])
SPECIES = np.array([0, 1] * 6)


def energy(r, a, b):
    return A * np.exp(-((r / CORE) ** 2)) - DEPTH[a, b] * np.exp(-(((r - MINIMUM[a, b]) / WIDTH) ** 2))


def radial_force(r, a, b):
    """-du/dr."""
    x = (r - MINIMUM[a, b]) / WIDTH
    return 2 * A * r / CORE**2 * np.exp(-((r / CORE) ** 2)) - 2 * DEPTH[a, b] / WIDTH * x * np.exp(-(x**2))


def true_forces(positions):
    d = positions[:, :, None] - positions[:, None]
    d -= BOX[0, 0] * np.round(d / BOX[0, 0])
    r = np.linalg.norm(d, axis=-1) + 10 * np.eye(d.shape[1])
    return (radial_force(r, SPECIES[:, None], SPECIES[None])[..., None] * d / r[..., None]).sum(2)


def sample(n_chains, sweeps=250, seed=0):
    """The last configuration of independent Metropolis chains, one move per particle and sweep."""
    rng, n, edge = np.random.default_rng(seed), len(SPECIES), BOX[0, 0]
    x = rng.uniform(0, edge, (n_chains, n, 3))
    for _ in range(sweeps):
        for i in range(n):
            trial = x[:, i] + rng.uniform(-0.12, 0.12, (n_chains, 3))
            change = 0.0
            for sign, place in ((1, trial), (-1, x[:, i])):
                d = np.delete(x, i, 1) - place[:, None]
                d -= edge * np.round(d / edge)
                change = change + sign * energy(np.linalg.norm(d, axis=-1), SPECIES[i], np.delete(SPECIES, i)).sum(1)
            accept = rng.random(n_chains) < np.exp(-np.clip(change / KT, 0, None))
            x[accept, i] = trial[accept]
    return x


def fitted(positions, fraction_in_prior=0.0, **options):
    pair = SplinePair(2, CUTOFF, START, SPACING)
    species = torch.as_tensor(SPECIES)
    replicas = [
        moments(
            pair,
            torch.as_tensor(part),
            torch.as_tensor(fraction_in_prior * true_forces(part)),
            torch.as_tensor(BOX).expand(len(part), 3, 3),
            species,
            KT,
        )
        for part in np.array_split(positions, 10)
    ]
    return pair, fit(pair, replicas, PairConfig(cutoff=CUTOFF, start=START, spacing=SPACING, **options))


def forces(pair, positions, box=BOX, species=SPECIES):
    y = torch.as_tensor(positions).requires_grad_(True)
    box = None if box is None else torch.as_tensor(box)
    c = make_batch(y, box, torch.as_tensor(species), pair.cutoff)
    return -torch.autograd.grad(pair(c).sum(), y)[0].numpy()


def error(pair, positions, fraction=1.0):
    """Rms force error over the rms force."""
    truth = fraction * true_forces(positions)
    return np.sqrt(np.mean((forces(pair, positions) - truth) ** 2) / np.mean(truth**2))


def random_pair(seed=0):
    pair = SplinePair(2, CUTOFF, START, SPACING)
    generator = torch.Generator().manual_seed(seed)
    pair.coefficients.copy_(torch.randn(pair.coefficients.shape, generator=generator, dtype=torch.float64))
    pair.coefficients[:, -3:] = 0
    return pair


def curve(pair, r, kind=(0, 1)):
    """u(r) and -du/dr of one pair of species at distances r."""
    r = np.atleast_1d(r)
    positions = np.zeros((len(r), 2, 3))
    positions[:, 1, 2] = r
    c = make_batch(torch.as_tensor(positions), None, torch.tensor(kind), pair.cutoff)
    return pair(c).numpy(), forces(pair, positions, None, kind)[:, 1, 2]


def crowded():
    """Particles of two frames, some pairs below the first knot."""
    positions = torch.as_tensor(np.random.default_rng(4).uniform(0, 0.5, (2, 6, 3)))
    c = make_batch(positions, torch.as_tensor(BOX), torch.tensor([0, 1, 1, 0, 0, 1]), CUTOFF)
    assert (c.distances < START).sum() >= 1 and (c.distances > 2 * START).sum() > 10
    return positions, c
