"""Molecular dynamics of LiCl under the potentials of many noise levels: how long runs live, and their g(r)."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from openmm_diffusion import Frames, compute_rdf
from openmm_diffusion.analysis.rdf import rmsd, smear
from openmm_diffusion.analysis.resampling import rmsd_error, split_half_error
from openmm_diffusion.simulation.guard import SimulationStopped
from openmm_diffusion.simulation.sampling import SamplingConfig, sample_ensemble
from sigma.learners import learn, rms
from sigma.licl_levels import level_config

#: Of every g(r), nm; of every run, ps.
R_RANGE, TIME_STEP = (0.2, 1.0), 0.005


def md(levels, learner, sigma, n, wall, runs, duration, discard, seed):
    """Several runs of one potential, each to its own end: lives (ps), and of those that finish, the errors of g(r).

    The guard allows pairs 6 sigma closer than the frames of the training: models of labels do not know
    their sigma, and are stopped 0.04 nm below their noised frames.

    Parameters
    ----------
    levels : Levels
    learner : str
    sigma : float, nm
    n : int
        Frames that are learnt from, without a wall; with one, the fit is that of `levels`.
    wall : bool
        A repulsive wall in the prior, below the distances in the noised frames.
    runs : int
    duration, discard : float, ps
        Of each run; its start that is left out of g(r).
    seed : int
    """
    rest, _ = levels.divided(0)
    if wall:
        model = levels.fit(0, sigma)
    else:
        model = learn(levels.some(0, n), learner, sigma, level_config(sigma, False), seed)

    def one(number):
        settings = SamplingConfig(
            runs=1, duration=duration, discard=discard, timestep=TIME_STEP, seed=100 * seed + number + 1, platform="CPU"
        )
        start = rest.positions[[number * len(rest) // runs]]
        try:
            return sample_ensemble(model, Path(scratch) / str(number), start, settings)[0], duration
        except SimulationStopped as stop:
            return None, stop.time

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(one, range(runs)))
    lives, alive = [life for _, life in found], [frames for frames, _ in found if frames is not None]
    result = {"runs": runs, "finished": len(alive), "survival_ps": np.mean(lives), "shortest_life_ps": min(lives)}
    if alive:
        own, clean = (compute_rdf(part, R_RANGE) for part in (Frames.concatenate(alive), levels.frames))
        for kind, level in (("learning", sigma), ("total", 0)):
            result[f"g_{kind}"] = rms([rmsd(own.g[p], smear(clean.r, clean.g[p], level)) for p in own.g])
        result["g_error"] = rms([rmsd_error(own, clean, p) for p in own.g]) / np.sqrt(len(own.g))
        result["g_smoothing"] = rms([rmsd(clean.g[p], smear(clean.r, clean.g[p], sigma)) for p in own.g])
        result["g_reference"] = rms(list(split_half_error(clean).values()))
    return result
