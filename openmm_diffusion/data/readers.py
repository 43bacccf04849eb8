"""Files of configurations as plain arrays in the house's units.

Each reader returns a dict with the fields of `frames.Frames`; what a file does
not say is None.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from openmm import unit

from ..units import ANGSTROM, ELECTRONVOLT, kelvin
from .extxyz import read_extxyz
from .formats import existing
from .formats.archives import foreign, is_native, native, read_npz
from .formats.cells import chosen_box, one_if_constant, periodic_cell, turned
from .formats.labels import name_zeros
from .formats.plausibility import check_plausible

#: What is said of trajectories that come without one.
NO_TEMPERATURE = (
    "temperature is missing: pass the temperature of the simulated ensemble in K (temperature=, --temperature, or "
    "data.temperature of a configuration)"
)


def load_frames(
    path: str | os.PathLike[str],
    temperature: float | unit.Quantity | None = None,
    box: ArrayLike | unit.Quantity | None = None,
    forces_key: str | None = None,
) -> dict[str, Any]:
    """Fields of Frames from a file, with what the file lacks from the arguments; see `frames.Frames.load`."""
    fields = read_frames(path, forces_key, box is not None)
    fields["temperature"] = chosen_temperature(temperature, fields["temperature"], path)
    fields["box"] = chosen_box(box, fields["box"], path)
    forces, shape = fields["forces"], np.shape(fields["positions"])
    if forces is not None and np.shape(forces) != shape:
        raise ValueError(
            f"{path} holds forces of shape {np.shape(forces)}, positions of shape {shape}: give one for each"
        )
    name_zeros(forces, path)
    length = fields.pop("length", 1.0)
    check_plausible(fields["positions"], fields["species"], fields["box"], path, length, fields.get("bonds"))
    return fields


def read_frames(path: str | os.PathLike[str], forces_key: str | None = None, boxed: bool = False) -> dict[str, Any]:
    """Positions, species, box, temperature, forces and more of a file, told apart by name and content.

    Parameters
    ----------
    path : path-like
        ``.npz`` or extended XYZ, ``.xyz`` or ``.extxyz`` (Angstrom, eV/Angstrom).  An npz is
        native (keys positions, atomic_numbers, ...; nm, kJ/mol/nm), or has the keys of NequIP
        (R, z, F, cell, pbc), ASE (positions, numbers, forces, cell, pbc) or sGDML (R, z, F,
        r_unit, e_unit, lattice): Angstrom and eV/Angstrom, unless it names its units.
    forces_key : str, optional
        Name of the array or column of forces, where more than one may be it.
    boxed : bool
        Whether the user gives the box of a file that says it is periodic and holds none.

    Returns
    -------
    dict
        positions, species, box, temperature, forces, replica, and of native files types, bonds, masses and bias_forces,
        in nm, K, amu and kJ/mol/nm; temperature is a scalar or one value for each frame.
        length : the file's unit of length, nm.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, damaged, of unknown type or content.
    """
    path = existing(path)
    extension = path.suffix.lower()
    if extension == ".npz":
        arrays = read_npz(path)
        if is_native(arrays):
            fields = native(arrays, forces_key, path)
            vectors = {key: fields[key] for key in ("positions", "forces", "bias_forces")}
            fields["box"], vectors = turned(fields["box"], vectors, path)
            return fields | vectors | {"length": 1.0}
        return in_house_units(foreign(arrays, forces_key, path), path, boxed)
    if extension in (".xyz", ".extxyz"):
        return in_house_units(read_extxyz(path, forces_key), path, boxed)
    if extension == ".traj":
        raise ValueError(f"{path} is a trajectory of ASE: write it as XYZ, ase convert {path.name} {path.stem}.xyz")
    raise ValueError(
        f"{path} has the extension {extension or '(none)'}: Frames.load reads .npz, .xyz and .extxyz; "
        "read trajectories with Frames.from_trajectory"
    )


def chosen_temperature(
    given: float | unit.Quantity | None, stored: ArrayLike | None, path: str | os.PathLike[str]
) -> float:
    """The one temperature of an ensemble, K: what the file stores, or what is given where it stores none."""
    values = np.unique([] if stored is None else np.asarray(stored, dtype=float))
    if given is None:
        if len(values) == 0:
            raise ValueError(f"{path} gives no temperature: pass the temperature of its ensemble in K")
        if len(values) > 1:
            raise ValueError(
                f"{path} gives temperatures from {values[0]:g} to {values[-1]:g} K: "
                "pass the one temperature of its ensemble in K"
            )
        return float(values[0])
    if len(values) == 1 and abs(kelvin(given) - values[0]) > 1e-4 * abs(values[0]):
        raise ValueError(
            f"temperature is {kelvin(given):g} K, but {path} gives {values[0]:g} K: "
            "leave the argument out, or correct the file"
        )
    return float(kelvin(given))


def in_house_units(raw: dict[str, Any], path: Path, boxed: bool) -> dict[str, Any]:
    """Arrays in the units of a file (Angstrom, eV unless it names them), with cell and pbc, as fields in our units.

    A cell in another orientation than ours is turned, and positions and forces with it.
    """
    length = ANGSTROM if raw["r_unit"] is None else raw["r_unit"]
    energy = ELECTRONVOLT if raw["e_unit"] is None else raw["e_unit"]
    cell = periodic_cell(raw["cell"], raw["pbc"], path, boxed)
    forces = None if raw["forces"] is None else raw["forces"] * (energy / length)
    vectors = {"positions": raw["positions"] * length, "forces": forces}
    box, vectors = turned(None if cell is None else one_if_constant(cell) * length, vectors, path)
    kept = {key: raw[key] for key in ("species", "temperature", "replica", "masses") if key in raw}
    return kept | vectors | {"box": box, "length": length}
