"""A network earns its place where forces depend on angles: configurations alone, judged by the known forces."""

import numpy as np
import pytest
import torch

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.learning.config import DataConfig
from openmm_diffusion.learning.training import train
from openmm_diffusion.units import thermal_energy

pytestmark = pytest.mark.slow

KT = thermal_energy(300)
N = 5
CORE, RADIUS, SPRING, ANGULAR, RANGE = 300.0, 0.15, 60.0, 120.0, 0.33  # kJ/mol, nm, kJ/mol/nm^2, kJ/mol, nm


def energy(x):
    """Stillinger and Weber's kind of potential for small clusters, kJ/mol, of x (n_frames, N, 3) in nm.

    Pairs: a core A exp(-(r/a)^2) and a spring kappa r^2 / 2 that holds the cluster together.  Angles at i:
    lambda sum_{j<k} f(r_ij) f(r_ik) (cos theta_jik + 1/3)^2 with f = exp(-(r/b)^4), written as
    sums over j alone: (cos + 1/3)^2 is a polynomial of the two unit vectors.
    """
    other = 1 - torch.eye(N, dtype=x.dtype)
    d = x[:, None] - x[:, :, None]
    r = (d.pow(2).sum(-1) + torch.eye(N, dtype=x.dtype)).sqrt()
    pairs = 0.5 * ((CORE * torch.exp(-((r / RADIUS) ** 2)) + 0.5 * SPRING * r**2) * other).sum((1, 2))
    f, u = torch.exp(-((r / RANGE) ** 4)) * other, d / r[..., None]
    zeroth, first = f.sum(-1), torch.einsum("fij,fija->fia", f, u)
    second = torch.einsum("fij,fija,fijb->fiab", f, u, u)
    everything = (second**2).sum((-1, -2)) + 2 / 3 * (first**2).sum(-1) + zeroth**2 / 9
    return pairs + 0.5 * ANGULAR * (everything - 16 / 9 * (f**2).sum(-1)).sum(1)


def energy_forces(x):
    x = x.detach().requires_grad_(True)
    u = energy(x)
    return u.detach(), -torch.autograd.grad(u.sum(), x)[0]


def sample(chains=500, steps=800, save=80, step=3e-4):
    """Metropolis-adjusted Langevin chains, shape (chains, saved, N, 3), nm; the first half is discarded."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0, 0, 0], [0.3, 0, 0], [0, 0.3, 0], [0, 0, 0.3], [0.2, 0.2, 0.2]], dtype=torch.float64)
    x = corners + 0.05 * torch.randn(chains, N, 3, generator=generator, dtype=torch.float64)
    for _ in range(200):  # out of overlaps
        _, force = energy_forces(x)
        x = x + 2e-4 * force * torch.clamp(60 / force.norm(dim=-1, keepdim=True), max=1)
    u, force = energy_forces(x)
    saved = []
    for i in range(steps):
        there = x + step * force / KT
        y = there + np.sqrt(2 * step) * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        u_new, force_new = energy_forces(y)
        back = y + step * force_new / KT
        log_ratio = (u - u_new) / KT + ((y - there) ** 2 - (x - back) ** 2).sum((1, 2)) / (4 * step)
        accept = torch.rand(chains, generator=generator, dtype=x.dtype) < log_ratio.exp()
        x, force = (torch.where(accept[:, None, None], *ab) for ab in ((y, x), (force_new, force)))
        u = torch.where(accept, u_new, u)
        if i >= steps // 2 and i % save == 0:
            saved.append(x - x.mean(1, keepdim=True))
    return torch.stack(saved, 1)


def test_the_angular_energy_is_the_sum_over_triples():
    x = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0.1, 0.35, 0], [0, 0.1, 0.4], [-0.2, 0.2, -0.2]], dtype=torch.float64)
    expected = 0.0
    for i in range(N):
        for j in range(N):
            d = x[j] - x[i]
            if j > i:
                expected += CORE * torch.exp(-d @ d / RADIUS**2) + 0.5 * SPRING * d @ d
            for k in range(j + 1, N):
                if i in (j, k):
                    continue
                e = x[k] - x[i]
                cos = d @ e / d.norm() / e.norm()
                cut = torch.exp(-((d.norm() / RANGE) ** 4) - (e.norm() / RANGE) ** 4)
                expected += ANGULAR * cut * (cos + 1 / 3) ** 2
    torch.testing.assert_close(energy(x[None])[0], expected)


def test_a_network_learns_the_angles_that_no_pair_potential_can():
    positions = sample()
    frames = Frames(
        positions.flatten(0, 1).numpy(), [18] * N, None, 300.0, replica=np.arange(500).repeat(positions.shape[1]) // 25
    )
    config = {
        "data": {"test_fraction": 0.1},
        "noise": {"sigma": 0.01},
        "prior": {"coulomb": None, "wall": None},
        "pair": {"cutoff": 1.2, "start": 0.12, "spacing": 0.03},
        "network": {"cutoff": 0.7, "lmax": 1, "features": 8, "layers": 2, "radial_width": 16},
        "training": {"steps": 300, "batch": 128, "learning_rate": 0.02, "patience": 100},
    }
    both = train(frames, config, progress=False)
    held_out = DataConfig(**config["data"]).divide(frames)[2].positions.astype(float)
    _, truth = energy_forces(torch.as_tensor(held_out))

    def error(model):
        return float(np.sqrt(np.mean((model.forces(held_out, box=False) - truth.numpy()) ** 2)))

    rms, pair = float(truth.pow(2).mean().sqrt()), error(both.subset(["pair"]))
    # Angles are most of the force (37 of 46 kJ/mol/nm); the best pair potential leaves half of it.
    assert 0.35 * rms < pair < 0.6 * rms, "the pair fit must be a fair opponent, and leave something to learn"
    assert error(both) < 0.7 * pair
