"""The denoiser: numpy in, numpy out, and its file.  What training writes and simulation reads.

F(y) = -grad U(y),   D(y) = y + sigma^2 F(y) / kT
"""

import hashlib
import os
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from openmm import unit

from ..energies.base import Term
from ..noise import denoised_from_force
from ..particles import as_types, atom_types, check_topology
from ..space.connectivity import Connectivity, connectivity
from ..units import array, nanometers, number, thermal_energy
from .configuration import read_configuration
from .file import assign, find_model, packed, unpacked, write
from .header import Header
from .sum import WeightedSum, energy_and_forces
from .virial import virial

if TYPE_CHECKING:
    from openmm.unit import Quantity


class Denoiser:
    """A trained denoiser: energies, forces and denoised configurations of coarse-grained particles.

    Usually made by `train` or `Denoiser.load`.

    Parameters
    ----------
    header : Header
        Everything but the weights.

    Attributes
    ----------
    header : Header
    model : WeightedSum
        The torch module.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.model = WeightedSum(header)

    @property
    def conservative(self) -> bool:
        """Whether every force is minus the gradient of an energy."""
        return all(term.conservative for term in self.header.terms)

    @property
    def sigma(self) -> float:
        """Noise level (nm) of the ensemble that the forces belong to: see `Header.sigma`."""
        return self.header.sigma

    @property
    def dtype(self) -> torch.dtype:
        """Precision of evaluation: that of the network's weights, float64 without a network."""
        return next((p.dtype for p in self.model.parameters()), torch.float64)

    @property
    def cutoff(self) -> float:
        """Longest range of the learnt terms, nm: at most half of any box."""
        return max([term.cutoff for term in self.header.learnt], default=0.0)

    def in_box(self, box: ArrayLike | None) -> "Denoiser":
        """This denoiser with its Ewald sum set up for another box (3, 3), nm, or None: same physics, same weights."""
        old, new = self.header.box, None if box is None else np.asarray(box, dtype=float)
        if old is None and new is None:
            return self
        if old is not None and new is not None and np.allclose(new, old, atol=0.01 * np.diagonal(new).min()):
            return self  # splitting parameter and wave vectors serve boxes within 1 %
        box = None if new is None else new.tolist()
        other = self._with(box=box)
        other.model.load_state_dict(self.model.state_dict())
        return other

    def _with(self, **changes: Any) -> "Denoiser":
        """A denoiser of this precision with another header, its weights not set."""
        other = Denoiser(self.header.model_copy(update=changes))
        if self.dtype == torch.float64:
            other.model.double()
        return other

    def with_ewald(self, tolerance: float | None = None, cutoff: float | None = None) -> "Denoiser":
        """This denoiser with another tolerance or real-space cutoff (nm) of its Ewald sum; None: as it is."""
        tolerance = None if tolerance is None else number(tolerance, None, "tolerance", above=0, below=1)
        cutoff = None if cutoff is None else nanometers(cutoff, "cutoff", above=0)
        return self.rebuilt([term.with_ewald(tolerance, cutoff) for term in self.header.terms], self.modules())

    def modules(self) -> list[torch.nn.Module]:
        """The torch module of each term, in the order of `header.terms`."""
        energies, vectors = iter(self.model.energies), iter(self.model.vectors)
        return [next(energies if term.conservative else vectors) for term in self.header.terms]

    def rebuilt(self, terms: Sequence[Term], modules: Iterable[torch.nn.Module]) -> "Denoiser":
        """A denoiser of other terms, each with the weights of the module given for it."""
        other = self._with(terms=terms)
        for source, target in zip(modules, other.modules(), strict=True):
            target.load_state_dict(source.state_dict())
        return other

    def with_held_out(self, entries: Mapping[str, Any]) -> "Denoiser":
        """This denoiser with more said in its header of how it did on frames kept apart (a dict)."""
        held_out = {**self.header.held_out, **entries}
        other = self.rebuilt(self.header.terms, self.modules())
        other.header = other.header.model_copy(update={"held_out": held_out})
        return other

    def part(self, keep: Callable[[Term], bool]) -> "Denoiser":
        """A denoiser of only some terms, with the same weights.

        Parameters
        ----------
        keep : callable
            Called with each `Term`: whether it stays.
        """
        kept = [(term, module) for term, module in zip(self.header.terms, self.modules()) if keep(term)]
        return self.rebuilt([term for term, _ in kept], [module for _, module in kept])

    def subset(self, kinds: Collection[str]) -> "Denoiser":
        """A denoiser of only the terms of some kinds ("coulomb", "wall", "pair", "network"), same weights."""
        return self.part(lambda term: term.kind in kinds)

    @property
    def prior(self) -> "Denoiser":
        """The denoiser of the terms that were known beforehand, without those learnt."""
        return self.part(lambda term: not term.learnt)

    @property
    def learnt(self) -> "Denoiser":
        """The denoiser of the learnt terms, without the prior."""
        return self.part(lambda term: term.learnt)

    def at(self, sigma: float) -> "Denoiser":
        """This denoiser evaluated at another noise level, for models trained over a range of them.

        Parameters
        ----------
        sigma : float, nm
            Within the range: `noise.sigma: [smallest, largest]` of the training.

        Returns
        -------
        Denoiser
            Same weights; forces, files and OpenMM forces of it are those of this level.
        """
        sigma = nanometers(sigma, "sigma", at_least=0)
        if not self.header.learnt:
            raise ValueError(f"sigma is {sigma:g} nm, but the model has no learnt terms: a prior has no noise level")
        other = self.rebuilt([term.at(sigma) for term in self.header.terms], self.modules())
        for term, module in zip(other.header.terms, other.modules()):
            term.set_level(module)
        return other

    # -- numpy in, numpy out ---------------------------------------------------------

    def forces(
        self,
        positions: "ArrayLike | Quantity",
        box: "ArrayLike | Quantity | Literal[False] | None" = None,
        species: Sequence[str | int] | np.ndarray | None = None,
        bonds: "ArrayLike | None" = None,
    ) -> np.ndarray:
        """Total force, prior included.

        Parameters
        ----------
        positions : array, shape (..., n_particles, 3), nm
        box : array, shape (3, 3) or (..., 3, 3), nm, None or False
            None: the box of the training data.  False: no periodicity.
        species : array, shape (n_particles,), optional
            Types, or atomic numbers of elements; None: those of the training data.
        bonds : array, shape (n_bonds, 2), optional
            Bonded particles; None: those of the training data where `species` are its, else none.

        Returns
        -------
        array, shape (..., n_particles, 3), kJ/mol/nm

        Raises
        ------
        ValueError
            For shapes that disagree, NaN, unknown species, a cutoff over half the box.
        """
        return self.evaluated(positions, self.box(box), species, bonds)[1]

    def energy(
        self,
        positions: "ArrayLike | Quantity",
        box: "ArrayLike | Quantity | Literal[False] | None" = None,
        species: Sequence[str | int] | np.ndarray | None = None,
        bonds: "ArrayLike | None" = None,
    ) -> np.ndarray:
        """Energy U_sigma, kJ/mol, shape (...); arguments as `forces`.

        Raises
        ------
        TypeError
            For a model with a vector head, which has no energy.
        """
        if not self.conservative:
            raise TypeError(
                "this model has a vector head, which predicts forces without any potential: there is no energy"
            )
        return self.evaluated(positions, self.box(box), species, bonds)[0]

    def virial(
        self,
        positions: "ArrayLike | Quantity",
        box: "ArrayLike | Quantity | Literal[False] | None" = None,
        species: Sequence[str | int] | np.ndarray | None = None,
        bonds: "ArrayLike | None" = None,
    ) -> np.ndarray:
        """Slope of the energy by a homogeneous strain, dU/d(strain) with r -> (1 + strain) r; arguments as `forces`.

        Positions and box are strained together.  The pressure of a box of volume V is that of the ideal gas less
        trace(dU/d(strain)) / (3 V).

        Returns
        -------
        array, shape (..., 3, 3), kJ/mol
            Symmetric, in double precision.

        Raises
        ------
        ValueError
            For a model with a vector head, which has no energy; else as `forces`.
        """
        if not self.conservative:
            raise ValueError("this model has a vector head, which has no potential: a virial needs an energy head")
        return virial(read_configuration(self, positions, self.box(box), species, bonds), self.dtype)

    def denoised(
        self,
        positions: "ArrayLike | Quantity",
        box: "ArrayLike | Quantity | Literal[False] | None" = None,
        species: Sequence[str | int] | np.ndarray | None = None,
        bonds: "ArrayLike | None" = None,
    ) -> np.ndarray:
        """D(y, sigma) = y + sigma^2 F(y) / kT: the mean clean configuration behind y, in the image of y (nm).

        Coordinates that were not noised in training are clean, and stay.
        """
        positions = array(positions, unit.nanometer, "positions")
        noised = self.header.was_noised(self.header.particles if species is None else species)
        forces = noised * self.forces(positions, box, species, bonds)
        return denoised_from_force(forces, positions, self.sigma, thermal_energy(self.header.temperature))

    def species_index(self, types: Sequence[str | int] | np.ndarray) -> torch.Tensor:
        """Index into `header.species` of each type or atomic number; a ValueError names the unknown ones."""
        known = {kind: i for i, kind in enumerate(self.header.species)}
        types = as_types(types)
        self.header.check_types(types)
        return torch.tensor([known[kind] for kind in types], dtype=torch.int64)

    def types_of(self, topology: Any, types: str | Sequence[str] | None = None) -> list[str]:
        """The type of each atom of a topology, each known to the model.

        Parameters
        ----------
        topology : openmm.app.Topology
        types : "element", "name", "residue:name", list of str, or None
            None: an atom's element if the model's types are elements, else its name; see `particles.atom_types`.

        Raises
        ------
        ValueError
            For a topology without atoms, an atom without an element where that is needed, an unknown type.
        """
        if not callable(getattr(topology, "atoms", None)):  # part of a topology will do
            check_topology(topology)
        atoms = list(topology.atoms())
        if not atoms:
            raise ValueError(
                "topology has no atoms: build one with openmm_diffusion.systems.electrolyte, or read a PDB file"
            )
        found = atom_types(atoms, types, self.header.species, self.header.elemental)
        self.species_index(found)
        return found

    def connectivity(self, index: torch.Tensor, bonds: Any) -> Connectivity | None:
        """Who is bonded to whom in a system that the model is to be evaluated for, or None where nobody is.

        Parameters
        ----------
        index : Tensor, shape (n_particles,)
            Species, as `species_index` finds them.
        bonds : array, shape (n_bonds, 2), or None

        Raises
        ------
        ValueError
            For bonds, angles or dihedrals of types that the model was not trained on, and where molecules of the
            training data have no bonds.
        """
        found = connectivity(bonds, index, self.header.exclusions)
        for term in self.header.terms:
            term.check_bonds(self.header, index, found)
        return found

    def box(self, given: "ArrayLike | Quantity | Literal[False] | None" = None) -> Any:
        """The box (nm) that a user's argument `box` means: None is the training data's, False is no periodicity.

        Below the functions that users call, a box has one meaning: None is no periodicity.
        """
        return self.header.box if given is None else None if given is False else given

    def evaluated(
        self,
        positions: "ArrayLike | Quantity",
        box: "ArrayLike | Quantity | None",
        species: Sequence[str | int] | np.ndarray | None = None,
        bonds: "ArrayLike | None" = None,
        told: Callable[[int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energy (...) and forces (..., n_particles, 3): arguments as `forces`, but a box of None is no periodicity.

        `told` is called with the number of configurations after each chunk of them.
        """
        system = read_configuration(self, positions, box, species, bonds)
        energies, forces = [], []
        for y, boxes in system.chunks(self.dtype):
            energy, force = energy_and_forces(system.model, y, boxes, system.species, connectivity=system.connectivity)
            energies.append(energy.double())
            forces.append(force.double())
            if told is not None:
                told(len(y))
        shape = system.shape
        if not all(bool(torch.isfinite(found).all()) for found in (*energies, *forces)):
            raise ValueError("positions give no finite force: two particles are at one place; move them apart (nm)")
        return torch.cat(energies).numpy().reshape(shape[:-2]), torch.cat(forces).numpy().reshape(shape)

    # -- file ------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and header as one safetensors file; nothing in it executes on loading."""
        write(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The model file as bytes."""
        versions = {name: version(name) for name in ("openmm_diffusion", "torch", "e3nn", "openmm")}
        header = self.header.model_copy(update={"versions": {"python": platform.python_version(), **versions}})
        return packed(self.model.state_dict(), header.model_dump_json())

    def digest(self) -> str:
        """First 16 hexadecimal characters of the SHA-256 of weights and terms: the same for the same model."""
        text = "".join(term.model_dump_json(exclude_none=True) for term in self.header.terms)
        digest = hashlib.sha256(text.encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Denoiser":
        """Read a model file.

        Parameters
        ----------
        path : str or path
            A safetensors file written by `save`, or the name of a shipped model, such as "licl".

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is truncated or not a model.
        """
        path = find_model(path)
        return cls.from_bytes(path.read_bytes(), str(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "model") -> "Denoiser":
        """Read what `to_bytes` wrote; `name` is used in error messages."""
        tensors, text = unpacked(data, name)
        header = Header.parse(text, name)
        try:
            denoiser = cls(header)
        except (ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(f"{name} has a header of which no model can be made ({told}): save it again") from error
        assign(denoiser.model, tensors, name)
        return denoiser
