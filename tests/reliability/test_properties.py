"""Readers, configurations and headers against inputs that nobody thought of: a right result, or one sentence."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import QUICK, licl_denoiser, licl_frames
from openmm import unit

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.learning.config import config_model
from openmm_diffusion.model.file import packed
from openmm_diffusion.settings import read_yaml, validated
from openmm_diffusion.simulation.langevin import SimulationConfig
from openmm_diffusion.units import array, count, number, shown

CONFIG = config_model()

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


@few
@given(st.dictionaries(st.sampled_from(list(CONFIG.model_fields)), VALUES, max_size=3))
def test_a_configuration_is_understood_or_refused(values):
    in_words(lambda: validated(CONFIG, values, "config"))


@few
@given(st.dictionaries(st.sampled_from(list(SimulationConfig.model_fields)), VALUES, max_size=3))
def test_settings_of_a_run_are_understood_or_refused(values):
    found = in_words(lambda: validated(SimulationConfig, values, "config"))
    assert found is None or (0 < found.duration < np.inf and found.replicas >= 1)


@few
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_yaml_is_read_or_refused(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    assert in_words(lambda: read_yaml(path)) is None or path.stat().st_size > 0


@pytest.mark.parametrize("key", list(licl_denoiser(kinds=QUICK).header.model_dump()))
@settings(max_examples=10, deadline=None, derandomize=True)
@given(value=JSON)
def test_any_entry_of_a_header_makes_a_model_or_is_refused(key, value):
    denoiser = licl_denoiser(kinds=QUICK)
    header = json.loads(denoiser.header.model_dump_json()) | {key: value}
    data = packed(denoiser.model.state_dict(), json.dumps(header))
    found = in_words(lambda: Denoiser.from_bytes(data, "any.safetensors"), ValueError)
    if found is not None:
        assert np.isfinite(found.header.temperature) and found.header.temperature > 0


@pytest.mark.parametrize("place", range(len(QUICK)))
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_entry_of_a_term_makes_a_model_or_is_refused(place, data):
    denoiser = licl_denoiser(kinds=QUICK)
    header = json.loads(denoiser.header.model_dump_json())
    key = data.draw(st.sampled_from(list(header["terms"][place])))
    header["terms"][place][key] = data.draw(JSON)
    content = packed(denoiser.model.state_dict(), json.dumps(header))
    in_words(lambda: Denoiser.from_bytes(content, "any.safetensors"), ValueError)


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
    assert found is None or np.isfinite(found.positions).all()
