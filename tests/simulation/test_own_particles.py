"""Runs of particles, boxes and starts of a user's own: topology and positions, triclinic boxes, States."""

import logging

import mdtraj
import numpy as np
import openmm
import pytest
from commandline import run as command
from models import licl_denoiser, licl_frames
from openmm import app, unit

from openmm_diffusion import Denoiser, Frames, simulate
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.model.header import Header
from openmm_diffusion.simulation.states import write_state
from openmm_diffusion.systems.topologies import topology_like

RUN = dict(duration=0.02, interval=0.01, timestep=0.001, platform="Reference", backend="native")
OPTIONS = [
    "--duration",
    0.02,
    "--interval",
    0.01,
    "--timestep",
    0.001,
    "--platform",
    "Reference",
    "--backend",
    "native",
]
TRICLINIC = np.array([[2.6, 0.0, 0.0], [0.9, 2.5, 0.0], [-0.7, 0.8, 2.4]])


def ions(box=None):
    """A model of 24 Li and 24 Cl without Coulomb, trained in a box."""
    denoiser = licl_denoiser(kinds=("wall", "pair"))
    if box is None:
        return denoiser
    header = denoiser.header.model_copy(update={"box": np.asarray(box).tolist()})
    slanted = Denoiser(header)
    slanted.model.load_state_dict(denoiser.model.state_dict())
    return slanted


def beads(**changes):
    """A model without any force, of beads."""
    fields = dict(
        species=["A", "B"], particles=["B", "A", "B"], temperature=300.0, box=None, number_density=None, numbers=[0, 0],
        shortest_distances=[[None, 0.2], [0.2, 0.2]], masses=[12.0, 15.0], bonds=None,
        terms=[PairTerm(sigma=0.0, cutoff=0.5, start=0.1, spacing=0.05)],
    )  # fmt: skip
    return Denoiser(Header(**fields | changes))


def lattice(n, box):
    """Places on a lattice in a box, the same for everybody."""
    side = int(np.ceil(n ** (1 / 3)))
    return (np.argwhere(np.ones(3 * [side]))[:n] / side) @ np.asarray(box)


def six_and_six(box=None):
    """Six Li and six Cl, in turns and not grouped by type, in a box."""
    box = 2.2 * np.eye(3) if box is None else box
    return Frames(lattice(12, box)[None], [3, 17] * 6, box, 300.0)


def written(folder, frames, kind):
    """A structure file of frames, as a user has it."""
    path = folder / f"own.{kind}"
    if kind == "gro":
        frames.to_mdtraj()[0].save_gro(str(path))
    else:
        writer = app.PDBFile if kind == "pdb" else app.PDBxFile
        with open(path, "w") as file:
            writer.writeFile(frames.topology(), frames.positions[0] * unit.nanometer, file)
    return path


def loaded(path):
    return mdtraj.load(str(path), top=str(next(path.parent.glob("topology.*"))))


def vectors(path):
    return loaded(path).unitcell_vectors


@pytest.mark.parametrize("kind", ["pdb", "gro", "cif"])
def test_particles_positions_and_box_of_a_structure(tmp_path, kind):
    """Another number of ions, in another order and another box than those of the training data."""
    own = six_and_six()
    path = simulate(ions(), tmp_path / "run", {**RUN, "top": written(tmp_path, own, kind)}, progress=False)
    run = loaded(path)
    assert [atom.element.symbol for atom in run.topology.atoms] == ["Li", "Cl"] * 6
    np.testing.assert_allclose(run.unitcell_vectors, np.broadcast_to(own.box, (2, 3, 3)), atol=1e-3)
    # In 0.01 ps an ion goes no further than its speed takes it.
    moved = run.xyz[0] - own.positions[0]
    moved -= np.round(moved / 2.2) * 2.2
    assert 0 < np.abs(moved).max() < 0.01 * 6 * np.sqrt(2.494 / 6.94) + 1e-3


