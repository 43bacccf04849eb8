"""A chain whose internal coordinates are independent: exact samples of a known energy, by its Jacobian.

The volume element of a chain is the product of r^2 dr of its bonds, d cos(theta) of its angles and d phi of its
dihedrals, so that with U a sum over them every coordinate can be drawn by itself.
"""

import numpy as np
import torch
from scipy.stats import rv_histogram

from openmm_diffusion import Frames
from openmm_diffusion.units import thermal_energy

KT = thermal_energy(300.0)
#: Types of the particles; bonds of two kinds, angles of two, dihedrals of one.
TYPES = ["A", "B", "B", "A", "B"]
BONDS = [(0, 1), (1, 2), (2, 3), (3, 4)]
LENGTHS, STIFFNESS = {"AB": 0.30, "BB": 0.36}, {"AB": 2.0e4, "BB": 1.2e4}  # nm, kJ/mol/nm^2
COSINE, BENDING = -0.3, 150.0  # kJ/mol: away from a line, where a dihedral has no meaning
#: kJ/mol, of cos(n phi) and of sin(n phi).
EVEN, ODD = (3.0, -4.0, 2.0), (5.0, 0.0, -2.0)


def bond_energy(kind, r):
    return 0.5 * STIFFNESS[kind] * (r - LENGTHS[kind]) ** 2


def angle_energy(c):
    return 0.5 * BENDING * (c - COSINE) ** 2


def dihedral_energy(phi, odd=ODD):
    n = np.arange(1, 4)
    angles = n * np.asarray(phi)[..., None]
    return np.cos(angles) @ np.array(EVEN) + np.sin(angles) @ np.array(odd)


def drawn(energy, low, high, size, rng, measure=lambda q: 1.0):
    """Samples of exp(-U/kT) measure(q) between two ends."""
    edges = np.linspace(low, high, 4001)
    q = 0.5 * (edges[1:] + edges[:-1])
    weight = np.exp(-energy(q) / KT) * measure(q)
    return rv_histogram((weight, edges), density=False).rvs(size=size, random_state=rng)


def frames(n, seed=0, odd=ODD, replicas=10, temperature=300.0):
    """`Frames` of independent chains."""
    rng = np.random.default_rng(seed)
    kinds = ["".join(sorted(TYPES[i] + TYPES[j])) for i, j in BONDS]
    r = [drawn(lambda q, k=kind: bond_energy(k, q), 0.2, 0.5, n, rng, lambda q: q**2) for kind in kinds]
    c = [drawn(angle_energy, -1, 1, n, rng) for _ in range(3)]
    phi = [drawn(lambda q: dihedral_energy(q, odd), -np.pi, np.pi, n, rng) for _ in range(2)]
    x = np.zeros((n, 5, 3))
    x[:, 1, 0] = r[0]
    sine = np.sqrt(1 - c[0] ** 2)
    x[:, 2] = x[:, 1] + r[1][:, None] * np.stack([-c[0], sine, 0 * sine], 1)
    for i in range(2):
        x[:, i + 3] = placed(x[:, i], x[:, i + 1], x[:, i + 2], r[i + 2], c[i + 1], phi[i])
    masses, numbers = np.full(5, 72.0), np.zeros(5, int)
    replica = np.arange(n) * replicas // n
    return Frames(x, numbers, None, temperature, replica=replica, types=TYPES, bonds=BONDS, masses=masses)


def placed(one, two, three, r, c, phi):
    """The particle after three others, at a distance, an angle and a dihedral."""
    axis = three - two
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    normal = np.cross(two - one, axis)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    across = np.cross(normal, axis)
    sine = np.sqrt(1 - c**2)
    local = np.stack([-c, sine * np.cos(phi), sine * np.sin(phi)], 1)
    return three + r[:, None] * (local[:, :1] * axis + local[:, 1:2] * across + local[:, 2:] * normal)


def forces(x):
    """Forces (n_frames, 5, 3), kJ/mol/nm, of the whole energy, by automatic differentiation."""
    x = torch.as_tensor(np.asarray(x, dtype=float)).requires_grad_(True)
    steps = [x[:, j] - x[:, i] for i, j in BONDS]
    total = 0.0
    for step, (i, j) in zip(steps, BONDS):
        total = total + bond_energy("".join(sorted(TYPES[i] + TYPES[j])), step.norm(dim=1))
    for a, b in zip(steps, steps[1:]):
        total = total + angle_energy(-(a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1))
    for a, b, c in zip(steps, steps[1:], steps[2:]):
        one, other = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
        phi = torch.atan2((torch.linalg.cross(one, other) * b).sum(1) / b.norm(dim=1), (one * other).sum(1))
        for n in range(1, 4):
            total = total + EVEN[n - 1] * torch.cos(n * phi) + ODD[n - 1] * torch.sin(n * phi)
    return -torch.autograd.grad(total.sum(), x)[0].numpy()
