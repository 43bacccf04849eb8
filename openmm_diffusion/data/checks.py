"""The arrays of a set of configurations, brought to one form or refused with a reason.

Each function takes what a user passed and returns the array as `frames.Frames`
keeps it: nm, kJ/mol/nm, float32 for what there is per frame, float64 for the box.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from openmm import app, unit

from ..particles import as_types, atomic_number, check_type
from ..space.boxes import check_box
from ..units import array, shown


def checked_positions(value: ArrayLike | unit.Quantity) -> np.ndarray:
    """Finite positions, float32, shape (n_frames, n_particles, 3), nm; accepts Quantities."""
    positions = array(value, unit.nanometer, "positions", finite=False, dtype=np.float32)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise ValueError(f"positions has shape {positions.shape}: give (n_frames, n_particles, 3), in nm")
    if positions.size == 0:
        raise ValueError(f"positions has shape {positions.shape}: give at least one frame of at least one particle")
    bad = ~np.isfinite(positions).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f"positions holds NaN or Inf (nm) in {bad.sum()} of {len(bad)} frames, first in frame {bad.argmax()}: "
            "leave these frames out"
        )
    return positions


def checked_particles(species: ArrayLike, types: ArrayLike | None, n_particles: int) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (0: no element), int64, and types, str, of all particles, each of shape (n_particles,).

    Types alone are elements where every one of them is a symbol; "W" throughout is water in one bead, no tungsten.
    """
    numbers = _plain(species, "species")
    if types is None and numbers.dtype.kind in "US":
        types, numbers = numbers, np.array([atomic_number(str(kind)) for kind in numbers.ravel()], dtype=np.int64)
        if not numbers.all() or set(types.ravel()) == {"W"}:
            numbers = np.zeros_like(numbers)
    if numbers.shape != (n_particles,):
        raise ValueError(f"species has shape {numbers.shape}: give {n_particles} atomic numbers, one for each particle")
    if numbers.dtype.kind not in "iuf" or (numbers != np.trunc(numbers)).any():
        raise ValueError(
            f"species starts with {shown(numbers[:4].tolist())}: give atomic numbers, such as 3 for lithium, or types"
        )
    for number in np.unique(numbers):
        if number == 0 and types is not None:
            continue
        try:
            app.Element.getByAtomicNumber(int(number))
        except KeyError:
            raise ValueError(
                f"species holds {int(number)}, the atomic number of no element in OpenMM: "
                "give real elements, such as 3 for lithium; a particle without one has 0, and needs types"
            ) from None
    numbers = numbers.astype(np.int64)
    if types is None:
        return numbers, np.array(as_types(numbers))
    names = _plain(types, "types")
    if names.shape != (n_particles,) or names.dtype.kind != "U":
        raise ValueError(
            f"types has shape {names.shape} and type {names.dtype}: give {n_particles} strings, one for each particle"
        )
    for kind in np.unique(names):
        check_type(str(kind))
        others = numbers[(names == kind) & (numbers != 0) & (numbers != atomic_number(str(kind)))]
        if atomic_number(str(kind)) and len(others):
            raise ValueError(
                f"types holds {str(kind)!r}, the symbol of an element, for a particle of species {others[0]}: "
                "give the type of its element, or another name"
            )
    return numbers, names


def checked_bonds(value: ArrayLike, n_particles: int) -> np.ndarray:
    """Pairs of bonded particles, int64, shape (n_bonds, 2): each once, the lower index first, in order."""
    bonds = _plain(value, "bonds")
    if bonds.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if bonds.ndim != 2 or bonds.shape[1] != 2 or bonds.dtype.kind not in "iu":
        raise ValueError(
            f"bonds has shape {bonds.shape} and type {bonds.dtype}: give pairs of indices of particles, (n_bonds, 2)"
        )
    wrong = (bonds < 0).any(1) | (bonds >= n_particles).any(1) | (bonds[:, 0] == bonds[:, 1])
    if wrong.any():
        raise ValueError(
            f"bonds holds {tuple(bonds[wrong][0].tolist())}: give two different indices from 0 to {n_particles - 1}"
        )
    return np.unique(np.sort(bonds.astype(np.int64), axis=1), axis=0)


