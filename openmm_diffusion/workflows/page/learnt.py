"""The model on a page: what it was fitted to, what was fitted and how well it is known, and its curves."""

import io

import numpy as np
import pandas

from ...evaluation.tables import rounded
from ...figures.terms import distances_figure, terms_figure
from ...figures.training import bonded_figure, loss_figure
from ...model.combination import merged
from ...model.curves import bonded_curves, two_particles
from ...progress import significant
from ..training import ACCOUNT, curves_of
from .blocks import Heading, Lines, Picture, Section, Table, missing
from .runs import TRAINING
from .tables import numeric, read_mapping, read_table

#: Columns of distances.csv and of curves.csv.
DISTANCES, CURVES = ("pair", "r_nm", "pairs"), ("pair", "r_nm", "u_kJ/mol", "force_kJ/mol/nm")
#: How far the table of the deepest places goes, and what curves are drawn for where there are more.
ROWS = 60
#: Points of a curve that no knots give, nm.
STEP = 0.0025


def model_sections(runs):
    """Sections about data, fit and curves of all models of `Runs`."""
    parts = {"data": [], "fit": [], "curves": []}
    for number, model in enumerate(runs.models):
        head = [Heading(name_of(model))] if len(runs.models) > 1 else []
        maker = runs.maker_of(model)
        parts["data"] += head + _data(model, maker, number)
        parts["fit"] += head + _fit(model, maker, number)
        parts["curves"] += head + _curves(model, maker, number)
    begun = [run for run in runs.of(TRAINING) if run.model_file is None]
    told = [missing(f"The training in {run.path} has fitted nothing yet.") for run in begun]
    if not runs.models and not begun:
        told = [missing("No model is known: name the directory of a training or of a simulation too.")]
    return [
        Section("data", "Data", parts["data"] + told),
        Section("fit", "What was fitted, and how well it is known", parts["fit"] + told),
        Section("curves", "Curves of every term", parts["curves"] + told),
    ]


def name_of(model):
    """What sentences call a model."""
    return f"{model.file}, shipped with the package" if model.shipped else str(model.path)


def counted(types):
    """Types with their numbers, in the order of their first appearance."""
    return ", ".join(f"{number} {kind}" for kind, number in pandas.Series(list(types)).value_counts(sort=False).items())


def kinds_of(denoiser):
    """Nouns of all terms, each once, the learnt ones behind."""
    return list(dict.fromkeys(term.noun for term in sorted(denoiser.header.terms, key=lambda term: term.learnt)))


def _data(model, maker, number):
    header = model.denoiser.header
    data = header.data
    rows = [["frames", _frames(data)], ["temperature", f"{header.temperature:g} K"]]
    rows.append(["particles", f"{len(header.particles)}: {counted(header.particles)}"])
    rows.append(["bonds", "none" if not header.bonds else f"{len(header.bonds)}"])
    rows.append(["box", _box(header.box)])
    if header.number_density:
        rows.append(["number density", f"{header.number_density:.4g} nm\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT THREE}"])
    rows.append(["force labels", _labels(data)])
    if "test_fraction" in data:
        rows.append(["kept apart", _split(data)])
    asked = None if maker is None else maker.asked.get("data")
    file = asked.get("frames") if isinstance(asked, dict) else None
    rows += [["file", ", ".join(map(str, file)) if isinstance(file, list) else str(file)]] if file else []
    if "digest" in data:
        rows.append(["checksum of the frames", str(data["digest"])])
    blocks = [Table("What the model was fitted to.", ["", ""], rows, numbers=False)]
    systems = data.get("systems")
    systems = [one for one in systems if isinstance(one, dict)] if isinstance(systems, list) else []
    if systems:
        columns = [
            "system",
            "frames",
            "weight",
            "temperature / K",
            "density / nm\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT THREE}",
        ]
        lines = [
            [", ".join(f"{n} {kind}" for kind, n in dict(one.get("composition") or {}).items()), one.get("n_frames"),
             *(_text(numeric(one, key), 4) for key in ("weight", "temperature", "number_density"))]
            for one in systems
        ]  # fmt: skip
        blocks.append(Table("The systems that were fitted together.", columns, lines))
    shortest = _shortest(header)
    if shortest:
        told = "Shortest distances of pairs in the training frames: below them the model has seen nothing."
        blocks.append(Table(told, ["pair", "shortest / nm"], shortest))
    distances = None if maker is None else read_table(maker.path / "distances.csv", DISTANCES, DISTANCES[1:])
    if distances is not None and len(distances):
        told = "How often the training frames hold each distance: where there are few, the curves below are not known."
        names = ", ".join(dict.fromkeys(distances["pair"]))
        alt = f"Histograms of the distances of the pairs {names}, in pairs per frame over the distance in nm."
        blocks.append(Picture(f"distances-{number}", told, alt, lambda path: distances_figure(distances, path)))
    elif maker is None:
        blocks.append(
            missing("The training of this model was not found: how its distances are distributed is not known here.")
        )
    return blocks


