"""Runs of the shipped models: resume after a kill, guards, warnings, refusals."""

import os
import signal
import subprocess
import sys
import time

import mdtraj
import numpy as np
import openmm
import pandas
import pytest
import yaml
from models import QUICK, licl_denoiser, licl_frames

from openmm_diffusion import Denoiser, Frames, create_system, simulate
from openmm_diffusion.analysis.comparison import noised
from openmm_diffusion.model.combination import ensemble, spread
from openmm_diffusion.simulation.guard import SimulationStopped, closest_allowed
from openmm_diffusion.simulation.langevin import SimulationConfig
from openmm_diffusion.simulation.states import noise_seed, read_state

pytestmark = pytest.mark.slow

SHORT = dict(duration=0.4, interval=0.04, timestep=0.004, platform="CPU", seed=3)


def test_a_run_leaves_a_trajectory_a_log_and_a_checkpoint(tmp_path):
    trajectory = simulate("licl", tmp_path / "run", SHORT, progress=False)
    run = mdtraj.load(str(trajectory), top=str(tmp_path / "run" / "topology.pdb"))
    assert run.n_frames == 10 and run.n_atoms == 48
    assert np.allclose(run.unitcell_lengths, 2.526, atol=1e-3)
    assert [a.element.symbol for a in run.topology.atoms] == ["Li"] * 24 + ["Cl"] * 24
    table = pandas.read_csv(tmp_path / "run" / "state.csv")
    assert len(table) == 10 and np.isfinite(table.to_numpy()).all()
    assert np.isclose(table["Time (ps)"].iloc[-1], 0.4)


def test_xtc_is_written_too(tmp_path):
    trajectory = simulate("licl", tmp_path / "run", {**SHORT, "format": "xtc", "duration": 0.2}, progress=False)
    assert mdtraj.load(str(trajectory), top=str(tmp_path / "run" / "topology.pdb")).n_frames == 5


def test_a_killed_run_resumes_and_loses_only_what_follows_its_checkpoint(tmp_path):
    output = tmp_path / "run"
    command = [
        sys.executable, "-m", "openmm_diffusion", "simulate", "licl", "--output", output, "--duration", 8, "--interval",
        0.04, "--platform", "CPU", "--seed", 5,
    ]  # fmt: skip
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not (output / "checkpoint.xml").exists() and time.time() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (output / "checkpoint.xml").exists()
    state = openmm.XmlSerializer.deserialize((output / "checkpoint.xml").read_text())
    saved = round(state.getTime()._value / 0.04)
    assert 10 <= saved < 200, "the kill must fall into the run"
    before = mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "topology.pdb"))

    config = SimulationConfig(duration=0.04 * saved + 0.4, interval=0.04, platform="CPU", seed=5)
    with pytest.raises(ValueError, match="resume"):
        simulate("licl", output, config, progress=False)
    simulate("licl", output, config, resume=True, progress=False)
    after = mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "topology.pdb"))
    assert after.n_frames == saved + 10
    assert np.allclose(after.xyz[:saved], before.xyz[:saved], atol=1e-6)
    jumps = mdtraj.compute_distances(after, [[0, 1]], periodic=True)
    assert np.isfinite(jumps).all() and len(np.unique(after.xyz[:, 0, 0])) == after.n_frames
    times = pandas.read_csv(output / "state.csv")["Time (ps)"]
    assert np.allclose(np.diff(times), 0.04, atol=1e-6) and len(times) == saved + 10


def test_a_resumed_run_does_not_repeat_the_noise_of_its_beginning(tmp_path):
    """By hand from its checkpoint: another stream than that of the first step, and always the same."""
    denoiser, run = licl_denoiser(kinds=QUICK), dict(interval=0.04, timestep=0.004, platform="Reference", seed=5)
    simulate(denoiser, tmp_path, {**run, "duration": 0.4}, progress=False)
    state = read_state(tmp_path / "checkpoint.xml")
    force = yaml.safe_load((tmp_path / "config.yaml").read_text())["force"]
    path = simulate(denoiser, tmp_path, {**run, "duration": 0.44}, resume=True, progress=False)
    frame = mdtraj.load(str(path), top=str(tmp_path / "topology.pdb")).xyz[-1]

    def by_hand(seed):
        topology = licl_frames().topology()
        integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.004)
        integrator.setRandomNumberSeed(seed)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(create_system(denoiser, topology, **force), integrator, platform)
        context.setState(state)
        integrator.step(10)
        x = context.getState(positions=True, enforcePeriodicBox=True).getPositions(asNumpy=True)._value
        shift = (x - frame) / np.diagonal(licl_frames().box)
        return np.abs(shift - np.round(shift)).max()

    assert by_hand(noise_seed(5, 100)) < 1e-6 < 1e-3 < by_hand(5)


