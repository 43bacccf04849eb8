"""Error against the noise level: where smoothing ends and statistics begin.

    python 02_error_against_sigma.py [FRAMES] [OUTPUT] [--quick] [--seed SEED] [--parts PART ...]

Noise of 0.01 to 0.5 Angstrom on a harmonic well (all in closed form), on dimers in a double well of the distance
(exact by quadrature), and on LiCl (FRAMES with exact mean forces, which are read for the tables alone; default: the
bundled ones).  For every level the bias of the force and of the unscaled denoiser, the scatter by frames and draws,
and the life and g(r) of molecular dynamics.

OUTPUT receives 02_error_against_sigma.csv (every measurement, with the hash of its settings, seed, frames, steps and
wall time), 02_error_against_sigma_fits.csv (exponents, crossings) and 02_error_against_sigma.png.  Measurements that
are there already are not repeated: an interrupted call is gone on with by the same command.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import matplotlib
import numpy as np
import openmm
import pandas
import torch
from draws import labelled
from openmm import unit

from openmm_diffusion import Frames, compute_rdf, create_system, train
from openmm_diffusion.guard import SimulationStopped
from openmm_diffusion.noise import NoiseConfig, denoising_force, draw_noise
from openmm_diffusion.rdf import rmsd, smear, split_half_error
from openmm_diffusion.sampling import SamplingConfig, sample_ensemble
from openmm_diffusion.structure import rmsd_error
from openmm_diffusion.units import thermal_energy

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen before pyplot is imported
from matplotlib.lines import Line2D  # noqa: E402

NAME = "02_error_against_sigma"
BUNDLED = Path(__file__).resolve().parents[1] / "licl" / "licl.npz"
TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
#: Noise levels, nm: 0.01 to 0.5 Angstrom, with those of Harcombe & Duignan (0.05, 0.10, 0.265 Angstrom).
SIGMAS = (0.001, 0.0014, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.0175, 0.0265, 0.05)
#: Width of the harmonic well, nm; length of the double well of the dimer (minima 0.02 nm wide, 2 kT between), nm.
WIDTH, CENTRE, LENGTH, DIMERS = 0.03, 0.40, 0.07, 8
#: What the learners learn from: antithetic draws of noise per frame, 0: one single draw; and of labels, or without.
LEARNERS = {
    "labels, single draw": (0, True),
    "labels, 1 antithetic pair": (1, True),
    "labels, 2 antithetic pairs": (2, True),
    "labels, 4 antithetic pairs": (4, True),
    "exact score matching": (2, False),
}
EXACT = "exact score matching"
SHOWN = ("labels, single draw", "labels, 1 antithetic pair", "labels, 4 antithetic pairs", EXACT)
FULL = {
    "sigmas": SIGMAS, "frames": (125, 250, 500, 1000, 2000), "repeats": 400, "seeds": 4,
    "scatter_sigmas": (0.002, 0.005, 0.01, 0.0175, 0.0265), "bias_frames": 4000, "dimer_frames": (125, 500, 2000),
    "licl_frames": 1000, "licl_scatter_frames": (125, 500), "divisions": 2, "test_frames": 300,
    "licl_scatter_sigmas": (0.002, 0.005, 0.01, 0.0265),
    "theory_sigmas": (0.001, 0.002, 0.005, 0.01, 0.0175, 0.0265, 0.05), "theory_frames": 24, "theory_samples": 300,
    "md_sigmas": (0, 0.001, 0.002, 0.005, 0.01, 0.0175, 0.0265, 0.05), "runs": 4, "duration": 80.0, "discard": 10.0,
}  # fmt: skip
QUICK = FULL | {
    "sigmas": (0.001, 0.0014, 0.002, 0.005, 0.0265), "frames": (125, 2000), "repeats": 60, "seeds": 3,
    "scatter_sigmas": (0.005,), "bias_frames": 3000, "dimer_frames": (125,),
    "licl_frames": 150, "licl_scatter_frames": (75,), "divisions": 1, "test_frames": 40,
    "licl_scatter_sigmas": (0.005,), "theory_sigmas": (0.005,), "theory_frames": 2, "theory_samples": 40,
    "md_sigmas": (0.005,), "runs": 1, "duration": 3.0, "discard": 1.0,
}  # fmt: skip
FORCE = "kJ/mol/nm"
#: Of every g(r), nm.
R_RANGE = (0.2, 1.0)
COLUMNS = ["part", "learner", "sigma_nm", "frames", "draws", "seed", "steps"]


class Records:
    """The table of measurements: one row each, found again by the hash of its settings.

    Parameters
    ----------
    path : Path
        CSV file; rows in it are not measured again.
    common : dict
        Settings that are part of every hash.
    """

    def __init__(self, path, common):
        self.path, self.common = path, common
        self.rows = pandas.read_csv(path).to_dict("records") if path.exists() else []

    def measure(self, function, settings, **key):
        """Append the row of `function()`, a dict, unless its `key` and `settings` are there already."""
        text = json.dumps([self.common, settings, key], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        if any(row["config"] == digest for row in self.rows):
            return
        begun = time.perf_counter()
        result = function()
        self.rows.append({**key, **result, "config": digest, "wall_s": round(time.perf_counter() - begun, 2)})
        table = pandas.DataFrame(self.rows)
        first = [column for column in COLUMNS if column in table]
        last = ["config", "wall_s"]
        middle = [column for column in table if column not in first + last]
        partial = self.path.with_suffix(".partial")
        table[first + middle + last].to_csv(partial, index=False, float_format="%.6g")
        partial.replace(self.path)
        shown = " ".join(f"{k} {v:.3g}" for k, v in result.items() if isinstance(v, float))
        name = f"{key['part']}, sigma {key['sigma_nm']:g} nm, {key['frames']} frames, {key['learner']}"
        print(f"{name}, seed {key['seed']}: {shown} ({self.rows[-1]['wall_s']:.1f} s)", flush=True)


def rms(values, weight=None):
    """Root of the (weighted) mean square."""
    return float(np.sqrt(np.average(np.square(values), weights=weight)))


# ---- (a) a particle in a harmonic well: the force is -k y, and k is learnt


def harmonic(records, scale, seed):
    """Bias and scatter of the learnt spring, against their closed forms."""
    settings = {"width": WIDTH, "repeats": scale["repeats"]}
    for sigma in scale["sigmas"]:
        for n in scale["frames"]:
            for learner in LEARNERS:
                key = dict(part="harmonic", learner=learner, sigma_nm=sigma, frames=n, seed=seed, steps=0)
                records.measure(partial(spring, learner, sigma, n, scale["repeats"], seed), settings, **key)


def spring(learner, sigma, n, repeats, seed):
    """Least squares for k over many sets of n frames of one particle, 3 n coordinates each."""
    draws, labelled = LEARNERS[learner]
    rng = torch.Generator().manual_seed(1000 * seed + n)
    x = WIDTH * torch.randn(repeats * n, 1, 3, generator=rng, dtype=torch.float64)
    eps = draw_noise(x, NoiseConfig(sigma=sigma, draws=max(draws, 1), antithetic=draws > 0), rng)
    y, label = x + sigma * eps, denoising_force(eps, sigma, KT)

    def mean(values):
        return values.view(len(values), repeats, -1).mean((0, 2)).numpy()

    # Labels by least squares; score matching of -k y: k <y^2> = kT <div y>, per coordinate.
    k = -mean(y * label) / mean(y**2) if labelled else KT / mean(y**2)
    clean = KT / mean(x[None] ** 2)
    s2 = (sigma / WIDTH) ** 2
    # Variances of k / k_eff: var <y T> and var <y^2> of independent coordinates, and their covariance.
    m = max(draws, 1)
    if not labelled:
        spread = np.sqrt((2 + 2 * s2**2 / m) / (3 * n)) / (1 + s2)
    elif draws == 0:
        spread = 1 / np.sqrt(3 * n * s2)
    else:
        spread = np.sqrt((2 / m + 2) / (3 * n)) / (1 + s2)
    result = {
        f"bias_{FORCE}": (k - clean).mean() * WIDTH, f"bias_error_{FORCE}": (k - clean).std() * WIDTH / repeats**0.5,
        f"bias_theory_{FORCE}": -KT / WIDTH * s2 / (1 + s2),
        f"scatter_{FORCE}": k.std() * WIDTH, f"scatter_theory_{FORCE}": KT / WIDTH / (1 + s2) * spread,
        f"error_{FORCE}": rms(k - KT / WIDTH**2) * WIDTH,
        "denoiser_error_nm": abs((k - clean).mean()) * WIDTH * sigma**2 / KT, "k_kJ/mol/nm^2": k.mean(),
    }  # fmt: skip
    return {"draws": draws, **result}


# ---- (b) dimers in a double well of their distance: eight to a frame, far apart


def double_well(r):
    """u(r) (kJ/mol) of a dimer and its force -u'(r) (kJ/mol/nm): barrier 2 kT, tilted."""
    t = (r - CENTRE) / LENGTH
    return KT * (2 * t**4 - 4 * t**2 + 0.5 * t), -KT * (8 * t**3 - 8 * t + 0.5) / LENGTH


