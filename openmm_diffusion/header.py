"""What a model file says of itself: everything but the weights, as validated JSON."""

from typing import Annotated, Literal, Union

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from .network import NetworkConfig

FORMAT = 1


class _Written(BaseModel):
    """The format number alone: a newer header may hold keys that this version does not know."""

    format: int = FORMAT


class Term(BaseModel):
    """One energy of the weighted sum.

    `member` numbers the models of an ensemble, `level` the noise levels of an extrapolation;
    None: part of every one.
    """

    model_config = ConfigDict(extra="forbid")

    weight: float = 1.0
    member: int | None = None
    level: int | None = None


class CoulombTerm(Term):
    """Coulomb in a dielectric: charges (e) by element."""

    kind: Literal["coulomb"] = "coulomb"
    charges: dict[str, float]
    relative_permittivity: float


class WallTerm(Term):
    """Harmonic wall: radii (nm) as a matrix over species, stiffness in kJ/mol/nm^2."""

    kind: Literal["wall"] = "wall"
    radii: list[list[float]]
    stiffness: float


class PairTerm(Term):
    """Spline pair potential learnt at noise level sigma (nm, 0: clean frames); knots in nm."""

    kind: Literal["pair"] = "pair"
    sigma: float
    cutoff: float
    start: float
    spacing: float
    penalty: float | None = None


class NetworkTerm(Term):
    """Network learnt at noise level sigma (nm, 0: from force labels of clean frames).

    `neighbours` is the mean number of neighbours it was scaled to.
    """

    kind: Literal["network"] = "network"
    sigma: float
    network: NetworkConfig
    neighbours: float


class Header(BaseModel):
    """Header of a model file.

    Attributes
    ----------
    format : int
    species : list of int
        Atomic numbers the model knows, in the order of its weights.
    particles : list of int
        Atomic number of every particle of the training frames.
    temperature : float, K
        Of the training data: the kT in every force is this one.
    box : list, shape (3, 3), nm, or None
        (Mean) box of the training data.
    number_density : float or None, 1/nm^3
    shortest_distances : list, shape (n_species, n_species), nm
        Shortest distance of each pair of species in the training data; None where there is none.
    terms : list of Term
    noised : dict
        Which elements ("species", None: all) and which "axes" were noised: others have no learnt force.
    data, held_out : dict
        What the model was trained on and how it did on frames kept apart; for people to read.
    units, versions : dict
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    species: list[int]
    particles: list[int]
    temperature: float
    box: list[list[float]] | None
    number_density: float | None
    shortest_distances: list[list[float | None]]
    terms: list[Annotated[Union[CoulombTerm, WallTerm, PairTerm, NetworkTerm], Field(discriminator="kind")]]
    noised: dict = {"species": None, "axes": "xyz"}
    data: dict = {}
    held_out: dict = {}
    units: dict = {"length": "nm", "energy": "kJ/mol", "temperature": "K", "charge": "e"}
    versions: dict = {}

    @classmethod
    def parse(cls, text, name):
        """Header from JSON text; `name` of the file is used in error messages."""
        try:
            written = _Written.model_validate_json(text).format
            if written > FORMAT:
                raise ValueError(f"{name} has format {written}, newer than {FORMAT}: upgrade openmm_diffusion")
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(k) for k in first["loc"])
            raise ValueError(
                f"{name} has a header that cannot be read ({key}: {first['msg']}): save it again"
            ) from error

    @property
    def learnt(self):
        """The learnt terms."""
        return [t for t in self.terms if t.kind in ("pair", "network")]
