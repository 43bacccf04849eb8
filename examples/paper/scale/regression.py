"""One coordinate for 01_scaling.py: a denoiser by regression of x - y on y, and MD under its force."""

import functools

import numpy as np
import openmm
import torch
from scipy.interpolate import CubicSpline

from openmm_diffusion.noise import draw_noise, force_from_denoised, scale
from openmm_diffusion.units import ANGSTROM, ELECTRONVOLT
from scale.wells import DATA, KT, MASS, WIDTH, WRONG, drawn, exact, row, run, slopes, spread, variance

KNOTS = 16


class Regression:
    """D(y) - y as a cubic spline, fitted to x - y by least squares; 40 blocks of samples give its errors.

    It knows the inner 99.8 % of the noised samples; outside, something has to be made up.

    Attributes
    ----------
    coefficients : array, shape (1 + 200, n_knots), nm
        The fit, and fits to blocks drawn with replacement.
    """

    def __init__(self, well, sigma, frames, seed, blocks=40):
        y, p, *_ = exact(well, sigma)
        share = np.cumsum(p) / p.sum()
        self.low, self.high = y[share > 1e-3][0], y[share < 1 - 1e-3][-1]
        knots = np.linspace(self.low, self.high, KNOTS)
        self.basis = CubicSpline(knots, np.eye(KNOTS))
        known = (y > self.low) & (y < self.high)
        self.slope = np.polyfit(y[known], self.basis(y[known]), 1, w=np.sqrt(p[known]))[0]
        self.sigma = sigma
        # Numbers of its own for every fit: they are judged together.
        rng = np.random.default_rng([seed, frames, round(1e6 * sigma), len(well)])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        A, b = np.zeros((blocks, KNOTS, KNOTS)), np.zeros((blocks, KNOTS))
        for k in range(blocks):
            x = torch.as_tensor(drawn(well, frames // blocks, rng))
            noised = x + sigma * draw_noise(x, 2, True, generator)
            y, step = noised.numpy().ravel(), (x - noised).numpy().ravel()
            inside = (y > self.low) & (y < self.high)
            B = self.design(y[inside])
            A[k], b[k] = B.T @ B, B.T @ step[inside]
        # Blocks drawn with replacement scatter by (n - 1)/n of the variance.
        counts = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=200)
        counts = np.vstack([np.ones(blocks), 1 + (counts - 1) * np.sqrt(blocks / (blocks - 1))])
        left, right = np.tensordot(counts, A, 1), counts @ b
        self.coefficients = np.linalg.solve(left, right[..., None])[..., 0]

    def design(self, y):
        """Basis functions at y, shape (n, n_knots); outside with the slope of the best line inside."""
        inside = np.clip(y, self.low, self.high)
        return self.basis(inside) + np.outer(y - inside, self.slope)

    def force(self, y):
        """Force (kJ/mol/nm) of the fit and of the resampled fits, shape (1 + 200, n)."""
        noisy = np.broadcast_to(y, (len(self.coefficients), len(y)))
        return force_from_denoised(noisy + self.coefficients @ self.design(y).T, noisy, self.sigma, KT)

    def energy(self, y):
        """Its potential (kJ/mol) on an even grid, by Simpson's rule."""
        middle = self.force((y[1:] + y[:-1]) / 2)
        ends = self.force(y)
        steps = -(ends[:, 1:] + ends[:, :-1] + 4 * middle) * (y[1] - y[0]) / 6
        return np.hstack([np.zeros((len(ends), 1)), np.cumsum(steps, axis=1)])


learnt = functools.cache(Regression)


def fit_rows(well, sigma, frames, seed):
    """Slopes of the regression, and its force curve."""
    model, (y, p, smoothed, clean) = learnt(well, sigma, frames, seed), exact(well, sigma)
    about = dict(system=well, learner="regression", **{"sigma / nm": sigma})
    found, known = model.force(y), (y > model.low) & (y < model.high)
    rows = [
        row(name, u, v[0], v[1:].std(), e, **about)
        for name, u, v, e in slopes(sigma, found, p * known, smoothed, clean)
    ]
    for i in np.flatnonzero(known)[::8]:
        at = {**about, "at / nm": y[i], "clean": clean[i]}
        rows.append(row("force", "kJ/mol/nm", found[0, i], found[1:, i].std(), smoothed[i], **at))
    return rows


def arms(sigma):
    """Factor on the learnt force: the right scale, that of 293.15 K, and none, read in eV and Angstrom."""
    return {"right": 1.0, "293.15 K": WRONG / DATA, "left out": ELECTRONVOLT / ANGSTROM**2 / scale(sigma, KT)}


def coordinates(well, sigma, factor, frames, particles, steps, seed):
    """Trajectories under the learnt force, shape (n_snapshots, 3 particles), nm; x, y and z are alike."""
    grid = np.linspace(-0.8, 0.8, 3201)
    potential = openmm.Continuous1DFunction(learnt(well, sigma, frames, seed).energy(grid)[0], grid[0], grid[-1])
    # Of one particle: unlike a CustomExternalForce, it takes tabulated functions.
    force = openmm.CustomCompoundBondForce(1, "factor * (u(x1) + u(y1) + u(z1))")
    force.addTabulatedFunction("u", potential)
    force.addGlobalParameter("factor", factor)
    system = openmm.System()
    for i in range(particles):
        system.addParticle(MASS)
        force.addBond([i])
    system.addForce(force)
    rng = np.random.default_rng([seed, 1])
    start = drawn(well, 3 * particles, rng) + sigma * rng.normal(size=3 * particles)
    return run(system, start.reshape(-1, 3), steps, seed).reshape(-1, 3 * particles)


def md_rows(well, sigma, frames, particles, steps, seed):
    """Variance in each arm against that of the exact noised density, and by how much the wrong ones differ."""
    y, p, *_ = exact(well, sigma)
    wide = np.linspace(-0.8, 0.8, 3201)
    model = learnt(well, sigma, frames, seed)
    potentials = model.energy(wide)
    rows, right = [], None
    for arm, factor in arms(sigma).items():
        about = dict(system=well, learner="regression", arm=arm, **{"sigma / nm": sigma})
        x = coordinates(well, sigma, factor, frames, particles, steps, seed)
        beyond = np.sum((p**factor)[(y < model.low) | (y > model.high)]) / np.sum(p**factor)
        expected = variance(y, p**factor)
        if well == "harmonic":
            expected = (WIDTH**2 + sigma**2) / factor
        elif beyond > 0.01:
            expected = np.nan  # up to what was made up where there are no data; a straight line is right for a spring
        value, error = spread(x)
        # What the fit does not know of the force shows in the variance too.
        others = np.array([variance(wide, np.exp(-factor * (U - U.min()) / KT)) for U in potentials[1:]])
        rows.append(row("variance", "nm^2", value, np.hypot(error, others.std()), expected, **about))
        if right is None:
            right, reference, others_right = x, expected, others
        else:
            value, error = spread(x, right)
            error = np.hypot(error, (others / others_right).std())
            rows.append(row("excess variance", "1", value, error, expected / reference - 1, **about))
        counts, edges = np.histogram(x, np.linspace(-0.4, 0.4, 161), density=True)
        centres = (edges[1:] + edges[:-1]) / 2
        rows += [row("density", "1/nm", c, None, **about, **{"at / nm": r}) for r, c in zip(centres, counts) if c > 0]
    return rows
