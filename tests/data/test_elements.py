"""Elements are read where a file says them, told by names that allow one reading, and asked for otherwise."""

import logging

import mdtraj
import numpy as np
import pytest
from files import grid, save, topology_of, write_gro, write_pdb

from openmm_diffusion import Frames
from openmm_diffusion.data.elements import ion_element, mass_element, named_element, residue_element
from openmm_diffusion.data.trajectories import read_topology

# Residue and atom as the force fields of each program call them.
SALTS = [
    ("GROMACS", ("NA", "NA"), ("CL", "CL"), ["Na", "Cl"], (6, 6)),
    ("GROMACS, OPLS names", ("NA+", "NA"), ("CL-", "CL"), ["Na", "Cl"], (6, 6)),
    ("GROMACS, potassium", ("K", "K"), ("CL", "CL"), ["K", "Cl"], (6, 6)),
    ("AMBER", ("Na+", "Na+"), ("Cl-", "Cl-"), ["Na", "Cl"], (6, 6)),
    ("AMBER, lithium", ("LI+", "LI+"), ("BR", "BR"), ["Li", "Br"], (6, 6)),
    ("AMBER, magnesium", ("MG2", "MG"), ("IOD", "I"), ["Mg", "I"], (4, 8)),
    ("CHARMM", ("SOD", "SOD"), ("CLA", "CLA"), ["Na", "Cl"], (6, 6)),
    ("CHARMM, lithium", ("LIT", "LIT"), ("CLA", "CLA"), ["Li", "Cl"], (6, 6)),
    ("CHARMM, calcium", ("CAL", "CAL"), ("CLA", "CLA"), ["Ca", "Cl"], (4, 8)),
    ("CHARMM, zinc", ("ZN2", "ZN"), ("CLA", "CLA"), ["Zn", "Cl"], (4, 8)),
    ("CHARMM, rubidium", ("RUB", "RUB"), ("F", "F"), ["Rb", "F"], (6, 6)),
    ("CHARMM, caesium", ("CES", "CES"), ("I", "I"), ["Cs", "I"], (6, 6)),
    ("Protein Data Bank", ("CA", "CA"), ("CL", "CL"), ["Ca", "Cl"], (4, 8)),
    ("residue ION", ("ION", "NA+"), ("ION", "CL-"), ["Na", "Cl"], (6, 6)),
    ("residue ION, calcium", ("ION", "CA"), ("ION", "CL"), ["Ca", "Cl"], (4, 8)),
]


@pytest.mark.parametrize("kind", ["gro", "pdb", "left-aligned pdb"])
@pytest.mark.parametrize(
    ("cation", "anion", "symbols", "counts"), [row[1:] for row in SALTS], ids=[r[0] for r in SALTS]
)
def test_ions_by_the_names_of_force_fields(tmp_path, kind, cation, anion, symbols, counts):
    atoms, x = [cation] * counts[0] + [anion] * counts[1], grid(12, 2.5, 3)
    top = tmp_path / f"top.{kind[-3:]}"
    if kind == "gro":
        write_gro(top, atoms, x[:1], [[2.5] * 3])
    else:
        write_pdb(top, [(*atom, "") for atom in atoms], x[:1], [2.5], left=kind.startswith("left"))
    run = save(topology_of(atoms), x, 2.5, tmp_path / "run.xtc")
    frames = Frames.from_trajectory(run, top=top, temperature=300)
    assert frames.symbols == [symbols[0]] * counts[0] + [symbols[1]] * counts[1]
    assert frames.types.tolist() == frames.symbols


def test_one_line_of_the_log_for_each_kind_that_mdtraj_took_for_another(tmp_path, caplog):
    atoms = [("SOD", "SOD")] * 4 + [("CLA", "CLA")] * 4
    write_gro(tmp_path / "a.gro", atoms, grid(8, 2.0), [[2.0] * 3])
    with caplog.at_level(logging.WARNING, "openmm_diffusion"):
        read_topology(tmp_path / "a.gro")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "SOD of residue SOD is Na; mdtraj took it for S" in said[0] and "Cl" in said[1]


