"""Independent configurations from noise: annealed importance sampling down the noise levels of a model.

A model over a range of noise levels knows a family of ensembles exp(-u_k), u_k = U_sigma_k / kT, from the largest
level, which has little structure left, to the smallest, which is nearly that of the data.  A configuration x of
particles at random places, the ensemble of no energy at all (u_0 = 0), is taken down through them.  At every level it
takes some steps of Langevin dynamics, each accepted or refused after Metropolis, which leave exp(-u_k) as it is::

    y = x - delta^2/2 grad u_k(x) + delta xi,      xi of variance 1

and it gathers the weight of what the levels differ by before it moves,

    ln w = sum_k [u_k-1(x_k) - u_k(x_k)].

For any function A of configurations, <w A>/<w> is its mean in the ensemble of the model at its smallest level, however
many or few levels and steps there were, and <w> = Z/V^N gives the excess free energy, F = -kT ln <w>.  How evenly the
weights fall, the effective number (sum w)^2 / sum w^2, says how far the samples can be trusted as they are.

Samples do not know each other, and nothing begins from the data: a basin that the data have and the samples have not,
or the other way round, is one that molecular dynamics from frames of the data does not find.

References
----------
Neal, Statistics and Computing 11, 125 (2001): the weights;
Roberts & Tweedie, Bernoulli 2, 341 (1996): the steps;
Song & Ermon, arXiv:1907.05600: a learnt score, annealed from noise to data.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from .. import rundirectory
from ..analysis.comparison import compare_rdf
from ..data.frames import Frames
from ..model.denoiser import Denoiser
from ..progress import Progress
from ..settings import validated
from ..space.boxes import wrap
from ..units import thermal_energy

#: Samples that find out how long steps may be, and are thrown away: were the lengths those of the samples themselves,
#: what is accepted would depend on them.
PILOT = 32
#: Steps accepted that they aim at: for the Langevin steps of many coordinates the best is 0.57.
ACCEPTED = 0.57
#: What a file of samples holds.
PART = ("positions", "log_weights", "energies", "accepted")
#: Where lengths are kept: the first that a run writes.
LENGTHS = "lengths.csv"
#: Effective samples below which weights tell no g(r).
FEW = 20
#: How fast the pilot changes the length, by its logarithm, and steps of it at each level, at least.
GAIN, TUNING = 0.2, 20


class AnnealingConfig(BaseModel):
    """How samples are made.

    Attributes
    ----------
    samples : int
    levels : int
        Noise levels, evenly spaced on a logarithmic scale over the range of the model.
    steps : int
        Of Langevin dynamics at each level.
    at_once : int
        Samples that are made together, and kept when they are done.
    seed : int
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    samples: PositiveInt = Field(1000, le=1_000_000)
    levels: int = Field(100, ge=2, le=100_000)
    steps: PositiveInt = Field(10, le=100_000)
    at_once: PositiveInt = Field(100, le=100_000)
    seed: NonNegativeInt = Field(1, lt=2**31)


