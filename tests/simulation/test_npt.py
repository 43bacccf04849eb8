"""Runs at constant pressure: what is refused, what a resumed run goes on with, and a density that holds."""

import mdtraj
import numpy as np
import openmm
import pandas
import pytest
from commandline import run
from models import QUICK, licl_denoiser, licl_frames

from openmm_diffusion import Frames, simulate, train
from openmm_diffusion.model.pressure import PRICE
from openmm_diffusion.simulation.starts import relax
from openmm_diffusion.units import BAR, thermal_energy

SHORT = dict(duration=0.4, interval=0.04, timestep=0.004, platform="CPU", backend="native", seed=3)
VOLUME = "Box Volume (nm^3)"


def fitted():
    return licl_denoiser(kinds=QUICK).with_held_out({"pressure": 1.0, "pressure_error": 3.0, PRICE: 0.0})


def test_a_pressure_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="osmotic pressure of the model at the volume of its data is 157 bar.*insist"):
        simulate("licl", tmp_path / "run", {**SHORT, "backend": "python", "pressure": 1.0}, progress=False)
    with pytest.raises(ValueError, match="one pressure for all replicas"):
        settings = {**SHORT, "backend": "python", "pressure": 1.0, "replicas": 2, "allow_barostat": True}
        simulate(fitted(), tmp_path / "run", settings, progress=False)
    alone = fitted()
    alone.header = alone.header.model_copy(update={"box": None})
    with pytest.raises(ValueError, match="pressure is 1 bar, but there is no box"):
        start = licl_frames().positions[0]
        simulate(alone, tmp_path / "run", {**SHORT, "pressure": 1.0}, positions=start, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_line_refuses_in_one_sentence(tmp_path):
    result = run("simulate", "licl", "--output", tmp_path / "run", "--pressure", "1", "--platform", "CPU")
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert "osmotic pressure of the model at the volume of its data is 157 bar" in result.stderr.replace("\n", " ")


def test_a_run_at_constant_pressure_resumes_in_its_box(tmp_path):
    output, config = tmp_path / "run", {**SHORT, "pressure": 1.0, "interval": 0.1, "timestep": 0.002, "duration": 1.0}
    simulate(fitted(), output, config, progress=False)
    saved = openmm.XmlSerializer.deserialize((output / "checkpoint.xml").read_text())
    before = saved.getPeriodicBoxVolume()._value
    trajectory = simulate(fitted(), output, {**config, "duration": 1.5}, resume=True, progress=False)
    table = pandas.read_csv(output / "state.csv")
    volumes = mdtraj.load(str(trajectory), top=str(output / "topology.pdb")).unitcell_volumes
    assert len(table) == len(volumes) == 15 and {VOLUME, "Density (g/mL)"} <= set(table)
    # Steps 451 to 500 end the first part, and a barostat moves at the 25th and 50th of them.
    assert table[VOLUME][9] == pytest.approx(before, rel=1e-6)
    np.testing.assert_allclose(volumes, table[VOLUME], rtol=1e-5)
    assert len(np.unique(volumes.round(6))) > 3, "the box did change"
    with pytest.raises(ValueError, match="pressure is 2"):
        simulate(fitted(), output, {**config, "duration": 2.0, "pressure": 2.0}, resume=True, progress=False)


def test_a_start_that_would_be_torn_apart_is_moved_downhill(tmp_path, caplog):
    positions = licl_frames().positions[0].astype(float)
    positions[1], positions[30] = positions[0] + [0.02, 0, 0], positions[2] + [0, 0.03, 0]
    denoiser = licl_denoiser(kinds=QUICK)
    stiff = [t.model_copy(update={"stiffness": 2e5}) if hasattr(t, "stiffness") else t for t in denoiser.header.terms]
    denoiser = denoiser.rebuilt(stiff, denoiser.modules())
    simulate(denoiser, tmp_path / "run", SHORT, positions=positions, progress=False)
    assert "steps downhill moved" in caplog.text and "left forces of up to" in caplog.text
    caplog.clear()
    simulate(fitted(), tmp_path / "other", SHORT, positions=licl_frames().positions[0], progress=False)
    assert "downhill" not in caplog.text, "what is no bad start stays as it is"


def test_a_start_that_nothing_helps_is_refused():
    """Two particles held together by a force that grows without end."""
    system, force = openmm.System(), openmm.CustomBondForce("1e5/r")
    for _ in range(2):
        system.addParticle(10.0)
    force.addBond(0, 1)
    outward = openmm.CustomExternalForce("-3e4*x")
    outward.addParticle(0)
    system.addForce(force)
    system.addForce(outward)
    context = openmm.Context(system, openmm.VerletIntegrator(1), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([[1, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match=r"forces of up to .* 2000 steps downhill left .* give another start"):
        relax(context)


#: Argon: kJ/mol and nm of Lennard-Jones (Rahman, Phys. Rev. 136, A405 (1964)), K, atoms, 1.4 g/cm^3 as an edge in nm.
EPSILON, SIGMA, TEMPERATURE, ATOMS, EDGE, REACH = 0.9977, 0.34, 94.4, 108, 1.723, 0.8


def argon():
    """A System of liquid argon and a Context of it, its atoms from a lattice."""
    system, force = openmm.System(), openmm.CustomNonbondedForce("4*e*((s/r)^12-(s/r)^6)")
    force.addGlobalParameter("e", EPSILON)
    force.addGlobalParameter("s", SIGMA)
    for _ in range(ATOMS):
        system.addParticle(39.948)
        force.addParticle([])
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(REACH)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.6)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*(EDGE * np.eye(3)))
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 2.0, 0.005)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    cell = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    cells = np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    context.setPositions((cells + cell).reshape(-1, 3) * EDGE / 3)
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    return context, integrator


@pytest.mark.slow
@pytest.mark.long
def test_a_liquid_fitted_with_its_pressure_keeps_its_density(tmp_path):
    """Frames of argon at one volume, the virial of its known forces, and 200 ps under a fit at that pressure.

    `examples/water/RESULTS.md` says how one-bead water does, where the beads are not all there is.
    """
    context, integrator = argon()
    integrator.step(4000)
    x, virials = [], []
    for _ in range(200):
        integrator.step(100)
        x.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
        energies = []
        for change in (1e-3, -1e-3):
            scale = (1 + change) ** (1 / 3)
            context.setPeriodicBoxVectors(*(EDGE * scale * np.eye(3)))
            context.setPositions(x[-1] * scale)
            energies.append(context.getState(energy=True).getPotentialEnergy()._value)
        virials.append((energies[0] - energies[1]) / 2e-3)
        context.setPeriodicBoxVectors(*(EDGE * np.eye(3)))
        context.setPositions(x[-1])
    pressure = float(ATOMS * thermal_energy(TEMPERATURE) - np.mean(virials)) / EDGE**3 / BAR
    x = np.array(x) % EDGE
    frames = Frames(x, np.full(ATOMS, 18), EDGE * np.eye(3), TEMPERATURE, replica=np.arange(200) // 20)
    pair = {"sigma": 0, "cutoff": REACH, "start": 0.28, "spacing": 0.02}
    config = {"data": {"test_fraction": 0, "validation_fraction": 0}, "pair": pair, "network": None}
    free = train(frames, config, progress=False).header.held_out
    model = train(frames, {**config, "pressure": {"value": pressure}}, progress=False)
    # Without the row it was 210 bar off, with an error of some 10.
    assert PRICE not in free and abs(free["pressure"] - pressure) > 30
    assert model.header.held_out["pressure"] == pytest.approx(pressure, abs=5)
    settings = dict(pressure=pressure, duration=200, interval=0.5, timestep=0.005, platform="CPU", backend="native")
    simulate(model, tmp_path / "run", settings, positions=x[-1], progress=False)
    volumes = pandas.read_csv(tmp_path / "run" / "state.csv")[VOLUME].to_numpy()
    density = np.array([EDGE**3 / part.mean() for part in np.split(volumes, 4)])
    assert np.abs(density - 1).max() < 0.03, f"density by quarters, in units of the data's: {density}, {pressure} bar"
