"""The command line: parses, calls, prints."""

from . import frames, models, runs, training, verdicts  # noqa: F401 - for their commands
from .application import app, main

__all__ = ["app", "main"]
