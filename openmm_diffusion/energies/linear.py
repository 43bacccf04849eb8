"""Energies that are linear in their coefficients, U = sum_k c_k B_k(y): what a fit in closed form needs of them."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from ..noise import log_place
from ..space.batch import Batch, within
from .base import LearntTerm, Settings

#: Noise levels that a range is fitted at, evenly on a logarithmic scale: each is 1.6 times the last over
#: [0.003, 0.05] nm, close enough for a linear interpolation (see `level_weights`).
LEVELS = 7


class LinearSettings(Settings):
    """How an energy that is linear in its coefficients is fitted; each adds its basis.

    Attributes
    ----------
    sigma : float, nm, or None
        Noise level of the frames that it is fitted on; None: `noise.sigma`.  0 takes the
        frames as they are: no smoothing, and no noise that the data do not have.
    draws : int
        Antithetic noise pairs per frame that the averages run over (ignored at sigma = 0).
    penalties : list of float
        Strengths of the smoothness penalty, of which cross-validation over replicas
        picks one by the held-out score.
    folds : int
        Folds of the cross-validation; at most one for each replica.
    """

    #: Standard errors of the held-out score within which a larger penalty is preferred.
    caution: ClassVar[float] = 1.0

    sigma: NonNegativeFloat | None = Field(None, le=10)
    draws: PositiveInt = Field(2, le=10_000)
    penalties: list[PositiveFloat] = [float(10**e) for e in np.arange(0, 6.5, 0.5)]
    folds: int = Field(10, ge=2, le=10_000)


class Sample(NamedTuple):
    """The frames that a term is fitted to, from which it may take what its basis needs.

    Attributes
    ----------
    species : list of str
        Types, in the order of the model's weights.
    batches : callable
        Returns them, noised as they are fitted, as an iterable of `Batch`; every frame once.
    """

    species: Sequence[str]
    batches: Callable[[], Iterable[Batch]]


class LinearTerm(LearntTerm):
    """A learnt term whose energy is linear in its coefficients; it also has the field `penalty`.

    Its module is a `LinearEnergy`.
    """

    linear: ClassVar[bool] = True

    @classmethod
    def blank(
        cls, settings: Any, sigma: float, sigmas: list[float] | None, sample: Sample | None = None
    ) -> "LinearTerm | None":
        """The term that `settings` ask for, at a noise level (nm) or over several, not fitted yet.

        None where the frames of `sample` have nothing that it could be of.
        """
        given: dict[str, Any] = {name: getattr(settings, name) for name in cls.shape()}
        return cls(**given, **{"sigma": sigma, "sigmas": sigmas})

    @property
    def basis(self) -> Hashable:
        """What two terms must share for their coefficients to be added up: hashable."""
        return self.kind, *(getattr(self, name) for name in self.shape())

    @classmethod
    def shape(cls) -> list[str]:
        """Names of the fields that say what the basis is: those that the term has in common with its settings."""
        if cls.Settings is None:
            raise NotImplementedError(
                f"{cls.__name__} has no settings: it does not tell its basis, and cannot be fitted"
            )
        asked = set(cls.Settings.model_fields) - set(LinearSettings.model_fields)
        return [name for name in cls.model_fields if name in asked]

    def set_level(self, module: Any) -> None:
        if self.sigmas is not None:
            module.set_level(self.sigma)


class LinearEnergy(nn.Module):
    """An energy linear in its coefficients, U = sum_k c_k B_k(y), and all that a fit in closed form needs.

    Over a range of noise levels the coefficients depend on sigma, and nothing else does::

        c_k(sigma) = sum_l h_l(log sigma) c_kl

    with c_kl fitted at `LEVELS` levels, each from frames noised by it, and h_l the hat functions on them: linear
    between neighbouring levels in log sigma.

    Parameters
    ----------
    shape : tuple of int
        Shape of the coefficients.
    n_species : int
    sigmas : list of float, nm, or None
        Noise levels of the table, evenly spaced on a logarithmic scale; None: one level only.

    Attributes
    ----------
    coefficients : Tensor, kJ/mol
        At the level evaluated.
    table : Tensor, shape (n_levels, ...), kJ/mol
        Coefficients at each of `sigmas`; no levels without them.
    """

    def __init__(self, shape: tuple[int, ...], n_species: int, sigmas: Sequence[float] | None = None) -> None:
        super().__init__()
        self.n_species = n_species
        self.register_buffer("coefficients", torch.zeros(shape, dtype=torch.float64))
        self.n_levels = 0 if sigmas is None else len(sigmas)
        self.smallest, self.largest = (0.0, 0.0) if sigmas is None else (float(sigmas[0]), float(sigmas[-1]))
        table = torch.zeros(self.n_levels, *self.coefficients.shape, dtype=torch.float64)
        self.register_buffer("table", table, persistent=sigmas is not None)

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol."""
        values = self.values(c)
        coefficients, sigma = self.coefficients.flatten().unsqueeze(0), c.sigma
        if sigma is not None and self.n_levels > 0:
            coefficients = self.at(sigma).flatten(1)
        return (values * coefficients.to(values.dtype)).sum(-1)

    def values(self, c: Batch) -> Tensor:
        """B_k of every frame, shape (n_frames, n_coefficients)."""
        raise NotImplementedError

    def design(self, c: Batch) -> tuple[Tensor, Tensor]:
        """Force of every basis function on every coordinate, and its divergence.

        Returns
        -------
        G : Tensor, shape (n_frames n_particles 3, n_coefficients), 1/nm
            F = G c.
        divergence : Tensor, shape (n_coefficients,), 1/nm^2
            div G = -lap B, summed over frames.
        """
        raise NotImplementedError

    def design_by_species(self, c: Batch) -> tuple[Tensor, Tensor]:
        """As `design`, with the divergence by coordinates of each species apart: shape (n_species, n_coefficients).

        An energy overrides it where those are no fixed shares.
        """
        G, divergence = self.design(c)
        return G, self.share() * divergence

    def share(self) -> Tensor:
        """Part of div G that is by coordinates of each species, shape (n_species, n_coefficients)."""
        raise NotImplementedError

    def roughness(self) -> Tensor:
        """Quadratic form of the penalty, shape (n_coefficients, n_coefficients), dimensionless."""
        raise NotImplementedError

    def free(self) -> Tensor:
        """Which coefficients are fitted, shape (n_coefficients,), dtype bool; others stay zero."""
        return torch.ones(self.coefficients.numel(), dtype=torch.bool)

    @property
    def sizes(self) -> list[int]:
        """Number of coefficients of each energy: of this one, see `LinearSum`."""
        return [self.coefficients.numel()]

    def penalty(self, strength: float) -> Tensor:
        """Quadratic form of the penalty of a strength, shape (n_coefficients, n_coefficients)."""
        return strength * self.roughness()

    def curves(self) -> Tensor:
        """Number of the curve that each coefficient is of, shape (n_coefficients,): those that the penalty joins."""
        return _joined(self.roughness())

    def assign(self, coefficients: Tensor) -> None:
        """Take these coefficients, of any shape, in place of its own."""
        self.coefficients.copy_(coefficients.view_as(self.coefficients))

    def at(self, sigma: Tensor) -> Tensor:
        """Coefficients at noise levels (n,), nm, interpolated in the table: shape (n, ...), kJ/mol."""
        weights = level_weights(log_place(sigma, self.smallest, self.largest), self.n_levels)
        return torch.tensordot(weights.to(self.table.dtype), self.table, 1)

    def set_level(self, sigma: float) -> None:
        """Evaluate at a noise level (nm) of the range from now on."""
        self.coefficients.copy_(self.at(torch.tensor([sigma], dtype=torch.float64))[0])


