"""What an evaluation comes to, in a few lines: what agrees within errors, what does not, and what would tell more."""

import numpy as np
import pandas

from ..particles import ordered

#: Independent runs below which the scatter between them says nothing that could be relied on.
FEW_RUNS = 3
#: Standard errors beyond which two numbers differ.  Some thirty places of a g(r) are looked at for each pair.
DIFFERENT = 3.0
#: Bins of a g(r) over which a difference must go on in one direction, and how large it is at least.
WINDOW, LEAST = 3, 0.05
AGREES, DIFFERS, OPEN = "agrees", "differs", "cannot tell"


def verdict(evaluation, denoiser, n_runs):
    """What an evaluation comes to.

    Parameters
    ----------
    evaluation : Evaluation
    denoiser : Denoiser
    n_runs : int
        Independent runs of MD; 0 for none.

    Returns
    -------
    DataFrame
        Columns about ("g(r) Li-Cl", "forces", "next" ...), finding ("agrees", "differs", "cannot tell" or empty) and
        sentence.
    """
    table = evaluation.table
    numbers = table.set_index(["quantity", "of", "curve"])[["value", "error"]]
    rows = []
    if n_runs and len(evaluation.rdf):
        rows += _runs(n_runs)
        rows += _structure(evaluation.rdf, n_runs)
        rows += _smoothing(evaluation.errors)
    if evaluation.molecules is not None:
        rows += _molecules(evaluation.molecules)
    rows += _calibration(*evaluation.calibration)
    rows += _labels(numbers)
    rows += _next(evaluation, denoiser, n_runs, rows)
    return pandas.DataFrame(rows, columns=["about", "finding", "sentence"])


def _runs(n_runs):
    if n_runs >= FEW_RUNS:
        return []
    alone = (
        "One run alone cannot give an error: its bars are from stretches of it, which may all be wrong together"
        if n_runs == 1
        else "Two runs cannot give an error that could be relied on: from two values it may be off by a factor of two"
    )
    return [("runs", OPEN, f"{alone}; give {FEW_RUNS} independent runs or more.")]


def _structure(curves, n_runs):
    """One row for each pair whose g(r) differs, one for all that agree."""
    pairs = [column.removesuffix("_clean") for column in curves if column.endswith("_clean")]
    rows, alike = [], {}
    for pair in pairs:
        r, difference, error = largest_difference(curves, pair)
        told = f"{abs(difference):.2f} +- {error:.2f} at {r:.2f} nm"
        if abs(difference) > max(DIFFERENT * error, LEAST):
            side = "above" if difference > 0 else "below"
            few = n_runs < FEW_RUNS
            seems = ", by its own error" if few else ""
            rows.append(
                (f"g(r) {pair}", OPEN if few else DIFFERS,
                 f"g(r) of {pair} in MD lies {side} that of the reference, most by {told}{seems}.")
            )  # fmt: skip
        else:
            alike[pair] = (abs(difference) / error if error > 0 else 0.0, told)
    if alike:
        worst = max(alike, key=lambda pair: alike[pair][0])
        names = "all pairs" if len(alike) == len(pairs) else " and ".join(alike)
        finding = AGREES if n_runs >= FEW_RUNS else OPEN
        how = (
            "agrees with the reference within errors" if finding == AGREES else "is as near as one can tell from so few"
        )
        sentence = f"g(r) of {names} {how} (largest difference: {worst}, {alike[worst][1]})."
        rows.insert(0, ("g(r)", finding, sentence))
    return rows


def largest_difference(curves, pair):
    """Where the g(r) of a pair in MD is farthest from that of the reference, in its errors.

    Means over `WINDOW` bins are compared; their errors are taken to be as those of one bin, for structures that form
    and dissolve change neighbouring bins together.

    Parameters
    ----------
    curves : DataFrame
        As `Evaluation.rdf`.
    pair : str

    Returns
    -------
    r : float, nm
    difference, error : float
        MD less reference.
    """
    kernel = np.full(WINDOW, 1 / WINDOW)
    difference = np.convolve(curves[f"{pair}_model"] - curves[f"{pair}_clean"], kernel, "valid")
    error = np.convolve(_errors(curves, pair), kernel, "valid")
    r = np.convolve(curves["r_nm"], kernel, "valid")
    with np.errstate(divide="ignore", invalid="ignore"):
        sure = np.where(error > 0, np.abs(difference) / error, 0.0)
    sure = np.where(np.abs(difference) > LEAST, sure, np.minimum(sure, 1.0))
    at = int(np.argmax(sure))
    return float(r[at]), float(difference[at]), float(error[at])


