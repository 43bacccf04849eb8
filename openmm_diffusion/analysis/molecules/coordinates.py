"""Internal coordinates of molecules, and their radii of gyration, by kind: the types of their particles.

Kinds are in the order of `space.connectivity`.  Molecules are made whole along their bonds first, so that a bond may be
no longer than half the box.  Angles are in degrees.
"""

from collections import Counter
from dataclasses import dataclass

import mdtraj
import numpy as np

from ...particles import ordered
from ...space.connectivity import connectivity
from ...space.molecules import BondGraph, WholeGroups

#: What the rows of each table of a `Connectivity` are called, and their unit.
QUANTITIES = {"bonds": ("bond", "nm"), "angles": ("angle", "degree"), "dihedrals": ("dihedral", "degree")}
QUANTITIES |= {"impropers": ("improper", "degree"), "chains": ("map", "degree")}
#: Positions (frames x particles) that are made whole at a time.
AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Coordinate:
    """One kind of internal coordinate of some frames.

    Attributes
    ----------
    unit : str
        "nm" or "degree".
    values : array, shape (n_frames, n_groups), of a map (n_frames, n_groups, 2), dtype float32
    distinct : bool
        Whether the partners of an improper are of three types: its sign then tells the hand of the molecule.
    """

    unit: str
    values: np.ndarray
    distinct: bool = False


def internal_coordinates(frames, bonds=None):
    """Every kind of internal coordinate, and the radius of gyration of every kind of molecule of more than two.

    Parameters
    ----------
    frames : Frames
    bonds : array, shape (n_bonds, 2), optional
        None: those of the frames.

    Returns
    -------
    dict of (str, str) to Coordinate
        By quantity ("bond", "angle", "dihedral", "improper", "map", "radius of gyration") and kind; empty without
        bonds.
    """
    bonds = frames.bonds if bonds is None else bonds
    names = ordered(frames.types)
    species = [names.index(kind) for kind in frames.types]
    links = connectivity(bonds, species)
    if links is None:
        return {}
    tables = {name: getattr(links, name).numpy() for name in QUANTITIES}
    graph = BondGraph(len(species), bonds)
    label = graph.molecules()
    members = [np.flatnonzero(label == number) for number in np.flatnonzero(np.bincount(label) > 1)]
    whole = WholeGroups.of([group.tolist() for group in members], graph)
    large, masses = [group for group in members if len(group) > 2], frames.masses
    values = {}
    step, boxes = max(1, AT_ONCE // len(species)), frames.boxes
    for start in range(0, len(frames), step):
        part = slice(start, start + step)
        x = np.zeros((len(frames.positions[part]), len(species), 3), dtype=np.float32)
        x[:, whole.nodes] = whole.from_roots(frames.positions[part], None if boxes is None else boxes[part])
        measured = {name: _measured(x, name, table) for name, table in tables.items() if len(table)}
        if large:
            measured["gyration"] = np.stack([radii_of_gyration(x[:, group], masses[group]) for group in large], axis=1)
        for name, value in measured.items():
            values.setdefault(name, []).append(value.astype(np.float32))
    result = {}
    for name, pieces in values.items():
        value = np.concatenate(pieces)
        if name == "gyration":
            kinds = [_composition(frames.types[group]) for group in large]
            quantity, unit = "radius of gyration", "nm"
        else:
            kinds = ["-".join(frames.types[group]) for group in tables[name]]
            quantity, unit = QUANTITIES[name]
        for kind in sorted(set(kinds)):
            rows = [number for number, other in enumerate(kinds) if other == kind]
            distinct = name == "impropers" and len(set(frames.types[tables[name][rows[0], 1:]])) == 3
            result[quantity, kind] = Coordinate(unit, value[:, rows], distinct)
    return result


def _measured(x, name, table):
    """Values of a table of groups in whole molecules (n_frames, n_particles, 3): nm or degrees."""
    trajectory = mdtraj.Trajectory(x, None)
    if name == "bonds":
        return mdtraj.compute_distances(trajectory, table, periodic=False)
    if name == "angles":
        return np.degrees(mdtraj.compute_angles(trajectory, table, periodic=False))
    if name == "chains":
        pair = (mdtraj.compute_dihedrals(trajectory, table[:, k : k + 4], periodic=False) for k in (0, 1))
        return np.degrees(np.stack(list(pair), axis=-1))
    return np.degrees(mdtraj.compute_dihedrals(trajectory, table, periodic=False))


def radii_of_gyration(x, masses):
    """Radius of gyration (nm) of a whole molecule, shape (n_frames,): sqrt(sum m |r - centre of mass|^2 / sum m).

    Parameters
    ----------
    x : array, shape (n_frames, n_particles, 3), nm
    masses : array, shape (n_particles,), amu
        Where any of them is NaN all particles weigh the same.
    """
    weights = np.ones(len(masses)) if np.isnan(masses).any() else masses
    weights = weights / weights.sum()
    x = x.astype(np.float64)
    away = x - np.einsum("p,fpk->fk", weights, x)[:, None]
    return np.sqrt(np.einsum("p,fpk,fpk->f", weights, away, away))


def _composition(types):
    counts = Counter(map(str, types))
    return " + ".join(f"{counts[kind]} {kind}" if counts[kind] > 1 else kind for kind in ordered(counts))