def test_a_topology_and_a_trajectory_beside_it(tmp_path):
    """The first frame of the trajectory, in its own box."""
    own = six_and_six()
    top, other = written(tmp_path, own, "pdb"), six_and_six(2.4 * np.eye(3))
    other.to_mdtraj().save_dcd(str(tmp_path / "start.dcd"))
    settings = {**RUN, "top": top, "start": tmp_path / "start.dcd"}
    run = loaded(simulate(ions(), tmp_path / "run", settings, progress=False))
    np.testing.assert_allclose(run.unitcell_lengths, 2.4, atol=1e-3)
    moved = run.xyz[0] - other.positions[0]
    assert np.abs(moved - np.round(moved / 2.4) * 2.4).max() < 0.05


def test_a_topology_and_positions_in_python(tmp_path):
    own = six_and_six()
    run = loaded(
        simulate(ions(), tmp_path / "run", RUN, positions=own.positions[0], progress=False, topology=own.topology())
    )
    assert [atom.element.symbol for atom in run.topology.atoms] == ["Li", "Cl"] * 6
    scattered = loaded(simulate(ions(), tmp_path / "random", RUN, progress=False, topology=own.topology()))
    assert scattered.n_atoms == 12 and np.abs(scattered.xyz[0] - run.xyz[0]).max() > 0.2


