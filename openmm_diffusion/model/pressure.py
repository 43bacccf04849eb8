"""The pressure of a model at a volume, which forces that were fitted at that volume do not know.

    P = N kT / V - <dU/dV> = N kT / V - <trace(dU/d(strain))> / 3 V

N counts the particles of the model, beads.  The prior is included, and so is what the images of an Ewald sum do.  It
is the pressure of frames of the model's own ensemble, or of the data as the model sees them.  Where solvent was
integrated out it is the osmotic pressure, never that of the solution.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..noise import draw_noise
from ..units import BAR, thermal_energy

if TYPE_CHECKING:
    from .denoiser import Denoiser
    from .header import Header

#: Entries of `Header.held_out`: the pressure (bar) over training frames, its standard error, and what it cost the fit
#: to have a pressure that was asked for, which models that were fitted without one do not have; and whether it is of
#: particles in a solvent that was integrated out.
VALUE, ERROR, PRICE, OSMOTIC = "pressure", "pressure_error", "pressure_price", "pressure_is_osmotic"


class Pressure(NamedTuple):
    """What a model file says of the pressure of its model, the prior included, at the volume of its data.

    Attributes
    ----------
    value, error : float, bar
        Over training frames, and its standard error; NaN where nobody measured it.
    fitted : bool
        Whether the model was fitted with a pressure.
    osmotic : bool
        Whether a dielectric stands for a solvent that was integrated out.
    """

    value: float
    error: float
    fitted: bool
    osmotic: bool


def known_pressure(header: "Header") -> Pressure:
    """The `Pressure` that the header of a model tells of."""
    said = header.held_out
    osmotic = said.get(OSMOTIC, False) or any(term.replaces_solvent for term in header.terms)
    value, error = (float(said.get(key, np.nan)) for key in (VALUE, ERROR))
    return Pressure(value, error, PRICE in said, osmotic)


def mean_pressure(headers: Sequence["Header"]) -> dict[str, float | bool]:
    """Entries of `Header.held_out` for the mean energy of several models; none where one of them says no pressure.

    A pressure is linear in the energy.  Models of the same data err alike, so their errors do not average out.
    """
    known = [known_pressure(header) for header in headers]
    if not all(np.isfinite(pressure.value) for pressure in known):
        return {}
    said = {VALUE: float(np.mean([p.value for p in known])), ERROR: float(np.mean([p.error for p in known]))}
    said[OSMOTIC] = any(p.osmotic for p in known)
    if all(p.fitted for p in known):
        said[PRICE] = float(np.mean([header.held_out[PRICE] for header in headers]))
    return said


def pressure_obstacle(denoiser: "Denoiser", box: ArrayLike | None) -> str | None:
    """Why a model has no pressure in a box, after "the model has no pressure: "; None where it has."""
    if box is None:
        return "there is no box"
    if not denoiser.conservative:
        return "its vector head has no energy"
    if denoiser.header.noised != {"species": None, "axes": "xyz"}:
        return "noise left some coordinates clean, whose forces it does not know"
    return None


def pressures(
    denoiser: "Denoiser",
    positions: np.ndarray,
    boxes: np.ndarray,
    types: Sequence[str] | np.ndarray,
    bonds: ArrayLike | None,
    temperature: float,
    sigma: float = 0.0,
) -> np.ndarray:
    """Pressure of each frame under a model, bar.

    Parameters
    ----------
    denoiser : Denoiser
        With an energy head.
    positions : array, shape (n_frames, n_particles, 3), nm
    boxes : array, shape (3, 3) or (n_frames, 3, 3), nm
    types : list of str
        Type of each particle.
    bonds : array, shape (n_bonds, 2), or None
    temperature : float, K
        Of the ensemble.
    sigma : float, nm
        Noise to add first, where the frames are clean and the model is of noised ones: the mean over an antithetic
        pair of copies of each frame.

    Returns
    -------
    array, shape (n_frames,), bar
    """
    volume, x = np.linalg.det(np.asarray(boxes, dtype=float)), torch.as_tensor(positions, dtype=torch.float64)
    copies = x.unsqueeze(0)
    if sigma > 0:
        copies = x + sigma * draw_noise(x, 1, True, torch.Generator().manual_seed(0))
    traces = [np.trace(denoiser.virial(y.numpy(), boxes, types, bonds), axis1=-2, axis2=-1) for y in copies]
    return (len(types) * thermal_energy(temperature) - np.mean(traces, 0) / 3) / volume / BAR
