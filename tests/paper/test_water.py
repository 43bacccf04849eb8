"""Liquid water: its frames, what is measured across the boundary of the box, claims, and the quick run."""

from types import SimpleNamespace

import numpy as np
import openmm
import pandas
import pytest
from test_paper import PAPER, of, script

from openmm_diffusion.units import thermal_energy

NAME, kT = "07_water", thermal_energy(300)


@pytest.fixture(scope="module")
def modules():
    """The script, and the modules beside it."""
    with pytest.MonkeyPatch.context() as patch:
        main = script(NAME, patch)
        from allatom import dynamics, stiffness
        from allatom.water import claims, frames, radial

        yield SimpleNamespace(
            main=main, dynamics=dynamics, stiffness=stiffness, claims=claims, water=frames, radial=radial
        )


@pytest.fixture(scope="module")
def quick(modules, tmp_path_factory):
    """The quick table, and where it lies."""
    output = tmp_path_factory.mktemp("water")
    modules.main.main(["--quick", "--output", str(output)])
    return pandas.read_csv(output / f"{NAME}.csv"), output


@pytest.fixture(scope="module")
def whole(modules, quick):
    """Frames of the quick run, which are there."""
    size = modules.main.SETTINGS[True]["data"]
    return modules.water.frames(quick[1] / "runs" / f"{NAME}-data", **size, seed=0)


def test_every_row_says_how_it_was_made_and_is_made_once(quick, modules, capsys):
    table, output = quick
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert {"stiffness", "force error", "life", "held-out loss", "g(r)", "g(r) off"} <= set(table["quantity"])
    assert (output / f"{NAME}.png").stat().st_size > 50_000
    files = {path: path.stat().st_mtime_ns for path in (output / "runs").rglob("*.npz")}
    modules.main.main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if ": kept from" in line]
    assert len(lines) >= table["config"].nunique()
    assert {path: path.stat().st_mtime_ns for path in (output / "runs").rglob("*.npz")} == files
    pandas.testing.assert_frame_equal(pandas.read_csv(output / f"{NAME}.csv"), table)


def test_linear_energies_know_forces_and_live_and_networks_of_few_steps_do_not(quick, modules):
    table, _ = quick
    clean = of(table, quantity="force error", learner="linear alone", **{"sigma / nm": 0.0})
    assert (clean["value"] < 0.3 * clean["of"]).all()
    networks = of(table, quantity="force error", learner="network alone")
    assert networks["value"].min() > 2 * clean["value"].max()
    # Ten frames need not know a bond so well.
    lives = of(table, quantity="life", learner=modules.claims.MANY)
    assert (lives["value"] == lives["of"]).all()


def test_frames_are_of_water_with_nothing_rigid_and_the_forces_are_those_of_openmm(modules, whole):
    """Forces once more, on another platform; molecules are whole, and their number and the box give 0.997 g/cm^3."""
    system = modules.water.make_system()
    assert system.getNumConstraints() == 0 and whole.types.tolist() == 64 * ["O", "H", "H"]
    grams = 64 * 18.01528 / 6.02214e23
    assert grams / (np.linalg.det(whole.boxes[0]) * 1e-21) == pytest.approx(0.997, abs=0.001)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    for frame in (0, len(whole) - 1):
        context.setPositions(whole.positions[frame].astype(float))
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
        rms = np.sqrt(np.mean(np.square(forces)))
        # PME of both platforms has the error that OpenMM aims at, 5e-4.
        assert np.abs(forces - whole.forces[frame]).max() < 5e-3 * rms
    r = modules.dynamics.lengths(whole.positions, whole.bonds)
    assert 0.085 < r.min() and r.max() < 0.12


def test_runs_are_independent_and_frames_of_one_seed_come_again(modules, whole):
    first = [whole.positions[whole.replica == number][0] for number in range(3)]
    assert all(np.abs(one - other).max() > 0.1 for one, other in zip(first, first[1:]))
    again = modules.water.run(1, 0.3, 0.1, 5)[0], modules.water.run(1, 0.3, 0.1, 5)[0]
    assert again[0].shape == (2, 192, 3)
    # To the last bit: the minimisation from random places, and chaos, make much of any rounding.
    np.testing.assert_array_equal(again[0], again[1])


