"""A model against frames: structure, molecules, forces, calibration and held-out loss."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas

from ..analysis.comparison import compare_rdf, n_compared, structure_rows
from ..analysis.contacts import contact_pairs
from ..analysis.molecules.comparison import MoleculeComparison, compare_molecules
from ..analysis.structure import first_minima
from ..data import sets
from ..data.formats import listed
from ..data.frames import Frames
from ..data.sets import read_runs, runs_in, trained_on
from ..model.denoiser import Denoiser
from ..progress import Progress
from ..units import picoseconds
from .calibration import divergence_sigma, explained_variance, projections, slope
from .forces import ForceComparison, compare_forces, force_rows, noise_rows
from .molecules import NO_BONDS, NO_DENSITY, molecule_notes, molecule_rows
from .pressure import pressure_notes, pressure_rows
from .tables import COLUMNS, SCALE
from .verdict import verdict

log = logging.getLogger(__name__)

#: Explained fraction of the labels below which their noise may be most of the force error.
NOISY_LABELS = 0.5
#: Bound on the noise of the labels over the force error from which on it may be half of the error's square or more,
#: and the explained fraction above which the error is small whatever it is.
NOISY_ERROR, GOOD = 0.7, 0.9


@dataclass
class Evaluation:
    """Tables of an evaluation; lengths in nm.

    Attributes
    ----------
    errors : DataFrame
        One row per pair, RMSD of g(r): `learning`, MD under the model from the noised frames;
        `smoothing`, the noised from the clean frames; `reference`, one half of the reference
        frames from the other; `total`, MD from the clean frames.  Standard errors in columns
        `learning_error`, `smoothing_error` and `total_error`.
    rdf : DataFrame
        The curves: clean, noised and model, and of the frames that training used, where these are among those given;
        each with its error.
    peaks : DataFrame
        Position and height of the first and second peak of each curve.
    table : DataFrame
        Everything but molecules, one number per row: quantity, of, curve, unit, value, error.
    calibration : tuple of float
        Slope of denoising targets on forces, and its standard error; 1 for a right scale.
    comparison : ForceComparison or None
        Forces beside labels.
    scales : dict of str to float
        Factor by which training undid the shrinkage of a linear part, chosen on its own frames, by kind of term.
    molecules : MoleculeComparison or None
        Bonds, angles, dihedrals, maps and sizes of molecules, MD beside reference frames; None without bonds or MD.
    notes : list of str
        Sentences without which the numbers would mislead.
    verdict : DataFrame
        What all that comes to, see `verdict.verdict`: columns about, finding and sentence.
    """

    errors: pandas.DataFrame
    rdf: pandas.DataFrame
    peaks: pandas.DataFrame
    table: pandas.DataFrame
    calibration: tuple | None
    comparison: ForceComparison | None = None
    scales: dict = field(default_factory=dict)
    molecules: MoleculeComparison | None = None
    notes: list = field(default_factory=list)
    verdict: pandas.DataFrame = field(default_factory=pandas.DataFrame)

    @property
    def forces(self):
        """Root mean square force error by group, and of the "labels" (kJ/mol/nm); None without labels."""
        return None if self.comparison is None else self.comparison.rms()

    @property
    def pair_scale(self):
        """The factor of the pair part, or None where the header of the model does not tell it."""
        return self.scales.get("pair")


def evaluate(
    model: str | os.PathLike[str] | Denoiser,
    frames: Frames,
    trajectories: Sequence[str | os.PathLike[str]] = (),
    topology: str | os.PathLike[str] | None = None,
    discard: float = 5.0,
    interval: float | None = None,
) -> Evaluation:
    """Compare a model with frames, and the MD under it with their g(r) and their molecules.

    Without a box there is no g(r), and molecules alone are compared.

    Where these are the very frames that the model was trained on, only those that training kept
    apart are used.

    Parameters
    ----------
    model : path or Denoiser
    frames : Frames
    trajectories : list of path
        Independent runs under the model, by their files or by the directories that `simulate` wrote, which tell
        topology and interval; without any, only calibration and forces.
    topology : path, optional
        Topology of the trajectories (PDB).
    discard : float, ps
        Start of each run to leave out; needs `interval`.
    interval : float, ps
        Between saved frames.

    Returns
    -------
    Evaluation
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    denoiser.header.check_frames(sets.as_frames(frames).types, frames.box is not None)
    trajectories = listed(trajectories, "trajectories") if trajectories else []
    discard = picoseconds(discard, "discard", at_least=0)
    interval = None if interval is None else picoseconds(interval, "interval", above=0)
    if abs(frames.temperature - denoiser.header.temperature) > 0.5:
        log.warning(
            "frames are at %g K, the model's data were at %g K: they describe different ensembles",
            frames.temperature, denoiser.header.temperature,
        )  # fmt: skip
    reference = kept_apart(denoiser, frames)
    minima = first_minima(reference)
    errors = curves = peaks = pandas.DataFrame()
    rows: list = []
    molecules, notes, runs = None, [], None
    if trajectories:
        header = denoiser.header
        known = header.species, header.elemental
        _warn_of_others(denoiser, runs_in(trajectories, topology, interval))
        bonded = frames.bonds is not None and len(frames.bonds) > 0
        runs = read_runs(trajectories, topology, frames.temperature, discard, interval, *known, bonded=bonded)
        if bonded:
            molecules = compare_molecules(reference, runs, denoiser.sigma)
            rows += [] if molecules is None else molecule_rows(molecules)
            notes += [NO_BONDS] if molecules is None else molecule_notes(molecules, denoiser.sigma)
        if reference.box is None and bonded:
            notes.append(NO_DENSITY)
        else:
            learnt = trained_on(header.data, frames) if reference is not frames else None
            compared = reference, runs, denoiser.sigma, learnt
            with Progress("g(r)", n_compared(*compared)) as told:
                errors, curves, peaks = compare_rdf(*compared, told.add)
            rows += structure_rows(reference, runs, errors, peaks, minima)
    with Progress("forces", int(reference.labelled.sum())) as told:
        comparison = compare_forces(denoiser, reference, minima, told.add)
    rows += [] if comparison is None else force_rows(comparison)
    fresh, scales = _projections(denoiser, reference, None, 4), _scales(denoiser.header)
    if comparison is not None:
        small = min(denoiser.sigma, divergence_sigma(reference))
        rows += noise_rows(reference, *(_projections(denoiser, reference, small, 2) if small > 0 else fresh))
    calibrated = slope(*fresh, reference.replica)
    rows += _held_out_rows(reference, fresh, calibrated, scales)
    at_volume = pressure_rows(denoiser, reference, runs)
    rows += at_volume
    table = pandas.DataFrame(rows, columns=COLUMNS)
    notes += _notes(table, denoiser.sigma, curves, contact_pairs(minima, reference.types), divergence_sigma(reference))
    notes += pressure_notes(denoiser, at_volume)
    result = Evaluation(errors, curves, peaks, table, calibrated, comparison, scales, molecules, notes)
    result.verdict = verdict(result, denoiser, 0 if runs is None else len(np.unique(runs.replica)))
    return result


