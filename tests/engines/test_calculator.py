"""The ASE calculator: ASE's own finite differences, our forces in other units, cells of any orientation, dynamics."""

import branched
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from models import ALL, PRIOR, QUICK, licl_denoiser, licl_frames
from scipy.spatial.transform import Rotation

from openmm_diffusion import Denoiser, DiffusionCalculator

EV = units.kJ / units.mol  # eV in a kJ/mol, by ASE's own constants
TRICLINIC = 10 * np.array([[2.5, 0.0, 0.0], [0.8, 2.4, 0.0], [-0.9, 0.7, 2.3]])
TURN = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
#: Cells (Angstrom) in OpenMM's form and not: turned, skewed by whole vectors, left-handed.
CELLS = {
    "cubic": 10 * licl_frames().box.astype(float),
    "triclinic": TRICLINIC,
    "turned": TRICLINIC @ TURN,
    "skewed": np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ TRICLINIC @ TURN,
    "left-handed": TRICLINIC[[1, 0, 2]],
}


def licl(calculator, cell="cubic", number=3):
    """A frame of 24 LiCl, in Angstrom."""
    atoms = Atoms("Li24Cl24", 10 * licl_frames().positions[number].astype(float), cell=CELLS[cell], pbc=True)
    atoms.calc = calculator
    return atoms


@pytest.fixture(scope="module")
def quick():
    return DiffusionCalculator(licl_denoiser(kinds=QUICK))


@pytest.fixture(scope="module")
def whole():
    return DiffusionCalculator(licl_denoiser(kinds=ALL, precision="double"))


def test_it_is_the_denoiser_in_other_units(whole):
    denoiser, atoms, x = licl_denoiser(kinds=ALL, precision="double"), licl(whole), licl_frames().positions[3]
    np.testing.assert_allclose(atoms.get_forces(), denoiser.forces(x) * EV * units.nm**-1, atol=1e-8)
    assert atoms.get_potential_energy() == pytest.approx(float(denoiser.energy(x)) * EV, rel=1e-7)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


@pytest.mark.parametrize("cell", CELLS)
def test_forces_and_stress_are_those_of_ases_own_differences(quick, cell):
    atoms = licl(quick, cell)
    some = [0, 7, 30, 47]
    forces, stress = atoms.get_forces(), atoms.get_stress()
    expected = calculate_numerical_forces(atoms, eps=1e-4, iatoms=some)
    np.testing.assert_allclose(forces[some], expected, atol=2e-6 * np.abs(forces).max())
    expected = calculate_numerical_stress(atoms, eps=1e-5)
    assert np.abs(stress).min() > 1e-6
    # Pairs that cross the end of the Ewald sum in real space jump by its tolerance of 1e-5.
    np.testing.assert_allclose(stress, expected, atol=1e-3 * np.abs(stress).max())


def test_the_stress_of_a_network(whole):
    atoms = licl(whole, "turned")
    some = [1, 40]
    np.testing.assert_allclose(atoms.get_forces()[some], calculate_numerical_forces(atoms, 1e-4, some), atol=2e-6)
    stress = atoms.get_stress()
    np.testing.assert_allclose(stress, calculate_numerical_stress(atoms, eps=1e-5), atol=1e-3 * np.abs(stress).max())


def test_only_the_lattice_matters_and_not_its_vectors(quick):
    one, other = licl(quick, "turned"), licl(quick, "skewed")
    np.testing.assert_allclose(other.get_forces(), one.get_forces(), atol=1e-9)
    np.testing.assert_allclose(other.get_stress(), one.get_stress(), atol=1e-12)
    assert other.get_potential_energy() == pytest.approx(one.get_potential_energy())


def test_turned_configurations_have_turned_forces_and_stress(quick):
    flat, turned = licl(quick, "triclinic"), licl(quick, "turned")
    turned.positions = flat.positions @ TURN
    np.testing.assert_allclose(turned.get_forces(), flat.get_forces() @ TURN, atol=1e-9)
    expected = full_3x3_to_voigt_6_stress(TURN.T @ flat.get_stress(voigt=False) @ TURN)
    np.testing.assert_allclose(turned.get_stress(), expected, atol=1e-12)


