"""Two witnesses of one mean force, for energies that are linear in their coefficients, F = F_prior + G c.

On frames x noised to y = x + sigma eps, of the denoising label T = -kT eps/sigma and of the force label F_label(x)::

    A c = <G(y)^T G(y)> c = <G(y)^T (T - F_prior(y))> = <G(y)^T (F_label(x) - F_prior(y))>

in expectation.  The mean of <G^T T> over all draws is -kT <div G>, with noise or without: exact score matching.
The sums are kept apart by species, replica, size of set and fraction of labels, so that one pass over the frames serves
all sets, and those with more draws go on from those with fewer.
"""

import numpy as np
import torch

from openmm_diffusion.learning.linear.forcematching import LabelledMoments
from openmm_diffusion.learning.linear.scorematching import Moments
from openmm_diffusion.model.sum import energy_and_forces
from openmm_diffusion.noise import denoising_force
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.units import thermal_energy


class Witnesses:
    """The sums.

    Parameters
    ----------
    energy : LinearSum
    prior : Denoiser
        What is known of the forces.
    given : Subsets
    sigma : float, nm
        0: the frames as they are, by exact score matching; one call of `draw` then.
    seed : int
        Of the noise.

    Attributes
    ----------
    draws : int
        Draws of noise of each frame so far.
    exact : bool
        Whether the witness of noise is exact score matching on the noised frames, and not labels of their draws.
    """

    def __init__(self, energy, prior, given, sigma, seed):
        self.energy, self.prior, self.given, self.sigma, self.seed = energy, prior, given, sigma, seed
        self.species = prior.species_index(given.frames.types)
        self.kT = thermal_energy(given.frames.temperature)
        keys = np.stack([given.frames.replica, given.size, given.share], axis=1)
        self.groups, self.group = np.unique(keys, axis=0, return_inverse=True)
        self.counts, self.draws = np.bincount(self.group.ravel()), 0
        n, size = energy.n_species, sum(energy.sizes)
        self.A = torch.zeros(len(self.groups), n, size, size, dtype=torch.float64)
        self.drawn = torch.zeros(len(self.groups), n, size, dtype=torch.float64)
        self.score, self.exact = torch.zeros_like(self.drawn), sigma == 0
        self.label = {name: torch.zeros_like(self.drawn) for name in given.labels}

    def draw(self):
        """Add one draw of noise of every frame."""
        frames = self.given.frames
        eps = np.random.default_rng([self.seed, 4, self.draws]).normal(size=frames.positions.shape)
        for number in range(len(self.groups)):
            rows = np.flatnonzero(self.group.ravel() == number)
            self._add(number, rows, torch.as_tensor(eps[rows]))
        self.draws += 1

    def _add(self, number, rows, eps):
        frames = self.given.frames[rows]
        y = torch.as_tensor(frames.positions).double() + self.sigma * eps
        box = torch.as_tensor(frames.boxes)
        known = energy_and_forces(self.prior.model, y, box, self.species)[1]
        G, divergence = self.energy.design_by_species(make_batch(y, box, self.species, self.energy.cutoff))
        G = G.view(len(rows), len(self.species), 3, -1)
        labels = {name: torch.as_tensor(all_[rows]) for name, all_ in self.given.labels.items()}
        for s in range(self.energy.n_species):
            own = self.species == s
            G_s = G[:, own].flatten(0, 2)
            self.A[number, s] += G_s.T @ G_s
            if self.sigma:
                target = denoising_force(eps, self.sigma, self.kT) - known
                self.drawn[number, s] += G_s.T @ target[:, own].flatten()
            self.score[number, s] -= G_s.T @ known[:, own].flatten() + self.kT * divergence[s]
            for name, label in labels.items():
                self.label[name][number, s] += G_s.T @ (label - known)[:, own].flatten()

    def parts(self, size, share, name):
        """The two witnesses of a set, replica by replica, as `Parts`.

        Parameters
        ----------
        size, share : int
            Place of the set among the sizes, and of the fraction of its labels, 0 being none.
        name : str
            Of the labels.
        """
        replica, of_size, of_share = self.groups.T
        found = []
        for number in np.unique(replica):
            here = (replica == number) & (of_size <= size)
            labelled, bare = (np.flatnonzero(here & which) for which in (of_share < share, of_share >= share))
            if len(labelled) or len(bare):
                found.append(Parts(*(self._sums(rows, name) for rows in (labelled, bare))))
        return found

    def _sums(self, rows, name):
        chosen = torch.as_tensor(rows)
        noise = self.score if self.exact else self.drawn
        sums = (values[chosen].sum(0) / self.draws for values in (self.A, noise, self.label[name]))
        return *sums, float(self.counts[rows].sum())


class Parts:
    """What the labelled and the other frames of one replica say.

    Parameters
    ----------
    labelled, bare : (Tensor, Tensor, Tensor, float)
        A, b of noise and b of labels, each by species and summed over frames, and their number.
    """

    def __init__(self, labelled, bare):
        self.labelled, self.bare = labelled, bare

    def blend(self, weights, others):
        """`Moments` with the label's weight in the target of labelled frames, and that of other frames, by species.

        Labelled frames have (1 - w) b_noise + w b_label and count 1; the others b_noise, and count `others`.
        """
        A, b, count = 0, 0, 0.0
        for s, (w, u) in enumerate(zip(weights, others)):
            (A_l, noise_l, label_l, n_l), (A_u, noise_u, _, n_u) = self.labelled, self.bare
            A = A + A_l[s] + u * A_u[s]
            b = b + (1 - w) * noise_l[s] + w * label_l[s] + u * noise_u[s]
            count += (n_l + u * n_u) / len(weights)
        return Moments(A / count, b / count, count) if count > 0 else None

    def moments(self):
        """The same as the package keeps them: `LabelledMoments`."""
        (A_l, noise_l, label_l, n_l), (A_u, noise_u, _, n_u) = self.labelled, self.bare
        species, n = range(len(A_l)), n_l + n_u
        score = [Moments((A_l[s] + A_u[s]) / n, (noise_l[s] + noise_u[s]) / n, n) for s in species]
        force = [Moments(A_l[s] / max(n_l, 1), label_l[s] / max(n_l, 1), n_l) for s in species]
        return LabelledMoments(score, force, torch.zeros(len(A_l)), torch.ones(len(A_l)))
