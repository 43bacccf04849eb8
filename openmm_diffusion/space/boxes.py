"""Periodic boxes: what a box is, and which images are nearest.

A box holds its three vectors as rows, in OpenMM's reduced triclinic form::

    a = (ax, 0, 0),  b = (bx, by, 0),  c = (cx, cy, cz)
    ax >= 2 |bx|,  ax >= 2 |cx|,  by >= 2 |cy|

in which subtracting c, then b, then a finds the nearest image of every vector
shorter than half the smallest diagonal element.
"""

from typing import Optional

import torch
from torch import Tensor


def check_box(box: Tensor, argument: str = "box") -> None:
    """Refuse box vectors that are not finite, positive and in OpenMM's reduced form.

    Parameters
    ----------
    box : Tensor, shape (..., 3, 3), nm
        Box vectors as rows.

    Raises
    ------
    ValueError
    """
    if box.shape[-2:] != (3, 3):
        raise ValueError(
            f"{argument} has shape {tuple(box.shape)}: give three box vectors as rows, shape (3, 3), in nm"
        )
    if not torch.isfinite(box).all():
        raise ValueError(f"{argument} holds NaN or Inf: give three finite box vectors in nm")
    a, b, c = box.unbind(-2)
    slack = 1e-5 * a[..., 0].abs()
    edges = torch.stack([a[..., 0], b[..., 1], c[..., 2]], -1)
    if bool((edges <= 0).any()):
        raise ValueError(f"{argument} has an edge of {float(edges.min()):g} nm: give three positive edges in nm")
    triangular = (a[..., 1:].abs().amax(-1) <= slack) & (b[..., 2].abs() <= slack)
    reduced = (
        (2 * b[..., 0].abs() <= a[..., 0] + slack)
        & (2 * c[..., 0].abs() <= a[..., 0] + slack)
        & (2 * c[..., 1].abs() <= b[..., 1] + slack)
    )
    if not bool((triangular & reduced).all()):
        raise ValueError(
            f"{argument} is not in OpenMM's reduced form (a along x, b in the xy plane, skew at most half an edge): "
            "reduce it with openmm.app.internal.unitcell.reducePeriodicBoxVectors"
        )


def check_cutoff(cutoff: float, box: Tensor, argument: str = "cutoff") -> None:
    """Refuse a cutoff (nm) above half the smallest width of the box (..., 3, 3), where images would be missed."""
    half = 0.5 * float(torch.diagonal(box, dim1=-2, dim2=-1).min())
    if cutoff > half * (1 + 1e-6):
        raise ValueError(
            f"{argument} is {cutoff:.4g} nm, over half the box ({half:.4g} nm), and periodic images would be missed: "
            f"bring it to at most {half:.4g} nm, or use a larger box"
        )


def minimum_image(vectors: Tensor, box: Optional[Tensor]) -> Tensor:
    """The nearest periodic image of each vector.

    Parameters
    ----------
    vectors : Tensor, shape (..., 3), nm
    box : Tensor, shape (3, 3) or broadcastable to (..., 3, 3), nm, or None
        None leaves the vectors as they are: no periodicity.

    Returns
    -------
    Tensor, shape (..., 3), nm
    """
    if box is None:
        return vectors
    for axis in (2, 1, 0):
        shift = torch.round(vectors[..., axis] / box[..., axis, axis])
        vectors = vectors - shift.unsqueeze(-1) * box[..., axis, :]
    return vectors


def wrap(positions: Tensor, box: Tensor) -> Tensor:
    """Positions (..., 3) shifted by whole box vectors into the cell at the origin."""
    for axis in (2, 1, 0):
        shift = torch.floor(positions[..., axis] / box[..., axis, axis])
        positions = positions - shift.unsqueeze(-1) * box[..., axis, :]
    return positions
