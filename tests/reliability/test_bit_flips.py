"""A model file of which one bit was flipped is refused, or is the same model; so is one that was cut."""

import numpy as np
import pytest
from models import QUICK, licl_denoiser, licl_frames

from openmm_diffusion import Denoiser
from openmm_diffusion.model.file import CHECKSUM


@pytest.fixture(scope="module")
def whole():
    data = licl_denoiser(kinds=QUICK).to_bytes()
    frames = licl_frames()
    return data, frames.positions[0], Denoiser.from_bytes(data).forces(frames.positions[0])


def refused_or_harmless(data, whole):
    """Whether a damaged file was refused, by a sentence that names it; if not, its forces must be the same."""
    _, positions, forces = whole
    try:
        denoiser = Denoiser.from_bytes(data, "flipped.safetensors")
    except ValueError as error:
        assert str(error).startswith("flipped.safetensors ") and len(str(error).splitlines()) == 1, error
        return True
    np.testing.assert_array_equal(denoiser.forces(positions), forces)
    return False


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flip(whole, number, seed):
    data = whole[0]
    bits = np.random.default_rng(seed).choice(8 * len(data), number, replace=False)
    refused = sum(refused_or_harmless(flipped(data, int(bit)), whole) for bit in bits)
    print(f"{number} flipped bits of {8 * len(data)}: {refused} refused, {number - refused} harmless")
    assert refused > 0.95 * number  # the rest is in names of the metadata that nobody reads


def test_sixty_flipped_bits_are_refused_or_harmless(whole):
    flip(whole, 60, 1)


@pytest.mark.slow
def test_five_hundred_flipped_bits_are_refused_or_harmless(whole):
    flip(whole, 500, 2)


def test_every_bit_of_the_first_bytes_is_refused_or_harmless(whole):
    for bit in range(8 * 16):
        refused_or_harmless(flipped(whole[0], bit), whole)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(whole, share):
    assert refused_or_harmless(whole[0][: int(share * len(whole[0]))], whole)


def test_a_flipped_weight_is_refused_by_the_checksum_alone(whole):
    data = whole[0]
    with pytest.raises(ValueError, match="its checksum is not that of its content"):
        Denoiser.from_bytes(flipped(data, 8 * (len(data) - 40)), "flipped.safetensors")


def test_a_file_without_a_checksum_loads(whole):
    """As those of former versions have none."""
    data, positions, forces = whole
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(f'"{CHECKSUM}":'.encode(), b'"sha255":')
    np.testing.assert_array_equal(Denoiser.from_bytes(data[:8] + header + data[8 + length :]).forces(positions), forces)


def test_the_checksum_does_not_depend_on_how_often_a_model_was_saved(whole):
    data = Denoiser.from_bytes(whole[0]).to_bytes()
    assert data == whole[0] and Denoiser.from_bytes(data).digest() == licl_denoiser(kinds=QUICK).digest()
