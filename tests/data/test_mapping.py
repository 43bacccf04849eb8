"""Maps of atoms to beads: what each rule makes of a topology, and what is refused in one sentence."""

import logging
import re
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import yaml
from molecules import CUBIC, TRICLINIC, apart, bonded, broken, centres, topology, water, whole_water

from openmm_diffusion.data.mapping import Mapping

WATER = {"type": "W", "select": "water", "per": "residue", "at": "mass"}
IONS = [("Li", "Li"), ("Cl", "Cl")]
ALA, GLY = ("ALA", "N CA C O CB"), ("GLY", "N CA C O")
HEAD = "N C1 C2 P O1 O2 O3 O4 C3"
#: N-C1-C2-O1-P-O4-C3, with O2 and O3 on P: the skeleton of a lipid's head.
HEAD_BONDS = [(0, 1), (1, 2), (2, 4), (4, 3), (3, 5), (3, 6), (3, 7), (7, 8)]
LIPID = [
    {"type": "NC3", "residue": "DPPC", "atoms": ["N", "C1", "C2"], "at": "mass"},
    {"type": "PO4", "residue": "DPPC", "atoms": ["P", "O1", "O2", "O3", "O4"], "at": "geometry"},
    {"type": "GL", "residue": "DPPC", "atoms": ["C3"]},
]


def read(*rules, **more):
    return Mapping.read({"beads": list(rules), **more})


def of_frames(box, n_frames):
    return np.array(np.broadcast_to(box, (n_frames, 3, 3)))


# ---- what a rule makes


def test_one_bead_per_water_and_one_per_ion():
    made = water(3, *IONS)
    beads = read(WATER, {"type": "element", "select": "element Li or element Cl", "per": "atom"}).apply(made)
    assert beads.types.tolist() == ["W", "W", "W", "Li", "Cl"]
    # Tungsten is W too, but a bead of three atoms is no element.
    assert beads.species.tolist() == [0, 0, 0, 3, 17]
    np.testing.assert_allclose(beads.masses, [18.015, 18.015, 18.015, 6.94, 35.45], rtol=2e-4)
    assert len(beads.bonds) == 0


def test_oxygen_as_the_bead_is_an_element_by_its_symbol_only():
    made = water(2)
    named = read({"type": "O", "select": "name O", "per": "atom"}).apply(made)
    other = read({"type": "OW", "select": "name O", "per": "atom"}).apply(made)
    assert named.species.tolist() == [8, 8] and other.species.tolist() == [0, 0]
    np.testing.assert_allclose(named.masses, 15.999, rtol=1e-3)
    assert named.atoms.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("rule", "types"),
    [
        ({"type": "residue", "select": "name CA", "at": "atom"}, ["ALA", "GLY", "ALA", "GLY"]),
        ({"type": "residue:name", "select": "name CA", "at": "atom"}, ["ALA:CA", "GLY:CA", "ALA:CA", "GLY:CA"]),
        ({"type": "name", "residue": ["ALA", "GLY"], "at": "CA"}, ["CA"] * 4),
        ({"type": "BB", "residue": ["ALA", "GLY"], "atoms": ["N", "CA", "C", "O"]}, ["BB"] * 4),
    ],
)
def test_beads_of_a_chain_are_bonded_along_it_and_no_further(rule, types):
    """The peptide bond is between atoms that belong to no bead, where only the alpha carbons are kept."""
    beads = read(rule).apply(topology([ALA, GLY, ALA], [GLY]))
    assert beads.types.tolist() == types
    assert beads.bonds.tolist() == [[0, 1], [1, 2]]


def test_chains_of_a_file_without_chains_are_not_joined():
    """A .gro file has two peptides in one chain, where mdtraj bonds the end of one to the beginning of the next."""
    made = topology([ALA, ("GLY", "N CA C O OXT"), ALA, GLY])
    assert made.n_bonds == len([*topology([ALA, GLY]).bonds]) * 2 + 2, "with the bond to OXT and the wrong one"
    beads = read({"type": "residue", "select": "name CA", "at": "atom"}).apply(made)
    assert beads.bonds.tolist() == [[0, 1], [2, 3]]


