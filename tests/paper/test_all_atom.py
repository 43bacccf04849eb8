"""All atoms: data, stiffness of bonds under noise, lives of runs, verdicts, and the quick run."""

import numpy as np
import openmm
import pandas
import pytest
from openmm import app
from test_paper import PAPER, of, script

from openmm_diffusion.units import thermal_energy

NAME, kT = "07_all_atom", thermal_energy(300)


@pytest.fixture(scope="module")
def modules():
    """The script, and the modules beside it."""
    with pytest.MonkeyPatch.context() as patch:
        main = script(NAME, patch)
        from allatom import alanine, dynamics, stiffness

        yield main, alanine, dynamics, stiffness


@pytest.fixture(scope="module")
def quick(modules, tmp_path_factory):
    """The quick table, and where it lies."""
    output = tmp_path_factory.mktemp("allatom")
    modules[0].main(["--quick", "--output", str(output)])
    return pandas.read_csv(output / f"{NAME}.csv"), output


def test_every_row_says_how_it_was_made_and_is_made_once(quick, modules, capsys):
    table, output = quick
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert set(table["system"]) == {"one bond", "alanine"}
    assert set(table["quantity"]) == {"stiffness", "force error", "life"}
    assert (output / f"{NAME}.png").stat().st_size > 50_000
    modules[0].main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if ": kept from" in line]
    assert len(lines) == table["config"].nunique()
    pandas.testing.assert_frame_equal(pandas.read_csv(output / f"{NAME}.csv"), table)


def test_one_bond_is_as_soft_as_the_closed_form_says(quick):
    """400 frames know a stiffness to 7 %; of what noise is added there is no doubt."""
    rows = of(quick[0], quantity="stiffness", system="one bond")
    law = 1 / (1 + 2 * rows["sigma / nm"] ** 2 * 284512 / kT)
    assert (np.abs(rows["value"] / (law * 284512) - 1) < 0.25).all()
    assert (law < 0.6).all() and (rows["value"] < 0.7 * 284512).all()


def test_linear_energies_know_forces_and_live(quick):
    table, _ = quick
    rows = of(table, quantity="force error", learner="linear alone")
    clean = rows[rows["sigma / nm"] == 0]
    # Bonds and angles are most of the force.
    assert (clean["value"] < 0.4 * clean["of"]).all()
    lives = of(table, quantity="life", learner="linear alone")
    assert (lives["value"] == lives["of"]).all()


def test_the_force_along_a_bond_tells_its_stiffness(modules):
    """(4.2) of docs/theory.md, with the force that is known: of one bond, clean and noised."""
    stiffness = modules[3]
    frames = stiffness.dimers(40_000, 300.0, 3)
    x = frames.positions.astype(float)
    vector = x[:, 1] - x[:, 0]
    r = np.linalg.norm(vector, axis=-1, keepdims=True)
    pull = -stiffness.STIFF * (r - stiffness.LENGTH) * vector / r
    forces = np.stack([-pull, pull], axis=1)
    found = stiffness.stiffness(x, forces, frames.bonds)[0]
    # Both have the scatter sqrt(2/n) of a mean square, 0.7 %.
    assert found == pytest.approx(stiffness.STIFF, rel=1e-6)
    assert stiffness.variance_stiffness(x, frames.bonds, kT)[0] == pytest.approx(stiffness.STIFF, rel=0.03)
    for sigma in (0.001, 0.002, 0.005):
        y = stiffness.noised(x, sigma, 4)
        expected = stiffness.closed_form(stiffness.STIFF, sigma, kT)
        # Across the bond noise adds 2 sigma^4/r^2 to the variance: 0.2 % of it at 0.005 nm.
        assert stiffness.variance_stiffness(y, frames.bonds, kT)[0] == pytest.approx(expected, rel=0.03)


