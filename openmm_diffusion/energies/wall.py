"""A wall below the shortest distances seen, where data say nothing and pairs must keep repelling."""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import openmm
import torch
from numpy.typing import ArrayLike
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from ..space.batch import Batch, nonbonded, pair_species, sum_pairs
from ..space.connectivity import Connectivity
from .base import DataSummary, Level, ModelHeader, Positive, Settings, Term, register
from .native import Pairwise, cut_off, exclude

#: Noise levels by which the wall retreats as the noise grows over a range.  Two would do where the margin is most
#: of it, but at 0.05 nm such a wall stands among the noised pairs: it changed the held-out score of the pair
#: potential of 2.4 M LiCl fourfold.  Six is what the guard of a run allows too.
WALL_SIGMAS = 6
#: Steps (nm) in which pairs are listed for walls.
LISTED = 0.02


class WallConfig(Settings):
    """Harmonic wall that keeps repelling where no data tell the forces: k/2 (r_w - r)^2 for r < r_w.

    Attributes
    ----------
    margin : float, nm
        r_w is the data's shortest distance of each pair of species minus this, and minus two noise
        levels.  In 2.4 M LiCl, replicas left out come up to 0.017 nm closer than 500 frames of the others
        and 0.007 nm closer than 2,000; a wall among them is a large error on few frames.
    stiffness : float, kJ/mol/nm^2
        k: 2e5 costs 16 kT (300 K) at 0.02 nm below r_w, and vibrates slowly enough
        for steps of 5 fs.
    """

    margin: float = Field(0.02, ge=0, le=1)
    stiffness: PositiveFloat = Field(2.0e5, le=1e12)


@register
class WallTerm(Term):
    """Harmonic wall: radii (nm) as a matrix over species, stiffness in kJ/mol/nm^2.

    With a noise level `sigma` (nm), the radii are those of this level, and others at other levels.
    """

    Settings: ClassVar = WallConfig
    noun: ClassVar = "wall"
    native_name: ClassVar = "WallPrior"
    # It stands where no data are; walls of different noise levels differ, and any is as good as another.
    shared: ClassVar = False

    kind: Literal["wall"] = "wall"
    radii: list[list[Annotated[float, Field(ge=-100, le=100)]]]
    stiffness: Positive
    sigma: Level | None = None

    @classmethod
    def prepared(cls, settings: WallConfig, summary: DataSummary) -> "WallTerm":
        # Noise moves both ends of a pair: the wall must not stand where noised pairs of the data are.
        margin = settings.margin + 2 * summary.sigma
        radii = [[0.0 if d is None else max(d - margin, 0.0) for d in row] for row in summary.shortest_distances]
        return cls(radii=radii, stiffness=settings.stiffness, sigma=summary.sigma if summary.ranged else None)

    @property
    def structure(self) -> dict[str, Any]:
        """As of every term; radii are a tensor of the module, and its code knows the reach of the list alone."""
        return {**super().structure, "radii": reach(self.radii)}

    def module(self, header: ModelHeader) -> "Wall":
        if [len(row) for row in self.radii] != [len(header.species)] * len(header.species):
            raise ValueError(f"radii of the wall are no matrix over the {len(header.species)} species")
        return Wall(self.radii, self.stiffness, self.sigma)

    def at(self, sigma: float) -> "WallTerm":
        """This wall at another noise level (nm): it retreats as the noise grows."""
        if self.sigma is None:
            return self
        shift = WALL_SIGMAS * (sigma - self.sigma)
        return self.model_copy(update={"radii": [[r - shift for r in row] for row in self.radii], "sigma": sigma})

    def native(
        self,
        header: ModelHeader,
        module: Any,
        species: np.ndarray,
        box: np.ndarray | list[list[float]] | None,
        tolerance: float,
        connectivity: Connectivity | None = None,
    ) -> openmm.Force:
        return wall_force(self.radii, self.weight * self.stiffness, species, box, connectivity)

    def pairwise(self, module: Any, tag: str = "") -> Pairwise:
        radii = np.array(self.radii)[np.triu_indices(len(self.radii))].tolist()
        name = f"wall_radius{tag}"
        energy = f"{0.5 * self.stiffness!r} * max(0, {name} - r)^2"
        return Pairwise(energy, {}, {name: radii}, max(radii))


def reach(radii: ArrayLike) -> float:
    """Distance (nm) that pairs are listed to: the largest radius rounded up, so that walls much alike share a list."""
    largest = float(np.max(radii))
    return max(round(LISTED * math.ceil(round(largest / LISTED, 6)), 6), 0.0)


class Wall(nn.Module):
    """Harmonic wall k/2 (r_w - r)^2 for r < r_w of every pair, zero with its slope beyond.

    At a noise level other than `sigma`, r_w is smaller by `WALL_SIGMAS` times the difference:
    noise brings pairs closer, and the wall must stand where none are.

    Parameters
    ----------
    radii : array, shape (n_species, n_species), nm
        r_w, symmetric.
    stiffness : float, kJ/mol/nm^2
        k.
    sigma : float, nm, or None
        Noise level of these radii, the smallest of the range; None: one level only.
    """

    def __init__(self, radii: ArrayLike, stiffness: float, sigma: float | None = None) -> None:
        super().__init__()
        self.sigma, self.retreat = (0.0, 0) if sigma is None else (sigma, WALL_SIGMAS)
        self.register_buffer("radii", torch.as_tensor(radii, dtype=torch.float64), persistent=False)
        self.stiffness = stiffness
        self.cutoff = reach(radii)

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        if self.cutoff <= 0:  # no pair has a wall
            return torch.zeros_like(c.positions[:, 0, 0])
        near = nonbonded(c, self.cutoff)
        first, second = pair_species(near)
        radii = self.radii.to(near.distances.dtype)[first, second]
        sigma = near.sigma
        if sigma is not None:
            radii = radii - self.retreat * (sigma - self.sigma)[near.first // near.positions.shape[1]]
        overlap = torch.relu(radii - near.distances)
        return sum_pairs(near, 0.5 * self.stiffness * overlap * overlap)


def wall_force(
    radii: list[list[float]],
    stiffness: float,
    species: np.ndarray,
    box: np.ndarray | list[list[float]] | None,
    connectivity: Connectivity | None = None,
) -> openmm.CustomNonbondedForce:
    """The `Wall` prior as a native OpenMM CustomNonbondedForce; `species` (n_particles,) indexes `radii`."""
    n_species = len(radii)
    force = openmm.CustomNonbondedForce("0.5*wall_stiffness*max(0, radius(s1, s2) - r)^2")
    force.setName(WallTerm.native_name)
    force.addTabulatedFunction("radius", openmm.Discrete2DFunction(n_species, n_species, np.asarray(radii).T.ravel()))
    # Global parameters are shared by all forces of a System: a name as short as k would meet the user's own.
    force.addGlobalParameter("wall_stiffness", stiffness)
    force.addPerParticleParameter("s")
    for s in species:
        force.addParticle([int(s)])
    exclude(force, connectivity)
    cut_off(force, box, float(np.max(radii)))
    return force
