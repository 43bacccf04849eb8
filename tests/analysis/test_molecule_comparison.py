"""Molecules of two sets of frames: coordinates against two other implementations, and cases that are known."""

import mdtraj
import numpy as np
import pytest
import torch
from molecules import CUBIC, TRICLINIC, broken, whole_water

from openmm_diffusion import Frames
from openmm_diffusion.analysis.molecules.comparison import compare_molecules
from openmm_diffusion.analysis.molecules.coordinates import internal_coordinates
from openmm_diffusion.energies.bonded.survey import angle_cosines, bond_lengths, dihedral_angles
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.space.connectivity import connectivity

#: A bent chain of six with a branch at the third bead, so that there are all tables; the branch makes it chiral.
TYPES = ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]
BONDS = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [2, 6]]
SHAPE = np.array(
    [[0, 0, 0], [0.15, 0, 0], [0.2, 0.14, 0], [0.35, 0.15, 0.02], [0.4, 0.28, 0.06], [0.55, 0.3, 0], [0.15, 0.2, 0.13]]
)


def chains(n_frames, seed, width=0.004, box=None):
    rng = np.random.default_rng(seed)
    x = SHAPE + rng.normal(0, width, (n_frames, len(SHAPE), 3)) + rng.uniform(0, 2, (n_frames, 1, 3))
    return Frames(x, [0] * 7, box, 300, types=TYPES, bonds=BONDS, replica=np.arange(n_frames) * 8 // n_frames)


def value(table, quantity, of, curve=""):
    rows = table[(table["quantity"] == quantity) & (table["of"] == of) & (table["curve"] == curve)]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


@pytest.mark.parametrize("box", [None, CUBIC, TRICLINIC], ids=["free", "cubic", "triclinic"])
def test_coordinates_are_those_of_the_energies_wherever_the_images_are(box):
    frames = chains(12, 1, width=0.02, box=box)
    if box is not None:
        frames = Frames(broken(frames.positions, box, 2), frames.species, box, 300, types=TYPES, bonds=BONDS)
    species = torch.arange(7)
    links = connectivity(frames.bonds, species)
    cells = None if box is None else torch.as_tensor(frames.boxes)
    batch = make_batch(torch.as_tensor(frames.positions).double(), cells, species, 0.0, None, links)
    found, tables = internal_coordinates(frames), {"bonds": ("bond", bond_lengths), "angles": ("angle", angle_cosines)}
    tables |= {"dihedrals": ("dihedral", dihedral_angles), "impropers": ("improper", dihedral_angles)}
    for table, (quantity, computed) in tables.items():
        groups = getattr(links, table)
        values = computed(batch, groups).value.numpy()
        values = np.degrees(np.arccos(values)) if table == "angles" else values
        values = np.degrees(values) if table in ("dihedrals", "impropers") else values
        for column, group in zip(values.T, groups.tolist()):
            coordinate = found[quantity, "-".join(TYPES[i] for i in group)]
            assert np.allclose(coordinate.values[:, 0], column, atol=2e-6 if table == "bonds" else 2e-3)
    assert sum(key[0] == "map" for key in found) == len(links.chains) > 0
    assert [key for key, one in found.items() if one.distinct] == [("improper", "P3-P2-P4-P7")]
    first, second = found["map", "P1-P2-P3-P4-P5"].values[:, 0].T
    assert np.allclose(first, found["dihedral", "P1-P2-P3-P4"].values[:, 0])
    assert np.allclose(second, found["dihedral", "P2-P3-P4-P5"].values[:, 0])


def test_radius_of_gyration_without_masses_is_mdtrajs():
    frames = chains(9, 3, width=0.05)
    (found,) = [one.values[:, 0] for key, one in internal_coordinates(frames).items() if key[0].startswith("radius")]
    assert np.allclose(found, mdtraj.compute_rg(frames.to_mdtraj()), atol=1e-6)


def test_radius_of_gyration_with_masses_is_that_of_all_pairs():
    """sum over pairs of m m' r^2, over the squared sum of m: no centre is needed, and mdtraj's is that of no masses."""
    x, masses = chains(9, 3, width=0.05).positions, np.array([12.0, 14, 16, 12, 1, 32, 12])
    frames = Frames(x, [0] * 7, None, 300, types=TYPES, bonds=BONDS, masses=masses)
    (found,) = [one.values[:, 0] for key, one in internal_coordinates(frames).items() if key[0].startswith("radius")]
    square = ((x[:, :, None] - x[:, None]).astype(float) ** 2).sum(-1)
    expected = np.sqrt(np.einsum("i,j,fij->f", masses, masses, square) / 2) / masses.sum()
    assert np.allclose(found, expected, atol=1e-6)


def test_radius_of_gyration_of_a_rigid_rod_across_the_boundary():
    """n beads a apart: a sqrt((n^2 - 1) / 12)."""
    rod = np.zeros((3, 6, 3))
    rod[..., 0] = (2.0 + 0.12 * np.arange(6)) % 2.4
    frames = Frames(rod, [0] * 6, CUBIC, 300, types=["P"] * 6, bonds=[[i, i + 1] for i in range(5)])
    assert np.allclose(internal_coordinates(frames)["radius of gyration", "6 P"].values, 0.12 * np.sqrt(35 / 12))


def test_every_molecule_of_a_kind_is_counted():
    x = whole_water(4, 5, 2.4, 1)
    bonds = [[3 * i, 3 * i + k] for i in range(5) for k in (1, 2)]
    frames = Frames(broken(x, CUBIC, 1), [8, 1, 1] * 5, CUBIC, 300, bonds=bonds)
    found = internal_coordinates(frames)
    assert {key: one.values.shape for key, one in found.items()} == {
        ("bond", "H-O"): (4, 10), ("angle", "H-O-H"): (4, 5), ("radius of gyration", "2 H + O"): (4, 5)
    }  # fmt: skip
    assert np.allclose(found["bond", "H-O"].values, 0.1, atol=1e-4)
    assert np.allclose(found["angle", "H-O-H"].values, 109.47, atol=0.1)


def test_equal_frames_differ_in_nothing_and_halves_of_them_in_the_floor():
    frames = chains(800, 4, width=0.02)
    result = compare_molecules(frames, frames)
    numbers = result.table.set_index("quantity")["value"]
    assert (numbers[[name for name in numbers.index if name.endswith("divergence")]] == 0).all()
    assert np.allclose(numbers[[name for name in numbers.index if name.endswith("widths")]], 1)
    for each in result.maps:
        assert each.divergence == 0 and each.floor > 0 and np.array_equal(each.clean, each.model)
        assert np.nanmax(np.abs(each.free_energies(2.5)[2])) == 0
    assert not result.broken and len(result.broken_frames) == 0 and result.n_frames == 800
    assert set(result.table["unit"]) == {"nm", "degree", "1", "bit"}
    assert np.isclose(result.kT, 8.314462618e-3 * 300)


def test_halves_of_independent_frames_differ_as_chance_does():
    first, second = chains(2000, 5, width=0.02), chains(2000, 6, width=0.02)
    for each in compare_molecules(first, second).maps:
        # The halves have half as many frames: about twice the divergence of the two sets.
        assert each.divergence < each.floor < 4 * each.divergence


def test_curves_are_densities():
    result = compare_molecules(chains(300, 7), chains(200, 8, width=0.008))
    for _, rows in result.curves.groupby(["quantity", "of"]):
        width = rows["value"].iloc[1] - rows["value"].iloc[0]
        assert np.allclose(rows[["clean", "model"]].sum() * width, 1)


def test_wider_bonds_show_as_their_ratio():
    """Free Gaussian noise s on both ends: the length has the width sqrt(2) s."""
    table = compare_molecules(chains(4000, 9, width=0.002), chains(4000, 10, width=0.003)).table
    assert np.isclose(value(table, "bond, width", "P1-P2", "clean"), np.sqrt(2) * 0.002, rtol=0.05)
    assert np.isclose(value(table, "bond, ratio of widths", "P1-P2"), 1.5, rtol=0.06)
    assert np.isclose(value(table, "bond, mean", "P1-P2", "model"), 0.15, atol=3e-4)


def test_noise_of_the_model_stands_beside_the_clean_widths():
    table = compare_molecules(chains(4000, 9, width=0.002), chains(100, 10), sigma=0.004).table
    assert np.isclose(value(table, "bond, width", "P1-P2", "noised"), np.sqrt(2 * (0.002**2 + 0.004**2)), rtol=0.05)


def test_the_mirror_image_of_a_molecule_has_the_other_hand():
    frames = chains(400, 11)
    mirrored = Frames(frames.positions * [1, 1, -1], [0] * 7, None, 300, types=TYPES, bonds=BONDS)
    table = compare_molecules(frames, mirrored).table
    assert value(table, "improper, frames on the data's side", "P3-P2-P4-P7", "clean") == 1
    assert value(table, "improper, frames on the data's side", "P3-P2-P4-P7", "model") == 0
    assert value(table, "bond, divergence", "P1-P2") == 0, "distances know no hand"
    assert np.isclose(value(table, "improper, divergence", "P3-P2-P4-P7"), 1)


def test_both_hands_in_one_box_are_each_on_their_side():
    """Of a racemate each molecule is compared with itself."""
    one = chains(60, 12)
    x = np.concatenate([one.positions, one.positions * [1, 1, -1] + [0, 0, 9]], axis=1)
    frames = Frames(x, [0] * 14, None, 300, types=TYPES * 2, bonds=BONDS + [[i + 7, j + 7] for i, j in BONDS])
    table = compare_molecules(frames, frames).table
    assert value(table, "improper, frames on the data's side", "P3-P2-P4-P7", "model") == 1


def test_broken_bonds_are_counted():
    frames, runs = chains(200, 13), chains(100, 14)
    x = runs.positions.copy()
    x[40:43, 0] -= 0.2
    x[42, 5] += 30.0
    result = compare_molecules(frames, Frames(x, [0] * 7, None, 300, types=TYPES, bonds=BONDS))
    assert result.broken == {"P1-P2": 3, "P5-P6": 1} and list(result.broken_frames) == [40, 41, 42]
    assert value(result.table, "bond, broken", "P1-P2", "model") == 3
    assert value(result.table, "bond, broken", "P1-P2", "clean") == 0


def test_runs_without_bonds_take_those_of_the_frames_if_they_are_of_the_same_particles():
    frames = chains(30, 15)
    bare = Frames(frames.positions, [0] * 7, None, 300, types=TYPES)
    assert (compare_molecules(frames, bare).table["quantity"] == "bond, mean").sum() == 12
    other = Frames(frames.positions[:, ::-1], [0] * 7, None, 300, types=TYPES[::-1])
    assert compare_molecules(frames, other) is None and compare_molecules(bare, frames) is None
