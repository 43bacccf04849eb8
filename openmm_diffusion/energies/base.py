"""What an energy is: how a model's header tells of it, the torch module behind it, and its forms in OpenMM.

A model is a weighted sum of energies.  Each is one file with a `Term`, which the header of a model holds, the
module that the term builds, and the settings by which a training asks for it; `register` makes it known.  All else
asks the term for what it can do, never for its name.
"""

from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import openmm
import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
)
from torch import Tensor, nn

from ..noise import log_place
from ..space.batch import Batch

#: The known terms by kind, in the order in which a training sets them up.
REGISTRY: dict[str, type["Term"]] = {}

#: Noise levels that a range is fitted at, evenly on a logarithmic scale: each is 1.6 times the last over
#: [0.003, 0.05] nm, close enough for a linear interpolation (see `level_weights`).
LEVELS = 7


def register(term):
    """Make a `Term` known to model files, configurations and forces; returns it, and so serves as a decorator.

    Raises
    ------
    ValueError
        For a term without a kind of its own.
    """
    kind = term.model_fields["kind"].default if "kind" in term.model_fields else None
    if not isinstance(kind, str) or REGISTRY.get(kind, term).__qualname__ != term.__qualname__:
        raise ValueError(f"{term.__name__} has the kind {kind!r}: give it one that no other term has")
    REGISTRY[kind] = term
    return term


class Pairwise(NamedTuple):
    """A sum over pairs as part of one OpenMM CustomNonbondedForce.

    Attributes
    ----------
    energy : str
        Of the distance r (nm) and of `kind`, the number of the pair of species, (0, 0), (0, 1), ..., (1, 1), ...:
        kJ/mol.
    functions : dict of str to openmm.TabulatedFunction
        That the expression names.
    """

    energy: str
    functions: dict[str, Any]


class DataSummary(NamedTuple):
    """What a prior is set up from.

    Attributes
    ----------
    species : list of str
        Element symbols, in the order of the model's weights.
    shortest_distances : list, shape (n_species, n_species), nm
        None where there is no such pair.
    sigma : float, nm
        Noise level of the whole model, the smallest of a range.
    ranged : bool
        Whether the model knows a range of noise levels.
    """

    species: list
    shortest_distances: list
    sigma: float
    ranged: bool


class Settings(BaseModel):
    """How a training asks for an energy: a section of its configuration."""

    model_config = ConfigDict(extra="forbid")

    def check(self, symbols, periodic):
        """Refuse frames that the energy cannot be set up for.

        Parameters
        ----------
        symbols : list of str
            Element of every particle.
        periodic : bool
        """


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
        Of the cross-validation; at most one for each replica.
    """

    sigma: NonNegativeFloat | None = None
    draws: PositiveInt = 2
    penalties: list[PositiveFloat] = [float(10**e) for e in np.arange(0, 6.5, 0.5)]
    folds: int = Field(20, ge=2)


class Term(BaseModel):
    """One energy of the weighted sum, as the header of a model holds it.

    A subclass has a field `kind`, a `Literal` of its name, and the fields that rebuild it.

    Attributes
    ----------
    weight : float
    member, level : int or None
        `member` numbers the models of an ensemble, `level` the noise levels of an extrapolation;
        None: part of every one.
    Settings : class
        Section of a configuration that asks for it; None for a term that no training sets up.
    learnt : bool
        Whether it was learnt from data; otherwise it is part of the prior.
    linear : bool
        Whether its module is a `LinearEnergy`, which is fitted in closed form.
    noun : str
        What sentences call it.
    native_name : str or None
        Name of the OpenMM force that `native` makes.
    charged : bool
        Whether it holds the Coulomb energy of charges, which a System must not hold twice.
    shared : bool
        Whether models must agree in it to be combined.
    """

    model_config = ConfigDict(extra="forbid")

    Settings: ClassVar[type[BaseModel] | None] = None
    learnt: ClassVar[bool] = False
    linear: ClassVar[bool] = False
    noun: ClassVar[str] = "energy"
    native_name: ClassVar[str | None] = None
    charged: ClassVar[bool] = False
    shared: ClassVar[bool] = True

    weight: float = 1.0
    member: int | None = None
    level: int | None = None

    @property
    def conservative(self):
        """Whether the force is the gradient of an energy."""
        return True

    @property
    def joins(self):
        """Whether it can be part of a native force over pairs, see `pairwise`."""
        return type(self).pairwise is not Term.pairwise

    @classmethod
    def prepared(cls, settings, summary):
        """The term that `settings` ask for, for data of this `DataSummary`: of terms of a prior only."""
        raise NotImplementedError(f"{cls.__name__} is learnt, not prepared")

    def module(self, header):
        """The torch module of the term, its weights not set: from a `Batch` to energies (n_frames,), kJ/mol.

        Parameters
        ----------
        header : Header
            Of the model: its species, box and temperature.

        Returns
        -------
        torch.nn.Module
            Scriptable, with an attribute `cutoff` (nm).
        """
        raise NotImplementedError(f"{type(self).__name__} has no module")

    def at(self, sigma):
        """This term at another noise level (nm): itself, where it has none."""
        return self

    def set_level(self, module):
        """Bring the module's weights to the noise level of the term, where they depend on one."""

    def with_ewald(self, tolerance=None, cutoff=None):
        """This term with another accuracy of its Ewald sum: itself, where it has none."""
        return self

    def native(self, header, module, species, box, tolerance):
        """The term as an OpenMM force of its own, or None where it has no such form.

        Parameters
        ----------
        header : Header
        module : torch.nn.Module
            With its weights.
        species : array, shape (n_particles,), dtype int
            Index into the species of the header.
        box : array, shape (3, 3), nm, or None
        tolerance : float
            Ewald error tolerance.

        Returns
        -------
        openmm.Force or None
        """
        return None

    def pairwise(self, module, tag=""):
        """The term as part of a native force over pairs (`Pairwise`), or None where it is no sum over pairs.

        Parameters
        ----------
        module : torch.nn.Module
        tag : str
            Ends the names of its functions, which must differ from those of other terms.
        """
        return None


