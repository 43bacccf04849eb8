"""A model against frames: g(r) with the two errors apart, calibration of the scale, forces where labels exist."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import scipy.ndimage
import scipy.signal
import torch

from .denoiser import Denoiser
from .frames import Frames
from .noise import NoiseConfig, denoising_force, draw_noise
from .rdf import compute_rdf, rebin, rmsd, split_half_error
from .units import thermal_energy

log = logging.getLogger(__name__)

#: Range and bin widths of every comparison, nm.
R_RANGE, BIN_WIDTH, PEAK_BIN_WIDTH = (0.2, 1.0), 0.01, 0.005


@dataclass
class Evaluation:
    """Tables of an evaluation; lengths in nm.

    Attributes
    ----------
    errors : DataFrame
        One row per pair: `learning`, RMSD of MD under the model from the noised frames;
        `smoothing`, of the noised from the clean frames; `reference`, of one half of the
        reference frames from the other.
    rdf : DataFrame
        The curves: clean, noised and model, each with its error.
    peaks : DataFrame
        Position and height of the first peak of each curve.
    calibration : tuple of float, or None
        Slope of denoising targets on forces, and its standard error; 1 for a right scale.
    forces : dict or None
        Root mean square error per Cartesian component (kJ/mol/nm) of labelled frames.
    pair_scale : float or None
        Factor by which training undid the shrinkage of the pair part, chosen on its own frames.
    """

    errors: pandas.DataFrame
    rdf: pandas.DataFrame
    peaks: pandas.DataFrame
    calibration: tuple | None
    forces: dict | None
    pair_scale: float | None = None


def evaluate(model, frames, trajectories=(), topology=None, discard=5.0, interval=None):
    """Compare a model with frames, and the MD under it with their g(r).

    Of the very frames that the model was trained on, only those that training kept
    apart are used.

    Parameters
    ----------
    model : path or Denoiser
    frames : Frames
    trajectories : list of path
        Independent runs under the model; without any, only calibration and forces.
    topology : path, optional
        Of the trajectories (PDB).
    discard : float, ps
        Start of each run to leave out; needs `interval`.
    interval : float, ps
        Between saved frames.

    Returns
    -------
    Evaluation
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    denoiser.species_index(frames.species)
    if abs(frames.temperature - denoiser.header.temperature) > 0.5:
        log.warning(
            "frames are at %g K, the model's data were at %g K: they describe different ensembles",
            frames.temperature, denoiser.header.temperature,
        )  # fmt: skip
    reference = kept_apart(denoiser, frames)
    errors = curves = peaks = pandas.DataFrame()
    if trajectories:
        runs = read_runs(trajectories, topology, frames.temperature, discard, interval)
        errors, curves, peaks = compare_rdf(reference, runs, denoiser.sigma)
    slope = calibration(denoiser, reference) if denoiser.sigma > 0 else None
    scale = denoiser.header.held_out.get("pair_scale")
    return Evaluation(errors, curves, peaks, slope, force_errors(denoiser, reference), scale)


def kept_apart(denoiser, frames):
    """The frames that training left out as test set, if these are the frames it saw; else all of them."""
    data = denoiser.header.data
    if data.get("digest") != frames.digest():
        return frames
    if not data["test_fraction"]:
        log.warning("the model was trained on these frames and kept none apart: errors will look smaller than they are")
        return frames
    _, test = frames.split(data["test_fraction"], data["seed"])
    log.info("reference: the %d of %d frames that training kept apart", len(test), len(frames))
    return test


def read_runs(trajectories, topology, temperature, discard, interval):
    """Independent runs as one set of Frames, one replica each, the first `discard` ps of each left out."""
    if discard > 0 and interval is None:
        raise ValueError(
            f"interval is missing: to discard {discard:g} ps of each run, give the ps between saved frames"
        )
    skip = round(discard / interval) if discard > 0 else 0
    parts = []
    for path in trajectories:
        run = Frames.from_trajectory(path, top=topology, temperature=temperature)
        if len(run) <= skip:
            raise ValueError(f"{path} has {len(run)} frames and {skip} are discarded: run longer, or discard less")
        parts.append(run[skip:])
    return Frames.concatenate(parts)


def noised(frames, sigma, draws=5, seed=0):
    """Frames with additive noise, `draws` antithetic pairs of copies of each; replicas kept."""
    config = NoiseConfig(sigma=sigma, draws=draws)
    x = torch.as_tensor(frames.positions)
    y = x + sigma * draw_noise(x, config, torch.Generator().manual_seed(seed))
    # The copies of a frame stay together: blocks of a single run are stretches of time then.
    y = y.transpose(0, 1).flatten(0, 1).numpy()
    box = frames.box if np.ndim(frames.box) != 3 else np.repeat(frames.box, 2 * draws, axis=0)
    return Frames(y, frames.species, box, frames.temperature, None, np.repeat(frames.replica, 2 * draws))


