"""Structure of MD under a model against reference frames: g(r), peaks, coordination, closest approach."""

import logging
import math

import numpy as np
import pandas
import scipy.ndimage
import scipy.signal
import torch

from ..data.frames import Frames
from ..noise import draw_noise
from ..space.neighbours import neighbour_pairs
from ..units import symbols
from .rdf import compute_rdf, mean_and_error, rebin, rmsd, split_half_error
from .resampling import block_numbers, block_sums, bootstrap

log = logging.getLogger(__name__)

#: Range and bin widths of every comparison, nm.
R_RANGE, BIN_WIDTH, PEAK_BIN_WIDTH = (0.2, 1.0), 0.01, 0.005
#: A maximum or minimum of g(r) stands out if it rises by so much over what surrounds it.
PROMINENCE = 0.1
#: Columns of the two errors, their sum, and what the reference itself can tell.
ERRORS = ["pair", "learning", "smoothing", "reference", "total"]


def noised(frames, sigma, draws=5, seed=0):
    """Frames with additive noise, `draws` antithetic pairs of copies of each; replicas kept."""
    x = torch.as_tensor(frames.positions)
    y = x + sigma * draw_noise(x, draws, True, torch.Generator().manual_seed(seed))
    # The copies of a frame stay together: blocks of a single run are stretches of time then.
    y = y.transpose(0, 1).flatten(0, 1).numpy()
    box = frames.box if np.ndim(frames.box) != 3 else np.repeat(frames.box, 2 * draws, axis=0)
    return Frames(y, frames.species, box, frames.temperature, None, np.repeat(frames.replica, 2 * draws))


def compare_rdf(reference, runs, sigma):
    """Errors, curves and peaks of MD (`runs`) against reference frames, clean and noised by sigma (nm).

    Returns
    -------
    errors : DataFrame
        One row per pair, RMSD of g(r): `learning`, MD from noised frames; `smoothing`, noised
        from clean frames; `reference`, one half of the reference from the other; `total`, MD
        from clean frames.  With sigma = 0 the noised frames are the clean ones.  Columns
        `learning_error`, `smoothing_error` and `total_error` are standard errors over blocks.
    curves : DataFrame
        g(r) of clean, noised and model, each with its standard error.
    peaks : DataFrame
        Columns pair, curve, r_nm, height, error (of the height), number: 1 for the first peak,
        2 for a second that stands out.
    """
    if reference.box is None or runs.box is None:
        raise ValueError("frames and trajectories need a periodic box: a g(r) needs a density")
    if set(reference.symbols) != set(runs.symbols):
        raise ValueError(f"trajectories hold {sorted(set(runs.symbols))}, but frames {sorted(set(reference.symbols))}")
    if abs(runs.number_density / reference.number_density - 1) > 0.01:
        log.warning(
            "trajectories have %.4g particles/nm^3, frames %.4g: their g(r) differ for that reason alone",
            runs.number_density, reference.number_density,
        )  # fmt: skip
    sets = {"clean": reference, "noised": noised(reference, sigma) if sigma > 0 else reference, "model": runs}
    fine = {name: compute_rdf(part, rdf_range(reference), PEAK_BIN_WIDTH) for name, part in sets.items()}
    curves = {name: rebin(rdf, round(BIN_WIDTH / PEAK_BIN_WIDTH)) for name, rdf in fine.items()}
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
        for name in sets:
            table[f"{pair}_{name}"], table[f"{pair}_{name}_error"] = curves[name].g[pair], curves[name].error[pair]
            g, error = fine[name].g[pair], fine[name].error[pair]
            for number, top in enumerate(find_peaks(g, smooth_error(fine[name], pair))[:2], start=1):
                peaks.append((pair, name, fine[name].r[top], g[top], error[top], number))
    errors = pandas.DataFrame(rows, columns=[*ERRORS, "learning_error", "smoothing_error", "total_error"])
    columns = ["pair", "curve", "r_nm", "height", "error", "number"]
    return errors, pandas.DataFrame(table), pandas.DataFrame(peaks, columns=columns)


def rmsd_error(first, second, pair, seeds=(0, 1), resamples=300):
    """Standard error of the RMSD of two `RDF` of a pair, from blocks of each drawn with replacement.

    Equal seeds draw the same blocks of both: for curves from the same frames.
    """
    drawn = []
    for rdf, seed in zip((first, second), seeds):
        n, weights = len(rdf.weights), rdf.weights / rdf.weights.sum()
        if n < 2:
            return float("nan")
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) * weights
        mean = weights @ rdf.blocks[pair]
        means = counts @ rdf.blocks[pair] / counts.sum(1, keepdims=True)
        drawn.append(mean + np.sqrt(n / (n - 1)) * (means - mean))
    return float(np.sqrt(((drawn[0] - drawn[1]) ** 2).mean(1)).std())


def rdf_range(frames):
    """`R_RANGE`, cut at whole bins below half the box of the frames (nm)."""
    half = 0.5 * float(np.diagonal(frames.boxes, axis1=1, axis2=2).min())
    n_bins = math.floor((min(R_RANGE[1], half) - R_RANGE[0]) / BIN_WIDTH + 1e-6)
    return R_RANGE[0], R_RANGE[0] + n_bins * BIN_WIDTH


