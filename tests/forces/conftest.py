"""Tests of forces where TorchForce is left out on purpose: in an environment of `make matrix` that has none."""

import os

import pytest

WITHOUT = os.environ.get("OPENMM_DIFFUSION_TESTS_WITHOUT_TORCHFORCE") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    if WITHOUT and item.get_closest_marker("torchforce"):
        pytest.skip("this environment is without TorchForce")
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _skipping())


def _skipping():
    """A test that fails for want of TorchForce is skipped; anywhere else it fails."""
    try:
        return (yield)
    except ImportError as error:
        if WITHOUT and "openmm" in str(error):
            pytest.skip("this environment is without TorchForce")
        raise
