"""Ctrl-C and SIGTERM end every command soon, with the exit status that shells know and a word on how to go on."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kills
import numpy as np
import pytest
from models import licl_frames

pytestmark = pytest.mark.slow

#: Seconds until a command has ended, less those that it waited for a core while others had it.  Most take a tenth;
#: what a library swallows comes again after half a second.
SECONDS = 2.0
#: Seconds in which a command that has done all ends.
LAST = 0.5

OTHERS = {
    "rdf": ["rdf", "{inputs}/run.dcd", "--top", "{inputs}/top.pdb", "-o", "{out}"],
    "coarsen": ["coarsen", "{inputs}/run.dcd", "--top", "{inputs}/top.pdb", "--map", "{inputs}/map.yaml"]
    + ["--temperature", "300", "-o", "{out}.npz"],
    "combine": ["combine", *["{inputs}/network.safetensors"] * 3, "-o", "{out}.safetensors"],
    "evaluate": ["evaluate", "{inputs}/network.safetensors", "{licl}", "-o", "{out}"],
    "distil": ["distil", "{inputs}/network.safetensors", "{licl}", "-o", "{out}"],
    "export": ["export", "{inputs}/network.safetensors", "--format", "torchscript", "-o", "{out}"],
    "benchmark": ["benchmark", "{inputs}/network.safetensors", "-o", "{out}", "--paths", "prior", "--paths", "eager"],
    "compile": ["compile", "{inputs}/network.safetensors", "--replicas", "3"],
}
#: What these compute over what others do.
QUICK = {"coarsen": 0.4}
RUNS = {
    "train, network": "checkpoints/last.ckpt",
    "simulate, native": "state.csv",
    "simulate, python": "state.csv",
    "refine": "iteration-0/run-0/state.csv",
    "generate": "run-00/state.xml",
    "sample": "part-00000.npz",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = kills.prepared(tmp_path_factory.mktemp("inputs"))
    trajectory = licl_frames().to_mdtraj()
    trajectory[0].save(str(folder / "top.pdb"))
    trajectory.xyz = np.tile(trajectory.xyz, (500, 1, 1))  # MDTraj takes a second to put the names together
    trajectory.time, trajectory.unitcell_vectors = np.arange(10_000.0), np.tile(licl_frames().box, (10_000, 1, 1))
    trajectory.save(str(folder / "run.dcd"))
    (folder / "map.yaml").write_text("beads:\n  - {select: all, per: atom, type: X}\n")
    return folder


def queued(process):
    """Seconds that a process has waited for a core that others had; 0 where the kernel does not count them."""
    try:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def ended_by(process, number):
    """Exit status, and how long the end took (s)."""
    begun, before = time.monotonic(), queued(process)
    process.send_signal(number)
    waited = before
    while process.poll() is None:
        waited = max(waited, queued(process))
        time.sleep(0.002)
    return process.returncode, time.monotonic() - begun - (waited - before)


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
from openmm_diffusion.rundirectory.interruptions import Interruption

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
from openmm_diffusion.rundirectory.interruptions import Interruption

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
from openmm_diffusion.rundirectory.interruptions import Interruption

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
from openmm_diffusion.rundirectory.interruptions import Interruption

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


def interrupted(arguments, moment, number, log):
    """A command after a signal, once it has computed so long (s): status and time of the end; None where it was faster.

    What is said is one sentence, and no file is left half written.
    """
    log.unlink(missing_ok=True)
    process = kills.started(arguments, log)
    while process.poll() is None and kills.computed(process) < moment:
        time.sleep(0.002)
    if process.returncode == 0:
        return None
    status, seconds = ended_by(process, number)
    if status == -number and (log.with_name("out").exists() or log.read_text()):
        return None  # it had said its last word, and Python was clearing away
    if status == 0 and seconds < LAST:
        return None  # it was saying it
    assert (status, told(log)) == (128 + number, "interrupted: nothing goes on, give it again")
    assert seconds < SECONDS
    assert not [path.name for path in log.parent.rglob("*.tmp")]
    return status, seconds


def command(name, inputs, out):
    return [argument.format(inputs=inputs, licl=kills.LICL, out=out) for argument in OTHERS[name]]


@pytest.mark.parametrize("name", OTHERS)
def test_a_command_that_was_interrupted_ends(name, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_DIFFUSION_CACHE", str(tmp_path / "cache"))  # nothing is compiled already
    # s computed: the first two are the imports, of which some commands need few
    moment = np.random.default_rng(len(name)).uniform(2.2, 3.2) * QUICK.get(name, 1.0)
    while interrupted(command(name, inputs, tmp_path / "out"), moment, signal.SIGTERM, tmp_path / "log") is None:
        moment *= 0.8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_was_interrupted_while_it_starts_ends(number, inputs, tmp_path):
    """While it imports, and while it reads its arguments; what Python does before is none of its own."""
    for moment in np.random.default_rng(number).uniform(0.12, 1.2, 4):
        assert interrupted(command("combine", inputs, tmp_path / "out"), moment, number, tmp_path / "log")


@pytest.mark.reliability
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", OTHERS)
def test_every_command_ends_at_any_moment(name, number, inputs, tmp_path, monkeypatch):
    """From the first import to the last word, ten times."""
    monkeypatch.setenv("OPENMM_DIFFUSION_CACHE", str(tmp_path / "cache"))
    ends = []
    for moment in np.random.default_rng([number, len(name)]).uniform(0.12, 6.0 * QUICK.get(name, 1.0), 10):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        ends.append(interrupted(command(name, inputs, tmp_path / "out"), moment, number, tmp_path / "log"))
    assert any(ends)