def test_a_bead_at_one_atom_of_several_weighs_what_all_weigh():
    made = topology([ALA, GLY])
    one = read({"type": "residue", "select": "name CA", "at": "atom"}).apply(made)
    whole = read({"type": "residue", "residue": ["ALA", "GLY"], "at": "CA"}).apply(made)
    carbon, nitrogen, oxygen = 12.011, 14.007, 15.999
    np.testing.assert_allclose(one.masses, carbon, rtol=1e-4)
    np.testing.assert_allclose(
        whole.masses, [3 * carbon + nitrogen + oxygen, 2 * carbon + nitrogen + oxygen], rtol=1e-4
    )
    assert one.atoms.tolist() == whole.atoms.tolist() == [1, 6]


def test_beads_of_a_lipid_follow_its_bonds_and_keep_their_order_and_types():
    made = topology([("DPPC", HEAD)] * 2)
    bonded(made, *HEAD_BONDS, *(np.array(HEAD_BONDS) + 9).tolist())
    beads = read(*reversed(LIPID)).apply(made)
    assert beads.types.tolist() == ["NC3", "PO4", "GL"] * 2, "beads come in the order of their first atoms"
    assert beads.bonds.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]


def test_one_bead_per_molecule():
    made = topology([ALA, GLY], [ALA])
    beads = read({"type": "P", "select": "all", "per": "molecule", "at": "geometry"}).apply(made)
    assert len(beads.types) == 2 and len(beads.bonds) == 0
    positions = np.random.default_rng(0).uniform(0, 1, (4, made.n_atoms, 3))
    expected = np.stack([positions[:, :9].mean(1), positions[:, 9:].mean(1)], axis=1)
    np.testing.assert_allclose(beads.positions(positions[:, beads.atoms]), expected, atol=1e-6)


def test_bonds_that_nobody_tells_are_unknown_or_given_by_the_map(caplog):
    made = topology([("DPPC", HEAD)], [("HOH", "O H1 H2")])
    with caplog.at_level(logging.INFO):
        assert read(*LIPID, WATER).apply(made).bonds is None
    assert "the topology tells no bonds of DPPC" in caplog.text
    given = read(*LIPID, WATER, bonds=[["NC3", "PO4"], ["GL", "PO4"]]).apply(made)
    assert given.bonds.tolist() == [[0, 1], [1, 2]]


def test_a_map_reads_yaml(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(
        "beads:\n  - {type: W, select: water, per: residue, at: mass}   # one bead per water\nrigid: water\n"
    )
    assert Mapping.read(path) == read(WATER, rigid="water")
    assert Mapping.read(Mapping.read(path)) == Mapping.read(path)


def test_the_map_of_the_page_is_one():
    page = (Path(__file__).parents[2] / "docs" / "guide" / "beads.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    (mapping,) = [Mapping.read(block) for block in blocks if "beads" in block]
    head = ("DPPC", "P O11 O12 O13 O14")
    beads = mapping.apply(topology([ALA, GLY], [("HOH", "O H1 H2"), head, ("Li", "Li")]))
    assert beads.types.tolist() == ["ALA", "GLY", "W", "PO4", "Li"] and beads.species.tolist() == [0, 0, 0, 0, 3]


def test_dropped_atoms_are_counted_once(caplog):
    with caplog.at_level(logging.INFO):
        read({"type": "O", "select": "name O", "per": "atom"}).apply(water(4, *IONS))
    assert [record.getMessage() for record in caplog.records] == [
        "10 of 14 atoms are in no bead and dropped: 8 of HOH, 1 of Li, 1 of Cl"
    ]


# ---- where the beads are


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC, np.linspace(1, 1.15, 6)[:, None, None] * TRICLINIC])
@pytest.mark.parametrize("at", ["mass", "geometry"])
def test_a_broken_molecule_gives_the_bead_of_the_whole_one(box, at):
    made, n = water(20), 20
    whole = whole_water(6, n, 2.4, seed=1)
    beads = read(WATER | {"at": at}).apply(made)
    torn = beads.positions(broken(whole, box, seed=2).astype(np.float32), of_frames(box, 6))
    groups = np.arange(3 * n).reshape(n, 3)
    expected = centres(whole, made, groups) if at == "mass" else whole.reshape(6, n, 3, 3).mean(2)
    assert torn.dtype == np.float32
    # Positions of up to 7 nm as float32 are 5e-7 nm apart.
    assert apart(torn, expected, box) < 2e-6
    # The cell is the brick of the box's diagonal, of the same volume as the box.
    bricks = np.diagonal(of_frames(box, 6), axis1=1, axis2=2)[:, None]
    assert torn.min() >= 0 and (torn <= bricks + 1e-6).all()


