"""Coarse-graining: trajectories and frames of atoms become frames of beads.

A trajectory is streamed: it may be larger than the memory, and so may the beads where they go into a file.  `Frames`,
and torch with them, are imported only where frames are made: a trajectory that becomes a file needs neither.
"""

import logging
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from ..particles import as_types
from ..rundirectory import whole
from ..space.beads import Beads
from ..units import count, kelvin
from .formats import as_path, listed
from .formats.archives import FORMAT
from .formats.cells import reduced_box
from .formats.plausibility import check_plausible
from .formats.statements import has_cell
from .formats.topologies import complete, read_atoms
from .mapping import Mapping
from .readers import NO_TEMPERATURE
from .trajectories import read_chunks, read_topology

if TYPE_CHECKING:
    import mdtraj
    from numpy.typing import ArrayLike
    from openmm import unit

    from .frames import Frames

    Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
    Top: TypeAlias = str | os.PathLike[str] | mdtraj.Topology | None

log = logging.getLogger(__name__)

#: Files that hold frames, with forces where there are any, and not a trajectory.
FRAMES = (".npz", ".extxyz", ".xyz")
#: Atoms times frames that are in memory at a time.
PIECE = 1_000_000


@overload
def coarsen(
    trajectory: "Paths",
    top: "Top",
    mapping: "str | os.PathLike[str] | dict[str, Any] | Mapping",
    temperature: "float | unit.Quantity | None" = None,
    output: None = None,
    *,
    stride: int = 1,
    box: "ArrayLike | None" = None,
    progress: Callable[[Path, int], None] | None = None,
) -> "Frames": ...


@overload
def coarsen(
    trajectory: "Paths",
    top: "Top",
    mapping: "str | os.PathLike[str] | dict[str, Any] | Mapping",
    temperature: "float | unit.Quantity | None",
    output: str | os.PathLike[str],
    *,
    stride: int = 1,
    box: "ArrayLike | None" = None,
    progress: Callable[[Path, int], None] | None = None,
) -> Path: ...


def coarsen(
    trajectory: "Paths",
    top: "Top",
    mapping: "str | os.PathLike[str] | dict[str, Any] | Mapping",
    temperature: "float | unit.Quantity | None" = None,
    output: str | os.PathLike[str] | None = None,
    *,
    stride: int = 1,
    box: "ArrayLike | None" = None,
    progress: Callable[[Path, int], None] | None = None,
) -> "Frames | Path":
    """Frames of beads from trajectories of atoms.

    Molecules are made whole across the boundary first.  Forces, where the files hold them, are those of the map dual
    to that of the positions, see `data.mapping`.

    Parameters
    ----------
    trajectory : path-like or list of path-like
        Each file of a list is an independent run, with a replica number of its own.  Trajectories are streamed;
        frames (``.npz``, ``.extxyz``, ``.xyz``), which may hold forces, are read as a whole.
    top : path-like or mdtraj Topology
        What the atoms are, and their bonds.
    mapping : path-like, dict or Mapping
    temperature : float or Quantity, K
        Of the ensemble that was simulated.  Frames may hold it themselves; a file that is written without one must be
        given it where it is read.
    output : path-like, optional
        Native npz file to write instead; the beads are never in memory at once then.  It appears whole or not at all.
    stride : int
        Keep every stride-th frame.
    box : array, shape (3,) or (3, 3), nm, optional
        For trajectories that hold none.
    progress : callable, optional
        Called with the path that is being read and the number of frames read so far, of all files.

    Returns
    -------
    Frames, or the Path of `output`

    Raises
    ------
    FileNotFoundError, ValueError
    """
    paths, stride = listed(trajectory, "trajectory"), count(stride, "stride")
    target = None if output is None else _checked_output(as_path(output, "output"))
    mapping = Mapping.read(mapping)
    kinds = {path.suffix.lower() in FRAMES for path in paths}
    if len(kinds) > 1:
        raise ValueError("trajectory has files of frames (.npz, .xyz) among trajectories: coarsen them apart")
    if kinds == {True}:
        frames = _coarsen_files(paths, top, mapping, temperature, stride, box, progress)
        if target is None:
            return frames
        frames.save(target)
        return target
    if temperature is None and target is None:
        raise ValueError(NO_TEMPERATURE)
    temperature = None if temperature is None else kelvin(temperature)
    stream = _Stream(paths, top, mapping, stride, box, progress)
    if target is None:
        from .frames import Frames

        positions = np.empty((0, *stream.shape[1:]), dtype=np.float32)
        for piece in stream:
            # Grown in place: the beads are never in memory twice.
            positions.resize(stream.shape, refcheck=False)
            positions[-len(piece) :] = piece
        return Frames(positions, temperature=temperature, **stream.fields())
    with tempfile.TemporaryFile(dir=target.absolute().parent) as spool:
        for piece in stream:
            spool.write(piece.tobytes())
        spool.seek(0)
        _write(target, spool, stream.shape, stream.fields() | {"temperature": temperature, "format": FORMAT})
    return target


