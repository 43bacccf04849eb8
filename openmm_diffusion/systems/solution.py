"""All-atom aqueous solutions of a salt: composition, OpenMM System and random start.

Water is SPC/E, the ions are Joung and Cheatham's for SPC/E (amber14/spce.xml).
"""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml
from openmm import app, unit
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..space.boxes import check_cutoff
from ..units import MOLAR

#: Molar volume of water at 298 K, L/mol.
WATER_VOLUME = 0.01807
#: Conventional partial molar volumes at infinite dilution, 298 K, L/mol: Millero, Chem. Rev. 71, 147 (1971).
ION_VOLUME = {
    "Li": -0.00088, "Na": -0.00121, "K": 0.00902, "Rb": 0.01407, "Cs": 0.02134,
    "F": -0.00116, "Cl": 0.01783, "Br": 0.02471, "I": 0.03622,
}  # fmt: skip
#: Limiting slope of a 1:1 salt's apparent molar volume in the square root of its molarity, 298 K, (L/mol)^(3/2):
#: Redlich and Meyer, Chem. Rev. 64, 221 (1964).
VOLUME_SLOPE = 1.868e-3
#: SPC/E water: bond in nm, angle in rad (the tetrahedral one): Berendsen et al., J. Phys. Chem. 91, 6269 (1987).
OH_BOND, HOH_ANGLE = 0.1, math.acos(-1 / 3)
#: Largest displacement of a molecule from its lattice site in the random start, nm per component.
JITTER = 0.02

_UNITS = {
    "molarity": "mol/L", "edge": "nm", "temperature": "K", "interval": "ps", "timestep": "ps", "friction": "1/ps",
    "cutoff": "nm",
}  # fmt: skip


class GenerateConfig(BaseModel):
    """What to simulate; bare numbers in nm, ps, K, amu, mol/L.

    Parameters
    ----------
    cation, anion : str
        Element symbols of two monovalent ions.
    pairs : int
        Ions of each sign.
    molarity : float, mol/L, optional
        In place of `pairs`, which it then sets, rounded.
    edge : float, nm
        Edge of the cubic box.
    waters : int, optional
        Default: fills the box at the experimental density of the solution at
        298 K and 1 bar (checked against LiCl, LiBr and LiI: 0.5 % up to 3 mol/L).
    temperature : float, K
    runs : int
        Independent runs, each from its own random placement.
    frames : int
        Kept from each run.
    discard : float, ps
        Relaxation of each run, not kept.
    interval : float, ps
        Between frames.
    timestep : float, ps
    friction : float, 1/ps
    cutoff : float, nm
        Of Lennard-Jones and the real-space part of PME.
    hydrogen_mass : float, amu
        Heavier hydrogens, their oxygens lighter by as much, allow the long step;
        masses have no influence on which configurations occur.
    seed : int
        Seed of placements, velocities and thermostat.
    platform : str, optional
        OpenMM platform; default: OpenMM's choice.  The environment variable
        OPENMM_CPU_THREADS sets the threads of the CPU platform.
    chunk : int
        Frames between two saves: what a kill can cost.

    Raises
    ------
    pydantic.ValidationError
        A ValueError that names each unknown key or impossible value.
    """

    model_config = ConfigDict(extra="forbid")

    cation: Literal["Li", "Na", "K", "Rb", "Cs"] = "Li"
    anion: Literal["F", "Cl", "Br", "I"] = "Cl"
    pairs: int = Field(24, ge=1)
    molarity: float | None = None
    edge: float = 2.526
    waters: int | None = Field(None, ge=1)
    temperature: float = 300.0
    runs: int = Field(4, ge=1)
    frames: int = Field(1000, ge=1)
    discard: float = 800.0
    interval: float = 2.0
    timestep: float = 0.004
    friction: float = 1.0
    cutoff: float = 0.9
    hydrogen_mass: float = 3.0
    seed: int = Field(1, ge=0)
    platform: str | None = None
    chunk: int = Field(25, ge=1)

    @classmethod
    def load(cls, source):
        """A configuration from a YAML file or a mapping."""
        if not isinstance(source, dict):
            source = yaml.safe_load(Path(source).read_text()) or {}
        return cls.model_validate(source)

    @field_validator(*_UNITS)
    @classmethod
    def _positive(cls, value, info):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{info.field_name} is {value:g} {_UNITS[info.field_name]}: give a positive, finite value")
        return value

    @field_validator("timestep")
    @classmethod
    def _short(cls, value):
        if value > 0.005:
            raise ValueError(f"timestep is {value:g} ps, too long for water: use at most 0.005 ps (5 fs)")
        return value

    @field_validator("hydrogen_mass")
    @classmethod
    def _light(cls, value):
        if not 1 <= value <= 5:
            raise ValueError(f"hydrogen_mass is {value:g} amu: give 1 to 5 amu, so that oxygen stays the heavier")
        return value

    @field_validator("discard")
    @classmethod
    def _not_negative(cls, value):
        if not 0 <= value < math.inf:
            raise ValueError(f"discard is {value:g} ps: give 0 ps or more")
        return value

    @model_validator(mode="after")
    def _consistent(self):
        if self.molarity is not None:
            pairs = round(self.molarity * self.edge**3 * MOLAR)
            if pairs < 1:
                raise ValueError(
                    f"molarity is {self.molarity:g} mol/L, less than one pair in a box of {self.edge:g} nm: "
                    "use a larger edge"
                )
            # Equal is allowed, so that a saved configuration, which holds both, loads.
            if "pairs" in self.model_fields_set and self.pairs != pairs:
                raise ValueError(
                    f"pairs is {self.pairs}, but molarity {self.molarity:g} mol/L makes {pairs} in a box of "
                    f"{self.edge:g} nm: give only one of pairs and molarity"
                )
            self.pairs = pairs
        check_cutoff(self.cutoff, self.edge * torch.eye(3, dtype=torch.float64))
        for name in ("interval", "discard"):
            value = getattr(self, name)
            if abs(self.steps(value) * self.timestep - value) > 1e-6 * self.timestep:
                raise ValueError(
                    f"{name} is {value:g} ps, no whole number of timesteps of {self.timestep:g} ps: "
                    "give a multiple of that"
                )
        if self.waters is None and not 273 <= self.temperature <= 323:
            raise ValueError(
                f"temperature is {self.temperature:g} K, but the density of the solution is known only "
                "from 273 to 323 K: give waters"
            )
        if self.n_waters < 1:
            raise ValueError(
                f"pairs is {self.pairs}, no room for water in a box of {self.edge:g} nm: "
                "use fewer pairs or a larger edge"
            )
        return self

    def steps(self, duration):
        """Timesteps in a duration in ps."""
        return round(duration / self.timestep)

    @property
    def true_molarity(self):
        """Molarity that the whole number of pairs gives, mol/L."""
        return self.pairs / (self.edge**3 * MOLAR)

    @property
    def n_waters(self):
        """`waters`, or the number that fills the box: (V - n V_phi) / V_w.

        V_phi is the salt's apparent molar volume, its sum over ions at infinite
        dilution plus the limiting law in the square root of the molarity:
        19.9 cm^3/mol for 2.47 mol/L LiCl, where experiment has 19.3.
        """
        if self.waters is not None:
            return self.waters
        apparent = ION_VOLUME[self.cation] + ION_VOLUME[self.anion] + VOLUME_SLOPE * math.sqrt(self.true_molarity)
        return round((self.edge**3 * MOLAR - self.pairs * apparent) / WATER_VOLUME)


