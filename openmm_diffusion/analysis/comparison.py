"""Two sets of frames compared by g(r): MD under a model, and reference frames with and without noise."""

import logging
from dataclasses import replace

import numpy as np
import pandas
import torch

from ..noise import draw_noise
from ..particles import ordered
from .rdf import compute_rdf, rebin, rmsd
from .resampling import rmsd_error, split_half_error
from .structure import BIN_WIDTH, PEAK_BIN_WIDTH, coordination, known_peaks, rdf_range, smooth_error

log = logging.getLogger(__name__)

#: Columns of the two errors, their sum, and what the reference itself can tell.
ERRORS = ["pair", "learning", "smoothing", "reference", "total"]
#: Antithetic pairs of noised copies of each reference frame.
DRAWS = 5


def noised(frames, sigma, draws=DRAWS, seed=0):
    """Frames with additive noise, `draws` antithetic pairs of copies of each; replicas kept."""
    x = torch.as_tensor(frames.positions)
    y = x + sigma * draw_noise(x, draws, True, torch.Generator().manual_seed(seed))
    # The copies of a frame stay together: blocks of a single run are stretches of time then.
    y = y.transpose(0, 1).flatten(0, 1).numpy()
    box = frames.box if np.ndim(frames.box) != 3 else np.repeat(frames.box, 2 * draws, axis=0)
    replica = np.repeat(frames.replica, 2 * draws)
    return replace(frames, positions=y, box=box, forces=None, bias_forces=None, replica=replica)


def n_compared(reference, runs, sigma, training=None):
    """Frames that `compare_rdf` goes through, noised copies of the reference among them."""
    copies = 2 * DRAWS if sigma > 0 else 1
    return (1 + copies) * len(reference) + len(runs) + (0 if training is None else len(training))


def compare_rdf(reference, runs, sigma, training=None, told=None):
    """Errors, curves and peaks of MD (`runs`) against reference frames, clean and noised by sigma (nm).

    The frames of the `training`, where they are given, have curves alone.  `told` is called with the number of frames
    that are done, of `n_compared`.

    Returns
    -------
    errors : DataFrame
        One row per pair, RMSD of g(r): `learning`, MD from noised frames; `smoothing`, noised
        from clean frames; `reference`, one half of the reference from the other; `total`, MD
        from clean frames.  With sigma = 0 the noised frames are the clean ones.  Columns
        `learning_error`, `smoothing_error` and `total_error` are standard errors over blocks.
    curves : DataFrame
        g(r) of clean, noised and model (and training), each with its standard error.
    peaks : DataFrame
        Columns pair, curve, r_nm, height, error (of the height), number: 1 for the first peak, 2 for the second.
        Only peaks that are no noise, see `structure.known_peaks`; those of noised frames and of MD have the number of
        that of the clean frames.
    """
    if reference.box is None or runs.box is None:
        raise ValueError("frames and trajectories need a periodic box: a g(r) needs a density")
    if set(reference.types) != set(runs.types):
        raise ValueError(f"trajectories hold {ordered(runs.types)}, but frames {ordered(reference.types)}")
    if abs(runs.number_density / reference.number_density - 1) > 0.01:
        log.warning(
            "trajectories have %.4g particles/nm^3, frames %.4g: their g(r) differ for that reason alone",
            runs.number_density, reference.number_density,
        )  # fmt: skip
    sets = {"clean": reference, "noised": noised(reference, sigma) if sigma > 0 else reference, "model": runs}
    fine = {name: compute_rdf(part, rdf_range(reference), PEAK_BIN_WIDTH, progress=told) for name, part in sets.items()}
    curves = {name: rebin(rdf, round(BIN_WIDTH / PEAK_BIN_WIDTH)) for name, rdf in fine.items()}
    if training is not None:
        learnt = compute_rdf(training, rdf_range(reference), BIN_WIDTH, progress=told)
    split = split_half_error(curves["clean"])
    rows, peaks, table = [], [], {"r_nm": curves["clean"].r}
    for pair in curves["clean"].g:
        clean, noisy, model = (curves[name].g[pair] for name in sets)
        rows.append((pair, rmsd(model, noisy), rmsd(noisy, clean), split[pair], rmsd(model, clean)))
        # Noised frames are those of the reference: resampled together.
        rows[-1] += (
            rmsd_error(curves["model"], curves["noised"], pair),
            rmsd_error(curves["noised"], curves["clean"], pair, seeds=(0, 0)),
            rmsd_error(curves["model"], curves["clean"], pair),
        )
        own = None  # peaks of the clean frames, which come first
        for name in sets:
            table[f"{pair}_{name}"], table[f"{pair}_{name}_error"] = curves[name].g[pair], curves[name].error[pair]
            g, error = fine[name].g[pair], fine[name].error[pair]
            found = known_peaks(g, smooth_error(fine[name], pair), own)
            own = found if own is None else own
            peaks += [
                (pair, name, fine[name].r[top], g[top], error[top], number)
                for number, top in found.items()
                if number <= 2
            ]
        if training is not None:
            table[f"{pair}_training"], table[f"{pair}_training_error"] = learnt.g[pair], learnt.error[pair]
    errors = pandas.DataFrame(rows, columns=[*ERRORS, "learning_error", "smoothing_error", "total_error"])
    columns = ["pair", "curve", "r_nm", "height", "error", "number"]
    return errors, pandas.DataFrame(table), pandas.DataFrame(peaks, columns=columns)


def structure_rows(reference, runs, errors, peaks, minima):
    """Rows (quantity, of, curve, unit, value, error) of the long table."""
    nan, rows = float("nan"), []
    for name in ("learning", "smoothing", "total", "reference"):
        for row in errors.to_dict("records"):
            rows.append((f"g(r) RMSD, {name}", row["pair"], "", "1", row[name], row.get(f"{name}_error", nan)))
    for number, word in ((1, "first"), (2, "second")):
        part = peaks[peaks["number"] == number]
        rows += [(f"{word} peak, position", p.pair, p.curve, "nm", p.r_nm, nan) for p in part.itertuples()]
        rows += [(f"{word} peak, height", p.pair, p.curve, "1", p.height, p.error) for p in part.itertuples()]
    rows += [("first minimum", pair, "clean", "nm", distance, nan) for pair, distance in minima.items()]
    for curve, frames in (("clean", reference), ("model", runs)):
        for pair, (number, error) in coordination(frames, minima).items():
            rows.append(("coordination number", pair, curve, "1", number, error))
        for pair, distance in frames.shortest_distances().items():
            rows.append(("closest approach", "-".join(pair), curve, "nm", distance, nan))
    return rows
