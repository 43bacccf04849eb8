"""Beads through the whole way: ions by another name train, run and are analysed to the same numbers."""

from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
from models import LICL
from openmm import app, unit

from openmm_diffusion import Denoiser, DiffusionForce, Frames, simulate, train
from openmm_diffusion.analysis.rdf import compute_rdf
from openmm_diffusion.evaluation.report import evaluate
from openmm_diffusion.model.header import Header
from openmm_diffusion.systems import create_system

NAMES = {"Li": "Qa", "Cl": "Qd"}
RUN = dict(duration=0.2, interval=0.04, timestep=0.004, platform="Reference", seed=3)


def config(names):
    charges = {names["Li"]: 1.0, names["Cl"]: -1.0}
    pair = {"cutoff": 0.8, "spacing": 0.06, "penalties": [1e3, 1e4]}
    return {"prior": {"coulomb": {"charges": charges}}, "pair": pair, "network": None, "data": {"limit": 200}}


def renamed(ions, names):
    types = [names[kind] for kind in ions.types]
    return replace(ions, species=np.zeros(len(types), dtype=int), types=types, masses=ions.masses)


@pytest.fixture(scope="module")
def pair_of_models(tmp_path_factory):
    """Ions and beads: frames and model of each, the models read back from their files."""
    ions = Frames.load(LICL)[::4]
    beads = renamed(ions, NAMES)
    models = []
    for frames, names in ((ions, {"Li": "Li", "Cl": "Cl"}), (beads, NAMES)):
        folder = tmp_path_factory.mktemp(names["Li"])
        train(frames, config(names), folder / "run", progress=False)
        models.append(Denoiser.load(folder / "run" / "model.safetensors"))
    return (ions, models[0]), (beads, models[1])


def test_a_model_of_beads_is_that_of_the_ions(pair_of_models):
    (ions, first), (beads, second) = pair_of_models
    assert second.header.species == ["Qa", "Qd"] and second.header.atomic_numbers == {"Qa": 0, "Qd": 0}
    assert [second.header.mass(kind) for kind in ("Qa", "Qd")] == pytest.approx([6.941, 35.453], abs=1e-3)
    np.testing.assert_array_equal(second.forces(beads.positions[:3]), first.forces(ions.positions[:3]))
    assert second.header.held_out == first.header.held_out


@pytest.mark.parametrize("backend", ["python", "native", "torchscript"])
def test_the_force_knows_beads_by_name_or_by_a_list(pair_of_models, backend):
    _, (beads, model) = pair_of_models
    options = {"backend": backend, "include_prior": False}
    named = beads.topology()
    # A topology as other tools have it: names of their own, elements that mean nothing, the types beside it.
    other = app.Topology()
    chain = other.addChain()
    for _ in beads.types:
        other.addAtom("X", app.element.carbon, other.addResidue("MOL", chain))
    other.setPeriodicBoxVectors(named.getPeriodicBoxVectors())
    expected = model.learnt.forces(beads.positions[0])
    for topology, types in ((named, None), (other, beads.types.tolist())):
        system = openmm.System()
        for _ in beads.types:
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*topology.getPeriodicBoxVectors())
        system.addForce(DiffusionForce(model, topology, types=types, **options))
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
        context.setPositions(beads.positions[0].astype(float))
        forces = context.getState(getForces=True).getForces(asNumpy=True)._value
        assert np.abs(forces - expected).max() < 2e-4 * np.abs(expected).max()
    with pytest.raises(ValueError, match="species X unknown to the model, which was trained on Qa, Qd"):
        DiffusionForce(model, other, **options)


def test_the_system_has_the_masses_of_the_beads(pair_of_models):
    _, (beads, model) = pair_of_models
    system = create_system(model, beads.topology(), backend="python")
    masses = [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())]
    np.testing.assert_allclose(masses, beads.masses, rtol=1e-6)


def test_a_mass_that_nobody_knows_is_asked_for(pair_of_models):
    (ions, _), _ = pair_of_models
    types = [NAMES[kind] for kind in ions.types]
    nameless = Frames(ions.positions, np.zeros(48, int), ions.box, 300.0, types=types)
    model = train(nameless, config(NAMES), progress=False)
    assert model.header.masses is None
    with pytest.raises(ValueError, match="atom 0 of topology has the type Qa, whose mass is known neither"):
        create_system(model, nameless.topology(), backend="python")


