"""Runs that are killed at random moments and gone on with by the command that a user types; what must come of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import mdtraj
import numpy as np
import pandas
import yaml
from models import LICL, QUICK, licl_denoiser
from twoparticles import two_particles

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.data.completeness import layout
from openmm_diffusion.model.combination import ensemble
from openmm_diffusion.simulation.states import read_state

TIMESTEP, EVERY = 0.004, 5  # ps, steps between frames
#: Bytes of a DCD file that count its frames, and that hold the date.
DCD_HEADER = 276
FITTED = {"data": {"frames": str(LICL), "limit": 60}, "pair": {"spacing": 0.05}}


@dataclass
class Scenario:
    """A command, and what its directory must hold in the end."""

    command: str
    config: dict = field(default_factory=dict)
    model: str = ""
    more: tuple = ()

    def arguments(self, inputs, name, output):
        config = inputs / f"{name}.yaml"
        config.write_text(yaml.safe_dump(self.config))
        before = {
            "train": [config], "generate": [config], "simulate": [inputs / self.model, "--config", config],
            "refine": [inputs / self.model, inputs / "frames.npz", "--config", config],
            "sample": [inputs / self.model],
        }  # fmt: skip
        return [self.command, *before[self.command], "-o", output, *self.more]


def run_of(n_frames, **more):
    """A run that is cold, for its model of few frames lets pairs come closer than the guard allows."""
    given = {
        "temperature": 100.0,
        "duration": n_frames * EVERY * TIMESTEP,
        "interval": EVERY * TIMESTEP,
        "timestep": TIMESTEP,
    }
    return {**given, "platform": "Reference", **more}


def from_frames(n_frames, **more):
    """Such a run that a command begins, from frames of the data."""
    return run_of(n_frames, start=str(LICL), **more)


#: What runs a second or more on one core, beside the start of its process.
SCENARIOS = {
    "train, closed form": Scenario("train", {**FITTED, "network": None}),
    "train, ensemble": Scenario("train", {**FITTED, "network": None, "ensemble": {"members": 2}}),
    "train, network": Scenario(
        "train",
        {
            "data": {"frames": str(LICL), "limit": 40},
            "pair": {"start": 0.7, "spacing": 0.06},
            "network": {"cutoff": 0.45, "features": 2, "layers": 1, "radial_width": 8},
            "training": {"steps": 24, "batch": 2, "check_every": 4, "validation_draws": 1, "learning_rate": 0.01},
        },
    ),
    "simulate, native": Scenario("simulate", from_frames(300, backend="native"), "linear.safetensors"),
    "simulate, native, xtc": Scenario(
        "simulate", from_frames(300, backend="native", format="xtc"), "linear.safetensors"
    ),
    "simulate, 3 replicas": Scenario("simulate", from_frames(40, backend="python", replicas=3), "linear.safetensors"),
    "simulate, 2 replicas, xtc": Scenario(
        "simulate", from_frames(40, backend="python", replicas=2, format="xtc", seed=3), "linear.safetensors"
    ),
    "simulate, ensemble": Scenario("simulate", from_frames(100), "ensemble.safetensors"),
    "simulate, python": Scenario("simulate", from_frames(40, backend="python"), "network.safetensors"),
    "simulate, torchscript": Scenario("simulate", from_frames(60, backend="torchscript"), "network.safetensors"),
    "simulate, compiled": Scenario("simulate", from_frames(100, backend="compiled"), "network.safetensors"),
    "refine": Scenario(
        "refine",
        {
            "iterations": 2,
            "sampling": {
                "runs": 2, "duration": 1.0, "discard": 0.1, "interval": 0.02, "timestep": 0.004,
                "platform": "Reference",
            },
        },
        "fitted.safetensors",
    ),
    "sample": Scenario("sample", {}, "levels.safetensors", ("--samples", 1000, "--steps", 5)),
    "generate": Scenario(
        "generate",
        {
            "pairs": 2, "edge": 1.5, "cutoff": 0.7, "runs": 2, "frames": 12, "discard": 0.1, "interval": 0.04,
            "chunk": 3, "platform": "CPU",
        },
    ),
}  # fmt: skip


def prepared(inputs):
    """Models and frames that the scenarios take."""
    linear = licl_denoiser(kinds=QUICK)
    linear.save(inputs / "linear.safetensors")
    licl_denoiser().save(inputs / "network.safetensors")
    second = linear.rebuilt(linear.header.terms, linear.modules())
    for module in second.modules():
        if hasattr(module, "coefficients"):
            module.coefficients.mul_(1.1)
    ensemble([linear, second]).save(inputs / "ensemble.safetensors")
    two_particles().save(inputs / "levels.safetensors")
    frames = Frames.load(LICL)[:60]
    frames.save(inputs / "frames.npz")
    return inputs


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"}


def started(arguments, log):
    command = [sys.executable, "-m", "openmm_diffusion", *map(str, arguments)]
    with open(log, "a") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment())


def computed(process):
    """Seconds that a process has computed so far."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def finished(arguments, log):
    process = started(arguments, log)
    assert process.wait(600) == 0, Path(log).read_text()[-2000:]


