"""One-bead water by the commands of examples/water, with fewer and shorter runs: atoms, beads, model, simulation."""

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import yaml
from commandline import run

from openmm_diffusion import Frames
from openmm_diffusion.analysis.rdf import compute_rdf, rmsd

pytestmark = pytest.mark.slow

EXAMPLE = Path("examples/water")
RANGE, WIDTH = (0.2, 0.93), 0.01


def command(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directory of all that the commands write."""
    folder = tmp_path_factory.mktemp("water")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    given = yaml.safe_load((EXAMPLE / "generate.yaml").read_text())
    given |= {"runs": 4, "discard": 6, "frames": 20, "interval": 0.4, "platform": "CPU"}
    (folder / "generate.yaml").write_text(yaml.safe_dump(given))
    training = yaml.safe_load((EXAMPLE / "water.yaml").read_text())
    training["data"]["frames"] = "beads.npz"
    (folder / "water.yaml").write_text(yaml.safe_dump(training))
    (folder / "pair.yaml").write_text(yaml.safe_dump(training | {"manybody": None}))
    command("generate", folder / "generate.yaml", "--output", folder / "data")
    data, beads = folder / "data", folder / "beads.npz"
    options = ("--top", data / "topology.pdb", "--map", EXAMPLE / "map.yaml")
    command("coarsen", data / "frames.npz", *options, "--output", beads)
    for name, backend in (("pair", "native"), ("water", "compiled")):
        command("train", folder / f"{name}.yaml", "--output", folder / name)
        options = ("--duration", 24, "--interval", 0.2, "--platform", "CPU", "--start", beads, "--backend", backend)
        command("simulate", folder / name / "model.safetensors", "--output", folder / name / "md", *options)
    yield folder
    monkeypatch.undo()


def test_water_fills_its_box(runs):
    atoms = Frames.load(runs / "data" / "frames.npz")
    assert len(atoms) == 80 and atoms.types.tolist() == ["O", "H", "H"] * 216
    grams = atoms.masses.sum() / 0.602214076e3
    assert grams / 1.864**3 == pytest.approx(0.997, abs=0.003)  # g/cm^3


def test_the_beads_are_the_oxygens(runs):
    beads, atoms = Frames.load(runs / "beads.npz"), Frames.load(runs / "data" / "frames.npz")
    assert beads.types.tolist() == ["OW"] * 216 and not beads.species.any()
    assert beads.masses == pytest.approx(18.015, abs=2e-3)
    np.testing.assert_array_equal(beads.positions, atoms.positions[:, ::3])
    np.testing.assert_array_equal(beads.replica, atoms.replica)


def test_their_rdf_is_that_of_the_atoms(runs):
    of_beads = compute_rdf(Frames.load(runs / "beads.npz"), RANGE, WIDTH).g["OW-OW"]
    atoms = Frames.load(runs / "data" / "frames.npz")
    trajectory = mdtraj.Trajectory(atoms.positions, mdtraj.load_topology(str(runs / "data" / "topology.pdb")))
    trajectory.unitcell_vectors = atoms.boxes
    oxygens = trajectory.topology.select("water and name O")
    pairs = trajectory.topology.select_pairs(oxygens, oxygens)
    r, direct = mdtraj.compute_rdf(trajectory, pairs, r_range=RANGE, n_bins=len(of_beads))
    np.testing.assert_allclose(of_beads, direct, rtol=1e-6)
    # SPC/E has its first peak of 3.0 to 3.1 at 0.275 nm: Mark and Nilsson, J. Phys. Chem. A 105, 9954 (2001).
    assert r[direct.argmax()] == pytest.approx(0.275, abs=0.006) and 2.9 < direct.max() < 3.3


def difference(runs, name):
    """RMSD of g(r) of MD under a model from the data's, what noise makes of it, and both curves."""
    data = compute_rdf(Frames.load(runs / "beads.npz"), RANGE, WIDTH)
    md = runs / name / "md"
    simulated = mdtraj.load(str(md / "trajectory.dcd"), top=str(md / "topology.pdb"))
    model = compute_rdf(simulated[20:], RANGE, WIDTH, n_blocks=5)
    (found,), (expected,) = model.g.values(), data.g.values()
    errors = [np.sqrt(np.mean(np.square(next(iter(rdf.error.values()))))) for rdf in (data, model)]
    return rmsd(found, expected), np.hypot(*errors), data.r, found, expected


def test_the_pair_potential_has_the_first_shell_and_not_the_second(runs):
    """No pair potential that is fitted to forces or scores has both."""
    distance, noise, r, found, expected = difference(runs, "pair")
    assert noise < 0.03
    # 0.126 was measured with longer runs; the liquid as a gas of spheres is off by 0.35.
    assert distance == pytest.approx(0.126, abs=3 * noise)
    assert rmsd(r > 0.26, expected) > 0.3
    assert abs(int(found.argmax()) - int(expected.argmax())) <= 1


def test_three_bodies_bring_the_second_shell_back(runs):
    """At 0.45 nm, the second neighbour of a tetrahedron, the data have a maximum and the pair potential has none."""
    alone, noise, *_ = difference(runs, "pair")
    together, _, r, found, expected = difference(runs, "water")
    assert together < alone - 2 * noise
    second = (r > 0.4) & (r < 0.5)
    assert found[second].max() == pytest.approx(expected[second].max(), abs=0.07) and expected[second].max() > 1.05
