"""The five arms of the paper: what they learn from, what their runs count, and what is said of them."""

import numpy as np
import pandas
import pytest
from test_paper import PAPER, script

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.simulation.guard import closest_allowed

BUNDLED = PAPER.parent / "licl" / "licl.npz"
NAME = "03_five_arms"


@pytest.fixture(scope="module")
def modules():
    """The script, and the modules beside it."""
    with pytest.MonkeyPatch.context() as patch:
        main = script(NAME, patch)
        from arms import comparison, runs

        yield main, comparison, runs


@pytest.fixture(scope="module")
def quick(modules, tmp_path_factory):
    """The quick table, and where it lies."""
    output = tmp_path_factory.mktemp("arms")
    modules[0].main(["--quick", "--output", str(output)])
    return pandas.read_csv(output / f"{NAME}.csv"), output


def test_every_row_says_how_it_was_made_and_is_made_once(quick, modules, capsys):
    table, output = quick
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert set(table["arm"]) == {"500-forces", "500-diff", "500-aug-diff", "500-exact-pair"}
    for picture in (f"{NAME}.png", f"{NAME}_rdf.png"):
        assert (output / picture).stat().st_size > 50_000
    modules[0].main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("500-") and ": " in line]
    assert len(lines) == table["config"].nunique() and all("kept" in line for line in lines)


def test_arms_learn_and_walls_keep_their_runs(quick):
    table, _ = quick
    # The rms of the exact mean forces is 39 kJ/mol/nm (provenance of the data): an arm that learns nothing has this.
    assert (table["force error / kJ/mol/nm"] < 39).all()
    assert (table["finished with wall"] == table["runs"]).all()
    exact = table[(table["arm"] == "500-exact-pair") & (table["pair"] == "Li-Cl")].iloc[0]
    assert exact["survival"] == 1 and exact["force error / kJ/mol/nm"] < 20


def test_labels_are_as_noisy_as_published_and_the_same_in_every_arm(modules):
    _, arms, _ = modules
    frames = arms.frames_with_forces(BUNDLED)
    few, many = (arms.training_frames(frames, n, seed=3) for n in (100, 200))
    where = {tuple(x[0]): i for i, x in enumerate(many.positions)}
    rows = [where[tuple(x[0])] for x in few.positions]  # all of the few are among the many
    np.testing.assert_array_equal(few.forces, many.forces[rows])
    exact = {tuple(x[0]): force for x, force in zip(frames.positions, frames.forces)}
    noise = many.forces - np.array([exact[tuple(x[0])] for x in many.positions])
    # 0.349 and 0.249 eV/Angstrom, in kJ/mol/nm by CODATA: 1 eV = 96.48533 kJ/mol.
    for element, published in (("Li", 336.73), ("Cl", 240.25)):
        own = noise[:, np.array(frames.symbols) == element]
        assert abs(own.std() / published - 1) < 4 / np.sqrt(2 * own.size)
        assert abs(own.mean()) < 4 * published / np.sqrt(own.size)


def test_nobody_is_tested_on_a_run_he_learnt_from(modules):
    _, arms, _ = modules
    frames = Frames.load(BUNDLED)
    apart = set()
    for seed in range(4):
        rest, test = arms.divided(frames, seed)
        assert len(rest) + len(test) == len(frames)
        assert not set(rest.replica) & set(test.replica) and len(set(test.replica)) == 1
        apart |= set(test.replica)
    assert len(apart) > 1, "seeds must differ"


def test_a_copy_that_dies_harms_no_other_and_counts_no_longer(modules):
    _, _, runs = modules
    denoiser, frames = Denoiser.load("licl"), Frames.load(BUNDLED)
    starts = frames.positions[[0, 500, 1000]].astype(float)
    bad = starts.copy()
    bad[1, 1] = bad[1, 0] + [0.02, 0, 0]
    found, lives = runs.Copies(denoiser, bad, closest_allowed(denoiser), "python", 0).run(1.5, 0.4)
    assert lives[1] == pytest.approx(runs.LOOK * runs.TIMESTEP) and (lives[[0, 2]] == 1.5).all()
    assert found.replica.tolist() == [0, 0, 0, 2, 2, 2]
    # Same random numbers, same neighbours that are not felt: copy 0 goes the way it goes among healthy ones.
    whole, lives = runs.Copies(denoiser, starts, closest_allowed(denoiser), "python", 0).run(0.5, 0.4)
    assert (lives == 0.5).all() and whole.replica.tolist() == [0, 1, 2]
    np.testing.assert_allclose(whole.positions[0], found.positions[0], atol=1e-3)


