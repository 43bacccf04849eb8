"""The scale kT/sigma^2: where the denoiser becomes a force, and what MD does without it.

    python examples/paper/01_scaling.py [--quick] [--seed 0] [--output DIR]

Wells of one coordinate (a spring, a tilted double well) and bonds of the same shapes between
two particles, at 300 K.  Configurations are drawn from the exact density.  In one dimension
the denoiser is a regression of x - y on y, whose target holds no force and no kT; for dimers
it is the package's own training, of pair potential and of network.  What is learnt stands beside
the force of the clean and of the noised ensemble, the latter by quadrature.  Then Langevin MD at
300 K: with the right scale, with that of 293.15 K, and with the scale left out in eV and Angstrom.
"""

import functools
import logging

import numpy as np
import openmm
import pandas
import torch
from openmm import unit
from records import Records, parse
from scaling_figure import draw
from scipy.interpolate import CubicSpline
from scipy.stats import chi2

from openmm_diffusion import Frames, create_system, train
from openmm_diffusion.noise import NoiseConfig, draw_noise, force_from_denoised, scale
from openmm_diffusion.rdf import smear
from openmm_diffusion.resampling import jackknife
from openmm_diffusion.units import ANGSTROM, ELECTRONVOLT, thermal_energy

DATA, WRONG = 300.0, 293.15  # K; 0.0252617 eV is kT at the second
KT = thermal_energy(DATA)
WIDTH, LENGTH, BOND = 0.03, 0.07, 0.36  # nm: of the spring's well, between maximum and minima, of a bond
#: Langevin: mass (amu), friction (1/ps), step (ps), 44 of them to the stiffest vibration; steps between snapshots.
MASS, FRICTION, STEP, EVERY = 40.0, 10.0, 0.01, 10
KNOTS = 16
SETTINGS = {
    False: dict(
        sigmas=(0.0025, 0.005, 0.01, 0.0265), frames=1_000_000, md_sigmas=(0.005, 0.01, 0.0265), particles=500,
        steps=10_000, dimer_sets=12, dimer_frames=20_000, network_sets=3, network_steps=1500, network_frames=10_000,
        dimers=500, bonds=("harmonic", "double well"),
    ),
    True: dict(
        sigmas=(0.005, 0.0265), frames=200_000, md_sigmas=(0.005,), particles=200, steps=2000, dimer_sets=4,
        dimer_frames=5000, network_sets=0, network_steps=0, network_frames=0, dimers=200,
        bonds=("harmonic",),
    ),
}  # fmt: skip


# ---- what is known: two potentials, their densities and forces by quadrature


def energy(well, x):
    """U(x), kJ/mol; the barrier of the double well is about 2 kT."""
    t = x / LENGTH
    return KT * x**2 / (2 * WIDTH**2) if well == "harmonic" else KT * (2 * t**4 - 4 * t**2 + 0.5 * t)


def clean_force(well, x):
    t = x / LENGTH
    return -KT * x / WIDTH**2 if well == "harmonic" else -KT * (8 * t**3 - 8 * t + 0.5) / LENGTH


@functools.cache
def exact(well, sigma, bond=False):
    """Grid y (nm), p_sigma(y) up to a constant, and the forces of the noised and of the clean ensemble (kJ/mol/nm).

    Of a bond, y is its length, p_sigma the density of the distance vector, and both ends are noised.
    """
    y = np.arange(-0.22, 0.22, 0.0005) + (BOND if bond else 0)
    if bond:
        p = smear(y, np.exp(-energy(well, y - BOND) / KT), sigma)
        return y, p, KT * np.gradient(np.log(p), y, edge_order=2), clean_force(well, y - BOND)
    x = np.arange(-0.32, 0.32, 1e-4)
    joint = np.exp(-energy(well, x) / KT - (y[:, None] - x) ** 2 / (2 * sigma**2))
    p = joint.sum(1)
    return y, p, force_from_denoised(joint @ x / p, y, sigma, KT), clean_force(well, y)


def variance(y, p, bond=False):
    """Variance (nm^2) of the coordinate under a density on a grid, of a distance vector with `bond`."""
    p = p * y**2 if bond else p
    mean = np.sum(p * y) / np.sum(p)
    return np.sum(p * (y - mean) ** 2) / np.sum(p)


