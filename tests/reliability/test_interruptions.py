"""Ctrl-C and SIGTERM end every command soon, with the exit status that shells know and a word on how to go on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import kills
import numpy as np
import pytest

pytestmark = pytest.mark.slow

#: Seconds until a command has ended, on one core: on a machine that others use, those that it computed.  One usually
#: takes less than one; what a library swallows comes again after half a second, more than once at worst.
SECONDS = 4.0

OTHERS = {
    "evaluate": ["evaluate", "{inputs}/network.safetensors", "{licl}", "-o", "{out}"],
    "distil": ["distil", "{inputs}/network.safetensors", "{licl}", "-o", "{out}"],
    "export": ["export", "{inputs}/network.safetensors", "--format", "torchscript", "-o", "{out}"],
    "benchmark": ["benchmark", "{inputs}/network.safetensors", "-o", "{out}", "--paths", "prior", "--paths", "eager"],
    "compile": ["compile", "{inputs}/network.safetensors", "--replicas", "3"],
}
RUNS = {
    "train, network": "checkpoints/last.ckpt",
    "simulate, native": "state.csv",
    "simulate, python": "state.csv",
    "refine": "iteration-0/run-0/state.csv",
    "generate": "run-00/state.xml",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return kills.prepared(tmp_path_factory.mktemp("inputs"))


def ended_by(process, number):
    """Exit status, and how long the end took: seconds, or those computed where that is less."""
    before, begun = kills.computed(process), time.monotonic()
    process.send_signal(number)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, min(time.monotonic() - begun, used.ru_utime + used.ru_stime - before)


def told(log):
    """What it said of its end, beside the bar of a training; nothing that looks like an accident stands there."""
    text = log.read_text()
    assert "Traceback" not in text and "<NULL>" not in text and "error:" not in text, text[-2000:]
    said = re.findall(r"interrupted: .*", text)
    return said[0] if said else text.strip().splitlines()[-1]


CALLED = """
import os, signal, threading, time
from models import licl_context, licl_denoiser, licl_frames
from openmm_diffusion.forces.diffusionforce import DiffusionForce
from openmm_diffusion.rundirectory import Interruption

interruption = Interruption()
interruption.install()
context = licl_context(DiffusionForce(licl_denoiser(), licl_frames().topology(), backend="python"))
context.getIntegrator().step(1)
for number in range(8):
    interruption.install()
    begun = time.monotonic()
    try:
        threading.Timer(0.1 + 0.007 * number, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while time.monotonic() - begun < 20:
            context.getIntegrator().step(3)
    except KeyboardInterrupt:
        interruption.over()
        print("interrupted", interruption.status)
"""


def test_a_signal_within_a_force_of_python_is_no_error_of_openmm():
    """What is raised where OpenMM has called Python it would tell as "<NULL>", and a loop around it would go on."""
    places = os.pathsep.join([str(Path(kills.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", CALLED], capture_output=True, text=True, env=kills.environment() | {"PYTHONPATH": places}
    )
    assert (done.returncode, done.stdout) == (0, 8 * "interrupted 143\n"), done.stderr


LOADING = """
import os, signal, threading, torch, openmm, openmmtorch
from openmm_diffusion.rundirectory import Interruption

interruption = Interruption()
interruption.install()
force = openmmtorch.TorchForce(torch.jit.script(torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(100)])))
for number in range(30):
    interruption.install()
    try:
        threading.Timer(0.02 + 0.003 * number, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while True:
            force.getModule()
    except KeyboardInterrupt:
        interruption.over()
        print("interrupted", interruption.status)
"""
SWALLOWED = """
import os, signal, time
from openmm_diffusion.rundirectory import Interruption

interruption = Interruption()
interruption.install()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)
except BaseException:  # as libraries do
    pass
try:
    time.sleep(30)
except KeyboardInterrupt:
    interruption.over()
    print("interrupted", interruption.status)
time.sleep(1)  # and no more
"""
LASTING = """
import os, signal, threading, time, openmm
from openmm_diffusion.rundirectory import Interruption

def compiled(state):
    begun = time.monotonic()
    while time.monotonic() - begun < 30:
        time.sleep(0.01)
    return 0.0, state.getPositions(asNumpy=True)._value

interruption, system = Interruption(), openmm.System()
interruption.install()
system.addParticle(1.0)
system.addForce(openmm.PythonForce(compiled))
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions([[0, 0, 0]])
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
begun = time.monotonic()
try:
    context.getState(forces=True)
except (KeyboardInterrupt, openmm.OpenMMException):
    interruption.over()
    print("interrupted", interruption.status, time.monotonic() - begun < 20)
"""


@pytest.mark.parametrize(
    "script, said",
    [
        pytest.param(LOADING, 30 * "interrupted 143\n", marks=pytest.mark.torchforce),
        (LASTING, "interrupted 143 True\n"),
        (SWALLOWED, "interrupted 143\n"),
    ],
)
def test_a_signal_waits_while_openmmtorch_loads_a_script_and_not_for_a_call_that_lasts(script, said):
    places = os.pathsep.join([str(Path(kills.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=kills.environment() | {"PYTHONPATH": places}
    )
    assert (done.returncode, done.stdout) == (0, said), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_interrupted_goes_on(name, number, inputs, tmp_path):
    """It ends with a checkpoint of where it was, and its end is that of one without a break."""
    if name != "simulate, native" and number == signal.SIGINT:
        pytest.skip("one signal is as the other: the quickest takes both")
    campaign = kills.Campaign(name, inputs, tmp_path)
    output, log = tmp_path / "run", tmp_path / "log"
    process = kills.started(campaign.arguments(output), log)
    while process.poll() is None and not (output / RUNS[name]).exists():
        time.sleep(0.01)
    time.sleep(0.0 if name == "train, network" else 0.3)  # at its first checkpoint of six
    status, seconds = ended_by(process, number)
    assert (status, told(log)) == (128 + number, "interrupted: the same command with --resume goes on")
    assert seconds < SECONDS
    if name.startswith("simulate"):
        assert (output / "checkpoint.xml").exists()
    before = kills.saved(output)
    kills.finished([*campaign.arguments(output), "--resume"], log)
    if name == "train, network":
        # What an interruption leaves out of the mean over its epoch is no part of the model.
        whole = campaign.whole()
        assert (
            kills.Denoiser.load(output / "model.safetensors").digest()
            == kills.Denoiser.load(whole / "model.safetensors").digest()
        )
    else:
        campaign.check(output, campaign.whole(), [before])


@pytest.mark.parametrize("name", OTHERS)
def test_a_command_that_was_interrupted_ends(name, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_DIFFUSION_CACHE", str(tmp_path / "cache"))  # nothing is compiled already
    places = {"inputs": inputs, "licl": kills.LICL, "out": tmp_path / "out"}
    log, status = tmp_path / "log", 0
    moment = np.random.default_rng(len(name)).uniform(2.2, 3.2)  # s computed: the first two are the imports
    while status == 0:  # the command was faster than that
        log.unlink(missing_ok=True)
        process = kills.started([argument.format(**places) for argument in OTHERS[name]], log)
        while process.poll() is None and kills.computed(process) < moment:
            time.sleep(0.01)
        status, seconds = (0, 0.0) if process.returncode == 0 else ended_by(process, signal.SIGTERM)
        assert status or seconds < SECONDS, f"went on after the signal: {log.read_text()}"
        moment *= 0.8
    assert (status, told(log)) == (128 + signal.SIGTERM, "interrupted: nothing goes on, give it again")
    assert seconds < SECONDS
    assert not [path.name for path in tmp_path.rglob("*.tmp")]
