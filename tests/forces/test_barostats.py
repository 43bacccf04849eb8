"""Barostats over a model: refused with the model's pressure, wherever they are added; boxes that shrink too far."""

import branched
import numpy as np
import openmm
import pytest
from models import QUICK, licl_denoiser, licl_frames

from openmm_diffusion import DiffusionForce
from openmm_diffusion.forces.barostats import refusal
from openmm_diffusion.forces.diffusionforce import check_system
from openmm_diffusion.forces.torchscript import torchscript_failure
from openmm_diffusion.model.pressure import PRICE
from openmm_diffusion.particles import topology_of
from openmm_diffusion.systems import create_system

BACKENDS = ("python", "native", "torchscript")
BAROSTATS = {
    "isotropic": lambda: openmm.MonteCarloBarostat(1.0, 300.0, 2),
    "anisotropic": lambda: openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(1, 1, 1), 300.0, True, True, True, 2),
    "membrane": lambda: openmm.MonteCarloMembraneBarostat(1.0, 0.0, 300.0, 0, 0, 2),
}
TRICLINIC = 2.526 * np.array([[1, 0, 0], [0.3, 1, 0], [-0.2, 0.4, 1]])
topology = licl_frames().topology()


def model(*, head="energy", kinds=QUICK, **held_out):
    denoiser = licl_denoiser(head, kinds)
    return denoiser.with_held_out(held_out) if held_out else denoiser


def stepped(system, steps=6, box=None):
    """Volumes of some steps of a System, with the first frame."""
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(licl_frames().positions[0])
    volumes = []
    for _ in range(steps):
        integrator.step(1)
        volumes.append(context.getState().getPeriodicBoxVolume()._value)
    return volumes


def barostated(denoiser, backend, kind="isotropic", **options):
    if backend == "torchscript" and torchscript_failure():
        pytest.skip("TorchForce does not work here")
    system = create_system(denoiser, topology, backend=backend, **options)
    system.addForce(BAROSTATS[kind]())
    return system


def test_it_is_refused_with_the_pressure():
    system = openmm.System()
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    sentence = "MonteCarloBarostat is refused: the osmotic pressure of the model at the volume of its data is 157 bar.*"
    with pytest.raises(ValueError, match=sentence + "keep the volume, or insist with allow_barostat=True"):
        DiffusionForce(model(pressure=156.9), topology, backend="python", system=system)
    # Without a dielectric it cannot be known whether a solvent was there.
    neutral = model(kinds=("wall", "pair"), pressure=2449.0)
    with pytest.raises(ValueError, match=r"the pressure of the model .* is 2449 bar.*fit with the pressure.*osmotic"):
        check_system(barostated(neutral, "native"))
    with pytest.raises(ValueError, match="pressure of the model is not known.*`evaluate` measures it"):
        check_system(barostated(model(kinds=("wall", "pair")), "native"))


@pytest.mark.parametrize("backend", ["python", "native"])
def test_the_name_of_the_force_says_so_and_xml_keeps_the_refusal(backend):
    system = create_system(model(kinds=("pair",), pressure=2449.0), topology, backend=backend)
    assert system.getForce(0).getName() == "DiffusionForce at constant volume (2449 bar)"
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    system.addForce(BAROSTATS["isotropic"]())
    with pytest.raises(openmm.OpenMMException, match="2449 bar" if backend == "python" else "MonteCarloPressure"):
        stepped(system, 1)


@pytest.mark.parametrize("insisted", [False, True])
def test_molecules_as_forces_of_openmm_alone_are_refused_one_too(insisted):
    """Bonds alone, native in a box: no force of the System is a DiffusionForce."""
    edge = 3.0
    molecule = branched.denoiser(["bonds"], box=(edge * np.eye(3)).tolist())
    top = topology_of(branched.TYPES, [0] * 9, branched.BONDS)
    top.setPeriodicBoxVectors(edge * np.eye(3))
    system = create_system(molecule, top, allow_barostat=insisted)
    assert (check_system(system) is None) and system.getNumForces() == (1 if insisted else 2)
    system.addForce(BAROSTATS["isotropic"]())
    context = None
    if insisted:
        check_system(system)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001))
    else:
        with pytest.raises(ValueError, match="pressure of the model is not known"):
            check_system(system)
        with pytest.raises(openmm.OpenMMException, match="MonteCarloPressure"):
            context = openmm.Context(system, openmm.VerletIntegrator(0.001))
    assert (context is not None) == insisted


def test_what_stands_in_a_collective_variable_is_looked_at():
    """Its own Context has no barostat to see."""
    system = openmm.System()
    inside = openmm.CustomCVForce("model")
    inside.addCollectiveVariable("model", DiffusionForce(model(pressure=156.9), topology, backend="python"))
    system.addForce(inside)
    check_system(system)
    system.addForce(BAROSTATS["isotropic"]())
    with pytest.raises(ValueError, match="the osmotic pressure of the model at the volume of its data is 157 bar"):
        check_system(system)


