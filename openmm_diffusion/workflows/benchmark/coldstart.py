"""What starting a path costs, in a process of its own: time to the first force, compilation, memory."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openmm
import torch

from ...forces.compiled.cache import CACHE
from ...forces.platforms import child_environment
from ...model.denoiser import Denoiser
from ...systems.topologies import training_topology
from .variants import path_context, path_system


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
    environment = child_environment() | {"OMP_NUM_THREADS": str(request["threads"])}
    environment |= {CACHE: cache, "TORCHINDUCTOR_CACHE_DIR": cache}
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
    platform = request["platform"]
    system = path_system(request["path"], denoiser, topology, request["copies"], request["nequip_file"], platform)
    context = path_context(system, denoiser, request["timestep"], platform, request["threads"])
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
