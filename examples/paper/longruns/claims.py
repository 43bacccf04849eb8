"""Verdicts on 05_long_runs.csv, from the table alone.

Values agree with what is expected, or disagree, by the tolerances that are stated here (`verdicts.states`).
"""

import numpy as np
import pandas
from protocol.verdicts import FAILS, HOLDS, below, by_states, states, verdict

from longruns.runs import FRICTION, SPIKE, STEP
from openmm_diffusion.units import DIFFUSION

#: Of pairs of ions below 0.2 nm in a frame: the tail of the contact peak has one in a few hundred frames, and a false
#: well there holds its ions for many.
SPIKES = 0.01
#: K, 3 %: what short runs can tell.
TEMPERATURE = 9.0
#: Of ratios to the reference, and between frictions: an integral over rare events is known less than a slope.
MOTION, LIFETIME = 0.1, 0.5
#: RMSD of g; halves of the reference differ by up to 0.044.
STRUCTURE = 0.1
#: kT/ns per degree of freedom; of an exponent.
DRIFT, EXPONENT = 1e-3, 0.3
#: Work around a loop over that along a side.
LOOP = 1e-3
#: K/ps: as much in the 160 ps of a run.
HEATING = TEMPERATURE / 160
#: Fluctuations of an energy head that those of another energy may have at most: not tenfold.
REPORTED = 10.0


def claims(table):
    """What is said of long runs, what was measured, and a verdict, one row each; of what the table holds."""
    md = table[table["part"].str.startswith("MD")]
    judges = (_survival, _spikes, _temperature, _motion, _lifetimes, _friction, _conserved, _vector)
    found = [claim for judge in judges for claim in judge(table, md)]
    return pandas.DataFrame(found, columns=["claim", "measured", "verdict"])


