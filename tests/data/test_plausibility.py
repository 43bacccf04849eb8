"""Positions that cannot be right are refused when they are read, with the unit or column; sane systems are not."""

import mdtraj
import numpy as np
import pytest
from files import grid, save, topology_of, write_gro

from openmm_diffusion import Frames
from openmm_diffusion.data.formats.plausibility import check_plausible

SALT = np.array([3] * 24 + [17] * 24)
EDGE = 2.5
X = np.concatenate([grid(64, EDGE, 30)[:, :40], grid(64, EDGE, 30)[:, -8:]], axis=1)  # reaches over all of the box


def water(n=64, edge=1.25, n_frames=3, seed=2):
    """Rigid water molecules on a grid, oxygen first."""
    rng = np.random.default_rng(seed)
    oxygens = grid(n, edge, n_frames, seed, apart=0.3)
    shape = np.array([[0.0, 0, 0], [0.0957, 0, 0], [-0.024, 0.0927, 0]])
    turns = np.linalg.qr(rng.normal(size=(n_frames, n, 3, 3)))[0]
    return (oxygens[:, :, None] + shape @ turns).reshape(n_frames, 3 * n, 3), np.array([8, 1, 1] * n), edge


def load_native(tmp_path, x, species, edge):
    box = {} if edge is None else {"box": edge * np.eye(3)}
    np.savez(tmp_path / "a.npz", positions=x, atomic_numbers=species, temperature=300.0, **box)
    return Frames.load(tmp_path / "a.npz")


def load_angstrom(tmp_path, x, species, edge):
    np.savez(tmp_path / "a.npz", R=x, z=species, cell=edge * np.eye(3))
    return Frames.load(tmp_path / "a.npz", 300)


@pytest.mark.parametrize(
    ("loader", "length", "box", "message"),
    [
        (load_native, 10, 1, "fill ten times the box .* different units, Angstrom and nm"),
        (load_native, 1, 10, "fill exactly a tenth of the box .* nm and Angstrom"),
        (load_native, 1, 0.1, "48 particles in this box are"),
        (
            load_native,
            10,
            10,
            r"no two of 48 atoms come within .* nm in any frame.* probably in Angstrom and read as nm",
        ),
        (load_native, 0.1, 0.1, "48 particles in this box are .* the box, or every length"),
        (load_angstrom, 1, 1, "48 particles in this box are .*nm read as Angstrom"),
        (load_angstrom, 10, 1, "48 particles in this box are .*nm read as Angstrom"),
        (load_angstrom, 1, 10, "fill exactly a tenth of the box|half of all particles"),
        (load_native, 1 / EDGE, 1, "fill the range from 0 to 1 .* scaled"),
        (load_angstrom, 1 / EDGE, 10, "fill the range from 0 to 1 .* scaled"),
        (load_native, 0, 1, "all 48 particles are at one place in 20 of 20 frames"),
    ],
)
def test_wrong_units_of_a_salt(tmp_path, loader, length, box, message):
    with pytest.raises(ValueError, match=rf"positions in .*a.npz cannot be right: .*({message})"):
        loader(tmp_path, length * X, SALT, box * EDGE)


def test_wrong_units_of_water(tmp_path):
    x, species, edge = water()
    load_native(tmp_path, x, species, edge)
    with pytest.raises(ValueError, match="no hydrogen has another atom within .* probably in Angstrom"):
        load_native(tmp_path, 10 * x, species, 10 * edge)
    with pytest.raises(ValueError, match="no hydrogen has another atom within"):
        load_native(tmp_path, 10 * x, species, None)
    with pytest.raises(ValueError, match="half of all particles"):
        load_native(tmp_path, 0.1 * x, species, 0.1 * edge)
    # One bead a molecule: a single frame of a liquid is enough, since it has no close pair anywhere.
    with pytest.raises(ValueError, match="no two of 64 atoms come within"):
        load_native(tmp_path, 10 * x[:1, ::3], species[::3], 10 * edge)


def test_a_box_too_small(tmp_path):
    x = np.array([[[0.1, 0.1, 0.1], [0.3, 0.1, 0.1]]])
    with pytest.raises(ValueError, match=r"2 particles in this box are 450 per nm\^3, more than in any solid"):
        load_native(tmp_path, x, [3, 17], (2 / 450) ** (1 / 3))


