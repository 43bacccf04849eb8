"""A bad start is improved where that is asked for: minimised if there is an energy, heated and cooled, and told."""

import logging
import re

import mdtraj
import numpy as np
import openmm
import pandas
import pytest
from commandline import run as command
from models import licl_denoiser, licl_frames

from openmm_diffusion import create_system, simulate
from openmm_diffusion.simulation.guard import closest_allowed
from openmm_diffusion.simulation.starts import STAGES, anneal

RUN = dict(duration=0.04, interval=0.02, timestep=0.004, platform="Reference", backend="native", seed=2)


def model():
    return licl_denoiser(kinds=("wall", "pair"))


def overlapping():
    """Frame 0 with every second chloride 0.03 nm from a lithium, so that nothing is left of their distance."""
    x = licl_frames().positions[0].astype(float)
    x[24::2] = x[:24:2] + [0.03, 0, 0]
    return x


def simulation(positions, temperature=300.0):
    from openmm import app

    integrator = openmm.LangevinMiddleIntegrator(temperature, 5.0, 0.004)
    integrator.setRandomNumberSeed(1)
    system = create_system(model(), licl_frames().topology(), backend="native")
    made = app.Simulation(licl_frames().topology(), system, integrator, openmm.Platform.getPlatformByName("Reference"))
    made.context.setPositions(positions)
    return made


def test_overlaps_are_gone_and_the_log_says_how(tmp_path, caplog):
    x, allowed = overlapping(), closest_allowed(model())
    index = model().species_index(licl_frames().types).numpy()
    first, second = np.triu_indices(48, 1)
    with caplog.at_level(logging.INFO):
        path = simulate(model(), tmp_path / "run", {**RUN, "anneal": 2.0}, positions=x, progress=False)
    told = re.search(
        r"the start was annealed: minimised from (\S+) to (\S+) kJ/mol, then cooled from 600 to 300 K in 20 stages, "
        r"2 ps; largest force (\S+) kJ/mol/nm", caplog.text,
    )  # fmt: skip
    before, after, largest = map(float, told.groups())
    assert after < before - 100 and largest < 2e4
    run = mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb"))
    distances = mdtraj.compute_distances(run, np.stack([first, second], 1))
    assert (distances > allowed[index[first], index[second]]).all()
    table = pandas.read_csv(tmp_path / "run" / "state.csv")
    np.testing.assert_allclose(table["Time (ps)"], [0.02, 0.04], atol=1e-6)
    assert list(table['#"Step"']) == [5, 10]


def test_thermostat_and_time_step_are_those_of_the_run_behind_it():
    made, seen = simulation(licl_frames().positions[0]), []
    steps = made.integrator.step

    class Watched:
        """The integrator, and at which temperature and time step it was asked for steps."""

        def __getattr__(self, name):
            return getattr(made.integrator, name)

        def step(self, number):
            integrator = made.integrator
            seen.append((integrator.getTemperature()._value, integrator.getStepSize()._value, number))
            steps(number)

    class Run:
        context, integrator = made.context, Watched()
        currentStep = None  # noqa: N815 - OpenMM's name

    anneal(Run, 1.0, 900.0)
    temperatures, sizes, numbers = (np.array(each) for each in zip(*seen))
    np.testing.assert_allclose(temperatures, np.linspace(900, 300, STAGES))
    np.testing.assert_allclose(sizes, 0.002)
    assert (numbers * sizes).sum() == pytest.approx(1.0, rel=0.05)
    assert made.integrator.getTemperature()._value == 300 and made.integrator.getStepSize()._value == 0.004
    assert made.context.getTime()._value == 0 and Run.currentStep == 0


def test_it_leads_to_lower_energies_than_a_random_start_has():
    """Mean potential energy of the first picosecond, over eight random starts, with and without."""
    from openmm_diffusion.systems import random_positions

    topology, means = licl_frames().topology(), {True: [], False: []}
    for seed in range(8):
        for cooled in means:
            made = simulation(random_positions(model(), topology, seed))
            if cooled:
                anneal(made, 2.0, seed=seed)
            made.context.setVelocitiesToTemperature(300, seed)
            energies = []
            for _ in range(5):
                made.step(10)
                energies.append(made.context.getState(energy=True).getPotentialEnergy()._value)
            means[cooled].append(np.mean(energies))
    with_it, without = np.array(means[True]), np.array(means[False])
    error = np.sqrt((with_it.var(ddof=1) + without.var(ddof=1)) / 8)
    assert without.mean() - with_it.mean() > 3 * error


def test_forces_without_an_energy_are_followed_downhill(tmp_path, caplog):
    x = licl_frames().positions[0].astype(float)
    with caplog.at_level(logging.INFO):
        settings = {**RUN, "backend": "python", "anneal": 0.2, "anneal_temperature": 350.0}
        simulate("licl_vector", tmp_path / "run", settings, positions=x, progress=False)
    assert (
        "the start was annealed: moved downhill along forces that have no energy, then cooled from 350" in caplog.text
    )


def test_a_run_that_was_annealed_goes_on_without(tmp_path, caplog):
    settings = {**RUN, "anneal": 0.2}
    simulate(model(), tmp_path / "run", settings, positions=licl_frames().positions[0], progress=False)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        path = simulate(model(), tmp_path / "run", {**settings, "duration": 0.08}, resume=True, progress=False)
    assert "annealed" not in caplog.text
    assert mdtraj.load(str(path), top=str(tmp_path / "run" / "topology.pdb")).n_frames == 4
    with pytest.raises(ValueError, match="anneal is 0.4, but the run in .* was begun with 0.2"):
        simulate(model(), tmp_path / "run", {**settings, "anneal": 0.4}, resume=True, progress=False)


def test_what_annealing_cannot_hold_is_said():
    made = simulation(licl_frames().positions[0])
    with pytest.raises(ValueError, match="anneal is 1 ps, but at .* K positions became NaN: lower anneal_temperature"):
        anneal(made, 1.0, 1e300)


@pytest.mark.parametrize("key", ["anneal", "anneal_temperature"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "long"])
def test_wrong_values_are_refused(tmp_path, key, value):
    with pytest.raises(ValueError, match=f"{key} is"):
        simulate(model(), tmp_path / "run", {**RUN, key: value}, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_temperature_without_annealing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="anneal_temperature is 400 K, but anneal is missing: give its length in ps"):
        simulate(model(), tmp_path / "run", {**RUN, "anneal_temperature": 400.0}, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    model().save(tmp_path / "model.safetensors")
    options = ["--duration", 0.04, "--interval", 0.02, "--platform", "Reference", "--anneal", 0.5]
    done = command("simulate", tmp_path / "model.safetensors", "-o", tmp_path / "run", *options)
    assert done.returncode == 0 and "the start was annealed: minimised from" in done.stderr, done.stderr
