"""Speed, memory and accuracy of every way to run a model in OpenMM, interleaved and beside the prior alone."""

import datetime
import logging
import os
import platform as machine
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import numpy as np
import openmm
import pandas
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from ... import yamlfile
from ...figures import benchmark_figure
from ...forces.platforms import default_platform, platform_named
from ...model.denoiser import Denoiser
from ...progress import Progress
from ...rundirectory import made, named, write_table, write_whole
from ...settings import validated
from ...systems.system import create_system
from ...systems.topologies import random_positions, training_topology
from ...units import MOST
from .coldstart import cold_start
from .timing import Runner, interleaved, relative_differences, summary
from .variants import NEQUIP, PATHS, learnt_forces, learnt_part, path_context, path_system

log = logging.getLogger(__name__)

#: Columns of a row that are measured before the rounds.
COSTS = ("start_s", "restart_s", "compile_s", "memory_MB", "rms_difference", "max_difference")

#: Frames (one every ps) on which forces are compared and from which every slice of MD starts.
FRAMES = 5


class BenchmarkConfig(BaseModel):
    """What to measure, and on what.

    Attributes
    ----------
    paths : list of str, or None
        Ways to run the model, see `PATHS`; None: all.  The prior is always there, to compare with.
    replicas : list of int
        Numbers of independent copies in one System, each measured.
    nequip : path or None
        A deployed NequIP model to run beside; TorchScript, which executes on loading.
    platform : str or None
        Of OpenMM; None: its fastest.
    threads : int
        Of OpenMM's CPU platform and of torch.  Small models gain nothing from more than one: beside other work,
        two threads of torch that wait for each other made TorchForce up to fifty times slower.
    rounds : int
    seconds : float
        Of MD for each path in each round; half of that again for forces alone.
    timestep : float, ps
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    paths: list[str] | None = None
    replicas: list[Annotated[int, Field(ge=1, le=MOST)]] = Field([1], min_length=1)
    nequip: Path | None = None
    platform: str | None = None
    threads: PositiveInt = Field(1, le=4096)
    rounds: PositiveInt = Field(5, le=10_000)
    seconds: PositiveFloat = Field(2.0, le=86_400)
    timestep: float = Field(0.004, gt=0, le=0.05)


def benchmark(model, output, config=None, report=None):
    """Measure every way to run a model; writes benchmark.csv, rounds.csv, benchmark.yaml and benchmark.png.

    The tables are written after every round, and hold what was measured so far where it is interrupted.

    Each path is first started in a process of its own (start-up time, compilation,
    memory).  Then the contexts of all paths are built in this process, and in each
    round every path runs a slice of MD (the order is reversed from round to round).  On
    a machine that others use, speeds of different rounds differ; the ratio to the prior
    of the same round is what can be compared.

    Parameters
    ----------
    model : path or Denoiser
    output : path
    config : BenchmarkConfig, dict or None
    report : callable, optional
        Receives lines about progress.

    Returns
    -------
    DataFrame
        benchmark.csv: one row per path and number of copies; benchmarks/README.md explains the columns.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    config = config if isinstance(config, BenchmarkConfig) else validated(BenchmarkConfig, config or {}, "config")
    report = report or (lambda line: None)
    if not denoiser.header.learnt:
        raise ValueError("the model has no learnt terms: there is nothing to measure beside its prior")
    names, output = _paths(config), named(output)
    platform = default_platform() if config.platform is None else platform_named(config.platform).getName()
    if config.nequip is not None and not config.nequip.is_file():
        raise FileNotFoundError(f"there is no NequIP file {config.nequip}: give a model written by nequip-deploy")
    output = made(output)
    topology, load = training_topology(denoiser), os.getloadavg()
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        frames = _frames(denoiser, topology, config, platform)
        report(f"{len(frames)} frames of MD under the model, {topology.getNumAtoms()} particles")
        with Progress(f"{output}: starting", len(config.replicas) * (len(names) - 1) + 1, "ways") as told:
            rows, runners = _start(denoiser, topology, names, config, platform, frames, report, told)

        def keep(rounds, failed):
            for row in rows:
                row["note"] = failed.get((row["path"], row["copies"]), row["note"])
            table = summary(pandas.DataFrame(rows), rounds, config.timestep)
            write_table(output / "benchmark.csv", table, float_format="%.5g")
            write_table(output / "rounds.csv", rounds, float_format="%.5g")
            return table

        with Progress(f"{output}: MD", config.rounds * len(runners), "slices") as told:
            measured = interleaved(runners, config.rounds, config.seconds, report, told, keep)
    except KeyboardInterrupt:
        if (output / "rounds.csv").exists():
            log.warning("%s holds the rounds that were whole: benchmark.csv, rounds.csv", output)
        raise
    finally:
        torch.set_num_threads(threads)
    table = keep(*measured)
    conditions = _conditions(denoiser, topology, config, platform, runners, load)
    write_whole(output / "benchmark.yaml", yamlfile.text(conditions))
    benchmark_figure(table, output / "benchmark.png", f"{conditions['device']}, {topology.getNumAtoms()} particles")
    return table