def _errors(curves, pair):
    """Standard errors of the difference of a g(r), where MD, or the reference, was never seen too.

    Blocks without a single pair have no scatter.  The errors of one are there those of the other, times the ratio
    that they have elsewhere, of which the middle is taken.
    """
    model, clean = (curves[f"{pair}_{curve}_error"].fillna(0).to_numpy() for curve in ("model", "clean"))
    both = (model > 0) & (clean > 0)
    ratio = float(np.median(model[both] / clean[both])) if both.any() else 1.0
    return np.hypot(np.maximum(model, ratio * clean), np.maximum(clean, model / ratio))


def _smoothing(errors):
    """Whether noise, and not learning, is what keeps MD from the clean frames."""
    large = errors[errors["smoothing"] > errors["learning"]]
    if not len(large):
        return []
    row = large.loc[large["smoothing"].idxmax()]
    return [
        ("smoothing", "",
         f"For {row['pair']} the noise of the training changes g(r) more ({row['smoothing']:.2g}) than what it left "
         f"unlearnt ({row['learning']:.2g}): a smaller noise.sigma, or sigma: 0, takes that away.")
    ]  # fmt: skip


def _molecules(molecules):
    if molecules.broken:
        names = ", ".join(molecules.broken)
        return [("molecules", DIFFERS, f"Molecules break in MD ({names}): nothing else that is said of it holds.")]
    return []


def _calibration(slope, error):
    if not np.isfinite(error):
        return [("scale of forces", OPEN, f"The forces have {_size(slope)}; one frame cannot give an error.")]
    told = f"{slope:.3f} +- {error:.3f}"
    if abs(slope - 1) <= max(2 * error, 0.02):
        return [("scale of forces", AGREES, f"The forces have the size that frames kept apart ask for (slope {told}).")]
    word = "weak" if slope > 1 else "strong"
    sentence = f"The forces are too {word} by {100 * abs(slope - 1):.0f} % on frames kept apart (slope {told})."
    return [("scale of forces", DIFFERS, sentence)]


def _size(slope):
    return f"a slope of {slope:.3f}"


def _labels(numbers):
    """What labels say of the forces, and what of it may be their noise."""
    if ("force RMSE", "all", "") not in numbers.index:
        return []
    rmse, rms = (numbers.loc[(name, "all", ""), "value"] for name in ("force RMSE", "force rms, labels"))
    noise = numbers.loc[("label noise, at most", "all", ""), "value"]
    sentence = f"Forces are off the labels by {rmse:.1f} of {rms:.1f} kJ/mol/nm per component"
    if noise < 0.7 * rmse:
        return [("forces", "", f"{sentence}, of which noise of the labels is at most {noise:.1f}.")]
    return [("forces", OPEN, f"{sentence}; all of it may be noise of the labels (at most {noise:.1f}).")]


def _next(evaluation, denoiser, n_runs, rows):
    """What would tell more, or mend what differs."""
    told = []
    differs = [about for about, finding, _ in rows if finding == DIFFERS and about.startswith("g(r)")]
    if n_runs == 0:
        return [("next", "", "Nothing is said of structure without MD: give runs under the model (--trajectory).")]
    if n_runs < FEW_RUNS:
        told.append("more independent runs (other --seed, or simulate --replicas 4)")
    if len(evaluation.rdf):
        pairs = ordered({c.removesuffix("_clean") for c in evaluation.rdf if c.endswith("_clean")})
        errors = [
            [np.nanmean(evaluation.rdf[f"{pair}_{curve}_error"]) for pair in pairs] for curve in ("model", "clean")
        ]
        model, clean = np.nanmax(errors[0]), np.nanmax(errors[1])
        if model > 2 * clean:
            told.append(f"longer MD (its errors of g(r), {model:.2g}, are {model / clean:.1f} times the reference's)")
        elif clean > 2 * model and not differs:
            told.append(f"more reference frames (their errors of g(r), {clean:.2g}, are the larger)")
    refinable = [term for term in denoiser.header.terms if term.linear and getattr(term, "penalty", None) is not None]
    if differs and refinable:
        told.append("refine, which gives the linear energies the populations of the data")
    return [("next", "", f"What would tell or mend more: {'; '.join(told)}.")] if told else []