class Campaign:
    """One scenario: how long it takes without a break, and how it goes on after kills.

    Parameters
    ----------
    name : str
        Of `SCENARIOS`.
    inputs, folder : Path
        Of `prepared`, and for what the runs write.
    """

    def __init__(self, name, inputs, folder):
        self.name, self.folder, self.inputs = name, folder, inputs
        self.scenario = SCENARIOS[name]
        self.slug = name.replace(", ", "-").replace(" ", "-")
        if self.scenario.model == "fitted.safetensors" and not (inputs / self.scenario.model).exists():
            whole = Campaign("train, closed form", inputs, folder).whole()
            shutil.copy(whole / "model.safetensors", inputs / self.scenario.model)
        self.seconds = None

    def arguments(self, output):
        return self.scenario.arguments(self.inputs, self.slug, output)

    def whole(self):
        """The directory of a run without a break; what it computed (s) while it was at work there."""
        output = self.folder / f"{self.slug}-whole"
        if self.seconds is None:
            log = self.folder / f"{self.slug}.log"
            if self.scenario.config.get("backend") == "compiled":  # which is kept: the runs that follow take less
                finished(self.arguments(self.folder / f"{self.slug}-first"), log)
            process = started(self.arguments(output), log)
            begun = self._at_work(output, process)
            while self._within(output, process):
                self.seconds = computed(process) - begun
                time.sleep(0.002)
            assert process.wait(600) == 0, log.read_text()[-2000:]
        return output

    def _at_work(self, output, process):
        """Wait until a process has the directory; what it had computed until then."""
        while process.poll() is None and not self._holds(output, process):
            time.sleep(0.002)
        return computed(process) if process.poll() is None else 0.0

    def _within(self, output, process):
        return process.poll() is None and self._holds(output, process)

    def _holds(self, output, process):
        """Whether a process is past its checks: the lock is its own, and the settings have been written since."""
        lock, settings = output / ".lock", output / "config.yaml"
        try:
            ours = f"process {process.pid} " in lock.read_text()
            return ours and settings.stat().st_mtime_ns >= lock.stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def killed(self, kills, rng, record=lambda **row: None):
        """A run that was killed so many times at random moments, and then went on to its end; checked against `whole`.

        Moments are those of its own work: the machine may have others to do.  A run that ended before its kill begins
        anew, in another directory.
        """
        whole, log, attempt, done = self.whole(), self.folder / f"{self.slug}-killed.log", 0, 0
        while done < kills:
            output, before, resume = self.folder / f"{self.slug}-killed-{attempt}", [], []
            attempt += 1
            while done < kills:
                process, moment = started([*self.arguments(output), *resume], log), rng.uniform(0, self.seconds)
                begun = self._at_work(output, process)
                while self._within(output, process) and computed(process) - begun < moment:
                    time.sleep(0.002)
                if not self._within(output, process):
                    assert process.wait(600) == 0, log.read_text()[-2000:]
                    break
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                resume = ["--resume"]
                before.append(saved(output))
                left = sum(path.suffix == ".tmp" for path in output.rglob("*"))
                record(scenario=self.name, kill=done, computed_s=round(moment, 2), saved=before[-1].counted, left=left)
            finished([*self.arguments(output), "--resume"], log)
            self.check(output, whole, before)

    def check(self, output, whole, before):
        """A directory that was gone on with is as one without a break; what was saved at each kill is in it."""
        assert not list(output.rglob("*.tmp")) and not list(output.rglob(".lock"))
        names = [{str(p.relative_to(of)) for p in of.rglob("*") if p.is_file()} for of in (output, whole)]
        if self.scenario.command != "generate":  # chunks may be of other sizes
            assert names[0] == names[1]
        getattr(self, f"_check_{self.scenario.command}")(output, whole)
        for one in before:
            one.check()

    def _check_train(self, output, whole):
        """The same model to the last bit, and the same tables."""
        found = [Denoiser.load(of / "model.safetensors") for of in (output, whole)]
        assert found[0].digest() == found[1].digest()
        assert found[0].header.held_out == found[1].header.held_out
        for table in whole.rglob("*.csv"):
            other = output / table.relative_to(whole)
            assert other.read_text() == table.read_text(), other

    def _check_simulate(self, output, whole):
        n_frames = round(self.scenario.config["duration"] / self.scenario.config["interval"])
        check_run(output, n_frames)

    def _check_refine(self, output, whole):
        sampling = self.scenario.config["sampling"]
        for run in output.glob("iteration-*/run-*"):
            check_run(run, round(sampling["duration"] / sampling["interval"]))
        table = pandas.read_csv(output / "refine.csv")
        assert table["iteration"].tolist() == list(range(self.scenario.config["iterations"]))
        # MD goes on with other random numbers; the frames of the data are the same.
        assert list(table) == list(pandas.read_csv(whole / "refine.csv"))
        assert len(Denoiser.load(output / "model.safetensors").header.held_out["refined"]) == len(table)

    def _check_sample(self, output, whole):
        """The same samples and weights: their random numbers are those of their parts."""
        found = [Frames.load(of / "samples.npz").digest() for of in (output, whole)]
        assert found[0] == found[1]
        for table in whole.glob("*.csv"):
            assert (output / table.name).read_text() == table.read_text(), table.name

    def _check_generate(self, output, whole):
        config, frames = self.scenario.config, Frames.load(output / "frames.npz")
        assert np.bincount(frames.replica).tolist() == [config["frames"]] * config["runs"]
        assert len(np.unique(frames.positions.reshape(len(frames), -1), axis=0)) == len(frames), "a frame twice"
        for run in range(config["runs"]):
            numbers = [int(path.stem[7:]) for path in sorted((output / f"run-{run:02d}").glob("frames-*.npz"))]
            counts = [len(np.load(p)["positions"]) for p in sorted((output / f"run-{run:02d}").glob("frames-*.npz"))]
            assert numbers == np.cumsum([0, *counts[:-1]]).tolist() and sum(counts) == config["frames"]


