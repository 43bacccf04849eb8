"""What an energy is: how a model's header tells of it, the torch module behind it, and its forms in OpenMM.

A model is a weighted sum of energies.  Each is one file with a `Term`, which the header of a model holds, the
module that the term builds, and the settings by which a training asks for it; `register` makes it known.  All else
asks the term for what it can do, never for its name.
"""

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
)
from torch import nn

if TYPE_CHECKING:
    import numpy as np
    import openmm
    from torch import Tensor

    from ..space.connectivity import Connectivity
    from .native import Pairwise

#: What numbers of a model file may be: noise levels and lengths (nm), widths of anything, small whole numbers.
Level = Annotated[float, Field(ge=0, le=10)]
Length = Annotated[float, Field(gt=0, le=100)]
Positive = Annotated[float, Field(gt=0, le=1e15)]
Small = Annotated[int, Field(ge=0, le=1000)]

#: The known terms by kind, in the order in which a training sets them up.
REGISTRY: dict[str, type["Term"]] = {}

AnyOfThem = TypeVar("AnyOfThem", bound="Term")


def register(term: type[AnyOfThem]) -> type[AnyOfThem]:
    """Make a `Term` known to model files, configurations and forces; returns it, and so serves as a decorator.

    Raises
    ------
    ValueError
        For a term without a kind of its own, or with an OpenMM force without a name.
    """
    kind = term.model_fields["kind"].default if "kind" in term.model_fields else None
    if not isinstance(kind, str) or REGISTRY.get(kind, term).__qualname__ != term.__qualname__:
        raise ValueError(f"{term.__name__} has the kind {kind!r}: give it one that no other term has")
    if (term.native is not Term.native) != (term.native_name is not None):
        raise ValueError(f"{term.__name__} has only one of `native` and `native_name`: an OpenMM force needs both")
    REGISTRY[kind] = term
    return term


class ModelHeader(Protocol):
    """What a term asks of the `Header` of its model, which is a floor above."""

    @property
    def species(self) -> Sequence[str]: ...

    @property
    def temperature(self) -> float: ...

    @property
    def shortest_distances(self) -> list[list[float | None]]:
        """For fitting alone: compiled code is shared between models that differ in it."""

    @property
    def box(self) -> list[list[float]] | None: ...

    @property
    def exclusions(self) -> int: ...


class DataSummary(NamedTuple):
    """What a prior is set up from.

    Attributes
    ----------
    species : list of str
        Types, in the order of the model's weights.
    shortest_distances : list, shape (n_species, n_species), nm
        None where there is no such pair.
    sigma : float, nm
        Noise level of the whole model, the smallest of a range.
    ranged : bool
        Whether the model knows a range of noise levels.
    """

    species: list[str]
    shortest_distances: list[list[float | None]]
    sigma: float
    ranged: bool


