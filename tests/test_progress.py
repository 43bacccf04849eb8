"""Progress: a bar on a terminal, a line now and then elsewhere, nothing where nobody wants to hear of it."""

import io
import logging
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from openmm_diffusion import Denoiser, Frames, evaluate, progress
from openmm_diffusion.cli.verdicts import rdf
from openmm_diffusion.model import configuration
from openmm_diffusion.progress import Progress, duration, significant
from openmm_diffusion.workflows.distillation import distil


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_a_bar_is_drawn_over_itself_and_taken_away(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("runs/md", 100.0, "ps", shown=True) as told:
        for _ in range(10):
            clock(1.0)
            told.add(5.0)
        text = sys.stderr.getvalue()
        # 5 ps a second are 432 ns a day, of which two digits mean something.
        assert text.endswith("\r[############............] runs/md: 50 % of 100 ps, 430 ns/day, 10 s left\x1b[K")
        assert text.count("\r") == 10 and "\n" not in text
    assert sys.stderr.getvalue().endswith("\r\x1b[K")


def test_elsewhere_a_line_comes_now_and_then(clock, caplog):
    with caplog.at_level(logging.INFO), Progress("runs/md", 1000.0, "ps") as told:
        for _ in range(60):
            clock(1.0)
            told.add(10.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"runs/md: {share} % of 1000 ps, 860 ns/day, {left} s left"
        for share, left in ((15, 85), (30, 70), (45, 55), (60, 40))
    ]  # fmt: skip


def test_what_goes_on_counts_its_own_time(clock):
    told = Progress("runs/md", 100.0, "ps", shown=False, done=90.0)
    clock(10.0)
    told.at(95.0)
    assert told.line() == "runs/md: 95 % of 100 ps, 43 ns/day, 10 s left"


def test_nothing_is_said_where_nobody_listens(monkeypatch, clock, capfd):
    logging.getLogger("openmm_diffusion").setLevel(logging.WARNING)
    for shown in (None, False):
        told = Progress("work", 10, shown=shown)
        clock(60.0)
        told.add(5)
    assert capfd.readouterr() == ("", "")
    told = Progress("work", 10, shown=True)  # as a script asks for it, without any log
    clock(60.0)
    told.add(5, "more")
    assert capfd.readouterr().err == "work: 50 % of 10 frames, more, 60 s left\n"


def test_an_unknown_total_is_counted(clock):
    told = Progress("run.xtc", None, "frames read", shown=False)
    told.add(400)
    assert told.line() == "run.xtc: 400 frames read"


@pytest.mark.parametrize(
    "seconds, said",
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5999, "1.7 h"), (7200, "2.0 h"), (90000, "25 h")],
)
def test_times_are_told_to_what_a_guess_means(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize("number, said", [(0, "0"), (0.0123, "0.012"), (7.26, "7.3"), (123.4, "120"), (98765, "99000")])
def test_numbers_are_rounded_to_what_they_mean(number, said):
    assert significant(number) == said


def test_evaluations_pictures_and_distillations_count_to_their_end(tmp_path, monkeypatch, caplog):
    """All frames of every stage, those without labels not among the forces, and lines on the way."""
    frames = Frames.load("examples/licl/licl.npz")[:300:3]
    some = frames.forces.copy()
    some[::4] = np.nan
    runs, model = tmp_path / "t.dcd", Denoiser.load("licl").subset(["coulomb", "wall", "pair"])
    frames[:40].to_mdtraj().save(str(runs))
    frames[:1].to_mdtraj().save(str(tmp_path / "t.pdb"))
    ends: dict[str, list] = {}
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(configuration, "FRAMES", 8)
    monkeypatch.setattr(Progress, "close", lambda told: ends.setdefault(told.what, []).append((told.done, told.total)))

    with caplog.at_level(logging.INFO):
        evaluate(model, replace(frames, forces=some), [runs], tmp_path / "t.pdb", discard=0)
        rdf([f"a={runs}", f"b={runs}"], tmp_path / "out", tmp_path / "t.pdb")
        fitted = distil(model, frames).fitted
    totals = {name: [total for _, total in found] for name, found in ends.items()}
    assert totals.pop("forces of the model")[0] == 2 * fitted, "an antithetic pair of each frame that is fitted"
    assert totals == {
        "g(r)": [1140, 80], "forces": [int(np.isfinite(some).all((1, 2)).sum())],
        "forces on fresh noise": [800, 400], "averages over frames": [2 * fitted],
    }  # fmt: skip
    for name, found in ends.items():
        assert np.allclose(*np.transpose(found)), name
        assert any(record.getMessage().startswith(f"{name}: ") for record in caplog.records), name


SIMULATE = ["simulate", "licl", "--duration", "8", "--interval", "0.1", "--platform", "CPU", "--backend", "python"]


@pytest.mark.slow
def test_a_run_on_a_terminal_has_a_bar_and_in_a_file_no_carriage_return(tmp_path):
    command = [sys.executable, "-m", "openmm_diffusion", *SIMULATE, "--output"]
    mine, theirs = pty.openpty()
    process = subprocess.Popen([*command, str(tmp_path / "a")], stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            more = os.read(mine, 65536)
        except OSError:  # the other end is closed
            break
        text += more
    assert process.wait(300) == 0, text.decode()
    drawn = re.findall(r"\r\[#*\.*\] \S*: (\d+) % of 8 ps, [\d.]+ ns/day, \d+ (?:s|min) left", text.decode())
    assert len(drawn) > 2 and drawn == sorted(drawn, key=int)
    done = subprocess.run([*command, str(tmp_path / "b")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "\r" not in done.stdout + done.stderr and "\x1b" not in done.stderr
