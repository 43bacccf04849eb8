"""Trajectories and their topologies: streamed in chunks, with elements that are read and not guessed."""

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import ArrayLike
from openmm import unit

from ..particles import as_types
from ..space.molecules import nearest_image
from ..units import ANGSTROM
from .completeness import check_whole
from .elements import DEUTERIUM
from .extxyz import check_same, iterate_extxyz, read_extxyz
from .formats import FAULTS, existing, lacking, silenced, suffix, unreadable
from .formats.cells import chosen_box, given_box, one_if_constant, periodic_cell, reduced_box, upright
from .formats.gro import read_gro
from .formats.gsd import read_gsd
from .formats.labels import name_unread, name_zeros
from .formats.lammps import read_dump
from .formats.plausibility import check_apart, check_plausible
from .formats.statements import has_cell, has_forces, pdb_cells
from .formats.topologies import (
    DUMPS,
    XYZ,
    Atoms,
    bonds_of,
    check_order,
    check_symbols,
    complete,
    particles_of,
    read_atoms,
)  # fmt: skip
from .readers import chosen_temperature, in_house_units

log = logging.getLogger(__name__)

#: Bonds by which one residue of a chain follows another, and what none of them is longer than, nm.
LINKS, LONGEST_BOND = ({"C", "N"}, {"O3'", "P"}), 0.3
#: What mdtraj reads in pieces; it reads the rest whole.
_STREAMED = (".xtc", ".trr", ".dcd", ".nc", ".netcdf", ".ncdf", ".mdcrd", ".crd", ".h5", ".hdf5")
#: What takes no topology beside its own.
_WITHOUT_TOP = (".mol2", ".arc", ".hoomdxml", ".lh5", ".cif", ".mmcif", ".pdbx")


def read_topology(
    path: str | os.PathLike[str], top: "str | os.PathLike[str] | mdtraj.Topology | None" = None
) -> mdtraj.Topology:
    """Topology of a trajectory, its elements as files state them or as names tell them without doubt.

    An atom whose element is not known has mdtraj's element of number 0.  Names of residues
    and atoms are mdtraj's, which follow the Protein Data Bank.

    Parameters
    ----------
    path : path-like
        The trajectory.
    top : path-like or mdtraj Topology, optional
        What the atoms are; needed by formats that do not say.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    return read_atoms(path, top).topology


def read_chunks(
    path: str | os.PathLike[str],
    top: "str | os.PathLike[str] | mdtraj.Topology | None" = None,
    atoms: ArrayLike | None = None,
    stride: int = 1,
    chunk: int = 100,
    box: ArrayLike | unit.Quantity | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The frames of a trajectory in pieces, of which one is in memory at a time.

    PDB, mmCIF and a few rarer formats are read whole, as mdtraj does.

    Parameters
    ----------
    path : path-like
    top : path-like or mdtraj Topology, optional
    atoms : array, shape (n_atoms,), dtype int, optional
        Indices of the atoms to keep; all if not given.
    stride : int
        Keep every stride-th frame.
    chunk : int
        Frames of a piece.
    box : array or Quantity, shape (3,) or (3, 3), nm, optional
        Box of a file that has none; refused where the file has one that differs.

    Yields
    ------
    positions : array, shape (n_frames, n_atoms, 3), dtype float32, nm
    vectors : array, shape (n_frames, 3, 3), dtype float64, nm, or None
        Box vectors as rows, as the file says them; a cell in another orientation is turned, and the
        positions with it, so that a lies along x and b in the xy plane.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
    """
    path = existing(path)
    topology = top if isinstance(top, mdtraj.Topology) else read_topology(path, top)
    indices = np.arange(topology.n_atoms) if atoms is None else np.asarray(atoms, dtype=int)
    pieces = _own_pieces(path, topology, indices, stride, chunk, box is not None)
    if pieces is None:
        pieces = _mdtrajs_pieces(path, topology, indices, stride, chunk)
    periodic: bool | None = None
    for positions, cells in pieces:
        has = cells is not None and bool(cells.any())
        if cells is not None and has:
            cells, rotations = upright(cells, path)
            positions = (positions @ rotations).astype(np.float32)
        if periodic not in (None, has):
            raise ValueError(f"{path} has a box in some frames only: give it in all of them or in none")
        periodic = has
        vectors = cells if has else None
        if box is not None:
            chosen_box(box, None if vectors is None else reduced_box(vectors, path), path)
            if vectors is None:
                vectors = np.tile(given_box(box), (len(positions), 1, 1))
        yield positions, vectors