def test_a_topology_that_several_runs_share_is_warned_of_once(tmp_path, caplog):
    atoms, x = [("SOD", "SOD")] * 4 + [("CLA", "CLA")] * 4, grid(8, 2.0, 3)
    write_gro(tmp_path / "a.gro", atoms, x[:1], [[2.0] * 3])
    runs = [save(topology_of(atoms), x, 2.0, tmp_path / f"{number}.xtc") for number in range(3)]
    with caplog.at_level(logging.WARNING, "openmm_diffusion"):
        frames = Frames.from_trajectory(runs, top=tmp_path / "a.gro", temperature=300)
    assert len(np.unique(frames.replica)) == 3 and frames.symbols == ["Na"] * 4 + ["Cl"] * 4
    assert sum("SOD of residue SOD is Na" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("column", "taken", "message"),
    [
        # Many programs write their guess into the columns of the element: CL is C, by its first letter.
        ("C", "Cl", "name of Cl and is stated to be C, a guess from its first letters: Cl is taken"),
        ("BR", "Br", "name of Cl and is stated to be Br, which is kept"),
    ],
)
def test_a_statement_holds_against_a_name_unless_it_is_a_guess(tmp_path, caplog, column, taken, message):
    write_pdb(tmp_path / "a.pdb", [("CL", "CL", column)] * 4 + [("NA", "NA", "NA")] * 4, grid(8, 2.0), [2.0])
    with caplog.at_level(logging.WARNING, "openmm_diffusion"):
        topology = read_topology(tmp_path / "a.pdb")
    assert [atom.element.symbol for atom in topology.atoms] == [taken] * 4 + ["Na"] * 4
    assert sum(message in record.getMessage() for record in caplog.records) == 1


def test_a_carbon_alpha_is_no_calcium_and_beads_are_no_atoms():
    assert named_element("ALA", "CA") == 6 and ion_element("ALA", "CA") == 0 and ion_element("CA", "CA") == 20
    assert [named_element("ALA", name) for name in ("BB", "SC1", "S1")] == [0, 0, 0]
    assert [named_element("DPP", name) for name in ("NC3", "PO4", "C1A", "C4B", "NA")] == [0] * 5
    assert named_element("W", "W") == named_element("PW", "W") == 0
    assert named_element("LIG", "NA") == named_element("LIG", "CL1") == named_element("HEM", "FE") == 0


def test_water_amino_acids_and_nucleotides():
    water = [residue_element("SOL", name) for name in ("OW", "HW1", "HW2", "MW")]
    assert water == [8, 1, 1, 0]
    assert [residue_element("TIP3", name) for name in ("OH2", "H1", "H2")] == [8, 1, 1]
    assert [residue_element("WAT", name) for name in ("O", "EPW", "LP1")] == [8, 0, 0]
    assert [residue_element("CYX", name) for name in ("N", "HN", "CB", "1HB", "SG", "OXT")] == [7, 1, 6, 1, 16, 8]
    assert [residue_element("HSD", name) for name in ("CE1", "NE2", "CD2", "HD1")] == [6, 7, 6, 1]
    assert [residue_element("DC", name) for name in ("P", "O1P", "C5'", "N3", "H5''")] == [15, 8, 6, 7, 1]
    assert [residue_element("GUA", name) for name in ("O6", "C1*", "CA", "PO4")] == [8, 6, 0, 0]


def test_elements_of_openmms_own_force_fields():
    """Every atom of amber14 and charmm36 residues has the element that the force field's own file gives, or none."""
    from xml.etree import ElementTree

    import openmm.app

    folder = openmm.app.__path__[0] + "/data/"
    seen = 0
    for name in ("amber14/protein.ff14SB.xml", "amber14/DNA.OL15.xml", "amber14/tip4pew.xml", "charmm36.xml"):
        root = ElementTree.parse(folder + name).getroot()
        types = {row.get("name"): row.get("element") for row in root.iter("Type")}
        for residue in root.find("Residues"):
            for atom in residue.findall("Atom"):
                found = named_element(residue.get("name"), atom.get("name"))
                symbol = types[atom.get("type")]
                expected = 0 if symbol in (None, "") else mdtraj.element.get_by_symbol(symbol).atomic_number
                seen += found > 0
                assert found in (0, expected), (name, residue.get("name"), atom.get("name"))
    assert seen > 2000


