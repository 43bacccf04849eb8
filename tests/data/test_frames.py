"""Frames: files in and out, what is refused, and the split of correlated data."""

import mdtraj
import numpy as np
import pytest
from openmm import Vec3, app, unit

from openmm_diffusion.data.frames import Frames

# 1 eV in kJ/mol: the SI's exact elementary charge (C) times its Avogadro constant (1/mol).
EV = 1.602176634e-19 * 6.02214076e23 / 1000
LI, CL = 3, 17
SPECIES = np.array([LI, LI, CL, CL, CL])
CUBIC = 2.0 * np.eye(3)
TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.6, 1.8, 0.0], [-0.7, 0.5, 1.7]])


def make(n_frames=12, box=CUBIC, labelled=True, replica=None, seed=0):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, 2, (n_frames, len(SPECIES), 3))
    forces = rng.normal(0, 40, positions.shape) if labelled else None
    return Frames(positions, SPECIES, box, 300.0, forces, replica)


def same(one, other, tolerance=0.0):
    np.testing.assert_allclose(one.positions, other.positions, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(one.species, other.species)
    np.testing.assert_array_equal(one.replica, other.replica)
    assert one.temperature == other.temperature
    assert (one.box is None) == (other.box is None) and (one.forces is None) == (other.forces is None)
    if one.box is not None:
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=tolerance)
    if one.forces is not None:
        np.testing.assert_allclose(one.forces, other.forces, rtol=1e-5, atol=1e-3)


def same_lattice(one, other, tolerance):
    """Each set of box vectors is a whole-number combination of the other."""
    steps = np.linalg.solve(np.transpose(other), np.transpose(one))
    np.testing.assert_allclose(steps, np.round(steps), rtol=0, atol=tolerance)
    assert abs(np.linalg.det(steps)) == pytest.approx(1, abs=10 * tolerance)


# ---- files


