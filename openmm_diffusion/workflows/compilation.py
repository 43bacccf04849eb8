"""Compiling the force of a model ahead of its use, so that no run waits for it."""

import os
from pathlib import Path

import numpy as np
import openmm
from numpy.typing import ArrayLike

from ..forces.compiled.cache import cache_directory
from ..forces.compiled.graph import compiler_failure
from ..model.denoiser import Denoiser
from ..simulation.starts import read_start
from ..systems.system import create_system, fastest
from ..systems.topologies import random_positions, replicated, topology_like
from ..units import MOST, count
from .export import read_pdb


def compile_ahead(
    model: str | os.PathLike[str] | Denoiser,
    top: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    replicas: int = 1,
) -> list[Path]:
    """Compile the force of a System that `create_system` or `simulate` makes on the platform CPU.

    It is kept for runs on this machine (see `forces.compiled.cache`): those of the same model, particles
    and, up to a fifth, pairs within the cutoff.

    Parameters
    ----------
    model : path or Denoiser
    top : path, optional
        PDB file of the particles and where they are; None: the particles of the training data.
    start : path, optional
        Without `top`: where they are, see `simulation.starts.read_start`; None: random places.
    replicas : int

    Returns
    -------
    list of Path
        What was compiled: nothing, where it was already.

    Raises
    ------
    ValueError
        For a model that OpenMM's own forces hold, and one whose particles have no random places.
    RuntimeError
        If it cannot be compiled here.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if top is not None and start is not None:
        raise ValueError(f"top is {top} and start is {start}: a PDB file says where its particles are, leave start out")
    replicas = count(replicas, "replicas", at_most=MOST)
    topology, given = (topology_like(denoiser), None) if top is None else read_pdb(top)
    options = fastest(denoiser, topology, None, replicas, "CPU")
    if options["backend"] == "native":
        raise ValueError("there is nothing to compile: the learnt energies of this model are OpenMM's own forces")
    reason = compiler_failure()
    if reason is not None:
        raise RuntimeError(f"the force cannot be compiled here: {reason}")
    if given is not None:
        positions: ArrayLike = np.repeat([given._value], replicas, 0)
    elif start is not None:
        positions = read_start(start, denoiser, topology, replicas)
    elif denoiser.header.bonds or denoiser.header.box is None:
        raise ValueError("start is missing: particles that have bonds, or no box, have no random places; give --start")
    else:
        positions = [random_positions(denoiser, topology, seed) for seed in range(replicas)]
    system = create_system(denoiser, topology, replicas=replicas, platform="CPU", **{**options, "backend": "compiled"})
    directory = cache_directory()
    before = set(directory.glob("*.pt2"))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.reshape(positions, (replicated(topology, replicas).getNumAtoms(), 3)))
    context.getState(getForces=True)
    return sorted(set(directory.glob("*.pt2")) - before)
