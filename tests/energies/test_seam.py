"""An energy is one file and one line: a Gaussian repulsion trains, saves, loads, and runs in every backend."""

from typing import Literal

import numpy as np
import openmm
import pytest
import torch
import yaml

from openmm_diffusion import Denoiser, DiffusionForce, Frames, create_system, train
from openmm_diffusion.energies import REGISTRY, register
from openmm_diffusion.energies.base import Term
from openmm_diffusion.energies.native import pairwise_force
from openmm_diffusion.forces.torchscript import torchscript_failure
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.model.combination import ensemble
from openmm_diffusion.model.curves import pair_curves
from openmm_diffusion.model.header import Header
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.systems import electrolyte, fastest

pytestmark = pytest.mark.slow

AMPLITUDES = np.array([8.0, 4.0, 6.0])  # kJ/mol, of Na-Na, Na-Cl, Cl-Cl
SPECIES, EDGE, TEMPERATURE = np.array([11, 17] * 10), 1.3, 300.0
CONFIG = {
    "data": {"test_fraction": 0, "validation_fraction": 0},
    "prior": {"wall": None},
    "pair": None,
    "network": None,
    "gaussian": {"sigma": 0, "width": 0.12, "penalties": [1e-4, 1e-2], "folds": 8},
}


@pytest.fixture(scope="module", autouse=True)
def gaussian():
    """The one line that makes the energy known, and its end."""
    from gaussian import GaussianTerm  # registers itself, where no other test has imported it before

    yield register(GaussianTerm)
    REGISTRY.pop("gaussian")


@pytest.fixture(scope="module")
def frames(gaussian):
    """Frames of Langevin dynamics under known amplitudes, by OpenMM's own force."""
    module = gaussian(sigma=0, width=0.12, cutoff=0.5).module(type("Header", (), {"species": [11, 17]}))
    module.coefficients.copy_(torch.as_tensor(AMPLITUDES))
    index = np.searchsorted([11, 17], SPECIES)
    system, box = openmm.System(), EDGE * np.eye(3)
    system.setDefaultPeriodicBoxVectors(*box)
    for _ in SPECIES:
        system.addParticle(20.0)
    part = gaussian(sigma=0, width=0.12, cutoff=0.5).pairwise(module)
    system.addForce(pairwise_force([part], 2, index, box, "Truth"))
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, 0.005)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(np.random.default_rng(1).uniform(0, EDGE, (len(SPECIES), 3)))
    positions = []
    for _ in range(1500):
        integrator.step(100)
        positions.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    return Frames(np.array(positions[100:]), SPECIES, box, TEMPERATURE)


@pytest.fixture(scope="module")
def denoiser(frames, tmp_path_factory):
    """Trained, saved, and read back."""
    path = tmp_path_factory.mktemp("gaussian") / "run"
    trained = train(frames, CONFIG, path, progress=False)
    loaded = Denoiser.load(path / "model.safetensors")
    assert [term.kind for term in loaded.header.terms] == ["gaussian"] and loaded.digest() == trained.digest()
    assert yaml.safe_load((path / "config.yaml").read_text())["gaussian"]["width"] == 0.12
    return loaded


def test_its_design_is_the_gradient_and_the_laplacian_of_its_energy(gaussian):
    module = gaussian(sigma=0, width=0.12, cutoff=0.5).module(type("Header", (), {"species": [11, 17]}))
    x = torch.as_tensor(np.random.default_rng(2).uniform(0, 0.6, (1, 6, 3)))
    species = torch.tensor([0, 1, 1, 0, 1, 0])
    G, divergence = module.design(make_batch(x, None, species, module.cutoff))
    for k in range(3):

        def energy(flat, k=k):
            return module.values(make_batch(flat.view(1, 6, 3), None, species, module.cutoff))[0, k]

        hessian = torch.autograd.functional.hessian(energy, x.flatten())
        gradient = torch.autograd.functional.jacobian(energy, x.flatten())
        np.testing.assert_allclose(G[:, k], -gradient, atol=1e-10)
        np.testing.assert_allclose(divergence[k], -hessian.trace(), rtol=1e-9)


