"""Trajectories and frames of atoms as frames of beads: the whole way, with boxes that change, and with forces."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from mdtraj.formats import DCDTrajectoryFile
from molecules import CUBIC, TRICLINIC, apart, bonded, broken, centres, topology, water, whole_water
from openmm import app, unit

from openmm_diffusion.analysis.rdf import compute_rdf
from openmm_diffusion.data import coarsening, frames
from openmm_diffusion.data.coarsening import coarsen, coarsen_frames, summary
from openmm_diffusion.data.formats.cells import reduced_box
from openmm_diffusion.data.frames import Frames
from openmm_diffusion.data.mapping import Mapping
from openmm_diffusion.space.molecules import nearest_image
from openmm_diffusion.units import thermal_energy

MAP = {
    "beads": [
        {"type": "W", "select": "water", "per": "residue", "at": "mass"},
        {"type": "Li", "select": "element Li", "per": "atom"},
    ]
}
TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)


def of_frames(box, n_frames):
    return np.array(np.broadcast_to(box, (n_frames, 3, 3)))


def run_of(path, n_frames, box, seed, n=30):
    """A trajectory of broken waters and one ion, and the positions of the whole molecules."""
    rng = np.random.default_rng(seed)
    whole = np.concatenate([whole_water(n_frames, n, 2.4, seed), rng.uniform(0, 2, (n_frames, 1, 3))], axis=1)
    trajectory = mdtraj.Trajectory(broken(whole, box, seed + 1).astype(np.float32), water(n, ("Li", "Li")))
    trajectory.unitcell_vectors = np.array(np.broadcast_to(box, (n_frames, 3, 3)))
    trajectory.save(str(path))
    trajectory[:1].save(str(path.with_suffix(".pdb")))
    return whole


@pytest.fixture
def runs(tmp_path):
    """Two runs of different length at constant pressure, in a triclinic box: files, whole positions and boxes."""
    boxes = [(1 + 0.05 * np.random.default_rng(i).random(n))[:, None, None] * TRICLINIC for i, n in enumerate((7, 12))]
    paths = [tmp_path / "one.dcd", tmp_path / "two.dcd"]
    whole = [run_of(path, len(box), box, seed) for seed, (path, box) in enumerate(zip(paths, boxes))]
    top = tmp_path / "top.pdb"
    mdtraj.Trajectory(whole[0][:1], water(30, ("Li", "Li"))).save(str(top))
    return paths, top, np.concatenate(whole), np.concatenate(boxes)


# ---- trajectories


@pytest.mark.parametrize("piece", [1_000_000, 300])
def test_runs_at_constant_pressure_in_a_triclinic_box(runs, tmp_path, monkeypatch, piece):
    """Beads of two runs of different length are the centres of mass of the whole molecules; in memory and in a file."""
    monkeypatch.setattr(coarsening, "PIECE", piece)
    paths, top, whole, boxes = runs
    beads = coarsen(paths, top, MAP, TEMPERATURE * unit.kelvin)
    groups = [*np.arange(90).reshape(30, 3), [90]]
    # The file keeps lengths and angles of the box in single precision.
    assert apart(beads.positions, centres(whole, water(30, ("Li", "Li")), groups), boxes) < 5e-6
    np.testing.assert_allclose(beads.box, boxes, atol=2e-6)
    assert beads.replica.tolist() == [0] * 7 + [1] * 12 and beads.temperature == TEMPERATURE
    assert beads.types.tolist() == ["W"] * 30 + ["Li"] and beads.species.tolist() == [0] * 30 + [3]
    np.testing.assert_allclose(beads.masses[[0, -1]], [18.015, 6.94], rtol=2e-4)
    assert beads.bonds is not None and len(beads.bonds) == 0 and beads.forces is None
    path = coarsen([str(path) for path in paths], str(top), MAP, TEMPERATURE, tmp_path / "frames.npz")
    back = Frames.load(path)
    assert path == tmp_path / "frames.npz" and back.digest() == beads.digest() and back.same_particles(beads)
    np.testing.assert_array_equal(back.masses, beads.masses)
    np.testing.assert_array_equal(back.replica, beads.replica)
    assert summary(path) == "19 frames of 30 W, 1 Li; 2 replicas"


def test_a_file_of_the_stream_has_the_form_of_the_native_one(runs, tmp_path):
    paths, top, _, _ = runs
    streamed = coarsen(paths, top, MAP, TEMPERATURE, tmp_path / "streamed.npz")
    Frames.load(streamed).save(tmp_path / "saved.npz")
    with np.load(streamed) as one, np.load(tmp_path / "saved.npz") as other:
        assert set(one) == set(other) and one["format"] == frames.FORMAT
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])


def test_stride_a_constant_box_and_progress(tmp_path):
    path, told = tmp_path / "run.dcd", []
    whole = run_of(path, 11, CUBIC, seed=4)
    beads = coarsen(path, tmp_path / "run.pdb", MAP, 300, stride=5, progress=lambda *what: told.append(what))
    assert told == [(path, 3)] and beads.box.shape == (3, 3)
    assert apart(beads.positions[:, -1:], whole[::5, -1:], CUBIC) < 2e-6


def test_a_box_that_the_files_lack_is_given(tmp_path, caplog):
    whole = whole_water(3, 4, 2.4, seed=5)
    path = tmp_path / "run.dcd"
    mdtraj.Trajectory(broken(whole, CUBIC, 6), water(4)).save(str(path))
    rule = {"beads": MAP["beads"][:1]}
    beads = coarsen(path, water(4), rule, 300, box=[2.4, 2.4, 2.4])
    assert apart(beads.positions, centres(whole, water(4), np.arange(12).reshape(4, 3)), CUBIC) < 2e-6
    assert coarsen(path, water(4), rule, 300).box is None and not caplog.text
    top = mdtraj.Trajectory(whole[:1], water(4))
    top.unitcell_vectors = of_frames(CUBIC, 1)
    top.save(str(tmp_path / "top.pdb"))
    assert coarsen(path, tmp_path / "top.pdb", rule, 300).box is None
    assert "run.dcd has no box and" in caplog.text and "pass it as box" in caplog.text


def test_oxygen_as_the_bead_is_the_oxygen_of_the_atoms(tmp_path):
    """One-bead water with its oxygen as the bead has the g(r) of the atoms; the centre of mass is another map."""
    path, top = tmp_path / "run.dcd", tmp_path / "run.pdb"
    run_of(path, 40, CUBIC, seed=7)
    direct = Frames.from_trajectory(path, top, "name O", 300)
    oxygen = coarsen(path, top, {"beads": [{"type": "O", "select": "water", "at": "O"}]}, 300)
    centre = coarsen(path, top, {"beads": MAP["beads"][:1]}, 300)
    assert apart(oxygen.positions, direct.positions, CUBIC) < 2e-6
    tables = [compute_rdf(one, (0.0, 1.0), 0.05).table().iloc[:, 1] for one in (oxygen, direct, centre)]
    # A distance at the edge of a bin may change sides by rounding.
    np.testing.assert_allclose(tables[0], tables[1], atol=0.02)
    assert np.abs(tables[2] - tables[1]).max() > 0.05


@pytest.mark.filterwarnings("ignore")
def test_a_protein_in_water_as_gromacs_wrote_it():
    """Adenylate kinase in TIP4P water, a dodecahedron at constant pressure: the beads are where MDAnalysis has them."""
    analysis = pytest.importorskip("MDAnalysis")
    nearest = pytest.importorskip("MDAnalysis.lib.distances").minimize_vectors
    data = Path(pytest.importorskip("MDAnalysisTests").__file__).parent / "data"
    rules = [{"type": "residue", "select": "protein and name CA", "at": "atom"}, MAP["beads"][0]]
    rules.append({"type": "Na", "select": "element Na", "per": "atom"})
    beads = coarsen(data / "adk_oplsaa.xtc", data / "adk_oplsaa.gro", {"beads": rules}, 300)
    assert beads.positions.shape == (10, 214 + 11084 + 4, 3)
    assert beads.bonds.tolist() == [[i, i + 1] for i in range(213)], "the chain, and no other"
    assert beads.types[:3].tolist() == ["MET", "ARG", "ILE"] and beads.species[-4:].tolist() == [11] * 4
    universe = analysis.Universe(str(data / "adk_oplsaa.gro"), str(data / "adk_oplsaa.xtc"))
    weights = np.array([15.999, 1.008, 1.008, 0]) / 18.015
    for number in (0, 9):
        now = universe.trajectory[number]
        waters = universe.select_atoms("resname SOL").positions.reshape(-1, 4, 3)[::40]
        steps = np.stack([nearest(waters[:, i] - waters[:, 0], now.dimensions) for i in range(4)], axis=1)
        expected = waters[:, 0] + np.einsum("nij,i->nj", steps, weights)
        expected = np.concatenate([universe.select_atoms("protein and name CA").positions, expected]) / 10
        found = np.concatenate([beads.positions[number, :214], beads.positions[number, 214:-4:40]])
        assert apart(found[None], expected[None], beads.box[[number]]) < 5e-6


@pytest.mark.parametrize("skew", [(1.7, 0.3, 0.4), (0.3, -2.1, 1.4), (0.5, 0.2, -3.0)])
def test_boxes_are_reduced_to_the_same_lattice(skew):
    box = np.diag([2.0, 1.8, 1.7])
    box[1, 0], box[2, 0], box[2, 1] = skew
    found = reduced_box(box[None], "here")[0]
    steps = found @ np.linalg.inv(box)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert abs(found[1, 0]) <= 1.0 and abs(found[2, 0]) <= 1.0 and abs(found[2, 1]) <= 0.9
    with pytest.raises(ValueError, match="the cell in here is not lower triangular"):
        reduced_box(box[None].transpose(0, 2, 1) + np.triu(np.ones((3, 3)), 1), "here")


# ---- forces

#: A molecule of eight atoms in two residues; three beads, two atoms dropped.
HARMONIC = [("ABC", "C0 H1 N2 O3"), ("DEF", "C4 H5 C6 H7")]
SPRINGS = [(0, 1), (0, 2), (2, 3), (2, 4), (4, 5), (4, 6), (6, 7), (3, 5)]
RULES = [
    {"type": "A", "residue": "ABC", "atoms": ["C0", "H1"], "at": "mass"},
    {"type": "B", "residue": "DEF", "atoms": ["C4", "H5", "C6"], "at": "geometry"},
    {"type": "D", "residue": "ABC", "atoms": ["O3"]},
]
#: Positions of the beads by hand: masses of carbon and hydrogen, three equal parts, one atom.
WEIGHTS = np.zeros((3, 8))
WEIGHTS[0, [0, 1]] = np.array([12.011, 1.008]) / 13.019
WEIGHTS[1, [4, 5, 6]] = 1 / 3
WEIGHTS[2, 3] = 1
IN_ORDER = [0, 2, 1]  # beads come in the order of their first atoms: A, D, B


def harmonic(n_frames, seed, replica=None):
    """Frames of springs between bonded atoms, drawn from their Boltzmann distribution, with their forces.

    The chain lies anywhere in a periodic box, each atom in any image of it.
    """
    rng = np.random.default_rng(seed)
    stiffness = np.zeros((8, 8))
    for k, (i, j) in zip(np.linspace(300, 900, len(SPRINGS)), SPRINGS):
        stiffness[np.ix_([i, j], [i, j])] += k * np.array([[1, -1], [-1, 1]])
    values, modes = np.linalg.eigh(stiffness)
    amplitudes = rng.normal(size=(n_frames, 7, 3)) * np.sqrt(KT / values[1:])[:, None]
    whole = modes[:, 1:] @ amplitudes + rng.uniform(0, 2, (n_frames, 1, 3))
    made = bonded(topology(HARMONIC), *SPRINGS)
    atoms = [atom.element.atomic_number for atom in made.atoms]
    torn = broken(whole, TRICLINIC, seed + 1)
    return Frames(torn, atoms, TRICLINIC, TEMPERATURE, -stiffness @ whole, replica), made, stiffness


def mean_force_matrix(stiffness):
    """The exact mean force on the beads is minus this matrix (3, 2) times the vectors from the first to the others.

    These vectors d are Gaussian: the potential of mean force is kT/2 d S^-1 d, S being their covariance.
    """
    differences = np.array([[-1.0, 1, 0], [-1, 0, 1]])
    covariance = KT * differences @ WEIGHTS[IN_ORDER] @ np.linalg.pinv(stiffness) @ WEIGHTS[IN_ORDER].T @ differences.T
    return KT * differences.T @ np.linalg.inv(covariance)


def regression(beads):
    """Least-squares coefficients (3, 2) of minus the forces on the two vectors, and their standard errors."""
    vectors = beads.positions[:, 1:].astype(np.float64) - beads.positions[:, :1]
    vectors = nearest_image(vectors, beads.boxes).transpose(0, 2, 1).reshape(-1, 2)
    forces = -beads.forces.astype(np.float64).transpose(0, 2, 1).reshape(-1, 3)
    inverse = np.linalg.inv(vectors.T @ vectors)
    found = inverse @ vectors.T @ forces
    noise = ((forces - vectors @ found) ** 2).mean(0)
    return found.T, np.sqrt(np.outer(noise, np.diag(inverse)))


def test_the_mean_of_a_beads_force_is_the_mean_force():
    atoms, made, stiffness = harmonic(40_000, seed=11)
    beads = coarsen_frames(atoms, Mapping.read({"beads": RULES, "rigid": "none"}), made)
    assert beads.types.tolist() == ["A", "D", "B"] and beads.bonds.tolist() == [[0, 1], [0, 2], [1, 2]]
    expected = mean_force_matrix(stiffness)
    found, error = regression(beads)
    assert error.max() < 0.02 * np.abs(expected).max()
    assert (np.abs(found - expected) < 4 * error).all()


def test_a_map_of_forces_that_is_not_the_dual_one_is_far_off():
    """Weighed as the positions are, the forces have another mean: the test above can fail."""
    atoms, made, stiffness = harmonic(40_000, seed=11)
    beads = coarsen_frames(atoms, Mapping.read({"beads": RULES, "rigid": "none"}), made)
    wrong = Frames(beads.positions, beads.types, beads.box, 300, WEIGHTS[IN_ORDER] @ atoms.forces)
    found, error = regression(wrong)
    assert (np.abs(found - mean_force_matrix(stiffness)) / error).max() > 30


@pytest.mark.parametrize("at", ["mass", "geometry", "atom"])
def test_forces_times_positions_are_the_degrees_of_freedom(at):
    """<sum F . (R - centre)> is -3 (n - 1) kT for n beads, whatever is dropped."""
    rules = {
        "mass": [{"type": "residue", "select": "all", "at": "mass"}],
        "geometry": RULES,
        "atom": [{"type": "name", "select": "name C0 or name N2 or name C4 or name C6", "per": "atom"}],
    }[at]
    atoms, made, _ = harmonic(20_000, seed=12)
    beads = coarsen_frames(atoms, Mapping.read({"beads": rules, "rigid": "none"}), made)
    vectors = nearest_image(beads.positions.astype(np.float64) - beads.positions[:, :1], beads.boxes)
    virial = (beads.forces * (vectors - vectors.mean(1, keepdims=True))).sum((1, 2))
    n = len(beads.types)
    error = virial.std() / np.sqrt(len(virial))
    assert error < 0.03 * 3 * (n - 1) * KT
    assert abs(virial.mean() + 3 * (n - 1) * KT) < 4 * error


def test_what_a_rigid_bond_does_to_mapped_forces():
    """A rigid C-H in two harmonic wells: <F . R> is -3 kT for the sum of both forces, and not for the carbon's own.

    With wells of k and K on C and H a distance l apart, C = -c l n + g: n is uniform on the sphere, c = K / (k + K),
    and g Gaussian of variance kT / (k + K).  The carbon's own force gives -k (c^2 l^2 + 3 kT / (k + K)).
    """
    k, other, length, n = 300.0, 500.0, 0.1, 50_000
    rng = np.random.default_rng(41)
    turn = rng.normal(size=(n, 3))
    turn *= length / np.linalg.norm(turn, axis=1, keepdims=True)
    carbon = rng.normal(0, np.sqrt(KT / (k + other)), (n, 3)) - other / (k + other) * turn
    positions = np.stack([carbon, carbon + turn], axis=1)
    atoms = Frames(positions, [6, 1], None, TEMPERATURE, np.stack([-k * carbon, -other * (carbon + turn)], axis=1))
    made = bonded(topology([("CHN", "C0 H1")]), (0, 1))
    both = coarsen_frames(atoms, Mapping.read({"beads": [{"type": "X", "residue": "CHN"}], "rigid": "hbonds"}), made)
    own = {"beads": [{"type": "C", "select": "element C", "per": "atom"}]}
    alone = coarsen_frames(atoms, Mapping.read(own | {"rigid": "none"}), made)
    means, errors = [], []
    for beads in (both, alone):
        products = (beads.forces * beads.positions).sum((1, 2))
        means.append(products.mean())
        errors.append(products.std() / np.sqrt(n))
    of_carbon = -k * ((other / (k + other) * length) ** 2 + 3 * KT / (k + other))
    assert abs(means[0] + 3 * KT) < 4 * errors[0] and abs(means[1] - of_carbon) < 4 * errors[1]
    assert abs(of_carbon + 3 * KT) > 50 * errors[1]
    with pytest.raises(ValueError, match="rigid bond"):
        coarsen_frames(atoms, Mapping.read(own | {"rigid": "hbonds"}), made)


def test_labels_of_some_frames_replicas_and_bias_go_along():
    atoms, made, _ = harmonic(9, seed=13, replica=np.arange(9) // 3)
    forces = atoms.forces.copy()
    forces[4] = np.nan
    mixed = Frames(atoms.positions, atoms.species, atoms.box, 300, forces, atoms.replica, bias_forces=2 * atoms.forces)
    mapping = {"beads": RULES, "rigid": "none"}
    beads = coarsen_frames(mixed, Mapping.read(mapping), made)
    np.testing.assert_array_equal(beads.replica, mixed.replica)
    assert beads.labelled.tolist() == [True] * 4 + [False] + [True] * 4
    kept = beads.labelled
    np.testing.assert_allclose(beads.bias_forces[kept], 2 * beads.forces[kept], rtol=1e-5, atol=1e-3)
    sums = np.stack([forces[:, [0, 1]].sum(1), forces[:, 3], forces[:, [4, 5, 6]].sum(1)], axis=1)
    np.testing.assert_allclose(beads.forces, sums, rtol=1e-5, atol=1e-3)


def test_files_of_frames_bring_their_forces_replicas_and_temperature(tmp_path):
    rng = np.random.default_rng(16)
    whole = whole_water(9, 4, 2.4, seed=17)
    forces = rng.normal(0, 100, whole.shape)
    atoms = Frames(broken(whole, CUBIC, 18), [8, 1, 1] * 4, CUBIC, 310, forces, np.arange(9) // 3)
    atoms.save(tmp_path / "atoms.npz")
    atoms[:3].save(tmp_path / "more.npz")
    rule = {"beads": MAP["beads"][:1], "rigid": "water"}
    beads = coarsen([tmp_path / "atoms.npz", tmp_path / "more.npz"], water(4), rule)
    assert beads.replica.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and beads.temperature == 310
    np.testing.assert_allclose(beads.forces[:9], forces.reshape(9, 4, 3, 3).sum(2), rtol=1e-5, atol=1e-3)
    assert apart(beads.positions[:9], centres(whole, water(4), np.arange(12).reshape(4, 3)), CUBIC) < 2e-6
    path = coarsen(tmp_path / "atoms.npz", water(4), rule, output=tmp_path / "beads.npz")
    back = Frames.load(path)
    assert back.digest() == beads[:9].digest() and summary(path) == "9 frames of 4 W; 3 replicas"
    np.testing.assert_array_equal(back.forces, beads.forces[:9])
    app.PDBFile.writeFile(water(4).to_openmm(), whole[0] * 10, str(tmp_path / "top.pdb"))
    named = coarsen(tmp_path / "atoms.npz", tmp_path / "top.pdb", rule)
    assert named.digest() == back.digest() and named.same_particles(back)
    with pytest.raises(ValueError, match="top is missing: .*atoms.npz does not tell residues"):
        coarsen(tmp_path / "atoms.npz", None, rule)


def test_forces_under_rigid_bonds_are_refused_where_they_leave_a_bead():
    atoms, made, _ = harmonic(2, seed=14)
    with pytest.raises(
        ValueError, match=r"rigid bond O3 of ABC0 \(number 3\) - H5 of DEF1 \(number 5\) leaves the atoms"
    ):
        coarsen_frames(atoms, Mapping.read({"beads": RULES, "rigid": "hbonds"}), made)
    without = Frames(atoms.positions, atoms.species, atoms.box, 300)
    assert coarsen_frames(without, Mapping.read({"beads": RULES, "rigid": "hbonds"}), made).forces is None


# ---- what is refused, and what is left behind


def test_an_interrupted_run_leaves_the_old_file(runs, tmp_path):
    paths, top, _, _ = runs
    target = tmp_path / "out" / "frames.npz"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def interrupted(path, count):
        if path == paths[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coarsen(paths, top, MAP, 300, target, progress=interrupted)
    assert target.read_bytes() == b"old" and os.listdir(target.parent) == ["frames.npz"]


def test_a_file_is_written_without_torch(runs, tmp_path):
    """Its import takes seconds and half a gigabyte."""
    paths, top, _, _ = runs
    script = "import sys; from openmm_diffusion.data.coarsening import coarsen; "
    script += f"coarsen({str(paths[0])!r}, {str(top)!r}, {MAP!r}, 300, {str(tmp_path / 'frames.npz')!r}); "
    script += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[-1:] == ["False"], done.stderr


def test_wrong_arguments_are_refused_before_anything_is_read(runs, tmp_path):
    paths, top, _, _ = runs
    with pytest.raises(ValueError, match="temperature is missing: pass the temperature of the simulated ensemble in K"):
        coarsen(paths, top, MAP)
    with pytest.raises(ValueError, match="temperature is -3 K"):
        coarsen(paths, top, MAP, -3)
    with pytest.raises(ValueError, match="stride is 0"):
        coarsen(paths, top, MAP, 300, stride=0)
    with pytest.raises(ValueError, match="trajectory is an empty list"):
        coarsen([], top, MAP, 300)
    with pytest.raises(ValueError, match="output is .*frames.xyz: give a name that ends in .npz"):
        coarsen(paths, top, MAP, 300, tmp_path / "frames.xyz")
    with pytest.raises(FileNotFoundError, match="there is no directory .*nowhere; make it first"):
        coarsen(paths, top, MAP, 300, tmp_path / "nowhere" / "frames.npz")
    with pytest.raises(ValueError, match="files of frames .* among trajectories: coarsen them apart"):
        coarsen([paths[0], tmp_path / "frames.npz"], top, MAP, 300)


def test_frames_of_other_atoms_are_refused():
    atoms, made, _ = harmonic(2, seed=15)
    with pytest.raises(ValueError, match="frames have 8 atoms, the topology 6: give the topology of the frames"):
        coarsen_frames(atoms, Mapping.read({"beads": [MAP["beads"][0]]}), water(2))
    other = topology([("ABC", "C0 H1 N2 O3"), ("DEF", "C4 N5 C6 H7")])
    with pytest.raises(ValueError, match="atom 5 has atomic number 1 in the frames, but is DEF1-N5 in the topology"):
        coarsen_frames(atoms, Mapping.read({"beads": RULES}), other)


def test_a_box_in_one_of_two_runs_is_refused(runs, tmp_path):
    paths, top, whole, _ = runs
    bare = tmp_path / "bare.dcd"
    mdtraj.Trajectory(whole[:2], water(30, ("Li", "Li"))).save(str(bare))
    with pytest.raises(
        ValueError, match="bare.dcd has frames with a box where others before have none, or the reverse"
    ):
        coarsen([paths[0], bare], top, MAP, 300)


# ---- the command


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "openmm_diffusion", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_the_command_writes_frames_and_says_so(runs, tmp_path):
    paths, top, whole, boxes = runs
    (tmp_path / "map.yaml").write_text("beads:\n  - {type: O, select: name O, per: atom}\n")
    done = command("coarsen", *paths, "--top", top, "--map", tmp_path / "map.yaml", "-o", tmp_path / "frames.npz")
    assert done.returncode == 0, done.stderr
    # Readers of single formats speak of their own.
    assert done.stdout.splitlines()[-1] == f"{tmp_path / 'frames.npz'}: 19 frames of 30 O; 2 replicas"
    assert "61 of 91 atoms are in no bead and dropped: 60 of HOH, 1 of Li" in done.stderr
    with pytest.raises(ValueError, match="gives no temperature"):
        Frames.load(tmp_path / "frames.npz")
    assert apart(Frames.load(tmp_path / "frames.npz", 300).positions, whole[:, :90:3], boxes) < 5e-6


@pytest.mark.slow
def test_the_command_as_gromacs_names_its_files(tmp_path):
    """A .gro file calls its water SOL, with OW and HW1, and knows no bonds; an .xtc has three decimals."""
    whole = whole_water(5, 8, 2.4, seed=31)
    run = mdtraj.Trajectory(broken(whole, TRICLINIC, 32).astype(np.float32), water(8))
    run.unitcell_vectors = of_frames(TRICLINIC, 5)
    run.save(str(tmp_path / "run.xtc"))
    names = ("OW", "HW1", "HW2")
    rows = [
        f"{i // 3 + 1:5d}{'SOL':<5s}{names[i % 3]:>5s}{i + 1:5d}" + "".join(f"{value:8.3f}" for value in whole[0, i])
        for i in range(24)
    ]
    order = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    box = " ".join(f"{TRICLINIC[i, j]:.5f}" for i, j in order)
    (tmp_path / "top.gro").write_text("\n".join(["water", "24", *rows, box]) + "\n")
    (tmp_path / "map.yaml").write_text("beads:\n  - {type: W, select: water, per: residue, at: mass}\n")
    done = command(
        "coarsen", tmp_path / "run.xtc", "--top", tmp_path / "top.gro", "--map", tmp_path / "map.yaml",
        "--output", tmp_path / "frames.npz", "--temperature", 300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    beads = Frames.load(tmp_path / "frames.npz")
    assert set(beads.types) == {"W"} and beads.masses[0] == pytest.approx(18.015, abs=1e-3)
    # Half a digit of the file on each coordinate of each atom, at most.
    assert apart(beads.positions, centres(whole, water(8), np.arange(24).reshape(8, 3)), TRICLINIC) < 1e-3
    assert beads.bonds is not None and len(beads.bonds) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map": "nowhere.yaml"}, "there is no configuration file nowhere.yaml"),
        ({"text": "beads:\n  - {type: W, slect: water}\n"}, "unknown key beads.0.slect; did you mean select?"),
        ({"text": "beads:\n  - {type: W, select: name OW}\n"}, "'name OW', which matches no atom"),
        ({"run": "nowhere.dcd"}, "nowhere.dcd"),
        ({"output": "frames.csv"}, "give a name that ends in .npz"),
        ({"more": ["--temperature", "-300"]}, "temperature is -300 K: give a positive temperature in K"),
        ({"more": ["--stride", "0"]}, "stride is 0: give a whole number from 1 on"),
    ],
)
def test_mistakes_end_in_one_sentence(runs, tmp_path, change, message):
    paths, top, _, _ = runs
    (tmp_path / "map.yaml").write_text(change.get("text", "beads:\n  - {type: W, select: water}\n"))
    done = command(
        "coarsen", change.get("run", paths[0]), "--top", top, "--map", change.get("map", tmp_path / "map.yaml"),
        "-o", tmp_path / change.get("output", "frames.npz"), *change.get("more", []),
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: ") and message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and not (tmp_path / "frames.npz").exists()


PEAK = """
import sys
from openmm_diffusion.cli import main
sys.argv = ["openmm-diffusion", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_two_gigabytes_are_coarsened_in_less_than_one(tmp_path):
    """10,000 waters, 6,000 frames: a trajectory of 2.2 GB, beads of 0.7 GB, and a process of less than 1 GB."""
    n, n_frames, edge = 10_000, 6_000, 6.7
    whole = whole_water(1, n, edge, seed=21)[0].astype(np.float32)
    path, top, out = tmp_path / "run.dcd", tmp_path / "top.pdb", tmp_path / "frames.npz"
    mdtraj.Trajectory(whole[None], water(n)).save(str(top))
    with DCDTrajectoryFile(str(path), "w") as file:
        for number in range(n_frames):
            # A whole vector of the box now and then; 10 nm to Angstrom.
            file.write((whole + (number % 7) * np.float32(edge)) * 10, np.full(3, 10 * edge), np.full(3, 90.0))
    size = path.stat().st_size
    (tmp_path / "map.yaml").write_text("beads:\n  - {type: W, select: water}\n")
    arguments = ["coarsen", path, "--top", top, "--map", tmp_path / "map.yaml", "--output", out, "--temperature", 300]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)], capture_output=True, text=True, timeout=1800
    )
    path.unlink()
    assert done.returncode == 0, done.stderr
    assert f"{n_frames} frames of {n} W; 1 replicas" in done.stdout and "frames read" in done.stderr
    peak = int(done.stdout.split()[-1])
    print(f"peak {peak} MB for a trajectory of {size / 1e9:.1f} GB")
    assert size > 2e9 and peak < 1000
    with zipfile.ZipFile(out) as archive, archive.open("positions.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        member.seek((n_frames - 1) * n * 12, 1)
        last = np.frombuffer(member.read(), dtype=dtype).reshape(1, n, 3)
    out.unlink()
    assert shape == (n_frames, n, 3)
    expected = centres(whole[None], water(n), np.arange(3 * n).reshape(n, 3)[:50])
    assert apart(last[:, :50], expected, edge * np.eye(3)) < 1e-4
