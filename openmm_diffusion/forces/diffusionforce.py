"""DiffusionForce: a denoiser as an OpenMM Force, through TorchForce, PythonForce or OpenMM's own pair forces."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import openmm
import torch
from openmm import app, unit

from ..model.combination import merged
from ..model.denoiser import Denoiser
from ..model.pressure import known_pressure
from ..space.boxes import check_cutoff
from ..units import MOST, count
from .barostats import COPIES, PARAMETERS, WITHOUT_ENERGY, barostat_of, refusal, refuse_in_contexts, volume_note
from .choice import Choice, choose
from .native import native_force
from .platforms import (
    DEADLY,
    HOST,
    checked_device,
    default_platform,
    platform_named,
    torch_device,
    torchforce_failure,
)
from .pythonforce import Evaluator, with_skin
from .subset import Subset
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
    platform: str | None = None,
    atoms: Iterable[int] | None = None,
    scaling_parameter: str | None = None,
    device: str | None = None,
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
        Model file, name of a shipped model such as "licl", or a denoiser in memory.
    topology : openmm.app.Topology
        Every atom must be of a type the model knows.  With periodic box vectors the
        force is periodic.
    backend : "auto", "torchscript", "python", "compiled" or "native"
        "auto" takes "compiled" on the platforms CPU and Reference, if there is a C++ compiler; else "torchscript",
        if TorchForce passes a self-test on that platform, in a process of its own; else "python"; and says in the
        log which and why.  Then compiling begins beside the run, after some seconds of it, and nobody waits.
        "torchscript" is openmm-torch's TorchForce; "python" is OpenMM's PythonForce.
        "compiled" is a PythonForce whose energy and gradient
        are compiled into one graph: many times faster, after some seconds of compiling at the
        first force of a new model (see `openmm_diffusion.forces.compiled`).  "native" is a tabulated
        CustomNonbondedForce, or a list of pairs where they are few and there is no box, for models whose
        learnt terms are all pair potentials: no torch at run time.  It can carry the wall, but not Coulomb.
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
        barostat, see `check_system`.  A native force of some `atoms` needs it where there are other nonbonded forces
        with exclusions, which it shares then.
    allow_barostat : bool
        Let a barostat change the volume although the model was fitted at a constant one, without
        a pressure.  A model of some `atoms` is refused none: the pressure is that of the whole System.
    types : "element", "name", "residue:name" or list of str, optional
        What the type of an atom is, or the types themselves, one for each atom, of `atoms` where they
        are given.  By default an atom's element if the model's types are elements, else its name.
    platform : str, optional
        OpenMM's platform that the Context will have, by which "auto" and `device` are chosen; None: its fastest.
    atoms : iterable of int, optional
        Numbers of the atoms of `topology`, which is that of the whole System, that the model is of; all others
        feel nothing of it.  Bonds among them count, and none may lead to another atom.
    scaling_parameter : str, optional
        Name of a global parameter of the Context, 1 by default, that energy and forces are multiplied by;
        `getState(getParameterDerivatives=True)` gives the energy's derivative by it, where there is an energy.
    device : str, optional
        PythonForce only: where torch computes, "cpu" or "cuda:1"; a Context with the property DeviceIndex = 1 has
        its forces from "cuda:1" if it is given here.  By default the CPU on the platforms CPU and Reference, else the
        first CUDA device, if any.  TorchForce computes where OpenMM does.

    Returns
    -------
    openmmtorch.TorchForce, openmm.PythonForce, openmm.CustomNonbondedForce or openmm.CustomCompoundBondForce
        A PythonForce with a `scaling_parameter` comes inside an openmm.CustomCVForce, which has the derivative.

    Raises
    ------
    ValueError, FileNotFoundError
        For unknown types, a system that is not neutral under a Coulomb prior, a cutoff above half
        the box, a broken model file, a System of another number of particles, a barostat in `system` that the
        model is refused.
    ImportError
        If `backend` is "torchscript" and TorchForce does not work here, or not on the platform.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}: choose one of {', '.join(BACKENDS)}")
    if precision not in ("single", "double"):
        raise ValueError(f"precision is {precision!r}: choose single or double")
    replicas = count(replicas, "replicas", at_most=MOST)
    if platform is not None:
        platform_named(platform)
    if replicas > 1 and backend not in ("auto", "python", "compiled"):
        raise ValueError(
            f'backend is "{backend}", which holds one replica: for {replicas} replicas use "compiled" or "python"'
        )
    # A model of molecules without a box has no volume of its own, and one of some atoms is not all of the pressure.
    free = allow_barostat or atoms is not None or denoiser.header.box is None
    volume = volume_note(known_pressure(denoiser.header), free)
    if replicas > 1 and atoms is not None:
        raise ValueError(
            f"atoms is given, and replicas is {replicas}: copies are of a whole topology, so leave one of them out"
        )
    if scaling_parameter is not None:
        check_parameter(scaling_parameter)
    if device is not None and backend not in ("auto", "python", "compiled"):
        raise ValueError(
            f'device is {device!r}, but backend is "{backend}", which computes where OpenMM does: leave device out, or '
            'use "python" or "compiled"'
        )
    if not include_prior:
        denoiser = denoiser.learnt
    denoiser = merged(denoiser)
    subset = Subset(topology, atoms)
    names = denoiser.types_of(subset, types)
    species = denoiser.species_index(names)
    connected = denoiser.connectivity(species, subset.bonds)
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
        check_system(system, name, subset.indices)
        expected = subset.n_system * replicas
        if system.getNumParticles() not in (0, expected):  # 0: not filled yet
            raise ValueError(
                f"system has {system.getNumParticles()} particles, but topology {expected}: give the topology of the "
                "whole System, and say by atoms= which of its particles the model is of"
            )
    later = False
    if backend == "auto" and cuda_graphs:
        backend = "torchscript"  # no other has them
    if backend == "auto":
        choice = choose(len(denoiser.header.learnt), platform, replicas=int(replicas))
        apart = device is not None and (choice.backend == "torchscript" or checked_device(device).type != "cpu")
        if apart:
            choice = Choice("python", f"torch computes on the device {device!r}, apart from OpenMM")
        slow = choice.backend == "python" and replicas == 1
        log.log(logging.WARNING if slow else logging.INFO, "backend %s: %s", choice.backend, choice.reason)
        backend, later = choice.backend, choice.backend == "compiled"
    if backend == "torchscript":
        refuse_torchforce(platform)
    if cuda_graphs and backend != "torchscript":
        raise ValueError(f'cuda_graphs is True, but backend is "{backend}": only "torchscript" has CUDA graphs')
    periodic = box is not None
    refused = refusal(name, "a barostat")
    if backend == "torchscript":
        module = scripted_module(
            denoiser, species, periodic, outputs_forces, precision, cuda_graphs, connected, subset.n_system,
            subset.indices, scaling_parameter is not None,
        )  # fmt: skip
        force = _torch_force(module, outputs_forces, cuda_graphs)
        if scaling_parameter is not None:
            force.addGlobalParameter(scaling_parameter, 1.0)
            if denoiser.conservative:
                force.addEnergyParameterDerivative(scaling_parameter)
    elif backend == "native":
        force = native_force(denoiser, species, periodic, connected, subset, scaling_parameter, system)
    else:
        if backend == "compiled" and periodic:
            denoiser = with_skin(denoiser)
        evaluator = Evaluator(
            denoiser.to_bytes(), species.tolist(), periodic, precision, backend == "compiled", int(replicas),
            subset.bonds, later, refused if periodic else None, subset.indices, subset.n_system * int(replicas),
            _device_of(platform) if device is None else device,
        )  # fmt: skip
        force = openmm.PythonForce(evaluator)
    if backend != "native":  # a CustomNonbondedForce takes it from its cutoff method
        force.setUsesPeriodicBoundaryConditions(periodic)
    if scaling_parameter is not None and backend in ("python", "compiled"):
        force = _scaled(force, scaling_parameter, denoiser.conservative)
    # To the parameters of a Context; a TorchForce takes each as an argument of its module, which CUDA graphs fix.
    blind = backend in ("torchscript", "native") or scaling_parameter is not None
    if blind and not cuda_graphs and periodic and refused:
        refuse_in_contexts(force, PARAMETERS[:1] if backend == "torchscript" else PARAMETERS)
    force.setName(name)
    return force


def refuse_torchforce(platform: str | None) -> None:
    """Raise where TorchForce does not work, or would end the process on the platform (None: OpenMM's fastest)."""
    failure = torchscript_failure()
    if failure is None:
        known = platform or default_platform()
        failure = torchforce_failure(known) if known in DEADLY else None
        if failure is not None and platform is None:
            failure += ": give the platform of the Context (platform=), if it is another, or another backend"
    if failure is not None:
        raise ImportError(failure)


def _device_of(platform: str | None) -> str | None:
    """torch's device for a platform that was named; None, where the machine that evaluates the force is to say it."""
    found = None if platform is None else torch_device(platform)
    return None if found == "cpu" and platform not in HOST else found


def check_system(system: openmm.System, name: str | None = None, atoms: Sequence[int] | None = None) -> None:
    """Warn of Coulomb counted twice; refuse a barostat over a force without energy, or fitted without a pressure.

    Parameters
    ----------
    system : openmm.System
    name : str, optional
        Name of a DiffusionForce about to be added; None: those already in the System.
    atoms : list of int, optional
        Particles that it is of; None: all.

    Raises
    ------
    ValueError
    """
    forces = list(_with_variables(system.getForces()))
    names = [force.getName() for force in forces] if name is None else [name]
    charged = any(isinstance(force, openmm.NonbondedForce) and _charged(force, atoms) for force in forces)
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


def _with_variables(forces: Iterable[openmm.Force]) -> Iterator[openmm.Force]:
    """Forces, and those that stand in a CustomCVForce as its variables."""
    for force in forces:
        yield force
        if isinstance(force, openmm.CustomCVForce):
            yield from _with_variables(map(force.getCollectiveVariable, range(force.getNumCollectiveVariables())))


def _charged(force: openmm.NonbondedForce, atoms: Sequence[int] | None) -> bool:
    """Whether a NonbondedForce has Coulomb among some particles: charges, and a pair of them that is no exception."""
    numbers = range(force.getNumParticles()) if atoms is None else atoms
    charged = {i for i in numbers if force.getParticleParameters(i)[0]._value != 0}
    if atoms is None:
        return bool(charged)
    exceptions = map(force.getExceptionParameters, range(force.getNumExceptions()))
    silent = sum(i in charged and j in charged and product._value == 0 for i, j, product, *_ in exceptions)
    return silent < len(charged) * (len(charged) - 1) // 2


def _torch_force(module: Any, outputs_forces: bool, cuda_graphs: bool) -> Any:
    import openmmtorch

    force = openmmtorch.TorchForce(module, {"useCUDAGraphs": "true" if cuda_graphs else "false"})
    force.setOutputsForces(outputs_forces)
    return force


#: What the energy of a PythonForce is called where a parameter scales it.
ENERGY = "denoiser_energy"


def check_parameter(name: str) -> None:
    """Refuse the name of a scaling parameter that OpenMM's expressions do not take, or have a meaning for."""
    taken = {"r", "s", "s1", "s2", "kind", "low", "high", ENERGY}
    if not isinstance(name, str) or not name.isascii() or not name.isidentifier() or name in taken:
        raise ValueError(
            f"scaling_parameter is {name!r}: give a name of letters, digits and _, such as 'lambda_diffusion', and "
            f"none of {', '.join(sorted(taken))}"
        )


def _scaled(force: openmm.PythonForce, parameter: str, conservative: bool) -> openmm.CustomCVForce:
    """The force times a global parameter: a PythonForce knows parameters, but no derivative by them."""
    scaled = openmm.CustomCVForce(f"{parameter} * {ENERGY}")
    scaled.addCollectiveVariable(ENERGY, force)
    scaled.addGlobalParameter(parameter, 1.0)
    if conservative:
        scaled.addEnergyParameterDerivative(parameter)
    return scaled