#: Quadrature points of the distance, nm, and the density of r; where forces are compared, and how much each r counts.
R = np.arange(1e-4, 1.2, 1e-4)
DENSITY = R**2 * np.exp(-double_well(R)[0] / KT)
DENSITY /= DENSITY.sum()
LOOK = np.arange(0.27, 0.53, 0.001)
WEIGHT = np.interp(LOOK, R, DENSITY)


def smoothed_dimer(r, sigma):
    """Exact force of the noised dimer: r p_sigma(r) is a convolution with variance 2 sigma^2 (docs/theory.md, 4.1)."""
    variance, near, far = 2 * sigma**2, r[:, None] - R, r[:, None] + R
    below, above = np.exp(-(near**2) / (2 * variance)), np.exp(-(far**2) / (2 * variance))
    p = DENSITY / R
    value = (p * (below - above)).sum(1)
    slope = (p * (far * above - near * below)).sum(1) / variance
    return KT * (slope / value - 1 / r)


def dimer_frames(n, seed):
    """n frames of independent dimers in open space, far beyond the cutoff from each other."""
    rng = np.random.default_rng(seed)
    r = np.interp(rng.random((n, DIMERS)), np.cumsum(DENSITY), R)
    half = rng.normal(size=(n, DIMERS, 3))
    half *= (0.5 * r / np.linalg.norm(half, axis=-1))[..., None]
    centre = 3.0 * np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(DIMERS, 3)
    positions = np.stack([centre + half, centre - half], 2).reshape(n, 2 * DIMERS, 3)
    return Frames(positions, [18] * 2 * DIMERS, None, TEMPERATURE)


def learn(frames, learner, sigma, config, seed, output=None):
    """The pair potential of a learner at a noise level, 0: clean frames."""
    draws, labels = LEARNERS[learner]
    pair, target = {**config["pair"], "sigma": sigma, "draws": max(draws, 1)}, "denoise"
    if labels:
        frames, target = labelled(frames, sigma, draws, seed + 1), "force"
        del pair["sigma"]
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "target": target,
        "prior": config["prior"], "pair": pair, "training": {"seed": seed},
    }  # fmt: skip
    return train(frames, config, output, resume=output is not None, progress=False)


#: One penalty for all, and no scale, so that nothing but noise and frames makes a difference.
DIMER = {
    "prior": {"coulomb": None, "wall": None},
    "pair": {"cutoff": 1.0, "start": 0.1, "spacing": 0.02, "penalties": [1.0]},
}


def dimer_force(denoiser):
    """Force along the bond at `LOOK`, without the scale that training puts on penalised fits."""
    y = np.zeros((len(LOOK), 2, 3))
    y[:, 0, 0] = LOOK
    return denoiser.forces(y, box=False, species=[18, 18])[:, 0, 0] / denoiser.header.held_out["pair_scale"]


