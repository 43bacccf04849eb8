"""Umbrella sampling: the bias in the frames, what it leaves alone, what is refused, and a fit that takes it out."""

import numpy as np
import openmm
import pytest
from openmm import unit
from pydantic import ValidationError

from openmm_diffusion import train
from openmm_diffusion.data.frames import Frames
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.simulation.kept import Kept
from openmm_diffusion.simulation.umbrella import BIAS_GROUP, Umbrella
from openmm_diffusion.systems.composition import GenerateConfig
from openmm_diffusion.systems.solution import build_system
from openmm_diffusion.units import thermal_energy

KT = thermal_energy(300.0)
RUN = {"runs": 1, "frames": 4, "discard": 0.02, "interval": 0.02, "chunk": 2, "platform": "CPU"}
BOX = RUN | {"ions": {"Li": 1, "Cl": 1}, "edge": 1.3, "cutoff": 0.6}
#: Two particles in vacuum with the energy U below: 4 kJ/mol of Lennard-Jones kind, and a barrier outside of it.
TWO_ATOMS = (
    "HETATM    1 AR    AR A   1       0.000   0.000   0.000  1.00  0.00          AR\n"
    "HETATM    2 AR    AR A   2       3.500   0.000   0.000  1.00  0.00          AR\nEND\n"
)
FORCE_FIELD = """<ForceField>
 <AtomTypes><Type name="AR" class="AR" element="Ar" mass="39.948"/></AtomTypes>
 <Residues><Residue name="AR"><Atom name="AR" type="AR"/></Residue></Residues>
 <CustomNonbondedForce energy="16*((0.3/r)^12-(0.3/r)^6)+20*exp(-0.5*((r-0.45)/0.05)^2)" bondCutoff="0">
  <Atom type="AR"/>
 </CustomNonbondedForce>
</ForceField>"""


def u(r):
    return 16 * ((0.3 / r) ** 12 - (0.3 / r) ** 6) + 20 * np.exp(-0.5 * ((r - 0.45) / 0.05) ** 2)


def biased(between, *windows):
    return {"between": between, "windows": [{"centre": c, "stiffness": k} for c, k in windows]}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Keys of a configuration of two particles in vacuum."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "pair.pdb").write_text(TWO_ATOMS)
    (folder / "pair.xml").write_text(FORCE_FIELD)
    files = {"solute": str(folder / "pair.pdb"), "forcefield": [str(folder / "pair.xml")], "solvent": "none"}
    return files | {
        "runs": 1,
        "timestep": 0.005,
        "discard": 5.0,
        "friction": 10.0,
        "chunk": 500,
        "platform": "Reference",
    }


def test_the_bias_is_that_of_openmm_and_minus_a_gradient(tmp_path):
    """Of ions on both sides of the boundary: numpy's forces against OpenMM's, and against differences of V_b."""
    between, (centre, stiffness) = [["Cl", 0], ["Li", 0]], (0.3, 7000.0)
    frames = generate(BOX | {"bias": biased(between, (0.5, 0.0), (centre, stiffness))}, tmp_path)
    assert (frames.bias_forces[frames.replica == 0] == 0).all()
    config = GenerateConfig.load(tmp_path / "config.yaml")
    topology, system = build_system(config)
    kept = Kept(config, topology, system)
    umbrella = Umbrella(config, kept, system)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(
        openmm.XmlSerializer.deserialize((tmp_path / "run-01" / "state.xml").read_text()).getPositions()
    )
    for name, value in umbrella.parameters(3).items():  # the second run of the second window
        context.setParameter(name, value)
    state = context.getState(positions=True, forces=True, energy=True, groups={BIAS_GROUP})
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    assert (forces[2:] == 0).all() and np.abs(forces[:2]).max() > 1
    np.testing.assert_allclose(frames.bias_forces[-1], forces[:2], rtol=1e-3, atol=0.02)  # positions in float32

    def energy(x):
        vector = x[1] - x[0]
        return 0.5 * stiffness * (np.linalg.norm(vector - 1.3 * np.round(vector / 1.3)) - centre) ** 2

    x = frames.positions[-1].astype(float)
    x += 0.01 - x[0]  # one at the boundary, the other beyond it or not
    for shift in (np.zeros(3), [0, 0.02, 0], [1.29, 0.64, 0]):
        y = (x + shift) % 1.3
        step, gradient = 1e-6, np.zeros((2, 3))
        for i, axis in np.ndindex(2, 3):
            moved = np.zeros((2, 3))
            moved[i, axis] = step
            gradient[i, axis] = (energy(y + moved) - energy(y - moved)) / (2 * step)
        np.testing.assert_allclose(umbrella.forces(y[None], 1)[0], -gradient, rtol=1e-6, atol=1e-4)


