"""Configuration of a training: YAML read into validated models, errors with the key's path."""

import difflib
from pathlib import Path
from typing import Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ..energies.coulomb import PriorConfig
from ..energies.messagepassing import NetworkConfig
from ..energies.pair import PairConfig
from ..noise import NoiseConfig


class DataConfig(BaseModel):
    """Frames, and how they are divided; whole replicas go to one side where there are several.

    Attributes
    ----------
    frames : path or None
        Native npz, NequIP npz or extended XYZ; relative paths start at the YAML file.
    temperature : float, K, or None
        For formats that do not hold it.
    test_fraction : float
        Kept out of everything, as the reference of `evaluate`.
    validation_fraction : float
        Of the rest: held-out loss and early stopping of a network.  A pair potential alone is
        cross-validated and may have all of it: 0.
    limit : int or None
        Use at most so many frames for training and validation together, evenly over all runs.
    seed : int
    """

    model_config = ConfigDict(extra="forbid")

    frames: Path | None = None
    temperature: PositiveFloat | None = None
    test_fraction: float = Field(0.3, ge=0, lt=0.9)
    validation_fraction: float = Field(0.15, ge=0, lt=0.9)
    limit: PositiveInt | None = None
    seed: NonNegativeInt = 0


class TrainingConfig(BaseModel):
    """The training loop of the network.

    Attributes
    ----------
    steps : int
        Optimiser steps at most.
    batch : int
        Frames per step, of all processes together; each is noised `draws` times, twice that with antithetic pairs.
    devices : int
        Processes that share every batch in equal parts: one on each GPU where there are some, else on the CPU.
        The result is that of one process up to rounding.
    learning_rate, weight_decay : float
        Of AdamW; the rate falls to zero on a cosine.
    ema_decay : float
        Of the exponential moving average of the weights, which is what is saved.
    check_every : int
        Steps between evaluations of the held-out loss; a checkpoint follows each.
    validation_draws : int
        Noise draws per validation frame.
    patience : int
        Evaluations without improvement after which training stops.
    seed : int
    """

    model_config = ConfigDict(extra="forbid")

    steps: PositiveInt = 2000
    batch: PositiveInt = 16
    devices: PositiveInt = 1
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2
    gradient_clip: PositiveFloat = 1.0
    ema_decay: float = Field(0.99, ge=0, lt=1)
    check_every: PositiveInt = 100
    validation_draws: PositiveInt = 4
    patience: PositiveInt = 8
    seed: NonNegativeInt = 0

    @pydantic.model_validator(mode="after")
    def whole_checks(self):
        """The best checked weights are kept: steps after the last check would be lost."""
        if self.steps % self.check_every:
            raise ValueError(f"steps is {self.steps}, check_every {self.check_every}: give a multiple of check_every")
        return self

    @pydantic.model_validator(mode="after")
    def equal_shares(self):
        """Gradients are averaged over processes: the mean of unequal shares would be another one."""
        if self.batch % self.devices:
            raise ValueError(
                f"devices is {self.devices}, batch {self.batch}: give a batch that is a multiple of devices"
            )
        return self


class EnsembleConfig(BaseModel):
    """Several trainings, whose mean force is the model and whose spread says where it is not known.

    Attributes
    ----------
    members : int
    bootstrap : bool
        Train each on a bootstrap sample of the replicas; False: on the same frames with other seeds.
    """

    model_config = ConfigDict(extra="forbid")

    members: int = Field(8, ge=2)
    bootstrap: bool = True


class Config(BaseModel):
    """A whole training.  `pair: null` or `network: null` leaves that learner out.

    Attributes
    ----------
    target : "denoise", "force" or "hybrid"
        What is learnt from: positions alone; force labels of clean frames alone (force matching,
        without any noise: `noise.sigma` plays no part); or both, their weights chosen by the data.
    """

    model_config = ConfigDict(extra="forbid")

    target: Literal["denoise", "force", "hybrid"] = "denoise"
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    prior: PriorConfig = PriorConfig()
    pair: PairConfig | None = PairConfig()
    network: NetworkConfig | None = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    ensemble: EnsembleConfig | None = None

    @pydantic.model_validator(mode="after")
    def validated_network(self):
        """A network without held-out frames would be trained until it knows its frames by heart."""
        if self.network is not None and self.data.validation_fraction == 0:
            raise ValueError("data.validation_fraction is 0: a network needs frames to stop it, 0.15 is usual")
        return self

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
        if self.target == "force" and self.pair is not None and self.pair.sigma:
            raise ValueError(
                f"pair.sigma is {self.pair.sigma:g} nm: target: force learns at clean positions, leave pair.sigma out"
            )
        if self.target != "denoise" and self.noise.sigmas is not None:
            raise ValueError(f"noise.sigma is a range, but target is {self.target}: give one noise level in nm")
        return self

    @pydantic.model_validator(mode="after")
    def one_range(self):
        """Over a range, the pair potential follows the noise level as everything else does."""
        if self.noise.sigmas is not None and self.pair is not None and self.pair.sigma is not None:
            raise ValueError(
                f"pair.sigma is {self.pair.sigma:g} nm and noise.sigma a range: leave pair.sigma out, the pair "
                "potential is fitted over the range"
            )
        return self

    @pydantic.model_validator(mode="after")
    def different_members(self):
        """A closed-form fit to clean frames has no seed."""
        if self.ensemble and not self.ensemble.bootstrap and self.network is None and self.pair_sigma == 0:
            raise ValueError("ensemble.bootstrap is false: members without noise and network would be all the same")
        return self

    @property
    def pair_sigma(self):
        """Noise level (nm) of the pair potential, the smallest of a range."""
        if self.target == "force":
            return 0.0
        return self.noise.smallest if self.pair is None or self.pair.sigma is None else self.pair.sigma

    @property
    def sigma(self):
        """Noise level (nm) of the whole model: the network, trained last, sees everything at its own (smallest)."""
        return self.noise.smallest if self.network is not None and self.target != "force" else self.pair_sigma


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
        return _validated(source, "config")
    path = Path(source)
    values = read_yaml(path)
    config = _validated(values, str(path))
    if config.data.frames is not None and not config.data.frames.is_absolute():
        config.data.frames = (path.parent / config.data.frames).resolve()
    return config


def read_yaml(path):
    """Keys and values of a YAML file; errors name the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}: name an existing YAML file")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no keys: start from examples/licl/licl.yaml")
    return values


def validated(model, values, name):
    """A pydantic model from a dict, or a ValueError of one sentence about its first wrong key."""
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        # A misspelt key that is required is both unknown and missing: the first says more.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys(model, first["loc"][:-1])
            close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise ValueError(f"{name}: unknown key {key}; {remedy}") from error
        if first["type"] == "missing":
            raise ValueError(f"{name}: {key} is missing") from error
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error" and isinstance(first["input"], dict):
            raise ValueError(f"{name}: {message}") from error  # names its keys itself
        message = message[0].lower() + message[1:]
        raise ValueError(
            f"{name}: {key} is {first['input']!r}; {message} (bare numbers are nm, ps, K, kJ/mol, e)"
        ) from error


def _validated(values, name):
    return validated(Config, values, name)


def _keys(model, location):
    """Names that a nested model accepts."""
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return []
    return sorted(model.model_fields)
