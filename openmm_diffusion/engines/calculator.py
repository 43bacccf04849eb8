"""A denoiser as a calculator of ASE: energy, forces and stress in eV and Angstrom."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..forces.pythonforce import Evaluator, with_skin
from ..model.denoiser import Denoiser
from ..particles import as_types
from ..units import ANGSTROM, ELECTRONVOLT

try:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError as error:
    raise ImportError("ASE is not installed: pip install 'openmm_diffusion[ase]', or ase") from error

#: Name of the array of `Atoms` that holds types.
TYPES = "types"


class DiffusionCalculator(Calculator):
    """A denoiser as an ASE calculator.

    Energies are in eV, forces in eV/Angstrom, stress in eV/Angstrom^3: dU/d(strain) over the volume, positive where
    the energy pulls the box together.  They are those of the noised ensemble at the temperature of the training
    data, whatever a thermostat is set to; the stress knows nothing of the motion of particles.  A model with a vector
    head has forces alone.  Cells may be of any shape and orientation, periodic along all axes or along none.

    Parameters
    ----------
    model : path or Denoiser
        Model file, name of a shipped model such as "licl", or a denoiser in memory.
    types : sequence of str, length n_particles, optional
        Type of each particle.  None: the array "types" of the `Atoms`, where there is one; else the chemical symbols
        if the model's types are elements; else those of the training data, if the atomic numbers agree.
    bonds : sequence of (int, int), optional
        Bonded particles; None: those of the training data where the types are its, else none.
    precision : "double" or "single"
        Of the terms.  Differences of forces need double; dynamics does with single, and takes less time with a network.
    compiled : bool
        Compile energy and gradient into one graph, with a Verlet list: many times faster for networks, after some
        seconds of compiling at the first force of a new model (see `openmm_diffusion.forces.compiled`).

    Raises
    ------
    ValueError
        In a calculation: for unknown types, partly periodic cells, a box below twice the cutoff, NaN.

    Examples
    --------
    >>> from ase import Atoms
    >>> pair = Atoms("LiCl", [[0, 0, 0], [2.4, 0, 0]], calculator=DiffusionCalculator("licl"))
    >>> pair.get_forces().shape
    (2, 3)
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        model: str | os.PathLike[str] | Denoiser,
        *,
        types: Sequence[str] | None = None,
        bonds: Iterable[Sequence[int]] | None = None,
        precision: str = "double",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if precision not in ("single", "double"):
            raise ValueError(f"precision is {precision!r}: choose single or double")
        denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
        self.denoiser = denoiser.rebuilt(denoiser.header.terms, denoiser.modules())
        if precision == "double":
            self.denoiser.model.double()
        if not denoiser.conservative:
            self.implemented_properties = ["forces"]
        self.types = None if types is None else as_types(types)
        self.bonds = None if bonds is None else [(int(i), int(j)) for i, j in bonds]
        self.precision, self.compiled = precision, compiled
        self.evaluator: Evaluator | None = None
        self.made_for: Any = None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, types of particles among it."""
        changes = super().check_state(atoms, tol)
        before = {} if self.atoms is None else self.atoms.arrays
        if self.atoms is not None and list(before.get(TYPES, ())) != list(atoms.arrays.get(TYPES, ())):
            changes.append("numbers")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy and forces, and the stress where it is asked for, into `results`."""
        super().calculate(atoms, list(properties), list(system_changes))
        if not np.isfinite(self.atoms.positions).all():
            raise ValueError("positions hold NaN or Inf: give finite coordinates in Angstrom")
        box, turn = reduced_cell(self.atoms)
        positions = self.atoms.positions @ turn.T * ANGSTROM
        types, evaluator = self._prepared(box)
        energy, forces = evaluator.evaluate(torch.from_numpy(positions), None if box is None else torch.from_numpy(box))
        self.results = {"forces": forces.cpu().numpy() @ turn * (ANGSTROM / ELECTRONVOLT)}
        if not self.denoiser.conservative:
            return
        self.results["energy"] = self.results["free_energy"] = float(energy) / ELECTRONVOLT
        if "stress" in properties and box is not None:
            virial = turn.T @ self.denoiser.virial(positions, box, types, self.bonds) @ turn
            stress = virial / ELECTRONVOLT / self.atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def _prepared(self, box: np.ndarray | None) -> tuple[list[str], Evaluator]:
        """Types of the atoms, and what evaluates them in a box like this one, made anew where one of them changed."""
        types = self._types_of(self.atoms)
        # The Ewald sum serves boxes within 1 % of the one it was set up for.
        denoiser = self.denoiser.in_box(box)
        made_for = types, box is None
        if self.evaluator is not None and denoiser is self.denoiser and made_for == self.made_for:
            return types, self.evaluator
        bonds = self.bonds
        if bonds is None and types == denoiser.header.particles:
            bonds = denoiser.header.bonds
        species = denoiser.species_index(types)
        denoiser.connectivity(species, bonds)
        for term in denoiser.header.terms:
            term.check(types, box is not None)
        self.denoiser, self.made_for = denoiser, made_for
        evaluated = with_skin(denoiser) if self.compiled and box is not None else denoiser
        self.evaluator = Evaluator(
            evaluated.to_bytes(), species.tolist(), box is not None, self.precision, self.compiled, bonds=bonds or (),
            device="cuda" if torch.cuda.is_available() else "cpu",
        )  # fmt: skip
        return types, self.evaluator

    def _types_of(self, atoms: Atoms) -> list[str]:
        header = self.denoiser.header
        given = self.types if self.types is not None else atoms.arrays.get(TYPES)
        if given is not None:
            if len(given) != len(atoms):
                raise ValueError(f"types has {len(given)} entries for {len(atoms)} atoms: give one type for each")
            return as_types(given)
        if header.elemental:
            return atoms.get_chemical_symbols()
        if [header.atomic_numbers[kind] for kind in header.particles] == atoms.numbers.tolist():
            return header.particles
        raise ValueError(
            f"the model knows the types {', '.join(header.species)}, and the atoms are not those of its training data: "
            'say their types with atoms.set_array("types", ...) or types='
        )


def reduced_cell(atoms: Atoms) -> tuple[np.ndarray | None, np.ndarray]:
    """The cell of `Atoms` in OpenMM's reduced form, and how it is turned into it.

    Returns
    -------
    box : array, shape (3, 3), nm, or None
        Vectors that span the same lattice; None without periodicity.
    turn : array, shape (3, 3)
        Rotation Q: positions r of the atoms are at r Q^T beside this box, and forces f there are f Q of the atoms.

    Raises
    ------
    ValueError
        For cells that are periodic along some axes only, or without volume.
    """
    if not atoms.pbc.any():
        return None, np.eye(3)
    if not atoms.pbc.all():
        raise ValueError(
            f"pbc is {atoms.pbc.tolist()}: the forces know boxes that are periodic along all three axes or along none, "
            "so set it to True or to False"
        )
    if not atoms.cell.rank == 3:
        raise ValueError(f"cell is {atoms.cell.tolist()}, without a volume: give three vectors in Angstrom")
    standard, turn = atoms.cell.standard_form()
    box = np.array(standard) * ANGSTROM
    box *= np.sign(np.diagonal(box))[:, None]  # a left-handed cell; -a spans the lattice that a does
    for one, other in ((2, 1), (2, 0), (1, 0)):
        box[one] -= np.round(box[one, other] / box[other, other]) * box[other]
    return box, turn
