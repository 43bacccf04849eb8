"""Energies of internal coordinates: against automatic differentiation, mdtraj, and what physics says of them."""

import mdtraj
import numpy as np
import pytest
import torch
from branched import BONDS, INDEX, KINDS, PLACES, TYPES, batch, denoiser, header, links, positions, term

from openmm_diffusion.energies.bonded.coordinates import bending_derivatives, bending_factor
from openmm_diffusion.energies.bonded.survey import COORDINATES, surveyed
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.space.connectivity import connectivity

CASES = [*((kind, None) for kind in KINDS), ("dihedrals", True), ("maps", True)]
TRICLINIC = torch.tensor([[1.9, 0, 0], [0.4, 1.8, 0], [-0.5, 0.6, 1.7]], dtype=torch.float64)


def module_of(kind, damped=None, seed=0, **settings):
    """A module with random coefficients."""
    torch.manual_seed(seed)
    given = term(kind, **settings) if damped is None else term(kind, damped=damped, **settings)
    module = given.module(header())
    module.assign(torch.randn(module.coefficients.numel(), dtype=torch.float64) * module.free())
    return module


# ---- coordinates


def test_coordinates_are_those_of_mdtraj():
    x = positions(5)
    trajectory, tables = mdtraj.Trajectory(x, None), links()
    found = {name: compute(batch(x), getattr(tables, table)).value for name, (table, compute) in COORDINATES.items()}
    given = {"periodic": False}
    # mdtraj computes in single precision.
    np.testing.assert_allclose(found["bonds"], mdtraj.compute_distances(trajectory, tables.bonds, **given), atol=1e-6)
    theirs = np.cos(mdtraj.compute_angles(trajectory, tables.angles, **given))
    np.testing.assert_allclose(found["angles"], theirs, atol=1e-5)
    for name in ("dihedrals", "impropers"):
        theirs = mdtraj.compute_dihedrals(trajectory, getattr(tables, name), **given)
        np.testing.assert_allclose(found[name], theirs, atol=1e-4)


@pytest.mark.parametrize("name", list(COORDINATES))
def test_gradients_and_laplacians_are_those_of_automatic_differentiation(name):
    x = torch.as_tensor(positions(3)).requires_grad_(True)
    table, compute = COORDINATES[name]
    groups = getattr(links(), table)
    q = compute(make_batch(x, None, INDEX, 0.0, None, links()), groups)
    for number in range(len(groups)):
        (slope,) = torch.autograd.grad(q.value[:, number].sum(), x, create_graph=True)
        expected = slope[:, groups[number]]
        torch.testing.assert_close(q.gradient[:, number], expected, rtol=1e-9, atol=1e-9)
        for member, particle in enumerate(groups[number]):
            parts = [torch.autograd.grad(slope[:, particle, d].sum(), x, retain_graph=True)[0] for d in range(3)]
            laplacian = sum(part[:, particle, d] for d, part in enumerate(parts))
            torch.testing.assert_close(q.laplacian[:, number, member], laplacian, rtol=1e-8, atol=1e-7)


def test_noise_widens_a_coordinate_by_its_slope():
    """Var q grows by sigma^2 <|grad q|^2>, to within three standard errors of a variance of 20,000 values."""
    sigma, n = 1e-3, 20_000
    clean = torch.as_tensor(PLACES).expand(n, -1, -1)
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name in ("bonds", "angles", "impropers"):
        for kind, spread in surveyed(name, [batch(noisy[:, :, :])]).items():
            places = [g for g in getattr(links(), name).tolist() if tuple(INDEX[g].tolist()) == kind]
            if len(places) == 1:  # of several groups the width is that of their mean values too
                assert spread.width**2 == pytest.approx(sigma**2 * spread.slope, rel=3 * np.sqrt(2 / n) + 2e-3)


# ---- energies


@pytest.mark.parametrize(("kind", "damped"), CASES)
def test_forces_and_divergences_of_the_basis_are_those_of_the_energy(kind, damped):
    module, x = module_of(kind, damped), positions(4, width=0.004)
    y = torch.as_tensor(x).requires_grad_(True)
    energy = module(make_batch(y, None, INDEX, 0.0, None, links()))
    (slope,) = torch.autograd.grad(energy.sum(), y, create_graph=True)
    c = module.coefficients.flatten()
    G, divergence = module.design_by_species(batch(x))
    torch.testing.assert_close((G @ c).view(x.shape), -slope, rtol=1e-8, atol=1e-7)
    torch.testing.assert_close(module.values(batch(x)) @ c, energy, rtol=1e-9, atol=1e-9)
    laplacian = torch.zeros(3, dtype=torch.float64)
    for particle in range(len(TYPES)):
        for d in range(3):
            (part,) = torch.autograd.grad(slope[:, particle, d].sum(), y, retain_graph=True)
            laplacian[INDEX[particle]] += part[:, particle, d].sum()
    torch.testing.assert_close(divergence @ c, -laplacian, rtol=1e-7, atol=1e-5)
    torch.testing.assert_close(module.design(batch(x))[1], divergence.sum(0))


