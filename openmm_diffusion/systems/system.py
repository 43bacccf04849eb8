"""Coarse-grained systems for OpenMM: topology, positions, masses, and the forces of a model."""

import os
from typing import Any

import numpy as np
import openmm
import torch
from openmm import app, unit

from ..forces.compiled import compiler_failure
from ..forces.diffusionforce import DiffusionForce, native_obstacle
from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..space.boxes import minimum_image
from ..units import MOLAR, molar, nanometers, symbols


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
        With elements, which give masses and species, and periodic box vectors.
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
    native_prior = native_prior and replicas == 1
    if not native_prior:  # where the prior is native, the force has no Ewald sum
        denoiser = denoiser.with_ewald(tolerance=ewald_error_tolerance)
    # A native force over pairs has what else is a sum over pairs in it: one force less to be evaluated.
    joined = options.get("backend") == "native"

    def apart(term):
        """Whether a term is an OpenMM force of its own."""
        return native_prior and not term.learnt and bool(term.native_name) and not (joined and term.joins)

    force = DiffusionForce(denoiser.part(lambda term: not apart(term)), topology, replicas=replicas, **options)
    system = openmm.System()
    for _ in range(replicas):
        for atom in topology.atoms():
            system.addParticle(atom.element.mass)
    box = topology.getPeriodicBoxVectors()
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        box = np.array(box.value_in_unit(unit.nanometer), dtype=float)
    species = denoiser.species_index([atom.element.atomic_number for atom in topology.atoms()]).numpy()
    for term, module in zip(denoiser.header.terms, denoiser.modules()):
        if apart(term):
            system.addForce(term.native(denoiser.header, module, species, box, ewald_error_tolerance))
    if not all(apart(term) for term in denoiser.header.terms) or not native_prior:
        system.addForce(force)
    return system


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


def default_platform():
    """Name of the platform that OpenMM takes by itself here: the fastest that works, not the fastest there is."""
    system = openmm.System()
    system.addParticle(1.0)
    return openmm.Context(system, openmm.VerletIntegrator(0.001)).getPlatform().getName()


def replicated(topology, replicas):
    """The topology of several copies in one box, one chain each, in the order of `create_system`."""
    copies = app.Topology()
    for _ in range(replicas):
        chain = copies.addChain()
        for residue in topology.residues():
            copy = copies.addResidue(residue.name, chain)
            for atom in residue.atoms():
                copies.addAtom(atom.name, atom.element, copy)
    copies.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    return copies


def electrolyte(composition, *, edge=None, molarity=None):
    """Topology of ions alone in a cubic box.

    Parameters
    ----------
    composition : dict of str to int
        Number of each element: {"Li": 24, "Cl": 24}.
    edge : float or Quantity, nm
        Of the box; or
    molarity : float or Quantity, mol/L
        Of the salt: the concentration of the least frequent element.

    Returns
    -------
    openmm.app.Topology

    Raises
    ------
    ValueError
        Unless exactly one of `edge` and `molarity` is given.
    """
    if (edge is None) == (molarity is None):
        raise ValueError("give either edge (nm) or molarity (mol/L): exactly one of them fixes the box")
    if not composition or any(int(n) != n or n < 1 for n in composition.values()):
        raise ValueError(
            f"composition is {composition}: give a positive number of each element, such as {{'Li': 24, 'Cl': 24}}"
        )
    if edge is None:
        molarity = molar(molarity, "molarity")
        if not molarity > 0:
            raise ValueError(f"molarity is {molarity:g} mol/L: give a positive concentration")
        edge = (min(composition.values()) / (molarity * MOLAR)) ** (1 / 3)
    edge = float(nanometers(edge, "edge"))
    if not edge > 0:
        raise ValueError(f"edge is {edge:g} nm: give a positive length in nm")
    topology = app.Topology()
    chain = topology.addChain()
    for symbol, number in composition.items():
        try:
            element = app.Element.getBySymbol(symbol)
        except KeyError as error:
            raise ValueError(
                f"composition names {symbol!r}, which is no element: use symbols such as Li and Cl"
            ) from error
        for _ in range(int(number)):
            topology.addAtom(symbol.upper(), element, topology.addResidue(symbol.upper(), chain))
    topology.setPeriodicBoxVectors(np.eye(3) * edge * unit.nanometer)
    return topology


def training_topology(denoiser):
    """Topology of the composition and the box that a model was trained on, particles in order of species."""
    names = symbols(denoiser.header.particles)
    if denoiser.header.box is None:
        raise ValueError("topology is missing: the model was trained without a box, so give one with its box")
    topology = electrolyte({name: names.count(name) for name in dict.fromkeys(names)}, edge=1.0)
    topology.setPeriodicBoxVectors(np.array(denoiser.header.box) * unit.nanometer)
    return topology


def random_positions(model, topology, seed=0, attempts=20000):
    """Random places for all particles, no pair closer than 0.02 nm beyond the data's shortest distance.

    Pairs of like charge, for which the data may hold no short distance, are kept
    apart by the distances of the data too.

    Parameters
    ----------
    model : path or Denoiser
    topology : openmm.app.Topology
    seed : int
    attempts : int
        Tries per particle.

    Returns
    -------
    array, shape (n_particles, 3), nm
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    index = denoiser.species_index([atom.element.atomic_number for atom in topology.atoms()]).numpy()
    if topology.getPeriodicBoxVectors() is None:
        raise ValueError("topology has no periodic box vectors: set them (nm), so that there is a box to fill")
    apart = np.array([[d or 0.3 for d in row] for row in denoiser.header.shortest_distances]) + 0.02
    box = torch.tensor(np.array(topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer), dtype=float))
    rng = np.random.default_rng(seed)
    placed = np.zeros((len(index), 3))
    for i in range(len(index)):
        for _ in range(attempts):
            trial = rng.random(3) @ box.numpy()
            vectors = minimum_image(torch.as_tensor(placed[:i] - trial), box)
            if i == 0 or bool((vectors.norm(dim=1).numpy() > apart[index[i], index[:i]]).all()):
                placed[i] = trial
                break
        else:
            raise ValueError(
                f"no room for particle {i} of {len(index)} in the box: use a larger box or fewer particles"
            )
    return placed
