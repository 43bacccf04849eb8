"""The one table of an evaluation: its columns, its text for people, its files."""

import numpy as np
import pandas

from ..analysis.comparison import ERRORS
from ..rundirectory import made, write_table

COLUMNS = ["quantity", "of", "curve", "unit", "value", "error"]
#: Name of the row with the factor that training chose for a linear part, by kind of its term.
SCALE = "scale of the {} part, chosen in training"


def readable(table):
    """The long table for people: curves side by side, errors behind their values.

    Parameters
    ----------
    table : DataFrame
        As `Evaluation.table`.

    Returns
    -------
    str
    """
    cells, curves = {}, [curve for curve in ("", "clean", "noised", "model") if curve in set(table["curve"])]
    for row in table.itertuples():
        key = (row.quantity, row.of, "" if row.unit == "1" else row.unit)
        cells.setdefault(key, {})[row.curve] = rounded(row.value, row.error)
    lines = [[*key, *(values.get(curve, "") for curve in curves)] for key, values in cells.items()]
    previous = None
    for line in lines:
        previous, line[0] = line[0], "" if line[0] == previous else line[0]
    lines.insert(0, ["quantity", "of", "unit", *(curve or "value" for curve in curves)])
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines)


def rounded(value, error=np.nan):
    """A value with its error, to the second digit of the error."""
    if not np.isfinite(error) or error <= 0:
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def write(evaluation, directory):
    """Write evaluation.csv, and of it errors.csv, rdf.csv, peaks.csv (first peaks) and summary.csv; verdict.csv.

    Of molecules molecules.csv, and distributions.csv with the curves of their picture.
    """
    directory = made(directory)
    write_table(directory / "evaluation.csv", evaluation.table.round(5))
    if len(evaluation.verdict):
        write_table(directory / "verdict.csv", evaluation.verdict)
    if len(evaluation.errors):
        write_table(directory / "errors.csv", evaluation.errors[ERRORS].round(4))
        write_table(directory / "rdf.csv", evaluation.rdf.round(5))
        first = evaluation.peaks[evaluation.peaks["number"] == 1].drop(columns="number")
        write_table(directory / "peaks.csv", first.round(4))
    if evaluation.molecules is not None:
        write_table(directory / "molecules.csv", evaluation.molecules.table.round(6))
        write_table(directory / "distributions.csv", evaluation.molecules.curves.round(6))
    rows = []
    if evaluation.calibration:
        rows.append(("calibration slope", "1", *evaluation.calibration))
    rows += [(SCALE.format(kind), "1", scale, np.nan) for kind, scale in evaluation.scales.items()]
    for name, value in (evaluation.forces or {}).items():
        rows.append(
            (f"force rms error, {name}" if name != "labels" else "force rms, labels", "kJ/mol/nm", value, np.nan)
        )
    columns = ["quantity", "unit", "value", "error"]
    write_table(directory / "summary.csv", pandas.DataFrame(rows, columns=columns).round(4))