def test_masses_need_names_that_agree():
    assert mass_element(12.011, "LIG", "C1") == 6 and mass_element(14.027, "LIG", "CB") == 0  # CH2 is no nitrogen
    # Hydrogens of 4.03 and 3.02 amu and the carbons that gave it: no helium, no beryllium.
    assert mass_element(4.032, "PHE", "HE1") == 1 and mass_element(9.019, "LIG", "C2") == 0
    assert mass_element(5.96, "ALA", "CB") == 6 and mass_element(11.991, "ALA", "N") == 7
    # Coarse beads.
    assert mass_element(72.0, "ALA", "CA") == mass_element(45.0, "PHE", "SC1") == mass_element(71.08, "ALA", "CA") == 0
    assert mass_element(72.0, "ION", "NA+") == 0 and mass_element(22.99, "SOD", "SOD") == 11
    assert mass_element(0.0, "TIP4", "OM") == 0


def write_psf(path, atoms):
    """Atoms as (residue, name, mass)."""
    rows = [
        f"{i + 1:8d} SYS  {i + 1:<5d}{residue:<5s}{name:<5s}X1  {0.0:10.6f}{mass:14.4f}           0\n"
        for i, (residue, name, mass) in enumerate(atoms)
    ]
    path.write_text(
        f"PSF\n\n       1 !NTITLE\n REMARKS\n\n{len(atoms):8d} !NATOM\n{''.join(rows)}\n       1 !NBOND: bonds\n"
        "       1       2\n\n"
    )


def test_psf_masses(tmp_path):
    x = grid(4, 2.0, 2)
    x[:, 1] = x[:, 0] + [0.147, 0.0, 0.0]
    atoms = [("LIG", "C1", 12.011), ("LIG", "N1", 14.007), ("SOD", "SOD", 22.98977), ("CAL", "CAL", 40.08)]
    write_psf(tmp_path / "a.psf", atoms)
    run = save(topology_of([row[:2] for row in atoms]), x, 2.0, tmp_path / "a.dcd")
    frames = Frames.from_trajectory(run, top=tmp_path / "a.psf", temperature=300)
    assert frames.symbols == ["C", "N", "Na", "Ca"] and frames.bonds.tolist() == [[0, 1]]
    beads = [("ALA", "CA", 71.08), ("GLY", "CA", 57.05), ("ION", "NA+", 72.0), ("W", "W", 72.0)]
    write_psf(tmp_path / "b.psf", beads)
    with pytest.raises(ValueError, match=r"atom ALA1-CA \(number 0\) .* no element: 4 of 4 selected .*types='name'"):
        Frames.from_trajectory(run, top=tmp_path / "b.psf", temperature=300)
    frames = Frames.from_trajectory(run, top=tmp_path / "b.psf", temperature=300, types="residue:name")
    assert frames.types.tolist() == ["ALA:CA", "GLY:CA", "ION:NA+", "W:W"] and not frames.species.any()
    np.testing.assert_allclose(frames.masses, [row[2] for row in beads])


def write_prmtop(path, names, residues, masses, numbers=None):
    n = len(names)
    pointers = [0] * 31
    pointers[0], pointers[11] = n, n

    def section(flag, form, values, shown):
        lines = ["".join(shown(value) for value in values[at : at + 5]) for at in range(0, len(values), 5)]
        return f"%FLAG {flag}\n%FORMAT({form})\n" + "\n".join(lines) + "\n"

    text = "%VERSION  VERSION_STAMP = V0001.000\n"
    text += section("POINTERS", "10I8", pointers, lambda v: f"{v:8d}")
    text += section("ATOM_NAME", "20a4", names, lambda v: f"{v:<4s}")
    text += section("RESIDUE_LABEL", "20a4", residues, lambda v: f"{v:<4s}")
    text += section("RESIDUE_POINTER", "10I8", list(range(1, n + 1)), lambda v: f"{v:8d}")
    text += section("MASS", "5E16.8", masses, lambda v: f"{v:16.8E}")
    if numbers is not None:
        text += section("ATOMIC_NUMBER", "10I8", numbers, lambda v: f"{v:8d}")
    text += "%FLAG BONDS_INC_HYDROGEN\n%FORMAT(10I8)\n\n%FLAG BONDS_WITHOUT_HYDROGEN\n%FORMAT(10I8)\n\n"
    path.write_text(text)


