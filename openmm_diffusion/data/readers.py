"""Files of configurations as plain arrays in the house's units.

Each reader returns a dict with the fields of `frames.Frames`; what a file does
not say is None.
"""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import torch
from numpy.typing import ArrayLike
from openmm import unit
from openmm.app.internal.unitcell import reducePeriodicBoxVectors

from ..space.boxes import check_box
from ..units import ANGSTROM, ELECTRONVOLT
from .extxyz import read_extxyz

#: eV/Angstrom, the force unit of NequIP and extended XYZ files, in kJ/mol/nm.
EV_PER_ANGSTROM = ELECTRONVOLT / ANGSTROM


def read_frames(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Positions, species, box, temperature, forces and replica of a file, told apart by name and content.

    Parameters
    ----------
    path : path-like
        ``.npz``, native (keys positions, atomic_numbers, ...; nm, kJ/mol/nm) or NequIP's (keys R, z, F,
        cell, pbc; Angstrom, eV/Angstrom), or extended XYZ, ``.xyz`` or ``.extxyz`` (Angstrom, eV/Angstrom).

    Returns
    -------
    dict
        positions, species, box, temperature, forces, replica in nm, K and kJ/mol/nm;
        temperature is a scalar or one value for each frame.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, damaged, of unknown type or content.
    """
    path = _existing(path)
    extension = path.suffix.lower()
    if extension == ".npz":
        arrays = _read_npz(path)
        if {"positions", "atomic_numbers"} <= arrays.keys():
            return _native(arrays, path)
        if {"R", "z"} <= arrays.keys():
            return _from_angstrom(_nequip(arrays, path), path)
        raise ValueError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or 'none'}: "
            "give positions and atomic_numbers (nm), or R and z (Angstrom)"
        )
    if extension in (".xyz", ".extxyz"):
        return _from_angstrom(read_extxyz(path), path)
    raise ValueError(
        f"{path} has the extension {extension or '(none)'}: Frames.load reads .npz, .xyz and .extxyz; "
        "read trajectories with Frames.from_trajectory"
    )


def read_trajectory(
    path: str | os.PathLike[str],
    top: "str | os.PathLike[str] | mdtraj.Topology | None" = None,
    select: str = "all",
    stride: int = 1,
) -> dict[str, Any]:
    """Selected atoms of a trajectory that mdtraj reads; arguments as in `frames.Frames.from_trajectory`."""
    path = _existing(path)
    if isinstance(top, (str, os.PathLike)):
        top = str(_existing(top))
    topology = _load(path, top, frame=0).topology
    try:
        atoms = topology.select(select)
    except (ValueError, SyntaxError, AttributeError) as error:
        raise ValueError(f"select is {select!r}, which mdtraj cannot read: see its atom selection language") from error
    if len(atoms) == 0:
        names = ", ".join(sorted({atom.name for atom in topology.atoms})[:12])
        raise ValueError(f"select is {select!r}, which matches no atom of {path}: its atom names are {names}")
    for index in atoms:
        element = topology.atom(index).element
        if element is None or element.atomic_number == 0:
            raise ValueError(
                f"atom {topology.atom(index)} (number {index}) of {path} has no element: "
                "leave it out with select, or name the element in the topology"
            )
    # Reading the selection only keeps a solvent out of memory.
    trajectory = _load(path, top, stride=stride, atom_indices=atoms)
    vectors = trajectory.unitcell_vectors
    return {
        "positions": trajectory.xyz,
        "species": np.array([topology.atom(index).element.atomic_number for index in atoms]),
        "box": None if vectors is None else reduced_box(_one_if_constant(vectors), path),
    }


def reduced_box(cell: ArrayLike, source: str | os.PathLike[str]) -> np.ndarray | None:
    """A cell in OpenMM's reduced form, which `space.boxes.check_box` asks for.

    Only whole vectors of the cell are subtracted from its others: the lattice stays
    the same, so positions and forces keep their meaning.  A cell in another
    orientation would need both to be rotated, and is refused.

    Parameters
    ----------
    cell : array, shape (3, 3) or (n_frames, 3, 3), nm
        All zero means no periodicity.
    source : path-like
        Where it comes from, for the error.

    Returns
    -------
    array like `cell`, dtype float64, nm, or None
    """
    cell = np.asarray(cell, dtype=np.float64)
    if not cell.any():
        return None
    try:
        check_box(torch.from_numpy(cell), f"the cell in {source}")
    except ValueError:
        if cell.shape[-2:] != (3, 3) or not np.isfinite(cell).all():
            raise
    else:
        return cell
    slack = 1e-5 * np.abs(cell).max()
    if np.abs(np.triu(cell, 1)).max() > slack or np.diagonal(cell, axis1=-2, axis2=-1).min() <= slack:
        raise ValueError(
            f"the cell in {source} is not lower triangular with positive edges (a along x, b in the xy plane): "
            "rotate cell, positions and forces into this orientation"
        )
    vectors = [reducePeriodicBoxVectors(one).value_in_unit(unit.nanometer) for one in cell.reshape(-1, 3, 3)]
    return np.array(vectors).reshape(cell.shape)


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file (looked from {Path.cwd()}): give the path of an existing one")
    return path


def _load(path: Path, top: "str | mdtraj.Topology | None", **options: Any) -> mdtraj.Trajectory:
    # mdtraj's formats differ in whether they take a topology at all.
    if top is not None:
        options["top"] = top
    try:
        return mdtraj.load(str(path), **options)
    except (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"{path} cannot be read by mdtraj ({error}): give a complete file, and its topology as top='system.pdb'"
        ) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array without a name")
        with archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as npz ({error}): copy or write it again; "
            "Python objects (pickles) in it are never loaded"
        ) from error


def _native(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    box = arrays.get("box")
    return {
        "positions": arrays["positions"],
        "species": arrays["atomic_numbers"],
        "box": None if box is None else reduced_box(box, path),
        "temperature": arrays.get("temperature"),
        "forces": arrays.get("forces"),
        "replica": arrays.get("replica"),
        "types": arrays.get("types"),
        "bonds": arrays.get("bonds"),
        "masses": arrays.get("masses"),
        "bias_forces": arrays.get("bias_forces"),
    }


def _nequip(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    # sGDML files have the same keys, but say that they are in kcal/mol.
    energy_unit = str(arrays.get("e_unit", "eV"))
    if energy_unit.lower() != "ev":
        raise ValueError(f"{path} has e_unit {energy_unit!r}: convert its energies and forces to eV and eV/Angstrom")
    species = arrays["z"]
    if species.ndim == 2:
        if (species != species[0]).any():
            raise ValueError(f"{path} has other atomic numbers z in some frames: give one system per file")
        species = species[0]
    return {
        "positions": arrays["R"],
        "species": species,
        "cell": arrays.get("cell"),
        "pbc": arrays.get("pbc"),
        "forces": arrays.get("F"),
        "temperature": arrays.get("temperature"),
        "replica": arrays.get("replica"),
    }


def _from_angstrom(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Arrays in Angstrom and eV/Angstrom, with cell and pbc, as fields in nm and kJ/mol/nm."""
    cell, pbc = raw.pop("cell"), raw.pop("pbc")
    periodic = cell is not None and np.any(cell)
    if pbc is not None and np.any(pbc) != np.all(pbc):
        raise ValueError(f"{path} is periodic along some axes only (pbc): give all three or none")
    if pbc is not None and np.all(pbc) and not periodic:
        raise ValueError(f"{path} says it is periodic (pbc) but holds no cell: give the cell vectors in Angstrom")
    if pbc is not None and not np.any(pbc):
        periodic = False
    forces = raw["forces"]
    return raw | {
        "positions": raw["positions"] * ANGSTROM,
        "box": reduced_box(_one_if_constant(cell) * ANGSTROM, path) if periodic else None,
        "forces": None if forces is None else forces * EV_PER_ANGSTROM,
    }


def _one_if_constant(cells: np.ndarray) -> np.ndarray:
    """One cell (3, 3) for all frames where they are the same, as in a run at constant volume."""
    return cells[0] if cells.ndim == 3 and len(cells) and (cells == cells[0]).all() else cells
