"""Internal coordinates of bonded particles with their gradients and Laplacians, in closed form.

Of a group of particles (along the second-last axis but one), with r_ij = r_j - r_i:

- distance r of two: grad_j r = u = r_ij / r, lap_i r = lap_j r = 2 / r;
- cosine c of the angle at j between a = r_ji and b = r_jk, with unit vectors A and B:
  grad_i c = (B - c A) / a, lap_i c = -2 c / a^2, and those of k alike;
  grad_j = -grad_i - grad_k, lap_j c = -2 c (1/a^2 + 1/b^2) + 2 (1 + c^2) / (a b).
  Unlike the angle itself it is smooth where three particles are in line;
- dihedral phi of i, j, k, l (Blondel & Karplus, J. Comput. Chem. 17, 1132 (1996)), with F = r_ji, G = r_kj,
  H = r_kl, A = F x G, B = H x G: grad_i phi = -|G| A / A^2, grad_l phi = |G| B / B^2.  phi is a harmonic function of
  the place of every particle: its Laplacians are zero.

The sign of phi is that of IUPAC and of OpenMM: positive where, seen along j -> k, l lies clockwise of i.
"""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor


class Coordinate(NamedTuple):
    """An internal coordinate of every group in every frame, with its derivatives.

    Attributes
    ----------
    value : Tensor, shape (n_frames, n_groups)
        nm for a distance, dimensionless for a cosine, rad for a dihedral.
    gradient : Tensor, shape (n_frames, n_groups, n_members, 3), per nm
        By the place of each particle of the group.
    laplacian : Tensor, shape (n_frames, n_groups, n_members), per nm^2
    """

    value: Tensor
    gradient: Tensor
    laplacian: Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products along the last axis."""
    return (a * b).sum(-1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between vectors (..., 3)."""
    return torch.clamp(dot(a, b) / torch.sqrt(dot(a, a) * dot(b, b)), -1.0, 1.0)


def phase(F: Tensor, G: Tensor, H: Tensor, in_line: float = 1e-12) -> Tuple[Tensor, Tensor]:
    """Cosine and sine of the dihedral of vectors (..., 3): finite, and with finite slopes, in line too.

    There, where sin^2 sin^2 of both angles is below `in_line`, they go to zero.
    """
    A, B = torch.linalg.cross(F, G), torch.linalg.cross(H, G)
    length = torch.sqrt(dot(G, G))
    # sin sin cos(phi) and sin sin sin(phi), with the sines of both angles.
    norm = torch.sqrt(dot(F, F) * dot(H, H)) * length
    x, y = dot(A, B) / (norm * length), -dot(F, B) / norm
    size = torch.sqrt(x * x + y * y + in_line)
    return x / size, y / size


def multiples(cos: Tensor, sin: Tensor, order: int) -> Tuple[Tensor, Tensor]:
    """cos(n phi) and sin(n phi) for n = 1 ... order, on a new last axis."""
    c, s = [cos], [sin]
    for _ in range(order - 1):
        c.append(c[-1] * cos - s[-1] * sin)
        s.append(s[-1] * cos + c[-2] * sin)
    return torch.stack(c, -1), torch.stack(s, -1)


def distance_of(r: Tensor) -> Coordinate:
    """Distance of two particles, from the vectors (n_frames, n_groups, 3) between them."""
    length = torch.sqrt(dot(r, r))
    u = r / length.unsqueeze(-1)
    both = (2 / length).unsqueeze(-1)
    return Coordinate(length, torch.stack([-u, u], -2), torch.cat([both, both], -1))


def cosine_of(a: Tensor, b: Tensor) -> Coordinate:
    """Cosine of an angle, from the vectors from the vertex to both ends."""
    length_a, length_b = torch.sqrt(dot(a, a)), torch.sqrt(dot(b, b))
    A, B = a / length_a.unsqueeze(-1), b / length_b.unsqueeze(-1)
    c = dot(A, B)
    first = (B - c.unsqueeze(-1) * A) / length_a.unsqueeze(-1)
    last = (A - c.unsqueeze(-1) * B) / length_b.unsqueeze(-1)
    of_first, of_last = -2 * c / length_a**2, -2 * c / length_b**2
    middle = of_first + of_last + 2 * (1 + c * c) / (length_a * length_b)
    return Coordinate(c, torch.stack([first, -first - last, last], -2), torch.stack([of_first, middle, of_last], -1))


def dihedral_of(F: Tensor, G: Tensor, H: Tensor) -> Coordinate:
    """Dihedral from the vectors j -> i, k -> j and k -> l."""
    A, B = torch.linalg.cross(F, G), torch.linalg.cross(H, G)
    length = torch.sqrt(dot(G, G)).unsqueeze(-1)
    of_A, of_B = A / dot(A, A).unsqueeze(-1), B / dot(B, B).unsqueeze(-1)
    first, last = -length * of_A, length * of_B
    shift = dot(F, G).unsqueeze(-1) / length * of_A - dot(H, G).unsqueeze(-1) / length * of_B
    cos, sin = phase(F, G, H)
    gradient = torch.stack([first, shift - first, -shift - last, last], -2)
    return Coordinate(torch.atan2(sin, cos), gradient, torch.zeros_like(gradient[..., 0]))


def placed(coordinate: Coordinate, members: Tuple[int, ...], n_members: int) -> Coordinate:
    """A coordinate of some members of a larger group as one of the whole group."""
    value, gradient, laplacian = coordinate
    wide = gradient.new_zeros(*gradient.shape[:2], n_members, 3)
    narrow = laplacian.new_zeros(*laplacian.shape[:2], n_members)
    wide[:, :, list(members)], narrow[:, :, list(members)] = gradient, laplacian
    return Coordinate(value, wide, narrow)


def bending_factor(cosines: Tensor) -> Tensor:
    """sin^3 of angles of these cosines: it takes away what dihedrals do where three particles are in line."""
    s = torch.clamp(1 - cosines * cosines, min=0.0)
    return s * torch.sqrt(s + 1e-30)


def bending_derivatives(c: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """`bending_factor` and its first and second derivatives by the cosine."""
    s = torch.sqrt(torch.clamp(1 - c * c, min=0.0))
    return s**3, -3 * c * s, -3 * s + 3 * c * c / s.clamp(min=1e-6)