def test_labels_are_those_without_the_bias(tmp_path):
    frames = generate(BOX | {"frames": 1, "chunk": 1, "bias": biased([["Li", 0], ["Cl", 0]], (0.3, 9000))}, tmp_path)
    _, system = build_system(GenerateConfig(**BOX))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    # The state saved after the only chunk is the configuration of its last frame.
    context.setPositions(
        openmm.XmlSerializer.deserialize((tmp_path / "run-00" / "state.xml").read_text()).getPositions()
    )
    forces = context.getState(forces=True).getForces(asNumpy=True)[:2]._value
    within = 1e-4 * np.linalg.norm(forces)  # the CPU platform computes in single precision
    assert np.abs(frames.bias_forces).max() > 20 * within
    np.testing.assert_allclose(frames.forces[0], forces, atol=within)


def test_a_window_of_no_stiffness_is_equilibrium(pair, tmp_path):
    asked = pair | {"frames": 20, "interval": 0.05, "discard": 0.0, "runs": 2}
    free = generate(asked, tmp_path / "free")
    for stiffness, same in ((0.0, 0.0), (1e-9, 1e-6)):
        bias = biased([["Ar", 0], ["Ar", 1]], (0.3, stiffness))
        frames = generate(asked | {"bias": bias}, tmp_path / str(stiffness))
        np.testing.assert_allclose(frames.positions, free.positions, atol=same)
        np.testing.assert_allclose(frames.bias_forces, 0, atol=1e-8)
    assert free.bias_forces is None


def test_windows_resume_and_grow(pair, tmp_path):
    """Each window keeps its runs when there are more frames and more runs; other windows are refused."""
    asked = pair | {"frames": 4, "interval": 0.05, "bias": biased([["Ar", 0], ["Ar", 1]], (0.3, 4000), (0.6, 2000))}
    first = generate(asked, tmp_path)
    assert first.replica.tolist() == [0] * 4 + [1] * 4
    grown = generate(asked | {"frames": 8, "runs": 2}, tmp_path, resume=True)
    assert grown.replica.tolist() == [run for run in range(4) for _ in range(8)]
    for run in (0, 1):
        np.testing.assert_array_equal(grown.positions[8 * run : 8 * run + 4], first.positions[4 * run : 4 * run + 4])
    distances = np.linalg.norm(grown.positions[:, 1] - grown.positions[:, 0], axis=-1).reshape(4, 8)
    assert (abs(distances - [[0.3], [0.6], [0.3], [0.6]]) < 0.15).all()
    np.testing.assert_array_equal(Frames.load(tmp_path / "frames.npz").bias_forces, grown.bias_forces)
    with pytest.raises(ValueError, match="^bias is .*0.7.* was made with bias .*0.6"):
        generate(asked | {"bias": biased([["Ar", 0], ["Ar", 1]], (0.3, 4000), (0.7, 2000))}, tmp_path, resume=True)


def potential(frames, r):
    """u(r) less its value at 0.6 nm, kJ/mol, of a fit to frames of two particles."""
    config = {
        "data": {"test_fraction": 0, "validation_fraction": 0}, "network": None, "prior": {"wall": None},
        "pair": {"cutoff": 0.9, "start": 0.25, "spacing": 0.02, "sigma": 0},
    }  # fmt: skip
    model = train(frames, config, progress=False)
    x = np.zeros((len(r) + 1, 2, 3))
    x[:, 1, 0] = [*r, 0.6]
    energies = model.energy(x)
    return energies[:-1] - energies[-1]


