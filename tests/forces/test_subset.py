"""A model of some particles of a System, in an order of their own: its forces on these, none on the others."""

import functools
import os
import subprocess
import sys
import warnings

import numpy as np
import openmm
import pytest
from branched import BONDS, TYPES, denoiser, positions
from models import CL, LI, licl_denoiser, licl_frames
from openmm import app, unit

from openmm_diffusion import DiffusionForce
from openmm_diffusion.energies import REGISTRY
from openmm_diffusion.forces.torchscript import torchscript_failure
from openmm_diffusion.particles import topology_of
from openmm_diffusion.systems import create_system

FOREIGN, LAMBDA = 10, "lambda_diffusion"
PAIRS = ("wall", "pair")  # what a native force holds, and what is made in no time
ALL = ("coulomb", *PAIRS, "network")

scripted = pytest.mark.skipif(torchscript_failure() is not None, reason=str(torchscript_failure()))
# Backend, whether TorchForce is given forces, and the terms of the model.
WAYS = [
    pytest.param("torchscript", True, ALL, marks=scripted, id="torchscript"),
    pytest.param("torchscript", False, ("coulomb", *PAIRS), marks=scripted, id="autograd"),
    pytest.param("python", True, ALL, id="python"),
    pytest.param("compiled", True, PAIRS, marks=pytest.mark.slow, id="compiled"),
    pytest.param("native", True, PAIRS, id="native"),
]


@functools.cache
def mixture():
    """Topology and positions (58, 3), nm, of 48 ions among foreign atoms, and the ions' numbers in an order of theirs.

    Returns also the forces (58, 3), kJ/mol/nm, and the energy that a model gives them, as a function of its terms.
    """
    frames, rng = licl_frames(), np.random.default_rng(7)
    place = rng.permutation(48 + FOREIGN)  # where the ions, then the foreign atoms stand
    elements = [app.Element.getByAtomicNumber(int(z)) for z in frames.species] + [app.element.argon] * FOREIGN
    topology = app.Topology()
    chain = topology.addChain()
    for i in np.argsort(place):
        topology.addAtom(elements[i].symbol.upper(), elements[i], topology.addResidue("ANY", chain))
    topology.setPeriodicBoxVectors(frames.box * unit.nanometer)
    x = np.empty((48 + FOREIGN, 3))
    x[place] = np.concatenate([frames.positions[0], rng.random((FOREIGN, 3)) @ frames.box])
    atoms = place[rng.permutation(48)]

    @functools.cache
    def expected(kinds):
        model, forces = licl_denoiser(kinds=kinds), np.zeros_like(x)
        forces[place[:48]] = model.forces(frames.positions[0])
        return forces, float(model.energy(frames.positions[0]))

    return topology, x, atoms, expected


def system_of(topology, *forces):
    system = openmm.System()
    for _ in topology.atoms():
        system.addParticle(20.0)
    if topology.getPeriodicBoxVectors() is not None:
        system.setDefaultPeriodicBoxVectors(*topology.getPeriodicBoxVectors())
    for force in forces:
        system.addForce(force)
    return system


def context_of(system, x, platform="Reference"):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(x)
    return context


def computed(context, **options):
    """Forces (n, 3), kJ/mol/nm, and energy, kJ/mol."""
    state = context.getState(getForces=True, getEnergy=True, **options)
    return state.getForces(asNumpy=True)._value, state.getPotentialEnergy()._value


@functools.cache
def subset_system(backend, outputs_forces, kinds, scaling_parameter=None):
    topology, _, atoms, _ = mixture()
    force = DiffusionForce(
        licl_denoiser(kinds=kinds), topology, atoms=atoms, backend=backend, outputs_forces=outputs_forces,
        precision="double", scaling_parameter=scaling_parameter,
    )  # fmt: skip
    return system_of(topology, force)


