"""Refinement of several linear energies together: an ensemble whose populations are known, and the whole workflow."""

import functools

import numpy as np
import pandas
import pytest
import torch
from models import ALL, LICL, QUICK, licl_denoiser, licl_frames

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.linear import LinearSum
from openmm_diffusion.energies.manybody import ManyBody
from openmm_diffusion.energies.pair import SplinePair
from openmm_diffusion.learning.linear.relativeentropy import Sample, basis_sums, crossed, held_out, mean_sums, solve
from openmm_diffusion.learning.linear.scorematching import mean_moments, moments, solved
from openmm_diffusion.learning.training import train
from openmm_diffusion.model.combination import ensemble
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.space.batch import make_batch, sum_pairs
from openmm_diffusion.workflows.refine import refine

KT, CUTOFF, START = 2.494, 0.6, 0.25  # kJ/mol at 300 K, nm
SPECIES = torch.tensor([0, 0, 0, 1, 1])
PENALTY = [10.0, 10.0]
N = 6_000


def repulsion(x, box):
    """The prior, a soft repulsion of all pairs, kJ/mol."""
    r = make_batch(x, box, SPECIES, 0.3)
    return sum_pairs(r, 40 * KT * (1 - r.distances / 0.3) ** 2)


class Known:
    """Five particles under the prior alone: by its weights, this sample is every ensemble of the energies."""

    def __init__(self, seed=0):
        self.pair, self.manybody = SplinePair(2, CUTOFF, START, 0.07), ManyBody(2, CUTOFF, START, 2, 1)
        self.both = LinearSum([self.pair, self.manybody])
        rng = np.random.default_rng(seed)
        self.box = torch.eye(3, dtype=torch.float64) * 1.2
        self.x = torch.as_tensor(rng.uniform(0, 1.2, (4 * N, 5, 3)))
        p = torch.softmax(-repulsion(self.x, self.box.expand(4 * N, 3, 3)) / KT, 0).numpy()
        self.x = self.x[rng.choice(4 * N, N, p=p / p.sum())].requires_grad_(True)
        self.prior = -torch.autograd.grad(repulsion(self.x, self.box.expand(N, 3, 3)).sum(), self.x)[0]
        self.x = self.x.detach()
        self.sums = basis_sums(self.both, self.x, self.box.expand(N, 3, 3), SPECIES)
        # The truth is what no pair potential can be: a random many-body energy without its part in the sums over pairs.
        size, free = self.pair.coefficients.numel(), self.pair.free()
        many = torch.as_tensor(rng.normal(size=self.manybody.coefficients.numel()))
        sums = self.sums - self.sums.mean(0)
        pair = torch.zeros(size, dtype=torch.float64)
        pair[free] = -torch.linalg.lstsq(sums[:, :size][:, free], (sums[:, size:] @ many)[:, None]).solution[:, 0]
        truth = torch.cat([pair, many])
        self.truth = 0.6 * truth * KT / (self.sums @ truth).std()

    def probabilities(self, c):
        return torch.softmax(-self.sums @ c / KT, 0)

    def divergence(self, c):
        """Relative entropy of the true ensemble to that of c."""
        p, q = self.probabilities(self.truth), self.probabilities(c)
        return float((p * torch.log(p / q)).sum())

    def model(self, c, energy=None):
        """`Sample` of the ensemble of c, without a simulation; of one energy alone, its part."""
        sums = self.sums if energy is None else self.sums[:, : energy.coefficients.numel()]
        return Sample(c.clone(), sums, self.probabilities(self.whole(c)))

    def whole(self, c):
        """Coefficients of all, the rest zero."""
        return torch.nn.functional.pad(c, (0, len(self.truth) - len(c)))

    def drawn(self, c, n, seed):
        """Numbers of n frames of the ensemble of c."""
        p = self.probabilities(c).numpy()
        return np.random.default_rng(seed).choice(N, n, p=p / p.sum())

    def frames(self, n, seed):
        """Moments and sums of ten replicas of n true frames."""
        averages, sums, drawn = [], [], self.drawn(self.truth, n, seed)
        for part in np.array_split(drawn, 10):
            box = self.box.expand(len(part), 3, 3)
            averages.append(moments(self.both, self.x[part], self.prior[part], box, SPECIES, KT))
            sums.append(self.sums[part].mean(0))
        return averages, sums


@pytest.fixture(scope="module")
def known():
    return Known()


def moved(known, energy, replicas, data, c, penalty, weight, rounds=6):
    for _ in range(rounds):
        c = solve(energy, replicas, data, known.model(c, None if energy is known.both else energy), penalty, weight, KT)
        c = c.flatten()
    return c