def test_a_molecule_across_the_boundary_is_whole_and_contacts_across_it_are_seen(modules, whole):
    """Wrapped atom by atom, frames pass as they do; an atom an edge away from another one has collided with it."""
    limits = modules.dynamics.Limits(whole)
    edge = modules.water.EDGE
    x = whole.positions[:4].astype(float)
    wrapped = x - edge * np.floor(x / edge)
    assert (modules.dynamics.lengths(wrapped, whole.bonds) > 1).any(), "some molecule must lie across the boundary"
    assert limits.passed(x).tolist() == limits.passed(wrapped).tolist() == [0, 0, 0, 0]
    moved = x.copy()
    moved[1, 4] = x[1, 3] + [0.16, 0, 0]
    moved[2, 30:33] += x[2, 60] - x[2, 31] + [edge, 0.03, -edge]
    found = [modules.dynamics.CAUSES[cause] for cause in limits.passed(moved)]
    assert found == ["", "broken bond", "collision", ""]


def test_radial_functions_are_of_pairs_between_molecules_and_one_for_an_ideal_gas(modules, whole):
    pairs = modules.radial.between(whole)
    assert {kind: len(found) for kind, found in pairs.items()} == {
        "O-O": 64 * 63 // 2, "O-H": 64 * 126, "H-H": (128 * 127 - 128) // 2,
    }  # fmt: skip
    rng = np.random.default_rng(3)
    gas = rng.uniform(0, modules.water.EDGE, (300, 192, 3))
    for found in pairs.values():
        r, g = modules.radial.radial(gas, whole.boxes[0], found)
        counts = 300 * len(found) * 4 * np.pi * r**2 * modules.radial.WIDTH / modules.water.EDGE**3
        assert (np.abs(g - 1) * np.sqrt(counts) < 5).all()
    # Two molecules 0.3 nm apart, through the boundary.
    two = np.full((1, 192, 3), 0.6) + 0.1 * np.arange(192)[None, :, None]
    two[0, 0], two[0, 3] = [0.1, 0.6, 0.6], [modules.water.EDGE - 0.195, 0.6, 0.6]
    r, g = modules.radial.radial(two, whole.boxes[0], np.array([[0, 3]]))
    assert np.flatnonzero(g).tolist() == [np.argmin(np.abs(r - 0.295))]


def test_the_stiffness_of_bonds_that_are_alike_comes_from_their_mean_variance(modules):
    """Few frames of many equal bonds: kT over each variance is too large on average by 2/n, over the mean it is not."""
    frames = modules.stiffness.dimers(24_000, 300.0, 5)
    vectors = (frames.positions[:, 1] - frames.positions[:, 0]).reshape(12, 2000, 3).astype(float)
    ends = np.concatenate([np.zeros_like(vectors), vectors], axis=1)
    bonds = np.stack([np.arange(2000), np.arange(2000, 4000)], axis=1)
    each = modules.stiffness.variance_stiffness(ends, bonds, kT)
    found = modules.stiffness.pooled(each, 2000 * ["C-H"])
    # The variance about the mean of 12 lengths is too small by 1/12; 24,000 lengths know it to 0.9 %.
    assert np.ptp(found) == 0 and found[0] == pytest.approx(modules.stiffness.STIFF * 12 / 11, rel=0.03)
    assert each.mean() > 1.1 * found[0]


@pytest.mark.parametrize("off, expected", [((0.03, 0.04, 0.05), "holds"), ((0.3, 0.4, 0.35), "does not hold")])
def test_verdicts_on_g_follow_the_numbers(modules, off, expected):
    about = {"learner": "linear alone", "sigma / nm": 0.0, "draws": np.inf, "fresh": False, "set": "model"}
    rows = [
        about | {"quantity": "g(r) off", "kind": kind, "seed": seed, "value": value}
        for seed, value in enumerate(off) for kind in ("O-O", "O-H", "H-H")
    ]  # fmt: skip
    rows += [about | {"quantity": f"width of {name}", "kind": name, "seed": seed, "value": 1.01 + 0.001 * seed}
             for seed in range(3) for name in ("bond", "angle")]  # fmt: skip
    found = modules.claims.claims(pandas.DataFrame(rows).assign(of=np.nan, cause=None)).set_index("claim")["verdict"]
    words = "runs of linear alone, 0 A: g(r) between molecules off that of the data, rms: O-O, O-H, H-H"
    assert found[words] == expected
    assert found["runs of linear alone, 0 A: width of the O-H bond over that of the noised data"] == "holds"


def test_committed_results_carry_their_verdicts(modules):
    """Every claim has a row in the table of the README, with the numbers and verdicts that the results give now."""
    section = (PAPER / "README.md").read_text().split("### Water")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]
    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    assert table.loc[table["learner"] == "network alone", "seed"].nunique() >= 3
    found = modules.claims.claims(table)
    told = [f"{r.verdict}: {r.where}" if r.where else r.verdict for r in found.itertuples()]
    expected = [[r.claim, r.measured, r.expected, words] for r, words in zip(found.itertuples(), told)]
    assert len(found) >= 8 and rows[1:] == expected
