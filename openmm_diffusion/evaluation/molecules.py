"""What has to be said of the molecules of MD under a model: whether they broke, and what is off most."""

import numpy as np

from ..analysis.molecules.comparison import BROKEN

#: Widths that differ from the data's by more than this part are called out.
WIDTHS_OFF = {"bond": 0.10, "angle": 0.20}
#: A sign that the data keep in so many of their frames is a hand; less often than this it is the noise of a plane.
HANDED = 0.98
#: Kinds that a sentence names, the worst first.
NAMED = 4

NO_DENSITY = "The frames have no box, and so no density: g(r) has no meaning there, and molecules alone were compared."
NO_BONDS = (
    "Molecules were not compared: the trajectories hold other particles than the frames, or in another order, and "
    "their topology has no bonds."
)


def molecule_rows(comparison):
    """Rows (quantity, of, curve, unit, value, error) of the table of everything: whether the molecules hold."""
    nan = float("nan")
    share = len(comparison.broken_frames) / comparison.n_frames
    return [
        ("broken bonds in MD", "", "", "1", sum(comparison.broken.values()), nan),
        ("share of frames with broken bonds", "", "", "1", share, nan),
    ]


def molecule_notes(comparison, sigma):
    """Sentences on the molecules of MD, the gravest first.

    Parameters
    ----------
    comparison : MoleculeComparison
    sigma : float, nm
        Noise of the model.

    Returns
    -------
    list of str
    """
    values = comparison.table.set_index(["quantity", "of", "curve"])[["value", "error"]].sort_index()
    said = [_broken(comparison), _handed(values), _widths(values, sigma), _divergences(values)]
    return [sentence for sentence in said if sentence]


def _broken(comparison):
    if not comparison.broken:
        return ""
    frames = comparison.broken_frames
    kinds = sorted(comparison.broken.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{count} of {kind}" for kind, count in kinds[:NAMED]) + (", ..." if len(kinds) > NAMED else "")
    return (
        f"THE MOLECULES BROKE: in {len(frames)} of {comparison.n_frames} frames of MD, number {frames[0]} the first of "
        f"them, bonds are more than {BROKEN} data widths from the data's mean ({listed}, over all frames). The model "
        "fails here, whatever its calibration, its forces and the rest of this report say."
    )


def _handed(values):
    """Impropers whose sign the data keep, and MD does not."""
    wrong = []
    for (_, kind, _), row in _of(values, "improper, frames on the data's side", "clean").iterrows():
        model = values.loc[("improper, frames on the data's side", kind, "model"), "value"]
        if row["value"] >= HANDED and model < row["value"] - (1 - HANDED):
            wrong.append(f"{kind} in {100 * model:.3g} % of MD, in {100 * row['value']:.3g} % of the data")
    return f"Chirality is lost: the improper has the data's sign of {'; '.join(wrong)}." if wrong else ""


def _widths(values, sigma):
    """Widths that are called out, or the worst of bonds and angles where none is."""
    found, off = {}, []
    for quantity, limit in WIDTHS_OFF.items():
        ratios = _of(values, f"{quantity}, ratio of widths", "")
        rows = [(kind, row["value"], row["error"]) for (_, kind, _), row in ratios.iterrows()]
        rows.sort(key=lambda row: -abs(np.log(max(row[1], 1e-12))))
        named = [f"{quantity} {kind} {ratio:.2f}{_plus_minus(error)}" for kind, ratio, error in rows]
        found[quantity] = named[:1]
        far = [text for text, row in zip(named, rows) if abs(row[1] - 1) > limit]
        off += far[:NAMED] + ([f"{len(far) - NAMED} more {quantity}s"] if len(far) > NAMED else [])
    limits = " or ".join(f"{100 * limit:.0f} % ({quantity}s)" for quantity, limit in WIDTHS_OFF.items())
    if off:
        listed = ", ".join(off)
        return f"Widths in MD over those of the data are off by more than {limits}: {listed}.{_by_noise(values, sigma)}"
    worst = [text for quantity in WIDTHS_OFF for text in found[quantity]]
    return f"Widths in MD over those of the data, none off by more than {limits}; worst: {', '.join(worst)}."


def _by_noise(values, sigma):
    """How much of that the noise of the model does by itself."""
    noisy = _of(values, "bond, width", "noised")
    if not len(noisy):
        return ""
    clean = _of(values, "bond, width", "clean")["value"].to_numpy()
    ratio = np.max(noisy["value"].to_numpy() / np.maximum(clean, 1e-12))
    return f" Noise of {sigma:g} nm by itself widens bonds up to {ratio:.2f} times."


def _divergences(values):
    """The largest divergence of each quantity, beside that of two halves of the data."""
    worst = []
    for quantity in ("bond", "angle", "dihedral", "improper", "map", "radius of gyration"):
        rows = _of(values, f"{quantity}, divergence", "")
        if len(rows):
            (_, kind, _), value = rows["value"].idxmax(), rows["value"].max()
            halves = values.loc[(f"{quantity}, divergence of halves of the data", kind, ""), "value"]
            of = "" if quantity == "radius of gyration" else f" {kind}"
            worst.append(f"{quantity}{of} {value:.3f} ({halves:.3f})")
    return (
        "Worst Jensen-Shannon divergences from the data, in bit (0: equal, 1: nothing in common; in brackets two "
        f"halves of the data): {', '.join(worst)}."
    )


def _of(values, quantity, curve):
    """The rows of a quantity and a curve."""
    return values[[(row[0], row[2]) == (quantity, curve) for row in values.index]]


def _plus_minus(error):
    return f" +- {error:.2f}" if np.isfinite(error) else ""
