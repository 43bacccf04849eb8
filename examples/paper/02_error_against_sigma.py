"""Error against the noise level: where smoothing ends and statistics begin.

    python examples/paper/02_error_against_sigma.py [FRAMES] [--quick] [--seed 0] [--output DIR]

Noise of 0.01 to 0.5 Angstrom on a harmonic well (all in closed form), on dimers in a double well of the distance
(exact by quadrature), and on LiCl (FRAMES with exact mean forces, which are read for the tables alone; default: the
bundled ones).  For every level the bias of the force and of the unscaled denoiser, the scatter by frames and draws,
and the life and g(r) of molecular dynamics.  Exponents and crossings go to 02_error_against_sigma_fits.csv.
"""

import logging

import torch
from protocol.licl import BUNDLED, ion_frames
from protocol.records import Records, parse, run, tell
from sigma import double_well_dimer
from sigma.claims import claims
from sigma.figure import draw
from sigma.fits import fits
from sigma.harmonic_well import WIDTH, spring
from sigma.learners import EXACT, LEARNERS, SINGLE, TEMPERATURE
from sigma.licl_levels import Levels, level_config
from sigma.licl_runs import TIME_STEP, md
from sigma.licl_smoothing import Smoothing

NAME = "02_error_against_sigma"
#: Noise levels, nm: 0.01 to 0.5 Angstrom, with those of Harcombe & Duignan.
SIGMAS = (0.001, 0.0014, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.0175, 0.0265, 0.05)
FULL = {
    "sigmas": SIGMAS, "frames": (125, 250, 500, 1000, 2000), "repeats": 400, "seeds": 4,
    "scatter_sigmas": (0.002, 0.005, 0.01, 0.0175, 0.0265), "bias_frames": 4000, "dimer_frames": (125, 500, 2000),
    "licl_frames": 1000, "licl_scatter_frames": (125, 500), "divisions": 2, "test_frames": 300,
    "licl_scatter_sigmas": (0.002, 0.005, 0.01, 0.0265),
    "theory_sigmas": (0.001, 0.002, 0.005, 0.01, 0.0175, 0.0265, 0.05), "theory_frames": 24, "theory_samples": 300,
    "md_sigmas": (0, 0.001, 0.002, 0.005, 0.01, 0.0175, 0.0265, 0.05), "runs": 4, "duration": 80.0, "discard": 10.0,
}  # fmt: skip
QUICK = FULL | {
    "sigmas": (0.001, 0.0014, 0.002, 0.005, 0.0265), "frames": (125, 2000), "repeats": 60, "seeds": 3,
    "scatter_sigmas": (0.005,), "bias_frames": 3000, "dimer_frames": (125,),
    "licl_frames": 150, "licl_scatter_frames": (75,), "divisions": 1, "test_frames": 40,
    "licl_scatter_sigmas": (0.005,), "theory_sigmas": (0.005,), "theory_frames": 2, "theory_samples": 40,
    "md_sigmas": (0.005,), "runs": 1, "duration": 3.0, "discard": 1.0,
}  # fmt: skip


def measure(records, part, about, settings, function, *arguments):
    """One row, of the columns `about` and those of `function(*arguments)`, a dict."""
    records.part(part, {**about, **settings}, lambda: [about | function(*arguments)])


def columns(learner, sigma):
    """What every row says of its learner and noise level (nm)."""
    return dict(learner=learner, sigma_nm=sigma, draws=LEARNERS[learner][0])


def seeds(size, seed):
    """Seeds of the repeats of one call: no two calls have one in common."""
    return range(seed * size["seeds"], (seed + 1) * size["seeds"])


def harmonic(records, size, seed):
    """Bias and scatter of the learnt spring, beside their closed forms."""
    for s in seeds(size, seed):
        given = dict(width=WIDTH, temperature=TEMPERATURE, repeats=size["repeats"], seed=s, steps=0)
        for sigma in size["sigmas"]:
            for n in size["frames"]:
                for learner in LEARNERS:
                    arguments = (learner, sigma, n, size["repeats"], s)
                    measure(records, "harmonic", columns(learner, sigma), {**given, "frames": n}, spring, *arguments)