@pytest.mark.parametrize("numbers", [[3, 17, 35, 6, 0], None], ids=["atomic numbers", "masses"])
def test_prmtop(tmp_path, numbers):
    names, residues = ["Li+", "Cl-", "Br-", "C1", "EP"], ["Li+", "Cl-", "Br-", "LIG", "LIG"]
    write_prmtop(tmp_path / "a.prmtop", names, residues, [6.94, 35.45, 79.9, 12.01, 0.0], numbers)
    elements = [atom.element.symbol for atom in read_topology(tmp_path / "a.prmtop").atoms]
    assert elements == ["Li", "Cl", "Br", "C", "VS"]


@pytest.mark.parametrize(
    ("kinds", "numbers"),
    [(["C.3", "N.am", "Cl", "Na"], [6, 7, 17, 11]), (["ca", "na", "cl", "os"], [6, 7, 17, 8])],
    ids=["SYBYL", "GAFF, whose na is a nitrogen"],
)
def test_mol2_types(tmp_path, kinds, numbers):
    rows = [f"{i + 1} A{i} {i * 2.0} 0.0 0.0 {kind} 1 LIG 0.0" for i, kind in enumerate(kinds)]
    (tmp_path / "a.mol2").write_text(
        "@<TRIPOS>MOLECULE\nx\n4 1 1\n@<TRIPOS>ATOM\n" + "\n".join(rows) + "\n@<TRIPOS>BOND\n1 1 2 1\n"
    )
    frames = Frames.from_trajectory(tmp_path / "a.mol2", temperature=300)
    assert frames.species.tolist() == numbers and frames.bonds.tolist() == [[0, 1]]


def test_mmcif_states_elements(tmp_path):
    topology = topology_of([("SOD", "SOD"), ("CLA", "CLA")], [mdtraj.element.sodium, mdtraj.element.chlorine])
    save(topology, grid(2, 2.0), 2.0, tmp_path / "a.cif")
    assert [atom.element.symbol for atom in read_topology(tmp_path / "a.cif").atoms] == ["Na", "Cl"]


def test_a_topology_that_mdtraj_guessed_is_put_right(tmp_path):
    atoms = [("CLA", "CLA"), ("POT", "POT")]
    write_gro(tmp_path / "a.gro", atoms, grid(2, 2.0), [[2.0] * 3])
    guessed = mdtraj.load(str(tmp_path / "a.gro")).topology
    assert [atom.element.symbol for atom in guessed.atoms] == ["C", "P"]
    frames = Frames.from_trajectory(tmp_path / "a.gro", top=guessed, temperature=300)
    assert frames.symbols == ["Cl", "K"]
    assert [atom.element.symbol for atom in guessed.atoms] == ["C", "P"], "the user's topology stays as it is"


def test_types_of_beads(tmp_path):
    atoms = [("DPP", name) for name in ("NC3", "PO4", "C1A", "C4B")] * 3
    write_gro(tmp_path / "a.gro", atoms, grid(12, 3.0, 4), [[3.0] * 3] * 4)
    path = tmp_path / "a.gro"
    with pytest.raises(ValueError, match=r"DPP1-NC3 \(number 0\) .* no element: 12 of 12 .*'NC3' of residue 'DPP'"):
        Frames.from_trajectory(path, temperature=310)
    frames = Frames.from_trajectory(path, temperature=310, types="name")
    assert frames.types.tolist() == ["NC3", "PO4", "C1A", "C4B"] * 3 and not frames.species.any()
    frames = Frames.from_trajectory(path, temperature=310, types="residue:name", select="name PO4")
    assert frames.types.tolist() == ["DPP:PO4"] * 3 and frames.bonds is None
    frames = Frames.from_trajectory(path, temperature=310, types=["Qa"] * 12)
    assert frames.types.tolist() == ["Qa"] * 12 and not frames.species.any()
    frames = Frames.from_trajectory(path, temperature=310, types=["Li", "Cl", "Na", "Br"] * 3)
    assert frames.symbols == ["Li", "Cl", "Na", "Br"] * 3 and frames.species[:4].tolist() == [3, 17, 11, 35]
    with pytest.raises(ValueError, match="types has 2 entries for 12 atoms"):
        Frames.from_trajectory(path, temperature=310, types=["A", "B"])
    with pytest.raises(ValueError, match="types is 'names': choose element, name, residue:name"):
        Frames.from_trajectory(path, temperature=310, types="names")