def test_from_the_command_line(tmp_path):
    own = six_and_six()
    ions().save(tmp_path / "model.safetensors")
    top, start = written(tmp_path, own, "gro"), written(tmp_path, own, "pdb")
    arguments = "simulate", tmp_path / "model.safetensors", "-o", tmp_path / "run", "--top", top, "--positions", start
    done = command(*arguments, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert loaded(tmp_path / "run" / "trajectory.dcd").n_atoms == 12
    more = [*arguments, *OPTIONS, "--duration", 0.04, "--resume"]
    done = command(*more)
    assert done.returncode == 0 and loaded(tmp_path / "run" / "trajectory.dcd").n_frames == 4, done.stderr


def test_bonds_of_a_structure_are_kept(tmp_path):
    x = np.array([[0.0, 0, 0], [0.3, 0, 0], [0.6, 0, 0]]) + 0.5
    frames = Frames(
        x[None], [0] * 3, None, 300.0, types=["B", "A", "B"], masses=[15.0, 12.0, 15.0], bonds=[[0, 1], [1, 2]]
    )
    top = written(tmp_path, frames, "pdb")
    run = loaded(simulate(beads(bonds=[[0, 1], [1, 2]]), tmp_path / "run", {**RUN, "top": top}, progress=False))
    assert [(a.index, b.index) for a, b in run.topology.bonds] == [(0, 1), (1, 2)] and run.unitcell_vectors is None


@pytest.mark.parametrize("box", [TRICLINIC, np.diag([2.6, 2.5, 2.4])])
@pytest.mark.parametrize("more, factor", [
    ({}, 1.0), ({"composition": {"Li": 30, "Cl": 30}}, (60 / 48) ** (1 / 3)), ({"molarity": 1.0}, None),
])  # fmt: skip
def test_a_box_keeps_its_shape(box, more, factor):
    """Neither other numbers of particles nor another concentration make a cube of it."""
    topology = topology_like(ions(box), **more)
    found = np.array(topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    if factor is None:  # 24 pairs at 1 mol/L
        factor = (24 / 0.602214076 / np.linalg.det(box)) ** (1 / 3)
    np.testing.assert_allclose(found, factor * box, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("more", [[], ["--molarity", 2.0], ["--top"], ["--top-gro"]])
def test_a_triclinic_box_from_the_command_line(tmp_path, more):
    """Its vectors as the trajectory has them: those of the model, at another concentration, and of a file."""
    cubic = more[:1] in (["--top"], ["--top-gro"])
    (ions() if cubic else ions(TRICLINIC)).save(tmp_path / "model.safetensors")
    expected = TRICLINIC
    if cubic:
        more = ["--top", written(tmp_path, six_and_six(TRICLINIC), "gro" if more == ["--top-gro"] else "pdb")]
    elif more:
        expected = (24 / (2.0 * 0.602214076) / np.linalg.det(TRICLINIC)) ** (1 / 3) * TRICLINIC
    done = command("simulate", tmp_path / "model.safetensors", "-o", tmp_path / "run", *more, *OPTIONS)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        vectors(tmp_path / "run" / "trajectory.dcd"), np.broadcast_to(expected, (2, 3, 3)), atol=2e-3
    )


def test_an_edge_makes_a_cube_of_a_slanted_box_and_says_so(tmp_path, caplog):
    simulate(ions(TRICLINIC), tmp_path / "run", {**RUN, "edge": 2.5}, progress=False)
    assert "edge makes a cube of the box, which is none in the training data" in caplog.text


def state_of(frames, velocities=True, box=None):
    """A State of OpenMM with the positions of frames."""
    system = openmm.System()
    for _ in frames.types:
        system.addParticle(10.0)
    system.setDefaultPeriodicBoxVectors(*(np.asarray(frames.box) if box is None else box))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(frames.positions[0])
    context.setVelocities(np.arange(3 * len(frames.types)).reshape(-1, 3) / 100)
    context.setTime(7.5)
    return context.getState(positions=True, velocities=velocities)


def test_a_state_gives_positions_velocities_and_box(tmp_path, caplog):
    frames, box = licl_frames(), 2.6 * np.eye(3)
    write_state(tmp_path / "state.xml", state_of(frames, box=box))
    settings = {**RUN, "state": tmp_path / "state.xml", "friction": 1e-6, "duration": 0.001, "interval": 0.001}
    with caplog.at_level(logging.INFO):
        run = loaded(simulate(ions(), tmp_path / "run", settings, progress=False))
    assert "positions and velocities are those of" in caplog.text and "at 7.5 ps there; time begins anew" in caplog.text
    np.testing.assert_allclose(run.unitcell_lengths, 2.6, atol=1e-4)
    moved = run.xyz[0] - frames.positions[0]
    moved -= np.round(moved / 2.6) * 2.6
    given = np.arange(144).reshape(-1, 3) / 100
    # One step of 0.001 ps: each ion goes on with its velocity; forces of 1,000 kJ/mol/nm add 1e-4 nm/step at most.
    assert np.abs(moved - 0.001 * given).max() < 3e-4 and np.abs(moved).max() > 1e-3
    done = (tmp_path / "run" / "state.csv").read_text().splitlines()[1].split(",")
    assert float(done[1]) == pytest.approx(0.001), "time begins anew"


def test_a_state_without_velocities_gets_thermal_ones(tmp_path, caplog):
    write_state(tmp_path / "state.xml", state_of(licl_frames(), velocities=False))
    with caplog.at_level(logging.INFO):
        simulate(ions(), tmp_path / "run", {**RUN, "state": tmp_path / "state.xml"}, progress=False)
    assert "positions are those of" in caplog.text


def test_a_run_begins_at_the_checkpoint_of_another_from_the_command_line(tmp_path):
    """Of several replicas too."""
    ions().save(tmp_path / "model.safetensors")
    options = [*OPTIONS[:-1], "python", "--replicas", 2]
    first = command("simulate", tmp_path / "model.safetensors", "-o", tmp_path / "one", *options)
    assert first.returncode == 0, first.stderr
    state = tmp_path / "one" / "checkpoint.xml"
    done = command("simulate", tmp_path / "model.safetensors", "-o", tmp_path / "two", "--state", state, *options)
    assert done.returncode == 0, done.stderr
    for number in range(2):
        ends, goes_on = (loaded(tmp_path / run / f"trajectory-0{number}.dcd").xyz for run in ("one", "two"))
        moved = goes_on[0] - ends[-1]
        assert np.abs(moved - np.round(moved / 2.526) * 2.526).max() < 0.05


class Trap:
    """What a hostile file would run when it is read."""

    def __reduce__(self):
        return open, ("trapped", "w")

    def __call__(self, state):
        return 0.0, None


def test_a_system_in_place_of_a_state_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system = openmm.System()
    system.addForce(openmm.PythonForce(Trap()))
    (tmp_path / "state.xml").write_text(openmm.XmlSerializer.serialize(system))
    with pytest.raises(ValueError, match=r"state\.xml holds a System, no State: give a State, as saveState writes it"):
        simulate(ions(), tmp_path / "run", {**RUN, "state": tmp_path / "state.xml"}, progress=False)
    assert not (tmp_path / "trapped").exists() and not (tmp_path / "run").exists()


def refused(tmp_path, message, model=None, positions=None, topology=None, **settings):
    with pytest.raises((ValueError, OSError, TypeError), match=message) as caught:
        simulate(model or ions(), tmp_path / "run", {**RUN, **settings}, positions=positions, progress=False,
                 topology=topology)  # fmt: skip
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "run").exists()


def test_two_that_say_the_same_are_refused(tmp_path):
    own = six_and_six()
    top, x = written(tmp_path, own, "pdb"), own.positions[0]
    refused(tmp_path, r"start is .* and state is s\.xml: leave one of them out", start=top, state="s.xml")
    refused(tmp_path, "positions are given and state is", positions=x, state="s.xml")
    refused(tmp_path, "topology is given and top is", topology=own.topology(), top=top)
    refused(tmp_path, r"top is .* and composition is \{'Li': 3, 'Cl': 3\}", top=top, composition={"Li": 3, "Cl": 3})
    refused(tmp_path, "topology is given and molarity is 2.0", topology=own.topology(), molarity=2.0)
    refused(tmp_path, "edge is 3 nm, but top .* has a box: leave edge out", top=top, edge=3.0)


def test_what_does_not_fit_is_refused(tmp_path):
    own = six_and_six()
    top = written(tmp_path, own, "pdb")
    sodium = Frames(own.positions, [11, 17] * 6, own.box, 300.0)
    (tmp_path / "na").mkdir()
    refused(tmp_path, "Na", top=written(tmp_path / "na", sodium, "pdb"))
    open_box = Frames(own.positions, own.species, None, 300.0)
    (tmp_path / "open").mkdir()
    without = written(tmp_path / "open", open_box, "pdb")
    refused(tmp_path, "has no box, but the model was trained in one: give edge", top=without)
    refused(tmp_path, "topology has no box, but the model was trained in one", topology=open_box.topology())
    small = six_and_six(1.5 * np.eye(3))
    (tmp_path / "small").mkdir()
    refused(tmp_path, "over half the box", top=written(tmp_path / "small", small, "gro"))
    fewer = Frames(own.positions[:, :10], [3, 17] * 5, own.box, 300.0)
    fewer.save(tmp_path / "fewer.npz")
    refused(
        tmp_path, "start .*fewer.npz holds 5 Cl, 5 Li, but the run 6 Cl, 6 Li", top=top, start=tmp_path / "fewer.npz"
    )
    refused(tmp_path, r"positions have shape \(48, 3\): give \(12, 3\)", top=top, positions=licl_frames().positions[0])
    refused(tmp_path, "nowhere.pdb", top="nowhere.pdb")
    refused(tmp_path, r"state is nowhere\.xml, but there is no such file", state="nowhere.xml")
    write_state(tmp_path / "state.xml", state_of(own))
    refused(tmp_path, "state .*state.xml holds 12 particles, but the run 48", state=tmp_path / "state.xml")
    (tmp_path / "cut.xml").write_text((tmp_path / "state.xml").read_text()[:200])
    refused(tmp_path, "cut.xml is damaged, or has no positions", state=tmp_path / "cut.xml")
    bonded = own.topology()
    bonded.addBond(*list(bonded.atoms())[:2])
    refused(tmp_path, "positions is missing: the topology's particles have bonds", topology=bonded)
    refused(tmp_path, "topology is an object of type int, not openmm.app.Topology", topology=3)


def test_an_edge_gives_a_box_to_a_structure_without_one(tmp_path):
    own = six_and_six()
    top = written(tmp_path, Frames(own.positions, own.species, None, 300.0), "pdb")
    run = loaded(simulate(ions(), tmp_path / "run", {**RUN, "top": top, "edge": 2.3}, progress=False))
    np.testing.assert_allclose(run.unitcell_lengths, 2.3, atol=1e-3)
