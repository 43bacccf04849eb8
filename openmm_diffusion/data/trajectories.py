"""Trajectories and their topologies: streamed in chunks, with elements that are read and not guessed."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import ArrayLike
from openmm import unit

from .. import particles
from ..units import ANGSTROM
from .elements import settled
from .extxyz import iterate_extxyz
from .formats.cells import chosen_box, one_if_constant, periodic_cell, reduced_box
from .formats.gro import read_gro
from .formats.gsd import read_gsd
from .formats.lammps import read_dump
from .formats.plausibility import check_plausible
from .formats.statements import statements
from .formats.topologies import is_lammps_data, of_data, of_dump, of_symbols
from .readers import existing

log = logging.getLogger(__name__)

#: What we read ourselves.
_DUMPS = (".lammpstrj", ".dump", ".lammpsdump", ".lammpstrj.gz", ".dump.gz")
_XYZ = (".xyz", ".extxyz")
#: What mdtraj reads in pieces; it reads the rest whole.
_STREAMED = (".xtc", ".trr", ".dcd", ".nc", ".netcdf", ".ncdf", ".mdcrd", ".crd", ".h5", ".hdf5")
#: The package that mdtraj needs for a format beside its own dependencies.
_PACKAGES = {".h5": "tables", ".hdf5": "tables", ".lh5": "tables", ".gsd": "gsd"}
_FAULTS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, AssertionError, StopIteration)


@dataclass(frozen=True)
class Atoms:
    """What the atoms of a trajectory are, as far as its files say."""

    topology: mdtraj.Topology
    masses: np.ndarray | None = None
    """Masses that a file states, amu, or None."""
    bonds: bool = False
    """Whether a file lists all bonds; otherwise those of standard residues are inferred."""


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


def read_atoms(
    path: str | os.PathLike[str], top: "str | os.PathLike[str] | mdtraj.Topology | None" = None
) -> Atoms:
    """As `read_topology`, with the masses that files state."""
    path = existing(path)
    if isinstance(top, mdtraj.Trajectory):
        top = top.topology
    if isinstance(top, mdtraj.Topology):
        topology = top.copy()
        said = [atom.element.atomic_number or None if atom.element is not None else None for atom in topology.atoms]
        # An element that mdtraj guessed for a topology is no statement against the name of an ion.
        numbers, _ = _settled(topology, [None] * topology.n_atoms)
        stated = [int(number) or mine for number, mine in zip(numbers, said)]
        _apply(topology, np.array([value or 0 for value in stated]), "the topology")
        return Atoms(topology, bonds=False)
    source = path if top is None else existing(top)
    suffix = _suffix(source)
    if top is None and suffix in _XYZ:
        return Atoms(of_symbols(next(iterate_extxyz(source))["species"]))
    if top is None and suffix in _DUMPS:
        return Atoms(of_dump(next(read_dump(source)), source))
    if is_lammps_data(source):
        topology, masses = of_data(source)
        return Atoms(topology, masses, bonds=True)
    topology = _mdtraj_topology(source, path)
    found = statements(source, topology)
    numbers, against = _settled(topology, found.numbers)
    for sentence in against:
        log.warning("%s: %s", source, sentence)
    _apply(topology, numbers, source)
    return Atoms(topology, found.masses, found.bonds)


def _settled(topology: mdtraj.Topology, stated: Sequence[int | None]) -> tuple[np.ndarray, list[str]]:
    names = [(atom.residue.name, atom.name) for atom in topology.atoms]
    groups = [frozenset(atom.name for atom in residue.atoms) for residue in topology.residues for _ in residue.atoms]
    return settled(names, stated, groups)


def _apply(topology: mdtraj.Topology, numbers: np.ndarray, source: str | os.PathLike[str]) -> None:
    """Give the atoms of a topology their elements, and say once for each kind where mdtraj had another."""
    kinds = {}
    for atom, number in zip(topology.atoms, numbers.tolist()):
        found = mdtraj.element.Element.getByAtomicNumber(number) if number else mdtraj.element.virtual
        had = particles.symbol(atom)
        if had and had != found.symbol:
            kinds[atom.residue.name, atom.name] = (had, found.symbol if number else "of no known element")
        atom.element = found
    for (residue, name), (had, has) in kinds.items():
        log.warning("%s: atom %s of residue %s is %s; mdtraj took it for %s", source, name, residue, has, had)


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _mdtraj_topology(source: Path, path: Path) -> mdtraj.Topology:
    try:
        return mdtraj.load_topology(str(source)) if _suffix(source) != ".hdf5" else mdtraj.load(str(source), frame=0).topology
    except ImportError as error:
        raise _lacking(source) from error
    except _FAULTS as error:
        if source == path:
            raise _unreadable(path, error) from error
        raise ValueError(
            f"{source} cannot be read by mdtraj as a topology ({_said(error)}): "
            "give a PDB, mmCIF, .gro, prmtop, PSF, mol2 or LAMMPS data file as top"
        ) from error


def _lacking(path: Path) -> ImportError:
    package = _PACKAGES.get(_suffix(path), "that its message names")
    return ImportError(f"{path} needs the package {package}: pip install {package}")


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read by mdtraj ({_said(error)}): give a complete file, and its topology as top='system.pdb'"
    )


def _said(error: Exception) -> str:
    return str(error).strip() or f"{type(error).__name__}, without a word"


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
        Box vectors as rows, as the file says them.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
    """
    path = existing(path)
    topology = top if isinstance(top, mdtraj.Topology) else read_topology(path, top)
    indices = np.arange(topology.n_atoms) if atoms is None else np.asarray(atoms, dtype=int)
    pieces = _own_pieces(path, topology, indices, stride, chunk)
    if pieces is None:
        pieces = _mdtrajs_pieces(path, topology, indices, stride, chunk)
    periodic = None
    for positions, cells in pieces:
        has = cells is not None and bool(cells.any())
        if periodic not in (None, has):
            raise ValueError(f"{path} has a box in some frames only: give it in all of them or in none")
        periodic = has
        vectors = cells if has else None
        if box is not None:
            given = chosen_box(box, None if vectors is None else reduced_box(vectors, path), path)
            if vectors is None:
                vectors = np.broadcast_to(given, (len(positions), 3, 3)).copy()
        yield positions, vectors