@pytest.mark.parametrize(("backend", "outputs_forces", "kinds"), WAYS)
def test_ions_among_others_feel_the_model_and_the_others_nothing(backend, outputs_forces, kinds):
    topology, x, _, expected = mixture()
    forces, energy = expected(kinds)
    system = subset_system(backend, outputs_forces, kinds)
    for platform, precision in (("Reference", 1e-6), ("CPU", 1e-5)):
        found, u = computed(context_of(system, x, platform))
        np.testing.assert_allclose(found, forces, atol=precision * np.abs(forces).max())
        assert (found[forces == 0] == 0).all()
        assert u == pytest.approx(energy, rel=precision)
    copy = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    np.testing.assert_allclose(computed(context_of(copy, x))[0], forces, atol=1e-6 * np.abs(forces).max())


ELSEWHERE = """
import sys
import numpy as np, openmm
from openmm_diffusion.forces import torchscript
torchscript.torchscript_failure()  # loads TorchForce, where there is one
positions = np.load(sys.argv[1])
for path in sys.argv[2:]:
    system = openmm.XmlSerializer.deserialize(open(path).read())
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    np.save(path + ".npy", context.getState(getForces=True).getForces(asNumpy=True)._value)
"""


@pytest.mark.slow
def test_another_process_reads_the_same_forces_from_xml(tmp_path):
    _, x, _, expected = mixture()
    np.save(tmp_path / "x.npy", x)
    written = {}
    for parameter in WAYS:
        backend, outputs_forces, kinds = parameter.values
        if backend == "torchscript" and torchscript_failure():
            continue
        for scaled in (None, LAMBDA) if backend != "compiled" else (None,):
            path = tmp_path / f"{parameter.id}-{scaled}.xml"
            kinds = kinds if scaled is None else PAIRS
            system = subset_system(backend, outputs_forces, kinds, scaled)
            path.write_text(openmm.XmlSerializer.serialize(system))
            written[path] = expected(kinds)[0]
    command = [sys.executable, "-c", ELSEWHERE, tmp_path / "x.npy", *written]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    for path, forces in written.items():
        np.testing.assert_allclose(np.load(f"{path}.npy"), forces, atol=1e-6 * np.abs(forces).max())


@pytest.mark.parametrize(("backend", "outputs_forces", "kinds"), WAYS)
def test_a_parameter_scales_the_force_and_has_a_derivative(backend, outputs_forces, kinds):
    _, x, _, expected = mixture()
    kinds = tuple(kind for kind in kinds if kind != "network")  # the scale knows nothing of terms
    forces, energy = expected(kinds)
    context = context_of(subset_system(backend, outputs_forces, kinds, LAMBDA), x)
    assert context.getParameter(LAMBDA) == 1.0
    for value in (1.0, 0.3, 0.0):
        context.setParameter(LAMBDA, value)
        found, u = computed(context)
        np.testing.assert_allclose(found, value * forces, atol=1e-6 * np.abs(forces).max())
        assert u == pytest.approx(value * energy, rel=1e-6)
        slope = context.getState(getParameterDerivatives=True).getEnergyParameterDerivatives()[LAMBDA]
        assert slope == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize("backend", [pytest.param("torchscript", marks=[scripted, pytest.mark.slow]), "python"])
def test_a_vector_head_is_scaled_too_without_a_derivative(backend):
    topology, x, atoms, _ = mixture()
    model = licl_denoiser("vector")
    force = DiffusionForce(model, topology, atoms=atoms, backend=backend, scaling_parameter=LAMBDA, precision="double")
    context = context_of(system_of(topology, force), x)
    whole, _ = computed(context)
    context.setParameter(LAMBDA, 0.25)
    np.testing.assert_allclose(computed(context)[0], 0.25 * whole, atol=1e-9 * np.abs(whole).max())
    assert context.getState(getParameterDerivatives=True).getEnergyParameterDerivatives()[LAMBDA] == 0.0


# ---- molecules


