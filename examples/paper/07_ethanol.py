"""Ethanol with quantum-chemical forces: whether duplication of draws makes all-atom simulations of networks stable.

    python benchmarks/suite/ethanol.py DIR --temperature 300   # and 500: a quarter of an hour each, pip install tblite
    python examples/paper/07_ethanol.py [DIR] [--quick] [--seed 0] [--output DIR]

The second molecule of part 7: nine atoms in the gas phase, nothing rigid, 300 and 500 K, forces of GFN2-xTB, in the
manner of MD17 (these are not MD17's own labels).  Networks alone, of 600 steps from one, two and four fixed draws of
noise and from fresh antithetic pairs of the same 300 frames, with a wall, and of 2,400 steps; a network on top of
linear energies; these alone, without noise and with.  What noise leaves of the bonds, the force error against the true
forces of runs that took no part, how long runs live and what they die of, and distributions of bonds, angles and
C-C-O-H.
"""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from allatom.dynamics import TIMESTEP
from allatom.ethanol import frames as ethanol
from allatom.ethanol.claims import claims
from allatom.ethanol.figure import draw
from allatom.experiment import Watched
from allatom.models import BONDED, Arm, Learner, quiet, recipe
from protocol.records import Records, parse, run, tell

NAME = "07_ethanol"
#: Of the networks, nm: half of the stiffness of the bond between O and H is left at 300 K.
SIGMA = 0.0016
#: Energies along bonds, and the distance of atoms three bonds apart, which hydrogens of ethanol feel.
LINEAR = (*BONDED, "onethree", "onefour")
#: All pairs of the molecule are within the cutoff.
LEARNER = Learner(
    {"cutoff": 0.5, "lmax": 1, "features": 16, "layers": 2},
    {"learning_rate": 0.01, "weight_decay": 0.01, "ema_decay": 0.99, "patience": 5, "validation_draws": 4},
    copies=32, checks=12, held_out=0.15,
)  # fmt: skip
#: Frames whose C-O-H is bent.
BENT = 50
#: A network, one trained for four times the steps, one with a wall around, and one on top of linear energies.
ALONE, LONGER = Arm((), True, SIGMA), Arm((), True, SIGMA, times=4)
WALLED, BOTH = Arm((), True, SIGMA, walled=True), Arm(LINEAR, True, SIGMA)
SETTINGS = {
    False: dict(
        # Temperature (K), network, draws (0: fresh pairs), seeds: the most telling first.
        arms=(
            (300, ALONE, (1, 4, 0), 3), (300, ALONE, (2,), 3), (300, LONGER, (1, 0), 3), (500, ALONE, (1, 0), 3),
            (300, WALLED, (1, 0), 3), (300, BOTH, (0,), 3), (300, LONGER, (2, 4), 3), (500, WALLED, (1, 0), 3),
        ),
        temperatures=(300, 500), apart=2, seeds=3, frames=300, tests=400, steps=600,
        copies=4, life=20.0, longer=dict.fromkeys([BOTH.name, WALLED.name], 100.0), backend="compiled",
        looks=5, begin=1.0, runs=1, duration=100.0,
    ),
    True: dict(
        arms=((300, ALONE, (1, 0), 1), (300, WALLED, (0,), 1)),
        temperatures=(300,), apart=1, seeds=2, frames=60, tests=20, steps=24,
        copies=2, life=0.6, backend="python", looks=1, begin=0.1, runs=1, duration=1.0,
    ),
}  # fmt: skip


