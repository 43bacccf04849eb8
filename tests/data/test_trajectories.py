"""Trajectories of every format: positions, boxes, strides and pieces against what was written."""

import logging
import struct
import tracemalloc

import mdtraj
import numpy as np
import pytest
from files import grid, save, topology_of, write_gro, write_pdb

from openmm_diffusion import Frames
from openmm_diffusion.data.trajectories import read_chunks, read_topology

LI, CL = mdtraj.element.lithium, mdtraj.element.chlorine
ATOMS = [("LI", "LI")] * 6 + [("CL", "CL")] * 6
TOPOLOGY = topology_of(ATOMS, [LI] * 6 + [CL] * 6)
CUBE = 2.0 * np.eye(3)
#: Lower triangular, with skews of both signs (nm).
TILTED = np.array([[2.4, 0.0, 0.0], [0.5, 2.2, 0.0], [-0.6, 0.4, 2.0]])


def all_of(path, **options):
    pieces = list(read_chunks(path, **options))
    boxes = [vectors for _, vectors in pieces]
    return np.concatenate([x for x, _ in pieces]), None if boxes[0] is None else np.concatenate(boxes)


# ---- pieces


@pytest.mark.parametrize("extension", ["xtc", "trr", "dcd", "nc", "mdcrd", "pdb", "gro", "xyz", "lammpstrj"])
@pytest.mark.parametrize(("stride", "chunk"), [(1, 100), (1, 4), (3, 4), (4, 3), (25, 2)])
def test_pieces_and_strides_of_every_format(tmp_path, extension, stride, chunk):
    x = grid(12, 2.0, 23)
    path, atoms = tmp_path / f"run.{extension}", np.array([1, 4, 7])
    if extension == "gro":
        write_gro(path, ATOMS, x, [[2.0] * 3] * 23)
    elif extension == "xyz":
        with open(path, "w") as file:
            for frame in x:
                file.write('12\nLattice="20 0 0 0 20 0 0 0 20"\n')
                file.writelines(f"{name} {a:.5f} {b:.5f} {c:.5f}\n" for (_, name), (a, b, c) in zip(ATOMS, 10 * frame))
    else:
        save(TOPOLOGY, x, 2.0, path)
    pieces = list(read_chunks(path, TOPOLOGY, atoms, stride, chunk))
    assert [len(positions) for positions, _ in pieces][:-1] == [chunk] * (len(pieces) - 1) or stride > 1
    assert all(positions.dtype == np.float32 and vectors.dtype == np.float64 for positions, vectors in pieces)
    positions = np.concatenate([positions for positions, _ in pieces])
    # XTC, .gro and mdcrd keep 0.001 nm and 0.0001 nm.
    np.testing.assert_allclose(positions, x[::stride][:, atoms], rtol=0, atol=6e-4)
    for _, vectors in pieces:
        np.testing.assert_allclose(vectors, np.broadcast_to(2.0 * np.eye(3), vectors.shape), atol=1e-5)


@pytest.mark.parametrize("extension", ["gro", "lammpstrj"])
def test_only_a_piece_is_in_memory(tmp_path, extension):
    atoms, x = [("LI", "LI")] * 300, grid(300, 3.0, 400)
    path = tmp_path / f"run.{extension}"
    topology = topology_of(atoms, [LI] * 300)
    if extension == "gro":
        write_gro(path, atoms, x, [[3.0] * 3] * 400)
    else:
        save(topology, x, 3.0, path)
    tracemalloc.start()
    for _ in read_chunks(path, topology, chunk=10):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * x.size * 4, "less than a quarter of all positions in float32"


# ---- .gro