def check_run(output, n_frames):
    """No frame and no row is missing or double, and the times of all go on evenly."""
    steps = EVERY * np.arange(1, n_frames + 1)
    table = pandas.read_csv(output / "state.csv")
    assert table.iloc[:, 0].tolist() == steps.tolist()
    np.testing.assert_allclose(table["Time (ps)"], steps * TIMESTEP, rtol=1e-9)
    if (output / "spread.csv").exists():
        times = pandas.read_csv(output / "spread.csv")["time_ps"]
        np.testing.assert_allclose(times, steps * TIMESTEP, atol=1e-4)
    for path in trajectories(output):
        found = layout(path)
        assert len(found.ends) == n_frames and not found.torn and found.announced in (None, n_frames), path
        frames = mdtraj.load(str(path), top=str(output / "topology.pdb"))
        assert len(np.unique(frames.xyz.reshape(n_frames, -1), axis=0)) == n_frames, "a frame twice"
        if path.suffix == ".xtc":
            np.testing.assert_allclose(np.diff(frames.time), EVERY * TIMESTEP, rtol=1e-3)
    assert abs(read_state(output / "checkpoint.xml").getTime()._value - steps[-1] * TIMESTEP) < 1e-6


def trajectories(output):
    return sorted([*output.glob("trajectory*.dcd"), *output.glob("trajectory*.xtc")])


@dataclass
class Saved:
    """What a run that was killed had saved: bytes that must be there in the end."""

    parts: list
    counted: int

    def check(self):
        for path, start, data in self.parts:
            assert path.read_bytes()[start : start + len(data)] == data, f"{path} has lost what was saved"


def saved(output):
    """All frames up to the checkpoints of a directory, and how many these are."""
    parts, counted = [], 0
    for checkpoint in output.rglob("checkpoint.xml"):
        number = round(read_state(checkpoint).getTime()._value / TIMESTEP) // EVERY
        counted += number
        for path in trajectories(checkpoint.parent) if number else []:
            start = DCD_HEADER if path.suffix == ".dcd" else 0
            parts.append((path, start, path.read_bytes()[start : layout(path).ends[number - 1]]))
    for state in output.glob("run-*/state.xml"):
        step = read_state(state).getStepCount()
        for path in state.parent.glob("frames-*.npz"):
            if int(path.stem[7:]) * 10 + 25 < step:  # see the configuration: 0.1 ps left out, a frame each 0.04 ps
                parts.append((path, 0, path.read_bytes()))
                counted += len(np.load(path)["positions"])
    for path in [*output.rglob("pair.safetensors"), *output.rglob("model.safetensors"), *output.glob("part-*.npz")]:
        counted += 1
        parts.append((path, 0, path.read_bytes()))
    return Saved(parts, counted)
