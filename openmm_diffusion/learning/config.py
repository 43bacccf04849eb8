"""Configuration of a training: YAML read into validated models, errors with the key's path."""

from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from ..data.mapping import Mapping
from ..data.sets import TEST_FRACTION, VALIDATION_FRACTION, divide
from ..energies import REGISTRY
from ..energies.bonded.angles import AnglesConfig
from ..energies.bonded.bonds import BondsConfig, OneFourConfig, OneThreeConfig
from ..energies.bonded.dihedrals import DihedralsConfig
from ..energies.bonded.impropers import ImpropersConfig
from ..energies.bonded.maps import MapsConfig
from ..energies.coulomb import CoulombConfig
from ..energies.manybody import ManyBodyConfig
from ..energies.network import NetworkConfig
from ..energies.pair import PairConfig
from ..energies.wall import WallConfig
from ..noise import NoiseConfig
from ..settings import read_yaml, validated
from ..space.connectivity import EXCLUSIONS
from .linear.pressure import PressureConfig
from .network.settings import TrainingConfig


class DataConfig(BaseModel):
    """Frames, and how they are divided; whole replicas go to one side where there are several.

    Attributes
    ----------
    frames : path, list of paths, or None
        Native npz, NequIP npz or extended XYZ; relative paths start at the YAML file.  Each file of
        a list is a system of its own: other particles, boxes, bonds, and one table of types.
    weights : list of float, or None
        What a frame of each system counts in a training of several; None: 1.
    several_temperatures : bool
        Whether the systems may be at different temperatures.
    trajectory : path, list of paths, or None
        Trajectories instead of frames, each an independent run.
    top : path or None
        What the atoms of the trajectories are.
    map : path, dict or None
        Which atoms of the trajectories are which beads, see `data.mapping`.
    select : str
        Without a map: atoms of the trajectories to keep, in mdtraj's selection language.
    types : "element", "name", "residue:name" or list of str
        Without a map: what the types of these atoms are.
    box : list of three floats, nm, or None
        Edges of the box, for files that hold none.
    temperature : float, K, or None
        For formats that do not hold it.
    forces_key : str or None
        Array or column of the files of frames that holds the forces, where more than one may.
    test_fraction : float
        Kept out of everything, as the reference of `evaluate`.
    validation_fraction : float
        Share of the rest for the held-out loss and early stopping of a network.  A pair potential alone is
        cross-validated and may have all of it: 0.
    limit : int or None
        Use at most so many frames for training and validation together, evenly over all runs.
    seed : int
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    frames: Path | list[Path] | None = None
    weights: list[PositiveFloat] | None = None
    several_temperatures: bool = False
    trajectory: Path | list[Path] | None = None
    top: Path | None = None
    map: Path | dict[str, Any] | None = None
    select: str = "all"
    types: str | list[str] = "element"
    box: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    temperature: PositiveFloat | None = Field(None, le=1e6)
    forces_key: str | None = None
    test_fraction: float = Field(TEST_FRACTION, ge=0, lt=0.9)
    validation_fraction: float = Field(VALIDATION_FRACTION, ge=0, lt=0.9)
    limit: PositiveInt | None = None
    seed: NonNegativeInt = Field(0, lt=2**31)

    @pydantic.model_validator(mode="after")
    def one_source(self):
        """Frames come from files of frames or from trajectories, and what is said of trajectories needs some."""
        defaults = {"top": None, "map": None, "types": "element", "select": "all"}
        said = [key for key, default in defaults.items() if getattr(self, key) != default]
        if self.trajectory is None and said:
            raise ValueError(f"data.{said[0]} is given without data.trajectory: name the trajectories")
        if self.trajectory is not None and self.forces_key is not None:
            raise ValueError("data.forces_key is given with data.trajectory: it is for data.frames, files with forces")
        if self.trajectory is not None and self.frames is not None:
            raise ValueError("data.frames and data.trajectory are both given: keep one of them")
        if self.map is not None and (self.types != "element" or self.select != "all"):
            raise ValueError("data.map is given with data.types or data.select: the map says both, keep it alone")
        if isinstance(self.map, dict):
            Mapping.read(self.map)
        return self

    def starting_at(self, directory):
        """The same, its relative paths taken from a directory."""
        found = {}
        for key in ("frames", "trajectory", "top", "map"):
            value = getattr(self, key)
            if isinstance(value, list):
                found[key] = [one if one.is_absolute() else (directory / one).resolve() for one in value]
            elif isinstance(value, Path) and not value.is_absolute():
                found[key] = (directory / value).resolve()
        return self.model_copy(update=found)

    def system_weights(self, number):
        """What a frame of each of so many systems counts."""
        if self.weights is not None and len(self.weights) != number:
            raise ValueError(f"data.weights has {len(self.weights)} entries for {number} systems: give one for each")
        return self.weights or [1.0] * number

    @property
    def division(self):
        """Arguments of `data.sets.divide`."""
        return self.model_dump(include={"test_fraction", "validation_fraction", "limit", "seed"})

    def divide(self, frames):
        """Training, validation and test frames; the last two may be None."""
        return divide(frames, **self.division)


class PriorConfig(BaseModel):
    """The prior: any part may be left out (null)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    coulomb: CoulombConfig | None = None
    wall: WallConfig | None = WallConfig()

    def check(self, symbols, periodic):
        """Refuse frames that a part cannot be set up for: `symbols` of all particles, and whether they have a box."""
        for _, settings in self.parts:
            settings.check(symbols, periodic)

    def terms(self, summary):
        """The terms of the prior for data of this `DataSummary`."""
        return [term.prepared(settings, summary) for term, settings in self.parts]

    @property
    def parts(self):
        """Term classes of the prior with their settings."""
        return _asked_for(self, lambda term: not term.learnt)