@pytest.mark.parametrize("decimals", [2, 3, 6])
@pytest.mark.parametrize("velocities", [False, True])
def test_gro_trajectory_at_any_precision_with_its_boxes(tmp_path, decimals, velocities):
    x = grid(12, 2.0, 4)
    # v1(x) v2(y) v3(z) v1(y) v1(z) v2(x) v2(z) v3(x) v3(y), as the manual of GROMACS orders them.
    boxes = [[2.4 * s, 2.2 * s, 2.0 * s, 0, 0, 0.5 * s, 0, -0.6 * s, 0.4 * s] for s in (1.0, 1.01, 1.02, 1.05)]
    write_gro(tmp_path / "a.gro", ATOMS, x, boxes, decimals, velocities)
    frames = Frames.from_trajectory(tmp_path / "a.gro", temperature=300)
    assert frames.symbols == ["Li"] * 6 + ["Cl"] * 6 and len(frames) == 4
    np.testing.assert_allclose(frames.positions, x, rtol=0, atol=0.51 * 10.0**-decimals + 1e-6)
    np.testing.assert_allclose(frames.boxes[3], 1.05 * TILTED, atol=1e-5)


def test_gro_without_a_box_and_broken_ones(tmp_path):
    write_gro(tmp_path / "a.gro", ATOMS, grid(12, 2.0, 2), [[0.0] * 3] * 2)
    assert Frames.from_trajectory(tmp_path / "a.gro", temperature=300).box is None
    text = (tmp_path / "a.gro").read_text().splitlines(keepends=True)
    (tmp_path / "cut.gro").write_text("".join(text[:-4]))
    with pytest.raises(ValueError, match=r"frame 1 of .*cut.gro cannot be read as .gro"):
        Frames.from_trajectory(tmp_path / "cut.gro", temperature=300)
    write_gro(tmp_path / "mixed.gro", ATOMS, grid(12, 2.0, 2), [[2.0] * 3, [0.0] * 3])
    with pytest.raises(ValueError, match="a box in some frames only"):
        list(read_chunks(tmp_path / "mixed.gro", chunk=1))


def test_gro_with_blank_titles_and_blank_lines(tmp_path):
    write_gro(tmp_path / "a.gro", ATOMS, grid(12, 2.0, 2), [[2.0] * 3] * 2)
    text = (tmp_path / "a.gro").read_text()
    (tmp_path / "b.gro").write_text(text.replace("made by hand, t= 0.0", ""))
    (tmp_path / "c.gro").write_text(text.replace("made by hand", "\n\nmade by hand").lstrip() + "\n\n")
    for name in ("b.gro", "c.gro"):
        assert len(Frames.from_trajectory(tmp_path / name, temperature=300)) == 2


def test_two_chains_that_a_gro_file_does_not_part(tmp_path):
    """mdtraj bonds C of the last residue of a chain to N of the next one, here 1.5 nm away."""
    atoms = [(1, "ALA", "N"), (1, "ALA", "CA"), (1, "ALA", "C"), (2, "GLY", "N"), (2, "GLY", "CA"), (2, "GLY", "C")]
    x = np.array([[0.0, 0, 0], [0.147, 0, 0], [0.2, 0.14, 0], [1.7, 0.14, 0], [1.847, 0.14, 0], [1.9, 0.28, 0]]) + 0.1
    with open(tmp_path / "a.gro", "w") as file:
        file.write("two\n6\n")
        for i, ((number, residue, name), place) in enumerate(zip(atoms, x)):
            file.write(f"{number:5d}{residue:<5s}{name:>5s}{i + 1:5d}" + "".join(f"{v:8.3f}" for v in place) + "\n")
        file.write("   4.0 4.0 4.0\n")
    frames = Frames.from_trajectory(tmp_path / "a.gro", temperature=300)
    assert frames.bonds.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]


# ---- PDB


@pytest.mark.parametrize("separator", ["MODEL", "END"])
def test_pdb_cells_of_each_model(tmp_path, separator):
    x, edges = grid(12, 2.0, 3), [2.0, 2.1, 2.2]
    atoms = [(residue, name, name) for residue, name in ATOMS]
    write_pdb(tmp_path / "a.pdb", atoms, x, edges, separator=separator)
    frames = Frames.from_trajectory(tmp_path / "a.pdb", temperature=300)
    np.testing.assert_allclose(frames.boxes[:, 0, 0], edges, atol=1e-5)
    np.testing.assert_allclose(frames.positions, x, atol=6e-5)


