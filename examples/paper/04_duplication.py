"""Data duplication: when several draws of noise per frame replace frames, and when they cannot.

    python examples/paper/04_duplication.py [FRAMES] [--quick] [--seed 0] [--output DIR]

A number of labels, n m = 500, is divided into n frames with m draws of noise each.  A spring, where theory is a closed
form; three wells of which frames visit two, where it is known what was never seen; and 2.4 M LiCl (FRAMES with exact
mean forces, which are read for the error tables alone; default: the bundled ones), pair potentials and networks over
Coulomb.
With A of frames and B of labels, the squared error is (A + B/m)/n: duplication replaces frames as long as m is small
beside m* = B/A.
"""

import functools
import logging
import os

import torch
from duplication.claims import claims
from duplication.figure import draw
from duplication.law import laws
from duplication.licl import EXACT, LEARNERS, divided, licl_rows, reference_rows
from duplication.network import network_rows
from duplication.wells import spring_rows, visits_rows, wells_rows
from protocol.licl import BUNDLED, ion_frames
from protocol.records import Records, parse, run, tell
from protocol.training import NETWORK, TRAINING

NAME = "04_duplication"
LABELS = ((500, 1), (250, 2), (125, 4), (62, 8), (31, 16))
INFINITE = float("inf")
SETTINGS = {
    False: dict(
        spring_sigmas=(0.002, 0.005, 0.01, 0.0175, 0.0265), spring_divisions=(*LABELS, (15, 32)), repeats=4000,
        well_sigmas=(0.005, 0.01, 0.0265), well_sets=200, visits=(0, 1, 2, 4, 8, 16),
        visit_draws=(1, 4, 16, 64, INFINITE),
        well_divisions=(*LABELS, (62, 1), (62, 64), *((n, INFINITE) for n, _ in LABELS)),
        licl_sigmas=(0.002, 0.005, 0.01, 0.0265), sets=(4, 1), pool=3000, tested=150,
        labels=LABELS, growing=((500, 2), (500, 4), (125, 1), (125, 16)), theory=(300, 8),
        learners=tuple(LEARNERS),
        network_sigmas=(0.005, 0.01), network_divisions=(*LABELS, (500, 4)), network_steps=1000,
        network_sets=(4, 1),
    ),
    True: dict(
        spring_sigmas=(0.005, 0.0265), spring_divisions=LABELS, repeats=800,
        well_sigmas=(0.01, 0.0265), well_sets=40, visits=(0, 4, 16), visit_draws=(1, 16, INFINITE),
        well_divisions=(*LABELS, (62, 1), *((n, INFINITE) for n, _ in LABELS)),
        licl_sigmas=(0.005, 0.0265), sets=(3,), pool=500, tested=40,
        labels=((160, 1), (40, 4)), growing=((160, 4),), theory=(60, 4),
        learners=("single draws", "single draws, fixed penalty", "antithetic pairs, fixed penalty"),
        network_sigmas=(0.01,), network_divisions=((160, 1), (40, 4), (160, 4)), network_steps=60,
        network_sets=(2,),
    ),
}  # fmt: skip


def arms(size):
    """n and m of every learner on LiCl; antithetic draws come in pairs."""
    labels, growing = list(size["labels"]), list(size["growing"])
    both = {"single draws": labels, "antithetic pairs": [(n, m) for n, m in labels if m > 1]}
    fixed = {
        "single draws": labels + growing,
        "antithetic pairs": both["antithetic pairs"] + [(n, m) for n, m in growing if n == labels[0][0]],
    }
    kinds = {name: LEARNERS[name][1] for name in size["learners"]}
    of = {name: (both if chosen else fixed)[name.split(",")[0]] for name, chosen in kinds.items()}
    return {**of, EXACT: [(n, INFINITE) for n, _ in labels]}


def measure(records, frames, path, seed, size):
    """All parts, each with the settings that its rows depend on; those on LiCl several at a time."""
    for sigma in size["spring_sigmas"]:
        given = dict(sigma=sigma, divisions=size["spring_divisions"], repeats=size["repeats"], seed=seed)
        records.part("spring", {**given, "frames": 500, "steps": 0}, lambda given=given: spring_rows(**given))
    for sigma in size["well_sigmas"]:
        given = dict(sigma=sigma, divisions=size["well_divisions"], repeats=size["well_sets"], seed=seed)
        records.part("wells", {**given, "frames": 500, "steps": 0}, lambda given=given: wells_rows(**given))
        given = dict(sigma=sigma, n=62, visits=size["visits"], draws=size["visit_draws"], repeats=size["well_sets"])
        given["seed"] = seed
        records.part("visits", {**given, "frames": 62, "steps": 0}, lambda given=given: visits_rows(**given))
    records.parts(licl_jobs(frames, str(path), seed, size), os.cpu_count() or 1)


def licl_jobs(frames, path, seed, size):
    """Parts on LiCl: pair potentials and their references, then networks."""
    about, jobs = dict(data=frames.digest(), pool=size["pool"], tested=size["tested"], seed=seed), []
    at = [(path, number, seed, size["pool"], size["tested"]) for number in range(len(size["sets"]))]
    for number, count in enumerate(size["sets"]):
        for sigma in size["licl_sigmas"]:
            own = {**about, "sigma": sigma, "division": number, "steps": 0}
            settings = {**own, "theory": size["theory"], "frames": len(divided(*at[number]).pool)}
            compute = functools.partial(reference_rows, at[number], sigma, *size["theory"])
            jobs.append(("licl reference", settings, compute))
            for k in range(count):
                settings = {**own, "set": k, "arms": arms(size), "frames": 500}
                jobs.append(("licl", settings, functools.partial(licl_rows, at[number], k, sigma, arms(size))))
    for number, count in enumerate(size["network_sets"]):
        for k in range(count):
            for sigma in size["network_sigmas"]:
                given = dict(number=k, sigma=sigma, divisions=size["network_divisions"], steps=size["network_steps"])
                settings = {
                    **about,
                    **given,
                    "division": number,
                    "frames": 500,
                    "network": NETWORK,
                    "training": TRAINING,
                }
                compute = functools.partial(network_rows, at[number], **given)
                jobs.append((f"network, {sigma:g} nm", settings, compute))
    return jobs


def main(arguments=None):
    options = parse(__doc__, arguments, BUNDLED)
    frames = ion_frames(options.frames)
    for name in ("lightning.pytorch", "openmm_diffusion"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    records = Records(options.output / f"{NAME}.csv")
    measure(records, frames, options.frames.resolve(), options.seed, SETTINGS[options.quick])
    table = records.table()
    draw(table, options.output / f"{NAME}.png")
    print(laws(table).to_string(index=False, float_format="%.3g"))
    tell(claims(table), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
