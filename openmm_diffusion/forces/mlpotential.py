"""A denoiser as a potential of openmm-ml: whole Systems and, by mechanical embedding, parts of others.

Among its own particles everything is the model's, Coulomb and its periodic images too; between them and others, it is
the conventional force field's.
"""

import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import openmm
from openmm import app, unit
from openmmml.mlpotential import MLPotentialImpl

from ..model.denoiser import Denoiser
from ..units import bare
from .diffusionforce import DiffusionForce
from .subset import Subset

log = logging.getLogger(__name__)

#: K; closer temperatures are the same.
SAME = 0.5

#: What openmm-ml's own embedding takes, and hands on.
EMBEDDING = {"mlLongRange", "linkAtomDistances"}


class DiffusionPotential(MLPotentialImpl):
    """What `MLPotential("diffusion", modelPath=...)` makes.

    Parameters
    ----------
    model : path or Denoiser

    Raises
    ------
    ValueError, FileNotFoundError
        For a missing or broken model file, and a vector head: openmm-ml interpolates energies.
    """

    def __init__(self, model: str | os.PathLike[str] | Denoiser) -> None:
        self.denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
        if not self.denoiser.conservative:
            raise ValueError(
                f"modelPath is {'a denoiser' if model is self.denoiser else model}, whose vector head has no energy, "
                "and openmm-ml's potentials are energies: use a model with an energy head, or DiffusionForce itself"
            )

    def getMLLongRange(self) -> bool:  # noqa: N802 - the names are openmm-ml's
        """Whether the model has the Coulomb energy of all periodic images: if it has a Coulomb prior."""
        return any(term.charged for term in self.denoiser.header.terms)

    def addForces(  # noqa: N802 - the names are openmm-ml's
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,  # noqa: N803
        precision: str | None = None,
        device: Any = None,
        backend: str = "auto",
        types: str | Sequence[str] | None = None,
        temperature: Any = None,
        allowDielectric: bool = False,  # noqa: N803
        allowBarostat: bool = False,  # noqa: N803
        **others: Any,
    ) -> None:
        """Add the model's force to a System, as `createSystem` and `createMixedSystem` of MLPotential ask for it.

        Parameters
        ----------
        topology : openmm.app.Topology
            That of the whole System.
        system : openmm.System
        atoms : iterable of int or None
            Those of the model; None: all, which get the masses of the training data then.
        forceGroup : int
        precision : "single" or "double"
            Default: single, of all but differences of positions.
        device : str or torch.device, optional
            Where PythonForce computes.
        backend : "auto", "torchscript", "python" or "compiled"
            As `DiffusionForce` takes it.
        types : str or list of str, optional
            What an atom's type is, or the types, one for each of the model's atoms.
        temperature : float or Quantity, K, optional
            That of the simulation, to be warned where the model's is another.
        allowDielectric : bool
            Let a model whose Coulomb is weakened by a dielectric stand beside other particles.
        allowBarostat : bool
            Let a barostat change the volume of a whole System although the model was fitted at a constant one.

        Raises
        ------
        ValueError
            What `DiffusionForce` refuses; a dielectric beside other particles; Coulomb that openmm-ml 1.7 would count
            twice; a bead without a mass; a periodic System whose topology has no box.
        """
        unknown = sorted(set(others) - EMBEDDING)
        if unknown and atoms is None:  # in a mixed System they may be those of an embedding from elsewhere
            raise TypeError(
                f"createSystem got {', '.join(unknown)}, which this potential does not know: it takes precision, "
                "device, backend, types, temperature, allowDielectric and allowBarostat"
            )
        if backend not in ("auto", "torchscript", "python", "compiled"):
            raise ValueError(f"backend is {backend!r}: choose auto, torchscript, python or compiled")
        subset = Subset(topology, atoms)
        if subset.indices is not None:
            self._check_mixed(topology, subset, allowDielectric)
        if topology.getPeriodicBoxVectors() is None and system.usesPeriodicBoundaryConditions():
            raise ValueError("topology has no box, but the System is periodic: set its periodic box vectors (nm)")
        self._check_temperature(system, temperature)
        force = DiffusionForce(
            self.denoiser,
            topology,
            atoms=subset.indices,
            types=types,
            backend=backend,
            precision=precision or "single",
            device=None if device is None else str(device),
            allow_barostat=allowBarostat,
        )
        force.setForceGroup(forceGroup)
        if subset.indices is None:
            self._set_masses(system, subset, types)
        system.addForce(force)

    def _check_mixed(self, topology: app.Topology, subset: Subset, dielectric: bool) -> None:
        """Refuse what the model and the rest of a mixed System would both count."""
        terms = self.denoiser.header.terms
        if any(term.replaces_solvent for term in terms) and len(subset) < subset.n_system and not dielectric:
            raise ValueError(
                "the model's Coulomb is that in a dielectric, a solvent that was left out: among explicit solvent its "
                "screening would count twice; model the whole System, or give allowDielectric=True if the other "
                "particles are no part of that solvent"
            )
        periodic = topology.getPeriodicBoxVectors() is not None
        if periodic and self.getMLLongRange() and not hasattr(MLPotentialImpl, "getMLLongRange"):
            raise ValueError(
                "the model has the Coulomb energy of all periodic images, which this openmm-ml leaves in the mixed "
                "System too: install openmm-ml 1.8 or later"
            )

    def _check_temperature(self, system: openmm.System, given: Any) -> None:
        """Say at which temperature the model's forces are those of its data, and warn of another."""
        own = self.denoiser.header.temperature
        log.info("the forces of this model are those of %g K: set the thermostat to it", own)
        found = {"temperature": None if given is None else float(bare(given))}
        for force in system.getForces():
            default = getattr(force, "getDefaultTemperature", None)
            if default is not None:
                found[force.getName()] = default().value_in_unit(unit.kelvin)
        for name, value in found.items():
            if value is not None and abs(value - own) > SAME:
                warnings.warn(
                    f"{name} is {value:g} K, but the model was trained on data at {own:g} K: its forces are those of "
                    f"that temperature; use {own:g} K, or data at {value:g} K",
                    stacklevel=4,
                )

    def _set_masses(self, system: openmm.System, subset: Subset, types: str | Sequence[str] | None) -> None:
        """Masses of the training data: openmm-ml gives a bead, which has no element, none, and so holds it still."""
        for number, kind in enumerate(self.denoiser.types_of(subset, types)):
            mass = self.denoiser.header.mass(kind)
            if mass is not None:
                system.setParticleMass(number, mass)
            elif subset.atoms()[number].element is None:
                raise ValueError(
                    f"atom {number} of topology has the type {kind}, whose mass is known neither to the model nor from "
                    "an element: train on frames with masses (amu)"
                )
