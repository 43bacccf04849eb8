"""DiffusionForce: a denoiser as an OpenMM Force, through TorchForce or PythonForce."""

import contextlib
import functools
import logging
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor, nn

from .denoiser import Denoiser
from .geometry import check_cutoff, wrap
from .terms import energy_and_forces

log = logging.getLogger(__name__)

#: Names of the forces, by which a System shows what it contains.
NAME, NAME_WITH_PRIOR, NAME_WITHOUT_ENERGY = "DiffusionForce", "DiffusionForce+prior", "DiffusionForce without energy"

BACKENDS = ("auto", "torchscript", "python")


def DiffusionForce(  # noqa: N802 - OpenMM's own forces are named so
    model, topology, *, backend="auto", include_prior=True, outputs_forces=True, precision="single", system=None
):
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
        Every atom must be of a species the model knows.  With periodic box vectors the
        force is periodic.
    backend : "auto", "torchscript" or "python"
        "torchscript" is openmm-torch's TorchForce; "python" is OpenMM's PythonForce.
        "auto" takes the first of the two, in this order, that passes a self-test, and
        says in the log which and why.
    include_prior : bool
        Carry the prior (Coulomb, wall) inside.  False leaves it out, for Systems that
        have it as native forces: see `openmm_diffusion.systems.create_system`.
    outputs_forces : bool
        TorchForce only: compute the forces inside the module (True) or let TorchForce
        differentiate the energy (False).  The forces are the same.
    precision : "single" or "double"
        Of the terms; positions come in the precision of the platform.
    system : openmm.System, optional
        The System the force will join, to be warned of charges counted twice and of
        barostats that need an energy.

    Returns
    -------
    openmmtorch.TorchForce or openmm.PythonForce

    Raises
    ------
    ValueError, FileNotFoundError
        For unknown species, a cutoff above half the box, a broken model file.
    ImportError
        If `backend` is "torchscript" and TorchForce does not work here.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}: choose one of {', '.join(BACKENDS)}")
    if precision not in ("single", "double"):
        raise ValueError(f"precision is {precision!r}: choose single or double")
    prior = [t for t in denoiser.header.terms if t not in denoiser.header.learnt]
    if prior and not include_prior:
        denoiser = denoiser.subset(["pair", "network"])
    species = _species(denoiser, topology)
    box = topology.getPeriodicBoxVectors()
    if box is not None:
        vectors = torch.tensor(np.array(box.value_in_unit(unit.nanometer), dtype=float))
        check_cutoff(denoiser.model.cutoff, vectors, "the model's cutoff")
    name = NAME_WITH_PRIOR if prior and include_prior else NAME
    if not denoiser.conservative:
        name = NAME_WITHOUT_ENERGY
        log.warning(
            "this model has a vector head: its forces have no potential, and the energy of this force is a "
            "surrogate without meaning; use no barostat, minimiser, energy report or NVE with it"
        )
    if system is not None:
        check_system(system, name)
    if backend == "auto":
        backend = choose_backend()
    make = _torch_force if backend == "torchscript" else _python_force
    force = make(denoiser, species, box is not None, outputs_forces, precision)
    force.setName(name)
    force.setUsesPeriodicBoundaryConditions(box is not None)
    return force