def test_runs_of_beads_are_those_of_the_ions(pair_of_models, tmp_path):
    trajectories, curves = [], []
    for frames, model in pair_of_models:
        folder = tmp_path / frames.types[0]
        path = simulate(model, folder, RUN, positions=frames.positions[0], progress=False)
        run = mdtraj.load(str(path), top=str(folder / "topology.pdb"))
        trajectories.append(run.xyz)
        curves.append(compute_rdf(replace(frames, positions=run.xyz, forces=None, replica=np.zeros(len(run), int))))
    np.testing.assert_array_equal(*trajectories)
    assert list(curves[1].g) == ["Qa-Qa", "Qa-Qd", "Qd-Qd"]
    for ions, beads in zip(curves[0].g.values(), curves[1].g.values()):
        np.testing.assert_array_equal(ions, beads)


def test_long_types_keep_their_names_in_the_files_of_a_run(pair_of_models, tmp_path):
    _, (beads, _) = pair_of_models
    names = {"Qa": "POPC:NC3", "Qd": "POPE:PO4x"}
    frames = renamed(beads, names)
    model = train(frames, config({"Li": "POPC:NC3", "Cl": "POPE:PO4x"}), progress=False)
    path = simulate(model, tmp_path / "run", RUN, positions=frames.positions[0], progress=False)
    topology = mdtraj.load_topology(str(tmp_path / "run" / "topology.cif"))
    found = [f"{atom.residue.name}:{atom.name}" for atom in topology.atoms]
    assert found == sorted(frames.types, key=frames.types.tolist().index)
    assert len(mdtraj.load(str(path), top=topology)) == 5


@pytest.mark.parametrize("door", ["train", "DiffusionForce", "create_system", "simulate"])
def test_a_charged_system_is_refused_at_every_door(pair_of_models, tmp_path, door):
    (ions, _), (beads, model) = pair_of_models
    topology = app.Topology()
    chain = topology.addChain()
    for kind in beads.types[:-1]:
        topology.addAtom(kind, None, topology.addResidue(kind, chain))
    topology.setPeriodicBoxVectors(beads.topology().getPeriodicBoxVectors())
    fewer = Frames(ions.positions[:, :-1], ions.species[:-1], ions.box, 300.0)
    doors = {
        "train": lambda: train(fewer, config({"Li": "Li", "Cl": "Cl"}), tmp_path / "out", progress=False),
        "DiffusionForce": lambda: DiffusionForce(model, topology, backend="python"),
        "create_system": lambda: create_system(model, topology),
        "simulate": lambda: simulate(model, tmp_path / "out", {"composition": {"Qa": 24, "Qd": 23}, **RUN}),
    }
    with pytest.raises(ValueError, match="neutral"):
        doors[door]()
    assert not (tmp_path / "out").exists()


def test_evaluation_knows_beads_in_the_files_of_a_run(pair_of_models, tmp_path):
    tables = []
    for frames, model in pair_of_models:
        folder = tmp_path / frames.types[0]
        path = simulate(model, folder, {**RUN, "format": "xtc"}, positions=frames.positions[0], progress=False)
        found = evaluate(model, frames, [path], folder / "topology.pdb", discard=0.0)
        tables.append(found.errors)
    assert tables[1]["pair"].tolist() == ["Qa-Qa", "Qa-Qd", "Qd-Qd"]
    numbers = [table.drop(columns="pair").to_numpy(float) for table in tables]
    np.testing.assert_allclose(*numbers, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize(("types", "elements"), [(["OW", "HX"], [8, 1]), (["W", "W"], [0, 0])])
def test_types_that_are_not_symbols_of_their_elements_are_names(types, elements):
    frames = Frames(np.zeros((2, 2, 3)), elements, None, 300.0, types=types, masses=[18.0, 1.0])
    header = Header(
        species=list(dict.fromkeys(types)), numbers=list(dict.fromkeys(elements)), particles=types, temperature=300.0,
        box=None, number_density=None, shortest_distances=[[None] * 2] * 2, terms=[],
    )  # fmt: skip
    assert not header.elemental
    assert Denoiser(header).types_of(frames.topology()) == types
