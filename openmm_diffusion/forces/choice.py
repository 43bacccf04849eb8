"""Which backend computes a force: by platform, length of use and what works here; never one that failed its test."""

from typing import NamedTuple

from .compiled.graph import compiler_failure
from .platforms import HOST, default_platform, torchforce_failure

#: Steps per learnt term from which on compiling pays: it takes about as long as 5,000 steps of a scripted network.
COMPILED_STEPS = 10_000


class Choice(NamedTuple):
    """A backend of `DiffusionForce`, and why, as the end of a sentence."""

    backend: str
    reason: str


def choose(learnt_terms: int, platform: str | None = None, steps: int | None = None, replicas: int = 1) -> Choice:
    """The backend that "auto" takes for energies that OpenMM's own forces do not hold.

    Parameters
    ----------
    learnt_terms : int
        Of the model.
    platform : str, optional
        OpenMM's; None: its fastest.
    steps : int, optional
        Evaluations to come; None: nobody knows.
    replicas : int

    Returns
    -------
    Choice
    """
    platform = platform or default_platform()
    slow = compiler_failure() if platform in HOST else f"compiled forces are for the platforms {' and '.join(HOST)}"
    if slow is None and steps is not None and steps * replicas < COMPILED_STEPS * learnt_terms:
        slow = f"{steps} steps are too few for compiling to pay"
    if slow is None:
        return Choice("compiled", f"it is the fastest on the platform {platform}")
    if replicas > 1:
        return Choice("python", f"it holds {replicas} replicas, and {slow}")
    failure = torchforce_failure(platform)
    if failure is None:
        return Choice("torchscript", f"TorchForce passed its self-test on the platform {platform}, and {slow}")
    return Choice("python", f"{slow}, and {failure}")
