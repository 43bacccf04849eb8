"""Settings of everything that a user configures: YAML files, validated models, errors with the path of the key."""

import difflib
import os
import reprlib
from pathlib import Path

import pydantic
from pydantic import BaseModel

from . import yamlfile


def read_yaml(path):
    """Keys and values of a YAML file; errors name the file."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"config is {reprlib.repr(path)}: give the path of a YAML file")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}: name an existing YAML file")
    values = yamlfile.read(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no keys: start from examples/licl/licl.yaml")
    return values


def validated(model, values, name):
    """A pydantic model from a dict, or a ValueError of one sentence about its first wrong key."""
    try:
        found = model.model_validate(values)
    except pydantic.ValidationError as error:
        # A misspelt key that is required is both unknown and missing: the first says more.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = _printable(".".join(str(part) for part in first["loc"]))
        if first["type"] == "extra_forbidden":
            known = _keys(model, first["loc"][:-1])
            close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise ValueError(f"{name}: unknown key {key}; {remedy}") from error
        if first["type"] == "missing":
            raise ValueError(f"{name}: {key} is missing") from error
        message = _printable(first["msg"].removeprefix("Value error, "), None)
        if first["type"] == "value_error" and isinstance(first["input"], dict):
            raise ValueError(f"{name}: {message}") from error  # names its keys itself
        message = message[0].lower() + message[1:]
        raise ValueError(
            f"{name}: {key} is {reprlib.repr(first['input'])}; {message} (bare numbers are nm, ps, K, kJ/mol, e)"
        ) from error
    _refuse_truth(values, found, name, "")
    return found


def _printable(text, most=120):
    """What somebody else wrote, on one line of a sentence; no more letters than `most`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])


def _refuse_truth(given, found, name, key):
    """Refuse true and false where a number was meant: pydantic takes them for 1 and 0."""
    if isinstance(given, bool) and not isinstance(found, bool):
        raise ValueError(f"{name}: {key} is {given}; give a number (bare numbers are nm, ps, K, kJ/mol, e)")
    if isinstance(given, dict):
        for part, value in given.items():
            inside = found.get(part) if isinstance(found, dict) else getattr(found, str(part), None)
            _refuse_truth(value, inside, name, f"{key}.{part}".lstrip("."))
    elif isinstance(given, (list, tuple)) and isinstance(found, (list, tuple)):
        for number, (one, inside) in enumerate(zip(given, found)):
            _refuse_truth(one, inside, name, f"{key}.{number}".lstrip("."))


def _keys(model, location):
    """Names that a nested model accepts."""
    for part in location:
        if isinstance(part, int):  # an entry of a list, of which the annotation has told the model
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return []
    return sorted(model.model_fields)
