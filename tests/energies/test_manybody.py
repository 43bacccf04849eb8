"""Many-body energies: invariances, closed forms against automatic differentiation and sums over triples, and a fit."""

import dataclasses

import numpy as np
import openmm
import pytest
import torch
from models import LICL, licl_denoiser, licl_frames
from scipy.integrate import trapezoid
from scipy.special import eval_legendre

from openmm_diffusion import Denoiser, DiffusionForce, Frames, create_system, train
from openmm_diffusion.energies.manybody import ManyBody, ManyBodyTerm
from openmm_diffusion.forces.compiled.cache import CACHE
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.linear.forcematching import labelled_moments
from openmm_diffusion.space.batch import make_batch

CUTOFF, START = 0.6, 0.15
CUBIC, TRICLINIC = 1.5 * np.eye(3), np.array([[1.5, 0, 0], [0.3, 1.6, 0], [-0.4, 0.5, 1.7]])
SPECIES = np.array([0, 1, 1, 0, 0, 1, 0])


def random_energy(radial=3, lmax=3, sigmas=None, seed=0):
    energy = ManyBody(2, CUTOFF, START, radial, lmax, sigmas)
    generator = torch.Generator().manual_seed(seed)
    energy.coefficients.copy_(torch.randn(energy.coefficients.shape, generator=generator, dtype=torch.float64))
    return energy


def crowded(n_frames=2):
    """Positions with many neighbours, one pair below `start`, spread over the faces of the boxes."""
    x = np.random.default_rng(4).uniform(-0.4, 0.4, (n_frames, len(SPECIES), 3))
    x[:, 1] = x[:, 0] + [0.08, 0.05, -0.03]
    return x


def batch(positions, box=None, species=SPECIES, cutoff=CUTOFF):
    box = None if box is None else torch.as_tensor(box)
    return make_batch(torch.as_tensor(positions), box, torch.as_tensor(species), cutoff)


def energies(energy, positions, box=None, species=SPECIES):
    return energy(batch(positions, box, species)).numpy()


def total(energy, flat, box):
    """Energy of all frames as a function of all coordinates, for automatic differentiation."""
    return energy(batch(flat.view(-1, len(SPECIES), 3), box)).sum()


@pytest.mark.parametrize("box", [None, CUBIC, TRICLINIC])
def test_translations_permutations_and_wrapping_change_nothing(box):
    energy, x, rng = random_energy(), crowded(), np.random.default_rng(0)
    expected = energies(energy, x, box)
    assert np.abs(expected).min() > 10
    np.testing.assert_allclose(energies(energy, x + [3.1, -0.2, 0.7], box), expected, rtol=1e-9)
    order = rng.permutation(len(SPECIES))
    np.testing.assert_allclose(energies(energy, x[:, order], box, SPECIES[order]), expected, rtol=1e-9)
    if box is not None:
        images = x + rng.integers(-3, 4, x.shape) @ box
        np.testing.assert_allclose(energies(energy, images, box), expected, rtol=1e-9)
    swapped = energies(energy, x, box, 1 - SPECIES)
    assert np.abs(swapped - expected).min() > 1, "species must matter"


def test_rotations_and_reflections_change_nothing():
    energy, x = random_energy(), crowded()
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    for operation in (turn, -turn):
        np.testing.assert_allclose(energies(energy, x @ operation), energies(energy, x), rtol=1e-9)


def test_it_is_the_sum_over_triples():
    """A second implementation in numpy: every centre, every two neighbours, Legendre polynomials of the angle."""
    energy, x = random_energy(), crowded()
    channel = energy.place.numpy()
    expected = np.zeros((len(x), *energy.coefficients.shape))
    for frame, i, j, k in np.ndindex(len(x), *3 * [len(SPECIES)]):
        if i in (j, k):
            continue
        d, e = x[frame, j] - x[frame, i], x[frame, k] - x[frame, i]
        r, q = np.linalg.norm(d), np.linalg.norm(e)
        if max(r, q) >= CUTOFF:
            continue
        f, g = energy.radial(torch.tensor([r, q])).numpy()
        fade = np.prod(energy.radial.fade(torch.tensor([r, q])).numpy())
        for a, b in np.ndindex(3, 3):
            first, second = SPECIES[j] * 3 + a, SPECIES[k] * 3 + b
            # A_a A_b stands there once for a < b: the sum over j and k meets both orders.
            weight = f[a] * g[b] * (1.0 if first == second else 0.5)
            for degree in range(4):
                angle = eval_legendre(degree, d @ e / (r * q)) * (1 if degree == 0 else fade)
                expected[frame, SPECIES[i], channel[first, second], degree] += weight * angle
    got = energy.values(batch(x)).view(expected.shape).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    U = (expected * energy.coefficients.numpy()).sum((1, 2, 3))
    np.testing.assert_allclose(energies(energy, x), U, rtol=1e-9)


