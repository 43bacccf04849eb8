"""Whether molecular dynamics went well, on a page: temperature, closest approach, spread, speed, interruptions."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas

from ...analysis.rdf import compute_rdf
from ...analysis.resampling import frame_mean
from ...data.frames import Frames
from ...data.sets import runs_in, types_in
from ...evaluation.tables import rounded
from ...figures.health import health_figure
from ...figures.structure import compared_rdf_figure
from ...progress import significant
from ...simulation.guard import closest_allowed
from .blocks import Heading, Picture, Section, Table, missing
from .runs import EVALUATION, SIMULATION
from .tables import numeric, read_table

#: Start of a run (ps) that is left out of means, as `evaluate` does, and part of a short run.
DISCARD, PART = 5.0, 0.25
#: Frames that are looked at for the closest approach, evenly over all trajectories, and the particles up to which:
#: all pairs of 3,000 are 72 MB.
FRAMES, LARGEST = 600, 3000
TIME, TEMPERATURE, ENERGY, SPEED = "Time (ps)", "Temperature (K)", "Potential Energy (kJ/mole)", "Speed (ns/day)"
SPREAD = ("time_ps", "largest_spread_kJ_per_mol_nm", "particle")
#: How much warmer or colder than its thermostat a run may be: standard errors, and a part of the temperature.
SURE, OFF = 3.0, 0.01


@dataclass
class Health:
    """What a simulation says of itself.

    Attributes
    ----------
    asked_for, reached : float, ps
    rows : int
        Frames that were saved.
    begun : int
        How often the run was begun or resumed.
    settled : float, ps
        Start that is left out of means.
    target : float or None, K
        Of the thermostat.
    temperature, energy : (float, float), K and kJ/mol, or None
        Means and standard errors; of the energy the second half less the first.
    speed : float, ns/day
    series : DataFrame
        As `health_figure` takes it.
    limit : float or None, kJ/mol/nm
        Largest spread on the training frames.
    frames : Frames or None
        Some of the trajectories.
    why : str
        Why there are none.
    margin : float or None, nm
        Of the run's guard, where it is not the usual one.
    """

    asked_for: float
    reached: float = 0.0
    rows: int = 0
    begun: int = 0
    settled: float = 0.0
    target: float | None = None
    temperature: tuple | None = None
    energy: tuple | None = None
    speed: float = np.nan
    series: pandas.DataFrame = field(default_factory=pandas.DataFrame)
    limit: float | None = None
    frames: Frames | None = None
    why: str = ""
    margin: float | None = None

    @property
    def finished(self):
        return self.reached > self.asked_for * (1 - 1e-6) - 1e-6

    @property
    def over(self):
        """Part of the looks at which the spread was over its limit."""
        if self.limit is None or "spread_kJ/mol/nm" not in self.series:
            return 0.0
        return float((self.series["spread_kJ/mol/nm"].dropna() > self.limit).mean())

    @property
    def off(self):
        """Whether the temperature is not that of the thermostat."""
        if self.temperature is None or self.target is None or not np.isfinite(self.temperature[1]):
            return False
        value, error = self.temperature
        return abs(value - self.target) > max(SURE * error, OFF * self.target)


def health_of(run, model):
    """The `Health` of a simulation under a `Model` or None."""
    found = Health(
        asked_for=run.asked["duration"], target=run.asked["temperature"], margin=numeric(run.asked, "guard_margin")
    )
    if found.target is None and model is not None:
        found.target = model.denoiser.header.temperature
    table = read_table(run.path / "state.csv", (TIME, TEMPERATURE), ())
    if table is not None:
        columns = [name for name in (TIME, TEMPERATURE, ENERGY, SPEED) if name in table]
        table = read_table(run.path / "state.csv", (TIME, TEMPERATURE), columns)
    if table is not None and len(table):
        _read_state(found, table)
    spread = read_table(run.path / "spread.csv", SPREAD, SPREAD[:2])
    if spread is not None and len(spread):
        more = pandas.DataFrame({"time_ps": spread[SPREAD[0]], "spread_kJ/mol/nm": spread[SPREAD[1]]})
        found.series = more if not len(found.series) else found.series.merge(more, on="time_ps", how="outer")
        told = None if model is None else numeric(model.denoiser.header.held_out, "spread_largest")
        found.limit = run.asked["spread_limit"] or told
    if model is not None:
        found.frames, found.why = _some_frames(run, model.denoiser.header, found)
    return found


def _read_state(found, table):
    time = table[TIME]
    found.reached, found.rows = float(time.iloc[-1]), len(table)
    if SPEED in table:
        speed = table[SPEED]
        # The first row after each start has no speed yet.
        found.begun = int(((speed == 0) | speed.isna()).sum())
        found.speed = float(speed[speed > 0].median())
    found.settled = min(DISCARD, PART * found.reached)
    later = table[time > found.settled]
    series = {"time_ps": time.round(4), "temperature_K": table[TEMPERATURE]}
    if len(later):
        one = np.zeros(len(later))
        found.temperature = frame_mean(later[TEMPERATURE].to_numpy(), one)
    if ENERGY in table:
        series["energy_kJ/mol"] = table[ENERGY]
        halves = np.array_split(later[ENERGY].to_numpy(), 2)
        if min(map(len, halves)) > 1:
            (first, e), (second, f) = (frame_mean(half, np.zeros(len(half))) for half in halves)
            found.energy = second - first, float(np.hypot(e, f))
    found.series = pandas.DataFrame(series)


def _some_frames(run, header, found):
    """Frames of the trajectories after the start, evenly; or None and why."""
    if not found.rows:
        return None, "no frame was saved yet"
    try:
        parts = []
        for one in runs_in([run.path]):
            types = types_in(one.path, one.top, header.species, header.elemental)
            stride = max(1, found.rows * run.asked["replicas"] // FRAMES)
            frames = Frames.from_trajectory(
                one.path, top=one.top, types=types, temperature=header.temperature, stride=stride, replica=len(parts)
            )
            skip = 0 if one.interval is None else round(found.settled / (one.interval * stride))
            parts.append(frames[min(skip, len(frames) - 1) :])
        return Frames.concatenate(parts), ""
    except (ValueError, OSError) as error:  # a run that is at work may have half a frame
        return None, f"the trajectory cannot be read, {' '.join(str(error).split())}"


def health_sections(runs, healths):
    """The section about MD.

    Parameters
    ----------
    runs : Runs
    healths : dict of Path to Health
        Of every simulation.
    """
    blocks, simulations = [], runs.of(SIMULATION)
    for number, run in enumerate(simulations):
        found, model = healths[run.path], runs.model_of(run)
        blocks += [Heading(str(run.path))] if len(simulations) > 1 else []
        blocks.append(_overview(run, found))
        if len(found.series):
            told = (
                f"Over the run; means leave out the first {found.settled:g} ps. Several copies are told of together; a "
                "spread is that between the members of an ensemble."
            )
            alt = "Temperature in K, potential energy in kJ/mol and spread of the forces against time in ps."
            draw = lambda path, found=found: health_figure(found.series, path, found.target, found.settled, found.limit)  # noqa: E731
            blocks.append(Picture(f"health-{number}", told, alt, draw))
        elif run.path.is_dir():
            blocks.append(missing("The run has saved no frame yet."))
        blocks += _approach(found, None if model is None else model.denoiser)
    if not simulations:
        files = [model.file for model in runs.models]
        blocks.append(
            missing(
                f"No simulation was given: openmm-diffusion simulate {files[0] if files else 'MODEL'} "
                "--output DIRECTORY."
            )
        )
    return [Section("health", "Molecular dynamics", blocks)]


def _overview(run, found):
    copies = run.asked.get("replicas", 1)
    words = "copy" if copies == 1 else "copies"
    rows = [["length", f"{found.reached:g} of {found.asked_for:g} ps in steps of {run.asked.get('timestep')} ps"]]
    rows.append(
        [
            "frames",
            f"{found.rows:,}, one each {run.asked.get('interval')} ps, of {copies} independent {words}",
        ]
    )
    if found.target is not None:
        rows.append(["thermostat", f"{found.target:g} K, friction {run.asked.get('friction')} / ps"])
    if found.temperature is not None:
        rows.append(["mean temperature", f"{rounded(*found.temperature)} K"])
        if found.frames is not None and found.target:
            rows.append(["its fluctuation", _fluctuation(found)])
    if found.energy is not None:
        rows.append(["potential energy, second half less first", f"{rounded(*found.energy)} kJ/mol"])
    if np.isfinite(found.speed):
        rows.append(
            [
                "speed",
                f"{significant(found.speed, 3)} ns/day (middle of what the run told; all copies advance together)",
            ]
        )
    times = max(found.begun - 1, 0)
    rows.append(["resumed", "never" if times == 0 else "once" if times == 1 else f"{times} times"])
    pressure = run.asked.get("pressure")
    rows.append(["pressure", "no barostat" if pressure is None else f"barostat at {pressure:g} bar"])
    force = run.asked.get("force")
    backend = force.get("backend", "auto") if isinstance(force, dict) else "auto"
    rows.append(
        [
            "way to run",
            f"{backend}, platform {run.asked.get('platform') or 'chosen by OpenMM'}",
        ]
    )
    return Table("The run.", ["", ""], rows, numbers=False)


def _fluctuation(found):
    """Of the kinetic temperature: T (2 / f)^(1/2) for f degrees of freedom."""
    later = found.series[found.series["time_ps"] > found.settled]["temperature_K"].to_numpy()
    square, error = frame_mean((later - later.mean()) ** 2, np.zeros(len(later)))
    copies = len(np.unique(found.frames.replica))
    expected = found.target * np.sqrt(2 / (3 * len(found.frames.types) * copies))
    told = rounded(np.sqrt(square), error / (2 * np.sqrt(square)) if square > 0 else np.nan)
    return f"{told} K; that of the canonical ensemble is {expected:.3g} K"


def closer(found, denoiser):
    """Pairs that came closer in MD than data support by half of what the guard allows: (pair, MD, data), nm."""
    if found.frames is None or len(found.frames.types) > LARGEST:
        return []
    return [row[:3] for row in _closest(found, denoiser) if row[1] < 0.5 * (row[2] + row[3])]


def _closest(found, denoiser, margin=None):
    """(pair, shortest in MD, in the data, of a guard of that margin), nm, of pairs that both have."""
    header, allowed = denoiser.header, closest_allowed(denoiser, margin)
    rows = []
    for (a, b), shortest in found.frames.shortest_distances(header.exclusions).items():
        i, j = (header.species.index(kind) if kind in header.species else None for kind in (a, b))
        known = None if i is None or j is None else header.shortest_distances[i][j]
        if known is not None:
            rows.append((f"{a}-{b}", shortest, known, float(allowed[i, j])))
    return rows


def _approach(found, denoiser):
    if denoiser is None:
        return [missing("The model of the run is not there: its data's closest approach is not known.")]
    if found.frames is None:
        return [missing(f"Closest approaches are not known: {found.why}.")]
    if len(found.frames.types) > LARGEST:
        return [
            missing(f"Closest approaches are not computed of more than {LARGEST:,} particles: evaluate tells them.")
        ]
    rows = [[pair, *(f"{value:.4f}" for value in values)] for pair, *values in _closest(found, denoiser, found.margin)]
    told = (
        f"Closest approach in {len(found.frames):,} frames of MD, beside the data's, and where the guard of the run "
        "ends it. Longer MD than the data comes a little closer by chance."
    )
    return [Table(told, ["pair", "MD / nm", "data / nm", "guard / nm"], rows)] if rows else []


def structure_alone(runs, healths):
    """g(r) of MD that no evaluation on the page has compared."""
    told = [run.asked.get("trajectories") for run in runs.of(EVALUATION)]
    compared = [Path(str(place)) for places in told if isinstance(places, list) for place in places]
    blocks = []
    for number, run in enumerate(runs.of(SIMULATION)):
        frames = healths[run.path].frames
        if any(run.path == place or run.path in place.parents or place in run.path.parents for place in compared):
            continue
        if frames is None or frames.box is None or len(frames) < 2 or len(frames.types) > LARGEST:
            continue
        half = 0.5 * float(np.diagonal(frames.boxes, axis1=1, axis2=2).min())
        table = compute_rdf(frames, (0.0, min(1.0, 0.01 * np.floor(100 * half)))).table()
        told = f"g(r) of {len(frames):,} frames of MD in {run.path.name} alone, compared with nothing."
        pairs = [name for name in table if name != "r_nm" and not name.endswith("_error")]
        alt = f"Radial distribution functions g(r) of {', '.join(pairs)} over r in nm."
        draw = lambda path, table=table: compared_rdf_figure({"MD under the model": table}, path)  # noqa: E731
        blocks += [Picture(f"alone-{number}", told, alt, draw)]
    return blocks
