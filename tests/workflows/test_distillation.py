"""Distillation: least squares of the pair basis on learnt forces, against closed forms and its own optimality."""

import dataclasses

import numpy as np
import openmm
import pytest
import torch
from commandline import run
from models import ALL, LICL, PRIOR, QUICK, licl_denoiser, licl_frames

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.model.combination import ensemble, extrapolated
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.systems import create_system
from openmm_diffusion.workflows.distillation import APART, distil, learnt_forces, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["energy", "vector"])
def network_and_pair(request):
    """A model with a network, and its distillation on twenty frames."""
    model = licl_denoiser(request.param, ALL, "double")
    return model, distil(model, licl_frames())


def value(result, quantity, of="all"):
    table = result.table
    return float(table[(table["quantity"] == quantity) & (table["of"] == of)]["value"].iloc[0])


def residual(distilled, labelled):
    """Learnt forces of frames less those of a distillation, through its torch module, kJ/mol/nm."""
    return labelled.forces - distilled.subset(["pair"]).forces(labelled.positions)


# ---- pair potentials come back


def test_a_pair_potential_on_finer_knots_is_itself():
    model, frames = licl_denoiser(kinds=QUICK), Frames.load(LICL)[::20]
    # Knots of 0.06 nm are among those of 0.03 nm, so the finer splines hold the same function.
    result = distil(model, frames, spacing=0.03)
    # Labels are kept in single precision.
    assert value(result, "residual rms") < 1e-4 * value(result, "learnt force rms")
    assert 1 - value(result, "explained fraction") < 1e-8
    shortest, ours, theirs = frames.shortest_distances(), result.denoiser.modules()[-1], model.modules()[-1]
    assert ours.n_basis == 2 * theirs.n_basis - 3
    for kind, pair in enumerate([("Li", "Li"), ("Li", "Cl"), ("Cl", "Cl")]):
        r = np.linspace(shortest[pair] + 0.01, 0.9, 300)
        np.testing.assert_allclose(ours.curve(kind, r), theirs.curve(kind, r), atol=2e-4)
        assert np.ptp(theirs.curve(kind, r)) > 0.5


def test_a_pair_potential_on_its_own_knots_is_itself_where_no_data_are_too():
    model = licl_denoiser(kinds=QUICK)
    result, r = distil(model, licl_frames()), np.linspace(0.01, 0.9, 300)
    for kind in range(3):
        np.testing.assert_allclose(
            result.denoiser.modules()[-1].curve(kind, r), model.modules()[-1].curve(kind, r), atol=1e-4
        )
    assert set(result.curves["curve"]) == {"distilled", "pair part"}
    assert "residual rms of its pair part alone" not in set(result.table["quantity"]), "that is the model"


def test_sums_of_models_become_their_weighted_potential():
    one = licl_denoiser(kinds=QUICK)
    terms = [t if t.kind != "pair" else t.model_copy(update={"sigma": 0.01}) for t in one.header.terms]
    two = one.rebuilt(terms, one.modules())
    two.modules()[-1].coefficients.mul_(0.7)
    near, x = extrapolated([one, two]), licl_frames().positions[:2].astype(float)
    for model in (near, ensemble([one, one])):
        distilled = distil(model, licl_frames()).denoiser
        assert [term.kind for term in distilled.header.terms] == list(QUICK)
        assert distilled.sigma == model.sigma
        np.testing.assert_allclose(distilled.forces(x), model.forces(x), atol=1e-4 * np.abs(model.forces(x)).max())


# ---- networks: the normal equations


def test_the_residual_is_orthogonal_to_every_basis_function(network_and_pair):
    model, result = network_and_pair
    fitted = learnt_forces(model, licl_frames().split(APART)[0])
    left = residual(result.denoiser, fitted)
    learnt = fitted.forces
    assert np.abs(left).mean() > 1e-2, "there is something that no pair potential holds"
    pair = result.denoiser.subset(["pair"])
    base, coefficients = pair.forces(fitted.positions), pair.modules()[0].coefficients
    rng, tested = np.random.default_rng(0), 0
    for kind, k in zip(rng.integers(3, size=12), rng.integers(coefficients.shape[1] - 3, size=12)):
        coefficients[kind, k] += 1.0  # forces are linear in it
        push = pair.forces(fitted.positions) - base
        coefficients[kind, k] -= 1.0
        if np.abs(push).max() > 1e-6:  # some pairs lie there
            tested += 1
            # The cosine: next to nothing, for the penalty and the ridge are.
            assert abs((push * left).sum()) < 1e-4 * np.linalg.norm(push) * np.linalg.norm(learnt)
    assert tested > 6


def test_no_other_pair_potential_is_nearer_to_the_forces(network_and_pair):
    model, result = network_and_pair
    fitted = learnt_forces(model, licl_frames().split(APART)[0])
    least = np.square(residual(result.denoiser, fitted)).sum()
    assert least < np.square(fitted.forces).sum()
    own = model.subset(["pair"])
    assert least < 0.9 * np.square(fitted.forces - own.forces(fitted.positions)).sum(), "it beats the pair part alone"
    coefficients, rng = result.denoiser.modules()[-1].coefficients, np.random.default_rng(1)
    for _ in range(5):
        step = torch.as_tensor(0.05 * rng.normal(size=coefficients.shape))
        step[:, -3:] = 0
        coefficients.add_(step)
        assert np.square(residual(result.denoiser, fitted)).sum() > least
        coefficients.sub_(step)


