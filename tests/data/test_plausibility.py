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


# ---- sane, and refused once


def cluster(places, edge, n_frames=3, seed=4):
    x = np.asarray(places, float) + np.random.default_rng(seed).normal(0, 0.003, (n_frames, len(places), 3))
    return x, None if edge is None else edge * np.eye(3)


CUBE8 = np.array([(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
CUBE125 = np.array([(a, b, c) for a in range(5) for b in range(5) for c in range(5)], float)
METHANE = 0.063 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


@pytest.mark.parametrize(
    "cell", [1.5 * np.eye(3), np.array([[1.5, 0, 0], [0.5, 1.4, 0], [-0.6, 0.3, 1.2]]), 9 * np.eye(3)]
)
def test_a_molecule_across_the_boundary_is_fine(cell):
    check_plausible(METHANE[None], np.array([6, 1, 1, 1, 1]), cell, "methane at the origin")
    check_plausible(METHANE[None, 1:3] / 2.4, np.array([1, 1]), cell, "hydrogen at the origin")


def test_a_molecule_and_a_crystal_in_a_corner_are_fine():
    x, box = cluster(0.154 * CUBE8, 1.6)
    check_plausible(x, np.full(8, 6), box, "cubane's carbons fill a tenth of the box")
    x, box = cluster(0.231 * CUBE125, 3.0)
    check_plausible(x, np.array([9, 11] * 62 + [9]), box, "sodium fluoride fills 0 to 1")
    # Eight molecules that fill a tenth of a box are eight, and the box is wrong.
    x, box = cluster(0.35 * CUBE8.repeat(2, 0) + np.array([[0, 0, 0], [0.064] * 3] * 8), 4.5)
    with pytest.raises(ValueError, match="fill exactly a tenth of the box"):
        check_plausible(x, np.full(16, 7), box, "nitrogen")


@pytest.mark.parametrize(("symbol", "limit"), [(1, 700), (5, 400)])
def test_dense_solids_are_fine_to_a_limit(symbol, limit):
    for density, fine in ((0.95 * limit, True), (1.1 * limit, False)):
        edge = (64 / density) ** (1 / 3)
        x = grid(64, edge, 2, apart=0.9 * edge / 4)
        if fine:
            check_plausible(x, np.full(64, symbol), edge * np.eye(3), "a solid")
        else:
            with pytest.raises(ValueError, match="more than in any solid"):
                check_plausible(x, np.full(64, symbol), edge * np.eye(3), "a solid")


def test_bonds_of_beads_may_be_long():
    x, bonds = np.arange(6)[None, :, None] * [[0.7, 0.0, 0.0]], [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    check_plausible(x, np.full(6, 16), None, "sulphurs", bonds=bonds)
    with pytest.raises(ValueError, match="bonded atoms are 0.7 nm apart"):
        check_plausible(x[:, :5], np.array([16, 1, 16, 1, 16]), None, "with hydrogens", bonds=bonds[:4], whole=False)


def test_virtual_sites_on_beads_are_fine_and_atoms_listed_twice_are_not():
    x = np.concatenate([X, X[:, :30]], axis=1)
    check_plausible(x, np.zeros(78, int), EDGE * np.eye(3), "beads")
    with pytest.raises(ValueError, match=r"particles 0 and 48 are at the same place \(60 of 78 .* listed twice"):
        check_plausible(x, np.concatenate([SALT, SALT[:30]]), EDGE * np.eye(3), "atoms")
    # Drude particles of all atoms.
    x = np.concatenate([X, X + 0.004], axis=1)
    check_plausible(x, np.concatenate([SALT, 0 * SALT]), EDGE * np.eye(3), "polarised")


def select_of(tmp_path, atoms, x, edge, select):
    elements = [mdtraj.element.get_by_symbol(row[2]) for row in atoms]
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    residues: dict = {}
    for (residue, name, _), element in zip(atoms, elements):
        if residue not in residues or name in residues[residue][1]:
            residues[residue] = topology.add_residue(residue, chain), set()
        residues[residue][1].add(name)
        topology.add_atom(name, element, residues[residue][0])
    run = save(topology, x, edge, tmp_path / "a.xtc")
    return Frames.from_trajectory(run, top=topology, select=select, temperature=300)


def test_selected_atoms_may_be_far_apart_and_all_atoms_tell_the_unit(tmp_path):
    x, species, edge = water(27, 1.25)
    atoms = [("HOH", name, name[0]) for _ in range(27) for name in ("O", "H1", "H2")]
    assert len(select_of(tmp_path, atoms, x, edge, "name H1").species) == 27
    with pytest.raises(ValueError, match="no hydrogen has another atom within .* Angstrom and read as nm"):
        select_of(tmp_path, atoms, 10 * x, 10 * edge, "name O")
    # A file that holds one zinc of each of eight proteins, none near another.
    x = 2.6 * CUBE8 + np.random.default_rng(1).uniform(0, 0.4, (40, 8, 3)) + np.linspace(0, 20, 40)[:, None, None]
    assert len(select_of(tmp_path, [("ZNF", "ZN", "Zn")] * 8, x, 5.4, "all")) == 40
    with pytest.raises(ValueError, match="no two of 8 atoms"):
        select_of(tmp_path, [("ZN", "ZN", "Zn")] * 8, x, 5.4, "all")


# ---- not sane, and read once


def test_bohr_read_as_angstrom():
    ammonia = np.array([[0, 0, 0.0], [0.0, 0.0937, -0.0381], [0.0812, -0.0469, -0.0381], [-0.0812, -0.0469, -0.0381]])
    check_plausible(ammonia[None], np.array([7, 1, 1, 1]), None, "ammonia")
    for box in (None, 3.0 * np.eye(3)):
        with pytest.raises(ValueError, match=r"no hydrogen is nearer than 0.19 nm .*bohr read as Angstrom"):
            check_plausible(ammonia[None] / 0.529, np.array([7, 1, 1, 1]), box, "ammonia")
    # Hydrogens of silane are farther from silicon, and never near nitrogen.
    silane = np.concatenate([METHANE * 1.356, METHANE[:2] + 1.0])
    check_plausible(silane[None], np.array([14, 1, 1, 1, 1, 7, 7]), None, "silane and nitrogen")


def test_angstrom_read_as_nm_without_a_box(caplog):
    with pytest.raises(ValueError, match="no two of 2 atoms come within 1.1 nm; .* Frames.* is not checked"):
        check_plausible(np.array([[[0, 0, 0], [1.1, 0, 0]]]), np.array([7, 7]), None, "nitrogen")
    check_plausible(np.array([[[0, 0, 0], [0.9, 0, 0]]]), np.array([19, 35]), None, "two ions")
    assert "no two of 2 atoms come within 0.9 nm: are the positions in Angstrom" in caplog.text