def _own_pieces(
    path: Path, topology: mdtraj.Topology, atoms: np.ndarray, stride: int, chunk: int, boxed: bool
) -> Iterator[tuple[np.ndarray, np.ndarray | None]] | None:
    """Pieces of the formats that we read ourselves; None for the others."""
    kind = suffix(path)
    if kind in DUMPS:
        frames = _of_dump(path, topology)
    elif kind in XYZ:
        frames = _of_xyz(path, topology, boxed)
    elif kind == ".gro":
        frames = read_gro(path)
    elif kind == ".gsd":
        try:
            import gsd.hoomd  # noqa: F401
        except ImportError as error:
            raise lacking(path) from error
        frames = read_gsd(path)
    else:
        return None
    return _gathered(frames, path, topology.n_atoms, atoms, stride, chunk)


def _of_dump(path: Path, topology: mdtraj.Topology) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for number, frame in enumerate(read_dump(path)):
        if number == 0 and len(frame.positions) == topology.n_atoms:
            check_order(frame.columns, topology, path)
            symbols = frame.columns.get("element", [])
            if set(symbols) != {"C"}:  # which LAMMPS writes where nobody told it
                check_symbols(symbols, topology, path)
        yield frame.positions, frame.vectors


def _of_xyz(path: Path, topology: mdtraj.Topology, boxed: bool) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    first: dict[str, Any] = {}
    for number, frame in enumerate(iterate_extxyz(path, elements=False)):
        if number == 0:
            first = frame
            check_symbols(frame["names"], topology, path)
            name_unread(frame["unread"] | set(frame["columns"]), path)
        check_same(first, frame, f"frame {number} of {path}")
        length = frame.get("r_unit", ANGSTROM)
        cell = periodic_cell(frame.get("cell"), frame.get("pbc"), path, boxed)
        yield frame["positions"] * length, None if cell is None else cell * length