def _projections(denoiser, reference, sigma, draws):
    """`projections`, which are most of the work for a network, and so tell how far they are."""
    with Progress("forces on fresh noise", 2 * draws * len(reference)) as told:
        return projections(denoiser, reference, sigma, draws, told=told.add)


def _warn_of_others(denoiser, runs):
    """Warn of runs whose directory says that another model made them."""
    for run in runs:
        if run.model is not None and run.model != denoiser.digest():
            log.warning(
                "%s was run under another model (%s) than the one that is evaluated (%s): what is said of structure is "
                "that of the other", run.path, run.model, denoiser.digest(),
            )  # fmt: skip


def _scales(header):
    """Factors that training chose for the linear learnt parts, by kind of term, as far as the header tells them."""
    kinds = dict.fromkeys(term.kind for term in header.learnt if term.linear)
    return {kind: header.held_out[f"{kind}_scale"] for kind in kinds if f"{kind}_scale" in header.held_out}


def _held_out_rows(reference, fresh, calibrated, scales):
    """Rows of calibration and held-out loss, from `projections` of the reference frames."""
    rows = [("calibration slope", "", "", "1", *calibrated)]
    rows += [(SCALE.format(kind), "", "", "1", scale, float("nan")) for kind, scale in scales.items()]
    squared = "(kJ/mol/nm)^2"
    rows.append(("explained variance of targets", "", "", squared, *explained_variance(*fresh, reference.replica)))
    known = reference.labelled
    if known.any():
        share = explained_variance(*(v[known] for v in fresh), reference.replica[known], reference.forces[known])
        rows.append(("explained variance / <labels^2>", "", "", "1", *share))
    return rows


def _notes(table, sigma, curves, contacts, little):
    """What has to be read beside the table."""
    notes = []
    if len(curves):
        half = 0.5 * (curves["r_nm"][1] - curves["r_nm"][0])
        notes.append(
            f"g(r) RMSD over {curves['r_nm'].iloc[0] - half:.2g}-{curves['r_nm'].iloc[-1] + half:.3g} nm: learning = "
            "MD - noised frames, smoothing = noised - clean frames, total = MD - clean frames, reference = one half "
            "of the reference frames - the other."
        )
    numbers = table[table["curve"] == ""].set_index(["quantity", "of"])["value"]
    if ("force RMSE", "all") in numbers:
        if ("force RMSE", "contact") in numbers:
            listed = ", ".join(f"{distance:.3f} nm of {pair}" for pair, distance in contacts.items())
            notes.append(f"contact: a partner of another type within the first minimum of g(r), {listed}.")
        rmse, explained = numbers["force RMSE", "all"], numbers["explained fraction", "all"]
        noise = numbers["label noise, at most", "all"]
        if explained < NOISY_LABELS or (explained < GOOD and noise > NOISY_ERROR * rmse):
            notes.append(
                f"The force RMSE of {rmse:.1f} kJ/mol/nm must not be read as the model's error: only "
                f"{100 * explained:.1f} % of the labels' square is explained, and noise of the labels may be up to "
                f"{noise:.1f} kJ/mol/nm of it; labels alone cannot tell the two apart."
            )
        smoothed = " (and then falls short of 1 by the smoothing too)" if sigma > 0 else ""
        notes.append(f"explained variance / <labels^2> means something for labels without noise only{smoothed}.")
    if sigma == 0:
        notes.append(
            f"The model is of clean frames (sigma = 0): slope and explained variance are measured with noise of "
            f"{little:g} nm, which is Hutchinson's estimate of the divergence of its forces."
        )
    return notes


def kept_apart(denoiser, frames):
    """The frames that training left out as test set, if these are the frames it saw; else all of them."""
    parts = sets.kept_apart(denoiser.header.data, frames)
    if parts is None:
        return frames
    _, test = parts
    if test is None:
        log.warning("the model was trained on these frames and kept none apart: errors will look smaller than they are")
        return frames
    log.info("reference: the %d of %d frames that training kept apart", len(test), len(frames))
    return test
