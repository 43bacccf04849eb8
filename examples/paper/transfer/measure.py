"""A force away from the state of its data: off the own force of the other state, off its labels, and its g(r) in MD."""

import itertools
from pathlib import Path

import numpy as np
import pandas
from arms.runs import Copies
from protocol.training import quiet

from openmm_diffusion import Denoiser, compute_rdf
from openmm_diffusion.analysis.rdf import rmsd
from openmm_diffusion.analysis.resampling import split_half_error
from openmm_diffusion.model.combination import merged
from openmm_diffusion.simulation.guard import closest_allowed
from transfer.states import Sources

#: Whose force it is.  Of the state itself; of another state, as it is or times the ratio of temperatures; the line in
#: temperature through the forces of the two nearest other states; one fit to all states.
OWN, OTHER, SCALED, LINE, ALL = "own", "another's", "another's, scaled", "line through two", "all states at once"
BIN = 0.01  # nm


def fit_rows(directory, liquid, given, seed, states, half):
    """The row of one model, fitted and kept for all that comes after."""
    quiet()
    model = Sources(directory, liquid, given).fitted(states, seed, half)
    penalties = {f"penalty, {term.noun}": term.penalty for term in model.header.terms if term.learnt}
    return [{"liquid": liquid.name, "source": " + ".join(states), "half": half, **penalties}]


def models(sources, target, seed):
    """Every force that is tried in a state.

    Yields
    ------
    kind, source : str
    denoiser : Denoiser
    """
    liquid = sources.liquid
    yield OWN, target, sources.fitted((target,), seed)
    others = [state for state in liquid.states if state != target]
    T = {state: liquid.temperature(state) for state in liquid.states}
    for other in others:
        model = sources.fitted((other,), seed)
        yield OTHER, other, model
        if T[other] != T[target]:
            yield SCALED, other, weighted([model], [T[target] / T[other]])
    if len(others) > 1:
        near = sorted(sorted(others, key=lambda state: abs(T[state] - T[target]))[:2], key=T.get)
        share = (T[target] - T[near[0]]) / (T[near[1]] - T[near[0]])
        yield LINE, " and ".join(near), weighted([sources.fitted((n,), seed) for n in near], [1 - share, share])
    yield ALL, " + ".join(liquid.states), sources.fitted(tuple(liquid.states), seed)


def weighted(denoisers, weights):
    """The weighted sum of what models have learnt, on the prior of the first."""
    prior = denoisers[0].prior
    terms, modules = list(prior.header.terms), prior.modules()
    for denoiser, weight in zip(denoisers, weights):
        for term, module in zip(denoiser.header.terms, denoiser.modules()):
            if term.learnt:
                terms.append(term.model_copy(update={"weight": weight * term.weight}))
                modules.append(module)
    return merged(denoisers[0].rebuilt(terms, modules))


def placed(denoiser, frames):
    """The same force in the state of these frames: their particles, box, temperature and shortest distances."""
    header, found = denoiser.header, frames.shortest_distances()
    shortest = [[found.get((a, b), found.get((b, a))) for b in header.species] for a in header.species]
    update = {
        "particles": frames.types.tolist(), "box": frames.boxes[0].tolist(), "temperature": frames.temperature,
        "number_density": frames.number_density, "shortest_distances": shortest, "data": {}, "held_out": {},
    }  # fmt: skip
    there = header.model_copy(update=update)
    return Denoiser(there).rebuilt(there.terms, denoiser.modules())


