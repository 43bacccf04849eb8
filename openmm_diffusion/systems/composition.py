"""What an all-atom run is made of and how long it runs: the configuration of `generate`."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from openmm import app, unit
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .. import yamlfile
from ..particles import check_type
from ..settings import read_yaml
from ..space.boxes import check_cutoff
from ..units import MOLAR, MOST, count
from .bias import BiasConfig
from .ions import SPECIFIC_VOLUME, check_ions, check_neutral, filling_waters, net_charge

_UNITS = {
    "molarity": "mol/L", "edge": "nm", "temperature": "K", "interval": "ps", "timestep": "ps", "friction": "1/ps",
    "cutoff": "nm",
}  # fmt: skip
#: Names of the atoms that may be kept; any other text is a selection in mdtraj's language.
KEPT = ("ions", "water oxygens", "solute", "solute heavy atoms", "all")


class GenerateConfig(BaseModel):
    """What to simulate; bare numbers in nm, ps, K, amu, mol/L.

    Parameters
    ----------
    ions : dict from str to int, optional
        Count of each ion by element symbol: {Li: 12, Na: 12, Cl: 24}; {} is pure water.
        In place of `cation`, `anion` and `pairs`.
    cation, anion : str
        Element symbols of two monovalent ions.
    pairs : int
        Ions of each sign.  Default: 24, none beside `ions` or a `solute`.
    molarity : float, mol/L, optional
        In place of `pairs`, which it then sets, rounded.
    solute : path, optional
        PDB or mmCIF file of what is dissolved, hydrogens included; relative paths start
        at the YAML file.
    copies : int
        Of the solute: several are turned and placed at random, one stands in the middle.
    solute_volume : float, L/mol, optional
        Partial molar volume of the solute (sulfate: 0.0140, Millero 1971).  Default:
        0.73 cm^3/g, which is that of proteins; needed for small ions, if `waters` is not given.
    forcefield : list of str
        Of the solute: force-field files of OpenMM, or paths.
    solvent : "spce", "obc2" or "none"
        SPC/E water in a periodic box, OBC2 implicit solvent, or vacuum; the last
        two need a solute and have no box.
    constraints : "hbonds" or "none"
        Whether bonds to hydrogens of the solute are rigid.  Water always is.
    keep : str, optional
        Which atoms: ions, water oxygens, solute, solute heavy atoms, all, or a selection
        in mdtraj's language.  Default: the heavy atoms of a solute, else the ions,
        else the water oxygens.
    map : path or dict, optional
        Beads to keep in place of atoms, as `coarsen` takes it; see `data.mapping`.  The
        file's contents go into the configuration.
    types : str or dict from str to str
        Types of the kept atoms: "element", "name" or "residue:name"; or names with the
        selection of their atoms, {OW: name O}, by element where none applies.
    bias : BiasConfig, optional
        Windows of a harmonic bias on the distance of two kept particles.
    edge : float, nm
        Edge of the cubic box.
    waters : int, optional
        Default: fills the box at the experimental density of the solution at
        298 K and 1 bar (checked against LiCl, LiBr and LiI: 0.5 % up to 3 mol/L).
        The box is the same in all runs and frames, so there is no barostat.
    temperature : float, K
    runs : int
        Independent runs, of each window where there is a bias, each from its own random placement.
    frames : int
        Kept from each run.
    discard : float, ps
        Relaxation of each run, not kept.
    interval : float, ps
        Between frames.
    timestep : float, ps
        At most 0.005 (5 fs), and 0.001 where bonds to hydrogens are not rigid.
    friction : float, 1/ps
    cutoff : float, nm
        Of Lennard-Jones and the real-space part of PME; there is none without a box.
    hydrogen_mass : float, amu
        Heavier hydrogens, the atoms that they are bound to lighter by as much, allow the
        long step; masses have no influence on which configurations occur.
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

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    ions: dict[str, int] | None = None
    cation: Literal["Li", "Na", "K", "Rb", "Cs"] = "Li"
    anion: Literal["F", "Cl", "Br", "I"] = "Cl"
    pairs: int = Field(24, ge=0)
    molarity: float | None = None
    solute: str | None = None
    copies: int = Field(1, ge=1)
    solute_volume: float | None = None
    forcefield: list[str] = Field(["amber14-all.xml"], min_length=1)
    solvent: Literal["spce", "obc2", "none"] = "spce"
    constraints: Literal["hbonds", "none"] = "hbonds"
    keep: str | None = None
    map: dict[str, Any] | None = None
    types: Literal["element", "name", "residue:name"] | dict[str, str] = "element"
    bias: BiasConfig | None = None
    edge: float | None = Field(2.526, le=1e4)
    waters: int | None = Field(None, ge=1)
    temperature: float = Field(300.0, le=1e6)
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
            source = cls.anchored(read_yaml(source), Path(source).parent)
        return cls.model_validate(source)

    @staticmethod
    def anchored(values: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Values of a YAML file, the paths in them made absolute: those that exist relative to its folder."""
        values = dict(values)
        if isinstance(values.get("solute"), str):
            values["solute"] = str((folder / values["solute"]).resolve())
        if isinstance(values.get("map"), str):
            values["map"] = str((folder / values["map"]).resolve())
        if isinstance(values.get("forcefield"), list):
            files = [(folder / str(name)).resolve() for name in values["forcefield"]]
            values["forcefield"] = [
                str(file) if file.is_file() else name for file, name in zip(files, values["forcefield"], strict=True)
            ]
        return values

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values):
        """What is left out depends on what is asked for: no pairs beside ions or a solute, no box without water."""
        if isinstance(values, dict):
            values = dict(values)
            if values.get("ions") is not None or (values.get("solute") is not None and values.get("molarity") is None):
                values.setdefault("pairs", 0)
            if values.get("solvent", "spce") != "spce":
                values.setdefault("edge", None)
        return values

    @field_validator(*_UNITS)
    @classmethod
    def _positive(cls, value, info):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{info.field_name} is {value:g} {_UNITS[info.field_name]}: give a positive, finite value")
        return value

    @field_validator("pairs", "copies", "waters", "runs", "frames", "chunk")
    @classmethod
    def _possible(cls, value, info):
        return value if value is None else count(value, info.field_name, at_least=0, at_most=MOST)

    @field_validator("ions")
    @classmethod
    def _known(cls, value):
        check_ions(value or {})
        return value

    @field_validator("solute")
    @classmethod
    def _exists(cls, value):
        if value is None:
            return value
        if not Path(value).is_file():
            raise ValueError(f"solute is {value}, and there is no such file: name a PDB or mmCIF file")
        return str(Path(value).resolve())

    @field_validator("map", mode="before")
    @classmethod
    def _contents(cls, value):
        if not isinstance(value, (str, Path)):
            return value
        if not Path(value).is_file():
            raise ValueError(f"map is {value}, and there is no such file: name a YAML file, or give the map itself")
        return yamlfile.read(value)

    @field_validator("types")
    @classmethod
    def _printable(cls, value):
        for name in value if isinstance(value, dict) else ():
            check_type(name)
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

    @field_validator("solute_volume")
    @classmethod
    def _plausible(cls, value):
        if value is not None and not -1 < value < 1000:
            raise ValueError(f"solute_volume is {value:g} L/mol: give a partial molar volume, for sulfate 0.0140")
        return value

    @field_validator("discard")
    @classmethod
    def _not_negative(cls, value):
        if not 0 <= value < math.inf:
            raise ValueError(f"discard is {value:g} ps: give 0 ps or more")
        return value

    @model_validator(mode="after")
    def _consistent(self):
        self._check_kind()
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
        if self.periodic:
            check_cutoff(self.cutoff, self.edge * torch.eye(3, dtype=torch.float64))
        for name in ("interval", "discard"):
            value = getattr(self, name)
            if abs(self.steps(value) * self.timestep - value) > 1e-6 * self.timestep:
                raise ValueError(
                    f"{name} is {value:g} ps, no whole number of timesteps of {self.timestep:g} ps: "
                    "give a multiple of that"
                )
        if self.periodic:
            self._check_box()
        if self.bias is not None:
            self.bias.check(self.edge)
        return self

    def _check_kind(self):
        """Refuse keys that contradict each other."""
        if self.ions is not None and (self.pairs or self.molarity is not None):
            raise ValueError(
                f"ions is {self.ions}, and pairs or molarity is given too: give only one of ions, pairs and molarity"
            )
        if not self.periodic:
            if self.solute is None:
                raise ValueError(f"solvent is {self.solvent}, and there is no solute to simulate in it: give solute")
            for key in ("ions", "pairs", "molarity", "waters", "edge", "solute_volume", "copies"):
                if getattr(self, key) and (key, self.copies) != ("copies", 1):
                    raise ValueError(
                        f"{key} is {getattr(self, key)}, but solvent {self.solvent} has neither box nor water: "
                        f"leave {key} out, or use solvent spce"
                    )
        elif self.edge is None:
            raise ValueError("edge is missing, and solvent spce needs a box: give its edge in nm")
        if self.solute is None and (self.copies > 1 or self.solute_volume is not None):
            key = "copies" if self.copies > 1 else "solute_volume"
            raise ValueError(f"{key} is {getattr(self, key)}, but there is no solute: leave {key} out, or give solute")
        if self.solute is None and self.constraints == "none":
            raise ValueError(
                "constraints is none, but there is no solute, and SPC/E water is rigid: leave constraints out"
            )
        if self.constraints == "none" and self.timestep > 0.001:
            raise ValueError(
                f"timestep is {self.timestep:g} ps, too long for bonds to hydrogens that are not rigid: "
                "use at most 0.001 ps (1 fs), or constraints hbonds"
            )
        if self.map is not None and (self.keep is not None or self.types != "element"):
            key = "types" if self.keep is None else "keep"
            raise ValueError(
                f"{key} is {getattr(self, key)}, but map says what is kept: give only one of {key} and map"
            )
        if self.keep is not None and not self.keep.strip():
            raise ValueError(f"keep is empty: name what to keep, {', '.join(KEPT)} or a selection")

    def _check_box(self):
        """Refuse a box that is charged, or that has no room for water."""
        if self.solute is None:
            check_neutral(net_charge(self.composition), "ions")
        if self.waters is None and not 273 <= self.temperature <= 323:
            raise ValueError(
                f"temperature is {self.temperature:g} K, but the density of the solution is known only "
                "from 273 to 323 K: give waters"
            )
        if self.n_waters < 1:
            key = "pairs" if self.pairs else "ions" if self.ions else "solute"
            raise ValueError(
                f"{key} is {getattr(self, key)}, no room for water in a box of {self.edge:g} nm: "
                f"use {'fewer ' + key if key != 'solute' else 'a smaller solute'} or a larger edge"
            )

    def steps(self, duration):
        """Timesteps in a duration in ps."""
        return round(duration / self.timestep)

    @property
    def periodic(self):
        """Whether there is a box, and water in it."""
        return self.solvent == "spce"

    @property
    def n_runs(self):
        """Runs of all windows together."""
        return self.runs * (1 if self.bias is None else len(self.bias.windows))

    @property
    def composition(self):
        """Count of each ion by element symbol, in the order in which they stand in the System."""
        if self.ions is not None:
            return {symbol: count for symbol, count in self.ions.items() if count}
        return {self.cation: self.pairs, self.anion: self.pairs} if self.pairs else {}

    @property
    def kept(self):
        """`keep`, or what it is where it was left out; of no account beside a `map`."""
        if self.keep is not None:
            return self.keep
        if self.solute is not None:
            return "solute heavy atoms"
        return "ions" if self.composition else "water oxygens"

    @property
    def true_molarity(self):
        """Molarity that the whole number of pairs gives, mol/L."""
        return self.pairs / (self.edge**3 * MOLAR)

    @cached_property
    def molecule(self):
        """The solute as `app.PDBFile` or `app.PDBxFile`, or None."""
        if self.solute is None:
            return None
        reader = app.PDBxFile if Path(self.solute).suffix in (".cif", ".mmcif") else app.PDBFile
        try:
            molecule = reader(self.solute)
        except Exception as error:  # OpenMM's readers raise whatever a line of the file makes them raise
            raise ValueError(
                f"solute is {self.solute}, and it cannot be read ({error}): give a PDB or mmCIF file"
            ) from error
        if not molecule.topology.getNumAtoms():
            raise ValueError(f"solute is {self.solute}, which holds no atoms: give a PDB or mmCIF file with some")
        strange = [atom.name for atom in molecule.topology.atoms() if atom.element is None]
        if strange:
            raise ValueError(
                f"solute is {self.solute}, which does not tell the element of {strange[0]}: "
                "write it into columns 77 and 78 of the PDB file"
            )
        return molecule

    @property
    def n_waters(self):
        """`waters`, or the number that fills the box, see `ions.filling_waters`; 0 without a box."""
        if not self.periodic:
            return 0
        if self.waters is not None:
            return self.waters
        if self.molecule is None:
            return filling_waters(self.composition, self.edge**3)
        if self.solute_volume is None:
            atoms = self.molecule.topology.atoms()
            mass = sum(atom.element.mass.value_in_unit(unit.dalton) for atom in atoms)
            return filling_waters(self.composition, self.edge**3, self.copies * SPECIFIC_VOLUME * mass)
        # The box is neutral, so the ions tell the charge of the solute.
        squares = net_charge(self.composition) ** 2 / self.copies
        return filling_waters(self.composition, self.edge**3, self.copies * self.solute_volume, squares)