@pytest.mark.parametrize("backend", [pytest.param("torchscript", marks=scripted), "python", "native"])
def test_bonds_within_the_subset_count(backend):
    """Two molecules, their particles interleaved with others that have bonds of their own, against them alone."""
    more = [
        REGISTRY["pair"](sigma=0.0, cutoff=1.2, start=0.15, spacing=0.05),
        REGISTRY["wall"](radii=[[0.36] * 3] * 3, stiffness=2e4),
    ]
    kinds = [] if backend == "native" else ["bonds", "angles", "onefour", "dihedrals"]
    links = [(9 * m + i, 9 * m + j) for m in range(2) for i, j in BONDS]
    given = denoiser(kinds, more=more, particles=TYPES * 2, bonds=links)
    one, other = positions(2, width=0.004)
    alone = np.concatenate([one, other + np.array([0.25, 0.45, 0.2])])
    forces = given.forces(alone, False)
    rng = np.random.default_rng(3)
    place = rng.permutation(24)
    types = np.empty(24, dtype=object)
    types[place] = TYPES * 2 + ["X"] * 6
    bonds = [(place[i], place[j]) for i, j in [*links, (18, 19), (19, 20)]]
    x = np.empty((24, 3))
    x[place] = np.concatenate([alone, rng.random((6, 3))])
    topology = topology_of(types.tolist(), [0] * 24, bonds)
    precision = {} if backend == "native" else {"precision": "double"}
    force = DiffusionForce(given, topology, atoms=place[:18], backend=backend, types="name", **precision)
    found, _ = computed(context_of(system_of(topology, force), x))
    np.testing.assert_allclose(found[place[:18]], forces, rtol=1e-8, atol=1e-6 * np.abs(forces).max())
    assert (found[place[18:]] == 0).all()


def test_a_cut_bond_is_refused():
    topology = topology_of(TYPES, [0] * 9, BONDS)
    with pytest.raises(ValueError, match="atoms cuts the bond between atoms 5 and 4 of topology|atoms 4 and 5 of"):
        DiffusionForce(denoiser(["bonds"]), topology, atoms=range(5), backend="python", types="name")


# ---- beside other forces


def halves():
    """Two forces of 12 + 12 ions each among the same atoms, and where their ions are."""
    topology, x, atoms, _ = mixture()
    symbols = [atom.element.symbol for atom in topology.atoms()]
    by_species = [[i for i in atoms if symbols[i] == symbol] for symbol in ("Li", "Cl")]
    parts = [[*by_species[0][::2], *by_species[1][::2]], [*by_species[0][1::2], *by_species[1][1::2]]]
    return topology, x, parts


def of_half(x, part, kinds=PAIRS):
    forces = np.zeros_like(x)
    forces[part] = licl_denoiser(kinds=kinds).forces(x[part], species=[LI] * 12 + [CL] * 12)
    return forces


@pytest.mark.parametrize("backends", [("python", "native"), pytest.param(("torchscript", "python"), marks=scripted)])
def test_several_forces_in_one_system_by_groups_and_inside_a_collective_variable(backends):
    topology, x, parts = halves()
    model = licl_denoiser(kinds=PAIRS)
    made = [DiffusionForce(model, topology, atoms=part, backend=b) for part, b in zip(parts, backends)]
    for group, force in enumerate(made, start=1):
        force.setForceGroup(group)
    expected = [of_half(x, part) for part in parts]
    context = context_of(system_of(topology, *made), x)
    for group, forces in enumerate(expected, start=1):
        np.testing.assert_allclose(computed(context, groups={group})[0], forces, atol=1e-5 * np.abs(forces).max())
    inside = openmm.CustomCVForce("one - 0.5 * other")
    for name, part, b in zip(("one", "other"), parts, backends):
        inside.addCollectiveVariable(name, DiffusionForce(model, topology, atoms=part, backend=b))
    whole, system = expected[0] - 0.5 * expected[1], system_of(topology, inside)
    for platform in ("Reference", "CPU"):
        found, _ = computed(context_of(system, x, platform))
        np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("backend", [pytest.param("torchscript", marks=scripted), "python", "native"])
