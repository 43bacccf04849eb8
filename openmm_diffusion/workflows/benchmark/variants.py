"""The ways in which a model can run in OpenMM: the System of each, and its learnt force alone."""

import openmm
from openmm import unit

from ...forces.diffusionforce import NAME
from ...systems.system import create_system
from .nequip import NEQUIP_NAME, nequip_force

#: Options of `create_system` for each path; None: the prior alone, without a learnt force.
PATHS = {
    "prior": None,
    "eager": {"backend": "python"},
    "torchscript": {"backend": "torchscript"},
    "compiled": {"backend": "compiled"},
    "compiled, prior inside": {"backend": "compiled", "native_prior": False},
    "native": {"backend": "native"},
}
#: The path of a user's NequIP file: prior and that model.
NEQUIP = "nequip"
#: Force group of what is not the prior.
GROUP = 1


def path_system(name, denoiser, topology, copies=1, nequip_file=None, platform=None):
    """The System of a path: prior as native forces, in group 0; the learnt force, if it has one, in group 1.

    Several copies, and the paths that say so, have the prior inside the learnt force; native pair potentials have
    the wall.

    Parameters
    ----------
    name : str
        Key of `PATHS`, or "nequip".
    denoiser : Denoiser
    topology : openmm.app.Topology
        Topology of one copy.
    copies : int
        Independent copies in one System.
    nequip_file : path, optional
        For the path "nequip": it takes the place of the learnt terms, beside the same prior.
    platform : str, optional
        OpenMM's, beside which torch computes; None: its fastest.

    Returns
    -------
    openmm.System

    Raises
    ------
    ValueError, ImportError
        That say why the path cannot be had here.
    """
    if name in ("prior", NEQUIP) and copies > 1:
        raise ValueError(f"{name} runs one copy, not {copies}: OpenMM's own forces and NequIP files know no copies")
    options = PATHS.get(name)
    if options is None:
        denoiser = denoiser.prior
        options = PATHS["eager"]  # of no learnt terms: no force comes of it
    system = create_system(denoiser, topology, replicas=copies, platform=platform, **options)
    if name == NEQUIP:
        system.addForce(nequip_force(nequip_file, topology))
    for force in system.getForces():
        if force.getName().startswith((NAME, NEQUIP_NAME)):
            force.setForceGroup(GROUP)
    return system


def learnt_part(denoiser, system):
    """The denoiser of the terms in group 1 of a System: the learnt ones, and what of the prior has no own force."""
    names = {force.getName() for force in system.getForces()}
    return denoiser.part(lambda term: term.learnt or term.native_name not in names)


def path_context(system, denoiser, timestep, platform, threads):
    """Context of Langevin dynamics at the temperature of the data, friction 2/ps; `timestep` in ps."""
    integrator = openmm.LangevinMiddleIntegrator(denoiser.header.temperature, 2.0, timestep)
    integrator.setRandomNumberSeed(1)
    properties = {"Threads": str(threads)} if platform == "CPU" else {}
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)


def learnt_forces(context, positions):
    """Force of group 1 at positions (n_particles, 3), nm: array of that shape, kJ/mol/nm."""
    context.setPositions(positions)
    state = context.getState(getForces=True, groups={GROUP})
    return state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
