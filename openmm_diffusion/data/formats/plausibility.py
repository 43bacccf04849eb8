"""Whether positions that were read can be right: a wrong unit or column is an error here, not a strange model later.

Every threshold leaves room for dilute systems, droplets and molecules in large boxes, and unwrapped trajectories.
Only files are looked at; what is put into `frames.Frames` by hand may be anything.
"""

import logging
import os

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

log = logging.getLogger(__name__)

#: No two atoms come nearer (H2 has 0.074 nm, O-H 0.096 nm), and no two of heavier ones (N2 has 0.110 nm), nm.
TOUCHING, TOUCHING_HEAVY = 0.05, 0.08
#: A hydrogen without another atom within this distance is not bonded to any, nm.
BONDED = 0.3
#: No hydrogen is bonded to carbon, nitrogen or oxygen, and none but those of metals to another atom, from these on, nm.
BOUND_TO_CNO, BOUND_TO_OTHERS = 0.14, 0.17
#: Particles per nm^3: diamond has 176, and 300 at 1 TPa; hydrogen has 400 at 200 GPa, and needs more room.
DENSEST, DENSEST_HYDROGEN = 400.0, 700.0
#: Bonded atoms are nearer; where there are no hydrogens they may be beads that have an element (P of DNA: 0.66 nm), nm.
LONGEST, LONGEST_OF_BEADS = 0.5, 0.9
#: Without a box, particles that all keep so far from each other are worth a word, nm.
LONELY = 0.6
#: Expected pairs, if atoms lay anywhere, within the distance that no pair is seen at: e^-12 is the chance of that.
EXPECTED = 12.0
#: No liquid of atoms keeps all of them farther apart, nm.
APART = 1.2
#: Elements of molecules.
NONMETALS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)
#: Frames, and particles times frames, that are looked at.
FRAMES, ATOMS = 20, 200_000


def check_plausible(
    positions: ArrayLike,
    species: ArrayLike,
    box: np.ndarray | None,
    source: str | os.PathLike[str],
    length: float = 1.0,
    bonds: ArrayLike | None = None,
    whole: bool = True,
    hint: str = "",
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
    whole : bool
        Whether these are all atoms of their molecules; selected ones may be far from each other.
    hint : str
        What else may be wrong, for the error.

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
        or _other_scale(x, cells, species)
        or _twice(x, species)
        or _crowded(x, species)
        or _dense(species, cells)
        or _touching(wrapped, species)
        or _stretched(x, cells, species, bonds)
        or (_sparse(wrapped, cells, species) if whole else "")
    )
    if told:
        raise _error(source, told, hint)
    if whole and cells is None and (species > 0).all():
        nearest = min(float(_neighbours(frame)[0].min()) for frame in x)
        if nearest > LONELY:
            log.warning(
                "%s: no two of %d atoms come within %.2g nm: are the positions in Angstrom, and read as nm?",
                source, n, nearest,
            )  # fmt: skip


def check_apart(
    positions: np.ndarray, species: np.ndarray, cells: np.ndarray | None, source: str | os.PathLike[str], hint: str
) -> None:
    """Refuse atoms so far apart as only a wrong unit explains: one of the checks of `check_plausible`, for few frames.

    Parameters
    ----------
    positions : array, shape (n_frames, n_particles, 3), nm
    species : array, shape (n_particles,), atomic numbers, 0 for a bead
    cells : array, shape (n_frames, 3, 3), nm, or None
    source, hint
        As there.
    """
    x = positions.astype(np.float64)
    if np.isfinite(x).all() and not _same_place(x):
        told = _sparse(x if cells is None else _wrapped(x, cells), cells, species)
        if told:
            raise _error(source, told, hint)


def _error(source: str | os.PathLike[str], told: str, hint: str) -> ValueError:
    return ValueError(
        f"the positions in {source} cannot be right: {told}. {hint + '. ' if hint else ''}If they are, make "
        "Frames(positions, species, box, temperature) of them, which is not checked"
    )


def _neighbours(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the nearest other particle of each, without periodicity."""
    distances, indices = cKDTree(frame).query(frame, k=2)
    own = indices[:, 0] == np.arange(len(frame))
    return distances[:, 1], np.where(own, indices[:, 1], indices[:, 0])


def _nearest(frame: np.ndarray, cell: np.ndarray | None, chosen: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Distance of the nearest of `among`, itself apart, to each of the `chosen`; images count if nearer than `APART`.

    `frame` is wrapped into its cell where there is one.
    """
    points = frame[among]
    if cell is not None:
        heights = np.linalg.det(cell) / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
        margin = np.minimum(1.0, 1.01 * APART / heights)
        shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
        fractions = np.linalg.solve(cell.T, points.T).T
        kept = [
            points[((fractions + shift > -margin) & (fractions + shift < 1 + margin)).all(1)] + shift @ cell
            for shift in shifts
        ]
        points = np.concatenate(kept)
    found = cKDTree(points).query(frame[chosen], k=2)[0]
    # The first is the particle itself where it is among the others.
    return np.where(found[:, 0] > 1e-9, found[:, 0], found[:, 1])


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
    nearest = np.array([_neighbours(frame)[0] for frame in x])
    if nearest.min() > 0.2 and nearest.max() < 0.4 and nearest.min() * edges.min() / length > LONELY:
        return ""  # a crystal in the corner of its box: each atom touches another, and would touch none if scaled
    return (
        "they fill the range from 0 to 1 and the box does not; they are probably scaled, fractions of the box vectors"
    )


def _one_molecule(frame: np.ndarray, species: np.ndarray) -> bool:
    """Whether bonds of usual lengths connect all atoms."""
    pairs = cKDTree(frame).query_pairs(0.2, output_type="ndarray")
    hydrogens = (species[pairs] == 1).any(axis=1)
    pairs = pairs[~hydrogens | (np.linalg.norm(frame[pairs[:, 0]] - frame[pairs[:, 1]], axis=1) < 0.16)]
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(frame),) * 2)
    return bool((species > 0).all() and connected_components(graph)[0] == 1)


