"""The weight of basins: linear energies that also have the data's populations, by relative entropy.

Score matching knows the relative population of two basins only through the forces on the
sparsely sampled barrier between them.  The relative entropy of the data to the model,

    S_rel(c) = c . <B>_data / kT + ln Z(c) + const,   U = sum_k c_k B_k,

knows it from the populations themselves; at its minimum <B_k>_model = <B_k>_data.  For a pair
potential, B_k = sum_{i<j} B_k(r_ij), that is to say equal g(r); for splines of bonds and
angles, equal distributions of these; for several energies together it holds for the basis
functions of all.  Frames of the model's own ensemble at coefficients c_0 give it near there
by reweighting:

    S_rel(c) - S_rel(c_0) = <B>_data . d / kT + ln <exp(-B . d / kT)>_0,   d = c - c_0.

Forces from the one objective and populations from the other: the sum

    c^T A c / 2 - b^T c + penalty + w kT^2 S_rel(c)

is convex, and Newton's method finds its minimum.

References
----------
Shell, J. Chem. Phys. 129, 144108 (2008); Lyubartsev & Laaksonen, Phys. Rev. E 52, 3730 (1995).
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...space.batch import make_batch
from .scorematching import Moments, determined, folds_of, mean_moments, ridged, score_objective, squared

#: Part of the sample that must stay effective: where reweighting would lean on fewer frames, a step ends.
EFFECTIVE = 0.3


@dataclass
class Sample:
    """Frames of the model's own ensemble.

    Attributes
    ----------
    c : Tensor, shape (n_coefficients,), kJ/mol
        Coefficients c_0 that the ensemble belongs to.
    sums : Tensor, shape (n_frames, n_coefficients)
        `basis_sums` of each frame.
    probabilities : Tensor, shape (n_frames,)
        Their weights at c_0; they add up to 1.
    """

    c: Tensor
    sums: Tensor
    probabilities: Tensor

    @functools.cached_property
    def varied(self):
        """Which sums are not alike in all frames, shape (n_coefficients,), dtype bool."""
        return self.sums.amax(0) > self.sums.amin(0)

    def reweighted(self, c, kT):
        """ln <exp(-B . d / kT)>_0, and the frames' probabilities at c."""
        logarithms = torch.log(self.probabilities) - self.sums @ (c.flatten() - self.c) / kT
        total = torch.logsumexp(logarithms, 0)
        return float(total), torch.exp(logarithms - total)

    def effective(self, c, kT):
        """Part of the sample that is effective at c, 0 to 1 (Kish)."""
        _, p = self.reweighted(c, kT)
        return float(1 / (p * torch.where(p > 0, p / self.probabilities, 0.0)).sum())


def sample(energy, sums):
    """`Sample` of the ensemble of `energy` from `basis_sums` of its frames."""
    even = torch.full((len(sums),), 1 / len(sums), dtype=sums.dtype)
    return Sample(energy.coefficients.flatten().clone(), sums, even)


