"""Training: a well whose smoothed spring is known exactly, honest divisions, resuming, and what is refused."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from models import licl_denoiser, licl_frames
from scipy.stats import norm

from openmm_diffusion.data.frames import Frames
from openmm_diffusion.learning.checks import warn_of_smoothing
from openmm_diffusion.learning.config import DataConfig, read_config
from openmm_diffusion.learning.network.forcematching import make_task
from openmm_diffusion.learning.training import train
from openmm_diffusion.learning.trainingset import TrainingSystem, tensors
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.noise import draw_noise
from openmm_diffusion.units import thermal_energy

pytestmark = pytest.mark.slow

LI, CL = 3, 17
KT = thermal_energy(300)
LICL = Path(__file__).parents[2] / "examples" / "licl" / "licl.npz"


@pytest.fixture(scope="module")
def licl():
    return Frames.load(LICL)


# ---- the loss has the right optimum


@pytest.mark.parametrize("ratio", [0.1, 1.0])
def test_a_spring_is_learnt_as_that_of_the_smoothed_well(ratio):
    # One ion in a harmonic well of width w about 0.3 nm from an anchor, noised along x by sigma^2 = ratio w^2:
    # k_eff = k / (1 + sigma^2 k / kT) with k = kT / w^2.
    w, n = 0.03, 4000
    x = np.zeros((n, 2, 3))
    # Quantiles in random order: a sample whose variance has no statistical error of its own.
    x[:, 0, 0] = 0.3 + w * np.random.default_rng(0).permutation(norm.ppf((np.arange(n) + 0.5) / n))
    frames = Frames(x, [LI, CL], None, 300.0, replica=np.arange(n) // 500)
    sigma = w * np.sqrt(ratio)
    config = {
        "data": {"test_fraction": 0},
        "noise": {"sigma": sigma, "species": ["Li"], "axes": "x"},
        "prior": {"coulomb": None, "wall": None},
        "pair": None,
        "network": {"cutoff": 0.6, "lmax": 0, "features": 8, "layers": 1, "radial_width": 16},
        "training": {"steps": 800, "batch": 128, "learning_rate": 0.01, "weight_decay": 0, "patience": 100},
    }
    denoiser = train(frames, config, progress=False)

    displacement = np.linspace(-2.5, 2.5, 51) * np.hypot(w, sigma)
    y = np.zeros((51, 2, 3))
    y[:, 0, 0] = 0.3 + displacement
    force = denoiser.forces(y, box=False)[:, 0, 0]
    density = norm.pdf(displacement / np.hypot(w, sigma))
    spring = -np.sum(density * displacement * force) / np.sum(density * displacement**2)
    # The clean well's spring is off by 10 % and 100 %; trainings scatter by up to 3 %.
    assert spring == pytest.approx(KT / w**2 / (1 + ratio), rel=0.04)
    deviation = force + KT / (w**2 + sigma**2) * displacement
    assert np.sum(density * deviation**2) < 0.2**2 * np.sum(density * force**2)


# ---- divisions


@pytest.mark.parametrize("limit", [None, 500, 200])
def test_divisions_share_no_replica_and_respect_the_limit(licl, limit):
    training, validation, test = DataConfig(test_fraction=0.3, validation_fraction=0.15, limit=limit).divide(licl)
    replicas = [set(part.replica.tolist()) for part in (training, validation, test)]
    assert not replicas[0] & replicas[1] and not replicas[0] & replicas[2] and not replicas[1] & replicas[2]
    if limit is None:
        assert len(training) + len(validation) + len(test) == len(licl)
        assert len(validation) == pytest.approx(0.15 * (len(licl) - len(test)), rel=0.3)
    else:
        assert 0.9 * limit < len(training) + len(validation) <= limit
    assert len(test) == pytest.approx(0.3 * len(licl), rel=0.1)


def test_the_test_frames_do_not_depend_on_the_limit(licl):
    digests = {DataConfig(limit=limit).divide(licl)[2].digest() for limit in (None, 500, 100)}
    assert len(digests) == 1


def test_a_single_run_is_cut_into_contiguous_stretches(licl):
    run = licl[licl.replica == 3]
    training, validation, test = DataConfig().divide(run)
    joined = np.concatenate([training.positions, validation.positions, test.positions])
    np.testing.assert_array_equal(joined, run.positions)


def test_nothing_is_kept_apart_when_asked(licl):
    training, validation, test = DataConfig(test_fraction=0).divide(licl)
    assert test is None and len(training) + len(validation) == len(licl)


# ---- resuming

# A pair potential of the far range only, so that the network has something to find.
TINY = {
    "data": {"frames": str(LICL), "limit": 60},
    "pair": {"start": 0.7, "spacing": 0.06},
    "network": {"cutoff": 0.45, "features": 2, "layers": 1, "radial_width": 8},
    "training": {"steps": 60, "batch": 4, "check_every": 5, "learning_rate": 0.01, "patience": 100},
}


def metrics(directory):
    """Held-out loss by step of the log."""
    with open(directory / "log" / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["held_out_loss"]]
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps)), "no step twice"
    return dict(zip(steps, (float(row["held_out_loss"]) for row in rows)))


def test_a_killed_training_resumes_where_it_was(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    code = (
        "import sys, torch; torch.set_num_threads(1); from openmm_diffusion.learning.training import train; "
        "train(None, sys.argv[1], sys.argv[2], progress=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "tiny.yaml"), str(killed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        while not (killed / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None and time.monotonic() < deadline, "training ended without a checkpoint"
            time.sleep(0.02)
    finally:
        process.kill()  # SIGKILL: nothing can be tidied up
        process.wait()
    assert not (killed / "model.safetensors").exists(), "killed too late to test anything"
    fitted = (killed / "pair.safetensors").stat().st_mtime_ns
    checkpoint = torch.load(killed / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    assert 5 <= checkpoint["global_step"] < 60

    with pytest.raises(ValueError, match="holds a run already: resume it"):
        train(None, TINY, killed, progress=False)
    with pytest.raises(ValueError, match="begun with another configuration"):
        train(None, {**TINY, "noise": {"sigma": 0.006}}, killed, resume=True, progress=False)
    resumed = train(None, TINY, killed, resume=True, progress=False)
    assert (killed / "pair.safetensors").stat().st_mtime_ns == fitted, "the pair potential is not fitted again"

    uninterrupted = train(None, TINY, whole, progress=False)
    expected, got = metrics(whole), metrics(killed)
    assert list(got) == list(expected) == list(range(4, 60, 5)), "the log goes on, from the first step"
    np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=1e-4)
    best = min(expected.values())
    assert best < -0.01, "the network must have learnt something"
    for denoiser, directory in ((uninterrupted, whole), (resumed, killed)):
        assert denoiser.header.held_out["network_loss"] == pytest.approx(best, rel=1e-4)
        saved = Denoiser.load(directory / "model.safetensors")
        assert saved.header.held_out == denoiser.header.held_out
    frame = Frames.load(LICL)[0]
    a, b = resumed.forces(frame.positions), uninterrupted.forces(frame.positions)
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())

    # Resuming what is finished changes nothing.
    again = train(None, TINY, killed, resume=True, progress=False)
    assert again.header.held_out == resumed.header.held_out
    assert metrics(killed) == got


def test_what_is_kept_between_checks_is_what_would_be_computed_again():
    config = read_config({"noise": {"sigma": 0.005}})
    denoiser = licl_denoiser(kinds=("coulomb", "pair", "network"), precision="double")
    network = denoiser.subset(["network"]).model
    frames = tensors(licl_frames(), denoiser, config, torch.float64)
    system = TrainingSystem(denoiser.subset(["coulomb", "pair"]).model, frames, frames, KT)
    task = make_task(network, [system], config).eval()
    eps = draw_noise(frames.positions, config.noise.draws, config.noise.antithetic, torch.Generator().manual_seed(0))
    first = task.held_out_losses(system, frames, eps, 0.005, key=0)
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(1.1)
    again = task.held_out_losses(system, frames, eps, 0.005, key=0)
    expected = task.score_losses(system, frames, eps, torch.full(eps.shape[:2], 0.005, dtype=torch.float64))
    torch.testing.assert_close(again, expected, rtol=1e-12, atol=0)
    assert (again - first).abs().min() > 1e-6


# ---- what is refused, and what is warned of


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pair": {"cutoff": 1.3}}, r"pair\.cutoff is 1\.3 nm, over half the box"),
        ({"network": {"cutoff": 1.3}}, r"network\.cutoff is 1\.3 nm, over half the box"),
        ({"prior": {"coulomb": {"charges": {"Li": 1}}}}, r"prior\.coulomb\.charges has no charge of Cl"),
        (
            {"prior": {"coulomb": {"charges": {"LI": 1, "CL": -1}}}},
            r"has no charge of Cl, Li, but of CL, LI, which no particle is called: give one in e",
        ),
        ({"prior": {"coulomb": {"charges": {"Li": 1, "Cl": -2}}}}, r"charges add up to -24 e"),
        ({"noise": {"species": ["Li"]}}, r"set pair: null"),
        ({"noise": {"species": ["Na"]}, "pair": None}, r"noise\.species is \['Na'\]"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(licl, change, message):
    with pytest.raises(ValueError, match=message):
        train(licl[:200], change, progress=False)


def test_frames_must_come_from_somewhere():
    with pytest.raises(ValueError, match="data.frames is missing"):
        train(None, {"network": None}, progress=False)


def test_noise_in_the_wrong_unit_is_warned_of(licl, caplog):
    warn_of_smoothing(licl[::10], 0.002)
    assert not caplog.records
    warn_of_smoothing(licl[::10], 0.05)
    text = caplog.text
    assert "noise.sigma = 0.05 nm smooths g(r) of Li-Cl" in text and "meant in Angstrom?" in text


def test_a_configuration_need_not_have_a_network(licl):
    config = read_config({"network": None, "data": {"limit": 60}, "pair": {"spacing": 0.05}})
    denoiser = train(licl, config, progress=False)
    assert [term.kind for term in denoiser.header.terms] == ["wall", "pair"]
    assert denoiser.header.data["digest"] == licl.digest()
    assert denoiser.header.held_out["pair_score"] < 0


def test_a_pair_potential_alone_may_have_clean_frames_and_all_of_them(licl):
    config = {
        "data": {"test_fraction": 0.3, "validation_fraction": 0, "limit": 300},
        "prior": {"coulomb": {"charges": {"Li": 1, "Cl": -1}}},
        "pair": {"sigma": 0},
        "network": None,
    }
    denoiser = train(licl, config)
    assert denoiser.sigma == 0 and denoiser.header.terms[-1].sigma == 0
    assert denoiser.header.data["training_frames"] == 300 and denoiser.header.data["validation_frames"] == 0
    _, _, test = DataConfig(test_fraction=0.3, validation_fraction=0).divide(licl)
    labelled = test[test.labelled]
    error = denoiser.forces(labelled.positions) - labelled.forces
    # Labels are 39 kJ/mol/nm; 300 frames leave 9 to 11 in random divisions, the best pair potential 6.4.
    assert np.sqrt(np.mean(error**2)) < 13
    with pytest.raises(ValueError, match="data.validation_fraction is 0"):
        train(licl, {**config, "network": {}})
