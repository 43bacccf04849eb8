"""The weight of basins: exact for one pair of particles, where averages are integrals; and the whole refinement."""

import mdtraj
import numpy as np
import pytest
import torch
from models import LICL, licl_denoiser, licl_frames

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.pair import PairConfig, SplinePair
from openmm_diffusion.learning.linear.relativeentropy import Sample, basis_sums, change, held_out, mean_sums, solve
from openmm_diffusion.learning.linear.scorematching import fit, moments, score_objective
from openmm_diffusion.learning.linear.scorematching import solve as score_matching
from openmm_diffusion.learning.training import train
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.workflows.refine import refine, training_frames

pytestmark = pytest.mark.slow

KT = 2.494  # kJ/mol at 300 K
CUTOFF, START, SPACING, BARRIER = 0.8, 0.18, 0.02, 0.34
# From 0.2 nm on, as if by a wall: below it is what no data tell.
R = np.linspace(0.2, CUTOFF, 6001)
SPECIES = torch.tensor([0, 1])


def energy(r):
    """Two wells with a barrier of some 5 kT between them, kJ/mol."""
    core = 40 * np.exp(-((r - 0.2) / 0.03))
    well = -14.0 * np.exp(-(((r - 0.26) / 0.03) ** 2)) + 8 * np.exp(-(((r - BARRIER) / 0.035) ** 2))
    return core + well - 3 * np.exp(-(((r - 0.48) / 0.06) ** 2))


def probabilities(u):
    """Of the distances R of two particles that are closer than the cutoff."""
    p = R**2 * np.exp(-(u - u.min()) / KT)
    return p / p.sum()