@pytest.mark.parametrize("box", [None, CUBIC, TRICLINIC, np.linspace(1, 1.1, 12)[:, None, None] * TRICLINIC])
@pytest.mark.parametrize("labelled", [True, False])
def test_native_file_round_trip(tmp_path, box, labelled):
    frames = make(box=box, labelled=labelled, replica=np.arange(12) // 4)
    frames.save(tmp_path / "frames.npz")
    back = Frames.load(tmp_path / "frames.npz")
    same(frames, back)
    assert back.digest() == frames.digest()
    assert [file.name for file in tmp_path.iterdir()] == ["frames.npz"]


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "frames.npz"
    make(seed=1).save(path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        make(seed=2).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("per_frame", [True, False])
def test_nequip_file_is_in_angstrom_and_electronvolt(tmp_path, per_frame):
    frames = make(n_frames=4)
    arrays = {"R": frames.positions * 10, "F": frames.forces / (EV / 0.1), "z": SPECIES, "cell": CUBIC * 10}
    arrays["pbc"] = np.array([True, True, True])
    if per_frame:
        for key in ("z", "cell", "pbc"):
            arrays[key] = np.stack([arrays[key]] * 4)
    np.savez(tmp_path / "nequip.npz", E=np.zeros(4), **arrays)
    back = Frames.load(tmp_path / "nequip.npz", temperature=300 * unit.kelvin)
    same(frames, back, 1e-6)
    assert back.box.shape == (3, 3)


def test_nequip_file_without_periodicity(tmp_path):
    frames = make(n_frames=4, box=None, labelled=False)
    np.savez(tmp_path / "free.npz", R=frames.positions * 10, z=SPECIES, cell=CUBIC * 10, pbc=np.zeros(3, bool))
    same(frames, Frames.load(tmp_path / "free.npz", temperature=300), 1e-6)


def write_extxyz(path, frames, columns=("species", "pos", "forces"), extra=""):
    width = {"species": "S:1", "pos": "R:3", "forces": "R:3", "mass": "R:1"}
    properties = ":".join(f"{name}:{width[name]}" for name in columns)
    with open(path, "w") as file:
        for k in range(len(frames)):
            lattice = " ".join(repr(float(x)) for x in 10 * frames.boxes[k].ravel())
            file.write(f'{len(SPECIES)}\nLattice="{lattice}" Properties={properties} pbc="T T T" energy=-1.5 ')
            file.write(f"replica={frames.replica[k]} temperature=300.0 {extra}\n")
            for i, symbol in enumerate(frames.symbols):
                forces = frames.forces[k, i].astype(float) * 0.1 / EV
                values = {"species": [symbol], "pos": 10 * frames.positions[k, i].astype(float), "mass": [6.94]}
                row = [str(x) for name in columns for x in values.get(name, forces)]
                file.write("  ".join(row) + "\n")


@pytest.mark.parametrize("columns", [("species", "pos", "forces"), ("forces", "mass", "pos", "species")])
def test_extended_xyz_with_columns_in_any_order(tmp_path, columns):
    frames = make(n_frames=5, box=TRICLINIC, replica=[0, 0, 1, 1, 1])
    write_extxyz(tmp_path / "frames.extxyz", frames, columns)
    back = Frames.load(tmp_path / "frames.extxyz")
    same(frames, back, 1e-6)
    assert back.box.shape == (3, 3)


def test_extended_xyz_with_forces_in_some_frames(tmp_path):
    with open(tmp_path / "some.xyz", "w") as file:
        file.write("1\nProperties=species:S:1:pos:R:3\nLi 1 2 3\n\n")
        file.write("1\nProperties=species:S:1:pos:R:3:forces:R:3\nLi 1 2 4 0.5 0 -1\n")
    frames = Frames.load(tmp_path / "some.xyz", temperature=300)
    assert frames.labelled.tolist() == [False, True] and frames.box is None
    np.testing.assert_allclose(frames.positions[:, 0], [[0.1, 0.2, 0.3], [0.1, 0.2, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(frames.forces[1, 0], np.array([0.5, 0, -1]) * EV / 0.1, rtol=1e-6)


@pytest.mark.parametrize("box", [CUBIC, TRICLINIC])
@pytest.mark.parametrize("extension", ["dcd", "xtc", "pdb"])
def test_trajectory_through_mdtraj(tmp_path, extension, box):
    frames = make(box=box, labelled=False)
    trajectory = frames.to_mdtraj()
    trajectory.save(str(tmp_path / f"t.{extension}"))
    trajectory[0].save(str(tmp_path / "top.pdb"))
    top = None if extension == "pdb" else tmp_path / "top.pdb"
    # XTC and PDB keep 0.001 nm and 0.0001 nm; PDB angles 0.01 degrees.
    back = Frames.from_trajectory(str(tmp_path / f"t.{extension}"), top=top, temperature=300)
    same(frames, back, 6e-4)
    chloride = Frames.from_trajectory(
        tmp_path / f"t.{extension}", top=top, select="name CL", temperature=300, stride=3, replica=7
    )
    assert chloride.symbols == ["Cl"] * 3 and set(chloride.replica) == {7}
    np.testing.assert_allclose(chloride.positions, frames.positions[::3, 2:], atol=6e-4)


def test_each_trajectory_of_a_list_is_a_replica(tmp_path):
    for k in range(3):
        make(n_frames=2 + k, labelled=False, seed=k).to_mdtraj().save(str(tmp_path / f"{k}.dcd"))
    make(n_frames=1, labelled=False).to_mdtraj().save(str(tmp_path / "top.pdb"))
    paths = [tmp_path / f"{k}.dcd" for k in range(3)]
    frames = Frames.from_trajectory(paths, top=tmp_path / "top.pdb", temperature=300, replica=10)
    assert frames.replica.tolist() == [10, 10, 11, 11, 11, 12, 12, 12, 12]


def test_cell_that_is_not_reduced_becomes_the_same_lattice(tmp_path):
    skewed = np.array([[2.0, 0.0, 0.0], [1.7, 1.8, 0.0], [1.4, 1.5, 1.7]])
    frames = make(box=None, labelled=False)
    np.savez(tmp_path / "skewed.npz", positions=frames.positions, atomic_numbers=SPECIES, box=skewed, temperature=300.0)
    box = Frames.load(tmp_path / "skewed.npz").box
    same_lattice(box, skewed, 1e-9)
    assert 2 * abs(box[1, 0]) <= 2.0 and 2 * abs(box[2, 0]) <= 2.0 and 2 * abs(box[2, 1]) <= 1.8


# ---- what is refused


GOOD = {"positions": np.zeros((4, 5, 3)), "species": SPECIES, "box": CUBIC, "temperature": 300.0}
ONE_NAN = np.zeros((4, 5, 3))
ONE_NAN[2, 1, 0] = np.nan
TWO_INF = np.zeros((4, 5, 3))
TWO_INF[1:3, 0] = np.inf


@pytest.mark.parametrize(
    "change, message",
    [
        ({"positions": np.zeros((0, 5, 3))}, r"shape \(0, 5, 3\): give at least one frame"),
        ({"positions": np.zeros((5, 3))}, r"positions has shape \(5, 3\): give \(n_frames, n_particles, 3\), in nm"),
        ({"positions": [[[0.0, 0.0, 0.0]], [[0.0, 0.0]]]}, "positions is no array of numbers"),
        (
            {"positions": np.zeros((4, 5, 3)) * unit.kelvin},
            "positions is an array in kelvin: give a quantity in nanometer",
        ),
        ({"positions": ONE_NAN}, "NaN or Inf .* in 1 of 4 frames, first in frame 2: leave"),
        ({"positions": TWO_INF}, "NaN or Inf .* in 2 of 4 frames, first in frame 1: leave"),
        ({"species": [LI, CL]}, r"species has shape \(2,\): give 5 atomic numbers"),
        ({"species": [0, LI, LI, CL, CL]}, "species holds 0, the atomic number of no element"),
        ({"species": [LI, LI, CL, CL, 119]}, "species holds 119"),
        ({"species": [LI, LI, CL, CL, -1]}, "species holds -1"),
        ({"species": [3.5, LI, CL, CL, CL]}, "give atomic numbers"),
        ({"species": [None, LI, CL, CL, CL]}, "give atomic numbers"),
        ({"box": 2.0 * np.eye(2)}, r"box has shape \(2, 2\)"),
        ({"box": np.stack([CUBIC] * 3)}, r"box has shape \(3, 3, 3\).*\(4, 3, 3\)"),
        ({"box": [2.0, 2.0, 2.0]}, r"box has shape \(3,\)"),
        ({"box": np.array([[2, 0, 0], [1.2, 2, 0], [0, 0, 2.0]])}, "box is not in OpenMM's reduced form"),
        ({"box": CUBIC * np.nan}, "box holds NaN"),
        ({"temperature": -10.0}, "temperature is -10 K"),
        ({"temperature": 2.0 * unit.nanometer}, "temperature is 2.0 nm"),
        ({"forces": np.zeros((4, 5))}, "give one force in kJ/mol/nm for each position"),
        ({"forces": ONE_NAN}, "NaN for some particles only in 1, first in frame 2: set all"),
        ({"forces": TWO_INF}, "Inf in 2 frames .* first in frame 1"),
        ({"forces": np.zeros((4, 5, 3)) * unit.nanometer}, "no force per mole"),
        ({"replica": [0, 1]}, r"replica has shape \(2,\).*give 4 whole numbers"),
        ({"replica": [0.5, 1, 1, 1]}, "whole numbers"),
    ],
)
def test_impossible_arrays_are_refused(change, message):
    Frames(**GOOD)
    with pytest.raises(ValueError, match=message):
        Frames(**(GOOD | change))


NATIVE = {"positions": np.zeros((2, 5, 3)), "atomic_numbers": SPECIES, "temperature": 300.0}
NEQUIP = {"R": np.zeros((2, 5, 3)), "z": SPECIES, "cell": 20 * np.eye(3)}
ROTATED = np.array([[0.0, 2.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])


@pytest.mark.parametrize(
    "arrays, temperature, message",
    [
        ({"positions": NATIVE["positions"], "atomic_numbers": SPECIES}, None, "bad.npz gives no temperature: pass"),
        (NATIVE, 310, "temperature is 310 K, but .*bad.npz gives 300 K"),
        (NATIVE | {"temperature": [290.0, 310.0]}, None, "temperatures from 290 to 310 K: pass"),
        (NATIVE | {"box": ROTATED * [1, 1, -1]}, None, "the cell in .*bad.npz is left-handed or flat"),
        (NATIVE | {"box": np.ones(3)}, None, r"the cell in .*bad.npz has shape \(3,\)"),
        ({"xyz": np.zeros((2, 5, 3)), "numbers": SPECIES}, 300, "holds the arrays numbers, xyz: give positions"),
        ({"positions": np.array([None, "x"])}, 300, "bad.npz cannot be read as npz .*never loaded"),
        (NEQUIP | {"z": np.array([SPECIES, SPECIES[::-1]])}, 300, "other atomic numbers z in some frames"),
        (NEQUIP | {"pbc": np.array([True, True, False])}, 300, "periodic along some axes only"),
        (NEQUIP | {"cell": np.zeros((3, 3)), "pbc": np.ones(3, bool)}, 300, "holds no cell"),
        (NEQUIP | {"e_unit": "kcal/mole per atom"}, 300, "energy unit in .* is 'kcal/mole per atom'"),
        (NEQUIP, 300, "all 5 particles are at one place in 2 of 2 frames"),
    ],
)
def test_impossible_npz_files_are_refused(tmp_path, arrays, temperature, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        Frames.load(tmp_path / "bad.npz", temperature)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "bad.xyz holds no frames"),
        ("hello\n", "frame 0 of .*bad.xyz starts with 'hello'"),
        ("2\n\nLi 0 0 0\n", "frame 0 of .*bad.xyz .*1 complete rows of 4 columns where 2 are announced"),
        ("1\n\nLi 0 0 0\n1\n\nLi 0 0\n", "frame 1 of .*bad.xyz .*0 complete rows"),
        ("1\n\nXx 0 0 0\n", "'Xx' is no element symbol"),
        ("1\n\nLi 0 zero 0\n", "could not convert string to float"),
        (
            '1\nLattice="1 0 0"\nLi 0 0 0\n',
            "frame 0 of .*its Lattice is '1 0 0', which is one vector or has an edge of 0.*: correct its comment line",
        ),
        ("1\nProperties=species:S:1:forces:R:3\nLi 0 0 0\n", "no columns species and pos"),
        ("1\n\nLi 0 0 0\n1\n\nCl 0 0 0\n", "frame 1 of .*bad.xyz has other atoms than frame 0"),
        ("1\nreplica=1\nLi 0 0 0\n1\n\nLi 0 0 0\n", "gives replica in 1 of 2 frames"),
    ],
)
def test_impossible_xyz_files_are_refused(tmp_path, text, message):
    (tmp_path / "bad.xyz").write_text(text)
    with pytest.raises(ValueError, match=message):
        Frames.load(tmp_path / "bad.xyz", temperature=300)


def test_missing_truncated_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz is no file .*: give the path"):
        Frames.load(tmp_path / "none.npz")
    make().save(tmp_path / "whole.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:1500])
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    for name in ("half.npz", "empty.npz", "bare.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as npz .*: copy or write it again"):
            Frames.load(tmp_path / name)
    (tmp_path / "frames.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match=r"frames.pkl has the extension .pkl: .*from_trajectory"):
        Frames.load(tmp_path / "frames.pkl")
    with pytest.raises(ValueError, match=r"give a name that ends in .npz"):
        make().save(tmp_path / "frames.dat")


def test_impossible_trajectories_are_refused(tmp_path):
    trajectory = make(labelled=False).to_mdtraj()
    dcd, top = tmp_path / "t.dcd", tmp_path / "top.pdb"
    trajectory.save(str(dcd))
    trajectory[0].save(str(top))
    with pytest.raises(ValueError, match="select is 'name NA', which matches no atom .* names are CL, LI"):
        Frames.from_trajectory(dcd, top=top, select="name NA", temperature=300)
    with pytest.raises(ValueError, match="select is 'name ===', which mdtraj cannot read"):
        Frames.from_trajectory(dcd, top=top, select="name ===", temperature=300)
    with pytest.raises(ValueError, match="temperature is missing"):
        Frames.from_trajectory(dcd, top=top)
    with pytest.raises(ValueError, match="stride is 0"):
        Frames.from_trajectory(dcd, top=top, temperature=300, stride=0)
    with pytest.raises(ValueError, match="empty list"):
        Frames.from_trajectory([], top=top, temperature=300)
    with pytest.raises(ValueError, match="t.dcd does not say what its atoms are: give .* top='system.pdb'"):
        Frames.from_trajectory(dcd, temperature=300)
    with pytest.raises(FileNotFoundError, match="none.dcd is no file"):
        Frames.from_trajectory(tmp_path / "none.dcd", top=top, temperature=300)
    with pytest.raises(FileNotFoundError, match="none.pdb is no file"):
        Frames.from_trajectory(dcd, top=tmp_path / "none.pdb", temperature=300)
    (tmp_path / "cut.dcd").write_bytes(dcd.read_bytes()[:100])
    with pytest.raises(ValueError, match="cut.dcd cannot be read by mdtraj"):
        Frames.from_trajectory(tmp_path / "cut.dcd", top=top, temperature=300)


def test_virtual_sites_are_refused_but_can_be_left_out(tmp_path):
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    topology.add_atom("LI", mdtraj.element.lithium, residue)
    topology.add_atom("M", mdtraj.element.virtual, residue)
    trajectory = mdtraj.Trajectory(np.zeros((2, 2, 3)), topology)
    trajectory.save(str(tmp_path / "t.xtc"))
    with pytest.raises(ValueError, match=r"atom MOL\d+-M \(number 1\) .* has no element"):
        Frames.from_trajectory(tmp_path / "t.xtc", top=topology, temperature=300)
    assert Frames.from_trajectory(tmp_path / "t.xtc", top=topology, select="name LI", temperature=300).box is None


# ---- what frames can do


def test_quantities_are_accepted():
    frames = make(n_frames=2)
    vectors = [Vec3(*row) * unit.nanometer for row in CUBIC]
    positions = [[Vec3(*map(float, 10 * xyz)) for xyz in frame] * unit.angstrom for frame in frames.positions]
    forces = frames.forces / 41.84 * unit.kilocalorie_per_mole / unit.angstrom  # 1 kcal = 4.184 kJ
    same(frames, Frames(positions, SPECIES, vectors, 300 * unit.kelvin, forces), 1e-6)
    in_angstrom = Frames(frames.positions * 10 * unit.angstrom, SPECIES, 10 * CUBIC * unit.angstrom, 300.0)
    np.testing.assert_allclose(in_angstrom.box, CUBIC)
    np.testing.assert_allclose(in_angstrom.positions, frames.positions, rtol=1e-6)


def test_kept_dtypes_and_derived_properties():
    frames = make(replica=np.arange(12) % 2)
    assert frames.positions.dtype == frames.forces.dtype == np.float32 and frames.box.dtype == np.float64
    assert frames.symbols == ["Li", "Li", "Cl", "Cl", "Cl"]
    assert frames.boxes.shape == (12, 3, 3)
    assert frames.number_density == pytest.approx(5 / 8)
    # det of a triangular box is the product of its diagonal.
    assert make(box=TRICLINIC).number_density == pytest.approx(5 / (2.0 * 1.8 * 1.7))
    free = make(box=None, labelled=False)
    assert free.boxes is None and free.number_density is None and not free.labelled.any()
    assert repr(frames) == "Frames(12 frames of 2 Li, 3 Cl, 300 K, 2 replicas, 12 frames with forces)"


def test_forces_of_unlabelled_frames_are_nan_throughout():
    forces = np.full((4, 5, 3), np.nan)
    assert Frames(**GOOD, forces=forces).forces is None
    forces[1] = 7.0
    frames = Frames(**GOOD, forces=forces)
    assert frames.labelled.tolist() == [False, True, False, False]
    assert frames[2:].forces is None and frames[frames.labelled].forces.min() == 7.0


def test_indexing():
    frames = make(box=np.linspace(1, 1.1, 12)[:, None, None] * CUBIC, replica=np.arange(12))
    for index in (3, -2, slice(2, 9, 3), np.arange(12) > 7, [5, 1, 5]):
        part, numbers = frames[index], np.atleast_1d(np.arange(12)[index])
        np.testing.assert_array_equal(part.replica, numbers)
        np.testing.assert_array_equal(part.positions, frames.positions[numbers])
        np.testing.assert_array_equal(part.forces, frames.forces[numbers])
        np.testing.assert_array_equal(part.boxes, frames.boxes[numbers])
    assert sum(len(frame) for frame in frames) == 12
    with pytest.raises(ValueError, match="give at least one frame"):
        frames[:0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.95])
def test_split_never_shares_a_replica(seed, fraction):
    replica = np.repeat(np.arange(10), [5, 9, 7, 6, 8, 5, 9, 7, 6, 8])
    frames = make(n_frames=70, replica=replica)
    rest, held_out = frames.split(fraction, seed)
    assert not set(rest.replica) & set(held_out.replica)
    assert len(rest) + len(held_out) == 70 and set(rest.replica) | set(held_out.replica) == set(range(10))
    # Whole replicas come within half the largest, unless one is all that may be held out or kept.
    assert abs(len(held_out) - 70 * fraction) <= 4.5 or 1 in (len(set(rest.replica)), len(set(held_out.replica)))
    assert frames.split(fraction, seed)[1].digest() == held_out.digest()


def test_split_depends_on_the_seed():
    frames = make(n_frames=40, replica=np.arange(40) // 4)
    assert len({tuple(frames.split(0.3, seed)[1].replica) for seed in range(10)}) > 5


def test_split_of_one_replica_holds_out_its_end():
    frames = make(n_frames=10)
    rest, held_out = frames.split(0.3)
    np.testing.assert_array_equal(rest.positions, frames.positions[:7])
    np.testing.assert_array_equal(held_out.positions, frames.positions[7:])
    assert [len(part) for part in frames.split(0.001)] == [9, 1] and [len(part) for part in frames.split(0.999)] == [
        1,
        9,
    ]
    for fraction in (0, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="number above 0 and below 1"):
            frames.split(fraction)
    with pytest.raises(ValueError, match="one frame cannot be split"):
        frames[0].split(0.5)


def test_concatenate_keeps_replicas_distinct():
    first, second = make(n_frames=4, replica=[0, 0, 5, 5]), make(n_frames=3, labelled=False, seed=1)
    frames = Frames.concatenate([first, second])
    assert frames.replica.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert frames.labelled.tolist() == [True] * 4 + [False] * 3 and frames.box.shape == (3, 3)
    np.testing.assert_array_equal(frames.positions[4:], second.positions)
    swollen = make(n_frames=2, box=1.1 * CUBIC)
    np.testing.assert_allclose(Frames.concatenate([first, swollen]).boxes[:, 0, 0], [2, 2, 2, 2, 2.2, 2.2])
    assert Frames.concatenate([make(box=None), make(box=None)]).box is None
    with pytest.raises(ValueError, match=r"parts\[1\] has other types"):
        Frames.concatenate([first, Frames(first.positions, SPECIES[::-1], CUBIC, 300.0)])
    with pytest.raises(ValueError, match=r"parts\[1\] is at 310 K, parts\[0\] at 300 K"):
        Frames.concatenate([first, Frames(first.positions, SPECIES, CUBIC, 310.0)])
    with pytest.raises(ValueError, match=r"only one of parts\[0\] and parts\[1\] is periodic"):
        Frames.concatenate([first, make(box=None)])
    with pytest.raises(ValueError, match="empty list"):
        Frames.concatenate([])


# A rhombic dodecahedron's skew is exactly half an edge: rounding, here put in by hand, must not push it beyond.
DODECAHEDRON = 2.0 * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
ROUNDED = DODECAHEDRON * (1 + 1e-7 * np.array([[0, 0, 0], [0, 0, 0], [1, 1, 0]])) + np.triu(np.full((3, 3), 1e-9), 1)


@pytest.mark.parametrize("box", [None, CUBIC, TRICLINIC, ROUNDED])
def test_topology_through_a_pdb_file(tmp_path, box):
    frames = make(box=box)
    with open(tmp_path / "t.pdb", "w") as file:
        app.PDBFile.writeFile(frames.topology(), frames.positions[0] * unit.nanometer, file)
    topology = app.PDBFile(str(tmp_path / "t.pdb")).topology
    assert [atom.element.atomic_number for atom in topology.atoms()] == SPECIES.tolist()
    assert [atom.name for atom in topology.atoms()] == ["LI", "LI", "CL", "CL", "CL"]
    assert [residue.name for residue in topology.residues()] == ["LI", "LI", "CL", "CL", "CL"]
    vectors = topology.getPeriodicBoxVectors()
    if box is None:
        assert vectors is None
    else:
        # A PDB file keeps 0.0001 nm and 0.01 degrees, and a skew of half an edge may be reduced either way.
        same_lattice(vectors.value_in_unit(unit.nanometer), box, 1e-3)


@pytest.mark.parametrize(
    "box", [CUBIC, TRICLINIC, DODECAHEDRON, np.linspace(0.9, 1.1, 40)[:, None, None] * TRICLINIC, None]
)
def test_shortest_distances_are_mdtrajs(box):
    frames = make(n_frames=40, box=box, labelled=False)
    first, second = np.triu_indices(5, k=1)
    distances = mdtraj.compute_distances(frames.to_mdtraj(), np.stack([first, second], 1), periodic=box is not None)
    expected = {}
    for i, j, nearest in zip(first, second, distances.min(0), strict=True):
        pair = tuple("Li" if z == LI else "Cl" for z in sorted((SPECIES[i], SPECIES[j])))
        expected[pair] = min(float(nearest), expected.get(pair, np.inf))
    assert set(expected) == {("Li", "Li"), ("Li", "Cl"), ("Cl", "Cl")}
    assert frames.shortest_distances() == pytest.approx(expected, abs=1e-5)


def test_shortest_distances_in_chunks():
    rng = np.random.default_rng(3)
    # 200 particles form 19,900 pairs, so 120 frames take two chunks; one close pair is put into each of them.
    positions = rng.uniform(0, 4, (120, 200, 3))
    positions[0, 1] = positions[0, 0] + [0, 0, 1e-3]
    positions[-1, 199] = positions[-1, 198] + [0, 2e-3, 0]
    frames = Frames(positions, [LI] * 2 + [CL] * 198, 4 * np.eye(3), 300.0)
    shortest = frames.shortest_distances()
    assert shortest["Li", "Li"] == pytest.approx(1e-3, abs=1e-6)
    assert shortest["Cl", "Cl"] == pytest.approx(2e-3, abs=1e-6)
    assert Frames(positions[:, :1], [LI], 4 * np.eye(3), 300.0).shortest_distances() == {}


def test_digest_follows_the_data():
    frames = make()
    assert frames.digest() == make().digest() and len(frames.digest()) == 16
    moved = frames.positions.copy()
    moved[0, 0, 0] = np.nextafter(moved[0, 0, 0], np.float32(9))
    others = [
        Frames(moved, SPECIES, CUBIC, 300.0),
        Frames(frames.positions, SPECIES[::-1], CUBIC, 300.0),
        Frames(frames.positions, SPECIES, 2.001 * np.eye(3), 300.0),
        Frames(frames.positions, SPECIES, None, 300.0),
        Frames(frames.positions, SPECIES, CUBIC, 300.1),
    ]
    assert len({frames.digest(), *(other.digest() for other in others)}) == 6
    assert Frames(frames.positions, SPECIES, CUBIC, 300.0).digest() == frames.digest()
