"""Refinement of molecules: models whose bonds or angles are off come back to the coordinates of the data, by MD."""

import functools

import branched
import numpy as np
import pandas
import pytest
import torch
from freechain import BONDS, KT, LENGTHS, STIFFNESS, TYPES, angle_energy, bond_energy, frames

from openmm_diffusion import Frames, train
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.model.combination import ensemble
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.simulation.sampling import SamplingConfig, sample_ensemble
from openmm_diffusion.workflows.refine import refine

DATA = {"test_fraction": 0.0, "validation_fraction": 0.0}
ALONE = {"maps": None, "onethree": None, "onefour": None, "pair": None, "prior": {"wall": None}}
MD = {"runs": 4, "duration": 41.0, "discard": 1.0, "interval": 0.1, "platform": "Reference"}
TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.4, 2.0, 0.0], [-0.5, 0.3, 2.0]])


@functools.cache
def chain():
    """Frames of the chain of `freechain` and a model of its bonds, angles and dihedrals."""
    given = frames(1000, seed=3)
    model = train(given, {"data": DATA, **ALONE}, progress=False)
    # Its ends pass through each other, and come closer in MD than in so few frames.
    model.header = model.header.model_copy(update={"shortest_distances": [[0.1] * 2] * 2})
    return given, model


def disturbed(model, kind, change):
    """The model with the coefficients (n_kinds, n_functions) of one energy changed in place by a function."""
    other = model.rebuilt(model.header.terms, model.modules())
    (module,) = [m for t, m in zip(other.header.terms, other.modules()) if t.kind == kind]
    change(module.coefficients)
    return other


def measured(given):
    """Each replica's mean and width of the A-B bonds and mean cosine of the angles: shape (n_replicas, 3)."""
    x = given.positions.astype(float)
    steps = [x[:, j] - x[:, i] for i, j in BONDS]
    length = np.stack([np.linalg.norm(step, axis=1) for step in steps], 1)
    cosine = np.stack(
        [-(a * b).sum(1) / length[:, i] / length[:, i + 1] for i, (a, b) in enumerate(zip(steps, steps[1:]))], 1
    )
    ab = length[:, [sorted((TYPES[i], TYPES[j])) == ["A", "B"] for i, j in BONDS]]
    rows = [given.replica == number for number in np.unique(given.replica)]
    return np.array([[ab[row].mean(), ab[row].std(), cosine[row].mean()] for row in rows])


def truth():
    """The same by quadrature of the known energy."""
    r = LENGTHS["AB"] + np.sqrt(KT / STIFFNESS["AB"]) * np.linspace(-8, 8, 4001)
    weight = r**2 * np.exp(-bond_energy("AB", r) / KT)
    mean = (r * weight).sum() / weight.sum()
    c = np.linspace(-1, 1, 4001)
    bend = np.exp(-angle_energy(c) / KT)
    return np.array([mean, np.sqrt(((r - mean) ** 2 * weight).sum() / weight.sum()), (c * bend).sum() / bend.sum()])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "change", "number"),
    [
        ("bonds", lambda c: c.mul_(0.6), 1),
        ("angles", lambda c: c.add_(torch.linspace(0, 6, c.shape[1], dtype=torch.float64)), 2),
    ],
)
def test_what_is_off_comes_back_to_the_truth(kind, change, number, tmp_path):
    """Bonds too soft by 0.6, angles with a slope more: means and widths of MD, before and after, beside quadrature."""
    given, model = chain()
    off, off_by = disturbed(model, kind, change), []
    refined = refine(off, given, tmp_path / "refined", {"iterations": 3, "weight": 1e5, "sampling": MD})
    # What 1,000 independent frames know of each, which are all that a refinement has.
    data = measured(given)
    spread = data.std(axis=0, ddof=1) / np.sqrt(len(data))
    for one in (off, refined):
        md, _ = sample_ensemble(one, tmp_path / f"md-{len(off_by)}", given.positions[::250], SamplingConfig(**MD))
        own = measured(md)
        error = np.hypot(own.std(axis=0, ddof=1) / np.sqrt(len(own)), spread)
        off_by.append((own.mean(0) - truth()) / error)
    assert abs(off_by[0][number]) > 6
    # Of three numbers with an error from four runs each.
    assert (np.abs(off_by[1]) < 5).all()
    of = {"bonds": "divergence bond B-A", "angles": "divergence angle B-A-B"}[kind]
    table = pandas.read_csv(tmp_path / "refined" / "refine.csv")[of]
    assert table.iloc[2] < table.iloc[0]
    assert (tmp_path / "refined" / "iteration-2" / "molecules.csv").exists()


