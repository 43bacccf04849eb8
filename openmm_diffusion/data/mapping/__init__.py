"""Maps of atoms to beads."""

from .mapping import Mapping
from .rules import BeadRule

__all__ = ["BeadRule", "Mapping"]
