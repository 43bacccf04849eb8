"""What a training measures of the model that it has made, for the header of its file."""

import logging

import numpy as np

from ..analysis.resampling import frame_mean
from ..model.pressure import ERROR, OSMOTIC, VALUE, known_pressure, pressure_obstacle, pressures

log = logging.getLogger(__name__)

#: Frames, evenly over all runs, that the pressure is measured on: 50 of 48 ions tell it to some 6 bar.
MEASURED = 50


def with_pressure(denoiser, frames):
    """A denoiser whose header tells its pressure over some frames, the prior included, see `model.pressure`.

    The frames are noised as the model's ensemble is.  A model that has no pressure, or knows it, stays as it is, and so
    does one of biased frames, whose average is not that of the model's ensemble.

    Parameters
    ----------
    denoiser : Denoiser
    frames : Frames
        Of the system that the header describes.

    Returns
    -------
    Denoiser
    """
    known = known_pressure(denoiser.header)
    biased = frames.bias_forces is not None and frames.bias_forces.any()
    if np.isfinite(known.value) or biased or pressure_obstacle(denoiser, frames.box) is not None:
        return denoiser
    some = frames[:: max(1, -(-len(frames) // MEASURED))]
    values = pressures(
        denoiser, some.positions, some.boxes, some.types, some.bonds, some.temperature, denoiser.sigma
    )  # fmt: skip
    value, error = frame_mean(values, some.replica)
    what = "osmotic pressure" if known.osmotic else "pressure"
    log.info("%s of the model at the volume of its data: %.0f +- %.0f bar", what, value, error)
    entries = {VALUE: value, OSMOTIC: known.osmotic} | ({ERROR: error} if np.isfinite(error) else {})
    return denoiser.with_held_out(entries)
