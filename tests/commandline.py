"""The command line in a process of its own."""

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

#: Imports once, then is one process after the other, each of which runs one command.  By one thread: a process that has
#: several must not become two.  And without the end of an interpreter, which takes 1.5 s to clear away all imports.
SERVER = """
import json, os, sys, traceback
import torch
torch.set_num_threads(1)
import mdtraj
from openmm_diffusion import cli, figures
from openmm_diffusion.evaluation import report
from openmm_diffusion.learning import training
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.workflows import distillation, export, refine
from openmm_diffusion.workflows.benchmark import run
Denoiser.load("licl")
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        for number in (1, 2):
            os.dup2(os.open(request["files"][number - 1], os.O_WRONLY), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["openmm-diffusion", *request["arguments"]]
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run(*arguments):
    """As a user has it, with the start of Python and all imports, which take 4 s of CPU."""
    command = [sys.executable, "-m", "openmm_diffusion", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@contextlib.contextmanager
def prepared():
    """A function like `run` for many commands: each in a process of its own, which others have imported for."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        files = [Path(folder, name) for name in ("stdout", "stderr")]

        def run_prepared(*arguments):
            for file in files:
                file.write_text("")
            request = {"arguments": list(map(str, arguments)), "files": list(map(str, files))}
            print(json.dumps(request), file=server.stdin, flush=True)
            code = int(server.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, *[file.read_text() for file in files])

        yield run_prepared
        server.stdin.close()
