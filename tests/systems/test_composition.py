"""What may be asked of `generate`: ions, water and solutes that go together, and how much water fills a box."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from openmm import NonbondedForce, app, unit
from pydantic import ValidationError

from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.systems.ions import CHARGES, ION_VOLUME, VOLUME_SLOPE, WATER_VOLUME, filling_waters, net_charge
from openmm_diffusion.units import MOLAR

SOLUTES = Path(__file__).parents[2] / "examples" / "generate"
ACETAMIDE, SULFATE = str(SOLUTES / "acetamide.pdb"), str(SOLUTES / "sulfate.pdb")

#: As 0.1.0 wrote it for `generate` with `cation: Na`.
OLD = """
cation: Na
anion: Cl
pairs: 24
molarity: null
edge: 2.526
waters: null
temperature: 300.0
runs: 4
frames: 1000
discard: 800.0
interval: 2.0
timestep: 0.004
friction: 1.0
cutoff: 0.9
hydrogen_mass: 3.0
seed: 1
platform: null
chunk: 25
"""


def density(ions, edge):
    """g/cm^3 of ions and the water that fills their box."""
    waters = filling_waters(ions, edge**3)
    mass = sum(app.Element.getBySymbol(symbol).mass.value_in_unit(unit.dalton) * n for symbol, n in ions.items())
    return (mass + 18.0153 * waters) / (edge**3 * MOLAR) * 1e-3


def test_a_configuration_of_before():
    config = GenerateConfig(**yaml.safe_load(OLD))
    assert config == GenerateConfig(cation="Na")
    assert config.composition == {"Na": 24, "Cl": 24} and config.kept == "ions"


@pytest.mark.parametrize("cation, anion", [("Li", "Cl"), ("Cs", "I"), ("Na", "F")])
def test_waters_beside_a_salt_are_as_many_as_before(cation, anion):
    for pairs in (1, 7, 24, 60):
        for edge in (1.9, 2.526, 4.0):
            litres = edge**3 * MOLAR
            apparent = ION_VOLUME[cation] + ION_VOLUME[anion] + VOLUME_SLOPE * math.sqrt(pairs / litres)
            config = GenerateConfig(cation=cation, anion=anion, pairs=pairs, edge=edge)
            assert config.n_waters == round((litres - pairs * apparent) / WATER_VOLUME)
            assert config.n_waters == GenerateConfig(ions={cation: pairs, anion: pairs}, edge=edge).n_waters


def test_pure_water_has_the_density_of_water():
    # 0.99705 g/cm^3 at 25 C; one water more or less is 0.5 per mille.
    assert GenerateConfig(ions={}, edge=1.864).n_waters == GenerateConfig(pairs=0, edge=1.864).n_waters == 216
    assert density({}, 2.5) == pytest.approx(0.99705, rel=1e-3)


def test_density_of_sodium_sulfate():
    # CRC Handbook: 10 % by mass, 1.0905 g/cm^3 at 20 C, where water has 0.99823.
    given = {"solute": SULFATE, "forcefield": [str(SOLUTES / "sulfate.xml")], "solute_volume": 0.01398}
    edge = (20 / (0.1 * 1090.5 / 142.04 * MOLAR)) ** (1 / 3)
    config = GenerateConfig(**given, copies=20, ions={"Na": 40}, edge=edge)
    grams = (20 * 142.04 + 18.0153 * config.n_waters) / (edge**3 * MOLAR) * 1e-3
    assert grams == pytest.approx(1.0905 * 0.99705 / 0.99823, rel=0.004)


@pytest.mark.parametrize(
    "cation, molar_mass, expected",
    # g/cm^3 at 20 C of 10 % by mass, CRC Handbook of Chemistry and Physics; beside it water has 0.99823.
    [("Ca", 110.98, 1.0835), ("Mg", 95.21, 1.0816)],
)
def test_density_of_salts_of_divalent_cations(cation, molar_mass, expected):
    molarity = 0.1 * expected * 1000 / molar_mass
    edge = (100 / (molarity * MOLAR)) ** (1 / 3)
    assert density({cation: 100, "Cl": 200}, edge) == pytest.approx(expected * 0.99705 / 0.99823, rel=0.005)


def test_charges_are_those_of_the_force_field():
    topology = app.Topology()
    chain = topology.addChain()
    for symbol in CHARGES:
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), topology.addResidue(symbol.upper(), chain))
    system = app.ForceField("amber14/spce.xml").createSystem(topology)
    (nonbonded,) = [force for force in system.getForces() if isinstance(force, NonbondedForce)]
    charges = [nonbonded.getParticleParameters(index)[0] for index in range(len(CHARGES))]
    assert [charge.value_in_unit(unit.elementary_charge) for charge in charges] == list(CHARGES.values())
    assert set(ION_VOLUME) <= set(CHARGES)


def test_net_charge():
    assert net_charge({"Mg": 2, "Na": 1, "Cl": 5, "Br": 0}) == 0
    assert net_charge({"La": 1, "Cl": 2}) == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"molarity": 2.4},
        {"ions": {}},
        {"ions": {"Li": 1, "Na": 2, "Cl": 3}, "types": {"cation": "name Li or name Na"}},
        {"solute": ACETAMIDE, "molarity": 0.5},
        {"solute": ACETAMIDE, "pairs": 3, "constraints": "none", "timestep": 0.001},
        {"solute": ACETAMIDE, "solvent": "obc2"},
        {"solute": ACETAMIDE, "solvent": "none", "keep": "all"},
        {"solute": SULFATE, "copies": 8, "solute_volume": 0.014, "ions": {"Na": 16}},
    ],
)
def test_what_was_saved_loads(given):
    config = GenerateConfig(**given)
    assert GenerateConfig.load(yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config


def test_what_is_kept_by_default():
    assert GenerateConfig().kept == "ions"
    assert GenerateConfig(pairs=0).kept == "water oxygens"
    assert GenerateConfig(solute=ACETAMIDE, pairs=3).kept == "solute heavy atoms"
    assert GenerateConfig(solute=ACETAMIDE).composition == {}


def test_a_solute_takes_the_room_of_water():
    config, water = GenerateConfig(solute=ACETAMIDE, edge=2.5), GenerateConfig(ions={}, edge=2.5)
    # 73.1 g/mol at 0.73 cm^3/g are 53 cm^3/mol, as much as 2.95 waters.
    assert water.n_waters - config.n_waters == 3


def test_paths_start_at_the_file(tmp_path, monkeypatch):
    for name in ("sulfate.pdb", "sulfate.xml"):
        (tmp_path / name).write_text((SOLUTES / name).read_text())
    given = {"solute": "sulfate.pdb", "forcefield": ["sulfate.xml"], "ions": {"Na": 2}}
    (tmp_path / "sulfate.yaml").write_text(yaml.safe_dump(given))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = GenerateConfig.load(tmp_path / "sulfate.yaml")
    assert config.solute == str(tmp_path / "sulfate.pdb") and config.forcefield == [str(tmp_path / "sulfate.xml")]
    assert np.isclose(config.molecule.topology.getNumAtoms(), 5)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"ions": {"Li": 12, "Cl": 10}}, "net charge of +2 e, and a periodic box must be neutral: add 2 e of anions"),
        ({"ions": {"Mg": 1, "Cl": 3}}, "net charge of -1 e, and a periodic box must be neutral: add 1 e of cations"),
        ({"ions": {"SO4": 1, "Na": 2}}, "'SO4', which is no monoatomic ion"),
        ({"ions": {"Fe": 1, "Cl": 2}}, "'Fe', which is no monoatomic ion of one charge"),
        ({"ions": {"Na": -1}}, "-1 of Na: give a count of 0 to"),
        ({"ions": {"La": 1, "Cl": 3}}, "La, whose partial molar volume in water is not tabulated here: give waters"),
        ({"ions": {"Na": 1, "Cl": 1}, "pairs": 3}, "give only one of ions, pairs and molarity"),
        ({"ions": {"Na": 1, "Cl": 1}, "molarity": 1.0}, "give only one of ions, pairs and molarity"),
        ({"ions": {"Na": 500, "Cl": 500}}, "no room for water"),
        ({"solvent": "obc2"}, "there is no solute to simulate in it: give solute"),
        ({"solute": ACETAMIDE, "solvent": "obc2", "pairs": 2}, "pairs is 2, but solvent obc2 has neither box"),
        ({"solute": ACETAMIDE, "solvent": "none", "edge": 3.0}, "edge is 3.0, but solvent none has neither box"),
        ({"solute": ACETAMIDE, "edge": None}, "edge is missing, and solvent spce needs a box"),
        ({"solute": "no.pdb"}, "solute is no.pdb, and there is no such file"),
        ({"solute": str(SOLUTES / "sulfate.xml")}, "give a PDB or mmCIF file"),
        ({"constraints": "none"}, "there is no solute, and SPC/E water is rigid"),
        ({"solute": ACETAMIDE, "constraints": "none"}, "timestep is 0.004 ps, too long for bonds to hydrogens"),
        ({"copies": 2}, "copies is 2, but there is no solute"),
        ({"solute_volume": 0.014}, "solute_volume is 0.014, but there is no solute"),
        ({"solute": ACETAMIDE, "solvent": "none", "copies": 2}, "copies is 2, but solvent none has neither box"),
        ({"solute": SULFATE, "solute_volume": -14}, "solute_volume is -14 L/mol: give a partial molar volume"),
        ({"keep": " "}, "keep is empty"),
        ({"keep": "all", "map": {"beads": []}}, "keep is all, but map says what is kept"),
        ({"types": "name", "map": {"beads": []}}, "types is name, but map says what is kept"),
        ({"map": "no.yaml"}, "map is no.yaml, and there is no such file"),
        ({"types": {"two words": "all"}}, "types holds 'two words'"),
        ({"solvent": "tip9p"}, "'spce', 'obc2' or 'none'"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(ValidationError) as error:
        GenerateConfig(**given)
    assert message in str(error.value)