def test_the_table_is_of_frames_kept_apart(network_and_pair):
    model, result = network_and_pair
    apart = learnt_forces(model, licl_frames().split(APART)[1])
    assert (result.fitted, result.apart) == (16, 4) and len(apart) == 8
    left, chosen = residual(result.denoiser, apart), {"all": slice(None), "Li": slice(24), "Cl": slice(24, 48)}
    for of, particles in chosen.items():
        rms, learnt = (np.sqrt(np.mean(f[:, particles] ** 2)) for f in (left, apart.forces))
        assert value(result, "residual rms", of) == pytest.approx(rms, rel=1e-5)
        assert value(result, "learnt force rms", of) == pytest.approx(learnt, rel=1e-5)
        assert value(result, "explained fraction", of) == pytest.approx(1 - (rms / learnt) ** 2, rel=1e-5)
    assert result.denoiser.header.held_out["residual_rms"] == value(result, "residual rms")


def test_frames_are_noised_as_the_model_knows_them():
    model, frames = licl_denoiser(kinds=QUICK), licl_frames()
    noise = learnt_forces(model, frames).positions - np.repeat(frames.positions, 2, axis=0)
    # Antithetic pairs: half of the 5,760 displacements are independent, and the sd of their sd is sigma / sqrt(2 n).
    assert noise.std() == pytest.approx(0.005, abs=4 * 0.005 / np.sqrt(noise.size))
    terms = [t if t.kind != "pair" else t.model_copy(update={"sigma": 0.0}) for t in model.header.terms]
    clean = model.rebuilt(terms, model.modules())
    np.testing.assert_array_equal(learnt_forces(clean, frames).positions, frames.positions)


def test_replicas_that_training_kept_apart_stay_apart():
    frames = licl_frames()
    frames = Frames(frames.positions, frames.species, frames.box, 300.0, None, np.arange(20) // 5)
    base = licl_denoiser(kinds=QUICK)
    data = {"digest": frames.digest(), "test_fraction": 0.5, "seed": 3}
    model = base.rebuilt(base.header.terms, base.modules())
    model.header = model.header.model_copy(update={"data": data})
    assert distil(model, frames).apart == 10
    assert distil(base, frames).apart == 5


# ---- an ordinary denoiser


def test_the_result_deploys_without_torch(network_and_pair, tmp_path):
    model, result = network_and_pair
    write(result, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["distillation.csv", "model.safetensors", "pair.csv"]
    loaded, x = Denoiser.load(tmp_path / "model.safetensors"), licl_frames().positions[1].astype(float)
    assert loaded.conservative and loaded.header.held_out["distilled_from"] == model.digest()
    np.testing.assert_allclose(loaded.forces(x), result.denoiser.forces(x), rtol=1e-12)
    system = create_system(loaded, licl_frames().topology(), backend="native", ewald_error_tolerance=1e-5)
    assert not any("Torch" in type(force).__name__ or "Python" in type(force).__name__ for force in system.getForces())
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    assert np.abs(forces - loaded.forces(x)).max() < 1e-4 * np.abs(forces).max()


# ---- refused


def changed(**changes):
    base = licl_denoiser(kinds=QUICK)
    other = base.rebuilt(base.header.terms, base.modules())
    other.header = other.header.model_copy(update=changes)
    return other


@pytest.mark.parametrize(
    "model, options, message",
    [
        (lambda: licl_denoiser(kinds=PRIOR), {}, "no learnt terms, only a prior: there is nothing to distil"),
        (lambda: changed(noised={"species": ["Li"], "axes": "xyz"}), {}, r"noise on \['Li'\] along xyz alone"),
        (lambda: licl_denoiser(kinds=QUICK), dict(cutoff=1.5), "cutoff is 1.5 nm"),
        (lambda: licl_denoiser(kinds=QUICK), dict(spacing=-0.1), "spacing is -0.1 nm: give a positive number"),
    ],
)
def test_what_no_pair_potential_can_stand_for_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        distil(model(), licl_frames(), **options)


def test_frames_of_other_species_are_refused():
    sodium = np.where(licl_frames().species == 3, 11, 17)
    frames = dataclasses.replace(licl_frames(), species=sodium, types=None, masses=None)
    with pytest.raises(ValueError, match="species Na unknown to the model"):
        distil(licl_denoiser(kinds=QUICK), frames)


# ---- the command line, from a network to files that need no torch


def test_distil_and_export_from_the_command_line(tmp_path):
    Frames.load(LICL)[::50].save(tmp_path / "some.npz")
    out, native = tmp_path / "out", tmp_path / "native"
    result = run("distil", "licl", tmp_path / "some.npz", "-o", out)
    assert result.returncode == 0, result.stderr
    assert "residual rms of its pair part alone" in result.stdout and "frames kept apart" in result.stdout
    assert (out / "distillation.png").stat().st_size > 10000
    result = run("export", out / "model.safetensors", "-o", native)
    assert result.returncode == 0 and "pair.csv, run.py, system.xml, topology.pdb" in result.stdout, result.stderr
    result = run("export", out / "model.safetensors", "-o", tmp_path / "again", "--top", native / "topology.pdb")
    assert result.returncode == 0, result.stderr
    first, second = (directory / "topology.pdb" for directory in (native, tmp_path / "again"))
    assert first.read_text().splitlines()[1:] == second.read_text().splitlines()[1:], "positions of --top are kept"