def _gathered(
    frames: Iterator[tuple[np.ndarray, np.ndarray | None]],
    path: Path,
    n_atoms: int,
    atoms: np.ndarray,
    stride: int,
    chunk: int,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    positions: list[np.ndarray] = []
    cells: list[np.ndarray] = []
    for number, (xyz, cell) in enumerate(frames):
        if len(xyz) != n_atoms:
            raise ValueError(
                f"frame {number} of {path} has {len(xyz)} atoms, its topology {n_atoms}: "
                "give the topology of what the trajectory holds"
            )
        if number % stride:
            continue
        positions.append(xyz[atoms].astype(np.float32))
        cells.append(np.zeros((3, 3)) if cell is None else cell)
        if len(positions) == chunk:
            yield np.stack(positions), np.stack(cells)
            positions, cells = [], []
    if positions:
        yield np.stack(positions), np.stack(cells)


def _mdtrajs_pieces(
    path: Path, topology: mdtraj.Topology, atoms: np.ndarray, stride: int, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    check_whole(path)
    every = None if len(atoms) == topology.n_atoms and (atoms == np.arange(len(atoms))).all() else atoms
    first = 0
    try:
        for piece in _mdtrajs(path, topology, every, chunk):
            # mdtraj's own stride starts anew in each piece of some formats.
            kept = slice((-first) % stride, None, stride)
            first += len(piece)
            vectors = _shapes(piece) if suffix(path) == ".dcd" else piece.unitcell_vectors
            xyz = piece.xyz[kept]
            if len(xyz):
                yield xyz, None if vectors is None else vectors[kept].astype(np.float64)
    except ImportError as error:
        raise lacking(path) from error
    except FAULTS as error:
        raise unreadable(path, error) from error
    if first == 0:
        raise ValueError(f"{path} holds no frames: give a trajectory with at least one")


def _shapes(piece: mdtraj.Trajectory) -> np.ndarray | None:
    """Box vectors of a DCD file, those of CHARMM included.

    CHARMM stores a symmetric matrix, XX XY YY XZ YZ ZZ, where others store lengths and
    angles; mdtraj takes XY, XZ and YZ for angles, which are none if one is negative or zero.
    """
    lengths, angles = piece.unitcell_lengths, piece.unitcell_angles
    if lengths is None or ((angles > 0) & (angles < 180)).all():
        return piece.unitcell_vectors
    shapes = np.zeros((len(lengths), 3, 3))
    shapes[:, [0, 1, 2], [0, 1, 2]] = lengths
    for place, (row, column) in enumerate(((1, 2), (0, 2), (0, 1))):
        shapes[:, row, column] = shapes[:, column, row] = angles[:, place] * ANGSTROM
    return shapes


def _mdtrajs(
    path: Path, topology: mdtraj.Topology, atoms: np.ndarray | None, chunk: int
) -> Iterator[mdtraj.Trajectory]:
    kind = suffix(path)
    if kind in _STREAMED:
        pieces = mdtraj.iterload(str(path), top=topology, chunk=chunk, atom_indices=atoms)
        with silenced():  # a DCD file is opened by a library that says which byte order it has
            first = list(itertools.islice(pieces, 1))
        while first:
            yield first.pop()
        yield from pieces
        return
    options = {} if kind.removesuffix(".gz") in _WITHOUT_TOP else {"top": topology}
    whole = mdtraj.load(str(path), **options)
    if whole.n_atoms != topology.n_atoms:
        raise ValueError(f"it has {whole.n_atoms} atoms, its topology {topology.n_atoms}")
    lengths, angles = whole.unitcell_lengths, whole.unitcell_angles
    if kind in (".pdb", ".pdb.gz") and lengths is not None:
        lengths, angles = pdb_cells(path, len(whole), lengths, angles)
    xyz = whole.xyz if atoms is None else whole.xyz[:, atoms]
    yield mdtraj.Trajectory(xyz, None, unitcell_lengths=lengths, unitcell_angles=angles)


def read_trajectory(
    path: str | os.PathLike[str],
    top: "str | os.PathLike[str] | mdtraj.Topology | None" = None,
    select: str = "all",
    stride: int = 1,
    types: str | Sequence[str] = "element",
    box: ArrayLike | unit.Quantity | None = None,
    temperature: float | unit.Quantity | None = None,
    check: bool = True,
    described: Atoms | None = None,
) -> dict[str, Any]:
    """Fields of Frames of the selected atoms of a trajectory; arguments as in `frames.Frames.from_trajectory`.

    Extended XYZ brings its forces and replicas; a temperature in it must agree with the one given.
    Positions that cannot be right are refused, unless `check` is false. `described` is what `read_atoms` has said.
    """
    path = existing(path)
    described = read_atoms(path, top) if described is None else described
    topology = described.topology
    try:
        atoms = topology.select(select)
    except (ValueError, SyntaxError, AttributeError) as error:
        raise ValueError(f"select is {select!r}, which mdtraj cannot read: see its atom selection language") from error
    if len(atoms) == 0:
        names = ", ".join(sorted({atom.name for atom in topology.atoms})[:12])
        raise ValueError(f"select is {select!r}, which matches no atom of {path}: its atom names are {names}")
    chosen = [topology.atom(index) for index in atoms]
    fields = particles_of(chosen, types, path, described.loose)
    if described.masses is not None:
        masses = described.masses[atoms]
        told = (fields["species"] == 0) | (np.abs(masses - DEUTERIUM) < 1e-3)
        fields["masses"] = np.where(told & (masses > 0), masses, np.nan)
    fields["bonds"] = bonds_of(topology, atoms, described.bonds)
    if suffix(path) in XYZ:
        fields |= _labelled(path, topology, atoms, stride, box, temperature)
    else:
        fields |= _streamed(path, topology, atoms, stride, box)
    if fields["bonds"] is not None and not described.bonds:
        fields["bonds"] = _near(fields, chosen, path)
    if fields["box"] is None and isinstance(top, (str, os.PathLike)) and has_cell(Path(top)):
        log.warning(
            "%s has no box and %s has one: pass it as box= (--box, data.box) if the system is periodic", path, top
        )
    if not check:
        return fields
    hint = _hint(path, types, fields["species"])
    check_plausible(
        fields["positions"], fields["species"], fields["box"], path,
        bonds=fields["bonds"], whole=complete(chosen), hint=hint,
    )  # fmt: skip
    everything = list(topology.atoms)
    if len(atoms) < len(everything) and complete(everything):
        # What tells a wrong unit is often left out: water of dilute ions, neighbours of a hydrogen.
        positions, vectors = next(read_chunks(path, topology, None, 1, 3, box))
        species = np.array([atom.element.atomic_number for atom in everything])
        cells = None if vectors is None else reduced_box(vectors[:3], path)
        check_apart(positions[:3], species, cells, path, hint)
    return fields


def read_trajectories(paths: Sequence[Path], top: Any, **given: Any) -> Iterator[dict[str, Any]]:
    """As `read_trajectory`, of one after the other; a topology that all share is read, and warned of, once."""
    described = None if top is None else read_atoms(paths[0], top)
    for path in paths:
        yield read_trajectory(path, top, described=described, **given)


def _labelled(
    path: Path,
    topology: mdtraj.Topology,
    atoms: np.ndarray,
    stride: int,
    box: ArrayLike | unit.Quantity | None,
    temperature: float | unit.Quantity | None,
) -> dict[str, Any]:
    """Positions, box, forces and replicas of an extended XYZ file."""
    raw = read_extxyz(path, elements=False)
    if raw["positions"].shape[1] != topology.n_atoms:
        raise ValueError(
            f"frame 0 of {path} has {raw['positions'].shape[1]} atoms, its topology {topology.n_atoms}: "
            "give the topology of what the trajectory holds"
        )
    check_symbols(as_types(map(int, raw["names"])) if raw["numbered"] else raw["names"], topology, path)
    run = in_house_units(raw, path, box is not None)
    if temperature is not None:
        chosen_temperature(temperature, run["temperature"], path)
    kept = slice(None, None, stride)
    found = {key: None if run[key] is None else run[key][kept] for key in ("positions", "forces", "replica")}
    for key in ("positions", "forces"):
        found[key] = None if run[key] is None else run[key][kept][:, atoms]
    name_zeros(found["forces"], path)
    cells = run["box"] if run["box"] is None or run["box"].ndim == 2 else run["box"][kept]
    return found | {"box": chosen_box(box, cells, path)}


def _streamed(
    path: Path, topology: mdtraj.Topology, atoms: np.ndarray, stride: int, box: ArrayLike | unit.Quantity | None
) -> dict[str, Any]:
    """Positions and box of a trajectory of any other form; reading the selection keeps a solvent out of memory."""
    if has_forces(path):
        log.warning("%s: its forces are not read: write them as extended XYZ or npz if they are labels", path)
    pieces = list(read_chunks(path, topology, atoms, stride, 100, box))
    cells = [vectors for _, vectors in pieces if vectors is not None]
    return {
        "positions": np.concatenate([positions for positions, _ in pieces]),
        "box": reduced_box(one_if_constant(np.concatenate(cells)), path) if cells else None,
    }


def _hint(path: Path, types: str | Sequence[str], species: np.ndarray) -> str:
    """What else may be wrong with positions that cannot be right."""
    if suffix(path) in DUMPS:
        return "a dump without ITEM: UNITS is taken to be in Angstrom, and one in units lj has no lengths in nm"
    if not isinstance(types, str) and species.all():
        return "types that are all element symbols are taken for elements, which beads are not"
    return ""


def _near(fields: dict[str, Any], atoms: list[Any], path: Path) -> np.ndarray:
    """Bonds without those that mdtraj infers between one chain and the next, where a file does not part them."""
    pairs, x, box = fields["bonds"], fields["positions"][0], fields["box"]
    vectors = x[pairs[:, 1]].astype(float) - x[pairs[:, 0]]
    vectors = nearest_image(vectors[None], None if box is None else box.reshape(-1, 3, 3)[:1])[0]
    long = np.linalg.norm(vectors, axis=-1) > LONGEST_BOND
    links = np.array([{atoms[i].name, atoms[j].name} in LINKS for i, j in pairs], dtype=bool)
    if (long & links).any():
        log.info("%s: %d inferred bonds from chain to chain are left out", path, (long & links).sum())
    return pairs[~(long & links)]
