"""Long runs of a model: what trajectories and their statistics are, on the times of the reference."""

import hashlib
import json
from pathlib import Path

import mdtraj
import numpy as np
import pandas
from protocol.licl import COULOMB

from openmm_diffusion import Denoiser, Frames, compute_rdf, simulate, train
from openmm_diffusion.analysis.comparison import compare_rdf
from openmm_diffusion.analysis.contacts import contacts
from openmm_diffusion.analysis.dynamics import (
    diffusion_coefficient,
    kinetic_temperature,
    mean_square_displacement,
    unwrap,
)
from openmm_diffusion.analysis.lifetimes import pair_correlations, pair_lifetimes, pair_sums
from openmm_diffusion.analysis.rdf import species_pairs
from openmm_diffusion.analysis.resampling import jackknife
from openmm_diffusion.simulation.guard import SimulationStopped

#: Of the reference: frames of a replica and ps between them; the bundled 2,000 are evenly thinned from these.
LENGTH, INTERVAL = 119, 0.5
#: Time step, ps; below this distance no ions of the reference come, nm; Li-Cl contact, at the first minimum of g, nm.
STEP, SPIKE, CONTACT = 0.004, 0.2, 0.30
#: Of the reference, 1/ps.
FRICTION = 5.0
#: Models that are trained here; the others are shipped.
TRAINED = {
    "pair": {
        "data": {"test_fraction": 0.3, "validation_fraction": 0}, "prior": {"coulomb": COULOMB},
        "pair": {"sigma": 0}, "network": None,
    },
    "network alone": {
        "data": {"test_fraction": 0.3, "limit": 500}, "prior": {"coulomb": None, "wall": None}, "pair": None,
        "noise": {"sigma": 0.01, "fresh": False, "antithetic": False},
        "network": {"head": "energy", "cutoff": 0.6, "lmax": 1, "features": 8, "layers": 2},
        "training": {
            "steps": 800, "batch": 16, "learning_rate": 0.004, "weight_decay": 0.03, "ema_decay": 0.995,
            "check_every": 50,
        },
    },
}  # fmt: skip
SHIPPED = {"pair + network": "licl", "pair + vector": "licl_vector"}


def row(quantity, unit, value, error=np.nan, **more):
    return {**more, "quantity": quantity, "unit": unit, "value": value, "error": error}


def recipe(name, seed):
    """What a model of `TRAINED` or `SHIPPED` is made of: its configuration, or the digest of a shipped file."""
    if name in SHIPPED:
        return {"shipped": SHIPPED[name], "digest": Denoiser.load(SHIPPED[name]).digest()}
    config = TRAINED[name]
    return {**config, "training": {**config["training"], "seed": seed}} if "training" in config else config


def place(name, directory, seed):
    """Path of what is made of a model, without a suffix: another recipe has another."""
    digest = hashlib.sha256(json.dumps(recipe(name, seed), sort_keys=True).encode()).hexdigest()[:6]
    return Path(directory) / f"{name.replace(' ', '_')}-{digest}"


def model(name, frames, directory, seed):
    """A denoiser by its name in `TRAINED` or `SHIPPED`; one that is trained is kept in the directory."""
    if name in SHIPPED:
        return Denoiser.load(SHIPPED[name])
    path = place(name, directory, seed).with_suffix(".safetensors")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train(frames, recipe(name, seed), progress=False).save(path)
    return Denoiser.load(path)


# ---- runs


def run(denoiser, directory, start, friction, duration, seed):
    """One run, gone on with where it was interrupted.

    Returns
    -------
    frames : Frames or None
        None where it was stopped before the first was saved.
    state : pandas.DataFrame
        Its state.csv.
    survived : float, ps
    closest : float, nm
        Distance of the pair at which the guard stopped it; NaN where it was not stopped, or for something else.
    """
    config = dict(duration=duration, interval=INTERVAL, timestep=STEP, friction=friction, platform="CPU", threads=1)
    stopped, table = directory / "stopped.json", directory / "state.csv"
    done = stopped.exists() or (table.exists() and len(pandas.read_csv(table)) == round(duration / INTERVAL))
    if not done:
        try:
            simulate(
                denoiser,
                directory,
                {**config, "seed": seed, "format": "xtc"},
                resume=True,
                positions=start,
                progress=False,
            )
        except SimulationStopped as error:
            stopped.write_text(json.dumps({"reason": str(error), "closest / nm": error.distance}))
    state = pandas.read_csv(table)
    temperature = denoiser.header.temperature
    path = directory / "trajectory.xtc"
    frames = None
    if len(state):
        frames = Frames.from_trajectory(path, top=directory / "topology.pdb", temperature=temperature)
    # Saved every interval: a run that was stopped lived up to one interval longer than its last frame.
    survived, closest = duration, np.nan
    if stopped.exists():
        survived, found = INTERVAL * len(state), json.loads(stopped.read_text())["closest / nm"]
        closest = np.nan if found is None else found
    return frames, state, survived, closest


