"""DiffusionForce: a denoiser as an OpenMM Force, through TorchForce, PythonForce or OpenMM's own pair forces."""

import logging
import numbers
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
import torch
from openmm import app, unit

from ..energies.native import NATIVE_CUTOFF, pairwise_force
from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..model.pressure import known_pressure
from ..space.boxes import check_cutoff
from ..space.connectivity import Connectivity
from .barostats import COPIES, PARAMETERS, WITHOUT_ENERGY, barostat_of, refusal, refuse_in_contexts, volume_note
from .pythonforce import SKIN, Evaluator
from .torchscript import scripted_module, torchscript_failure

log = logging.getLogger(__name__)

#: A force is named by these, one after the other, so that a System shows what it contains.
NAME, WITH_COULOMB = "DiffusionForce", "+Coulomb"

BACKENDS = ("auto", "torchscript", "python", "compiled", "native")


def DiffusionForce(  # noqa: N802 - OpenMM's own forces are named so
    model: str | os.PathLike[str] | Denoiser,
    topology: app.Topology,
    *,
    backend: str = "auto",
    include_prior: bool = True,
    outputs_forces: bool = True,
    precision: str = "single",
    replicas: int = 1,
    cuda_graphs: bool = False,
    system: openmm.System | None = None,
    allow_barostat: bool = False,
    types: str | Sequence[str] | None = None,
) -> openmm.Force:
    """A denoiser as an OpenMM Force.

    The force is that of the noised ensemble at the temperature of the training data,
    F = kT (D(y) - y) / sigma^2, whatever the thermostat is set to.  A model with an
    energy head is conservative; one with a vector head is not: its "energy" is the
    accumulator E = -sum_i F_i . r_i with F_i held constant, whose gradient is right
    and whose value means nothing, so that barostats, minimisers and energy reports
    must not be used with it.

    Parameters
    ----------
    model : path or Denoiser
        Model file, "licl" or "licl_vector" (shipped), or a denoiser in memory.
    topology : openmm.app.Topology
        Every atom must be of a type the model knows.  With periodic box vectors the
        force is periodic.
    backend : "auto", "torchscript", "python", "compiled" or "native"
        "torchscript" is openmm-torch's TorchForce; "python" is OpenMM's PythonForce.
        "auto" takes the first of the two, in this order, that passes a self-test, and
        says in the log which and why.  "compiled" is a PythonForce whose energy and gradient
        are compiled into one graph: many times faster, after some seconds of compiling at the
        first force of a new model (see `openmm_diffusion.forces.compiled`).  "native" is a tabulated
        CustomNonbondedForce, for models whose learnt terms are all pair potentials: no torch at
        run time.  It can carry the wall, but not Coulomb.
    include_prior : bool
        Carry the prior (Coulomb, wall) inside.  False leaves it out, for Systems that
        have it as native forces: see `openmm_diffusion.systems.create_system`.
    outputs_forces : bool
        TorchForce only: compute the forces inside the module (True) or let TorchForce
        differentiate the energy (False).  The forces are the same.
    precision : "single" or "double"
        Precision of the terms; positions come in that of the platform.
    replicas : int
        Independent copies of the topology in one System: atoms of the first, of the second, and so
        on.  No copy feels another, each has its own periodic images, and one evaluation serves all.
        For the backends "python" ("auto" takes it) and "compiled".  The box is one for all, so
        there is no barostat.
    cuda_graphs : bool
        TorchForce only: shapes that depend on no positions, so that the CUDA platform can replay the
        evaluation as one graph.  All pairs are evaluated, which serves up to some hundred particles.
    system : openmm.System, optional
        The System the force will join, to be warned of charges counted twice and refused a
        barostat, see `check_system`.
    allow_barostat : bool
        Let a barostat change the volume although the model was fitted at a constant one, without
        a pressure.
    types : "element", "name", "residue:name" or list of str, optional
        What the type of an atom is, or the types themselves, one for each atom.  By default an
        atom's element if the model's types are elements, else its name.

    Returns
    -------
    openmmtorch.TorchForce, openmm.PythonForce or openmm.CustomNonbondedForce

    Raises
    ------
    ValueError, FileNotFoundError
        For unknown types, a system that is not neutral under a Coulomb prior, a cutoff above half
        the box, a broken model file, a barostat in `system` that the model is refused.
    ImportError
        If `backend` is "torchscript" and TorchForce does not work here.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}: choose one of {', '.join(BACKENDS)}")
    if precision not in ("single", "double"):
        raise ValueError(f"precision is {precision!r}: choose single or double")
    if not isinstance(replicas, numbers.Integral) or replicas < 1:
        raise ValueError(f"replicas is {replicas!r}: give the number of copies, a whole number from 1 on")
    if replicas > 1 and backend == "auto":
        log.info("DiffusionForce runs through PythonForce, which holds %d replicas", replicas)
        backend = "python"
    if replicas > 1 and backend not in ("python", "compiled"):
        raise ValueError(
            f'backend is "{backend}", which holds one replica: for {replicas} replicas use "compiled" or "python"'
        )
    # A model of molecules without a box has no volume of its own.
    volume = volume_note(known_pressure(denoiser.header), allow_barostat or denoiser.header.box is None)
    if not include_prior:
        denoiser = denoiser.learnt
    denoiser = merged(denoiser)
    names = denoiser.types_of(topology, types)
    species = denoiser.species_index(names)
    bonds = bonds_of(topology)
    connected = denoiser.connectivity(species, bonds)
    box = topology.getPeriodicBoxVectors()
    for term in denoiser.header.terms:
        term.check(names, box is not None)
    if box is not None:
        vectors = torch.tensor(np.array(box.value_in_unit(unit.nanometer), dtype=float))
        check_cutoff(denoiser.cutoff, vectors, "the model's cutoff")
        denoiser = denoiser.in_box(vectors.numpy())
    name = NAME
    if any(term.charged for term in denoiser.header.terms):
        name += WITH_COULOMB
    if not denoiser.conservative:
        name += WITHOUT_ENERGY
    if box is not None:
        name += volume
    if replicas > 1:
        name += f" x {replicas}{COPIES}"
    if not denoiser.conservative:
        log.warning(
            "this model has a vector head: its forces have no potential, and the energy of this force is a "
            "surrogate without meaning; use no barostat, minimiser, energy report or NVE with it"
        )
    if system is not None:
        check_system(system, name)
    if backend == "auto":
        backend = choose_backend()
    if cuda_graphs and backend != "torchscript":
        raise ValueError(f'cuda_graphs is True, but backend is "{backend}": only "torchscript" has CUDA graphs')
    periodic = box is not None
    if backend == "torchscript":
        force = _torch_force(denoiser, species, periodic, outputs_forces, precision, cuda_graphs, connected)
    elif backend == "native":
        force = _native_force(denoiser, species, periodic, connected)
    else:
        compiled, refused = backend == "compiled", refusal(name, "a barostat") if periodic else None
        force = _python_force(denoiser, species, periodic, precision, compiled, int(replicas), bonds, refused)
    if backend in ("torchscript", "native") and not cuda_graphs and periodic and refusal(name, "a barostat"):
        refuse_in_contexts(force, PARAMETERS if backend == "native" else PARAMETERS[:1])
    force.setName(name)
    if backend != "native":  # a CustomNonbondedForce takes it from its cutoff method
        force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def bonds_of(topology: app.Topology) -> list[tuple[int, int]]:
    """Bonded particles of a topology, by their numbers."""
    return [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()]


def check_system(system: openmm.System, name: str | None = None) -> None:
    """Warn of Coulomb counted twice; refuse a barostat over a force without energy, or fitted without a pressure.

    Parameters
    ----------
    system : openmm.System
    name : str, optional
        Name of a DiffusionForce about to be added; None: those already in the System.

    Raises
    ------
    ValueError
    """
    forces = system.getForces()
    names = [force.getName() for force in forces] if name is None else [name]
    charged = any(
        isinstance(force, openmm.NonbondedForce)
        and any(force.getParticleParameters(i)[0]._value != 0 for i in range(force.getNumParticles()))
        for force in forces
    )
    if charged and any(n.startswith(NAME + WITH_COULOMB) for n in names):
        warnings.warn(
            "Coulomb is counted twice: the DiffusionForce has its prior inside, and the System a NonbondedForce "
            "with charges; use include_prior=False, or leave the charges out",
            stacklevel=2,
        )
    barostat = barostat_of(system)
    for each in names if barostat is not None else []:
        refused = refusal(each, barostat.getName()) if each.startswith(NAME) else None
        if refused:
            raise ValueError(refused)


def _torch_force(
    denoiser: Denoiser,
    species: torch.Tensor,
    periodic: bool,
    outputs_forces: bool,
    precision: str,
    cuda_graphs: bool,
    connectivity: Connectivity | None,
) -> openmm.Force:
    reason = torchscript_failure()
    if reason:
        raise ImportError(reason)
    import openmmtorch

    module = scripted_module(denoiser, species, periodic, outputs_forces, precision, cuda_graphs, connectivity)
    force = openmmtorch.TorchForce(module, {"useCUDAGraphs": "true" if cuda_graphs else "false"})
    force.setOutputsForces(outputs_forces)
    return force


def _python_force(
    denoiser: Denoiser,
    species: torch.Tensor,
    periodic: bool,
    precision: str,
    compiled: bool,
    replicas: int,
    bonds: list[tuple[int, int]],
    refused: str | None,
) -> openmm.Force:
    if compiled and periodic:
        # A list with a skin needs a cutoff well below half the box.
        half = 0.5 * float(np.diagonal(np.array(denoiser.header.box)).min())
        denoiser = denoiser.with_ewald(cutoff=max(denoiser.cutoff, min(1.0, half - SKIN)))
    settings = periodic, precision, compiled, replicas, bonds, refused
    evaluator = Evaluator(denoiser.to_bytes(), species.tolist(), *settings)
    return openmm.PythonForce(evaluator)


def native_obstacle(denoiser: Denoiser) -> str | None:
    """Why the learnt terms of a `merged` model have no native form, after "the model ..."; None where they have."""
    learnt = denoiser.header.learnt
    if not learnt:
        return "has no learnt terms"
    other = next((term for term in learnt if not term.joins and term.native_name is None), None)
    if other is not None:
        return f"has a {other.noun}"
    far = next((term for term in learnt if term.cutoff > NATIVE_CUTOFF), None)
    if far is not None:
        return f"has a {far.noun} up to {far.cutoff:g} nm, and native forces end at {NATIVE_CUTOFF:g} nm"
    inside = next((t for t in denoiser.header.terms if not t.learnt and not t.joins and t.native_name is None), None)
    if inside is not None:
        return f"has a {inside.noun} in its prior that no OpenMM force holds"
    kinds = [term.kind for term in learnt if term.joins]
    twice = next((term for term in learnt if kinds.count(term.kind) > 1), None)
    return None if twice is None else f"has {kinds.count(twice.kind)} {twice.noun}s of different knots"


def _native_force(
    denoiser: Denoiser, species: torch.Tensor, periodic: bool, connectivity: Connectivity | None
) -> openmm.Force:
    """All terms as one force over pairs; learnt ones first."""
    terms = sorted(zip(denoiser.header.terms, denoiser.modules()), key=lambda pair: not pair[0].learnt)
    apart = next((term for term, _ in terms if not term.joins and term.native_name), None)
    if apart is not None:
        raise ValueError(
            f'backend is "native", which holds no {apart.noun}: give include_prior=False, or use create_system, '
            "which adds it"
        )
    if native_obstacle(denoiser):
        kinds = " + ".join(term.kind for term in denoiser.header.learnt) or "none"
        raise ValueError(
            f'backend is "native", but the model has the terms {kinds}: it needs pair potentials of one set of knots '
            f'and no network, up to {NATIVE_CUTOFF:g} nm; use "torchscript" or "python"'
        )
    parts = []
    for number, (term, module) in enumerate(terms):
        part: Any = term.pairwise(module, str(number or ""))
        parts.append(part if term.weight == 1 else part._replace(energy=f"{term.weight!r} * ({part.energy})"))
    n_species = len(denoiser.header.species)
    box = denoiser.header.box if periodic else None
    return pairwise_force(parts, n_species, species.numpy(), box, "PairPotential", connectivity)


def choose_backend() -> str:
    """The backend that "auto" takes here: torchscript if its self-test passes, else python."""
    reason = torchscript_failure()
    if reason is None:
        log.info("DiffusionForce runs through TorchForce (openmm-torch): its self-test passed")
        return "torchscript"
    log.warning("DiffusionForce runs through PythonForce: %s", reason)
    return "python"
