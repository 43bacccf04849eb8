"""Readers, configurations and headers against inputs that nobody thought of: a right result, or one sentence."""

import json

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import QUICK, licl_denoiser, licl_frames
from openmm import unit

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.learning.config import config_model
from openmm_diffusion.model.file import packed
from openmm_diffusion.settings import read_yaml, validated
from openmm_diffusion.simulation.langevin import SimulationConfig
from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.units import array, count, number, shown
from openmm_diffusion.workflows.refine import RefineConfig

CONFIG = config_model()
#: Settings that are taken as they are.
RIGHT = {
    CONFIG.__name__: {
        "data": {"frames": "a.npz", "limit": 60}, "pair": {"spacing": 0.05, "cutoff": 0.9}, "prior": {"wall": {}},
        "network": {"cutoff": 0.5, "features": 4, "layers": 1}, "noise": {"sigma": 0.005},
        "training": {"steps": 24, "batch": 2, "learning_rate": 0.01, "seed": 1},
    },
    "SimulationConfig": {
        "duration": 10.0, "interval": 0.5, "timestep": 0.004, "temperature": 300.0, "friction": 2.0, "edge": 3.0,
        "composition": {"Li": 3, "Cl": 3}, "format": "dcd", "backend": "auto", "replicas": 2, "seed": 1,
    },
    "GenerateConfig": {
        "ions": {"Li": 4, "Cl": 4}, "edge": 2.0, "cutoff": 0.9, "runs": 2, "frames": 12, "discard": 0.1,
        "interval": 0.04, "timestep": 0.004, "chunk": 3, "temperature": 300.0,
    },
    "RefineConfig": {
        "iterations": 2, "weight": 100.0,
        "sampling": {"runs": 2, "duration": 1.0, "discard": 0.1, "interval": 0.02, "timestep": 0.004},
    },
}  # fmt: skip

#: Fixtures of folders are the same for every example: files are written anew.
few = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

WORDS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


def nested(scalars):
    """Scalars, and lists and dicts of them."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    )


JSON, VALUES = nested(WORDS), nested(WORDS | st.complex_numbers() | st.binary(max_size=4))


def near(value):
    """What is almost as a value of a header or a configuration, so that some of it is taken."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return st.sampled_from([value, None, True, False, "", f"{value}x", 1])
    if isinstance(value, (int, float)):
        numbers = [value, -value, 0, 2 * value, 0.5 * value, value + 1, 1e-300, 1e300, float("nan"), float("inf")]
        return st.sampled_from([*numbers, str(value), [value], None])
    if isinstance(value, list):
        some = st.sampled_from([value, value[:-1], value + value[-1:], value[::-1], [], [value]])
        return some | near(value[0]).map(lambda first: [first, *value[1:]]) if value else some
    some = st.sampled_from(list(value)) if value else st.just("key")
    return some.flatmap(lambda key: near(value.get(key)).map(lambda new: {**value, key: new}))


def one_sentence(error):
    told = str(error)
    assert len(told.splitlines()) == 1 and 10 < len(told) < 900 and "Traceback" not in told, told


def in_words(call, kinds=(ValueError, TypeError, OSError)):
    """The result of a call; None where it ended in one sentence."""
    try:
        return call()
    except kinds as error:
        one_sentence(error)
        return None


@few
@given(VALUES)
def test_a_number_is_finite_and_real_or_refused(value):
    found = in_words(lambda: number(value, unit.nanometer, "length", above=0))
    assert found is None or (type(found) is float and 0 < found < np.inf and found == value)
    whole = in_words(lambda: count(value, "stride"))
    assert whole is None or (type(whole) is int and whole >= 1 and whole == value and value is not True)


@few
@given(VALUES)
def test_an_array_is_of_finite_real_numbers_or_refused(value):
    found = in_words(lambda: array(value, unit.nanometer, "positions"))
    assert found is None or (found.dtype == np.float64 and np.isfinite(found).all())
    assert len(shown(value)) <= 200


def numbers_in(value):
    """All numbers of nested lists and dicts."""
    if isinstance(value, (list, dict)):
        return [x for part in (value.values() if isinstance(value, dict) else value) for x in numbers_in(part)]
    return [value] if isinstance(value, (int, float)) else []


def comes_back(model, found, path):
    """What a run writes of its settings is read as the same settings, and holds no number that is none."""
    written = found.model_dump(mode="json")
    path.write_text(yaml.safe_dump(written))
    assert validated(model, read_yaml(path), "config") == found
    assert np.isfinite(numbers_in(written)).all()


@pytest.mark.parametrize("model", [CONFIG, SimulationConfig, GenerateConfig, RefineConfig], ids=lambda m: m.__name__)
@few
@given(data=st.data())
def test_settings_are_understood_or_refused(model, data, tmp_path):
    keys = st.sampled_from(list(model.model_fields))
    # A map may be anything until it is read, and no file of settings holds bytes.
    values = data.draw(st.dictionaries(keys, JSON if model is GenerateConfig else VALUES, max_size=3))
    found = in_words(lambda: validated(model, values, "config"))
    if found is not None:
        comes_back(model, found, tmp_path / "a.yaml")


