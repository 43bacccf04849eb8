"""Several processes for one training: those that torchrun or srun have started, or that torchrun's launcher does here.

Who starts `torchrun -m openmm_diffusion train ...` or `srun openmm-diffusion train ...` has a process for each device
on every node; each reads the frames, the first fits in closed form, writes, and tells the others.  Without either,
`devices` of this machine are processes of torchrun's own launcher, fresh interpreters that read what they need from
files: Lightning's launchers run the user's whole script again, pickle the task (compiled functions refuse that), or
copy a process whose threads and GPU contexts do not survive it.  In both, Lightning finds its place in the environment.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
from torch import distributed

#: How long processes wait for the first, which may fit in closed form meanwhile.
PATIENCE = timedelta(days=1)
#: Seconds between looks after the process that has started this one.
LOOK = 0.5


class Place(NamedTuple):
    """Which process this is of how many, and how often they were started again."""

    rank: int = 0
    world: int = 1
    starts: int = 0

    @property
    def first(self):
        """Whether this is the one that writes and speaks."""
        return self.rank == 0


def place():
    """`Place` of this process among those that torchrun or srun have started; (0, 1) alone.

    What SLURM says of a job holds in its script too: only a step that srun has started is one of several processes.
    """
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        return Place(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told.get("TORCHELASTIC_RESTART_COUNT", 0)))
    if int(told.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        tasks, starts = int(told["SLURM_STEP_NUM_TASKS"]), int(told.get("SLURM_RESTART_COUNT", 0))
        return Place(int(told["SLURM_PROCID"]), tasks, starts)
    return Place()


def check_world(config):
    """Refuse a number of processes that is not what the configuration says, in one sentence."""
    settings, here = config.training, place()
    asked = f"training.devices is {settings.devices} and training.nodes {settings.nodes}"
    if here.world > 1 and here.world != settings.devices * settings.nodes:
        raise ValueError(
            f"{asked}, but {here.world} processes were started: give as many devices on each node as processes there "
            "(torchrun --nproc-per-node, srun --ntasks-per-node), and as many nodes"
        )
    if here.world == 1 and settings.nodes > 1:
        raise ValueError(
            f"{asked}, but this is one process: start it on every node by torchrun --nnodes {settings.nodes} "
            f"--nproc-per-node {settings.devices} --rdzv-backend c10d --rdzv-endpoint HOST:29500 "
            "-m openmm_diffusion train ..., or by srun"
        )


def environment():
    """Lightning's environment of the processes that this one is of."""
    from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    return TorchElasticEnvironment() if "TORCHELASTIC_RUN_ID" in os.environ else SLURMEnvironment(auto_requeue=False)


def joined():
    """Have the processes know each other; returns this one's `Place`."""
    here = place()
    if here.world > 1 and not distributed.is_initialized():
        found = environment()
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = found.main_address, str(found.main_port)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(found.local_rank())
        with _silent():
            distributed.init_process_group(backend, rank=here.rank, world_size=here.world, timeout=PATIENCE)
    return here


def shared(content):
    """Bytes that the first process has, in all of them; alone, what is given."""
    here = joined()
    if here.world == 1:
        return content
    length = torch.tensor([len(content) if here.first else 0])
    distributed.broadcast(length, 0)
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8) if here.first and content else None
    if data is None:
        data = torch.empty(int(length), dtype=torch.uint8)
    if len(data):
        distributed.broadcast(data, 0)
    return data.numpy().tobytes()


@contextlib.contextmanager
def _silent():
    """Standard output closed: Gloo tells there, past all logs, whom it has met."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def run_processes(arguments, number):
    """Run `python ARGUMENTS` in several processes of this machine, by torchrun's launcher; returns when all have ended.

    Parameters
    ----------
    arguments : list of str
        Such as ["-m", "openmm_diffusion.learning.network.worker", DIRECTORY].
    number : int

    Raises
    ------
    RuntimeError
        If one of them fails; the others are ended then.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    package = str(Path(__file__).parents[3])
    more = {
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // number)),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
    }
    settings = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=number, run_id="training", rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1", max_restarts=0, monitor_interval=0.05,
    )  # fmt: skip
    came = failed = None
    with _as_before(), _environment(more):
        try:
            elastic_launch(settings, sys.executable)(*arguments)
        except ChildFailedError as error:
            failed = error.get_first_failure()
        except SignalException as error:
            came = error.sigval
    if came is not None:
        signal.raise_signal(came)  # for whoever takes it, now that the processes have ended
        raise KeyboardInterrupt
    if failed is not None:
        rank, failure = failed
        raise RuntimeError(
            f"process {rank} of {number} of the training ended with status {failure.exitcode}: its own message stands "
            "above"
        )


@contextlib.contextmanager
def _as_before():
    """Let the launcher take the signals over and say what it has to, until it is done."""
    log = logging.getLogger("torch.distributed.elastic")
    main = threading.current_thread() is threading.main_thread()
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handlers, level = {number: signal.getsignal(number) for number in numbers}, log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        for number, handler in handlers.items() if main else ():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _environment(more):
    """Variables that processes started meanwhile have."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def end_with_parent():
    """End this process when the one that started it has gone: nobody else would."""
    parent = os.getppid()

    def wait():
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