def test_resume_refuses_other_settings(tmp_path):
    simulate("licl", tmp_path / "run", {**SHORT, "duration": 0.04}, progress=False)
    with pytest.raises(ValueError, match="timestep is 0.002.*begun with 0.004"):
        simulate("licl", tmp_path / "run", {**SHORT, "timestep": 0.002}, resume=True, progress=False)


def test_a_pair_too_close_stops_the_run_with_the_last_good_frame(tmp_path):
    frames = Frames.load("examples/licl/licl.npz")
    positions = frames.positions[0].astype(float)
    # An ion shot at another: 0.19 nm is closer than the data's shortest Li-Li distance less 0.04 nm.
    positions[1] = positions[0] + [0.19, 0, 0]
    with pytest.raises(SimulationStopped, match=r"Li 0 and Li 1 came to 0\.\d+ nm .* data support"):
        simulate("licl", tmp_path / "run", {**SHORT, "timestep": 0.0001, "interval": 0.0001}, positions=positions,
                 progress=False)  # fmt: skip


def test_a_wider_margin_lets_a_pair_come_closer_and_may_be_given_to_a_run_that_goes_on(tmp_path):
    positions = Frames.load("examples/licl/licl.npz").positions[0].astype(float)
    positions[1] = positions[0] + [0.19, 0, 0]
    brief = {**SHORT, "timestep": 0.0001, "interval": 0.0001, "duration": 0.0002, "guard_margin": 0.2}
    simulate("licl", tmp_path, brief, positions=positions, progress=False)
    longer = {**brief, "duration": 0.0004}
    with pytest.raises(SimulationStopped, match="closer than the 0.2.* that the data support"):
        simulate("licl", tmp_path, longer | {"guard_margin": None}, resume=True, progress=False)
    path = simulate("licl", tmp_path, longer, resume=True, progress=False)
    assert len(mdtraj.load(str(path), top=str(tmp_path / "topology.pdb"))) == 4


def test_exploding_positions_stop_the_run_and_keep_the_last_good_frame(tmp_path):
    with pytest.raises(SimulationStopped, match="(NaN|came to).*last good frame is in"):
        simulate("licl", tmp_path / "run", {**SHORT, "timestep": 0.1, "interval": 0.1, "duration": 20}, progress=False)
    assert mdtraj.load(str(tmp_path / "run" / "last_good.pdb")).n_atoms == 48


@pytest.mark.parametrize("sigma", [0.005, 0.014, 0.0265])
def test_the_guard_lets_the_noised_ensemble_pass(sigma):
    """The model's own ensemble is the noised one, which comes closer than the data do."""
    denoiser, frames = Denoiser.load("licl"), Frames.load("examples/licl/licl.npz")
    for term in denoiser.header.learnt:
        term.sigma = sigma
    upper, index = np.triu_indices(48, 1), denoiser.species_index(frames.species)
    allowed = closest_allowed(denoiser)[index[upper[0]], index[upper[1]]]
    distances = mdtraj.compute_distances(noised(frames[::10], sigma).to_mdtraj(), np.stack(upper, 1), periodic=True)
    assert (allowed > 0).all(), "a guard that lets everything pass is none"
    assert (distances > allowed).all()


def test_a_run_without_frames_is_refused_and_leaves_its_directory_free(tmp_path):
    with pytest.raises(ValueError, match="duration is 0.02 ps, shorter than interval"):
        simulate("licl", tmp_path / "run", {**SHORT, "duration": 0.02}, progress=False)
    assert not (tmp_path / "run").exists()


