"""Force labels: exact where they are, trusted as far as their noise allows, and never needed in every frame."""

import numpy as np
import pytest
import torch
from mixture import BOX, CUTOFF, KT, SPACING, SPECIES, START, crowded, error, random_pair, sample, true_forces
from scipy.stats import norm

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.network import NetworkTerm
from openmm_diffusion.energies.pair import PairConfig, SplinePair
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.linear.forcematching import fit_labelled, labelled_moments, mixed
from openmm_diffusion.learning.linear.scorematching import fit, mean_moments, moments, penalised
from openmm_diffusion.learning.network.forcematching import HybridTask
from openmm_diffusion.learning.training import train
from openmm_diffusion.learning.trainingset import TrainingSystem, tensors
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.model.header import Header
from openmm_diffusion.noise import draw_noise
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.units import BOLTZMANN, thermal_energy

pytestmark = pytest.mark.slow

CONFIG = PairConfig(
    cutoff=CUTOFF, start=START, spacing=SPACING, penalties=[float(10**e) for e in np.arange(-3, 6.5, 0.5)]
)
LI, CL = 3, 17


@pytest.fixture(scope="module")
def frames():
    return sample(1000, seed=5)


@pytest.fixture(scope="module")
def held_out():
    return sample(100, seed=6)


def replicas_of(positions, labels):
    """Ten sets of independent frames."""
    pair, species = SplinePair(2, CUTOFF, START, SPACING), torch.as_tensor(SPECIES)
    parts = []
    for k in range(10):
        x = torch.as_tensor(positions[k::10])
        box = torch.as_tensor(BOX).expand(len(x), 3, 3)
        parts.append(labelled_moments(pair, x, torch.zeros_like(x), torch.as_tensor(labels[k::10]), box, species, KT))
    return pair, parts


def noisy(positions, noise, seed=0, labelled=None):
    """True forces with Gaussian noise (kJ/mol/nm) in the first frames, NaN in the others."""
    forces = true_forces(positions) + noise * np.random.default_rng(seed).normal(size=positions.shape)
    if labelled is not None:
        forces[labelled:] = np.nan
    return forces


def fitted(positions, labels, target):
    pair, parts = replicas_of(positions, labels)
    return pair, fit_labelled(pair, parts, CONFIG, target, sigma=0.005, kT=KT)


# ---- moments


