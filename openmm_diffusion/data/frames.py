"""Equilibrium configurations of one system at one temperature: what a denoiser learns from."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np
from numpy.typing import ArrayLike
from openmm import app, unit

from ..particles import ordered, topology_of
from ..rundirectory import whole
from ..units import count, kelvin, number, shown
from .checks import (
    checked_bonds,
    checked_box,
    checked_forces,
    checked_masses,
    checked_particles,
    checked_positions,
    checked_replica,
    joined,
)  # fmt: skip
from .formats import as_path, listed
from .formats.archives import FORMAT
from .readers import NO_TEMPERATURE, load_frames
from .trajectories import read_trajectories


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Equilibrium configurations of one system at one temperature.

    Parameters
    ----------
    positions : array or Quantity, shape (n_frames, n_particles, 3), nm
        Wrapped into the box or not.  Kept as float32.
    species : array, shape (n_particles,), dtype int or str
        Atomic numbers, 0 for a particle that has no element; or the types themselves, which are
        elements if all are symbols and not all "W" (water).  Kept as int64, atomic numbers.
    box : array or Quantity, shape (3, 3) or (n_frames, 3, 3), nm, or None
        Box vectors as rows, in OpenMM's reduced form; None: no periodicity.  Kept as float64.
    temperature : float or Quantity, K
    forces : array or Quantity, shape (n_frames, n_particles, 3), kJ/mol/nm, optional
        Labels, where there are any: a frame without them is NaN throughout.  Kept as
        float32, or as None if no frame has any.
    replica : array, shape (n_frames,), dtype int, optional
        Which independent run a frame comes from; all 0 if not given.  Frames of one
        replica are taken to be in order of time.
    types : array, shape (n_particles,), dtype str, optional
        What each particle is called, a short string: element symbols if not given.
    bonds : array, shape (n_bonds, 2), dtype int, optional
        Pairs of particles that are bonded, the lower index first; None: nobody said.
    masses : array or Quantity, shape (n_particles,), amu, optional
        Those of the elements if not given, NaN where there is neither.  Kept as float64.
    bias_forces : array or Quantity, shape (n_frames, n_particles, 3), kJ/mol/nm, optional
        Forces of a bias that the frames were sampled with and that is not part of the system, -grad V_b.
        Kept as float32.

    Raises
    ------
    ValueError
        If the arrays do not fit each other or describe no configuration.

    Examples
    --------
    >>> frames = Frames(np.zeros((5, 2, 3)), [3, 17], 2.0 * np.eye(3), 300 * unit.kelvin)
    >>> len(frames), frames.symbols, len(frames[1:3])
    (5, ['Li', 'Cl'], 2)
    """

    positions: np.ndarray
    species: np.ndarray
    box: np.ndarray | None
    temperature: float
    forces: np.ndarray | None = None
    replica: np.ndarray = None  # type: ignore[assignment]  # never None once made
    types: np.ndarray = None  # type: ignore[assignment]
    bonds: np.ndarray | None = None
    masses: np.ndarray = None  # type: ignore[assignment]
    bias_forces: np.ndarray | None = None

    if TYPE_CHECKING:  # what is given is converted: more than the fields hold may be

        def __init__(
            self,
            positions: ArrayLike | unit.Quantity,
            species: ArrayLike,
            box: ArrayLike | unit.Quantity | None,
            temperature: float | unit.Quantity,
            forces: ArrayLike | unit.Quantity | None = None,
            replica: ArrayLike | None = None,
            types: ArrayLike | None = None,
            bonds: ArrayLike | None = None,
            masses: ArrayLike | unit.Quantity | None = None,
            bias_forces: ArrayLike | unit.Quantity | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        positions = checked_positions(self.positions)
        n_frames = len(positions)
        species, types = checked_particles(self.species, self.types, positions.shape[1])
        bias = None
        if self.bias_forces is not None:
            bias = checked_forces(self.bias_forces, positions.shape, "bias_forces")
            if bias is None or np.isnan(bias).any():
                raise ValueError("bias_forces holds NaN: give 0 kJ/mol/nm in frames without a bias")
        fields = {
            "positions": positions,
            "species": species,
            "box": None if self.box is None else checked_box(self.box, n_frames),
            "temperature": kelvin(self.temperature),
            "forces": None if self.forces is None else checked_forces(self.forces, positions.shape),
            "replica": checked_replica(self.replica, n_frames),
            "types": types,
            "bonds": None if self.bonds is None else checked_bonds(self.bonds, positions.shape[1]),
            "masses": checked_masses(self.masses, species),
            "bias_forces": bias,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        temperature: float | unit.Quantity | None = None,
        *,
        box: ArrayLike | unit.Quantity | None = None,
        forces_key: str | None = None,
    ) -> "Frames":
        """Frames from a file: native npz, npz of NequIP, ASE or sGDML, extended XYZ; see `readers.read_frames`.

        Parameters
        ----------
        path : path-like
        temperature : float or Quantity, K, optional
        box : array or Quantity, shape (3,) or (3, 3), nm, optional
            Both for what the file does not give.
        forces_key : str, optional
            Array or column that holds the forces, where more than one may.

        Raises
        ------
        FileNotFoundError, ValueError
            If the file cannot be read, or its positions cannot be right.
        """
        return cls(**load_frames(path, temperature, box, forces_key))

    @classmethod
    def from_trajectory(
        cls,
        trajectory: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        top: str | os.PathLike[str] | mdtraj.Topology | None = None,
        select: str = "all",
        temperature: float | unit.Quantity | None = None,
        stride: int = 1,
        replica: int = 0,
        *,
        types: str | Sequence[str] = "element",
        box: ArrayLike | unit.Quantity | None = None,
    ) -> "Frames":
        """Frames from a trajectory: any format of mdtraj, multi-frame .gro, LAMMPS dumps, GSD, extended XYZ.

        Parameters
        ----------
        trajectory : path-like or list of path-like
            Each file of a list is an independent run, with a replica number of its own.
        top : path-like, or Topology of mdtraj or OpenMM, optional
            What the atoms are; needed by formats that do not say.
        select : str
            Atoms to keep, in mdtraj's selection language: "name LI or name CL".
        temperature : float or Quantity, K
            Temperature of the ensemble that was simulated; trajectories do not hold it.
        stride : int
            Keep every stride-th frame.
        replica : int
            Number of the (first) run.
        types : "element", "name", "residue:name" or list of str
            What a particle is called.  Elements are read, not guessed (see `elements`); beads have none.
        box : array or Quantity, shape (3,) or (3, 3), nm, optional
            Box of trajectories that have none.
        """
        if temperature is None:
            raise ValueError(NO_TEMPERATURE)
        stride, replica, temperature = (
            count(stride, "stride"),
            count(replica, "replica", at_least=0),
            kelvin(temperature),
        )
        paths = listed(trajectory, "trajectory")
        fields = read_trajectories(
            paths, top, select=select, stride=stride, types=types, box=box, temperature=temperature
        )
        runs = [cls(temperature=temperature, **each) for each in fields]
        frames = cls.concatenate(runs, paths) if len(runs) > 1 else runs[0]
        return replace(frames, replica=frames.replica + replica)

    @classmethod
    def concatenate(cls, parts: Iterable["Frames"], names: Sequence[Any] | None = None) -> "Frames":
        """The frames of several sets of one system, their replicas renumbered from 0 so that they stay distinct.

        What the parts are called in errors are their `names`, parts[0] and so on if not given.
        """
        parts = list(parts)
        names = [f"parts[{at}]" for at in range(len(parts))] if names is None else names
        if not parts or not all(isinstance(part, Frames) for part in parts):
            raise ValueError(f"parts is {shown(parts) if parts else 'an empty list'}: give a list of Frames")
        first, offset = parts[0], 0
        replicas: list[np.ndarray] = []
        for at, part in enumerate(parts):
            if not part.same_particles(first):
                raise ValueError(
                    f"{names[at]} has other types, elements or bonds than {names[0]}: join frames of one system"
                )
            if abs(part.temperature - first.temperature) > 1e-4 * first.temperature:
                raise ValueError(
                    f"{names[at]} is at {part.temperature:g} K, {names[0]} at {first.temperature:g} K: "
                    "join frames of one ensemble only"
                )
            if (part.box is None) != (first.box is None):
                raise ValueError(f"only one of {names[0]} and {names[at]} is periodic: give both a box, or neither")
            values, inverse = np.unique(part.replica, return_inverse=True)
            replicas.append(inverse + offset)
            offset += len(values)
        box: Any = first.box
        boxes: list[Any] = [part.box for part in parts]
        if any(not np.array_equal(other, box) for other in boxes) or np.ndim(box) == 3:
            box = np.concatenate([part.boxes for part in parts])
        positions = [part.positions for part in parts]
        more: dict[str, Any] = {
            "forces": joined([part.forces for part in parts], positions, np.nan),
            "bias_forces": joined([part.bias_forces for part in parts], positions, 0.0),
            "replica": np.concatenate(replicas),
        }
        return replace(first, positions=np.concatenate(positions), box=box, **more)

    def same_particles(self, other: "Frames") -> bool:
        """Whether another set of frames is of the same particles: types, elements and bonds, in this order."""
        mine, theirs = (np.zeros((0, 2)) if bonds is None else bonds for bonds in (self.bonds, other.bonds))
        return (
            np.array_equal(self.types, other.types)
            and np.array_equal(self.species, other.species)
            and np.array_equal(mine, theirs)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the native npz file, compressed; an interrupted write leaves no half file under this name."""
        path = as_path(path)
        if path.suffix != ".npz":
            raise ValueError(f"path is {path}: give a name that ends in .npz")
        names = {"species": "atomic_numbers"}
        arrays = {names.get(name, name): value for name, value in vars(self).items() if value is not None}
        if not self._beads:  # what the elements tell is not said twice
            del arrays["types"]
        if np.array_equal(self.masses, checked_masses(None, self.species), equal_nan=True):
            del arrays["masses"]
        arrays["format"] = np.array(FORMAT)
        with whole(path) as file:
            np.savez_compressed(file, **arrays)

    def topology(self) -> app.Topology:
        """OpenMM Topology with the bonds there are, as `particles.topology_of` names it; box of the first frame."""
        topology = topology_of(self.types.tolist(), self.species, [] if self.bonds is None else self.bonds)
        boxes = self.boxes
        if boxes is not None:
            topology.setPeriodicBoxVectors(boxes[0] * unit.nanometer)
        return topology

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """mdtraj Trajectory of all frames, in nm, with the box where there is one."""
        trajectory = mdtraj.Trajectory(self.positions, mdtraj.Topology.from_openmm(self.topology()))
        trajectory.unitcell_vectors = self.boxes
        return trajectory

    def split(self, fraction: float, seed: int = 0) -> tuple["Frames", "Frames"]:
        """Two sets that are as independent as the data allow: (rest, held_out).

        Neighbouring frames of a run are correlated, so a random choice of frames would
        put near copies of the held-out ones into the rest.  With several replicas,
        whole replicas are held out; with one, its last contiguous stretch.

        Parameters
        ----------
        fraction : float
            Share of the frames that should be held out, 0 to 1; it is met as closely as whole replicas allow.
        seed : int
            Chooses the replicas; has no effect with one replica.

        Returns
        -------
        rest, held_out : Frames
        """
        fraction, seed = number(fraction, None, "fraction", above=0, below=1), count(seed, "seed", at_least=0)
        if len(self) < 2:
            raise ValueError("one frame cannot be split: give at least two frames")
        replicas, counts = np.unique(self.replica, return_counts=True)
        if len(replicas) == 1:
            n_held_out = min(max(round(fraction * len(self)), 1), len(self) - 1)
            return self[:-n_held_out], self[-n_held_out:]
        order = np.random.default_rng(seed).permutation(len(replicas))
        excess = np.cumsum(counts[order])[:-1] - fraction * len(self)
        held_out = np.isin(self.replica, replicas[order[: np.abs(excess).argmin() + 1]])
        return self[~held_out], self[held_out]

    def shortest_distances(self, exclusions: int = 0) -> dict[tuple[str, str], float]:
        """The shortest distance of each pair of types over all frames, of particles more than some bonds apart.

        Returns
        -------
        dict of (str, str) to float
            From two types, in the order of `particles.ordered`, to nm.  In a triclinic box exact up to
            half its smallest diagonal element; pairs of types that no two particles form are left out.
        """
        # torch, whose seconds and memory reading need not spend
        from ..space.connectivity import free_pairs
        from ..space.neighbours import closest_approach

        names, exclusions = ordered(self.types), count(exclusions, "exclusions", at_least=0)
        index = np.array([names.index(kind) for kind in self.types])
        first, second = free_pairs(len(index), self.bonds, exclusions)
        nearest = closest_approach(self.positions, self.boxes, first, second)
        pairs = np.sort(np.stack([index[first], index[second]], axis=1), axis=1)
        return {
            (names[low], names[high]): float(nearest[(pairs == (low, high)).all(1)].min())
            for low, high in np.unique(pairs, axis=0)
        }

    def digest(self) -> str:
        """First 16 hexadecimal characters of the SHA-256 of positions, species, box and temperature.

        Of beads and bonds too, where there are any.
        """
        box = np.zeros(0) if self.box is None else self.box
        arrays = (("<f4", self.positions), ("<i8", self.species), ("<f8", box), ("<f8", self.temperature))
        digest = hashlib.sha256()
        for dtype, array in arrays:
            array = np.ascontiguousarray(array, dtype=dtype)
            digest.update(f"{array.shape}".encode() + array.tobytes())
        if self._beads:
            digest.update("\n".join(self.types).encode())
        for more in (self.bonds, self.bias_forces):
            if more is not None and more.size:
                digest.update(f"{more.shape}".encode() + more.tobytes())
        return digest.hexdigest()[:16]

    @property
    def symbols(self) -> list[str]:
        """Element symbols, list of str, one for each particle; empty for one that has no element."""
        return [app.Element.getByAtomicNumber(int(number)).symbol if number else "" for number in self.species]

    @property
    def _beads(self) -> bool:
        """Whether a type says more than the elements do."""
        return any(kind != symbol for kind, symbol in zip(self.types, self.symbols))

    @property
    def boxes(self) -> np.ndarray | None:
        """Box vectors of each frame, shape (n_frames, 3, 3), nm; None without periodicity."""
        return None if self.box is None else np.array(np.broadcast_to(self.box, (len(self), 3, 3)))

    @property
    def labelled(self) -> np.ndarray:
        """Which frames have forces, shape (n_frames,), dtype bool."""
        return np.zeros(len(self), dtype=bool) if self.forces is None else ~np.isnan(self.forces[:, 0, 0])

    @property
    def number_density(self) -> float | None:
        """Particles per nm^3, mean over frames; None without a box."""
        boxes = self.boxes
        return None if boxes is None else float(np.mean(len(self.species) / np.linalg.det(boxes)))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> "Frames":
        """The frames of an index, a slice, a mask or an array of indices, always as Frames."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        box = self.box[chosen] if self.box is not None and self.box.ndim == 3 else self.box
        per_frame: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[chosen]
            for name in ("positions", "forces", "bias_forces", "replica")
        }
        return replace(self, box=box, **per_frame)

    def renumbered(self, replica: np.ndarray) -> "Frames":
        """The same frames, of replicas of other numbers (n_frames,)."""
        return replace(self, replica=replica)

    def __repr__(self) -> str:
        species = ", ".join(f"{count} {kind}" for kind, count in Counter(map(str, self.types)).items())
        return (
            f"Frames({len(self)} frames of {species}, {self.temperature:g} K, "
            f"{len(np.unique(self.replica))} replicas, {self.labelled.sum()} frames with forces)"
        )
