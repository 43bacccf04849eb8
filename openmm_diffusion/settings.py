"""Settings of everything that a user configures: YAML files, validated models, errors with the path of the key."""

import difflib
from pathlib import Path

import pydantic
import yaml
from pydantic import BaseModel


def read_yaml(path):
    """Keys and values of a YAML file; errors name the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {path}: name an existing YAML file")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no keys: start from examples/licl/licl.yaml")
    return values


def validated(model, values, name):
    """A pydantic model from a dict, or a ValueError of one sentence about its first wrong key."""
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        # A misspelt key that is required is both unknown and missing: the first says more.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys(model, first["loc"][:-1])
            close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise ValueError(f"{name}: unknown key {key}; {remedy}") from error
        if first["type"] == "missing":
            raise ValueError(f"{name}: {key} is missing") from error
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error" and isinstance(first["input"], dict):
            raise ValueError(f"{name}: {message}") from error  # names its keys itself
        message = message[0].lower() + message[1:]
        raise ValueError(
            f"{name}: {key} is {first['input']!r}; {message} (bare numbers are nm, ps, K, kJ/mol, e)"
        ) from error


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