@dataclass(frozen=True)
class Samples:
    """Independent configurations with their weights.

    Attributes
    ----------
    frames : Frames
        One configuration of each sample, in no order of time.
    log_weights : array, shape (n_samples,)
        ln w, of the ensemble of the model at its smallest level.
    energies : array, shape (n_samples,), kJ/mol
        Of the model at its smallest level.
    levels : DataFrame
        By level: sigma (nm), step (nm), accepted (a part of one), mean energy (kJ/mol), and how many samples are
        effective by the weights gathered down to there.
    """

    frames: Frames
    log_weights: np.ndarray
    energies: np.ndarray
    levels: pandas.DataFrame

    @property
    def weights(self) -> np.ndarray:
        """Normalised to a sum of one."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return w / w.sum()

    @property
    def effective(self) -> float:
        """Number of samples of equal weight that tell as much."""
        return float(effective(self.log_weights))

    def free_energy(self) -> tuple[float, float]:
        """Excess free energy -kT ln <w>, kJ/mol, and its standard error by the jackknife.

        The error is one where many samples are effective; of a few, it is too small, and the free energy too high.
        """
        kT, shift = thermal_energy(self.frames.temperature), self.log_weights.max()
        w = np.exp(self.log_weights - shift)
        n = len(w)
        if n == 1:
            return float(-kT * shift), float("nan")
        without = -np.log((w.sum() - w + np.finfo(float).tiny) / (n - 1))
        error = kT * np.sqrt((n - 1) * np.mean((without - without.mean()) ** 2))
        return float(-kT * (shift + np.log(w.mean()))), float(error)

    def reweighted(self, seed: int = 0) -> Frames:
        """As many frames, drawn by their weights: a heavy one is there many times."""
        # Systematic: every sample is there as often as its weight says, but for the last one.
        places = (np.arange(len(self.frames)) + np.random.default_rng(seed).random()) / len(self.frames)
        chosen = np.searchsorted(np.cumsum(self.weights), places).clip(max=len(self.frames) - 1)
        return self.frames[np.random.default_rng(seed).permutation(chosen)]


def effective(log_weights: np.ndarray) -> np.ndarray:
    """(sum w)^2 / sum w^2 over the last axis."""
    w = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    return w.sum(-1) ** 2 / (w**2).sum(-1)


def anneal(
    model: "str | Path | Denoiser",
    output: "str | Path",
    config: "AnnealingConfig | dict | None" = None,
    resume: bool = False,
    progress: bool = True,
) -> Samples:
    """Independent samples of the ensemble of a model at its smallest noise level, from particles at random places.

    Parameters
    ----------
    model : path, name or Denoiser
        Over a range of noise levels, in a box, with an energy, without bonds.  The larger its largest level, the less
        is to be learnt between no structure and the first.
    output : path
        Receives samples.npz (`Frames`), weights.csv (ln w and energy of every sample) and levels.csv, in parts as they
        are made.
    config : AnnealingConfig or dict, optional
    resume : bool
        Go on with the samples in `output`; their number may grow.
    progress : bool
        Tell how far it has come on standard error.

    Raises
    ------
    ValueError
        For a model of one noise level, without a box or an energy, or of bonded particles; and directories that hold
        something else.
    """
    settings = config if isinstance(config, AnnealingConfig) else validated(AnnealingConfig, config or {}, "config")
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    smallest, largest = _range(denoiser)
    sigmas = np.geomspace(largest, smallest, settings.levels)
    directory = rundirectory.named(output)
    given = {**settings.model_dump(mode="json"), "model": denoiser.digest()}
    with rundirectory.occupied(directory):
        rundirectory.check(
            directory, given, resume, (directory / LENGTHS).exists(), what="set of samples",
            may_differ=lambda key, new, old: key == "samples" and new >= old,
        )  # fmt: skip
        with rundirectory.begun(directory, given):
            lengths = _lengths(denoiser, sigmas, settings, directory)
            parts = _parts(denoiser, sigmas, lengths, settings, directory, progress)
            samples = _together(denoiser, sigmas, lengths, parts, settings.samples)
            samples.frames.save(directory / "samples.npz")
            table = pandas.DataFrame({"log_weight": samples.log_weights, "energy": samples.energies})
            rundirectory.write_table(directory / "weights.csv", table, float_format="%.8g")
            rundirectory.write_table(directory / "levels.csv", samples.levels, float_format="%.6g")
    return samples


def compare(samples: Samples, frames: Frames, sigma: float) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Samples against frames by g(r): RMSD from the frames noised by sigma (nm), of the ensemble of the model.

    Returns
    -------
    errors : DataFrame
        By pair, of the samples as they are and by their weights, each with its standard error; `reference` is one half
        of the frames from the other.  Weights of which less than `FEW` samples are effective tell no g(r): NaN.
    curves : DataFrame
        As `compare_rdf` has them; columns of the weighted samples end in "_weighted".
    """
    errors, curves, _ = compare_rdf(frames, samples.frames, sigma)
    table = errors[["pair", "learning", "learning_error", "reference"]].rename(
        columns={"learning": "as_they_are", "learning_error": "as_they_are_error"}
    )
    table["weighted"] = table["weighted_error"] = np.nan
    if samples.effective >= FEW:
        errors, weighted, _ = compare_rdf(frames, samples.reweighted(), sigma)
        # A sample that is there many times tells as much as once.
        scale = np.sqrt(len(samples.frames) / samples.effective)
        table["weighted"], table["weighted_error"] = errors["learning"], scale * errors["learning_error"]
        for pair in table["pair"]:
            curves[f"{pair}_weighted"] = weighted[f"{pair}_model"]
            curves[f"{pair}_weighted_error"] = scale * weighted[f"{pair}_model_error"]
    return table, curves


def _range(denoiser):
    """Smallest and largest level that all learnt terms know (nm)."""
    header = denoiser.header
    if not denoiser.conservative:
        raise ValueError("the model has a vector head: without an energy samples have no weights; train an energy head")
    if header.box is None:
        raise ValueError("the model has no box: random places to begin at need one; train on periodic frames")
    if header.bonds:
        raise ValueError("the model is of bonded particles, which are never at random places: sample them by simulate")
    if header.noised["species"] is not None or header.noised["axes"] != "xyz":
        raise ValueError(
            "the model was trained with noise on some species or axes alone, and knows no other ensembles: train "
            "without noise.species and noise.axes"
        )
    ranges = [term.sigmas for term in header.terms if term.learnt]
    if not ranges or any(sigmas is None for sigmas in ranges):
        raise ValueError(
            f"the model knows one noise level, sigma = {denoiser.sigma:g} nm, and no way from noise to data: train one "
            "over a range, such as noise.sigma: [0.004, 0.4]"
        )
    smallest, largest = max(s[0] for s in ranges), min(s[-1] for s in ranges)
    if not smallest < largest:
        raise ValueError("the terms of the model know no common range of noise levels: train them over one")
    return smallest, largest


