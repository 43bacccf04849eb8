"""What is kept of an all-atom run, and that the labels are the forces whose mean is the mean force."""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_diffusion.simulation.kept import Kept, rigid_units, unit_sums
from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.systems.solution import build_system, place_molecules
from openmm_diffusion.units import BOLTZMANN

SOLUTES = Path(__file__).parents[2] / "examples" / "generate"
ACETAMIDE = {"solute": str(SOLUTES / "acetamide.pdb"), "edge": 1.3, "cutoff": 0.6, "ions": {"Na": 1, "Cl": 1}}


def kept(**given):
    config = GenerateConfig(**ACETAMIDE | given)
    return Kept(config, *build_system(config))


def test_rigid_units():
    system = openmm.System()
    for _ in range(6):
        system.addParticle(1.0)
    for one, other in ((0, 4), (4, 2), (3, 5)):
        system.addConstraint(one, other, 0.1)
    units = rigid_units(system)
    assert units[0] == units[2] == units[4] and units[3] == units[5]
    assert len({units[0], units[1], units[3]}) == 3
    assert rigid_units(openmm.System()).tolist() == []


def test_atoms_of_choice():
    atoms = kept()
    assert atoms.types.tolist() == ["C", "C", "O", "N", "C"] and atoms.species.tolist() == [6, 6, 8, 7, 6]
    assert atoms.bonds.tolist() == [[0, 1], [1, 2], [1, 3], [3, 4]]
    assert kept(types="name").types.tolist() == ["CH3", "C", "O", "N", "C"]
    assert kept(types="residue:name").types.tolist() == ["ACE:CH3", "ACE:C", "ACE:O", "NME:N", "NME:C"]
    assert kept(types={"CH3": "name CH3 or (resname NME and name C)"}).types.tolist() == ["CH3", "C", "O", "N", "CH3"]
    assert kept(keep="ions").types.tolist() == ["Na", "Cl"] and kept(keep="ions").bonds.shape == (0, 2)
    chosen = kept(keep="name Na or name N or (water and name O)", types={"OW": "water"})
    assert chosen.types.tolist() == ["N", "Na", *["OW"] * (len(chosen.types) - 2)]
    assert chosen.positions(np.arange(3000.0).reshape(-1, 3))[0, 0] == 3 * 6  # N is the seventh atom


#: Acetamide as two beads of heavy atoms, whose hydrogens no rule names; waters as centres of mass.
MAP = {
    "beads": [
        {"type": "ACE", "select": "resname ACE and not element H", "at": "mass"},
        {"type": "NME", "select": "resname NME and not element H", "at": "geometry"},
        {"type": "W", "select": "water", "at": "mass"},
    ]
}


@pytest.mark.parametrize(
    "what", [{"keep": "solute heavy atoms"}, {"keep": "water oxygens"}, {"keep": "ions"}, {"map": MAP}], ids=str
)
def test_labels_are_minus_the_gradient_along_shifts_of_rigid_units(what):
    config = GenerateConfig(**ACETAMIDE, **what)
    topology, system = build_system(config)
    atoms = Kept(config, topology, system)
    assert atoms.labelled
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(place_molecules(config, np.random.default_rng(2)))
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=20)
    state = context.getState(positions=True, forces=True)
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    labels, units = atoms.forces(forces), rigid_units(system)
    assert labels.shape == (len(atoms.species), 3)
    start = atoms.positions(positions)

    def energy(moved):
        context.setPositions(moved)
        return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)

    step = 1e-6  # short: Lennard-Jones jumps where a pair crosses the cutoff
    for rank in (0, len(labels) - 1):
        # The rigid units that move this particle when they are shifted.
        moving = []
        for number in range(units.max() + 1):
            shifted = positions + 0.01 * (units == number)[:, None]
            moved = np.abs(atoms.positions(shifted) - start).max(1) > 1e-4
            moving += [number] if moved[rank] else []
            assert not moved[rank] or moved.sum() == 1
        whole = np.isin(units, moving)[:, None]
        np.testing.assert_allclose(atoms.positions(positions + 0.01 * whole)[rank] - start[rank], 0.01, atol=1e-6)
        for axis in range(3):
            shift = step * whole * np.eye(3)[axis]
            slope = (energy(positions + shift) - energy(positions - shift)) / (2 * step)
            assert labels[rank, axis] == pytest.approx(-slope, abs=1e-4 * np.abs(labels[rank]).max())