@pytest.mark.parametrize("box", [None, CUBIC, TRICLINIC])
def test_design_is_the_gradient_and_the_laplacian_of_the_energy(box):
    energy, x = random_energy(), torch.as_tensor(crowded())
    G, apart = energy.design_by_species(batch(x, box))
    c = energy.coefficients.flatten()
    gradient = torch.autograd.functional.jacobian(lambda flat: total(energy, flat, box), x.flatten())
    hessian = torch.autograd.functional.hessian(lambda flat: total(energy, flat, box), x.flatten())
    np.testing.assert_allclose(G @ c, -gradient, rtol=0, atol=1e-10 * float(gradient.abs().max()))
    curvature = hessian.diagonal().view(x.shape).sum((0, 2)).numpy()
    expected = [-curvature[SPECIES == s].sum() for s in (0, 1)]
    np.testing.assert_allclose(apart @ c, expected, rtol=1e-9)
    _, divergence = energy.design(batch(x, box))
    np.testing.assert_allclose(divergence, apart.sum(0), rtol=1e-12)


def test_design_of_every_coefficient_is_that_of_finite_differences():
    energy, x, step = random_energy(radial=2, lmax=2), crowded(1), 1e-4
    G, divergence = energy.design(batch(x))
    moved = step * np.eye(x.size).reshape(-1, *x.shape[1:])
    up, here, down = (energy.values(batch(x + sign * moved)).numpy() for sign in (1, 0, -1))
    slopes, curvatures = (up - down) / (2 * step), (up - 2 * here + down) / step**2
    np.testing.assert_allclose(G, -slopes, rtol=0, atol=1e-5 * np.abs(slopes).max())
    np.testing.assert_allclose(divergence, -curvatures.sum(0), rtol=0, atol=1e-4 * np.abs(curvatures.sum(0)).max())
    assert (np.abs(G.numpy()).max(0) > 0.1).all(), "every coefficient is felt"


def test_design_does_not_depend_on_how_many_frames_are_taken_at_a_time(monkeypatch):
    energy, x = random_energy(), crowded(5)
    G, apart = energy.design_by_species(batch(x, CUBIC, cutoff=0.7))
    monkeypatch.setattr("openmm_diffusion.energies.manybody.PAIRS", 1)
    one_by_one, also_apart = energy.design_by_species(batch(x, CUBIC))
    np.testing.assert_allclose(one_by_one, G, atol=1e-12 * float(G.abs().max()))
    np.testing.assert_allclose(also_apart, apart, rtol=1e-10)


def test_without_neighbours_there_is_neither_energy_nor_force():
    energy, x = random_energy(), np.arange(7.0)[None, :, None] * np.ones(3)
    assert energies(energy, x).tolist() == [0]
    G, divergence = energy.design(batch(x))
    assert G.abs().max() == 0 and divergence.abs().max() == 0


