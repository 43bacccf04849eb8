"""Two landscapes in closed form for 04_duplication.py: a spring, and three wells of which one is never visited.

One coordinate in units nm and kJ/mol at 300 K.  n frames with m draws of noise each give n m labels
T = -kT eps / sigma at y = x + sigma eps; forces are learnt from them by least squares.
"""

import numpy as np
import torch
from scipy.interpolate import BSpline

from openmm_diffusion.noise import denoising_force, draw_noise, force_from_denoised
from openmm_diffusion.units import thermal_energy

KT = thermal_energy(300.0)
#: Width (nm) of every well; coordinates of a frame in a spring: eight particles, so that few frames are many numbers.
WIDTH, COORDINATES = 0.03, 24
#: Centres of the three wells (nm): barriers of 2.0 and 8.7 kT.  Frames come from the first two alone.
CENTRES = np.array([-0.07, 0.07, 0.33])
ALL, VISITED = 3, 2
#: Knots (nm) of the spline that learns the force there, and the penalty on its second differences (nm^-2).
KNOTS, PENALTY = np.arange(-0.29, 0.5501, 0.015), 0.1
#: Distances from the nearest frame that errors are told apart by, in units of sigma.
DISTANCES = np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6])


def copies(x, sigma, draws, seed, antithetic=False):
    """Noised copies and their labels, each of shape (n_copies, *x.shape): nm and kJ/mol/nm."""
    eps = draw_noise(torch.as_tensor(x), draws, antithetic, torch.Generator().manual_seed(seed)).numpy()
    return x + sigma * eps, denoising_force(eps, sigma, KT)


# ---- a spring


def threshold(sigma, antithetic=False):
    """m* = V_label / V_frames of a spring: draws beyond it do less than frames would.

    With s = sigma / w and k = 1 / (1 + s^2), in units of kT and w, the residual of a label at y is
    y (T + k y).  Its mean at given x is k (x^2 - 1), of variance 2 k^2 over frames; about that it has the
    variance k^2 ((1 - s^2)^2 / s^2 + 2) over draws.  Half the ratio::

        m* = ((w / sigma)^2 + (sigma / w)^2) / 2

    In antithetic pairs the first term cancels, and m* = 1 pair at every sigma.
    """
    s2 = (sigma / WIDTH) ** 2
    return 1.0 if antithetic else (1 / s2 + s2) / 2


def spring_variance(sigma, n, m, antithetic=False):
    """Relative variance of the learnt spring, n frames with m draws (or antithetic pairs), to leading order in 1/n."""
    return 2 * (1 + threshold(sigma, antithetic) / m) / (1 + (sigma / WIDTH) ** 2) ** 2 / (n * COORDINATES)


def spring_errors(sigma, n, m, antithetic, repeats, seed):
    """(k / k_eff - 1)^2 of springs fitted to independent sets of frames, shape (repeats,)."""
    errors = []
    for part in range(0, repeats, 200):
        x = WIDTH * np.random.default_rng([seed, n, m, part]).normal(size=(200, n, COORDINATES))
        y, label = copies(x, sigma, m, seed + 7919 * part + 31 * n + m, antithetic)
        k = -(y * label).sum((0, 2, 3)) / (y**2).sum((0, 2, 3))
        errors.append((k * (WIDTH**2 + sigma**2) / KT - 1) ** 2)
    return np.concatenate(errors)[:repeats]


# ---- three wells


def density(y, sigma, wells=ALL):
    """p_sigma(y) of the first `wells` wells, each as likely as the other, 1/nm."""
    variance = WIDTH**2 + sigma**2
    return np.exp(-((np.asarray(y)[..., None] - CENTRES[:wells]) ** 2) / 2 / variance).mean(-1) / np.sqrt(
        2 * np.pi * variance
    )


def exact_force(y, sigma, wells=ALL):
    """Force (kJ/mol/nm) of the noised ensemble: noise widens every Gaussian, and that is all."""
    variance, away = WIDTH**2 + sigma**2, np.asarray(y)[..., None] - CENTRES[:wells]
    weight = np.exp(-(away**2 - (away**2).min(-1, keepdims=True)) / 2 / variance)
    return -KT / variance * (weight * away).sum(-1) / weight.sum(-1)


def drawn(n, rng, wells=VISITED):
    """n frames of the first `wells` wells, nm."""
    return CENTRES[rng.integers(wells, size=n)] + WIDTH * rng.normal(size=n)


def kernel_force(y, x, sigma):
    """m = infinity without any constraint: the score of a kernel density of the frames (docs/theory.md, 8.1)."""
    closeness = -((y[:, None] - x) ** 2) / (2 * sigma**2)
    weight = np.exp(closeness - closeness.max(1, keepdims=True))
    return force_from_denoised(weight @ x / weight.sum(1), y, sigma, KT)


def _design(y):
    inside = np.clip(y, KNOTS[3], KNOTS[-4] - 1e-9)
    return BSpline.design_matrix(inside, KNOTS, 3)