def pairs_of(u, n, seed):
    """n independent configurations, shape (n, 2, 3), nm."""
    rng = np.random.default_rng(seed)
    r = rng.choice(R, size=n, p=probabilities(u))
    direction = rng.normal(size=(n, 3))
    x = np.zeros((n, 2, 3))
    x[:, 1] = r[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return torch.as_tensor(x)


def empty_pair():
    return SplinePair(2, CUTOFF, START, SPACING)


def contact(u):
    """Population below the barrier."""
    return probabilities(u)[R < BARRIER].sum()


def exact_sample(pair):
    """The `Sample` by quadrature instead of simulation."""
    x = torch.zeros(len(R), 2, 3, dtype=torch.float64)
    x[:, 1, 0] = torch.as_tensor(R)
    p = torch.as_tensor(probabilities(pair.curve(1, R)))
    return Sample(pair.coefficients.flatten().clone(), basis_sums(pair, x, None, SPECIES), p)


def learnt(n_frames, seed):
    """Score matching on frames of ten replicas: the pair, its replicas, their sums, and the penalty."""
    pair, replicas, sums = empty_pair(), [], []
    for x in pairs_of(energy(R), n_frames, seed).chunk(10):
        replicas.append(moments(pair, x, torch.zeros_like(x), None, SPECIES, KT))
        sums.append(basis_sums(pair, x, None, SPECIES).mean(0))
    result = fit(pair, replicas, PairConfig(cutoff=CUTOFF, start=START, spacing=SPACING))
    return pair, replicas, sums, result["penalty"]


def test_basis_sums_times_coefficients_are_the_energy():
    pair = licl_denoiser(kinds=("pair",)).modules()[0]
    x, box = torch.as_tensor(licl_frames().positions[:5]).double(), torch.as_tensor(licl_frames().boxes[:5])
    index = licl_denoiser(kinds=("pair",)).species_index(licl_frames().species)
    sums = basis_sums(pair, x, box, index, frames_per_chunk=2)
    # Below the first knot the potential is straight and the sums are those at the knot: no pair is there.
    expected = pair(make_batch(x, box, index, pair.cutoff))
    torch.testing.assert_close(sums @ pair.coefficients.flatten(), expected, rtol=1e-10, atol=1e-10)


def test_change_is_the_relative_entropy():
    pair = learnt(2000, 0)[0]
    model = exact_sample(pair)
    generator = torch.Generator().manual_seed(0)
    direction = torch.zeros_like(model.c).view_as(pair.coefficients)
    direction[1, 2:-6] = torch.randn(pair.n_basis - 8, generator=generator, dtype=torch.float64)
    data = torch.as_tensor(probabilities(energy(R)))
    x = torch.zeros(len(R), 2, 3, dtype=torch.float64)
    x[:, 1, 0] = torch.as_tensor(R)
    data = data @ basis_sums(pair, x, None, SPECIES)

    def exact(step):
        """<U>_data / kT + ln Z, from both potentials, by quadrature."""
        other = empty_pair()
        other.coefficients.copy_(pair.coefficients + step * direction)
        u = [p.curve(1, R) for p in (pair, other)]
        log_z = [np.log(np.sum(R**2 * np.exp(-v / KT))) for v in u]
        d = (other.coefficients - pair.coefficients).flatten()
        return float(data @ d) / KT + log_z[1] - log_z[0]

    for step in (0.3, 3.0):
        c = pair.coefficients + step * direction
        assert change(c, data, model, KT) == pytest.approx(exact(step), rel=1e-6)


def test_populations_come_right_where_score_matching_alone_misses_them():
    truth, n_frames = contact(energy(R)), 2000
    before, after, scores = [], [], []
    for seed in range(8):
        pair, replicas, sums, penalty = learnt(n_frames, seed)
        before.append(contact(pair.curve(1, R)))
        for _ in range(8):
            model = exact_sample(pair)
            c = solve(pair, replicas, mean_sums(replicas, sums), model, penalty, 1000.0, KT)
            pair.coefficients.copy_(c)
            if model.effective(c, KT) > 0.99:
                break
        after.append(contact(pair.curve(1, R)))
        model = exact_sample(pair)
        scores.append([held_out(pair, replicas, sums, model, penalty, w, KT)[0] for w in (1000.0, 0.0)])
    deviation = [np.sqrt(np.mean((np.array(p) - truth) ** 2)) for p in (before, after)]
    # So many independent frames know a population p to sqrt(p (1 - p) / n).
    counting = np.sqrt(truth * (1 - truth) / n_frames)
    assert 0.1 < truth < 0.9 and deviation[0] > 20 * counting, "or there would be nothing to gain"
    # The penalty, chosen for the forces, leaves a bias of its own size.
    assert deviation[1] < 2.5 * counting
    # Forces on held-out frames do not pay for it.
    scores = np.array(scores)
    gain = scores[:, 0] - scores[:, 1]
    assert gain.mean() < 2 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_weight_zero_is_score_matching_alone():
    pair, replicas, sums, penalty = learnt(1000, 1)
    model, data = exact_sample(pair), mean_sums(replicas, sums)
    alone = solve(pair, replicas, data, model, penalty, 0.0, KT)
    expected = score_matching(pair, replicas, penalty)
    assert score_objective(alone, replicas) == pytest.approx(score_objective(expected, replicas), rel=1e-3)
    much = solve(pair, replicas, data, model, penalty, 1e5, KT)
    assert change(much, data, model, KT) < change(alone, data, model, KT)


# ---- the whole refinement

CONFIG = {
    "data": {"test_fraction": 0.3, "validation_fraction": 0, "limit": 200},
    "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}}},
    "pair": {"sigma": 0},
    "network": None,
}
SHORT = {"iterations": 2, "sampling": {"runs": 2, "duration": 3.0, "discard": 0.5, "interval": 0.25}}


def test_a_refinement_leaves_a_table_and_a_model_and_goes_on_where_it_stopped(tmp_path):
    frames = Frames.load(LICL)
    model = train(frames, CONFIG)
    original, lines = model.digest(), []
    refined = refine(model, frames, tmp_path / "refined", SHORT, report=lines.append)
    assert model.digest() == original and refined.digest() != original
    assert Denoiser.load(tmp_path / "refined" / "model.safetensors").digest() == refined.digest()
    table = (tmp_path / "refined" / "refine.csv").read_text().splitlines()
    assert len(table) == 3 and "held-out relative entropy" in table[0]
    assert sum("run" in line for line in lines) == 4
    trajectory = tmp_path / "refined" / "iteration-1" / "run-1" / "trajectory.xtc"
    written = trajectory.stat().st_mtime_ns
    again = refine(model, frames, tmp_path / "refined", SHORT, resume=True)
    assert trajectory.stat().st_mtime_ns == written and again.digest() == refined.digest()
    with pytest.raises(ValueError, match="holds a refinement already: resume"):
        refine(model, frames, tmp_path / "refined", SHORT)
    with pytest.raises(ValueError, match="begun with another model"):
        refine("licl", frames, tmp_path / "refined", SHORT, resume=True)
    with pytest.raises(ValueError, match="begun with another weight"):
        refine(model, frames, tmp_path / "refined", {**SHORT, "weight": 10}, resume=True)


def test_particles_in_any_order_start_where_they_are(tmp_path):
    frames = Frames.load(LICL)
    mixed = np.arange(48).reshape(2, 24).T.ravel()  # Li, Cl, Li, Cl, ...
    frames = Frames(frames.positions[:, mixed], frames.species[mixed], frames.box, 300.0, None, frames.replica)
    model = train(frames, CONFIG)
    refine(model, frames, tmp_path / "refined", {**SHORT, "iterations": 1})
    start = mdtraj.load(str(tmp_path / "refined" / "iteration-0" / "run-0" / "topology.pdb"))
    used = training_frames(model, frames)
    for symbol in ("Li", "Cl"):
        there = start.xyz[0][start.topology.select(f"element {symbol}")]
        # A PDB file rounds to 0.0001 nm.
        np.testing.assert_allclose(there, used.positions[0][np.array(used.symbols) == symbol], atol=1e-3)


def test_models_without_a_fitted_linear_energy_are_not_refined(tmp_path):
    with pytest.raises(ValueError, match="needs an energy that is linear in its coefficients"):
        refine(licl_denoiser(kinds=("coulomb", "wall")), licl_frames(), tmp_path / "a", SHORT)
    with pytest.raises(ValueError, match="unknown key iteration"):
        refine(licl_denoiser(), licl_frames(), tmp_path / "b", {"iteration": 1})
    with pytest.raises(ValueError, match="with discard 10 ps and interval 0.5 ps no frame is left"):
        refine(licl_denoiser(), licl_frames(), tmp_path / "c", {"sampling": {"duration": 5}})
    assert not list(tmp_path.iterdir()), "refused before anything is written"
