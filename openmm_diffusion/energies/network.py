"""A message-passing network as an energy, or as forces that have none."""

from typing import ClassVar, Literal, Optional, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from ..noise import log_place, scale
from ..space.batch import Batch, within
from ..units import thermal_energy
from .base import LearntTerm, Length, Level, ModelHeader, Positive, Settings, register
from .messagepassing import message_passing

#: Functions of the noise level that a network over a range of them reads.
CHEBYSHEV = 4

#: Weights of the largest network that is built: at 400 MB it is a thousand times what frames can teach.
LARGEST = 1e8

#: Layers from which on the product of three directions, which changes its sign in a mirror, reaches a scalar.
HANDED_LAYERS = 3


class NetworkConfig(Settings):
    """Shape of the network.

    Attributes
    ----------
    head : "energy" or "vector"
        A scalar per particle, whose sum is differentiated into forces (conservative),
        or forces directly (no potential exists).
    cutoff : float, nm
        Range of one message.
    lmax : int
        Highest degree of the spherical harmonics and of the features.
    features : int
        Multiplicity of each degree.
    layers : int
        Interaction blocks: n-body correlations up to layers + 2 and beyond.
    radial : int
        Bessel functions.
    radial_width : int
        Hidden width of the radial network.
    chiral : bool
        Features of both parities, and pseudoscalars in the output: the energy of a configuration and that of its
        mirror image may differ.  It takes three layers and directions (lmax 1), for a sign of handedness is one of
        four particles.  False: the energy is even under reflection, whatever the data are.
    """

    head: Literal["energy", "vector"] = "energy"
    cutoff: PositiveFloat = Field(0.6, le=100)
    lmax: int = Field(1, ge=0, le=3)
    features: PositiveInt = Field(16, le=1024)
    layers: PositiveInt = Field(2, le=32)
    radial: PositiveInt = Field(8, le=256)
    radial_width: PositiveInt = Field(32, le=4096)
    chiral: bool = False

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        size = (
            self.layers * self.features * (self.lmax + 1) ** 2 * (self.features + (self.lmax + 1) * self.radial_width)
        )
        if size > LARGEST:
            raise ValueError(
                f"layers = {self.layers}, features = {self.features}, lmax = {self.lmax} and radial_width = "
                f"{self.radial_width} make some {size:.0e} weights: keep them below {LARGEST:.0e}"
            )
        return self

    @model_validator(mode="after")
    def _tells_hands_apart(self) -> Self:
        if self.chiral and (self.layers < HANDED_LAYERS or self.lmax < 1):
            raise ValueError(
                f"chiral is true with layers = {self.layers} and lmax = {self.lmax}: a network tells an image from its "
                f"mirror image from {HANDED_LAYERS} layers and lmax = 1 on"
            )
        return self


@register
class NetworkTerm(LearntTerm):
    """Network at noise level sigma (nm, 0: from force labels of clean frames).

    `neighbours` is the mean number of neighbours it was scaled to.  `sigmas` are the smallest and
    the largest level (nm) that it was trained at; None: sigma alone.
    """

    Settings: ClassVar = NetworkConfig
    noun: ClassVar = "network"

    kind: Literal["network"] = "network"
    sigma: Level
    sigmas: tuple[Length, Length] | None = None
    network: NetworkConfig
    neighbours: Positive

    @property
    def cutoff(self) -> float:
        """Range of one message, nm."""
        return self.network.cutoff

    @property
    def conservative(self) -> bool:
        """Whether the force is the gradient of an energy: that of an energy head is."""
        return self.network.head == "energy"

    def module(self, header: ModelHeader) -> "DenoisingNetwork":
        return DenoisingNetwork(self, len(header.species), thermal_energy(header.temperature))


class DenoisingNetwork(nn.Module):
    """A network as a denoiser: it predicts displacements D(y) - y, which kT/sigma^2 turns into forces.

    Trained over a range of noise levels, it reads the level as the Chebyshev polynomials
    T_1 ... T_4 of log sigma, which runs from -1 to 1 over the range: sigma^2, the leading
    order of smoothing, is a sum of these to 1 % of its largest value over a factor of 17.

    Parameters
    ----------
    term : NetworkTerm
    n_species : int
    kT : float, kJ/mol
        Thermal energy of the training data.
    """

    def __init__(self, term: NetworkTerm, n_species: int, kT: float) -> None:
        super().__init__()
        self.cutoff = term.network.cutoff
        self.conservative = term.network.head == "energy"
        self.conditions = 0 if term.sigmas is None else CHEBYSHEV
        self.smallest, self.largest = (0.0, 0.0) if term.sigmas is None else term.sigmas
        self.network = message_passing(term.network, n_species, term.neighbours, self.conditions)
        self.register_buffer("sigma", torch.tensor([term.sigma], dtype=torch.float64), persistent=False)
        # An output of one then is a force of kT per 0.1 nm, or an energy of kT: numbers of order one.
        self.length = 0.1  # nm
        # Learnt from forces at clean positions there is no noise level: any length serves, the force is the same.
        level = term.sigma if term.sigma > 0 else self.length  # nm
        self.displacement = level**2 / self.length  # nm
        # Part of the file where it belongs to the weights; over a range it follows from the level evaluated.
        factor = torch.tensor(scale(level, kT), dtype=torch.float64)
        self.register_buffer("kT_over_sigma2", factor, persistent=term.sigmas is None)

    def outputs(self, c: Batch) -> Tensor:
        """Raw outputs of the network, shape (n_frames, n_particles, 1 or 3), dimensionless."""
        near = within(c, self.cutoff)
        n_frames, n_particles = c.positions.shape[0], c.positions.shape[1]
        senders = torch.cat([near.second, near.first])
        receivers = torch.cat([near.first, near.second])
        vectors = torch.cat([near.vectors, -near.vectors])
        conditions: Optional[Tensor] = None
        if self.conditions > 0:
            sigma, given = self.sigma.expand(n_frames), near.sigma
            if given is not None:
                sigma = given
            place = log_place(sigma, self.smallest, self.largest)
            conditions = chebyshev(2 * place - 1, self.conditions).repeat_interleave(n_particles, 0)
        values = self.network(c.species.repeat(n_frames), senders, receivers, vectors, conditions)
        return values.view(n_frames, n_particles, -1)

    # sigma^2 from displacement and 1/sigma^2 cancel: the two below hold for frames at any level.

    def forward(self, c: Batch) -> Tensor:
        """Energy of each frame, shape (n_frames,), kJ/mol: an energy head's only."""
        potential = self.displacement * self.length * self.outputs(c).sum(dim=[1, 2])  # nm^2
        return self.kT_over_sigma2.to(potential.dtype) * potential

    def forces(self, c: Batch) -> Tensor:
        """Forces of a vector head, shape (n_frames, n_particles, 3), kJ/mol/nm, without net force."""
        displacement = self.displacement * self.outputs(c)  # nm
        displacement = displacement - displacement.mean(dim=1, keepdim=True)
        return self.kT_over_sigma2.to(displacement.dtype) * displacement


def chebyshev(t: Tensor, number: int) -> Tensor:
    """The polynomials T_1 ... T_number of t (n,), each between -1 and 1 where t is: shape (n, number)."""
    values = [torch.ones_like(t), t]
    for _ in range(number - 1):
        values.append(2 * t * values[-1] - values[-2])
    return torch.stack(values[1:], -1)
