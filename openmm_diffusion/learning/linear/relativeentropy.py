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

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...space.batch import make_batch
from .scorematching import mean_moments, penalised, score_objective

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
    scale of `scorematching.fit`.

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
    smooth = A + energy.penalty(penalty)

    def objective(c):
        return float(0.5 * c @ smooth @ c - b @ c) + weight * kT**2 * change(c, data, model, kT)

    c = model.c.clone()
    for _ in range(50):
        _, p = model.reweighted(c, kT)
        B = p @ model.sums
        C = (model.sums * p[:, None]).T @ model.sums - B[:, None] * B[None]
        gradient = smooth @ c - b + weight * kT * (data - B)
        hessian, free = penalised(energy, A + weight * C, penalty)
        step = torch.zeros_like(c)
        step[free] = -torch.linalg.solve(hessian, gradient[free])
        now, slope, length = objective(c), float(gradient @ step), 1.0
        # Armijo's condition; and no further than the sample reaches.
        while objective(c + length * step) > now + 1e-4 * length * slope or (
            weight > 0 and model.effective(c + length * step, kT) < EFFECTIVE
        ):
            length /= 2
            if length < 1e-3:
                return c.view_as(energy.coefficients)
        c = c + length * step
        if -slope < 1e-6 * abs(now):
            break
    return c.view_as(energy.coefficients)


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
    for fold in range(n_folds):
        out = [i for i in range(len(replicas)) if i % n_folds == fold]
        kept = [i for i in range(len(replicas)) if i % n_folds != fold]
        data = mean_sums(replicas, sums, kept)
        c = solve(energy, [replicas[i] for i in kept], data, model, penalty, weight, kT)
        scores.append(score_objective(c, [replicas[i] for i in out]))
        entropies.append(change(c, mean_sums(replicas, sums, out), model, kT))
    return float(np.mean(scores)), float(np.mean(entropies))


def crossed(energy, replicas, data, model, penalty, weight, kT):
    """`change` in one half of the sample by a step that knew the other half alone, mean of both: negative is better.

    In the sample that a step is made from, it fits the sample's noise too, the more so the more coefficients
    there are.  Arguments as `solve`.
    """
    parts = zip(model.sums.tensor_split(2), model.probabilities.tensor_split(2))
    first, second = (Sample(model.c, sums, p / p.sum()) for sums, p in parts)
    steps = [
        change(solve(energy, replicas, data, known, penalty, weight, kT), data, other, kT)
        for known, other in ((first, second), (second, first))
    ]
    return float(np.mean(steps))


def mean_sums(replicas, sums, chosen=None):
    """<B>_data over replicas, weighted by their frames."""
    chosen = range(len(replicas)) if chosen is None else chosen
    total = sum(replicas[i].weight for i in chosen)
    return sum(sums[i] * (replicas[i].weight / total) for i in chosen)