def test_names_of_atoms_keep_their_elements(tmp_path):
    atoms = [("SOL", "OW"), ("SOL", "HW1"), ("SOL", "HW2")]
    x = np.array([[[1.0, 1.0, 1.0], [1.1, 1.0, 1.0], [0.97, 1.09, 1.0]]])
    with open(tmp_path / "w.gro", "w") as file:
        file.write("water\n3\n")
        for i, ((residue, name), place) in enumerate(zip(atoms, x[0])):
            file.write(f"{1:5d}{residue:<5s}{name:>5s}{i + 1:5d}" + "".join(f"{v:8.3f}" for v in place) + "\n")
        file.write("   2.0 2.0 2.0\n")
    frames = Frames.from_trajectory(tmp_path / "w.gro", temperature=300, types="name")
    assert frames.species.tolist() == [8, 1, 1] and frames.bonds.tolist() == [[0, 1], [0, 2]]


# ---- names of beads, guesses, and what is told nowhere else


def test_names_of_the_same_element_and_of_rarer_residues(tmp_path):
    for residue, atom, number in (("KR", "KR", 36), ("Ti", "TI", 22), ("CIM", "Cl-", 17), ("CIP", "Na+", 11)):
        assert ion_element(residue, atom) == number
    # One bead of water, and beads of one letter, are none.
    assert [ion_element(name, name) for name in ("W", "C", "N", "P", "V", "B")] == [0] * 6
    assert [residue_element(residue, "CG") for residue in ("GLUP", "ASPP", "LSN")] == [6, 6, 6]


@pytest.mark.parametrize("mass", [0.1, 0.3, 0.49])
def test_masses_below_all_elements_are_of_none(mass):
    assert mass_element(mass, "SWM4", "DOH2") == 0


BEADS = [("ION", "NA+"), ("ION", "CL-"), ("W", "W")]


@pytest.mark.parametrize(
    ("types", "species"),
    [
        (["Na", "Cl", "W"], [11, 17, 0]),  # a list of symbols that the file's names do not contradict
        (["TQ5", "TQ1", "P4"], [11, 17, 0]),  # as the names of residue and atom say
        (["TQ5", "Cl", "W"], [11, 17, 0]),
        (["K", "Br", "P4"], [0, 0, 0]),  # names of beads: no potassium where there is sodium
    ],
)
def test_lists_of_types_say_elements_where_all_are_symbols(tmp_path, types, species):
    atoms, x = [kind for kind in BEADS for _ in range(4)], grid(12, 3.0, 2, apart=0.4)
    write_gro(tmp_path / "a.gro", atoms, x, [[3.0] * 3] * 2)
    frames = Frames.from_trajectory(
        tmp_path / "a.gro", temperature=300, types=[kind for kind in types for _ in range(4)]
    )
    assert frames.species[::4].tolist() == species and frames.types[::4].tolist() == types


def test_a_list_of_symbols_against_known_elements_is_refused(tmp_path):
    write_gro(tmp_path / "a.gro", [("GLY", "CA")] * 4, grid(4, 3.0, 2), [[3.0] * 3] * 2)
    with pytest.raises(ValueError, match=r"types\[1\] is 'H', and atom GLY.*-CA of .*a.gro is C: .* no symbols"):
        Frames.from_trajectory(tmp_path / "a.gro", temperature=300, types=["C", "H", "C", "H"])
    for types in (None, 7):
        with pytest.raises(ValueError, match=f"types is {types}: give 'element', 'name', 'residue:name' or a list"):
            Frames.from_trajectory(tmp_path / "a.gro", temperature=300, types=types)


