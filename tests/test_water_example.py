"""The example of one-bead water: its configuration serves any liquid, and its steps run on a small scale."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas
import pytest
import yaml

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.simulation.sampling import SamplingConfig
from openmm_diffusion.systems.composition import GenerateConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "water"
spec = importlib.util.spec_from_file_location("water_example", EXAMPLE / "water.py")
water = importlib.util.module_from_spec(spec)
spec.loader.exec_module(water)

EDGE = 1.864


def liquid(seed=0, replicas=8, frames=2):
    """Beads that shake about the places of a lattice at the density of water, 216 of them."""
    rng = np.random.default_rng(seed)
    places = (np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 3) + 0.5) * EDGE / 6
    x = places + rng.normal(0, 0.012, (replicas * frames, 216, 3))
    replica = np.repeat(np.arange(replicas), frames)
    return Frames(
        x, np.zeros(216, int), EDGE * np.eye(3), 298, replica=replica, types=["OW"] * 216, masses=[18.015] * 216
    )


def test_the_configuration_names_no_type_and_is_one_solve_of_clean_frames():
    config = read_config(EXAMPLE / "water.yaml")
    given = yaml.safe_load((EXAMPLE / "water.yaml").read_text())
    assert set(given) == {"data", "pair", "manybody", "network"} and config.network is None
    assert set(given["data"]) == {"frames", "test_fraction", "validation_fraction"}
    assert config.pair.sigma == config.manybody.sigma == 0
    assert config.pair.cutoff <= 0.85 and config.manybody.cutoff <= 0.85
    # Of the eight runs of generate.yaml, five with 500 frames train.
    generated = GenerateConfig.load(EXAMPLE / "generate.yaml")
    assert 200 <= generated.n_waters <= 500 and config.pair.cutoff < generated.edge / 2
    replicas = np.repeat(np.arange(generated.runs), generated.frames)
    frames = Frames(np.zeros((len(replicas), 2, 3)) + [[0], [1]], ["O"] * 2, None, 298, replica=replicas)
    assert len(config.data.divide(frames)[0]) == 500


@pytest.mark.slow
def test_its_steps_run_and_are_not_run_twice(tmp_path, monkeypatch, capsys):
    """From frames to tables and picture: short runs, and no compiling."""
    monkeypatch.setattr(water, "SAMPLING", SamplingConfig(runs=2, duration=0.2, discard=0.1, interval=0.05))
    monkeypatch.setattr(water, "BREATHING", SamplingConfig(runs=2, duration=0.6, discard=0, interval=0.05))
    monkeypatch.setattr(water, "BACKEND", "python")
    liquid().save(tmp_path / "beads.npz")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "frames.npz").touch()  # as if they had been generated
    for _ in range(2):
        water.main([str(tmp_path), "--results", str(tmp_path / "results")])
        printed = capsys.readouterr().out
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(kept) == len(water.MODELS) and "pair + many-body" in printed
    kinds = [term.kind for term in Denoiser.load(tmp_path / "pair-many-body/model/model.safetensors").header.learnt]
    assert kinds == ["pair", "manybody"]
    results = tmp_path / "results"
    assert (results / "water.png").stat().st_size > 20_000
    structure = pandas.read_csv(results / "structure.csv")
    assert len(structure) == 4 * (1 + len(water.MODELS)) and (structure["rmsd"] > 0).all()
    assert set(structure["model"]) == {"data, split halves", *water.MODELS}
    for name, column in (("rdf", "r_nm"), ("angles", "cosine")):
        assert list(pandas.read_csv(results / f"{name}.csv"))[:3] == [column, "data", "data, error"]
    pressure = pandas.read_csv(results / "pressure.csv").set_index("model")
    assert pressure.loc["data", "density_g/cm3"] == pytest.approx(0.997, abs=0.003)
    assert pressure.loc[list(water.MODELS), "pressure_bar"].notna().all()


def test_the_pressure_is_minus_the_slope_of_the_energy_and_a_gas_has_that_of_its_number():
    """Beads that do not feel each other have N kT / V: 216 of them in the box of water, 1373 bar at 298 K."""

    class Gas:
        def energy(self, x, boxes):
            return np.zeros(len(x))

    bar, error = water.pressure(Gas(), liquid())
    # k T / V of 216 particles: 216 * 1.380649e-23 * 298 / 1.864e-9^3 Pa.
    assert bar == pytest.approx(216 * 1.380649e-23 * 298 / (EDGE * 1e-9) ** 3 * 1e-5, rel=1e-6) and error < 1e-6