def test_a_multiple_time_step_conserves_energy(backend):
    """The model once in a step, springs of the foreign atoms and of the ions four times.

    r-RESPA conserves a shadow energy that differs from the energy by O(dt^2).
    """
    topology, x, parts = halves()
    force = DiffusionForce(
        licl_denoiser(kinds=PAIRS), topology, atoms=[*parts[0], *parts[1]], backend=backend, precision="double"
    )
    springs = openmm.CustomExternalForce("0.5 * 2000 * periodicdistance(x, y, z, x0, y0, z0)^2")
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for i, place in enumerate(x):
        springs.addParticle(i, place)
    springs.setForceGroup(1)
    system, wobble = system_of(topology, force, springs), []
    for dt in (0.004, 0.002):  # ps; the model's wall has a period of 0.4 ps with these masses, the springs of 0.6
        integrator = openmm.MTSIntegrator(dt, [(0, 1), (1, 4)])
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(x)
        context.setVelocitiesToTemperature(300.0, 1)
        total = []
        for _ in range(25):
            integrator.step(round(0.016 / dt))
            state = context.getState(getEnergy=True)
            total.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
        wobble.append(np.std(total))
    assert 3 < wobble[0] / wobble[1] < 5


def test_a_native_subset_shares_the_exclusions_of_others():
    """The platforms want the same exclusions of all nonbonded forces, of interaction groups too."""
    topology, x, atoms, expected = mixture()
    foreign = sorted(set(range(len(x))) - set(atoms))

    def other(pairs):
        force = openmm.NonbondedForce()
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(0.8)
        force.setForceGroup(1)
        for i in range(len(x)):
            force.addParticle(0.0, 0.3, 0.1 if i in foreign else 0.0)
        for i, j in pairs:
            force.addException(i, j, 0.0, 0.3, 0.0)
        return force

    given = licl_denoiser(kinds=PAIRS), topology
    system = system_of(topology, other([*zip(foreign[:-1], foreign[1:]), (foreign[0], int(atoms[0]))]))
    system.addForce(DiffusionForce(*given, atoms=atoms, backend="native", system=system))
    forces = expected(PAIRS)[0]
    found, _ = computed(context_of(system, x, "CPU"), groups={0})
    np.testing.assert_allclose(found, forces, atol=1e-5 * np.abs(forces).max())
    with pytest.raises(ValueError, match="NonbondedForce in system excludes other pairs of the subset than the model"):
        system = system_of(topology, other([(int(atoms[0]), int(atoms[1]))]))
        DiffusionForce(*given, atoms=atoms, backend="native", system=system)


# ---- what does not fit