# ---- LAMMPS


def write_dump(path, x, columns, cell=CUBE, origin=(0, 0, 0), flags="pp pp pp", shuffle=True, head="", **more):
    """A dump as LAMMPS writes it, positions (nm) in the given columns; `more` names further columns."""
    rng = np.random.default_rng(3)
    lengths, origin = 10 * cell, 10 * np.asarray(origin, float)
    xy, xz, yz = lengths[1, 0], lengths[2, 0], lengths[2, 1]
    low, high = origin.copy(), origin + np.diagonal(lengths)
    if np.any([xy, xz, yz]):  # the bounding box
        low[:2] += [min(0, xy, xz, xy + xz), min(0, yz)]
        high[:2] += [max(0, xy, xz, xy + xz), max(0, yz)]
    with open(path, "w") as file:
        for k, frame in enumerate(10 * x):
            tilts = ["", "", ""] if not np.any([xy, xz, yz]) else [f" {xy!r}", f" {xz!r}", f" {yz!r}"]
            names = "xy xz yz " if tilts[0] else ""
            file.write(f"{head}ITEM: TIMESTEP\n{100 * k}\nITEM: NUMBER OF ATOMS\n{len(frame)}\n")
            file.write(f"ITEM: BOX BOUNDS {names}{flags}\n")
            for a, b, tilt in zip(low, high, tilts):
                file.write(f"{float(a)!r} {float(b)!r}{tilt.replace('np.float64(', '').replace(')', '')}\n")
            file.write(f"ITEM: ATOMS id type {columns} {' '.join(more)}\n")
            shown = frame if "s" not in columns.split()[0] else (frame - origin) @ np.linalg.inv(lengths)
            order = rng.permutation(len(frame)) if shuffle else range(len(frame))
            for i in order:
                row = [i + 1, 1 + i // 6, *(f"{value:.9f}" for value in shown[i]), *(more[name][i] for name in more)]
                file.write(" ".join(map(str, row)) + "\n")
    return path


@pytest.mark.parametrize("origin", [(0, 0, 0), (-1.0, 0.3, 5.0)], ids=["from zero", "from elsewhere"])
@pytest.mark.parametrize("cell", [2.0 * np.eye(3), TILTED], ids=["orthogonal", "triclinic"])
@pytest.mark.parametrize("columns", ["x y z", "xu yu zu", "xs ys zs", "xsu ysu zsu"])
def test_lammps_columns(tmp_path, columns, cell, origin):
    x = grid(12, 2.0, 3) + np.asarray(origin)
    if "u" in columns:
        x = x + np.array([3, 0, -2]) @ cell  # atoms that have wandered
    path = write_dump(tmp_path / "a.lammpstrj", x, columns, cell, origin)
    frames = Frames.from_trajectory(path, top=TOPOLOGY, temperature=300)
    np.testing.assert_allclose(frames.positions, x, rtol=0, atol=2e-6)
    np.testing.assert_allclose(frames.box, cell, atol=1e-9)
    assert frames.symbols == ["Li"] * 6 + ["Cl"] * 6


def test_lammps_dump_that_states_elements_needs_no_topology(tmp_path, caplog):
    x = grid(12, 2.0, 2)
    elements = ["Li"] * 6 + ["Cl"] * 6
    path = write_dump(tmp_path / "a.lammpstrj", x, "x y z", element=elements, c_mine=np.arange(12))
    with caplog.at_level(logging.INFO, "openmm_diffusion"):
        frames = Frames.from_trajectory(path, temperature=300)
    assert frames.symbols == elements
    assert [record.getMessage() for record in caplog.records if "c_mine" in record.getMessage()]
    path = write_dump(tmp_path / "b.lammpstrj", x, "x y z")
    with pytest.raises(ValueError, match="no element: 12 of 12"):
        Frames.from_trajectory(path, temperature=300)
    assert Frames.from_trajectory(path, temperature=300, types="name").types.tolist() == ["1"] * 6 + ["2"] * 6


@pytest.mark.parametrize(
    ("style", "length"), [("real", 0.1), ("metal", 0.1), ("nano", 1.0), ("electron", 0.0529177210903)]
)
def test_lammps_units(tmp_path, style, length):
    x = grid(12, 2.0, 2)
    # What is written as Angstrom below is in the units of the style.
    path = write_dump(
        tmp_path / "a.lammpstrj", 0.1 * x / length, "x y z", 0.2 / length * np.eye(3), head=f"ITEM: UNITS\n{style}\n"
    )
    frames = Frames.from_trajectory(path, top=TOPOLOGY, temperature=300)
    np.testing.assert_allclose(frames.positions, x, atol=2e-6)
    np.testing.assert_allclose(frames.box, 2.0 * np.eye(3), rtol=1e-7, atol=1e-12)


def test_lammps_masses_and_elements_that_nobody_told(tmp_path, caplog):
    x = grid(12, 2.0, 2)
    path = write_dump(tmp_path / "a.lammpstrj", x, "x y z", mass=["6.941"] * 6 + ["35.453"] * 6)
    assert Frames.from_trajectory(path, temperature=300).symbols == ["Li"] * 6 + ["Cl"] * 6
    path = write_dump(tmp_path / "b.lammpstrj", x, "x y z", element=["C"] * 12)
    with pytest.raises(ValueError, match="no element: 12 of 12"):
        Frames.from_trajectory(path, temperature=300)
    assert "every element is C, which LAMMPS writes" in caplog.text
    path = write_dump(tmp_path / "c.lammpstrj", x, "x y z", mass=["1.0"] * 12)
    assert not Frames.from_trajectory(path, temperature=300, types="name").species.any()


def test_lammps_without_periodicity(tmp_path):
    path = write_dump(tmp_path / "a.dump", grid(12, 2.0, 2), "x y z", flags="ff ss mm")
    assert Frames.from_trajectory(path, top=TOPOLOGY, temperature=300).box is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flags": "pp pp ff"}, r"periodic along some axes only \(pp pp ff\)"),
        ({"head": "ITEM: UNITS\nlj\n"}, "LAMMPS units 'lj', which give no length"),
        ({"columns": "x y vz"}, "has the columns id type x y vz"),
    ],
)
def test_lammps_dumps_that_are_refused(tmp_path, change, message):
    path = write_dump(tmp_path / "a.lammpstrj", grid(12, 2.0, 2), **({"columns": "x y z"} | change))
    with pytest.raises(ValueError, match=message):
        Frames.from_trajectory(path, top=TOPOLOGY, temperature=300)