class Ethanol(Watched):
    """All parts at one temperature (K)."""

    shown = ethanol.SHOWN

    def __init__(self, options, temperature, records):
        size = SETTINGS[options.quick]
        whole = ethanol.load(None if options.quick else options.frames, temperature, size["apart"])
        models = options.output / "runs" / f"{NAME}-{whole.digest()[:6]}-{options.seed}"
        system = f"ethanol, {temperature:g} K"
        super().__init__(whole, size, models, records, system, options.seed, LEARNER)
        self.temperature = temperature

    def data(self):
        """Rows of the frames alone: stiffness by the true forces, and conformers, run by run."""
        about = {"system": self.system, "learner": "true forces"}
        runs = [self.all.positions[self.all.replica == number] for number in np.unique(self.all.replica)]
        return self.truth() + ethanol.populations(runs, "data", about)

    def more(self, runs, about):
        """Rows of the conformers of runs."""
        return ethanol.populations(runs, "model", about)

    def bends(self, arm, seed):
        """Rows: the energy of a model along C-O-H, mean over frames, and how deep it is where the data are not.

        Energies are above the lowest of those angles that the data have; the second is the lowest of the others.
        """
        model, about = self.model(arm, seed), self.about(arm)
        x, angles = self.tests.positions[:BENT], np.arange(40.0, 171.0, 5.0)
        energy = np.array([np.mean(model.energy(ethanol.bent(x, angle))) for angle in angles])
        seen = ethanol.bend(self.all.positions)
        inside = (angles >= seen.min()) & (angles <= seen.max())
        energy -= energy[inside].min()
        rows = [{**about, "quantity": "bend", "at": a, "value": e, "set": "in the data" if own else "beyond"}
                for a, e, own in zip(angles, energy, inside)]  # fmt: skip
        return [*rows, {**about, "quantity": "beyond the data", "kind": "C-O-H", "value": energy[~inside].min()}]

    def linear_parts(self, walls=()):
        """Parts of linear energies alone, without noise and with: fits, or runs with the wall and without."""
        size = self.size
        for seed in self.seeds(size["seeds"]):
            for sigma in (0.0, SIGMA):
                arm = Arm(LINEAR, sigma=sigma)
                given = dict(sigma=sigma, recipe=recipe(arm, 0, seed), tests=size["tests"])
                name = f"linear, {sigma:g} nm, {self.system}"
                if not walls:
                    self.part(name, functools.partial(self.errors, arm, seed), seed, size["frames"], **given)
                    self.part(
                        f"C-O-H of {name}", functools.partial(self.bends, arm, seed), seed, size["frames"], **given
                    )
                given |= {key: size[key] for key in ("runs", "duration")} | {"timestep": TIMESTEP}
                for wall in walls:
                    compute = functools.partial(self.linear_lives, arm, seed, wall)
                    self.part(f"MD of {name}", compute, seed, size["frames"], **given, wall=wall)

    def network_parts(self, network, draws, seeds):
        """Parts of networks, seed by seed."""
        size, steps = self.size, self.steps(network)
        for seed in self.seeds(seeds):
            for number in draws:
                arm = replace(network, draws=number)
                given = dict(recipe=recipe(arm, size["steps"], seed, LEARNER), tests=size["tests"])
                name = f"{arm.name}, {f'{number} draws' if number else 'fresh'}, {self.system}"
                compute = functools.partial(self.errors, arm, seed)
                self.part(name, compute, seed, size["frames"], steps, **given)
                compute = functools.partial(self.bends, arm, seed)
                self.part(f"C-O-H of {name}", compute, seed, size["frames"], steps, **given)
                compute = functools.partial(self.lives, arm, seed)
                self.part(f"MD of {name}", compute, seed, size["frames"], steps, **given, **self.md(arm))


def report(table):
    """Print force errors, steps and lives."""
    for quantity, unit in (("force error", "kJ/mol/nm"), ("steps taken", ""), ("life", "ps")):
        rows = table[table["quantity"] == quantity]
        told = rows.groupby(["system", "learner", "sigma / nm", "draws", "fresh"], dropna=False)["value"]
        print(f"{quantity}, {unit}".rstrip(", "))
        print(told.agg(["mean", "min", "max", "count"]).to_string(float_format="%.3g"))


def main(arguments=None):
    options = parse(__doc__, arguments, Path("runs/ethanol"))
    quiet()
    torch.set_num_threads(1)
    size, records = SETTINGS[options.quick], Records(options.output / f"{NAME}.csv")
    molecules = {kelvin: Ethanol(options, kelvin, records) for kelvin in size["temperatures"]}
    for molecule in molecules.values():
        molecule.part(f"data, {molecule.system}", molecule.data, options.seed, len(molecule.all))
        molecule.linear_parts()
    for kelvin, network, draws, seeds in size["arms"]:
        molecules[kelvin].network_parts(network, draws, seeds)
    for molecule in molecules.values():
        molecule.linear_parts(walls=(True,))
    table = records.table()
    for kelvin in size["temperatures"]:
        draw(table, options.output / (f"{NAME}.png" if kelvin == 300 else f"{NAME}_{kelvin:g}K.png"), kelvin)
    report(table)
    tell(claims(table), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
