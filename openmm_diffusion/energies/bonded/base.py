"""Energies of internal coordinates q of bonded particles, linear in their coefficients: what all of them share.

U(y) = sum over groups sum_m c_m B_m(q), with a set of coefficients for each kind of group, told by the species of its
particles.  Of functions of one coordinate or of several, with gradients and Laplacians from `coordinates`::

    G_m = -sum_p B_m,p grad q_p
    div G_m = -sum_pq B_m,pq grad q_p . grad q_q - sum_p B_m,p lap q_p
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Optional, Tuple

import numpy as np
import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from ...space.batch import Batch
from ...space.connectivity import Connectivity
from ..base import Level, ModelHeader, Positive
from ..linear import LinearEnergy, LinearSettings, LinearTerm, Sample
from .coordinates import Coordinate
from .survey import surveyed

#: Groups times functions that `BondedEnergy.design` takes at a time, which bounds its memory: some 400 B each.
AT_ONCE = 200_000


class BondedSettings(LinearSettings):
    """How an energy of internal coordinates is fitted; each adds its basis.

    Attributes
    ----------
    sigma, draws, penalties, folds
        As in `LinearSettings`.
    """

    #: It is no sum over pairs within a distance.
    cutoff: ClassVar[float] = 0.0

    penalties: list[PositiveFloat] = [float(10.0**e) for e in range(-6, 2)]


class BondedTerm(LinearTerm):
    """An energy of internal coordinates at noise level sigma (nm, 0: clean frames).

    Attributes
    ----------
    kinds : list of list of str
        Types of the particles of each kind of group, in the order of the coefficients.
    slopes : list of float, 1/nm^2
        Mean |grad q|^2 of each kind in the training frames, to which the penalty is scaled.
    """

    bonded: ClassVar[bool] = True

    #: Its coordinate, one of `survey.COORDINATES`, and the table of a `Connectivity` that its groups are in.
    internal: ClassVar[str]
    table: ClassVar[str]
    #: What a curve of it is drawn over, with the unit; None: it is no curve.
    axis: ClassVar[str | None] = None
    cutoff: ClassVar[float] = 0.0

    sigma: Level
    sigmas: list[Level] | None = Field(None, min_length=2, max_length=1000)
    penalty: float | None = None
    kinds: list[list[str]]
    slopes: list[Positive]

    @classmethod
    def blank(
        cls, settings: Any, sigma: float, sigmas: list[float] | None, sample: Sample | None = None
    ) -> "BondedTerm | None":
        """The term for the kinds of groups that there are, or None where there are none."""
        if sample is None:
            raise ValueError(f"{cls.__name__} takes its kinds and ranges from frames: give a sample")
        found = surveyed(cls.internal, sample.batches())
        if not found:
            return None
        given = {name: getattr(settings, name) for name in cls.shape() if name in type(settings).model_fields}
        kinds = [[sample.species[s] for s in kind] for kind in found]
        spreads = list(found.values())
        slopes = [spread.slope for spread in spreads]
        return cls(**given, **cls.measured(spreads, sample), kinds=kinds, slopes=slopes, sigma=sigma, sigmas=sigmas)

    @classmethod
    def measured(cls, spreads: Sequence[Any], sample: Sample) -> dict[str, Any]:
        """Fields of the term that are taken from the data: one `Spread` for each kind."""
        return {}

    @classmethod
    def shape(cls) -> list[str]:
        return sorted(set(cls.model_fields) - {"kind", "weight", "member", "level", "sigma", "sigmas", "penalty"})

    @property
    def basis(self) -> tuple[Any, ...]:
        return self.kind, self.model_dump_json(include=set(self.shape()))

    def indexed(self, header: ModelHeader) -> list[list[int]]:
        """The kinds by the numbers of their species in the header."""
        index = {kind: number for number, kind in enumerate(header.species)}
        return [[index[name] for name in kind] for kind in self.kinds]

    def groups_of(
        self, module: Any, species: np.ndarray, connectivity: Connectivity | None
    ) -> list[tuple[list[int], int]]:
        """Particles and kind of every group of a system."""
        if connectivity is None:
            return []
        groups = getattr(connectivity, self.table)
        return list(zip(groups.tolist(), module.kind_of(torch.as_tensor(species), groups).tolist()))

    def points(self, module: Any, number: int) -> np.ndarray:
        """Values of the coordinate, in the unit of `axis`, that the curve of a kind is known by."""
        raise NotImplementedError

    def curve(self, module: Any, number: int, q: np.ndarray) -> np.ndarray:
        """U(q), kJ/mol, of a kind, `q` in the unit of `axis`."""
        raise NotImplementedError

    def check_bonds(self, header: ModelHeader, species: Tensor, connectivity: Optional[Connectivity]) -> None:
        """Refuse a system with a group of a kind that was not trained; see `Term.check_bonds`."""
        if connectivity is None:
            return
        known = set(map(tuple, self.kinds))
        groups = getattr(connectivity, self.table)
        for kind in torch.unique(species[groups], dim=0).tolist() if len(groups) else []:
            names = tuple(header.species[s] for s in kind)
            if names not in known:
                raise ValueError(
                    f"topology has {self.table} {'-'.join(names)}, which the model was not trained on: check its bonds "
                    f"and types; the model knows {', '.join('-'.join(one) for one in sorted(known))}"
                )


class BondedEnergy(LinearEnergy):
    """An energy of internal coordinates as a torch module.

    A subclass tells its table (`groups`), `functions` for the energy and `derivatives` for the fit.

    Parameters
    ----------
    kinds : array, shape (n_kinds, n_members), dtype int
        Species of the particles of each kind of group.
    n_functions : int
        Of each kind.
    n_species : int
    sigmas : list of float, nm, or None

    Attributes
    ----------
    coefficients : Tensor, shape (n_kinds, n_functions), kJ/mol
    """

    def __init__(
        self, kinds: Sequence[Sequence[int]], n_functions: int, n_species: int, sigmas: Sequence[float] | None = None
    ) -> None:
        super().__init__((len(kinds), n_functions), n_species, sigmas)
        self.cutoff, self.n_functions, self.n_members = 0.0, n_functions, len(kinds[0])
        powers = n_species ** torch.arange(self.n_members - 1, -1, -1)
        keys, order = torch.sort((torch.as_tensor(kinds, dtype=torch.int64) * powers).sum(1))
        self.register_buffer("powers", powers, persistent=False)
        self.register_buffer("keys", keys, persistent=False)
        self.register_buffer("order", order, persistent=False)

    def groups(self, connectivity: Connectivity) -> Tensor:
        """Particles of every group, shape (n_groups, n_members)."""
        raise NotImplementedError

    def functions(self, c: Batch, groups: Tensor, kind: Tensor) -> Tuple[Tensor, Tensor]:
        """Columns and values of the functions that are not zero, shape (n_frames, n_groups, n_local) each."""
        raise NotImplementedError

    def beyond(self, c: Batch, groups: Tensor, kind: Tensor) -> Tensor:
        """Energy (n_frames,), kJ/mol, that holds coordinates where no data are, and is zero elsewhere."""
        return torch.zeros_like(c.positions[:, 0, 0])

    def derivatives(self, c: Batch, groups: Tensor, kind: Tensor) -> tuple[list[Coordinate], Tensor, Tensor, Tensor]:
        """Coordinates q_p, columns (..., n_local), and first and second derivatives of the functions.

        The derivatives have shapes (n_frames, n_groups, n_local, n_q) and (n_frames, n_groups, n_local, n_q, n_q).
        """
        raise NotImplementedError

    def kind_of(self, species: Tensor, groups: Tensor) -> Tensor:
        """Kind of every group, shape (n_groups,); those that are not known must have been refused."""
        key = (species[groups] * self.powers).sum(1)
        return self.order[torch.searchsorted(self.keys, key).clamp(max=self.keys.shape[0] - 1)]

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        connectivity = c.connectivity
        if connectivity is None:
            return torch.zeros_like(c.positions[:, 0, 0])
        groups = self.groups(connectivity)
        kind = self.kind_of(c.species, groups)
        column, values = self.functions(c, groups, kind)
        coefficients, sigma = self.coefficients.flatten(), c.sigma
        if sigma is not None and self.n_levels > 0:
            own = self.at(sigma).flatten(1).to(values.dtype)
            own = torch.gather(own, 1, column.flatten(1)).view_as(values)
        else:
            own = coefficients.to(values.dtype)[column]
        return (values * own).sum([1, 2]) + self.beyond(c, groups, kind)

    def values(self, c: Batch) -> Tensor:
        """B of every frame, summed over the groups of each kind, shape (n_frames, n_coefficients)."""
        sums = torch.zeros(len(c.positions), self.coefficients.numel(), dtype=c.positions.dtype)
        if c.connectivity is None:
            return sums
        groups = self.groups(c.connectivity)
        column, values = self.functions(c, groups, self.kind_of(c.species, groups))
        return sums.scatter_add(1, column.flatten(1), values.flatten(1))

    def design(self, c: Batch) -> tuple[Tensor, Tensor]:
        """Force of every basis function on every coordinate, and its divergence: see `LinearEnergy.design`."""
        G, divergence = self.design_by_species(c)
        return G, divergence.sum(0)

    def design_by_species(self, c: Batch) -> tuple[Tensor, Tensor]:
        """As `design`, with the divergence by coordinates of each species apart."""
        n_frames, n_particles, size = len(c.positions), c.positions.shape[1], self.coefficients.numel()
        G = torch.zeros(n_frames * n_particles * 3 * size, dtype=torch.float64)
        divergence = torch.zeros(self.n_species * size, dtype=torch.float64)
        if c.connectivity is None:
            return G.view(-1, size), divergence.view(-1, size)
        table = self.groups(c.connectivity)
        step = max(1, AT_ONCE // (n_frames * self.n_functions))
        for groups in table.split(step) if len(table) else ():
            coordinates, column, first, second = self.derivatives(c, groups, self.kind_of(c.species, groups))
            gradients = torch.stack([q.gradient for q in coordinates], -1)  # (..., member, 3, q)
            laplacians = torch.stack([q.laplacian for q in coordinates], -1)
            for member in range(self.n_members):
                g = gradients[:, :, member]
                of_first = (first * laplacians[:, :, member].unsqueeze(2)).sum(-1)
                of_second = (second * (g.transpose(2, 3) @ g).unsqueeze(2)).sum((-1, -2))
                place = c.species[groups[:, member]].view(1, -1, 1) * size + column
                divergence.index_add_(0, place.flatten(), -(of_first + of_second).flatten())
                push = -torch.matmul(first, g.transpose(2, 3))  # (..., n_local, 3)
                particle = torch.arange(n_frames).unsqueeze(1) * n_particles + groups[:, member]
                for axis in range(3):
                    row = ((particle * 3 + axis) * size).unsqueeze(-1) + column
                    G.index_add_(0, row.flatten(), push[..., axis].flatten())
        return G.view(-1, size), divergence.view(self.n_species, size)
