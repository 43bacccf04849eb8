"""LiCl in what the scripts of this directory share: the bundled frames, and the prior that is known of ions."""

from pathlib import Path

BUNDLED = Path(__file__).resolve().parents[1] / "licl" / "licl.npz"
#: In water as a dielectric.
COULOMB = {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}


def first_knot(sigma):
    """Where the splines of a pair potential begin, nm, for frames noised by sigma (nm): their ions come closer."""
    return round(max(0.05, 0.18 - 4 * max(0.0, sigma - 0.01)), 4)
