"""Wrong files: cut, of another form, with counts that no machine has; and what is asked of files that are right."""

import struct

import numpy as np
from cases import NO_COUNTS, NO_NUMBERS, Wrong, arrays, numbers
from openmm import unit

from openmm_diffusion import Frames

HUGE = "9" * 12


def load(name, content):
    return lambda i: Frames.load(i.write(name, content), 300)


def read(name, content, top=True):
    return lambda i: Frames.from_trajectory(
        i.write(name, content), top=i.shared / "top.pdb" if top else None, temperature=300
    )


def cut(name, keep):
    """A trajectory of which only some bytes are left: a share of them, or all but so many."""

    def call(i):
        data = (i.shared / name).read_bytes()
        data = data[: int(keep * len(data))] if 0 < keep < 1 else data[:keep]
        return Frames.from_trajectory(i.write(name, data), top=i.shared / "top.pdb", temperature=300)

    return call


def without_frames(number):
    """A DCD file that lost whole frames from its end: its header still counts them."""

    def call(i):
        data = (i.shared / "run.dcd").read_bytes()
        frame = (len(data) - 276) // 4
        return Frames.from_trajectory(
            i.write("run.dcd", data[: len(data) - number * frame]), top=i.shared / "top.pdb", temperature=300
        )

    return call


def dcd_atoms(number):
    def call(i):
        data = bytearray((i.shared / "run.dcd").read_bytes())
        data[268:272] = struct.pack("<i", number)
        return Frames.from_trajectory(i.write("run.dcd", bytes(data)), top=i.shared / "top.pdb", temperature=300)

    return call


def header_of(shape, descr="<f4"):
    """An npz whose positions announce a shape and hold a few bytes."""

    def call(i):
        import io
        import zipfile

        path = i.npz()
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(text, {"descr": descr, "fortran_order": False, "shape": shape})
        members["positions.npy"] = text.getvalue() + b"\0" * 64
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return Frames.load(path)

    return call


ROWS = "Li 0.0 0.0 0.0\nCl 3.0 0.0 0.0\n"
DUMP = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS pp pp pp\n0 20\n0 20\n0 20\nITEM: ATOMS id element x y z\n{rows}"
DUMP_ROWS = "1 Li 0 0 0\n2 Cl 3 0 0\n"
COMMENT = 'Lattice="20 0 0 0 20 0 0 0 20"'

SIZES = [
    Wrong("D", "extxyz", "a count that the file has no room for", load("a.xyz", f"{HUGE}\n{COMMENT}\n{ROWS}"), "announces 999999999999 atoms"),
    Wrong("D", "extxyz", "a count of a thousand digits", load("a.xyz", "9" * 1000 + f"\n{COMMENT}\n{ROWS}"), "announces 9999"),
    Wrong("D", "extxyz", "a count of ten thousand digits", load("a.xyz", "9" * 10000 + f"\n{COMMENT}\n{ROWS}"), "announces 9999"),
    Wrong("D", "extxyz", "a count in the second frame", load("a.xyz", f"2\n{COMMENT}\n{ROWS}{HUGE}\n\n{ROWS}"), "announces 999999999999 atoms"),
    Wrong("D", "gro", "a count that the file has no room for", read("a.gro", f"title\n{HUGE}\n", top=False), "a.gro"),
    Wrong("D", "gro", "a count of a thousand digits", read("a.gro", "title\n" + "9" * 1000 + "\n", top=False), "a.gro"),
    Wrong("D", "lammps", "a count that the file has no room for", read("a.lammpstrj", DUMP.format(n=HUGE, rows=DUMP_ROWS)), "announces 999999999999 atoms"),
    Wrong("D", "lammps", "a count of a thousand digits", read("a.lammpstrj", DUMP.format(n="9" * 1000, rows=DUMP_ROWS)), "announces 9999"),
    Wrong("D", "npz", "a shape of 10^15 numbers", header_of((10**12, 100, 3)), "announces an array of shape"),
    Wrong("D", "npz", "a shape of 10^30 numbers", header_of((10**30, 1, 3)), "announces an array of shape"),
    Wrong("D", "npz", "a shape below zero", header_of((-4, 48, 3)), "announces an array of shape|cannot be read as npz"),
    Wrong("D", "npz", "an array of objects", header_of((1, 1, 3), "|O"), "cannot be read as npz"),
    Wrong("D", "dcd", "atoms beyond the file", dcd_atoms(2**30), "run.dcd"),
    Wrong("D", "dcd", "no atoms", dcd_atoms(0), "announces 0 atoms"),
    Wrong("D", "dcd", "fewer atoms than none", dcd_atoms(-5), "announces -5 atoms"),
]  # fmt: skip