def checked_masses(value: ArrayLike | unit.Quantity | None, species: np.ndarray) -> np.ndarray:
    """Masses, float64, shape (n_particles,), amu; those of the elements where none is given, NaN without one."""
    elements = [app.Element.getByAtomicNumber(int(z)).mass.value_in_unit(unit.dalton) if z else np.nan for z in species]
    if value is None:
        return np.array(elements, dtype=float)
    if isinstance(value, unit.Quantity) and not value.unit.is_compatible(unit.dalton):
        raise ValueError(f"masses are in {value.unit}: give them in amu")
    masses = array(value, unit.dalton, "masses", finite=False)
    if masses.shape != species.shape:
        raise ValueError(f"masses has shape {masses.shape}: give {len(species)} masses in amu, one for each particle")
    if (masses <= 0).any() or np.isinf(masses).any():
        raise ValueError(
            f"masses holds {masses[(masses <= 0) | np.isinf(masses)][0]:g} amu: give positive masses, NaN where unknown"
        )
    return np.where(np.isnan(masses), elements, masses)


def checked_box(value: ArrayLike | unit.Quantity, n_frames: int) -> np.ndarray:
    """Reduced box vectors, float64, shape (3, 3) or (n_frames, 3, 3), nm; accepts Quantities."""
    box = array(value, unit.nanometer, "box", finite=False)
    if box.shape not in ((3, 3), (n_frames, 3, 3)):
        raise ValueError(
            f"box has shape {box.shape}: give box vectors as rows in nm, shape (3, 3) or ({n_frames}, 3, 3), "
            "or None for no periodicity"
        )
    check_box(torch.from_numpy(np.array(box)))
    # check_box tolerates what rounding leaves above the diagonal or beyond half an edge; OpenMM's Topology does not.
    box = np.tril(box)
    half = np.diagonal(box, axis1=-2, axis2=-1) / 2
    for row, column in ((1, 0), (2, 0), (2, 1)):
        box[..., row, column] = np.clip(box[..., row, column], -half[..., column], half[..., column])
    return box


def checked_forces(
    value: ArrayLike | unit.Quantity, shape: tuple[int, ...], argument: str = "forces"
) -> np.ndarray | None:
    """Forces, float32, of the given shape, kJ/mol/nm, NaN in whole frames only, or None; accepts Quantities."""
    expected = unit.kilojoule_per_mole / unit.nanometer
    # A force per particle (eV/A without "per mole") would differ by Avogadro's number.
    if isinstance(value, unit.Quantity) and not value.unit.is_compatible(expected):
        raise ValueError(f"{argument} are in {value.unit}, which is no force per mole: give them in kJ/mol/nm")
    forces = array(value, expected, argument, finite=False, dtype=np.float32)
    if forces.shape != shape:
        raise ValueError(
            f"{argument} has shape {forces.shape}, positions {shape}: give one force in kJ/mol/nm for each position"
        )
    infinite = np.isinf(forces).any(axis=(1, 2))
    missing = np.isnan(forces)
    torn = missing.any(axis=(1, 2)) & ~missing.all(axis=(1, 2))
    if infinite.any() or torn.any():
        raise ValueError(
            f"{argument} holds Inf in {infinite.sum()} frames and NaN for some particles only in {torn.sum()}, "
            f"first in frame {(infinite | torn).argmax()}: set all forces of a frame without labels to NaN"
        )
    return None if missing.all() else forces


def joined(arrays: Sequence[np.ndarray | None], like: Sequence[np.ndarray], fill: float) -> np.ndarray | None:
    """Arrays of several sets of frames as one, filled where a set of positions (`like`) has none; None if none has."""
    if all(array is None for array in arrays):
        return None
    return np.concatenate([np.full_like(x, fill) if one is None else one for one, x in zip(arrays, like)])


def checked_replica(value: ArrayLike | None, n_frames: int) -> np.ndarray:
    """Numbers of the independent runs, int64, shape (n_frames,); None means one run, 0."""
    replica = np.zeros(n_frames, dtype=np.int64) if value is None else _plain(value, "replica")
    if replica.shape != (n_frames,) or replica.dtype.kind not in "iu":
        raise ValueError(
            f"replica has shape {replica.shape} and type {replica.dtype}: "
            f"give {n_frames} whole numbers, one for each frame"
        )
    return replica.astype(np.int64)


def _plain(value: ArrayLike, argument: str) -> np.ndarray:
    """What may be whole numbers or strings, as an array."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} is {shown(value)}: give a regular array") from error