def drawn(well, n, rng, bond=False):
    """Samples of the exact density, by its inverse cumulative sum: shape (n,), nm."""
    x = np.arange(-0.32, 0.32, 1e-5)
    p = np.exp(-energy(well, x) / KT) * ((x + BOND) ** 2 if bond else 1)
    return np.interp(rng.random(n) * p.sum(), np.cumsum(p), x) + (BOND if bond else 0)


# ---- one coordinate: a denoiser by regression


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
        noise, self.sigma = NoiseConfig(sigma=sigma, draws=2), sigma
        # Numbers of its own for every fit: they are judged together.
        rng = np.random.default_rng([seed, frames, round(1e6 * sigma), len(well)])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        A, b = np.zeros((blocks, KNOTS, KNOTS)), np.zeros((blocks, KNOTS))
        for k in range(blocks):
            x = torch.as_tensor(drawn(well, frames // blocks, rng))
            noised = x + sigma * draw_noise(x, noise, generator)
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


def slopes(sigma, found, p, smoothed, clean):
    """Regression of learnt forces, shape (n, n_y), on the exact ones, weighted by p: over the noised ensemble."""
    on = {name: (found @ (p * f)) / np.sum(p * f**2) for name, f in (("noised", smoothed), ("clean", clean))}
    rest = np.sqrt(np.sum(p * (found - smoothed) ** 2, axis=1) / np.sum(p * smoothed**2))
    return [
        ("slope on noised force", "1", on["noised"], 1.0),
        ("slope on clean force", "1", on["clean"], np.sum(p * smoothed * clean) / np.sum(p * clean**2)),
        ("unscaled slope", "nm^2 mol/kJ", on["noised"] / scale(sigma, KT), 1 / scale(sigma, KT)),
        ("rms error / rms force", "1", rest, None),
    ]


def row(quantity, unit_name, value, error, expected=None, **more):
    return {**more, "quantity": quantity, "unit": unit_name, "value": value, "error": error, "expected": expected}


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


# ---- molecular dynamics of one coordinate, three per particle


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


def run(system, start, steps, seed):
    """Snapshots of Langevin dynamics at 300 K, a fifth discarded: (n_snapshots, n_particles, 3), nm.

    The same seed gives the same noise, so that runs under two forces can be compared far better
    than either is known.
    """
    integrator = openmm.LangevinMiddleIntegrator(DATA, FRICTION, STEP)
    integrator.setRandomNumberSeed(seed + 1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(start)
    context.setVelocitiesToTemperature(DATA, seed + 1)
    integrator.step(steps // 5)
    snapshots = []
    for _ in range(0, steps - steps // 5, EVERY):
        integrator.step(EVERY)
        snapshots.append(context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    return np.array(snapshots)


def spread(x, other=None, within=(-np.inf, np.inf)):
    """Variance over time and independent coordinates (n_snapshots, n), or its relative excess over that of another run.

    Of what lies `within` two values alone.
    """
    runs = [x] if other is None else [x, other]
    inside = [(z > within[0]) & (z < within[1]) for z in runs]
    sums = np.stack([np.sum(z**k * i, axis=0) for z, i in zip(runs, inside) for k in range(3)], axis=1)

    def statistic(total):
        n, first, second = (total[..., k::3] for k in range(3))
        found = second / n - (first / n) ** 2
        return found[..., 0] if other is None else found[..., 0] / found[..., 1] - 1

    return jackknife(sums, statistic)


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


# ---- two particles: the package's own training, from Frames to a Force


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


# ---- claims, and all of it


def agreement(rows):
    """Largest deviation of the rows from what is expected, in standard errors, and whether chi squared allows all."""
    z = ((rows["value"] - rows["expected"]) / rows["error"]).dropna()
    return float(z.abs().max()), bool(chi2.sf((z**2).sum(), len(z)) > 1e-3)


def claims(table):
    """What the paper says of the scale, what was measured, and a verdict, one row each."""
    found = []

    def judge(claim, measured, rows, holds, verdict="holds"):
        found.append(
            {"claim": claim, "measured": measured, "rows": int(rows["expected"].notna().sum())}
            | {"largest |z|": agreement(rows)[0], "verdict": verdict if holds else "does not hold"}
        )

    scaled = table[table["quantity"] == "slope on noised force"]
    for learner, rows in scaled.groupby("learner", sort=False):
        weight = rows["error"] ** -2.0
        mean, error = np.average(rows["value"], weights=weight), weight.sum() ** -0.5
        if learner == "network":
            # Not linear: what it has not learnt is no statistical error, and its slope is right as far as its force is.
            rest = table[(table["quantity"] == "rms error / rms force") & (table["learner"] == learner)]["value"]
            close = ((rows["value"] - 1).abs().to_numpy() < rest.to_numpy()).all()
            judge(f"slope after kT/sigma^2, {learner}", f"{mean:.3f}", rows, close, "holds under conditions")
        else:
            judge(f"slope after kT/sigma^2, {learner}", f"{mean:.4f} +- {error:.4f}", rows, agreement(rows)[1])
    unscaled = table[(table["quantity"] == "unscaled slope") & (table["learner"] == "regression")]
    design = np.stack([np.ones(len(unscaled)), np.log(unscaled["sigma / nm"])], axis=1)
    weight = (unscaled["value"] / unscaled["error"]).to_numpy() ** 2
    covariance = np.linalg.inv(design.T * weight @ design)
    prefactor, exponent = covariance @ (design.T * weight @ np.log(unscaled["value"]))
    error = np.sqrt(covariance[1, 1])
    measured = (
        f"sigma^({exponent:.4f} +- {error:.4f}), kT = {np.exp(-prefactor - (exponent - 2) * design[:, 1].mean()):.4f}"
    )
    judge("slope of the displacement itself is sigma^2/kT", measured, unscaled, agreement(unscaled)[1])
    clean = table[(table["quantity"] == "slope on clean force") & (table["learner"] == "regression")]
    ends = clean.groupby("sigma / nm")["value"].mean()
    measured = ", ".join(f"{v:.3f} at {s:g} nm" for s, v in ends.items())
    judge(
        "the same on the clean force: 1 as sigma -> 0", measured, clean, agreement(clean)[1], "holds under conditions"
    )
    excess = table[table["quantity"] == "excess variance"]
    for arm, rows in excess.groupby("arm", sort=False):
        shown = rows[rows["system"] == "harmonic"]
        measured = ", ".join(f"{100 * v:.2f} +- {100 * e:.2f} %" for v, e in zip(shown["value"], shown["error"]))
        resolved = (shown["value"].abs() > 3 * shown["error"]).all()
        judge(
            f"variance in excess, scale of {arm}, all wells (harmonic: measured)",
            measured,
            rows,
            agreement(rows)[1] and resolved,
        )
    right = table[(table["quantity"] == "variance") & (table["arm"] == "right")]
    measured = f"{(right['value'] / right['expected']).min():.4f} to {(right['value'] / right['expected']).max():.4f}"
    judge("variance in MD / variance of the noised data, right scale", measured, right, agreement(right)[1])
    return pandas.DataFrame(found)


def main(arguments=None):
    options = parse(__doc__, arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    size, seed = SETTINGS[options.quick], options.seed
    records = Records(options.output / "01_scaling.csv")
    for well in ("harmonic", "double well"):
        for sigma in size["sigmas"]:
            given = dict(well=well, sigma=sigma, frames=size["frames"], seed=seed)
            records.part("fit", {**given, "steps": 0}, lambda given=given: fit_rows(**given))
        for sigma in size["md_sigmas"]:
            given = dict(well=well, sigma=sigma, seed=seed, **{k: size[k] for k in ("frames", "particles", "steps")})
            records.part("md", given, lambda given=given: md_rows(**given))
        for learner in ("dimer", "network"):
            sets, frames, steps = (size.get(f"{learner}_{what}", 0) for what in ("sets", "frames", "steps"))
            given = dict(well=well, sigma=0.005, frames=frames, sets=sets, steps=steps, seed=seed)
            if sets:
                records.part("dimer", given, lambda given=given: dimer_rows(**given))
        if well in size["bonds"]:
            given = dict(well=well, sigma=0.005, frames=size["dimer_frames"], replicas=size["dimers"], seed=seed)
            given["steps"] = size["steps"]
            records.part("dimer md", given, lambda given=given: dimer_md_rows(**given))
    table = records.table()
    draw(table, options.output / "01_scaling.png", KT)
    pandas.set_option("display.width", 250, "display.max_colwidth", 120)
    print(claims(table).to_string(index=False, float_format="%.2f"))
    return table


if __name__ == "__main__":
    main()
