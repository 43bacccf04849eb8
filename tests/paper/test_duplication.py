"""The paper's data duplication, in its quick setting: closed forms, limits, laws, records."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from test_paper import PAPER, of, script

from openmm_diffusion import Frames
from openmm_diffusion.units import thermal_energy

KT, WIDTH = thermal_energy(300), 0.03


@pytest.fixture(scope="module")
def wells():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PAPER)
        from duplication import wells

        yield wells


@pytest.fixture(scope="module")
def law():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PAPER)
        from duplication import law

        yield law


@pytest.fixture(scope="module")
def judging():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PAPER)
        from duplication import claims

        yield claims


@pytest.fixture(scope="module")
def duplication(tmp_path_factory):
    """04_duplication.py, its quick table and where it lies."""
    output = tmp_path_factory.mktemp("duplication")
    with pytest.MonkeyPatch.context() as patch:
        module = script("04_duplication", patch)
        module.main(["--quick", "--output", str(output)])
        yield module, pandas.read_csv(output / "04_duplication.csv"), output


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.03, 0.05])
def test_draws_stop_to_pay_where_quadrature_says(wells, sigma):
    nodes, weight = np.polynomial.hermite_e.hermegauss(12)
    weight = weight / weight.sum()
    x, eps = WIDTH * nodes[:, None], nodes[None]
    y = x + sigma * eps
    residual = y * (-KT * eps / sigma + KT / (WIDTH**2 + sigma**2) * y)
    mean = residual @ weight
    frames, label = weight @ mean**2, weight @ ((residual - mean[:, None]) ** 2 @ weight)
    assert wells.threshold(sigma) == pytest.approx(label / frames, rel=1e-9)
    pair = (residual + residual[:, ::-1]) / 2
    assert wells.threshold(sigma, True) == pytest.approx(
        weight @ ((pair - mean[:, None]) ** 2 @ weight) / frames, rel=1e-9
    )
    # Least squares: the variance of the mean residual over <y^2>^2, beside k_eff^2, for one coordinate.
    relative = (frames + label) / (weight @ (y**2 @ weight)) ** 2 / (KT / (WIDTH**2 + sigma**2)) ** 2
    assert wells.spring_variance(sigma, 1 / wells.COORDINATES, 1) == pytest.approx(relative, rel=1e-9)


@pytest.mark.parametrize("count", [2, 3])
def test_force_of_the_three_wells_is_that_of_their_convolved_density(wells, count):
    sigma, x, y = 0.02, np.arange(-0.5, 0.8, 1e-4), np.arange(-0.15, 0.45, 0.01)
    p = sum(np.exp(-((x - centre) ** 2) / 2 / WIDTH**2) for centre in (-0.07, 0.07, 0.33)[:count])
    kernel = p * np.exp(-((y[:, None] - x) ** 2) / 2 / sigma**2)
    force = KT * (kernel * (x - y[:, None])).sum(1) / kernel.sum(1) / sigma**2
    np.testing.assert_allclose(wells.exact_force(y, sigma, count), force, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(np.sum(wells.density(x, sigma, count)) * 1e-4, 1, rtol=1e-6)


def test_kernel_density_and_spline_are_the_limits_of_many_draws(wells):
    x, sigma, y, h = np.array([-0.05, 0.0, 0.08]), 0.03, np.arange(-0.1, 0.15, 0.01), 1e-5

    def log_density(at):
        return np.log(np.exp(-((at[:, None] - x) ** 2) / 2 / sigma**2).sum(1))

    slope = KT * (log_density(y + h) - log_density(y - h)) / (2 * h)
    np.testing.assert_allclose(wells.kernel_force(y, x, sigma), slope, atol=1e-3)
    limit = wells.spline_force(y, x, sigma, np.inf, 0)
    many = np.array([wells.spline_force(y, x, sigma, 20_000, seed) for seed in range(8)])
    error = many.std(0, ddof=1) / np.sqrt(8)
    assert (abs(many.mean(0) - limit) < 5 * error + 0.02).all()
    # What is learnt is the kernel density of three frames, as far as knots 0.015 nm apart can follow it.
    size, truth = np.abs(slope).max(), wells.exact_force(y, sigma)
    assert np.sqrt(np.mean((limit - slope) ** 2)) < 0.1 * size < np.sqrt(np.mean((slope - truth) ** 2))


def test_law_is_found_in_its_own_numbers(law):
    n, m = np.array([500, 250, 500, 31]), np.array([1, 2, np.inf, np.inf])
    value = law.predicted(n, m, 3.0, 40.0, 2000)
    np.testing.assert_allclose(law.solve(n, m, value, 2000), [3, 40], rtol=1e-6)
    assert value[0] == pytest.approx(3 * (1 / 500 - 1 / 2000) + 40 / 500)
    # Errors of 31 frames are outside the fit, and three times too large.
    seen = value * np.array([1, 1, 1, 3])
    wide = pandas.DataFrame({"n": n, "m": m, "value": seen, "division": 0, "pool": 2000})
    rows = pandas.concat([wide.assign(set=k, value=seen * f) for k, f in enumerate((0.9, 1.0, 1.1))])
    found = law.licl_law(rows)
    assert found["m*"] == pytest.approx(40 / 3, rel=1e-6) and found["error"] < 1e-3, "sets differ by a factor alone"
    assert found["beyond"] == pytest.approx(3, rel=1e-6) and found["largest deviation"] < 1e-6
    # Leaving one of three out: the standard error of a mean of 0.9, 1 and 1.1.
    assert found["B error"] == pytest.approx(40 * 0.1 / np.sqrt(3), rel=1e-3)
    ratio, error = law.ratio(rows, (250, 2), (500, 1))
    assert ratio == pytest.approx(np.sqrt(value[1] / value[0])) and error < 1e-6


def test_draws_are_single_or_pairs(monkeypatch):
    monkeypatch.syspath_prepend(PAPER)
    from protocol.draws import labelled

    rng = np.random.default_rng(0)
    frames = Frames(rng.normal(size=(5, 40, 3)), [18] * 40, None, 300.0)
    for draws, antithetic, copies in ((0, True, 1), (3, True, 6), (3, False, 3), (1, False, 1)):
        made = labelled(frames, 0.01, draws, 1, antithetic)
        assert len(made) == 5 * copies
        eps = (made.positions.reshape(copies, 5, 40, 3) - frames.positions) / 0.01
        np.testing.assert_allclose(made.forces.reshape(eps.shape), -KT * eps / 0.01, atol=0.05)
        if copies > 1:
            pairs = np.corrcoef(eps.reshape(copies, -1))[0, 1:]
            expected = [-1.0 * (antithetic and k == draws - 1) for k in range(copies - 1)]
            np.testing.assert_allclose(pairs, expected, atol=4 / np.sqrt(600) + 1e-3)


def test_frames_are_an_argument_where_a_script_reads_some(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PAPER)
    from protocol.records import parse

    given = ["--output", str(tmp_path)]
    assert parse("", given, Path("a.npz")).frames == Path("a.npz")
    assert parse("", ["b.npz", *given], Path("a.npz")).frames == Path("b.npz")
    assert not hasattr(parse("", given), "frames")


def test_learnt_springs_have_the_variance_of_the_closed_form(duplication):
    module, table, _ = duplication
    rows = of(table, system="spring")
    z = (rows["value"] - rows["expected"]) / rows["error"]
    assert (abs(z) < 4).all() and (rows["error"] < 0.1 * rows["value"]).all()
    found = of(module.laws(table), system="spring", learner="single draws").set_index("sigma / nm")
    for sigma, closed in ((0.005, (36 + 1 / 36) / 2), (0.0265, (1.2816 + 0.7803) / 2)):
        assert abs(found["m*"][sigma] - closed) < 4 * found["error"][sigma]
    assert found["m*"][0.005] > 4 * found["m*"][0.0265]


def test_no_number_of_draws_replaces_a_visit(duplication):
    _, table, _ = duplication
    rows = of(table, quantity="error in the third well, visited").set_index(["sigma / nm", "visits", "m"])
    for sigma in (0.01, 0.0265):
        unvisited, visited = rows.loc[(sigma, 0, np.inf)], rows.loc[(sigma, 16, np.inf)]
        assert unvisited["value"] - 4 * unvisited["error"] > 1, "worse than no force"
        assert visited["value"] + 4 * visited["error"] < 1
        single = rows.loc[(sigma, 16, 1)]
        assert visited["value"] < single["value"] - 4 * single["error"], "where frames are, draws help"


def test_labels_on_licl_have_the_variance_of_theory(duplication):
    module, table, _ = duplication
    rows = of(table, quantity="squared learning error", learner="single draws, fixed penalty")
    for sigma in (0.005, 0.0265):
        level, theory = of(rows, **{"sigma / nm": sigma}), of(table, quantity="B, theory", **{"sigma / nm": sigma})
        # From 160 frames with one draw to the same with four, three quarters of B / 160 go away.
        sets = level.pivot_table(index="set", columns=["n", "m"], values="value")
        gain = 160 / 0.75 * (sets[160.0, 1.0] - sets[160.0, 4.0])
        expected = theory["value"].iloc[0]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        # Linear theory, of 60 frames with 4 draws, is itself known to a few per cent.
        assert abs(gain.mean() - expected) < 4 * error + 0.1 * expected
        assert gain.mean() > 3 * error, "else nothing was gained"
        # A label is less noisy than (kT/sigma)^2 where the potential is stiff.
        leading = of(table, quantity="B, leading order", **{"sigma / nm": sigma})["value"].iloc[0]
        assert 0.5 * leading < expected < leading


def test_networks_of_all_divisions_are_compared(duplication):
    module, table, _ = duplication
    rows = of(table, learner="network", quantity="squared total error")
    assert set(zip(rows["n"], rows["m"])) == {(160, 1), (40, 4), (160, 4)}
    # With no force but that of the prior the error is 40 kJ/mol/nm.
    assert (np.sqrt(rows["value"]) < 38.5).all()
    found = module.claims(table)
    assert found["claim"].str.startswith("LiCl, network").sum() == 2


def test_every_row_says_how_it_was_made_and_is_made_once(duplication, capsys):
    module, table, output = duplication
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert (output / "04_duplication.png").stat().st_size > 50_000
    module.main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("spring:", "licl:", "wells:"))]
    assert len(lines) > 5 and all("kept" in line for line in lines)
    pandas.testing.assert_frame_equal(pandas.read_csv(output / "04_duplication.csv"), table)


def test_committed_results_carry_their_verdicts(judging):
    claims = judging.claims(pandas.read_csv(PAPER / "results" / "04_duplication.csv"))
    section = (PAPER / "README.md").read_text().split("## 4. ")[1].split("\n## ")[0]
    last = [line.strip("| ").rsplit("|", 1)[-1].strip() for line in section.splitlines() if line.startswith("| ")]
    told = [text for text in last if text != "verdict"]
    # Claim by claim the verdict, and where it holds or is not decided; words of the README's own may follow.
    expected = [
        f"{verdict}: {where}" if where else verdict for verdict, where in claims[["verdict", "where"]].to_numpy()
    ]
    assert [text[: len(begin)] for text, begin in zip(told, expected, strict=True)] == expected
    assert [text.split(":")[0].split(";")[0] for text in told] == list(claims["verdict"])
    assert set(claims["verdict"]) == {"holds", "holds under conditions", "does not hold"}


@pytest.mark.parametrize(
    "found, verdict, where",
    [
        ([(1.0, 0.04), (1.07, 0.01)], "holds", ""),
        ([(1.0, 0.3), (1.09, 3.0)], "not decided", ""),
        ([(1.0, 0.0), (1.17, 0.11), (1.37, 0.11)], "holds under conditions", "2 draws; not decided at 4 draws"),
        ([(1.2, 0.2), (1.4, 0.1)], "does not hold", "not decided at 2 draws"),
        ([(1.2, 0.2), (1.5, 0.5)], "not decided", ""),
    ],
)
def test_an_error_as_large_as_the_excess_decides_nothing(judging, found, verdict, where):
    assert judging.bounded(found, 1.1, [2, 4, 8][: len(found)], "draws", 100) == (verdict, where)


@pytest.mark.parametrize("deviation, beyond", [(0.27, 1.0), (0.1, 1.8), (0.1, 0.7)])
def test_a_law_that_is_off_by_more_than_a_fifth_does_not_hold(judging, deviation, beyond):
    table = pandas.read_csv(PAPER / "results" / "04_duplication.csv")
    law = judging.laws(table).query("system == 'LiCl'").assign(**{"largest deviation": 0.1, "beyond": 1.1})
    level = law["sigma / nm"] == 0.005
    law.loc[level, "largest deviation"], law.loc[level, "beyond"] = deviation, beyond
    # B of theory, known to 5 %; at one level twice that.
    theory = of(table, quantity="B, theory").groupby("sigma / nm")["value"].mean()
    law["B"] = law["sigma / nm"].map(theory) * np.where(level, 2, 1)
    law["B error"] = 0.05 * law["B"]
    found = []
    judging.labels(table, law, lambda *row: found.append(row))
    for row in (found[0], found[1], found[2]):
        assert row[3:] == ("holds under conditions", "0.02, 0.1, 0.265 A")
    # Known badly at that level, it is neither seen to be off nor to be right.
    law["B error"] = np.where(level, 1, 0.05) * law["B"]
    found.clear()
    judging.labels(table, law, lambda *row: found.append(row))
    assert found[2][3:] == ("holds under conditions", "0.02, 0.1, 0.265 A; not decided at 0.05 A")


LIMITED = {
    "no forces": dict(forces=None),
    "forces, or none in some replica": dict(forces=np.concatenate([np.ones((2, 4, 3)), np.full((2, 4, 3), np.nan)])),
    "no periodic box": dict(box=None),
    "one replica": dict(replica=None),
    "Cl and Na": dict(species=[11, 11, 17, 17]),
}


@pytest.mark.parametrize("words", LIMITED)
def test_frames_that_lack_something_are_refused_before_anything_is_computed(tmp_path, monkeypatch, words):
    fields = dict(species=[3, 3, 17, 17], box=2 * np.eye(3), forces=np.ones((4, 4, 3)), replica=[0, 0, 1, 1])
    positions = np.random.default_rng(0).uniform(0, 2, (4, 4, 3))
    Frames(positions, temperature=300.0, **(fields | LIMITED[words])).save(tmp_path / "some.npz")
    with pytest.raises(ValueError, match=rf"some\.npz has .*{words}.*: give a file of LiCl frames"):
        script("04_duplication", monkeypatch).main([str(tmp_path / "some.npz"), "--quick", "--output", str(tmp_path)])
    assert not (tmp_path / "04_duplication.csv").exists()
    Frames(positions, temperature=300.0, **fields).save(tmp_path / "all.npz")
    from protocol.licl import ion_frames

    assert len(ion_frames(tmp_path / "all.npz")) == 4
