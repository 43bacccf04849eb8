"""Every picture, drawn from tables only, without pyplot: nothing here touches the backend or figures of a caller."""

import contextlib
import io
import os
from pathlib import Path

COLOURS = {"clean": "black", "noised": "tab:gray", "model": "tab:red", "training": "tab:blue"}
#: What bands around curves are.
BAND = "band: 2 standard errors"
LABELS = {
    "clean": "reference",
    "noised": "reference, noised",
    "model": "MD under the model",
    "training": "frames of the training",
}


def save(figure, path, dpi):
    """Write a picture that appears whole or not at all."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(drawn.getvalue())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def plain(text):
    """A name from a file as text; a dollar in it begins no formula."""
    return text.replace("$", r"\$")


def dashed(pair):
    """A pair of types as a title."""
    return plain(pair).replace("-", "\N{EN DASH}")