def _other_scale(x: np.ndarray, cells: np.ndarray | None, species: np.ndarray) -> str:
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
    tenth = _fills(x, edges / 10, 0.3 if nearest > BONDED / 2 and len(x) > 2 else 0.8)
    # One molecule may lie anywhere in a wide box.
    if tenth and not (nearest > TOUCHING and _one_molecule(x[0], species)):
        return (
            f"they fill exactly a tenth of the box (edge {edges[0, 0]:.4g} nm) along each axis; positions and box are "
            "probably in different units, nm and Angstrom"
        )
    return ""


def _twice(x: np.ndarray, species: np.ndarray) -> str:
    """Atoms at exactly one place; beads and their virtual sites may be there."""
    atoms = np.flatnonzero(species > 0)
    for frame in x[:, atoms] if len(atoms) > 1 else ():
        distances, others = _neighbours(frame)
        same = distances == 0
        if same.any():
            at = int(same.argmax())
            return (
                f"particles {atoms[at]} and {atoms[others[at]]} are at the same place ({same.sum()} of {len(atoms)} "
                "atoms share theirs); they are probably listed twice"
            )
    return ""


def _crowded(x: np.ndarray, species: np.ndarray) -> str:
    atoms = species > 0
    # Virtual sites lie on beads, Drude particles near their atoms.
    places = [np.unique(frame[atoms] if atoms.sum() > 1 else frame, axis=0) for frame in x]
    distances = np.concatenate([_neighbours(frame)[0] for frame in places if len(frame) > 1])
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


def _dense(species: np.ndarray, cells: np.ndarray | None) -> str:
    if cells is None:
        return ""
    n = len(species)
    density = float((n / np.linalg.det(cells)).max())
    if density <= (DENSEST_HYDROGEN if (species == 1).mean() > 0.5 else DENSEST):
        return ""
    return (
        f"{n} particles in this box are {density:.3g} per nm^3, more than in any solid; "
        "the box, or every length, is probably ten times too small (nm read as Angstrom)"
    )


def _sparse(x: np.ndarray, cells: np.ndarray | None, species: np.ndarray) -> str:
    """Atoms that keep so far apart as only a wrong unit explains."""
    remedy = "they are probably in Angstrom and read as nm"
    hydrogens = np.flatnonzero(species == 1)
    if len(hydrogens) and (species > 0).all():
        boxes = [None] * len(x) if cells is None else list(cells)
        every = np.arange(len(species))
        nearest = min(float(_nearest(frame, cell, hydrogens, every).min()) for frame, cell in zip(x, boxes))
        # One hydrogen that has a neighbour of its own is enough.
        if len(hydrogens) >= 2 and nearest > BONDED:
            return f"no hydrogen has another atom within {nearest:.2g} nm; {remedy}"
        organic = np.flatnonzero(np.isin(species, (6, 7, 8)))
        if len(organic) >= 1 and nearest > BOUND_TO_OTHERS:
            bound = min(float(_nearest(frame, cell, hydrogens, organic).min()) for frame, cell in zip(x, boxes))
            if bound > BOUND_TO_CNO:
                return (
                    f"no hydrogen is nearer than {nearest:.2g} nm to another atom, {bound:.2g} nm to carbon, nitrogen "
                    "or oxygen; they are probably in another unit (bohr read as Angstrom)"
                )
    if not (species > 0).all():
        return ""
    if cells is None:
        # Nonmetals are bonded to each other; ions and noble gases may be anywhere.
        free = min(float(_neighbours(frame)[0].min()) for frame in x)
        molecular = np.isin(species, NONMETALS).all() and np.isin(species, (1, 6, 7, 8)).any()
        return (
            f"no two of {x.shape[1]} atoms come within {free:.2g} nm; {remedy}" if molecular and free > LONELY else ""
        )
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
    if typical < (LONGEST if (species == 1).any() else LONGEST_OF_BEADS):
        return ""
    return (
        f"bonded atoms are {typical:.2g} nm apart; they are probably in Angstrom and read as nm, "
        "or the atoms are in another order than in the topology"
    )
