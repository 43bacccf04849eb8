"""Verdicts on 05_long_runs.csv, from the table alone.

A value agrees with what is expected if it does so with two standard errors to spare, within a tolerance that is stated
here; it disagrees if it is off by more, again with two to spare; otherwise it is open: a larger error helps no claim.
"""

import numpy as np
import pandas

from openmm_diffusion.units import DIFFUSION

HOLDS, CONDITIONS, FAILS, OPEN = "holds", "holds under conditions", "does not hold", "not decided"
FRICTION = 5.0
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
#: K/ps: 4 K in the 40 ps of a run.
HEATING = 0.1


def states(value, error, expected, tolerance):
    """1 where a value agrees with the expected one, -1 where it does not, 0 where its error (or none) leaves it open.

    Parameters
    ----------
    value, error, expected : array, shape (n,), or float
    tolerance : float

    Returns
    -------
    array, shape (n,), dtype int
    """
    off, slack = np.abs(np.subtract(value, expected)), 2 * np.asarray(error)
    return np.atleast_1d((off + slack <= tolerance).astype(int) - (off - slack > tolerance))


def verdict(found):
    """Of a claim with several instances, by their states."""
    found = np.asarray(found)
    return HOLDS if (found > 0).all() else CONDITIONS if (found > 0).any() else FAILS if (found < 0).any() else OPEN


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


def _number(value, error, digits=3):
    return f"{value:.{digits}g} +- {error:.1g}"


def _survival(table, md):
    rows = _of(md, quantity="survived")
    longest = rows["value"].max()
    limits = sorted({t for t in (50, 100, longest) if t <= longest})
    lived = {m: [int((v >= t).sum()) for t in limits] for m, v in rows.groupby("model", sort=False)["value"]}
    total = rows["model"].value_counts()
    measured = ", ".join(f"{m} {', '.join(map(str, n))} of {total[m]}" for m, n in lived.items())
    found = [1 if k == total[m] else -1 for m, n in lived.items() for k in n]
    yield f"runs of {', '.join(f'{t:g}' for t in limits)} ps survive", measured, verdict(found)


def _spikes(table, md):
    total = table[table["quantity"] == "ions below 0.2 nm"].groupby("model", sort=False)["value"].sum()
    frames = _of(table, quantity="frames with ions below 0.2 nm", pair="Li-Cl").groupby("model")["of"].sum()
    rows = _of(md, quantity="survived")
    # The guard's reason is a close pair, whose frame is not saved.
    stopped = (rows["value"] < rows["value"].max()).groupby(rows["model"]).sum()
    texts, found = [], []
    for model in dict.fromkeys([*total.index, *rows["model"]]):
        count, of, stops = (int(series.get(model, 0)) for series in (total, frames, stopped))
        texts.append(f"{model} {count} in {of} frames" + (f" and {stops} runs stopped" if stops else ""))
        if not model.startswith("reference"):
            # A count of n is known to sqrt(n), and none is less than one or two.
            found.append(-1 if stops else states(count / of, np.sqrt(count + 1) / of, 0, SPIKES)[0])
    yield "no spikes of g(r) below 2 A: pairs of ions there", ", ".join(texts), verdict(found)


def _temperature(table, md):
    texts, found = [], []
    for (model, friction), part in _of(md, quantity="kinetic temperature").groupby(["model", "friction"], sort=False):
        mean, error = part["value"].mean(), np.sqrt((part["error"] ** 2).sum()) / len(part)
        texts.append(f"{model} {_number(mean, error, 4)} K at {friction:g}/ps")
        found += [*states(mean, error, 300, TEMPERATURE)]
    yield "kinetic temperature is the thermostat's", ", ".join(texts), verdict(found)


def _ratio(first, second):
    """A ratio of two rows (or columns of rows), and its error."""
    value = first["value"] / second["value"]
    return value, value * np.hypot(first["error"] / first["value"], second["error"] / second["value"])


def _compared(md, reference, tolerance, **chosen):
    """Ratios to the reference at its friction as text, and the verdict."""
    rows = _of(md, friction=FRICTION, **chosen)
    ratio, error = _ratio(rows, reference)
    measured = ", ".join(f"{m} {_number(r, e)}" for m, r, e in zip(rows["model"], ratio, error))
    return measured, verdict(states(ratio, error, 1, tolerance))


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
    yield "kinetics are those of the forces, whatever the friction", "; ".join(texts), verdict(found)
    rows = _of(table, quantity="difference of g from friction 5/ps")
    if len(rows):
        columns = (rows[name] for name in ("pair", "value", "error", "expected", "friction"))
        measured = ", ".join(
            f"{p} {_number(v, e, 2)} ({chance:.3f}) at {f:g}/ps" for p, v, e, chance, f in zip(*columns)
        )
        same = verdict(states(rows["value"], rows["error"], 0, STRUCTURE))
        yield "structure is that of the forces: RMSD of g from that at 5/ps (by chance)", measured, same


def _conserved(table, md):
    rows = _of(table, quantity="drift of energy")
    if len(rows):
        columns = (rows[name] for name in ("model", "value", "error", "step"))
        measured = ", ".join(f"{m} {_number(v, e, 2)} at {1000 * s:g} fs" for m, v, e, s in zip(*columns))
        judged = verdict(states(rows["value"], rows["error"], 0, DRIFT))
        yield "the pair potential conserves energy: drift, kT/ns per degree of freedom", measured, judged
    rows = _of(table, quantity="exponent of fluctuation in time step")
    if len(rows):
        measured = ", ".join(f"{m} {_number(v, e)}" for m, v, e in zip(rows["model"], rows["value"], rows["error"]))
        judged = verdict(states(rows["value"], rows["error"], 2, EXPONENT))
        yield "its fluctuation falls as the time step squared: exponent", measured, judged


def _vector(table, md):
    rows = _of(table, quantity="work around a loop, rms").set_index("model")
    if len(rows):
        side = _of(table, quantity="work along a side, rms").set_index("model")["value"]
        share, error = rows["value"] / side, rows["error"] / side
        measured = ", ".join(f"{m} {v:.1e} +- {e:.0e}" for m, v, e in zip(share.index, share, error))
        judged = verdict(states(share["pair + vector"], error["pair + vector"], 0, LOOP))
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
        judged = verdict(states(vector["value"], vector["error"], 0, HEATING))
        yield "without a thermostat vector heads keep their temperature: rate", measured, judged
    rows = _of(table, quantity="fluctuation of kinetic + reported energy").set_index("model")["value"]
    if len(rows) > 1:
        measured = ", ".join(f"{m} {v:.2g} kJ/mol" for m, v in rows.items())
        judged = HOLDS if rows["pair + vector"] < 10 * rows["pair + network"] else FAILS
        yield "without a thermostat the energy that OpenMM reports for vector heads is conserved: rms", measured, judged
