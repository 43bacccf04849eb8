"""What trajectories say of motion: diffusion, drift of energy, kinetic temperature.

Langevin dynamics under a score force has the right structure at equilibrium.  Diffusion coefficients
and lifetimes depend on the thermostat's friction as much as on the force: they are those of the
thermostatted model, not of the liquid whose configurations were learnt.

Frames that are missing in an evenly spaced run are told by `steps`, the numbers of those that are
there on the grid of equal times; without it, frames are all there.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft
from scipy.stats import linregress

from ..space.boxes import check_box, minimum_image
from ..units import BOLTZMANN, MILLIPASCAL_SECOND, millipascal_seconds, nanometers, thermal_energy
from .resampling import block_numbers, block_sums, jackknife, standard_error

log = logging.getLogger(__name__)

#: Share of steps over a quarter of the box to warn of, and to refuse: of Gaussian steps, one in 4 million or one in
#: 10,000 is then longer than half the box, and taken for its image.
LONG_STEPS = (0.01, 0.05)
#: Constant of the finite-size correction in a cubic box (J. Phys. Chem. B 108, 15873 (2004)).
XI_CUBIC = 2.837297


def unwrap(positions, box):
    """Positions of one run without the jumps at the faces of a fixed periodic box.

    Every step between frames is taken as its minimum image, which is the right one as long as no
    component is longer than half the box (half the diagonal element of its vector, in a triclinic one).

    Parameters
    ----------
    positions : array, shape (n_frames, n_particles, 3), nm
        Positions of one run, in order of time; wrapped or not.
    box : array, shape (3, 3), nm, or None
        None: returned as they are.

    Returns
    -------
    array, shape (n_frames, n_particles, 3), nm, dtype float64
        The first frame is as it was.

    Raises
    ------
    ValueError
        If more than 5 % of the components of steps are longer than a quarter of the box; more than 1 % are warned of.
    """
    positions = np.array(positions, dtype=np.float64)
    if box is None or len(positions) < 2:
        return positions
    if np.shape(box) != (3, 3):
        raise ValueError(f"box has shape {np.shape(box)}: give one fixed box, shape (3, 3), in nm")
    box = torch.as_tensor(np.asarray(box, dtype=np.float64))
    check_box(box)
    steps = minimum_image(torch.from_numpy(np.diff(positions, axis=0)), box)
    quarter = torch.diagonal(box) / 4
    share = float((steps.abs() > quarter).double().mean())
    if share > LONG_STEPS[1]:
        raise ValueError(
            f"{100 * share:.0f} % of the components of steps between frames are longer than a quarter of the box "
            f"({float(quarter.min()):.3g} nm), so that images cannot be told: save frames more often"
        )
    if share > LONG_STEPS[0]:
        log.warning(
            "%.2g %% of the components of steps between frames are longer than a quarter of the box; beyond half of "
            "it a step would be taken for its image: save frames more often", 100 * share,
        )  # fmt: skip
    positions[1:] = positions[0] + np.cumsum(steps.numpy(), axis=0)
    return positions


def mean_square_displacement(positions, masses=None, steps=None):
    """<|r(t0 + t) - r(t0)|^2> of each particle, over all times t0 of one run, by FFT.

    Free Langevin particles of mass m and friction gamma have D = kT/(m gamma); relative to the centre
    of mass of all, of total mass M, D is kT/(m gamma) - kT/(M gamma).

    Parameters
    ----------
    positions : array, shape (n_frames, n_particles, 3), nm
        Unwrapped.
    masses : array, shape (n_particles,), amu, optional
        Displacements are then relative to the centre of mass: its drift is removed.
    steps : array, shape (n_frames,), dtype int, optional

    Returns
    -------
    array, shape (n_lags, n_particles), nm^2
        Displacements at lag 0, 1, ... on the grid; NaN where no two frames are so far apart.
    """
    r = np.asarray(positions, dtype=np.float64)
    if masses is not None:
        r = r - np.average(r, axis=1, weights=np.asarray(masses, dtype=np.float64))[:, None]
    r, there = on_grid(r - r.mean(0), steps)
    square = (r**2).sum(-1)
    ends = correlation(square, there[:, None]) + correlation(there[:, None], square)
    n = np.round(correlation(there, there))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        # Rounding of the transform leaves lag 0 a little off zero.
        return np.maximum((ends - 2 * correlation(r, r).sum(-1)) / np.where(n > 0, n, np.nan), 0.0)


def diffusion_coefficient(msd, interval, window):
    """D, a sixth of the slope of a straight line through the mean-square displacement, and its standard error.

    Parameters
    ----------
    msd : array, shape (n_runs, n_lags), nm^2
        Displacements of a species, in each independent run or block.
    interval : float, ps
        Between lags.
    window : (float, float), ps
        Times of the fit: after the ballistic part and cages, before statistics are spent.

    Returns
    -------
    value, error : float, nm^2/ps
        Times `units.DIFFUSION` in 1e-9 m^2/s.  The error is from the spread over runs, NaN of one.
    """
    msd = np.atleast_2d(msd)
    time = interval * np.arange(msd.shape[1])
    chosen = (time >= window[0] - 1e-9) & (time <= window[1] + 1e-9) & np.isfinite(msd).all(0)
    if chosen.sum() < 3:
        raise ValueError(
            f"window is {window[0]:g} to {window[1]:g} ps, with {chosen.sum()} lags of runs of {time[-1]:g} ps in it: "
            "give a window with at least three"
        )
    slopes = np.polyfit(time[chosen], msd[:, chosen].T, 1)[0] / 6
    return float(slopes.mean()), standard_error(slopes)


def yeh_hummer_correction(temperature, viscosity, edge):
    """What a cubic periodic box takes from a diffusion coefficient: kT xi / (6 pi eta L), xi = 2.837297.

    To be added to D of dynamics that conserve momentum, where a particle drags its own periodic images along
    through the solvent.  It does not hold for Langevin dynamics: friction takes the momentum out of
    the system before it reaches an image, and without solvent nothing carries it.

    Parameters
    ----------
    temperature : float or Quantity, K
    viscosity : float or Quantity, mPa s
        Viscosity of the solvent: 0.85 for water at 300 K.
    edge : float or Quantity, nm

    Returns
    -------
    float, nm^2/ps

    References
    ----------
    Yeh & Hummer, J. Phys. Chem. B 108, 15873 (2004).

    Examples
    --------
    >>> 1000 * round(yeh_hummer_correction(300, 0.85, 2.526), 5)  # 1e-9 m^2/s
    0.29
    """
    viscosity, edge = millipascal_seconds(viscosity, "viscosity"), nanometers(edge, "edge", above=0)
    return thermal_energy(temperature) * XI_CUBIC / (6 * np.pi * viscosity * MILLIPASCAL_SECOND * edge)


@dataclass(frozen=True)
class Drift:
    """A straight line through an energy that should be constant.

    Attributes
    ----------
    slope, error : float, kJ/mol/ns per degree of freedom
    fluctuation : float, kJ/mol
        Root mean square about the line, of the whole system.
    """

    slope: float
    error: float
    fluctuation: float


def energy_drift(time, energy, degrees, n_blocks=10):
    """Drift of a conserved energy; divided by kT it is in kT/ns per degree of freedom.

    The line goes through means of contiguous blocks, so that its standard error holds for samples that
    are correlated over less than a block.

    Parameters
    ----------
    time : array, shape (n_samples,), ps
    energy : array, shape (n_samples,), kJ/mol
    degrees : int
        Degrees of freedom.
    n_blocks : int

    Returns
    -------
    Drift
    """
    time, energy = np.asarray(time, dtype=np.float64), np.asarray(energy, dtype=np.float64)
    if len(energy) < 3 * n_blocks:
        raise ValueError(f"energy has {len(energy)} samples: give at least three for each of {n_blocks} blocks")
    means = [[part.mean() for part in np.array_split(values, n_blocks)] for values in (time, energy)]
    line = linregress(*means)
    rest = energy - (line.intercept + line.slope * time)
    per_ns = 1000 / degrees
    return Drift(float(line.slope * per_ns), float(line.stderr * per_ns), float(np.sqrt(np.mean(rest**2))))


def kinetic_temperature(energy, degrees, n_blocks=10):
    """Mean of 2 K/(N_f k) and its standard error over runs, or over contiguous blocks of a single one.

    Parameters
    ----------
    energy : array, shape (n_samples,) or (n_runs, n_samples), kJ/mol
        Kinetic.
    degrees : int
        N_f, degrees of freedom.

    Returns
    -------
    mean, error : float, K
    """
    energy = np.atleast_2d(np.asarray(energy, dtype=np.float64))
    runs = np.repeat(np.arange(len(energy)), energy.shape[1])
    values = np.stack([2 * energy.ravel() / (degrees * BOLTZMANN), np.ones(energy.size)], axis=1)
    return jackknife(block_sums(values, block_numbers(runs, n_blocks)), lambda sums: sums[..., 0] / sums[..., 1])


def on_grid(values, steps):
    """Values of frames on the grid of equal times, zero where there is no frame, and where there is one."""
    if steps is None:
        return values, np.ones(len(values))
    steps = np.asarray(steps)
    if steps.shape != (len(values),) or steps.dtype.kind not in "iu" or (np.diff(steps) <= 0).any():
        raise ValueError(f"steps has shape {steps.shape}: give {len(values)} increasing whole numbers, one for a frame")
    steps = steps - steps[0]
    grid, there = np.zeros((steps[-1] + 1, *values.shape[1:])), np.zeros(steps[-1] + 1)
    grid[steps], there[steps] = values, 1.0
    return grid, there


def correlation(first, second):
    """Sum over t of first(t) second(t + lag), along the first axis, for all lags from 0, by FFT without wrap-around."""
    n = len(first)
    size = fft.next_fast_len(2 * n, real=True)
    spectrum = np.conj(fft.rfft(first, size, axis=0)) * fft.rfft(second, size, axis=0)
    return fft.irfft(spectrum, size, axis=0)[:n]
