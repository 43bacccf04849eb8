"""Whether a fit in closed form can be used: what is said of it, and what is refused.

The thresholds are measured on 2.4 M LiCl (48 ions), pair potential, random subsets of the frames of 20 replicas:
the standard deviation of a typical force over its rms, the true error over the rms, and the scale,

    frames   subsets   deviation      error (median, worst)   scale, its standard error
    20       8         0.22 - 0.35    0.7    2.4              1.00 - 1.15, 0.07 - 0.19
    50       8         0.15 - 0.21    0.36   0.91             1.02 - 1.21, 0.05 - 0.14
    100      5         0.12 - 0.16    0.28   0.35             1.02 - 1.10, 0.02 - 0.08
    500      5         0.07 - 0.09    0.20   0.21             1.01 - 1.02, 0.02 - 0.04
    2000     5         0.05           0.18   0.19             1.01,        0.01 - 0.02

The error has a floor of 0.17 there, what no pair potential can be.  Beside a many-body energy on 500 frames the two
have 0.08 - 0.10 and 0.10 - 0.16.
"""

import logging

import numpy as np

log = logging.getLogger(__name__)

#: Standard deviation of a typical force over its rms that is warned of: of LiCl, more than 100 frames have less, and
#: six of eight sets of 50 more, of which two miss the forces by their own size.
UNCERTAIN = 0.17

#: How far a scale is off 1, beyond `SURE` standard errors of it, that is warned of.
OFF = 0.1

#: A factor, either way, that is warned of whatever its standard error.
FAR = 2.0

#: A factor by which a fit is too weak, beyond `SURE` standard errors of it, that is refused.  Of 2,000 dimers whose
#: distance is Gaussian, the scale is 3 at a width of 0.003 nm (a stiff bond; 9 with 100 of them), 6 at 0.001 nm, 50 at
#: 1e-4 nm and 1e5 at none: a strong penalty leaves a harmonic force its shape and the factor its strength, which is
#: right for bonds; but no bond is narrower than 0.002 nm, and what is comes from constraints.
TOO_WEAK = 30.0

#: Standard errors that make a scale certain.
SURE = 3.0


def assess(noun, told, n_frames, n_coordinates):
    """Warn of what a fit does not know; refuse one that has not learnt the forces of its energy.

    Parameters
    ----------
    noun : str
        What sentences call the energy.
    told : dict
        Of `scorematching.fit`, for one energy.
    n_frames : int
        Frames that it was fitted to.
    n_coordinates : float
        Coordinates of a frame.

    Raises
    ------
    ValueError
        If held-out frames want the forces several times stronger, or turned round.
    """
    scale, error = told["scale"], told["scale_error"]
    value = f"{scale:.3g} +- {error:.2g}"
    if scale - SURE * error > TOO_WEAK:
        raise ValueError(
            f"the forces of the {noun} are too weak by a factor of {value} on frames that the fit has not seen: it has "
            "not learnt them; most likely distances (or angles) hardly vary in the frames, as those held by "
            "constraints do, and no force can be learnt from them: leave them out of the energy"
        )
    if scale + SURE * error < 0:
        raise ValueError(
            f"the forces of the {noun} point the wrong way on frames that the fit has not seen (factor {value}): it "
            "has learnt noise, or the replicas contradict each other; give more than these "
            f"{n_frames} frames, or check that all are of one system, temperature and unit of length"
        )
    if scale <= 2 * error:
        log.warning(
            "the %s has learnt nothing that frames kept from the fit confirm (factor %s on its forces): leave it out, "
            "or give more than these %d frames", noun, value, n_frames,
        )  # fmt: skip
    elif abs(scale - 1) > max(OFF, SURE * error) or not 1 / FAR < scale < FAR:
        log.warning(
            "the forces of the %s had to be scaled by %s to fit frames kept from the fit: its penalty %s for these %d "
            "frames; %s its penalties, or give more frames",
            noun, value, *(("flattens all but the simplest shape", n_frames, "take the largest from") if scale > 1
                           else ("is too weak", n_frames, "add larger ones to")),
        )  # fmt: skip
    sd, rms = force_sd(told, n_coordinates), float(np.sqrt(told["force_square"] / n_coordinates))
    if sd > UNCERTAIN * rms:
        log.warning(
            "%d frames are few for the %s: as many others would change a typical force by %.3g of %.3g kJ/mol/nm "
            "(%.0f %%), and those at rare close distances by far more; give more frames, or fewer coefficients to "
            "learn", n_frames, noun, sd, rms, 100 * sd / rms,
        )  # fmt: skip


def force_sd(told, n_coordinates):
    """Standard deviation of a typical force (kJ/mol/nm): the root of its mean variance per coordinate."""
    return float(np.sqrt(told["force_variance"] / n_coordinates))