CUT = [
    *[Wrong("C", "dcd", f"cut to {share:.0%}", cut("run.dcd", share), r"run\.dcd") for share in (0.99, 0.8, 0.5, 0.3, 0.05)],
    *[Wrong("C", "dcd", f"without its last {number} frames", without_frames(number), "frames where its header says 4") for number in (1, 2, 3)],
    *[Wrong("C", "dcd", f"without its last {-keep} bytes", cut("run.dcd", keep), "ends within frame 3") for keep in (-1, -4, -100)],
    *[Wrong("C", "xtc", f"cut to {share:.0%}", cut("run.xtc", share), r"run\.xtc") for share in (0.99, 0.8, 0.6, 0.3, 0.05)],
    *[Wrong("C", "xtc", f"without its last {-keep} bytes", cut("run.xtc", keep), "ends within frame 3") for keep in (-1, -4, -100)],
    *[Wrong("C", "gro", f"cut to {share:.0%}", lambda i, share=share: Frames.from_trajectory(i.write("run.gro", (i.shared / "run.gro").read_bytes()[: int(share * (i.shared / "run.gro").stat().st_size)]), temperature=300), r"run\.gro") for share in (0.9, 0.6, 0.3)],
    *[Wrong("C", "lammps", f"cut to {share:.0%}", cut("run.lammpstrj", share), r"run\.lammpstrj") for share in (0.9, 0.6, 0.3)],
    *[Wrong("C", "npz", f"cut to {share:.0%}", lambda i, share=share: Frames.load(i.write("a.npz", (i.shared / "frames.npz").read_bytes()[: int(share * (i.shared / "frames.npz").stat().st_size)])), r"a\.npz") for share in (0.95, 0.5, 0.1)],
]  # fmt: skip

