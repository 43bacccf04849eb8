"""A position that is not a number never has a finite energy, whatever computes it."""

import numpy as np
import openmm
import pytest
import torch
from models import QUICK, licl_denoiser, licl_frames
from openmm import unit

from openmm_diffusion import DiffusionForce
from openmm_diffusion.model.sum import energy_and_forces


def energy_of(force, positions):
    """Energy and forces of a force alone; the Reference platform hands positions on as they are."""
    system = openmm.System()
    for _ in positions:
        system.addParticle(1.0)
    box = np.array(licl_frames().box)
    system.setDefaultPeriodicBoxVectors(*(box * unit.nanometer))
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


@pytest.mark.parametrize("kinds", [("wall",), ("pair",), QUICK])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_module_tells(kinds, value):
    denoiser, positions = licl_denoiser(kinds=kinds), torch.as_tensor(licl_frames().positions[:2]).double()
    positions[0, 5, 1] = value
    box = torch.as_tensor(licl_frames().box)
    species = denoiser.species_index(licl_frames().types)
    energy, forces = energy_and_forces(denoiser.model, positions, box, species)
    assert not torch.isfinite(energy[0]) and not torch.isfinite(forces[0, 5, 1])
    assert torch.isfinite(energy[1]) and torch.isfinite(forces[1]).all()


@pytest.mark.parametrize("backend", ["python", pytest.param("torchscript", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kinds", [("wall",), ("wall", "pair")])
def test_openmm_is_told(backend, kinds):
    positions = licl_frames().positions[0].astype(float)
    force = DiffusionForce(licl_denoiser(kinds=kinds), licl_frames().topology(), backend=backend)
    energy, forces = energy_of(force, positions)
    assert np.isfinite(energy) and np.isfinite(forces).all()
    positions[5, 1] = np.nan
    try:
        energy, _ = energy_of(force, positions)
    except openmm.OpenMMException as error:
        assert "nan" in str(error).lower()
    else:
        assert not np.isfinite(energy)
