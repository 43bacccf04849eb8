"""Equivariant message passing in the manner of NequIP: particles and edges in, scalars or vectors out.

Knows nothing of noise, energies or units.

References
----------
Batzner et al., Nat. Commun. 13, 2453 (2022), arXiv:2101.03164;
Geiger & Smidt, arXiv:2207.09453 (e3nn).
"""

import copy
import functools
import math
from typing import NamedTuple, Optional

import torch
from e3nn import nn as enn
from e3nn import o3
from torch import Tensor, nn


class BesselBasis(nn.Module):
    """sqrt(2/r_c) sin(n pi r/r_c)/r, n = 1..N, times the polynomial envelope of order 6.

    The envelope 1 - 28 x^6 + 48 x^7 - 21 x^8 (x = r/r_c) vanishes with its first two
    derivatives at the cutoff, so that forces are smooth there.

    References
    ----------
    Gasteiger et al., arXiv:2003.03123, eqs. 7-8.
    """

    def __init__(self, number, cutoff):
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("n_pi", math.pi * torch.arange(1, number + 1))

    def forward(self, distances: Tensor) -> Tensor:
        """Shape (n_edges,) to (n_edges, number)."""
        x = distances / self.cutoff
        envelope = 1 - x**6 * (28 - 48 * x + 21 * x * x)
        envelope = torch.where(x < 1, envelope, torch.zeros_like(x))
        # Dimensionless: 1/x instead of 1/r keeps the values of order one.
        return math.sqrt(2) * torch.sin(self.n_pi * x.unsqueeze(-1)) * (envelope / x).unsqueeze(-1)


class SphericalHarmonics(o3.SphericalHarmonics):
    """e3nn's, without state: sharing it is copying it (its scripted function refuses deepcopy)."""

    def __deepcopy__(self, memo):
        return self


def real_harmonics(vectors: Tensor, r: Tensor, lmax: int) -> Tensor:
    """Real spherical harmonics of vectors (n, 3) of lengths (n,), sum_m Y_lm^2 = 1: shape (number of lm, n).

    With unit vectors (x, y, z) and the m-th derivative of Legendre's P_l, Y_l0 = P_l(z), and for m > 0
    Y_lm = sqrt(2 (l - m)! / (l + m)!) P_l^(m)(z) times the real or the imaginary part of (x + i y)^m.  Of each degree
    they come in another order, and with other signs, than those of e3nn.
    """
    inverse = 1 / torch.clamp(r, min=1e-12)
    x, y, z = vectors[:, 0] * inverse, vectors[:, 1] * inverse, vectors[:, 2] * inverse
    one = torch.ones_like(z)
    rows = [one] * ((lmax + 1) * (lmax + 1))
    real, imaginary, first = one, torch.zeros_like(z), 1.0
    for m in range(lmax + 1):
        if m > 0:
            real, imaginary, first = x * real - y * imaginary, x * imaginary + y * real, first * (2 * m - 1)
        # Legendre's recurrence from degree to degree, begun at m, where the m-th derivative is (2 m - 1)!!.
        below, slope = torch.zeros_like(z), first * one
        for degree in range(m, lmax + 1):
            if degree > m:
                above = ((2 * degree - 1) * z * slope - (degree + m - 1) * below) / (degree - m)
                below, slope = slope, above
            scale = math.sqrt(2 * math.factorial(degree - m) / math.factorial(degree + m))
            if m > 0:
                rows[degree * degree + 2 * m - 1] = scale * slope * real
                rows[degree * degree + 2 * m] = scale * slope * imaginary
            else:
                rows[degree * degree] = slope
    return torch.stack(rows)


class Interaction(nn.Module):
    """One round of messages: feature times spherical harmonic, weighted by distance, summed, gated."""

    def __init__(self, irreps_in, irreps_hidden, irreps_edge, irreps_species, radial, radial_width, neighbours):
        super().__init__()
        made = {ir for _, ir in irreps_in} | {ir for _, a in irreps_in for _, b in irreps_edge for ir in a * b}
        irreps_hidden = o3.Irreps([(mul, ir) for mul, ir in irreps_hidden if ir in made])
        scalars = o3.Irreps([(mul, ir) for mul, ir in irreps_hidden if ir.l == 0])
        gated = o3.Irreps([(mul, ir) for mul, ir in irreps_hidden if ir.l > 0])
        gates = o3.Irreps([(gated.num_irreps, "0e")]) if gated.num_irreps else o3.Irreps([])
        # What a mirror turns round stays so under an odd function alone.
        activations = [nn.functional.silu if ir.p == 1 else torch.tanh for _, ir in scalars]
        self.gate = enn.Gate(scalars, activations, gates, [torch.sigmoid] * len(gates), gated)
        irreps_before_gate = self.gate.irreps_in.simplify()

        middle, instructions = [], []
        for i, (mul, ir_in) in enumerate(irreps_in):
            for j, (_, ir_edge) in enumerate(irreps_edge):
                for ir_out in ir_in * ir_edge:
                    if ir_out in irreps_hidden:
                        instructions.append((i, j, len(middle), "uvu", True))
                        middle.append((mul, ir_out))
        irreps_middle, permutation, _ = o3.Irreps(middle).sort()
        instructions = [(i, j, permutation[k], mode, train) for i, j, k, mode, train in instructions]
        self.product = o3.TensorProduct(
            irreps_in, irreps_edge, irreps_middle, instructions, shared_weights=False, internal_weights=False
        )
        self.radial = enn.FullyConnectedNet([radial, radial_width, self.product.weight_numel], nn.functional.silu)
        self.before = o3.Linear(irreps_in, irreps_in)
        self.after = o3.Linear(irreps_middle.simplify(), irreps_before_gate)
        self.self_connection = o3.FullyConnectedTensorProduct(irreps_in, irreps_species, irreps_before_gate)
        self.normalisation = 1 / math.sqrt(neighbours)
        self.irreps_out = self.gate.irreps_out

    def forward(
        self, features: Tensor, species: Tensor, senders: Tensor, receivers: Tensor, harmonics: Tensor, radial: Tensor
    ) -> Tensor:
        messages = self.product(self.before(features).index_select(0, senders), harmonics, self.radial(radial))
        collected = torch.zeros(features.shape[0], messages.shape[1], dtype=messages.dtype, device=messages.device)
        collected = collected.index_add(0, receivers, messages) * self.normalisation
        return self.gate(self.after(collected) + self.self_connection(features, species))


