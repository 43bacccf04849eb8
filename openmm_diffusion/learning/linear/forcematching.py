"""Force labels for what is linear in its parameters: alone, or together with exact score matching.

With labels F_label, the force F = F_prior + G c of `scorematching` can be fitted by least
squares, A c = <G^T (F_label - F_prior)>.  Labels and positions are two witnesses of the
same mean force: for the forces F_s on the particles of species s alone,

    Q_s^score(c) = sum over all frames of       |F_s|^2 / 2 + kT div_s F        (integrated by parts)
    Q_s^force(c) = sum over labelled frames of  |F_s|^2 / 2 - F_s . F_label,s

have the same expectation per frame up to a constant, so that every weighted sum

    Q(c) = sum_s (1 - w_s) Q_s^score(c) + w_s Q_s^force(c)

is unbiased.  As sums over frames, not means, few labels count for little by themselves, and the
best w_s = v_score / (v_score + v_force) depends on the noise per frame v of the two gradients
alone, not on how many frames have labels.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ...space.batch import make_batch
from .scorematching import Moments, fit, mean_moments, penalised


@dataclass
class LabelledMoments:
    """`Moments` of one replica, apart by species and by witness.

    Attributes
    ----------
    score : list of Moments, one per species
        Moments of the positions of all frames: b = -<G_s^T F_prior,s + kT div_s G>.
    force : list of Moments, one per species
        Moments of the labels of labelled frames: b = <G_s^T (F_label - F_prior)_s>; weight 0 without labels.
    power : Tensor, shape (n_species,), (kJ/mol/nm)^2
        <|(F_label - F_prior)_s|^2> of labelled frames, all components together.
    components : Tensor, shape (n_species,)
        Coordinates of each species.
    """

    score: list
    force: list
    power: torch.Tensor
    components: torch.Tensor

    def weighted(self, factor):
        """The same, each frame counting `factor` times."""
        score, force = ([m.weighted(factor) for m in parts] for parts in (self.score, self.force))
        return self if factor == 1 else replace(self, score=score, force=force)

    def joined(self, other):
        """Those of two replicas as of one."""
        score, force = (
            [one.joined(more) for one, more in zip(mine, theirs)]
            for mine, theirs in ((self.score, other.score), (self.force, other.force))
        )
        counts = [parts.force[0].weight for parts in (self, other)]
        power = (self.power * counts[0] + other.power * counts[1]) / max(sum(counts), 1)
        return replace(self, score=score, force=force, power=power)


def labelled_moments(
    energy, positions, prior_forces, labels, box, species, kT, frames_per_chunk=32, connectivity=None, told=None
):
    """`LabelledMoments` of a set of configurations.

    Parameters
    ----------
    energy : LinearEnergy
    positions, prior_forces : Tensor, shape (n_frames, n_particles, 3), nm and kJ/mol/nm
    labels : Tensor, shape (n_frames, n_particles, 3), kJ/mol/nm
        Total forces, prior included; NaN in frames without.  Of frames noised by sigma, the
        labels of the clean ones: their mean given the noised frame is its force, too.
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,)
    kT : float, kJ/mol
    connectivity : Connectivity or None
        Who is bonded to whom.
    told : callable, optional
        Called with the number of frames after each chunk.
    """
    size, n_species = energy.coefficients.numel(), energy.n_species
    shape = (2, n_species, size)
    A, b = torch.zeros(*shape, size, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    power, components = torch.zeros(n_species, dtype=torch.float64), 3 * torch.bincount(species, minlength=n_species)
    labelled = ~torch.isnan(labels[:, 0, 0])
    for witness, rows in enumerate((torch.nonzero(~labelled).flatten(), torch.nonzero(labelled).flatten())):
        for chunk in rows.split(frames_per_chunk) if len(rows) else ():  # splitting nothing gives one empty chunk
            boxes = None if box is None else box[chunk]
            c = make_batch(positions[chunk].double(), boxes, species, energy.cutoff, None, connectivity)
            G, divergence = energy.design_by_species(c)
            G = G.view(len(chunk), len(species), 3, size)
            for s in range(n_species):
                G_s = G[:, species == s].flatten(0, 2)
                prior = prior_forces[chunk][:, species == s].double().flatten()
                A[witness, s] += G_s.T @ G_s
                b[0, s] -= G_s.T @ prior + kT * divergence[s]
                if witness:
                    rest = labels[chunk][:, species == s].double().flatten() - prior
                    b[1, s] += G_s.T @ rest
                    power[s] += rest @ rest
            if told is not None:
                told(len(chunk))
    A[0] += A[1]
    counts = len(positions), int(labelled.sum())
    score, force = (
        [Moments(A[k, s] / max(n, 1), b[k, s] / max(n, 1), float(n)) for s in range(n_species)]
        for k, n in enumerate(counts)
    )
    return LabelledMoments(score, force, power / max(counts[1], 1), components)


def mixed(replicas, weights):
    """Replicas as plain `Moments` of Q(c), for `scorematching.fit`.

    Parameters
    ----------
    replicas : list of LabelledMoments
    weights : sequence of float, one per species
        w_s: 0 takes the positions alone, 1 the labels alone.

    Returns
    -------
    list of Moments
        Replicas without any frame that counts are left out.
    """
    result = []
    for replica in replicas:
        parts = [
            (m, factor * m.weight)
            for w, score, force in zip(weights, replica.score, replica.force)
            for m, factor in ((score, 1 - w), (force, w))
        ]
        weight = sum(f for _, f in parts) / len(replica.score)
        if weight > 0:
            A, b = sum(f * m.A for m, f in parts) / weight, sum(f * m.b for m, f in parts) / weight
            result.append(Moments(A, b, weight))
    return result


def balance(energy, replicas, penalty):
    """Weights w_s that leave the least error, from the scatter of both gradients over replicas.

    Near the solution c, replica r pulls with g_r = sum over its frames of A c - b.  What these
    pulls scatter, in the metric (A + penalty R)^-1 that turns them into a squared force error, is
    the noise per frame v of a witness.  Correlations between frames, which no variance of single
    labels knows of, are in it.

    Parameters
    ----------
    energy : LinearEnergy
        Fitted: c is its coefficients.
    replicas : list of LabelledMoments
    penalty : float

    Returns
    -------
    array, shape (n_species,)
        v_score / (v_score + v_force).
    """
    c = energy.coefficients.flatten()
    A, _ = mean_moments(mixed(replicas, np.zeros(energy.n_species)))
    metric, free = penalised(energy, A, penalty)

    def scatter(parts):
        parts = [m for m in parts if m.weight > 0]
        frames = sum(m.weight for m in parts)
        A, b = mean_moments(parts)
        pull = torch.stack([m.weight * ((m.A - A) @ c - (m.b - b)) for m in parts])[:, free]
        unbiased = len(parts) / (len(parts) - 1) if len(parts) > 1 else torch.inf
        return unbiased * float((pull.T * torch.linalg.solve(metric, pull.T)).sum()) / frames

    v_score = np.array([scatter([r.score[s] for r in replicas]) for s in range(energy.n_species)])
    v_force = np.array([scatter([r.force[s] for r in replicas]) for s in range(energy.n_species)])
    return v_score / (v_score + v_force)


def label_residual(energy, replicas):
    """Mean square of F_label - F_prior - G c per component, by species: array, shape (n_species,), (kJ/mol/nm)^2."""
    c = energy.coefficients.flatten()
    parts = [r for r in replicas if r.force[0].weight > 0]
    squares = []
    for s in range(energy.n_species):
        A, b = mean_moments([r.force[s] for r in parts])
        frames = sum(r.force[s].weight for r in parts)
        power, components = (
            sum(r.force[s].weight * values[s] for r, values in each) / frames
            for each in ([(r, r.power) for r in parts], [(r, r.components) for r in parts])
        )
        squares.append(float((power - 2 * b @ c + c @ A @ c) / components))
    return np.maximum(squares, 0)


def textbook_weights(energy, replicas, sigma, kT):
    """v_D / (v_D + v_F) by species: right for single independent draws of noise only, and here for comparison.

    v_D = (kT / sigma)^2 is the variance of one denoising label per component, v_F that of a force
    label: its `label_residual`.
    """
    v_force = label_residual(energy, replicas)
    v_denoise = (kT / sigma) ** 2
    return v_denoise / (v_denoise + v_force)


def fit_labelled(energy, replicas, config, target, sigma, kT, noun="pair potential", systems=None, passes=4):
    """Fit `energy` in place with force labels.

    Weights and fit depend on each other: from the fit to positions alone, a few passes
    settle both (the third changes w by less than 0.01 on a known potential).

    Parameters
    ----------
    energy : LinearEnergy
    replicas : list of LabelledMoments
        At least two with labels.
    config : LinearSettings
    target : "force" or "hybrid"
        Labels alone, or labels and positions.
    sigma : float, nm
        Noise level that the textbook weights are stated for.
    kT : float, kJ/mol
    noun : str
        What the log calls the energy.
    systems : list of int, optional
        As in `scorematching.fit`.
    passes : int

    Returns
    -------
    dict
        As `scorematching.fit`, with `weights` and `textbook`, arrays of shape (n_species,).
    """
    with_labels = sum(r.force[0].weight > 0 for r in replicas)
    if with_labels < 2:
        raise ValueError(
            f"{with_labels} of {len(replicas)} replicas has force labels: cross-validation needs labelled frames in "
            "two at least"
        )
    if systems is not None and target == "force":  # as in `mixed`
        systems = [number for number, r in zip(systems, replicas) if r.force[0].weight > 0]
    n_species = energy.n_species
    weights = np.ones(n_species) if target == "force" else np.zeros(n_species)
    result = fit(energy, mixed(replicas, weights), config, noun, systems)
    if target == "hybrid":
        for _ in range(passes):
            weights = balance(energy, replicas, result["penalty"])
            result = fit(energy, mixed(replicas, weights), config, noun, systems)
    return {**result, "weights": weights, "textbook": textbook_weights(energy, replicas, sigma, kT)}