def test_without_a_box_there_is_no_stress(quick):
    atoms = licl(quick)
    atoms.pbc = False
    expected = licl_denoiser(kinds=QUICK).forces(licl_frames().positions[3], False)
    np.testing.assert_allclose(atoms.get_forces(), expected * EV / units.nm, atol=1e-8)
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()


def test_a_vector_head_has_forces_alone():
    model = licl_denoiser("vector")
    atoms = licl(DiffusionCalculator(model))
    forces, expected = atoms.get_forces(), model.forces(licl_frames().positions[3]) * EV / units.nm
    np.testing.assert_allclose(forces, expected, atol=2e-5 * np.abs(expected).max())
    assert model.dtype is torch.float32, "the calculator's double precision is its own"
    for ask in (atoms.get_potential_energy, atoms.get_stress):
        with pytest.raises(PropertyNotImplementedError):
            ask()


def test_boxes_and_particles_may_change_under_way(quick):
    """Another box, another number of particles, and the first ones again: each as a new calculator has it."""
    atoms = licl(quick)
    first = atoms.get_forces()
    wide = licl(quick)
    wide.set_cell(1.1 * wide.cell, scale_atoms=True)
    expected = licl_denoiser(kinds=QUICK).forces(0.1 * wide.positions, 0.1 * wide.cell.array)
    np.testing.assert_allclose(wide.get_forces(), expected * EV / units.nm, atol=1e-8)
    few = wide[[0, 24, 1, 25]]
    few.calc = quick
    expected = licl_denoiser(kinds=QUICK).forces(0.1 * few.positions, 0.1 * few.cell.array, few.get_chemical_symbols())
    np.testing.assert_allclose(few.get_forces(), expected * EV / units.nm, atol=1e-8)
    # An Ewald sum that was set up for a box within 1 % serves it.
    np.testing.assert_allclose(licl(quick).get_forces(), first, atol=1e-5)


# ---- molecules and beads


def molecule(calculator, array=True):
    atoms = Atoms("X9", 10 * branched.positions(1)[0], calculator=calculator)
    if array:
        atoms.set_array("types", np.array(branched.TYPES))
    return atoms


def test_beads_have_types_of_an_array_and_the_bonds_of_the_model():
    model = branched.denoiser(("bonds", "angles", "dihedrals", "onefour"))
    atoms = molecule(DiffusionCalculator(model))
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces, model.forces(branched.positions(1)[0], False) * EV / units.nm, atol=1e-7)
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-5), atol=1e-6 * np.abs(forces).max())
    # Beads in the order of the training data need no names.
    np.testing.assert_array_equal(molecule(DiffusionCalculator(model), array=False).get_forces(), forces)


def test_bonds_of_two_molecules():
    model = branched.denoiser(("bonds", "angles"))
    bonds = branched.BONDS + [(i + 9, j + 9) for i, j in branched.BONDS]
    one = molecule(None)
    both = one + Atoms("X9", one.positions + [30.0, 0, 0])
    both.set_array("types", np.array(branched.TYPES * 2))
    both.calc = DiffusionCalculator(model, bonds=bonds)
    one.calc = DiffusionCalculator(model)
    np.testing.assert_allclose(both.get_forces(), np.concatenate([one.get_forces()] * 2), atol=1e-9)


def test_other_types_of_the_same_particles_are_noticed():
    header = licl_denoiser(kinds=("pair",)).header.model_copy(update={"species": ["P1", "P2"], "numbers": [0, 0]})
    header = header.model_copy(update={"particles": ["P1", "P2"], "box": None})
    model = Denoiser(header)
    model.modules()[0].coefficients.copy_(licl_denoiser(kinds=("pair",)).modules()[0].coefficients)
    atoms = Atoms("X2", [[0, 0, 0], [3.0, 0, 0]], calculator=DiffusionCalculator(model))
    energies = []
    for types in (["P1", "P1"], ["P1", "P2"], ["P2", "P2"]):
        atoms.set_array("types", None)
        atoms.set_array("types", np.array(types))
        energies.append(atoms.get_potential_energy() / EV)
        assert energies[-1] == pytest.approx(float(model.energy(0.1 * atoms.positions, False, types)), rel=1e-6)
    assert len(set(energies)) == 3


# ---- dynamics


