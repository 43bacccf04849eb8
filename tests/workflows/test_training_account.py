"""What a training says of itself: numbers that are right, sentences that follow from them, pictures."""

import numpy as np
import pandas
import pytest
import yaml
from commandline import run
from models import LICL

from openmm_diffusion import Denoiser, Frames, train
from openmm_diffusion.analysis.contacts import distance_histogram
from openmm_diffusion.evaluation.calibration import explained_variance, projections
from openmm_diffusion.evaluation.gains import gains
from openmm_diffusion.workflows.training import _doubt, read_account

FITTED = {"data": {"frames": str(LICL), "limit": 200}, "network": None, "pair": {"spacing": 0.05, "sigma": 0}}


@pytest.fixture(scope="module")
def frames():
    return Frames.load(LICL)


@pytest.fixture(scope="module")
def trained(frames, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "run"
    return train(frames, FITTED, output, progress=False), output


def test_gains_add_up_to_what_the_model_explains(frames):
    """And those of each are what is explained with it less what is explained without."""
    model, some = Denoiser.load("licl"), frames[::50]
    table = gains(model, some).set_index("part")
    assert list(table.index) == ["prior", *dict.fromkeys(term.kind for term in model.header.learnt)]
    whole = explained_variance(*projections(model, some, model.sigma, 2), some.replica)[0]
    assert np.isclose(table["gain"].sum(), whole) and np.isclose(table["share"].sum(), 1)
    prior = explained_variance(*projections(model.prior, some, model.sigma, 2), some.replica)[0]
    assert np.isclose(table.loc["prior", "gain"], prior) and table.loc["pair", "gain"] > 5 * table.loc["pair", "error"]


def test_the_histogram_counts_every_pair_once():
    """Against all distances by hand, with and without a box, of pairs that bonds do not hold."""
    x = np.random.default_rng(0).uniform(0, 2, (3, 20, 3))
    for box in (2.0 * np.eye(3), None):
        gas = Frames(x, [0] * 20, box, 300, types=["A"] * 12 + ["B"] * 8, bonds=np.array([[0, 1], [1, 2]]))
        table = distance_histogram(gas, 0.9, exclusions=2)
        vectors = x[:, :, None] - x[:, None]
        vectors -= 0 if box is None else 2 * np.round(vectors / 2)
        r = np.linalg.norm(vectors, axis=-1)
        upper = np.triu(np.ones((20, 20), bool), 1)
        upper[[0, 1, 0], [1, 2, 2]] = False
        expected = (r[:, upper] < 0.9).sum() / 3
        assert np.isclose(table["pairs"].sum(), expected) and len(set(table["pair"])) == 3


def test_a_training_in_a_script_leaves_its_account(trained):
    denoiser, output = trained
    told = read_account(output)
    held_out = denoiser.header.held_out
    assert told["frames"] == {part: denoiser.header.data[f"{part}_frames"] for part in told["frames"]}
    assert np.isclose(told["parts"]["pair"]["force_sd"], held_out["pair_force_sd"], rtol=1e-4)
    assert told["parts"]["pair"]["gain"] > 500 and told["left_out"] == []
    text = " ".join(told["sentences"])
    assert f"Fitted to {told['frames']['training']} frames as they are, without noise: the pair potential" in text
    assert f"the pair potential adds {told['parts']['pair']['gain']:,.0f} +- " in text
    assert f"{held_out['pair_force_sd']:.2g} for the pair potential" in text
    assert (output / "potential.png").stat().st_size > 20_000 and not (output / "loss.png").exists()
    assert list(pandas.read_csv(output / "distances.csv")) == ["pair", "r_nm", "pairs"]


def test_nothing_is_missed_that_bonded_frames_do_not_ask_for(tmp_path):
    """Where there are bonds, no network is trained unless somebody asks for one: it was not left out."""
    shape = np.array([[0, 0, 0], [0.15, 0, 0], [0.2, 0.14, 0]])
    x = shape + np.random.default_rng(0).normal(0, 0.004, (200, 3, 3))
    chains = Frames(x, [6, 7, 8], None, 300, bonds=[[0, 1], [1, 2]], replica=np.arange(200) // 20)
    config = {"prior": {"wall": None}, "bonds": {"penalties": [0.01]}, "angles": None, "onethree": None, "pair": None}
    train(chains, config, tmp_path / "run", progress=False)
    told = read_account(tmp_path / "run")
    assert list(told["parts"]) == ["bonds"] and told["left_out"] == []
    assert not any("network" in sentence for sentence in told["sentences"])


def test_what_gains_nothing_is_said_to_be_left_out(frames, tmp_path):
    """A network that is trained in one step at a rate that ruins it, and what it took from the loss."""
    config = FITTED | {
        "data": {"limit": 60},
        "network": {"cutoff": 0.3, "features": 1, "layers": 1, "lmax": 0, "radial_width": 4},
        "training": {"steps": 2, "batch": 2, "check_every": 1, "validation_draws": 1, "learning_rate": 5.0},
    }
    train(frames, config, tmp_path / "run", progress=False)
    told, log = read_account(tmp_path / "run"), pandas.read_csv(tmp_path / "run" / "log" / "metrics.csv")
    assert (tmp_path / "run" / "loss.png").exists()
    kept = log["held_out_loss"].min() < 0
    assert told["left_out"] == ([] if kept else ["network"])
    (said,) = [sentence for sentence in told["sentences"] if sentence.startswith("The network was")]
    assert said.startswith(
        "The network was kept: its held-out loss is" if kept else "The network was left out: its best"
    )


@pytest.mark.slow
def test_the_command_says_it_and_what_to_do_next(trained, tmp_path):
    _, output = trained
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(FITTED))
    done = run("train", tmp_path / "config.yaml", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    for sentence in read_account(output)["sentences"]:
        assert sentence in done.stdout
    assert f"next: openmm-diffusion simulate {tmp_path / 'run'} --output" in done.stdout
    assert f"{LICL.relative_to(LICL.parents[2])} --output" in done.stdout and "potential.png" in done.stdout
    assert "\r" not in done.stdout + done.stderr and "Tip" not in done.stderr


@pytest.mark.parametrize(("gain", "doubted"), [(-25.0, True), (20.0, True), (60.0, False), (None, False)])
def test_a_network_that_was_kept_and_gains_nothing_is_doubted(gain, doubted):
    """The loss of validation has no error bar; gains on frames kept apart have."""
    told = {} if gain is None else {"gain": gain, "error": 17.0}
    assert ("network: null" in _doubt("network", {"network": told})) == doubted


def test_a_damaged_account_is_told_so(tmp_path):
    with pytest.raises(ValueError, match="account.yaml is missing"):
        read_account(tmp_path)
    (tmp_path / "account.yaml").write_text("parts: [")
    with pytest.raises(ValueError, match="account.yaml is damaged or empty"):
        read_account(tmp_path)