def test_lammps_atoms_in_another_order_than_the_topology(tmp_path):
    path = write_dump(tmp_path / "a.lammpstrj", grid(12, 2.0, 2), "x y z")
    mixed = topology_of([("LI", "LI"), ("CL", "CL")] * 6, [LI, CL] * 6)
    with pytest.raises(ValueError, match="type 1 of .* is Li and Cl in the topology"):
        Frames.from_trajectory(path, top=mixed, temperature=300)
    with pytest.raises(ValueError, match="has 12 atoms, its topology 6"):
        Frames.from_trajectory(path, top=topology_of(ATOMS[:6], [LI] * 6), temperature=300)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    with pytest.raises(ValueError, match="frame 1 of .* has 9 complete rows of 5 columns where 12"):
        Frames.from_trajectory(path, top=TOPOLOGY, temperature=300)


def test_lammps_without_ids(tmp_path, caplog):
    x = grid(12, 2.0, 2)
    path = write_dump(tmp_path / "a.lammpstrj", x, "x y z", shuffle=False)
    text = path.read_text().replace("ATOMS id type", "ATOMS type").splitlines()
    text = [" ".join(line.split()[1:]) if len(line.split()) == 5 and line[0].isdigit() else line for line in text]
    path.write_text("\n".join(text) + "\n")
    with caplog.at_level(logging.WARNING, "openmm_diffusion"):
        frames = Frames.from_trajectory(path, top=TOPOLOGY, temperature=300)
    np.testing.assert_allclose(frames.positions, x, atol=2e-6)
    assert "no column id" in caplog.text


