"""Exact score matching of what is linear in its parameters: the pair potential, in closed form.

U(y) = sum_{i<j} u_ab(r_ij) with u_ab(r) = sum_k c_k B_k(r) is linear in c, and so
is its force F = G c.  The c that minimises Hyvarinen's score-matching objective
<|F|^2 / 2 kT^2 + div F / kT>, with F = F_prior + G c, solves

    A c = b,   A = <G^T G>,   b = -<G^T F_prior + kT div G>

with averages over configurations alone.  Averages over noised frames give the
optimal pair potential at that noise level, U_sigma, without the variance
(kT/sigma)^2 of denoising labels; averages over clean frames give sigma = 0.
Every B_k vanishes at the cutoff with its first two derivatives: otherwise the
partial integration behind the objective misses a boundary term.

References
----------
Hyvarinen, J. Mach. Learn. Res. 6, 695 (2005).
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg.blas import dsyrk
from torch import Tensor

from ...energies.linear import LinearSum
from ...space.batch import make_batch
from .calibration import best_scale, scaled
from .elimination import Eliminated
from .pressure import PressureConfig, Strain, mean_strain, pressure_error, pressure_of, with_row
from .uncertainty import deviations, force_squares

log = logging.getLogger(__name__)

#: Rounds in which the penalties of several energies are chosen in turn; two or three settle them.
ROUNDS = 4


@dataclass
class Moments:
    """Averages that the fit needs, of one replica.

    Attributes
    ----------
    A : Tensor, shape (n_coefficients, n_coefficients), 1/nm^2
        <G^T G> per frame.
    b : Tensor, shape (n_coefficients,), kJ/mol/nm^2
        -<G^T F_prior + kT div G> per frame.
    weight : float
        Frames averaged over.
    strain : Strain or None
        What the pressure depends on, where one is asked for.
    """

    A: Tensor
    b: Tensor
    weight: float
    strain: Strain | None = None

    def weighted(self, factor):
        """The same, each frame counting `factor` times."""
        return self if factor == 1 else replace(self, weight=factor * self.weight)

    def joined(self, other):
        """Those of two replicas as of one."""
        total = self.weight + other.weight
        if total <= 0:  # neither has a frame that counts
            return self
        A, b = mean_moments([self, other])
        strain = None if self.strain is None else mean_strain([self, other])
        return Moments(A, b, total, strain)


def moments(energy, positions, prior_forces, box, species, kT, frames_per_chunk=32, connectivity=None, told=None):
    """`Moments` of a set of configurations.

    Parameters
    ----------
    energy : LinearEnergy
    positions, prior_forces : Tensor, shape (n_frames, n_particles, 3), nm and kJ/mol/nm
    box : Tensor, shape (n_frames, 3, 3), nm, or None
    species : Tensor, shape (n_particles,)
    kT : float, kJ/mol
    connectivity : Connectivity or None
        Who is bonded to whom.
    told : callable, optional
        Called with the number of frames after each chunk.
    """
    size = energy.coefficients.numel()
    A, b = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for start in range(0, len(positions), frames_per_chunk):
        chunk = slice(start, start + frames_per_chunk)
        boxes = None if box is None else box[chunk]
        c = make_batch(positions[chunk].double(), boxes, species, energy.cutoff, None, connectivity)
        G, divergence = energy.design(c)
        b -= G.T @ prior_forces[chunk].double().reshape(-1) + kT * divergence
        # Many functions are of pairs of types that no frame holds: what is zero costs as much as what is not.
        used = torch.nonzero(G.abs().amax(0)).squeeze(1)
        if len(used) < 0.9 * size:
            A[used.unsqueeze(1), used] += squared(G.index_select(1, used))
        else:
            A += G.T @ G
        if told is not None:
            told(len(c.positions))
    return Moments(A / len(positions), b / len(positions), float(len(positions)))


def squared(G):
    """G^T G, of which half is computed: the other half is its mirror image."""
    upper = torch.from_numpy(dsyrk(1.0, G.numpy().T))
    return upper + upper.triu(1).T


def mean_moments(replicas):
    """A and b averaged over the frames of several `Moments`."""
    if len(replicas) == 1:
        return replicas[0].A, replicas[0].b
    total = sum(m.weight for m in replicas)
    return sum(m.A * (m.weight / total) for m in replicas), sum(m.b * (m.weight / total) for m in replicas)


def solve(energy, replicas, penalty, pressure=None):
    """Penalised solution c of A c = b, shape of `energy.coefficients`, kJ/mol.

    The last three coefficients of each spline stay zero.  `pressure` adds a row, see `fit`.
    """
    A, b = with_row(*mean_moments(replicas), replicas, pressure)
    return solved(energy, A, b, penalty).view_as(energy.coefficients)


def solved(energy, A, b, penalty):
    """Penalised solution of A c = b, shape (n_coefficients,)."""
    matrix, free = penalised(energy, A, penalty)
    c = torch.zeros(len(b), dtype=torch.float64)
    # Symmetric and positive: half the work of a general solver.
    c[free] = torch.cholesky_solve(b[free].unsqueeze(1), torch.linalg.cholesky(matrix)).squeeze(1)
    return c


def determined(energy, told):
    """Which coefficients are fitted: the free ones of curves that the data tell something of; others stay zero.

    `told` (n_coefficients,) is above zero where they do: for an average A, its diagonal.

    Of a molecule, most pairs of types may be no more than three bonds apart: curves of theirs have no data.
    """
    curve = energy.curves()
    known = torch.zeros(int(curve.max()) + 1, dtype=torch.bool)
    known[curve[told > 0]] = True
    return energy.free() & known[curve]


def penalised(energy, A, penalty):
    """A + penalty R of the coefficients that are fitted, and which these are (`determined`)."""
    free = determined(energy, A.diagonal())
    matrix = (A + energy.penalty(penalty))[free][:, free]
    return ridged(matrix, energy.sizes, free), free


def ridged(matrix, sizes, free=None):
    """The matrix of the free coefficients of energies of some sizes with a small ridge for each energy.

    Curves of no fourth difference where no data are: without a ridge the matrix is singular.
    """
    counts = sizes if free is None else [int(part.sum()) for part in free.split(sizes)]
    parts = matrix.diagonal().split(counts)
    ridge = torch.cat([part.max().expand(len(part)) if len(part) else part for part in parts])
    return matrix + 1e-9 * torch.diag(ridge)


def score_objective(c, replicas):
    """c^T A c / 2 - b^T c (kJ^2/mol^2/nm^2 per frame): lower is better, zero for no pair potential.

    kT^2 times Hyvarinen's objective, up to the prior's own part; on held-out frames
    it falls as the mean squared force error / 2 does.
    """
    A, b = mean_moments(replicas)
    c = c.flatten()
    return float(0.5 * c @ A @ c - b @ c)


@dataclass
class Fold:
    """Moments of the replicas that a fit sees, made when they are asked for, and of those left out.

    Attributes
    ----------
    whole : (Tensor, Tensor)
        A and b of all replicas.
    A_out, b_out : Tensor
        Of those left out.
    share : float
        Part of all frames that they are.
    kept : list of Moments
        Of the replicas seen.
    pressure : PressureConfig or None
        That a row of what is fitted is for.
    """

    whole: tuple
    A_out: Tensor
    b_out: Tensor
    share: float
    kept: list
    pressure: PressureConfig | None = None

    @property
    def seen(self):
        """A and b of what is fitted."""
        A, b = self.whole
        seen = (A - self.share * self.A_out) / (1 - self.share), (b - self.share * self.b_out) / (1 - self.share)
        return with_row(*seen, self.kept, self.pressure)


def folds_of(replicas, n_folds, pressure=None):
    """`Fold` after `Fold`: replica i is left out of fold i % n_folds; `pressure` adds a row to what is fitted."""
    total, whole = sum(m.weight for m in replicas), mean_moments(replicas)
    folds = []
    for fold in range(n_folds):
        left_out = replicas[fold::n_folds]
        share = sum(m.weight for m in left_out) / total
        kept = [m for i, m in enumerate(replicas) if i % n_folds != fold]
        folds.append(Fold(whole, *mean_moments(left_out), share, kept, pressure))
    return folds


def held_out_scale(energy, folds, penalty, fixed=False):
    """`Scale` of the solution of a penalty, one number or one for each energy of a sum: held-out scores with it."""
    return best_scale([solved(energy, *fold.seen, penalty) for fold in folds], folds, energy.sizes, fixed)


def _scales(energy, folds, chosen, number, penalties, fixed):
    """`held_out_scale` for each of some penalties of one energy, those of the others as chosen."""
    if not isinstance(energy, LinearSum):
        return [held_out_scale(energy, folds, penalty, fixed) for penalty in penalties]
    own = torch.cat([torch.full((size,), i == number) for i, size in enumerate(energy.sizes)])
    form, roughness = energy.penalty(chosen), energy.roughness_of(number)
    solutions = [[] for _ in penalties]
    for fold in folds:
        A, b = fold.seen
        free = determined(energy, A.diagonal())
        mine = free[own]
        A_own, R_own = A[own][:, own][mine][:, mine], roughness[mine][:, mine]
        matrix = ridged((A + form)[free][:, free], energy.sizes, free)
        eliminated = Eliminated(matrix, b[free], own[free])
        for found, penalty in zip(solutions, penalties):
            c = torch.zeros(len(free), dtype=torch.float64)
            c[free] = eliminated.solved(ridged(A_own + penalty * R_own, [len(A_own)]))
            found.append(c)
    return [best_scale(found, folds, energy.sizes, fixed) for found in solutions]


def fit(energy, replicas, config, noun="pair potential", systems=None, pressure=None):
    """Fit `energy` in place; penalties and scales are chosen by the held-out score over folds of replicas.

    The penalty chosen is the largest whose score is within one standard error of the best one's
    (Breiman et al., Classification and Regression Trees, 1984): held-out scores are noisy, and
    too rough a potential errs far more where data are sparse than too smooth a one.  Of a sum of
    energies, each has a penalty of its own; they are chosen in turn until none changes.

    Parameters
    ----------
    energy : LinearEnergy or LinearSum
    replicas : list of Moments
        One per independent replica, or per contiguous stretch of a single run.
    config : LinearSettings, or list of them
        One for each energy of a sum.
    noun : str
        What the log calls the energy.
    systems : list of int, optional
        Number of the system that each replica is of; None: all of one.
    pressure : PressureConfig, optional
        That the energies shall have on these frames, of which the replicas hold the strain.  No factor
        scales the forces then: the pressure would follow.

    Returns
    -------
    dict
        `penalty`, `scale` and its standard error `scale_error`, of a sum lists; `held_out_score`, mean over
        folds; `path`, a list of (penalty, score, standard error of its difference from the best), of a sum one
        such list for each energy; `degrees_of_freedom`, the effective number of coefficients, of a sum a list;
        `system_scores`, the held-out score of each system, per frame of it; `force_square` and
        `force_variance`, mean square and variance of the forces summed over the coordinates of a frame, of a sum
        lists, and `deviations`, both from the fits to all but one fold.
    """
    if len(replicas) < 2:
        raise ValueError("one replica or frame cannot be cross-validated: give at least two frames to train on")
    joint = isinstance(energy, LinearSum)
    settings = list(config) if joint else [config]
    n_folds = min(min(one.folds for one in settings), len(replicas))
    folds, fixed = folds_of(replicas, n_folds, pressure), pressure is not None
    chosen = [one.penalties[len(one.penalties) // 2] for one in settings]
    paths, known = [[] for _ in settings], set()
    for _ in range(ROUNDS):
        before = list(chosen)
        for number, one in enumerate(settings):
            if joint and tuple(chosen[:number] + [None] + chosen[number + 1 :]) in known:
                continue  # the others are what they were when it was chosen
            known.add(tuple(chosen[:number] + [None] + chosen[number + 1 :]))
            scores = np.array([scale.scores for scale in _scales(energy, folds, chosen, number, one.penalties, fixed)])
            best = scores.mean(1).argmin()
            errors = (scores - scores[best]).std(1, ddof=1) / np.sqrt(n_folds)
            paths[number] = list(zip(one.penalties, scores.mean(1).tolist(), errors.tolist()))
            allowed = np.flatnonzero(scores.mean(1) <= scores.mean(1)[best] + one.caution * errors)
            chosen[number] = max(one.penalties[row] for row in allowed)
        if chosen == before or not joint:
            break
    scale = held_out_scale(energy, folds, chosen if joint else chosen[0], fixed)
    penalty, score = chosen if joint else chosen[0], float(scale.scores.mean())
    energy.assign(scaled(solve(energy, replicas, penalty, pressure), scale.factors, energy.sizes))
    freedom = degrees_of_freedom(energy, replicas, penalty)
    log.info(
        "%s: penalty %s, scale %s, held-out score %.0f kJ^2/mol^2/nm^2 per frame, %s degrees of freedom",
        noun, ", ".join(f"{one:g}" for one in chosen), ", ".join(f"{one:.3f}" for one in scale.factors), score,
        ", ".join(f"{one:.0f}" for one in freedom),
    )  # fmt: skip
    if joint and not scale.own:
        log.info("%s: one scale for all, for their forces nearly cancel, or are not told apart", noun)
    solutions = [scaled(solved(energy, *fold.seen, penalty), scale.factors, energy.sizes) for fold in folds]
    spread = deviations(energy.coefficients.flatten(), solutions, [fold.share for fold in folds])
    A, _ = mean_moments(replicas)
    of_each = {
        "penalty": chosen, "scale": scale.factors.tolist(), "scale_error": scale.errors.tolist(),
        "degrees_of_freedom": freedom, "path": paths,
        "force_square": force_squares(energy.coefficients, A, energy.sizes),
        "force_variance": force_squares(spread, A, energy.sizes),
    }  # fmt: skip
    found = of_each if joint else {key: values[0] for key, values in of_each.items()}
    found |= {"held_out_score": score, "system_scores": [score], "deviations": spread}
    if systems is not None and len(set(systems)) > 1:
        found["system_scores"] = _scores_of(solutions, replicas, systems)
    if pressure is not None:
        found |= _pressures(energy, replicas, n_folds, penalty, score)
    return found


def _pressures(energy, replicas, n_folds, penalty, score):
    """What the row of the pressure did: the pressure, its standard error, and what it cost on held-out frames."""
    free = held_out_scale(energy, folds_of(replicas, n_folds), penalty)
    without = pressure_of(solve(energy, replicas, penalty), replicas)
    told = {
        "pressure": pressure_of(energy.coefficients, replicas),
        "pressure_error": pressure_error(energy.coefficients, replicas),
        "pressure_price": score - float(free.scores.mean()),
    }
    log.info(
        "pressure %.0f +- %.0f bar, without its row %.0f bar; it costs %.0f kJ^2/mol^2/nm^2 per frame of a held-out "
        "score of %.0f", told["pressure"], told["pressure_error"], without, told["pressure_price"], score,
    )  # fmt: skip
    return told


def degrees_of_freedom(energy, replicas, penalty):
    """Effective number of coefficients of each energy: the trace of its part of (A + R)^-1 A, R being the penalty."""
    A, _ = mean_moments(replicas)
    matrix, free = penalised(energy, A, penalty)
    shares = torch.zeros(len(free), dtype=torch.float64)
    shares[free] = torch.linalg.solve(matrix, A[free][:, free]).diagonal()
    return [float(part.sum()) for part in shares.split(energy.sizes)]


def _scores_of(solutions, replicas, systems):
    """Held-out score of each system: of each of its replicas under the fit that did not see it, weighted by frames."""
    scores = []
    for number in sorted(set(systems)):
        own = [i for i, system in enumerate(systems) if system == number]
        total = sum(replicas[i].weight for i in own)
        parts = [score_objective(solutions[i % len(solutions)], [replicas[i]]) for i in own]
        scores.append(sum(replicas[i].weight / total * part for i, part in zip(own, parts)))
    return scores
