"""The benchmark: what it compares is the same physics, its ratios survive a machine that others use, its files."""

import subprocess
import sys

import numpy as np
import openmm
import pandas
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from models import QUICK, licl_denoiser, licl_frames
from test_nequip import deployed

from openmm_diffusion.figures import benchmark_figure
from openmm_diffusion.forces.torchscript import torchscript_failure
from openmm_diffusion.systems import training_topology
from openmm_diffusion.workflows.benchmark import variants as paths
from openmm_diffusion.workflows.benchmark.run import BenchmarkConfig, benchmark
from openmm_diffusion.workflows.benchmark.timing import Runner, interleaved, relative_differences, summary
from openmm_diffusion.workflows.benchmark.variants import learnt_forces, learnt_part, path_context, path_system

pytestmark = pytest.mark.slow

PAIR = licl_denoiser(kinds=QUICK)

#: Module whose start of a process is replaced.
RUN = "openmm_diffusion.workflows.benchmark.run"


def context_of(name, denoiser=PAIR, **options):
    system = path_system(name, denoiser, training_topology(denoiser), **options)
    return path_context(system, denoiser, 0.004, "CPU", 1)


def forces_of(context, positions, groups):
    context.setPositions(positions)
    return context.getState(getForces=True, groups=groups).getForces(asNumpy=True)._value


