"""Coulomb in a dielectric: Ewald sum as a torch module, PME as a native OpenMM force."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import openmm
import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from ..space.batch import Batch, nonbonded, pair_species, sum_pairs, vectors_between
from ..space.connectivity import Connectivity
from ..units import COULOMB
from .base import DataSummary, Length, ModelHeader, Positive, Settings, Term, register
from .native import chosen_cutoff


class CoulombConfig(Settings):
    """Point charges in a dielectric.

    Attributes
    ----------
    charges : dict of str to float, e
        Charge of each type.
    relative_permittivity : float
        Static permittivity of the solvent; 78.3 is water at 298 K (Malmberg & Maryott,
        J. Res. Natl. Bur. Stand. 56, 1 (1956)).
    """

    charges: dict[str, Annotated[float, Field(ge=-1000, le=1000)]]
    relative_permittivity: PositiveFloat = Field(78.3, le=1e6)

    def check(self, types: Sequence[str], periodic: bool) -> None:
        missing = sorted(set(types) - set(self.charges))
        if missing:
            others = sorted(set(self.charges) - set(types))
            beside = f", but of {', '.join(others)}, which no particle is called" if others else ""
            raise ValueError(f"prior.coulomb.charges has no charge of {', '.join(missing)}{beside}: give one in e")
        net = sum(self.charges[kind] for kind in types)
        if periodic and abs(net) > 1e-6:
            raise ValueError(
                f"prior.coulomb.charges add up to {net:g} e over all particles: a periodic system must be neutral"
            )


@register
class CoulombTerm(Term):
    """Coulomb in a dielectric: charges (e) by type.

    `tolerance` and `cutoff` say how the Ewald sum is done, not what it is of: the relative error aimed at, and the
    range (nm) of the sum in real space.  None: as `Coulomb` chooses.
    """

    Settings: ClassVar = CoulombConfig
    noun: ClassVar = "Coulomb"
    native_name: ClassVar = "CoulombPrior"
    charged: ClassVar = True

    kind: Literal["coulomb"] = "coulomb"
    charges: dict[str, Annotated[float, Field(ge=-1000, le=1000)]]
    relative_permittivity: Positive
    tolerance: float | None = Field(None, gt=0, lt=1)
    cutoff: Length | None = None

    @property
    def replaces_solvent(self) -> bool:
        return self.relative_permittivity > 1

    def check(self, types: Sequence[str], periodic: bool) -> None:
        net = sum(self.charges[kind] for kind in types)
        if periodic and abs(net) > 1e-6:
            number = ", ".join(f"{n} {kind}" for kind, n in Counter(types).items())
            raise ValueError(
                f"topology holds {number}, together {net:+g} e: a periodic system with a Coulomb prior must be "
                "neutral, so change the composition"
            )

    @classmethod
    def prepared(cls, settings: CoulombConfig, summary: DataSummary) -> "CoulombTerm":
        return cls(**settings.model_dump())

    def module(self, header: ModelHeader) -> "Coulomb":
        box = None if header.box is None else np.array(header.box)
        missing = [kind for kind in header.species if kind not in self.charges]
        if missing:
            raise ValueError(f"charges has none of {', '.join(missing)}: give one in e")
        charges = [self.charges[s] for s in header.species]
        return Coulomb(charges, self.relative_permittivity, box, self.tolerance, self.cutoff)

    def with_ewald(self, tolerance: float | None = None, cutoff: float | None = None) -> "CoulombTerm":
        changes = {k: v for k, v in (("tolerance", tolerance), ("cutoff", cutoff)) if v is not None}
        return self.model_copy(update=changes)

    def native(
        self,
        header: ModelHeader,
        module: Any,
        species: np.ndarray,
        box: np.ndarray | list[list[float]] | None,
        tolerance: float,
        connectivity: Connectivity | None = None,
    ) -> openmm.Force:
        charges = [self.weight**0.5 * self.charges[header.species[s]] for s in species]
        return coulomb_force(charges, self.relative_permittivity, box, tolerance, connectivity)


class Coulomb(nn.Module):
    """Coulomb energy in a dielectric: Ewald sum in a box, plain sum without one.

    U = 1/(4 pi epsilon_0 epsilon_r) sum_{i<j} q_i q_j / r_ij over all periodic images,
    surrounded by a conductor.

    Parameters
    ----------
    charges : sequence of float, length n_species, e
    relative_permittivity : float
    box : array, shape (3, 3), nm, or None
        The box that splitting parameter and wave vectors are chosen for.
    tolerance : float or None
        Relative error aimed at in either half of the sum; None: 1e-5.
    cutoff : float, nm, or None
        Range of the sum in real space; None: half the smallest width of the box.  The shorter, the more
        wave vectors.

    References
    ----------
    Frenkel & Smit, Understanding Molecular Simulation, 2nd ed., section 12.1.
    """

    def __init__(
        self,
        charges: Sequence[float],
        relative_permittivity: float,
        box: np.ndarray | list[list[float]] | None = None,
        tolerance: float | None = None,
        cutoff: float | None = None,
    ) -> None:
        super().__init__()
        tolerance = 1e-5 if tolerance is None else tolerance
        self.register_buffer("charges", torch.as_tensor(charges, dtype=torch.float64), persistent=False)
        self.prefactor = COULOMB / relative_permittivity
        check_tolerance(tolerance)
        width = 1.0 if box is None else float(np.diagonal(box).min())
        self.cutoff = 0.5 * width if cutoff is None or box is None else cutoff
        if not 0 < self.cutoff <= 0.5 * width * (1 + 1e-6):
            raise ValueError(
                f"Ewald cutoff is {self.cutoff:g} nm: give one of at most half the box, {width / 2:.4g} nm"
            )
        # erfc(alpha r_c) = tolerance, as OpenMM chooses it; exp(-k^2 / 4 alpha^2) = tolerance ends the sum over k.
        self.alpha = math.sqrt(-math.log(2 * tolerance)) / self.cutoff
        k_max = 2 * self.alpha * math.sqrt(-math.log(tolerance))
        waves, counted = _waves(None if box is None else np.asarray(box, dtype=float), k_max)
        self.register_buffer("waves", torch.as_tensor(waves, dtype=torch.float64), persistent=False)
        self.register_buffer("counted", torch.as_tensor(counted), persistent=False)

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        charges = self.charges.to(c.positions.dtype)
        box = c.box
        if box is None:
            whole = self.direct(c.positions, charges[c.species])
            return self.prefactor * (whole - self.excluded(c, charges[c.species]))
        near = nonbonded(c, self.cutoff)
        first, second = pair_species(near)
        products = charges[first] * charges[second]
        screened = products * torch.erfc(self.alpha * near.distances) / near.distances
        real = sum_pairs(near, torch.where(near.distances < self.cutoff, screened, torch.zeros_like(screened)))
        smooth = self.reciprocal(c.positions, box, charges[c.species])
        return self.prefactor * (real + smooth - self.excluded(c, charges[c.species]))

    def excluded(self, c: Batch, q: Tensor) -> Tensor:
        """What the sums over all pairs hold of the excluded ones, (n_frames,): in a box the smooth part alone."""
        connectivity, box = c.connectivity, c.box
        if connectivity is None or connectivity.excluded.shape[0] == 0:
            return torch.zeros_like(c.positions[:, 0, 0])
        first = torch.div(connectivity.excluded, c.positions.shape[1], rounding_mode="floor")
        second = connectivity.excluded - first * c.positions.shape[1]
        vectors = vectors_between(c, first, second)
        r = torch.sqrt((vectors * vectors).sum(-1))
        part = torch.ones_like(r) if box is None else torch.erf(self.alpha * r)
        return (q[first] * q[second] * part / r).sum(-1)

    def direct(self, positions: Tensor, q: Tensor) -> Tensor:
        upper = torch.triu_indices(q.shape[0], q.shape[0], offset=1, device=q.device)
        vectors = positions[:, upper[1]] - positions[:, upper[0]]
        return (q[upper[0]] * q[upper[1]] / torch.sqrt((vectors * vectors).sum(-1))).sum(-1)

    def reciprocal(self, positions: Tensor, box: Tensor, q: Tensor) -> Tensor:
        """Smooth part of the sum, self energy removed; the half space of wave vectors counts twice.

        exp(i k . r) is a product of two factors, one for n_a and n_b and one for n_c: a matrix product over the
        particles gives sum_j q_j exp(i k . r_j) for all k at once, from few sines and cosines.
        """
        boxes = box if box.dim() == 3 else box.unsqueeze(0)
        inverse, waves = _inverse(boxes), self.waves.to(q.dtype)
        k = 2 * math.pi * torch.matmul(waves.flatten(0, 1), inverse.transpose(1, 2))
        k_squared = torch.where(self.counted.flatten(), (k * k).sum(-1), torch.ones_like(k[..., 0]))
        weight = self.counted.flatten() * torch.exp(-k_squared / (4 * self.alpha**2)) / k_squared
        angles = 2 * math.pi * torch.matmul(positions, inverse)
        n_ab, n_c = waves.shape[0], waves.shape[1]
        ab = torch.matmul(angles[..., :2], waves[:, 0, :2].t())
        c = angles[..., 2:] * waves[0, :, 2]
        left = torch.cat([torch.cos(ab), torch.sin(ab)], 2)
        right = q.unsqueeze(-1) * torch.cat([torch.cos(c), torch.sin(c)], 2)
        products = torch.matmul(left.transpose(1, 2), right)
        cosine = (products[:, :n_ab, :n_c] - products[:, n_ab:, n_c:]).flatten(1)
        sine = (products[:, n_ab:, :n_c] + products[:, :n_ab, n_c:]).flatten(1)
        volume = boxes[:, 0, 0] * boxes[:, 1, 1] * boxes[:, 2, 2]
        smooth = 4 * math.pi / volume * (weight * (cosine * cosine + sine * sine)).sum(-1)
        return smooth - self.alpha / math.sqrt(math.pi) * (q * q).sum()


def check_tolerance(tolerance: float) -> None:
    """Refuse an error tolerance that no Ewald sum can be set up for."""
    if not 0 < tolerance < 0.5:
        raise ValueError(f"Ewald tolerance is {tolerance:g}: give a relative error, such as 5e-4")


def _inverse(boxes: Tensor) -> Tensor:
    """Inverse of boxes (n, 3, 3), which are lower triangular: in closed form, which compiles into the rest."""
    a, b, c = boxes[:, 0, 0], boxes[:, 1, 1], boxes[:, 2, 2]
    bx, cx, cy = boxes[:, 1, 0], boxes[:, 2, 0], boxes[:, 2, 1]
    none = torch.zeros_like(a)
    rows = [1 / a, none, none, -bx / (a * b), 1 / b, none, (bx * cy - b * cx) / (a * b * c), -cy / (b * c), 1 / c]
    return torch.stack(rows, -1).view(-1, 3, 3)


def _waves(box: np.ndarray | None, k_max: float) -> tuple[np.ndarray, np.ndarray]:
    """Grid of integer wave vectors n, shape (n_ab, n_c, 3), and which of them count, shape (n_ab, n_c).

    Those with |2 pi n box^-1| < k_max do, one of each pair n and -n, without zero; none do without a box.
    """
    if box is None:
        return np.zeros((1, 1, 3)), np.zeros((1, 1), dtype=bool)
    # |n_a| = |k . a| / 2 pi is bounded by k_max |a| / 2 pi.
    bounds = np.floor(k_max * np.linalg.norm(box, axis=1) / (2 * np.pi)).astype(int)
    first = [0, -bounds[1], -bounds[2]]
    n = np.stack(np.meshgrid(*[np.arange(f, b + 1) for f, b in zip(first, bounds)], indexing="ij"), -1)
    half = (n[..., 0] > 0) | ((n[..., 0] == 0) & ((n[..., 1] > 0) | ((n[..., 1] == 0) & (n[..., 2] > 0))))
    counted = half & (np.linalg.norm(2 * np.pi * n @ np.linalg.inv(box).T, axis=-1) < k_max)
    used = counted.any(axis=2)
    return n[used], counted[used]


def coulomb_force(
    charges: Sequence[float],
    relative_permittivity: float,
    box: np.ndarray | list[list[float]] | None,
    tolerance: float = 1e-5,
    connectivity: Connectivity | None = None,
) -> openmm.NonbondedForce:
    """The `Coulomb` prior as a native OpenMM force: NonbondedForce with PME.

    Parameters
    ----------
    charges : sequence of float, length n_particles, e
    relative_permittivity : float
    box : array, shape (3, 3), nm, or None
    tolerance : float
        OpenMM's Ewald error tolerance: about the relative error of the forces.
    connectivity : Connectivity or None
        Its excluded pairs are left out, as exceptions without charge.

    Returns
    -------
    openmm.NonbondedForce
        Charges are divided by sqrt(epsilon_r); Lennard-Jones is off.
    """
    check_tolerance(tolerance)
    force = openmm.NonbondedForce()
    force.setName(CoulombTerm.native_name)
    for q in charges:
        force.addParticle(q / math.sqrt(relative_permittivity), 1.0, 0.0)
    if connectivity is not None:
        for i, j in connectivity.of_pairs(len(charges)).tolist():
            force.addException(i, j, 0.0, 1.0, 0.0)
    if box is None:
        force.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    else:
        force.setNonbondedMethod(openmm.NonbondedForce.PME)
        force.setCutoffDistance(chosen_cutoff(box))
        force.setEwaldErrorTolerance(tolerance)
        force.setUseDispersionCorrection(False)
    return force
