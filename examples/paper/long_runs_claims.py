"""Verdicts on 05_long_runs.csv, from the table alone."""

import numpy as np
import pandas

from openmm_diffusion.units import DIFFUSION

HOLDS, CONDITIONS, FAILS = "holds", "holds under conditions", "does not hold"
FRICTION = 5.0


def claims(table):
    """What is said of long runs, what was measured, and a verdict, one row each; of what the table holds."""
    found = []

    def judge(claim, measured, verdict):
        found.append({"claim": claim, "measured": measured, "verdict": verdict})

    md = table[table["part"].str.startswith("MD")]
    for judged in (_survival, _spikes, _temperature, _motion, _lifetimes, _friction, _conserved, _vector):
        for claim in judged(table, md):
            judge(*claim)
    return pandas.DataFrame(found)


def _of(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _number(value, error, digits=3):
    return f"{value:.{digits}g} +- {error:.1g}"


def _survival(table, md):
    rows = _of(md, quantity="survived")
    longest = rows["value"].max()
    for limit in sorted({t for t in (50, 100, longest) if t <= longest}):
        lived = rows.groupby("model", sort=False)["value"].agg(lambda v, t=limit: f"{(v >= t).sum()}/{len(v)}")
        alive = (rows["value"] >= limit).all()
        verdict = HOLDS if alive else FAILS if not (rows["value"] >= limit).any() else CONDITIONS
        yield f"runs of {limit:g} ps survive", ", ".join(f"{m} {n}" for m, n in lived.items()), verdict


def _spikes(table, md):
    rows = table[table["quantity"] == "ions below 0.2 nm"]
    total = rows.groupby("model", sort=False)[["value"]].sum()
    frames = _of(table, quantity="frames with ions below 0.2 nm", pair="Li-Cl").groupby("model", sort=False)["of"].sum()
    measured = ", ".join(f"{m} {int(v)} in {int(frames[m])} frames" for m, v in total["value"].items())
    # One ion in a hundred frames is the tail of the contact peak; a false well below 2 A holds its ions for many.
    share = (total["value"] / frames)[[m for m in total.index if "reference" not in m]]
    verdict = HOLDS if (share < 0.01).all() else CONDITIONS if (share < 0.01).any() else FAILS
    yield "no spikes of g(r) below 2 A: pairs of ions there", measured, verdict


def _temperature(table, md):
    rows = _of(md, quantity="kinetic temperature")
    texts, good = [], []
    for (model, friction), part in rows.groupby(["model", "friction"], sort=False):
        mean, error = part["value"].mean(), np.sqrt((part["error"] ** 2).sum()) / len(part)
        texts.append(f"{model} {_number(mean, error, 4)} K at {friction:g}/ps")
        good.append(abs(mean - 300) < 4 * error)
    yield "kinetic temperature is the thermostat's", ", ".join(texts), HOLDS if all(good) else CONDITIONS


def _compared(rows, reference):
    """Ratios to the reference with errors, and whether each is 1 within 3 of them, or within a tenth."""
    ratio = rows["value"].to_numpy() / reference["value"]
    error = ratio * np.hypot(
        rows["error"].to_numpy() / rows["value"].to_numpy(), reference["error"] / reference["value"]
    )
    return ratio, error, np.abs(ratio - 1) < np.maximum(3 * error, 0.1)


def _motion(table, md):
    for species in ("Li", "Cl"):
        reference = _of(table, quantity="D", species=species, model="reference").iloc[0]
        rows = _of(md, quantity="D", species=species, friction=FRICTION)
        ratio, error, good = _compared(rows, reference)
        value = _number(DIFFUSION * reference["value"], DIFFUSION * reference["error"])
        measured = ", ".join(f"{m} {_number(r, e)}" for m, r, e in zip(rows["model"], ratio, error))
        verdict = CONDITIONS if good.any() else FAILS
        yield f"D of {species} at the friction of the reference, over its {value} 1e-9 m^2/s", measured, verdict


def _lifetimes(table, md):
    for kind in ("intermittent", "continuous"):
        reference = _of(table, quantity=f"{kind} lifetime", model="reference").iloc[0]
        rows = _of(md, quantity=f"{kind} lifetime", friction=FRICTION)
        ratio, error, good = _compared(rows, reference)
        value = _number(reference["value"], reference["error"])
        measured = ", ".join(f"{m} {_number(r, e, 2)}" for m, r, e in zip(rows["model"], ratio, error))
        verdict = CONDITIONS if good.any() else FAILS
        yield f"{kind} Li-Cl lifetime at that friction, over its {value} ps", measured, verdict


def _friction(table, md):
    rows = _of(md, quantity="D", model="pair").sort_values("friction")
    differ, texts = [], []
    for species, part in rows.groupby("species", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        differ.append(first["value"] - last["value"] > 4 * np.hypot(first["error"], last["error"]))
        values = [f"{DIFFUSION * v:.3g}" for v in part["value"]]
        texts.append(f"{species} {', '.join(values)} 1e-9 m^2/s at {', '.join(f'{f:g}' for f in part['friction'])}/ps")
    yield (
        "kinetics are those of the forces, whatever the friction",
        "; ".join(texts),
        FAILS if all(differ) else CONDITIONS,
    )
    rows = _of(table, quantity="difference of g from friction 5/ps")
    if not len(rows):
        return
    same = (rows["value"] < 2 * rows["expected"] + 2 * rows["error"]).all()
    measured = ", ".join(
        f"{p} {v:.3f} ({e:.3f}) at {f:g}/ps"
        for p, v, e, f in zip(rows["pair"], rows["value"], rows["expected"], rows["friction"])
    )
    yield "structure is that of the forces: RMSD of g from that at 5/ps (by chance)", measured, HOLDS if same else FAILS


def _conserved(table, md):
    rows = table[table["quantity"] == "drift of energy"]
    if len(rows):
        # Double precision: what is left is the error of Verlet's, which does not drift.
        good = (rows["value"].abs() < 4 * rows["error"] + 0.01).all()
        rows = rows[rows["step"] == 0.002]
        measured = ", ".join(f"{m} {v:.1g} +- {e:.1g}" for m, v, e in zip(rows["model"], rows["value"], rows["error"]))
        yield (
            "energy heads conserve energy: drift at 2 fs, kT/ns per degree of freedom",
            measured,
            HOLDS if good else FAILS,
        )
    rows = table[table["quantity"] == "exponent of fluctuation in time step"]
    if len(rows):
        good = ((rows["value"] - 2).abs() < np.maximum(4 * rows["error"], 0.2)).all()
        measured = ", ".join(f"{m} {_number(v, e)}" for m, v, e in zip(rows["model"], rows["value"], rows["error"]))
        yield "its fluctuation falls as the time step squared: exponent", measured, HOLDS if good else FAILS


def _vector(table, md):
    rows = table[table["quantity"] == "work around a loop, rms"].set_index("model")
    if len(rows):
        side = table[table["quantity"] == "work along a side, rms"].set_index("model")["value"]
        share = rows["value"] / side
        measured = ", ".join(f"{m} {v:.1e}" for m, v in share.items())
        closed = share["pair + vector"] < 1e-3
        yield (
            "vector heads have a potential: work around a loop over that along a side",
            measured,
            HOLDS if closed else FAILS,
        )
        refused = table[table["quantity"].fillna("").str.startswith("refused")]
        count = refused.groupby("model", sort=False)["value"].agg(lambda v: f"{int(v.sum())}/{len(v)}")
        measured = ", ".join(f"{m} {n}" for m, n in count.items())
        good = (refused["value"] == (refused["model"] == "pair + vector")).all()
        yield (
            "what needs an energy (barostat, energies) is refused for vector heads alone",
            measured,
            HOLDS if good else FAILS,
        )
    rows = table[table["quantity"] == "rate of kinetic temperature"]
    if len(rows):
        measured = ", ".join(
            f"{m} {_number(v, e, 2)} K/ps at {1000 * s:g} fs"
            for m, v, e, s in zip(rows["model"], rows["value"], rows["error"], rows["step"])
        )
        vector = rows[rows["model"] == "pair + vector"]
        # Not seen to change is not the same as kept: the error is part of the verdict.
        steady = (vector["value"].abs() < 3 * vector["error"]).all()
        yield (
            "without a thermostat vector heads keep their temperature: rate",
            measured,
            CONDITIONS if steady else FAILS,
        )
    rows = table[table["quantity"] == "fluctuation of kinetic + reported energy"].set_index("model")["value"]
    if len(rows) > 1:
        measured = ", ".join(f"{m} {v:.2g} kJ/mol" for m, v in rows.items())
        same = rows["pair + vector"] < 10 * rows["pair + network"]
        yield (
            "without a thermostat the energy that OpenMM reports is conserved: rms",
            measured,
            HOLDS if same else FAILS,
        )