def basis_sums(energy, positions, box, species, frames_per_chunk=64, connectivity=None):
    """B_k of every frame, shape (n_frames, n_coefficients): of pairs, how often they visit each basis function.

    Parameters
    ----------
    energy : LinearEnergy or LinearSum
    positions : Tensor, shape (n_frames, n_particles, 3), nm
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,)
    connectivity : Connectivity or None
        Who is bonded to whom.
    """
    rows = []
    for start in range(0, len(positions), frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        boxes = None if box is None else box[chunk]
        c = make_batch(positions[chunk].double(), boxes, species, energy.cutoff, None, connectivity)
        rows.append(energy.values(c))
    return torch.cat(rows)


def change(c, data, model, kT):
    """S_rel(c) - S_rel(c_0) per frame, dimensionless.

    Parameters
    ----------
    c : Tensor, kJ/mol
    data : Tensor, shape (n_coefficients,)
        <B>_data.
    model : Sample
    kT : float, kJ/mol
    """
    return float(data @ (c.flatten() - model.c)) / kT + model.reweighted(c, kT)[0]


def solve(energy, replicas, data, model, penalty, weight, kT):
    """Minimum of score matching, penalty and `weight` kT^2 S_rel together, shape of `energy.coefficients`, kJ/mol.

    Or as far on the way to it as the sample can tell: see `EFFECTIVE`.  Without the held-out
    scale of `scorematching.fit`.  Curves that neither frames nor sample tell of stay as they are.

    Parameters
    ----------
    energy : LinearEnergy or LinearSum
    replicas : list of Moments
    data : Tensor
        <B>_data of the same frames.
    model : Sample
    penalty : float, or one for each energy of a sum
    weight : float, 1/nm^2
    kT : float, kJ/mol
    """
    A, b = mean_moments(replicas)
    return _moved(energy, A, b, data, model, penalty, weight, kT).view_as(energy.coefficients)


def _moved(energy, A, b, data, model, penalty, weight, kT):
    """`solve` from the averages of all replicas, shape (n_coefficients,)."""
    free = determined(energy, A.diagonal() + (model.varied if weight > 0 else 0))
    sizes, varied = [int(part.sum()) for part in free.split(energy.sizes)], torch.nonzero(model.varied[free]).squeeze(1)
    # With the ridge of the fit: without forces on populations its solution is found, and at once.
    smooth = A + energy.penalty(penalty)
    rest = torch.where(free, 0.0, model.c)
    b, smooth, c = (b - smooth @ rest)[free], ridged(smooth[free][:, free], sizes), model.c[free]
    means = model.probabilities @ model.sums
    known, near = (data - means)[free], Sample(c, (model.sums - means)[:, free], model.probabilities)

    def objective(c):
        return float(0.5 * c @ smooth @ c - b @ c) + weight * kT**2 * change(c, known, near, kT)

    for _ in range(50):
        hessian, gradient = smooth, smooth @ c - b
        if weight > 0:
            _, p = near.reweighted(c, kT)
            B = p @ near.sums
            gradient = gradient + weight * kT * (known - B)
            hessian = smooth.clone()
            hessian[varied[:, None], varied] += weight * squared(torch.sqrt(p)[:, None] * (near.sums - B)[:, varied])
        step = -torch.cholesky_solve(gradient.unsqueeze(1), torch.linalg.cholesky(hessian)).squeeze(1)
        if weight == 0:
            c = c + step
            break
        now, slope, length = objective(c), float(gradient @ step), 1.0
        # Armijo's condition; and no further than the sample reaches.
        while length > 1e-3 and (
            objective(c + length * step) > now + 1e-4 * length * slope
            or near.effective(c + length * step, kT) < EFFECTIVE
        ):
            length /= 2
        if length < 1e-3:
            break
        c = c + length * step
        if -slope < 1e-6 * abs(now):
            break
    return rest.masked_scatter(free, c)


def held_out(energy, replicas, sums, model, penalty, weight, kT, n_folds=5):
    """What a weight does on replicas left out: score objective and change of S_rel, means over folds.

    Arguments as `solve`, with `sums` <B>_data of each replica.

    Returns
    -------
    score : float, kJ^2/mol^2/nm^2 per frame
        `score_objective`: lower is better.
    entropy : float
        `change` from the sampled potential, per frame: negative is better.
    """
    n_folds = min(n_folds, len(replicas))
    scores, entropies = [], []
    for number, fold in enumerate(folds_of(replicas, n_folds)):
        kept = [i for i in range(len(replicas)) if i % n_folds != number]
        c = _moved(energy, *fold.seen, mean_sums(replicas, sums, kept), model, penalty, weight, kT)
        scores.append(score_objective(c, [Moments(fold.A_out, fold.b_out, 1.0)]))
        left_out = range(number, len(replicas), n_folds)
        entropies.append(change(c, mean_sums(replicas, sums, left_out), model, kT))
    return float(np.mean(scores)), float(np.mean(entropies))


def crossed(energy, replicas, data, model, penalty, weight, kT):
    """`change` in one half of the sample by a step that knew the other half alone, mean of both: negative is better.

    In the sample that a step is made from, it fits the sample's noise too, the more so the more coefficients
    there are.  Arguments as `solve`.
    """
    A, b = mean_moments(replicas)
    parts = zip(model.sums.tensor_split(2), model.probabilities.tensor_split(2))
    first, second = (Sample(model.c, sums, p / p.sum()) for sums, p in parts)
    steps = [
        change(_moved(energy, A, b, data, known, penalty, weight, kT), data, other, kT)
        for known, other in ((first, second), (second, first))
    ]
    return float(np.mean(steps))


def mean_sums(replicas, sums, chosen=None):
    """<B>_data over replicas, weighted by their frames."""
    chosen = range(len(replicas)) if chosen is None else chosen
    total = sum(replicas[i].weight for i in chosen)
    return sum(sums[i] * (replicas[i].weight / total) for i in chosen)