class EnsembleConfig(BaseModel):
    """Several trainings, whose mean force is the model and whose spread says where it is not known.

    Attributes
    ----------
    members : int
    bootstrap : bool
        Train each on a bootstrap sample of the replicas; False: on the same frames with other seeds.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    members: int = Field(8, ge=2, le=1000)
    bootstrap: bool = True


class Config(BaseModel):
    """A whole training.  `pair: null` or `network: null` leaves that learner out; see `defaults` for bonded particles.

    Attributes
    ----------
    target : "denoise", "force" or "hybrid"
        What is learnt from: positions alone; force labels of clean frames alone (force matching,
        without any noise: `noise.sigma` plays no part); or both, their weights chosen by the data.
    exclusions : int
        Bonds between two particles up to which they have no pair potential, wall or Coulomb.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    target: Literal["denoise", "force", "hybrid"] = "denoise"
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    prior: PriorConfig = PriorConfig()
    exclusions: int = Field(EXCLUSIONS, ge=0, le=EXCLUSIONS)
    bonds: BondsConfig | None = BondsConfig()
    angles: AnglesConfig | None = AnglesConfig()
    onethree: OneThreeConfig | None = OneThreeConfig()
    impropers: ImpropersConfig | None = ImpropersConfig()
    dihedrals: DihedralsConfig | None = DihedralsConfig()
    onefour: OneFourConfig | None = OneFourConfig()
    maps: MapsConfig | None = MapsConfig()
    pair: PairConfig | None = PairConfig()
    manybody: ManyBodyConfig | None = None
    network: NetworkConfig | None = NetworkConfig()
    pressure: PressureConfig | None = None
    training: TrainingConfig = TrainingConfig()
    ensemble: EnsembleConfig | None = None

    @pydantic.model_validator(mode="after")
    def validated_network(self):
        """A network without held-out frames would be trained until it knows its frames by heart."""
        if "network" in self.model_fields_set:  # by default it depends on the frames whether there is one
            self.check_network()
        return self

    def check_network(self):
        """Refuse a network without frames to stop it by."""
        if self.network is not None and self.data.validation_fraction == 0:
            raise ValueError("data.validation_fraction is 0: a network needs frames to stop it, 0.15 is usual")

    @pydantic.model_validator(mode="after")
    def whole_vectors(self):
        """Forces of a vector head sum to zero over all particles, those on noised coordinates alone need not."""
        partial = self.noise.species is not None or self.noise.axes != "xyz"
        if partial and self.network is not None and self.network.head == "vector":
            raise ValueError(
                "network.head is vector, but noise.species or noise.axes leave coordinates clean: its forces, freed of "
                "their net force, would be wrong there; use head: energy, or noise everything"
            )
        return self

    @pydantic.model_validator(mode="after")
    def clean_force_matching(self):
        """Force labels belong to the clean positions, and to one noise level."""
        for term, settings in self.linear:
            key = f"{kind_of(term)}.sigma"
            if self.target == "force" and settings.sigma:
                raise ValueError(
                    f"{key} is {settings.sigma:g} nm: target: force learns at clean positions, leave {key} out"
                )
        if self.target != "denoise" and self.noise.sigmas is not None:
            raise ValueError(f"noise.sigma is a range, but target is {self.target}: give one noise level in nm")
        return self

    @pydantic.model_validator(mode="after")
    def one_range(self):
        """Over a range, what is fitted in closed form follows the noise level as everything else does."""
        for term, settings in self.linear:
            key = f"{kind_of(term)}.sigma"
            if self.noise.sigmas is not None and settings.sigma is not None:
                raise ValueError(
                    f"{key} is {settings.sigma:g} nm and noise.sigma a range: leave {key} out, the {term.noun} "
                    "is fitted over the range"
                )
        return self

    @pydantic.model_validator(mode="after")
    def one_fit(self):
        """All that is fitted in closed form is fitted together, to the same frames with the same noise."""
        for key in ("sigma", "draws"):
            given = [(term, settings) for term, settings in self.linear if key in settings.model_fields_set]
            values = {kind_of(term): getattr(settings, key) for term, settings in given}
            if len(set(values.values())) > 1:
                told = ", ".join(f"{kind}.{key} {value}" for kind, value in values.items())
                raise ValueError(
                    f"{told}: linear energies are fitted together, so give {key} to one of them, or the same to all"
                )
        return self

    @pydantic.model_validator(mode="after")
    def different_members(self):
        """A closed-form fit to clean frames has no seed."""
        if self.ensemble and not self.ensemble.bootstrap and self.network is None:
            if self.linear and self.linear_sigma == 0:
                raise ValueError("ensemble.bootstrap is false: members without noise and network would be all the same")
        return self

    @property
    def linear(self):
        """Classes of the terms that are fitted in closed form, with their settings, in the order of their fits."""
        return _asked_for(self, lambda term: term.linear)

    @property
    def learners(self):
        """Classes of all learnt terms, with their settings."""
        return _asked_for(self, lambda term: term.learnt)

    @property
    def linear_sigma(self):
        """Noise level (nm) of all that is fitted in closed form, the smallest of a range: what one is given holds."""
        if self.target == "force":
            return 0.0
        given = [settings.sigma for _, settings in self.linear if settings.sigma is not None]
        return given[0] if given else self.noise.smallest

    @property
    def linear_draws(self):
        """Antithetic noise pairs per frame of all that is fitted in closed form."""
        settings = [settings for _, settings in self.linear]
        return next((one.draws for one in settings if "draws" in one.model_fields_set), settings[0].draws)

    @property
    def sigma(self):
        """Noise level (nm) of the whole model: what is trained last sees everything at its own (smallest)."""
        if self.network is not None and self.target != "force":
            return self.noise.smallest
        return self.linear_sigma


