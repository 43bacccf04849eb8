"""A position that is not a number never has a finite energy, whatever computes it."""

import numpy as np
import openmm
import pytest
import torch
from models import QUICK, licl_denoiser, licl_frames
from openmm import unit

from openmm_diffusion import DiffusionForce
from openmm_diffusion.model.sum import energy_and_forces


def context_of(force):
    """A Context of a force alone; the Reference platform hands positions on as they are."""
    system = openmm.System()
    for _ in licl_frames().types:
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*(np.array(licl_frames().box) * unit.nanometer))
    system.addForce(force)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def energy_of(context, positions):
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


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
    context = context_of(force)
    assert np.isfinite(energy_of(context, positions))
    positions[5, 1] = np.nan
    try:
        energy = energy_of(context, positions)
    except openmm.OpenMMException as error:
        assert "nan" in str(error).lower()
    else:
        assert not np.isfinite(energy)
