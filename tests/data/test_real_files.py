"""Files that GROMACS, AMBER, CHARMM, NAMD and LAMMPS wrote: boxes as MDAnalysis reads them, elements as stated.

The files are those of the package MDAnalysisTests (extra `testdata`); without it these tests are skipped.
"""

import bz2
import re
from pathlib import Path

import numpy as np
import pytest

from openmm_diffusion import Frames
from openmm_diffusion.data.trajectories import read_chunks, read_topology

MDAnalysis = pytest.importorskip("MDAnalysis")
DATA = Path(pytest.importorskip("MDAnalysisTests").__file__).parent / "data"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def file(tmp_path):
    """A file of the package by its name; those that are packed are unpacked."""

    def find(name):
        if name is None or not name.endswith(".bz2"):
            return None if name is None else DATA / name
        path = tmp_path / Path(name).name[:-4]
        path.write_bytes(bz2.decompress((DATA / name).read_bytes()))
        return path

    return find


# Who wrote it, trajectory, topology, further arguments of MDAnalysis.
TRAJECTORIES = [
    ("GROMACS XTC, NPT, dodecahedron", "adk_oplsaa.xtc", "adk_oplsaa.gro"),
    ("GROMACS TRR, NPT, dodecahedron", "adk_oplsaa.trr", "adk_oplsaa.gro"),
    ("GROMACS XTC, NPT", "cobrotoxin.xtc", "cobrotoxin.pdb"),
    ("GROMACS TRR with forces", "cobrotoxin.trr", "cobrotoxin.pdb"),
    ("GROMACS .gro, dodecahedron", "adk_oplsaa.gro", None),
    ("GROMACS .gro, wide box", "two_water_gro_widebox.gro", None),
    ("GROMACS .gro with velocities", "sample_velocity_file.gro", None),
    ("GROMACS .gro, Martini", "martini_dppc_chol_bilayer.gro", None),
    ("GROMACS .gro, Martini, triclinic", "dppc_vesicle_hg.gro", None),
    ("GROMACS PDB", "adk_oplsaa.pdb", None),
    ("PDB with a box for each model", "model_then_cryst.pdb", None),
    ("PDB with a box before each model", "cryst_then_model.pdb", None),
    ("PDB, many models", "nmr_neopetrosiamide.pdb", None),
    ("AMBER mdcrd without boxes", "Amber/ache.mdcrd", "Amber/ache.prmtop"),
    ("AMBER mdcrd with boxes", "Amber/capped-ala.mdcrd.bz2", "Amber/capped-ala.prmtop"),
    ("AMBER NetCDF, NPT", "Amber/bala.ncdf", "Amber/bala.prmtop"),
    ("AMBER NetCDF, NPT, TIP3P", "Amber/ace_tip3p.nc", "Amber/ace_tip3p.parm7"),
    ("AMBER NetCDF, truncated octahedron, NPT", "Amber/tz2.truncoct.nc", "Amber/tz2.truncoct.parm7.bz2"),
    ("cpptraj NetCDF", "Amber/cpptraj_traj.nc", "Amber/cpptraj_traj.prmtop"),
    ("AMBER NetCDF without boxes", "Amber/ace_mbondi3.nc", "Amber/ace_mbondi3.parm7"),
    ("CHARMM DCD without boxes", "adk_dims.dcd", "adk.psf"),
    ("CHARMM DCD", "watdyn.dcd", "watdyn.psf"),
    ("NAMD DCD without boxes", "adk_gbis_tmd-fast1_NAMD.dcd", "adk_closed_NAMD.psf"),
    ("NAMD DCD, triclinic", "SiN_tric_namd.dcd", "SiN_tric_namd.psf"),
    ("LAMMPS DCD, NPT", "lammps/ifabp_apo_100mM.dcd", "lammps/ifabp_apo_100mM.data.bz2"),
    ("HOOMD GSD", "example_longer.gsd", None),
]


