"""All-atom generation: composition, placement, forces, and what survives a kill."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import openmm
import pytest
import yaml
from openmm import unit
from pydantic import ValidationError

from openmm_diffusion import rundirectory
from openmm_diffusion.data.frames import Frames
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.systems.solution import GenerateConfig, build_system, place_molecules
from openmm_diffusion.units import MOLAR

pytestmark = pytest.mark.slow

SMALL = {
    "pairs": 2,
    "edge": 1.5,
    "cutoff": 0.7,
    "runs": 1,
    "frames": 4,
    "discard": 0.02,
    "interval": 0.02,
    "chunk": 2,
    "platform": "CPU",
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")


def duplicates(frames):
    return len(frames) - len(np.unique(frames.positions.reshape(len(frames), -1), axis=0))


def density(config):
    """g/cm^3 of the atoms of a configuration's System in its box."""
    _, system = build_system(config)
    masses = [system.getParticleMass(index).value_in_unit(unit.dalton) for index in range(system.getNumParticles())]
    mass = sum(masses) * unit.gram / unit.mole / unit.AVOGADRO_CONSTANT_NA
    return (mass / (config.edge * unit.nanometer) ** 3).value_in_unit(unit.gram / unit.centimeter**3)


def test_default_density():
    # 2.47 mol/L is 2.60 mol/kg; advancedthermo.com/electrolytes/density_LiCl.html, 25 C: 1.05213 at 2.5 mol/kg (2.378
    # mol/L), 1.06193 at 3.0 mol/kg (2.826 mol/L), in between linear in the molarity.
    config = GenerateConfig()
    expected = np.interp(config.true_molarity, [2.3783, 2.8263], [1.05213, 1.06193])
    assert density(config) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize(
    "anion, molality, expected",
    # g/cm^3 at 25 C, from the pages density_LiCl, density_LiBr and density_LiI of the same site.
    [("Cl", 0.5, 1.00910), ("Cl", 3.0, 1.06193), ("Br", 3.0, 1.16608), ("I", 3.0, 1.25914)],
)
def test_density_of_other_salts(anion, molality, expected):
    molar_mass = 6.94 + {"Cl": 35.45, "Br": 79.904, "I": 126.904}[anion]
    molarity = molality * expected / (1 + 1e-3 * molality * molar_mass)
    config = GenerateConfig(anion=anion, pairs=40, edge=(40 / (molarity * MOLAR)) ** (1 / 3))
    assert density(config) == pytest.approx(expected, rel=0.006)


def test_placement():
    config = GenerateConfig()
    topology, system = build_system(config)
    first, second = (place_molecules(config, np.random.default_rng([1, run])) for run in (0, 1))
    assert first.shape == (system.getNumParticles(), 3) == (topology.getNumAtoms(), 3)
    assert np.linalg.norm(first[:48] - second[:48], axis=-1).mean() > 0.5
    # Sites of ions and oxygens keep their distance, across the boundary too.
    heavy = np.concatenate([first[:48], first[48::3]])
    vectors = heavy[:, None] - heavy
    vectors -= config.edge * np.round(vectors / config.edge)
    distances = np.linalg.norm(vectors, axis=-1)[np.triu_indices(len(heavy), 1)]
    assert distances.min() > 0.2
    # The waters have the geometry that the force field constrains them to.
    for index in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(index)
        assert np.linalg.norm(first[i] - first[j]) == pytest.approx(length.value_in_unit(unit.nanometer), rel=1e-5)


def test_masses():
    config = GenerateConfig(**SMALL)
    _, system = build_system(config)
    masses = [system.getParticleMass(index).value_in_unit(unit.dalton) for index in range(system.getNumParticles())]
    assert masses[4:7] == pytest.approx([18.0153 - 6, 3, 3], abs=1e-3)
    assert masses[0] == pytest.approx(6.94)