def _frames(data):
    words = {"training": "to train on", "validation": "to validate", "test": "kept apart"}
    parts = [
        f"{numeric(data, f'{part}_frames', 0):,} {word}" for part, word in words.items() if f"{part}_frames" in data
    ]
    return f"{numeric(data, 'n_frames', 0):,}" + (f" given; {', '.join(parts)}" if parts else " given")


def _box(box):
    if box is None:
        return "none"
    box = np.asarray(box)
    volume = abs(np.linalg.det(box))
    if np.allclose(box, np.diag(np.diagonal(box))):
        return f"{' x '.join(f'{edge:.4g}' for edge in np.diagonal(box))} nm ({volume:.4g} nm\N{SUPERSCRIPT THREE})"
    return f"triclinic, {volume:.4g} nm\N{SUPERSCRIPT THREE}"


def _labels(data):
    if "labelled_training_frames" not in data:
        return "not told by the model"
    labelled, used = (numeric(data, key, 0) for key in ("labelled_training_frames", "training_frames"))
    if not labelled:
        return "none: the model was learnt from configurations alone"
    how = "which this training did not use" if data.get("target", "denoise") == "denoise" else "which it was fitted to"
    return f"{labelled:,} of {used:,} training frames have them, {how}"


def _split(data):
    part = numeric(data, "test_fraction", 0)
    if not part:
        return "nothing: all frames were used"
    return f"{100 * part:g} % of the frames, whole runs where there are several (seed {data.get('seed')})"


def _shortest(header):
    names, rows = header.species, []
    for a, b in zip(*np.triu_indices(len(names))):
        if header.shortest_distances[a][b] is not None:
            rows.append([f"{names[a]}-{names[b]}", f"{header.shortest_distances[a][b]:.4f}"])
    return rows[:ROWS]


def _fit(model, maker, number):
    denoiser, header = model.denoiser, model.denoiser.header
    noise = (
        f"forces are those of frames with noise of {denoiser.sigma:g} nm"
        if denoiser.sigma
        else "forces are those of the frames as they are, without noise"
    )
    blocks = [Lines([f"A sum of {len(header.terms)} terms; its {noise}, at {header.temperature:g} K."])]
    account = None if maker is None else read_mapping(maker.path / ACCOUNT, "resume the training: it is written again")
    blocks.append(_terms(denoiser, account))
    sentences = sentences_of(account)
    if sentences:
        blocks.append(Lines(sentences, "list"))
    elif maker is None:
        blocks.append(
            missing("What each part gains on frames kept apart is in the account of a training, which was not found.")
        )
    elif maker.kind == TRAINING:
        blocks.append(missing("The training has not ended: what each part gains on frames kept apart is told then."))
    blocks += _known(header)
    log = None if maker is None else maker.path / "log" / "metrics.csv"
    losses = ("step", "training_loss", "held_out_loss")
    table = None if log is None else read_table(log, losses, losses)
    if table is not None and len(table.dropna(subset=["held_out_loss"])):
        best = table["held_out_loss"].min()
        told = (
            f"Loss of the network, below zero where it improves on the model without it. The best held-out loss is "
            f"{best:.2g} (kT / 0.1 nm)\N{SUPERSCRIPT TWO}."
        )
        alt = "Training loss and held-out loss of the network against the step."
        blocks.append(Picture(f"loss-{number}", told, alt, lambda path: loss_figure(io.StringIO(table.to_csv()), path)))
    return blocks


def sentences_of(account):
    """What the account of a training says, a list; None of one that there is not."""
    found = None if account is None else account.get("sentences")
    return [str(line) for line in found] if isinstance(found, list) else []