def _own_pieces(
    path: Path, topology: mdtraj.Topology, atoms: np.ndarray, stride: int, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]] | None:
    """Pieces of the formats that we read ourselves; None for the others."""
    suffix = _suffix(path)
    if suffix in _DUMPS:
        frames = _of_dump(path, topology)
    elif suffix in _XYZ:
        frames = _of_xyz(path)
    elif suffix == ".gro":
        frames = read_gro(path)
    elif suffix == ".gsd":
        try:
            import gsd.hoomd  # noqa: F401
        except ImportError as error:
            raise _lacking(path) from error
        frames = read_gsd(path)
    else:
        return None
    return _gathered(frames, path, topology.n_atoms, atoms, stride, chunk)


def _of_dump(path: Path, topology: mdtraj.Topology) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for number, frame in enumerate(read_dump(path)):
        if number == 0 and len(frame.positions) == topology.n_atoms:
            _check_order(frame.columns, topology, path)
        yield frame.positions, frame.vectors


def _check_order(columns: dict[str, list[str]], topology: mdtraj.Topology, path: Path) -> None:
    """Refuse a topology in which one type of a dump is two elements: its atoms are in another order."""
    symbols = [particles.symbol(atom) for atom in topology.atoms]
    for name in ("element", "type"):
        seen: dict[str, str] = {}
        for kind, symbol in zip(columns.get(name, []), symbols):
            if symbol and seen.setdefault(kind, symbol) != symbol:
                raise ValueError(
                    f"{name} {kind} of {path} is {seen[kind]} and {symbol} in the topology: "
                    "give a topology whose atoms are in the order of the ids"
                )


