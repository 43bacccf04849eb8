"""Windows of a harmonic bias on one distance: what `generate` is asked for under `bias`."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, field_validator


class Window(BaseModel):
    """A harmonic bias V_b = stiffness (r - centre)^2 / 2.

    Attributes
    ----------
    centre : float, nm
    stiffness : float, kJ/mol/nm^2
        0: no bias, equilibrium.
    """

    model_config = ConfigDict(extra="forbid")

    centre: float
    stiffness: float

    @field_validator("centre")
    @classmethod
    def _positive(cls, value: float) -> float:
        if not 0 < value < math.inf:
            raise ValueError(f"centre is {value:g} nm: give a positive, finite distance")
        return value

    @field_validator("stiffness")
    @classmethod
    def _attractive(cls, value: float) -> float:
        if not 0 <= value < math.inf:
            raise ValueError(
                f"stiffness is {value:g} kJ/mol/nm^2: give 0 (no bias) or more, a negative one pushes to the edge "
                "of the box"
            )
        return value


class BiasConfig(BaseModel):
    """Windows of a harmonic bias on the distance of two kept particles, to the nearest image.

    Attributes
    ----------
    between : two pairs of (str, int)
        Type and number of the two particles, [[Li, 0], [Cl, 3]]: numbered from 0 among those of their type that are
        kept, in the order in which they are kept.
    windows : list of Window
        Each has `runs` runs of `frames` frames of its own.
    """

    model_config = ConfigDict(extra="forbid")

    between: tuple[tuple[str, NonNegativeInt], tuple[str, NonNegativeInt]]
    windows: Annotated[list[Window], Field(min_length=1)]

    @field_validator("between")
    @classmethod
    def _two(cls, value: tuple[tuple[str, int], tuple[str, int]]) -> tuple[tuple[str, int], tuple[str, int]]:
        if value[0] == value[1]:
            raise ValueError(f"between names {value[0][0]} {value[0][1]} twice: name two different particles")
        return value

    def check(self, edge: float | None) -> None:
        """Refuse centres that no distance to the nearest image has in a cube of this edge (nm; None: no box)."""
        for number, window in enumerate(self.windows):
            if edge is not None and window.centre >= edge / 2:
                raise ValueError(
                    f"bias.windows.{number}.centre is {window.centre:g} nm, beyond half the box of {edge:g} nm, where "
                    f"the nearest image changes: give less than {edge / 2:g} nm, or a larger edge"
                )