def _terms(denoiser, account):
    """One row for each kind of term: what it is, and what the fit tells."""
    header, told = denoiser.header, denoiser.header.held_out
    parts = {} if account is None else account.get("parts")
    sizes, settings, nouns, learnt = {}, {}, {}, {}
    for term, module in zip(header.terms, denoiser.modules()):
        numbers = [*module.parameters(), getattr(module, "coefficients", None)]
        size = sum(one.numel() for one in {id(one): one for one in numbers if one is not None}.values())
        sizes[term.kind] = sizes.get(term.kind, 0) + size
        settings.setdefault(term.kind, _settings(term))
        nouns[term.kind], learnt[term.kind] = term.noun, term.learnt
    rows = []
    for kind, noun in nouns.items():
        own = parts.get(kind) if isinstance(parts, dict) else None
        known = {
            key: numeric(own, key, numeric(told, f"{kind}_{key}"))
            for key in ("degrees_of_freedom", "scale", "scale_error", "force_sd")
        }
        value, share = numeric(own, "gain"), numeric(own, "share")
        gain = "-" if value is None else rounded(value, numeric(own, "error", np.nan))
        gain += "" if share is None else f" ({100 * share:.1f} %)"
        rows.append([
            f"{noun}{'' if learnt[kind] else ' (given, not learnt)'}", f"{sizes[kind]:,}" if learnt[kind] else "-",
            _text(known["degrees_of_freedom"]),
            "-" if known["scale"] is None else rounded(known["scale"], known["scale_error"] or np.nan),
            gain if learnt[kind] else "-", _text(known["force_sd"]), settings[kind],
        ])  # fmt: skip
    squared = "(kJ/mol/nm)\N{SUPERSCRIPT TWO}"
    return Table(
        "The terms. Effective coefficients: those that the data decide and not the penalty. Scale: the factor by which "
        "the shrinkage of the fit was undone. Gain: how much of the forces on frames kept apart each explains after "
        f"those before it, {squared} per component. Uncertainty: what as many other frames would change in a typical "
        "force. Settings are in nm, kJ/mol and e.",
        ["term", "coefficients", "effective", "scale", f"gain / {squared}", "uncertainty / (kJ/mol/nm)", "settings"],
        rows,
    )


def _text(value, digits=3):
    return "-" if value is None else significant(float(value), digits)


def _settings(term):
    """The numbers that a term was built with, in one line."""
    left_out = {"kind", "weight", "member", "level", "sigma", "types", "kinds"}
    found = {key: value for key, value in term.model_dump(exclude_none=True).items() if key not in left_out}
    found |= found.pop("network", {})
    plain = {key: value for key, value in found.items() if isinstance(value, (int, float, str)) or key == "charges"}
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in plain.items()) or "-"


def _value(value):
    if isinstance(value, dict):
        return " ".join(f"{key} {number:+g}" for key, number in list(value.items())[:20])
    return f"{value:g}" if isinstance(value, float) else str(value)


def _known(header):
    """What the header tells besides: an ensemble's spread, the pressure."""
    told, said = header.held_out, []
    if numeric(told, "spread_rms") is not None:
        number = len({term.member for term in header.terms if term.member is not None})
        said.append(
            f"It is the mean of {number} models, whose forces on training frames differ by {told['spread_rms']:.1f} "
            f"kJ/mol/nm (root mean square; at most {numeric(told, 'spread_largest', np.nan):.0f})."
        )
    if numeric(told, "pressure") is not None:
        what = "osmotic pressure" if told.get("pressure_is_osmotic") else "pressure"
        value = rounded(told["pressure"], numeric(told, "pressure_error", np.nan))
        said.append(f"At the volume of its data the model has a{'n' * (what[0] == 'o')} {what} of {value} bar.")
    return [Lines(said, "list")] if said else []


def _curves(model, maker, number):
    denoiser = model.denoiser
    blocks, drawn = [], {term.noun for term in denoiser.header.terms if _drawn(term)}
    distances = None if maker is None else read_table(maker.path / "distances.csv", DISTANCES, DISTANCES[1:])
    if maker is not None:
        read_table(maker.path / "curves.csv", CURVES, CURVES[1:])  # which is what the curves are made of
    seen = {} if distances is None else distances[distances["pairs"] > 0].groupby("pair")["r_nm"].max().to_dict()
    curves = pair_terms(denoiser, None if maker is None else maker.path, seen)
    if len(curves):
        bands = (
            " Bands are two standard deviations: other frames would give other curves." if "sd_kJ/mol" in curves else ""
        )
        told = (
            "Energies of pairs u(r), each term and their sum, from the shortest distance in the data on, where terms "
            f"that are zero are not drawn; grey: how often the data hold each distance.{bands}"
        )
        if "sd_kJ/mol" not in curves:
            blocks.append(missing("How uncertain these curves are was not kept: curves.csv of a training tells it."))
        alt = f"Curves of the energy of two particles for {', '.join(dict.fromkeys(curves['pair']))}."
        blocks.append(Picture(f"pairs-{number}", told, alt, lambda path: terms_figure(curves, path, distances)))
        blocks.append(_wells(curves))
    bonded = bonded_curves(denoiser)
    if len(bonded):
        told = "Energies of bonds, angles and dihedrals, each with its least value at zero; cut off at 40 kJ/mol."
        kinds = ", ".join(dict.fromkeys(bonded["energy"]))
        alt = f"Curves of the energies {kinds} over distance in nm or angle in degrees."
        blocks.append(Picture(f"bonded-{number}", told, alt, lambda path: bonded_figure(bonded, path)))
    left = [noun for noun in kinds_of(denoiser) if noun not in drawn]
    if left:
        blocks.append(
            missing(f"No curve can show the {_and(left)}: each depends on several distances or angles at once.")
        )
    if not blocks:
        blocks.append(missing("The model has no term that could be drawn as a curve."))
    return blocks