def _of_xyz(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for frame in iterate_extxyz(path):
        length = frame.get("r_unit", ANGSTROM)
        cell = periodic_cell(frame.get("cell"), frame.get("pbc"), path)
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
    every = None if len(atoms) == topology.n_atoms and (atoms == np.arange(len(atoms))).all() else atoms
    first = 0
    try:
        for piece in _mdtrajs(path, topology, every, chunk):
            # mdtraj's own stride starts anew in each piece of some formats.
            kept = slice((-first) % stride, None, stride)
            first += len(piece)
            vectors = piece.unitcell_vectors
            xyz = piece.xyz[kept]
            if len(xyz):
                yield xyz, None if vectors is None else vectors[kept].astype(np.float64)
    except ImportError as error:
        raise _lacking(path) from error
    except _FAULTS as error:
        raise _unreadable(path, error) from error
    if first == 0:
        raise ValueError(f"{path} holds no frames: give a trajectory with at least one")


def _mdtrajs(
    path: Path, topology: mdtraj.Topology, atoms: np.ndarray | None, chunk: int
) -> Iterator[mdtraj.Trajectory]:
    suffix = _suffix(path)
    if suffix in _STREAMED:
        yield from mdtraj.iterload(str(path), top=topology, chunk=chunk, atom_indices=atoms)
        return
    alone = suffix in (".mol2", ".arc", ".hoomdxml", ".lh5") or suffix.removesuffix(".gz") in (".cif", ".mmcif", ".pdbx")
    options = {} if alone else {"top": topology}
    whole = mdtraj.load(str(path), **options)
    if whole.n_atoms != topology.n_atoms:
        raise ValueError(f"it has {whole.n_atoms} atoms, its topology {topology.n_atoms}")
    if atoms is not None:
        whole = mdtraj.Trajectory(
            whole.xyz[:, atoms], None, unitcell_lengths=whole.unitcell_lengths, unitcell_angles=whole.unitcell_angles
        )
    yield whole


def read_trajectory(
    path: str | os.PathLike[str],
    top: "str | os.PathLike[str] | mdtraj.Topology | None" = None,
    select: str = "all",
    stride: int = 1,
    types: str | Sequence[str] = "element",
    box: ArrayLike | unit.Quantity | None = None,
) -> dict[str, Any]:
    """Fields of Frames of the selected atoms of a trajectory; arguments as in `frames.Frames.from_trajectory`."""
    path = existing(path)
    described = read_atoms(path, top)
    topology = described.topology
    try:
        atoms = topology.select(select)
    except (ValueError, SyntaxError, AttributeError) as error:
        raise ValueError(f"select is {select!r}, which mdtraj cannot read: see its atom selection language") from error
    if len(atoms) == 0:
        names = ", ".join(sorted({atom.name for atom in topology.atoms})[:12])
        raise ValueError(f"select is {select!r}, which matches no atom of {path}: its atom names are {names}")
    chosen = [topology.atom(index) for index in atoms]
    fields = _particles(chosen, types, path)
    if described.masses is not None:
        masses = described.masses[atoms]
        fields["masses"] = np.where((fields["species"] == 0) & (masses > 0), masses, np.nan)
    fields["bonds"] = _bonds(topology, atoms, described.bonds)
    # Reading the selection only keeps a solvent out of memory.
    pieces = list(read_chunks(path, topology, atoms, stride, 100, box))
    fields["positions"] = np.concatenate([positions for positions, _ in pieces])
    cells = [vectors for _, vectors in pieces if vectors is not None]
    fields["box"] = reduced_box(one_if_constant(np.concatenate(cells)), path) if cells else None
    check_plausible(fields["positions"], fields["species"], fields["box"], path, bonds=fields["bonds"])
    return fields


def _particles(atoms: list[Any], types: str | Sequence[str], path: Path) -> dict[str, Any]:
    """Species and types of atoms; those of elements need one, those of beads do not."""
    numbers = np.array([atom.element.atomic_number for atom in atoms], dtype=np.int64)
    bare = [atom for atom, number in zip(atoms, numbers) if number == 0]
    if isinstance(types, str) and types == "element":
        if bare:
            first = bare[0]
            raise ValueError(
                f"atom {first} (number {first.index}) of {path} has no element: {len(bare)} of {len(atoms)} selected atoms "
                f"have none that the file states or that their names tell (atom {first.name!r} in residue "
                f"{first.residue.name!r}). Say what they are with types='name', types='residue:name' or a list of types, "
                "give a topology that states elements, or leave them out with select"
            )
        return {"species": numbers}
    names = particles.atom_types(atoms, types if isinstance(types, str) else list(types))
    if not isinstance(types, str):
        # Types that are element symbols say what the atoms are.
        numbers = np.array([particles.atomic_number(kind) or number for kind, number in zip(names, numbers.tolist())])
    return {"species": numbers, "types": np.array(names)}


def _bonds(topology: mdtraj.Topology, atoms: np.ndarray, listed: bool) -> np.ndarray | None:
    """Bonds among the selected atoms as pairs of their places; None where nothing is said of them."""
    place = {int(atom): number for number, atom in enumerate(atoms)}
    ends = [(place.get(bond[0].index), place.get(bond[1].index)) for bond in topology.bonds]
    pairs = np.array([pair for pair in ends if None not in pair], dtype=np.int64).reshape(-1, 2)
    if listed:
        return pairs
    if topology.n_bonds == 0:
        return None
    # Inferred bonds are those of residues that mdtraj knows: of another with several atoms nothing is known.
    bonded = {int(place) for place in pairs.ravel()}
    residues: dict[int, list[int]] = {}
    for number, index in enumerate(atoms):
        residues.setdefault(topology.atom(index).residue.index, []).append(number)
    known = all(len(members) == 1 or bonded & set(members) for members in residues.values())
    return pairs if known else None
