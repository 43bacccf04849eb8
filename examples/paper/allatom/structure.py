"""Distributions of a molecule in runs of a model beside those of its frames: bonds, angles, dihedrals, basins."""

from dataclasses import replace

import numpy as np
from protocol.verdicts import mean_error

from allatom.alanine import basins, dihedrals
from openmm_diffusion.analysis.molecules.coordinates import internal_coordinates

BASINS = ("beta and PPII", "alpha-R", "phi > 0")
#: Bins of distributions, and of the map of phi and psi.
BINS, MAP = 60, 36
#: Of what there are curves in the picture.
SHOWN = (
    ("bond", "ALA:CA-HA"),
    ("bond", "ALA:C-ALA:O"),
    ("angle", "HC-ACE:CH3-HC"),
    ("dihedral", "HC-ALA:CB-ALA:CA-ALA:N"),
)


def compared(frames, runs):
    """Rows of runs of a model beside frames, errors from the scatter of runs.

    Parameters
    ----------
    frames : Frames
    runs : list of array, shape (n_frames, n_particles, 3), nm
    """
    runs = [x for x in runs if len(x)]
    data = [frames.positions[frames.replica == number] for number in np.unique(frames.replica)]
    return _basins(data, runs) + _map(data, runs) + distributions(frames, runs)


def _basins(data, runs):
    """Populations of the basins: mean of runs of the same length, and its error."""
    rows = []
    for of, parts in (("data", data), ("model", runs)):
        share = np.array([basins(dihedrals(x)).mean(0) for x in parts])
        for k, name in enumerate(BASINS):
            value, error = mean_error(share[:, k])
            rows.append({"quantity": "basin", "kind": name, "set": of, "value": value, "error": error,
                         "runs": len(parts)})  # fmt: skip
        # Crossings between the two basins of phi < 0.
        state = [np.argmax(basins(dihedrals(x)), axis=1) for x in parts]
        crossed = sum(int(np.abs(np.diff(s[s < 2])).sum()) for s in state)
        rows.append({"quantity": "crossings", "set": of, "value": crossed, "runs": len(parts)})
    return rows


def _map(data, runs):
    """Counts of phi and psi, degrees, in every bin."""
    edges, rows = np.linspace(-180, 180, MAP + 1), []
    for of, parts in (("data", data), ("model", runs)):
        angles = dihedrals(np.concatenate(parts))
        counts = np.histogram2d(*angles.T, bins=[edges, edges])[0]
        for i, j in zip(*np.nonzero(counts)):
            rows.append({"quantity": "map", "set": of, "at": (edges[i] + edges[i + 1]) / 2,
                         "at psi": (edges[j] + edges[j + 1]) / 2, "value": counts[i, j]})  # fmt: skip
    return rows


def distributions(frames, runs, shown=SHOWN):
    """Rows: widths of every kind of bond and angle over those of the data, overlaps of dihedrals, and curves of some.

    Parameters
    ----------
    frames : Frames
    runs : list of array, shape (n_frames, n_particles, 3), nm
    shown : list of (str, str)
        Quantities and kinds of the curves.
    """
    own = replace(frames, positions=np.concatenate(runs), forces=None, replica=None)
    data, model = internal_coordinates(frames), internal_coordinates(own)
    rows = []
    for (quantity, kind), there in data.items():
        if quantity not in ("bond", "angle", "dihedral"):
            continue
        a, b = there.values.ravel(), model[quantity, kind].values.ravel()
        if quantity != "dihedral":
            rows.append({"quantity": f"width of {quantity}", "kind": kind, "value": b.std() / a.std(),
                         "shift": (b.mean() - a.mean()) / a.std()})  # fmt: skip
        if (quantity, kind) in shown:
            low, high = (-180, 180) if quantity == "dihedral" else np.quantile(a, [0, 1])
            edges = np.linspace(low, high, BINS + 1)
            for of, values in (("data", a), ("model", b)):
                density = np.histogram(values, edges, density=True)[0]
                for x, value in zip((edges[1:] + edges[:-1]) / 2, density):
                    rows.append({"quantity": f"density of {quantity}", "kind": kind, "set": of, "at": x,
                                 "value": value})  # fmt: skip
        if quantity == "dihedral":
            edges = np.linspace(-180, 180, 73)
            p, q = (np.histogram(values, edges)[0] / len(values) for values in (a, b))
            rows.append({"quantity": "overlap of dihedral", "kind": kind, "value": np.minimum(p, q).sum()})
    return rows
