"""g(r) of water between molecules: of runs, and how far off that of the data it is."""

import mdtraj
import numpy as np
from protocol.verdicts import mean_error

#: nm; pairs of one molecule are left out, and half the box is 0.6215 nm.
RANGE, WIDTH = (0.1, 0.62), 0.01
KINDS = ("O-O", "O-H", "H-H")


def between(frames):
    """Pairs of particles of different molecules, by `KINDS`: dict of str to array (n_pairs, 2)."""
    n = len(frames.types)
    molecule = np.arange(n)
    for one, other in frames.bonds:
        molecule[molecule == molecule[other]] = molecule[one]
    first, second = np.triu_indices(n, k=1)
    apart = molecule[first] != molecule[second]
    first, second = first[apart], second[apart]
    names = np.array(["-".join(sorted(pair, reverse=True)) for pair in zip(frames.types[first], frames.types[second])])
    return {kind: np.stack([first, second], axis=1)[names == kind] for kind in KINDS}


def radial(positions, box, pairs):
    """g(r) of pairs in frames of one box (3, 3), nm: distances (n_bins,), nm, and values."""
    vectors = np.broadcast_to(box, (len(positions), 3, 3)).astype(np.float32)
    trajectory = mdtraj.Trajectory(np.asarray(positions, dtype=np.float32), None)
    trajectory.unitcell_vectors = vectors
    bins = round((RANGE[1] - RANGE[0]) / WIDTH)
    return mdtraj.compute_rdf(trajectory, pairs, r_range=RANGE, n_bins=bins, periodic=True)


class Radial:
    """g(r) of frames, run by run, that of other runs is compared with.

    Parameters
    ----------
    frames : Frames
        In several runs.

    Attributes
    ----------
    pairs : dict of str to array, shape (n_pairs, 2)
    r : array, shape (n_bins,), nm
    truth : dict of str to array, shape (n_runs, n_bins)
    """

    def __init__(self, frames):
        self.box, self.pairs = frames.boxes[0], between(frames)
        data = [frames.positions[frames.replica == number] for number in np.unique(frames.replica)]
        self.truth = self.curves(data)
        self.r = radial(data[0][:1], self.box, self.pairs["O-O"])[0]

    def curves(self, runs):
        """g(r) of runs (arrays of positions), by the kind of the pair: shape (n_runs, n_bins)."""
        return {kind: np.array([radial(x, self.box, pairs)[1] for x in runs]) for kind, pairs in self.pairs.items()}

    def rows(self, about, runs=None):
        """Rows: g(r) with the error from the scatter of runs, and its rms difference from that of the frames.

        Parameters
        ----------
        about : dict
            Of every row.
        runs : list of array, shape (n_frames, n_particles, 3), nm, optional
            None: those of the frames, each of which is compared with all others.
        """
        found, of = [], "data" if runs is None else "model"
        for kind, curves in (self.truth if runs is None else self.curves(runs)).items():
            value, error = np.array([mean_error(column) for column in curves.T]).T
            found += [{**about, "quantity": "g(r)", "kind": kind, "set": of, "at": x, "value": y, "error": e}
                      for x, y, e in zip(self.r, value, error)]  # fmt: skip
            if runs is None:
                off = [curve - np.delete(curves, k, axis=0).mean(0) for k, curve in enumerate(curves)]
            else:
                off = [value - self.truth[kind].mean(0)]
            found += [{**about, "quantity": "g(r) off", "kind": kind, "set": of, "run": k,
                       "value": float(np.sqrt(np.mean(each**2)))} for k, each in enumerate(off)]  # fmt: skip
        return found