@pytest.mark.parametrize(("kind", "damped"), CASES)
def test_energies_know_no_place_direction_image_or_numbering(kind, damped):
    module, x = module_of(kind, damped), positions(3, width=0.004)
    given = module(batch(x))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)  # a rotation: no mirror
    torch.testing.assert_close(module(batch(x @ turn.T + 0.7)), given, rtol=1e-9, atol=1e-9)
    images = torch.randint(-2, 3, (9, 3), generator=torch.Generator().manual_seed(3)).double() @ TRICLINIC
    torch.testing.assert_close(module(batch(x + images.numpy(), TRICLINIC)), given, rtol=1e-9, atol=1e-9)
    boxes = TRICLINIC.expand(3, 3, 3)
    torch.testing.assert_close(module(batch(x + images.numpy(), boxes)), given, rtol=1e-9, atol=1e-9)
    order = np.random.default_rng(2).permutation(9)
    place = np.argsort(order)
    model = denoiser([term(kind) if damped is None else term(kind, damped=damped)])
    model.modules()[0].assign(module.coefficients)
    types = [TYPES[i] for i in order]
    shuffled = model.energy(x[:, order], False, types, [(place[i], place[j]) for i, j in BONDS])
    np.testing.assert_allclose(shuffled, given, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["impropers", "dihedrals", "maps"])
def test_a_mirror_image_differs_only_where_energies_are_chiral(kind):
    x = positions(3, width=0.004)
    mirror = x * np.array([1, 1, -1])
    chiral, blind = module_of(kind), module_of(kind, chiral=False)
    assert (chiral(batch(x)) - chiral(batch(mirror))).abs().min() > 1e-3
    torch.testing.assert_close(blind(batch(x)), blind(batch(mirror)), rtol=1e-9, atol=1e-9)
    assert blind.free().sum() < chiral.free().sum()


def test_partners_that_are_alike_leave_no_sign_to_an_improper():
    """The centre 6 has partners A, A, A or two alike: its mirror image costs nothing; that of the centre 2 does."""
    module = module_of("impropers")
    even = [kind for kind, row in enumerate(module.taken) if row[-1] == 0]
    assert len(even) == len(module.taken) - 1
    q = np.linspace(0.05, 0.5, 5)
    for kind in range(len(module.taken)):
        same = np.allclose(module.curve(kind, q), module.curve(kind, -q))
        assert same == (kind in even)


# ---- beyond the data


@pytest.mark.parametrize("kind", ["bonds", "angles", "onethree", "onefour", "impropers"])
def test_curves_go_on_beyond_the_data_without_a_hole_or_a_jump(kind):
    given = term(kind)
    module = given.module(header())
    for seed in range(5):
        module.assign(torch.randn(module.coefficients.numel(), generator=torch.Generator().manual_seed(seed)).double()
                      * module.free())  # fmt: skip
        for number in range(len(module.low)):
            low, high = float(module.low[number]), float(module.high[number])
            step = 1e-4 * (high - low)
            for end, outwards in ((low, -1), (high, 1)):
                away = end + outwards * step * np.arange(-1, 2000)
                energy = module.curve(number, away)
                assert np.abs(np.diff(energy, 2)).max() < 0.1 * np.ptp(energy) / 100 + 1e-3  # no jump
                outside = np.diff(energy[1:])
                assert (outside >= -1e-12).all()  # never downhill
                curvature = np.diff(energy[2:], 2) / step**2
                np.testing.assert_allclose(curvature, float(module.stiffness[number]), rtol=1e-3, atol=1e-3)


def test_a_damped_dihedral_vanishes_smoothly_where_three_particles_are_in_line():
    x = torch.tensor([[[0.1, 0.1, 0.0], [0, 0, 0], [0.15, 0, 0], [0.3, 0.0, 0.0]]], dtype=torch.float64)
    module = module_of("dihedrals", damped=True)
    species = torch.tensor([0, 1, 0, 2])  # A-B-A-C, a kind of the molecule
    tables = connectivity([(0, 1), (1, 2), (2, 3)], species)
    previous = None
    for offset in (1e-2, 1e-3, 1e-4, 0.0):
        y = x.clone()
        y[0, 3, 1:] += offset * torch.tensor([0.6, 0.8])
        y.requires_grad_(True)
        energy = module(make_batch(y, None, species, 0.0, None, tables))
        (slope,) = torch.autograd.grad(energy.sum(), y)
        assert torch.isfinite(slope).all()
        assert previous is None or slope.abs().max() <= 0.02 * previous  # as the square of the offset
        previous = slope.abs().max()
    assert previous < 1e-8


def test_the_factor_that_damps_has_the_derivatives_it_says():
    c = torch.linspace(-0.99, 0.99, 21, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(bending_factor(c).sum(), c, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), c)
    value, one, two = bending_derivatives(c.detach())
    for ours, theirs in ((value, bending_factor(c)), (one, first), (two, second)):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-9, atol=1e-12)


# ---- what is not known is refused


def test_bonds_of_other_types_and_molecules_without_bonds_are_refused():
    model = denoiser(["bonds"])
    with pytest.raises(ValueError, match="topology has bonds C-C, which the model was not trained on: check its bonds"):
        model.energy(PLACES[:2], False, ["C", "C"], [(0, 1)])
    with pytest.raises(ValueError, match="topology has particles A with 0 bonds, and the training data had none such"):
        model.energy(PLACES, False, TYPES, BONDS[:-1])
    with pytest.raises(ValueError, match="topology has no bonds, but A, C were bonded in the training data: give"):
        model.energy(PLACES[:2], False, ["A", "C"])
    assert model.energy(PLACES, False).shape == ()  # of the training data's own molecule the bonds are known