def _of(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _runs(rows):
    """Runs that every error of the rows is the scatter of; of one alone the error is that of its own line."""
    fewest = rows["runs"].min()
    return None if fewest == 1 else int(fewest)


def _number(value, error, digits=3):
    return f"{value:.{digits}g} +- {error:.1g}"


def _survival(table, md):
    rows = _of(md, quantity="survived")
    # Steps of a part are those of all its runs.
    planned = (STEP * rows["steps"] / rows.groupby("part")["run"].transform("count")).max()
    limits = sorted({t for t in (50, 100, planned) if t <= planned})
    lived = {m: [int((v >= t).sum()) for t in limits] for m, v in rows.groupby("model", sort=False)["value"]}
    total = rows["model"].value_counts()
    measured = ", ".join(f"{m} {', '.join(map(str, n))} of {total[m]}" for m, n in lived.items())
    found = [1 if k == total[m] else -1 for m, n in lived.items() for k in n]
    yield f"runs of {', '.join(f'{t:g}' for t in limits)} ps survive", measured, by_states(found)


def _spikes(table, md):
    total = table[table["quantity"] == "ions below 0.2 nm"].groupby("model", sort=False)["value"].sum()
    frames = _of(table, quantity="frames with ions below 0.2 nm", pair="Li-Cl").groupby("model")["of"].sum()
    # Frames that stop a run are not saved.
    stopped = _of(md, quantity="stopped at a pair")
    stopped = stopped[stopped["value"] < SPIKE].groupby("model").size()
    texts, found = [], []
    for model in dict.fromkeys([*total.index, *md["model"]]):
        count, of, stops = (int(series.get(model, 0)) for series in (total, frames, stopped))
        texts.append(f"{model} {count} in {of} frames" + (f" and {stops} runs stopped at one" if stops else ""))
        if not model.startswith("reference"):
            # A count of n is known to sqrt(n), and none is less than one or two; without a frame nothing is known.
            share, error = (count / of, np.sqrt(count + 1) / of) if of else (0, np.inf)
            found.append(-1 if stops else states(share, error, 0, SPIKES)[0])
    yield "no spikes of g(r) below 2 A: pairs of ions there", ", ".join(texts), by_states(found)


def _temperature(table, md):
    texts, found = [], []
    lived = _of(md, quantity="survived").set_index(["part", "run"])["value"]
    rows = _of(md, quantity="kinetic temperature").set_index(["part", "run"])
    # Of runs that went to their end: what is left of others is too short to tell.
    rows = rows[lived.reindex(rows.index) >= lived.max()].reset_index()
    for (model, friction), part in rows.groupby(["model", "friction"], sort=False):
        mean, error = part["value"].mean(), np.sqrt((part["error"] ** 2).sum()) / len(part)
        texts.append(f"{model} {_number(mean, error, 4)} K at {friction:g}/ps")
        found += [*states(mean, error, 300, TEMPERATURE)]
    yield "kinetic temperature is the thermostat's", ", ".join(texts), by_states(found)


def _ratio(first, second):
    """A ratio of two rows (or columns of rows), and its error."""
    value = first["value"] / second["value"]
    return value, value * np.hypot(first["error"] / first["value"], second["error"] / second["value"])


def _compared(md, reference, tolerance, **chosen):
    """Ratios to the reference at its friction as text, and the verdict."""
    rows = _of(md, friction=FRICTION, **chosen)
    ratio, error = _ratio(rows, reference)
    measured = ", ".join(f"{m} {_number(r, e)}" for m, r, e in zip(rows["model"], ratio, error))
    return measured, by_states(states(ratio, error, 1, tolerance))


def _motion(table, md):
    for species in ("Li", "Cl"):
        reference = _of(table, quantity="D", species=species, model="reference").iloc[0]
        value = _number(DIFFUSION * reference["value"], DIFFUSION * reference["error"])
        claim = f"D of {species} at the friction of the reference, over its {value} 1e-9 m^2/s"
        yield claim, *_compared(md, reference, MOTION, quantity="D", species=species)


def _lifetimes(table, md):
    for kind in ("intermittent", "continuous"):
        reference = _of(table, quantity=f"{kind} lifetime", model="reference").iloc[0]
        claim = f"{kind} Li-Cl lifetime at that friction, over its {_number(reference['value'], reference['error'])} ps"
        yield claim, *_compared(md, reference, LIFETIME, quantity=f"{kind} lifetime")


def _friction(table, md):
    rows = _of(md, quantity="D", model="pair").sort_values("friction")
    found, texts = [], []
    for species, part in rows.groupby("species", sort=False):
        found += [*states(*_ratio(part.iloc[0], part.iloc[-1]), 1, MOTION)]
        values = [f"{DIFFUSION * v:.3g}" for v in part["value"]]
        texts.append(f"{species} {', '.join(values)} 1e-9 m^2/s at {', '.join(f'{f:g}' for f in part['friction'])}/ps")
    yield "kinetics are those of the forces, whatever the friction", "; ".join(texts), by_states(found)
    rows = _of(table, quantity="difference of g from friction 5/ps")
    if len(rows):
        columns = (rows[name] for name in ("pair", "value", "error", "expected", "friction"))
        measured = ", ".join(
            f"{p} {_number(v, e, 2)} ({chance:.3f}) at {f:g}/ps" for p, v, e, chance, f in zip(*columns)
        )
        same = by_states(states(rows["value"], rows["error"], 0, STRUCTURE))
        yield "structure is that of the forces: RMSD of g from that at 5/ps (by chance)", measured, same


def _conserved(table, md):
    rows = _of(table, quantity="drift of energy")
    if len(rows):
        columns = (rows[name] for name in ("model", "value", "error", "step"))
        measured = ", ".join(f"{m} {_number(v, e, 2)} at {1000 * s:g} fs" for m, v, e, s in zip(*columns))
        judged = by_states(states(rows["value"], rows["error"], 0, DRIFT, _runs(rows)))
        yield "energy heads conserve energy: drift, kT/ns per degree of freedom", measured, judged
    rows = _of(table, quantity="exponent of fluctuation in time step")
    if len(rows):
        measured = ", ".join(f"{m} {_number(v, e)}" for m, v, e in zip(rows["model"], rows["value"], rows["error"]))
        judged = by_states(states(rows["value"], rows["error"], 2, EXPONENT, _runs(rows)))
        yield "its fluctuation falls as the time step squared: exponent", measured, judged


def _vector(table, md):
    rows = _of(table, quantity="work around a loop, rms").set_index("model")
    if len(rows):
        side = _of(table, quantity="work along a side, rms").set_index("model")["value"]
        share, error = rows["value"] / side, rows["error"] / side
        measured = ", ".join(f"{m} {v:.1e} +- {e:.0e}" for m, v, e in zip(share.index, share, error))
        judged = by_states(states(share["pair + vector"], error["pair + vector"], 0, LOOP))
        yield "vector heads have a potential: work around a loop over that along a side", measured, judged
        refused = table[table["quantity"].fillna("").str.startswith("refused")]
        count = refused.groupby("model", sort=False)["value"].agg(lambda v: f"{int(v.sum())}/{len(v)}")
        measured = ", ".join(f"{m} {n}" for m, n in count.items())
        good = (refused["value"] == (refused["model"] == "pair + vector")).all()
        claim = "what needs an energy (barostat, energies) is refused for vector heads alone"
        yield claim, measured, HOLDS if good else FAILS
    rows = _of(table, quantity="rate of kinetic temperature")
    if len(rows):
        columns = (rows[name] for name in ("model", "value", "error", "step"))
        measured = ", ".join(f"{m} {_number(v, e, 2)} K/ps at {1000 * s:g} fs" for m, v, e, s in zip(*columns))
        vector = rows[rows["model"] == "pair + vector"]
        judged = by_states(states(vector["value"], vector["error"], 0, HEATING, _runs(vector)))
        yield "without a thermostat vector heads keep their temperature: rate", measured, judged
    rows = _of(table, quantity="fluctuation of kinetic + reported energy").set_index("model")
    if len(rows) > 1:
        measured = ", ".join(
            f"{m} {_number(v, e, 2)} kJ/mol" for m, v, e in zip(rows.index, rows["value"], rows["error"])
        )
        vector, energy = rows.loc["pair + vector"], rows.loc["pair + network"]
        excess = vector["value"] - REPORTED * energy["value"]
        error = np.hypot(vector["error"], REPORTED * energy["error"])
        judged = verdict(*below([(excess, error)], 0, _runs(rows)))
        yield "without a thermostat the energy that OpenMM reports for vector heads is conserved: rms", measured, judged
