"""Topologies of molecules for the tests of maps, and trajectories of them."""

import mdtraj
import numpy as np
from mdtraj.core.element import get_by_symbol

CUBIC = 2.4 * np.eye(3)
TRICLINIC = np.array([[2.4, 0.0, 0.0], [0.7, 2.2, 0.0], [-0.9, 0.8, 2.1]])


def topology(*chains):
    """A topology of chains of residues ("HOH", "O H1 H2"), an element being the letters of its atom's name.

    Standard residues have their bonds, as in a PDB file.
    """
    made = mdtraj.Topology()
    for residues in chains:
        chain = made.add_chain()
        for name, atoms in residues:
            residue = made.add_residue(name, chain)
            for atom in atoms.split():
                symbol = atom.rstrip("0123456789'")
                symbol = symbol if name in ("Li", "Cl") else symbol[0]
                made.add_atom(atom, get_by_symbol(symbol), residue)
    made.create_standard_bonds()
    return made


def bonded(made, *pairs):
    """The same topology with bonds between more atoms, by their numbers."""
    for one, other in pairs:
        made.add_bond(made.atom(one), made.atom(other))
    return made


def water(n, *more):
    """n waters, and more residues."""
    return topology([("HOH", "O H1 H2")] * n + list(more))


def whole_water(n_frames, n, edge, seed):
    """Positions (n_frames, 3 n, 3), nm, of whole rigid waters of any orientation, that do not touch."""
    rng = np.random.default_rng(seed)
    frame = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [-0.0333, 0.0943, 0.0]])  # SPC/E: 0.1 nm, 109.47 degrees
    turn = np.linalg.qr(rng.normal(size=(n_frames, n, 3, 3)))[0]
    # One in each cell of a grid: no two waters touch.
    side = int(np.ceil(n ** (1 / 3)))
    corner = np.stack(np.unravel_index(np.arange(n), (side,) * 3), axis=-1)
    spare = edge / side - 0.25
    oxygen = corner[:, None] * (edge / side) + rng.uniform(0, spare, (n_frames, n, 1, 3))
    return (oxygen + frame @ turn).reshape(n_frames, 3 * n, 3)


def broken(positions, box, seed):
    """The same configurations with each atom shifted by some whole vectors of the box, which is one or one a frame."""
    counts = np.random.default_rng(seed).integers(-1, 2, positions.shape)
    return positions + counts @ np.broadcast_to(box, (len(positions), 3, 3))


def apart(one, other, box):
    """The largest distance (nm) between nearest images, by trying all 125 images of a triclinic box around."""
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lattice = steps @ np.broadcast_to(box, (len(one), 3, 3))
    difference = np.asarray(one, dtype=np.float64) - other
    return np.linalg.norm(difference[:, :, None] + lattice[:, None], axis=-1).min(-1).max()


def centres(positions, made, groups):
    """Centres of mass (n_frames, n_groups, 3) of whole molecules, by mdtraj."""
    trajectory = mdtraj.Trajectory(positions, made)
    return np.stack([mdtraj.compute_center_of_mass(trajectory.atom_slice(group)) for group in groups], axis=1)
