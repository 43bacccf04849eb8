"""The configuration that `init` writes: it loads to the defaults, names every key, and trains as it stands."""

import re

import numpy as np
import pytest
from branched import BONDS, TYPES, positions
from commandline import prepared
from models import LICL

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.learning.config import Config, DataConfig, read_config
from openmm_diffusion.learning.defaults import for_systems
from openmm_diffusion.learning.template import WIDTH, template
from openmm_diffusion.learning.training import check_training


def read(tmp_path, frames, **data):
    (tmp_path / "train.yaml").write_text(template(frames, data or {"frames": LICL}))
    return for_systems(read_config(tmp_path / "train.yaml"), [frames])


def test_it_loads_to_the_defaults_for_the_frames(tmp_path):
    frames = Frames.load(LICL)
    config = read(tmp_path, frames)
    assert config == for_systems(Config(data=DataConfig(frames=LICL)), [frames])
    check_training([frames], config)


def test_every_line_says_what_its_key_means(tmp_path):
    text = template(Frames.load(LICL), {"frames": LICL})
    lines = text.splitlines()
    assert all(len(line) <= WIDTH for line in lines) and "48" not in lines[0] and "24 Li, 24 Cl" in lines[0]
    keys = [n for n, line in enumerate(lines) if re.match(r" *(# )?\w+:", line)]
    untold = {lines[n].split(":")[0].strip(" #") for n in keys if " # " not in lines[n] and "# " not in lines[n - 1]}
    assert len(keys) > 40 and untold <= {"seed", "gradient_clip", "frames"}, untold
    assert "#   charges: {Li: 0, Cl: 0}" in text, "what it takes to have charges"


def test_a_cutoff_that_the_box_has_no_room_for_is_shortened(tmp_path):
    x = np.random.default_rng(0).uniform(0, 1.5, (20, 30, 3))
    gas = Frames(x, [0] * 30, 1.5 * np.eye(3), 300, types=["W"] * 30, replica=np.repeat([0, 1, 2, 3], 5))
    config = read(tmp_path, gas)
    assert config.pair.cutoff == 0.75 and config.network.cutoff == 0.6
    default = for_systems(Config(data=DataConfig(frames=LICL)), [gas])
    assert config == default.model_copy(update={"pair": default.pair.model_copy(update={"cutoff": 0.75})})


@pytest.mark.slow
def test_the_command_writes_what_train_takes(tmp_path):
    """Of bonded particles, which have no network by default: nothing is said but the file of frames."""
    frames = Frames(positions(150), [0] * 9, None, 300, types=TYPES, bonds=np.array(BONDS))
    frames.save(tmp_path / "frames.npz")
    with prepared() as run:
        (tmp_path / "files").mkdir()
        config = tmp_path / "files" / "train.yaml"
        done = run("init", tmp_path / "frames.npz", "-o", config)
        assert done.returncode == 0 and "next: openmm-diffusion train" in done.stdout, done.stderr
        assert for_systems(read_config(config), [frames]) == for_systems(
            Config(data=DataConfig(frames=tmp_path / "frames.npz")), [frames]
        )
        done = run("train", config, "-o", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert Denoiser.load(tmp_path / "out" / "model.safetensors").header.bonds
        again = run("init", tmp_path / "frames.npz", "-o", config)
        assert again.returncode == 1 and "is there already: name another file" in again.stderr
        nowhere = run("init", tmp_path / "no.npz", "-o", tmp_path / "no.yaml")
        assert nowhere.returncode == 1 and not (tmp_path / "no.yaml").exists()


def test_trajectories_are_named_with_their_topology(tmp_path):
    frames = Frames.load(LICL)[:40]
    frames.to_mdtraj().save(str(tmp_path / "run.dcd"))
    frames[:1].to_mdtraj().save(str(tmp_path / "top.pdb"))
    from typer.testing import CliRunner

    from openmm_diffusion.cli import app

    words = ["init", str(tmp_path / "run.dcd"), "--top", str(tmp_path / "top.pdb"), "--temperature", "300"]
    said = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "train.yaml")])
    assert said.exit_code == 0, said.output
    data = read_config(tmp_path / "train.yaml").data
    assert data.trajectory == [tmp_path / "run.dcd"] and data.top == tmp_path / "top.pdb" and data.temperature == 300
