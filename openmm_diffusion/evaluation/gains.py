"""What each part of a model adds on frames that its training has not seen."""

import numpy as np
import pandas

from .calibration import explained_variance, projections

#: Frames, evenly over all runs, that gains are measured on, and antithetic pairs of noise for each.
MEASURED, DRAWS = 120, 2


def gains(denoiser, frames):
    """How much nearer to the forces of held-out frames each part brings a model, one after the other.

    The gain is `calibration.explained_variance` of the model up to a part less that without it, on the same noise.

    Parameters
    ----------
    denoiser : Denoiser
    frames : Frames
        That its training has not seen.

    Returns
    -------
    DataFrame
        A row for the prior, and for each kind of learnt term in the order of the header: columns part (its kind, or
        "prior"), noun, gain, error, (kJ/mol/nm)^2 per component, and share, of what the whole model explains.
    """
    some = frames[:: max(1, -(-len(frames) // MEASURED))]
    terms = denoiser.header.terms
    nouns = {"prior": "prior"} | {term.kind: term.noun for term in terms if term.learnt}
    kinds = [kind for kind in nouns if kind != "prior" or any(not term.learnt for term in terms)]
    before, rows, seen = (0.0, 0.0), [], set()
    for kind in kinds:
        seen.add(kind)
        part = denoiser.part(lambda term: (term.kind if term.learnt else "prior") in seen)
        now = projections(part, some, denoiser.sigma or None, DRAWS)
        more = [new - old for new, old in zip(now, before)]
        rows.append((kind, nouns[kind], *explained_variance(*more, some.replica)))
        before = now
    table = pandas.DataFrame(rows, columns=["part", "noun", "gain", "error"])
    whole = table["gain"].sum()
    return table.assign(share=table["gain"] / whole if whole > 0 else np.nan)
