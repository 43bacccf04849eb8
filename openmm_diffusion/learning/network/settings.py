"""Settings of the training loop of a network."""

import pydantic
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ...units import MOST


class TrainingConfig(BaseModel):
    """The training loop of the network.

    Attributes
    ----------
    steps : int
        Optimiser steps at most.
    batch : int
        Frames per step, of all processes together; each is noised `draws` times, twice that with antithetic pairs.
    devices, nodes : int
        Processes on each machine, and machines, that share every batch in equal parts: a process on each GPU where
        there are some, else on the CPU.  The result is that of one process up to rounding.  On one machine they are
        started here; on several by torchrun or srun, on every one of them.
    learning_rate, weight_decay : float
        Of AdamW; the rate falls to zero on a cosine.
    ema_decay : float
        Decay of the exponential moving average of the weights, which is what is saved.
    check_every : int
        Steps between evaluations of the held-out loss; a checkpoint follows each.
    validation_draws : int
        Noise draws per validation frame.
    patience : int
        Evaluations without improvement after which training stops.
    seed : int
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: PositiveInt = Field(2000, le=10**9)
    batch: PositiveInt = Field(16, le=MOST)
    devices: PositiveInt = Field(1, le=1024)
    nodes: PositiveInt = Field(1, le=100_000)
    learning_rate: PositiveFloat = Field(1e-3, le=10)
    weight_decay: NonNegativeFloat = Field(1e-2, le=10)
    gradient_clip: PositiveFloat = 1.0
    ema_decay: float = Field(0.99, ge=0, lt=1)
    check_every: PositiveInt = Field(100, le=10**9)
    validation_draws: PositiveInt = Field(4, le=10_000)
    patience: PositiveInt = 8
    seed: NonNegativeInt = Field(0, lt=2**31)

    @pydantic.model_validator(mode="after")
    def whole_checks(self):
        """The best checked weights are kept: steps after the last check would be lost."""
        if self.steps % self.check_every:
            raise ValueError(f"steps is {self.steps}, check_every {self.check_every}: give a multiple of check_every")
        return self

    @pydantic.model_validator(mode="after")
    def equal_shares(self):
        """Gradients are averaged over processes: the mean of unequal shares would be another one."""
        several = "" if self.nodes == 1 else f" on each of {self.nodes} nodes"
        if self.batch % (self.devices * self.nodes):
            raise ValueError(
                f"devices is {self.devices}{several}, batch {self.batch}: give a batch that is a multiple of devices"
                + (" times nodes" if several else "")
            )
        return self
