"""Calibration and force errors of an evaluation, its one table and its picture."""

from typing import Literal

import numpy as np
import pytest

from openmm_diffusion import Denoiser, Frames
from openmm_diffusion.analysis.structure import first_minima
from openmm_diffusion.energies.pair import PairTerm
from openmm_diffusion.evaluation.calibration import calibration
from openmm_diffusion.evaluation.forces import compare_forces
from openmm_diffusion.evaluation.report import evaluate, kept_apart
from openmm_diffusion.figures import evaluation_figure


def test_shipped_model_is_calibrated_on_frames_it_has_not_seen(frames, denoiser):
    slope, error = calibration(denoiser, kept_apart(denoiser, frames))
    assert error < 0.04
    assert abs(slope - 1) < 3 * error + 0.02  # statistics, and what so few training frames leave over


def test_wrong_scale_shows_in_the_calibration(frames, denoiser):
    """Forces of a thermostat 2.3 % too cold (293.15 K for 300 K) have a slope 2.3 % too high."""
    part = kept_apart(denoiser, frames)[:100]
    right, _ = calibration(denoiser, part)
    cold = Denoiser.from_bytes(denoiser.to_bytes())
    cold.model.energy_weights = [w * 293.15 / 300 for w in cold.model.energy_weights]
    wrong, _ = calibration(cold, part)
    assert np.isclose(wrong / right, 300 / 293.15, rtol=1e-4)


def test_evaluation_uses_only_frames_kept_apart(frames, denoiser):
    test = kept_apart(denoiser, frames)
    assert 0 < len(test) < len(frames)
    _, held_out = frames.split(denoiser.header.data["test_fraction"], denoiser.header.data["seed"])
    assert np.array_equal(test.positions, held_out.positions)
    assert len(kept_apart(denoiser, frames[:100])) == 100, "other frames are used whole"


def test_force_errors_against_labels(frames, denoiser):
    """A few per cent of the variance of the forces is left unexplained, most of it the smoothing by sigma."""
    reference = kept_apart(denoiser, frames)
    errors = compare_forces(denoiser, reference, first_minima(reference)).rms()
    assert set(errors) == {"all", "labels", "Li", "Cl", "contact", "no contact"}
    assert errors["contact"] > 2 * errors["all"], "the steep wall is where the smoothing shows"
    assert 35 < errors["labels"] < 43, "kJ/mol/nm: the mean force of 2.4 M LiCl has an rms of 39"
    assert errors["all"] < 0.35 * errors["labels"]


def test_the_one_table_holds_everything_with_units(whole):
    table = whole.table
    assert not table.duplicated(["quantity", "of", "curve"]).any()
    assert set(table["unit"]) == {"1", "nm", "kJ/mol/nm", "(kJ/mol/nm)^2", "bar"}
    assert set(table["curve"]) == {"", "clean", "noised", "model"} and np.isfinite(table["value"]).all()
    named = {"g(r) RMSD, total", "second peak, height", "coordination number", "closest approach", "force RMSE"}
    named |= {"explained fraction", "label noise, at most", "calibration slope", "explained variance of targets"}
    assert named <= set(table["quantity"])
    # Of the frames and of MD: 2.4 M LiCl is an ideal solution within a third, which has 123 bar.
    pressure = table[table["quantity"] == "pressure"].set_index("curve")
    assert list(pressure.index) == ["", "model"] and set(pressure["of"]) == {"osmotic"}
    assert pressure["value"].between(100, 200).all() and (pressure["error"] < 20).all()
    assert any(note.startswith("pressure: ") and "osmotic pressure" in note for note in whole.notes)
    total = table[table["quantity"] == "g(r) RMSD, total"].set_index("of")["value"]
    assert np.allclose(total, whole.errors.set_index("pair")["total"])


def test_every_linear_kind_tells_its_scale_once(frames, denoiser):
    class Twin(PairTerm):
        kind: Literal["twin"] = "twin"

    pair = denoiser.subset(["pair"]).with_held_out({"twin_scale": 1.25, "network_scale": 2.0})
    (term,), modules = pair.header.terms, pair.modules()
    twin = Twin(**term.model_dump(exclude={"kind"}))
    result = evaluate(pair.rebuilt([term, twin, twin], [*modules, *modules, *modules]), frames[:20])
    assert result.scales == {"pair": denoiser.header.held_out["pair_scale"], "twin": 1.25}
    assert result.pair_scale == result.scales["pair"]
    rows = result.table[result.table["quantity"].str.startswith("scale")]
    parts = ["scale of the pair part, chosen in training", "scale of the twin part, chosen in training"]
    assert list(rows["quantity"]) == parts and list(rows["value"]) == list(result.scales.values())


def test_one_picture_of_what_there_is(whole, frames, denoiser, tmp_path):
    assert evaluation_figure(whole, tmp_path / "all.png", 0.005)
    assert (tmp_path / "all.png").stat().st_size > 50_000
    unlabelled = Frames(frames.positions[:20], frames.species, frames.box, 300)
    nothing = evaluate(denoiser.subset(("coulomb", "wall", "pair")), unlabelled)
    assert nothing.forces is None and len(nothing.table) == 4
    assert not evaluation_figure(nothing, tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def test_runs_shorter_than_what_is_discarded_are_refused(frames, denoiser, tmp_path):
    frames[:3].to_mdtraj().save(str(tmp_path / "t.dcd"))
    frames[:1].to_mdtraj().save(str(tmp_path / "t.pdb"))
    with pytest.raises(ValueError, match="has 3 frames and 25 are discarded"):
        evaluate(denoiser, frames, [tmp_path / "t.dcd"], tmp_path / "t.pdb", discard=5, interval=0.2)
    with pytest.raises(ValueError, match="interval is missing"):
        evaluate(denoiser, frames, [tmp_path / "t.dcd"], tmp_path / "t.pdb")