def test_lammps_data_file_as_topology(tmp_path):
    x = grid(12, 2.0, 2)
    x[:, 1] = x[:, 0] + [0.15, 0, 0]
    rows = [f"{i + 1} {1 + i // 2} {1 + i // 6} 0.0 0.0 0.0 0.0" for i in np.random.default_rng(0).permutation(12)]
    (tmp_path / "sys.data").write_text(
        "made by hand\n\n12 atoms\n1 bonds\n2 atom types\n\n0 20 xlo xhi\n0 20 ylo yhi\n0 20 zlo zhi\n\nMasses\n\n"
        "1 12.011 # CT\n2 15.9994\n\nAtoms # full\n\n" + "\n".join(rows) + "\n\nBonds\n\n1 1 1 2\n"
    )
    path = write_dump(tmp_path / "a.lammpstrj", x, "x y z")
    frames = Frames.from_trajectory(path, top=tmp_path / "sys.data", temperature=300)
    assert frames.symbols == ["C"] * 6 + ["O"] * 6 and frames.bonds.tolist() == [[0, 1]]


# ---- boxes


def test_the_argument_box(tmp_path):
    x = grid(12, 2.5, 5)
    run = save(TOPOLOGY, x, None, tmp_path / "free.dcd")
    assert Frames.from_trajectory(run, top=TOPOLOGY, temperature=300).box is None
    for box in (2.5 * np.eye(3), [2.5, 2.5, 2.5]):
        frames = Frames.from_trajectory(run, top=TOPOLOGY, temperature=300, box=box)
        np.testing.assert_allclose(frames.box, 2.5 * np.eye(3))
    run = save(TOPOLOGY, x, 2.5, tmp_path / "boxed.xtc")
    assert Frames.from_trajectory(run, top=TOPOLOGY, temperature=300, box=[2.5] * 3).box[0, 0] == pytest.approx(2.5)
    with pytest.raises(
        ValueError, match=r"box is given with edges 3 x 3 x 3 nm, but .*boxed.xtc has .* 2.5 x 2.5 x 2.5"
    ):
        Frames.from_trajectory(run, top=TOPOLOGY, temperature=300, box=[3.0] * 3)
    with pytest.raises(ValueError, match=r"box has shape \(2,\): give three edges or three vectors"):
        Frames.from_trajectory(run, top=TOPOLOGY, temperature=300, box=[3.0, 3.0])


def test_a_box_that_only_the_topology_has_is_told(tmp_path, caplog):
    x = grid(12, 2.5, 3)
    write_pdb(tmp_path / "top.pdb", [(*atom, atom[0]) for atom in ATOMS], x[:1], [2.5])
    run = save(TOPOLOGY, x, None, tmp_path / "free.dcd")
    assert Frames.from_trajectory(run, top=tmp_path / "top.pdb", temperature=300).box is None
    assert "free.dcd has no box and" in caplog.text and "pass it as box=" in caplog.text


def test_charmms_cells_are_symmetric_and_stand_askew(tmp_path):
    """A symmetric cell in a DCD file, XX XY YY XZ YZ ZZ: the same lattice, turned with its positions."""
    shape = np.array([[2.4, 0.31, -0.22], [0.31, 2.2, 0.15], [-0.22, 0.15, 2.0]])
    x = grid(12, 2.0, 2)
    data = save(TOPOLOGY, x, 2.0, tmp_path / "c.dcd").read_bytes()
    # A record of 48 bytes, between two marks of its length, holds the cell of each frame.
    mark = struct.pack("i", 48)
    places = [at for at in range(len(data)) if data[at : at + 4] == data[at + 52 : at + 56] == mark]
    assert len(places) == 8, "cell, x, y and z of 12 atoms, all 48 bytes long"
    for at in places[::4]:
        cell = struct.pack("6d", *(10 * shape[[0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]]))
        data = data[: at + 4] + cell + data[at + 52 :]
    (tmp_path / "c.dcd").write_bytes(data)
    positions, boxes = all_of(tmp_path / "c.dcd", top=TOPOLOGY)
    np.testing.assert_allclose(boxes @ np.swapaxes(boxes, 1, 2), np.tile(shape @ shape, (2, 1, 1)), rtol=1e-5)
    # Fractional coordinates are those of the file.
    expected = x @ np.linalg.inv(shape)
    np.testing.assert_allclose(positions @ np.linalg.inv(boxes), expected, atol=1e-5)


