"""Cells and periodicity as files spell them, brought to the one form that the house knows."""

import os
import re
from typing import Any

import numpy as np
from mdtraj.utils import lengths_and_angles_to_box_vectors
from numpy.typing import ArrayLike
from openmm import unit

from ...units import array, shown
from .labels import length_unit

_FLAGS = {
    **dict.fromkeys(("t", "true", ".true.", "1", "1.0", "yes", "p", "pp"), True),
    **dict.fromkeys(("f", "false", ".false.", "0", "0.0", "no", "n", "ff"), False),
}

#: i-PI's comment line (its manual, "Output files"): a cell, and the units of cell and columns.
_IPI_CELL = re.compile(r"CELL\((\w+)\):\s*((?:[-+\d.eE]+\s+)+)")
_IPI_UNITS = re.compile(r"(\w+)\{(\w+)\}")


def reduced_box(cell: ArrayLike, source: str | os.PathLike[str]) -> np.ndarray | None:
    """A cell in OpenMM's reduced form, which `space.boxes.check_box` asks for (without torch, which takes seconds).

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
    if cell.shape[-2:] != (3, 3) or not np.isfinite(cell).all():
        raise ValueError(
            f"the cell in {source} has shape {cell.shape}, or holds NaN or Inf: give three finite vectors, in nm"
        )
    slack = 1e-5 * np.abs(cell).max()
    if np.abs(np.triu(cell, 1)).max() > slack or np.diagonal(cell, axis1=-2, axis2=-1).min() <= slack:
        raise ValueError(
            f"the cell in {source} is not lower triangular with positive edges (a along x, b in the xy plane): "
            "rotate cell, positions and forces into this orientation"
        )
    cell = cell.copy()
    for row, column in ((2, 1), (2, 0), (1, 0)):
        skew, edge = cell[..., row, column], cell[..., column, column]
        # What rounding leaves beyond half an edge is reduced as it is, to `space.boxes.check_box` too.
        count = np.where(np.abs(skew) > 0.5 * edge + 0.5e-5 * cell[..., 0, 0], np.rint(skew / edge), 0.0)
        cell[..., row, :] -= count[..., None] * cell[..., column, :]
    return cell


def upright(cells: np.ndarray, source: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cells turned so that a lies along x and b in the xy plane, and the rotations that turn positions with them.

    Cells that stand so already come back as they are, with unit matrices; edges are positive afterwards.

    Parameters
    ----------
    cells : array, shape (n_frames, 3, 3)
        Vectors as rows.
    source : path-like
        Where they come from, for the error.

    Returns
    -------
    cells : array, shape (n_frames, 3, 3)
    rotations : array, shape (n_frames, 3, 3)
        Positions as rows are turned by ``positions @ rotation``.

    Raises
    ------
    ValueError
        If the vectors are left-handed or not finite.
    """
    if not np.isfinite(cells).all():
        raise ValueError(f"the cell in {source} holds NaN or Inf: write the file again, or pass it without a cell")
    slack = 1e-5 * np.abs(cells).max()
    if np.abs(np.triu(cells, 1)).max() <= slack and np.diagonal(cells, axis1=1, axis2=2).min() > 0:
        return cells, np.tile(np.eye(3), (len(cells), 1, 1))
    if (np.linalg.det(cells) <= 0).any():
        raise ValueError(f"the cell in {source} is left-handed or flat: give three right-handed box vectors")
    rotations, triangles = np.linalg.qr(np.swapaxes(cells, 1, 2))
    signs = np.sign(np.diagonal(triangles, axis1=1, axis2=2))
    return np.swapaxes(triangles * signs[:, :, None], 1, 2), rotations * signs[:, None, :]


def turned(
    cell: np.ndarray | None, arrays: dict[str, np.ndarray | None], source: str | os.PathLike[str]
) -> tuple[np.ndarray | None, dict[str, np.ndarray | None]]:
    """The reduced box of a cell in any orientation, and what belongs to it turned with it.

    Parameters
    ----------
    cell : array, shape (3, 3) or (n_frames, 3, 3), nm, or None
    arrays : dict of arrays, shape (n_frames, n_particles, 3), or None
        Positions, forces: rows are turned, each frame by its own rotation.
    source : path-like
        Where they come from, for the error.

    Returns
    -------
    box : array like `cell`, nm, or None
    arrays : dict
    """
    if cell is None or not np.any(cell):
        return None, arrays
    cell = np.asarray(cell, dtype=np.float64)
    if cell.ndim not in (2, 3) or cell.shape[-2:] != (3, 3) or not np.isfinite(cell).all():
        return reduced_box(cell, source), arrays  # which says what is wrong with it
    standing, rotations = upright(cell.reshape(-1, 3, 3), source)
    fit = all(
        value is None or value.ndim == 3 and value.shape[2] == 3 and len(rotations) in (1, len(value))
        for value in arrays.values()
    )
    if fit and (rotations != np.eye(3)).any():  # other shapes are refused later
        arrays = {key: None if value is None else value @ rotations for key, value in arrays.items()}
    return reduced_box(standing.reshape(cell.shape), source), arrays