class LearntTerm(Term):
    """A term learnt at the noise level `sigma` (nm), or over those of `sigmas`, of which `sigma` is evaluated.

    A subclass has the fields `sigma`, `sigmas`, and a field or property `cutoff` (nm): its longest range.
    """

    learnt: ClassVar[bool] = True

    def at(self, sigma):
        """This term evaluated at another noise level (nm), or a ValueError where it was not trained."""
        low, high = (self.sigma, self.sigma) if self.sigmas is None else (self.sigmas[0], self.sigmas[-1])
        if not low * (1 - 1e-9) <= sigma <= high * (1 + 1e-9):
            known = f"at {low:g} nm alone" if low == high else f"over {low:g} to {high:g} nm"
            raise ValueError(
                f"sigma is {sigma:g} nm, but the {self.kind} term was trained {known}: give a level it knows, "
                "or train with noise.sigma: [smallest, largest] (nm) around it"
            )
        return self.model_copy(update={"sigma": sigma})


class LinearTerm(LearntTerm):
    """A learnt term whose energy is linear in its coefficients; it also has the field `penalty`.

    Its module is a `LinearEnergy`.
    """

    linear: ClassVar[bool] = True

    @classmethod
    def blank(cls, settings, sigma, sigmas):
        """The term that `settings` ask for, at a noise level (nm) or over several, not fitted yet."""
        raise NotImplementedError(f"{cls.__name__} cannot be fitted")

    @property
    def basis(self):
        """What two terms must share for their coefficients to be added up: hashable."""
        raise NotImplementedError(f"{type(self).__name__} does not tell its basis")

    def set_level(self, module):
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
        Of the coefficients.
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

    def __init__(self, shape, n_species, sigmas=None):
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

    def design(self, c):
        """Force of every basis function on every coordinate, and its divergence.

        Returns
        -------
        G : Tensor, shape (n_frames n_particles 3, n_coefficients), 1/nm
            F = G c.
        divergence : Tensor, shape (n_coefficients,), 1/nm^2
            div G = -lap B, summed over frames.
        """
        raise NotImplementedError

    def share(self):
        """Part of div G that is by coordinates of each species, shape (n_species, n_coefficients)."""
        raise NotImplementedError

    def roughness(self):
        """Quadratic form of the penalty, shape (n_coefficients, n_coefficients), dimensionless."""
        raise NotImplementedError

    def free(self):
        """Which coefficients are fitted, shape (n_coefficients,), dtype bool; others stay zero."""
        return torch.ones(self.coefficients.numel(), dtype=torch.bool)

    def at(self, sigma: Tensor) -> Tensor:
        """Coefficients at noise levels (n,), nm, interpolated in the table: shape (n, ...), kJ/mol."""
        weights = level_weights(log_place(sigma, self.smallest, self.largest), self.n_levels)
        return torch.tensordot(weights.to(self.table.dtype), self.table, 1)

    def set_level(self, sigma: float):
        """Evaluate at a noise level (nm) of the range from now on."""
        self.coefficients.copy_(self.at(torch.tensor([sigma], dtype=torch.float64))[0])


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


def known_term(value):
    """The `Term` that a dict with a "kind" describes; terms as they are."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if kind not in REGISTRY:
        raise ValueError(f"there is no energy {kind!r}, known are {', '.join(REGISTRY)}")
    return REGISTRY[kind].model_validate(value)


#: A field that holds any registered term, read from and written to JSON.
AnyTerm = Annotated[SerializeAsAny[Term], BeforeValidator(known_term)]


def pairwise_force(parts, n_species, species, box, name):
    """Sums over pairs as one CustomNonbondedForce: no torch at run time, on every platform.

    Parameters
    ----------
    parts : list of Pairwise
    n_species : int
    species : array, shape (n_particles,), dtype int
    box : array, shape (3, 3), nm, or None
    name : str

    Returns
    -------
    openmm.CustomNonbondedForce
    """
    # Numbers of the pairs of species: arithmetic is several times faster than a look-up.
    kind = f"kind = low * (2 * {n_species - 1} - low + 1) / 2 + high; low = min(s1, s2); high = max(s1, s2)"
    force = openmm.CustomNonbondedForce(f"{' + '.join(part.energy for part in parts)}; {kind}")
    force.setName(name)
    for part in parts:
        for function, table in part.functions.items():
            force.addTabulatedFunction(function, table)
    force.addPerParticleParameter("s")
    for s in species:
        force.addParticle([int(s)])
    cut_off(force, box)
    return force


def of_kind(values):
    """Expression for the value that belongs to each kind of pair, see `Pairwise`."""
    return " + ".join(f"{float(value)!r} * delta(kind - {number})" for number, value in enumerate(values))


def cut_off(force, box):
    """Give a CustomNonbondedForce the cutoff of all native forces: the platforms want one for all nonbonded ones."""
    if box is None:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
    else:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(native_cutoff(box))


def native_cutoff(box):
    """Cutoff (nm) of the native forces: 1.2 nm, or just under half a smaller box."""
    return min(1.2, 0.499 * float(np.diagonal(box).min()))
