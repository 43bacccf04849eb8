"""The suite: systems, learners and splits, each fit judged by forces and by molecular dynamics; one command.

    python benchmarks/suite/run.py [--system NAME ...] [--learner NAME ...] [--splits 8] [--md 1] [--quick] [--make]

Learners see positions alone.  Results go to OUTPUT/suite.csv part by part, and a second call makes nothing again that
is there; table.md, table.csv and suite.png are made of all of it.  Frames that a system needs are looked for in DATA;
--make makes them.  AceCG and NequIP run in interpreters of their own, where these are named.  README.md says more.
"""

import argparse
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # CPU times of one core, before torch and numpy start their threads

import learners
import records
import scores
import torch
from systems import ROOT, SYSTEMS

from openmm_diffusion import rundirectory

#: What --quick makes of a system: enough to see that everything runs.
QUICK = dict(most=200, duration=2.0, discard=0.5, interval=0.1)
RUNS, QUICK_RUNS = 4, 2


def cpu():
    """CPU time (s) of this process and of the children that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def frames_of(system, data, make):
    """Frames of a system; None, and a line that says how to make them, where they are missing."""
    try:
        return system.load(data)
    except FileNotFoundError as error:
        words = system.words(data, sys.executable)
        if not words:
            raise
        if not make:
            told = "\n".join("    " + " ".join(line) for line in system.words(data, "python"))
            print(f"{system.name}: left out ({error}); --make has its frames made, by\n{told}", flush=True)
            return None
    for line in words:
        subprocess.run(line, cwd=ROOT, check=True)
    return system.load(data)


class Part:
    """One learner on one split of one system; its model is made when the first of its parts asks for it."""

    def __init__(self, system, learner, frames, number, output):
        self.system, self.learner, self.number = system, learner, number
        self.training, self.apart = system.split(frames, number)
        self.settings = {"frames": frames.digest(), "most": system.most, "learner": learner.settings}
        own = records.digest([learner.name, self.settings])
        self.folder = rundirectory.made(output / "runs" / f"{system.name}-{number}-{own}")
        self.model = self.seconds = None

    def fitted(self):
        """The model; what its fit took (s) is `seconds` then."""
        if self.model is None:
            kept, told = self.folder / "model", self.folder / "cpu_s.txt"
            if not told.exists():  # a fit that was stopped begins anew: nobody knows what it took
                shutil.rmtree(kept, ignore_errors=True)
            begun = cpu()
            self.model = self.learner.fit(self.training, rundirectory.made(kept))
            if not told.exists():
                rundirectory.write_whole(told, str(getattr(self.model, "cpu_s", cpu() - begun)))
            self.seconds = float(told.read_text())
        return self.model

    def fit(self):
        """Rows of the fit and its forces."""
        rows = scores.forces(self.fitted(), self.apart)
        return [("CPU time of the fit", "", "s", self.seconds, float("nan")), *rows]

    def md(self, runs):
        """Rows of molecular dynamics."""
        title = f"{self.system.name}, {self.learner.name}, split {self.number}: MD"
        given = self.training, self.apart, self.folder / self.tag(runs), self.system, runs, title
        return scores.molecular_dynamics(self.fitted(), *given)

    def tag(self, runs):
        """Name of the folder of runs of these settings."""
        asked = {key: value for key, value in asdict(self.system).items() if isinstance(value, (int, float))}
        return f"md-{records.digest([asked, runs])}"

    def done(self, kept, name, compute, more=()):
        """Rows of a part called `name`, from the records or made."""
        begun = time.perf_counter()
        asked = records.digest([self.settings, name, *more])
        rows = kept.part((self.system.name, self.learner.name, self.number, name), asked, compute)
        wall = time.perf_counter() - begun
        told = ", ".join(
            f"{row.quantity} {row.value:.3g}{'' if row.unit == '1' else ' ' + row.unit}" for row in rows.itertuples()
            if row.of in ("", "all", "worst") and row.quantity != "explained fraction"
        )  # fmt: skip
        print(
            f"{self.system.name}, {self.learner.name}, split {self.number}, {name}: {told} ({wall:.0f} s)", flush=True
        )


def measure(system, chosen, frames, given, kept):
    """All parts of a system, split by split, so that learners have equally many whenever it ends."""
    print(f"{system.name}: {system.about}", flush=True)
    for number in range(given.splits):
        for learner in chosen:
            part = Part(system, learner, frames, number, given.output)
            part.done(kept, "fit", part.fit)
            if number < given.md:
                part.done(kept, "md", lambda part=part: part.md(given.runs), [part.tag(given.runs)])


def parsed(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", nargs="+", help="default: all")
    parser.add_argument("--learner", nargs="+", help="default: all")
    parser.add_argument("--splits", type=int, default=8, help="divisions of the runs; default: 8")
    parser.add_argument("--md", type=int, default=1, help="splits with molecular dynamics; default: 1")
    parser.add_argument("--runs", type=int, help=f"of molecular dynamics, of each split; default: {RUNS}")
    parser.add_argument("--quick", action="store_true", help="two splits, few frames, short runs: whether all works")
    parser.add_argument("--make", action="store_true", help="make frames that are missing: minutes to an hour")
    parser.add_argument("--data", type=Path, default=Path("runs/suite/data"), help="frames; default: runs/suite/data")
    parser.add_argument("--output", type=Path, help="default: runs/suite/results, or runs/suite/quick")
    parser.add_argument("--add", type=Path, nargs="+", default=[], help="Python files that add learners or systems")
    parser.add_argument("--acecg", help="Python interpreter that has AceCG")
    parser.add_argument("--nequip", help="Python interpreter that has NequIP")
    given = parser.parse_args(arguments)
    given.data = given.data.resolve()
    given.output = given.output or Path("runs/suite") / ("quick" if given.quick else "results")
    given.runs = given.runs or (QUICK_RUNS if given.quick else RUNS)
    given.splits = min(given.splits, 2) if given.quick else given.splits
    return given


def known(given):
    """Systems and learners that are asked for: list of (System, list of Learner)."""
    for path in given.add:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    if given.acecg:
        from peers import with_acecg

        with_acecg.add(given.acecg)
    if given.nequip:
        from peers import with_nequip

        with_nequip.add(given.nequip)
    for asked, there, what in (
        (given.system, SYSTEMS, "system"), (given.learner, {one.name for one in learners.LEARNERS}, "learner")
    ):  # fmt: skip
        for name in asked or []:
            if name not in there:
                raise ValueError(f"{what} is {name!r}: give some of {', '.join(sorted(there))}")
    chosen = []
    for name in given.system or SYSTEMS:
        own = learners.of_system(name)
        chosen.append((SYSTEMS[name], [own[one] for one in own if given.learner is None or one in given.learner]))
    return chosen


def main(arguments=None):
    given = parsed(arguments)
    logging.getLogger("openmm_diffusion").setLevel(logging.ERROR)  # "few frames", of every fit
    torch.set_num_threads(1)
    chosen = known(given)
    with rundirectory.occupied(given.output):
        kept = records.Records(given.output / "suite.csv")
        for system, own in chosen:
            if not own:
                continue
            frames = frames_of(system, given.data, given.make)
            if frames is not None:
                measure(replace(system, **QUICK) if given.quick else system, own, frames, given, kept)
        if not len(kept.table):
            raise ValueError("nothing was measured: no system that was asked for has both frames and a learner")
        print(records.write(kept, given.output))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