class MessagePassing(nn.Module):
    """The network.

    Parameters
    ----------
    config : NetworkConfig
        Or any object with its fields.
    n_species : int
    neighbours : float
        Mean number of neighbours within the cutoff, which normalises the sums.
    conditions : int
        Scalars that every particle is given beside its species.  They join the species in
        the embedding and in the self-connections of all layers.
    """

    def __init__(self, config, n_species, neighbours, conditions=0):
        super().__init__()
        self.n_species = n_species
        # Products of directions have the parity of their degree, until three of them make a pseudoscalar.
        parities = (1, -1) if config.chiral else (1,)
        degrees = [(degree, sign * (-1) ** degree) for degree in range(config.lmax + 1) for sign in parities]
        irreps_hidden = o3.Irreps([(config.features, ir) for ir in degrees])
        irreps_scalar = o3.Irreps([(mul, ir) for mul, ir in irreps_hidden if ir.l == 0])
        irreps_species = o3.Irreps([(n_species + conditions, "0e")])
        irreps_edge = o3.Irreps.spherical_harmonics(config.lmax)
        self.harmonics = SphericalHarmonics(irreps_edge, normalize=True, normalization="component")
        self.basis = BesselBasis(config.radial, config.cutoff)
        irreps = o3.Irreps([(config.features, "0e")])
        self.embedding = o3.Linear(irreps_species, irreps)
        layers = []
        for i in range(config.layers):
            # Scalars are all that an energy reads, so the last block makes nothing else.
            scalars_only = config.head == "energy" and i == config.layers - 1
            layer = Interaction(
                irreps,
                irreps_scalar if scalars_only else irreps_hidden,
                irreps_edge,
                irreps_species,
                config.radial,
                config.radial_width,
                neighbours,
            )
            irreps = layer.irreps_out
            layers.append(layer)
        self.layers = nn.ModuleList(layers)
        self.head = config.head
        self.outputs = 1 if config.head == "energy" else 3
        even, odd = ("1x0e", "1x0o") if config.head == "energy" else ("1x1o", "1x1e")
        self.readout = o3.Linear(irreps, o3.Irreps(f"{even} + {odd}" if config.chiral else even))

    def forward(
        self, species: Tensor, senders: Tensor, receivers: Tensor, vectors: Tensor, conditions: Optional[Tensor] = None
    ) -> Tensor:
        """One output per particle.

        Parameters
        ----------
        species : Tensor, shape (n_particles,), dtype int64
        senders, receivers : Tensor, shape (n_edges,), dtype int64
            Directed edges: every pair appears in both directions.
        vectors : Tensor, shape (n_edges, 3), nm
            From receiver to sender.
        conditions : Tensor, shape (n_particles, conditions), dimensionless, of order one; None without any

        Returns
        -------
        Tensor, shape (n_particles, 1) scalars or (n_particles, 3) vectors, dimensionless
        """
        # As one_hot, which reads values and so cannot be traced.
        given = (species.unsqueeze(-1) == torch.arange(self.n_species, device=species.device)).to(vectors.dtype)
        if conditions is not None:
            given = torch.cat([given, conditions.to(vectors.dtype)], dim=1)
        features = self.embedding(given)
        harmonics = self.harmonics(vectors)
        radial = self.basis(torch.sqrt((vectors * vectors).sum(-1)))
        for layer in self.layers:
            features = layer(features, given, senders, receivers, harmonics, radial)
        # The part that a mirror turns round, if there is one, is added to the other.
        return self.readout(features).unflatten(1, [-1, self.outputs]).sum(1)


class Architecture(NamedTuple):
    """Fields of a NetworkConfig that the code of a network depends on."""

    head: str
    cutoff: float
    lmax: int
    features: int
    layers: int
    radial: int
    radial_width: int
    chiral: bool


@functools.lru_cache(maxsize=16)
def _pattern(architecture, n_species, conditions, dtype):
    """A network that is copied and never evaluated; `dtype`, torch's default, tells its weights apart."""
    with torch.random.fork_rng(devices=[]):
        return MessagePassing(architecture, n_species, 1.0, conditions)


def message_passing(config, n_species, neighbours, conditions=0):
    """A MessagePassing with weights of its own, standard normal as e3nn draws them; arguments as there.

    It is the copy of one pattern for each architecture.  To build a network, e3nn writes and scripts code, which takes
    twelve times as long as a copy, and torch keeps for ever whatever was scripted, and more once it has run (5 MB for a
    small network): a process that loads models one after the other would grow with each.  What is copied was saved and
    loaded, and goes when the network goes.
    """
    architecture = Architecture(*[getattr(config, name) for name in Architecture._fields])
    network = copy.deepcopy(_pattern(architecture, n_species, conditions, torch.get_default_dtype()))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    for layer in network.layers:
        layer.normalisation = 1 / math.sqrt(neighbours)
    return network
