"""Labels and draws together: who is learnt from, how labels are weighed, records, verdicts."""

import numpy as np
import pandas
import pytest
import torch
from test_paper import PAPER, of, script

from openmm_diffusion import Frames, train
from openmm_diffusion.learning.linear.forcematching import mixed
from openmm_diffusion.learning.linear.scorematching import mean_moments
from openmm_diffusion.units import thermal_energy

BUNDLED, NAME = PAPER.parent / "licl" / "licl.npz", "06_hybrid"
SIZES, FRACTIONS, BASIS = (40, 80), (0.0, 0.25, 1.0), {"cutoff": 0.5, "radial": 2, "lmax": 1}


@pytest.fixture(scope="module")
def modules():
    """The script, and the modules beside it."""
    with pytest.MonkeyPatch.context() as patch:
        main = script(NAME, patch)
        from hybrid import blends, linear, subsets, witnesses

        yield main, blends, linear, subsets, witnesses


@pytest.fixture(scope="module")
def quick(modules, tmp_path_factory):
    """The quick table, and where it lies."""
    output = tmp_path_factory.mktemp("hybrid")
    modules[0].main(["--quick", "--output", str(output)])
    return pandas.read_csv(output / f"{NAME}.csv"), output


@pytest.fixture(scope="module")
def small(modules):
    """Sets of some bundled frames, and the sums of both witnesses without noise."""
    _, _, linear, subsets, witnesses = modules
    given = subsets.subsets(BUNDLED, 5, SIZES, FRACTIONS)
    prior = linear.prior_of(given.frames)
    energy = linear.LinearSum(linear.energies_of(prior, 0.0, BASIS)[1])
    found = witnesses.Witnesses(energy, prior, given, 0.0, 5)
    found.draw()
    return given, energy, found


def test_every_row_says_how_it_was_made_and_is_made_once(quick, modules, capsys):
    table, output = quick
    assert table[["config", "seed", "frames", "steps", "wall / s"]].notna().all(axis=None)
    assert set(table["part"]) == {"linear, 0 nm", "linear, 0.005 nm", "md, 0 nm", "network"}
    assert (output / f"{NAME}.png").stat().st_size > 50_000
    modules[0].main(["--quick", "--output", str(output)])
    lines = [line for line in capsys.readouterr().out.splitlines() if ": kept from" in line]
    assert len(lines) == table["config"].nunique()
    pandas.testing.assert_frame_equal(pandas.read_csv(output / f"{NAME}.csv"), table)


def test_labels_make_forces_better_and_noise_makes_them_worse(quick):
    table, _ = quick
    linear = table[table["part"].str.startswith("linear")]
    # The rms of the exact mean forces is 39 kJ/mol/nm (provenance of the data): a model that learns nothing has this.
    assert (linear["force error / kJ/mol/nm"] < 39).all()
    n = linear["n"].max()
    errors = (
        of(linear, n=n)
        .groupby(["sigma / nm", "draws", "labels", "fraction", "strategy"])["force error / kJ/mol/nm"]
        .mean()
    )
    bare = errors[0.0, np.inf, "none", 0.0, "positions alone"]
    assert errors[0.0, np.inf, "averaged", 1.0, "package"] < 0.8 * bare
    # Labels have noise of 240 to 340 kJ/mol/nm: alone, each coefficient sees ten times that of labels of a tenth.
    alone = [errors[0.0, np.inf, kind, 1.0, "labels alone"] for kind in ("instantaneous", "averaged")]
    assert alone[0] > 1.3 * alone[1]
    # Labels of one draw have noise of 500 kJ/mol/nm at 0.005 nm.
    assert errors[0.005, 1, "none", 0.0, "positions alone"] > 1.3 * bare


def test_sets_are_nested_and_nobody_is_tested_on_a_run_he_learnt_from(small, modules):
    given, *_ = small
    subsets = modules[3]
    assert not set(given.frames.replica) & set(given.tests.replica)
    for tier, n in enumerate(SIZES):
        of_size = given.size <= tier
        assert of_size.sum() == n and of_size[:n].all()
        for place, fraction in enumerate(FRACTIONS[1:]):
            assert (given.share[of_size] <= place).sum() == round(fraction * n)
    other = subsets.subsets(BUNDLED, 5, SIZES[:1], FRACTIONS)
    np.testing.assert_array_equal(other.frames.positions, given.frames.positions[: SIZES[0]])
    exact = {tuple(x[0]): force for x, force in zip(given.all.positions, given.all.forces)}
    truth = np.array([exact[tuple(x[0])] for x in given.frames.positions])
    noise = {name: labels - truth for name, labels in given.labels.items()}
    np.testing.assert_allclose(noise["averaged"], 0.1 * noise["instantaneous"], atol=1e-4)
    # 0.349 and 0.249 eV/Angstrom, in kJ/mol/nm by CODATA: 1 eV = 96.48533 kJ/mol.
    for element, published in (("Li", 336.73), ("Cl", 240.25)):
        own = noise["instantaneous"][:, np.array(given.all.symbols) == element]
        assert abs(own.std() / published - 1) < 4 / np.sqrt(2 * own.size)


