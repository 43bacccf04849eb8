"""A model file: where it is, and its bytes: weights, a header, and a checksum of both; nothing in it executes."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from ..units import shown

#: Names in the metadata of the file.  Files of former versions have no checksum.
HEADER, CHECKSUM = "openmm_diffusion", "sha256"
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


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk then, whenever the process is killed.

    As `rundirectory.whole`, which nobody needs who reads and writes models alone.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def packed(tensors: Mapping[str, torch.Tensor], header: str) -> bytes:
    """A model file of these weights and this header (JSON)."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(whole, {HEADER: header, CHECKSUM: checksum(whole, header)})
    # safetensors writes its metadata in any order: the same model shall be the same bytes.
    end = 8 + int.from_bytes(data[:8], "little")
    said = json.loads(data[8:end])
    said["__metadata__"] = {HEADER: header, CHECKSUM: said["__metadata__"][CHECKSUM]}
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def unpacked(data: bytes, name: str) -> tuple[dict[str, torch.Tensor], str]:
    """Weights and header (JSON) of a model file; `name` is used in error messages.

    Raises
    ------
    ValueError
        For what is no model file, is cut, or has another checksum than it says.
    """
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        said = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} is truncated or not a model file ({told}): save or copy it again") from error
    header = said.get(HEADER)
    if header is None:
        raise ValueError(
            f"{name} is a safetensors file without an openmm_diffusion header: give one that `train` wrote"
        )
    if said.get(CHECKSUM, checksum(tensors, header)) != checksum(tensors, header):
        raise ValueError(f"{name} is damaged, its checksum is not that of its content: copy it again from where it was")
    return tensors, header


def checksum(tensors: Mapping[str, torch.Tensor], header: str) -> str:
    """SHA-256 of weights, their names, types and shapes, and of the header: hexadecimal."""
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def assign(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Give a model its weights.

    Raises
    ------
    ValueError
        For weights that are not those of the model, not of real numbers, or not finite.
    """
    own = model.state_dict()
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds NaN or Inf in its weights {key}: train it again, or take an older file")
        if key in own and (own[key].is_floating_point() != tensor.is_floating_point() or tensor.is_complex()):
            raise ValueError(f"{name} holds weights {key} of type {tensor.dtype}: save or copy it again")
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(f"{name} holds weights that do not fit its header: save or copy it again") from error