def sample(denoiser, directory, starts, friction, duration, seed):
    """Runs from each start (None: random places), as `run` gives them."""
    return [
        run(denoiser, directory / f"run-{k}", start, friction, duration, seed + k) for k, start in enumerate(starts)
    ]


def kept(runs, discard):
    """Frames of all runs that last beyond `discard` ps, the start of each left out; one replica per run."""
    skip = round(discard / INTERVAL)
    parts = [frames[skip:] for frames, *_ in runs if frames is not None and len(frames) > skip]
    return Frames.concatenate(parts) if parts else None


# ---- statistics


def shortest(frames):
    """Shortest distance of each pair of species in each frame: dict of arrays, nm."""
    trajectory = frames.to_mdtraj()
    return {
        name: mdtraj.compute_distances(trajectory, pairs).min(1)
        for name, pairs in species_pairs(trajectory.topology).items()
    }


def spikes(frames):
    """Rows: frames and pairs of ions below 0.2 nm, and bins of g(r) (0.005 nm) that are not empty there."""
    trajectory, rows = frames.to_mdtraj(), []
    g = compute_rdf(frames, (0.1, SPIKE), 0.005).g
    for name, pairs in species_pairs(trajectory.topology).items():
        close = mdtraj.compute_distances(trajectory, pairs) < SPIKE
        rows.append(row("frames with ions below 0.2 nm", "1", int(close.any(1).sum()), pair=name, of=len(frames)))
        rows.append(row("ions below 0.2 nm", "1", int(close.sum()), pair=name, of=close.size))
        rows.append(row("bins with g > 0 below 0.2 nm", "1", int((g[name] > 0).sum()), pair=name, of=len(g[name])))
    return rows


def checked(frames, path):
    """The frames of a reference, if the runs of this script can be compared with them."""
    length = np.unique(frames.replica, return_counts=True)[1]
    if set(frames.symbols) != {"Li", "Cl"}:
        raise ValueError(
            f"{path} has {', '.join(sorted(set(frames.symbols)))}: charges and models are of Li and Cl, give those"
        )
    if frames.box is None:
        raise ValueError(f"{path} has no periodic box: g(r) and diffusion need one, give frames with a box (nm)")
    if len(length) < 2:
        raise ValueError(f"{path} has one replica: errors are the scatter of replicas, give frames of at least two")
    if length.max() > LENGTH:
        raise ValueError(
            f"{path} has a replica of {length.max()} frames: times are those of {LENGTH} frames {INTERVAL:g} ps apart, "
            "or of fewer that are evenly thinned from these; give such replicas"
        )
    return frames


def segments(frames, length):
    """Stretches of `length` frames of the grid of times, and which of these frames there are.

    A replica of a reference of fewer frames than 119 is evenly thinned, each by its own number; stretches of MD are
    thinned alike.
    """
    for number in np.unique(frames.replica):
        part = frames[frames.replica == number]
        grid = np.linspace(0, LENGTH - 1, len(part)).round().astype(int)
        for begin in range(0, LENGTH - length + 1, length):
            chosen = (grid >= begin) & (grid < begin + length)
            yield part[chosen], grid[chosen] - begin


def like(frames, length, pattern):
    """Stretches of complete runs, thinned to the frames of `pattern`."""
    for number in np.unique(frames.replica):
        part = frames[frames.replica == number]
        for begin in range(0, len(part) - length + 1, length):
            yield part[begin : begin + length][pattern], pattern