def spline_force(y, x, sigma, m, seed):
    """Force at y of a cubic spline fitted to m labels of every frame x; m = inf: to all labels there are.

    For infinity, the average over the noise is Gauss-Hermite quadrature.
    """
    if np.isinf(m):
        eps, weight = np.polynomial.hermite_e.hermegauss(40)
        weight = np.repeat(weight / weight.sum(), len(x))
        noisy, label = (x + sigma * eps[:, None]).ravel(), np.repeat(-KT * eps / sigma, len(x))
    else:
        noisy, label = (values.ravel() for values in copies(x, sigma, int(m), seed))
        weight = np.full(len(noisy), 1 / m)
    B = _design(noisy)
    A, b = (B.T @ B.multiply(weight[:, None]).tocsr()).toarray(), B.T @ (weight * label)
    bend = np.diff(np.eye(len(A)), 2, axis=0)
    return _design(y) @ np.linalg.solve(A + PENALTY * len(x) * bend.T @ bend, b)


# ---- rows of the table


def row(quantity, value, error, expected=None, unit="1", **more):
    return {**more, "quantity": quantity, "unit": unit, "value": value, "error": error, "expected": expected}


def spring_rows(sigma, divisions, repeats, seed):
    """Squared error of the learnt spring, for every division of the labels and both kinds of draws."""
    rows = []
    for n, m in divisions:
        for antithetic in (False, True):
            # Two copies are one antithetic pair: the same number of labels for both.
            if antithetic and m % 2:
                continue
            draws = m // 2 if antithetic else m
            e = spring_errors(sigma, n, draws, antithetic, repeats, seed)
            about = dict(system="spring", learner="antithetic pairs" if antithetic else "single draws", n=n, m=m)
            expected = spring_variance(sigma, n, draws, antithetic)
            error = e.std(ddof=1) / np.sqrt(repeats)
            rows.append(row("squared error", e.mean(), error, expected, **about, **{"sigma / nm": sigma}))
    return rows


def wells_rows(sigma, divisions, repeats, seed):
    """Force errors in three wells of which frames visit two: where they are, and beyond the last of them.

    In units of the rms force in a well, kT / sqrt(w^2 + sigma^2); errors by resampling the sets of frames.
    """
    y = np.arange(-0.2, 0.4301, 0.002)
    force, size = exact_force(y, sigma), KT / np.sqrt(WIDTH**2 + sigma**2)
    inside, third = density(y, sigma, VISITED), np.exp(-((y - CENTRES[-1]) ** 2) / 2 / (WIDTH**2 + sigma**2))
    about, rows = {"system": "three wells", "sigma / nm": sigma}, []

    def add(quantity, squares, weight, **more):
        """Root of the weighted mean of squares (repeats, n_y), where there are any."""
        each = (squares * weight).sum(1) / np.maximum((weight * np.ones_like(squares)).sum(1), 1e-300)
        known = (weight * np.ones_like(squares)).sum(1) > 0
        if known.sum() > 1:
            each = each[known]
            mean = each.mean()
            error = each.std(ddof=1) / np.sqrt(len(each)) / (2 * np.sqrt(mean))
            rows.append(row(quantity, np.sqrt(mean) / size, error / size, **about, **more))

    for n, m in divisions:
        sets = [drawn(n, np.random.default_rng([seed, n, k])) for k in range(repeats)]
        away = np.array([(y - x.max()) / sigma for x in sets])
        found = {"spline": np.array([spline_force(y, x, sigma, m, seed + 1000 * k + n) for k, x in enumerate(sets)])}
        if np.isinf(m):
            found["kernel density"] = np.array([kernel_force(y, x, sigma) for x in sets])
            found["no force"] = np.zeros_like(away)
        for learner, forces in found.items():
            squares, which = (forces - force) ** 2, dict(learner=learner, n=n, m=m)
            add("error where frames are", squares, inside, **which)
            add("error in the third well", squares, third, **which)
            for low, high in zip(DISTANCES, DISTANCES[1:]):
                near = (away > low) & (away <= high)
                add("error beyond the last frame", squares, near, **which, **{"at / sigma": (low + high) / 2})
    x = drawn(62, np.random.default_rng([seed, 62, 0]))
    for learner, curve in (
        ("spline", spline_force(y, x, sigma, np.inf, 0)),
        ("kernel density", kernel_force(y, x, sigma)),
    ):
        for at, value, known in zip(y[::2], curve[::2], force[::2]):
            which = {"learner": learner, "n": 62, "m": np.inf, "at / nm": at, "last frame / nm": x.max()}
            rows.append(row("force", value, None, known, "kJ/mol/nm", **about, **which))
    return rows


def visits_rows(sigma, n, visits, draws, repeats, seed):
    """Force error in the third well when some of the n frames are there: against the draws, and against the frames."""
    y = np.arange(CENTRES[-1] - 0.1, CENTRES[-1] + 0.1, 0.002)
    weight = np.exp(-((y - CENTRES[-1]) ** 2) / 2 / (WIDTH**2 + sigma**2))
    force, size = exact_force(y, sigma), KT / np.sqrt(WIDTH**2 + sigma**2)
    rows = []
    for v in visits:
        for m in draws:
            each = []
            for k in range(repeats):
                rng = np.random.default_rng([seed, n, k])
                x = drawn(n, rng)
                x[:v] = CENTRES[-1] + WIDTH * rng.normal(size=v)
                found = spline_force(y, x, sigma, m, seed + 1000 * k)
                each.append(np.average((found - force) ** 2, weights=weight))
            mean = np.mean(each)
            error = np.std(each, ddof=1) / np.sqrt(repeats) / (2 * np.sqrt(mean))
            about = {"system": "three wells", "learner": "spline", "sigma / nm": sigma, "n": n, "m": m, "visits": v}
            rows.append(row("error in the third well, visited", np.sqrt(mean) / size, error / size, **about))
    return rows