def _smooth(g, width=2.0):
    """g(r) smoothed over `width` bins, so that noise makes no extrema."""
    return scipy.ndimage.gaussian_filter1d(g, width, mode="nearest")


def smooth_error(rdf, pair):
    """Standard error of the smoothed g(r) of a pair, shape (n_bins,), from its blocks; 0 of one block alone."""
    return np.nan_to_num(mean_and_error(_smooth(rdf.blocks[pair]), rdf.weights)[1])


def find_peaks(g, error=None):
    """Indices of the maxima of g(r) that stand out, or of the highest point where none does.

    The first must rise by `PROMINENCE`; the others by three standard errors too, so that
    a rough curve has no more peaks than it can show.

    Parameters
    ----------
    g : array, shape (n_bins,)
    error : array, shape (n_bins,), optional
        As `smooth_error` gives it.
    """
    smooth = _smooth(g)
    tops, properties = scipy.signal.find_peaks(smooth, prominence=PROMINENCE)
    if len(tops) == 0:
        return [int(np.argmax(smooth))]
    least = np.zeros(len(g)) if error is None else 3 * error
    kept = [top for k, top in enumerate(tops) if k == 0 or properties["prominences"][k] > least[top]]
    lows = [max(0, top - 2) for top in kept]
    return [int(low + np.argmax(g[low : top + 3])) for low, top in zip(lows, kept)]


def first_peak(g):
    """Index of the first peak of g(r)."""
    return find_peaks(g)[0]


def first_minimum(g, error):
    """Index of the first minimum of g(r) beyond its first peak that stands out as `find_peaks` asks, or None."""
    lows, properties = scipy.signal.find_peaks(-_smooth(g), prominence=PROMINENCE)
    beyond = lows[(lows > first_peak(g)) & (properties["prominences"] > 3 * error[lows])]
    return int(beyond[0]) if len(beyond) else None


def first_minima(frames):
    """First minimum (nm) of the g(r) of each pair, dict by "A-B"; pairs without one, or without a box, are left out."""
    if frames.box is None:
        return {}
    rdf = compute_rdf(frames, rdf_range(frames), PEAK_BIN_WIDTH)
    indices = {pair: first_minimum(g, smooth_error(rdf, pair)) for pair, g in rdf.g.items()}
    return {pair: round(float(rdf.r[i]), 4) for pair, i in indices.items() if i is not None}


def close_pairs(frames, distances):
    """Pairs closer than a distance of their own, a chunk of frames after the other.

    Parameters
    ----------
    frames : Frames
    distances : dict of str to float, nm
        By pair of elements "A-B", lighter first; at most half the box.

    Yields
    ------
    pair : str
    frame, first, second : array, shape (n_close,), dtype int
    """
    names = np.array(frames.symbols)
    n = len(names)
    step = max(1, 2_000_000 // (n * n))  # about 50 MB of pair vectors at a time
    for start in range(0, len(frames) if distances else 0, step):
        x = torch.from_numpy(frames.positions[start : start + step]).double()
        box = None if frames.box is None else torch.from_numpy(frames.boxes[start : start + step])
        first, second, vectors = (v.numpy() for v in neighbour_pairs(x, box, max(distances.values())))
        r = np.sqrt((vectors**2).sum(-1))
        frame, first, second = start + first // n, first % n, second % n
        light = np.where(frames.species[first] <= frames.species[second], first, second)
        heavy = first + second - light
        for pair, distance in distances.items():
            a, b = pair.split("-")
            chosen = (names[light] == a) & (names[heavy] == b) & (r < distance)
            yield pair, frame[chosen], light[chosen], heavy[chosen]


def in_contact(frames, distances):
    """Which particles have a partner of another element within the distance of that pair.

    Parameters
    ----------
    frames, distances
        As `close_pairs`; pairs of one element do not count.

    Returns
    -------
    array, shape (n_frames, n_particles), dtype bool
    """
    contact = np.zeros(frames.positions.shape[:2], dtype=bool)
    unlike = {pair: distance for pair, distance in distances.items() if len(set(pair.split("-"))) == 2}
    for _, frame, first, second in close_pairs(frames, unlike):
        contact[frame, first] = contact[frame, second] = True
    return contact


def coordination(frames, distances):
    """Mean number of B around A within a distance, for every ordered pair.

    Parameters
    ----------
    frames, distances
        As `close_pairs`.

    Returns
    -------
    dict of str to (float, float)
        By "B around A": number and standard error over blocks.
    """
    counts = {pair: np.zeros(len(frames)) for pair in distances}
    for pair, frame, _, _ in close_pairs(frames, distances):
        np.add.at(counts[pair], frame, 1)
    names, blocks, result = frames.symbols, block_numbers(frames.replica), {}
    for pair, count in counts.items():
        a, b = pair.split("-")
        sums = block_sums(np.stack([count, np.ones(len(frames))], -1), blocks)
        number, error = bootstrap(sums, lambda total: total[..., 0] / total[..., 1])
        for centre, partner in {(a, b), (b, a)}:
            per = (2 if a == b else 1) / names.count(centre)
            result[f"{partner} around {centre}"] = number * per, error * per
    return dict(sorted(result.items(), key=lambda item: item[0].split()[::-1]))


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
            rows.append(("closest approach", "-".join(symbols(pair)), curve, "nm", distance, nan))
    return rows
