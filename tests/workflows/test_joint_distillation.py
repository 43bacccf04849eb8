"""Distillation into several linear energies together: energies that come back, and what they hold of a network."""

import functools

import numpy as np
import pandas
import pytest
import torch
from commandline import run
from models import ALL, LICL, QUICK, licl_denoiser, licl_frames

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.energies.manybody import ManyBodyTerm
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.workflows.distillation import APART, distil, learnt_forces

SMALL = dict(sigma=0.005, cutoff=0.7, start=0.18, radial=2, lmax=1)


@functools.cache
def with_many_body(kinds=QUICK):
    """The denoiser of `models` with a many-body energy whose forces are of the size of the pairs'."""
    base = licl_denoiser(kinds=kinds, precision="double")
    term = ManyBodyTerm(**SMALL)
    module = term.module(base.header)
    torch.manual_seed(0)
    module.coefficients.copy_(0.1 * torch.randn(module.coefficients.shape, dtype=torch.float64))
    place = [t.kind for t in base.header.terms].index("pair") + 1
    terms, modules = list(base.header.terms), list(base.modules())
    return base.rebuilt([*terms[:place], term, *terms[place:]], [*modules[:place], module, *modules[place:]])


def value(result, quantity):
    table = result.table[result.table["of"] == "all"].set_index("quantity")["value"]
    return float(table[quantity])


def kinds(result):
    return [term.kind for term in result.denoiser.header.learnt]


def test_energies_come_back_from_their_own_forces_together():
    """In bases that hold theirs, and without theirs to start from: knots twice as dense, one radial function more."""
    model, frames = with_many_body(), Frames.load(LICL)[::40]
    pair_alone = distil(model, frames)
    assert kinds(pair_alone) == ["pair"], "of linear energies alone, a pair potential"
    both = distil(model, frames, energies={"pair": {"spacing": 0.03}, "manybody": {"radial": 3}})
    assert kinds(both) == ["pair", "manybody"] and both.denoiser.header.learnt[1].radial == 3
    assert both.denoiser.header.learnt[1].cutoff == SMALL["cutoff"], "what a section leaves out is the model's own"
    # The penalty keeps them from being the same, and labels are kept in single precision.
    assert value(both, "residual rms") < 0.02 * value(pair_alone, "residual rms")
    assert value(pair_alone, "residual rms") > 0.1 * value(pair_alone, "learnt force rms")


def test_energies_of_the_models_own_bases_are_themselves():
    model, x = with_many_body(), licl_frames().positions[:3].astype(float)
    result = distil(model, licl_frames(), energies={"manybody": {}, "pair": None})
    np.testing.assert_allclose(result.denoiser.forces(x), model.forces(x), atol=1e-3)
    one, two = model.modules()[-2:], result.denoiser.modules()[-2:]
    for own, found in zip(one, two):
        torch.testing.assert_close(found.coefficients, own.coefficients, rtol=0, atol=2e-4)
    assert set(result.curves["curve"]) == {"distilled", "pair part"}


@pytest.mark.slow
def test_all_linear_energies_of_a_model_take_over_from_its_network():
    model = with_many_body(ALL)
    result = distil(model, licl_frames())
    assert kinds(result) == ["pair", "manybody"]
    assert "residual rms of its pair + manybody part alone" in set(result.table["quantity"])
    pair = distil(model, licl_frames(), energies={"pair": {}})
    assert kinds(pair) == ["pair"] and value(result, "residual rms") < value(pair, "residual rms")
    # No other coefficients of either energy are nearer to the forces of the frames fitted.
    fitted, learnt = learnt_forces(model, licl_frames().split(APART)[0]), result.denoiser.learnt
    generator = torch.Generator().manual_seed(1)

    def left():
        found = learnt.evaluated(fitted.positions, fitted.boxes, fitted.types)[1]
        return np.square(fitted.forces - found).sum()

    least = left()
    for module in learnt.modules():
        for _ in range(3):
            step = 0.03 * module.coefficients.std() * torch.randn(module.coefficients.shape, generator=generator)
            step.view(-1)[~module.free()] = 0
            module.coefficients.add_(step)
            assert left() > least
            module.coefficients.sub_(step)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energies": {"network": {}}}, "config: unknown key network"),
        ({"energies": {"manybdy": {}}}, "config: unknown key manybdy; did you mean manybody"),
        ({"energies": {}}, "config names no energy to fit: give at least one section of pair, bonds, .*manybody"),
        ({"energies": {"pair": {"penalties": [1.0]}}}, "config: pair.penalties has no meaning here"),
        ({"energies": {"manybody": {"radial": 0}}}, "config: manybody.radial is 0"),
        ({"energies": {"manybody": {"cutoff": 1.5}}}, "manybody.cutoff is 1.5 nm"),
        ({"energies": {"manybody": {}}, "cutoff": 0.8}, "cutoff is 0.8 nm, but no pair potential is to be fitted"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        distil(with_many_body(), licl_frames(), **options)


@pytest.mark.slow
def test_a_configuration_names_the_energies_on_the_command_line(tmp_path):
    Frames.load(LICL)[::100].save(tmp_path / "some.npz")
    (tmp_path / "distil.yaml").write_text("manybody: {radial: 2, lmax: 1, cutoff: 0.6}\n")
    out = tmp_path / "out"
    result = run("distil", "licl", tmp_path / "some.npz", "--config", tmp_path / "distil.yaml", "-o", out)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["distillation.csv", "model.safetensors"], "no curves"
    assert [term.kind for term in Denoiser.load(out / "model.safetensors").header.learnt] == ["manybody"]
    assert "residual rms" in set(pandas.read_csv(out / "distillation.csv")["quantity"])
