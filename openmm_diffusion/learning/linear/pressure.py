"""The pressure as one more linear equation of a fit: what forces at one volume leave open.

With the volume V changed at fixed scaled positions, a model of N particles has the pressure

    P = N kT / V - <dU/dV>,   so that   sum_m c_m <V dB_m/dV> = N kT - P V - <V dU_prior/dV>

is a row v . c = t of the linear equations.  It is weighed against the score-matching objective: w (v . c - t)^2 / 2
stands beside c^T A c / 2 - b^T c.  It fixes the pressure at the volume of the data, not the compressibility; N counts
particles of the model, beads.  Where solvent was integrated out, P is the osmotic pressure, never that of the solution.

The derivatives are central differences of sums over the basis functions in boxes a ten-thousandth larger and smaller:
whatever the energy, Ewald sums and many bodies included.
"""

from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat
from torch import Tensor

from ...model.sum import energy_and_forces
from ...space.batch import make_batch
from ...units import BAR

#: Relative change of the volume either way.
CHANGE = 1e-4


class PressureConfig(BaseModel):
    """The pressure that a fit shall have at the volume of the data.

    Attributes
    ----------
    value : float, bar
    weight : float, 1/nm^2
        w; at 1 a pressure off by 100 bar in 6.5 nm^3 (39 kJ/mol) costs 760 (kJ/mol/nm)^2 per frame.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    value: float
    weight: PositiveFloat = 1.0


class Strain(NamedTuple):
    """Means over the frames of a replica, for the row of the pressure.

    Attributes
    ----------
    derivative : Tensor, shape (n_coefficients,)
        <V dB/dV>.
    rest : float, kJ/mol
        N kT - <V dU_prior/dV>.
    volume : float, nm^3
    """

    derivative: Tensor
    rest: float
    volume: float


def strain(energy, prior, positions, box, species, kT, connectivity=None, frames_per_chunk=64):
    """`Strain` of frames (n_frames, n_particles, 3), nm, in boxes (n_frames, 3, 3), nm; `prior` is a WeightedSum."""
    derivative, rest = torch.zeros(energy.coefficients.numel(), dtype=torch.float64), 0.0
    for start in range(0, len(positions), frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        for sign in (1, -1):
            length = (1 + sign * CHANGE) ** (1 / 3)
            x, cell = positions[chunk].double() * length, box[chunk] * length
            c = make_batch(x, cell, species, energy.cutoff, None, connectivity)
            derivative += sign * energy.values(c).sum(0) / (2 * CHANGE)
            known, _ = energy_and_forces(prior, x, cell, species, connectivity=connectivity)
            rest -= sign * float(known.sum()) / (2 * CHANGE)
    n = len(positions)
    return Strain(derivative / n, len(species) * kT + rest / n, float(torch.linalg.det(box).mean()))


def mean_strain(replicas):
    """`Strain` averaged over the frames of several `Moments`."""
    total = sum(m.weight for m in replicas)
    parts = [(m.weight / total, m.strain) for m in replicas]
    return Strain(*[sum(share * values[i] for share, values in parts) for i in range(3)])


def with_row(A, b, replicas, pressure):
    """A and b of some replicas with the row of the pressure; without one, as they are."""
    if pressure is None:
        return A, b
    mean = mean_strain(replicas)
    target = mean.rest - pressure.value * BAR * mean.volume
    v = mean.derivative
    return A + pressure.weight * torch.outer(v, v), b + pressure.weight * target * v


def pressure_of(c, replicas):
    """Pressure (bar) of coefficients c on the frames of some replicas."""
    mean = mean_strain(replicas)
    return (mean.rest - float(mean.derivative @ c.flatten())) / mean.volume / BAR


def pressure_error(c, replicas):
    """Standard error (bar) of `pressure_of`: jackknife over replicas, the coefficients held fixed."""
    without = [pressure_of(c, replicas[:i] + replicas[i + 1 :]) for i in range(len(replicas))]
    return float(np.sqrt((len(replicas) - 1) * np.var(without)))