@pytest.mark.parametrize(("trajectory", "top"), [row[1:] for row in TRAJECTORIES], ids=[row[0] for row in TRAJECTORIES])
def test_boxes_and_positions_are_those_that_mdanalysis_reads(file, trajectory, top):
    from MDAnalysis.lib.mdamath import triclinic_vectors

    path, top = file(trajectory), file(top)
    universe = MDAnalysis.Universe(str(top or path), str(path))
    topology = read_topology(path, top)
    assert topology.n_atoms == universe.atoms.n_atoms
    # MDAnalysis takes the lengths of HOOMD, which have no unit, for Angstrom; we for nm.
    length = 1.0 if path.suffix == ".gsd" else 0.1
    n = 0
    for positions, boxes in read_chunks(path, topology, chunk=4):
        for k in range(len(positions)):
            step = universe.trajectory[n]
            np.testing.assert_allclose(positions[k], length * step.positions, rtol=2e-6, atol=2e-6)
            if step.dimensions is None:
                assert boxes is None
            else:
                # Angles of PDB files have two decimals, MDAnalysis keeps single precision.
                np.testing.assert_allclose(boxes[k], length * triclinic_vectors(step.dimensions), rtol=0, atol=2e-4)
            n += 1
    assert n == len(universe.trajectory)


def test_charmms_triclinic_cell_keeps_water_whole(file):
    """CHARMM's cell is symmetric: in its lattice, turned, every O-H bond of every frame is 0.0957 nm long."""
    path, top = file("tip125_tric_C36.dcd"), file("tip125_tric_C36.psf")
    universe = MDAnalysis.Universe(str(top), str(path))
    frames = Frames.from_trajectory(path, top=top, temperature=300)
    assert len(frames) == len(universe.trajectory) == 10
    for k, step in enumerate(universe.trajectory):
        box = 10 * frames.boxes[k]
        # Another set of vectors of the lattice that MDAnalysis knows by lengths and angles: the same volume, and the
        # same lattice of distances.
        assert np.linalg.det(box) == pytest.approx(step.volume, rel=1e-5)
    oxygens, hydrogens = np.array([pair for pair in frames.bonds if 8 in frames.species[pair]]).T
    vectors = frames.positions[:, oxygens] - frames.positions[:, hydrogens]
    inverse = np.linalg.inv(frames.boxes)
    fractions = vectors @ inverse
    lengths = np.linalg.norm((fractions - np.round(fractions)) @ frames.boxes, axis=-1)
    np.testing.assert_allclose(lengths, 0.0957, atol=2e-4)


def test_a_gro_trajectory_of_two_frames(file):
    frames = Frames.from_trajectory(file("two_water_gro_multiframe.gro"), temperature=300)
    assert len(frames) == 2 and frames.species.tolist() == [8, 1, 1] * 2
    np.testing.assert_allclose(frames.boxes[:, 0, 0], [10.0, 12.0])
    assert frames.bonds.tolist() == [[0, 1], [0, 2], [3, 4], [3, 5]]


# ---- LAMMPS dumps, with boxes and positions parsed here


