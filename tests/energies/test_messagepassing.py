"""The network: symmetries of space, of like particles and of the boundary; smooth at its cutoff; scripts."""

import ctypes
import functools
import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3
from e3nn.util.jit import script
from loadedscript import loaded_script

from openmm_diffusion.energies.messagepassing import BesselBasis, MessagePassing, message_passing
from openmm_diffusion.energies.network import NetworkConfig
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.space.neighbours import neighbour_pairs

CUTOFF, N = 0.6, 12
SPECIES = torch.tensor([0, 1, 1] * 4)
# Relative to the largest output; rounding of a few hundred additions.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
HEADS = pytest.mark.parametrize("head", ["energy", "vector"])
DEGREES = pytest.mark.parametrize("lmax", [0, 1, 2])


@functools.cache
def network(head, lmax=1, dtype=torch.float64, chiral=False):
    layers = 3 if chiral else 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = NetworkConfig(
            head=head, cutoff=CUTOFF, lmax=lmax, features=4, layers=layers, radial_width=8, chiral=chiral
        )
        # Weights are drawn in float32, as trained ones are: the same numbers in either precision.
        return MessagePassing(config, 2, 6.0).to(dtype)


def cluster(dtype=torch.float64, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).uniform(0, 0.9, (N, 3)), dtype=dtype)


def edges(positions, box=None):
    """Directed edges of one configuration, both ways."""
    first, second, vectors = neighbour_pairs(positions[None], box, CUTOFF)
    return torch.cat([second, first]), torch.cat([first, second]), torch.cat([vectors, -vectors])


def outputs(model, positions, species=SPECIES, box=None):
    return model(species, *edges(positions, box)).detach()


def assert_same(one, other, tolerance):
    scale = float(other.abs().max())
    assert scale > 1e-3, "zero equals zero: nothing is tested"
    assert float((one - other).abs().max()) < tolerance * scale


def spread(values):
    """Output differs between particles, so that mixing them up would be seen."""
    return float(values.std(0).max() / values.abs().max())


@DTYPES
@DEGREES
@pytest.mark.parametrize("improper", [False, True])
def test_energies_are_invariant_under_rotations_and_reflections(lmax, dtype, improper):
    model, x = network("energy", lmax, dtype), cluster(dtype)
    expected = outputs(model, x)
    assert expected.shape == (N, 1) and spread(expected) > 0.05
    torch.manual_seed(1)
    for rotation in o3.rand_matrix(4, dtype=torch.float64):
        rotation = (-rotation if improper else rotation).to(dtype)
        assert_same(outputs(model, x @ rotation.T), expected, TOLERANCE[dtype])


@DTYPES
@pytest.mark.parametrize("lmax", [1, 2])
@pytest.mark.parametrize("improper", [False, True])
def test_vectors_turn_and_reflect_with_the_particles(lmax, dtype, improper):
    model, x = network("vector", lmax, dtype), cluster(dtype)
    expected = outputs(model, x)
    assert expected.shape == (N, 3) and spread(expected) > 0.05
    torch.manual_seed(2)
    for rotation in o3.rand_matrix(4, dtype=torch.float64):
        rotation = (-rotation if improper else rotation).to(dtype)
        # e3nn keeps the coupling coefficients of l = 2 in float32.
        tolerance = max(TOLERANCE[dtype], 2e-8) if lmax == 2 else TOLERANCE[dtype]
        assert_same(outputs(model, x @ rotation.T), expected @ rotation.T, tolerance)


@HEADS
@DTYPES
def test_like_particles_are_interchangeable_and_unlike_ones_are_not(head, dtype):
    model, x = network(head, dtype=dtype), cluster(dtype)
    expected = outputs(model, x)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert_same(outputs(model, x[order], SPECIES[order]), expected[order], TOLERANCE[dtype])
    assert float((outputs(model, x, 1 - SPECIES) - expected).abs().max()) > 0.01 * float(expected.abs().max())


