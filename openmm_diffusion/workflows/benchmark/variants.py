"""The ways in which a model can run in OpenMM, and what starting each of them costs in a process of its own."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import unit

from ...forces.compiled import CACHE
from ...forces.diffusionforce import NAME
from ...model.denoiser import Denoiser
from ...systems.system import create_system
from ...systems.topologies import training_topology
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


def path_system(name, denoiser, topology, copies=1, nequip_file=None):
    """The System of a path: prior as native forces, in group 0; the learnt force, if it has one, in group 1.

    Several copies, and the paths that say so, have the prior inside the learnt force; native pair potentials have
    the wall.

    Parameters
    ----------
    name : str
        Key of `PATHS`, or "nequip".
    denoiser : Denoiser
    topology : openmm.app.Topology
        Of one copy.
    copies : int
        Independent copies in one System.
    nequip_file : path, optional
        For the path "nequip": it takes the place of the learnt terms, beside the same prior.

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
    system = create_system(denoiser, topology, replicas=copies, **options)
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


def cold_start(request):
    """What it costs to start a path, each time in a fresh process.

    Twice where the first start leaves something in the cache of compiled forces, which
    is empty before: the second start then finds it there.

    Parameters
    ----------
    request : dict
        path, copies, model (a file), nequip_file, timestep (ps), platform, threads, and
        positions, shape (n_particles, 3), nm, of all copies.

    Returns
    -------
    dict
        start_s: model file read, System and Context built, first force of the System known;
        imports not counted.  compile_s: compilation just in time (and whatever else is done
        once), the time of the first six forces beyond that of six later ones; the first of them
        is part of start_s too.  restart_s: as start_s, of the second start.  memory_MB: peak
        resident memory of the process, libraries included.

    Raises
    ------
    ValueError
        With the reason, where the path cannot be had.
    """
    with tempfile.TemporaryDirectory() as cache:
        result = _in_fresh_process(request, cache)
        if any(Path(cache).iterdir()):
            result["restart_s"] = _in_fresh_process(request, cache)["start_s"]
    return result


def _in_fresh_process(request, cache):
    environment = {**os.environ, "OMP_NUM_THREADS": str(request["threads"])}
    environment |= {CACHE: cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    package = str(Path(__file__).parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", __spec__.name if __name__ == "__main__" else __name__]
    child = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, env=environment)
    lines = child.stdout.strip().splitlines()
    if child.returncode or not lines:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"the process of the path {request['path']} ended with {child.returncode}: {last}")
    result = json.loads(lines[-1])
    if "reason" in result:
        raise ValueError(result["reason"])
    return result


def measured_start(request, forces=6):
    """What `cold_start` returns, measured in this process."""
    torch.set_num_threads(request["threads"])
    positions = np.array(request["positions"])
    begin = time.perf_counter()
    denoiser = Denoiser.load(request["model"])
    topology = training_topology(denoiser)
    system = path_system(request["path"], denoiser, topology, request["copies"], request["nequip_file"])
    context = path_context(system, denoiser, request["timestep"], request["platform"], request["threads"])
    times = []
    for k in range(3 * forces):
        start = time.perf_counter()
        context.setPositions(positions + 1e-4 * k)  # nm; another configuration as far as OpenMM can tell
        context.getState(getForces=True)
        times.append(time.perf_counter() - start)
        if k == 0:
            start_s = time.perf_counter() - begin
    compile_s = max(0.0, sum(times[:forces]) - forces * float(np.median(times[forces:])))
    return {"start_s": start_s, "compile_s": compile_s, "memory_MB": peak_memory() / 1e6}


def peak_memory():
    """Largest resident memory of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux begins with the memory of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def main():
    """The child process: a request in JSON on standard input, what was measured in JSON on standard output."""
    try:
        result = measured_start(json.load(sys.stdin))
    except (ValueError, ImportError, OSError, RuntimeError, openmm.OpenMMException) as error:
        result = {"reason": str(error).strip().splitlines()[0]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
