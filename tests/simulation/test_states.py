"""Where a run goes on from: a State, and no program that somebody put in its place."""

import openmm
import pytest

from openmm_diffusion.simulation.states import noise_seed, read_state, write_state


class Trap:
    """What a hostile file would run when it is read."""

    def __reduce__(self):
        return open, ("trapped", "w")

    def __call__(self, state):
        return 0.0, None


@pytest.fixture
def context():
    system = openmm.System()
    for _ in range(3):
        system.addParticle(1.0)
    made = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    made.setPositions([[0, 0, 0], [1, 0, 0], [0, 1, 0.123456789]])
    return made


def test_a_state_comes_back_as_it_was(context, tmp_path):
    state = context.getState(positions=True, velocities=True)
    write_state(tmp_path / "state.xml", state)
    again = read_state(tmp_path / "state.xml")
    assert (again.getPositions(asNumpy=True) == state.getPositions(asNumpy=True)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["state.xml"]


def test_a_system_in_place_of_a_state_is_not_even_read(tmp_path, monkeypatch):
    """A PythonForce is unpickled when its System is."""
    monkeypatch.chdir(tmp_path)
    system = openmm.System()
    system.addForce(openmm.PythonForce(Trap()))
    for text in (
        openmm.XmlSerializer.serialize(system),
        openmm.XmlSerializer.serialize(system).replace("<System", "<State", 1).replace("</System>", "</State>"),
        openmm.XmlSerializer.serialize(system.getForce(0)),
    ):
        (tmp_path / "state.xml").write_text(text)
        with pytest.raises(ValueError, match=r"state\.xml holds a (System|PythonForce), no State: it is not of"):
            read_state(tmp_path / "state.xml")
    assert not (tmp_path / "trapped").exists()


def test_only_what_was_looked_at_is_read(context, tmp_path, monkeypatch):
    """OpenMM takes the first element that it finds, in an instruction of the head too, which no State is in."""
    monkeypatch.chdir(tmp_path)
    system = openmm.System()
    system.addForce(openmm.PythonForce(Trap()))
    body = openmm.XmlSerializer.serialize(system).partition("?>")[2]
    state = openmm.XmlSerializer.serialize(context.getState(positions=True)).partition("?>")[2]
    for head in (f"<?a >{body}?>", f"<!--{body.replace('--', '')}-->"):
        (tmp_path / "state.xml").write_text(f'<?xml version="1.0" ?>\n{head}\n{state}')
        assert len(read_state(tmp_path / "state.xml").getPositions()) == 3
    assert not (tmp_path / "trapped").exists()


def test_what_goes_on_has_random_numbers_of_its_own():
    assert noise_seed(5, 0) == 5
    seeds = [noise_seed(seed, done) for seed in (0, 5, 2**31 - 1) for done in (0, 100, 2**31)]
    assert len(set(seeds)) == len(seeds) and all(0 < seed < 2**31 for seed in seeds)
    assert seeds == [noise_seed(seed, done) for seed in (0, 5, 2**31 - 1) for done in (0, 100, 2**31)]


@pytest.mark.parametrize("kept", [0, 1, 30, 200, -30])
def test_a_file_that_was_cut_is_told_as_damaged(context, tmp_path, kept):
    write_state(tmp_path / "state.xml", context.getState(positions=True, velocities=True))
    text = (tmp_path / "state.xml").read_text()
    (tmp_path / "state.xml").write_text(text[:kept])
    with pytest.raises(ValueError, match=r"state\.xml is damaged: copy a whole one back, or delete the direct"):
        read_state(tmp_path / "state.xml")


def test_bytes_that_are_no_text_are_damage_too(context, tmp_path):
    write_state(tmp_path / "state.xml", context.getState(positions=True))
    data = bytearray((tmp_path / "state.xml").read_bytes())
    data[len(data) // 2] = 0xFF
    (tmp_path / "state.xml").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        read_state(tmp_path / "state.xml")
