"""The files of examples/generate and examples/water build what they say, and run."""

from pathlib import Path

import numpy as np
import openmm
import pytest
import yaml

from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.simulation.kept import Kept
from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.systems.solution import build_system, place_molecules

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [
    *sorted((EXAMPLES / "generate").glob("*.yaml")),
    EXAMPLES / "licl" / "umbrella.yaml",
    EXAMPLES / "water" / "generate.yaml",
]
KEPT = {
    "mixture": {"Li": 12, "Na": 12, "Cl": 24},
    "magnesium": {"Mg": 12, "Cl": 24},
    "sulfate": {"S": 10, "O": 40, "Na": 20},
    "acetamide": {"CH3": 1, "C": 2, "O": 1, "N": 1},
    "implicit": {"CH3": 1, "C": 2, "O": 1, "N": 1, "H": 1, "H1": 2, "H2": 2, "H3": 2},
    "umbrella": {"Li": 1, "Cl": 1},
    "generate": {"O": 216, "H": 432},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_keeps_what_it_says(path):
    config = GenerateConfig.load(path)
    topology, system = build_system(config)
    kept = Kept(config, topology, system)
    names, counts = np.unique(kept.types, return_counts=True)
    assert dict(zip(names, counts)) == KEPT[path.stem]
    assert kept.labelled == (path.stem != "generate")
    assert len(place_molecules(config, np.random.default_rng(0))) == system.getNumParticles()


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES[:-2], ids=lambda path: path.stem)
def test_an_example_runs_and_stays_at_its_temperature(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    config = GenerateConfig.load(path).model_copy(
        update={"runs": 1, "frames": 2, "interval": 0.2, "discard": 1.0, "platform": "CPU", "friction": 10.0}
    )
    frames = generate(config, tmp_path)
    assert len(frames) == 2 and frames.labelled.all()
    _, system = build_system(config)
    state = openmm.XmlSerializer.deserialize((tmp_path / "run-00" / "state.xml").read_text())
    context = openmm.Context(
        system, openmm.LangevinMiddleIntegrator(300, 1, 0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(state.getPositions())
    context.setVelocities(state.getVelocities())
    kinetic = context.getState(energy=True).getKineticEnergy()._value
    free = 3 * system.getNumParticles() - system.getNumConstraints()
    found, error = 2 * kinetic / free / 8.31446e-3, 300 * np.sqrt(2 / free)
    assert abs(found - 300) < 4 * error + 6  # the start's potential energy takes picoseconds to go
    assert yaml.safe_load(path.read_text()).keys() <= GenerateConfig.model_fields.keys()
