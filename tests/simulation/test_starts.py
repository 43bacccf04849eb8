"""Where runs begin: bonded particles and those without a box are never scattered; files give the first positions."""

import mdtraj
import numpy as np
import pytest

from openmm_diffusion import Denoiser, Frames, simulate
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.model.header import Header
from openmm_diffusion.simulation.langevin import SimulationConfig, warn_of_conditions
from openmm_diffusion.simulation.starts import read_start
from openmm_diffusion.systems.topologies import topology_like

RUN = dict(duration=0.02, interval=0.01, timestep=0.001, platform="Reference")
TYPES = ["B", "A", "B"]


def model(**changes):
    """A model without any force, of three beads."""
    fields = dict(
        species=["A", "B"], particles=TYPES, temperature=300.0, box=None, number_density=None, numbers=[0, 0],
        shortest_distances=[[None, 0.2], [0.2, 0.2]], masses=[12.0, 15.0], bonds=None,
        terms=[PairTerm(sigma=0.0, cutoff=0.5, start=0.1, spacing=0.05)],
    )  # fmt: skip
    return Denoiser(Header(**fields | changes))


def frames(types=TYPES, n_frames=4, box=None):
    rng = np.random.default_rng(0)
    positions = np.arange(3)[:, None] * [0.3, 0, 0] + rng.normal(scale=0.01, size=(n_frames, 3, 3))
    return Frames(positions, [0] * 3, box, 300.0, types=types, masses=[15.0, 12.0, 15.0])