def test_a_molecule_larger_than_half_the_box_is_made_whole_along_its_bonds():
    """A straight chain of ten bonds of 0.3 nm in a box of 2.4 nm: nearest images of its first atom would fold it."""
    made = bonded(topology([("CHN", " ".join(f"C{i}" for i in range(11)))]), *[(i, i + 1) for i in range(10)])
    whole = 0.3 * np.arange(11)[None, :, None] * np.array([0.8, 0.6, 0.0]) + 1.0
    rule = {"type": "X", "residue": "CHN", "at": "geometry"}
    found = read(rule).apply(made).positions(broken(whole, TRICLINIC, seed=3), of_frames(TRICLINIC, 1))
    assert apart(found, whole.mean(1, keepdims=True), TRICLINIC) < 1e-6
    ends = read(rule | {"atoms": ["C0", "C10"]}).apply(made)
    assert len(ends.atoms) == 11, "the atoms in between lead from one end to the other"
    found = ends.positions(broken(whole, TRICLINIC, seed=4), of_frames(TRICLINIC, 1))
    assert apart(found, whole[:, [0, 10]].mean(1, keepdims=True), TRICLINIC) < 1e-6


def test_without_bonds_a_small_bead_is_made_whole_and_a_large_one_refused():
    made = topology([("DPPC", HEAD)])
    beads = read(LIPID[1]).apply(made)
    whole = np.random.default_rng(5).uniform(-0.15, 0.15, (8, 9, 3))
    torn = broken(whole, TRICLINIC, seed=6)[:, beads.atoms]
    assert apart(beads.positions(torn, of_frames(TRICLINIC, 8)), whole[:, 3:8].mean(1, keepdims=True), TRICLINIC) < 1e-6
    wide = whole.copy()
    wide[5, 6, 0] += 0.9
    with pytest.raises(ValueError, match=r"bead 0 \(PO4\) holds atoms .* over 0.4 of the box \(0.84 nm\).*CONECT"):
        beads.positions(wide[:, beads.atoms], of_frames(TRICLINIC, 8))


def test_without_a_box_positions_are_taken_as_they_are():
    made = water(5)
    whole = whole_water(3, 5, 9.0, seed=7) - 4.5
    found = read(WATER).apply(made).positions(whole)
    np.testing.assert_allclose(found, centres(whole, made, np.arange(15).reshape(5, 3)), atol=1e-6)


def test_atoms_of_another_bead_on_the_way_have_no_part():
    """The two ends of a chain are one bead, its middle another: the tree of the first passes through the second."""
    made = bonded(topology([("CHN", "C0 O1 C2")]), (0, 1), (1, 2))
    rules = [
        {"type": "E", "select": "element C", "at": "geometry"},
        {"type": "M", "select": "element O", "per": "atom"},
    ]
    beads = read(*rules).apply(made)
    positions = np.array([[[0.0, 0.0, 0.0], [0.1, 0.2, 0.0], [0.2, 0.0, 0.0]]])
    forces = np.array([[[1.0, 0.0, 0.0], [10.0, 0.0, 0.0], [100.0, 0.0, 0.0]]])
    np.testing.assert_allclose(beads.positions(positions), [[[0.1, 0, 0], [0.1, 0.2, 0]]], atol=1e-7)
    np.testing.assert_allclose(beads.forces(forces), [[[101, 0, 0], [10, 0, 0]]])
    np.testing.assert_allclose(beads.masses, [24.021, 15.999], rtol=1e-4)


# ---- rigid bonds


@pytest.mark.parametrize(
    ("rules", "rigid", "torn"),
    [
        ([WATER], "hbonds", False),
        ([WATER], "water", False),
        ([{"type": "O", "select": "name O", "per": "atom"}], "water", True),
        ([{"type": "O", "select": "name O", "per": "atom"}], "hbonds", True),
        ([{"type": "O", "select": "name O", "per": "atom"}], "none", False),
        ([WATER | {"at": "O"}], "water", True),
        ([WATER | {"at": "geometry"}], [[0, 1], [1, 2]], False),
        ([{"type": "X", "select": "all", "per": "atom"}], [[1, 2]], True),
    ],
)
def test_a_rigid_bond_that_leaves_a_sum_of_forces_is_refused(rules, rigid, torn):
    beads = read(*rules, rigid=rigid).apply(water(2))
    if torn:
        with pytest.raises(ValueError, match="rigid bond .* leaves the atoms whose forces are summed.*: put both"):
            beads.check_rigid()
    else:
        beads.check_rigid()


