"""Ethanol: frames that are taken, conformers, claims, and the quick run."""

import numpy as np
import pandas
import pytest
from test_paper import PAPER, of, script

from openmm_diffusion import Frames

NAME = "07_ethanol"


@pytest.fixture(scope="module")
def modules():
    """The script, and its frames and claims."""
    with pytest.MonkeyPatch.context() as patch:
        main = script(NAME, patch)
        from allatom.ethanol import claims, frames

        yield main, frames, claims


@pytest.fixture(scope="module")
def quick(modules, tmp_path_factory):
    """The quick table, and where it lies."""
    output = tmp_path_factory.mktemp("ethanol")
    modules[0].main(["--quick", "--output", str(output)])
    return pandas.read_csv(output / f"{NAME}.csv"), output


def test_every_row_says_how_it_was_made_and_is_made_once(quick, modules, capsys):
    table, output = quick
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert set(table["system"]) == {"ethanol, 300 K"}
    assert {"stiffness", "force error", "life", "held-out loss", "conformer"} <= set(table["quantity"])
    assert (output / f"{NAME}.png").stat().st_size > 50_000
    modules[0].main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if ": kept from" in line]
    assert len(lines) == table["config"].nunique()
    pandas.testing.assert_frame_equal(pandas.read_csv(output / f"{NAME}.csv"), table)


def test_linear_energies_know_forces_and_networks_of_few_steps_do_not(quick):
    table, _ = quick
    clean = of(table, quantity="force error", learner="linear alone", **{"sigma / nm": 0.0})
    assert (clean["value"] < 0.5 * clean["of"]).all()
    networks = of(table, quantity="force error", learner="network alone")
    assert networks["value"].min() > clean["value"].max()


def test_true_forces_have_the_stiffness_of_the_variance(quick):
    """(4.2) of docs/theory.md on the few frames: within what their number lets one know, sqrt(2/n) of a bond."""
    rows = of(quick[0], quantity="stiffness", learner="true forces")
    runs = rows.groupby("run")["ratio"].mean()
    assert abs(runs.mean() - 1) < 0.2


def test_conformers_of_known_angles(modules):
    found = modules[1].conformers(np.array([180.0, -170.0, 121.0, 60.0, -60.0, 119.0, 0.0]))
    np.testing.assert_array_equal(found.sum(1), 1)
    assert found.argmax(1).tolist() == [0, 0, 0, 1, 2, 1, 2]


def test_a_bent_molecule_has_the_angle_and_keeps_all_else(modules):
    frames = modules[1]
    x = Frames.load(frames.FEW).positions[:20].astype(float)
    for angle in (50.0, 107.0, 160.0):
        y = frames.bent(x, angle)
        np.testing.assert_allclose(frames.bend(y), angle, atol=0.01)
        length, before = (np.linalg.norm(z[:, 3] - z[:, 2], axis=-1) for z in (y, x))
        np.testing.assert_allclose(length, before, rtol=1e-9)
        # The plane, and with it C-C-O-H, stays.
        np.testing.assert_allclose(frames.dihedral(y), frames.dihedral(x), atol=0.05)
        np.testing.assert_array_equal(np.delete(y, 3, axis=1), np.delete(x, 3, axis=1))


def test_few_frames_are_ethanol_and_lie_in_both_gauche_minima(modules):
    frames = Frames.load(modules[1].FEW)
    assert modules[1].FEW.stat().st_size < 100_000 and frames.labelled.all()
    shares = modules[1].conformers(modules[1].dihedral(frames.positions)).mean(0)
    # Trans has some per cent, and gauche + is the mirror image of gauche -.
    assert (shares[1:] > 0.1).all() and shares[0] < 0.3


@pytest.mark.parametrize("wrong, told", [("none", "is not there: make it with"), ("water", "not ethanol at 300 K"),
                                         ("few", "give 4 or more")])  # fmt: skip
def test_frames_that_it_cannot_take_end_in_one_sentence(modules, wrong, told, tmp_path):
    main, ethanol, _ = modules
    frames = Frames.load(ethanol.FEW)
    if wrong == "few":
        frames[frames.replica < 2].save(tmp_path / "ethanol-300K.npz")
    elif wrong == "water":
        Frames(frames.positions[:, :3], [8, 1, 1], None, 300.0, frames.forces[:, :3]).save(
            tmp_path / "ethanol-300K.npz"
        )
    with pytest.raises(ValueError, match=told):
        main.main([str(tmp_path), "--output", str(tmp_path / "results")])
    assert not list((tmp_path / "results").glob("*.csv")), "nothing is computed before"


def rows_of(values, draws, fresh=False, system="ethanol, 300 K"):
    about = {"quantity": "life", "system": system, "learner": "network alone", "sigma / nm": 0.0016, "of": 20.0}
    return [
        about | {"seed": seed, "draws": draws, "fresh": fresh, "run": run, "value": value}
        for seed, each in enumerate(values) for run, value in enumerate(each)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "more, expected",
    [
        (([20.0] * 4, [20.0] * 4, [20.0] * 4), ("holds", "holds under conditions")),
        (([0.1] * 4, [0.12] * 4, [0.11] * 4), ("does not hold", "does not hold")),
    ],
)
def test_whether_duplication_stabilises_follows_the_numbers(modules, more, expected):
    one = [[0.2] * 4, [0.25] * 4, [0.22] * 4]
    table = pandas.DataFrame(rows_of(one, 1) + rows_of(more, 4))
    found = modules[2].claims(table.assign(set=None, kind=None)).set_index("claim")["verdict"]
    longer = (
        "300 K: runs of network alone live longer with more draws than with one (life with one over life with more)"
    )
    assert found[f"{longer}: 4 draws"] == expected[0]
    assert found["300 K: most runs of network alone live 20 ps"] == expected[1]


def test_a_population_agrees_only_where_conformers_interchange(modules):
    about = {"system": "ethanol, 300 K", "quantity": "conformer", "kind": "trans"}
    rows = [about | {"learner": "true forces", "set": "data", "value": 0.4, "error": 0.01}]
    for seed in range(3):
        own = about | {"learner": "linear alone", "sigma / nm": 0.0, "set": "model", "seed": seed}
        rows += [own | {"value": 0.41 + 0.01 * seed}]
        rows += [own | {"quantity": name, "value": 1.0} for name in ("width of bond", "width of angle")]
        rows += [own | {"quantity": "overlap of dihedral", "value": 0.95}]
    for crossings, expected in ((50, "holds"), (1, "not decided")):
        more = [{**about, "learner": "linear alone", "sigma / nm": 0.0, "set": "model", "quantity": "crossings",
                 "value": crossings, "seed": 0}]  # fmt: skip
        found = modules[2].claims(pandas.DataFrame(rows + more).assign(fresh=False, draws=np.inf, of=np.nan))
        row = found[found["claim"].str.contains("trans has the population")]
        assert row["verdict"].tolist() == [expected]


def test_committed_results_carry_their_verdicts(modules):
    """Every claim has a row in the table of the README, with the numbers and verdicts that the results give now."""
    section = (PAPER / "README.md").read_text().split("### Ethanol")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]
    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    assert table.loc[table["learner"] == "network alone", "seed"].nunique() >= 3
    found = modules[2].claims(table)
    told = [f"{r.verdict}: {r.where}" if r.where else r.verdict for r in found.itertuples()]
    expected = [[r.claim, r.measured, r.expected, words] for r, words in zip(found.itertuples(), told)]
    assert len(found) >= 8 and rows[1:] == expected