def test_frames(tmp_path):
    seen = []
    config = GenerateConfig(**SMALL | {"runs": 2})
    frames = generate(config, tmp_path / "new", progress=lambda *what: seen.append(what))
    assert frames.positions.shape == frames.forces.shape == (8, 4, 3)
    assert frames.species.tolist() == [3, 3, 17, 17]
    assert frames.replica.tolist() == [0] * 4 + [1] * 4
    assert frames.temperature == 300
    np.testing.assert_array_equal(frames.box, 1.5 * np.eye(3))
    assert (frames.positions >= 0).all() and (frames.positions <= np.float32(1.5)).all()
    assert np.isfinite(frames.forces).all()
    assert duplicates(frames) == 0
    assert np.linalg.norm(frames.positions[0] - frames.positions[4], axis=-1).max() > 0.2
    assert [what[:2] for what in seen] == [(run, count) for run in (0, 1) for count in (0, 2, 4)]
    assert all(what[2] > 0 for what in seen)
    saved = Frames.load(tmp_path / "new" / "frames.npz")
    np.testing.assert_array_equal(saved.positions, frames.positions)
    np.testing.assert_array_equal(saved.replica, frames.replica)
    assert GenerateConfig.load(tmp_path / "new" / "config.yaml") == config


def test_forces_are_minus_the_gradient(tmp_path):
    config = GenerateConfig(**SMALL | {"frames": 1, "chunk": 1})
    frames = generate(config, tmp_path)
    # The state saved after the only chunk is the configuration of its last frame.
    state = openmm.XmlSerializer.deserialize((tmp_path / "run-00" / "state.xml").read_text())
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    wrapped = positions[:4] - 1.5 * np.floor(positions[:4] / 1.5)
    np.testing.assert_allclose(frames.positions[0], wrapped, atol=1e-6)

    _, system = build_system(config)
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)

    def energy(moved):
        context.setPositions(moved)
        return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)

    # Energies jump where an atom comes within the cutoff: of four slopes around a place, one at most has a jump in it.
    steps = 1e-5 * np.arange(-2, 3)
    for ion in (0, 3):
        gradient = np.empty(3)
        for axis in range(3):
            energies = []
            for step in steps:
                moved = positions.copy()
                moved[ion, axis] += step
                energies.append(energy(moved))
            gradient[axis] = np.median(np.diff(energies) / np.diff(steps))
        # The CPU platform computes in single precision.
        np.testing.assert_allclose(frames.forces[0, ion], -gradient, atol=1e-3 * np.linalg.norm(gradient))


