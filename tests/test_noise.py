"""Noise: the formula from denoised positions to a force, against samples of a well whose answer is known."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from openmm_diffusion.noise import (
    NoiseConfig,
    denoised_from_force,
    denoising_force,
    draw_noise,
    force_from_denoised,
    scale,
)

KT = 2.494  # kJ/mol at 300 K


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("sigma", [0.001, 0.03])
def test_force_and_denoised_are_inverse(dtype, tolerance, sigma):
    generator = torch.Generator().manual_seed(0)
    # Around the origin, where float32 resolves displacements of sigma^2 F / kT.
    noisy = 3 * sigma * torch.randn(4, 5, 3, generator=generator, dtype=dtype)
    force = 40 * torch.randn(4, 5, 3, generator=generator, dtype=dtype)
    back = force_from_denoised(denoised_from_force(force, noisy, sigma, KT), noisy, sigma, KT)
    unresolved = torch.finfo(dtype).eps * float(noisy.abs().max()) * scale(sigma, KT)
    torch.testing.assert_close(back, force, rtol=tolerance, atol=2 * unresolved)


@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_samples_of_a_gaussian_well_give_its_smoothed_force(sigma):
    # x ~ N(0, w^2) has E[x | y] = y w^2 / (w^2 + sigma^2): the spring kT / (w^2 + sigma^2).
    w, n = 0.03, 400_000
    rng = np.random.default_rng(0)
    x = w * rng.normal(size=n)
    y = x + sigma * rng.normal(size=n)
    labels = force_from_denoised(x, y, sigma, KT)
    slope = (labels @ y) / (y @ y)
    error = np.sqrt(np.mean((labels - slope * y) ** 2) / (y @ y))
    smoothed, clean = -KT / (w**2 + sigma**2), -KT / w**2
    assert abs(slope - smoothed) < 4 * error
    assert abs(slope - clean) > 10 * error, "the test must tell the smoothed well from the clean one"
    # Not only the slope: the mean in every bin of y, over the range where the well is.
    bins = np.digitize(y, np.linspace(-2, 2, 9) * np.hypot(w, sigma))
    for b in range(1, 9):
        inside = bins == b
        deviation = labels[inside].mean() - smoothed * y[inside].mean()
        assert abs(deviation) < 4.5 * labels[inside].std() / np.sqrt(inside.sum())


def test_single_draw_labels_are_the_denoising_force():
    rng = np.random.default_rng(1)
    x, eps, sigma = rng.normal(size=(7, 4, 3)), rng.normal(size=(7, 4, 3)), 0.004
    labels = force_from_denoised(x, x + sigma * eps, sigma, KT)
    np.testing.assert_allclose(denoising_force(eps, sigma, KT), labels, rtol=1e-9, atol=1e-8)
    # Their variance is (kT / sigma)^2.
    many = denoising_force(rng.normal(size=200_000), sigma, KT)
    assert many.var() == pytest.approx((KT / sigma) ** 2, rel=4 * np.sqrt(2 / 200_000))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_antithetic_draws_are_pairs_of_opposite_sign(dtype):
    positions = torch.zeros(5, 6, 3, dtype=dtype)
    eps = draw_noise(positions, 3, True, torch.Generator().manual_seed(0))
    assert eps.shape == (6, 5, 6, 3) and eps.dtype == dtype
    assert torch.equal(eps[:3], -eps[3:])
    assert len(eps[:3].flatten().unique()) == eps[:3].numel(), "draws and frames must not share noise"
    assert draw_noise(positions, 3, False).shape == (3, 5, 6, 3)


def test_noise_is_standard_normal_and_repeats_with_its_seed():
    positions = torch.zeros(2000, 10, 3)
    eps = draw_noise(positions, 1, False, torch.Generator().manual_seed(3))
    assert torch.equal(eps, draw_noise(positions, 1, False, torch.Generator().manual_seed(3)))
    n = eps.numel()
    assert abs(eps.mean()) < 4 / n**0.5
    assert abs(eps.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((eps**4).mean() - 3) < 4 * (96 / n) ** 0.5


def test_masked_coordinates_get_no_noise():
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    eps = draw_noise(torch.zeros(50, 3, 3), 2, True, torch.Generator().manual_seed(0), mask)
    assert (eps[..., ~mask] == 0).all()
    assert (eps[..., mask] != 0).all()


@pytest.mark.parametrize("convert", [force_from_denoised, denoised_from_force])
def test_wrong_arguments_are_refused(convert):
    array = np.zeros((4, 3))
    for sigma in (0.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="positive noise level"):
            convert(array, array, sigma, KT)
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(5, 3\)"):
        convert(array, np.zeros((5, 3)), 0.01, KT)


@pytest.mark.parametrize(
    "values",
    [{"sigma": 0}, {"sigma": -0.01}, {"sigma": "0.05 A"}, {"draws": 0}, {"axes": "yx"}, {"axes": ""}, {"sigmas": 0.1}],
)
def test_impossible_noise_is_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        NoiseConfig(**values)
