"""What an evaluation says of molecules: files, pictures, sentences, and that a broken one is not passed over."""

from pathlib import Path
from types import SimpleNamespace

import commandline
import numpy as np
import pandas
import pytest

from openmm_diffusion import Frames, evaluate, train
from openmm_diffusion.analysis.molecules.comparison import compare_molecules
from openmm_diffusion.evaluation.calibration import projections, slope
from openmm_diffusion.evaluation.molecules import molecule_notes
from openmm_diffusion.evaluation.tables import write
from openmm_diffusion.figures import molecule_figures
from openmm_diffusion.units import thermal_energy

#: Frames of alanine dipeptide, in a folder shared/data beside the checkout or above it.
ALANINE = [folder / "shared" / "data" / "alanine.npz" for folder in Path(__file__).resolve().parents]
ALANINE = next((path for path in ALANINE if path.is_file()), None)
#: A model of bonds alone, in closed form.
ALONE = {
    "prior": {"coulomb": None, "wall": None}, "bonds": {"sigma": 0, "penalties": [0.01]}, "angles": None,
    "impropers": None, "dihedrals": None, "maps": None, "pair": None, "network": None,
    "noise": {"sigma": 0.001}, "data": {"validation_fraction": 0},
}  # fmt: skip
ELEMENTS, BONDS = [6, 7, 8, 9, 8], [[0, 1], [1, 2], [2, 3], [3, 4]]
SHAPE = 0.15 * np.array([[0, 0, 0], [1, 0, 0], [1.3, 0.95, 0], [2.2, 1.0, 0.4], [2.3, 1.9, 0.6]])


