"""A denoiser as the callable that OpenMM's PythonForce runs: any torch, no openmm-torch."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openmm
import torch
from torch import Tensor

from ..model.denoiser import Denoiser
from ..model.sum import TRACING, evaluated
from ..space.batch import make_batch
from ..space.boxes import check_cutoff, wrap
from ..space.verlet import VerletList
from .barostats import has_barostat
from .compiled.graph import Compilation, CompiledForces, compiler_failure, room
from .platforms import checked_device, torch_device

log = logging.getLogger(__name__)

#: nm; a smaller skin means fewer idle pairs, but more searches.
SKIN = 0.06

#: s of evaluations without a compiled graph after which one is compiled beside them: who needs more will need it.
WORTH = 5.0

#: Part of the energy and of the largest force by which a compiled graph may differ from the force without it: single
#: precision, and what another order of sums makes of it.
DISAGREEMENT = 1e-3

#: Lists one after the other with more pairs than the graph has places, before a larger one is compiled.
PATIENCE = 20


class Evaluator:
    """What PythonForce calls; pickled as the bytes of a model file, never as code.

    Parameters
    ----------
    data : bytes
        Model file.
    species : list of int
        That of one replica.
    periodic : bool
    precision : "single" or "double"
    compiled : bool
    replicas : int
        Independent copies: particles of the first, of the second, and so on.
    bonds : list of (int, int)
        Bonded particles of one replica.
    later : bool
        Compile in another process, after `WORTH` seconds of evaluations; False: at the first evaluation, which waits.
    refused : str or None
        Why no barostat may change the box; None: one may.
    atoms : list of int, optional
        Number of each particle in the System; None: the System holds these alone.
    n_system : int, optional
        Particles of the System, where `atoms` are given.
    device : str, optional
        torch's; None: the first CUDA device, if there is one and OpenMM's fastest platform is one with devices.
    """

    def __init__(
        self,
        data: bytes,
        species: Sequence[int],
        periodic: bool,
        precision: str,
        compiled: bool = False,
        replicas: int = 1,
        bonds: Sequence[Sequence[int]] = (),
        later: bool = False,
        refused: str | None = None,
        atoms: Sequence[int] | None = None,
        n_system: int | None = None,
        device: str | None = None,
    ) -> None:
        self.arguments = (
            data, species, periodic, precision, compiled, replicas, bonds, later, refused, atoms, n_system, device
        )  # fmt: skip
        self.later, self.spent = later, 0.0
        self.periodic, self.replicas, self.refused = periodic, replicas, refused
        # Chosen here and not by PythonForce.setParticles (OpenMM 8.6), which costs 0.3 ms less among 30,000 particles,
        # but reads beyond a System that is too small, and ends the process.
        self.atoms = None if atoms is None else np.asarray(atoms)
        self.n_system = replicas * len(species) if n_system is None else n_system
        self.device = checked_device(torch_device() if device is None else device)
        self.like = torch.zeros(1, dtype=torch.float32 if precision == "single" else torch.float64, device=self.device)
        denoiser = Denoiser.from_bytes(data)
        self.cutoff, self.structure = denoiser.cutoff, denoiser.header.structure
        self.model = denoiser.model.to(self.like).eval().requires_grad_(False)
        self.index = torch.tensor(species, device=self.device)
        found = denoiser.connectivity(torch.tensor(species), bonds)
        self.connectivity = None if found is None else found.to(self.device)
        self.compiled = compiled and bool(self.model.cutoffs)
        self.graph: CompiledForces | None = None
        self.pairs: VerletList | None = None
        self.first: Tensor | None = None
        self.second: Tensor | None = None
        self.box: Tensor | None = None
        self.overflows = 0
        # Contexts in several threads may share a force, but not its list of pairs.
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Evaluator, self.arguments

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy (kJ/mol) and forces (n_particles, 3), kJ/mol/nm, of an OpenMM State."""
        if self.refused is not None and has_barostat(state.getParameters()):
            raise ValueError(self.refused)
        everyone = state.getPositions(asNumpy=True)._value
        _expect(len(everyone), self.n_system)
        positions = torch.from_numpy(everyone if self.atoms is None else everyone[self.atoms])
        box = torch.from_numpy(state.getPeriodicBoxVectors(asNumpy=True)._value) if self.periodic else None
        energy, forces = self.evaluate(positions, box)
        if self.atoms is None:
            return float(energy), forces.cpu().numpy()
        scattered = np.zeros_like(everyone)
        scattered[self.atoms] = forces.cpu().numpy()
        return float(energy), scattered

    def evaluate(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy and forces (n_particles, 3) in double precision, of positions (n_particles, 3) and box (3, 3), nm."""
        _expect(len(positions), self.replicas * len(self.index))
        # Compiled graphs trust the precision and the layout that they are given.
        positions = positions.to(self.device, torch.float64).reshape(self.replicas, -1, 3).contiguous()
        box = None if box is None else box.to(self.device, torch.float64).contiguous()
        with self.lock:
            if box is not None and (self.box is None or not torch.equal(box, self.box)):
                check_cutoff(self.cutoff, box, "the model's cutoff")
                self.box, self.pairs = box.clone(), None
            energy, forces = self._compiled(positions, box) if self.compiled else self._eager(positions, box)
        return energy.sum(), forces.view(-1, 3)

    def _eager(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        with TRACING, torch.enable_grad():
            y = positions.detach().requires_grad_(True)
            c = make_batch(
                y if box is None else wrap(y, box), box, self.index, self.model.cutoff, None, self.connectivity
            )
            return evaluated(self.model, y, c, self.like)

    def _compiled(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.pairs is None:
            self.pairs = VerletList(self.model.cutoffs, self._skin(box))
        if self.pairs.update(positions, box):
            self._fit(self.pairs.counts)
        if self.graph is not None and self.first is not None and self.second is not None and self._ready():
            result = self.graph(positions, box, self.first, self.second)
            return result if self.graph.trusted else self._compared(result, self._eager(positions, box))
        began = time.perf_counter()
        result = self._eager(positions, box)
        self.spent += time.perf_counter() - began
        return result

    def _compared(self, compiled: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What a graph gave first, if it is what the force is without it: compilers have faults too."""
        # Energies are sums over particles that may cancel: 1 kJ/mol of each counts, as 1 kJ/mol/nm of forces does.
        least = float(len(self.index)), 1.0
        for found, wanted, small, unit in zip(compiled, expected, least, ("kJ/mol", "kJ/mol/nm")):
            error, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
            if not bool(torch.isfinite(wanted).all()):
                return expected  # nothing to compare with: a later evaluation has to tell
            # The opposite of "less", for NaN is no less.
            if not error < DISAGREEMENT * max(largest, small):
                self._give_up(f"its compiled form is wrong by {error:.3g} of {largest:.3g} {unit}")
                return expected
        if self.graph is not None:
            self.graph.trusted = True
        return compiled

    def _ready(self) -> bool:
        """Whether the graph is compiled; if nobody has begun to, and it is worth it, begin."""
        if self.graph is None:
            return False
        compilation = self.graph.compilation
        try:
            if self.graph.ready():
                return True
            if compilation is not None and compilation.process is None and self.spent > WORTH:
                compilation.start()
        except (RuntimeError, OSError) as error:
            self._give_up(str(error))
        return False

    def _skin(self, box: Tensor | None) -> float:
        """Skin (nm) that a box leaves: a pair beyond half of it has no one nearest image to be listed by."""
        if box is None:
            return SKIN
        spare = 0.5 * float(box.diagonal().min()) - self.model.cutoff
        return SKIN if spare >= SKIN else 0.0

    def _fit(self, counts: Mapping[float, int]) -> None:
        """Bring a new list of pairs into the fixed shape, or find a larger one for it."""
        sizes: dict[float, int] = self.graph.sizes if self.graph else {}
        if self.graph is None or any(counts[cutoff] > sizes[cutoff] for cutoff in counts):
            self.overflows += 1
            self.first = self.second = None
            if self.graph is not None and self.overflows < PATIENCE:
                return  # too many pairs for the graph: without it, until this proves to be no exception
            for cutoff, n in counts.items():  # of growing cutoff: no size less than the one before
                fits = n <= sizes.get(cutoff, -1)
                larger = max([size for c, size in sizes.items() if c < cutoff], default=0)
                sizes = {**sizes, cutoff: max(sizes[cutoff] if fits else room(n), larger)}
            self._compile(sizes)
        if self.graph is None or self.pairs is None:
            return
        self.overflows = 0
        missing = self.graph.capacity - len(self.pairs.first)
        idle = self.pairs.first.new_zeros(missing)
        self.first = torch.cat([self.pairs.first, idle])
        self.second = torch.cat([self.pairs.second, idle])

    def _compile(self, sizes: dict[float, int]) -> None:
        reason = compiler_failure()
        if reason is None:
            try:
                compilation = self._elsewhere(sizes) if self.later else None
                self.graph = CompiledForces(
                    self.model, self.structure, self.index, self.like, self.replicas, sizes, self.periodic,
                    self.connectivity, compilation,
                )  # fmt: skip
            except Exception as error:  # whatever the compiler stumbled over, the force is the same without it
                reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        if reason is not None:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        log.warning("the force is not compiled, and runs several times slower: %s", reason)
        self.compiled, self.graph = False, None

    def _elsewhere(self, sizes: dict[float, int]) -> Compilation:
        """Compiling for lists of these sizes in a process of its own, not begun."""
        data, species, periodic, precision, _, replicas, bonds, *_ = self.arguments
        evaluator = {
            "species": species, "periodic": periodic, "precision": precision, "compiled": True, "replicas": replicas,
            "bonds": [list(map(int, bond)) for bond in bonds], "device": str(self.device),
        }  # fmt: skip
        request = {"evaluator": evaluator, "sizes": list(sizes.items()), "threads": torch.get_num_threads()}
        return Compilation(request, data)


#: nm; where the sum of Ewald in real space ends in compiled forces: beyond, more pairs cost more than wave vectors do.
EWALD_CUTOFF = 1.0


def with_skin(denoiser: Denoiser) -> Denoiser:
    """The denoiser of a box with an Ewald sum whose cutoff is well below half of it, as a list with a skin needs."""
    half = 0.5 * float(np.diagonal(np.array(denoiser.header.box)).min())
    return denoiser.with_ewald(cutoff=max(denoiser.cutoff, min(EWALD_CUTOFF, half - SKIN)))


def serve() -> None:
    """Compile what a `Compilation` asks for on the standard input, and give way to other processes."""
    request = json.loads(sys.stdin.buffer.readline())
    if hasattr(os, "nice"):
        os.nice(10)
    torch.set_num_threads(request["threads"])
    evaluator = Evaluator(sys.stdin.buffer.read(), **request["evaluator"])
    evaluator._compile({float(cutoff): int(count) for cutoff, count in request["sizes"]})
    if evaluator.graph is None:
        raise SystemExit("the force could not be compiled")


def _expect(found: int, expected: int) -> None:
    """Refuse a System of another number of particles."""
    if found != expected:
        raise ValueError(
            f"the System has {found} particles, but the DiffusionForce was made for {expected}: make it from the "
            "topology of the System"
        )
