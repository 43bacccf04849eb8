"""Settings of all tests."""

import contextlib
import ctypes
import gc
import logging
import resource
import signal
from pathlib import Path

import pytest
import torch  # before OpenMM: openmm-torch's plugins load only where torch's libraries are

# What a script starts in the background ignores Ctrl-C, as would every process that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


class Memory:
    """Memory of this process, in MB, which many modules share."""

    #: By how much the process may grow before it looks for what nobody can reach.
    GROWTH = 150

    def __init__(self):
        self.returned_at = self.resident()

    def resident(self):
        """MB; 0 where there is no /proc."""
        try:
            return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
        except OSError:
            return 0.0

    def give_back(self):
        """What is not used goes back to the system."""
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc's
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.returned_at = self.resident()

    def grown(self):
        return self.resident() > self.returned_at + self.GROWTH


@pytest.fixture(scope="session")
def memory():
    return Memory()


@pytest.fixture(scope="module", autouse=True)
def memory_of_modules(request, memory):
    """What functions of a module keep of their results is given back too: Contexts, compiled forces and models."""
    yield
    for kept in vars(request.module).values():
        if hasattr(kept, "cache_clear") and getattr(kept, "__module__", "") == request.module.__name__:
            kept.cache_clear()
    memory.give_back()


@pytest.fixture(autouse=True)
def memory_of_tests(memory):
    """Scripted networks are cycles of objects: a module of many would hold a gigabyte that nobody can reach."""
    yield
    if memory.grown():
        memory.give_back()
