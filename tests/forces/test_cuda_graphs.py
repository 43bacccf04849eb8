"""The module of fixed shapes that CUDA graphs replay: same forces, and no operation that waits for values."""

import numpy as np
import openmm
import pytest
import torch
from loadedscript import loaded_script
from models import licl_denoiser, licl_frames

from openmm_diffusion.forces.diffusionforce import DiffusionForce
from openmm_diffusion.forces.torchscript import scripted_module

PRESENT = {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}


def operations(module, arguments):
    """Names of the operations that run after a warm-up, in which TorchScript still looks at values."""
    for _ in range(2):
        module(*arguments)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        module(*arguments)
    return {event.key.removeprefix("aten::") for event in profile.key_averages()}


def module_and_arguments(head, all_pairs, outputs_forces=True):
    denoiser, frames = licl_denoiser(head), licl_frames()
    species = denoiser.species_index(frames.species)
    module = loaded_script(scripted_module(denoiser, species, True, outputs_forces, "double", all_pairs))
    return module, (torch.tensor(frames.positions[0]).double(), torch.tensor(frames.box))


@pytest.mark.parametrize("head", ["energy", "vector"])
def test_all_pairs_give_the_forces_of_the_neighbours(head):
    results = []
    for all_pairs in (False, True):
        module, arguments = module_and_arguments(head, all_pairs)
        results.append([value.detach().numpy() for value in module(*arguments)])
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-12)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-10 * np.abs(results[0][1]).max())


#: What a CUDA graph cannot hold: shapes that depend on values, and values that the host waits for.
FORBIDDEN = {"nonzero", "_local_scalar_dense", "item", "masked_select", "unique"}


@pytest.mark.parametrize("all_pairs", [False, True])
def test_no_operation_waits_for_values(all_pairs):
    """Whether the checker sees anything is shown by the module that does search for neighbours."""
    module, arguments = module_and_arguments("energy", all_pairs)
    names = operations(module, arguments)
    assert "index_add" in names, "messages are collected"
    assert bool(names & FORBIDDEN) == (not all_pairs), names & FORBIDDEN


@pytest.mark.parametrize("all_pairs", [False, True])
def test_no_buffer_begins_beyond_its_storage(all_pairs):
    """Torch 2.14 saves a part of nothing, and refuses to load it."""
    denoiser, frames = licl_denoiser(), licl_frames()
    module = scripted_module(denoiser, denoiser.species_index(frames.species), True, True, "double", all_pairs)
    buffers = dict(module.named_buffers())
    assert "second" in buffers
    for name, values in buffers.items():
        assert values.storage_offset() * values.itemsize <= values.untyped_storage().nbytes(), name


def test_other_backends_have_no_cuda_graphs():
    with pytest.raises(ValueError, match='cuda_graphs is True, but backend is "python"'):
        DiffusionForce(licl_denoiser(), licl_frames().topology(), backend="python", cuda_graphs=True)


@pytest.mark.parametrize(
    "platform",
    [
        "CPU",
        pytest.param(
            "CUDA",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif("CUDA" not in PRESENT, reason="OpenMM has no CUDA platform here"),
            ],
        ),
    ],
)
def test_torchforce_with_the_property_of_cuda_graphs(platform):
    """On the CPU the property plays no part, but the System must run there too."""
    frames, denoiser, forces = licl_frames(), licl_denoiser(), []
    for cuda_graphs in (False, True):
        system = openmm.System()
        for _ in range(48):
            system.addParticle(20.0)
        system.setDefaultPeriodicBoxVectors(*frames.box)
        options = {"backend": "torchscript", "cuda_graphs": cuda_graphs}
        system.addForce(DiffusionForce(denoiser, frames.topology(), **options))
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform(platform))
        for positions in frames.positions[:3]:  # a graph is replayed from the second on
            context.setPositions(positions)
            forces.append(context.getState(forces=True).getForces(asNumpy=True)._value)
    assert np.abs(np.subtract(forces[:3], forces[3:])).max() < 1e-4 * np.abs(forces).max()