def _paths(config):
    """The paths to measure, the prior first."""
    known = [*PATHS, *([NEQUIP] if config.nequip else [])]
    names = known if config.paths is None else [*config.paths, *known[len(PATHS) :]]
    unknown = [name for name in names if name not in known]
    if unknown:
        remedy = "give its file (--nequip)" if unknown[0] == NEQUIP else f"choose from {', '.join(map(repr, known))}"
        raise ValueError(f"paths has {unknown[0]!r}: {remedy}")
    return list(dict.fromkeys(["prior", *names]))


def _frames(denoiser, topology, config, platform):
    """Frames of MD under the model, (FRAMES, n_particles, 3), nm, one every ps: its own ensemble, not random places."""
    context = path_context(create_system(denoiser, topology), denoiser, config.timestep, platform, config.threads)
    context.setPositions(random_positions(denoiser, topology, seed=1))
    context.setVelocitiesToTemperature(denoiser.header.temperature, 1)
    frames = []
    for _ in range(FRAMES):
        context.getIntegrator().step(max(1, round(1.0 / config.timestep)))
        frames.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    if not np.isfinite(frames).all():
        raise ValueError(f"timestep is {config.timestep:g} ps, and positions became NaN within 5 ps: use a shorter one")
    return np.array(frames)


def _start(denoiser, topology, names, config, platform, frames, report, told):
    """Start every path: a row for each, and the runners of those that can be had, by path and copies."""
    box = topology.getPeriodicBoxVectors()
    box = np.array([[component._value for component in vector] for vector in box])
    species = denoiser.types_of(topology)
    rows, runners = [], {}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "model.safetensors"
        denoiser.save(file)
        measured = [(name, copies) for copies in config.replicas for name in names if name != "prior"]
        for name, copies in [("prior", 1), *measured]:
            # Copy c is c frames ahead, so that the copies differ.
            ahead = [[(k + c) % len(frames) for c in range(copies)] for k in range(len(frames))]
            several = frames[ahead].reshape(len(frames), -1, 3)
            request = dict(
                path=name, copies=copies, model=str(file), platform=platform, threads=config.threads,
                nequip_file=config.nequip and str(config.nequip), timestep=config.timestep,
                positions=several[0].tolist(),
            )  # fmt: skip
            told.add()
            row = {"path": name, "copies": copies, **dict.fromkeys(COSTS, np.nan), "note": ""}
            rows.append(row)
            try:
                row.update(cold_start(request))
                system = path_system(name, denoiser, topology, copies, config.nequip, platform)
                context = path_context(system, denoiser, config.timestep, platform, config.threads)
            except (ValueError, ImportError, openmm.OpenMMException) as error:
                row["note"] = str(error).strip().splitlines()[0]
                report(f"{name} x {copies}: left out: {row['note']}")
                continue
            runners[name, copies] = Runner(context, several, denoiser.header.temperature)
            if name not in ("prior", NEQUIP):  # one has no learnt force, the other is another model
                forces = [learnt_forces(context, positions) for positions in several]
                part = learnt_part(denoiser, system)
                part.model.double()
                expected = part.forces(frames, box, species)[ahead].reshape(several.shape)
                row["rms_difference"], row["max_difference"] = relative_differences(forces, expected)
            report(f"{name} x {copies}: starts in {row['start_s']:.2f} s, {row['memory_MB']:.0f} MB")
    if not runners:
        raise ValueError(f"nothing can be measured here: {rows[0]['note']}")
    return rows, runners


def _conditions(denoiser, topology, config, platform, runners, load):
    """What the numbers depend on."""
    context = next(iter(runners.values())).context
    properties = {
        p: context.getPlatform().getPropertyValue(context, p) for p in context.getPlatform().getPropertyNames()
    }
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": {"digest": denoiser.digest(), "terms": [t.kind for t in denoiser.header.terms]},
        "particles": topology.getNumAtoms(),
        "cutoffs_nm": _cutoffs(denoiser),
        "platform": platform,
        "device": properties.get("DeviceName") or _processor(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "openmm_threads": int(properties["Threads"]) if "Threads" in properties else None,
        "torch_threads": config.threads,
        "torch_device": "cuda" if torch.cuda.is_available() else "cpu",
        "load_before": round(load[0], 2),
        "load_after": round(os.getloadavg()[0], 2),
        "settings": config.model_dump(mode="json"),
        "versions": {
            "python": machine.python_version(),
            **{name: _version(name) for name in ("openmm_diffusion", "openmm", "torch", "e3nn", "openmmtorch")},
        },
    }


def _cutoffs(denoiser):
    """Longest range (nm) of the learnt terms of each kind."""
    found = {}
    for term in denoiser.header.learnt:
        found[term.kind] = max(term.cutoff, found.get(term.kind, 0.0))
    return found


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor():
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return machine.processor() or machine.machine()