# ---- one step


def test_sums_of_all_energies_stand_one_after_the_other(known):
    x, box = known.x[:50], known.box.expand(50, 3, 3)
    both = torch.cat([basis_sums(energy, x, box, SPECIES, 16) for energy in known.both.energies], 1)
    torch.testing.assert_close(known.sums[:50], both, rtol=1e-12, atol=1e-12)


def test_the_populations_of_all_energies_come_right_together(known):
    """With the populations of the true ensemble, the steps end in it; a pair potential alone cannot."""
    replicas, _ = known.frames(1000, 1)
    data = known.probabilities(known.truth) @ known.sums
    start = torch.zeros_like(known.truth)
    joint = moved(known, known.both, replicas, data, start, PENALTY, 1e6)
    assert known.divergence(start) > 0.2
    assert known.divergence(joint) < 1e-4
    size = known.pair.coefficients.numel()
    alone = [type(m)(m.A[:size, :size], m.b[:size], m.weight) for m in replicas]
    pair = moved(known, known.pair, alone, data[:size], start[:size], PENALTY[0], 1e6)
    assert known.divergence(known.whole(pair)) > 0.1


def test_few_frames_know_more_by_their_populations_than_by_forces_alone(known):
    before, after = [], []
    for seed in range(4):
        replicas, sums = known.frames(1000, seed)
        c = solved(known.both, *mean_moments(replicas), PENALTY)
        before.append(known.divergence(c))
        after.append(
            known.divergence(moved(known, known.both, replicas, mean_sums(replicas, sums), c, PENALTY, 1e3, 3))
        )
    gain = np.array(before) - np.array(after)
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_a_step_of_one_energy_is_that_of_a_sum_of_one_bit_for_bit(known):
    size = known.pair.coefficients.numel()
    replicas, sums = known.frames(300, 2)
    replicas = [type(m)(m.A[:size, :size], m.b[:size], m.weight) for m in replicas]
    sums = [one[:size] for one in sums]
    c = solved(known.pair, *mean_moments(replicas), 1e-3)
    model, data, one = known.model(c, known.pair), mean_sums(replicas, sums), LinearSum([known.pair])
    for weight in (0.0, 1e3):
        single = solve(known.pair, replicas, data, model, 1e-3, weight, KT)
        assert single.shape == known.pair.coefficients.shape
        assert torch.equal(single.flatten(), solve(one, replicas, data, model, [1e-3], weight, KT))
        scores = [held_out(e, replicas, sums, model, p, weight, KT) for e, p in ((known.pair, 1e-3), (one, [1e-3]))]
        assert scores[0] == scores[1]


def test_a_small_sample_is_seen_to_be_fitted_to_its_noise(known):
    """A step from few frames helps in them alone; one from many helps in others, too."""
    replicas, sums = known.frames(1000, 3)
    data, c = mean_sums(replicas, sums), 0.8 * known.truth
    found = []
    for n in (100, 6000):
        model = Sample(c, known.sums[known.drawn(c, n, 4)], torch.full((n,), 1 / n, dtype=torch.float64))
        found.append(crossed(known.both, replicas, data, model, PENALTY, 1e4, KT))
    assert found[1] < 0 < found[0]


class Strangers:
    """The two species of `Known` in energies of three, one of them nowhere: half of the curves have no data."""

    def __init__(self, known):
        self.known, self.energy = known, LinearSum([SplinePair(3, CUTOFF, START, 0.07), known.manybody])
        n_basis, size = known.pair.n_basis, self.energy.sizes[0]
        # Pairs (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2): the first, second and fourth curve.
        numbers = torch.arange(size).view(-1, n_basis)
        self.place = torch.cat([numbers[[0, 1, 3]].flatten(), size + torch.arange(known.manybody.coefficients.numel())])
        self.n = sum(self.energy.sizes)

    def spread(self, values, fill=0.0):
        """Rows (..., n_known) as rows of all coefficients."""
        wide = torch.full((*values.shape[:-1], self.n), fill, dtype=values.dtype)
        wide[..., self.place] = values
        return wide

    def moments(self, m):
        return type(m)(self.spread(self.spread(m.A).T).T, self.spread(m.b), m.weight)