@pytest.mark.slow
def test_windows_give_the_potential_that_equilibrium_never_visits(pair, tmp_path):
    r = np.array([0.31, 0.34, 0.38, 0.42, 0.45, 0.50])
    truth = u(r) - u(0.6)
    assert truth[4] - truth[1] > 7 * KT
    windows = [(c, 10_000.0) for c in np.arange(0.30, 0.56, 0.03)] + [(c, 2000.0) for c in (0.6, 0.68, 0.76)]
    bias = biased([["Ar", 0], ["Ar", 1]], *windows)
    frames = generate(pair | {"frames": 400, "interval": 0.1, "runs": 2, "bias": bias}, tmp_path / "windows")
    runs = np.unique(frames.replica)
    halves = [potential(frames[np.isin(frames.replica, part)], r) for part in np.split(runs, 2)]
    error = np.sqrt(((halves[0] - halves[1]) ** 2).mean()) / 2
    found = potential(frames, r)
    assert error < 0.6
    np.testing.assert_allclose(found, truth, atol=4 * max(error, 0.25))
    # Without the forces of the bias, the windows would hold no barrier at all.
    blind = potential(Frames(**vars(frames) | {"bias_forces": None}), r)
    assert abs(blind - truth).max() > 5
    # As many frames of the pair left alone stay where they began: there is no barrier in them.
    free = generate(pair | {"frames": 1000, "interval": 0.2, "seed": 2}, tmp_path / "free")
    distances = np.linalg.norm(free.positions[:, 1] - free.positions[:, 0], axis=-1)
    assert not ((distances > 0.43) & (distances < 0.47)).any()


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (
            biased([["Na", 0], ["Cl", 0]], (0.3, 1)),
            "bias.between names Na 0, and no Na is kept: name one of Li, Cl, or",
        ),
        (biased([["O", 0], ["Cl", 0]], (0.3, 1)), "names O 0, and no O is kept"),
        (biased([["Li", 1], ["Cl", 0]], (0.3, 1)), "names Li 1, but 1 Li are kept, numbered from 0: give at most 0"),
        (
            biased([["Li", 0], ["Cl", 0]], (0.3, 1e6)),
            r"windows.0.stiffness is 1e\+06 kJ/mol/nm\^2, too stiff .* 0.004 ps",
        ),
    ],
)
def test_what_is_not_kept_cannot_be_biased(bias, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate(BOX | {"bias": bias}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (biased([["Li", 0], ["Cl", 0]], (0.65, 1)), "bias.windows.0.centre is 0.65 nm, beyond half the box of 1.3 nm"),
        (biased([["Li", 0], ["Cl", 0]], (0.3, -5)), "stiffness is -5 kJ/mol/nm^2: give 0"),
        (biased([["Li", 0], ["Cl", 0]], (0.3, float("nan"))), "stiffness is nan kJ/mol/nm^2"),
        (biased([["Li", 0], ["Cl", 0]], (-0.3, 5)), "centre is -0.3 nm: give a positive, finite distance"),
        (biased([["Li", 0], ["Li", 0]], (0.3, 5)), "between names Li 0 twice"),
        (biased([["Li", 0], ["Cl", 0]]), "at least 1 item"),
    ],
)
def test_impossible_windows_are_named(bias, message):
    with pytest.raises(ValidationError) as error:
        GenerateConfig(**BOX | {"bias": bias})
    assert message in str(error.value)


def test_rigid_units_and_beads(tmp_path):
    """An oxygen that is kept moves with its hydrogens and can be biased; rigid distances and centres of mass cannot."""
    water = BOX | {"ions": {}, "bias": biased([["O", 0], ["O", 7]], (0.4, 5000))}
    config = GenerateConfig(**water)
    topology, system = build_system(config)
    kept = Kept(config, topology, system)
    assert [kept.atom(0), kept.atom(7)] == [0, 21] and kept.rigid(21, 22) and not kept.rigid(0, 21)
    Umbrella(config, kept, system)
    rigid = water | {"keep": "all", "bias": biased([["H", 0], ["O", 0]], (0.1, 5000))}
    with pytest.raises(ValueError, match="names H 0 and O 0, whose distance rigid bonds hold"):
        generate(rigid, tmp_path)
    beads = {"beads": [{"type": "W", "select": "water", "at": "mass"}]}
    with pytest.raises(ValueError, match="names W 0, a bead that lies at the centre of several atoms: bias beads that"):
        generate(water | {"map": beads, "bias": biased([["W", 0], ["W", 1]], (0.4, 5000))}, tmp_path)
    assert not list(tmp_path.iterdir())
