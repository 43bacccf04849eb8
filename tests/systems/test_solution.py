"""Systems that data come from: what they hold, in which order, and how they start."""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.systems.solution import CLEARANCE, JITTER, build_system, place_molecules

SOLUTES = Path(__file__).parents[2] / "examples" / "generate"
SMALL = {"edge": 1.6, "cutoff": 0.7}
ACETAMIDE = SMALL | {"solute": str(SOLUTES / "acetamide.pdb")}
SULFATE = SMALL | {
    "solute": str(SOLUTES / "sulfate.pdb"),
    "forcefield": [str(SOLUTES / "sulfate.xml")],
    "solute_volume": 0.014,
}


def masses(system):
    return np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())])


def charges(system):
    (nonbonded,) = [force for force in system.getForces() if isinstance(force, openmm.NonbondedForce)]
    found = [nonbonded.getParticleParameters(index)[0] for index in range(system.getNumParticles())]
    return np.array([charge.value_in_unit(unit.elementary_charge) for charge in found])


def test_a_mixture_stands_in_the_order_asked_for():
    config = GenerateConfig(**SMALL, ions={"Mg": 1, "Na": 2, "Cl": 4})
    topology, system = build_system(config)
    symbols = [atom.element.symbol for atom in topology.atoms()]
    assert symbols == ["Mg", *["Na"] * 2, *["Cl"] * 4, *["O", "H", "H"] * config.n_waters]
    assert charges(system)[:10] == pytest.approx([2, 1, 1, -1, -1, -1, -1, -0.8476, 0.4238, 0.4238])
    assert place_molecules(config, np.random.default_rng(0)).shape == (len(symbols), 3)


def test_a_solute_comes_first_and_keeps_its_shape():
    config = GenerateConfig(**ACETAMIDE, ions={"Na": 1, "Cl": 1})
    topology, system = build_system(config)
    residues = [residue.name for residue in topology.residues()]
    assert residues == ["ACE", "NME", "NA", "CL", *["HOH"] * config.n_waters]
    assert abs(charges(system).sum()) < 1e-4
    positions = place_molecules(config, np.random.default_rng(1))
    read = np.array(config.molecule.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    shift = positions[:12] - read
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-9)
    np.testing.assert_allclose((positions[:12].min(0) + positions[:12].max(0)) / 2, 0.8, atol=1e-9)
    # Ions and oxygens of water, one after another, keep away from it, across the boundary too.
    sites = np.concatenate([positions[12:14], positions[14::3]])
    vectors = sites[:, None] - positions[:12]
    vectors -= 1.6 * np.round(vectors / 1.6)
    assert np.linalg.norm(vectors, axis=-1).min() > CLEARANCE - JITTER * 3**0.5


def test_bonds_of_hydrogen_are_rigid_or_not():
    _, rigid = build_system(GenerateConfig(**ACETAMIDE))
    config = GenerateConfig(**ACETAMIDE, constraints="none", timestep=0.001)
    _, flexible = build_system(config)
    assert flexible.getNumConstraints() == 3 * config.n_waters  # water is rigid
    assert rigid.getNumConstraints() == flexible.getNumConstraints() + 7


def test_heavy_hydrogens_of_a_solute():
    _, system = build_system(GenerateConfig(**ACETAMIDE))
    _, light = build_system(GenerateConfig(**ACETAMIDE, hydrogen_mass=1.008))
    assert masses(system)[:6] == pytest.approx([12.01 - 3 * 1.992, 3, 3, 3, 12.01, 16], abs=2e-3)
    assert masses(system).sum() == pytest.approx(masses(light).sum(), rel=1e-9)


@pytest.mark.parametrize("solvent", ["obc2", "none"])
def test_no_box_without_water(solvent):
    config = GenerateConfig(solute=ACETAMIDE["solute"], solvent=solvent)
    topology, system = build_system(config)
    assert system.getNumParticles() == topology.getNumAtoms() == 12
    assert topology.getPeriodicBoxVectors() is None and not system.usesPeriodicBoundaryConditions()
    born = [force for force in system.getForces() if isinstance(force, (openmm.CustomGBForce, openmm.GBSAOBCForce))]
    assert len(born) == (solvent == "obc2")
    assert place_molecules(config, np.random.default_rng(0)).shape == (12, 3)


def test_a_polyatomic_ion_is_a_solute():
    config = GenerateConfig(**SULFATE, ions={"Na": 2})
    topology, system = build_system(config)
    assert charges(system)[:7] == pytest.approx([2.4, *[-1.1] * 4, 1, 1])
    assert [atom.name for atom in topology.atoms()][:5] == ["S", "O1", "O2", "O3", "O4"]


def test_copies_of_a_solute():
    config = GenerateConfig(**SULFATE | {"edge": 1.9}, copies=9, ions={"Na": 18})
    topology, system = build_system(config)
    assert [residue.name for residue in topology.residues()][:28] == ["SO4"] * 9 + ["NA"] * 18 + ["HOH"]
    assert abs(charges(system).sum()) < 1e-6
    first, second = (place_molecules(config, np.random.default_rng(run)) for run in (0, 1))
    for positions in (first, second):
        sulfates = positions[:45].reshape(9, 5, 3)
        np.testing.assert_allclose(np.linalg.norm(sulfates[:, 1:] - sulfates[:, :1], axis=-1), 0.149, atol=1e-3)
        heavy = np.concatenate([positions[:63], positions[63::3]])
        vectors = heavy[:, None] - heavy
        distances = np.linalg.norm(vectors - 1.9 * np.round(vectors / 1.9), axis=-1)
        for index in range(9):
            distances[5 * index : 5 * index + 5, 5 * index : 5 * index + 5] = np.inf
        np.fill_diagonal(distances, np.inf)
        assert distances.min() > 0.2
    # Turned, and elsewhere, in another run.
    moved = [(run[1] - run[0]) / np.linalg.norm(run[1] - run[0]) for run in (first, second)]
    assert moved[0] @ moved[1] < 0.99 and np.linalg.norm(first[0] - second[0]) > 0.1


@pytest.mark.parametrize(
    "given, message",
    [
        (SULFATE | {"ions": {"Na": 2}, "solute_volume": None}, "solute is a small ion of charge -2 e, and its volume"),
        (SULFATE | {"copies": 30, "ions": {"Na": 60}}, "without room for 30 solute.s., .* at least 2.1[0-9] nm"),
        (SULFATE, "solute and ions carry a net charge of -2 e, .* add 2 e of cations, such as Na"),
        (SULFATE | {"ions": {"Na": 3}}, r"net charge of \+1 e"),
        (SULFATE | {"forcefield": ["amber14-all.xml"], "ions": {"Na": 2}}, "does not describe solute .*No template"),
        (ACETAMIDE | {"hydrogen_mass": 5}, "hydrogen_mass is 5 amu, which leaves 0.03 amu to CH3 of ACE"),
        (ACETAMIDE | {"forcefield": ["no.xml"]}, "forcefield is no.xml, amber14/spce.xml, which does not describe"),
        (
            ACETAMIDE | {"edge": 1.0, "cutoff": 0.4},
            "edge is 1 nm, without room for 1 solute.s., 0.493 .* at least 1.1 nm",
        ),
    ],
)
def test_solutes_that_do_not_fit(given, message):
    with pytest.raises(ValueError, match=message):
        build_system(GenerateConfig(**given))
