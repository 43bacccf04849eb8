"""Whether positions that were read can be right: a wrong unit or column is an error here, not a strange model later.

Every threshold leaves room for dilute systems, droplets and molecules in large boxes, and unwrapped trajectories.
Only files are looked at; what is put into `frames.Frames` by hand may be anything.
"""

import os

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

#: No two atoms come nearer (H2 has 0.074 nm, O-H 0.096 nm), and no two of heavier ones (N2 has 0.110 nm), nm.
TOUCHING, TOUCHING_HEAVY = 0.05, 0.08
#: A hydrogen without another atom within this distance is not bonded to any, nm.
BONDED = 0.3
#: Particles per nm^3; diamond, the densest solid, has 176.
DENSEST = 250.0
#: Expected pairs, if atoms lay anywhere, within the distance that no pair is seen at: e^-12 is the chance of that.
EXPECTED = 12.0
#: No liquid of atoms keeps all of them farther apart, nm.
APART = 1.2
#: Frames, and particles times frames, that are looked at.
FRAMES, ATOMS = 20, 200_000


def check_plausible(
    positions: ArrayLike,
    species: ArrayLike,
    box: np.ndarray | None,
    source: str | os.PathLike[str],
    length: float = 1.0,
    bonds: ArrayLike | None = None,
) -> None:
    """Refuse positions that cannot be right, with the unit or the column that is probably wrong.

    At most 20 frames are looked at, evenly over all.

    Parameters
    ----------
    positions : array, shape (n_frames, n_particles, 3), nm
    species : array, shape (n_particles,), atomic numbers, 0 for a bead
    box : array, shape (3, 3) or (n_frames, 3, 3), nm, or None
    source : path-like
        Where they come from, for the error.
    length : float, nm
        The file's unit of length.
    bonds : array, shape (n_bonds, 2), optional

    Raises
    ------
    ValueError
    """
    positions, species = np.asarray(positions), np.asarray(species)
    if positions.ndim != 3 or positions.shape[2] != 3 or positions.shape[1] < 2 or not len(positions):
        return  # `checks` says what is wrong with the shape; one particle can be anywhere
    bad = ~np.isfinite(positions).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f"positions in {source} are NaN or Inf in {bad.sum()} of {len(bad)} frames, first in frame {bad.argmax()}: "
            "leave these frames out"
        )
    n_frames, n = positions.shape[:2]
    count = min(n_frames, FRAMES, max(3, ATOMS // n))
    chosen = np.unique(np.linspace(0, n_frames - 1, count).round().astype(int))
    x = positions[chosen].astype(np.float64)
    cells = None
    if box is not None:
        cells = np.broadcast_to(box, (n_frames, 3, 3))[chosen]
    wrapped = x if cells is None else _wrapped(x, cells)
    told = (
        _same_place(x)
        or _fractions(x, cells, length)
        or _other_scale(x, cells)
        or _crowded(x)
        or _dense(n, cells)
        or _touching(wrapped, species)
        or _sparse(wrapped, cells, species)
        or _stretched(x, cells, species, bonds)
    )
    if told:
        raise ValueError(f"the positions in {source} cannot be right: {told}")


def _wrapped(x: np.ndarray, cells: np.ndarray) -> np.ndarray:
    fractions = np.linalg.solve(np.swapaxes(cells, 1, 2)[:, None], x[..., None])[..., 0]
    return (fractions - np.floor(fractions)) @ cells


def _same_place(x: np.ndarray) -> str:
    same = (x == x[:, :1]).all(axis=(1, 2))
    if not same.any():
        return ""
    return (
        f"all {x.shape[1]} particles are at one place in {same.sum()} of {len(x)} frames looked at; "
        "the columns of positions are probably others, or empty"
    )


def _fills(x: np.ndarray, edges: np.ndarray, share: float = 0.8) -> bool:
    """Whether the particles of every frame fill a cell of these edges that begins at the origin or surrounds it.

    Along each axis they must reach over a `share` of the edge and not beyond it.  A cell
    that surrounds the origin is told by a larger share only: unwrapped particles wander to
    both sides alike.
    """
    low, high = x.min(axis=1), x.max(axis=1)
    spread = high - low
    inside = (low > -0.07 * edges).all() and (high < 1.07 * edges).all() and (low < 0.3 * edges).all()
    around = (low > -0.52 * edges).all() and (high < 0.52 * edges).all() and (spread > 0.8 * edges).all()
    return bool(x.shape[1] >= 8 and (spread > share * edges).all() and (inside or around))


def _fractions(x: np.ndarray, cells: np.ndarray | None, length: float) -> str:
    if cells is None:
        return ""
    edges = np.diagonal(cells, axis1=1, axis2=2)
    one = np.full_like(edges, length)
    if (np.abs(edges / length - 1) < 0.5).any() or not _fills(x, one):
        return ""
    return (
        "they fill the range from 0 to 1 and the box does not; they are probably scaled, fractions of the box vectors"
    )


def _other_scale(x: np.ndarray, cells: np.ndarray | None) -> str:
    if cells is None:
        return ""
    edges = np.diagonal(cells, axis1=1, axis2=2)
    # Atoms of a molecule are near each other wherever it has wandered; a molecule may lie in the corner of a box.
    nearest = min(float(cKDTree(frame).query(frame, k=2)[0][:, 1].min()) for frame in x)
    if nearest > 10 * TOUCHING and _fills(x, 10 * edges, 0.3):
        return (
            f"they fill ten times the box (edge {edges[0, 0]:.4g} nm); positions and box are probably in different "
            "units, Angstrom and nm"
        )
    if _fills(x, edges / 10, 0.3 if nearest > BONDED / 2 and len(x) > 2 else 0.8):
        return (
            f"they fill exactly a tenth of the box (edge {edges[0, 0]:.4g} nm) along each axis; positions and box are "
            "probably in different units, nm and Angstrom"
        )
    return ""


def _crowded(x: np.ndarray) -> str:
    distances = np.array([cKDTree(frame).query(frame, k=2)[0][:, 1] for frame in x])
    typical = float(np.median(distances))
    if typical >= TOUCHING:
        return ""
    return (
        f"half of all particles have a neighbour within {typical:.2g} nm; they are probably in a unit ten times larger "
        "(nm read as Angstrom), or scaled by the box"
    )


def _touching(x: np.ndarray, species: np.ndarray) -> str:
    # A bead and a virtual site of coarse models may lie at one place; two atoms cannot.
    for chosen, limit, kind in ((species > 0, TOUCHING, "atoms"), (species > 1, TOUCHING_HEAVY, "atoms but hydrogen")):
        atoms = np.flatnonzero(chosen)
        if len(atoms) < 2:
            continue
        near = [cKDTree(frame[atoms]).query(frame[atoms], k=2) for frame in x]
        shortest = np.array([found[0][:, 1].min() for found in near])
        frame = int(shortest.argmin())
        if shortest[frame] < limit:
            first = int(near[frame][0][:, 1].argmin())
            pair = atoms[[first, int(near[frame][1][first, 1])]]
            return (
                f"particles {pair[0]} and {pair[1]} are {shortest[frame]:.2g} nm apart, and no two {kind} are nearer "
                f"than {limit} nm; the unit of length or the columns of positions are probably others, or the box is "
                "too small"
            )
    return ""


def _dense(n: int, cells: np.ndarray | None) -> str:
    if cells is None:
        return ""
    density = float((n / np.linalg.det(cells)).max())
    if density <= DENSEST:
        return ""
    return (
        f"{n} particles in this box are {density:.3g} per nm^3, more than in any solid; "
        "the box, or every length, is probably ten times too small (nm read as Angstrom)"
    )


def _sparse(x: np.ndarray, cells: np.ndarray | None, species: np.ndarray) -> str:
    """Atoms that keep so far apart as only a wrong unit explains."""
    remedy = "they are probably in Angstrom and read as nm"
    nearest = np.array([cKDTree(frame).query(frame, k=2)[0][:, 1] for frame in x])
    hydrogens = species == 1
    # Across the boundary of a box a neighbour may be missed: one hydrogen that has its own is enough.
    if hydrogens.sum() >= 2 and (species > 0).all() and nearest[:, hydrogens].min() > BONDED:
        return f"no hydrogen has another atom within {nearest[:, hydrogens].min():.2g} nm; {remedy}"
    if cells is None or not (species > 0).all():
        return ""
    # Inside one cell: pairs across its boundary are farther in `nearest`, so the shortest is asked with images.
    shortest = min(_shortest(frame, cell) for frame, cell in zip(x, cells))
    if shortest < APART:
        return ""
    n = x.shape[1]
    volume = float(np.linalg.det(cells).min())
    expected = n * (n - 1) / 2 * 4 / 3 * np.pi * shortest**3 / volume
    if expected * _independent(x, cells, shortest) < EXPECTED:
        return ""
    return f"no two of {n} atoms come within {shortest:.2g} nm in any frame looked at; {remedy}"


def _shortest(frame: np.ndarray, cell: np.ndarray) -> float:
    shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T @ cell
    images = (frame[:, None] + shifts).reshape(-1, 3) if len(frame) <= 2000 else frame
    return float(cKDTree(images).query(frame, k=2)[0][:, 1].min())


def _independent(x: np.ndarray, cells: np.ndarray, distance: float) -> int:
    """How many of the frames have moved by half a distance since the last that did: those that are as new."""
    found, last = 1, 0
    for number in range(1, len(x)):
        moved = np.linalg.solve(cells[number].T, (x[number] - x[last]).T)
        moved = (moved - np.round(moved)).T @ cells[number]
        if np.sqrt((moved**2).sum(1).mean()) > distance / 2:
            found, last = found + 1, number
    return found


def _stretched(x: np.ndarray, cells: np.ndarray | None, species: np.ndarray, bonds: ArrayLike | None) -> str:
    pairs = np.zeros((0, 2), int) if bonds is None else np.asarray(bonds)
    pairs = pairs[(species[pairs] > 0).all(axis=1)] if len(pairs) else pairs
    if not len(pairs):
        return ""
    vectors = x[:, pairs[:, 0]] - x[:, pairs[:, 1]]
    if cells is not None:
        fractions = np.linalg.solve(np.swapaxes(cells, 1, 2)[:, None], vectors[..., None])[..., 0]
        vectors = (fractions - np.round(fractions)) @ cells
    typical = float(np.median(np.linalg.norm(vectors, axis=-1)))
    if typical < 0.5:
        return ""
    return (
        f"bonded atoms are {typical:.2g} nm apart; they are probably in Angstrom and read as nm, "
        "or the atoms are in another order than in the topology"
    )
