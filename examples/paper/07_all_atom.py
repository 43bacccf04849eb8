"""All atoms: what noise does to stiff bonds, and whether duplication makes all-atom simulations stable.

    python examples/paper/07_all_atom.py [--quick] [--seed 0] [--output DIR]

Alanine dipeptide, 22 atoms, nothing rigid, 300 K, frames and forces made by OpenMM (amber14, OBC2, steps of 1 fs).
What noise leaves of the stiffness of one bond alone and of every bond of the molecule, under linear energies and
networks; the force error of a network alone, of linear energies of bonds, angles and dihedrals alone, and of both, from
one, two and four fixed draws of noise and from fresh antithetic pairs, of few steps and many, with a wall and without;
how long runs live; and long runs of linear energies without noise, their basins and distributions beside those of the
frames.
"""

import functools

import numpy as np
import torch
from allatom import alanine, stiffness
from allatom.claims import BOTH, WALLED_LONGEST, claims
from allatom.dynamics import FRICTION, TIMESTEP, long_run
from allatom.experiment import Experiment
from allatom.figure import draw
from allatom.models import ALL, BONDED, Arm, error, quiet, recipe
from allatom.structure import compared
from protocol.records import parse, run, tell

from openmm_diffusion import train
from openmm_diffusion.units import thermal_energy

NAME = "07_all_atom"
#: Of the networks, nm: half of the stiffness of bonds between C and H is left.
SIGMA = 0.002
NETWORKS = {
    f"{name}, {draws} draws" if draws else f"{name}, fresh": Arm(linear, True, SIGMA, draws)
    for name, linear in (("network alone", ()), ("linear + network", BONDED))
    for draws in (1, 2, 4, 0)
}
ALONE = [name for name in NETWORKS if name.startswith("network")]
#: A network of many more steps, and such a one with a wall around atoms.
LONGEST = {f"{Arm((), True, walled=wall, times=16).name}, {words}": Arm((), True, SIGMA, draws, wall, 16)
           for wall in (False, True) for words, draws in (("1 draws", 1), ("fresh", 0))}  # fmt: skip
NETWORKS |= LONGEST
SETTINGS = {
    False: dict(
        data=dict(runs=12, duration=400.0, discard=20.0), apart=4, seeds=3, frames=300, tests=300,
        sigmas=(0.0, 0.002), alone=(0.001, 0.002, 0.005), dimers=4000,
        networks=dict.fromkeys([*ALONE, *LONGEST, "linear + network, 1 draws", "linear + network, fresh"], 3),
        steps=100, copies=3, life=1.0, backend="compiled",
        longer={WALLED_LONGEST: 20.0, BOTH: 100.0},
        lives=(0.0, 0.002), runs=1, duration=100.0,
        long=dict(frames=2000, runs=8, duration=1250.0, timestep=TIMESTEP, interval=0.5, discard=10.0),
    ),
    True: dict(
        data=dict(runs=4, duration=7.0, discard=3.0), apart=1, seeds=2, frames=40, tests=20,
        sigmas=(0.0, 0.002), alone=(0.002, 0.005), dimers=400,
        networks={"network alone, 1 draws": 2, "network alone, fresh": 2},
        steps=10, copies=2, life=0.1, backend="python",
        lives=(0.0,), runs=1, duration=1.0, long=None,
    ),
}  # fmt: skip