CONTENT = [
    Wrong("C", "npz", "all positions equal", lambda i: Frames.load(i.npz(positions=np.ones((4, 48, 3)))), "wrong.npz"),
    Wrong("C", "npz", "positions of true and false", lambda i: Frames.load(i.npz(positions=i.frames.positions > 0)), "positions"),
    Wrong("C", "npz", "complex positions", lambda i: Frames.load(i.npz(positions=i.frames.positions + 0j)), "positions"),
    Wrong("C", "npz", "positions of strings", lambda i: Frames.load(i.npz(positions=i.frames.positions.astype(str))), "positions"),
    Wrong("C", "npz", "NaN positions", lambda i: Frames.load(i.npz(positions=i.frames.positions * np.nan)), "NaN"),
    Wrong("C", "npz", "a box of zeros", lambda i: Frames.load(i.npz(box=np.zeros((3, 3)))), "box"),
    Wrong("C", "npz", "a box of NaN", lambda i: Frames.load(i.npz(box=np.full((3, 3), np.nan))), "box|cell"),
    Wrong("C", "npz", "a box of strings", lambda i: Frames.load(i.npz(box=np.full((3, 3), "a"))), "box"),
    Wrong("C", "npz", "a temperature of NaN", lambda i: Frames.load(i.npz(temperature=np.nan)), "temperature is nan K"),
    Wrong("C", "npz", "a temperature below zero", lambda i: Frames.load(i.npz(temperature=-300.0)), "temperature is -300 K"),
    Wrong("C", "npz", "a temperature of true", lambda i: Frames.load(i.npz(temperature=np.array(True))), "temperature"),
    Wrong("C", "npz", "a temperature in words", lambda i: Frames.load(i.npz(temperature=np.array("warm"))), "temperature"),
    Wrong("C", "npz", "infinite forces", lambda i: Frames.load(i.npz(forces=i.frames.positions + np.inf)), "Inf"),
    Wrong("C", "npz", "forces of another shape", lambda i: Frames.load(i.npz(forces=np.zeros((2, 48, 3)))), "forces of shape"),
    Wrong("C", "npz", "atomic numbers of no element", lambda i: Frames.load(i.npz(atomic_numbers=np.full(48, 300))), "300"),
    Wrong("F", "npz", "no arrays", lambda i: Frames.load(i.npz(positions=None, atomic_numbers=None)), "wrong.npz holds the arrays"),
    Wrong("F", "npz", "an empty file", load("a.npz", ""), r"a\.npz"),
    Wrong("F", "npz", "text", load("a.npz", "positions"), r"a\.npz"),
    Wrong("F", "npz", "a pickle", load("a.npz", b"\x80\x04\x95\x00"), r"a\.npz"),
    Wrong("F", "extxyz", "an empty file", load("a.xyz", ""), r"a\.xyz"),
    Wrong("F", "extxyz", "a superscript for a count", load("a.xyz", f"\u00b2\n{COMMENT}\n{ROWS}"), r"a\.xyz"),
    Wrong("F", "extxyz", "a count below zero", load("a.xyz", f"-2\n{COMMENT}\n{ROWS}"), r"a\.xyz"),
    Wrong("F", "extxyz", "a cell of words", load("a.xyz", f'2\nLattice="a b c d e f g h i"\n{ROWS}'), r"a\.xyz"),
    Wrong("F", "extxyz", "a cell of eight numbers", load("a.xyz", f'2\nLattice="1 2 3 4 5 6 7 8"\n{ROWS}'), r"a\.xyz"),
    Wrong("F", "extxyz", "columns without a width", load("a.xyz", f"2\nProperties=species:S:1:pos:R\n{ROWS}"), r"a\.xyz"),
    Wrong("F", "extxyz", "columns of no width", load("a.xyz", f"2\nProperties=species:S:1:pos:R:0\n{ROWS}"), r"a\.xyz"),
    Wrong("F", "extxyz", "columns of a width below zero", load("a.xyz", f"2\nProperties=species:S:1:pos:R:3:x:R:-9\n{ROWS}"), r"a\.xyz"),
    Wrong("F", "extxyz", "binary", load("a.xyz", bytes(range(256))), r"a\.xyz"),
    Wrong("F", "extxyz", "a replica that is infinite", load("a.xyz", f"2\nreplica=inf {COMMENT}\n{ROWS}"), r"a\.xyz"),
    Wrong("C", "extxyz", "a NaN coordinate", load("a.xyz", f"2\n{COMMENT}\nLi nan 0 0\nCl 3 0 0\n"), r"a\.xyz"),
    Wrong("C", "extxyz", "a coordinate of 1e400", load("a.xyz", f"2\n{COMMENT}\nLi 1e400 0 0\nCl 3 0 0\n"), r"a\.xyz"),
    Wrong("C", "extxyz", "all positions equal", load("a.xyz", f"2\n{COMMENT}\nLi 1 1 1\nCl 1 1 1\n"), r"a\.xyz"),
    Wrong("F", "gro", "an empty file", read("a.gro", "", top=False), r"a\.gro"),
    Wrong("F", "gro", "a count in words", read("a.gro", "title\ntwo\n", top=False), r"a\.gro"),
    Wrong("F", "lammps", "an empty file", read("a.lammpstrj", ""), r"a\.lammpstrj"),
    Wrong("F", "lammps", "ids in words", read("a.lammpstrj", DUMP.format(n=2, rows="a Li 0 0 0\nb Cl 3 0 0\n")), r"a\.lammpstrj"),
    Wrong("F", "lammps", "bounds in words", read("a.lammpstrj", DUMP.format(n=2, rows=DUMP_ROWS).replace("0 20", "a b")), r"a\.lammpstrj"),
    Wrong("F", "lammps", "one bound", read("a.lammpstrj", DUMP.format(n=2, rows=DUMP_ROWS).replace("0 20\n", "0\n")), r"a\.lammpstrj"),
    Wrong("F", "dcd", "an empty file", read("a.dcd", ""), r"a\.dcd"),
    Wrong("F", "dcd", "text", read("a.dcd", "a trajectory " * 20), r"a\.dcd"),
    Wrong("F", "xtc", "an empty file", read("a.xtc", ""), r"a\.xtc"),
    Wrong("F", "xtc", "text", read("a.xtc", "a trajectory " * 20), r"a\.xtc"),
    Wrong("F", "trr", "text", read("a.trr", "a trajectory " * 20), r"a\.trr"),
    Wrong("F", "netcdf", "text", read("a.nc", "a trajectory " * 20), r"a\.nc"),
    Wrong("F", "hdf5", "text", read("a.h5", "a trajectory " * 20), r"a\.h5"),
    Wrong("F", "gsd", "text", read("a.gsd", "a trajectory " * 20), r"a\.gsd"),
    Wrong("F", "pdb", "text", read("a.pdb", "a structure " * 20, top=False), r"a\.pdb"),
    Wrong("F", "pdb", "an empty file", read("a.pdb", "", top=False), r"a\.pdb"),
]  # fmt: skip


