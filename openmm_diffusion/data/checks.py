"""The arrays of a set of configurations, brought to one form or refused with a reason.

Each function takes what a user passed and returns the array as `frames.Frames`
keeps it: nm, kJ/mol/nm, float32 for what there is per frame, float64 for the box.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from openmm import app, unit

from ..space.boxes import check_box
from ..units import nanometers


def checked_positions(value: ArrayLike | unit.Quantity) -> np.ndarray:
    """Finite positions, float32, shape (n_frames, n_particles, 3), nm; accepts Quantities."""
    positions = _lengths(value, "positions", np.float32)
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


def checked_species(value: ArrayLike, n_particles: int) -> np.ndarray:
    """Atomic numbers of elements, int64, shape (n_particles,)."""
    species = np.asarray(value)
    if species.shape != (n_particles,):
        raise ValueError(f"species has shape {species.shape}: give {n_particles} atomic numbers, one for each particle")
    if species.dtype.kind not in "iuf" or (species != np.trunc(species)).any():
        raise ValueError(f"species starts with {species[:4]}: give atomic numbers, such as 3 for lithium")
    for number in np.unique(species):
        try:
            app.Element.getByAtomicNumber(int(number))
        except KeyError:
            raise ValueError(
                f"species holds {int(number)}, the atomic number of no element in OpenMM: "
                "give real elements, such as 3 for lithium"
            ) from None
    return species.astype(np.int64)


def checked_box(value: ArrayLike | unit.Quantity, n_frames: int) -> np.ndarray:
    """Reduced box vectors, float64, shape (3, 3) or (n_frames, 3, 3), nm; accepts Quantities."""
    box = _lengths(value, "box", np.float64)
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


def checked_forces(value: ArrayLike | unit.Quantity, shape: tuple[int, ...]) -> np.ndarray | None:
    """Forces, float32, of the given shape, kJ/mol/nm, NaN in whole frames only, or None; accepts Quantities."""
    expected = unit.kilojoule_per_mole / unit.nanometer
    if isinstance(value, unit.Quantity):
        # A force per particle (eV/A without "per mole") would differ by Avogadro's number.
        if not value.unit.is_compatible(expected):
            raise ValueError(f"forces are in {value.unit}, which is no force per mole: give them in kJ/mol/nm")
        value = value.value_in_unit(expected)
    forces = np.ascontiguousarray(value, dtype=np.float32)
    if forces.shape != shape:
        raise ValueError(
            f"forces has shape {forces.shape}, positions {shape}: give one force in kJ/mol/nm for each position"
        )
    infinite = np.isinf(forces).any(axis=(1, 2))
    missing = np.isnan(forces)
    torn = missing.any(axis=(1, 2)) & ~missing.all(axis=(1, 2))
    if infinite.any() or torn.any():
        raise ValueError(
            f"forces holds Inf in {infinite.sum()} frames and NaN for some particles only in {torn.sum()}, "
            f"first in frame {(infinite | torn).argmax()}: set all forces of a frame without labels to NaN"
        )
    return None if missing.all() else forces


def checked_replica(value: ArrayLike | None, n_frames: int) -> np.ndarray:
    """Numbers of the independent runs, int64, shape (n_frames,); None means one run, 0."""
    replica = np.zeros(n_frames, dtype=np.int64) if value is None else np.asarray(value)
    if replica.shape != (n_frames,) or replica.dtype.kind not in "iu":
        raise ValueError(
            f"replica has shape {replica.shape} and type {replica.dtype}: "
            f"give {n_frames} whole numbers, one for each frame"
        )
    return replica.astype(np.int64)


def _lengths(value: Any, argument: str, dtype: type[np.floating]) -> np.ndarray:
    """Lengths as an array in nm: of numbers, of a Quantity, or of a list of Quantities as OpenMM returns."""
    if isinstance(value, (list, tuple)):
        value = [nanometers(part, argument) for part in value]
    value = nanometers(value, argument)
    try:
        return np.ascontiguousarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} is no array of numbers ({error}): give a regular array in nm") from error
