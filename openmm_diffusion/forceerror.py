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

from .resampling import block_numbers, block_sums, bootstrap
from .structure import in_contact


@dataclass
class ForceComparison:
    """Forces of a model beside labels.

    Attributes
    ----------
    labels, forces : array, shape (n_frames, n_particles, 3), kJ/mol/nm
    groups : dict of str to array, shape (n_frames, n_particles), dtype bool
        "all", each element, and "contact" and "no contact" where contact is defined.
    species : list of str
        The groups that are chosen by element alone.
    replica : array, shape (n_frames,), dtype int
    """

    labels: np.ndarray
    forces: np.ndarray
    groups: dict
    species: list
    replica: np.ndarray

    def rms(self):
        """Root mean square error of each group, and of the "labels", per Cartesian component, kJ/mol/nm."""
        square = np.square(self.forces - self.labels, dtype=np.float64).mean(-1)
        result = {name: float(np.sqrt(square[mask].mean())) for name, mask in self.groups.items() if mask.any()}
        return result | {"labels": float(np.sqrt(np.mean(np.square(self.labels, dtype=np.float64))))}


def compare_forces(denoiser, frames, distances):
    """`ForceComparison` of the labelled frames, or None without any.

    Parameters
    ----------
    denoiser : Denoiser
    frames : Frames
    distances : dict of str to float, nm
        Contact distance of each pair of elements "A-B".
    """
    if not frames.labelled.any():
        return None
    frames = frames[frames.labelled]
    forces = denoiser.forces(frames.positions, False if frames.box is None else frames.boxes, frames.species)
    names = np.array(frames.symbols)
    everything = np.ones(frames.positions.shape[:2], dtype=bool)
    species = ["all", *dict.fromkeys(frames.symbols)]
    groups = {name: everything & ((name == "all") | (names == name)) for name in species}
    if contact_pairs(distances):
        contact = in_contact(frames, distances)
        groups |= {"contact": contact, "no contact": ~contact}
    return ForceComparison(frames.forces, forces, groups, species, frames.replica)


def contact_pairs(distances):
    """The contact distances that count: of pairs of two elements."""
    return {pair: distance for pair, distance in distances.items() if len(set(pair.split("-"))) == 2}


def force_rows(comparison):
    """Rows (quantity, of, curve, unit, value, error); errors by bootstrap over replicas."""
    blocks = block_numbers(comparison.replica)
    square, labels, unit = _square(comparison.forces - comparison.labels), _square(comparison.labels), "kJ/mol/nm"
    rows = {"force RMSE": [], "force rms, labels": [], "explained fraction": [], "share of particles": []}
    for name, mask in comparison.groups.items():
        if not mask.any():
            continue
        per_frame = np.stack([(square * mask).sum(1), (labels * mask).sum(1), mask.sum(1)], -1)
        sums = block_sums(per_frame, blocks)
        rmse = bootstrap(sums, lambda total: np.sqrt(total[..., 0] / total[..., 2] / 3))
        rms = bootstrap(sums, lambda total: np.sqrt(total[..., 1] / total[..., 2] / 3))
        rows["force RMSE"].append((name, "", unit, *rmse))
        rows["force rms, labels"].append((name, "", unit, *rms))
        rows["explained fraction"].append((name, "", "1", *bootstrap(sums, lambda t: 1 - t[..., 0] / t[..., 1])))
        if name not in comparison.species:
            share = block_sums(np.stack([mask.sum(1), np.full(len(mask), mask.shape[1])], -1), blocks)
            rows["share of particles"].append((name, "", "1", *bootstrap(share, lambda t: t[..., 0] / t[..., 1])))
    return [(quantity, *row) for quantity, part in rows.items() for row in part]


def noise_rows(comparison, products, squares):
    """Rows of the upper bound on the noise of the labels, per Cartesian component; errors by bootstrap over replicas.

    Parameters
    ----------
    comparison : ForceComparison
    products, squares : array, shape (n_frames, n_particles), (kJ/mol/nm)^2
        `projections` of the same frames at a small sigma.
    """
    rows, blocks, labels = [], block_numbers(comparison.replica), _square(comparison.labels)
    for name in comparison.species:
        mask = comparison.groups[name]
        parts = [(values * mask).sum(1) for values in (labels, products, squares)]
        sums = block_sums(np.stack([*parts, mask.sum(1)], -1), blocks)
        rows.append(("label noise, at most", name, "", "kJ/mol/nm", *bootstrap(sums, _noise_bound)))
    return rows


def _noise_bound(total):
    """sqrt(E|L|^2 - P), from sums of |L|^2, T . F, |F|^2 and of particles; 0 where sampling makes it negative."""
    label, product, square, count = np.moveaxis(total, -1, 0)
    return np.sqrt(np.maximum(label - product**2 / square, 0) / count / 3)


def _square(vectors):
    """|v|^2 over the last axis."""
    return np.square(vectors, dtype=np.float64).sum(-1)
