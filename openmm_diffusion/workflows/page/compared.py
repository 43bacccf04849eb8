"""A model beside frames, on a page: g(r) with errors, the two errors apart, molecules, forces against labels."""

import numpy as np
import pandas

from ...evaluation.tables import COLUMNS, rounded
from ...evaluation.verdict import AGREES, DIFFERS, OPEN
from ...figures.evaluation import force_errors_figure, two_errors_figure
from ...figures.structure import pairs_of, rdf_figure
from .blocks import Heading, Lines, Picture, Section, Table, missing
from .runs import EVALUATION, SIMULATION
from .tables import read_table

#: Rows of evaluation.csv by the section that they stand in; those of no section here stand with the structure.
RMSD = "g(r) RMSD, "
FORCES = ("force RMSE", "force rms, labels", "explained fraction", "share of particles", "label noise, at most")
SCALES = ("calibration slope", "scale of the ", "explained variance")
#: What the verdict says of forces and of what comes next.
OF_FORCES = ("forces", "scale of forces")
MEANING = (
    "Learning: MD from the frames with the noise of the training, what training has left. Smoothing: the noised frames "
    "from the clean ones, what the noise does, whatever was learnt. Total: MD from the clean frames. Reference: one "
    "half of the reference frames from the other, below which nothing can be told. Root mean square differences of "
    "g(r), without unit, with standard errors."
)
#: End of the quantity of a divergence in molecules.csv, and how many of them are told.
DIVERGENCE, WORST = ", divergence", 10
#: First bytes of a PNG, and how large one may be that is taken over.
PNG, LARGEST = b"\x89PNG\r\n\x1a\n", 20_000_000
TONES = {AGREES: "agrees", DIFFERS: "differs", OPEN: "open"}


def evaluation_table(run):
    """evaluation.csv of an evaluation, as `Evaluation.table`."""
    table = read_table(run.path / "evaluation.csv", COLUMNS, ("value", "error"))
    if table is None:
        raise ValueError(f"{run.path / 'evaluation.csv'} is missing or empty: evaluate again")
    return table.fillna({"of": "", "curve": "", "unit": "", "quantity": ""})


def verdict_table(run):
    """verdict.csv of an evaluation; None of those before there was one."""
    table = read_table(run.path / "verdict.csv", ("about", "finding", "sentence"))
    return None if table is None else table.fillna("").astype(str)


def compared_sections(runs, alone):
    """Sections about structure and forces.

    Parameters
    ----------
    runs : Runs
    alone : list of blocks
        What there is of the structure of MD that nobody has compared.

    Returns
    -------
    list of Section
    """
    structure, forces = [], []
    evaluations = runs.of(EVALUATION)
    for number, run in enumerate(evaluations):
        table, head = evaluation_table(run), [Heading(str(run.path))] if len(evaluations) > 1 else []
        model = runs.model_of(run)
        structure += head + _structure(run, table, number, None if model is None else model.denoiser.sigma)
        forces += head + _said(run, lambda about: about in OF_FORCES) + _forces(table, number)
    if not evaluations:
        tell = missing(
            "No evaluation was given, which compares the model with frames: openmm-diffusion evaluate "
            f"{runs.of(SIMULATION)[0].path if runs.of(SIMULATION) else 'MODEL'} FRAMES --output DIRECTORY."
        )
        structure.append(tell)
        forces.append(tell)
    return [
        Section("structure", "Structure: g(r) and its two errors", structure + alone),
        Section("forces", "Forces", forces),
    ]


def _structure(run, table, number, sigma):
    blocks = _said(run, lambda about: about not in OF_FORCES)
    curves = rdf_table(run)
    if curves is not None:
        pairs = pairs_of(curves)
        told = (
            "g(r) of MD under the model, of the reference frames, of these with the noise of the training, and of the "
            "frames that the training used."
        )
        alt = f"Radial distribution functions g(r) of {', '.join(pairs)} over r in nm, model and reference with bands."
        blocks.append(Picture(f"rdf-{number}", told, alt, lambda path: rdf_figure(curves, path, sigma)))
        apart = _errors(table)
        alt = "Bars of the learning, smoothing, total and reference error of g(r) for each pair."
        blocks.append(
            Picture(f"errors-{number}", "The two errors apart.", alt, lambda path: two_errors_figure(apart, path))
        )
        blocks.append(_errors_table(apart))
    pictures = sorted(run.path.glob("molecules.png")) + sorted(run.path.glob("map-*.png"))
    if curves is None and not pictures:
        blocks.append(
            missing(
                "The evaluation was made without MD, and so without structure: openmm-diffusion evaluate RUN FRAMES "
                "--output DIRECTORY."
            )
        )
    for place, path in enumerate(pictures):
        what = (
            "Internal coordinates of molecules, MD (dashed) beside the frames (solid)."
            if path.name == "molecules.png"
            else "Free energy by two dihedrals in a row, of the frames, of MD, and their difference."
        )
        blocks.append(
            Picture(f"molecules-{number}-{place}", what, what, lambda target, path=path: _taken(path, target))
        )
    blocks += _divergences(run)
    rest = table[~table["quantity"].str.startswith((RMSD, *FORCES, *SCALES))]
    if len(rest):
        blocks.append(long_table(rest, "All other numbers of the structure, with standard errors."))
    return blocks