def test_lammps_triclinic_scaled(file):
    path = file("lammps/albite_triclinic.dump")
    universe = MDAnalysis.Universe(str(path), format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
    from MDAnalysis.lib.mdamath import triclinic_vectors

    ((positions, boxes),) = read_chunks(path)
    step = universe.trajectory[0]
    np.testing.assert_allclose(boxes[0], 0.1 * triclinic_vectors(step.dimensions), atol=1e-5)
    # MDAnalysis leaves the origin of the cell out of scaled coordinates.
    lines = path.read_text().splitlines()
    rows = np.array(sorted(([float(v) for v in line.split()] for line in lines[9:]), key=lambda row: row[0]))
    (xlo, xhi, xy), (ylo, yhi, xz), (zlo, zhi, yz) = [[float(v) for v in line.split()] for line in lines[5:8]]
    corner = np.array([xlo - min(0, xy, xz, xy + xz), ylo - min(0, yz), zlo])
    np.testing.assert_allclose(10 * positions[0], corner + rows[:, 2:5] @ (10 * boxes[0]), atol=1e-4)


def test_lammps_with_every_kind_of_column(file):
    """One dump with x, xs, xu and xsu: each of them alone gives the same configuration, up to images."""
    path = file("lammps/spce_all_coords.lammpstrj.bz2")
    text = path.read_text()
    head = re.search(r"ITEM: ATOMS (.*)", text).group(1).split()
    whole, boxes = next(read_chunks(path, chunk=2))
    for kind in ("xs ys zs", "xu yu zu", "xsu ysu zsu"):
        names = [name if name in ("id", "type", *kind.split()) else f"c_{name}" for name in head]
        path.write_text(text.replace("ITEM: ATOMS " + " ".join(head), "ITEM: ATOMS " + " ".join(names)))
        positions, _ = next(read_chunks(path, chunk=2))
        images = (positions - whole) @ np.linalg.inv(boxes)
        assert np.abs((images - np.round(images)) @ boxes).max() < 2e-4, kind


def test_lammps_states_elements(file):
    frames = Frames.from_trajectory(file("lammps/mass_q_elem.lammpstrj"), temperature=300)
    lines = file("lammps/mass_q_elem.lammpstrj").read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("ITEM: ATOMS"))
    column = lines[at].split()[2:].index("element")
    rows = sorted((line.split() for line in lines[at + 1 : at + 1 + len(frames.species)]), key=lambda row: int(row[0]))
    assert frames.symbols == [row[column] for row in rows]


# ---- elements against what the files state, parsed here


def numbers_of(path, top=None):
    return np.array([atom.element.atomic_number for atom in read_topology(path, top).atoms])


@pytest.mark.parametrize(
    "name",
    [
        "ache.prmtop",
        "bala.prmtop",
        "ace_tip3p.parm7",
        "capped-ala.prmtop",
        "cpptraj_traj.prmtop",
        "parmed_ala2_solv.parm7",
    ],
)
def test_prmtop_states_atomic_numbers_or_masses(file, name, tmp_path):
    path = file(f"Amber/{name}")
    text = path.read_text()

    def section(flag, width):
        body = re.search(rf"%FLAG {flag} *\n%FORMAT.*\n((?:[^%].*\n|\n)*)", text)
        return None if body is None else re.findall(rf".{{{width}}}", body.group(1).replace("\n", ""))

    stated = section("ATOMIC_NUMBER", 8)
    found = numbers_of(path, path)
    if stated is not None:
        np.testing.assert_array_equal(found, [int(text) for text in stated])
    masses = np.array([float(text) for text in section("MASS", 16)])
    # A table of masses of our own (IUPAC, abridged): what a mass says of these elements.
    table = {1: 1.008, 6: 12.011, 7: 14.007, 8: 15.999, 11: 22.99, 15: 30.974, 16: 32.06, 17: 35.45}
    known = np.array([table.get(number, np.nan) for number in found])
    assert np.nanmax(np.abs(known - masses)) < 0.03 and np.isfinite(known).all()
    # The same file without atomic numbers: the masses say them.
    (tmp_path / "old.prmtop").write_text(re.sub(r"%FLAG ATOMIC_NUMBER *\n%FORMAT.*\n(?:[^%].*\n)*", "", text))
    np.testing.assert_array_equal(numbers_of(tmp_path / "old.prmtop", tmp_path / "old.prmtop"), found)