def test_two_atoms_at_one_place(tmp_path):
    x = X.copy()
    x[:, 7] = x[:, 40] + 0.01
    with pytest.raises(
        ValueError, match="particles 7 and 40 are 0.017 nm apart, and no two atoms are nearer than 0.05"
    ):
        load_native(tmp_path, x, SALT, EDGE)
    # Beads and their virtual sites may.
    check_plausible(x, np.zeros(48, int), EDGE * np.eye(3), "here")


def test_bonds_that_are_too_long(tmp_path):
    topology = topology_of([("LIG", "C1"), ("LIG", "C2")], [mdtraj.element.carbon] * 2)
    topology.add_bond(topology.atom(0), topology.atom(1))
    run = save(topology, [[[0.0, 0, 0], [1.5, 0, 0]]] * 2, None, tmp_path / "a.xtc")
    with pytest.raises(ValueError, match="bonded atoms are 1.5 nm apart; .* or the atoms are in another order"):
        Frames.from_trajectory(run, top=topology, temperature=300)


def test_trajectories_are_looked_at(tmp_path):
    atoms = [("LI", "LI")] * 24 + [("CL", "CL")] * 24
    write_gro(tmp_path / "a.gro", atoms, 0.1 * X[:2], [[0.1 * EDGE] * 3] * 2, decimals=5)
    with pytest.raises(ValueError, match="the positions in .*a.gro cannot be right"):
        Frames.from_trajectory(tmp_path / "a.gro", temperature=300)


# ---- what is sane


@pytest.mark.parametrize("seed", range(20))
def test_dilute_ions_are_fine(seed):
    """An ideal gas of ions: at every density from 2 ions in a large box to molar, whatever is drawn."""
    rng = np.random.default_rng(seed)
    for n, edge in ((2, 5.0), (2, 30.0), (10, 25.0), (48, 25.0), (200, 40.0)):
        x = rng.uniform(0, edge, (int(rng.integers(1, 40)), n, 3))
        distances = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) + np.eye(n)
        if distances.min() > 0.2:
            check_plausible(x, np.array([11, 17] * (n // 2)), edge * np.eye(3), "here")


@pytest.mark.parametrize("seed", range(20))
def test_dilute_ions_that_hardly_move_are_fine(seed):
    # Forty frames of a short run are as good as one: no ion has come near another.
    rng = np.random.default_rng(seed)
    x = np.repeat(grid(48, 25.0, 1, seed, apart=1.5), 40, axis=0) + rng.normal(0, 0.05, (40, 48, 3))
    check_plausible(x, SALT, 25.0 * np.eye(3), "here")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0, 3.0])
def test_unwrapped_ions_are_fine(seed, spread):
    """Ions that have wandered for as long as it takes to spread over some boxes; a file may begin anywhere."""
    rng = np.random.default_rng(seed)
    n_frames = 20
    walk = rng.normal(0, spread, (1, 48, 3)) + np.cumsum(rng.normal(0, spread / 10, (n_frames, 48, 3)), axis=0)
    check_plausible(X[:n_frames] + EDGE * walk.round(), SALT, EDGE * np.eye(3), "here")


def test_sane_configurations():
    box = EDGE * np.eye(3)
    check_plausible(X, SALT, box, "here")
    check_plausible(X - EDGE / 2, SALT, box, "centred")
    # Unwrapped: ions that have wandered many boxes away, and all of them together.
    check_plausible(X + 7.3, SALT, box, "drifted")
    check_plausible(X + EDGE * np.random.default_rng(0).normal(0, 2, X.shape).round(), SALT, box, "images")
    # A droplet, and a molecule, in a box ten times as wide.
    check_plausible(X, SALT, None, "free")
    check_plausible(X + 11.0, SALT, 10 * box, "a droplet in the middle")
    x, species, edge = water()
    check_plausible(x, species, edge * np.eye(3), "water")
    check_plausible(x[:, :3], species[:3], 30.0 * np.eye(3), "one molecule")
    check_plausible(np.array([[[0.0, 0, 0], [0.0741, 0, 0]]]), np.array([1, 1]), None, "hydrogen")
    # Diamond, and one particle.
    a = 0.3567
    cell = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) * a / 4
    check_plausible(cell[None], np.full(8, 6), a * np.eye(3), "diamond")
    check_plausible(np.zeros((3, 1, 3)), np.array([3]), box, "one ion")


def test_cheap_for_large_systems():
    import time

    x = grid(60_000, 20.0, 3, apart=0.2)
    start = time.perf_counter()
    check_plausible(np.repeat(x, 20, axis=0), np.full(60_000, 8), 20.0 * np.eye(3), "here")
    assert time.perf_counter() - start < 20