def box_of_molecules():
    """Two branched molecules in a triclinic box, of all kinds of energies, pairs between them and a wall."""
    bonds = branched.BONDS + [(i + 9, j + 9) for i, j in branched.BONDS]
    more = [
        WallTerm(radii=[[0.25] * 3] * 3, stiffness=2e4),
        PairTerm(sigma=0.0, cutoff=0.8, start=0.2, spacing=0.1),
    ]
    edges = {"box": TRICLINIC.tolist(), "shortest_distances": [[0.2] * 3] * 3}
    model = branched.denoiser(more=more, particles=branched.TYPES * 2, bonds=bonds, **edges)
    terms = [term.model_copy(update={"penalty": 1e-3}) if term.linear else term for term in model.header.terms]
    for term, module in zip(terms, model.modules()):
        if term.linear:
            module.coefficients.mul_(3.0)
    return model.rebuilt(terms, model.modules())


@pytest.mark.slow
def test_molecules_in_a_slanted_box_come_back_with_energies_of_every_kind(tmp_path):
    """The data are MD of a known model; angles that are off by a slope come back towards theirs."""
    known = box_of_molecules()
    start = np.concatenate([branched.PLACES + 0.2, branched.PLACES + [0.3, 1.2, 1.0]])
    sampling = {**MD, "runs": 2, "duration": 4.0, "discard": 0.5, "timestep": 0.004, "interval": 0.04}
    given, _ = sample_ensemble(known, tmp_path / "data", start[None], SamplingConfig(**sampling))
    off = disturbed(known, "angles", lambda c: c.add_(torch.linspace(0, 12, c.shape[1], dtype=torch.float64)))
    refined = refine(off, given, tmp_path / "refined", {"sampling": sampling})
    table = pandas.read_csv(tmp_path / "refined" / "refine.csv")
    assert {"rmsd A-A", "rmsd B-C", "divergence angle A-B-A"} <= set(table.columns)
    assert any(name.startswith("divergence improper") for name in table.columns)
    assert table["relative_entropy"].iloc[0] < 0
    assert len(refined.header.learnt) == len(known.header.learnt) == 8
    left = [(curve(one) - curve(known)).std() for one in (off, refined)]  # a constant is no force
    assert left[1] < 0.85 * left[0]
    # It goes on where it stopped.
    settings = {"sampling": sampling}
    assert refine(off, given, tmp_path / "refined", settings, resume=True).digest() == refined.digest()


def curve(model):
    """Energy (kJ/mol) along the angles A-B-A of the data's middle."""
    ((term, module),) = [(t, m) for t, m in zip(model.header.terms, model.modules()) if t.kind == "angles"]
    number = term.kinds.index(["A", "B", "A"])
    low, high = term.ranges[number]
    return module.curve(number, np.linspace(0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, 21))


def without(given, **changes):
    fields = {
        name: getattr(given, name) for name in ("positions", "species", "box", "replica", "types", "bonds", "masses")
    }
    return Frames(**fields | changes, temperature=300.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bonds": BONDS[:3]}, "frames are of other particles, or bonded otherwise"),
        ({"bonds": None}, "frames are of other particles, or bonded otherwise"),
        ({"box": 4.0 * np.eye(3)}, "only one of model and frames has a box"),
        ({"bias_forces": np.ones((1000, 5, 3))}, "frames have bias_forces: their populations are those of the bias"),
    ],
)
def test_frames_of_another_ensemble_are_refused(change, message, tmp_path):
    given, model = chain()
    with pytest.raises(ValueError, match=message):
        refine(model, without(given, **change), tmp_path / "refined")
    assert not list(tmp_path.iterdir())


def test_models_whose_ensemble_no_simulation_has_are_refused(tmp_path):
    given, model = chain()
    bootstrap = train(given, {"data": DATA, **ALONE, "ensemble": {"members": 2}}, progress=False)
    with pytest.raises(ValueError, match="sum of models with bonds, whose energies have other ranges: refine each"):
        refine(bootstrap, given, tmp_path / "refined")
    twice = np.concatenate([given.positions, given.positions + 2.0], axis=1)
    two = Frames(
        twice, [0] * 10, None, 300.0, types=TYPES * 2, bonds=BONDS + [(i + 5, j + 5) for i, j in BONDS],
        masses=[72.0] * 10,
    )  # fmt: skip
    other = Denoiser(model.header.model_copy(update={"particles": TYPES * 2, "bonds": two.bonds.tolist()}))
    other = other.rebuilt(model.header.terms, model.modules())
    with pytest.raises(ValueError, match="frames hold several molecules without a box"):
        refine(other, two, tmp_path / "refined")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_ensemble_of_one_basis_is_refined_as_one_model(tmp_path):
    given, model = chain()
    short = {**MD, "runs": 2, "duration": 3.0, "discard": 0.5}
    refined = refine(ensemble([model, disturbed(model, "bonds", lambda c: c.mul_(0.9))]), given, tmp_path / "r",
                     {"sampling": short})  # fmt: skip
    assert [term.kind for term in refined.header.learnt] == ["bonds", "angles", "dihedrals"]
    assert Denoiser.load(tmp_path / "r" / "model.safetensors").digest() == refined.digest()