def chains(n_frames, seed, width=0.003, box=None):
    rng = np.random.default_rng(seed)
    x = SHAPE + rng.normal(0, width, (n_frames, 5, 3)) + 0.5
    return Frames(x, ELEMENTS, box, 300, bonds=BONDS, replica=np.arange(n_frames) * 10 // n_frames)


def run_of(frames, folder, name="run"):
    """A trajectory of frames and its topology, as MD leaves them."""
    frames.to_mdtraj().save(str(folder / f"{name}.dcd"))
    frames[:1].to_mdtraj().save(str(folder / "topology.pdb"))
    return [folder / f"{name}.dcd"], folder / "topology.pdb"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train(chains(400, 1), ALONE, tmp_path_factory.mktemp("model") / "run")


def test_frames_without_a_box_are_evaluated_without_g_of_r(model, tmp_path):
    result = evaluate(model, chains(300, 2), *run_of(chains(200, 3), tmp_path), discard=0)
    assert not len(result.errors) and not len(result.rdf)
    assert any("no box" in note and "g(r) has no meaning" in note for note in result.notes)
    assert {"calibration slope", "broken bonds in MD"} <= set(result.table["quantity"])
    assert "none off by more than 10 % (bonds) or 20 % (angles); worst: bond" in result.notes[0]
    assert "Worst Jensen-Shannon divergences" in result.notes[1] and "map" in result.notes[1]


def test_the_calibration_of_stiff_bonds_is_not_that_of_the_noise_it_is_measured_with():
    """A spring of clean frames: noise s leaves 1 / (1 + 2 s^2/w^2) of the slope: 0.82 at 0.001 nm, 0.998 by default."""

    class Spring:
        sigma, header = 0.0, SimpleNamespace(noised={"species": None, "axes": "xyz"})

        def evaluated(self, x, boxes, types, bonds, told=None):
            away = x[:, 1] - x[:, 0]
            length = np.linalg.norm(away, axis=-1, keepdims=True)
            pull = thermal_energy(300) / 0.003**2 * (length - 0.15) * away / length
            return None, np.stack([pull, -pull], axis=1)

    x = np.zeros((4000, 2, 3))
    x[:, 1, 0] = np.random.default_rng(1).normal(0.15, 0.003, 4000)
    frames = Frames(x, [6, 6], None, 300, bonds=[[0, 1]])
    for sigma, expected in ((None, 1 / (1 + 2 / 900)), (0.001, 1 / (1 + 2 / 9))):
        found, error = slope(*projections(Spring(), frames, sigma), frames.replica)
        assert abs(found - expected) < 3 * error < 0.1


def test_frames_with_a_box_have_both(model, tmp_path):
    box = 3.0 * np.eye(3)
    result = evaluate(model, chains(60, 4, box=box), *run_of(chains(40, 5, box=box), tmp_path), discard=0)
    assert len(result.errors) and result.molecules is not None
    assert not any("no box" in note for note in result.notes)


def test_frames_without_runs_have_no_molecules_to_compare(model):
    result = evaluate(model, chains(40, 6))
    assert result.molecules is None and "broken bonds in MD" not in set(result.table["quantity"])


@pytest.mark.parametrize("far", [0.3, 5.0], ids=["one bond", "every bond"])
def test_a_broken_molecule_is_the_first_thing_said(model, tmp_path, far):
    """Also where all atoms have flown apart: such a run is not taken for one in another unit, and refused."""
    runs = chains(100, 7)
    x = runs.positions.copy()
    if far > 1:
        x[30:] += far * np.arange(5)[:, None]
    else:
        x[30:, 0] -= far
    (run,), top = run_of(Frames(x, ELEMENTS, None, 300, bonds=BONDS), tmp_path)
    if far > 1:
        with pytest.raises(ValueError, match="cannot be right"):
            Frames.from_trajectory(run, top=top, temperature=300)
    result = evaluate(model, chains(300, 8), [run], top, discard=0)
    assert result.notes[0].startswith("THE MOLECULES BROKE: in 70 of 100 frames")
    assert "whatever its calibration" in result.notes[0]
    numbers = result.table.set_index("quantity")["value"]
    assert numbers["broken bonds in MD"] == 70 * (4 if far > 1 else 1)
    assert numbers["share of frames with broken bonds"] == 0.7


def test_widths_that_are_off_are_called_out_with_what_noise_does():
    comparison = compare_molecules(chains(2000, 9), chains(2000, 10, width=0.0045), sigma=0.002)
    notes = molecule_notes(comparison, 0.002)
    assert notes[0].startswith("Widths in MD over those of the data are off by more than 10 % (bonds) or 20 % (angles)")
    assert "bond" in notes[0] and "angle" in notes[0] and " 1.5" in notes[0]
    assert "Noise of 0.002 nm by itself widens bonds up to 1.2" in notes[0]


def test_lost_chirality_is_said_and_that_of_planes_is_not():
    rng, flat = np.random.default_rng(11), np.array([[0, 0, 0], [1, 0, 0], [-0.5, 0.87, 0], [-0.5, -0.87, 0.0]])
    bonds = [[0, 1], [0, 2], [0, 3]]

    def stars(height, seed):
        x = 0.15 * (flat + height * np.array([[1.0], [0], [0], [0]]) * [0, 0, 1]) + rng.normal(0, 0.003, (500, 4, 3))
        return Frames(x, [6, 7, 8, 9], None, 300, bonds=bonds)

    lost = molecule_notes(compare_molecules(stars(0.4, 1), stars(-0.4, 2)), 0.0)
    assert any("Chirality is lost" in note and "C-N-O-F in 0 % of MD, in 100 % of the data" in note for note in lost)
    assert not any("Chirality" in note for note in molecule_notes(compare_molecules(stars(0, 3), stars(0, 4)), 0.0))


def test_tables_and_pictures_of_molecules_are_written(model, tmp_path):
    result = evaluate(model, chains(300, 12), *run_of(chains(200, 13), tmp_path), discard=0)
    write(result, tmp_path)
    molecule_figures(result.molecules, tmp_path)
    table = pandas.read_csv(tmp_path / "molecules.csv", keep_default_na=False)
    assert list(table.columns) == ["quantity", "of", "curve", "unit", "value", "error"]
    assert not table.duplicated(["quantity", "of", "curve"]).any()
    curves = pandas.read_csv(tmp_path / "distributions.csv")
    assert {"bond", "angle", "dihedral", "radius of gyration"} == set(curves["quantity"])
    assert (tmp_path / "molecules.png").stat().st_size > 30_000
    (picture,) = tmp_path.glob("map-*.png")
    assert picture.name == "map-C-N-O-F-O.png" and picture.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.skipif(ALANINE is None, reason="the frames of alanine dipeptide are not here")
def test_alanine_from_the_command_line(tmp_path):
    frames = Frames.load(ALANINE)
    frames[:6000:20].save(tmp_path / "frames.npz")
    train(frames[:6000:20], ALONE, tmp_path / "model")
    (run,), top = run_of(frames[6000:12000:20], tmp_path)
    made = commandline.run(
        "evaluate", tmp_path / "model" / "model.safetensors", tmp_path / "frames.npz", "-o", tmp_path / "evaluation",
        "--trajectory", run, "--top", top, "--discard", 0,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "Widths in MD over those of the data" in made.stdout and "BROKE" not in made.stdout
    assert "g(r) has no meaning" in made.stdout
    written = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert {"molecules.csv", "molecules.png", "map-C-N-CA-C-N.png", "evaluation.csv"} <= written
    assert "rdf.csv" not in written
