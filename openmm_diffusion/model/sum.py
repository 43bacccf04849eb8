"""The weighted sum of energies behind a denoiser, as one torch module that scripts.

    U(y) = sum_i w_i U_i(y; sigma_i),   F(y) = -grad U(y)

Terms are parts of the prior, spline pair potentials, and networks.  A network
with a vector head has no energy: it adds its forces directly, without net force.
"""

import threading
from typing import Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ..energies.coulomb import Coulomb, Wall
from ..energies.messagepassing import MessagePassing
from ..energies.pair import SplinePair
from ..noise import log_place, scale
from ..space.batch import Batch, make_batch, within
from ..units import symbols, thermal_energy
from .header import CoulombTerm, NetworkTerm, PairTerm, WallTerm

#: Held while a model is traced or evaluated: tracing replaces how torch calls modules, in all threads.
TRACING = threading.RLock()

#: Functions of the noise level that a network over a range of them reads.
CHEBYSHEV = 4


class DenoisingNetwork(nn.Module):
    """A network as a denoiser: it predicts displacements D(y) - y, which kT/sigma^2 turns into forces.

    Trained over a range of noise levels, it reads the level as the Chebyshev polynomials
    T_1 ... T_4 of log sigma, which runs from -1 to 1 over the range: sigma^2, the leading
    order of smoothing, is a sum of these to 1 % of its largest value over a factor of 17.

    Parameters
    ----------
    term : NetworkTerm
    n_species : int
    kT : float, kJ/mol
        Of the training data.
    """

    def __init__(self, term, n_species, kT):
        super().__init__()
        self.cutoff = term.network.cutoff
        self.conservative = term.network.head == "energy"
        self.conditions = 0 if term.sigmas is None else CHEBYSHEV
        self.smallest, self.largest = (0.0, 0.0) if term.sigmas is None else term.sigmas
        self.network = MessagePassing(term.network, n_species, term.neighbours, self.conditions)
        self.register_buffer("sigma", torch.tensor([term.sigma], dtype=torch.float64), persistent=False)
        # An output of one then is a force of kT per 0.1 nm, or an energy of kT: numbers of order one.
        self.length = 0.1  # nm
        # Learnt from forces at clean positions there is no noise level: any length serves, the force is the same.
        level = term.sigma if term.sigma > 0 else self.length  # nm
        self.displacement = level**2 / self.length  # nm
        # Part of the file where it belongs to the weights; over a range it follows from the level evaluated.
        factor = torch.tensor(scale(level, kT), dtype=torch.float64)
        self.register_buffer("kT_over_sigma2", factor, persistent=term.sigmas is None)

    def outputs(self, c: Batch) -> Tensor:
        """Raw outputs of the network, shape (n_frames, n_particles, 1 or 3), dimensionless."""
        near = within(c, self.cutoff)
        n_frames, n_particles = c.positions.shape[0], c.positions.shape[1]
        senders = torch.cat([near.second, near.first])
        receivers = torch.cat([near.first, near.second])
        vectors = torch.cat([near.vectors, -near.vectors])
        conditions: Optional[Tensor] = None
        if self.conditions > 0:
            sigma, given = self.sigma.expand(n_frames), near.sigma
            if given is not None:
                sigma = given
            place = log_place(sigma, self.smallest, self.largest)
            conditions = chebyshev(2 * place - 1, self.conditions).repeat_interleave(n_particles, 0)
        values = self.network(c.species.repeat(n_frames), senders, receivers, vectors, conditions)
        return values.view(n_frames, n_particles, -1)

    # sigma^2 from displacement and 1/sigma^2 cancel: the two below hold for frames at any level.

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol: an energy head's only."""
        potential = self.displacement * self.length * self.outputs(c).sum(dim=[1, 2])  # nm^2
        return self.kT_over_sigma2.to(potential.dtype) * potential

    def forces(self, c: Batch) -> Tensor:
        """Forces of a vector head, shape (n_frames, n_particles, 3), kJ/mol/nm, without net force."""
        displacement = self.displacement * self.outputs(c)  # nm
        displacement = displacement - displacement.mean(dim=1, keepdim=True)
        return self.kT_over_sigma2.to(displacement.dtype) * displacement