@pytest.mark.parametrize("residue", ["POPE", "CHOL"])
def test_the_element_column_of_a_coarse_pdb_holds_guesses(tmp_path, caplog, residue):
    # C of C1A and P of PO4, as MDAnalysis and mdtraj fill columns 77-78.
    atoms = [(residue, "PO4", "P"), (residue, "GL1", ""), (residue, "C1A", "C")] * 4
    write_pdb(tmp_path / "a.pdb", atoms, grid(12, 3.0, 1, apart=0.4), [3.0])
    with pytest.raises(ValueError, match="has no element"):
        Frames.from_trajectory(tmp_path / "a.pdb", temperature=300)
    # Nothing marks these as beads; what is read of them is named.
    write_pdb(tmp_path / "b.pdb", [row for row in atoms if row[2]], grid(8, 3.0, 1, apart=0.4), [3.0])
    with caplog.at_level(logging.INFO, "openmm_diffusion"):
        Frames.from_trajectory(tmp_path / "b.pdb", temperature=300, types="name")
    assert "elements of the topology are kept beside the names: C, P" in caplog.text


def test_a_guess_for_a_bead_of_a_coarse_pdb_is_not_taken(tmp_path, caplog):
    atoms = [("LEU", "BB", "B"), ("LEU", "SC1", "S"), ("W", "W", "W"), ("ION", "CL-", "C")] * 3
    write_pdb(tmp_path / "a.pdb", atoms, grid(12, 3.0, 1, apart=0.4), [3.0])
    frames = Frames.from_trajectory(tmp_path / "a.pdb", temperature=300, types="name")
    assert frames.species.tolist() == [0, 0, 0, 17] * 3 and "B for the bead BB of LEU" in caplog.text
    # In another residue W is tungsten where the column says so.
    write_pdb(tmp_path / "b.pdb", [("WO3", "W", "W"), ("WO3", "O1", "O")] * 4, grid(8, 3.0, 1), [3.0])
    assert Frames.from_trajectory(tmp_path / "b.pdb", temperature=300).symbols == ["W", "O"] * 4


def test_deuterium_of_a_pdb_has_its_mass(tmp_path):
    x = np.array([[[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.07, 0.19, 0.1]]])
    write_pdb(tmp_path / "a.pdb", [("DOD", "O", "O"), ("DOD", "D1", "D"), ("DOD", "D2", "D")], x, [2.0])
    frames = Frames.from_trajectory(tmp_path / "a.pdb", temperature=300)
    assert frames.symbols == ["O", "H", "H"]
    np.testing.assert_allclose(frames.masses[1:], 2.0141, atol=1e-3)  # IUPAC 2007


def test_halogens_that_mdtraj_guesses_from_a_first_letter_are_not_taken(tmp_path):
    carbon, boron = mdtraj.element.carbon, mdtraj.element.boron
    top = topology_of([("DRG", "C7"), ("DRG", "BR1"), ("DRG", "Cl2")], [carbon, boron, carbon])
    run = save(top, grid(3, 1.0, 2), 1.0, tmp_path / "a.xtc")
    with pytest.raises(ValueError, match=r"atom DRG\d+-BR1 .* has no element: 2 of 3 selected"):
        Frames.from_trajectory(run, top=top, temperature=300)
    right = topology_of([("DRG", "C7"), ("DRG", "BR1")], [carbon, mdtraj.element.bromine])
    assert [atom.element.symbol for atom in read_topology(run, right).atoms] == ["C", "Br"]


def test_topologies_of_openmm_and_of_others(tmp_path):
    top = topology_of([("LI", "LI")] * 3, [mdtraj.element.lithium] * 3)
    run = save(top, grid(3, 1.0, 2), 1.0, tmp_path / "a.xtc")
    assert Frames.from_trajectory(run, top=top.to_openmm(), temperature=300).symbols == ["Li"] * 3
    with pytest.raises(ValueError, match="top is a builtins dict: give the path of a topology .* mdtraj or OpenMM"):
        Frames.from_trajectory(run, top={"Li": 3}, temperature=300)
