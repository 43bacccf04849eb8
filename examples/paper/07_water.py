"""Liquid water in a periodic box, every atom free: whether duplication of draws makes simulations of networks stable.

    python examples/paper/07_water.py [--quick] [--seed 0] [--output DIR]

The third system of part 7: 64 molecules, 192 atoms, nothing rigid, 300 K, frames and forces made by OpenMM (flexible
SPC/E, PME, steps of 0.5 fs).  Networks alone, from one, two and four fixed draws of noise and from fresh antithetic
pairs of the same few frames, the same with a wall between molecules, and of four times the steps; linear energies of
bonds, angles, 1-3 distances and pairs alone, without noise and with, from as few frames and from more, and with charges
as known beforehand; a network on top of linear energies.  What noise leaves of the O-H bonds, the force error against
the true forces of runs that took no part, how long runs live and what they die of, and distributions of bonds, angles
and distances between molecules.
"""

import functools
from dataclasses import replace

import torch
from allatom.dynamics import TIMESTEP
from allatom.experiment import Watched
from allatom.models import Arm, Learner, quiet, recipe, with_wall
from allatom.water import frames as water
from allatom.water.claims import CHARGED, MANY, claims
from allatom.water.figure import SHOWN, draw
from allatom.water.radial import Radial
from protocol.records import Records, parse, run, tell

NAME = "07_water"
#: Of the networks, nm: half of the stiffness of O-H is left.
SIGMA = 0.0017
LINEAR = ("bonds", "angles", "onethree", "pair")
LEARNER = Learner(
    {"cutoff": 0.35, "lmax": 1, "features": 8, "layers": 2},
    {"learning_rate": 0.01, "weight_decay": 0.01, "ema_decay": 0.98, "patience": 5, "validation_draws": 4},
    copies=4, checks=12, held_out=0.15,
    pair={"cutoff": 0.6, "start": 0.14, "spacing": 0.02, "penalties": [1e3, 1e5, 1e7]},
)  # fmt: skip
#: The charges that the data were made with, which are known of this water alone.
KNOWN = {"coulomb": {"charges": {"O": -0.8476, "H": 0.4238}, "relative_permittivity": 1.0}}
#: A network, one trained for four times the steps, the first with a wall between molecules, and one on top of linear
#: energies.
ALONE, LONGER = Arm((), True, SIGMA), Arm((), True, SIGMA, times=4)
WALLED, BOTH = Arm((), True, SIGMA, walled=True), Arm(LINEAR, True, SIGMA)
SETTINGS = {
    False: dict(
        data=dict(runs=8, duration=40.0, discard=15.0), apart=2, frames=30, tests=200, seeds=3, many=(500, 3),
        # Network, draws (0: fresh pairs), seeds: the most telling first.
        arms=((ALONE, (1, 2, 4, 0), 5), (WALLED, (1, 2, 4, 0), 5), (BOTH, (1, 0), 3), (LONGER, (1, 0), 3)), steps=600,
        copies=2, life=20.0, backend="compiled", looks=5, begin=1.0, runs=1, duration=100.0,
    ),
    True: dict(
        data=dict(runs=3, duration=1.8, discard=0.8), apart=1, frames=10, tests=4, seeds=2, many=(20, 1),
        arms=((ALONE, (1, 0), 1), (WALLED, (0,), 1), (BOTH, (0,), 1)), steps=4,
        copies=1, life=0.26, backend="python", looks=1, begin=0.02, runs=1, duration=2.1,
    ),
}  # fmt: skip