def chebyshev(t: Tensor, number: int) -> Tensor:
    """The polynomials T_1 ... T_number of t (n,), each between -1 and 1 where t is: shape (n, number)."""
    values = [torch.ones_like(t), t]
    for _ in range(number - 1):
        values.append(2 * t * values[-1] - values[-2])
    return torch.stack(values[1:], -1)


class WeightedSum(nn.Module):
    """All terms of a model.

    Parameters
    ----------
    header : Header
    """

    def __init__(self, header):
        super().__init__()
        energies = [term for term in header.terms if has_energy(term)]
        vectors = [term for term in header.terms if not has_energy(term)]
        self.energies = nn.ModuleList([term_module(term, header) for term in energies])
        self.vectors = nn.ModuleList([term_module(term, header) for term in vectors])
        self.energy_weights = [term.weight for term in energies]
        self.vector_weights = [term.weight for term in vectors]
        self.cutoffs = [float(m.cutoff) for m in [*self.energies, *self.vectors]]
        self.cutoff = max(self.cutoffs, default=0.0)

    def forward(
        self, positions: Tensor, box: Optional[Tensor], species: Tensor, sigma: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Energy, and the forces that have none.

        Parameters
        ----------
        positions : Tensor, shape (n_frames, n_particles, 3), nm
        box : Tensor, shape (3, 3) or (n_frames, 3, 3), nm, or None
        species : Tensor, shape (n_particles,), dtype int64
            Index into `header.species`.
        sigma : Tensor, shape (n_frames,), nm, or None
            Noise level of each frame, for terms that know a range; None: that of the header.

        Returns
        -------
        energy : Tensor, shape (n_frames,), kJ/mol
        direct : Tensor, shape (n_frames, n_particles, 3), kJ/mol/nm
            Forces of vector heads; the total force is -grad(energy) + direct.
        """
        return self.total(make_batch(positions, box, species, self.cutoff, sigma))

    def total(self, c: Batch) -> Tuple[Tensor, Tensor]:
        """As `forward`, of a configuration whose pairs are known."""
        energy = torch.zeros_like(c.positions[:, 0, 0])
        for i, term in enumerate(self.energies):
            energy = energy + self.energy_weights[i] * term(c)
        direct = torch.zeros_like(c.positions)
        for i, network in enumerate(self.vectors):
            direct = direct + self.vector_weights[i] * network.forces(c)
        return energy, direct


def energy_and_forces(model, positions, box, species, differentiable=False, sigma=None):
    """Energy (n_frames,) and total force (n_frames, n_particles, 3) of a batch; arguments as `WeightedSum.forward`.

    `differentiable` keeps the graph, so that a loss on the forces can be differentiated.
    """
    with TRACING, torch.enable_grad():
        positions = positions.detach().requires_grad_(True)
        energy, direct = model(positions, box, species, sigma)
        forces = direct
        if energy.requires_grad:
            forces = direct - torch.autograd.grad(energy.sum(), positions, create_graph=differentiable)[0]
    return (energy, forces) if differentiable else (energy.detach(), forces.detach())


def has_energy(term):
    """Whether a term's force is the gradient of an energy."""
    return not (isinstance(term, NetworkTerm) and term.network.head == "vector")


def term_module(term, header):
    """The torch module of a term, its weights not set."""
    names = symbols(header.species)
    if isinstance(term, CoulombTerm):
        box = None if header.box is None else np.array(header.box)
        charges = [term.charges[s] for s in names]
        return Coulomb(charges, term.relative_permittivity, box, term.tolerance, term.cutoff)
    if isinstance(term, WallTerm):
        return Wall(term.radii, term.stiffness, term.sigma)
    if isinstance(term, PairTerm):
        return SplinePair(len(names), term.cutoff, term.start, term.spacing, term.sigmas)
    return DenoisingNetwork(term, len(names), thermal_energy(header.temperature))
