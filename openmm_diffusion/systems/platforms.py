"""OpenMM's platforms by name."""

import openmm


def default_platform():
    """Name of the platform that OpenMM takes by itself here: the fastest that works, not the fastest there is."""
    system = openmm.System()
    system.addParticle(1.0)
    return openmm.Context(system, openmm.VerletIntegrator(0.001)).getPlatform().getName()


def platform_names():
    """Names of the platforms that OpenMM has here."""
    return [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]


def platform_named(name):
    """The openmm.Platform of a name; a ValueError where OpenMM has none of that name here."""
    names = platform_names()
    if name not in names:
        raise ValueError(f"platform is {name!r}: OpenMM has {', '.join(names)} on this machine")
    return openmm.Platform.getPlatformByName(name)