class Alanine(Experiment):
    """All parts of one call."""

    def __init__(self, options):
        size, directory = SETTINGS[options.quick], options.output / "runs"
        whole = alanine.frames(directory / f"{NAME}-data", **size["data"], seed=options.seed)
        models = directory / f"{NAME}-{whole.digest()[:6]}-{options.seed}"
        super().__init__(whole, size, models, options.output / f"{NAME}.csv", "alanine", options.seed)

    def alone(self, sigma, seed):
        """Rows of one stiff bond alone at a noise level."""
        frames, tests = (stiffness.dimers(n, 300.0, 2 * seed + k) for k, n in enumerate((self.size["dimers"], 20_000)))
        config = recipe(Arm(("bonds",), sigma=sigma), 0, seed)
        model = train(frames, config, progress=False)
        about = {"system": "one bond", "learner": "linear alone", "draws": np.inf}
        return stiffness.rows(tests, model.forces, sigma, seed, about)

    def long(self):
        """Rows of the long runs: lives, basins, distributions."""
        size, seed = self.size["long"], self.seed
        arm = Arm(ALL)
        model, about = self.model(arm, seed, size["frames"]), {**self.about(Arm(ALL)), "learner": "linear, all terms"}
        found, kept = [], []
        step = len(self.frames) // size["runs"]
        for k in range(size["runs"]):
            start = self.frames.positions[step * k + step // 2].astype(float)
            directory = self.models / f"long-{model.digest()[:6]}-{k}"
            given = (size["duration"], size["timestep"], size["interval"])
            x, life, cause = long_run(model, directory, start, *given, 100 * seed + k + 1, self.limits)
            found.append({**about, "quantity": "life", "run": k, "value": life, "of": size["duration"], "cause": cause})
            kept.append(x[round(size["discard"] / size["interval"]) :])
        found.append({**about, "quantity": "force error", "value": error(model, self.tests)})
        return found + [{**about, **row} for row in compared(self.all, kept)]

    def all_parts(self):
        """Every part; those that are done are kept."""
        size = self.size
        self.part("true forces", self.truth, self.seed, len(self.all))
        for number in range(size["seeds"]):
            seed = 100 * self.seed + number
            for sigma in size["alone"]:
                compute = functools.partial(self.alone, sigma, seed)
                self.part(f"one bond, {sigma:g} nm", compute, seed, size["dimers"], sigma=sigma)
            for sigma in size["sigmas"]:
                arm = Arm(sigma=sigma)
                given = dict(sigma=sigma, recipe=recipe(arm, 0, seed), tests=size["tests"])
                compute = functools.partial(self.errors, arm, seed)
                self.part(f"linear, {sigma:g} nm", compute, seed, size["frames"], **given)
                if sigma in size["lives"]:
                    given |= {key: size[key] for key in ("runs", "duration")} | {"timestep": TIMESTEP}
                    for wall in (True, False):
                        compute = functools.partial(self.linear_lives, arm, seed, wall)
                        self.part(f"MD of linear, {sigma:g} nm", compute, seed, size["frames"], **given, wall=wall)
        for name, seeds in size["networks"].items():
            for number in range(seeds):
                seed, arm = 100 * self.seed + number, NETWORKS[name]
                steps = self.steps(arm)
                given = dict(recipe=recipe(arm, size["steps"], seed), tests=size["tests"])
                compute = functools.partial(self.errors, arm, seed)
                self.part(name, compute, seed, size["frames"], steps, **given)
                compute = functools.partial(self.lives, arm, seed)
                self.part(f"MD of {name}", compute, seed, size["frames"], steps, **given, **self.md(arm))
        if size["long"]:
            given = dict(recipe=recipe(Arm(ALL), 0, self.seed), friction=FRICTION, **{
                key: value for key, value in size["long"].items() if key != "frames"})  # fmt: skip
            self.part("long MD of linear", self.long, self.seed, size["long"]["frames"], **given)
        return self.records.table()


def report(table):
    """Print force errors and lives."""
    for quantity in ("force error", "life"):
        rows = table[table["quantity"] == quantity]
        told = rows.groupby(["learner", "sigma / nm", "draws", "fresh"], dropna=False)["value"]
        print(quantity + (", kJ/mol/nm" if quantity == "force error" else ", ps"))
        print(told.agg(["mean", "min", "max", "count"]).to_string(float_format="%.3g"))


def main(arguments=None):
    options = parse(__doc__, arguments)
    quiet()
    torch.set_num_threads(1)
    table = Alanine(options).all_parts()
    draw(table, options.output / f"{NAME}.png")
    report(table)
    tell(claims(table, thermal_energy(alanine.TEMPERATURE)), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
