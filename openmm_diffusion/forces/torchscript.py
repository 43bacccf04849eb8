"""A denoiser as the TorchScript module that openmm-torch's TorchForce runs, and whether TorchForce works here."""

import contextlib
import functools
import logging
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Dict, Optional

import openmm
import torch
from torch import Tensor, nn

from ..model.denoiser import Denoiser
from ..model.sum import WeightedSum, total_force
from ..space.batch import cast, listed_batch, make_batch
from ..space.boxes import wrap
from ..space.connectivity import Connectivity


def constant_negative(direct: Tensor) -> Tensor:
    """-F without its graph: by no_grad, because freezing the module, as TorchForce does, drops every detach."""
    with torch.no_grad():
        negative = -direct
    return negative


class ScriptedDenoiser(nn.Module):
    """What TorchForce runs: positions (nm) and box (nm) in, energy and forces (kJ/mol, kJ/mol/nm) out.

    Parameters
    ----------
    model : WeightedSum
    species : Tensor, shape (n_particles,), dtype int64
    outputs_forces : bool
        Return forces beside the energy; otherwise the energy alone, for autograd.
    precision : torch.dtype
    all_pairs : bool
        Evaluate every pair, those beyond the cutoffs to zero: shapes depend on no positions then, as
        CUDA graphs need.
    connectivity : Connectivity or None
        Who is bonded to whom.
    n_system : int, optional
        Particles of the System; None: those of the model.
    atoms : list of int, optional
        Number of each particle of the model in the System; None: all, in their order.
    reach : float, nm
        Boxes below twice of it are refused, for images would be missed.  With `all_pairs` they are not: a CUDA graph
        replays kernels, and raises nothing.
    scaled : bool
        Whether the first parameter of the force multiplies energy and forces.  Others, such as what
        `barostats.refuse_in_contexts` adds, are not read.
    """

    sizes: Dict[float, int]

    def __init__(
        self,
        model: WeightedSum,
        species: Tensor,
        outputs_forces: bool,
        precision: torch.dtype,
        all_pairs: bool,
        connectivity: Connectivity | None = None,
        n_system: int | None = None,
        atoms: Sequence[int] | None = None,
        reach: float = 0.0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.reach, self.scaled = model, reach, scaled
        self.n_system = len(species) if n_system is None else n_system
        self.chosen = atoms is not None
        self.register_buffer("atoms", torch.tensor([] if atoms is None else atoms, dtype=torch.int64))
        self.outputs_forces = outputs_forces
        self.all_pairs = all_pairs
        self.register_buffer("species", species)
        self.register_buffer("dtype_like", torch.zeros(1, dtype=precision))
        n = len(species) if all_pairs else 0
        pairs = torch.triu_indices(n, n, offset=1)
        # Clones: torch 2.14 cannot load a part of nothing that it has saved, and `contiguous` leaves that as it is.
        self.register_buffer("first", pairs[0].clone())
        self.register_buffer("second", pairs[1].clone())
        self.sizes = dict.fromkeys(model.cutoffs, pairs.shape[1])
        # Tables as buffers of their own: those go where TorchForce runs, a tuple of them would stay behind.
        self.connected = connectivity is not None
        for name in Connectivity._fields:
            table = torch.zeros(0, 0, dtype=torch.int64) if connectivity is None else getattr(connectivity, name)
            self.register_buffer(name, table)

    def connectivity(self) -> Optional[Connectivity]:
        """Who is bonded to whom."""
        if not self.connected:
            return None
        return Connectivity(self.bonds, self.angles, self.dihedrals, self.impropers, self.chains, self.excluded)

    def half_of(self, box: Tensor) -> float:
        """Half of the smallest width of the box, nm; a CUDA graph, which is not to wait for it, has no limit."""
        if self.all_pairs:
            return self.reach
        return 0.5 * float(torch.diagonal(box).min())

    def evaluate(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy (scalar) and direct forces (n_particles, 3) in the precision of the model."""
        # Wrapped in the platform's precision, cast after that: far images lose no digits.
        inside = (positions if box is None else wrap(positions, box)).unsqueeze(0)
        if self.all_pairs:
            c = listed_batch(inside, box, self.species, self.first, self.second, self.sizes, self.connectivity())
        else:
            c = make_batch(inside, box, self.species, self.model.cutoff, None, self.connectivity())
        energy, direct = self.model.total(cast(c, self.dtype_like))
        return energy[0], direct[0]

    def result(self, positions: Tensor, box: Tensor | None, scale: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy and total forces; with autograd outside, the energy's gradient carries the direct forces too.

        Both are multiplied by `scale`, where it is given.
        """
        if positions.shape[0] != self.n_system:  # indices beyond the end would end the process
            raise ValueError(
                f"the System has {positions.shape[0]} particles, but the DiffusionForce was made for {self.n_system}: "
                "make it from the topology of the System"
            )
        energy, forces = self.unscaled(positions.index_select(0, self.atoms) if self.chosen else positions, box)
        if self.chosen:
            forces = torch.zeros_like(positions).index_copy(0, self.atoms, forces)
        return (energy, forces) if scale is None else (scale * energy, scale * forces)

    def unscaled(self, positions: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
        """Energy and total forces of the model's particles."""
        if self.outputs_forces:
            y = positions.detach().requires_grad_(True)
            energy, direct = self.evaluate(y, box)
            forces = total_force(energy, direct.detach().to(positions.dtype), y)
            # No graph, which was used up: TorchForce differentiates this energy by parameters.  As in
            # `constant_negative`, a detach would not do.
            with torch.no_grad():
                surrogate = energy - (direct * y).sum()  # the accumulator: -sum F . r with F held constant
            return surrogate, forces
        energy, direct = self.evaluate(positions, box)
        return energy + (constant_negative(direct) * positions).sum(), torch.zeros_like(positions)


# An exception within a method that freezing has inlined can end the process: forward raises its own.


class PeriodicEnergyForces(ScriptedDenoiser):
    """Periodic, forces computed inside."""

    def forward(
        self, positions: Tensor, box: Tensor, first: Tensor | None = None, second: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        half = self.half_of(box)
        if self.reach > half * (1 + 1e-6):
            raise ValueError(
                f"the model's cutoff is {self.reach} nm, over half the box ({round(10000 * half) / 10000} nm), and "
                "periodic images would be missed: the box has shrunk too far, so use a larger one"
            )
        return self.result(positions, box, first if self.scaled else None)


class PeriodicEnergy(ScriptedDenoiser):
    """Periodic, differentiated by TorchForce."""

    def forward(
        self, positions: Tensor, box: Tensor, first: Tensor | None = None, second: Tensor | None = None
    ) -> Tensor:
        half = self.half_of(box)
        if self.reach > half * (1 + 1e-6):
            raise ValueError(
                f"the model's cutoff is {self.reach} nm, over half the box ({round(10000 * half) / 10000} nm), and "
                "periodic images would be missed: the box has shrunk too far, so use a larger one"
            )
        return self.result(positions, box, first if self.scaled else None)[0]


class OpenEnergyForces(ScriptedDenoiser):
    """Without periodicity, forces computed inside."""

    def forward(self, positions: Tensor, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.result(positions, None, first if self.scaled else None)


class OpenEnergy(ScriptedDenoiser):
    """Without periodicity, differentiated by TorchForce."""

    def forward(self, positions: Tensor, first: Tensor | None = None) -> Tensor:
        return self.result(positions, None, first if self.scaled else None)[0]


def scripted_module(
    denoiser: Denoiser,
    species: Tensor,
    periodic: bool,
    outputs_forces: bool,
    precision: str,
    all_pairs: bool = False,
    connectivity: Connectivity | None = None,
    n_system: int | None = None,
    atoms: Sequence[int] | None = None,
    scaled: bool = False,
) -> Any:
    """The TorchScript module that TorchForce runs; arguments as those of `ScriptedDenoiser`."""
    from e3nn.util.jit import script

    classes = {
        (True, True): PeriodicEnergyForces,
        (True, False): PeriodicEnergy,
        (False, True): OpenEnergyForces,
        (False, False): OpenEnergy,
    }
    dtype = torch.float32 if precision == "single" else torch.float64
    model = Denoiser.from_bytes(denoiser.to_bytes()).model.to(dtype)
    given = (
        model, species, outputs_forces, dtype, all_pairs, connectivity, n_system, atoms, denoiser.cutoff, scaled
    )  # fmt: skip
    module = classes[periodic, outputs_forces](*given).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return script(module)


class _Spring(nn.Module):
    """Self-test: one particle on a spring of 1 kJ/mol/nm^2."""

    def forward(self, positions: Tensor) -> Tensor:
        return 0.5 * (positions * positions).sum()


def _load_plugins() -> None:
    """Load the plugins of openmm-torch that failed when OpenMM was imported before torch had brought its libraries."""
    for failure in openmm.Platform.getPluginLoadFailures():
        for library in Path(openmm.version.openmm_library_path, "plugins").glob("*OpenMMTorch*"):
            if str(library) in failure:
                with contextlib.suppress(openmm.OpenMMException):  # a platform this machine does not have
                    openmm.Platform.loadPluginLibrary(str(library))


#: Wheels of openmm-torch: of its own project, with torch 2.9, and of others, with torch 2.10 to 2.12.
WHEELS = ("openmmtorch", *(f"acellera-openmmtorch-{kind}" for kind in ("cpu", "cu12", "cu13")))

#: Versions of them that were tried with OpenMM 8.6: it evaluates, but reading a TorchForce from XML ends the process.
FOR_85 = ("1.5", "1.10")


def _wheel() -> str | None:
    """Version of the wheel that openmm-torch comes from; None for a conda build, which is matched to its OpenMM."""
    for name in WHEELS:
        with contextlib.suppress(PackageNotFoundError):
            installer = (distribution(name).read_text("INSTALLER") or "").strip()
            return version(name) if installer != "conda" else None
    return None


def _of_no_warning(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


@functools.cache
def torchscript_failure(platform: str = "Reference") -> str | None:
    """Why TorchForce cannot be used, in one sentence; None where one particle on a spring gets its force.

    On other platforms than "Reference" a TorchForce may end the process: `torchforce_failure` tries it in another.
    """
    remedy = (
        "pip install 'openmm_diffusion[torchforce]', which brings openmm-torch with the torch and OpenMM it works with"
    )
    # The wheel imports OpenMM by its former name, which warns through the root logger itself.  Runs side by side come
    # here at once: a switch for all logging, which each puts back to where it found it, could stay off.
    logging.root.addFilter(_of_no_warning)
    try:
        import openmmtorch
    except ImportError as error:
        return f"openmm-torch cannot be imported ({error}): {remedy}"
    finally:
        logging.root.removeFilter(_of_no_warning)
    wheel = _wheel()
    if wheel in FOR_85 and not openmm.__version__.startswith("8.5"):
        unfit = f"openmm-torch {wheel} from the package index does not fit OpenMM {openmm.__version__} (needs 8.5)"
        return f"{unfit}: {remedy}"
    _load_plugins()
    try:
        force = openmmtorch.TorchForce(torch.jit.script(_Spring()))
        system = openmm.System()
        system.addParticle(1.0)
        system.addForce(force)
        integrator = openmm.VerletIntegrator(0.001)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
        context.setPositions([openmm.Vec3(0.5, 0, 0)])
        value = context.getState(getForces=True).getForces(asNumpy=True)._value[0, 0]
    except (openmm.OpenMMException, RuntimeError, AttributeError) as error:
        first_line = str(error).strip().splitlines()[0][:160]
        return f"openmm-torch does not work with torch {torch.__version__} ({first_line}): {remedy}"
    if abs(value + 0.5) > 1e-5:
        return f"openmm-torch gives a wrong force with torch {torch.__version__} ({value:g} instead of -0.5): {remedy}"
    return None