def test_the_mean_label_is_the_mean_force_and_that_of_the_atom_alone_is_not():
    """A rod of length d, one end on a spring: the other end at distance r has the density of a known integral.

    p(r) ~ int exp(-k |r + d n|^2 / 2kT) dn ~ exp(-k (r^2 + d^2) / 2kT) sinh(a) / a,  a = k r d / kT
    """
    d, spring, kT, r = 0.1, 800.0, BOLTZMANN * 300, 0.13
    system = openmm.System()
    force = openmm.CustomExternalForce(f"{spring}/2*(x^2+y^2+z^2)")
    for _ in range(2):
        system.addParticle(1.0)
    force.addParticle(1)
    system.addForce(force)
    system.addConstraint(0, 1, d)
    sums, torn = unit_sums(rigid_units(system), np.array([0]), np.array([0]))
    assert not torn
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    cosines, weights = np.polynomial.legendre.leggauss(60)
    energies, labels, alone = [], [], []
    for cosine in cosines:
        context.setPositions([[r, 0, 0], [r + d * cosine, d * np.sqrt(1 - cosine**2), 0]])
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
        labels.append((sums @ forces)[0, 0])
        alone.append(forces[0, 0])
    weights = weights * np.exp(-np.array(energies) / kT)
    a = spring * r * d / kT
    exact = -spring * r + kT * (a / np.tanh(a) - 1) / r
    assert np.average(labels, weights=weights) == pytest.approx(exact, rel=1e-6)
    assert np.average(alone, weights=weights) == 0 and abs(exact) > 30


@pytest.mark.parametrize("keep", ["all", "solute", "water", "name C or name CH3 or name H1"])
def test_no_labels_where_rigid_bonds_join_kept_atoms(keep, caplog):
    atoms = kept(keep=keep)
    assert not atoms.labelled
    assert "no forces are written: rigid bonds join two particles that are kept" in caplog.text


def test_beads():
    beads = kept(map=MAP)
    assert beads.labelled
    assert beads.types[:2].tolist() == ["ACE", "NME"] and set(beads.types[2:].tolist()) == {"W"}
    assert beads.bonds.tolist() == [[0, 1]] and not beads.species.any()
    assert beads.masses[2] == pytest.approx(18.015, abs=1e-3)


def test_no_labels_where_a_rigid_bond_joins_two_beads(caplog):
    rules = [{"type": "C", "select": "name CH3", "at": "atom"}, {"type": "H", "select": "name H1 and resname ACE"}]
    assert not kept(map={"beads": rules}).labelled
    assert "(CH3 and H1 of ACE)" in caplog.text


def test_all_atoms_of_a_flexible_solute_have_labels():
    config = GenerateConfig(
        solute=ACETAMIDE["solute"], solvent="obc2", constraints="none", timestep=0.0005, keep="solute"
    )
    atoms = Kept(config, *build_system(config))
    assert atoms.labelled
    forces = np.random.default_rng(3).normal(size=(12, 3))
    np.testing.assert_array_equal(atoms.forces(forces), forces)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"keep": "naem O"}, "keep is 'naem O', which is no selection that mdtraj can read"),
        ({"keep": "name XX"}, "keep is 'name XX', of which there is none here"),
        ({"ions": {}, "keep": "ions"}, "keep is 'ions', of which there is none here"),
        ({"types": {"W": "wather"}}, "types.W is 'wather', which is no selection"),
        ({"types": {"W": "water"}}, "types.W is 'water', which chooses no kept atom"),
    ],
)
def test_selections_that_choose_nothing(given, message):
    with pytest.raises(ValueError, match=message):
        kept(**given)
