"""The weighted sum of energies behind a denoiser, as one torch module that scripts.

    U(y) = sum_i w_i U_i(y; sigma_i),   F(y) = -grad U(y)

A term that is not conservative has no energy: its module adds forces directly, without net force.
"""

import threading
from typing import TYPE_CHECKING, Any, Optional, Tuple

import torch
from torch import Tensor, nn

from ..space.batch import Batch, cast, make_batch
from ..space.connectivity import Connectivity

if TYPE_CHECKING:
    from .header import Header

#: Held while a model is traced or evaluated: tracing replaces how torch calls modules, in all threads.
TRACING = threading.RLock()


def total_force(energy: Tensor, direct: Tensor, positions: Tensor, differentiable: bool = False) -> Tensor:
    """F = -grad U + the forces that have no energy: the one place where forces come of energies; it scripts.

    Parameters
    ----------
    energy : Tensor, kJ/mol
        An energy of any shape that was made from `positions`.
    direct, positions : Tensor, shape (..., n_particles, 3), kJ/mol/nm and nm
    differentiable : bool
        Keep the graph, so that a loss on the forces can be differentiated.
    """
    if energy.requires_grad:
        slope = torch.autograd.grad([energy.sum()], [positions], create_graph=differentiable)[0]
        if slope is not None:
            return direct - slope
    return direct


class WeightedSum(nn.Module):
    """All terms of a model.

    Parameters
    ----------
    header : Header
    """

    def __init__(self, header: "Header") -> None:
        super().__init__()
        energies = [term for term in header.terms if term.conservative]
        vectors = [term for term in header.terms if not term.conservative]
        self.energies = nn.ModuleList([term.module(header) for term in energies])
        self.vectors = nn.ModuleList([term.module(header) for term in vectors])
        self.energy_weights = [term.weight for term in energies]
        self.vector_weights = [term.weight for term in vectors]
        self.cutoffs = [float(m.cutoff) for m in [*self.energies, *self.vectors] if m.cutoff > 0]
        self.cutoff = max(self.cutoffs, default=0.0)

    def forward(
        self,
        positions: Tensor,
        box: Optional[Tensor],
        species: Tensor,
        sigma: Optional[Tensor] = None,
        connectivity: Optional[Connectivity] = None,
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
        connectivity : Connectivity or None
            Who is bonded to whom; None: nobody is.

        Returns
        -------
        energy : Tensor, shape (n_frames,), kJ/mol
        direct : Tensor, shape (n_frames, n_particles, 3), kJ/mol/nm
            Forces of vector heads; the total force is -grad(energy) + direct.
        """
        return self.total(make_batch(positions, box, species, self.cutoff, sigma, connectivity))

    def total(self, c: Batch) -> Tuple[Tensor, Tensor]:
        """As `forward`, of a configuration whose pairs are known."""
        # Zero, but NaN where a position is NaN: particles without neighbours are in no pair that would tell.
        nothing = c.positions.detach() - c.positions.detach()
        energy = nothing.sum(dim=[1, 2])
        for i, term in enumerate(self.energies):
            energy = energy + self.energy_weights[i] * term(c)
        direct = nothing
        for i, network in enumerate(self.vectors):
            direct = direct + self.vector_weights[i] * network.forces(c)
        return energy, direct


def energy_and_forces(
    model: WeightedSum,
    positions: Tensor,
    box: Tensor | None,
    species: Tensor,
    differentiable: bool = False,
    sigma: Tensor | None = None,
    connectivity: Connectivity | None = None,
) -> tuple[Tensor, Tensor]:
    """Energy (n_frames,) and total force (n_frames, n_particles, 3) of a batch; arguments as `WeightedSum.forward`.

    `differentiable` keeps the graph, so that a loss on the forces can be differentiated.
    """
    with TRACING, torch.enable_grad():
        positions = positions.detach().requires_grad_(True)
        energy, direct = model(positions, box, species, sigma, connectivity)
        forces = total_force(energy, direct, positions, differentiable)
    return (energy, forces) if differentiable else (energy.detach(), forces.detach())


def evaluated(model: Any, positions: Tensor, c: Batch, like: Tensor) -> tuple[Tensor, Tensor]:
    """Energy and forces, in double precision, of a `Batch` c that was made from positions.

    The terms are evaluated in the precision of `like`; differences of positions, and sums of forces, are not.
    """
    energy, direct = model.total(cast(c, like))
    forces = total_force(energy, direct.double(), positions)
    return energy.detach().double(), forces.detach()