@HEADS
@DTYPES
def test_translation_through_the_boundary_changes_nothing(head, dtype):
    model, x = network(head, dtype=dtype), cluster(dtype)
    box = torch.tensor([[1.3, 0, 0], [0.3, 1.25, 0], [-0.2, 0.4, 1.25]], dtype=dtype)
    expected = outputs(model, x, box=box)
    for shift in ([0.4, 0.0, 0.0], [0.3, -0.9, 2.2]):
        moved = x + torch.tensor(shift, dtype=dtype)
        assert_same(outputs(model, moved, box=box), expected, 4 * TOLERANCE[dtype])
    assert float((outputs(model, x) - expected).abs().max()) > 1e-3, "some neighbours must be images"


@pytest.mark.parametrize("head, lmax", [("energy", 0), ("energy", 1), ("vector", 1)])
def test_outputs_see_only_layers_times_the_cutoff(head, lmax):
    # A chain of four, 0.5 nm apart: two rounds of messages reach the second neighbour.
    chain = torch.zeros(4, 3, dtype=torch.float64)
    chain[:, 0] = 0.5 * torch.arange(4)
    model, species = network(head, lmax), torch.tensor([0, 1, 0, 1])
    before = outputs(model, chain, species)
    chain[3, 0] += 0.05
    after = outputs(model, chain, species)
    changed = (after - before).abs().amax(1) > 1e-9
    assert changed.tolist() == [False, True, True, True]


@HEADS
def test_outputs_die_smoothly_at_the_cutoff(head):
    model = network(head)
    x = torch.zeros(3, 3, dtype=torch.float64)
    x[1] = torch.tensor([0.1, 0.2, 0.1])
    species = torch.tensor([0, 1, 1])

    def at(distance):
        x[2] = torch.tensor([-distance, 0.0, 0.0])
        return outputs(model, x, species)

    alone = at(CUTOFF + 1e-9)
    assert torch.equal(alone, at(5.0))
    change = [float((at(CUTOFF - gap) - alone).abs().max()) for gap in (0.02, 0.01, 0.005)]
    # The envelope falls as the third power of the gap: force and its slope are continuous too.
    assert change[0] > 1e-6
    assert change[0] / change[1] > 6 and change[1] / change[2] > 6


@DTYPES
def test_radial_basis_is_finite_and_vanishes_with_two_derivatives(dtype):
    basis = BesselBasis(8, CUTOFF).to(dtype)
    r = torch.tensor([1e-4, 0.1, 0.3, CUTOFF - 1e-9, CUTOFF, 0.7], dtype=dtype)
    assert torch.isfinite(basis(r)).all()
    assert (basis(r[-2:]) == 0).all()
    # 1 - 28 x^6 + 48 x^7 - 21 x^8 times sqrt(2) sin(n pi x) / x, by hand at the half.
    by_hand = np.sqrt(2) * np.sin(np.arange(1, 9) * np.pi / 2) / 0.5 * (1 - 28 / 64 + 48 / 128 - 21 / 256)
    np.testing.assert_allclose(basis(torch.tensor([CUTOFF / 2], dtype=dtype))[0], by_hand, atol=1e-5)
    gap = 0.01
    near = basis(torch.tensor([CUTOFF - gap, CUTOFF - gap / 2], dtype=torch.float64)).abs()
    assert (near[0] / near[1] > 7).all(), "third power of the gap from the envelope, one more from the sine"


@HEADS
@pytest.mark.parametrize("lmax", [1, 2])
def test_a_chiral_network_turns_with_the_particles_and_tells_a_mirror_image(head, lmax):
    model, x = network(head, lmax, chiral=True), cluster()
    rotation = o3.matrix_z(torch.tensor(0.7)).double() @ o3.matrix_x(torch.tensor(1.9)).double()
    turned, expected = outputs(model, x @ rotation.T), outputs(model, x)
    assert_same(turned, expected if head == "energy" else expected @ rotation.T, 2e-6)  # single precision of the angles
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0])).double()
    image, kept = outputs(model, x @ mirror), expected if head == "energy" else expected @ mirror
    assert float((image - kept).abs().max()) > 0.01 * float(kept.abs().max())


@pytest.mark.parametrize("shape", [{"layers": 2}, {"layers": 3, "lmax": 0}])
def test_a_network_that_cannot_be_chiral_is_refused(shape):
    with pytest.raises(ValueError, match="chiral is true with layers = .* from 3 layers and lmax = 1 on"):
        NetworkConfig(chiral=True, **shape)