def one_if_constant(cells: np.ndarray) -> np.ndarray:
    """One cell (3, 3) for all frames where they are the same, as in a run at constant volume."""
    return cells[0] if cells.ndim == 3 and len(cells) and (cells == cells[0]).all() else cells


def given_box(box: ArrayLike | unit.Quantity) -> np.ndarray:
    """The box that a user gives, three edges or three vectors in nm (or a Quantity), as reduced vectors.

    Returns
    -------
    array, shape (3, 3), dtype float64, nm

    Examples
    --------
    >>> given_box([2.0, 2.0, 3.0]).tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]
    """
    if isinstance(box, str):
        raise ValueError(f"box is {shown(box)}: give three edges in nm, as in box=[2.5, 2.5, 2.5]")
    vectors = array(box, unit.nanometer, "box")
    if vectors.shape == (3,):
        vectors = np.diag(vectors)
    if vectors.shape != (3, 3):
        raise ValueError(f"box has shape {vectors.shape}: give three edges or three vectors as rows, in nm")
    if (np.diagonal(vectors) < 0).any():
        raise ValueError(f"box has a negative edge, {np.diagonal(vectors).min():g} nm: give three positive edges in nm")
    reduced = reduced_box(vectors, "the argument box")
    if reduced is None:
        raise ValueError("box is all zero: give three edges in nm, or leave the argument out")
    return reduced


def chosen_box(
    given: ArrayLike | unit.Quantity | None, read: np.ndarray | None, source: str | os.PathLike[str]
) -> np.ndarray | None:
    """The box of a file, or the given one where the file has none; two that differ are refused.

    Parameters
    ----------
    given : array or Quantity, shape (3,) or (3, 3), nm, or None
    read : array, shape (3, 3) or (n_frames, 3, 3), nm, or None
        Reduced.
    source : path-like
        The file, for the error.
    """
    if given is None:
        return read
    box = given_box(given)
    # Trajectories keep three decimals of a nanometre, PDB files two decimals of a degree.
    if read is not None and np.abs(read - box).max() > 2e-3 * max(1.0, np.abs(box).max()):
        edges = np.diagonal(np.atleast_3d(read.reshape(-1, 3, 3))[0])
        if read.ndim == 3 and (read != read[0]).any():
            raise ValueError(
                f"box is given with edges {_shown(np.diagonal(box))} nm, but the box of {source} varies from frame to "
                "frame: leave the argument out"
            )
        raise ValueError(
            f"box is given with edges {_shown(np.diagonal(box))} nm, but {source} has a box of its own, "
            f"{_shown(edges)} nm: leave the argument out, or correct the file"
        )
    return box if read is None else read


def _shown(edges: np.ndarray) -> str:
    return " x ".join(f"{edge:.4g}" for edge in edges)


