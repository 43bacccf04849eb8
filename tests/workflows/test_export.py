"""Exported files: the same forces in a process that knows neither this package nor, where native, torch."""

import json
import subprocess
import sys

import numpy as np
import openmm
import pandas
import pytest
import torch
from models import ALL, PRIOR, QUICK, licl_denoiser, licl_frames
from openmm import app, unit
from scipy.interpolate import CubicSpline

from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.model.combination import ensemble, extrapolated
from openmm_diffusion.model.curves import pair_curves
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.systems import electrolyte
from openmm_diffusion.workflows.export import export

pytestmark = pytest.mark.slow

#: Runs the exported script, then evaluates the System at given positions.
CONSUMER = """
import json, runpy, sys
run = runpy.run_path(sys.argv[1])
import numpy, openmm
context = openmm.Context(run["system"], openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions(numpy.load(sys.argv[2]))
state = context.getState(energy=True, forces=True)
moved = run["simulation"].context.getState(positions=True).getPositions(asNumpy=True)._value
print(json.dumps({
    "energy": state.getPotentialEnergy()._value, "forces": state.getForces(asNumpy=True)._value.tolist(),
    "steps": run["simulation"].currentStep, "start": run["pdb"].getPositions(asNumpy=True)._value.tolist(),
    "moved": moved.tolist(), "modules": sorted(sys.modules),
}))
"""


