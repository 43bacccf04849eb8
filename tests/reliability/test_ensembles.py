"""What every backend samples is the ensemble of its energy: Maxwell's of the velocities, Boltzmann's of the positions.

Kinetic energies of f degrees of freedom are Gamma(f/2, kT), whatever the forces are.  Of potential energies at two
temperatures nothing is known but their ratio, p_1(U) / p_2(U) = c exp((1/kT_2 - 1/kT_1) U), and that is the check of
Shirts, J. Chem. Theory Comput. 9, 909 (2013): its slope by maximum likelihood, with the error of as many samples as are
independent.  The beads are those of a warm crystal, whose energy forgets itself within some twenty steps.
"""

import functools
from typing import NamedTuple

import numpy as np
import openmm
import pytest
from models import _smooth

from openmm_diffusion import Denoiser, create_system
from openmm_diffusion.energies.network import NetworkConfig, NetworkTerm
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.energies.wall import WallTerm
from openmm_diffusion.model.header import Header
from openmm_diffusion.systems import training_topology

R = 8.31446261815324e-3  # kJ/mol/K
#: K, of the oscillators whose ensemble is known.
COLD, WARM = 285.0, 310.0
#: ps, 1/ps, and steps between samples.
TIMESTEP, FRICTION, EVERY = 0.005, 15.0, 4
#: nm, of a cell of four beads.
CELL = 0.65
PAIRS, NETWORK = ("wall", "pair"), ("wall", "pair", "network")
#: Standard errors that chance passes once in 16,000 times; a wrong temperature must pass ENOUGH of them.
CHANCE, ENOUGH = 4.0, 3.0


