"""What is written of an evaluation: files, pictures, and a table for people."""

import pandas

from openmm_diffusion import evaluate
from openmm_diffusion.analysis.comparison import compare_rdf
from openmm_diffusion.evaluation.tables import readable, write
from openmm_diffusion.figures import loss_figure, rdf_figure


def test_tables_and_pictures_are_written(frames, denoiser, tmp_path):
    errors, curves, peaks = compare_rdf(frames[:200], frames[200:400], 0.005)
    result = evaluate(denoiser, frames[:50])
    result.errors, result.rdf, result.peaks = errors, curves, peaks
    write(result, tmp_path)
    rdf_figure(curves, tmp_path / "rdf.png", 0.005)
    columns = {
        "errors": ["pair", "learning", "smoothing", "reference", "total"],
        "peaks": ["pair", "curve", "r_nm", "height", "error"],
        "summary": ["quantity", "unit", "value", "error"],
        "evaluation": ["quantity", "of", "curve", "unit", "value", "error"],
    }
    tables = {name: pandas.read_csv(tmp_path / f"{name}.csv") for name in columns}
    for name, expected in columns.items():
        assert list(tables[name].columns) == expected
    assert not tables["peaks"].duplicated(["pair", "curve"]).any() and len(tables["peaks"]) == 9, "first peaks only"
    assert "calibration slope" in list(tables["summary"]["quantity"])
    assert (tmp_path / "rdf.png").read_bytes().startswith(b"\x89PNG")
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,held_out_loss,step,training_loss\n0,-0.1,9,\n0,,9,-0.05\n")
    loss_figure(log, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 5000


def test_the_table_for_people_has_every_number_once(whole):
    lines = readable(whole.table).splitlines()
    assert lines[0].split() == ["quantity", "of", "unit", "value", "clean", "noised", "model"]
    assert len(lines) == 1 + len(whole.table.groupby(["quantity", "of"]))
    assert sum(line.count(" +- ") for line in lines) == (whole.table["error"] > 0).sum()
    assert any("contact: a partner" in note and "nm of Li-Cl" in note for note in whole.notes)
