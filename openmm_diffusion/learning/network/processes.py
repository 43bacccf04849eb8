"""Several processes for one training: started here, and ended together.

Lightning's own launchers do not fit a library function.  Its "ddp" runs the user's whole script
again in every process, whatever it does before and after; "ddp_spawn" pickles the task (compiled
functions refuse that) and wants a guarded main module; "ddp_fork" copies a process whose threads
and GPU contexts do not survive it.  Ours are fresh interpreters that run one module of this
package and read what they need from files; Lightning finds its place in the environment.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

#: Seconds that a process has to end.
PATIENCE = 1.0


def run_processes(arguments, number):
    """Run `python ARGUMENTS` in several processes that Lightning's DDP joins; returns when all have ended.

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    package = str(Path(__file__).parents[3])
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(number), "NODE_RANK": "0",
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // number)),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    command = [sys.executable, *arguments]
    started = []
    try:
        for rank in range(number):
            place = {"LOCAL_RANK": str(rank), "RANK": str(rank)}
            started.append(subprocess.Popen(command, env=shared | place, stdin=subprocess.PIPE))
        # One that has failed leaves the others waiting for its gradients.
        while any(process.poll() is None for process in started):
            if any(process.poll() for process in started):
                break
            time.sleep(0.05)
        for rank, process in enumerate(started):
            if process.poll():
                raise RuntimeError(
                    f"process {rank} of {number} of the training ended with status {process.returncode}: "
                    "its own message stands above"
                )
    finally:
        for process in started:
            process.terminate()
            process.stdin.close()
        for process in started:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # it waits for another that has gone
                process.kill()
                process.wait()


def end_with_parent():
    """End this process when the one that started it has gone: nobody else would."""

    def wait():
        os.read(0, 1)  # returns when the other end of the pipe is closed
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