@pytest.mark.parametrize(
    "name", ["adk.psf", "adk_closed_NAMD.psf", "watdyn.psf", "tip125_tric_C36.psf", "namd_cgenff.psf"]
)
def test_psf_states_masses(file, name):
    path = file(name)
    lines = path.read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if "!NATOM" in line)
    masses = np.array([float(line.split()[7]) for line in lines[at + 1 : at + 1 + int(lines[at].split()[0])]])
    table = {1: 1.008, 6: 12.011, 7: 14.007, 8: 15.999, 16: 32.06}
    found = numbers_of(path, path)
    np.testing.assert_array_equal(found, [min(table, key=lambda z: abs(table[z] - mass)) for mass in masses])


@pytest.mark.parametrize("name", ["elements.pdb", "nmr_neopetrosiamide.pdb", "charges.pdb", "5a7u.pdb", "adk_open.pdb"])
def test_pdb_states_elements(file, name):
    lines = file(name).read_text().splitlines()
    ends = [k for k, line in enumerate(lines) if line.startswith("ENDMDL")]
    rows = [line for line in lines[: ends[0] if ends else None] if line.startswith(("ATOM", "HETATM"))]
    stated = [line[76:78].strip().capitalize() for line in rows]
    symbols = [atom.element.symbol for atom in read_topology(file(name)).atoms]
    told = [(mine, theirs) for mine, theirs in zip(symbols, stated, strict=True) if theirs]
    assert all(mine == theirs for mine, theirs in told)
    if name != "adk_open.pdb":
        assert len(told) > 20


def test_gro_and_pdb_without_elements(file):
    """OPLS-AA in water: 4 sodium ions, TIP4P, and a protein whose heavy atoms PDB nomenclature names."""
    for name in ("adk_oplsaa.gro", "adk_oplsaa.pdb"):
        topology = read_topology(file(name))
        numbers = np.array([atom.element.atomic_number for atom in topology.atoms])
        names = np.array([atom.name for atom in topology.atoms])
        assert set(names[numbers == 0]) == {"MW"} and (numbers == 0).sum() == 11084
        assert set(names[numbers == 11]) == {"NA"} and (numbers == 11).sum() == 4
        # C956 H1685 ... of adenylate kinase: the PSF of the same protein states 1040 C, 289 N, 320 O and 7 S.
        protein = numbers[topology.select("protein")]
        assert [(protein == z).sum() for z in (6, 7, 8, 16)] == [1040, 289, 320, 7]


def test_a_protein_without_its_water(file):
    frames = Frames.from_trajectory(
        file("adk_oplsaa.xtc"), top=file("adk_oplsaa.gro"), select="protein", temperature=300, stride=5
    )
    assert len(frames) == 2 and frames.positions.shape[1] == 3341 and frames.bonds.shape[0] == 3365
    # Bonds of the topology are those of the PSF of the same protein, whichever way its atoms are ordered.
    vectors = frames.positions[:, frames.bonds[:, 0]] - frames.positions[:, frames.bonds[:, 1]]
    fractions = vectors @ np.linalg.inv(frames.boxes)
    lengths = np.linalg.norm((fractions - np.round(fractions)) @ frames.boxes, axis=-1)
    assert 0.09 < lengths.min() and lengths.max() < 0.21


def test_lammps_data_states_masses(file):
    frames = Frames.from_trajectory(
        file("lammps/ifabp_apo_100mM.dcd"), top=file("lammps/ifabp_apo_100mM.data.bz2"), temperature=300
    )
    counts = {symbol: frames.symbols.count(symbol) for symbol in set(frames.symbols)}
    assert counts == {"H": 7920, "O": 3636, "C": 670, "N": 180, "Na": 6, "Cl": 6, "S": 3}
    assert len(frames.bonds) == 8993


def test_martini_has_names_and_no_elements(file):
    path = file("martini_dppc_chol_bilayer.gro")
    with pytest.raises(ValueError, match="5040 of 5040 selected atoms .*types='name'"):
        Frames.from_trajectory(path, temperature=310)
    frames = Frames.from_trajectory(path, temperature=310, types="name")
    names = {line[10:15].strip() for line in path.read_text().splitlines()[2:-1]}
    assert set(frames.types) == names and not frames.species.any()