def test_curves_that_nothing_tells_of_change_no_step_of_the_others(known):
    """They stay as they are, bit for bit, and all others move as they do where those curves do not exist."""
    replicas, sums = known.frames(300, 5)
    few, data, c = Strangers(known), mean_sums(replicas, sums), 0.5 * known.truth
    model = known.model(c)
    wide = Sample(few.spread(c, 7.0), few.spread(model.sums), model.probabilities)
    others = [few.moments(m) for m in replicas]
    for weight in (0.0, 1e4):
        alone = solve(known.both, replicas, data, model, PENALTY, weight, KT)
        step = solve(few.energy, others, few.spread(data), wide, PENALTY, weight, KT)
        torch.testing.assert_close(step[few.place], alone, rtol=1e-9, atol=1e-9 * float(alone.abs().max()))
        assert float((alone - c).abs().max()) > 0.1
        left = torch.ones(few.n, dtype=torch.bool).index_fill(0, few.place, False)
        assert left.sum() > 20 and (step[left] == 7.0).all()


def test_without_populations_a_step_is_the_full_regularised_solve(known):
    """All free coefficients in one dense solve, those of curves without data too."""
    replicas, sums = known.frames(300, 6)
    few = Strangers(known)
    others = [few.moments(m) for m in replicas]
    A, b = mean_moments(others)
    free, matrix = few.energy.free(), A + few.energy.penalty(PENALTY)
    parts = matrix.diagonal().split(few.energy.sizes)
    whole, ridge = np.zeros(few.n), torch.cat([part.max().expand(len(part)) for part in parts])
    matrix = (matrix + 1e-9 * torch.diag(ridge))[free][:, free]
    whole[free] = np.linalg.solve(matrix.numpy(), b[free].numpy())
    model = Sample(torch.zeros(few.n, dtype=torch.float64), few.spread(known.sums), known.probabilities(known.truth))
    step = solve(few.energy, others, few.spread(mean_sums(replicas, sums)), model, PENALTY, 0.0, KT)
    np.testing.assert_allclose(step.numpy(), whole, rtol=1e-6, atol=1e-7 * np.abs(whole).max())
    assert np.abs(whole).max() > 1


# ---- the whole refinement

CONFIG = {
    "data": {"test_fraction": 0.3, "validation_fraction": 0, "limit": 200},
    "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}}},
    "pair": {"sigma": 0},
    "manybody": {"sigma": 0, "radial": 2, "lmax": 1},
    "network": None,
}
SHORT = {"sampling": {"runs": 2, "duration": 3.0, "discard": 0.5, "interval": 0.25}}


@functools.cache
def trained():
    return train(Frames.load(LICL), CONFIG, progress=False)


@pytest.mark.slow
def test_pair_and_many_body_energies_are_refined_together(tmp_path):
    frames, model = Frames.load(LICL), trained()
    refined = refine(model, frames, tmp_path / "refined", SHORT)
    loaded = Denoiser.load(tmp_path / "refined" / "model.safetensors")
    assert loaded.digest() == refined.digest() and [t.kind for t in loaded.header.learnt] == ["pair", "manybody"]
    for before, after in zip(model.learnt.modules(), refined.learnt.modules()):
        assert not torch.equal(before.coefficients, after.coefficients)
    table = pandas.read_csv(tmp_path / "refined" / "refine.csv")
    assert table["relative_entropy"].iloc[0] < 0 and table["relative_entropy, other half"].notna().all()
    again = refine(model, frames, tmp_path / "refined", SHORT, resume=True)
    assert again.digest() == refined.digest()
    # An ensemble of such models is one pair potential and one many-body energy.
    other = refine(ensemble([model, refined]), frames, tmp_path / "ensemble", SHORT)
    assert [term.kind for term in other.header.learnt] == ["pair", "manybody"]


def ranged(denoiser):
    sigmas = [0.003, 0.005]
    terms = [t.model_copy(update={"sigmas": sigmas, "penalty": 1.0}) if t.linear else t for t in denoiser.header.terms]
    return Denoiser(denoiser.header.model_copy(update={"terms": terms}))


def fitted(denoiser):
    terms = [t.model_copy(update={"penalty": 1.0}) if t.linear else t for t in denoiser.header.terms]
    return denoiser.rebuilt(terms, denoiser.modules())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: licl_denoiser(kinds=("coulomb", "wall")), "needs an energy that is linear in its coefficients"),
        (lambda: licl_denoiser(kinds=QUICK), "and was fitted to data"),
        (lambda: ensemble([fitted(licl_denoiser(kinds=ALL))] * 2), "is a sum of models with a network: refine each"),
        (lambda: ranged(licl_denoiser(kinds=QUICK)), "a range of noise levels, and its populations at one"),
    ],
)
def test_what_has_no_populations_to_refine_is_refused(model, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        refine(model(), licl_frames(), tmp_path / "refined", SHORT)
    assert not list(tmp_path.iterdir())