class LinearSum:
    """Several linear energies as one, their coefficients one after the other: what a joint fit needs of them.

    Parameters
    ----------
    energies : list of LinearEnergy
    """

    def __init__(self, energies: Sequence[LinearEnergy]) -> None:
        self.energies = list(energies)
        self.n_species = self.energies[0].n_species
        self.cutoff = max(float(energy.cutoff) for energy in self.energies)
        self._roughness: dict[int, Tensor] = {}
        self._curves: Tensor | None = None

    @property
    def coefficients(self) -> Tensor:
        """All coefficients, shape (n_coefficients,), kJ/mol: a copy."""
        return torch.cat([energy.coefficients.flatten() for energy in self.energies])

    @property
    def sizes(self) -> list[int]:
        """Number of coefficients of each energy."""
        return [energy.coefficients.numel() for energy in self.energies]

    def assign(self, coefficients: Tensor) -> None:
        """Give each energy its part of the coefficients (n_coefficients,)."""
        for energy, part in zip(self.energies, coefficients.flatten().split(self.sizes)):
            energy.assign(part)

    def values(self, c: Batch) -> Tensor:
        """As `LinearEnergy.values`, of all; the batch holds all pairs within the longest cutoff."""
        return torch.cat([energy.values(within(c, float(energy.cutoff))) for energy in self.energies], dim=1)

    def design(self, c: Batch) -> tuple[Tensor, Tensor]:
        """As `LinearEnergy.design`, of all; the batch holds all pairs within the longest cutoff."""
        parts = [energy.design(within(c, float(energy.cutoff))) for energy in self.energies]
        return torch.cat([G for G, _ in parts], dim=1), torch.cat([divergence for _, divergence in parts], dim=-1)

    def design_by_species(self, c: Batch) -> tuple[Tensor, Tensor]:
        """As `LinearEnergy.design_by_species`, of all."""
        parts = [energy.design_by_species(within(c, float(energy.cutoff))) for energy in self.energies]
        return torch.cat([G for G, _ in parts], dim=1), torch.cat([divergence for _, divergence in parts], dim=1)

    def free(self) -> Tensor:
        """As `LinearEnergy.free`, of all."""
        return torch.cat([energy.free() for energy in self.energies])

    def penalty(self, strengths: Sequence[float]) -> Tensor:
        """Quadratic form of the penalties, one strength for each energy."""
        forms = (self.roughness_of(number) for number in range(len(self.energies)))
        return torch.block_diag(*[one * form for form, one in zip(forms, strengths, strict=True)])

    def roughness_of(self, number: int) -> Tensor:
        """`LinearEnergy.roughness` of one energy, kept: a fit asks for it often, and it never changes."""
        if number not in self._roughness:
            self._roughness[number] = self.energies[number].roughness()
        return self._roughness[number]

    def curves(self) -> Tensor:
        """As `LinearEnergy.curves`, of all."""
        if self._curves is None:
            parts: list[Tensor] = []
            for number in range(len(self.energies)):
                own = _joined(self.roughness_of(number))
                parts.append(own + (int(parts[-1].max()) + 1 if parts else 0))
            self._curves = torch.cat(parts)
        return self._curves


def _joined(form: Tensor) -> Tensor:
    """Number of the connected part of a quadratic form (n, n) that each row is in, shape (n,), dtype int64."""
    return torch.from_numpy(connected_components(coo_array(form.numpy() != 0))[1].astype(np.int64))


def level_weights(place: Tensor, n_levels: int) -> Tensor:
    """Weights of the levels in the interpolation over the noise, shape (n, n_levels).

    Linear in log sigma between the two nearest levels of the table: hat functions.  On 417 frames of
    2.4 M LiCl, with every second of 13 levels held out, the forces interpolated at those differ from
    the fits there by 0.6-0.8 % (rms) where cross-validation chose the same penalty for all, and by
    3-9 % where it did not: less than the statistical error of a fit (25 %).  Cubics (local Lagrange, spline) are
    within 1 % of that, either way, and can amplify the noise of the levels.

    Parameters
    ----------
    place : Tensor, shape (n,)
        `log_place` of the noise levels: 0 at the first level of the table, 1 at the last.
    n_levels : int
    """
    levels = torch.arange(n_levels, dtype=place.dtype, device=place.device)
    return torch.relu(1 - (place.unsqueeze(1) * (n_levels - 1) - levels).abs())