@functools.cache
def crystal(kinds, cells=2):
    """4 cells^3 beads of two types; forces of the size of learnt ones."""
    import torch

    network = NetworkConfig(head="energy", cutoff=0.6, lmax=1, features=4, layers=1, radial_width=8)
    terms = [
        WallTerm(radii=[[0.58, 0.56], [0.56, 0.54]], stiffness=1.2e3),
        PairTerm(sigma=0.0, cutoff=0.64, start=0.2, spacing=0.04),
        NetworkTerm(sigma=0.005, network=network, neighbours=12.0),
    ]
    header = Header(
        species=["A", "B"],
        particles=["A", "B"] * (2 * cells**3),
        temperature=300.0,
        box=(cells * CELL * np.eye(3)).tolist(),
        number_density=4 / CELL**3,
        shortest_distances=[[0.3, 0.3], [0.3, 0.3]],
        masses=[4.0, 6.0],
        numbers=[0, 0],
        terms=[term for term in terms if term.kind in kinds],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser(header)
    for module in denoiser.model.energies:
        if hasattr(module, "coefficients"):
            module.coefficients.copy_(torch.as_tensor(_smooth(np.random.default_rng(0), *module.coefficients.shape)))
    return denoiser


def sites(cells):
    """Places of a face-centred cubic lattice, nm."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return CELL * (np.argwhere(np.ones(3 * [cells]))[:, None] + corners).reshape(-1, 3)


class Samples(NamedTuple):
    """Energies of a run, kJ/mol, and how many degrees of freedom have the kinetic ones."""

    potential: np.ndarray
    kinetic: np.ndarray
    freedom: int


class Case(NamedTuple):
    """A way to run a model: of some cells of the crystal, in some copies, for a number of steps.

    By these, positions alone must tell a thermostat that is at `wrong` times its temperature.
    """

    backend: str
    kinds: tuple[str, ...]
    cells: int
    replicas: int
    steps: int
    wrong: float

    def __str__(self):
        return f"{self.backend}-{'-'.join(self.kinds)}-{4 * self.cells**3}x{self.replicas}"


def temperatures(case):
    """Two temperatures (K) at which the energies of harmonic beads lie one standard deviation apart.

    A single wrong temperature is told best by energies that overlap well.
    """
    apart = 1 / np.sqrt(1.5 * 4 * case.cells**3 * case.replicas)
    return 300 * (1 - apart / 2), 300 * (1 + apart / 2)


@functools.cache
def run(case, temperature, seed):
    """The energies of a run, every `EVERY` steps."""
    denoiser = crystal(case.kinds, case.cells)
    options = dict(backend=case.backend, native_prior=False, replicas=case.replicas)
    system = create_system(denoiser, training_topology(denoiser), **options)
    integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, TIMESTEP)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(np.tile(sites(case.cells), (case.replicas, 1)))
    context.setVelocitiesToTemperature(temperature, seed)
    integrator.step(200)
    energies = np.empty((case.steps // EVERY, 2))
    for row in energies:
        integrator.step(EVERY)
        state = context.getState(energy=True)
        row[:] = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
    return Samples(*energies.T, 3 * system.getNumParticles())


def inefficiency(values):
    """Samples for each that is independent: 1 + 2 sum of autocorrelations, until they fall below their noise."""
    off = values - values.mean()
    spectrum = np.abs(np.fft.rfft(off, 2 * len(off))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(off)] / np.arange(len(off), 0, -1)
    correlation /= correlation[0]
    below = np.flatnonzero(correlation < 2 / np.sqrt(len(off)))
    return max(1.0, 1 + 2 * correlation[1 : max(1, below[0])].sum())


def kinetic(samples, temperature):
    """How far mean and variance of the kinetic energy are from f kT / 2 and f (kT)^2 / 2, in standard errors."""
    kT, f, K = R * temperature, samples.freedom, samples.kinetic
    mean, variance = 0.5 * f * kT, 0.5 * f * kT**2
    n, m = len(K) / inefficiency(K), len(K) / inefficiency((K - K.mean()) ** 2)
    # A variance of m samples of a Gamma distribution, whose excess kurtosis is 12 / f.
    return (K.mean() - mean) / np.sqrt(variance / n), (K.var() - variance) / (variance * np.sqrt((2 + 12 / f) / m))


def slope(cold, warm):
    """1/kT_cold - 1/kT_warm (mol/kJ) by which two runs' potential energies differ, and its standard error.

    A logistic regression of "from the warm run" on U; each sample counts as far as it is independent of the others.
    """
    U = np.concatenate([cold.potential, warm.potential])
    centre, width = U.mean(), U.std()
    design = np.stack([np.ones(len(U)), (U - centre) / width], axis=1)
    warmer = np.repeat([0.0, 1.0], [len(cold.potential), len(warm.potential)])
    weight = np.concatenate([np.full(len(run), 1 / inefficiency(run)) for run in (cold.potential, warm.potential)])
    a = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ a))
        information = (design * (weight * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(information, design.T @ (weight * (warmer - p)))
        a += step
        if np.abs(step).max() < 1e-10:
            return a[1] / width, np.sqrt(np.linalg.inv(information)[1, 1]) / width
    raise AssertionError("the two runs do not overlap")


def deviations(cold, warm, at_cold, at_warm):
    """All checks of two runs, in standard errors, by what each is of, and the relative error of the slope."""
    found, error = slope(cold, warm)
    expected = 1 / (R * at_cold) - 1 / (R * at_warm)
    names = ("cold mean", "cold variance", "warm mean", "warm variance")
    told = dict(zip(names, (*kinetic(cold, at_cold), *kinetic(warm, at_warm))))
    return {**told, "slope": (found - expected) / error}, error / expected


def shown(case, told, *more):
    """A line of what a case was found to be, for the record."""
    print(case, *(f"{key} {value:+.1f}" for key, value in told.items()), *more, sep=" | ", flush=True)


def effective(samples):
    """How many of the potential energies of a run are independent."""
    return len(samples.potential) / inefficiency(samples.potential)


def powers(samples, at_cold, at_warm, error):
    """Standard errors that a cold thermostat 3 % off is away, by the kinetic energy and by the slope."""
    n = len(samples.kinetic) / inefficiency(samples.kinetic)
    return 0.03 * np.sqrt(0.5 * samples.freedom * n), 0.03 / (1 - at_cold / at_warm) / error


def assert_ensemble(case):
    """Both runs are at their temperatures; returns how many standard errors 3 % are by the kinetic energy."""
    at_cold, at_warm = temperatures(case)
    cold, warm = run(case, at_cold, 1), run(case, at_warm, 2)
    told, error = deviations(cold, warm, at_cold, at_warm)
    kinetic_power, slope_power = powers(cold, at_cold, at_warm, error)
    power = f"3 % is {kinetic_power:.1f} errors of the mean and {slope_power:.1f} of the slope"
    shown(case, told, f"{at_cold:.0f} and {at_warm:.0f} K", power, f"{effective(cold):.0f} independent U")
    assert max(map(abs, told.values())) < CHANCE, told
    return kinetic_power


def assert_wrong_is_found(case):
    """A thermostat that is not where it is asked to be fails both checks, of velocities and of positions."""
    at_cold, at_warm = temperatures(case)
    cold, warm = run(case, case.wrong * at_cold, 3), run(case, at_warm, 2)
    told, _ = deviations(cold, warm, at_cold, at_warm)
    shown(case, told, f"{case.wrong - 1:+.0%} at {at_cold:.0f} K")
    assert told["cold mean"] > CHANCE and told["slope"] < -ENOUGH, told


#: Until both checks tell a thermostat that is wrong by a tenth.
SHORT = [Case("native", PAIRS, 2, 1, 8000, 1.1), Case("python", PAIRS, 2, 8, 600, 1.1)]
#: Until velocities tell a thermostat that is wrong by 3 %; positions, which forget more slowly, need more for that.
WHOLE = [
    Case("native", PAIRS, 2, 1, 80000, 1.03),
    Case("torchscript", NETWORK, 4, 1, 6000, 1.05),
    Case("python", PAIRS, 4, 1, 6000, 1.1),
    Case("python", NETWORK, 2, 8, 6000, 1.05),
    Case("compiled", PAIRS, 4, 1, 6000, 1.1),
    Case("compiled", NETWORK, 2, 8, 6000, 1.05),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", SHORT, ids=str)
def test_a_short_run_is_of_its_ensemble_and_of_no_other(case):
    assert_ensemble(case)
    assert_wrong_is_found(case)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_a_run_is_of_its_ensemble_and_would_show_a_wrong_temperature(case):
    assert assert_ensemble(case) > 2 * CHANCE, "3 % would not be told from chance"
    assert_wrong_is_found(case)


def oscillators(kT, rng, memory=0.9, n=4000, modes=94):
    """Energies of independent oscillators that remember themselves from sample to sample: of kT modes / 2."""
    import scipy.signal

    noise = np.sqrt(1 - memory**2) * rng.normal(size=(n + 200, modes))
    x = scipy.signal.lfilter([1], [1, -memory], noise, axis=0)[200:]
    energies = 0.5 * kT * (x**2).sum(1)
    return Samples(energies, energies, modes)


def test_the_checks_are_off_by_chance_as_often_as_they_say():
    """Fifty runs of a known ensemble, with samples that depend on each other: deviations of variance one about zero."""
    rng = np.random.default_rng(0)
    told = [
        deviations(oscillators(R * COLD, rng), oscillators(R * WARM, rng), COLD, WARM)[0].values() for _ in range(50)
    ]
    told = np.array([list(each) for each in told])
    assert (np.abs(told.mean(0)) < 4 / np.sqrt(50)).all(), told.mean(0)
    # A standard deviation of fifty is known to a tenth; that of an inefficiency counts too.
    assert (told.std(0) > 0.6).all() and (told.std(0) < 1.4).all(), told.std(0)


def test_physical_validation_says_the_same():
    """The package of Merz and Shirts, where it is installed (pip install physical-validation)."""
    validation = pytest.importorskip("physical_validation")
    case = SHORT[0]

    def data(samples, temperature):
        n = samples.freedom // 3
        return validation.data.SimulationData(
            units=validation.data.UnitData(
                kb=R,
                energy_str="kJ/mol",
                energy_conversion=1.0,
                length_str="nm",
                length_conversion=1.0,
                volume_str="nm^3",
                volume_conversion=1.0,
                temperature_str="K",
                temperature_conversion=1.0,
                pressure_str="bar",
                pressure_conversion=1.0,
                time_str="ps",
                time_conversion=1.0,
            ),
            ensemble=validation.data.EnsembleData("NVT", natoms=n, volume=(2 * CELL) ** 3, temperature=temperature),
            system=validation.data.SystemData(natoms=n, nconstraints=0, ndof_reduction_tra=0, ndof_reduction_rot=0),
            observables=validation.data.ObservableData(
                potential_energy=samples.potential, kinetic_energy=samples.kinetic
            ),
            dt=EVERY * TIMESTEP,
        )

    # They drop samples that depend on each other, where we weigh them: so both get the same ones.
    at_cold, at_warm = temperatures(case)
    runs = [run(case, at_cold, 1), run(case, at_warm, 2)]
    thin = [int(np.ceil(inefficiency(each.potential))) for each in runs]
    cold, warm = (Samples(each.potential[::n], each.kinetic[::n], each.freedom) for each, n in zip(runs, thin))
    told, _ = deviations(cold, warm, at_cold, at_warm)
    options = dict(verbosity=0, data_is_uncorrelated=True, bootstrap_seed=1)
    theirs = validation.ensemble.check(data(cold, at_cold), data(warm, at_warm), **options)[0]
    print(f"slope off by {told['slope']:+.2f}, theirs {theirs:.2f} standard errors")
    assert abs(theirs - abs(told["slope"])) < 0.5 and theirs < CHANCE
    for samples, temperature, name in ((cold, at_cold, "cold"), (warm, at_warm, "warm")):
        mean, _ = validation.kinetic_energy.distribution(data(samples, temperature), strict=False, **options)
        print(f"{name} mean off by {told[name + ' mean']:+.2f}, theirs {mean:.2f} standard errors")
        assert abs(mean - abs(told[f"{name} mean"])) < 0.5 and mean < CHANCE