def _said(run, wanted):
    """Sentences of the verdict about what is `wanted`."""
    said = verdict_table(run)
    rows = [] if said is None else [row for row in said.itertuples() if wanted(row.about)]
    return [Lines([row.sentence], TONES.get(row.finding, "plain")) for row in rows]


def rdf_table(run):
    """rdf.csv of an evaluation; None where it has none."""
    curves = read_table(run.path / "rdf.csv", ("r_nm",))
    if curves is None or not pairs_of(curves):
        return None
    names = [name for name in curves if name != "r_nm"]
    needed = [
        f"{pair}_{curve}{end}"
        for pair in pairs_of(curves)
        for curve in ("clean", "noised", "model")
        for end in ("", "_error")
    ]
    return read_table(run.path / "rdf.csv", ("r_nm", *needed), ("r_nm", *names))


def _errors(table):
    """RMSDs of g(r): columns pair, error, value and se."""
    rows = table[table["quantity"].str.startswith(RMSD)]
    return pandas.DataFrame(
        {
            "pair": rows["of"],
            "error": rows["quantity"].str.removeprefix(RMSD),
            "value": rows["value"],
            "se": rows["error"],
        }
    )


def _errors_table(apart):
    kinds = list(dict.fromkeys(apart["error"]))
    values = {(row.pair, row.error): rounded(row.value, row.se) for row in apart.itertuples()}
    rows = [[pair, *(values.get((pair, kind), "-") for kind in kinds)] for pair in dict.fromkeys(apart["pair"])]
    return Table(MEANING, ["pair", *kinds], rows)


def _divergences(run):
    """Internal coordinates that are farthest from the frames, beside what two halves of these differ by."""
    table = read_table(run.path / "molecules.csv", COLUMNS, ("value", "error"))
    if table is None:
        return []
    values = table.fillna({"of": ""}).set_index(["quantity", "of"])["value"]
    own = {key: value for key, value in values.items() if key[0].endswith(DIVERGENCE) and np.isfinite(value)}
    rows = [
        [f"{quantity.removesuffix(DIVERGENCE)}, {kind}", f"{value:.3f}", f"{floor:.3f}" if floor is not None else "-"]
        for (quantity, kind), value in sorted(own.items(), key=lambda one: -one[1])[:WORST]
        for floor in [values.get((f"{quantity} of halves of the data", kind))]
    ]
    told = (
        "Internal coordinates and maps that differ most: Jensen-Shannon divergence of MD from the frames, "
        f"{len(rows)} of {len(own)}."
    )
    return [Table(told, ["coordinate", "MD / bit", "halves of the frames / bit"], rows)] if rows else []


def _taken(path, target):
    """A picture of the run itself, if it is one."""
    content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    if not content.startswith(PNG):
        raise ValueError(f"{path} is no picture of evaluate (PNG): evaluate again, or remove it")
    target.write_bytes(content)


def long_table(table, caption):
    """Rows of an `Evaluation.table` with its curves side by side."""
    curves = [curve for curve in ("", "clean", "noised", "model") if curve in set(table["curve"])]
    cells = {}
    for row in table.itertuples():
        key = (row.quantity, row.of, "" if row.unit == "1" else row.unit)
        cells.setdefault(key, {})[row.curve] = rounded(row.value, row.error) if np.isfinite(row.value) else "-"
    names = {"": "value", "clean": "reference", "noised": "reference, noised", "model": "MD"}
    rows = [
        [", ".join(part for part in key[:2] if part), key[2], *(of.get(curve, "") for curve in curves)]
        for key, of in cells.items()
    ]
    return Table(caption, ["quantity", "unit", *(names[curve] for curve in curves)], rows)


def _forces(table, number):
    own = table[table["quantity"].isin(FORCES)]
    blocks = []
    if len(own):
        told = (
            "Force errors against labels, by group, beside the labels themselves and what of the error may be noise of "
            "the labels. In contact: with a partner of another type within the first minimum of g(r)."
        )
        alt = "Bars of the root mean square force error and of the labels by group, in kJ/mol/nm per component."
        blocks.append(Picture(f"forces-{number}", told, alt, lambda path: force_errors_figure(own, path)))
        blocks.append(_force_table(own))
    else:
        blocks.append(
            missing("The frames have no force labels: forces were held against fresh noise on them alone, below.")
        )
    scales = table[table["quantity"].str.startswith(SCALES)]
    if len(scales):
        blocks.append(
            long_table(scales, "Scale of the forces, which needs no labels: the slope is 1 where it is right.")
        )
    return blocks


def _force_table(own):
    groups, quantities = list(dict.fromkeys(own["of"])), [name for name in FORCES if name in set(own["quantity"])]
    cells = {
        (row.quantity, row.of): rounded(row.value, row.error) for row in own.itertuples() if np.isfinite(row.value)
    }
    units = own.drop_duplicates("quantity").set_index("quantity")["unit"]
    heads = [name if units[name] == "1" else f"{name} / ({units[name]})" for name in quantities]
    rows = [[group, *(cells.get((name, group), "-") for name in quantities)] for group in groups]
    return Table("Per Cartesian component, with standard errors.", ["particles", *heads], rows)