def moving(atoms):
    """Give the atoms momenta of 300 K."""
    spread = np.sqrt(units.kB * 300 * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(1).normal(size=(len(atoms), 3)))


def test_velocity_verlet_conserves_the_energy_to_the_square_of_the_step(quick):
    spreads = []
    for timestep in (4.0, 2.0):
        atoms = licl(quick)
        moving(atoms)
        dynamics, energies = VelocityVerlet(atoms, timestep * units.fs), []
        dynamics.attach(lambda: energies.append(atoms.get_total_energy()))  # noqa: B023 - called in this turn
        dynamics.run(round(200 / timestep))
        spreads.append(np.std(energies))
    kinetic = 1.5 * 48 * units.kB * 300
    assert spreads[1] < 2e-3 * kinetic
    assert 2.5 < spreads[0] / spreads[1] < 6  # 4


def test_langevin_dynamics_keeps_its_temperature(quick):
    atoms = licl(quick)
    moving(atoms)
    dynamics = Langevin(atoms, 4 * units.fs, temperature_K=300, friction=0.02 / units.fs, rng=np.random.default_rng(3))
    temperatures = []
    dynamics.attach(lambda: temperatures.append(atoms.get_temperature()))
    dynamics.run(150)
    # 144 degrees of freedom: 12 % in one frame; some 12 independent ones in 150 steps of a friction of 20/ps.
    assert np.mean(temperatures[20:]) == pytest.approx(300, abs=4 * 0.12 * 300 / np.sqrt(10))


def test_a_cell_relaxes_to_no_stress():
    """Atoms and cell at once: the stress is what ASE's filters take it for."""
    atoms = licl(DiffusionCalculator(licl_denoiser(kinds=("wall",))))
    atoms.set_cell(0.95 * atoms.cell, scale_atoms=True)
    before = np.abs(atoms.get_stress()).max()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.03, steps=40)
    assert np.abs(atoms.get_stress()).max() < 0.1 * before


@pytest.mark.slow
@pytest.mark.long
def test_compiled_forces_are_the_same():
    model = licl_denoiser(kinds=("wall", "pair"))
    plain, fast = DiffusionCalculator(model), DiffusionCalculator(model, compiled=True)
    for number in (3, 4):
        one, other = licl(plain, number=number), licl(fast, number=number)
        np.testing.assert_allclose(other.get_forces(), one.get_forces(), atol=1e-9)
    assert fast.evaluator.graph is not None


# ---- refused


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda atoms: atoms.set_pbc([True, True, False]),
            r"pbc is \[True, True, False\]: .*set it to True or to False",
        ),
        (lambda atoms: atoms.set_cell([20.0, 20.0, 0.0]), "cell is .*without a volume"),
        (lambda atoms: atoms.set_cell(17.0 * np.eye(3), scale_atoms=True), "cutoff is 0.9 nm, over half the box"),
        (lambda atoms: atoms.positions.__setitem__((5, 1), np.nan), "positions hold NaN or Inf"),
        (lambda atoms: atoms.symbols.__setitem__(4, "Na"), "species Na unknown to the model"),
        (lambda atoms: atoms.symbols.__setitem__(4, "Cl"), "must be neutral"),
        (lambda atoms: atoms.set_array("types", np.array(["Li"] * 48)), r"together \+48 e"),
    ],
)
def test_what_has_no_forces_is_refused(quick, change, message):
    atoms = licl(quick)
    change(atoms)
    with pytest.raises(ValueError, match=message):
        atoms.get_forces()
    # And nothing of it stays.
    assert np.isfinite(licl(quick).get_forces()).all()


def test_beads_without_names_are_refused():
    atoms = Atoms("X4", np.eye(4, 3) * 3, calculator=DiffusionCalculator(branched.denoiser(("bonds",))))
    with pytest.raises(ValueError, match=r"the model knows the types A, B, C, .*atoms.set_array\(\"types\""):
        atoms.get_forces()
    with pytest.raises(ValueError, match="types has 2 entries for 4 atoms"):
        DiffusionCalculator(branched.denoiser(("bonds",)), types=["A", "B"]).calculate(atoms)
    with pytest.raises(ValueError, match="precision is 'half': choose single or double"):
        DiffusionCalculator(licl_denoiser(kinds=PRIOR), precision="half")
