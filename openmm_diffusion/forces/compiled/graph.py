"""A model's energy and forces as one compiled graph of fixed shape, kept on disk for the next start.

Energy and gradient are traced together, so that nothing is left of automatic
differentiation at run time, and compiled ahead of time by torch's inductor.  Shapes are
fixed: pairs come as a list with room for some more than there are.  Weights are arguments
of the graph: a model that was trained anew is compiled already.
"""

import gc
import hashlib
import inspect
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ...model.sum import TRACING, WeightedSum, evaluated
from ...space.batch import listed_batch
from ...space.boxes import wrap
from ...space.connectivity import Connectivity
from ..platforms import child_environment
from .cache import cache_directory, keep, kept, workplace

log = logging.getLogger(__name__)

#: Source files, beside those of a model's terms, that energy and gradient are traced from.
GRAPH = (
    "forces/compiled/graph.py",
    "model/sum.py",
    "space/*.py",
    "energies/*.py",
    "energies/bonded/*.py",
    "noise.py",
    "units.py",
)

#: From this number of pairs on, one core is slower than all: two cores need 20 us to share work.
PAIRS_PER_THREAD = 4000


def compiler_failure() -> str | None:
    """Why nothing can be compiled here, in one sentence; None where there is a C++ compiler."""
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        cpp_builder.get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError):
        return "there is no C++ compiler: install g++, or name yours in the environment variable CXX"
    return None


def room(count: int) -> int:
    """Places for a list that holds `count` pairs now: a fifth more at least, in steps of a quarter.

    Steps, so that systems much alike share one compiled graph.
    """
    places = 16
    while places < 1.2 * count:
        places = places * 5 // 4
    return places


class CompiledForces:
    """Energy and forces of one model, one list of particles and one capacity, compiled.

    Parameters
    ----------
    model : WeightedSum
        In the precision and on the device it shall run in.
    structure : str
        All of the model but its weights: it tells compiled graphs on disk apart.
    species : Tensor, shape (n_particles,), dtype int64
        Species of the particles of one frame.
    like : Tensor
        Whose precision the terms are evaluated in.
    n_frames : int
        Independent copies, evaluated together.
    sizes : dict of float to int
        Places for the pairs within each cutoff (nm): see `Batch.sizes`.
    periodic : bool
    connectivity : Connectivity or None
        Who is bonded to whom in one copy.
    compilation : Compilation or None
        Compile there, when it is started; None: here and now.

    Raises
    ------
    RuntimeError
        If compiling fails.
    """

    def __init__(
        self,
        model: WeightedSum,
        structure: str,
        species: torch.Tensor,
        like: torch.Tensor,
        n_frames: int,
        sizes: dict[float, int],
        periodic: bool,
        connectivity: Connectivity | None = None,
        compilation: "Compilation | None" = None,
    ) -> None:
        self.sizes, self.capacity = sizes, max(sizes.values())
        self.periodic = periodic
        threads = min(torch.get_num_threads(), 1 + self.capacity // PAIRS_PER_THREAD)
        whole = Listed(model, species, sizes, like, connectivity)
        tensors = [*whole.named_parameters(), *whole.named_buffers()]
        weights = {name: tensor.detach() for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()}
        self.weights = list(weights.values())
        shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in weights.items()]
        text = [structure, shapes, species.tolist(), str(like.dtype), str(like.device), n_frames, sizes]
        text += [periodic, threads, None if connectivity is None else [table.tolist() for table in connectivity]]
        self.path, self.compilation = cache_directory() / f"{_digest(text, sources(whole))}.pt2", compilation
        if compilation is None:
            with TRACING:
                if not kept(self.path):
                    self._compile(self.path, whole, list(weights), n_frames, threads)
        self._run: Any = None
        self.trusted = False  # until it has been compared with the force that is not compiled
        if not self.ready() and compilation is None:
            raise RuntimeError(f"what was compiled is not whole at {self.path}")

    def ready(self) -> bool:
        """Whether it can be called: the graph is on disk, whoever put it there.

        Raises
        ------
        RuntimeError
            If compiling has failed elsewhere.
        """
        if self._run is None and kept(self.path):
            self._run = torch._inductor.aoti_load_package(str(self.path), run_single_threaded=True)
        elif self._run is None and self.compilation is not None and self.compilation.finished():
            if not kept(self.path):  # it may have been put there since the first look
                raise RuntimeError(f"the process that compiled it has left nothing whole at {self.path}")
        return self._run is not None

    def __call__(
        self, positions: torch.Tensor, box: torch.Tensor | None, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy of each frame (n_frames,) and forces (n_frames, n_particles, 3) in double precision.

        Parameters
        ----------
        positions : Tensor, shape (n_frames, n_particles, 3), dtype float64, nm
            Wrapped or not.
        box : Tensor, shape (3, 3), dtype float64, nm, or None
        first, second : Tensor, shape (capacity,), dtype int64
        """
        boxes = [box] if self.periodic else []
        return self._run(self.weights, positions, *boxes, first, second)

    def _compile(self, path, whole, names, n_frames, threads):
        from torch.fx.experimental.proxy_tensor import make_fx

        # It warns where there is no CUDA, whatever is compiled.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        started = time.perf_counter()
        log.info("compiling the force for up to %d pairs: once, it is kept for the next start", self.capacity)
        directory = workplace()

        def evaluate(weights, positions, box, first, second):
            arguments = positions, box, first, second
            return torch.func.functional_call(whole, dict(zip(names, weights)), arguments)

        def evaluate_open(weights, positions, first, second):
            return evaluate(weights, positions, None, first, second)

        # Values do not matter for tracing, but must not divide by zero: particles on a line, far apart.
        device = whole.like.device
        positions = torch.arange(len(whole.species), dtype=torch.float64, device=device)[:, None]
        positions = positions.expand(n_frames, -1, 3).contiguous()
        box = [torch.eye(3, dtype=torch.float64, device=device)] if self.periodic else []
        pairs = torch.zeros(2, self.capacity, dtype=torch.int64, device=device)
        example = (self.weights, positions, *box, pairs[0], pairs[1])
        graph = make_fx(evaluate if self.periodic else evaluate_open)(*example)
        # Elsewhere first: a call that was stopped leaves nothing that looks whole.
        with directory as name:
            package = Path(name, "force.pt2")
            torch._inductor.aoti_compile_and_package(
                torch.export.export(graph, example),
                package_path=str(package),
                inductor_configs={"cpp.threads": threads},
            )
            keep(package, path)
        # What the compiler leaves refers to itself, 200 MB for a small network, and steps of dynamics make too little
        # garbage of their own for Python to look for it soon.
        del graph
        gc.collect()
        log.info("compiled in %.0f s; kept as %s", time.perf_counter() - started, path)


class Compilation:
    """Compiling in a process of its own, which gives way to others, while the force is computed without.

    Parameters
    ----------
    request : dict
        What `pythonforce.serve` needs, without the model: text, numbers and lists.
    data : bytes
        Model file.
    """

    def __init__(self, request: dict[str, Any], data: bytes) -> None:
        self.request, self.data = request, data
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin."""
        log.info("compiling the force beside the run, which goes on without until then")
        self.said = tempfile.TemporaryFile()
        # A file and not a pipe, which is full after 64 KB: the run would wait until the other process reads.
        with tempfile.TemporaryFile() as sent:
            sent.write(json.dumps(self.request).encode() + b"\n" + self.data)
            sent.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from openmm_diffusion.forces.pythonforce import serve; serve()"],
                stdin=sent, stdout=self.said, stderr=self.said, env=child_environment(),
            )  # fmt: skip

    def finished(self) -> bool:
        """Whether the process has ended well; one that has failed is a RuntimeError with the last line that it left."""
        if self.process is None or self.process.poll() is None:
            return False
        if self.process.returncode:
            self.said.seek(0)
            lines = self.said.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError((lines or [f"exit status {self.process.returncode}"])[-1][:200])
        return True


