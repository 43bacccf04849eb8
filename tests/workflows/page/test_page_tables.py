"""What runs have left, read with suspicion, and what is made of it: means, drifts, wells, against closed forms."""

import numpy as np
import pandas
import pytest

from openmm_diffusion.workflows.page.health import ENERGY, SPEED, TEMPERATURE, TIME, Health, _read_state
from openmm_diffusion.workflows.page.learnt import _wells
from openmm_diffusion.workflows.page.tables import numeric, read_mapping, read_table, size


def test_a_table_that_grows_ends_at_its_last_whole_line(tmp_path):
    path = tmp_path / "t.csv"
    assert read_table(path, ("a",)) is None
    for text, rows in (("", None), ("a,b\n", 0), ("a,b\n1,--\n", 1), ("a,b\n1,2\n3,4", 1), ("a,b\n1,2\n3,", 1)):
        path.write_text(text)
        found = read_table(path, ("a", "b"), ("a", "b"))
        assert (None if found is None else len(found)) == rows, text
    path.write_text("a,b\n1,--\n")
    assert np.isnan(read_table(path, ("a",), ("a", "b"))["b"][0])


@pytest.mark.parametrize(
    "content, says",
    [(b"\xff\xfe\x00", "is damaged"), (b"a,b\n1,2\n1,2,3,4\n", "is damaged"), (b"b\n1\n", "no column a"),
     (b"a\nx\n", "words in column a"), (b'a\n"1\n', "is damaged")],
)  # fmt: skip
def test_what_is_no_such_table_is_told_in_one_sentence(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says) as caught:
        read_table(tmp_path / "t.csv", ("a",), ("a",))
    assert len(str(caught.value).splitlines()) == 1 and "t.csv" in str(caught.value)


def test_mappings_and_numbers_of_others(tmp_path):
    assert read_mapping(tmp_path / "m.yaml") is None
    (tmp_path / "m.yaml").write_text("!!python/object:os.system {}\n")
    with pytest.raises(ValueError, match=r"m\.yaml is damaged"):
        read_mapping(tmp_path / "m.yaml")
    odd = {"a": 1, "b": "1", "c": True, "d": float("nan"), "e": None, "f": 2.5}
    assert [numeric(odd, key) for key in "abcdefg"] == [1, None, None, None, None, 2.5, None]
    assert numeric(None, "a", 3) == numeric([], "a", 3) == 3
    assert [size(number) for number in (0, 999, 1234, 5_000_000, 7e12)] == [
        "0 bytes", "999 bytes", "1.23 kB", "5 MB", "7000 GB",
    ]  # fmt: skip


def state(rows, temperature, drift=0.0, resumed=(), seed=0):
    """A state.csv of independent temperatures about one, and energies that drift from first to last."""
    rng = np.random.default_rng(seed)
    time = 0.5 * np.arange(1, rows + 1)
    speed = np.where(np.isin(np.arange(rows), [0, *resumed]), 0.0, 100.0)
    energy = rng.normal(0, 1, rows) + drift * np.arange(rows) / rows
    return pandas.DataFrame({TIME: time, TEMPERATURE: rng.normal(temperature, 20, rows), ENERGY: energy, SPEED: speed})


def test_means_leave_the_start_out_and_know_their_errors():
    """Independent values of width 20 K have a mean known to 20 / sqrt(n); errors of ten blocks scatter by a quarter."""
    errors, off, n = [], [], 990
    for seed in range(40):
        found = Health(asked_for=500.0, target=300.0)
        table = state(n + 10, 300.0, seed=seed)
        table.loc[:9, TEMPERATURE] = 2000.0  # the first 5 ps
        _read_state(found, table)
        assert found.settled == 5.0 and found.rows == n + 10 and found.finished
        errors.append(found.temperature[1])
        off.append(found.temperature[0] - 300.0)
    exact = 20 / np.sqrt(n)
    assert np.mean(errors) == pytest.approx(exact, rel=0.12)
    assert np.std(off) == pytest.approx(exact, rel=0.35) and abs(np.mean(off)) < 4 * exact / np.sqrt(40)


def test_a_wrong_temperature_a_drift_and_resumes_are_found():
    right, wrong = Health(asked_for=600.0, target=300.0), Health(asked_for=600.0, target=300.0)
    _read_state(right, state(1000, 300.0))
    _read_state(wrong, state(1000, 310.0, drift=8.0, resumed=(200, 700)))
    assert not right.off and wrong.off, "ten kelvin, where the error is below one"
    assert right.begun == 1 and wrong.begun == 3 and wrong.speed == 100.0
    assert abs(right.energy[0]) < 4 * right.energy[1] and not right.finished
    # Halves of what grows evenly by 8 differ by 4.
    assert wrong.energy[0] == pytest.approx(4.0, abs=4 * wrong.energy[1])


def test_wells_lie_where_a_closed_form_has_them():
    """Of r^-12 - r^-6 at 2^(1/6), 1/4 deep; what falls without end has none."""
    r = np.arange(0.9, 2.5, 0.001)
    deep = pandas.DataFrame({"pair": "A-B", "term": "learnt", "r_nm": r, "u_kJ/mol": r**-12 - r**-6, "sd_kJ/mol": 0.02})
    falling = deep.assign(pair="A-A", **{"u_kJ/mol": 1 / r})
    rows = {row[0]: row[1:] for row in _wells(pandas.concat([falling, deep])).rows}
    assert rows["A-B"] == [f"{2 ** (1 / 6):.3f}", "-0.250 +- 0.020"] and rows["A-A"][0] == "-"
