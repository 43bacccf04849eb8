"""A training that torchrun starts on two nodes: that of one process, and what is left of it when one of them is killed.

The nodes are network namespaces of this machine, joined by a pair of virtual interfaces, where one may make them (as
root), and two agents on the loopback interface where not.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import torch
import yaml
from models import LICL

from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.network import processes
from openmm_diffusion.learning.network.processes import Place, check_world, place, shared

NAMES, ADDRESSES, LINKS = ("omd-one", "omd-two"), ("10.213.77.1", "10.213.77.2"), ("omd-v1", "omd-v2")
#: A pair potential of the far range only, so that the network has something to find.
CONFIG = {
    "data": {"frames": str(LICL), "limit": 40},
    "pair": {"start": 0.7, "spacing": 0.06},
    "network": {"cutoff": 0.45, "features": 2, "layers": 1, "radial_width": 8},
    "training": {
        "steps": 40, "batch": 2, "check_every": 4, "validation_draws": 1, "learning_rate": 0.01, "patience": 100,
    },
}  # fmt: skip


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def without_namespaces():
    for name in NAMES:
        with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
            ip("netns", "del", name)


@pytest.fixture(scope="module")
def nodes():
    """Of each node what its commands begin with, its address, and its interface."""
    without_namespaces()
    try:
        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", LINKS[0], "netns", NAMES[0], "type", "veth", "peer", "name", LINKS[1], "netns", NAMES[1])
        for name, link, address in zip(NAMES, LINKS, ADDRESSES):
            for words in (f"addr add {address}/24 dev {link}", f"link set {link} up", "link set lo up"):
                ip("-n", name, *words.split())
        yield [(["ip", "netns", "exec", n], address, link) for n, address, link in zip(NAMES, ADDRESSES, LINKS)]
    except (subprocess.CalledProcessError, FileNotFoundError):
        yield [([], "127.0.0.1", "lo")] * 2
    finally:
        without_namespaces()


def begun(nodes, folder, output, port, *more):
    """The agents of torchrun on both nodes, one process each."""
    agents = []
    for number, (before, address, link) in enumerate(nodes):
        command = [
            *before, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
            "--local-addr", address, "--rdzv-conf", f"is_host={number == 0}", "--rdzv-backend", "c10d",
            "--rdzv-id", "test",
            "--rdzv-endpoint", f"{nodes[0][1]}:{port}", "-m", "openmm_diffusion",
            "train", "two.yaml", "-o", output, *more,
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": link}
        said = open(folder / f"{output}-{number}.log", "a")
        agents.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said))
    return agents


def ended(agents, timeout=400):
    try:
        return [agent.wait(timeout) for agent in agents]
    finally:
        for agent in agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(agent.pid).children(recursive=True):
                    child.kill()
            agent.kill()


def said(folder, output):
    return "".join((folder / f"{output}-{number}.log").read_text() for number in range(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("torchrun")
    for name, more in (("one", {}), ("two", {"nodes": 2})):
        config = CONFIG | {"training": CONFIG["training"] | more}
        (found / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return found


@pytest.fixture(scope="module")
def whole(nodes, folder):
    """The directory of a training on two nodes that nothing has disturbed."""
    assert ended(begun(nodes, folder, "whole", 29571)) == [0, 0], said(folder, "whole")
    return folder / "whole"


def weights(output):
    state = torch.load(output / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["global_step"] > 0
    return {name: value for name, value in state["state_dict"].items() if value.numel()}


MARKS = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU; here are GPUs"),
]


def marked(test):
    for mark in MARKS:
        test = mark(test)
    return test


@marked
def test_two_nodes_learn_what_one_process_does(whole, folder):
    command = [sys.executable, "-m", "openmm_diffusion", "train", "one.yaml", "-o", "one"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    alone, two = weights(folder / "one"), weights(whole)
    size = max(float(value.abs().max()) for value in alone.values())
    assert alone.keys() == two.keys() and size > 0.1
    for name, value in alone.items():
        assert (two[name] - value).abs().max() < 1e-4 * size, name
    lines = said(folder, "whole")
    assert lines.count("next: openmm-diffusion simulate") == 1, "one speaks"
    assert "[Gloo]" not in lines
    assert sorted(path.name for path in (folder / "one").iterdir()) == sorted(path.name for path in whole.iterdir())


@marked
def test_a_worker_that_is_killed_costs_no_more_than_a_check(nodes, whole, folder):
    output = folder / "killed"
    agents = begun(nodes, folder, "killed", 29572)
    deadline = time.monotonic() + 300
    while not (output / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    (worker,) = psutil.Process(agents[1].pid).children()
    worker.send_signal(signal.SIGKILL)
    assert all(ended(agents)), "neither node goes on"
    assert not (output / "model.safetensors").exists(), "it was over before"
    assert ended(begun(nodes, folder, "killed", 29573, "--resume")) == [0, 0], said(folder, "killed")
    expected = weights(whole)
    for name, value in weights(output).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)
    shutil.rmtree(output)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Place(0, 1, 0)),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "3", "WORLD_SIZE": "4", "TORCHELASTIC_RESTART_COUNT": "2"}, (3, 4, 2)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, (5, 8, 0)),
        # In the script of a job, where srun was not used.
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}, (0, 1, 0)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (0, 1, 0)),
    ],
)
def test_the_place_of_a_process_is_what_its_launcher_says(variables, expected, monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place() == expected


@pytest.mark.parametrize(
    ("training", "world", "says"),
    [
        (
            {"nodes": 2},
            1,
            "training.devices is 1 and training.nodes 2, but this is one process: start it on every node",
        ),
        ({"devices": 2}, 4, "training.devices is 2 and training.nodes 1, but 4 processes were started"),
        ({}, 2, "but 2 processes were started: give as many devices on each node as processes there"),
    ],
)
def test_numbers_of_processes_that_do_not_fit_are_refused(training, world, says, monkeypatch):
    monkeypatch.setattr(processes, "place", lambda: Place(0, world))
    with pytest.raises(ValueError, match=says):
        check_world(SimpleNamespace(training=read_config({"training": training}).training))


def test_a_batch_is_shared_by_all_nodes():
    with pytest.raises(
        ValueError, match="devices is 2 on each of 3 nodes, batch 16: give a batch that is a multiple of"
    ):
        read_config({"training": {"devices": 2, "nodes": 3}})


def test_alone_what_is_shared_is_what_is_given():
    assert shared(b"bytes") == b"bytes" and not torch.distributed.is_initialized()