@cache
def clean_dimer(n, seed):
    """`dimer_force` of the fit to n clean frames."""
    return dimer_force(learn(dimer_frames(n, 1000 + seed), EXACT, 0, DIMER, seed))


#: Per Cartesian component, of which a dimer has three for each of its ends.
COMPONENT = np.sqrt(1 / 3)


def dimer_bias(n, sigma, seed):
    """What noise changes in a fit to many frames, beside quadrature.

    `bias` is the change along the shape that theory gives it.  `change` is all of it: noise smooths
    the fit's own roughness too, and that falls more slowly than sigma^2 (at small sigma, noise acts
    on few of the pairs near a knot) and goes away with frames.
    """
    clean, (_, force) = clean_dimer(n, seed), double_well(LOOK)
    found = dimer_force(learn(dimer_frames(n, 1000 + seed), EXACT, sigma, DIMER, seed))
    exact = smoothed_dimer(LOOK, sigma)
    along = np.average((found - clean) * (exact - force), weights=WEIGHT) / rms(exact - force, WEIGHT)
    return {
        f"bias_{FORCE}": COMPONENT * along,
        f"change_{FORCE}": COMPONENT * rms(found - clean, WEIGHT),
        f"bias_theory_{FORCE}": COMPONENT * rms(exact - force, WEIGHT),
        f"scatter_{FORCE}": COMPONENT * rms(found - exact, WEIGHT),
        f"error_{FORCE}": COMPONENT * rms(found - force, WEIGHT),
        "denoiser_error_nm": COMPONENT * along * sigma**2 / KT,
    }


def dimer_scatter(learner, n, sigma, seed):
    """How far a fit to few frames is from the exact smoothed force."""
    found = dimer_force(learn(dimer_frames(n, 2000 + seed), learner, sigma, DIMER, seed))
    exact, (_, force) = smoothed_dimer(LOOK, sigma), double_well(LOOK)
    return {
        f"bias_theory_{FORCE}": COMPONENT * rms(exact - force, WEIGHT),
        f"scatter_{FORCE}": COMPONENT * rms(found - exact, WEIGHT),
        f"error_{FORCE}": COMPONENT * rms(found - force, WEIGHT),
    }


def dimer(records, scale, seed):
    """Bias of fits to many frames; scatter of fits to few."""
    for s in range(seed, seed + scale["seeds"]):
        for sigma in scale["sigmas"]:
            n = scale["bias_frames"]
            key = dict(part="dimer", learner=EXACT, sigma_nm=sigma, frames=n, draws=2, seed=s, steps=0)
            records.measure(partial(dimer_bias, n, sigma, s), DIMER, **key)
        for sigma in scale["scatter_sigmas"]:
            for n in scale["dimer_frames"]:
                for learner, (draws, _) in LEARNERS.items():
                    key = dict(part="dimer scatter", learner=learner, sigma_nm=sigma, frames=n, draws=draws, seed=s)
                    records.measure(partial(dimer_scatter, learner, n, sigma, s), DIMER, **key, steps=0)


# ---- (c) LiCl