def test_too_few_frames_are_refused(modules, tmp_path):
    with pytest.raises(ValueError, match="leaves 2.. frames with forces .* the largest set has 1000"):
        modules[3].subsets(BUNDLED, 0, (250, 1000), FRACTIONS)
    bare = Frames.load(BUNDLED)[:4]
    Frames(bare.positions, bare.species, bare.box, 300.0).save(tmp_path / "bare.npz")
    with pytest.raises(ValueError, match="bare.npz .*no forces"):
        modules[0].main(["--quick", "--output", str(tmp_path), str(tmp_path / "bare.npz")])


def test_the_exact_fit_without_labels_is_that_of_the_package(small, modules):
    _, blends, linear, *_ = modules
    given, _, found = small
    frames = given.frames
    prior = linear.prior_of(frames)
    _, energies, settings = linear.energies_of(prior, 0.0, BASIS)
    energy = linear.LinearSum(energies)
    blends.fitted(energy, found.parts(1, 0, "averaged"), settings, blends.POSITIONS)
    bare = Frames(frames.positions, frames.species, frames.box, frames.temperature, replica=frames.replica)
    sections = {"pair": {"sigma": 0, "folds": linear.FOLDS}, "manybody": {"sigma": 0, "folds": linear.FOLDS, **BASIS}}
    prior_config = {"coulomb": linear.COULOMB, "wall": None}
    config = {"data": {"test_fraction": 0, "validation_fraction": 0}, "prior": prior_config, "network": None}
    denoiser = train(bare, config | sections, progress=False)
    theirs = torch.cat([module.coefficients.flatten() for module in denoiser.modules()[-2:]])
    assert float(theirs.abs().max()) > 1
    torch.testing.assert_close(energy.coefficients, theirs, rtol=1e-6, atol=1e-6)


def test_the_package_is_one_of_the_blends(small, modules):
    given, _, found = small
    parts, weights = found.parts(1, 1, "instantaneous"), np.array([0.3, 0.6])
    # The package weighs sums over all frames and over labelled ones: the same, with u = 1 - w.
    theirs = mean_moments(mixed([part.moments() for part in parts], weights))
    ours = mean_moments(modules[1].blended(parts, weights, 1 - weights))
    for one, other in zip(ours, theirs):
        scale = (one * other).sum() / (other * other).sum()
        torch.testing.assert_close(one, scale * other, rtol=1e-10, atol=1e-8)
    scales = [float((one * other).sum() / (other * other).sum()) for one, other in zip(ours, theirs)]
    assert scales[0] == pytest.approx(scales[1])


def test_labels_and_positions_are_two_witnesses_of_one_force(modules):
    """With many frames both have the same mean: on 280 frames they agree within their scatter over replicas."""
    _, _, linear, subsets, witnesses = modules
    given = subsets.subsets(BUNDLED, 1, (280,), (1.0,))
    prior = linear.prior_of(given.frames)
    energy = linear.LinearSum(linear.energies_of(prior, 0.005, BASIS)[1])
    for sigma in (0.0, 0.005):
        found = witnesses.Witnesses(energy, prior, given, sigma, 3)
        for _ in range(2 if sigma else 1):
            found.draw()
        parts = [part.labelled for part in found.parts(0, 1, "averaged")]
        off = torch.stack([(noise - label).sum(0) for _, noise, label, _ in parts])
        # Functions that few replicas hold anything of have no normal scatter; those that do not vanish at the cutoff
        # are not fitted, and of them the sums differ by what the partial integration misses there.
        known = ((off != 0).double().mean(0) > 0.8) & energy.free()
        z = (off.sum(0) / (off.std(0) * len(off) ** 0.5))[known].abs()
        assert len(z) > 50 and float(z.median()) < 1.2 and float((z > 4).double().mean()) < 0.02


