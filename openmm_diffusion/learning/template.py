"""A configuration to start from: the defaults for some frames, written out with what each key means."""

import inspect
import re

import numpy as np
import torch
from pydantic import BaseModel

from .. import yamlfile
from ..energies.base import REGISTRY
from ..particles import ordered
from ..space.boxes import check_cutoff
from .config import Config, DataConfig, config_model
from .defaults import for_systems

#: Columns of a line with its comment; where it would be longer, the comment stands above.
WIDTH = 118
#: Cutoffs that must be shortened for a small box are cut to multiples of this, nm.
STEP = 0.05
#: Keys that most never touch: their values are long, or `data` tells them already.
OF_TRAJECTORIES = {"trajectory", "top", "select", "types"}
LEFT_OUT = {"penalties", "map", "weights", "several_temperatures", "forces_key"}


def template(frames, data):
    """The text of a YAML file that trains on these frames as it stands, and loads to the defaults for them.

    A cutoff beyond half the box is shortened, which is all that differs.

    Parameters
    ----------
    frames : Frames
    data : dict
        Keys of the section `data` that say where these frames are.

    Returns
    -------
    str
    """
    config = for_systems(config_model()(data=DataConfig(**data)), [frames])
    config = _within(config, frames)
    types = ordered(frames.types)
    counts = ", ".join(f"{int((frames.types == kind).sum())} {kind}" for kind in types)
    box = "no box" if frames.box is None else f"a box of {_edges(frames)} nm"
    lines = [
        f"# A training on {len(frames)} frames ({len(np.unique(frames.replica))} runs) of {counts} in {box}, "
        f"{frames.temperature:g} K.",
        "# These are the defaults: change what you like, leave the rest out.  Lengths in nm, energies in kJ/mol,",
        "# charges in e.  A section that is null is no part of the model.",
    ]
    told = _meanings(Config)
    for name in type(config).model_fields:
        value, default = getattr(config, name), Config.model_fields[name].annotation
        term = REGISTRY.get(name)
        if term is not None and getattr(term, "table", None) is not None and value is None:
            continue  # of bonds, angles or dihedrals, where there are none
        lines.append("")
        if isinstance(value, BaseModel):
            lines += _section(name, value, types, 0, _heading(term, type(value)))
        elif value is None:
            kind = _settings(default)
            lines += _line(f"{name}: null", _heading(term, kind) if kind else told.get(name, ""), 0)
        else:
            lines += _line(f"{name}: {_flow(value)}", told.get(name, ""), 0)
    return "\n".join(lines) + "\n"


def _within(config, frames):
    """The configuration with cutoffs that the box of the frames has room for."""
    if frames.box is None:
        return config
    boxes, changes = torch.as_tensor(frames.boxes), {}
    half = 0.5 * float(np.diagonal(frames.boxes, axis1=1, axis2=2).min())
    for term, settings in config.learners:
        try:
            check_cutoff(settings.cutoff, boxes, "cutoff")
        except ValueError:
            kind = term.model_fields["kind"].default
            shorter = round(float(STEP * np.floor(half / STEP + 1e-9)), 4)
            changes[kind] = settings.model_copy(update={"cutoff": shorter})
    return config.model_copy(update=changes)


def _heading(term, kind):
    """What a section is: that of an energy by its name."""
    said = _headline(kind)
    return said if term is None else f"{term.noun}: {said[0].lower()}{said[1:]}"


def _section(name, settings, types, depth, heading):
    """Lines of a section: its heading, and its keys below."""
    lines, told = _line(f"{name}:", heading, depth), _meanings(type(settings))
    idle = OF_TRAJECTORIES if getattr(settings, "trajectory", True) is None else set()
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if key in LEFT_OUT | idle:
            continue
        if isinstance(value, BaseModel):
            lines += _section(key, value, types, depth + 1, _headline(type(value)))
        elif value is None and _settings(field.annotation):
            lines += [f"{'  ' * (depth + 1)}# {line}" for line in _asleep(key, _settings(field.annotation), types)]
        elif value is None:
            lines += [
                f"{'  ' * (depth + 1)}# {line.removeprefix('# ')}" for line in _line(f"{key}:", told.get(key, ""), 0)
            ]
        else:
            lines += _line(f"{key}: {_flow(value)}", told.get(key, ""), depth + 1)
    if len(lines) == 1:
        lines[0] = lines[0].replace(f"{name}:", f"{name}: {{}}", 1)
    return lines


def _asleep(name, kind, types):
    """Lines of a section that nobody asked for; what it needs to be told has a value for each type."""
    lines, told = _line(f"{name}:", _headline(kind), 0), _meanings(kind)
    for key, field in kind.model_fields.items():
        value = dict.fromkeys(types, 0) if field.is_required() else field.default
        lines += _line(f"{key}: {_flow(value)}", told.get(key, ""), 1)
    return lines


def _line(text, comment, depth):
    """A line with its comment behind it, or above it where both are long."""
    text = "  " * depth + text
    whole = f"{text:<30}  # {comment}"
    if not comment:
        return [text]
    return [whole] if len(whole) <= WIDTH else [*_folded("  " * depth + f"# {comment}"), text]


def _folded(text):
    """A comment in lines of `WIDTH`."""
    indent = text[: len(text) - len(text.lstrip())] + "#"
    lines, words = [indent], text.lstrip().removeprefix("#").split()
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(indent)
        lines[-1] += " " + word
    return lines


def _flow(value):
    """A value in one line of YAML."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, (str, int, float, bool, list, dict)):
        value = str(value)
    if isinstance(value, list):
        value = [one if isinstance(one, (str, int, float)) else str(one) for one in value]
    return yamlfile.text(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _settings(annotation):
    """The settings that an annotation such as `PairConfig | None` names, or None."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _headline(kind):
    """What a section is, from the first line of its docstring."""
    return inspect.getdoc(kind).splitlines()[0].removesuffix(".")


def _meanings(kind):
    """What the docstrings of a class and of those it derives from say of its keys, with units: dict."""
    found = {}
    for owner in reversed(kind.__mro__):
        text = inspect.cleandoc(owner.__dict__.get("__doc__") or "")
        _, _, entries = text.partition("Attributes\n----------\n")
        for entry in re.split(r"\n(?=\w[\w, ]*(?: : |$))", entries, flags=re.M):
            head, _, body = entry.partition("\n")
            names, _, form = head.partition(" : ")
            said = " ".join(body.split())
            if said.startswith("As in") or not (form or said):
                continue
            unit = re.search(r", ([^,]*/[^,]*|nm|ps|K|e|bar)(?:, or None)?$", form)
            first = re.split(r"(?<=[a-z0-9)\]`])[.;](?: |$)", said)[0]
            parts = [part for part in (unit and unit.group(1), first) if part]
            for name in names.split(", "):
                found[name] = ": ".join(parts)
    return found


def _edges(frames):
    lengths = np.linalg.norm(frames.boxes.mean(0), axis=-1)
    return " x ".join(f"{length:.4g}" for length in lengths)