def force_rows(directory, liquid, given, seed, target):
    """Rows of forces in one state, on the frames of runs that no fit saw.

    `off own`: rms of the difference from the own force; `noise`: the chance of a fit, as fits to halves of the runs
    tell it (their difference is twice the error of a fit to all); `excess`: the mean square off the
    instantaneous labels beyond that of the own force, with its standard error over runs.  The labels' noise is the
    same for both, so that excess is the difference of their squared errors against the exact mean force.
    """
    quiet()
    sources, rows = Sources(directory, liquid, given), []
    tests = sources.divided(target, seed)[1]
    halves = [of(sources.fitted((target,), seed, half), tests) for half in (0, 1)]
    noise = root_mean_square(halves[0] - halves[1]) / 2
    own = None
    for kind, source, model in models(sources, target, seed):
        force = of(model, tests)
        own = force if own is None else own
        square = (np.square(force - tests.forces) - np.square(own - tests.forces)).mean((1, 2))
        runs = [square[tests.replica == number].mean() for number in np.unique(tests.replica)]
        rows.append(
            {"liquid": liquid.name, "target": target, "kind": kind, "source": source, "force": root_mean_square(own),
             "off own": root_mean_square(force - own), "noise": noise, "excess": np.mean(runs),
             "excess error": np.std(runs, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.nan}
        )  # fmt: skip
    return rows


def of(model, frames):
    """Forces of a model on frames of any of its states, kJ/mol/nm."""
    return model.forces(frames.positions, frames.boxes, species=frames.types.tolist())


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


def md_rows(directory, liquid, given, seed, target, curves):
    """Rows of MD in one state under every force; the g(r) of all go to the file `curves`.

    `g(r) error`: off the data's, rms over the pairs of types; `off own`: off that of MD under the own force; `of the
    data`: what the data of the source's state are off those of this one; `halves`: what halves of the data differ by.
    """
    quiet()
    sources, rows, tables = Sources(directory, liquid, given), [], []
    frames, (seen, _) = sources.frames(target), sources.divided(target, seed)
    data = {state: compute_rdf(sources.frames(state), liquid.r_range, BIN) for state in liquid.states}
    floor = mean_square(split_half_error(data[target]).values())
    starts = seen.positions[np.linspace(0, len(seen) - 1, liquid.md["copies"]).round().astype(int)]
    own, tables = None, [curve(data[target], "data", target)]
    for kind, source, model in models(sources, target, seed):
        model = placed(model, frames)
        copies = Copies(model, starts, closest_allowed(model), liquid.md["backend"], seed)
        kept, lives = copies.run(liquid.md["duration"], liquid.md["discard"])
        row = {"liquid": liquid.name, "target": target, "kind": kind, "source": source, "halves": floor,
               "survival": float(lives.mean() / liquid.md["duration"])}  # fmt: skip
        if source in data:
            row["of the data"] = apart(data[source], data[target])
        if kept is not None and len(kept) > 1:
            found = compute_rdf(kept, liquid.r_range, BIN)
            own = found if kind == OWN else own
            row["g(r) error"] = apart(found, data[target])
            row |= {f"g(r) error, {pair}": rmsd(found.g[pair], data[target].g[pair]) for pair in found.g}
            if own is not None:
                row["off own"] = apart(found, own)
            tables.append(curve(found, kind, source))
        rows.append(row)
    table = pandas.concat(tables).assign(liquid=liquid.name, target=target)
    Path(curves).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(curves, index=False, float_format="%.4g")
    return rows


def apart(first, second):
    """Rms over bins and pairs of the difference of two g(r)."""
    return mean_square(rmsd(first.g[pair], second.g[pair]) for pair in second.g)


def mean_square(values):
    """Root of the mean of the squares."""
    return float(np.sqrt(np.mean(np.square(list(values)))))


def curve(rdf, kind, source):
    """Every g(r) of a set in rows, two bins in one."""
    parts = []
    for pair, g in rdf.g.items():
        even = len(rdf.r) // 2 * 2
        r, g = (np.asarray(values)[:even].reshape(-1, 2).mean(1) for values in (rdf.r, g))
        parts.append(pandas.DataFrame({"kind": kind, "source": source, "pair": pair, "r / nm": r, "g": g}))
    return pandas.concat(parts)


def fits_of(liquid):
    """All that is fitted: every state, its halves, and all states at once."""
    alone = [((state,), half) for state, half in itertools.product(liquid.states, (None, 0, 1))]
    return [*alone, (tuple(liquid.states), None)]