def test_resume_refuses_another_model(tmp_path):
    simulate("licl", tmp_path / "run", {**SHORT, "duration": 0.04}, progress=False)
    with pytest.raises(ValueError, match="model is .* begun with"):
        simulate("licl_vector", tmp_path / "run", {**SHORT, "duration": 0.08}, resume=True, progress=False)


def test_another_temperature_is_warned_of(tmp_path, caplog):
    simulate("licl", tmp_path / "run", {**SHORT, "temperature": 350, "duration": 0.04}, progress=False)
    assert "temperature is 350 K, but the model was trained on data at 300 K" in caplog.text


def test_another_density_is_warned_of(tmp_path, caplog):
    simulate("licl", tmp_path / "run", {**SHORT, "edge": 3.0, "duration": 0.04}, progress=False)
    assert "density is 1.78 particles/nm^3, more than 20 % off the data's 2.98" in caplog.text


def test_the_thermostat_holds_the_temperature(tmp_path):
    """Kinetic temperature within four standard errors; the error follows from blocks."""
    simulate("licl", tmp_path / "run", {**SHORT, "duration": 8, "interval": 0.04}, progress=False)
    T = pandas.read_csv(tmp_path / "run" / "state.csv")["Temperature (K)"].to_numpy()[50:]
    blocks = T[: len(T) // 10 * 10].reshape(10, -1).mean(1)
    error = blocks.std(ddof=1) / np.sqrt(10)
    assert error < 15 and abs(blocks.mean() - 300) < 4 * error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(interval=0.003), "interval is 0.003 ps: give a multiple of timestep"),
        (dict(platform="GPU"), "platform is 'GPU'"),
        (dict(edge=1.5), "cutoff is 1 nm, over half the box"),
        (dict(composition={"Na": 24, "Cl": 24}), "species Na unknown to the model"),
        (dict(edge=3.0, molarity=2.4), "exactly one"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        simulate("licl", tmp_path / "run", {**SHORT, **change}, progress=False)


def test_a_vector_head_runs_and_reports_no_potential_energy(tmp_path):
    simulate("licl_vector", tmp_path / "run", {**SHORT, "duration": 0.2}, progress=False)
    assert not Denoiser.load("licl_vector").conservative
    assert not any("Potential" in column for column in pandas.read_csv(tmp_path / "run" / "state.csv").columns)


def test_a_run_says_where_the_members_of_an_ensemble_disagree(tmp_path, caplog):
    parts = []
    for factor in (0.8, 1.2):
        part = licl_denoiser(kinds=("coulomb", "wall", "pair"))
        part = part.rebuilt(part.header.terms, part.modules())
        part.modules()[-1].coefficients.mul_(factor)
        parts.append(part)
    model, x = ensemble(parts), licl_frames().positions[0].astype(float)
    settings = dict(duration=0.1, interval=0.02, timestep=0.002, platform="CPU", backend="native")
    simulate(model, tmp_path / "run", {**settings, "spread_limit": 1.0}, positions=x, progress=False)
    table = pandas.read_csv(tmp_path / "run" / "spread.csv")
    assert len(table) == 5 and (table["largest_spread_kJ_per_mol_nm"] > 1).all()
    run = mdtraj.load(str(tmp_path / "run" / "trajectory.dcd"), top=str(tmp_path / "run" / "topology.pdb"))
    expected = spread(model, run.xyz.astype(float)).max(axis=1)
    # The trajectory is rounded to float32, wrapped.
    assert table["largest_spread_kJ_per_mol_nm"].to_numpy() == pytest.approx(expected, rel=1e-3)
    assert "spread by" in caplog.text and "in 5 of 5 looks" in caplog.text
    caplog.clear()
    simulate(model, tmp_path / "calm", {**settings, "spread_limit": 1e6}, positions=x, progress=False)
    assert "spread by" not in caplog.text
    with pytest.raises(ValueError, match="spread_limit is given, but the model is no ensemble"):
        simulate(parts[0], tmp_path / "one", {**settings, "spread_limit": 1.0}, positions=x, progress=False)