@HEADS
@pytest.mark.parametrize("chiral", [False, True])
def test_scripted_network_equals_the_eager_one(head, chiral):
    scripted = loaded_script(script(network(head, chiral=chiral)))
    for dtype, tolerance in TOLERANCE.items():
        model, x = network(head, dtype=dtype, chiral=chiral), cluster(dtype)
        scripted = scripted.to(dtype)
        for _ in range(3):  # the profiling executor rewrites the graph in the first calls
            assert_same(outputs(scripted, x), outputs(model, x), tolerance)
        scripted_forces = gradient(scripted, x)
        assert_same(scripted_forces, gradient(model, x), 10 * tolerance)


def gradient(model, positions):
    positions = positions.clone().requires_grad_(True)
    return torch.autograd.grad((model(SPECIES, *edges(positions)) ** 2).sum(), positions)[0]


@HEADS
def test_single_and_double_precision_agree(head):
    single, double = network(head, dtype=torch.float32), network(head)
    x = cluster(torch.float32)
    assert_same(outputs(single, x).double(), outputs(double, x.double()), 2e-5)


@pytest.mark.parametrize("lmax, angular", [(0, False), (1, True)])
def test_directions_carry_angles_from_particle_to_particle(lmax, angular):
    # Two arms of 0.36 nm whose ends do not meet: scalar messages alone cannot tell the angle between them.
    def at(angle):
        arms = [[0.0, 0, 0], [1.0, 0, 0], [np.cos(angle), np.sin(angle), 0]]
        return outputs(network("energy", lmax), 0.36 * torch.tensor(arms).double(), torch.tensor([0, 1, 1])).sum()

    change = abs(float(at(np.pi) - at(2.0)))
    assert change > 1e-3 if angular else change < 1e-12


@HEADS
def test_a_lone_particle_feels_nothing(head):
    model = network(head)
    alone = outputs(model, torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0]))
    assert torch.isfinite(alone).all()
    if head == "vector":
        assert (alone == 0).all()


def test_batched_configurations_do_not_mix():
    model = network("energy")
    x = torch.stack([cluster(seed=0), cluster(seed=1)])
    c = make_batch(x, None, SPECIES, CUTOFF)
    both = model(
        SPECIES.repeat(2), torch.cat([c.second, c.first]), torch.cat([c.first, c.second]),
        torch.cat([c.vectors, -c.vectors]),
    ).detach()  # fmt: skip
    assert_same(both, torch.cat([outputs(model, x[0]), outputs(model, x[1])]), 1e-12)


@HEADS
@pytest.mark.parametrize("conditions", [0, 4])
def test_a_copy_of_the_pattern_is_the_network_that_would_be_built(head, conditions):
    """To the last bit: weights from the same random numbers, in the same order, and outputs; the next has its own."""
    config = NetworkConfig(head=head, cutoff=CUTOFF, features=4, layers=2, radial_width=8)
    torch.manual_seed(3)
    built, next_number = MessagePassing(config, 2, 6.0, conditions), torch.rand(1)
    x, given = cluster(torch.float32), torch.linspace(-1, 1, N * conditions).reshape(N, conditions)
    arguments = SPECIES, *edges(x), *([given] if conditions else [])
    for _ in range(2):
        torch.manual_seed(3)
        copied = message_passing(config, 2, 6.0, conditions)
        assert torch.equal(torch.rand(1), next_number)
        expected, found = built.state_dict(), copied.state_dict()
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert torch.equal(copied(*arguments), built(*arguments))
        copied.double().train(False)  # the pattern is left as it was
    other = message_passing(config, 2, 5.0, conditions)
    assert not torch.equal(other.embedding.weight, built.embedding.weight)
    other.load_state_dict(built.state_dict())
    assert not torch.equal(other(*arguments), built(*arguments)), "the sums are scaled by the neighbours"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to read the memory from")
def test_a_process_does_not_grow_with_every_network():
    """Built by e3nn one by one, ten networks that are evaluated and dropped leave 45 MB behind."""
    config, x = NetworkConfig(cutoff=CUTOFF, features=4, layers=2, radial_width=8), cluster(torch.float32)

    def resident():
        """MB."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    before = 0.0
    for number in range(12):
        model = message_passing(config, 2, 6.0)
        for _ in range(3):  # torch specialises what it runs for the second time
            gradient(model, x)
        del model
        if number == 1:
            before = resident()
    assert resident() - before < 10