def trajectory(i, **options):
    return Frames.from_trajectory(i.shared / "run.dcd", **{"top": i.shared / "top.pdb", "temperature": 300, **options})


ASKED = [
    *numbers("C", "from_trajectory", "stride", lambda i, v: trajectory(i, stride=v), NO_COUNTS),
    *numbers("C", "from_trajectory", "replica", lambda i, v: trajectory(i, replica=v), NO_COUNTS),
    *numbers("C", "from_trajectory", "temperature", lambda i, v: trajectory(i, temperature=v), NO_NUMBERS, {"zero": (0, " 0"), "nm": (3 * unit.nanometer, "3 nm")}),
    *arrays("C", "from_trajectory", "box", lambda i: i.box, lambda i, x: trajectory(i, box=x)),
    *numbers("C", "Frames.load", "temperature", lambda i, v: Frames.load(i.npz(temperature=None), v), NO_NUMBERS, {"zero": (0, " 0")}),
    Wrong("F", "Frames.load", "None", lambda i: Frames.load(None), "path is None"),
    Wrong("F", "Frames.load", "a number", lambda i: Frames.load(3), "path is 3"),
    Wrong("F", "Frames.load", "a directory", lambda i: Frames.load(i.shared), "is no file"),
    Wrong("F", "Frames.load", "a file that is not there", lambda i: Frames.load("nowhere.npz"), "nowhere.npz is no file"),
    Wrong("F", "Frames.load", "an extension that nobody reads", load("a.doc", "x"), "extension .doc"),
    Wrong("F", "from_trajectory", "None", lambda i: Frames.from_trajectory(None, temperature=300), "trajectory is None"),
    Wrong("F", "from_trajectory", "no files", lambda i: Frames.from_trajectory([], temperature=300), "trajectory is an empty list"),
    Wrong("F", "from_trajectory", "no temperature", lambda i: trajectory(i, temperature=None), "temperature is missing"),
    Wrong("F", "from_trajectory", "no topology", lambda i: trajectory(i, top=None), "give a topology"),
    Wrong("F", "from_trajectory", "a topology that is not there", lambda i: trajectory(i, top="nowhere.pdb"), "nowhere.pdb"),
    Wrong("F", "from_trajectory", "a number for a topology", lambda i: trajectory(i, top=3), "top"),
    Wrong("F", "from_trajectory", "a selection of nothing", lambda i: trajectory(i, select="name XX"), "matches no atom"),
    Wrong("F", "from_trajectory", "a selection in no language", lambda i: trajectory(i, select="and or ("), "select is"),
    Wrong("F", "from_trajectory", "an empty selection", lambda i: trajectory(i, select=""), "select is"),
    Wrong("F", "from_trajectory", "a selection of None", lambda i: trajectory(i, select=None), "select is"),
    Wrong("F", "from_trajectory", "types of one entry", lambda i: trajectory(i, types=["A"]), "types"),
    Wrong("F", "from_trajectory", "unknown types", lambda i: trajectory(i, types="colour"), "types is"),
]  # fmt: skip

ENTRIES = [*SIZES, *CUT, *CONTENT, *ASKED]