@pytest.mark.parametrize("kind", BAROSTATS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_context_refuses_one_that_was_added_later(backend, kind):
    """PythonForce says why; OpenMM makes no Context of the others."""
    if (backend, kind) in (("torchscript", "anisotropic"), ("torchscript", "membrane")):
        pytest.skip("a TorchForce knows the isotropic barostat alone")
    system = barostated(model(pressure=154.2), backend, kind)
    match = "a barostat is refused: the osmotic pressure.*154 bar" if backend == "python" else "MonteCarloPressure"
    with pytest.raises(openmm.OpenMMException, match=match):
        stepped(system, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_fitted_a_pressure_or_insists_gets_one(backend):
    fitted = model(pressure=1.2, **{PRICE: 3.0})
    for system in (barostated(fitted, backend), barostated(model(), backend, allow_barostat=True)):
        check_system(system)
        assert len(set(stepped(system, 30))) > 1, "the box did change"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["python", "torchscript"])
def test_a_vector_head_has_none_in_any_case(backend):
    system = barostated(model(head="vector", kinds=("pair", "network")), backend, allow_barostat=True)
    with pytest.raises(ValueError, match="needs an energy, but the model has a vector head"):
        check_system(system)
    with pytest.raises(openmm.OpenMMException, match="needs an energy|MonteCarloPressure"):
        stepped(system, 1)


def test_without_a_barostat_nothing_is_refused():
    """Boxes may be changed by hand, and nothing of a force's parameters is felt."""
    system = create_system(model(), topology, backend="python")
    check_system(system)
    assert len(set(stepped(system, 2))) == 1
    assert refusal("DiffusionForce+Coulomb", "a barostat") is None, "files of version 0.1.0 say nothing of a pressure"


# ---- boxes that shrink


def scripted(outputs_forces, box):
    if torchscript_failure():
        pytest.skip("TorchForce does not work here")
    frames = licl_frames()
    top = frames.topology()
    top.setPeriodicBoxVectors(box)
    force = DiffusionForce(model(kinds=("pair",)), top, backend="torchscript", outputs_forces=outputs_forces)
    system = openmm.System()
    for _ in range(48):
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(force)
    return openmm.Context(system, openmm.VerletIntegrator(1), openmm.Platform.getPlatformByName("Reference"))


@pytest.mark.parametrize("outputs_forces", [True, False])
@pytest.mark.parametrize("box", [licl_frames().box, TRICLINIC], ids=["cubic", "triclinic"])
def test_torchforce_raises_where_the_box_is_below_twice_the_cutoff(box, outputs_forces):
    context, x = scripted(outputs_forces, box), licl_frames().positions[0].astype(float)
    fits = 2 * 0.9 / 2.526
    context.setPeriodicBoxVectors(*(fits * box))
    context.setPositions(fits * x)
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert energy == pytest.approx(model(kinds=("pair",)).energy(fits * x, fits * box), rel=1e-4)
    context.setPeriodicBoxVectors(*(0.99 * fits * box))
    with pytest.raises(openmm.OpenMMException, match=r"cutoff is 0\.9\d* nm, over half the box .*a larger one"):
        context.getState(energy=True)


@pytest.mark.parametrize("kinds", [QUICK, ("coulomb", "wall")], ids=["pairs", "prior"])
def test_native_forces_leave_the_box_room_to_shrink(kinds):
    """A fifth of its width, and the energy is still the model's."""
    denoiser, frames = licl_denoiser(kinds=kinds, edge=3.2), licl_frames()
    top = frames.topology()
    top.setPeriodicBoxVectors(3.2 * np.eye(3))
    options = {"backend": "native"} if "pair" in kinds else {}
    system = create_system(denoiser, top, ewald_error_tolerance=1e-5, **options)
    context = openmm.Context(system, openmm.VerletIntegrator(1), openmm.Platform.getPlatformByName("Reference"))
    for edge in (3.2, 2.6):
        x, box = frames.positions[0].astype(float) * edge / 2.526, edge * np.eye(3)
        context.setPeriodicBoxVectors(*box)
        context.setPositions(x)
        energy = context.getState(energy=True).getPotentialEnergy()._value
        assert energy == pytest.approx(denoiser.energy(x, box), rel=1e-3, abs=0.05)
    cutoffs = {f.getCutoffDistance()._value for f in system.getForces() if hasattr(f, "getCutoffDistance")}
    assert len(cutoffs) == 1, "the platforms want one cutoff of all nonbonded forces"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scaled_force_refuses_too_and_scales_by_its_own_parameter(backend):
    if backend == "torchscript" and torchscript_failure():
        pytest.skip("TorchForce does not work here")
    denoiser, energies = model(kinds=("pair",)), []
    for barostat in (False, True):
        system = openmm.System()
        for _ in range(48):
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*licl_frames().box)
        system.addForce(DiffusionForce(denoiser, topology, backend=backend, scaling_parameter="part"))
        if barostat:
            system.addForce(BAROSTATS["isotropic"]())
            with pytest.raises(openmm.OpenMMException, match="MonteCarloPressure"):
                stepped(system, 1)
            return
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(1), platform)
        context.setPositions(licl_frames().positions[0])
        for value in (1.0, 0.5):
            context.setParameter("part", value)
            energies.append(context.getState(energy=True).getPotentialEnergy()._value)
        whole = float(denoiser.energy(licl_frames().positions[0]))
        assert energies == pytest.approx([whole, 0.5 * whole], rel=1e-4)


def test_a_model_of_some_atoms_is_refused_none():
    """The pressure of a mixed System is not that of the model."""
    system = openmm.System()
    system.addForce(BAROSTATS["isotropic"]())
    lithium = [atom.index for atom in topology.atoms() if atom.element.symbol == "Li"]
    force = DiffusionForce(model(kinds=("pair",)), topology, backend="python", system=system, atoms=lithium)
    assert force.getName() == "DiffusionForce"
