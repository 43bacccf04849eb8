"""What a model file says of itself: everything but the weights, as validated JSON."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import pydantic
import torch
from openmm.app import Element
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..energies.base import AnyTerm, Positive, Term
from ..particles import as_types, atomic_number, ordered
from ..space.boxes import check_box

#: 1: species were atomic numbers; 2: they are types.
FORMAT = 2

#: Types; files of format 1 hold atomic numbers, whose types are the element symbols.
Types = Annotated[list[str], BeforeValidator(as_types)]


class _Written(BaseModel):
    """The format number alone: a newer header may hold keys that this version does not know."""

    format: int = FORMAT


class Header(BaseModel):
    """Header of a model file.

    Attributes
    ----------
    format : int
    species : list of str
        Types the model knows, in the order of its weights; atomic numbers are taken as the types of elements.
    particles : list of str
        Type of every particle of the training frames.
    temperature : float, K
        Temperature of the training data, whose kT is in every force.
    box : list, shape (3, 3), nm, or None
        (Mean) box of the training data.
    number_density : float or None, 1/nm^3
    shortest_distances : list, shape (n_species, n_species), nm
        Shortest distance of each pair of species in the training data; None where there is none.
    numbers : list of int, or None
        Atomic number of each species, 0 for a bead; None: of the elements whose symbols they are.
    masses : list of float, amu, or None
        Mass of each species, where the training data gave another than that of its element; None where they did not.
    bonds : list of (int, int), or None
        Bonded pairs of the training frames' particles.
    exclusions : int
        Bonds between two particles up to which energies of pairs leave them out; 0: none are left out.
    terms : list of Term
    noised : dict
        Which elements ("species", None: all) and which "axes" were noised: others have no learnt force.
    data, held_out : dict
        What the model was trained on and how it did on frames kept apart; for people to read.
    units, versions : dict
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int = Field(FORMAT, ge=1)
    species: Types = Field(min_length=1, max_length=1000)
    particles: Types = Field(min_length=1)
    temperature: float = Field(gt=0, le=1e6)
    box: list[list[float]] | None
    number_density: float | None = Field(gt=0, le=1e6)
    shortest_distances: list[list[Annotated[float, Field(ge=0, le=1e6)] | None]]
    numbers: list[Annotated[int, Field(ge=0, le=118)]] | None = None
    masses: list[Positive | None] | None = None
    bonds: list[tuple[int, int]] | None = None
    exclusions: int = Field(0, ge=0, le=10)
    terms: list[AnyTerm]
    noised: dict = {"species": None, "axes": "xyz"}
    data: dict = {}
    held_out: dict = {}
    units: dict = {"length": "nm", "energy": "kJ/mol", "temperature": "K", "charge": "e"}
    versions: dict = {}

    @pydantic.model_validator(mode="after")
    def _fits_itself(self) -> Self:
        """Every species once, particles of these alone, tables of as many rows, and a box that is one."""
        number, known = len(self.species), set(self.species)
        if len(known) < number or not set(self.particles) <= known:
            raise ValueError("species and particles must name the same types, each species once")
        for key in ("numbers", "masses"):
            if getattr(self, key) is not None and len(getattr(self, key)) != number:
                raise ValueError(f"{key} has {len(getattr(self, key))} entries for {number} species")
        rows = self.shortest_distances
        if min([len(rows), *(len(row) for row in rows)]) < number:
            raise ValueError(f"shortest_distances is no matrix over the {number} species")
        if not all(0 <= end < len(self.particles) for bond in self.bonds or [] for end in bond):
            raise ValueError(f"bonds names particles beyond the {len(self.particles)} there are")
        if self.box is not None:
            if [len(row) for row in self.box] != [3, 3, 3]:
                raise ValueError("box is not of three vectors")
            check_box(torch.tensor(self.box, dtype=torch.float64))
        noised, axes = self.noised.get("species"), self.noised.get("axes")
        if not (noised is None or isinstance(noised, list)) or not isinstance(axes, str) or not set(axes) <= set("xyz"):
            raise ValueError("noised must have species, a list or null, and axes, such as xyz")
        return self

    @classmethod
    def parse(cls, text: str, name: str) -> "Header":
        """Header from JSON text; `name` of the file is used in error messages."""
        try:
            written = _Written.model_validate_json(text).format
            if written > FORMAT:
                raise ValueError(f"{name} has format {written}, newer than {FORMAT}: upgrade openmm_diffusion")
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(k) for k in first["loc"]) or "header"
            key = key.encode("unicode_escape").decode()[:100]  # a sentence has one line, whatever a file calls its keys
            told = f"{key}: {' '.join(first['msg'].split())[:200]}"
            raise ValueError(f"{name} has a header that cannot be read ({told}): save it again") from error

    def check_types(self, types: Sequence[str]) -> None:
        """Refuse particles of types that the model was not trained on."""
        unknown = ordered(set(types) - set(self.species))
        if unknown:
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            raise ValueError(
                f"species {', '.join(unknown[:8])}{more} unknown to the model, which was trained on "
                f"{', '.join(self.species[:20])}: use a model trained on them, or leave them out"
            )

    def check_frames(self, types: Sequence[str], periodic: bool) -> None:
        """Refuse frames of another kind than the training data: of unknown types, with a box or without one."""
        self.check_types(types)
        # Molecules that were simulated alone may be looked at in a box; a liquid is another system without one.
        if periodic != (self.box is not None) and not (periodic and self.bonds):
            here, there = ("a", "without one") if periodic else ("no", "in one")
            raise ValueError(
                f"frames have {here} periodic box, but the model was trained {there}: give frames of the same system"
            )

    def was_noised(self, types: Sequence[str | int] | np.ndarray) -> np.ndarray:
        """1 for each coordinate that carries noise, 0 for those that stay clean: shape (n_particles, 3)."""
        noised, axes = self.noised["species"], self.noised["axes"]
        particles = [noised is None or name in noised for name in as_types(types)]
        return np.outer(particles, [axis in axes for axis in "xyz"]).astype(float)

    @property
    def atomic_numbers(self) -> dict[str, int]:
        """Atomic number of each species, 0 for a bead."""
        return dict(zip(self.species, map(atomic_number, self.species) if self.numbers is None else self.numbers))

    @property
    def elemental(self) -> bool:
        """Whether the species are elements, each called by its symbol: then atoms are known by their element."""
        return all(number and number == atomic_number(kind) for kind, number in self.atomic_numbers.items())

    def mass(self, kind: str) -> float | None:
        """Mass of a species, amu: that of the training data, else of its element; None where neither is known."""
        given = None if self.masses is None else self.masses[self.species.index(kind)]
        if given is not None:
            return given
        number = self.atomic_numbers[kind]
        return Element.getByAtomicNumber(number).mass._value if number else None

    @property
    def sigma(self) -> float:
        """Noise level (nm) of the ensemble that the forces belong to; 0 for a model without learnt terms.

        A pair potential and a network on its residual have that of the network.  A weighted sum of
        models has the root of the mean of sigma^2, to which the leading smoothing is proportional: 0 for
        models extrapolated to no noise.
        """
        levels, weights = {}, {}
        for term in self.learnt:
            key = term.member, term.level
            levels[key] = term.sigma  # the last term saw all before it as fixed
            weights[key] = term.weight
        if len(levels) == 1:
            return next(iter(levels.values()))
        total = sum(weights.values())
        square = sum(weights[key] * levels[key] ** 2 for key in levels) / total if total else 0.0
        largest = max(levels.values(), default=0.0)
        return math.sqrt(square) if square > 1e-9 * largest**2 else 0.0

    @property
    def structure(self) -> str:
        """All that two models must share for the code of one to do for the other, weights aside: JSON.

        Nothing that only training, reports or Systems read is in it, so that fits of one basis have the same.
        """
        told = self.model_dump(mode="json", include={"species", "temperature", "box", "exclusions", "noised"})
        return json.dumps({**told, "terms": [term.structure for term in self.terms]})

    @property
    def learnt(self) -> list[Term]:
        """The learnt terms."""
        return [term for term in self.terms if term.learnt]