def test_the_wall_changes_nothing_where_data_are(modules):
    _, arms, _ = modules
    denoiser = Denoiser.load("licl").subset(["coulomb", "pair"])
    model, radii = arms.walled(denoiser)
    frames = Frames.load(BUNDLED)[::100]
    np.testing.assert_allclose(model.forces(frames.positions), denoiser.forces(frames.positions), atol=1e-6)
    close = frames.positions[0].astype(float)
    r = radii[0, 1] - 0.01
    assert r > 0.1
    close[24] = close[0] + [r, 0, 0]
    push = (model.forces(close) - denoiser.forces(close))[24, 0]
    assert push == pytest.approx(2e5 * 0.01, rel=1e-3), "k (r_w - r), by the wall's definition"


def table_of(errors):
    """Rows as a full run leaves them, of force errors by arm (shape (n_seeds,)), at one noise level."""
    rows = []
    for arm, values in errors.items():
        for seed, value in enumerate(values):
            for pair in ("Li-Li", "Li-Cl", "Cl-Cl"):
                sigma = 0.0 if arm.endswith("forces") else 0.01
                rows.append(
                    {"arm": arm, "sigma / nm": sigma, "coulomb": True, "seed": seed, "pair": pair, "total": value / 100,
                     "learning": 0.0, "smoothing": 0.0, "force error / kJ/mol/nm": value, "slope": 1.0, "survival": 1.0,
                     "finished": 4, "runs": 4, "frames": 500, "pairs at the wall": 0.0, "contact": 1.0,
                     "contact of data": 1.0}
                )  # fmt: skip
    return pandas.DataFrame(rows)


@pytest.mark.parametrize(
    "few, expected",
    [((11.0, 11.2, 10.8), "holds"), ((31.0, 33.0, 31.0), "does not hold"), ((6, 18, 10), "not decided")],
)
def test_verdicts_follow_the_numbers(modules, few, expected):
    """Of three seeds: as good, three times as bad, and as good in the mean with a scatter of a half."""
    table = table_of({"500-aug-diff": few, "3000-forces": [10.5, 10.5, 10.5]})
    found = modules[0].claims(table).set_index("claim")
    row = found.loc["500-aug-diff is as good as 3000-forces, forces, with the Coulomb prior"]
    assert row["verdict"] == expected
    rest = np.log(np.array(few) / 10.5)
    ratio, error = np.exp(rest.mean()), np.exp(rest.mean()) * rest.std(ddof=1) / np.sqrt(3)
    assert row["ratio of errors"] == f"0.1 A: {ratio:.2f} +- {error:.2f}"


def test_frames_without_forces_are_refused(modules, tmp_path):
    frames = Frames.load(BUNDLED)[:4]
    Frames(frames.positions, frames.species, frames.box, 300.0).save(tmp_path / "bare.npz")
    with pytest.raises(ValueError, match="bare.npz has no forces"):
        modules[0].main(["--quick", "--output", str(tmp_path), str(tmp_path / "bare.npz")])


def test_too_few_frames_for_the_largest_arm_are_refused(modules, tmp_path):
    """The full setting needs 3,000 labels; the bundled file has 400."""
    with pytest.raises(ValueError, match="400 frames with forces in 26 replicas.* needs 3000"):
        modules[0].main(["--output", str(tmp_path), str(BUNDLED)])
    frames = Frames.load(BUNDLED)[:4]
    Frames(frames.positions, [11] * 24 + [17] * 24, frames.box, 300.0, frames.forces).save(tmp_path / "nacl.npz")
    with pytest.raises(ValueError, match="nacl.npz .*(Li and Cl|no forces)"):
        modules[0].main(["--quick", "--output", str(tmp_path), str(tmp_path / "nacl.npz")])


def test_committed_results_carry_their_verdicts(modules):
    """Every claim has a row in the table, with the ratios and verdicts that the results give now."""
    text = (PAPER / "README.md").read_text()
    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    compare(modules[0].claims(table), text[text.index("## 3.") : text.index("## 4.")])
    other = pandas.read_csv(PAPER / "results" / "seed-1" / f"{NAME}.csv")
    assert not set(table["seed"]) & set(other["seed"])
    both = pandas.concat([table, other])
    compare(modules[0].claims(both[both["coulomb"]]), text[text.index("### Five arms, six seeds") :])


def compare(found, section):
    """Claims, and a section of the README."""
    rows = {line.split(" | ")[0].lstrip("| "): line for line in section.splitlines() if line.startswith("| ")}
    assert len(found) >= 20
    for claim, ratios, verdict, where in found.itertuples(index=False):
        name, measure, prior = claim.rsplit(", ", 2)
        # Where all have the prior it is not said.
        row = rows.get(f"{name}, {prior}") or rows[name]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        place = {"forces": 1, "g(r)": 3}[measure]
        assert cells[place] == ", ".join(part.split(": ")[1] for part in ratios.split("; "))
        assert cells[place + 1] == (f"{verdict}: {where}" if where else verdict), claim
