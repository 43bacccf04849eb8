"""What a reader has to know before any number: in one line whether the model is right, and what speaks against it."""

import numpy as np

from ...evaluation.verdict import AGREES, DIFFERS, FEW_RUNS, OPEN
from ..training import ACCOUNT
from .blocks import Lines, Section, Table
from .compared import rdf_table, verdict_table
from .health import closer
from .learnt import counted, kinds_of, name_of, sentences_of
from .runs import DISTILLATION, EVALUATION, REFINEMENT, SIMULATION, TRAINING
from .tables import numeric, read_mapping

#: Difference of temperatures (K) and part of a density from which on another ensemble is meant.
KELVIN, DENSITY = 0.5, 0.2
#: Part of the forces that a term explains from which on their standard deviation is told as large.
UNSURE = 0.2


def summary_section(runs, healths):
    """What the page is about, and in one line whether it is right."""
    models = [
        [name_of(model), " + ".join(kinds_of(model.denoiser)), counted(model.denoiser.header.particles),
         f"{model.denoiser.header.temperature:g}", f"{model.denoiser.sigma:g}", model.digest]
        for model in runs.models
    ]  # fmt: skip
    columns = ["model", "terms", "particles", "temperature / K", "noise / nm", "checksum"]
    blocks = []
    if models:
        blocks.append(Table("The models of this page.", columns, models, numbers=False))
    rows = [[run.kind, str(run.path), state(run, healths)] for run in runs.runs]
    blocks.append(Table("The runs of this page.", ["kind", "directory", "state"], rows, numbers=False))
    return Section("summary", "What this is", blocks)


def _findings(runs):
    found = []
    for run in runs.of(EVALUATION):
        said = verdict_table(run)
        found += [] if said is None else [(row.about, row.finding) for row in said.itertuples() if row.finding]
    return found


def tone(runs):
    """As of `blocks.Lines`: the gravest of all findings."""
    findings = {finding for _, finding in _findings(runs)}
    return "differs" if DIFFERS in findings else "open" if OPEN in findings or AGREES not in findings else "agrees"


def verdict_line(runs):
    """One sentence: what agrees with the frames, what does not, what cannot be told."""
    if not runs.of(EVALUATION):
        return "Whether the model is right is not known: no evaluation against frames is on this page."
    findings = _findings(runs)
    if not findings:
        return "Whether the model is right is not known: the evaluation has come to no verdict."
    parts = []
    words = {
        DIFFERS: "it differs from the frames in",
        AGREES: "it agrees with the frames in",
        OPEN: "what cannot be told:",
    }
    for word, told in words.items():
        about = _named(list(dict.fromkeys(name for name, finding in findings if finding == word)), findings)
        parts += [f"{told} {' and '.join(about)}"] if about else []
    return f"The model in one line: {'; '.join(parts)}."


def _named(about, findings):
    """Subjects of one finding, for a sentence: no pair beside all g(r), and runs only where there is nothing else."""
    elsewhere = any(name.startswith("g(r) ") and name not in about for name, _ in findings)
    named = []
    for name in about:
        pair = name.removeprefix("g(r) ") if name.startswith("g(r) ") else ""
        if (pair and "g(r)" in about) or (name == "runs" and len(about) > 1):
            continue
        named.append(f"g(r) of {pair}" if pair else "all other g(r)" if name == "g(r)" and elsewhere else name)
    return named


def state(run, healths):
    """Whether a run has ended, is at work or was interrupted."""
    held = f" (in use by {run.held}, or that was killed)" if run.held else ""
    if run.kind == SIMULATION:
        found = healths[run.path]
        if (run.path / "last_good.pdb").exists() and not found.finished:
            return f"stopped by its guard at {found.reached:g} of {found.asked_for:g} ps"
        return "finished" if found.finished else f"unfinished: {found.reached:g} of {found.asked_for:g} ps{held}"
    if run.kind in (TRAINING, REFINEMENT):
        whole = run.model_file == run.makes[0] and (run.kind == REFINEMENT or (run.path / ACCOUNT).exists())
        return "finished" if whole else f"unfinished{held}"
    return "finished"


def warnings_section(runs, healths):
    """All that speaks against the numbers, in plain words."""
    said = [*runs.lost]
    if runs.models and not runs.of(EVALUATION):
        said.append("Nothing was compared with frames: whether the model is right is not known.")
    for run in runs.runs:
        told = state(run, healths)
        if told != "finished":
            remedy = (
                ""
                if told.startswith("stopped")
                else " Its numbers are of what there is so far; --resume goes on with it."
            )
            said.append(f"The {run.kind} in {run.path} is {told}.{remedy}")
    if len(runs.models) > 1:
        said.append(f"This page is about {len(runs.models)} models: numbers of one say nothing of another.")
    for model in runs.models:
        said += _of_model(model, runs.maker_of(model))
    for run in runs.of(SIMULATION):
        said += _of_simulation(run, runs.model_of(run), healths[run.path])
    for run in runs.of(EVALUATION):
        said += _of_evaluation(run, runs.model_of(run))
    said = list(dict.fromkeys(said))
    none = Lines(["None: nothing that is known speaks against the numbers below."])
    return Section("warnings", "Warnings", [Lines(said, "list") if said else none])


