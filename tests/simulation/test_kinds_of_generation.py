"""Generation of everything beyond one salt: mixtures, water, solutes; what their frames hold, and that they resume."""

from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
import yaml
from commandline import run
from openmm import unit

from openmm_diffusion import rundirectory
from openmm_diffusion.data.frames import Frames
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.systems.solution import build_system
from openmm_diffusion.units import thermal_energy

SOLUTES = Path(__file__).parents[2] / "examples" / "generate"
RUN = {"runs": 2, "frames": 3, "discard": 0.02, "interval": 0.02, "chunk": 2, "platform": "CPU"}
SMALL = RUN | {"edge": 1.3, "cutoff": 0.6}
ACETAMIDE = SMALL | {"solute": str(SOLUTES / "acetamide.pdb"), "ions": {"Na": 1, "Cl": 1}}
WATER = {"beads": [{"type": "W", "select": "water", "at": "mass"}]}
KINDS = {
    "mixture": SMALL | {"ions": {"Li": 1, "Na": 1, "Cl": 2}},
    "magnesium": SMALL | {"ions": {"Mg": 1, "Cl": 2}},
    "water": SMALL | {"ions": {}, "types": {"OW": "name O"}},
    "one-bead water": SMALL | {"ions": {}, "map": WATER},
    "all atoms": SMALL | {"ions": {"K": 1, "F": 1}, "keep": "all"},
    "solute": ACETAMIDE | {"types": "name"},
    "polyatomic ion": SMALL
    | {
        "solute": str(SOLUTES / "sulfate.pdb"),
        "forcefield": [str(SOLUTES / "sulfate.xml")],
        "solute_volume": 0.014,
        "copies": 2,
        "ions": {"Na": 4},
        "keep": "not water",
    },
    "implicit": RUN
    | {
        "solute": str(SOLUTES / "acetamide.pdb"),
        "solvent": "obc2",
        "constraints": "none",
        "timestep": 0.001,
        "keep": "solute",
    },
    "vacuum": RUN | {"solute": str(SOLUTES / "acetamide.pdb"), "solvent": "none"},
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")


@pytest.mark.parametrize(
    "kind, types, n_bonds, labelled",
    [
        ("mixture", ["Li", "Na", "Cl", "Cl"], 0, True),
        ("magnesium", ["Mg", "Cl", "Cl"], 0, True),
        ("water", ["OW"] * 73, 0, True),
        ("one-bead water", ["W"] * 73, 0, True),
        ("all atoms", ["K", "F", *["O", "H", "H"] * 73], 146, False),
        ("solute", ["CH3", "C", "O", "N", "C"], 4, True),
        ("polyatomic ion", [*["S", "O", "O", "O", "O"] * 2, *["Na"] * 4], 8, True),
        ("implicit", ["C", "H", "H", "H", "C", "O", "N", "H", "C", "H", "H", "H"], 11, True),
        ("vacuum", ["C", "C", "O", "N", "C"], 4, True),
    ],
)
def test_frames_of_every_kind(kind, types, n_bonds, labelled, tmp_path):
    config = GenerateConfig(**KINDS[kind])
    frames = generate(config, tmp_path)
    assert frames.types.tolist() == types
    assert frames.bonds is None and n_bonds == 0 or len(frames.bonds) == n_bonds
    assert frames.temperature == 300 and frames.replica.tolist() == [0] * 3 + [1] * 3
    assert (frames.forces is not None) == labelled
    if config.periodic:
        np.testing.assert_array_equal(frames.box, config.edge * np.eye(3))
        assert (frames.positions >= 0).all() and (frames.positions <= np.float32(config.edge)).all()
    else:
        assert frames.box is None
        np.testing.assert_allclose(frames.positions.mean(1), 0, atol=1e-6)
    distances = [np.linalg.norm(frames.positions[0] - other, axis=-1).max() for other in frames.positions[1:]]
    assert min(distances) > 1e-3
    # Bonded atoms are near each other, across the boundary too: types and bonds belong to these positions.
    for i, j in [] if frames.bonds is None else frames.bonds:
        vectors = frames.positions[:, i] - frames.positions[:, j]
        vectors -= config.edge * np.round(vectors / config.edge) if config.periodic else 0
        assert (np.linalg.norm(vectors, axis=-1) < 0.18).all()
    saved = Frames.load(tmp_path / "frames.npz")
    np.testing.assert_array_equal(saved.positions, frames.positions)
    assert saved.types.tolist() == types
    assert GenerateConfig.load(tmp_path / "config.yaml") == config


def test_the_topology_is_that_of_all_atoms(tmp_path):
    config = GenerateConfig(**KINDS["all atoms"] | {"runs": 1})
    frames = generate(config, tmp_path)
    top = mdtraj.load_topology(str(tmp_path / "topology.pdb"))
    assert [atom.element.symbol for atom in top.atoms] == frames.types.tolist()
    assert top.select("water and name O").tolist() == list(range(2, 221, 3))
    assert top.n_bonds == len(frames.bonds) == 2 * 73


@pytest.mark.parametrize("kind", ["water", "one-bead water", "solute"])
def test_labels_belong_to_their_positions(kind, tmp_path):
    config = GenerateConfig(**KINDS[kind] | {"runs": 1, "frames": 1, "chunk": 1})
    frames = generate(config, tmp_path)
    # The state saved after the only chunk is the configuration of its last frame.
    state = openmm.XmlSerializer.deserialize((tmp_path / "run-00" / "state.xml").read_text())
    topology, system = build_system(config)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(state.getPositions())
    again = context.getState(positions=True, forces=True)
    forces = again.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    positions = again.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    if kind == "solute":  # CH3, C, O, N (with H), C (of CH3)
        atoms = [[0, 1, 2, 3], [4], [5], [6, 7], [8, 9, 10, 11]]
        expected = positions[[0, 4, 5, 6, 8]]
    else:
        atoms = np.arange(3 * config.n_waters).reshape(-1, 3).tolist()
        expected = positions[::3]
        if kind == "one-bead water":
            masses = np.array([15.99943, 1.007947, 1.007947])
            expected = np.einsum("i,wix->wx", masses / masses.sum(), positions.reshape(-1, 3, 3))
    summed = np.array([forces[unit_].sum(0) for unit_ in atoms])
    # The CPU platform computes in single precision.
    np.testing.assert_allclose(frames.forces[0], summed, atol=2e-4 * np.abs(forces).max())
    off = frames.positions[0] - expected
    np.testing.assert_allclose(off - config.edge * np.round(off / config.edge), 0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["solute", "vacuum", "one-bead water", "all atoms"])
@pytest.mark.parametrize("fatal", ["state.xml", "frames-0000002.npz"])
def test_a_killed_run_goes_on(kind, fatal, tmp_path, monkeypatch):
    config = GenerateConfig(**KINDS[kind] | {"runs": 1, "frames": 5})
    write, written = rundirectory.write_whole, []

    def dying(path, content):
        if path.name == fatal and (fatal != "state.xml" or "frames-0000002.npz" in written):
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(rundirectory, "write_whole", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(config, tmp_path)
    monkeypatch.setattr(rundirectory, "write_whole", write)
    before = np.load(tmp_path / "run-00" / "frames-0000000.npz")["positions"]
    frames = generate(config, tmp_path, resume=True)
    assert len(frames) == 5
    np.testing.assert_array_equal(frames.positions[: len(before)], before)
    assert len(np.unique(frames.positions.reshape(5, -1), axis=0)) == 5
    again = generate(config.model_copy(update={"frames": 6}), tmp_path, resume=True)
    np.testing.assert_array_equal(again.positions[:5], frames.positions)
    assert again.types.tolist() == frames.types.tolist()


def test_a_directory_of_before_goes_on(tmp_path):
    config = GenerateConfig(**SMALL | {"pairs": 1, "runs": 1})
    first = generate(config, tmp_path)
    # What 0.1.0 wrote has none of the keys, and no topology.
    new = ("ions", "solute", "forcefield", "solvent", "constraints", "keep", "map", "types")
    old = {key: value for key, value in config.model_dump().items() if key not in new}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old, sort_keys=False))
    (tmp_path / "topology.pdb").unlink()
    longer = generate(config.model_copy(update={"frames": 5}), tmp_path, resume=True)
    np.testing.assert_array_equal(longer.positions[:3], first.positions)
    with pytest.raises(ValueError, match="^keep is all, but .* was made with keep None"):
        generate(config.model_copy(update={"keep": "all"}), tmp_path, resume=True)


