"""Bonds of two particles for 01_scaling.py: the package's own training, from Frames to a Force in OpenMM."""

import numpy as np

from openmm_diffusion import Frames, create_system, train
from scale.wells import BOND, DATA, KT, WRONG, drawn, exact, row, run, slopes, spread, variance


def dimers(well, n, temperature, rng):
    """Frames of two argon-like particles without a box, told to be at a temperature (K)."""
    direction = rng.normal(size=(n, 3))
    half = drawn(well, n, rng, bond=True)[:, None] * direction / np.linalg.norm(direction, axis=1)[:, None] / 2
    return Frames(np.stack([-half, half], 1), [18, 18], None, temperature, replica=np.arange(n) % 20)


def trained(well, sigma, frames, seed, steps=0, temperature=DATA):
    """A denoiser of dimers: pair potential by exact score matching, or with `steps` a network by denoising."""
    data = dimers(well, frames, temperature, np.random.default_rng([seed, len(well), 2]))
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0.1 if steps else 0},
        "noise": {"sigma": sigma},
        "prior": {"coulomb": None, "wall": None},
        "pair": None if steps else {"cutoff": 0.7, "start": 0.22},
        "network": {"cutoff": 0.7, "lmax": 0, "features": 16, "layers": 1} if steps else None,
    }
    if steps:
        config["training"] = {
            "steps": steps, "batch": 128, "learning_rate": 0.01, "weight_decay": 0.0, "seed": seed,
            "check_every": steps // 10,
        }  # fmt: skip
    return train(data, config, progress=False)


def along(denoiser, r):
    """Force (kJ/mol/nm) that lengthens the bond, at lengths r (nm)."""
    y = np.zeros((len(r), 2, 3))
    y[:, 1, 0] = r
    return denoiser.forces(y, False)[:, 1, 0]


def dimer_rows(well, sigma, frames, sets, steps, seed):
    """Slopes and force curve of independent trainings, each on configurations of its own."""
    y, p, smoothed, clean = exact(well, sigma, bond=True)
    known = p * y**2 > 1e-3 * (p * y**2).max()
    found = np.array([along(trained(well, sigma, frames, 1000 * seed + k, steps), y) for k in range(sets)])
    about = dict(system=f"{well} bond", learner="network" if steps else "pair", **{"sigma / nm": sigma})
    rows = [
        row(name, u, v.mean(), v.std(ddof=1) / np.sqrt(sets), e, **about)
        for name, u, v, e in slopes(sigma, found, p * y**2 * known, smoothed, clean)
    ]
    for i in np.flatnonzero(known)[::8]:
        at = {**about, "at / nm": y[i], "clean": clean[i]}
        values = found[:, i]
        error = values.std(ddof=1) / np.sqrt(sets)
        rows.append(row("force", "kJ/mol/nm", values.mean(), error, smoothed[i], **at))
    return rows


def dimer_md_rows(well, sigma, frames, replicas, steps, seed):
    """Variance of the bond length in MD through `create_system`: frames told to be at 300 K and at 293.15 K.

    Of bonds within the range of the data: nothing holds a bond that has once left it.
    """
    y, p, *_ = exact(well, sigma, bond=True)
    inside = p * y**2 > 1e-3 * (p * y**2).max()
    y, p = y[inside], p[inside]
    within, bonds = (y[0], y[-1]), np.stack([np.zeros((len(y), 3)), np.outer(y, [1, 0, 0])], 1)
    start = dimers(well, replicas, DATA, np.random.default_rng([seed, len(well), 3]))
    # What a fit does not know of the force shows in the variance too: by quadrature, of fits to other data.
    others = [trained(well, sigma, frames, 1000 * seed + k + 1).energy(bonds, False) for k in range(5)]
    expected, unknown, runs, rows = {}, {}, {}, []
    for arm, temperature in (("right", DATA), ("293.15 K", WRONG)):
        about = dict(system=f"{well} bond", learner="pair", arm=arm, **{"sigma / nm": sigma})
        denoiser = trained(well, sigma, frames, seed, temperature=temperature)
        system = create_system(denoiser, start.topology(), replicas=replicas, backend="python", precision="double")
        x = run(system, start.positions.reshape(-1, 3), steps, seed)
        runs[arm] = np.linalg.norm(x[:, 1::2] - x[:, ::2], axis=2)
        factor = temperature / DATA
        expected[arm] = variance(y, p**factor, bond=True)
        unknown[arm] = np.array([variance(y, np.exp(-factor * (U - U.min()) / KT), bond=True) for U in others])
        value, error = spread(runs[arm], within=within)
        rows.append(row("variance", "nm^2", value, np.hypot(error, unknown[arm].std(ddof=1)), expected[arm], **about))
    value, error = spread(runs["293.15 K"], runs["right"], within)
    error = np.hypot(error, (unknown["293.15 K"] / unknown["right"]).std(ddof=1))
    rows.append(row("excess variance", "1", value, error, expected["293.15 K"] / expected["right"] - 1, **about))
    outside = np.mean(runs["right"] > BOND + 0.22)
    return [*rows, row("bonds broken", "1", outside, None, **about)]