@pytest.mark.parametrize(
    ("header", "config", "message"),
    [
        ({"bonds": [[0, 1], [1, 2]]}, {}, "positions is missing: the model's particles have bonds"),
        ({"bonds": [[0, 1], [1, 2]], "box": 2 * np.eye(3)}, {}, "positions is missing.*bonds.*--start"),
        ({"bonds": [[0, 1], [1, 2]]}, {"edge": 3}, "positions is missing.*bonds"),
        ({}, {"edge": 3}, "positions is missing: the model was trained without a box"),
        ({}, {"molarity": 0.5}, "positions is missing: the model was trained without a box"),
        ({"bonds": [[0, 1]]}, {"composition": {"A": 3}}, "composition is given, but the model's particles have bonds"),
        ({"bonds": [[0, 1]]}, {"molarity": 1}, "molarity is given, but the model's particles have bonds"),
    ],
)
def test_molecules_and_clusters_are_not_scattered(tmp_path, header, config, message):
    header = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in header.items()}
    with pytest.raises(ValueError, match=message):
        simulate(model(**header), tmp_path / "run", {**RUN, **config}, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_start_may_be_of_another_temperature_than_the_run(tmp_path):
    hot = frames()
    Frames(hot.positions, hot.species, None, 360.0, types=TYPES, masses=hot.masses).save(tmp_path / "start.npz")
    bonded = model(bonds=[[0, 1], [1, 2]])
    found = read_start(tmp_path / "start.npz", bonded, topology_like(bonded))
    np.testing.assert_allclose(found[0], hot.positions[0], atol=1e-6)


def test_a_molecule_runs_from_a_file_in_its_own_order_and_with_its_bonds(tmp_path):
    frames().save(tmp_path / "start.npz")
    bonded = model(bonds=[[0, 1], [1, 2]])
    path = simulate(bonded, tmp_path / "run", {**RUN, "start": str(tmp_path / "start.npz")}, progress=False)
    run = mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb"))
    assert [atom.name for atom in run.topology.atoms] == TYPES and len(run) == 2
    assert [(a.index, b.index) for a, b in run.topology.bonds] == [(0, 1), (1, 2)]
    assert run.unitcell_vectors is None
    # No force acts: within 0.02 ps each particle goes no further than its thermal speed takes it.
    assert 0 < np.abs(run.xyz[-1] - frames().positions[0]).max() < 0.02 * 6 * np.sqrt(2.494 / 12)


def test_edge_puts_a_molecule_into_a_box(tmp_path):
    frames().save(tmp_path / "start.npz")
    bonded = model(bonds=[[0, 1], [1, 2]])
    path = simulate(bonded, tmp_path / "run", {**RUN, "edge": 3, "start": str(tmp_path / "start.npz")}, progress=False)
    run = mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb"))
    np.testing.assert_allclose(run.unitcell_lengths, 3.0, atol=1e-5)


def test_particles_without_bonds_are_put_into_the_order_of_the_topology(tmp_path):
    given = frames(["A", "B", "B"])
    given.save(tmp_path / "start.npz")
    topology = topology_like(model())
    assert [atom.name for atom in topology.atoms()] == ["B", "B", "A"]
    found = read_start(tmp_path / "start.npz", model(), topology)
    np.testing.assert_allclose(found[0], given.positions[0][[1, 2, 0]])


def test_replicas_start_from_frames_apart(tmp_path):
    given = frames(n_frames=9)
    given.save(tmp_path / "start.npz")
    found = read_start(tmp_path / "start.npz", model(bonds=[[0, 1]]), topology_like(model(bonds=[[0, 1]])), 3)
    np.testing.assert_allclose(found, given.positions[[0, 4, 8]])


@pytest.mark.parametrize(
    ("types", "replicas", "message"),
    [
        (["A", "A", "B"], 1, "holds 2 A, 1 B, but the run 1 A, 2 B: give the same particles"),
        (["A", "B", "B"], 1, "in another order than the model's, which have bonds"),
        (TYPES, 5, "holds 4 frames for 5 replicas"),
    ],
)
def test_starts_that_do_not_fit_are_refused(tmp_path, types, replicas, message):
    frames(types).save(tmp_path / "start.npz")
    bonded = model(bonds=[[0, 1], [1, 2]])
    with pytest.raises(ValueError, match=message):
        read_start(tmp_path / "start.npz", bonded, topology_like(bonded), replicas)


def test_a_start_and_positions_exclude_each_other(tmp_path):
    frames().save(tmp_path / "start.npz")
    config = {**RUN, "start": str(tmp_path / "start.npz")}
    with pytest.raises(ValueError, match="positions are given and start is"):
        simulate(model(), tmp_path / "run", config, positions=frames().positions[0], progress=False)


def test_a_density_between_those_of_several_systems_is_no_reason_to_warn(caplog):
    systems = [{"number_density": 1.0}, {"number_density": 3.0}]
    several = model(box=(1.0 * np.eye(3)).tolist(), number_density=1.0, data={"systems": systems})
    for edge, warned in ((1.15, False), (1.0, False), (0.9, True), (1.6, True)):
        caplog.clear()
        warn_of_conditions(several, topology_like(several, edge=edge), SimulationConfig())
        assert ("density is" in caplog.text) == warned, edge


def test_the_edges_of_a_box_may_differ(tmp_path):
    """Of the particles of the training, and of a topology without a box; it takes the place of an edge."""
    header = {"box": (2 * np.eye(3)).tolist(), "number_density": 3 / 8}
    path = simulate(model(**header), tmp_path / "run", {**RUN, "box": [1.5, 2.0, 2.5]}, progress=False)
    run = mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb"))
    np.testing.assert_allclose(run.unitcell_lengths[-1], [1.5, 2.0, 2.5], atol=1e-4)
    free = topology_like(model(), None)
    start = np.arange(3)[:, None] * [0.5, 0, 0]
    simulate(model(**header), tmp_path / "own", {**RUN, "box": [1.5, 2.0, 2.5]}, topology=free, positions=start,
             progress=False)  # fmt: skip
    run = mdtraj.load(str(tmp_path / "own" / "trajectory.dcd"), top=str(tmp_path / "own" / "topology.pdb"))
    np.testing.assert_allclose(run.unitcell_lengths[-1], [1.5, 2.0, 2.5], atol=1e-4)
    for more, message in (
        ({"edge": 2.0}, "box is given and edge is 2"),
        ({"molarity": 1.0}, "box is given and molarity"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate(model(**header), tmp_path / "two", {**RUN, "box": [2, 2, 2], **more}, progress=False)
    boxed = topology_like(model(**header), None)
    with pytest.raises(ValueError, match="but topology has a box: leave one of them out"):
        simulate(model(**header), tmp_path / "two", {**RUN, "box": [2, 2, 2]}, topology=boxed, progress=False)
    assert not (tmp_path / "two").exists()