def _of_model(model, maker):
    header = model.denoiser.header
    data, said = header.data, []
    if "test_fraction" in data and not data["test_fraction"]:
        said.append("The training kept no frames apart: on the frames that it used, errors look smaller than they are.")
    if not model.denoiser.conservative:
        said.append(
            "The forces are no gradient of an energy: no minimiser, no barostat and no reported energy may be trusted."
        )
    if header.noised != {"species": None, "axes": "xyz"}:
        said.append("Only some coordinates carried noise in the training: the others have no learnt force.")
    if maker is None and not model.shipped:
        said.append(f"The training of {model.path} was not found beside it: its account is missing here.")
    if maker is not None and maker.kind in (REFINEMENT, DISTILLATION):
        said.append(
            f"The model was made by a {maker.kind} of another: what was held out of the fit says nothing of it."
        )
    account = None if maker is None else read_mapping(maker.path / ACCOUNT)
    for line in sentences_of(account):
        if "left out" in str(line) or "No frames" in str(line):
            said.append(str(line))
        for part in str(line).rstrip(".").split("; "):
            if "adds nothing" in part or (part.startswith("the ") and part.endswith(" away")):
                said.append(f"On frames kept apart {part}, in (kJ/mol/nm)^2 per component.")
    parts = {} if account is None else account.get("parts")
    said += _uncertain(header, parts if isinstance(parts, dict) else {})
    return said


def _uncertain(header, parts):
    """Parts of whose size the data leave much open."""
    said = []
    for term in header.learnt:
        sd, gain = (numeric(parts.get(term.kind), key, 0.0) for key in ("force_sd", "gain"))
        if gain > 0 and sd > UNSURE * gain**0.5:
            line = (
                f"Frames are few for the {term.noun}: as many others would change its forces by "
                f"{100 * sd / gain**0.5:.0f} % of what it explains; give more, or fewer coefficients."
            )
            said += [line] if line not in said else []
        value, error = (numeric(header.held_out, f"{term.kind}_{key}") for key in ("scale", "scale_error"))
        if value is not None and error is not None and abs(value - 1) > max(0.1, 2 * error):
            line = f"The scale of the {term.noun} had to be corrected by {100 * (value - 1):+.0f} %: give more frames."
            said += [line] if line not in said else []
    return said


def _of_simulation(run, model, found):
    said, where = [], f"The simulation in {run.path}"
    if model is None:
        return [f"{where} tells no model that is still there: nothing can be held against its data."]
    header = model.denoiser.header
    if run.asked.get("model") not in (None, model.digest):
        said.append(
            f"{where} ran under another model ({run.asked['model']}) than {model.path} holds now ({model.digest})."
        )
    asked = run.asked.get("temperature")
    if asked is not None and abs(asked - header.temperature) > KELVIN:
        said.append(
            f"{where} is at {asked:g} K, but the forces are those of {header.temperature:g} K, the temperature of the "
            "data: it is the ensemble of neither."
        )
    if found.off:
        value, error = found.temperature
        said.append(
            f"{where} has a mean temperature of {value:.1f} +- {error:.1f} K, and its thermostat is set to "
            f"{found.target:g} K: the time step may be too long, or the start was not left behind."
        )
    if found.energy is not None and abs(found.energy[0]) > 5 * found.energy[1] > 0:
        said.append(f"{where} has not settled: its potential energy still drifts, see below.")
    for pair, here, data in closer(found, model.denoiser):
        said.append(
            f"{where} had {pair} at {here:.3f} nm of each other, well below the {data:.3f} nm that its data hold."
        )
    if found.over > 0:
        said.append(
            f"The members of the ensemble disagree in {100 * found.over:.2g} % of the frames of {run.path} more than "
            "on any training frame: the model is not sure there."
        )
    density = _density(found)
    if density and header.number_density and abs(density / header.number_density - 1) > DENSITY:
        said.append(
            f"{where} has {density:.3g} particles / nm\N{SUPERSCRIPT THREE}, its data had {header.number_density:.3g}: "
            "coarse forces hold at the density of their data."
        )
    if found.why and found.rows:
        said.append(f"The frames of {run.path} were not looked at: {found.why}.")
    return said


def _density(found):
    frames = found.frames
    return (
        None if frames is None or frames.box is None else len(frames.types) / float(np.linalg.det(frames.boxes).mean())
    )


def _of_evaluation(run, model):
    said = []
    if not run.asked:
        said.append(
            f"The evaluation in {run.path} does not tell its model and frames: a former version made it, or a script."
        )
    elif model is not None and run.asked.get("model") not in (None, model.digest):
        said.append(
            f"The evaluation in {run.path} is of another model ({run.asked['model']}) than {model.path} holds now "
            f"({model.digest})."
        )
    verdict = verdict_table(run)
    if verdict is None:
        said.append(f"The evaluation in {run.path} has no verdict: evaluate again with this version.")
        return said
    said += [row.sentence for row in verdict.itertuples() if row.finding in (DIFFERS, OPEN) and row.sentence]
    if not (verdict["about"] == "forces").any():
        said.append(
            "No force labels: how far single forces are off is not known, only their scale and what they explain."
        )
    if rdf_table(run) is not None and (verdict["about"] == "runs").any():
        said.append(f"Fewer than {FEW_RUNS} independent runs of MD: every error bar of MD is itself uncertain.")
    return said
