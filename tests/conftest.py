"""Settings of all tests."""

import logging

import pytest
import torch  # before OpenMM: openmm-torch's plugins load only where torch's libraries are

# Results of a sum depend on how many threads share it.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def warnings_of_the_package():
    """Scripts of the examples silence the package; tests that run one in their own process must not silence others."""
    logging.getLogger("openmm_diffusion").setLevel(logging.NOTSET)