def build_system(config):
    """Topology (cations, anions, waters, in this order) and OpenMM System of a GenerateConfig."""
    topology = app.Topology()
    topology.setPeriodicBoxVectors(config.edge * np.eye(3))
    chain = topology.addChain()
    for symbol in [config.cation] * config.pairs + [config.anion] * config.pairs:
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), topology.addResidue(symbol.upper(), chain))
    hydrogens = []
    for _ in range(config.n_waters):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            hydrogen = topology.addAtom(name, app.element.hydrogen, residue)
            topology.addBond(oxygen, hydrogen)
            hydrogens.append((oxygen.index, hydrogen.index))
    system = app.ForceField("amber14/spce.xml").createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=config.cutoff,
        constraints=app.HBonds,
        rigidWater=True,
        removeCMMotion=False,
    )
    # By hand: createSystem(hydrogenMass=...) leaves rigid waters as they are.
    for oxygen, hydrogen in hydrogens:
        moved = config.hydrogen_mass * unit.dalton - system.getParticleMass(hydrogen)
        system.setParticleMass(hydrogen, system.getParticleMass(hydrogen) + moved)
        system.setParticleMass(oxygen, system.getParticleMass(oxygen) - moved)
    return topology, system


def place_molecules(config, rng):
    """Random start: molecules dealt out to the sites of a jittered lattice, waters turned at random.

    Parameters
    ----------
    config : GenerateConfig
    rng : numpy.random.Generator

    Returns
    -------
    array, shape (2 pairs + 3 n_waters, 3), nm
        In the order of `build_system`.
    """
    n_molecules = 2 * config.pairs + config.n_waters
    per_edge = math.ceil(n_molecules ** (1 / 3))
    chosen = rng.permutation(per_edge**3)[:n_molecules]
    sites = (np.stack(np.unravel_index(chosen, (per_edge,) * 3), axis=-1) + 0.5) * config.edge / per_edge
    sites += rng.uniform(-JITTER, JITTER, sites.shape)
    ions, oxygens = sites[: 2 * config.pairs], sites[2 * config.pairs :]
    # Two random orthonormal vectors: the water's axis, and across it from hydrogen to hydrogen.
    axis, across = rng.normal(size=(2, *oxygens.shape))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    across -= (across * axis).sum(-1, keepdims=True) * axis
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    up, out = OH_BOND * math.cos(HOH_ANGLE / 2) * axis, OH_BOND * math.sin(HOH_ANGLE / 2) * across
    waters = np.stack([oxygens, oxygens + up + out, oxygens + up - out], axis=1)
    return np.concatenate([ions, waters.reshape(-1, 3)])