def test_weights_leave_the_summed_pull_the_least_variance(modules):
    """Of frames of which a part has labels, for every covariance of the two pulls."""
    blends, rng = modules[1], np.random.default_rng(2)
    for _ in range(20):
        root = rng.normal(size=(2, 2))
        V = root @ root.T + 0.1 * np.eye(2)
        w, u = (float(x[0]) for x in blends.least_variance(V[None]))
        few, rest = rng.integers(1, 100, 2)

        def variance(w, u, V=V, few=few, rest=rest):
            mixture = np.array([1 - w, w])
            return (few * mixture @ V @ mixture + rest * u**2 * V[0, 0]) / (few + rest * u) ** 2

        inside = 0 < w < 1 and u < 1
        for dw, du in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
            if inside:
                assert variance(w + dw, u + du) > variance(w, u)
    # Independent pulls: the package's.
    w, u = blends.least_variance(np.array([np.diag([3.0, 1.0])]))
    np.testing.assert_allclose([w[0], u[0]], [0.75, 0.25])


def test_weights_by_targets_are_those_of_their_variances(modules):
    kT, sigma = thermal_energy(300), 0.005
    labels = kT / sigma * np.random.default_rng(0).normal(size=(4000, 2, 3)) * np.array([1.0, 2.0])[:, None]
    weights = modules[1].by_targets(labels, np.array([0, 1]), sigma, kT)
    # Variances 1 and 4 beside 1; a mean square of 12,000 numbers is known to 1.3 %.
    np.testing.assert_allclose(weights, [1 / 2, 1 / 5], rtol=0.03)
    assert (modules[1].by_targets(labels, np.array([0, 1]), 0.0, kT) == 1).all()


def test_more_draws_leave_less_noise_of_labels(modules):
    """The sums of m draws scatter about the mean over all draws by 1 / sqrt(m)."""
    _, _, linear, subsets, witnesses = modules
    given = subsets.subsets(BUNDLED, 2, (60,), (1.0,))
    prior = linear.prior_of(given.frames)
    energy = linear.LinearSum(linear.energies_of(prior, 0.002, BASIS)[1])
    found = witnesses.Witnesses(energy, prior, given, 0.002, 3)
    off = []
    for m in (1, 16):
        while found.draws < m:
            found.draw()
        off.append(float(((found.drawn - found.score) / m).square().sum().sqrt()))
    assert off[0] / off[1] == pytest.approx(4, rel=0.2)


def rows_of(errors, **values):
    """Rows of force errors by seed as a full run leaves them."""
    about = {"part": "linear, 0 nm", "learner": "linear", "sigma / nm": 0.0, "draws": np.inf, "n": 500, "fraction": 0.0,
             "labels": "none", "strategy": "positions alone", "g(r) error": np.nan, "survival": np.nan}  # fmt: skip
    return [about | values | {"seed": seed, "force error / kJ/mol/nm": e} for seed, e in enumerate(errors)]


@pytest.mark.parametrize(
    "with_labels, expected",
    [((7.0, 7.1, 6.9), "holds"), ((12.0, 12.1, 11.8), "does not hold"), ((5.0, 14.0, 9.0), "not decided")],
)
def test_verdicts_follow_the_numbers(modules, with_labels, expected):
    rows = rows_of([10.0, 10.2, 9.9])
    rows += rows_of(with_labels, fraction=1.0, labels="averaged", strategy="package")
    found = modules[0].claims(pandas.DataFrame(rows)).set_index("claim")
    row = found.loc[
        "no noise: averaged labels of 100 % of the frames beside positions are better than positions alone: 500 frames"
    ]
    assert row["verdict"] == expected
    rest = np.log(np.array(with_labels) / [10.0, 10.2, 9.9])
    ratio, error = np.exp(rest.mean()), np.exp(rest.mean()) * rest.std(ddof=1) / np.sqrt(3)
    assert row["ratio"] == f"{ratio:.2f} +- {error:.2f}"


def test_committed_results_carry_their_verdicts(modules):
    """Every claim has a row in the table, with the ratios and verdicts that the results give now."""
    text = (PAPER / "README.md").read_text()
    section = text.split("## 6. ")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]
    table = pandas.read_csv(PAPER / "results" / f"{NAME}.csv")
    assert table["seed"].nunique() >= 3
    found = modules[0].claims(table)
    expected = [[r.claim, r.ratio, f"{r.verdict}: {r.where}" if r.where else r.verdict] for r in found.itertuples()]
    assert len(found) >= 25 and rows[1:] == expected
