"""What noise leaves of a stiff bond: k_eff = k / (1 + 2 sigma^2 k/kT), of one bond and of every bond of a molecule.

Both ends of a bond are noised, so that its variance kT/k grows by 2 sigma^2.  Across the bond noise moves its ends too,
and makes it longer by 2 sigma^2/r on average: that is no stiffness.

How stiff a bond is under a model needs no dynamics.  For any vector field g of positions, <F . g> = -kT <div g> under
the density that F is the force of.  With e from one end to the other, g = (r - <r>) e/2 at the one end and
-(r - <r>) e/2 at the other has div g = 1 + 2 (r - <r>)/r, so that the force along the bond, f = e . (F_j - F_i)/2, has

    k = -<f (r - <r>)> / <(r - <r>)^2> = kT / <(r - <r>)^2>        (up to the width over the length)

whatever else the molecule does.  With the forces of a model on frames noised by its sigma, the first of the two is its
stiffness; with the true forces on clean frames it must be kT over the variance.
"""

import numpy as np

from openmm_diffusion import Frames
from openmm_diffusion.units import thermal_energy

#: A bond of carbon and hydrogen in amber14: 340 kcal/mol/A^2, twice that in E = k (r - r0)^2 / 2; nm.
STIFF, LENGTH = 2 * 340 * 4.184 * 100, 0.109


def closed_form(k, sigma, kT):
    """Stiffness that noise leaves, in the unit of k (kJ/mol/nm^2)."""
    return k / (1 + 2 * sigma**2 * k / kT)


def dimers(number, temperature, seed, replicas=10):
    """Frames of one stiff bond, from its exact density.

    Parameters
    ----------
    number : int
    temperature : float, K
    seed : int
    replicas : int

    Returns
    -------
    Frames
    """
    rng = np.random.default_rng([seed, 11])
    width = np.sqrt(thermal_energy(temperature) / STIFF)
    # r^2 exp(-k (r - r0)^2 / 2 kT) by rejection: the factor is bounded over ten widths.
    r = rng.normal(LENGTH, width, 4 * number)
    r = r[rng.uniform(size=len(r)) * (LENGTH + 10 * width) ** 2 < r**2][:number]
    direction = rng.normal(size=(number, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    ends = 0.5 * r[:, None] * direction
    positions = np.stack([-ends, ends], axis=1)
    replica = np.arange(number) * replicas // number
    return Frames(positions, [6, 1], None, temperature, None, replica, ["C", "H"], [[0, 1]])


def stiffness(positions, forces, bonds):
    """-<f (r - <r>)> / <(r - <r>)^2> of every bond, shape (n_bonds,), kJ/mol/nm^2.

    Parameters
    ----------
    positions, forces : array, shape (n_frames, n_particles, 3), nm and kJ/mol/nm
    bonds : array, shape (n_bonds, 2)
    """
    x, F = np.asarray(positions, dtype=float), np.asarray(forces, dtype=float)
    i, j = np.asarray(bonds).T
    vectors = x[:, j] - x[:, i]
    r = np.linalg.norm(vectors, axis=-1)
    off = r - r.mean(0)
    along = 0.5 * np.sum((F[:, j] - F[:, i]) * vectors / r[..., None], axis=-1)
    return -(along * off).mean(0) / np.square(off).mean(0)


def variance_stiffness(positions, bonds, kT):
    """kT over the variance of the length of every bond, shape (n_bonds,), kJ/mol/nm^2."""
    x = np.asarray(positions, dtype=float)
    return kT / np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=-1).var(0)


def pooled(values, kinds):
    """Stiffness of every bond (kJ/mol/nm^2), replaced by that of the mean variance of all bonds of its kind.

    Where molecules are alike: one bond in few frames knows its variance badly, and the mean of 1/variance is too large.
    """
    kinds = np.asarray(kinds)
    return np.array([1 / np.mean(1 / values[kinds == kind]) for kind in kinds])


def noised(positions, sigma, seed):
    """Positions with noise of sigma (nm)."""
    return positions + sigma * np.random.default_rng([seed, 13]).normal(size=np.shape(positions))


def names(frames):
    """The elements of every bond, as C-H."""
    pairs = ([frames.symbols[i] for i in bond] for bond in frames.bonds)
    return ["-".join(sorted(pair, key="CNOH".index)) for pair in pairs]


def rows(frames, model_forces, sigma, seed, about, alike=False):
    """Rows: stiffness of every kind of bond, the mean of k_eff over that by the closed form, as the variance has it.

    Parameters
    ----------
    frames : Frames
        Clean, of runs that took no part.
    model_forces : callable or None
        Positions (noised by sigma) to forces; None: the forces of the frames, where sigma is 0.
    sigma : float, nm
    seed : int
    about : dict
        Of every row.
    alike : bool
        Whether all bonds of a kind are, see `pooled`.
    """
    kT = thermal_energy(frames.temperature)
    clean = variance_stiffness(frames.positions, frames.bonds, kT)
    kinds = np.array(names(frames))
    clean = pooled(clean, kinds) if alike else clean
    y = noised(frames.positions, sigma, seed) if sigma else frames.positions
    by_force = stiffness(y, frames.forces if model_forces is None else model_forces(y), frames.bonds)
    by_variance = variance_stiffness(y, frames.bonds, kT)
    by_variance = pooled(by_variance, kinds) if alike else by_variance
    expected = closed_form(clean, sigma, kT)
    found = []
    for kind in sorted(set(kinds)):
        own = kinds == kind
        found.append(
            {**about, "quantity": "stiffness", "kind": kind, "sigma / nm": sigma, "bonds": int(own.sum()),
             "k clean": clean[own].mean(), "k expected": expected[own].mean(), "k by variance": by_variance[own].mean(),
             "value": by_force[own].mean(), "ratio": (by_force[own] / expected[own]).mean(),
             "ratio of variance": (by_variance[own] / expected[own]).mean()}
        )  # fmt: skip
    return found


def in_dynamics(positions, frames, sigma, about, alike=False):
    """Rows: the same from the variances of bonds in runs of a model that has sigma (nm); frames are clean."""
    kT = thermal_energy(frames.temperature)
    kinds, rows = np.array(names(frames)), []
    clean, found = (variance_stiffness(x, frames.bonds, kT) for x in (frames.positions, positions))
    if alike:
        clean, found = pooled(clean, kinds), pooled(found, kinds)
    expected = closed_form(clean, sigma, kT)
    for kind in sorted(set(kinds)):
        own = kinds == kind
        rows.append(
            {**about, "quantity": "stiffness in MD", "kind": kind, "bonds": int(own.sum()),
             "k expected": expected[own].mean(), "value": found[own].mean(),
             "ratio": (found[own] / expected[own]).mean()}
        )  # fmt: skip
    return rows