class Walkers:
    """Configurations at one level after another.

    Parameters
    ----------
    denoiser : Denoiser
    number : int
    seed : int or list of int

    Attributes
    ----------
    x : array, shape (number, n_particles, 3), nm
    u : array, shape (number,)
        Energy at the present level over kT, none before the first.
    slope : array, shape (number, n_particles, 3), 1/nm
        Its gradient.
    """

    def __init__(self, denoiser, number, seed):
        self.denoiser, self.rng = denoiser, np.random.default_rng(seed)
        self.box = np.array(denoiser.header.box)
        self.kT = thermal_energy(denoiser.header.temperature)
        self.x = self.rng.random((number, len(denoiser.header.particles), 3)) @ self.box
        self.u, self.slope = np.zeros(number), np.zeros_like(self.x)
        self.level = denoiser

    def to(self, sigma):
        """Go to a level; returns what it adds to ln w, shape (number,)."""
        before, self.level = self.u, self.denoiser.at(sigma)
        self.u, self.slope = self.evaluated(self.x)
        return before - self.u

    def evaluated(self, x):
        """u and its slopes (1/nm)."""
        energy, force = self.level.evaluated(x, self.box)
        return energy / self.kT, -force / self.kT

    def step(self, delta):
        """One Langevin step of length delta (nm), accepted after Metropolis; returns who took it."""
        xi = self.rng.standard_normal(self.x.shape)
        y = self.x - 0.5 * delta**2 * self.slope + delta * xi
        u, slope = self.evaluated(y)
        back = (self.x - y + 0.5 * delta**2 * slope) / delta
        gain = self.u - u + 0.5 * ((xi**2).sum((1, 2)) - (back**2).sum((1, 2)))
        taken = np.log(self.rng.random(len(gain))) < gain
        self.x[taken], self.u[taken], self.slope[taken] = y[taken], u[taken], slope[taken]
        return taken


def _lengths(denoiser, sigmas, config, output):
    """Length of the steps at every level (nm), found by a pilot the first time."""
    path = output / LENGTHS
    if path.exists():
        return pandas.read_csv(path)["step"].to_numpy()
    walkers, longest = Walkers(denoiser, PILOT, [config.seed, 0]), 0.25 * float(np.diag(denoiser.header.box).min())
    delta, lengths = min(sigmas[0], longest), []
    for sigma in sigmas:
        walkers.to(sigma)
        for _ in range(max(config.steps, TUNING)):
            delta = min(delta * np.exp(GAIN * (walkers.step(delta).mean() - ACCEPTED)), longest)
        lengths.append(delta)
    rundirectory.write_table(path, pandas.DataFrame({"sigma": sigmas, "step": lengths}), float_format="%.10g")
    return pandas.read_csv(path)["step"].to_numpy()


def _parts(denoiser, sigmas, lengths, settings, directory, progress):
    """All samples, `at_once` at a time: those that are in the directory, and the others."""
    paths = [directory / f"part-{number:05d}.npz" for number in range(-(-settings.samples // settings.at_once))]
    done = settings.at_once * sum(path.exists() for path in paths)
    parts = []
    with Progress("samples", len(paths) * settings.at_once, "samples", progress, done) as told:
        for number, path in enumerate(paths):
            if not path.exists():
                seed = [settings.seed, 1, number]
                part = _annealed(denoiser, sigmas, lengths, settings.at_once, settings.steps, seed, told)
                with rundirectory.whole(path) as file:
                    np.savez(file, **part)
            parts.append(_read(path))
    return parts


def _read(path):
    """The samples of a file, which anything may have happened to."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in PART}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise rundirectory.damaged(path, "delete it, and --resume makes its samples again") from error


def _annealed(denoiser, sigmas, lengths, number, steps, seed, told):
    """So many samples: positions (nm), and by level ln w, energies (kJ/mol) and the part of steps that was accepted."""
    walkers = Walkers(denoiser, number, seed)
    log_weights, energies, accepted = [np.zeros(number)], [], []
    for sigma, delta in zip(sigmas, lengths):
        log_weights.append(log_weights[-1] + walkers.to(sigma))
        accepted.append(np.mean([walkers.step(delta).mean() for _ in range(steps)]))
        energies.append(walkers.u * walkers.kT)
        told.add(number / len(sigmas))
    x = wrap(torch.as_tensor(walkers.x), torch.as_tensor(walkers.box)).numpy()
    return {
        "positions": x.astype(np.float32),
        "log_weights": np.array(log_weights[1:]),
        "energies": np.array(energies),
        "accepted": np.array(accepted),
    }


def _together(denoiser, sigmas, lengths, parts, number):
    header = denoiser.header
    x = np.concatenate([part["positions"] for part in parts])[:number]
    log_weights, energies = (
        np.concatenate([p[name] for p in parts], 1)[:, :number] for name in ("log_weights", "energies")
    )
    columns = {
        "sigma": sigmas,
        "step": lengths,
        "accepted": np.mean([part["accepted"] for part in parts], 0),
        "energy": energies.mean(1),
        "effective": effective(log_weights),
    }
    numbers = [header.atomic_numbers[kind] for kind in header.particles]
    frames = Frames(x, numbers, np.array(header.box), header.temperature, types=header.particles)
    return Samples(frames, log_weights[-1], energies[-1], pandas.DataFrame(columns))
