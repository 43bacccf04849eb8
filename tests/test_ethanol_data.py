"""The generator of ethanol's frames: geometry, units, forces, temperatures, and what is not made twice."""

import importlib.util
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pandas
import pytest
from scipy import constants

from openmm_diffusion import Frames
from openmm_diffusion.units import BOHR, HARTREE

ROOT = Path(__file__).parents[1]
#: Two runs of half a picosecond, some seconds.
SHORT = {"runs": 2, "duration": 0.5, "discard": 0.3, "interval": 0.05}


@pytest.fixture(scope="module")
def ethanol():
    spec = importlib.util.spec_from_file_location("ethanol_data", ROOT / "benchmarks" / "suite" / "ethanol.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def quantum(ethanol):
    pytest.importorskip("tblite", reason="tblite is not installed: forces of GFN2-xTB are not checked")
    return ethanol.Quantum()


def test_runs_begin_in_the_three_conformers(ethanol):
    x = np.array([ethanol.conformer(k) for k in range(3)])
    whole = mdtraj.Trajectory(x.astype(np.float32), None)
    angles = np.degrees(mdtraj.compute_dihedrals(whole, [ethanol.DIHEDRAL], periodic=False)[:, 0])
    assert sorted(np.round(np.abs(angles)).tolist()) == [60, 60, 180] and angles[1] == pytest.approx(
        -angles[2], abs=0.1
    )
    lengths = np.linalg.norm(x[:, ethanol.BONDS[:, 0]] - x[:, ethanol.BONDS[:, 1]], axis=-1)
    expected = [0.152, 0.142, 0.097, *5 * [0.109]]
    np.testing.assert_allclose(lengths, np.tile(expected, (3, 1)), rtol=1e-12)
    # No two atoms lie on each other: methyl is staggered.
    i, j = np.triu_indices(9, 1)
    assert np.linalg.norm(x[:, i] - x[:, j], axis=-1).min() > 0.09


def test_units_are_those_of_codata():
    """The tables of 2018 and 2022 differ by less."""
    hartree = constants.value("Hartree energy") * constants.N_A / 1000
    assert hartree == pytest.approx(HARTREE, rel=1e-10)
    assert constants.value("Bohr radius") * 1e9 == pytest.approx(BOHR, rel=1e-9)


def test_forces_are_minus_the_gradient_of_the_energy(ethanol, quantum):
    """By central differences of 1e-4 nm, whose own error is some 1e-5 of the force."""
    x = ethanol.conformer(1) + 0.005 * np.random.default_rng(1).normal(size=(9, 3))
    forces = quantum.evaluate(x)[1]
    step, found = 1e-4, np.zeros((9, 3))
    for place in np.ndindex(9, 3):
        shift = np.zeros((9, 3))
        shift[place] = step
        found[place] = -(quantum.evaluate(x + shift)[0] - quantum.evaluate(x - shift)[0]) / (2 * step)
    size = np.sqrt(np.mean(forces**2))
    assert size > 500  # kJ/mol/nm: bonds are stretched
    np.testing.assert_allclose(found, forces, atol=1e-3 * size)
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-3 * size)


def test_energies_are_those_of_the_method(ethanol, quantum):
    """Minus 11.39 Hartree, as for every ethanol of GFN2-xTB to 0.05 Hartree; gauche and trans within 10 kJ/mol."""
    energies = [quantum.evaluate(ethanol.conformer(k))[0] for k in range(3)]
    assert energies[0] / HARTREE == pytest.approx(-11.39, abs=0.05)
    assert np.ptp(energies) < 10 and energies[1] == pytest.approx(energies[2], abs=0.01)


@pytest.mark.slow
def test_runs_have_the_temperature_that_was_asked_for(ethanol, quantum, tmp_path):
    """By velocities and by positions, within three standard errors of the runs, and nobody is colder by a tenth."""
    frames = ethanol.frames(tmp_path, 400.0, runs=4, duration=3.0, discard=1.0, interval=0.02)
    table = pandas.read_csv(tmp_path / "ethanol-400K.csv")
    assert len(frames) == 400 and frames.temperature == 400
    for column in table.columns[1:]:
        error = table[column].std() / 2
        # 400 correlated frames know a temperature to a few per cent.
        assert error < 40 and abs(table[column].mean() - 400) < 3 * max(error, 10), column


@pytest.mark.slow
def test_frames_are_read_and_a_run_is_made_once(ethanol, quantum, tmp_path, capsys):
    made = ethanol.frames(tmp_path, 300.0, **SHORT)
    assert capsys.readouterr().out.count("4 frames") == 2
    read = Frames.load(tmp_path / "ethanol-300K.npz")
    assert read.digest() == made.digest() and read.replica.tolist() == [0] * 4 + [1] * 4
    assert read.types.tolist() == ethanol.TYPES and read.symbols == ["C", "C", "O", *6 * ["H"]]
    assert sorted(read.bonds.tolist()) == sorted(ethanol.BONDS.tolist())
    # The forces are those of the positions, about the centre of mass or not.
    energy, forces = quantum.evaluate(read.positions[3])
    np.testing.assert_allclose(read.forces[3], forces, atol=2.0)
    # A run that is lost is made again as it was, and no other.
    lost = tmp_path / "ethanol-300K-run-01.npz"
    lost.unlink()
    again = ethanol.frames(tmp_path, 300.0, **SHORT)
    assert capsys.readouterr().out.count("frames") == 1
    np.testing.assert_allclose(again.positions, made.positions, atol=1e-3)
    with pytest.raises(ValueError, match="interval.*name another directory"):
        ethanol.frames(tmp_path, 300.0, **SHORT | {"interval": 0.1})


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--temperature", "-3"], "temperature is -3 K"),
        (["--discard", "30"], "discard is 30 ps of 14 ps"),
        (["--runs", "0"], "runs is 0"),
    ],
)
def test_wrong_numbers_are_refused_and_nothing_is_written(ethanol, arguments, told, tmp_path):
    with pytest.raises(SystemExit, match=told):
        ethanol.main([str(tmp_path / "new"), *arguments])
    assert not (tmp_path / "new").exists()


def test_without_tblite_one_sentence_says_what_to_install(ethanol, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite", None)
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(SystemExit, match="^error: .*tblite, which is not installed: pip install tblite$"):
        ethanol.main([str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()