def test_as_many_particles_as_are_sorted_into_cells():
    """Where every frame has labels, the frames without are none: 216 particles find their neighbours by cells."""
    x = 3 * torch.rand(2, 216, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    species, box = torch.arange(216) % 2, 3 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    pair = SplinePair(2, CUTOFF, START, SPACING)
    apart = labelled_moments(pair, x, torch.zeros_like(x), torch.ones_like(x), box, species, KT)
    whole = moments(pair, x, torch.zeros_like(x), box, species, KT)
    torch.testing.assert_close(sum(m.A for m in apart.score), whole.A)
    torch.testing.assert_close(sum(m.A for m in apart.force), whole.A)
    assert whole.A.abs().max() > 0


def test_species_add_up_to_the_moments_of_score_matching():
    pair = random_pair()
    positions, c = crowded()
    generator = torch.Generator().manual_seed(0)
    prior, labels = torch.randn(2, 2, 6, 3, generator=generator, dtype=torch.float64)
    labels[0] = torch.nan
    box = torch.as_tensor(BOX).expand(2, 3, 3)
    apart = labelled_moments(pair, positions, prior, labels, box, c.species, KT)
    whole = moments(pair, positions, prior, box, c.species, KT)
    torch.testing.assert_close(sum(m.A for m in apart.score), whole.A)
    torch.testing.assert_close(sum(m.b for m in apart.score), whole.b)
    G = pair.design(c)[0].view(2, 18, -1)[1]
    torch.testing.assert_close(sum(m.A for m in apart.force), G.T @ G)
    torch.testing.assert_close(sum(m.b for m in apart.force), G.T @ (labels - prior)[1].flatten())
    assert [m.weight for m in apart.score + apart.force] == [2, 2, 1, 1]


@pytest.mark.parametrize("s", [0, 1])
def test_divergence_of_a_species_is_its_part_of_the_trace(s):
    pair = random_pair()
    positions, c = crowded()
    zero = torch.zeros_like(positions)
    apart = labelled_moments(pair, positions, zero, zero, torch.as_tensor(BOX).expand(2, 3, 3), c.species, KT)

    def potential(flat):
        return pair(make_batch(flat.view(2, 6, 3), torch.as_tensor(BOX), c.species, CUTOFF)).sum()

    hessian = torch.autograd.functional.hessian(potential, positions.flatten())
    of_species = (c.species == s).repeat(2).repeat_interleave(3)
    expected = -float(hessian.diagonal()[of_species].sum()) / 2
    assert float(-apart.score[s].b @ pair.coefficients.flatten()) / KT == pytest.approx(expected, rel=1e-10)


# ---- the fit


def test_exact_labels_recover_the_potential_far_better_than_positions(frames, held_out):
    labels = noisy(frames, 0)
    force_pair, result = fitted(frames, labels, "force")
    pair, parts = replicas_of(frames, labels)
    fit(pair, mixed(parts, [0, 0]), CONFIG)
    # 0.004 of the rms force is left by the splines themselves, 0.1 by score matching.
    assert error(force_pair, held_out) < 0.01 < 0.05 < error(pair, held_out)
    assert result["weights"].tolist() == [1, 1]


def test_error_of_noisy_labels_is_that_of_least_squares(frames):
    # c = A^-1 b has the covariance noise^2 A^-1 / n over draws of noise: <|G (c - c_0)|^2> is noise^2 rank / n.
    noise, penalty, n = 100.0, 1e-3, len(frames)
    squares = []
    for seed in range(8):
        pair, parts = replicas_of(frames, noisy(frames, noise, seed) - true_forces(frames))
        A, b = mean_moments(mixed(parts, [1, 1]))
        matrix, free = penalised(pair, A, penalty)
        c = torch.linalg.solve(matrix, b[free])
        squares.append(float(c @ A[free][:, free] @ c))
    hat = torch.linalg.solve(matrix, A[free][:, free])
    expected = noise**2 / n * float(torch.trace(hat @ hat))
    assert np.mean(squares) == pytest.approx(expected, abs=4 * np.std(squares) / np.sqrt(8))
    assert np.std(squares) < 0.3 * expected


@pytest.mark.parametrize("noise, low, high", [(0, 0.98, 1), (100, 0.4, 0.9), (3000, 0, 0.01)])
def test_weights_follow_the_noise_and_hybrid_is_no_worse_than_either(frames, held_out, noise, low, high):
    errors = {"denoise": [], "force": [], "hybrid": []}
    for seed in range(3):
        part = frames[seed::3]
        labels = noisy(part, noise, seed)
        for target in ("force", "hybrid"):
            pair, result = fitted(part, labels, target)
            errors[target].append(error(pair, held_out))
        assert (low <= result["weights"]).all() and (result["weights"] <= high).all()
        v_denoise = (KT / 0.005) ** 2
        np.testing.assert_allclose(result["textbook"], v_denoise / (v_denoise + noise**2), rtol=0.1, atol=0.01)
        pair, parts = replicas_of(part, labels)
        fit(pair, mixed(parts, [0, 0]), CONFIG)
        errors["denoise"].append(error(pair, held_out))
    better = min(errors["denoise"], errors["force"], key=np.mean)
    assert np.mean(errors["hybrid"]) < np.mean(better) + np.std(better, ddof=1) / np.sqrt(3) + 1e-3


def test_frames_without_labels_are_used(frames, held_out):
    labels = noisy(frames, 100, labelled=50)
    force_pair, _ = fitted(frames[:50], labels[:50], "force")
    pair, result = fitted(frames, labels, "hybrid")
    assert error(pair, held_out) < 0.6 * error(force_pair, held_out)
    assert (result["weights"] > 0.3).all(), "the noise of a label does not depend on how many there are"


def test_labels_in_a_single_replica_cannot_be_cross_validated(frames):
    labels = noisy(frames, 100)
    labels[np.arange(len(labels)) % 10 > 0] = np.nan
    with pytest.raises(ValueError, match="1 of 10 replicas has force labels"):
        fitted(frames, labels, "hybrid")


# ---- the network


def well(n, w, noise=0.0):
    """One ion in a harmonic well of width w along x, 0.3 nm from an anchor, with its forces."""
    rng = np.random.default_rng(0)
    x = np.zeros((n, 2, 3))
    x[:, 0, 0] = 0.3 + w * rng.permutation(norm.ppf((np.arange(n) + 0.5) / n))
    k = thermal_energy(300) / w**2
    forces = np.zeros_like(x)
    forces[:, 0, 0] = -k * (x[:, 0, 0] - 0.3) + noise * rng.normal(size=n)
    return Frames(x, [LI, CL], None, 300.0, forces, np.arange(n) // (n // 8)), k


def spring(denoiser, width):
    d = np.linspace(-2.5, 2.5, 51) * width
    y = np.zeros((51, 2, 3))
    y[:, 0, 0] = 0.3 + d
    density = norm.pdf(d / width)
    return -np.sum(density * d * denoiser.forces(y, box=False)[:, 0, 0]) / np.sum(density * d**2)


def well_config(target, sigma, **training):
    return {
        "target": target,
        "data": {"test_fraction": 0},
        "noise": {"sigma": sigma, "species": ["Li"], "axes": "x"},
        "prior": {"coulomb": None, "wall": None},
        "pair": None,
        "network": {"cutoff": 0.6, "lmax": 0, "features": 8, "layers": 1, "radial_width": 16},
        "training": {
            "steps": 600, "batch": 128, "learning_rate": 0.01, "weight_decay": 0, "patience": 100, **training
        },
    }  # fmt: skip


def test_force_matching_learns_the_spring_of_the_clean_well(tmp_path):
    # noise.sigma = w would give a spring of k / 2: it must play no part.
    frames, k = well(2000, 0.03)
    denoiser = train(frames, well_config("force", 0.03), tmp_path, progress=False)
    assert spring(denoiser, 0.03) == pytest.approx(k, rel=0.02)
    assert denoiser.sigma == 0 and denoiser.header.terms[0].sigma == 0
    loaded = type(denoiser).load(tmp_path / "model.safetensors")
    assert spring(loaded, 0.03) == pytest.approx(spring(denoiser, 0.03), rel=1e-4), "a file is in single precision"
    with pytest.raises(ValueError, match="sigma is 0"):
        denoiser.denoised(frames.positions[0], box=False)


def test_a_hybrid_network_learns_the_spring_of_the_noised_well():
    # Half of the frames have labels, with noise of the size of the forces.
    w = 0.03
    frames, k = well(2000, w, noise=thermal_energy(300) / w)
    forces = frames.forces.copy()
    forces[::2] = np.nan
    frames = Frames(frames.positions, frames.species, None, 300.0, forces, frames.replica)
    denoiser = train(frames, well_config("hybrid", w), progress=False)
    # Scatter of trainings 3 %; the clean well's spring is twice as stiff.
    assert spring(denoiser, w * np.sqrt(2)) == pytest.approx(k / 2, rel=0.05)
    # v_F is the mean square of labels off a fixed part of zero, (kT / w)^2 twice on x and nothing on y and z.
    assert denoiser.header.held_out["network_textbook_weights"]["Li"] == pytest.approx(0.6, abs=0.05)


def hybrid_task(noise):
    """A task on the well, its network not trained; label noise in units of kT / w."""
    w = 0.03
    frames, _ = well(800, w, noise=noise * thermal_energy(300) / w)
    # So few steps that a frame is visited once.
    config = read_config(well_config("hybrid", w / 3, batch=16, steps=10, check_every=10))
    header = Header(
        species=[LI, CL], particles=[LI, CL], temperature=300.0, box=None, number_density=None,
        shortest_distances=[[None, 0.2], [0.2, None]],
        terms=[NetworkTerm(sigma=config.sigma, network=config.network, neighbours=1.0)],
    )  # fmt: skip
    torch.manual_seed(0)
    denoiser, nothing = Denoiser(header), Denoiser(header.model_copy(update={"terms": []}))
    torch.nn.init.zeros_(denoiser.modules()[0].network.readout.weight)
    data = tensors(frames, denoiser, config, torch.float32)
    return HybridTask(denoiser.model, [TrainingSystem(nothing.model, data, data, thermal_energy(300))], config).train()


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_measured_weights_leave_the_gradient_the_least_variance(noise):
    task = hybrid_task(noise)
    chosen = task.force_weights.clone()
    assert torch.equal(chosen, hybrid_task(noise).force_weights), "a resumed training measures the same"
    readout = task.network.energies[0].network.readout.weight
    variances = []
    for weight in (chosen[0], 0.0, 0.25, 0.5, 0.75, 1.0):
        task.force_weights[0] = weight
        generator = torch.Generator().manual_seed(5)
        gradients = []
        for _ in range(100):
            some = torch.randint(800, (16,), generator=generator)
            frames = task.systems[0].training.at(some)
            noised = task.config.noise
            eps = draw_noise(frames.positions, noised.draws, noised.antithetic, generator, frames.mask)
            sigma = eps.new_full(eps.shape[:2], noised.sigma)
            losses = task.score_losses(task.systems[0], frames, eps, sigma)
            gradients.append(torch.autograd.grad(losses.mean(), readout)[0])
        variances.append(float(torch.stack(gradients).var(0).sum()))
    # Sixteen groups of frames tell a variance to about a third.
    assert variances[0] < 1.15 * min(variances)
    assert max(variances) > 1.5 * min(variances)


def test_measured_weights_fall_with_the_noise_of_the_labels():
    weights = [float(hybrid_task(noise).force_weights[0]) for noise in (0.0, 3.0, 100.0)]
    assert 1 > weights[0] > weights[1] > weights[2] and weights[2] < 0.01


# ---- through the configuration


def liquid(positions, labels):
    """Frames of the known potential: ten replicas, as lithium and chloride."""
    return Frames(
        positions, np.where(SPECIES == 0, LI, CL), BOX, KT / BOLTZMANN, labels, np.arange(len(positions)) % 10
    )


PAIR_ONLY = {
    "data": {"test_fraction": 0, "validation_fraction": 0},
    "prior": {"coulomb": None, "wall": None},
    "network": None,
    "pair": CONFIG.model_dump() | {"sigma": 0},
}


@pytest.mark.parametrize("target, sigma, tolerance", [("force", 0, 0.01), ("hybrid", 0, 0.01), ("hybrid", 0.005, 0.15)])
def test_targets_reach_the_pair_potential(frames, held_out, target, sigma, tolerance):
    config = {**PAIR_ONLY, "target": target, "pair": {**PAIR_ONLY["pair"], "sigma": sigma}}
    denoiser = train(liquid(frames[:500], noisy(frames[:500], 0)), config, progress=False)
    truth = true_forces(held_out)
    deviation = denoiser.forces(held_out, BOX, np.where(SPECIES == 0, LI, CL)) - truth
    assert np.sqrt(np.mean(deviation**2) / np.mean(truth**2)) < tolerance
    assert denoiser.header.data["target"] == target
    if target == "hybrid":
        assert min(denoiser.header.held_out["pair_force_weights"].values()) > (0.9 if sigma == 0 else 0.5)


@pytest.mark.parametrize("target", ["force", "hybrid"])
@pytest.mark.parametrize("n, told", [(0, "none"), (3, "3")])
def test_a_target_without_labels_is_refused(frames, target, n, told):
    labels = noisy(frames[:50], 0, labelled=n) if n else None
    with pytest.raises(ValueError, match=f"target is {target}, but {told} of the 50 training frames have force labels"):
        train(liquid(frames[:50], labels), {**PAIR_ONLY, "target": target}, progress=False)


def test_force_matching_needs_labels_to_stop_a_network_by():
    frames, _ = well(160, 0.03)
    config = read_config(well_config("force", 0.03))
    held_out = np.unique(frames.split(0.15, config.data.seed + 2)[1].replica)
    forces = frames.forces.copy()
    forces[np.isin(frames.replica, held_out)] = np.nan
    frames = Frames(frames.positions, frames.species, None, 300.0, forces, frames.replica)
    with pytest.raises(ValueError, match="none of the validation frames have force labels"):
        train(frames, config, progress=False)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"target": "labels"}, r"target is 'labels'; .*'denoise', 'force' or 'hybrid'"),
        ({"target": "force", "pair": {"sigma": 0.01}}, r"pair\.sigma is 0\.01 nm: target: force learns at clean"),
    ],
)
def test_wrong_targets_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        read_config(values)
