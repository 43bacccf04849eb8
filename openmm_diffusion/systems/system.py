"""Coarse-grained systems for OpenMM: the forces of a model, and the fastest way to compute them."""

import logging
import os
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from ..energies.native import share_cutoff
from ..forces.barostats import refusing_force, volume_note
from ..forces.choice import choose
from ..forces.diffusionforce import NAME, DiffusionForce
from ..forces.native import native_obstacle
from ..forces.subset import bonds_of
from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..model.pressure import OSMOTIC, known_pressure
from ..particles import check_topology
from ..units import MOST, count, number

log = logging.getLogger(__name__)


def create_system(
    model: str | os.PathLike[str] | Denoiser,
    topology: app.Topology,
    *,
    native_prior: bool | None = None,
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
    native_prior : bool, optional
        The prior as native OpenMM forces (Coulomb by PME, the wall as a
        CustomNonbondedForce) and the learnt part as a DiffusionForce; False puts both
        into the DiffusionForce.  The physics is the same.  None: True, unless no backend is named
        and a compiled force of a small system is faster with all of it inside.
    ewald_error_tolerance : float
        As in OpenMM's own createSystem: 5e-4, about the relative error of the Coulomb
        forces; 1e-5 takes twice the time per step of 48 ions.
    replicas : int
        Independent copies of the topology in the System: atoms of the first, of the second, and
        so on, none of which feels another.  `replicated` makes the topology of all.  Native
        forces know no copies, so the prior is inside the DiffusionForce.
    **options
        To `DiffusionForce`.  Without a `backend`, or with "auto", learnt energies that OpenMM's own forces hold are
        such forces (`backend="native"`).

    Returns
    -------
    openmm.System
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    check_topology(topology)
    replicas = count(replicas, "replicas", at_most=MOST)
    if replicas * topology.getNumAtoms() > MOST:
        raise ValueError(
            f"replicas is {replicas}, of {topology.getNumAtoms()} particles: give {MOST} particles at most"
        )
    ewald_error_tolerance = number(ewald_error_tolerance, None, "ewald_error_tolerance", above=0, below=1)
    if "include_prior" in options:
        raise TypeError(
            "create_system always holds the prior: native_prior says where, include_prior is DiffusionForce's"
        )
    part = next((key for key in ("atoms", "scaling_parameter") if options.get(key) is not None), None)
    if part is not None:
        raise TypeError(f"create_system makes a System of the model alone: give {part} to a DiffusionForce of your own")
    if options.get("backend", "auto") == "auto" and native_prior is None:
        asked = {"cuda_graphs", "outputs_forces", "device"} & set(options)  # of other backends
        plain = asked or not denoiser.header.learnt
        chosen = {} if plain else fastest(denoiser, topology, None, replicas, options.get("platform"))
        native_prior = chosen.get("native_prior", True)
        if chosen.get("backend") == "native":
            log.info("the learnt energies are OpenMM's own forces (native): the fastest everywhere")
            options["backend"] = "native"
    native_prior = native_prior is not False and replicas == 1
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
    masses = masses_of(denoiser, topology, names)
    rest = denoiser.part(lambda term: not apart(term))
    if known_pressure(denoiser.header).osmotic:  # which a part without its dielectric would not know
        rest = rest.with_held_out({OSMOTIC: True})
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
            made = term.native(denoiser.header, module, species, *given)
            for one in made if isinstance(made, list) else [made]:
                system.addForce(one)
    if force is not None:
        system.addForce(force)
    elif learnt and box is not None and denoiser.header.box is not None:  # none here knows that barostats are refused
        volume = volume_note(known_pressure(denoiser.header), bool(options.get("allow_barostat")))
        if volume:
            system.addForce(refusing_force(NAME + volume))
    share_cutoff(system.getForces())
    return system


def masses_of(denoiser, topology, types):
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


#: Particles up to which the Ewald sum inside a compiled force is faster than PME beside it.
EWALD_PARTICLES = 150


def fastest(denoiser, topology, steps=None, replicas=1, platform=None):
    """Options of `create_system` for the fastest run of a number of steps.

    Native forces where the learnt energies have them; for long runs on the CPU a compiled force, with the prior inside
    where the system is small; else what `forces.choice.choose` says.

    Parameters
    ----------
    denoiser : Denoiser
    topology : openmm.app.Topology
        That of one replica.
    steps : int, optional
        None: nobody knows.
    replicas : int
    platform : str, optional
        OpenMM's; None: its fastest.

    Returns
    -------
    dict
    """
    whole = merged(denoiser)
    if replicas == 1 and native_obstacle(whole) is None:
        return {"backend": "native"}
    backend, _ = choose(len(whole.header.learnt), platform, steps, replicas)
    inside = backend == "compiled" and topology.getNumAtoms() <= EWALD_PARTICLES
    return {"backend": backend, "native_prior": not inside}