def radial_scan(energy, r, dtype=torch.float64):
    """Energy, slope and curvature when one of three particles is at a distance r (n,) of the central one."""
    r = torch.as_tensor(r, dtype=dtype).requires_grad_(True)
    still = torch.tensor([[0.0, 0, 0], [0.0, 0.25, 0.1]], dtype=dtype).expand(len(r), 2, 3)
    away = torch.stack([r, 0 * r, 0 * r], -1).unsqueeze(1)
    U = energy(batch(torch.cat([still, away], 1), species=np.array([0, 1, 1])))
    (slope,) = torch.autograd.grad(U.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    return U.detach().numpy(), slope.detach().numpy(), curvature.numpy()


def test_it_vanishes_at_the_cutoff_with_two_derivatives():
    """The third particle leaves at the farther of its two cutoffs, that of the central particle here."""
    energy, gap = random_energy(), 1e-4
    _, _, reference = radial_scan(energy, np.linspace(0.3, 0.55, 20))
    U, slope, curvature = radial_scan(energy, [CUTOFF - gap, CUTOFF, CUTOFF + 0.2])
    scale, width = np.abs(reference).max(), CUTOFF - START
    # f falls as ((r_c - r) / width)^3, the curvature as its first power.
    assert 0 < np.abs(curvature[0] - curvature[1]) < 20 * gap / width * scale
    assert 0 < np.abs(slope[0] - slope[1]) < 20 * (gap / width) ** 2 * scale * width
    assert abs(U[0] - U[2]) < 20 * (gap / width) ** 3 * scale * width**2
    assert U[1] == U[2] and slope[1:].tolist() == [0, 0] and curvature[1:].tolist() == [0, 0]


def test_energy_and_force_are_bounded_however_close_two_particles_come():
    U, slope, _ = radial_scan(random_energy(), np.geomspace(1e-7, 0.5, 400))
    seen = np.geomspace(1e-7, 0.5, 400) > START
    assert np.abs(U[~seen]).max() < 3 * np.abs(U[seen]).max()
    assert np.abs(slope[~seen]).max() < 3 * np.abs(slope[seen]).max()


@pytest.mark.parametrize("box", [None, TRICLINIC])
def test_single_precision_is_close(box):
    energy, x = random_energy(), torch.as_tensor(crowded())
    forces = {}
    for dtype in (torch.float64, torch.float32):
        y = x.to(dtype).requires_grad_(True)
        c = make_batch(y, None if box is None else torch.as_tensor(box, dtype=dtype), torch.as_tensor(SPECIES), CUTOFF)
        U = energy(c)
        assert U.dtype == dtype
        forces[dtype] = -torch.autograd.grad(U.sum(), y)[0].double()
    error = (forces[torch.float32] - forces[torch.float64]).abs().max()
    assert 0 < error < 2e-5 * forces[torch.float64].abs().max()


def test_over_a_range_each_frame_has_the_coefficients_of_its_level():
    sigmas = np.geomspace(0.003, 0.05, 3).tolist()
    ranged, c = random_energy(sigmas=sigmas), batch(crowded())
    ranged.table.copy_(torch.stack([random_energy(seed=k).coefficients for k in range(3)]))
    got = ranged(c._replace(sigma=torch.tensor(sigmas[1:], dtype=torch.float64)))
    expected = [random_energy(seed=k)(c)[k - 1] for k in (1, 2)]
    np.testing.assert_allclose(got, torch.stack(expected), rtol=1e-9)
    np.testing.assert_allclose(ranged(c), random_energy()(c), rtol=1e-12)


def test_labels_see_the_divergence_of_each_species():
    """With no prior and no labels that count, b is -kT div_s G alone."""
    energy, x, kT = random_energy(), torch.as_tensor(crowded()), 2.5
    zero, species = torch.zeros_like(x), torch.as_tensor(SPECIES)
    found = labelled_moments(energy, x, zero, zero, torch.as_tensor(CUBIC).expand(2, 3, 3), species, kT)
    hessian = torch.autograd.functional.hessian(lambda flat: total(energy, flat, CUBIC), x.flatten())
    curvature = hessian.diagonal().view(x.shape)
    for s in (0, 1):
        expected = kT * float(curvature[:, species == s].sum()) / 2
        assert float(found.score[s].b @ energy.coefficients.flatten()) == pytest.approx(expected, rel=1e-9)


# ---- the radial functions and the penalty


def test_radial_functions_are_orthonormal_over_the_volume():
    radial = random_energy(radial=5).radial
    r = np.linspace(START, CUTOFF, 4001)
    f = radial(torch.as_tensor(r)).numpy()
    products = 4 * np.pi * r[:, None, None] ** 2 * f[:, :, None] * f[:, None]
    np.testing.assert_allclose(trapezoid(products, r, axis=0), np.eye(5), atol=1e-5)
    bent = np.abs(np.diff(f, 2, axis=0)).max(0)
    assert (np.diff(bent) > 0).all(), "each is rougher than the last"


def test_more_radial_functions_leave_the_first_ones_and_their_penalty_alone():
    few, many = random_energy(radial=2).radial, random_energy(radial=4).radial
    r = torch.linspace(0.05, 0.7, 50, dtype=torch.float64)
    np.testing.assert_allclose(few(r), many(r)[:, :2], atol=1e-10)
    first, second = (ManyBody(1, CUTOFF, START, n, 0).roughness() for n in (2, 4))
    same = [0, 1, 4]  # places of the pairs of the first two
    np.testing.assert_allclose(first, second[same][:, same], rtol=1e-9)


def test_roughness_is_the_integral_of_the_mixed_slopes_by_log_distance():
    """Of the function of two neighbours that the energy of a centre is a sum of, over both volumes."""
    energy = ManyBody(1, CUTOFF, START, 2, 2)
    energy.coefficients.copy_(random_energy(radial=2, lmax=2).coefficients[:1, :3])
    points, weights = np.polynomial.legendre.leggauss(24)
    r, dr = START + (CUTOFF - START) * (1 + points) / 2, (CUTOFF - START) / 2 * weights
    first, second, cosine = (torch.as_tensor(v.ravel()) for v in np.meshgrid(r, r, points, indexing="ij"))
    volume = torch.as_tensor(np.einsum("i,j,k->ijk", 4 * np.pi * r**2 * dr, 2 * np.pi * r**2 * dr, weights).ravel())
    d = torch.stack([0 * first, 0 * first, first], -1).requires_grad_(True)
    e = torch.stack([second * torch.sqrt(1 - cosine**2), 0 * second, second * cosine], -1).requires_grad_(True)
    # U of both neighbours is K(d, d) + 2 K(d, e) + K(e, e), from which mixed slopes take K(d, e) alone.
    flat = torch.stack([torch.zeros_like(d), d, e], 1)
    near = batch(np.array([[[0.0, 0, 0], [0, 0, 0.3], [0, 0.3, 0]]]))
    n = len(d)
    pairs = 3 * torch.arange(n).repeat(2), 3 * torch.arange(n).repeat(2) + torch.tensor([1, 2]).repeat_interleave(n)
    vectors = torch.cat([d, e])
    distances = torch.sqrt((vectors * vectors).sum(-1))
    # Neighbours see their centre alone, which has no mixed slopes.
    c = near._replace(
        positions=flat, species=torch.zeros(3, dtype=torch.int64), first=pairs[0], second=pairs[1],
        vectors=vectors, distances=distances,
    )  # fmt: skip
    (slope,) = torch.autograd.grad(energy(c).sum(), d, create_graph=True)
    mixed = [torch.autograd.grad(slope[:, axis].sum(), e, retain_graph=True)[0] / 2 for axis in range(3)]
    expected = sum(float((volume * (first * second) ** 2 * (m * m).sum(-1)).sum()) for m in mixed)
    coefficients = energy.coefficients.flatten()
    assert float(coefficients @ energy.roughness() @ coefficients) == pytest.approx(expected, rel=1e-6)


# ---- fits


KT, EDGE, N_CHAINS = 2.494, 1.0, 600
MIXTURE = np.array([0, 1] * 4)


def known_energy():
    """Of the order of kT a particle, with angles that matter."""
    energy = ManyBody(2, 0.5, 0.15, 2, 1)
    generator = torch.Generator().manual_seed(5)
    energy.coefficients.copy_(0.04 * torch.randn(energy.coefficients.shape, generator=generator, dtype=torch.float64))
    return energy


def sampled(energy, sweeps=90, kept=5):
    """Configurations of independent Metropolis chains, (kept, n_chains, n_particles, 3), one every eight sweeps."""
    rng, n = np.random.default_rng(7), len(MIXTURE)
    x = rng.uniform(0, EDGE, (N_CHAINS, n, 3))

    def potential(x):
        with torch.no_grad():
            return energies(energy, x, EDGE * np.eye(3), MIXTURE)

    U, snapshots = potential(x), []
    for sweep in range(sweeps):
        for i in range(n):
            trial = x.copy()
            trial[:, i] += rng.uniform(-0.2, 0.2, (N_CHAINS, 3))
            V = potential(trial)
            accept = rng.random(N_CHAINS) < np.exp(-np.clip((V - U) / KT, 0, None))
            x[accept], U[accept] = trial[accept], V[accept]
        if sweep >= sweeps - 8 * kept and (sweep + 1) % 8 == 0:
            snapshots.append(x.copy())
    return np.array(snapshots)


def test_a_known_potential_comes_back_from_positions_alone():
    """c = A^-1 b with A = <G^T G>, b = -kT <div G>; errors from ten groups of chains, leaving out one at a time."""
    truth = known_energy()
    energy, parts = known_energy(), []
    for group in np.array_split(sampled(truth), 10, axis=1):
        c = batch(group.reshape(-1, len(MIXTURE), 3), EDGE * np.eye(3), MIXTURE, 0.5)
        G, divergence = energy.design(c)
        parts.append((G.T @ G, -KT * divergence))
    A, b = (torch.stack(v).sum(0) for v in zip(*parts))
    found = torch.linalg.solve(A, b)
    without = torch.stack([torch.linalg.solve(A - part, b - other) for part, other in parts])
    error = 3 * (without - without.mean(0)).square().mean(0).sqrt()  # jackknife: sqrt(n - 1)
    deviation = (found - truth.coefficients.flatten()) / error
    assert deviation.square().mean().sqrt() < 1.6 and deviation.abs().max() < 5
    scale = truth.coefficients.square().mean().sqrt()
    assert error.median() < 0.3 * scale, "the errors are small enough to tell"
    left = found - truth.coefficients.flatten()
    c = truth.coefficients.flatten()
    assert float(left @ A @ left) < 0.2**2 * float(c @ A @ c), "the force comes back, too"


# ---- as a part of models


@pytest.fixture(scope="module")
def denoiser():
    """Pair potential and many-body energy of LiCl, with coefficients that nothing was learnt from."""
    base = licl_denoiser(kinds=("pair",), precision="double")
    term = ManyBodyTerm(sigma=0.005, cutoff=0.8, start=0.18, radial=4, lmax=2, penalty=1.0)
    energy = term.module(base.header)
    generator = torch.Generator().manual_seed(2)
    coefficients = 0.02 * torch.randn(energy.coefficients.shape, generator=generator, dtype=torch.float64)
    energy.coefficients.copy_(coefficients)
    with_it = base.rebuilt([*base.header.terms, term], [*base.modules(), energy])
    x = licl_frames().positions[3]
    learnt = forces_of(energy, x, licl_frames().box, with_it.species_index(licl_frames().species))
    assert np.abs(with_it.forces(x) - base.forces(x) - learnt).max() < 1e-6 and np.abs(learnt).max() > 10
    return with_it


def forces_of(energy, x, box, species):
    y = torch.as_tensor(x, dtype=torch.float64)[None].requires_grad_(True)
    c = make_batch(y, torch.as_tensor(box, dtype=torch.float64), torch.as_tensor(species), energy.cutoff)
    return -torch.autograd.grad(energy(c).sum(), y)[0][0].numpy()


def test_a_model_with_it_is_saved_and_loaded(denoiser, tmp_path):
    denoiser.save(tmp_path / "model.safetensors")
    loaded = Denoiser.load(tmp_path / "model.safetensors")
    assert loaded.header.terms[-1] == denoiser.header.terms[-1]
    x = licl_frames().positions[5]
    np.testing.assert_allclose(loaded.forces(x), denoiser.forces(x), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torchscript", "python", "compiled"])
def test_it_runs_in_every_backend(backend, denoiser, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path))
    frames = licl_frames()
    expected = denoiser.forces(frames.positions[7])
    alone = openmm.System()
    alone.setDefaultPeriodicBoxVectors(*frames.box)
    for _ in frames.species:
        alone.addParticle(1.0)
    force = DiffusionForce(denoiser, frames.topology(), backend=backend, precision="double")
    alone.addForce(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force)))
    context = openmm.Context(alone, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    for image in (0, 2):
        context.setPositions(frames.positions[7] + image * frames.box[0])
        forces = context.getState(getForces=True).getForces(asNumpy=True)._value
        np.testing.assert_allclose(forces, expected, atol=1e-6 * np.abs(expected).max())


def test_it_has_no_native_form(denoiser):
    with pytest.raises(ValueError, match='backend is "native", but the model has'):
        create_system(denoiser, licl_frames().topology(), backend="native")


def test_it_is_off_until_it_is_asked_for():
    assert read_config({}).manybody is None
    assert read_config({"manybody": {"lmax": 1}}).manybody.cutoff == 0.8
    with pytest.raises(ValueError, match="config: manybody.lmax is 9; .*less than or equal to 6"):
        read_config({"manybody": {"lmax": 9}})


def test_a_start_beyond_the_cutoff_is_refused():
    with pytest.raises(ValueError, match="manybody.start is 0.7 nm: it must lie below manybody.cutoff = 0.6 nm"):
        ManyBody(1, 0.6, 0.7, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["denoise", "hybrid"])
def test_a_training_fits_it_beside_a_pair_potential(target):
    frames = Frames.load(LICL)[:200]
    frames = dataclasses.replace(frames, forces=np.zeros_like(frames.positions)) if target == "hybrid" else frames
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0},
        "target": target,
        "pair": {"sigma": 0, "cutoff": 0.8, "spacing": 0.04, "penalties": [1e3], "folds": 4},
        "manybody": {"sigma": 0, "cutoff": 0.6, "radial": 2, "lmax": 1, "penalties": [1.0, 100.0], "folds": 4},
        "network": None,
    }
    trained = train(frames, config, progress=False)
    assert [term.kind for term in trained.header.terms][-2:] == ["pair", "manybody"]
    assert trained.header.terms[-1].penalty in (1.0, 100.0)
    assert trained.modules()[-1].coefficients.abs().max() > 0