def test_sigkill_and_resume(tmp_path):
    folder = tmp_path / "killed"
    config = GenerateConfig(**SMALL | {"frames": 400})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump()))
    script = (
        "import sys; from openmm_diffusion.simulation.generation import generate; generate(sys.argv[1], sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "config.yaml", folder])
    deadline = time.monotonic() + 120
    while not (folder / "run-00" / "frames-0000006.npz").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    state = openmm.XmlSerializer.deserialize((folder / "run-00" / "state.xml").read_text())
    counted = state.getStepCount() // 5 - 1
    assert 6 <= counted < 400
    before = [np.load(folder / "run-00" / f"frames-{first:07d}.npz") for first in range(0, counted, 2)]
    positions = np.concatenate([chunk["positions"] for chunk in before])
    forces = np.concatenate([chunk["forces"] for chunk in before])

    frames = generate(config, folder, resume=True)
    assert len(frames) == 400
    np.testing.assert_array_equal(frames.positions[:counted], positions)
    np.testing.assert_array_equal(frames.forces[:counted], forces)
    assert duplicates(frames) == 0
    # A finished directory resumes to the same frames.
    np.testing.assert_array_equal(generate(config, folder, resume=True).positions, frames.positions)


@pytest.mark.parametrize("fatal", range(7))
def test_death_before_any_write(tmp_path, monkeypatch, fatal):
    """The writes are: config, first state, state after discard, chunk, state, chunk, state."""
    config = GenerateConfig(**SMALL | {"frames": 2, "chunk": 1})
    write, written = rundirectory.write_whole, []

    def dying(path, content):
        if len(written) == fatal:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(rundirectory, "write_whole", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(config, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    first = tmp_path / "run-00" / "frames-0000000.npz"
    kept = np.load(first)["positions"] if fatal > 4 else None
    frames = generate(config, tmp_path, resume=True)
    assert len(frames) == 2 and duplicates(frames) == 0
    if kept is not None:
        np.testing.assert_array_equal(frames.positions[:1], kept)


def test_chunks_beyond_the_state_are_dropped(tmp_path):
    config = GenerateConfig(**SMALL | {"frames": 2})
    run = tmp_path / "run-00"
    first = generate(config, tmp_path)
    shutil.copy(run / "state.xml", tmp_path / "state.xml")
    longer = config.model_copy(update={"frames": 6})
    generate(longer, tmp_path, resume=True)
    shutil.move(tmp_path / "state.xml", run / "state.xml")
    (run / "frames-0000006.npz.tmp").write_bytes(b"half a fi")
    # Another chunk length, so that no stale chunk is simply overwritten.
    frames = generate(longer.model_copy(update={"chunk": 3}), tmp_path, resume=True)
    assert len(frames) == 6 and duplicates(frames) == 0
    np.testing.assert_array_equal(frames.positions[:2], first.positions)
    assert not list(run.glob("*.tmp"))

    (run / "frames-0000002.npz").unlink()
    with pytest.raises(ValueError, match="lacks the chunk of frame 2 of 6: delete"):
        generate(longer, tmp_path, resume=True)


def test_resume_is_asked_for(tmp_path):
    config = GenerateConfig(**SMALL)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump()))
    with pytest.raises(FileExistsError, match=r"not empty: continue it with resume=True \(--resume\)"):
        generate(config, tmp_path)
    for key, value in (("temperature", 310.0), ("frames", 3), ("seed", 2), ("waters", 90)):
        with pytest.raises(ValueError, match=f"^{key} is {value}, but .* {key} "):
            generate(config.model_copy(update={key: value}), tmp_path, resume=True)
    assert GenerateConfig.load(tmp_path / "config.yaml") == config


def test_molarity():
    config = GenerateConfig(molarity=2.4)
    assert config.pairs == 23
    assert config.true_molarity == pytest.approx(23 / (0.602214076 * 2.526**3))
    assert GenerateConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    "given, message",
    [
        ({"cutoff": 1.3}, "cutoff is 1.3 nm, over half the box"),
        ({"pairs": 24, "molarity": 2.4}, "give only one of pairs and molarity"),
        ({"molarity": 0.01}, "less than one pair in a box of 2.526 nm: use a larger edge"),
        ({"pairs": 600}, "no room for water"),
        ({"edge": -2}, "edge is -2 nm: give a positive"),
        ({"temperature": float("nan")}, "Input should be a finite number"),
        ({"temperature": 350}, "from 273 to 323 K: give waters"),
        ({"timestep": 4}, "timestep is 4 ps, too long"),
        ({"interval": 0.002}, "interval is 0.002 ps, no whole number of timesteps of 0.004 ps"),
        ({"discard": -1}, "discard is -1 ps: give 0 ps or more"),
        ({"hydrogen_mass": 8}, "hydrogen_mass is 8 amu: give 1 to 5 amu"),
        ({"cation": "Mg"}, "'Li', 'Na', 'K', 'Rb' or 'Cs'"),
        ({"tempreature": 300}, "tempreature"),
        ({"runs": 0}, "runs"),
    ],
)
def test_wrong_values_are_named(given, message):
    with pytest.raises(ValidationError) as error:
        GenerateConfig(**given)
    assert message in str(error.value)


def test_unknown_platform(tmp_path):
    with pytest.raises(ValueError, match="platform is 'Abacus', but this OpenMM has Reference"):
        generate(SMALL | {"platform": "Abacus"}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resume", [False, True])
def test_a_lock_that_was_left_keeps_nobody_out(tmp_path, resume):
    """A process was killed between its lock and its first file."""
    (tmp_path / ".lock").write_text("process 1 on a machine\n")
    (tmp_path / ".config.yaml.1.tmp").write_text("tempera")
    assert len(generate(GenerateConfig(**SMALL), tmp_path, resume=resume)) == SMALL["frames"]
    assert not list(tmp_path.glob(".*"))


def test_resume_needs_something_to_resume(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds no config.yaml to resume from"):
        generate(SMALL, tmp_path, resume=True)


@pytest.mark.parametrize("cation, anion", [("Na", "F"), ("K", "Br"), ("Rb", "I"), ("Cs", "Cl")])
def test_other_ions(cation, anion):
    _, system = build_system(GenerateConfig(cation=cation, anion=anion, pairs=2, edge=1.9))
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    charges = [nonbonded.getParticleParameters(index)[0].value_in_unit(unit.elementary_charge) for index in range(5)]
    assert charges == pytest.approx([1, 1, -1, -1, -0.8476])