@pytest.mark.parametrize("backend", [pytest.param("torchscript", marks=scripted), "python", "native"])
@pytest.mark.parametrize("n_particles", [40, 60])
@pytest.mark.parametrize("chosen", [False, True])
def test_a_system_of_another_number_of_particles_raises(backend, n_particles, chosen):
    """A System of too few particles ended the process."""
    frames, model = licl_frames(), licl_denoiser(kinds=PAIRS)
    options = {"atoms": [*range(12), *range(36, 48)]} if chosen else {}
    force = DiffusionForce(model, frames.topology(), backend=backend, **options)
    system = openmm.System()
    for _ in range(n_particles):
        system.addParticle(20.0)
    system.setDefaultPeriodicBoxVectors(*frames.box)
    system.addForce(force)
    said = "same number|exactly as many" if backend == "native" else f"the System has {n_particles} particles, but the"
    with pytest.raises(openmm.OpenMMException, match=said):
        computed(context_of(system, np.random.default_rng(1).random((n_particles, 3)) * 2.5))
    with pytest.raises(ValueError, match=f"system has {n_particles} particles, but topology 48: give the topology of"):
        DiffusionForce(model, frames.topology(), backend=backend, system=system, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"atoms": []}, "atoms is empty: give the numbers"),
        ({"atoms": [0, 48]}, "atoms holds 48: give numbers of atoms of topology, from 0 to 47"),
        ({"atoms": [0, -1]}, "atoms holds -1: give numbers"),
        ({"atoms": [0, 1.5]}, "atoms holds 1.5: give numbers"),
        ({"atoms": [0, 30, 0]}, "atoms holds 0 twice"),
        ({"atoms": range(30)}, r"topology holds 24 Li, 6 Cl, together \+18 e"),
        ({"atoms": [0, 30], "replicas": 2}, "atoms is given, and replicas is 2"),
        ({"atoms": [0, 30], "types": ["Li"]}, "types has 1 entries for 2 atoms"),
        ({"scaling_parameter": "2x"}, "scaling_parameter is '2x': give a name of letters"),
        ({"scaling_parameter": "r"}, "scaling_parameter is 'r': give a name of letters"),
        (
            {"backend": "native", "include_prior": False, "scaling_parameter": "slope_curves"},
            "scaling_parameter is 'slope_curves', a name within the native form of the pair potential",
        ),
        ({"backend": "native", "device": "cpu"}, "device is 'cpu', but backend is \"native\""),
    ],
)
def test_wrong_input_is_refused(options, match):
    model = licl_denoiser(kinds=("coulomb", *PAIRS))
    with pytest.raises(ValueError, match=match):
        DiffusionForce(model, licl_frames().topology(), **{"backend": "python", **options})


@pytest.mark.parametrize("name", ["c0", "c3", "x", "slope_curves"])
def test_names_within_forms_of_listed_pairs_scale_nothing(name):
    """Of few pairs without a box the native form is another, with names of its own."""
    with pytest.raises(ValueError, match=f"scaling_parameter is '{name}', a name within the native form"):
        DiffusionForce(licl_denoiser(kinds=("pair",)), topology_of(["Li", "Cl", "Li"], [3, 17, 3]), backend="native",
                       scaling_parameter=name)  # fmt: skip


def test_errors_name_the_atom_of_the_whole_topology():
    topology = licl_frames().topology()
    topology.addAtom("M", None, topology.addResidue("M", topology.addChain()))
    with pytest.raises(ValueError, match=r"1 atoms without an element \(first: atom 48, M of M\)"):
        DiffusionForce(licl_denoiser(kinds=PAIRS), topology, atoms=[48, 0], backend="python")


def test_a_system_of_the_model_alone_takes_no_subset():
    for options in ({"atoms": [0, 30]}, {"scaling_parameter": LAMBDA}):
        with pytest.raises(TypeError, match="create_system makes a System of the model alone: give"):
            create_system(licl_denoiser(kinds=PAIRS), licl_frames().topology(), **options)


def test_coulomb_is_counted_twice_only_where_the_subset_has_charges():
    topology, _, atoms, _ = mixture()
    model, chosen = licl_denoiser(kinds=("coulomb", *PAIRS)), set(atoms)

    def made(charge, foreign, silent=False):
        nonbonded = openmm.NonbondedForce()
        for i in range(topology.getNumAtoms()):
            nonbonded.addParticle(charge if i in chosen else foreign, 0.3, 0.0)
        if silent:  # as mechanical embedding does
            for one in range(48):
                for other in range(one):
                    nonbonded.addException(atoms[one], atoms[other], 0.0, 1.0, 0.0)
        return DiffusionForce(model, topology, atoms=atoms, backend="python", system=system_of(topology, nonbonded))

    with pytest.warns(UserWarning, match="Coulomb is counted twice"):
        made(0.5, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(0.0, 0.5)
        made(0.5, 0.0, silent=True)