class Listed(torch.nn.Module):
    """Energy and forces for a list of pairs, in double precision; arguments as `listed_batch`."""

    def __init__(self, model, species, sizes, like, connectivity=None):
        super().__init__()
        self.model, self.species, self.sizes, self.like = model, species, sizes, like
        self.connectivity = connectivity

    def forward(self, positions, box, first, second):
        y = positions.detach().requires_grad_(True)
        c = listed_batch(
            y if box is None else wrap(y, box), box, self.species, first, second, self.sizes, self.connectivity
        )
        return evaluated(self.model, y, c, self.like)


def sources(module: torch.nn.Module) -> list[Path]:
    """Source files that the graph of a module is made from, sorted: where one has changed, it is another graph.

    Those of `GRAPH`, and those that the classes of the module's parts come from, wherever they are; libraries
    are told by their versions.
    """
    package = Path(__file__).parents[2]
    files = {path for pattern in GRAPH for path in package.glob(pattern)}
    for part in module.modules():
        name = type(part).__module__
        if name.partition(".")[0] not in ("torch", "e3nn"):
            files.add(Path(inspect.getsourcefile(type(part))))  # type: ignore[arg-type]
    return sorted(files)


def _digest(values: Iterable[Any], files: Iterable[Path]) -> str:
    """A hash of everything that the compiled code depends on."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else repr(value).encode())
    machine = [platform.platform(), _processor(), os.environ.get("CXX", "")]
    if torch.cuda.is_available():
        machine.append(torch.cuda.get_device_name())
    digest.update(" ".join([torch.__version__, version("e3nn"), *machine]).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _processor() -> str:
    """The processor's instruction sets: code compiled for another may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + torch.backends.cpu.get_cpu_capability()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