def licl_config(sigma, wall=True, penalty=None):
    """Prior and spline basis for frames noised by sigma: ions come closer, and wall and knots make way."""
    pair = {"start": round(max(0.05, 0.18 - 4 * max(0.0, sigma - 0.01)), 4)}
    if penalty:
        pair["penalties"] = [penalty]
    coulomb = {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": 78.3}
    return {"prior": {"coulomb": coulomb, "wall": {"margin": 0.02 + 3 * sigma} if wall else None}, "pair": pair}


class Licl:
    """Divisions of the replicas, and the models that several parts look at, each trained once."""

    def __init__(self, frames, scale, output, seed):
        self.frames, self.scale, self.output, self.seed = frames, scale, output, seed
        self.second = None

    def divided(self, division):
        """Training frames, and some of the replicas kept apart."""
        rest, test = self.frames.split(0.3, self.seed + division)
        test = test[test.labelled]
        return rest, test[:: max(1, len(test) // self.scale["test_frames"])]

    def some(self, division, n):
        rest, _ = self.divided(division)
        return rest[np.linspace(0, len(rest) - 1, min(n, len(rest))).round().astype(int)]

    def reference(self, division, sigma):
        """Exact score matching on many frames, with the penalty that clean frames choose."""
        n = self.scale["licl_frames"]
        penalty = self.reference(division, 0).header.terms[-1].penalty if sigma else None
        directory = self.output / "models" / f"{n}-{self.seed + division}-{sigma:g}"
        directory.mkdir(parents=True, exist_ok=True)
        return learn(self.some(division, n), EXACT, sigma, licl_config(sigma, True, penalty), self.seed, directory)

    def curvature(self, some, draws):
        """Rms of (F_sigma - F) / sigma^2 as sigma -> 0 on some frames, of the potential of clean frames."""
        if self.second is None:
            self.second = cross_rms(*second_order(self.reference(0, 0), some.positions, draws, self.seed))
        return self.second


def licl_bias(data, division, sigma):
    """What noise changes in the fit to many frames, and its error against the exact mean force."""
    _, test = data.divided(division)
    base, there = data.reference(division, 0), data.reference(division, sigma)
    clean, found = (d.forces(test.positions, test.boxes) for d in (base, there))
    result = {f"error_{FORCE}": rms(found - test.forces)}
    if sigma:
        moved = there.denoised(test.positions, test.boxes) - test.positions
        result |= {f"bias_{FORCE}": rms(found - clean), "denoiser_error_nm": rms(moved - sigma**2 * clean / KT)}
    return result


def licl_scatter(data, division, learner, n, sigma, seed):
    """How far a fit to few frames is from that to many, at the same noise level.

    A lower bound where frames are the reason: some of the few are among the many, which scatter too.
    """
    _, test = data.divided(division)
    there = learn(data.some(division, n), learner, sigma, licl_config(sigma), seed)
    found = there.forces(test.positions, test.boxes)
    about = data.reference(division, sigma).forces(test.positions, test.boxes)
    return {f"scatter_{FORCE}": rms(found - about), f"error_{FORCE}": rms(found - test.forces)}


def licl(records, scale, seed, data):
    """Bias and error of fits to many frames, scatter of fits to few about them."""
    thinning = {"test_frames": scale["test_frames"]}
    for division in range(scale["divisions"]):
        own = seed + division
        for sigma in (0, *scale["sigmas"]):
            key = dict(part="licl", learner=EXACT, sigma_nm=sigma, frames=scale["licl_frames"], draws=2)
            settings = licl_config(sigma) | thinning
            records.measure(partial(licl_bias, data, division, sigma), settings, **key, seed=own, steps=0)
        for sigma in scale["licl_scatter_sigmas"]:
            settings = licl_config(sigma) | thinning
            for learner, (draws, _) in LEARNERS.items():
                for n in scale["licl_scatter_frames"]:
                    key = dict(part="licl scatter", learner=learner, sigma_nm=sigma, frames=n, draws=draws)
                    measured = partial(licl_scatter, data, division, learner, n, sigma, seed)
                    records.measure(measured, settings, **key, seed=own, steps=0)


def theory(data, sigma, some, samples, seed):
    """Bias of the fit on some frames, and what theory predicts there for the potential of clean frames."""
    base = data.reference(0, 0)
    found = data.reference(0, sigma).forces(some.positions) - base.forces(some.positions)
    halves = [sampled(base, y, sigma, samples, seed + i) for i, y in enumerate(some.positions)]
    first, last = (np.array([half[k] for half in halves]) for k in (0, 1))
    size = cross_rms(first, last)
    return {
        f"bias_{FORCE}": rms(found), f"bias_second_order_{FORCE}": sigma**2 * data.curvature(some, samples // 6),
        f"bias_theory_{FORCE}": size,
        f"bias_along_theory_{FORCE}": np.mean(found * (first + last) / 2) / size if size else np.nan,
    }  # fmt: skip


def licl_theory(records, scale, seed, data):
    """Bias that theory predicts for the potential of clean frames: second order, and to all orders by sampling."""
    _, test = data.divided(0)
    some = test[np.linspace(0, len(test) - 1, scale["theory_frames"]).round().astype(int)]
    samples = scale["theory_samples"]
    for sigma in scale["theory_sigmas"]:
        key = dict(part="licl theory", learner=EXACT, sigma_nm=sigma, frames=len(some), draws=2, seed=seed)
        measured = partial(theory, data, sigma, some, samples, seed)
        records.measure(measured, {"samples": samples}, **key, steps=8 * samples)


def cross_rms(first, second):
    """Rms of what two independent estimates have in common: their noise does not count."""
    return float(np.sqrt(max(np.mean(first * second), 0)))


def second_order(denoiser, y, draws, seed, h=1e-3):
    """(F_sigma - F) / sigma^2 as sigma -> 0, twice: lap F / 2 + (F . grad) F / kT (docs/theory.md, 2.1).

    By differences; the Laplacian along random directions (Hutchinson).
    """
    y, rng = np.asarray(y, dtype=float), np.random.default_rng(seed)
    force = denoiser.forces(y)
    size = np.sqrt(np.square(force).sum((1, 2), keepdims=True))
    along = (denoiser.forces(y + h * force / size) - denoiser.forces(y - h * force / size)) * size / (2 * h)
    halves = []
    for _ in range(2):
        total = np.zeros_like(y)
        for _ in range(draws // 2):
            step = h * rng.normal(size=y.shape)
            total += (denoiser.forces(y + step) + denoiser.forces(y - step) - 2 * force) / h**2
        halves.append(0.5 * total / (draws // 2) + along / KT)
    return halves


def sampled(denoiser, y, sigma, samples, seed):
    """F_sigma(y) - F(y), twice: the mean of F over clean x given y, from dynamics with every ion on a spring to y.

    p(x | y) ~ exp(-U(x)/kT - |x - y|^2 / 2 sigma^2), and F_sigma(y) = E[F(x) | y] (docs/theory.md, 9.1).
    """
    species = [openmm.app.Element.getByAtomicNumber(z) for z in denoiser.header.particles]
    topology = openmm.app.Topology()
    chain = topology.addChain()
    for element in species:
        topology.addAtom(element.symbol, element, topology.addResidue(element.symbol, chain))
    topology.setPeriodicBoxVectors(np.array(denoiser.header.box) * unit.nanometer)
    system = create_system(denoiser, topology, backend="native")
    springs = openmm.CustomExternalForce("k / 2 * periodicdistance(x, y, z, x0, y0, z0)^2")
    springs.addGlobalParameter("k", KT / sigma**2)
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for i, place in enumerate(y):
        springs.addParticle(i, [float(v) for v in place])
        system.setParticleMass(i, 10.0)  # any mass samples the same: one that needs one time step
    springs.setForceGroup(1)
    system.addForce(springs)
    period = min(sigma * np.sqrt(10.0 / KT), 0.05)  # ps, of the springs / 2 pi; ions in contact have stiffer ones
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 1 / period, min(0.25 * period, 0.004))
    integrator.setRandomNumberSeed(seed + 1)
    context = openmm.Context(system, integrator, *_platform())
    context.setPositions(np.asarray(y, dtype=float))

    def force():
        return context.getState(forces=True, groups={0}).getForces(asNumpy=True)._value

    there = np.array(force())
    halves = []
    for _ in range(2):
        integrator.step(40)
        total = np.zeros_like(there)
        for _ in range(samples // 2):
            integrator.step(8)
            total += force()
        halves.append(total / (samples // 2) - there)
    return halves


def _platform():
    return openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}


def md(data, learner, sigma, n, wall, seed):
    """Runs of the potential of a level, trained on many frames with a wall below it, or on few and without."""
    rest, _ = data.divided(0)
    if wall:
        model = data.reference(0, sigma)
    else:
        model = learn(data.some(0, n), learner, sigma, licl_config(sigma, False), seed)
    name = f"{sigma:g}-{'wall' if wall else 'no_wall'}-{seed}" + ("" if learner == EXACT else "-labels")
    return runs(model, sigma, data.output / "md" / name, rest, data, seed)


def molecular_dynamics(records, scale, seed, data):
    """How long runs live, and their g(r): with a wall and many frames, without a wall and few, and of noisy labels."""
    steps, (few, *more) = round(scale["duration"] / 0.005), scale["licl_scatter_frames"]
    kinds = [(EXACT, scale["licl_frames"], True), (EXACT, few, False), (SHOWN[0], [few, *more][-1], False)]
    for sigma in scale["md_sigmas"]:
        for learner, n, wall in kinds:
            if sigma == 0 and learner != EXACT:
                continue
            name, draws = learner if wall else f"{learner}, no wall", 2 if learner == EXACT else 0
            key = dict(part="md", learner=name, sigma_nm=sigma, frames=n, draws=draws, seed=seed, steps=steps)
            settings = licl_config(sigma, wall) | {"runs": scale["runs"], "discard": scale["discard"]}
            records.measure(partial(md, data, learner, sigma, n, wall, seed), settings, **key)


def runs(model, sigma, directory, rest, data, seed):
    """Several runs, each to its own end: lives (ps), and of those that finish, the errors of g(r).

    The guard allows pairs 6 sigma closer than the frames of the training: models of labels do not know
    their sigma, and are stopped 0.04 nm below their noised frames.
    """
    scale = data.scale
    count, whole = scale["runs"], scale["duration"]

    def one(number):
        settings = SamplingConfig(
            runs=1, duration=whole, discard=scale["discard"], seed=100 * seed + number + 1, platform="CPU"
        )
        start = rest.positions[[number * len(rest) // count]]
        try:
            return sample_ensemble(model, directory / str(number), start, settings)[0], whole
        except SimulationStopped as stop:
            return None, float(re.search(r"(?:at|after) ([\d.e+-]+) ps", str(stop)).group(1))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(one, range(count)))
    lives, alive = [life for _, life in found], [frames for frames, _ in found if frames is not None]
    result = {"runs": count, "finished": len(alive), "survival_ps": np.mean(lives), "shortest_life_ps": min(lives)}
    if alive:
        own, clean = (compute_rdf(part, R_RANGE) for part in (Frames.concatenate(alive), data.frames))
        for kind, level in (("learning", sigma), ("total", 0)):
            result[f"g_{kind}"] = rms([rmsd(own.g[p], smear(clean.r, clean.g[p], level)) for p in own.g])
        result["g_error"] = rms([rmsd_error(own, clean, p) for p in own.g]) / np.sqrt(len(own.g))
        result["g_smoothing"] = rms([rmsd(clean.g[p], smear(clean.r, clean.g[p], sigma)) for p in own.g])
        result["g_reference"] = rms(list(split_half_error(clean).values()))
    return result


# ---- what follows from the rows


#: Levels that exponents are read from, nm: small beside the widths of the wells.
SMALL = {"harmonic": 0.003, "dimer": 0.002, "licl": 0.003}


def exponent(sigmas, values):
    """Power of sigma as sigma -> 0: of log value = a + p log sigma (+ b sigma^2, where there are levels enough)."""
    sigmas, values = np.asarray(sigmas), np.asarray(values)
    columns = [np.ones_like(sigmas), np.log(sigmas), sigmas**2][: min(3, len(sigmas))]
    return np.linalg.lstsq(np.stack(columns, 1), np.log(values), rcond=None)[0][1]


def mean_error(values):
    """Mean and its standard error."""
    values = np.asarray(values, dtype=float)
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan


def loglog(x, xs, ys):
    """Interpolation, and extrapolation by the last slopes, of a power law through points."""
    x, xs, ys = (np.log(np.asarray(values)) for values in (x, xs, ys))
    at = np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2)
    return np.exp(ys[at] + (ys[at + 1] - ys[at]) / (xs[at + 1] - xs[at]) * (x - xs[at]))


def crossing(bias, scatter):
    """Level (nm) where bias begins to exceed scatter; both Series over sigma.  NaN outside of the levels measured."""
    if len(scatter) < 2:
        return np.nan
    sigma = np.geomspace(0.0007, 0.07, 2000)
    larger = loglog(sigma, bias.index, bias) > loglog(sigma, scatter.index, scatter)
    return sigma[larger.argmax()] if larger.any() and not larger[0] else np.nan


def fits(table):
    """Exponents and crossings with their errors over seeds, and what theory expects."""
    rows = []

    def add(quantity, system, learner, frames, values, expected):
        value, error = mean_error(values)
        rows.append(
            dict(quantity=quantity, system=system, learner=learner, frames=frames, value=value, error=error,
                 expected=expected, repeats=len(values))
        )  # fmt: skip

    bias, denoiser, scatter = f"bias_{FORCE}", "denoiser_error_nm", f"scatter_{FORCE}"
    exact = table[(table["learner"] == EXACT) & (table["sigma_nm"] > 0)]
    for system, group in (("harmonic", "frames"), ("dimer", "seed"), ("licl", "seed")):
        part = exact[(exact["part"] == system) & (exact["sigma_nm"] <= SMALL[system])]
        for name, column, expected in (("force", bias, 2), ("unscaled denoiser", denoiser, 4)):
            found = [exponent(g["sigma_nm"], g[column].abs()) for _, g in part.groupby(group) if len(g) > 1]
            if found:
                add(f"exponent of sigma, {name}", system, EXACT, np.nan, found, expected)
    springs = table[(table["part"] == "harmonic") & (table["learner"] == EXACT)]
    if len(springs):
        springs = springs[springs["frames"] == springs["frames"].max()]
        off = (springs[bias] - springs[f"bias_theory_{FORCE}"]) * WIDTH / KT
        worst = off.abs().idxmax()
        add(
            "largest (k_eff - k / (1 + sigma^2 k / kT)) / k",
            "harmonic",
            EXACT,
            springs["frames"].max(),
            [off[worst]],
            0,
        )
        rows[-1]["error"] = springs[f"bias_error_{FORCE}"][worst] * WIDTH / KT
    for system, where in (("harmonic", "harmonic"), ("dimer", "dimer scatter"), ("licl", "licl scatter")):
        curve = exact[exact["part"] == system]
        column = f"bias_theory_{FORCE}" if system == "dimer" else bias
        curve = curve[column].abs().groupby(curve["sigma_nm"]).mean()
        for learner in LEARNERS:
            part = table[(table["part"] == where) & (table["learner"] == learner)]
            places = {}
            for n, same in part.groupby("frames"):
                found = [
                    crossing(curve, g.set_index("sigma_nm")[scatter].sort_index()) for _, g in same.groupby("seed")
                ]
                found = [sigma for sigma in found if np.isfinite(sigma)]
                if found:
                    places[n] = found
                    s = crossing_theory(learner, n) if system == "harmonic" else np.nan
                    add("crossing of bias and scatter, nm", system, learner, n, found, s)
            if len(places) > 1:
                repeats = min(len(v) for v in places.values())
                lines = [np.polyfit(np.log(list(places)), np.log([v[k] for v in places.values()]), 1)[0]
                         for k in range(repeats)]  # fmt: skip
                expected = -1 / 6 if learner == "labels, single draw" else -1 / 4
                if system == "harmonic":  # of these numbers of frames, for which s^2 is not quite 0
                    theory = [crossing_theory(learner, n) for n in places]
                    expected = np.polyfit(np.log(list(places)), np.log(theory), 1)[0]
                add("exponent of frames, crossing", system, learner, np.nan, lines, expected)
    columns = ["quantity", "system", "learner", "frames", "value", "error", "expected", "repeats"]
    return pandas.DataFrame(rows, columns=columns)


def crossing_theory(learner, n):
    """Where bias and scatter of the harmonic well are the same, nm, with s = sigma / w.

    s^6 = 1 / 3n of single draws; s^2 (1 + s^2) = sqrt(2 (1 + 1/m) / 3n) of m antithetic pairs, and
    with m = infinity of exact score matching (where s^4 << m).
    """
    draws, labels = LEARNERS[learner]
    if draws == 0:
        return WIDTH * (1 / (3 * n)) ** (1 / 6)
    c = np.sqrt((2 + (2 / draws if labels else 0)) / (3 * n))
    return WIDTH * np.sqrt((np.sqrt(1 + 4 * c) - 1) / 2)


# ---- the picture


COLOURS = dict(zip(LEARNERS, ("tab:red", "tab:orange", "goldenrod", "tab:olive", "tab:blue")))
#: kJ/mol/nm and nm of the table to kJ/mol/Angstrom and Angstrom of the picture.
PER_ANGSTROM, ANGSTROMS = 0.1, 10.0


def draw(table, summary, path):
    """Seven panels: bias of the three systems, the denoiser, where bias and scatter cross, g(r) and survival."""
    figure, axes = plt.subplots(2, 4, figsize=(20, 9.4), layout="constrained")
    _draw_harmonic(axes[0, 0], table)
    _draw_dimer(axes[0, 1], table)
    _draw_licl(axes[0, 2], table)
    _draw_denoiser(axes[0, 3], table, summary)
    _draw_crossings(axes[1, 0], summary)
    _draw_structure(axes[1, 1], table)
    _draw_survival(axes[1, 2], table)
    for ax, letter in zip(axes.flat, "abcdefg"):
        ax.set_title(f"{letter})  {ax.get_title()}", loc="left", fontsize=12)
        ax.set_title("")
    for ax in axes[0]:
        ax.set(xscale="log", yscale="log", xlabel=r"noise level $\sigma$ / $\mathrm{\AA}$")
        ax.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"])
        ax.minorticks_off()
    for ax in axes[0, :3]:
        ax.set_ylabel(r"rms force error / kJ mol$^{-1}$ $\mathrm{\AA}^{-1}$")
    learners = [Line2D([], [], color=COLOURS[learner], lw=4, label=learner) for learner in SHOWN]
    axes[1, 3].axis("off")
    axes[1, 3].legend(handles=learners, loc="center left", frameon=False, fontsize=12, title_fontsize=12,
                      alignment="left", title="learners in a, b, c, e, f\n"
                      "(bands: one standard deviation over seeds)")  # fmt: skip
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _levels(rows, column):
    """Mean, standard deviation over seeds, of a column at each level: x in Angstrom."""
    grouped = rows.dropna(subset=[column]).groupby("sigma_nm")[column]
    mean, spread = grouped.mean().abs(), grouped.std().fillna(0)
    return mean.index.to_numpy() * ANGSTROMS, mean.to_numpy(), spread.to_numpy()


def _points(ax, rows, column, factor=PER_ANGSTROM, **style):
    x, y, spread = _levels(rows, column)
    ax.errorbar(x, factor * y, factor * np.minimum(spread, 0.9 * y), ls="none", capsize=2, zorder=4, **style)


def _draw_scatters(ax, rows, sizes):
    """Scatter of the learners at the fewest and the most frames, with bands of one standard deviation over seeds."""
    for learner in (SHOWN[0], SHOWN[1], EXACT):
        for n, style in zip(sizes, ("--", "-")):
            part = rows[(rows["learner"] == learner) & (rows["frames"] == n)]
            if part.empty:
                continue
            x, y, spread = _levels(part, f"scatter_{FORCE}")
            y, spread = PER_ANGSTROM * y, PER_ANGSTROM * spread
            ax.plot(x, y, style, color=COLOURS[learner], lw=1.4)
            ax.fill_between(x, np.maximum(y - spread, 0.3 * y), y + spread, color=COLOURS[learner], alpha=0.15, lw=0)
    for n, style in zip(sizes, ("--", "-")):
        ax.plot([], [], style, color="0.4", lw=1.4, label=f"scatter, {n:,} frames")


def _draw_harmonic(ax, table):
    rows = table[table["part"] == "harmonic"]
    ax.set_title("harmonic well: bias and scatter of the learnt spring")
    if rows.empty:
        return
    sigma = np.geomspace(0.001, 0.05, 100)
    s2 = (sigma / WIDTH) ** 2
    ax.plot(ANGSTROMS * sigma, PER_ANGSTROM * KT / WIDTH * s2 / (1 + s2), "k-", lw=2, label="bias, closed form")
    most = rows[rows["frames"] == rows["frames"].max()]
    _points(ax, most[most["learner"] == EXACT], f"bias_{FORCE}", fmt="ko", ms=5, label="bias, measured")
    sizes = sorted(rows["frames"].unique())
    _draw_scatters(ax, rows, (sizes[0], sizes[-1]))
    ax.axhline(PER_ANGSTROM * KT / WIDTH, color="0.6", lw=0.8, ls=":")
    ax.text(0.0105, 1.06 * PER_ANGSTROM * KT / WIDTH, "rms force", color="0.4", fontsize=8, va="bottom")
    ax.set_ylim(0.0008, 20)
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_dimer(ax, table):
    rows, scatter = table[table["part"] == "dimer"], table[table["part"] == "dimer scatter"]
    ax.set_title("double-well dimer: spline pair potential")
    if rows.empty:
        return
    sigma, (_, force) = np.geomspace(0.001, 0.05, 40), double_well(LOOK)
    bias = [rms(smoothed_dimer(LOOK, s) - force, WEIGHT) * np.sqrt(1 / 3) for s in sigma]
    ax.plot(ANGSTROMS * sigma, PER_ANGSTROM * np.array(bias), "k-", lw=2, label="bias, quadrature")
    _points(ax, rows, f"bias_{FORCE}", fmt="ko", ms=5, label="bias, measured")
    _points(ax, rows, f"error_{FORCE}", fmt="s", mfc="none", color="0.45", ms=5,
            label=f"total error, {rows['frames'].max():,} frames")  # fmt: skip
    sizes = sorted(scatter["frames"].unique())
    if sizes:
        _draw_scatters(ax, scatter, (sizes[0], sizes[-1]))
    size = PER_ANGSTROM * rms(force, WEIGHT) * np.sqrt(1 / 3)
    ax.axhline(size, color="0.6", lw=0.8, ls=":")
    ax.text(0.0105, 1.06 * size, "rms force", color="0.4", fontsize=8, va="bottom")
    ax.set_ylim(0.004, 12)
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_licl(ax, table):
    rows, theory = table[table["part"] == "licl"], table[table["part"] == "licl theory"].sort_values("sigma_nm")
    scatter = table[table["part"] == "licl scatter"]
    ax.set_title("2.4 M LiCl: spline pair potential over Coulomb")
    if rows.empty:
        return
    x = ANGSTROMS * theory["sigma_nm"]
    second = PER_ANGSTROM * theory[f"bias_second_order_{FORCE}"] if len(theory) else theory["sigma_nm"]
    ax.plot(x, second, "k:", lw=1.5, label=r"bias, second order in $\sigma$")
    if len(theory):
        ax.plot(x, PER_ANGSTROM * theory[f"bias_theory_{FORCE}"], "k-", lw=2, label="bias, sampled to all orders")
    # Beside theory, the bias on the very frames that theory was sampled for.
    same = theory if len(theory) else rows[rows["sigma_nm"] > 0]
    _points(ax, same, f"bias_{FORCE}", fmt="ko", ms=5, label="change by noise, measured")
    if len(theory):
        _points(ax, theory, f"bias_along_theory_{FORCE}", fmt="k+", ms=8, label="of it, along the shape of theory")
    most = rows["frames"].max()
    noisy = rows[rows["sigma_nm"] > 0]
    _points(ax, noisy, f"error_{FORCE}", fmt="s", mfc="none", color="0.45", ms=5, label=f"total error, {most:,} frames")
    clean = PER_ANGSTROM * rows[rows["sigma_nm"] == 0][f"error_{FORCE}"].mean()
    ax.axhline(clean, color="tab:blue", lw=0.8, ls=":")
    ax.text(0.52, 0.93 * clean, "fit to clean frames", ha="right", color="tab:blue", fontsize=8, va="top")
    sizes = sorted(scatter["frames"].unique())
    if sizes:
        _draw_scatters(ax, scatter, (sizes[0], sizes[-1]))
    ax.set_ylim(0.012, 12)
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_denoiser(ax, table, summary):
    ax.set_title(r"unscaled denoiser: error of $D(y) - y$ as $\sigma^2 F/kT$")
    styles = {"harmonic": ("tab:green", "o"), "dimer": ("tab:purple", "s"), "licl": ("tab:blue", "D")}
    for system, (colour, marker) in styles.items():
        rows = table[(table["part"] == system) & (table["learner"] == EXACT) & (table["sigma_nm"] > 0)]
        if rows.empty:
            continue
        rows = rows[rows["frames"] == rows["frames"].max()]
        found = summary[(summary["system"] == system) & summary["quantity"].str.contains("unscaled")]
        text = f"{system.replace('licl', 'LiCl')}: exponent {found['value'].iloc[0]:.2f}" if len(found) else system
        text += rf" $\pm$ {found['error'].iloc[0]:.2f}" if len(found) and np.isfinite(found["error"].iloc[0]) else ""
        _points(ax, rows, "denoiser_error_nm", ANGSTROMS, fmt=marker, color=colour, ms=5, label=text)
        x, y, _ = _levels(rows, "denoiser_error_nm")
        guide = np.array([x[0], 8 * x[0]])
        ax.plot(guide, ANGSTROMS * y[0] * (guide / guide[0]) ** 4, color=colour, lw=1, ls="--")
    x = np.array([0.01, 0.5])
    ax.plot(x, x, color="0.6", lw=0.8, ls=":")
    ax.text(0.011, 0.014, r"$\sigma$ itself", color="0.4", fontsize=8, va="bottom")
    ax.plot([], [], "k--", lw=1, label=r"$\sigma^4$ through the first point")
    ax.set_ylabel(r"rms per component / $\mathrm{\AA}$")
    ax.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_crossings(ax, summary):
    ax.set_title("where bias and scatter cross")
    rows = summary[summary["quantity"].str.startswith("crossing")]
    markers = {"harmonic": "o", "dimer": "s", "licl": "D"}
    n = np.array([100, 2500])
    for learner in SHOWN:
        for system, marker in markers.items():
            part = rows[(rows["system"] == system) & (rows["learner"] == learner)].sort_values("frames")
            ax.errorbar(part["frames"], ANGSTROMS * part["value"], ANGSTROMS * part["error"].fillna(0), fmt=marker,
                        color=COLOURS[learner], ms=5, mfc="none" if system == "licl" else None, capsize=2,
                        ls="none" if system == "harmonic" else "-", lw=1)  # fmt: skip
        ax.plot(n, [ANGSTROMS * crossing_theory(learner, k) for k in n], "--", color=COLOURS[learner], lw=1)
    for system, marker in markers.items():
        name = system.replace("licl", "LiCl").replace("harmonic", "harmonic (dashed: closed form)")
        ax.plot([], [], marker, color="k", ls="none", mfc="none" if system == "licl" else None, label=name)
    ax.set(xscale="log", yscale="log", xlabel="frames", ylabel=r"$\sigma$ at the crossing / $\mathrm{\AA}$")
    ax.set_xticks([125, 250, 500, 1000, 2000], ["125", "250", "500", "1,000", "2,000"])
    ax.set_yticks([0.01, 0.02, 0.03, 0.05, 0.1], ["0.01", "0.02", "0.03", "0.05", "0.1"])
    ax.minorticks_off()
    ax.set_ylim(0.012, 0.15)
    ax.legend(frameon=False, fontsize=8, loc="lower left")


def _places(ax, rows):
    """Levels as places on an axis that has room for 0, which no logarithm has."""
    place = {sigma: i for i, sigma in enumerate(sorted(rows["sigma_nm"].unique()))}
    ax.set_xticks(range(len(place)), [f"{ANGSTROMS * s:g}" for s in place])
    ax.set_xlabel(r"noise level $\sigma$ / $\mathrm{\AA}$")
    return place


def _draw_structure(ax, table):
    ax.set_title("LiCl: g(r) of molecular dynamics")
    rows = table[table["part"] == "md"].sort_values("sigma_nm")
    if "g_total" not in rows or rows["g_total"].isna().all():
        return
    place, noisy = _places(ax, rows), f"{SHOWN[0]}, no wall"
    for learner, column, style, colour, label in (
        (EXACT, "g_total", "o-", "k", "exact: MD from clean frames"),
        (EXACT, "g_learning", "D-", COLOURS[EXACT], "exact: MD from noised frames (learning)"),
        (noisy, "g_learning", "D-", COLOURS[SHOWN[0]], "single draw: MD from noised frames (learning)"),
    ):
        part = rows[(rows["learner"] == learner) & rows[column].notna()]
        x = [place[s] for s in part["sigma_nm"]]
        n = f", {part['frames'].max():,.0f} frames" if len(part) else ""
        ax.errorbar(x, part[column], part["g_error"], fmt=style, color=colour, capsize=2, label=label + n)
    part = rows[(rows["learner"] == EXACT) & (rows["g_smoothing"] > 0)]
    ax.plot(
        [place[s] for s in part["sigma_nm"]], part["g_smoothing"], "k--", label="noised from clean frames (smoothing)"
    )
    ax.axhline(
        rows["g_reference"].mean(), color="0.5", lw=0.8, ls=":", label="one half of the clean frames from the other"
    )
    ax.set(yscale="log", ylabel="RMSD of g(r), rms of the three pairs", ylim=(0.003, 40))
    ax.legend(frameon=False, fontsize=8.5, loc="upper left")


def _draw_survival(ax, table):
    ax.set_title("LiCl: survival of molecular dynamics")
    rows = table[table["part"] == "md"]
    if rows.empty:
        return
    place, whole = _places(ax, rows), rows["steps"].max() * 0.005
    kinds = {EXACT: (COLOURS[EXACT], -0.27, 1), f"{EXACT}, no wall": (COLOURS[EXACT], 0, 0.4),
             f"{SHOWN[0]}, no wall": (COLOURS[SHOWN[0]], 0.27, 0.4)}  # fmt: skip
    for learner, (colour, shift, alpha) in kinds.items():
        part = rows[rows["learner"] == learner]
        if len(part):
            ax.bar([place[s] + shift for s in part["sigma_nm"]], part["survival_ps"], 0.26, color=colour, alpha=alpha,
                   label=f"{learner.replace(EXACT, 'exact')}, {part['frames'].max():,} frames")  # fmt: skip
    ax.axhline(whole, color="0.5", lw=0.8, ls=":")
    ax.set(ylim=(0, 1.4 * whole), ylabel=f"mean survival of {rows['runs'].max():.0f} runs / ps (of {whole:g})")
    ax.legend(frameon=False, fontsize=8.5, loc="upper left")


PARTS = ("harmonic", "dimer", "licl", "theory", "md")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, nargs="?", default=BUNDLED, help="npz of LiCl with forces in every frame")
    parser.add_argument("output", type=Path, nargs="?", default=Path(f"runs/{NAME}"), help="directory")
    parser.add_argument("--quick", action="store_true", help="few levels, frames and steps: under a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(1)
    scale = QUICK if options.quick else FULL
    frames = Frames.load(options.frames)
    options.output.mkdir(parents=True, exist_ok=True)
    records = Records(options.output / f"{NAME}.csv", {"frames": frames.digest(), "temperature": TEMPERATURE})
    data = Licl(frames, scale, options.output, options.seed)
    steps = {
        "harmonic": lambda: harmonic(records, scale, options.seed),
        "dimer": lambda: dimer(records, scale, options.seed),
        "licl": lambda: licl(records, scale, options.seed, data),
        "theory": lambda: licl_theory(records, scale, options.seed, data),
        "md": lambda: molecular_dynamics(records, scale, options.seed, data),
    }
    for part in options.parts:
        steps[part]()
    table = pandas.DataFrame(records.rows)
    summary = fits(table)
    summary.to_csv(options.output / f"{NAME}_fits.csv", index=False, float_format="%.6g")
    draw(table, summary, options.output / f"{NAME}.png")
    print(summary.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
