"""Frames of ethanol, all nine atoms, as benchmarks/suite/ethanol.py makes them; and its conformers."""

from pathlib import Path

import mdtraj
import numpy as np
from protocol.verdicts import mean_error

from openmm_diffusion import Frames

#: Some frames at 300 K for quick runs: every tenth of four runs.
FEW = Path(__file__).with_name("few.npz")
TYPES = ["C1", "C2", "OH", "HO", *3 * ["H1"], *2 * ["H2"]]
#: C-C-O-H.
DIHEDRAL = (0, 1, 2, 3)
#: Trans beyond so many degrees of C-C-O-H, gauche below.
TRANS = 120.0
CONFORMERS = ("trans", "gauche +", "gauche -")
#: Of what there are curves, as `internal_coordinates` calls it.
SHOWN = (("bond", "HO-OH"), ("dihedral", "C1-C2-OH-HO"))


def load(directory, temperature, apart):
    """Frames at a temperature (K), with forces.

    Parameters
    ----------
    directory : Path or None
        None: the few of this folder.
    temperature : float, K
    apart : int
        Runs that are kept apart.

    Raises
    ------
    ValueError
        If there are none, or they are of something else: said before hours of computing, not after.
    """
    path = FEW if directory is None else Path(directory) / f"ethanol-{temperature:g}K.npz"
    if not path.exists():
        raise ValueError(
            f"{path} is not there: make it with python benchmarks/suite/ethanol.py {directory} "
            f"--temperature {temperature:g}, or take the few frames of --quick"
        )
    frames = Frames.load(path)
    if frames.types.tolist() != TYPES or not frames.labelled.all() or frames.temperature != temperature:
        raise ValueError(
            f"{path} holds {frames!r}, not ethanol at {temperature:g} K with forces: give a directory that "
            "benchmarks/suite/ethanol.py has made"
        )
    runs = len(np.unique(frames.replica))
    if runs < apart + 2:
        raise ValueError(f"{path} holds {runs} runs: give {apart + 2} or more, of which {apart} are kept apart")
    return frames


def dihedral(positions):
    """C-C-O-H in degrees, shape (n_frames,)."""
    whole = mdtraj.Trajectory(np.asarray(positions, dtype=np.float32), None)
    return np.degrees(mdtraj.compute_dihedrals(whole, [DIHEDRAL], periodic=False)[:, 0])


def bend(positions):
    """C-O-H in degrees, shape (n_frames,)."""
    whole = mdtraj.Trajectory(np.asarray(positions, dtype=np.float32), None)
    return np.degrees(mdtraj.compute_angles(whole, [DIHEDRAL[1:]], periodic=False)[:, 0])


def bent(positions, angle):
    """The same configurations with C-O-H at an angle (degrees): H moves in the plane of the three, O-H is as long."""
    x = np.array(positions, dtype=float)
    carbon, oxygen, hydrogen = (x[:, k] for k in DIHEDRAL[1:])
    along = carbon - oxygen
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    bond = hydrogen - oxygen
    length = np.linalg.norm(bond, axis=-1, keepdims=True)
    across = bond - np.sum(bond * along, axis=-1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    x[:, DIHEDRAL[3]] = oxygen + length * (np.cos(np.radians(angle)) * along + np.sin(np.radians(angle)) * across)
    return x


def conformers(angles):
    """Whether frames are trans, gauche + or gauche -: shape (n_frames, 3)."""
    trans = np.abs(angles) > TRANS
    return np.stack([trans, ~trans & (angles > 0), ~trans & (angles <= 0)], axis=1)


def populations(runs, of, about):
    """Rows: share of conformers in runs (arrays of positions) of the same length, with its error, and crossings.

    Parameters
    ----------
    runs : list of array, shape (n_frames, 9, 3), nm
    of : str
        "data" or "model".
    about : dict
        Of every row.
    """
    states = [conformers(dihedral(x)) for x in runs]
    share = np.array([state.mean(0) for state in states])
    rows = []
    for k, name in enumerate(CONFORMERS):
        value, error = mean_error(share[:, k])
        rows.append({**about, "quantity": "conformer", "kind": name, "set": of, "value": value, "error": error,
                     "runs": len(runs)})  # fmt: skip
    crossed = sum(int((np.diff(state.argmax(1)) != 0).sum()) for state in states)
    return [*rows, {**about, "quantity": "crossings", "set": of, "value": crossed, "runs": len(runs)}]