@pytest.mark.parametrize("model", [CONFIG, SimulationConfig, GenerateConfig, RefineConfig], ids=lambda m: m.__name__)
@few
@given(data=st.data())
def test_settings_that_are_almost_right_are_understood_or_refused(model, data, tmp_path):
    values = RIGHT[model.__name__]
    found = in_words(lambda: validated(model, data.draw(near(values)), "config"))
    if found is not None:
        comes_back(model, found, tmp_path / "a.yaml")


@few
@given(st.text(max_size=60) | st.binary(max_size=60) | nested(WORDS).map(yaml.safe_dump))
def test_any_yaml_is_read_or_refused(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    found = in_words(lambda: read_yaml(path))
    if found is not None:
        assert isinstance(found, dict) and path.stat().st_size > 0
        path.write_text(yaml.safe_dump(found))
        assert repr(read_yaml(path)) == repr(found)  # a NaN is no other


@pytest.mark.parametrize("key", list(licl_denoiser(kinds=QUICK).header.model_dump()))
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_entry_of_a_header_makes_a_model_or_is_refused(key, data):
    denoiser = licl_denoiser(kinds=QUICK)
    header = json.loads(denoiser.header.model_dump_json())
    header[key] = data.draw(JSON | near(header[key]))
    works_or_is_refused(packed(denoiser.model.state_dict(), json.dumps(header)))


def works_or_is_refused(content):
    """A model file that is taken is written as the same model, and gives a force to every particle."""
    found = in_words(lambda: Denoiser.from_bytes(content, "any.safetensors"), ValueError)
    if found is None:
        return
    assert np.isfinite(found.header.temperature) and found.header.temperature > 0
    again = Denoiser.from_bytes(packed(found.model.state_dict(), found.header.model_dump_json()), "again.safetensors")
    assert again.digest() == found.digest()
    frames, box = licl_frames(), None if found.header.box is None else licl_frames().boxes[:1]
    evaluated = in_words(lambda: found.evaluated(frames.positions[:1], box, frames.types, None))
    if evaluated is not None:
        assert evaluated[1].shape == frames.positions[:1].shape
        assert np.isfinite(evaluated[1]).all() and np.isfinite(evaluated[0]).all()


@pytest.mark.parametrize("place", range(len(QUICK)))
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_entry_of_a_term_makes_a_model_or_is_refused(place, data):
    denoiser = licl_denoiser(kinds=QUICK)
    header = json.loads(denoiser.header.model_dump_json())
    key = data.draw(st.sampled_from(list(header["terms"][place])))
    header["terms"][place][key] = data.draw(JSON | near(header["terms"][place][key]))
    works_or_is_refused(packed(denoiser.model.state_dict(), json.dumps(header)))


GRO = "    1LI      LI    1   0.000   0.000   0.000\n    2CL      CL    2   0.300   0.000   0.000\n   2.0 2.0 2.0\n"
ROWS = "1 Li 0 0 0\n2 Cl 3 0 0\n"
BOX = "ITEM: BOX BOUNDS pp pp pp\n0 20\n0 20\n0 20\n"
FILES = {
    ".xyz": 'COUNT\nLattice="20 0 0 0 20 0 0 0 20" Properties=species:S:1:pos:R:3\nLi 0 0 0\nCl 3 0 0\n',
    ".gro": f"title\nCOUNT\n{GRO}",
    ".lammpstrj": f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\nCOUNT\n{BOX}ITEM: ATOMS id element x y z\n{ROWS}",
}


@pytest.mark.parametrize("extension", FILES)
@few
@given(said=st.integers(-5, 10**25).map(str) | st.text(max_size=5), junk=st.text(max_size=20), at=st.integers(0, 200))
def test_any_count_and_any_junk_in_a_file_is_read_or_refused(tmp_path, extension, said, junk, at):
    text = FILES[extension].replace("COUNT", said)
    path = tmp_path / f"a{extension}"
    path.write_text(text[:at] + junk + text[at:], encoding="utf-8", errors="replace")
    if extension == ".xyz":
        found = in_words(lambda: Frames.load(path, 300))
    else:
        topology = licl_frames()[:1].to_mdtraj().topology.subset([0, 24])
        found = in_words(lambda: Frames.from_trajectory(path, topology, temperature=300))
    if found is not None:
        assert np.isfinite(found.positions).all() and found.temperature == 300
        assert len(found.types) == found.positions.shape[1] and found.positions.shape[1:] == (2, 3)
        assert found.box is None or np.linalg.det(found.boxes).min() > 0
        found.save(path.with_suffix(".npz"))
        assert Frames.load(path.with_suffix(".npz")).digest() == found.digest()