def flags(value: Any, source: str) -> np.ndarray:
    """Periodicity along three axes from any spelling of it: T T T, [T, T, T], TTT, 1 1 1, True, an array.

    Parameters
    ----------
    value : str, bool, number or array of them
        One for all axes, or three.
    source : str
        Where it stands, for the error.

    Returns
    -------
    array, shape (3,), dtype bool

    Examples
    --------
    >>> flags("[T, T, F]", "x").tolist(), flags("1 1 1", "x").tolist(), flags("FFF", "x").tolist()
    ([True, True, False], [True, True, True], [False, False, False])
    """
    words = re.findall(r"[^\s,\[\]{}()\"']+", " ".join(str(part) for part in np.ravel(np.asarray(value))))
    if len(words) == 1 and re.fullmatch(r"[TtFf]{3}|[01]{3}", words[0]):
        words = list(words[0])
    known = [_FLAGS.get(word.lower()) for word in words]
    if len(known) not in (1, 3) or None in known:
        raise ValueError(f'periodicity in {source} is {value!r}: give pbc="T T T" or pbc="F F F"')
    return np.array(known * (3 // len(known)), dtype=bool)


def vectors(value: ArrayLike, n_frames: int, source: str) -> np.ndarray:
    """Box vectors as rows from three edges or nine numbers, of one cell or of each frame.

    Parameters
    ----------
    value : array, shape (3,), (9,), (3, 3), (n_frames, 3), (n_frames, 9) or (n_frames, 3, 3)
    n_frames : int
    source : str
        Where it stands, for the error.

    Returns
    -------
    array, shape (3, 3) or (n_frames, 3, 3), dtype float64
    """
    cell = np.asarray(value, dtype=np.float64)
    if cell.ndim == 3 and len(cell) == 1:
        cell = cell[0]
    if cell.shape in ((3, 3), (n_frames, 3, 3)):
        return cell
    if cell.shape in ((9,), (n_frames, 9)):
        return cell.reshape(*cell.shape[:-1], 3, 3)
    if cell.shape in ((3,), (n_frames, 3)):
        return cell[..., None] * np.eye(3)
    raise ValueError(
        f"the cell in {source} has shape {cell.shape}: give three edges or three vectors as rows, "
        "once or for each frame"
    )


def periodic_cell(
    cell: np.ndarray | None, pbc: np.ndarray | None, source: str | os.PathLike[str], given: bool = False
) -> np.ndarray | None:
    """The cell of a file if it is periodic, else None; refused where the file does not agree with itself.

    A cell without a word on periodicity is periodic, as to ASE.

    Parameters
    ----------
    cell : array, shape (3, 3) or (n_frames, 3, 3), or None
    pbc : array, shape (3,) or (n_frames, 3), dtype bool, or None
    source : path-like
        The file, for the error.
    given : bool
        Whether the user gives the cell of a file that holds none.
    """
    periodic = cell is not None and bool(np.any(cell))
    if pbc is not None and np.any(pbc) != np.all(pbc):
        raise ValueError(f"{source} is periodic along some axes only (pbc): give all three or none")
    if pbc is not None and np.all(pbc) and not periodic and not given:
        raise ValueError(
            f"{source} says it is periodic (pbc) but holds no cell: give its vectors there, or edges in nm as box="
        )
    if pbc is not None and not np.any(pbc):
        periodic = False
    return cell if periodic else None


def numeric(text: str) -> bool:
    """Whether a text is one number, or some with blanks between them."""
    try:
        return bool([float(word) for word in text.split()])
    except ValueError:
        return False


def written_vectors(text: str, key: str) -> np.ndarray:
    """Three vectors as rows from what a line says of them under a key: nine numbers, or three edges."""
    numbers = " ".join(re.findall(r"[^\s,\[\]{}()]+", text))
    count = len(numbers.split())
    if not numeric(numbers) or count not in (3, 9):
        kind = ", perhaps lengths and angles" if count == 6 else ""
        raise ValueError(
            f'its {key} is {text!r}, {count} numbers{kind}: give three vectors one after the other, {key}="12 0 0 0 12 '
            '0 0 0 12", or three edges'
        )
    cell = np.array(numbers.split(), dtype=float)
    if count == 3 and cell.any() and not cell.all():
        raise ValueError(f"its {key} is {text!r}, which is one vector or has an edge of 0: give three edges or vectors")
    return np.diag(cell) if count == 3 else cell.reshape(3, 3)


def ipi_cell(comment: str) -> dict[str, Any]:
    """Cell (in the unit of the positions) and r_unit (nm) of i-PI's comment line; empty for other lines."""
    found = _IPI_CELL.search(comment + " ")
    if found is None:
        return {}
    units = dict(_IPI_UNITS.findall(comment))
    if "positions" not in units or "cell" not in units:
        others = " and ".join(sorted(units.keys() - {"cell"})) or "nothing"
        raise ValueError(
            f"its comment line is i-PI's and names units of {others}: give a file of positions whose lines say "
            "positions{angstrom} and cell{angstrom}"
        )
    if found[1] != "abcABC" or not numeric(found[2]) or len(found[2].split()) != 6:
        raise ValueError(f"its comment line has i-PI's CELL({found[1]}): write CELL(abcABC), three edges and angles")
    numbers = [float(word) for word in found[2].split()]
    length = length_unit(units["positions"], "its comment line")
    factor = length_unit(units["cell"], "its comment line") / length
    edges = [factor * edge for edge in numbers[:3]]
    return {"cell": np.stack(lengths_and_angles_to_box_vectors(*edges, *numbers[3:])), "r_unit": length}
