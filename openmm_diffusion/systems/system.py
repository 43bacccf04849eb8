"""Coarse-grained systems for OpenMM: the forces of a model, and the fastest way to compute them."""

import os
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from ..forces.compiled import compiler_failure
from ..forces.diffusionforce import DiffusionForce
from ..forces.native import native_obstacle
from ..forces.subset import bonds_of
from ..model.combination import merged
from ..model.denoiser import Denoiser
from .platforms import default_platform


def create_system(
    model: str | os.PathLike[str] | Denoiser,
    topology: app.Topology,
    *,
    native_prior: bool = True,
    ewald_error_tolerance: float = 5e-4,
    replicas: int = 1,
    **options: Any,
) -> openmm.System:
    """An OpenMM System of coarse-grained particles with a model's forces.

    Parameters
    ----------
    model : path or Denoiser
    topology : openmm.app.Topology
        Of atoms whose types the model knows, with periodic box vectors where there is a box.
        A mass is that of the training data where they gave one, else of the atom's element.
    native_prior : bool
        The prior as native OpenMM forces (Coulomb by PME, the wall as a
        CustomNonbondedForce) and the learnt part as a DiffusionForce; False puts both
        into the DiffusionForce.  The physics is the same.
    ewald_error_tolerance : float
        As in OpenMM's own createSystem: 5e-4, about the relative error of the Coulomb
        forces; 1e-5 takes twice the time per step of 48 ions.
    replicas : int
        Independent copies of the topology in the System: atoms of the first, of the second, and
        so on, none of which feels another.  `replicated` makes the topology of all.  Native
        forces know no copies, so the prior is inside the DiffusionForce.
    **options
        To `DiffusionForce`.

    Returns
    -------
    openmm.System
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if "include_prior" in options:
        raise TypeError(
            "create_system always holds the prior: native_prior says where, include_prior is DiffusionForce's"
        )
    part = next((key for key in ("atoms", "scaling_parameter") if options.get(key) is not None), None)
    if part is not None:
        raise TypeError(f"create_system makes a System of the model alone: give {part} to a DiffusionForce of your own")
    native_prior = native_prior and replicas == 1
    if not native_prior:  # where the prior is native, the force has no Ewald sum
        denoiser = denoiser.with_ewald(tolerance=ewald_error_tolerance)
    # A native force over pairs has what else is a sum over pairs in it: one force less to be evaluated.
    native = options.get("backend") == "native"
    learnt = denoiser.header.learnt
    joined = native and (not learnt or any(term.joins for term in learnt))

    def apart(term):
        """Whether a term is an OpenMM force of its own."""
        chosen = native if term.learnt else native_prior
        return chosen and bool(term.native_name) and not (joined and term.joins)

    names = denoiser.types_of(topology, options.get("types"))
    box = topology.getPeriodicBoxVectors()
    for term in denoiser.header.terms:
        term.check(names, box is not None)
    masses = _masses(denoiser, topology, names)
    rest = denoiser.part(lambda term: not apart(term))
    force = None
    if rest.header.terms or not native_prior:
        force = DiffusionForce(rest, topology, replicas=replicas, **options)
    system = openmm.System()
    for _ in range(replicas):
        for mass in masses:
            system.addParticle(mass)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        box = np.array(box.value_in_unit(unit.nanometer), dtype=float)
    index = denoiser.species_index(names)
    species, connected = index.numpy(), denoiser.connectivity(index, bonds_of(topology))
    for term, module in zip(denoiser.header.terms, denoiser.modules()):
        if apart(term):
            given = box, ewald_error_tolerance, connected
            system.addForce(term.native(denoiser.header, module, species, *given))
    if force is not None:
        system.addForce(force)
    return system


def _masses(denoiser, topology, types):
    """Mass of each atom, amu."""
    masses = []
    for atom, kind in zip(topology.atoms(), types):
        mass = denoiser.header.mass(kind)
        if mass is None and atom.element is not None:
            mass = atom.element.mass._value
        if mass is None:
            raise ValueError(
                f"atom {atom.index} of topology has the type {kind}, whose mass is known neither to the model nor from "
                "an element: train on frames with masses (amu)"
            )
        masses.append(mass)
    return masses


#: Steps per learnt term from which on compiling pays: it takes about as long as 5,000 steps of a scripted network.
COMPILED_STEPS = 10_000

#: Particles up to which the Ewald sum inside a compiled force is faster than PME beside it.
EWALD_PARTICLES = 150


def fastest(denoiser, topology, steps, replicas=1, platform=None):
    """Options of `create_system` for the fastest run of a number of steps.

    Native forces for pair potentials; for long runs on the CPU a compiled force, with the prior inside
    where the system is small; else what `DiffusionForce` chooses.

    Parameters
    ----------
    denoiser : Denoiser
    topology : openmm.app.Topology
        That of one replica.
    steps, replicas : int
    platform : str, optional
        OpenMM's; None: its fastest.

    Returns
    -------
    dict
    """
    whole = merged(denoiser)
    if replicas == 1 and native_obstacle(whole) is None:
        return {"backend": "native"}
    platform = platform or default_platform()
    worth_it = steps * replicas >= COMPILED_STEPS * len(whole.header.learnt)
    if platform in ("CPU", "Reference") and worth_it and compiler_failure() is None:
        return {"backend": "compiled", "native_prior": topology.getNumAtoms() > EWALD_PARTICLES}
    return {"backend": "auto" if replicas == 1 else "python"}