def _asked_for(model, chosen):
    """Registered terms that are chosen and have settings in a section, with these."""
    found = [(term, getattr(model, kind, None)) for kind, term in REGISTRY.items() if chosen(term)]
    return [(term, settings) for term, settings in found if settings is not None]


def kind_of(term):
    """Name of a term's class in configurations and model files."""
    return term.model_fields["kind"].default


def config_model():
    """`Config` with a section for every registered energy, those it does not name itself left out by default."""
    prior = _with_sections(PriorConfig, lambda term: not term.learnt)
    more = {} if prior is PriorConfig else {"prior": (prior, prior())}
    return _with_sections(Config, lambda term: term.learnt, more)


def _with_sections(model, chosen, more=None):
    new = {
        kind: (term.Settings | None, None)
        for kind, term in REGISTRY.items()
        if chosen(term) and term.Settings is not None and kind not in model.model_fields
    } | (more or {})
    return pydantic.create_model(model.__name__, __base__=model, **new) if new else model


def read_config(source):
    """`Config` from a YAML file, a dict, or a `Config`.

    Raises
    ------
    FileNotFoundError, ValueError
        With the path of the key, its value, and what it should be.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, dict):
        return validated(config_model(), source, "config")
    config = validated(config_model(), read_yaml(source), str(source))
    config.data = config.data.starting_at(Path(source).parent)
    return config