class Settings(BaseModel):
    """How a training asks for an energy: a section of its configuration."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    def check(self, types: Sequence[str], periodic: bool) -> None:
        """Refuse frames that the energy cannot be set up for.

        Parameters
        ----------
        types : list of str
            Type of every particle.
        periodic : bool
        """


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
    bonded : bool
        Whether it is of groups of bonded particles.
    shared : bool
        Whether models must agree in it to be combined.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    Settings: ClassVar[type[BaseModel] | None] = None
    learnt: ClassVar[bool] = False
    linear: ClassVar[bool] = False
    noun: ClassVar[str] = "energy"
    native_name: ClassVar[str | None] = None
    charged: ClassVar[bool] = False
    bonded: ClassVar[bool] = False
    shared: ClassVar[bool] = True

    weight: float = Field(1.0, ge=-1e6, le=1e6)
    member: Small | None = None
    level: Small | None = None

    if TYPE_CHECKING:  # `kind`, and what only some terms have

        def __getattr__(self, name: str) -> Any: ...

    @property
    def structure(self) -> dict[str, Any]:
        """What the code of the module depends on; tensors of the module and what only fitting reads are not in it."""
        return self.model_dump(mode="json", exclude={"penalty"})

    @property
    def conservative(self) -> bool:
        """Whether the force is the gradient of an energy."""
        return True

    @property
    def replaces_solvent(self) -> bool:
        """Whether the energy stands for a solvent that is not there, as a dielectric does."""
        return False

    def check(self, types: Sequence[str], periodic: bool) -> None:
        """Refuse a system that the energy has no meaning for; arguments as `Settings.check`, all types known."""

    def check_bonds(self, header: ModelHeader, species: "Tensor", connectivity: "Connectivity | None") -> None:
        """Refuse a system whose bonds the energy does not know.

        Parameters
        ----------
        header : Header
        species : Tensor, shape (n_particles,), dtype int64
            Index into the species of the header.
        connectivity : Connectivity or None
        """

    @property
    def joins(self) -> bool:
        """Whether it can be part of a native force over pairs, see `pairwise`."""
        return type(self).pairwise is not Term.pairwise

    @classmethod
    def prepared(cls, settings: Any, summary: DataSummary) -> "Term":
        """The term that `settings` ask for, for data of this `DataSummary`: of terms of a prior only."""
        raise NotImplementedError(f"{cls.__name__} is learnt, not prepared")

    def module(self, header: ModelHeader) -> nn.Module:
        """The torch module of the term, its weights not set: from a `Batch` to energies (n_frames,), kJ/mol.

        Parameters
        ----------
        header : Header
            Header of the model: its species, box and temperature.

        Returns
        -------
        torch.nn.Module
            Scriptable, with an attribute `cutoff` (nm).
        """
        raise NotImplementedError(f"{type(self).__name__} has no module")

    def at(self, sigma: float) -> "Term":
        """This term at another noise level (nm): itself, where it has none."""
        return self

    def set_level(self, module: Any) -> None:
        """Bring the module's weights to the noise level of the term, where they depend on one."""

    def with_ewald(self, tolerance: float | None = None, cutoff: float | None = None) -> "Term":
        """This term with another accuracy of its Ewald sum: itself, where it has none."""
        return self

    def native(
        self,
        header: ModelHeader,
        module: Any,
        species: "np.ndarray",
        box: "np.ndarray | list[list[float]] | None",
        tolerance: float,
        connectivity: "Connectivity | None" = None,
    ) -> "openmm.Force | list[openmm.Force] | None":
        """The term as an OpenMM force of its own, or as several of one name, or None where it has no such form.

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
        connectivity : Connectivity or None
            Who is bonded to whom.

        Returns
        -------
        openmm.Force, list of openmm.Force, or None
        """
        return None

    def pairwise(self, module: Any, tag: str = "") -> "Pairwise | None":
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

    def at(self, sigma: float) -> "LearntTerm":
        """This term evaluated at another noise level (nm), or a ValueError where it was not trained."""
        low, high = (self.sigma, self.sigma) if self.sigmas is None else (self.sigmas[0], self.sigmas[-1])
        if not low * (1 - 1e-9) <= sigma <= high * (1 + 1e-9):
            known = f"at {low:g} nm alone" if low == high else f"over {low:g} to {high:g} nm"
            raise ValueError(
                f"sigma is {sigma:g} nm, but the {self.kind} term was trained {known}: give a level it knows, "
                "or train with noise.sigma: [smallest, largest] (nm) around it"
            )
        return self.model_copy(update={"sigma": sigma})


def known_term(value: Any) -> Any:
    """The `Term` that a dict with a "kind" describes; terms as they are."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in REGISTRY:
        raise ValueError(f"there is no energy {reprlib.repr(kind)}, known are {', '.join(REGISTRY)}")
    return REGISTRY[kind].model_validate(value)


#: A field that holds any registered term, read from and written to JSON.
AnyTerm = Annotated[SerializeAsAny[Term], BeforeValidator(known_term)]