@pytest.mark.parametrize("name", ["eager", "torchscript", "native"])
def test_every_path_is_the_same_prior_and_the_same_learnt_force(name):
    if name == "torchscript" and torchscript_failure():
        pytest.skip(torchscript_failure())
    frames = licl_frames().positions[:3].astype(float)
    prior, path = context_of("prior"), context_of(name)
    part = learnt_part(PAIR, path.getSystem())
    assert {term.kind for term in part.header.terms} == ({"pair", "wall"} if name == "native" else {"pair"})
    learnt, pair = part.forces(frames), PAIR.subset(["pair"]).forces(frames)
    for positions, of_the_pair in zip(frames, pair):
        expected = forces_of(prior, positions, {0}) + of_the_pair
        np.testing.assert_allclose(forces_of(path, positions, {0, 1}), expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(learnt_forces(prior, frames[0])).max() == 0
    rms, largest = relative_differences([learnt_forces(path, positions) for positions in frames], learnt)
    assert rms <= largest < (1e-3 if name == "native" else 1e-4)  # native: a table


def test_a_nequip_file_takes_the_place_of_the_learnt_force(tmp_path):
    file = deployed(tmp_path / "toy.pth", r_max="6.0", type_names="Cl Li")
    positions = licl_frames().positions[0].astype(float)
    context, prior = context_of("nequip", nequip_file=file), context_of("prior")
    np.testing.assert_allclose(forces_of(context, positions, {0}), forces_of(prior, positions, {0}), atol=1e-3)
    assert np.abs(learnt_forces(context, positions)).max() > 1
    with pytest.raises(ValueError, match="nequip runs one copy, not 2"):
        context_of("nequip", nequip_file=file, copies=2)


def test_paths_that_cannot_be_had_say_why(monkeypatch):
    with pytest.raises(ValueError, match='backend is "native", but the model has the terms pair [+] network'):
        context_of("native", licl_denoiser())
    monkeypatch.setitem(paths.PATHS, "newer", {"backend": "later"})
    with pytest.raises(ValueError, match="backend is 'later'"):
        context_of("newer")


def test_relative_differences_of_known_errors():
    exact = np.random.default_rng(0).normal(size=(4, 10, 3))
    assert relative_differences(exact, exact) == (0, 0)
    assert np.isclose(relative_differences(1.1 * exact, exact)[0], 0.1, rtol=1e-12)
    one = exact.copy()
    size = np.sqrt((exact**2).sum(-1).mean())
    one[2, 3] += [0, 0.5 * size, 0]
    # One wrong particle of forty.
    np.testing.assert_allclose(relative_differences(one, exact), (0.5 / np.sqrt(40), 0.5), rtol=1e-12)


def test_ratios_do_not_feel_a_machine_whose_speed_changes():
    """Each round runs at a speed of its own; within it a path is a fixed part of the prior; copies add up."""
    load = [1.0, 0.3, 0.8, 0.5, 0.9]
    speeds = {("prior", 1): 1000.0, ("eager", 1): 400.0, ("eager", 8): 80.0}
    rounds = pandas.DataFrame(
        [
            dict(round=k, path=path, copies=copies, steps_per_s=speed * load[k], force_ms=2 / load[k])
            for k in range(5)
            for (path, copies), speed in speeds.items()
        ]
    )
    rows = pandas.DataFrame([dict(path=p, copies=c, start_s=1.0, note="") for p, c in [*speeds, ("native", 1)]])
    table = summary(rows, rounds, timestep=0.004).set_index(["path", "copies"])
    for copies, ratio in ((1, 0.4), (8, 8 * 0.08)):
        assert np.allclose(table.loc[("eager", copies), ["ratio_low", "ratio", "ratio_high"]].astype(float), ratio)
    assert table.loc[("eager", 1), "steps_per_s"] == 400 * 0.8  # the median load
    assert table.loc[("eager", 1), "steps_per_s_low"] == 400 * 0.5
    assert table.loc[("eager", 1), "steps_per_s_high"] == 400 * 0.9
    # 64 steps/s of 0.004 ps for 86400 s: 22.1184 ns for each of eight copies.
    assert np.isclose(table.loc[("eager", 8), "ns_per_day"], 8 * 22.1184)
    assert np.isnan(table.loc[("native", 1), "steps_per_s"]) and table.loc[("native", 1), "start_s"] == 1


class Stub:
    """A runner without OpenMM, that breaks when told to."""

    def __init__(self, log, name, breaks_at=None):
        self.log, self.name, self.breaks_at, self.slices = log, name, breaks_at, 0

    def dynamics(self, seconds, start):
        self.slices += 1
        self.log.append(self.name)
        if self.slices == self.breaks_at:
            raise openmm.OpenMMException("Particle coordinate is NaN")
        return 100.0

    def force_time(self, seconds):
        return 1.0


def test_rounds_are_interleaved_and_a_path_that_fails_drops_out():
    log = []
    runners = {("a", 1): Stub(log, "a"), ("b", 1): Stub(log, "b", breaks_at=3), ("c", 1): Stub(log, "c")}
    measured, failed = interleaved(runners, 3, 0.1, lambda line: None)
    assert "".join(log) == "abc" + "abc" + "cba" + "ac"  # warm-up, then there and back
    assert failed == {("b", 1): "Particle coordinate is NaN"}
    assert measured.groupby("path").size().to_dict() == {"a": 3, "b": 1, "c": 3}


def test_speed_is_steps_over_time(monkeypatch):
    """On a clock that an MD step moves by 10 ms and nothing else does, the speed is 100 steps/s."""
    frames = licl_frames().positions[:2].astype(float)
    runner = Runner(context_of("prior"), frames, 300.0)
    clock = lambda: runner.context.getStepCount() * 0.01  # noqa: E731
    monkeypatch.setattr("openmm_diffusion.workflows.benchmark.timing.time.perf_counter", clock)
    assert np.isclose(runner.dynamics(0.5, 0), 100)
    assert 0.5 <= clock() < 0.52


def test_from_model_to_files(tmp_path, monkeypatch):
    """All of it but the processes of their own, for a model whose forces are those of a pair potential."""
    starts = dict(start_s=1.5, compile_s=0.1, memory_MB=500.0)
    monkeypatch.setattr(f"{RUN}.cold_start", lambda request: dict(starts, seen=len(request)))
    monkeypatch.setitem(paths.PATHS, "newer", {"backend": "later"})
    lines = []
    config = {"paths": ["native", "newer", "eager"], "rounds": 2, "seconds": 0.05, "platform": "CPU"}
    benchmark(PAIR, tmp_path / "out", config, lines.append)
    table = pandas.read_csv(tmp_path / "out" / "benchmark.csv").set_index("path")
    assert list(table.index) == ["prior", "native", "newer", "eager"]
    assert (table["ratio"].drop("newer") > 0).all() and table.loc["prior", "ratio"] == 1
    assert "backend is 'later'" in table.loc["newer", "note"]
    assert (table.loc[["native", "eager"], "max_difference"] < 1e-3).all()
    assert table.drop("newer")["force_ms"].idxmin() == "prior"  # a transfer without a force
    rounds = pandas.read_csv(tmp_path / "out" / "rounds.csv")
    assert len(rounds) == 2 * 3
    conditions = yaml.safe_load((tmp_path / "out" / "benchmark.yaml").read_text())
    assert conditions["platform"] == "CPU" and conditions["openmm_threads"] == conditions["torch_threads"] == 1
    assert conditions["particles"] == 48 and conditions["cutoffs_nm"] == {"pair": 0.9}
    assert conditions["versions"]["openmm"] == openmm.__version__
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 10000
    assert any(line.startswith("round 2 of 2") for line in lines)


def test_where_no_path_can_be_had_the_prior_is_measured(tmp_path, monkeypatch):
    starts = dict(start_s=1.5, compile_s=0.1, memory_MB=500.0)
    monkeypatch.setattr(f"{RUN}.cold_start", lambda request: dict(starts))
    table = benchmark(PAIR, tmp_path, {"paths": ["prior"], "rounds": 1, "seconds": 0.05, "platform": "CPU"})
    assert list(table["path"]) == ["prior"] and table["rms_difference"].isna().all()


def test_the_picture_has_a_bar_or_a_reason_for_every_row(tmp_path, monkeypatch):
    kept, save = [], Figure.savefig

    def savefig(figure, *args, **options):
        kept.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    values = dict(steps_per_s_low=90.0, steps_per_s=100.0, steps_per_s_high=120.0, ratio=0.5, note="")
    nothing = dict.fromkeys(("steps_per_s_low", "steps_per_s", "steps_per_s_high", "ratio"), np.nan)
    rows = [
        dict(values, path="prior", copies=1),
        dict(values, path="eager", copies=4),
        dict(nothing, path="native", copies=1, note="because " * 40),
    ]
    benchmark_figure(pandas.DataFrame(rows), tmp_path / "b.png")
    ax = kept[0].axes[0]
    assert [bar.get_width() for bar in ax.patches] == [100, 400]  # all copies together
    assert [label.get_text() for label in ax.get_yticklabels()] == ["prior", "eager, 4 copies", "native"]
    assert any(text.get_text().startswith("because") for text in ax.texts)
    FigureCanvasAgg(kept[0]).draw()
    width = kept[0].get_window_extent().x1
    assert all(text.get_window_extent().x1 < width for text in ax.texts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": ["nativ"]}, "paths has 'nativ': choose from 'prior', 'eager'"),
        ({"paths": ["nequip"]}, "paths has 'nequip': give its file"),
        ({"platform": "CRAY"}, "platform is 'CRAY': OpenMM has Reference"),
        ({"rounds": 0}, "rounds is 0"),
        ({"nequip": "nowhere.pth"}, "there is no NequIP file nowhere.pth"),
    ],
)
def test_impossible_settings_are_refused_at_once(tmp_path, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        benchmark(PAIR, tmp_path / "out", changes)
    assert not (tmp_path / "out").exists()


def test_a_prior_alone_is_no_model(tmp_path):
    with pytest.raises(ValueError, match="no learnt terms"):
        benchmark(licl_denoiser(kinds=("coulomb", "wall")), tmp_path / "out", BenchmarkConfig())


def test_command(tmp_path):
    PAIR.save(tmp_path / "m.safetensors")
    command = ["benchmark", tmp_path / "m.safetensors", "-o", tmp_path / "out", "--paths", "native"]
    command = [
        sys.executable,
        "-m",
        "openmm_diffusion",
        *command,
        "--rounds",
        1,
        "--seconds",
        0.05,
        "--platform",
        "CPU",
    ]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    table = pandas.read_csv(tmp_path / "out" / "benchmark.csv").set_index("path")
    assert list(table.index) == ["prior", "native"] and (table["memory_MB"] > 50).all()
    assert "round 1 of 1" in result.stdout and "benchmark.png" in result.stdout


class Interrupted:
    """A runner whose third slice of MD is broken off."""

    slices = 0

    def force_time(self, seconds):
        return 1.0

    def dynamics(self, seconds, start):
        self.slices += 1
        if self.slices == 4:  # the first warms up
            raise KeyboardInterrupt
        return 100.0 * self.slices


def test_whole_rounds_are_kept_where_the_next_is_broken_off():
    kept = []
    with pytest.raises(KeyboardInterrupt):
        interleaved(
            {("prior", 1): Interrupted()}, 5, 0.1, lambda line: None, keep=lambda rounds, _: kept.append(rounds)
        )
    assert [len(rounds) for rounds in kept] == [1, 2] and list(kept[-1]["steps_per_s"]) == [200.0, 300.0]