def check_system(system, name=None):
    """Warn of Coulomb counted twice, refuse a barostat over a force without energy.

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
    if charged and NAME_WITH_PRIOR in names:
        warnings.warn(
            "Coulomb is counted twice: the DiffusionForce carries its prior inside, and the System has a NonbondedForce "
            "with charges; use include_prior=False, or leave the charges out",
            stacklevel=2,
        )
    barostat = next((force.getName() for force in forces if "Barostat" in type(force).__name__), None)
    if barostat and NAME_WITHOUT_ENERGY in names:
        raise ValueError(f"{barostat} needs an energy, but the model has a vector head, which has none: use an energy head")


class ScriptedDenoiser(nn.Module):
    """What TorchForce runs: positions (nm) and box (nm) in, energy and forces (kJ/mol, kJ/mol/nm) out.

    Parameters
    ----------
    model : WeightedSum
    species : Tensor, shape (n_particles,), dtype int64
    outputs_forces : bool
        Return forces beside the energy; otherwise the energy alone, for autograd.
    """

    def __init__(self, model, species, outputs_forces, precision):
        super().__init__()
        self.model = model
        self.outputs_forces = outputs_forces
        self.register_buffer("species", species)
        self.register_buffer("dtype_like", torch.zeros(1, dtype=precision))

    def evaluate(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy (scalar) and direct forces (n_particles, 3) in the precision of the model."""
        # Wrapped in the platform's precision, cast after that: far images lose no digits.
        inside = positions if box is None else wrap(positions, box)
        box_cast = None if box is None else box.to(self.dtype_like.dtype)
        energy, direct = self.model(inside.to(self.dtype_like.dtype).unsqueeze(0), box_cast, self.species)
        return energy[0], direct[0]

    def result(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy and total forces; with autograd outside, the energy's gradient carries the direct forces too."""
        if self.outputs_forces:
            y = positions.detach().requires_grad_(True)
            energy, direct = self.evaluate(y, box)
            gradient = torch.zeros_like(positions)
            if energy.requires_grad:
                slope = torch.autograd.grad([energy], [y])[0]
                if slope is not None:
                    gradient = slope
            # The accumulator: -sum F . r with F held constant.
            surrogate = energy.detach() - (direct.detach() * y.detach()).sum()
            return surrogate, direct.detach().to(positions.dtype) - gradient
        energy, direct = self.evaluate(positions, box)
        return energy - (direct.detach() * positions).sum(), torch.zeros_like(positions)


class PeriodicEnergyForces(ScriptedDenoiser):
    """Periodic, forces computed inside."""

    def forward(self, positions: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        return self.result(positions, box)


class PeriodicEnergy(ScriptedDenoiser):
    """Periodic, differentiated by TorchForce."""

    def forward(self, positions: Tensor, box: Tensor) -> Tensor:
        return self.result(positions, box)[0]


class OpenEnergyForces(ScriptedDenoiser):
    """Without periodicity, forces computed inside."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.result(positions, None)


class OpenEnergy(ScriptedDenoiser):
    """Without periodicity, differentiated by TorchForce."""

    def forward(self, positions: Tensor) -> Tensor:
        return self.result(positions, None)[0]


def scripted_module(denoiser, species, periodic, outputs_forces, precision):
    """The TorchScript module that TorchForce runs."""
    from e3nn.util.jit import script

    classes = {
        (True, True): PeriodicEnergyForces,
        (True, False): PeriodicEnergy,
        (False, True): OpenEnergyForces,
        (False, False): OpenEnergy,
    }
    dtype = torch.float32 if precision == "single" else torch.float64
    model = Denoiser.from_bytes(denoiser.to_bytes()).model.to(dtype)
    module = classes[periodic, outputs_forces](model, species, outputs_forces, dtype).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return script(module)


def _torch_force(denoiser, species, periodic, outputs_forces, precision):
    reason = torchscript_failure()
    if reason:
        raise ImportError(reason)
    import openmmtorch

    force = openmmtorch.TorchForce(scripted_module(denoiser, species, periodic, outputs_forces, precision))
    force.setOutputsForces(outputs_forces)
    return force


class Evaluator:
    """What PythonForce calls; pickled as the bytes of a model file, never as code.

    Parameters
    ----------
    data : bytes
        Model file.
    species : list of int
    periodic : bool
    precision : "single" or "double"
    """

    def __init__(self, data, species, periodic, precision):
        self.data, self.species, self.periodic, self.precision = data, species, periodic, precision
        denoiser = Denoiser.from_bytes(data)
        self.dtype = torch.float32 if precision == "single" else torch.float64
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = denoiser.model.to(self.dtype).to(self.device).eval().requires_grad_(False)
        self.index = torch.tensor(species, device=self.device)

    def __reduce__(self):
        return Evaluator, (self.data, self.species, self.periodic, self.precision)

    def __call__(self, state):
        """Energy (kJ/mol) and forces (n_particles, 3), kJ/mol/nm, of an OpenMM State."""
        positions = torch.from_numpy(state.getPositions(asNumpy=True)._value).unsqueeze(0)
        box = None
        if self.periodic:
            box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value)
        y = positions if box is None else wrap(positions, box)
        box = None if box is None else box.to(self.device, self.dtype)
        energy, forces = energy_and_forces(self.model, y.to(self.device, self.dtype), box, self.index)
        return float(energy[0]), forces[0].double().cpu().numpy()


def _python_force(denoiser, species, periodic, outputs_forces, precision):
    return openmm.PythonForce(Evaluator(denoiser.to_bytes(), species.tolist(), periodic, precision))


def choose_backend():
    """The backend that "auto" takes here: torchscript if its self-test passes, else python."""
    reason = torchscript_failure()
    if reason is None:
        log.info("DiffusionForce runs through TorchForce (openmm-torch): its self-test passed")
        return "torchscript"
    log.warning("DiffusionForce runs through PythonForce: %s", reason)
    return "python"


class _Spring(nn.Module):
    """Self-test: one particle on a spring of 1 kJ/mol/nm^2."""

    def forward(self, positions: Tensor) -> Tensor:
        return 0.5 * (positions * positions).sum()


def _load_plugins():
    """Load the plugins of openmm-torch that failed when OpenMM was imported before torch had brought its libraries."""
    for failure in openmm.Platform.getPluginLoadFailures():
        for library in Path(openmm.version.openmm_library_path, "plugins").glob("*OpenMMTorch*"):
            if str(library) in failure:
                with contextlib.suppress(openmm.OpenMMException):  # a platform this machine does not have
                    openmm.Platform.loadPluginLibrary(str(library))


@functools.cache
def torchscript_failure():
    """Why TorchForce cannot be used here, in one sentence; None where one particle on a spring gets its force."""
    remedy = "pip install 'openmm_diffusion[torchforce]', which brings openmm-torch with the torch and OpenMM it works with"
    try:
        import openmmtorch

        wheel = version("openmmtorch")
    except PackageNotFoundError:
        wheel = None  # a conda build, matched to its OpenMM
    except ImportError as error:
        return f"openmm-torch cannot be imported ({error}): {remedy}"
    if wheel == "1.5" and not openmm.__version__.startswith("8.5"):
        # Found by trial: evaluation works with 8.6, but deserialising a TorchForce ends the process.
        return f"openmm-torch 1.5 from the package index does not fit OpenMM {openmm.__version__} (needs 8.5): {remedy}"
    _load_plugins()
    try:
        force = openmmtorch.TorchForce(torch.jit.script(_Spring()))
        system = openmm.System()
        system.addParticle(1.0)
        system.addForce(force)
        integrator = openmm.VerletIntegrator(0.001)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions([openmm.Vec3(0.5, 0, 0)])
        value = context.getState(getForces=True).getForces(asNumpy=True)._value[0, 0]
    except (openmm.OpenMMException, RuntimeError, AttributeError) as error:
        first_line = str(error).strip().splitlines()[0][:160]
        return f"openmm-torch does not work with torch {torch.__version__} ({first_line}): {remedy}"
    if abs(value + 0.5) > 1e-5:
        return f"openmm-torch gives a wrong force with torch {torch.__version__} ({value:g} instead of -0.5): {remedy}"
    return None


def _species(denoiser, topology):
    """Index of the species of every atom of a topology."""
    atoms = list(topology.atoms())
    if not atoms:
        raise ValueError("topology has no atoms: build one with openmm_diffusion.systems.electrolyte, or read a PDB file")
    bare = [atom.index for atom in atoms if atom.element is None]
    if bare:
        raise ValueError(f"topology has {len(bare)} atoms without an element (first: atom {bare[0]}): give every atom its element")
    return denoiser.species_index([atom.element.atomic_number for atom in atoms])