def test_where_nobody_says_what_was_rigid_bonds_of_hydrogen_are_warned_of(caplog):
    read(WATER).apply(water(2)).check_rigid()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    read({"type": "O", "select": "name O", "per": "atom"}).apply(water(2)).check_rigid()
    assert "as if bond O of HOH0 (number 0) - H1 of HOH0 (number 1)" in caplog.text and "rigid: none" in caplog.text


# ---- what a tired user types


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"tpye": "W", "select": "water"}], "unknown key beads.0.tpye; did you mean type?"),
        ([{"type": "W", "select": "watr"}], "'watr', which mdtraj cannot read"),
        (
            [{"type": "W", "select": "name OW"}],
            "'name OW', which matches no atom: the atom names are Cl, H1, H2, Li, O",
        ),
        ([{"type": "W", "residue": "SOL"}], "is SOL, which the topology lacks: it has Cl, HOH, Li"),
        ([WATER, {"type": "O", "select": "name O"}], r"atom O of HOH0 \(number 0\) is in two beads"),
        (
            [{"type": "W", "residue": "HOH", "atoms": ["O", "H1", "H3"]}],
            "residue HOH0 has no atom H3, which the rule of bead W asks for: it has O, H1, H2",
        ),
        ([WATER | {"at": "atom"}], r"matches 3 atoms in HOH0: name the one \(at: CA\)"),
        ([WATER | {"at": "centre"}], "is centre, the name of no atom .* geometry, or one of O, H1, H2"),
        ([WATER | {"at": "com"}], "is com, the name of no atom"),
        ([WATER | {"type": False}], "put the type in quotes"),
        (
            [WATER | {"type": "one water"}],
            "'one water'; types holds 'one water': give 1 to 16",
        ),
        ([WATER | {"type": "name"}], "type name is that of one atom, but the bead is of 3"),
        ([WATER | {"per": "molecules"}], "beads.0.per is 'molecules'; input should be 'residue', 'molecule' or 'atom'"),
        ([{"type": "W"}], "needs its atoms by either select or residue"),
        ([{"type": "W", "atoms": ["O"], "select": "water"}], "has atoms without residue"),
        ([], "beads is .* at least 1 item"),
    ],
)
def test_wrong_maps_are_refused_in_one_sentence(rules, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(*rules).apply(water(2, *IONS))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rigid": "hbond"}, "rigid is 'hbond'; give none, hbonds, water"),
        ({"rigid": [[0, 99]]}, "rigid names atom 99: give atoms from 0 to 7"),
        ({"bonds": [["W", "V"]]}, "bonds of the map has W, V, but no residue holds two such beads"),
        ({"bond": []}, "unknown key bond; did you mean bonds?"),
    ],
)
def test_wrong_keys_of_the_map_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        read(WATER, **more).apply(water(2, *IONS))


def test_what_needs_knowledge_that_the_topology_lacks_is_refused():
    unknown = mdtraj.Topology()
    residue = unknown.add_residue("PEG", unknown.add_chain())
    for name in ("EO1", "EO2"):
        unknown.add_atom(name, mdtraj.element.virtual, residue)
    with pytest.raises(ValueError, match="atom EO1 of PEG0 .number 0. has no element.*at: geometry"):
        read({"type": "P", "residue": "PEG"}).apply(unknown)
    with pytest.raises(ValueError, match="per: molecule, but no bonds are known of PEG0: give a topology with bonds"):
        read({"type": "P", "select": "all", "per": "molecule", "at": "geometry"}).apply(unknown)
    beads = read({"type": "P", "residue": "PEG", "at": "geometry"}).apply(unknown)
    assert np.isnan(beads.masses).all() and beads.species.tolist() == [0]
    with pytest.raises(FileNotFoundError, match="there is no configuration file nowhere.yaml"):
        Mapping.read("nowhere.yaml")