def test_its_amplitudes_come_back_from_configurations_alone(denoiser):
    found = denoiser.modules()[0].coefficients.numpy()
    # 1,400 frames, half a picosecond apart: errors of a tenth and less.
    assert np.abs(found / AMPLITUDES - 1).max() < 0.2
    assert denoiser.header.held_out["gaussian_score"] < 0


@pytest.mark.parametrize("backend", ["torchscript", "python", "compiled", "native"])
def test_it_runs_in_every_backend(backend, denoiser, frames):
    if backend == "torchscript":
        assert torchscript_failure() is None
    expected = denoiser.forces(frames.positions[7])
    force = DiffusionForce(denoiser, frames.topology(), backend=backend, precision="double")
    system = create_system(denoiser, frames.topology(), backend=backend)
    alone = openmm.System()
    alone.setDefaultPeriodicBoxVectors(*frames.box)
    for _ in SPECIES:
        alone.addParticle(1.0)
    alone.addForce(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force)))
    for one in (alone, system):
        context = openmm.Context(one, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(frames.positions[7])
        forces = context.getState(getForces=True).getForces(asNumpy=True)._value
        np.testing.assert_allclose(forces, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 1


def test_it_joins_ensembles_and_tables(denoiser):
    both = ensemble([denoiser, denoiser])
    x = np.random.default_rng(3).uniform(0, EDGE, (2, len(SPECIES), 3))
    np.testing.assert_allclose(both.forces(x), denoiser.forces(x), atol=1e-9)
    table = pair_curves(both)
    contact = table[(table["pair"] == "Na-Cl") & np.isclose(table["r_nm"], 0.1)].iloc[0]
    amplitude = float(denoiser.modules()[0].coefficients[1])
    g = np.exp(-(0.1**2) / (2 * 0.12**2)) * (1 - 0.1**2 / 0.5**2) ** 3
    np.testing.assert_allclose(contact["u_kJ/mol"], amplitude * g, rtol=1e-9)
    assert contact["force_kJ/mol/nm"] > 0


def test_a_section_is_refused_where_it_is_wrong_and_where_nobody_knows_it():
    with pytest.raises(ValueError, match="config: gaussian.width is -1; .*greater than 0"):
        read_config({"gaussian": {"width": -1}})
    with pytest.raises(ValueError, match="unknown key gausian; did you mean gaussian"):
        read_config({"gausian": {}})


def test_an_energy_that_nothing_can_learn_is_refused(frames, gaussian, monkeypatch):
    monkeypatch.setattr(gaussian, "linear", False)
    with pytest.raises(ValueError, match="gaussian is asked for, but nothing can learn a Gaussian repulsion"):
        train(frames, CONFIG, progress=False)


def test_a_term_needs_a_kind_of_its_own():
    class Nameless(Term):
        """A term without a kind."""

    with pytest.raises(ValueError, match="give it one that no other term has"):
        register(Nameless)


def test_an_openmm_force_needs_a_name():
    class Unnamed(Term):
        """A term with a native force and no name for it."""

        kind: Literal["unnamed"] = "unnamed"

        def native(self, header, module, species, box, tolerance):
            return openmm.CustomExternalForce("0")

    with pytest.raises(ValueError, match="only one of `native` and `native_name`"):
        register(Unnamed)


def test_what_reaches_farther_than_native_forces_is_not_native(gaussian):
    """Cut off at 1.2 nm it would be another potential."""
    term = gaussian(sigma=0, width=0.8, cutoff=1.5)
    header = Header(
        species=[11, 17], particles=[11, 17], temperature=TEMPERATURE, box=(4 * np.eye(3)).tolist(),
        number_density=None, shortest_distances=[[0.2, 0.2], [0.2, 0.2]], terms=[term],
    )  # fmt: skip
    topology = electrolyte({"Na": 1, "Cl": 1}, edge=4.0)
    assert fastest(Denoiser(header), topology, 100, platform="CPU")["backend"] != "native"
    with pytest.raises(ValueError, match="up to 1.2 nm"):
        create_system(Denoiser(header), topology, backend="native")


def test_create_system_holds_the_prior_anyway(denoiser, frames):
    with pytest.raises(TypeError, match="always holds the prior"):
        create_system(denoiser, frames.topology(), include_prior=False)
