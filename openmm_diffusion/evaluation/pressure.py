"""The pressure of a model at the volume of frames: of the frames themselves, and of MD under the model."""

from ..analysis.resampling import frame_mean
from ..model.pressure import known_pressure, pressure_obstacle, pressures

#: Frames, evenly over all runs, that a pressure is measured on.
MEASURED = 300


def pressure_rows(denoiser, reference, runs=None):
    """Rows of the model's pressure (bar), with its standard error over runs; none of a model that has no pressure.

    It is measured over the reference frames, noised as the model's ensemble is, and over MD under the model.  The two
    agree for a model whose ensemble is that of the frames.  Biased frames have none.

    Parameters
    ----------
    denoiser : Denoiser
    reference : Frames
        Clean.
    runs : Frames, optional
        Of MD under the model.
    """
    rows, what = [], "osmotic" if known_pressure(denoiser.header).osmotic else ""
    for curve, frames, sigma in (("", reference, denoiser.sigma), ("model", runs, 0.0)):
        if frames is None or pressure_obstacle(denoiser, frames.box) is not None:
            continue
        if frames.bias_forces is not None and frames.bias_forces.any():
            continue  # the average over them is not that of the model's ensemble
        some = frames[:: max(1, -(-len(frames) // MEASURED))]
        here = some.positions, some.boxes, some.types, some.bonds, some.temperature
        values = pressures(denoiser, *here, sigma)
        rows.append(("pressure", what, curve, "bar", *frame_mean(values, some.replica)))
    return rows


def pressure_notes(denoiser, rows):
    """What has to be read beside `pressure_rows`."""
    if not rows:
        return []
    known = known_pressure(denoiser.header)
    note = (
        "pressure: that of the model at the volume of the frames, P = N kT/V - <dU/dV>, N counting its particles and "
        "the prior included"
    )
    if known.osmotic:
        note += "; a dielectric stands for the solvent, so that it is an osmotic pressure, never that of the solution"
    elif not known.fitted:
        note += "; no frame at one volume tells that of the data"
    if not known.fitted:
        note += "; fitted without a pressure, the model is refused a barostat"
    return [note + "."]