def coarsen_frames(frames: "Frames", mapping: Mapping, topology: "mdtraj.Topology") -> "Frames":
    """Frames of beads from frames of atoms, with the forces of the dual map.

    Parameters
    ----------
    frames : Frames
        Of the atoms of `topology`, in its order.
    mapping : Mapping
    topology : mdtraj Topology
        The bonds that `frames` knows are taken beside its own.

    Returns
    -------
    Frames
    """
    from .frames import Frames

    _check_atoms(frames, topology)
    beads = mapping.apply(topology, frames.bonds, frames.masses)
    labels = {name: getattr(frames, name) for name in ("forces", "bias_forces")}
    if any(value is not None for value in labels.values()):
        beads.check_rigid()
    boxes = frames.boxes
    step = max(1, PIECE // len(frames.species))
    pieces = [slice(start, start + step) for start in range(0, len(frames), step)]
    positions = [
        beads.positions(frames.positions[piece][:, beads.atoms], None if boxes is None else boxes[piece])
        for piece in pieces
    ]
    mapped = {
        name: np.concatenate([beads.forces(value[piece][:, beads.atoms]) for piece in pieces])
        for name, value in labels.items()
        if value is not None
    }
    return Frames(
        np.concatenate(positions),
        box=frames.box,
        temperature=frames.temperature,
        replica=frames.replica,
        **mapped,
        **_of_beads(beads),
    )


def summary(path: str | os.PathLike[str]) -> str:
    """What a native file of frames holds, in a few words; its positions are not read."""
    with np.load(path) as archive:
        types = archive["types"] if "types" in archive else np.array(as_types(archive["atomic_numbers"]))
        replica = archive["replica"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(types.tolist()).items())
    return f"{len(replica)} frames of {kinds}; {len(np.unique(replica))} replicas"


class _Stream:
    """Beads of trajectories, piece by piece; what else there is to know of them once all have been read."""

    def __init__(
        self,
        paths: list[Path],
        top: "Top",
        mapping: Mapping,
        stride: int,
        box: "ArrayLike | None",
        progress: Callable[[Path, int], None] | None,
    ) -> None:
        self.paths, self.top, self.stride, self.box, self.progress = paths, top, stride, box, progress
        first = read_atoms(paths[0], top)
        self.topologies = [first.topology]
        for path in paths[1:]:
            self.topologies.append(first.topology if top is not None else read_topology(path))
            if self.topologies[-1] != first.topology:
                raise ValueError(f"{path} has other atoms than {paths[0]}: coarsen them apart")
        self.beads = mapping.apply(first.topology, masses=first.masses)
        elements = [atom.element.atomic_number for atom in first.topology.atoms]
        self.species = np.array(elements, dtype=np.int64)[self.beads.atoms]
        self.whole = complete([first.topology.atom(index) for index in self.beads.atoms])
        self.counts = [0 for _ in paths]
        self.boxes: list[np.ndarray] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        chunk = max(1, PIECE // self.beads.n_atoms)
        for number, (path, topology) in enumerate(zip(self.paths, self.topologies)):
            if path.suffix.lower() == ".trr":
                log.info("%s: forces in it, if any, are not read; give frames (.npz, .extxyz) to map them", path)
            for positions, vectors in read_chunks(path, topology, self.beads.atoms, self.stride, chunk, self.box):
                vectors = None if vectors is None else reduced_box(vectors, path)
                self._check(positions, vectors, path, number)
                self.counts[number] += len(positions)
                if vectors is not None:
                    self.boxes.append(vectors)
                yield self.beads.positions(positions, vectors)
                if self.progress is not None:
                    self.progress(path, sum(self.counts))

    def _check(self, positions: np.ndarray, vectors: np.ndarray | None, path: Path, number: int) -> None:
        bad = ~np.isfinite(positions).all(axis=(1, 2))
        if bad.any():
            frame = (self.counts[number] + bad.argmax()) * self.stride
            raise ValueError(f"{path} holds NaN or Inf in frame {frame}: leave this frame out")
        if self.counts[number] == 0:
            check_plausible(positions, self.species, vectors, path, whole=self.whole)
            if vectors is None and isinstance(self.top, (str, os.PathLike)) and has_cell(Path(self.top)):
                log.warning("%s has no box and %s has one: pass it as box if the system is periodic", path, self.top)
        if sum(self.counts) and bool(self.boxes) != (vectors is not None):
            raise ValueError(
                f"{path} has frames with a box where others before have none, or the reverse: give box, or leave it out"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of all positions."""
        return sum(self.counts), len(self.beads.types), 3

    def fields(self) -> dict[str, Any]:
        """What `Frames` need beside positions and temperature."""
        box = np.concatenate(self.boxes) if self.boxes else None
        if box is not None and (box == box[0]).all():
            box = box[0]
        replica = np.repeat(np.arange(len(self.counts)), self.counts)
        return _of_beads(self.beads) | {"box": box, "replica": replica}


def _of_beads(beads: Beads) -> dict[str, Any]:
    return {"species": beads.species, "types": beads.types, "bonds": beads.bonds, "masses": beads.masses}


def _coarsen_files(
    paths: list[Path],
    top: "Top",
    mapping: Mapping,
    temperature: "float | unit.Quantity | None",
    stride: int,
    box: "ArrayLike | None",
    progress: Callable[[Path, int], None] | None,
) -> "Frames":
    from .frames import Frames

    if top is None and paths[0].suffix.lower() == ".npz":
        raise ValueError(f"top is missing: {paths[0]} does not tell residues, give a topology (PDB)")
    parts = []
    for path in paths:
        parts.append(Frames.load(path, temperature, box=box)[::stride])
        if progress is not None:
            progress(path, sum(map(len, parts)))
    frames = Frames.concatenate(parts) if len(parts) > 1 else parts[0]
    # Archives of arrays are no trajectories: a topology's file is read for itself.
    source = top if isinstance(top, (str, os.PathLike)) else paths[0]
    return coarsen_frames(frames, mapping, read_topology(source, top))


def _check_atoms(frames: "Frames", topology: "mdtraj.Topology") -> None:
    if topology.n_atoms != len(frames.species):
        raise ValueError(
            f"frames have {len(frames.species)} atoms, the topology {topology.n_atoms}: give the topology of the frames"
        )
    for atom, number in zip(topology.atoms, frames.species):
        known = 0 if atom.element is None else atom.element.atomic_number
        if known and number and known != number:
            raise ValueError(
                f"atom {atom.index} has atomic number {number} in the frames, but is {atom} in the topology "
                f"({known}): give the topology of these atoms, in their order"
            )


def _checked_output(path: Path) -> Path:
    if path.suffix != ".npz":
        raise ValueError(f"output is {path}: give a name that ends in .npz")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {path}: there is no directory {path.parent}; make it first")
    return path


def _write(path: Path, positions: Any, shape: tuple[int, int, int], fields: dict[str, Any]) -> None:
    """The native npz file, its positions copied from a file of float32; it appears whole or not at all."""
    names = {"species": "atomic_numbers"}
    with whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in fields.items():
            if value is not None:
                with archive.open(f"{names.get(name, name)}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
        with archive.open("positions.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            shutil.copyfileobj(positions, member, 1 << 24)
