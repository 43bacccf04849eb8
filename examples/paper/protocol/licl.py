"""LiCl in what the scripts of examples/paper share: its frames, and the prior that is known of ions."""

from pathlib import Path

from openmm_diffusion import Frames

BUNDLED = Path(__file__).resolve().parents[2] / "licl" / "licl.npz"
#: In water as a dielectric.
COULOMB = {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}


def first_knot(sigma):
    """Where the splines of a pair potential begin, nm, for frames noised by sigma (nm): their ions come closer."""
    return round(max(0.05, 0.18 - 4 * max(0.0, sigma - 0.01)), 4)


def ion_frames(path):
    """Frames of a file, if they are LiCl with exact forces in every replica.

    Raises
    ------
    ValueError
        If they are not: said before hours of computing, not after.
    """
    frames = Frames.load(path)
    lacking = []
    if set(frames.symbols) != {"Li", "Cl"}:
        lacking.append(f"has {' and '.join(sorted(set(frames.symbols)))} instead of Li and Cl alone")
    if frames.box is None:
        lacking.append("has no periodic box")
    replicas = set(frames.replica)
    if len(replicas) < 2:
        lacking.append("has one replica alone")
    if set(frames.replica[frames.labelled]) != replicas:
        lacking.append("has no forces, or none in some replica")
    if lacking:
        raise ValueError(
            f"{path} {', '.join(lacking)}: give a file of LiCl frames in a periodic box, of two replicas or more, with "
            "exact mean forces in each of them, or leave the argument out to use the bundled frames"
        )
    return frames
