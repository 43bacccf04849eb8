"""Small denoisers of LiCl for the tests of forces and systems: every kind of term, and no training."""

import functools
from pathlib import Path

import numpy as np
import openmm
import torch

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.coulomb import CoulombTerm
from openmm_diffusion.energies.network import NetworkConfig, NetworkTerm
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.model.header import Header

LI, CL = 3, 17
LICL = Path(__file__).parents[1] / "examples" / "licl" / "licl.npz"

#: Every kind of term, and those that build in milliseconds.
ALL, QUICK, PRIOR = ("coulomb", "wall", "pair", "network"), ("coulomb", "wall", "pair"), ("coulomb", "wall")

torch.set_num_threads(1)


@functools.cache
def licl_frames():
    """The first frames of the example: 24 Li and 24 Cl in a cubic box of 2.526 nm."""
    return Frames.load(LICL)[:20]


def licl_context(force):
    """A Context on the Reference platform with one force on the ions of `licl_frames`, at the first of its frames."""
    frames, system = licl_frames(), openmm.System()
    for _ in frames.types:
        system.addParticle(20.0)
    system.setDefaultPeriodicBoxVectors(*frames.box)
    if force is not None:
        system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(frames.positions[0])
    return context


@functools.cache
def licl_denoiser(head="energy", kinds=ALL, precision="single", edge=None, pairs=24):
    """A denoiser with weights that nothing was learnt from, but forces of the size of learnt ones.

    Kept and shared: leave it as it is.

    Parameters
    ----------
    head : "energy" or "vector"
    kinds : tuple of str
        Terms to have; without "network" the head plays no part.
    precision : "single" or "double"
    edge : float, nm, optional
        Of the cubic box of the training data; None: that of the frames.
    pairs : int
        Ion pairs in the training data.
    """
    frames = licl_frames()
    network = NetworkConfig(head=head, cutoff=0.6, lmax=1, features=4, layers=2, radial_width=8)
    terms = [
        CoulombTerm(charges={"Li": 1.0, "Cl": -1.0}, relative_permittivity=78.3),
        # Wide enough to be felt: the shortest distances of the frames used are 0.22 (LiCl) to 0.4 nm.
        WallTerm(radii=[[0.50, 0.28], [0.28, 0.45]], stiffness=2.0e3),
        PairTerm(sigma=0.005, cutoff=0.9, start=0.18, spacing=0.06),
        NetworkTerm(sigma=0.005, network=network, neighbours=8.0, weight=0.7),
    ]
    header = Header(
        species=[LI, CL],
        particles=[LI] * pairs + [CL] * pairs,
        temperature=300.0,
        box=frames.box.tolist() if edge is None else (edge * np.eye(3)).tolist(),
        number_density=None,
        shortest_distances=[[0.3, 0.2], [0.2, None]],
        terms=[term for term in terms if term.kind in kinds],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser(header)  # e3nn's weights are standard normal
    rng = np.random.default_rng(0)
    for module in denoiser.model.energies:
        if hasattr(module, "coefficients"):
            module.coefficients.copy_(torch.as_tensor(_smooth(rng, *module.coefficients.shape)))
    if precision == "double":
        denoiser.model.double()
    return denoiser


def _smooth(rng, n_kinds, n_basis):
    """Spline coefficients (kJ/mol) of a few waves that die out at the cutoff; the last three are zero."""
    x = np.linspace(0, 1, n_basis)
    waves = np.cos(np.pi * np.arange(1, 5)[:, None] * x)
    coefficients = 3 * rng.normal(size=(n_kinds, 4)) @ waves * (1 - x) ** 3
    coefficients[:, -3:] = 0
    return coefficients