def kinetics(pieces, masses, window, limit):
    """Rows: diffusion coefficients, lifetimes, their curves; of pieces (Frames, numbers of frames), one length all."""
    msd, sums, rows = [], [], []
    for frames, steps in pieces:
        pairs = species_pairs(frames[0].to_mdtraj().topology)["Li-Cl"]
        msd.append(mean_square_displacement(unwrap(frames.positions, frames.box), masses, steps - steps[0]))
        sums.append(pair_sums(contacts(frames.positions, frames.box, pairs, CONTACT), steps - steps[0]))
    if len(msd) < 2:
        return rows
    lags = min(len(part) for part in msd)
    msd, sums = np.array([part[:lags] for part in msd]), np.array([part[:, :lags] for part in sums])
    limit = min(limit, INTERVAL * (lags - 1))
    names = np.array(frames.symbols)
    for name in dict.fromkeys(names):
        curve = msd[:, :, names == name].mean(2)
        rows.append(
            row("D", "nm^2/ps", *diffusion_coefficient(curve, INTERVAL, window), species=name, segments=len(msd))
        )
        rows += _curve("msd", "nm^2", curve.mean(0), curve.std(0, ddof=1) / len(curve) ** 0.5, species=name)
    for name, (value, error) in zip(("intermittent", "continuous"), pair_lifetimes(sums, INTERVAL, limit)):
        rows.append(row(f"{name} lifetime", "ps", value, error, pair="Li-Cl", segments=len(sums)))
    share, error = jackknife(sums[:, 2:, 0], lambda total: total[..., 0] / total[..., 1] * (names == "Cl").sum())
    rows.append(row("Cl in contact with a Li", "1", share, error, pair="Li-Cl"))
    for k, name in enumerate(("intermittent", "continuous")):
        of_all = [pair_correlations(sums.sum(0) - part)[k] for part in sums]
        error = np.sqrt((len(sums) - 1) * np.var(of_all, axis=0))
        rows += _curve(f"{name} correlation", "1", pair_correlations(sums.sum(0))[k], error, pair="Li-Cl")
    return rows


def _curve(quantity, unit, value, error, **more):
    """Rows of the first 20 ps of a curve, where it is known."""
    time = INTERVAL * np.arange(len(value))
    return [
        row(quantity, unit, v, e, at=t, **more) for t, v, e in zip(time, value, error) if t <= 20 and np.isfinite(v)
    ]


def structure(reference, frames, sigma):
    """Rows: errors of g(r) against the reference, clean and noised by sigma, and the curves."""
    errors, curves, _ = compare_rdf(reference, frames, sigma)
    rows = []
    for e in errors.to_dict("records"):
        for kind in ("learning", "total"):
            rows.append(
                row(f"{kind} error of g", "1", e[kind], e[f"{kind}_error"], pair=e["pair"], half=e["reference"])
            )
        for r, g, s in zip(curves["r_nm"], curves[f"{e['pair']}_model"], curves[f"{e['pair']}_model_error"]):
            rows.append(row("g", "1", g, s, at=r, pair=e["pair"]))
    return rows


def stability(runs, starts, discard):
    """Rows of each run: how long it survived and computed, what stopped it, shortest distances, temperature."""
    rows, skip = [], round(discard / INTERVAL)
    for k, ((frames, state, survived, closest), start) in enumerate(zip(runs, starts)):
        about = dict(run=k, start="random" if start is None else "frame")
        rows.append(row("survived", "ps", survived, **about))
        if np.isfinite(closest):
            rows.append(row("stopped at a pair", "nm", closest, **about))
        if frames is None:
            continue
        # The speed is an average from the first frame on; the wall time of a part lacks runs that were there before.
        if len(state) > 1:
            rows.append(
                row("wall time of MD", "s", 86.4 * INTERVAL * len(state) / state["Speed (ns/day)"].iloc[-1], **about)
            )
        rows += [row("shortest", "nm", float(d.min()), pair=name, **about) for name, d in shortest(frames).items()]
        energy = state["Kinetic Energy (kJ/mole)"].to_numpy()[skip:]
        if len(energy) > 10:
            degrees = 3 * frames.positions.shape[1]
            rows.append(row("kinetic temperature", "K", *kinetic_temperature(energy, degrees), **about))
    return rows


def series(runs, starts, every=4):
    """Rows of a second table: shortest distances in time, the least of `every` frames."""
    rows = []
    for k, ((frames, *_), start) in enumerate(zip(runs, starts)):
        if frames is None:
            continue
        found = shortest(frames)
        for begin in range(0, len(frames), every):
            about = {"run": k, "start": "random" if start is None else "frame", "time / ps": INTERVAL * (begin + 1)}
            rows.append(
                {**about, **{f"{name} / nm": float(d[begin : begin + every].min()) for name, d in found.items()}}
            )
    return rows