# ---- other formats


def test_hdf5(tmp_path):
    x = grid(12, 2.0, 5)
    try:
        import tables  # noqa: F401
    except ImportError:
        (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ImportError, match="a.h5 needs the package tables, .*: pip install tables"):
            Frames.from_trajectory(tmp_path / "a.h5", temperature=300)
        return
    save(TOPOLOGY, x, 2.0, tmp_path / "a.h5")
    frames = Frames.from_trajectory(tmp_path / "a.h5", temperature=300)
    np.testing.assert_allclose(frames.positions, x, atol=1e-6)
    assert frames.symbols == ["Li"] * 6 + ["Cl"] * 6


def test_gsd_with_its_triclinic_box(tmp_path):
    gsd = pytest.importorskip("gsd.hoomd")
    x, edges = grid(12, 2.0, 5), np.diagonal(TILTED)
    with gsd.open(str(tmp_path / "a.gsd"), "w") as file:
        for frame in x:
            one = gsd.Frame()
            one.particles.N, one.particles.types = 12, ["A", "B"]
            one.particles.typeid, one.particles.position = [0] * 6 + [1] * 6, frame
            skews = [TILTED[1, 0] / edges[1], TILTED[2, 0] / edges[2], TILTED[2, 1] / edges[2]]
            one.configuration.box = [*edges, *skews]
            one.bonds.N, one.bonds.types, one.bonds.typeid, one.bonds.group = 1, ["AA"], [0], [[0, 1]]
            file.append(one)
    frames = Frames.from_trajectory(tmp_path / "a.gsd", temperature=300, types="name", stride=2)
    assert frames.types.tolist() == ["A"] * 6 + ["B"] * 6 and frames.bonds.tolist() == [[0, 1]]
    np.testing.assert_allclose(frames.positions, x[::2], atol=1e-6)
    np.testing.assert_allclose(frames.box, TILTED, atol=1e-6)


def test_xyz_of_beads_and_of_elements(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("2\nbeads\nP4 0 0 0\nQa 5 0 0\n2\nbeads\nP4 0 0 1\nQa 5 0 0\n")
    frames = Frames.from_trajectory(path, temperature=300, types="name")
    assert frames.types.tolist() == ["P4", "Qa"] and len(frames) == 2
    path.write_text('2\nLattice="20 0 0 0 20 0 0 0 20"\nna 0 0 0\nCL 5 0 0\n')
    frames = Frames.from_trajectory(path, temperature=300)
    assert frames.symbols == ["Na", "Cl"] and frames.box[0, 0] == 2.0


def test_formats_that_nobody_reads(tmp_path):
    np.savez(tmp_path / "a.npz", R=np.zeros(3))
    with pytest.raises(ValueError, match="a.npz is an archive of arrays, not a trajectory: read it with Frames.load"):
        Frames.from_trajectory(tmp_path / "a.npz", temperature=300)
    (tmp_path / "a.tng").write_bytes(b"x")
    with pytest.raises(ValueError, match="a.tng cannot be read by mdtraj"):
        read_topology(tmp_path / "a.tng")
    with pytest.raises(ValueError, match="a.tng cannot be read by mdtraj"):
        list(read_chunks(tmp_path / "a.tng", TOPOLOGY))