def dimer(records, size, seed):
    """Bias of fits to many frames; scatter of fits to few."""
    for s in seeds(size, seed):
        given = dict(config=double_well_dimer.CONFIG, temperature=TEMPERATURE, seed=s, steps=0)
        n = size["bias_frames"]
        for sigma in size["sigmas"]:
            settings = {**given, "frames": n}
            measure(records, "dimer", columns(EXACT, sigma), settings, double_well_dimer.bias, sigma, n, s)
        for sigma in size["scatter_sigmas"]:
            for n in size["dimer_frames"]:
                for learner in LEARNERS:
                    about, settings = columns(learner, sigma), {**given, "frames": n}
                    arguments = (learner, sigma, n, s)
                    measure(records, "dimer scatter", about, settings, double_well_dimer.scatter, *arguments)


def licl(records, size, seed, levels, data):
    """Bias and error of fits to many frames, scatter of fits to few about them, and the bias that theory expects."""
    many = size["licl_frames"]
    given = dict(**data, many=many, tests=size["test_frames"])
    for division in range(size["divisions"]):
        own = dict(**given, division=division, seed=100 * seed + division, steps=0)
        for sigma in (0, *size["sigmas"]):
            settings = dict(**own, config=level_config(sigma), frames=many)
            measure(records, "licl", columns(EXACT, sigma), settings, levels.bias, division, sigma)
        for sigma in size["licl_scatter_sigmas"]:
            for learner in LEARNERS:
                for n in size["licl_scatter_frames"]:
                    settings, arguments = dict(**own, config=level_config(sigma), frames=n), (learner, sigma, n)
                    measure(
                        records, "licl scatter", columns(learner, sigma), settings, levels.scatter, division, *arguments
                    )
    count, samples = size["theory_frames"], size["theory_samples"]
    smoothing = Smoothing(levels, count, samples, seed)
    for sigma in size["theory_sigmas"]:
        settings = dict(**given, samples=samples, seed=seed, frames=count, steps=8 * samples)
        measure(records, "licl theory", columns(EXACT, sigma), settings, smoothing.bias, sigma)


def molecular_dynamics(records, size, seed, levels, data):
    """How long runs live, and their g(r): with a wall and many frames, without a wall and few, and of noisy labels."""
    runs, duration, discard = size["runs"], size["duration"], size["discard"]
    few, most = size["licl_scatter_frames"][0], size["licl_scatter_frames"][-1]
    for sigma in size["md_sigmas"]:
        for learner, n, wall in ((EXACT, size["licl_frames"], True), (EXACT, few, False), (SINGLE, most, False)):
            if sigma == 0 and learner != EXACT:
                continue
            about = columns(learner, sigma) | {"learner": learner if wall else f"{learner}, no wall"}
            settings = dict(**data, config=level_config(sigma, wall), frames=n, seed=seed)
            settings |= dict(runs=runs, discard=discard, steps=round(duration / TIME_STEP))
            arguments = (levels, learner, sigma, n, wall, runs, duration, discard, seed)
            measure(records, "md", about, settings, md, *arguments)


def main(arguments=None):
    options = parse(__doc__, arguments, frames=BUNDLED)
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(1)
    size, seed = QUICK if options.quick else FULL, options.seed
    frames = ion_frames(options.frames)
    data = dict(data=frames.digest(), temperature=TEMPERATURE)
    levels = Levels(frames, size["licl_frames"], size["test_frames"], seed)
    records = Records(options.output / f"{NAME}.csv")
    harmonic(records, size, seed)
    dimer(records, size, seed)
    licl(records, size, seed, levels, data)
    molecular_dynamics(records, size, seed, levels, data)
    table = records.table()
    summary = fits(table)
    summary.to_csv(options.output / f"{NAME}_fits.csv", index=False, float_format="%.6g")
    draw(table, summary, options.output / f"{NAME}.png")
    print(summary.round(4).to_string(index=False))
    tell(claims(table, summary), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