def consumed(directory, positions, tmp_path):
    """What an isolated Python process gets out of the exported files."""
    np.save(tmp_path / "x.npy", positions)
    command = [sys.executable, "-I", "-c", CONSUMER, directory / "run.py", tmp_path / "x.npy"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def frame(number=3):
    return licl_frames().positions[number].astype(float)


def with_pairs(*terms):
    """A LiCl model with the prior and pair terms, coefficients at random."""
    base = licl_denoiser(kinds=QUICK)
    header = base.header.model_copy(update={"terms": [*base.header.terms[:-1], *terms]})
    denoiser, rng = Denoiser(header), np.random.default_rng(2)
    for term, module in zip(header.terms, denoiser.modules()):
        if term.kind == "pair":
            module.coefficients[:, :-3] = torch.as_tensor(rng.normal(size=module.coefficients[:, :-3].shape))
            module.table[..., :-3] = torch.as_tensor(rng.normal(size=module.table[..., :-3].shape))
    return denoiser


PAIR = PairTerm(sigma=0.005, cutoff=0.9, start=0.18, spacing=0.06)


# ---- native


def test_the_files_run_without_torch_and_without_this_package(tmp_path):
    model, x = licl_denoiser(kinds=QUICK), frame()
    export(model, licl_frames().topology(), tmp_path / "out", positions=x, ewald_error_tolerance=1e-5)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pair.csv", "run.py", "system.xml", "topology.pdb"]
    got = consumed(tmp_path / "out", x, tmp_path)
    assert "openmm" in got["modules"] and not {"torch", "openmm_diffusion", "openmmtorch"} & set(got["modules"])
    assert got["steps"] == 100 and np.isfinite(got["moved"]).all()
    assert np.abs(np.array(got["moved"]) - got["start"]).max() > 1e-3
    # A PDB file holds thousandths of an Angstrom.
    np.testing.assert_allclose(got["start"], x, atol=5.1e-5)
    # PME and our Ewald sum aim at 1e-5 each; the table goes through the knots of the spline.
    expected = model.forces(x)
    assert np.abs(np.array(got["forces"]) - expected).max() < 1e-4 * np.abs(expected).max()
    assert got["energy"] == pytest.approx(float(model.energy(x)), rel=1e-4)


@pytest.mark.parametrize("tolerance", [5e-4, 1e-5])
def test_forces_differ_by_the_tolerance_of_pme(tmp_path, tolerance):
    model, x = licl_denoiser(kinds=QUICK), frame()
    system = export(model, licl_frames().topology(), tmp_path, positions=x, ewald_error_tolerance=tolerance)
    difference = np.sqrt(np.mean((forces_of(system, x) - model.forces(x)) ** 2))
    coulomb = np.sqrt(np.mean(licl_denoiser(kinds=("coulomb",)).forces(x) ** 2))
    # Three times the tolerance, as PME alone keeps, and our own Ewald sum's 1e-5; nothing left for the table.
    assert difference < 3 * (tolerance + 1e-5) * coulomb


def forces_of(system, x):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    return context.getState(forces=True).getForces(asNumpy=True)._value


def test_the_curves_are_energies_and_forces_of_dimers(tmp_path):
    model = licl_denoiser(kinds=QUICK)
    export(model, None, tmp_path / "out")
    table = pandas.read_csv(tmp_path / "out" / "pair.csv")
    assert list(table) == ["pair", "r_nm", "u_kJ/mol", "force_kJ/mol/nm"]
    dimer = model.subset(["pair"])
    for name, species in (("Li-Li", [3, 3]), ("Li-Cl", [3, 17]), ("Cl-Cl", [17, 17])):
        rows = table[table["pair"] == name]
        r = rows["r_nm"].to_numpy()
        assert r[0] > 0 and r[-1] == pytest.approx(0.9) and 0.18 == pytest.approx(r[np.abs(r - 0.18).argmin()])
        x = np.zeros((len(r), 2, 3))
        x[:, 1, 0] = r
        u, f = dimer.energy(x, False, species), dimer.forces(x, False, species)[:, 1, 0]
        np.testing.assert_allclose(rows["u_kJ/mol"], u, atol=1e-6)
        np.testing.assert_allclose(rows["force_kJ/mol/nm"], f, atol=1e-5)


def test_a_cubic_spline_through_the_curve_is_the_potential():
    pair, table = licl_denoiser(kinds=QUICK).modules()[-1], pair_curves(licl_denoiser(kinds=QUICK))
    for kind, name in enumerate(("Li-Li", "Li-Cl", "Cl-Cl")):
        rows = table[(table["pair"] == name) & (table["r_nm"] > 0.18 - 1e-9)]
        u, force = rows["u_kJ/mol"].to_numpy(), rows["force_kJ/mol/nm"].to_numpy()
        spline = CubicSpline(rows["r_nm"], u, bc_type=((1, -force[0]), (1, -force[-1])))
        between = np.random.default_rng(kind).uniform(0.18, 0.9, 200)
        np.testing.assert_allclose(spline(between), pair.curve(kind, between), atol=1e-9)


def test_sums_of_pair_models_are_one_force(tmp_path):
    one, two = with_pairs(PAIR), with_pairs(PAIR.model_copy(update={"sigma": 0.01}))
    two.modules()[-1].coefficients.mul_(0.6)
    x = frame()
    for number, model in enumerate((extrapolated([one, two]), ensemble([one, with_pairs(PAIR)]))):
        export(model, licl_frames().topology(), tmp_path / str(number), positions=x, ewald_error_tolerance=1e-5)
        system = openmm.XmlSerializer.deserialize((tmp_path / str(number) / "system.xml").read_text())
        names = [force.getName() for force in system.getForces()]
        assert names == ["CoulombPrior", "DiffusionForce at constant volume (osmotic)"]
        expected = model.forces(x)
        assert np.abs(forces_of(system, x) - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_model_over_a_range_of_noise_is_exported_at_its_level(tmp_path):
    model, x = with_pairs(PAIR.model_copy(update={"sigmas": [0.005, 0.01, 0.02]})).at(0.015), frame()
    system = export(model, licl_frames().topology(), tmp_path / "out", positions=x, ewald_error_tolerance=1e-5)
    expected = model.forces(x)
    assert np.abs(expected - model.at(0.005).forces(x)).max() > 1e-2 * np.abs(expected).max(), "the level matters"
    assert np.abs(forces_of(system, x) - expected).max() < 1e-4 * np.abs(expected).max()
    assert "noise of 0.015 nm" in (tmp_path / "out" / "run.py").read_text()


def test_composition_and_box_are_those_of_the_training_by_default(tmp_path):
    model = licl_denoiser(kinds=QUICK)
    export(model, None, tmp_path / "out")
    pdb = app.PDBFile(str(tmp_path / "out" / "topology.pdb"))
    assert [atom.element.symbol for atom in pdb.topology.atoms()] == model.header.particles
    box = np.array(pdb.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    np.testing.assert_allclose(box, model.header.box, atol=1e-4)
    system = openmm.XmlSerializer.deserialize((tmp_path / "out" / "system.xml").read_text())
    assert system.getParticleMass(0)._value == pytest.approx(6.94, abs=0.01)
    assert system.getParticleMass(47)._value == pytest.approx(35.45, abs=0.01)


# ---- TorchScript


@pytest.mark.parametrize("head", ["energy", "vector"])
def test_torchscript_takes_every_model(tmp_path, head):
    import openmmtorch

    model, x = licl_denoiser(head, ALL), frame()
    export(model, licl_frames().topology(), tmp_path, format="torchscript", positions=x, ewald_error_tolerance=1e-5)
    system = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    expected = model.forces(x)
    # Single precision of the network, 1e-5 of PME.
    assert np.abs(forces_of(system, x) - expected).max() < 2e-4 * np.abs(expected).max()
    alone, learnt = openmm.System(), model.subset(["pair", "network"]).forces(x)
    for _ in x:
        alone.addParticle(1.0)
    alone.setDefaultPeriodicBoxVectors(*licl_frames().box)
    force = openmmtorch.TorchForce(str(tmp_path / "learnt.pt"))
    force.setOutputsForces(True)
    force.setUsesPeriodicBoundaryConditions(True)
    alone.addForce(force)
    assert np.abs(forces_of(alone, x) - learnt).max() < 2e-4 * np.abs(learnt).max()
    assert ("There is no energy" in (tmp_path / "run.py").read_text()) == (head == "vector")


def test_the_torchscript_files_run_without_this_package(tmp_path):
    model, x = licl_denoiser("energy", ALL), frame()
    export(model, licl_frames().topology(), tmp_path / "out", format="torchscript", positions=x)
    got, expected = consumed(tmp_path / "out", x, tmp_path), model.forces(x)
    assert "openmm_diffusion" not in got["modules"] and got["steps"] == 100
    # PME at its default, 5e-4.
    assert np.abs(np.array(got["forces"]) - expected).max() < 5e-3 * np.abs(expected).max()


# ---- refused


@pytest.mark.parametrize(
    "model, options, message",
    [
        (dict(kinds=ALL), {}, "the model has a network: fit a pair potential .*openmm-diffusion distil"),
        (dict(kinds=ALL, head="vector"), {}, "the model has a network: fit a pair potential"),
        (dict(kinds=PRIOR), {}, "the model has no learnt terms, only a prior"),
        (dict(kinds=QUICK), dict(format="xml"), "format is 'xml': choose one of native, torchscript"),
        (dict(kinds=QUICK), dict(positions=np.zeros((3, 3))), r"positions have shape \(3, 3\): give \(48, 3\), in nm"),
        (
            dict(kinds=QUICK),
            dict(topology=electrolyte({"Na": 4, "Cl": 4}, edge=2.5)),
            "species Na unknown to the model",
        ),
        (dict(kinds=QUICK), dict(topology=electrolyte({"Li": 4, "Cl": 4}, edge=1.0)), "the model's cutoff is 0.9 nm"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        export(licl_denoiser(**model), options.pop("topology", None), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_pair_potentials_of_different_knots_are_refused(tmp_path):
    model = with_pairs(PAIR, PAIR.model_copy(update={"spacing": 0.03}))
    with pytest.raises(ValueError, match="has 2 pair potentials of different knots"):
        export(model, None, tmp_path / "out")


def test_an_output_that_is_a_file_stays_one(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="out is a file: name a directory"):
        export(licl_denoiser(kinds=QUICK), None, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_model_without_box_needs_a_topology(tmp_path):
    base = licl_denoiser(kinds=QUICK)
    model = Denoiser(base.header.model_copy(update={"box": None}))
    with pytest.raises(ValueError, match="the model was trained without a box, so give one"):
        export(model, None, tmp_path / "out")
