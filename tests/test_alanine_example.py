"""The alanine example: its files are read, and its table says what is known."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from openmm_diffusion import Frames
from openmm_diffusion.data.mapping import Mapping
from openmm_diffusion.learning.config import read_config
from openmm_diffusion.settings import read_yaml

HERE = Path(__file__).parents[1] / "examples" / "alanine"
DATA = Path(__file__).parents[2] / "shared" / "data" / "alanine.npz"


@pytest.fixture(scope="module")
def alanine():
    spec = importlib.util.spec_from_file_location("alanine", HERE / "alanine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_configurations_are_read():
    assert read_config(HERE / "alanine.yaml").data.test_fraction == 0
    assert len(Mapping.read(read_yaml(HERE / "map.yaml")).beads) == 10


def test_the_table_of_equal_sets_has_no_differences(alanine):
    if not DATA.exists():
        pytest.skip("the alanine frames are not here")
    frames = Frames.load(DATA)[:4000]
    mirror = frames.positions * np.array([1, 1, -1], np.float32)
    for positions, hand in ((frames.positions, 1.0), (mirror, 0.0)):
        table = alanine.compared(frames, [positions[:2000], positions[2000:]]).set_index(["quantity", "of"])["value"]
        assert table["frames of the L form", "data"] == 1
        assert table["frames of the L form", "model"] == hand
        same = table["beta + PPII of phi < 0", "model"] == pytest.approx(table["beta + PPII of phi < 0", "data"])
        assert same == bool(hand)
        divergence = table["divergence of the map, phi < 0 (bit)", "model"]
        assert divergence == 0 if hand else divergence > 0.3


def test_the_backbone_is_five_of_the_ten_beads(alanine):
    """Its frames are those that map5.yaml makes of all atoms, and phi, psi and bonds are the same ones."""
    beads = alanine.beads_of(HERE / "map5.yaml")
    topology = mdtraj.load(str(HERE / "alanine.pdb"))
    ten, five = (Mapping.read(HERE / name).apply(topology.topology) for name in ("map.yaml", "map5.yaml"))
    rng = np.random.default_rng(1)
    atoms = topology.xyz + rng.normal(scale=0.01, size=(3, topology.n_atoms, 3))
    more = {"types": ten.types, "bonds": ten.bonds, "masses": ten.masses}
    whole = Frames(ten.positions(atoms[:, ten.atoms]), ten.species, None, 300.0, **more)
    part = alanine.part(whole, beads)
    np.testing.assert_array_equal(part.positions, five.positions(atoms[:, five.atoms]))
    assert part.types.tolist() == five.types.tolist() == ["C", "N", "CA", "C", "N"]
    np.testing.assert_array_equal(part.bonds, five.bonds)
    of_part, of_whole = (
        alanine.dihedrals(frames.positions, names, alanine.PHI, alanine.PSI)
        for frames, names in ((part, beads), (whole, alanine.BEADS))
    )
    np.testing.assert_allclose(of_part, of_whole, atol=1e-6)