def test_a_solute_may_move_but_not_change(tmp_path):
    given = KINDS["vacuum"] | {"runs": 1}
    text = (SOLUTES / "acetamide.pdb").read_text()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "amide.pdb").write_text(text)
    generate(given | {"solute": str(tmp_path / "here" / "amide.pdb")}, tmp_path / "run")
    assert (tmp_path / "run" / "solute.pdb").read_text() == text
    (tmp_path / "here" / "amide.pdb").rename(tmp_path / "moved.pdb")
    moved = given | {"solute": str(tmp_path / "moved.pdb"), "frames": 4}
    assert len(generate(moved, tmp_path / "run", resume=True)) == 4
    (tmp_path / "moved.pdb").write_text(text.replace("-0.677", "-0.777"))
    with pytest.raises(ValueError, match="solute is .*moved.pdb, but .* was made with solute another file"):
        generate(moved, tmp_path / "run", resume=True)


def test_nothing_is_written_where_something_is_refused(tmp_path):
    for given, message in (
        (ACETAMIDE | {"ions": {"Na": 1}}, "net charge of"),
        (ACETAMIDE | {"keep": "resname XYZ"}, "of which there is none here"),
        (SMALL | {"ions": {}, "map": {"beads": [{"type": "W", "select": "wather"}]}}, "wather"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(given, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_finds_files_beside_the_yaml(tmp_path):
    for name in ("sulfate.pdb", "sulfate.xml"):
        (tmp_path / name).write_text((SOLUTES / name).read_text())
    (tmp_path / "map.yaml").write_text(
        "beads:\n  - {type: SO4, residue: SO4, at: S}\n  - {type: Na, select: name Na}\n"
    )
    given = KINDS["polyatomic ion"] | {"solute": "sulfate.pdb", "forcefield": ["sulfate.xml"], "map": "map.yaml"}
    del given["keep"]
    (tmp_path / "sulfate.yaml").write_text(yaml.safe_dump(given))
    result = run("generate", tmp_path / "sulfate.yaml", "--output", tmp_path / "data")
    assert result.returncode == 0, result.stderr
    frames = Frames.load(tmp_path / "data" / "frames.npz")
    assert frames.types.tolist() == ["SO4", "SO4", "Na", "Na", "Na", "Na"] and frames.labelled.all()
    (tmp_path / "map.yaml").unlink()  # its contents are in the directory's configuration
    longer = GenerateConfig.load(tmp_path / "data" / "config.yaml").model_copy(update={"frames": 4})
    assert len(generate(longer, tmp_path / "data", resume=True)) == 8
    (tmp_path / "sulfate.yaml").write_text(yaml.safe_dump(given | {"map": None, "ions": {"Na": 3}}))
    result = run("generate", tmp_path / "sulfate.yaml", "--output", tmp_path / "other")
    assert result.returncode == 1 and "net charge of -1 e" in result.stderr
    assert len([line for line in result.stderr.splitlines() if "error" in line]) == 1


@pytest.mark.slow
def test_labels_of_oxygens_and_positions_tell_the_same_force(tmp_path):
    """Integrated by parts, <F . v> = -kT <div v> for every field v of the kept atoms, if the mean of F is theirs.

    v_i = sum_j phi(r_ij) (r_i - r_j) / r_ij, with phi a Gaussian on the slope of the first shell.  The force on the
    oxygen alone gives a twelfth of it.
    """
    edge, centre, width = 1.3, 0.3, 0.04
    given = {"ions": {}, "temperature": 298, "runs": 4, "frames": 50, "discard": 4, "interval": 0.2, "friction": 5.0}
    frames = generate(SMALL | given | {"edge": edge, "chunk": 25}, tmp_path)
    x = frames.positions.astype(float)
    vectors = x[:, :, None] - x[:, None]
    vectors -= edge * np.round(vectors / edge)
    r = np.linalg.norm(vectors, axis=-1) + 1e3 * np.eye(x.shape[1])
    phi = np.exp(-(((r - centre) / width) ** 2) / 2)
    field = ((phi / r)[..., None] * vectors).sum(2)
    divergence = (phi * (2 / r - (r - centre) / width**2)).sum((1, 2))
    along = (frames.forces * field).sum((1, 2))
    expected = -thermal_energy(298) * divergence
    difference = (along - expected).reshape(20, 10).mean(1)  # stretches of 2 ps
    error = difference.std(ddof=1) / np.sqrt(20)
    assert abs(difference.mean()) < 4 * error and error < 0.1 * abs(expected.mean())
