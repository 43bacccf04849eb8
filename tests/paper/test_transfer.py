"""Forces away from their data: divisions, sums of forces, what is measured there, records, verdicts."""

import numpy as np
import pandas
import pytest
from test_paper import PAPER, script

from openmm_diffusion import Denoiser

NAME = "08_transfer"


@pytest.fixture(scope="module")
def modules():
    """The script, and the modules beside it."""
    with pytest.MonkeyPatch.context() as patch:
        main = script(NAME, patch)
        from transfer import claims, measure, states

        yield main, claims, measure, states


@pytest.fixture(scope="module")
def quick(modules, tmp_path_factory):
    """The quick table, where it lies, and where its frames do."""
    output, runs = (tmp_path_factory.mktemp(name) for name in ("results", "runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENMM_CPU_THREADS", "1")
        modules[0].main([str(runs), "--quick", "--output", str(output)])
    return pandas.read_csv(output / f"{NAME}.csv"), output, runs


def water(modules, runs):
    """One-bead water of the quick run, its frames and its fits."""
    main, _, _, states = modules
    return states.Sources(runs / "quick", main.SETTINGS[True]["liquids"][0])


def test_every_row_says_how_it_was_made_and_is_made_once(quick, modules, capsys):
    table, output, runs = quick
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert set(table["part"]) == {"fit", "force", "md"}
    assert (output / f"{NAME}.png").stat().st_size > 50_000
    modules[0].main([str(runs), "--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if ": kept from" in line]
    assert len(lines) == table["config"].nunique()
    pandas.testing.assert_frame_equal(pandas.read_csv(output / f"{NAME}.csv"), table)


def test_the_own_force_is_off_itself_by_nothing_and_others_by_something(quick):
    table, _, _ = quick
    own, others = (table[(table["part"] == "force") & (table["kind"] == kind)] for kind in ("own", "another's"))
    assert (own[["off own", "excess"]] == 0).all(axis=None)
    assert (others["off own"] > 0).all()
    near = others[others["liquid"] == "water"]  # so few ions tell nothing
    assert (near["off own"] < near["force"]).all()
    md = table[(table["part"] == "md") & (table["kind"] == "own")]
    assert (md["off own"] == 0).all() and (md["g(r) error"] > 0).all() and (md["survival"] == 1).all()


def test_runs_apart_are_the_same_in_every_state_and_take_no_part(quick, modules):
    sources = water(modules, quick[2])
    first, second = sources.liquid.states
    for seed in (0, 1):
        seen, tests = sources.divided(first, seed)
        assert not set(seen.replica) & set(tests.replica)
        assert len(seen) + len(tests) == len(sources.frames(first)) == 45
        assert set(tests.replica) == set(sources.divided(second, seed)[1].replica)
    assert sources.fitted((first,), 0).header.data["digest"] == sources.divided(first, 0)[0].digest()


def test_one_long_run_is_cut_into_stretches(quick, modules, tmp_path):
    _, _, _, states = modules
    sources = water(modules, quick[2])
    first = next(iter(sources.liquid.states))
    frames = sources.frames(first)
    path = tmp_path / "one.npz"
    frames[frames.replica == 0].save(path)
    cut = states.Sources(tmp_path, sources.liquid, {first: path}).frames(first)
    assert len(np.unique(cut.replica)) == sources.liquid.about["runs"] and (np.diff(cut.replica) >= 0).all()
    np.testing.assert_array_equal(cut.positions, frames.positions[frames.replica == 0])


def test_a_weighted_sum_is_the_sum_of_forces(quick, modules):
    """Of two fits, and in another state, whose particles, box and temperature it takes without another force."""
    _, _, measure, _ = modules
    sources = water(modules, quick[2])
    tests = sources.divided("360 K", 0)[1][:3]
    forces = [measure.of(sources.fitted((state,), 0), tests) for state in ("300 K", "360 K")]
    found = list(measure.models(sources, "360 K", 0))
    assert [(kind, source) for kind, source, _ in found] == [
        ("own", "360 K"), ("another's", "300 K"), ("another's, scaled", "300 K"),
        ("all states at once", "300 K + 360 K"),
    ]  # fmt: skip
    np.testing.assert_allclose(measure.of(found[2][2], tests), 1.2 * forces[0], rtol=1e-5, atol=1e-3)
    line = measure.weighted([sources.fitted((state,), 0) for state in ("300 K", "360 K")], [-0.5, 1.5])
    expected = 1.5 * forces[1] - 0.5 * forces[0]
    np.testing.assert_allclose(measure.of(line, tests), expected, rtol=1e-5, atol=1e-3)
    there = measure.placed(line, tests)
    assert isinstance(there, Denoiser) and there.header.temperature == 360
    np.testing.assert_allclose(there.forces(tests.positions, tests.boxes), expected, rtol=1e-5, atol=1e-3)


def rows_of(target, kind, source, errors, off=0.0):
    about = {"part": "md", "liquid": "water", "target": target, "kind": kind, "source": source}
    return [about | {"seed": seed, "g(r) error": e, "off own": off} for seed, e in enumerate(errors)]


@pytest.mark.parametrize(
    "errors, expected",
    [((0.03, 0.031, 0.029), "holds"), ((0.05, 0.051, 0.049), "does not hold"), ((0.02, 0.06, 0.03), "not decided")],
)
def test_verdicts_follow_the_numbers(modules, errors, expected):
    rows = rows_of("300 K", "own", "300 K", (0.03, 0.031, 0.029)) + rows_of("300 K", "another's", "360 K", errors)
    found = modules[1].claims(pandas.DataFrame(rows))
    (row,) = found.itertuples()
    assert row.claim == (
        "water, 60 K away: the g(r) under another state's force is as good as under the own: 360 K at 300 K"
    )
    assert row.verdict == expected


def test_reach_is_where_both_errors_together_are_a_tenth_larger(modules):
    _, claims, _, _ = modules
    rows = rows_of("300 K", "own", "300 K", (0.03,))
    for target, source, off in (("300 K", "360 K", 0.06), ("300 K", "330 K", 0.03), ("360 K", "300 K", 0.06)):
        rows += rows_of(target, "another's", source, (0.1,), off)
    (found,) = claims.reach(pandas.DataFrame(rows)).itertuples()
    assert found.slope == pytest.approx(1e-3) and found.own == pytest.approx(0.03)
    assert np.hypot(found.own, found.slope * found.reach) == pytest.approx(1.1 * found.own)


def test_committed_results_carry_their_verdicts(modules):
    """Every claim has a row in the table of the README, with the numbers and verdicts that the results give now."""
    section = (PAPER / "README.md").read_text().split("## 8. ")[1].split("\n## ")[0]
    lines = section.split("| claim ")[1].split("\n\n")[0].splitlines()[2:]
    told = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    assert table.loc[table["part"] == "md", "seed"].nunique() >= 3
    found = modules[1].claims(table[table["part"] != "fit"])
    expected = [[r.claim, r.ratio, f"{r.verdict}: {r.where}" if r.where else r.verdict] for r in found.itertuples()]
    assert len(found) >= 10 and told == expected
