"""The models that come with the package, and where any model file is."""

import os
from pathlib import Path

from ..units import shown

#: Directory of the shipped models.
MODELS = Path(__file__).parents[1] / "models"


def find_model(path: str | os.PathLike[str]) -> Path:
    """Path of a model file, or of a shipped model by its bare name."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"model is {shown(path)}: give a Denoiser, or the path of a model file")
    path = Path(path)
    shipped = MODELS / f"{path.name}.safetensors"
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a directory: give the file in it, {path / 'model.safetensors'}")
    if path.exists():
        return path
    if path.suffix == "" and path.parent == Path(".") and shipped.exists():
        return shipped
    names = ", ".join(sorted(p.stem for p in MODELS.glob("*.safetensors"))) or "none"
    raise FileNotFoundError(f"there is no model file {path}: give a .safetensors file, or a shipped model ({names})")
