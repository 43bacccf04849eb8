"""Configurations: what is read, and that what is wrong is refused with the path of its key."""

from pathlib import Path

import pytest
import yaml

from openmm_diffusion.learning.config import Config, read_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "licl" / "licl.yaml"


def written(directory, text, name="train.yaml"):
    path = directory / name
    path.write_text(text)
    return path


def test_defaults_are_a_whole_training_at_small_noise():
    config = read_config({})
    assert config == Config() and config.noise.sigma == 0.005 and config.noise.antithetic
    assert config.pair is not None and config.network.head == "energy" and config.prior.coulomb is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("noise:\n  sigma: 0.005\n  sigma: 0.01\n", "is not valid YAML .line 3.: the key sigma twice: keep one"),
        ("pair: {}\npair: null\n", "is not valid YAML .line 2.: the key pair twice"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "is not valid YAML .line 2.: a name that stands for other"),
        ("[1, 2]: 3\n", "a key that is no name"),
        ("noise: [1, 2", "is not valid YAML .line 1.: expected"),
        ("noise: \x00", "is not valid YAML: unacceptable character"),
        ("a: " + "[" * 5000, "is not valid YAML"),
        ("#" + "x" * 1_000_001, "has 1000002 bytes: a configuration has at most"),
    ],
)
def test_files_that_mean_something_else_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_config(written(tmp_path, text))


def test_null_leaves_a_learner_out():
    config = read_config({"pair": None, "network": None})
    assert config.pair is None and config.network is None


def test_config_survives_a_round_trip_through_yaml(tmp_path):
    config = read_config(EXAMPLE)
    path = written(tmp_path, yaml.safe_dump(config.model_dump(mode="json")))
    assert read_config(path) == config
    assert read_config(config) is config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"nosie": {}}, r"unknown key nosie; did you mean noise\?"),
        ({"noise": {"sigmas": 0.01}}, r"unknown key noise\.sigmas; did you mean sigma\?"),
        ({"network": {"layer": 2}}, r"unknown key network\.layer; did you mean layers\?"),
        ({"prior": {"coulomb": {"charge": {}}}}, r"unknown key prior\.coulomb\.charge; did you mean charges\?"),
        ({"training": {"qqqq": 1}}, r"unknown key training\.qqqq; known are batch, .*steps"),
        ({"noise": {"sigma": "0.05 A"}}, r"noise\.sigma is '0\.05 A'; .*bare numbers are nm"),
        ({"noise": {"sigma": -0.01}}, r"noise\.sigma is -0\.01; .*greater than 0"),
        ({"noise": {"axes": "zx"}}, r"noise\.axes is 'zx'"),
        ({"network": {"head": "forces"}}, r"network\.head is 'forces'; .*'energy' or 'vector'"),
        ({"network": {"lmax": 9}}, r"network\.lmax is 9"),
        ({"data": {"test_fraction": 1.5}}, r"data\.test_fraction is 1\.5"),
        ({"data": {"validation_fraction": 0}, "network": {}}, r"data\.validation_fraction is 0"),
        ({"training": {"steps": 0}}, r"training\.steps is 0"),
        ({"training": {"ema_decay": 1}}, r"training\.ema_decay is 1"),
        ({"prior": {"coulomb": {"charges": {"Li": 1}, "relative_permittivity": 0}}}, r"relative_permittivity is 0"),
        ({"prior": {"coulomb": {}}}, r"prior\.coulomb\.charges is missing"),
        ({"pair": {"penalties": [0.1, -1]}}, r"pair\.penalties\.1 is -1"),
        ({"noise": 3}, r"noise is 3"),
        ({"noise": {"sigma": True}}, r"noise\.sigma is True; give a number"),
        ({"training": {"learning_rate": True}}, r"training\.learning_rate is True; give a number"),
        ({"training": {"steps": False}}, r"training\.steps is False"),
        ({"prior": {"coulomb": {"charges": {"Li": True}}}}, r"prior\.coulomb\.charges\.Li is True; give a number"),
        ({"pair": {"penalties": [1.0, True]}}, r"pair\.penalties\.1 is True; give a number"),
        ({"pair": {"cutoff": float("inf")}}, r"pair\.cutoff is inf; .*finite"),
        ({"training": {"learning_rate": float("nan")}}, r"training\.learning_rate is nan"),
        ({"data": {"temperature": float("inf")}}, r"data\.temperature is inf; .*finite"),
        ({"pair": {"cutoff": ["x"] * 1000}}, r"pair\.cutoff is \['x', .{1,60}\.\.\.\]"),
        ({"noise": {"axes": "xy"}, "network": {"head": "vector"}}, r"network\.head is vector, but noise\.species or"),
    ],
)
def test_wrong_values_are_refused_with_the_path_of_their_key(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        read_config(values)
    path = written(tmp_path, yaml.safe_dump(values))
    with pytest.raises(ValueError, match=rf"{path.name}: .*{message}"):
        read_config(path)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        read_config("nowhere.yaml")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "just words", "- a\n- list\n"])
def test_files_without_keys_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"train\.yaml holds no keys"):
        read_config(written(tmp_path, text))


def test_broken_yaml_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"train\.yaml is not valid YAML") as caught:
        read_config(written(tmp_path, "noise: {sigma: 0.01\n"))
    assert "\n" not in str(caught.value)


def test_frames_are_found_relative_to_the_yaml_file(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    path = written(tmp_path / "runs", "data: {frames: ../frames.npz}")
    monkeypatch.chdir("/")
    assert read_config(path).data.frames.resolve() == (tmp_path / "frames.npz").resolve()
    absolute = written(tmp_path, "data: {frames: /data/frames.npz}")
    assert read_config(absolute).data.frames == Path("/data/frames.npz")
    assert read_config({"data": {"frames": "frames.npz"}}).data.frames == Path("frames.npz")


def test_the_bundled_example_is_valid_and_finds_its_frames():
    config = read_config(EXAMPLE)
    assert config.data.frames.is_file()
    assert config.prior.coulomb.charges == {"Li": 1, "Cl": -1}