def _drawn(term):
    return term.joins or term.charged or (term.bonded and term.axis is not None)


def _and(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and the {names[-1]}"


def pair_terms(denoiser, folder=None, seen=None):
    """Energies of two particles alone: of the learnt sums over pairs, of each such prior, and of all of them.

    Parameters
    ----------
    denoiser : Denoiser
    folder : Path or None
        Of its training, whose curves.csv tells the standard deviation.
    seen : dict of str to float, optional
        Longest distance (nm) of each pair that data hold, where its curves end; none: at the cutoff.

    Returns
    -------
    DataFrame
        Columns pair, term, r_nm, u_kJ/mol and, where it is known, sd_kJ/mol; from the shortest distance in the
        training frames on, and of pairs that these hold alone.
    """
    header = denoiser.header
    terms = [term for term in header.terms if term.joins or term.charged]
    if not terms:
        return pandas.DataFrame(columns=["pair", "term", "r_nm", "u_kJ/mol"])
    sure = curves_of(denoiser, folder) if any(term.learnt for term in terms) else None
    parts = {
        term.noun: denoiser.part(lambda one, kind=term.kind: one.kind == kind) for term in terms if not term.learnt
    }
    if sure is not None:
        parts["learnt"] = merged(denoiser).part(lambda term: term.learnt and term.joins)
    reach = max([getattr(term, "cutoff", None) or 0.0 for term in terms]) or 1.0
    tables = []
    for a, b in zip(*np.triu_indices(len(header.species))):
        shortest = header.shortest_distances[a][b]
        if shortest is None:
            continue
        pair = f"{header.species[a]}-{header.species[b]}"
        r = np.arange(shortest, min((seen or {}).get(pair, reach), reach) + STEP / 2, STEP)
        curves = {name: {"u_kJ/mol": two_particles(part, int(a), int(b), r)[0]} for name, part in parts.items()}
        if sure is not None and "sd_kJ/mol" in sure:
            own = sure[sure["pair"] == pair]
            curves["learnt"]["sd_kJ/mol"] = np.interp(r, own["r_nm"], own["sd_kJ/mol"], right=0.0)
        curves = {name: curve for name, curve in curves.items() if np.any(curve["u_kJ/mol"])}
        if len(curves) > 1:
            curves["sum"] = {"u_kJ/mol": sum(curve["u_kJ/mol"] for curve in curves.values())}
        tables += [pandas.DataFrame({"pair": pair, "term": name, "r_nm": r, **curve}) for name, curve in curves.items()]
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=["pair", "term"])


def _wells(curves):
    """Where the energy of each pair has its deepest well, in the range of the data."""
    rows = []
    for pair, own in curves.groupby("pair", sort=False):
        term = "sum" if (own["term"] == "sum").any() else own["term"].iloc[0]
        r, u = (own[own["term"] == term][name].to_numpy() for name in ("r_nm", "u_kJ/mol"))
        wells = 1 + np.flatnonzero((u[1:-1] < u[:-2]) & (u[1:-1] <= u[2:]))
        if not len(wells):
            rows.append([pair, "-", "none within the data"])
            continue
        at = wells[np.argmin(u[wells])]
        learnt = own[own["term"] == "learnt"]
        sd = learnt["sd_kJ/mol"].iloc[at] if "sd_kJ/mol" in learnt and len(learnt) else np.nan
        rows.append([pair, f"{r[at]:.3f}", rounded(u[at], sd)])
    more = f" The first {ROWS} of {len(rows)} pairs." if len(rows) > ROWS else ""
    told = "The deepest well of each pair, all terms of pairs together, from the shortest distance in the data on"
    return Table(
        f"{told}; with the standard deviation of the learnt part.{more}",
        ["pair", "r / nm", "u / (kJ/mol)"],
        rows[:ROWS],
    )
