"""The energies that a model can be a sum of: one file each, registered where it defines its term.

The order here is that in which a training sets them up.
"""

from . import coulomb, wall, pair  # noqa: F401, I001 - each registers its term
from .bonded import bonds, angles, impropers, dihedrals, maps  # noqa: F401, I001
from . import manybody, network  # noqa: F401, I001
from .base import REGISTRY, register

__all__ = ["REGISTRY", "register"]