def compare_rdf(reference, runs, sigma):
    """Errors, curves and peaks of MD (`runs`) against reference frames, clean and noised by sigma (nm)."""
    if reference.box is None or runs.box is None:
        raise ValueError("frames and trajectories need a periodic box: a g(r) needs a density")
    if set(reference.symbols) != set(runs.symbols):
        raise ValueError(f"trajectories hold {sorted(set(runs.symbols))}, but frames {sorted(set(reference.symbols))}")
    if abs(runs.number_density / reference.number_density - 1) > 0.01:
        log.warning(
            "trajectories have %.4g particles/nm^3, frames %.4g: their g(r) differ for that reason alone",
            runs.number_density, reference.number_density,
        )  # fmt: skip
    half = 0.5 * float(np.diagonal(reference.boxes, axis1=1, axis2=2).min())
    r_range = (R_RANGE[0], min(R_RANGE[1], half))
    sets = {"clean": reference, "noised": noised(reference, sigma) if sigma > 0 else reference, "model": runs}
    n_bins = math.floor((r_range[1] - r_range[0]) / BIN_WIDTH + 1e-6)  # whole bins below half the box
    r_range = (r_range[0], r_range[0] + n_bins * BIN_WIDTH)
    fine = {name: compute_rdf(part, r_range, PEAK_BIN_WIDTH) for name, part in sets.items()}
    curves = {name: rebin(rdf, round(BIN_WIDTH / PEAK_BIN_WIDTH)) for name, rdf in fine.items()}
    split = split_half_error(curves["clean"])
    rows, peaks, table = [], [], {"r_nm": curves["clean"].r}
    for pair in curves["clean"].g:
        clean, noisy, model = (curves[name].g[pair] for name in sets)
        rows.append((pair, rmsd(model, noisy), rmsd(noisy, clean), split[pair]))
        for name in sets:
            table[f"{pair}_{name}"], table[f"{pair}_{name}_error"] = curves[name].g[pair], curves[name].error[pair]
            top = first_peak(fine[name].g[pair])
            peaks.append((pair, name, fine[name].r[top], fine[name].g[pair][top], fine[name].error[pair][top]))
    errors = pandas.DataFrame(rows, columns=["pair", "learning", "smoothing", "reference"])
    columns = ["pair", "curve", "r_nm", "height", "error"]
    return errors, pandas.DataFrame(table), pandas.DataFrame(peaks, columns=columns)


def first_peak(g, width=2.0, prominence=0.1):
    """Index of the first peak of g(r): found on a curve smoothed by `width` bins, so that noise makes none."""
    smooth = scipy.ndimage.gaussian_filter1d(g, width, mode="nearest")
    peaks, _ = scipy.signal.find_peaks(smooth, prominence=prominence)
    if len(peaks) == 0:
        return int(np.argmax(smooth))
    low, high = max(0, peaks[0] - 2), peaks[0] + 3
    return int(low + np.argmax(g[low:high]))


def calibration(denoiser, frames, draws=4, seed=1):
    """Slope of the denoising targets on the predicted forces, on fresh noise: 1 if kT/sigma^2 is right.

    <T . F> / <F . F> with T = -kT eps / sigma at y = x + sigma eps, in antithetic pairs.

    Parameters
    ----------
    denoiser : Denoiser
    frames : Frames
        Not trained on.
    draws : int
        Antithetic pairs per frame.
    seed : int

    Returns
    -------
    slope, error : float
        Standard error from a jackknife over replicas, or over contiguous tenths of a single one.
    """
    if denoiser.header.noised != {"species": None, "axes": "xyz"}:
        raise ValueError(
            f"the model was trained with noise on {denoiser.header.noised} only: no slope of all coordinates"
        )
    kT, sigma = thermal_energy(frames.temperature), denoiser.sigma
    x = torch.as_tensor(frames.positions, dtype=torch.float64)
    eps = draw_noise(x, NoiseConfig(sigma=sigma, draws=draws), torch.Generator().manual_seed(seed))
    products, squares = np.zeros(len(x)), np.zeros(len(x))
    box = False if frames.box is None else frames.boxes
    for copy in eps:
        force = denoiser.forces((x + sigma * copy).numpy(), box, frames.species)
        products += (denoising_force(copy.numpy(), sigma, kT) * force).sum((1, 2))
        squares += (force * force).sum((1, 2))
    numbers = np.unique(frames.replica)
    groups = [frames.replica == n for n in numbers]
    if len(numbers) == 1:
        groups = [np.isin(np.arange(len(x)), part) for part in np.array_split(np.arange(len(x)), 10)]
    without = np.array([products[~g].sum() / squares[~g].sum() for g in groups if not g.all()])
    error = float(np.sqrt((len(without) - 1) * np.var(without))) if len(without) > 1 else float("nan")
    return float(products.sum() / squares.sum()), error


def force_errors(denoiser, frames):
    """Root mean square difference from labels per Cartesian component (kJ/mol/nm); None without labels.

    Keys: "all" and each element, and "labels" for the root mean square of the labels.
    """
    labelled = frames[frames.labelled] if frames.labelled.any() else None
    if labelled is None:
        return None
    forces = denoiser.forces(labelled.positions, False if frames.box is None else labelled.boxes, labelled.species)
    difference = forces - labelled.forces
    symbols = np.array(labelled.symbols)
    result = {"all": difference, "labels": labelled.forces}
    result.update({s: difference[:, symbols == s] for s in dict.fromkeys(labelled.symbols)})
    return {name: float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) for name, values in result.items()}


def write(evaluation, directory):
    """Write errors.csv, rdf.csv, peaks.csv and summary.csv."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if len(evaluation.errors):
        evaluation.errors.round(4).to_csv(directory / "errors.csv", index=False)
        evaluation.rdf.round(5).to_csv(directory / "rdf.csv", index=False)
        evaluation.peaks.round(4).to_csv(directory / "peaks.csv", index=False)
    rows = []
    if evaluation.calibration:
        slope, error = evaluation.calibration
        rows.append(("calibration slope", "1", slope, error))
    if evaluation.pair_scale is not None:
        rows.append(("scale of the pair part, chosen in training", "1", evaluation.pair_scale, np.nan))
    for name, value in (evaluation.forces or {}).items():
        rows.append(
            (f"force rms error, {name}" if name != "labels" else "force rms, labels", "kJ/mol/nm", value, np.nan)
        )
    columns = ["quantity", "unit", "value", "error"]
    pandas.DataFrame(rows, columns=columns).round(4).to_csv(directory / "summary.csv", index=False)
