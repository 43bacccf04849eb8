"""Models that are shipped: they load by name, run in OpenMM, and have the errors that their cards say."""

import re
from pathlib import Path

import numpy as np
import openmm
import pytest

from openmm_diffusion import Denoiser, DiffusionForce, Frames
from openmm_diffusion.evaluation.report import kept_apart
from openmm_diffusion.model.file import MODELS
from openmm_diffusion.systems import random_positions, training_topology
from openmm_diffusion.units import thermal_energy

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in MODELS.glob("*.safetensors"))
CARDS = (ROOT / "docs" / "reference" / "models.md").read_text()
ALANINE = ROOT.parent / "shared" / "data" / "alanine.npz"


def test_every_model_has_a_card_and_a_command():
    assert {"alanine", "licl", "licl_manybody", "licl_vector", "water"} == set(NAMES)
    heads = " ".join(re.findall(r"^## (.*)", CARDS, re.MULTILINE))
    commands = (MODELS / "README.md").read_text()
    assert all(re.search(rf"\b{name}\b", heads) and f"| `{name}`" in commands for name in NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "alanine"])
def test_a_model_by_name_is_a_force_of_openmm(name):
    denoiser, topology = Denoiser.load(name), training_topology(name)
    positions, system = random_positions(name, topology, seed=2), openmm.System()
    for _ in topology.atoms():
        system.addParticle(18.0)
    system.setDefaultPeriodicBoxVectors(*np.array(denoiser.header.box))
    system.addForce(DiffusionForce(name, topology, backend="python"))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    found = context.getState(getForces=True).getForces(asNumpy=True)._value
    expected = denoiser.forces(positions, species=denoiser.types_of(topology))
    scale = np.sqrt(np.mean(expected**2))
    assert scale > 1
    assert np.abs(found - expected).max() < 1e-3 * scale, "beyond the tolerance of Ewald sums"


@pytest.mark.parametrize("name", ["licl", "licl_vector", "licl_manybody"])
def test_force_errors_are_those_of_the_cards(name):
    """Of 123 frames of replicas that no training saw."""
    denoiser, frames = Denoiser.load(name), Frames.load(ROOT / "examples" / "licl" / "licl.npz")
    apart = kept_apart(denoiser, frames)
    apart = apart[np.isfinite(apart.forces).all((1, 2))]
    assert len(apart) == 123
    error = np.sqrt(np.mean((denoiser.forces(apart.positions) - apart.forces) ** 2)) / 10
    said = {"licl": "| 1.11 +- ", "licl_vector": "| 1.10 +- ", "licl_manybody": "| 0.68 +- "}[name]
    assert said in CARDS and f"{error:.2f}" == said[2:6]


def test_alanine_keeps_to_its_frames_and_its_hand():
    if not ALANINE.exists():
        pytest.skip("needs alanine.npz of the shared data")
    denoiser, frames = Denoiser.load("alanine"), Frames.load(ALANINE)[::10]
    assert denoiser.header.particles == frames.types.tolist()
    x = frames.positions.astype(float)
    mirrored = denoiser.energy(x * [1, 1, -1]) - denoiser.energy(x)
    assert mirrored.min() > 20 * 2.49, "the form of the other hand is far from the data"
    # In equilibrium the forces do a work of kT for each of the 27 coordinates beside those of the centre.
    centred = x - x.mean(1, keepdims=True)
    work = -(denoiser.forces(x) * centred).sum((1, 2))
    error = work.std(ddof=1) / np.sqrt(len(work))
    assert error < 0.2 * 27 * thermal_energy(300.0)
    assert work.mean() == pytest.approx(27 * thermal_energy(300.0), abs=4 * error)
