"""Settings of all tests."""

import contextlib
import ctypes
import gc
import logging

import pytest
import torch  # before OpenMM: openmm-torch's plugins load only where torch's libraries are

# Results of a sum depend on how many threads share it.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def warnings_of_the_package():
    """Scripts of the examples silence the package; tests that run one in their own process must not silence others."""
    logging.getLogger("openmm_diffusion").setLevel(logging.NOTSET)


@pytest.fixture
def self_test_again():
    """Answers of TorchForce's self-tests are kept for the life of the process: forget them before and after."""
    from openmm_diffusion.forces import platforms, torchscript

    def forget():
        torchscript.torchscript_failure.cache_clear()
        platforms.torchforce_failure.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture(scope="module", autouse=True)
def memory_returned(request):
    """What the tests of a module no longer use goes back to the system: many modules share one process.

    Also what its functions keep of their results: Contexts, compiled forces and models, for tests that are over.
    """
    yield
    for kept in vars(request.module).values():
        if hasattr(kept, "cache_clear") and getattr(kept, "__module__", "") == request.module.__name__:
            kept.cache_clear()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's
        ctypes.CDLL("libc.so.6").malloc_trim(0)