def test_born_radii_are_those_of_the_force_field(modules):
    """GBSAOBCForce in place of the CustomGBForce of implicit/obc2.xml: the same forces to 1e-3 of their size."""
    alanine = modules[1]
    field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    theirs = field.createSystem(alanine.topology(), nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    found = []
    for system in (theirs, alanine.make_system()):
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
        context.setPositions(app.PDBFile(str(alanine.PDB)).positions)
        found.append(np.array(context.getState(forces=True).getForces(asNumpy=True)._value))
    assert np.abs(found[0] - found[1]).max() < 1e-3 * np.abs(found[0]).max()
    assert alanine.make_system().getNumConstraints() == 0


def test_a_broken_copy_dies_and_the_others_live(quick, modules):
    """A copy whose bond is stretched beyond its limit is dead at the first look; the other is not moved by it."""
    _, output = quick
    main, _, dynamics, _ = modules
    options = main.parse("", ["--quick", "--output", str(output)])
    experiment = main.Alanine(options)
    model = experiment.model(main.Arm(), 0)
    starts = experiment.starts(2, 0)
    starts[1, 0] += 0.1
    copies = dynamics.Copies(model, starts, experiment.limits, "python", 0)
    assert copies._buried().tolist() == [0, 1]


def lives(values, seed, draws=1, fresh=False):
    about = {"quantity": "life", "system": "alanine", "learner": "network alone", "sigma / nm": 0.002, "of": 2.0}
    return [about | {"seed": seed, "draws": draws, "fresh": fresh, "run": k, "value": v} for k, v in enumerate(values)]


@pytest.mark.parametrize(
    "more, expected",
    [((1.9, 2.0, 1.8), "holds"), ((0.05, 0.06, 0.04), "does not hold"), ((0.1, 0.5, 0.2), "not decided")],
)
def test_verdicts_follow_the_numbers(modules, more, expected):
    rows = [row for seed, v in enumerate((0.2, 0.22, 0.19)) for row in lives([v] * 4, seed)]
    rows += [row for seed, v in enumerate(more) for row in lives([v] * 4, seed, 4)]
    found = modules[0].claims(pandas.DataFrame(rows), kT).set_index("claim")
    claim = "runs of network alone live longer with more draws than with one (life with one over life with more)"
    row = found.loc[f"{claim}: 4 draws"]
    assert row["verdict"] == expected


def test_runs_of_one_kind_of_noise_alone_are_counted_too(modules):
    rows = [row for seed in range(3) for row in lives([2.0] * 4, seed, np.inf, True)]
    found = modules[0].claims(pandas.DataFrame(rows), kT).set_index("claim")
    row = found.loc["most runs of network alone live 2 ps"]
    assert row["measured"].startswith("fresh pairs 12 of 12") and row["verdict"] == "holds"
    assert not found.index.str.contains("more draws").any()


def test_lives_are_compared_as_far_as_both_kinds_of_runs_were_followed(modules):
    """Runs with a wall that live for 8 to 20 ps, and others whose end was at 2 ps: none lives longer than 2 ps then."""
    names = "network alone, 16 times the steps", "network + wall, 16 times the steps"
    rows = []
    for seed, (alone, walled) in enumerate(((0.5, 8.0), (0.4, 20.0), (2.0, 9.0))):
        for name, value, end in zip(names, (alone, walled), (2.0, 20.0)):
            rows += [row | {"learner": name, "of": end} for row in lives([value] * 2, seed)]
    found = modules[0].claims(pandas.DataFrame(rows), kT).set_index("claim")["measured"]
    words = "runs of network alone, 16 times the steps live longer with a wall (life without over life with): 1 draw"
    assert found[words].split(" +- ")[0] == f"{np.exp(np.log([0.25, 0.2, 1.0]).mean()):.2f}"


def test_committed_results_carry_their_verdicts(modules):
    """Every claim has a row in the table of the README, with the numbers and verdicts that the results give now."""
    text = (PAPER / "README.md").read_text()
    section = text.split("## 7. ")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]
    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    assert table["seed"].nunique() >= 3
    found = modules[0].claims(table, kT)
    told = [f"{r.verdict}: {r.where}" if r.where else r.verdict for r in found.itertuples()]
    expected = [[r.claim, r.measured, r.expected, words] for r, words in zip(found.itertuples(), told)]
    assert len(found) >= 8 and rows[1:] == expected
