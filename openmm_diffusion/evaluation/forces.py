"""Forces against labels, and how much of the difference the noise of the labels may be.

L = F_true + noise, with a noise that the positions do not know: then
<|F - L|^2> = error^2 + noise^2, and no comparison with L alone can split the two.
Positions alone give E[F_true . F] = -kT E[div F] for any force F.  By Cauchy and
Schwarz the power explained, P = E[F_true . F]^2 / E|F|^2, is at most E|F_true|^2, and so

    noise^2 = E|L|^2 - E|F_true|^2 <= E|L|^2 - P

The bound also holds for the components of one species, not for particles chosen by
their positions: choosing them adds a term at the rim of the choice to the divergence.
"""

from dataclasses import dataclass

import numpy as np

from ..analysis.contacts import contact_pairs, in_contact
from ..analysis.resampling import block_numbers, block_sums, bootstrap

UNIT = "kJ/mol/nm"


@dataclass
class ForceComparison:
    """Forces of a model beside labels.

    Attributes
    ----------
    labels, forces : array, shape (n_frames, n_particles, 3), kJ/mol/nm
    groups : dict of str to array, shape (n_frames, n_particles), dtype bool
        "all", each type, and "contact" and "no contact" where contact is defined.
    replica : array, shape (n_frames,), dtype int
    """

    labels: np.ndarray
    forces: np.ndarray
    groups: dict
    replica: np.ndarray

    def rms(self):
        """Root mean square error of each group, and of the "labels", per Cartesian component, kJ/mol/nm."""
        square = np.square(self.forces - self.labels, dtype=np.float64).mean(-1)
        result = {name: float(np.sqrt(square[mask].mean())) for name, mask in self.groups.items() if mask.any()}
        return result | {"labels": float(np.sqrt(np.mean(np.square(self.labels, dtype=np.float64))))}


def compare_forces(denoiser, frames, distances, told=None):
    """`ForceComparison` of the labelled frames, or None without any.

    Parameters
    ----------
    denoiser : Denoiser
    frames : Frames
    distances : dict of str to float, nm
        Contact distance of each pair of types "A-B".
    told : callable, optional
        Called with the number of frames after each chunk.
    """
    if not frames.labelled.any():
        return None
    frames = frames[frames.labelled]
    _, forces = denoiser.evaluated(frames.positions, frames.boxes, frames.types, frames.bonds, told)
    everything = np.ones(frames.positions.shape[:2], dtype=bool)
    groups = {name: everything & mask for name, mask in species_groups(frames).items()}
    if contact_pairs(distances, frames.types):
        contact = in_contact(frames, distances)
        groups |= {"contact": contact, "no contact": ~contact}
    return ForceComparison(frames.forces, forces, groups, frames.replica)


def species_groups(frames):
    """Masks over particles, shape (n_particles,), of "all" and of each type."""
    names = np.array(frames.types)
    return {"all": np.ones(len(names), dtype=bool)} | {name: names == name for name in dict.fromkeys(names.tolist())}


def force_rows(comparison):
    """Rows (quantity, of, curve, unit, value, error); errors by bootstrap over replicas."""
    blocks = block_numbers(comparison.replica)
    square, labels = _square(comparison.forces - comparison.labels), _square(comparison.labels)
    rows = {"force RMSE": [], "force rms, labels": [], "explained fraction": [], "share of particles": []}
    for name, mask in comparison.groups.items():
        if not mask.any():
            continue
        per_frame = np.stack([(square * mask).sum(1), (labels * mask).sum(1), mask.sum(1)], -1)
        sums = block_sums(per_frame, blocks)
        rmse = bootstrap(sums, lambda total: np.sqrt(total[..., 0] / total[..., 2] / 3))
        rms = bootstrap(sums, lambda total: np.sqrt(total[..., 1] / total[..., 2] / 3))
        rows["force RMSE"].append((name, "", UNIT, *rmse))
        rows["force rms, labels"].append((name, "", UNIT, *rms))
        rows["explained fraction"].append((name, "", "1", *bootstrap(sums, lambda t: 1 - t[..., 0] / t[..., 1])))
        if name in ("contact", "no contact"):
            share = block_sums(np.stack([mask.sum(1), np.full(len(mask), mask.shape[1])], -1), blocks)
            rows["share of particles"].append((name, "", "1", *bootstrap(share, lambda t: t[..., 0] / t[..., 1])))
    return [(quantity, *row) for quantity, part in rows.items() for row in part]


def noise_rows(frames, products, squares):
    """Rows of the upper bound on the noise of the labels, per Cartesian component; errors by bootstrap over replicas.

    Parameters
    ----------
    frames : Frames
        Some of them with labels; those without serve the positions' side of the bound.
    products, squares : array, shape (n_frames, n_particles), (kJ/mol/nm)^2
        `projections` of these frames at a small sigma.
    """
    rows, blocks = [], block_numbers(frames.replica)
    labels = np.where(frames.labelled[:, None], _square(np.nan_to_num(frames.forces)), 0)
    for name, mask in species_groups(frames).items():
        parts = [values[:, mask].sum(1) for values in (labels, products, squares)]
        parts += [frames.labelled * mask.sum(), np.full(len(frames), mask.sum())]
        rows.append(
            ("label noise, at most", name, "", UNIT, *bootstrap(block_sums(np.stack(parts, -1), blocks), _bound))
        )
    return rows


def _bound(total):
    """sqrt(E|L|^2 - P), from sums of |L|^2, T . F, |F|^2, of labelled and of all particles; 0 where it is negative."""
    label, product, square, labelled, everything = np.moveaxis(total, -1, 0)
    # A model without any force on a species explains nothing of it.
    explained = np.divide(product**2, square, out=np.zeros_like(product), where=square > 0)
    return np.sqrt(np.maximum(label / labelled - explained / everything, 0) / 3)


def _square(vectors):
    """|v|^2 over the last axis."""
    return np.square(vectors, dtype=np.float64).sum(-1)