class Water(Watched):
    """All parts of few frames, or, `called` something (str), linear energies of more."""

    shown, alike = SHOWN, True

    def __init__(self, options, whole, records, learner=LEARNER, called=None):
        size = SETTINGS[options.quick]
        if called:
            size = size | dict(zip(("frames", "seeds"), size["many"]))
        models = options.output / "runs" / f"{NAME}-{whole.digest()[:6]}-{options.seed}"
        super().__init__(whole, size, models, records, "water", options.seed, learner)
        self.called = called

    def model(self, arm, seed, number=None):
        """The denoiser of an arm; with a wall between molecules, that of the same network without and of the pairs."""
        if not arm.walled:
            return super().model(arm, seed, number)
        alone = super().model(replace(arm, walled=False), seed, number)
        return with_wall(alone, super().model(Arm(LINEAR, sigma=arm.sigma), seed, number))

    @functools.cached_property
    def radial(self):
        return Radial(self.all)

    def about(self, arm):
        return super().about(arm) | ({"learner": self.called} if self.called else {})

    def data(self):
        """Rows of the frames alone: stiffness by the true forces, and g(r), run by run."""
        return self.truth() + self.radial.rows({"system": self.system, "learner": "true forces"})

    def more(self, runs, about):
        """Rows of the g(r) of runs."""
        return self.radial.rows(about, runs)

    def linear_parts(self, sigmas, walls=()):
        """Parts of linear energies alone at noise levels (nm): fits, or runs with the wall or without."""
        size = self.size
        for seed in self.seeds(size["seeds"]):
            for sigma in sigmas:
                arm = Arm(LINEAR, sigma=sigma)
                given = dict(sigma=sigma, recipe=recipe(arm, 0, seed, self.learner), tests=size["tests"])
                name = f"{self.called or 'linear alone'}, {sigma:g} nm"
                if not walls:
                    self.part(name, functools.partial(self.errors, arm, seed), seed, size["frames"], **given)
                given |= {key: size[key] for key in ("runs", "duration")} | {"timestep": TIMESTEP}
                for wall in walls:
                    compute = functools.partial(self.linear_lives, arm, seed, wall)
                    self.part(f"MD of {name}", compute, seed, size["frames"], **given, wall=wall)

    def network_parts(self, network, draws, seeds):
        """Parts of networks, seed by seed."""
        size = self.size
        for seed in self.seeds(seeds):
            for number in draws:
                arm = replace(network, draws=number)
                given = dict(recipe=recipe(arm, size["steps"], seed, self.learner), tests=size["tests"])
                name = f"{arm.name}, {f'{number} draws' if number else 'fresh'}"
                if not arm.walled:
                    compute = functools.partial(self.errors, arm, seed)
                    self.part(name, compute, seed, size["frames"], self.steps(arm), **given)
                compute = functools.partial(self.lives, arm, seed)
                self.part(f"MD of {name}", compute, seed, size["frames"], self.steps(arm), **given, **self.md(arm))


def report(table):
    """Print force errors, steps and lives."""
    for quantity, unit in (("force error", "kJ/mol/nm"), ("steps taken", ""), ("life", "ps")):
        rows = table[table["quantity"] == quantity]
        told = rows.groupby(["learner", "sigma / nm", "draws", "fresh"], dropna=False)["value"]
        print(f"{quantity}, {unit}".rstrip(", "))
        print(told.agg(["mean", "min", "max", "count"]).to_string(float_format="%.3g"))


def main(arguments=None):
    options = parse(__doc__, arguments)
    quiet()
    torch.set_num_threads(1)
    size, records = SETTINGS[options.quick], Records(options.output / f"{NAME}.csv")
    whole = water.frames(options.output / "runs" / f"{NAME}-data", **size["data"], seed=options.seed)
    few, many = Water(options, whole, records), Water(options, whole, records, called=MANY)
    charged = Water(options, whole, records, replace(LEARNER, prior=KNOWN), CHARGED)
    few.part("data", few.data, options.seed, len(whole))
    few.linear_parts((0.0, SIGMA))
    for more in (many, charged):
        more.linear_parts((0.0,))
    first, *rest = size["arms"]
    few.network_parts(*first)
    few.linear_parts((0.0, SIGMA), walls=(True,))
    for more in (many, charged):
        more.linear_parts((0.0,), walls=(True,))
    for arm in rest:
        few.network_parts(*arm)
    table = records.table()
    draw(table, options.output / f"{NAME}.png")
    report(table)
    tell(claims(table), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
