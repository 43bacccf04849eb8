"""Contexts timed side by side: every round a slice of each, and ratios within a round."""

import time

import numpy as np
import openmm
import pandas

from .variants import learnt_forces

SECONDS_PER_DAY = 86400
#: Lower quartile, median and upper quartile of the values of the rounds.
QUARTILES = {"_low": 0.25, "": 0.5, "_high": 0.75}


class Runner:
    """One path with its Context: slices of MD and of forces alone, all from the same frames.

    Parameters
    ----------
    context : openmm.Context
    frames : array, shape (n_frames, n_particles, 3), nm
        Positions of all copies.
    temperature : float, K
    """

    def __init__(self, context, frames, temperature):
        self.context, self.frames, self.temperature = context, frames, temperature

    def dynamics(self, seconds, start):
        """Steps per second of MD from frame number `start`, over about as many seconds."""
        self.context.setPositions(self.frames[start % len(self.frames)])
        self.context.setVelocitiesToTemperature(self.temperature, 1)
        integrator, steps, began = self.context.getIntegrator(), 0, time.perf_counter()
        chunk = 1
        while True:
            integrator.step(chunk)
            # The platform may be behind: positions are there when the steps are done.
            positions = self.context.getState(getPositions=True).getPositions(asNumpy=True)._value
            steps, elapsed = steps + chunk, time.perf_counter() - began
            if not np.isfinite(positions).all():
                raise ValueError("positions became NaN: use a shorter time step")
            if elapsed >= seconds:
                return steps / elapsed
            # Up to the end, but at most twice what was done, for the first steps may be slow ones.
            chunk = max(1, min(2 * steps, int((seconds - elapsed) * steps / elapsed)))

    def force_time(self, seconds):
        """Time of one learnt force, ms: other positions in, forces of group 1 out, the transfer of both included."""
        began, evaluations = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < seconds or evaluations == 0:
            learnt_forces(self.context, self.frames[evaluations % len(self.frames)])
            evaluations += 1
        return 1e3 * elapsed / evaluations


def interleaved(runners, rounds, seconds, report, told=None, keep=None):
    """Every runner a slice in every round, in an order that is reversed from round to round.

    Parameters
    ----------
    runners : dict of (str, int) to Runner
        By path and copies.
    rounds : int
    seconds : float
        Of MD in each slice; half of that again for forces alone.
    report : callable
        Receives a line after each round.
    told : Progress, optional
        Counts the slices.
    keep : callable, optional
        Receives `measured` and `failed` after each round: nothing of it is lost, whenever the next is broken off.

    Returns
    -------
    measured : DataFrame
        Columns round, path, copies, steps_per_s, force_ms.
    failed : dict of (str, int) to str
        Why a runner dropped out, for those that did.
    """
    measured, failed = [], {}
    for key, runner in runners.items():  # warm up
        runner.force_time(0.1 * seconds)
        _attempt(runner, 0.25 * seconds, 0, key, failed)
    for number in range(rounds):
        line = []
        for key in list(runners)[:: 1 if number % 2 == 0 else -1]:
            speed = None if key in failed else _attempt(runners[key], seconds, number, key, failed)
            if speed is not None:
                force_ms = runners[key].force_time(0.5 * seconds)
                measured.append(dict(round=number, path=key[0], copies=key[1], steps_per_s=speed, force_ms=force_ms))
                line.append(f"{key[0]} x {key[1]} {speed:.0f}")
            if told is not None:
                told.add()
        if keep is not None:
            keep(_table(measured), failed)
        report(f"round {number + 1} of {rounds}, steps/s: {', '.join(line)}")
    return _table(measured), failed


def _table(measured):
    return pandas.DataFrame(measured, columns=["round", "path", "copies", "steps_per_s", "force_ms"])


def _attempt(runner, seconds, start, key, failed):
    """Speed of a slice of MD, or None and the reason in `failed`."""
    try:
        return runner.dynamics(seconds, start)
    except (ValueError, openmm.OpenMMException) as error:
        failed[key] = str(error).strip().splitlines()[0]
        return None


def summary(rows, rounds, timestep):
    """The table of all paths, from what each costs to start and from the rounds.

    Parameters
    ----------
    rows : DataFrame
        Columns path, copies and others, which are kept.
    rounds : DataFrame
        Columns round, path, copies, steps_per_s, force_ms.
    timestep : float, ps

    Returns
    -------
    DataFrame
        `rows` with medians and quartiles over the rounds of steps_per_s (of one copy), of ratio,
        which is the steps of all copies over those of the prior (one copy) in the same round,
        and of force_ms; ns_per_day is that of all copies together.
    """
    prior = rounds[rounds["path"] == "prior"].set_index("round")["steps_per_s"]
    ratio = rounds["copies"] * rounds["steps_per_s"] / prior.reindex(rounds["round"]).to_numpy()
    rounds = rounds.assign(ratio=ratio)
    groups = rounds.groupby(["path", "copies"])
    columns = {
        f"{column}{end}": groups[column].quantile(q)
        for column in ("steps_per_s", "ratio", "force_ms")
        for end, q in QUARTILES.items()
    }
    measured = pandas.DataFrame(columns).reset_index()
    measured["ns_per_day"] = measured["copies"] * measured["steps_per_s"] * timestep * SECONDS_PER_DAY / 1000
    table = rows.merge(measured, on=["path", "copies"], how="left")
    first = ["path", "copies", *columns, "ns_per_day"]
    kept = [column for column in rows if column not in first and column != "note"]
    return table[[*first, *kept, "note"]]


def relative_differences(forces, exact):
    """Root mean square and largest |F_i - F_exact,i| over particles and frames, both over the rms of |F_exact,i|."""
    wrong = np.linalg.norm(np.asarray(forces) - exact, axis=-1)
    size = np.sqrt((np.linalg.norm(exact, axis=-1) ** 2).mean())
    return np.sqrt((wrong**2).mean()) / size, wrong.max() / size
