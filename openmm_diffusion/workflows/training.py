"""A training with an account of it: what was fitted, what each part gains, how well it is known, and pictures."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from .. import yamlfile
from ..analysis.contacts import distance_histogram
from ..cluster import checked
from ..data.frames import Frames
from ..evaluation.gains import gains
from ..figures import bonded_figure, loss_figure, potential_figure
from ..learning.config import Config, kind_of, read_config
from ..learning.defaults import for_systems
from ..learning.network.processes import place
from ..learning.training import train as learn
from ..learning.trainingset import frames_of
from ..model.combination import members
from ..model.curves import bonded_curves, pair_curves
from ..model.denoiser import Denoiser
from ..rundirectory import damaged, explained, write_table, write_whole

log = logging.getLogger(__name__)

#: What the account of a training is kept in.
ACCOUNT = "account.yaml"
#: Standard errors from which on a part gains something.
SURE = 2.0


def train(
    frames: Frames | Sequence[Frames] | None,
    config: str | os.PathLike[str] | dict[str, Any] | Config,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    client: Any = None,
) -> Denoiser:
    """Learn a denoiser from configurations, and say what was learnt.

    Parameters
    ----------
    frames : Frames, list of Frames, or None
        The frames of a list are of several systems, which have a table of types in common.  None: those
        that `data` of the configuration names, files of frames or trajectories.
    config : path, dict or Config
    output : path, optional
        Directory of the run: config.yaml, pair.safetensors (the model before the network), curves.csv (its pair
        potential with the standard deviation), checkpoints/, log/metrics.csv and model.safetensors; and the account
        of it, account.yaml (numbers and sentences), distances.csv, potential.png (u(r) and the distances in the
        frames), bonded.png and loss.png.  Without one, nothing is kept but the result.
    resume : bool
        Go on with the run in `output`.
    progress : bool
        Show a progress bar.
    client : distributed.Client, optional
        Of a Dask scheduler, whose workers make the averages that fits in closed form need, and read the files of frames
        that `data` names, which need not fit into memory together.

    Returns
    -------
    Denoiser

    Raises
    ------
    ValueError
        For configurations, frames and directories that do not fit.
    """
    settings = read_config(config)
    given = frames_of(settings.data, checked(client)) if frames is None else frames
    systems = given if isinstance(given, (list, tuple)) else [given]
    if all(isinstance(one, Frames) for one in systems):  # what else is given is refused by the training
        settings = for_systems(settings, systems)  # so that nothing is missed that these frames do not ask for
    denoiser = learn(given, settings, output, resume, progress, client)
    if output is not None and place().first:
        first = given if isinstance(given, Frames) else given[0]
        with explained(output, "go on with --resume: what was saved before is whole"):
            _tell(denoiser, first, settings, Path(output))
    return denoiser


def _tell(denoiser, frames, config, output):
    """Write the account of a training beside its model, and the pictures; of several systems, of the first."""
    training, validation, test = config.data.divide(frames)
    metrics = output / "log" / "metrics.csv"
    if metrics.exists():
        loss_figure(metrics, output / "loss.png")
    curves = curves_of(denoiser, output)
    if curves is not None:
        distances = distance_histogram(training, float(curves["r_nm"].max()), denoiser.header.exclusions)
        write_table(output / "distances.csv", distances, float_format="%.6g")
        potential_figure(curves, distances, output / "potential.png")
    bonded = bonded_curves(denoiser)
    if len(bonded):
        bonded_figure(bonded, output / "bonded.png")
    found = account(denoiser, config, test if test is not None else validation, metrics if metrics.exists() else None)
    write_whole(output / ACCOUNT, yamlfile.text(found, width=120))


def curves_of(denoiser, output=None):
    """The learnt sums over pairs with their standard deviation, where it is known; None without any.

    Parameters
    ----------
    denoiser : Denoiser
    output : Path or None
        Directory of its training, which has kept both in curves.csv.

    Returns
    -------
    DataFrame or None
        As of `model.curves.pair_curves`, and sd_kJ/mol.
    """
    if not any(term.learnt and term.joins for term in denoiser.header.terms):
        return None
    if output is not None and (output / "curves.csv").exists():
        return pandas.read_csv(output / "curves.csv")
    curves, parts = pair_curves(denoiser), members(denoiser)
    if len(parts) > 1:  # which are resampled, or seeded anew
        curves["sd_kJ/mol"] = np.std([pair_curves(part)["u_kJ/mol"] for part in parts], axis=0, ddof=1)
    return curves


def account(denoiser, config, held_out=None, metrics=None):
    """What a training has come to, in numbers and in sentences.

    Parameters
    ----------
    denoiser : Denoiser
    config : Config
    held_out : Frames, optional
        That it has not seen.
    metrics : path, optional
        metrics.csv of its network.

    Returns
    -------
    dict
        `frames` (numbers of training, validation and test frames), `parts` (for each learnt kind what the fit tells,
        and gain, error and share on the held-out frames), `left_out` (kinds that were asked for), `sentences`.
    """
    header = denoiser.header
    data, told = header.data, header.held_out
    learnt = {term.kind: term for term in header.learnt}
    counts = {part: int(data[f"{part}_frames"]) for part in ("training", "validation", "test")}
    table, partial = None, header.noised != {"species": None, "axes": "xyz"}
    if held_out is not None and not partial:
        table = gains(denoiser, held_out).set_index("part")
    parts = {}
    for kind in learnt:
        known = {key: told.get(f"{kind}_{key}") for key in ("degrees_of_freedom", "scale", "scale_error", "force_sd")}
        if table is not None:
            known |= table.loc[kind, ["gain", "error", "share"]].to_dict()
        parts[kind] = {key: float(f"{value:.5g}") for key, value in known.items() if value is not None}
    asked = {kind_of(term): term for term, _ in config.learners}
    bonded = {kind for kind, term in asked.items() if getattr(term, "table", None) is not None}
    left = [kind for kind in asked if kind not in learnt and (header.bonds or kind not in bonded)]
    sentences = [_fitted(header, learnt, parts, told, counts)]
    sentences += _gained(table, learnt)
    sentences += [
        f"The {term.noun} was kept: its held-out loss is {told[f'{kind}_loss']:.2g}, and 0 without it"
        f"{_doubt(kind, parts)}."
        for kind, term in learnt.items()
        if f"{kind}_loss" in told
    ]
    sentences += _left(left, asked, metrics)
    sentences += _known(learnt, parts)
    return {"frames": counts, "parts": parts, "left_out": left, "sentences": sentences}


def _fitted(header, learnt, parts, told, counts):
    names = []
    for kind, term in learnt.items():
        size = parts[kind].get("degrees_of_freedom")
        steps = told.get(f"{kind}_steps")
        detail = f" ({size:.0f} effective coefficients)" if size else f" ({steps:,} steps)" if steps else ""
        names.append(f"the {term.noun}{detail}")
    noise = f"with noise of {header.learnt[-1].sigma:g} nm" if header.learnt[-1].sigma else "as they are, without noise"
    if not names:
        return f"Nothing was learnt from {counts['training']:,} frames."
    return f"Fitted to {counts['training']:,} frames {noise}: {_listed(names)}."


def _doubt(kind, parts):
    """What is to be done where a part that validation kept gains nothing on the frames kept apart."""
    told = parts[kind]
    if "gain" not in told or told["gain"] > SURE * told["error"]:
        return ""
    return f"; frames kept apart show no gain, so that {kind}: null, which runs faster, is likely to do as well"


def _gained(table, learnt):
    """What the parts gain on held-out frames."""
    if table is None:
        return ["No frames were kept apart: what the parts gain is not known."]
    said = []
    for kind, row in table.iterrows():
        if kind not in learnt and kind != "prior":
            continue
        value = f"{row['gain']:,.0f} +- {row['error']:.0f}"
        if row["error"] < 1:
            value = f"{row['gain']:.1f} +- {row['error']:.1f}"
        if kind == "prior":
            said.append(f"the prior alone {value}")
        elif row["gain"] > SURE * row["error"]:
            said.append(f"the {row['noun']} adds {value} ({_percent(row['share'])})")
        elif row["gain"] < -SURE * row["error"]:
            said.append(f"the {row['noun']} takes {value} away")
        else:
            said.append(f"the {row['noun']} adds nothing that these frames can show ({value})")
    unit = "(kJ/mol/nm)^2 per component"
    return [f"What the forces explain on frames kept apart, one part after the other, {unit}: {'; '.join(said)}."]


def _percent(share):
    return f"{100 * share:.0f} %" if share > 0.1 else f"{100 * share:.1f} %"


def _left(left, asked, metrics):
    """What was asked for and is not in the model, and why."""
    said = []
    for kind in left:
        why = "frames kept from the fit confirm nothing of it"
        if not asked[kind].linear and metrics is not None:
            losses = pandas.read_csv(metrics).get("held_out_loss", pandas.Series(dtype=float)).dropna()
            if len(losses):
                why = f"its best held-out loss is {losses.min():+.2g}, and must be below 0, which is that without it"
        said.append(f"The {asked[kind].noun} was left out: {why}.")
    return said


def _known(learnt, parts):
    """How well the fits are known."""
    sds = {kind: part["force_sd"] for kind, part in parts.items() if "force_sd" in part}
    if not sds:
        return []
    each = _listed([f"{sd:.2g} for the {learnt[kind].noun}" for kind, sd in sds.items()])
    return [f"As many other frames would change a typical force by (kJ/mol/nm): {each}."]


def _listed(names):
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def read_account(output):
    """The account that a training has left in its directory; a dict."""
    path = Path(output) / ACCOUNT
    try:
        found = yamlfile.read(path)
    except (OSError, ValueError) as error:
        raise damaged(path, "resume the training: it is written again") from error
    return found
