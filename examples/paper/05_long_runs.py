"""Long runs: are they stable, what is conserved, and what do they say of motion.

    python examples/paper/05_long_runs.py [FRAMES] [--quick] [--seed 0] [--output DIR]

FRAMES are 2.4 M LiCl (licl_cg.npz, or the bundled 2,000 of them, which are evenly thinned: MD is then thinned
alike).  They come from Langevin dynamics of friction 5/ps, so that motion under a model can be compared
with it at the same friction, on stretches of the same length and with the same code.

Models: a pair potential by exact score matching; the shipped network on top of a pair potential, with an energy head
and with a vector head; and, the paper's way, a network alone, without Coulomb or pair potential, on one fixed
draw of noise (0.1 A) of each of 500 frames.  Score forces promise structure, not kinetics: diffusion coefficients
and lifetimes belong to the friction they were run at, and the script shows by how much.
"""

import logging
import zlib

import numpy as np
import torch
from longruns.claims import claims
from longruns.energy import BEGINNING, drifts, heating, loop_work, refusals
from longruns.figure import draw
from longruns.runs import (
    CONTACT,
    FRICTION,
    INTERVAL,
    SHIPPED,
    SPIKE,
    STEP,
    checked,
    kept,
    kinetics,
    like,
    model,
    place,
    recipe,
    row,
    sample,
    segments,
    series,
    spikes,
    stability,
    structure,
)
from openmm import unit
from protocol.licl import BUNDLED
from protocol.records import Records, parse, run, tell

from openmm_diffusion import Frames
from openmm_diffusion.analysis.comparison import noised
from openmm_diffusion.analysis.dynamics import yeh_hummer_correction
from openmm_diffusion.units import DIFFUSION, nanometers

NAME = "05_long_runs"
#: Of water at 300 K, mPa s (Kestin, Sokolov & Wakeham, J. Phys. Chem. Ref. Data 7, 941 (1978): 0.854 at 26.85 C).
VISCOSITY = 0.85
SETTINGS = {
    False: dict(
        arms={
            ("pair", 5.0): 6, ("pair + network", 5.0): 4, ("pair + vector", 5.0): 4, ("network alone", 5.0): 4,
            ("pair", 1.0): 4, ("pair", 20.0): 4,
        },
        duration=190.0, discard=10.0, segment=119, window=(2.0, 10.0), limit=20.0,
        nve=("pair", "pair + network"), nve_starts=6, nve_duration=20.0, backend="compiled",
        heat={"pair + vector": 8, "pair + network": 4}, heat_duration=160.0, heat_steps=(0.002,),
        loops=20,
    ),
    True: dict(
        arms={("pair", 5.0): 3, ("pair", 1.0): 2, ("pair", 20.0): 2}, duration=25.0, discard=5.0, segment=39,
        window=(1.0, 5.0), limit=10.0, nve=("pair",), nve_starts=1, nve_duration=0.8, backend="native",
        heat={}, heat_duration=0.0, heat_steps=(), loops=4,
    ),
}  # fmt: skip


def starts(frames, runs, seed):
    """Every other run from a frame of a replica that no model was trained on, the others (None) from random places."""
    apart = frames.split(0.3, seed=0)[1]
    first = [apart[apart.replica == number] for number in np.unique(apart.replica)]
    chosen = [part[seed % len(part)].positions[0].astype(float) for part in first]
    return [chosen[(k // 2 + seed) % len(chosen)] if k % 2 == 0 else None for k in range(runs)]


class Experiment:
    """All parts of one call.

    Attributes
    ----------
    records, series : Records
        The table, and shortest distances and energies in time.
    """

    def __init__(self, options):
        self.size, self.seed = SETTINGS[options.quick], options.seed
        self.frames = checked(Frames.load(options.frames), options.frames)
        self.masses = np.array(
            [atom.element.mass.value_in_unit(unit.dalton) for atom in self.frames.topology().atoms()]
        )
        self.data = self.frames.digest()
        self.runs = options.output / "runs" / f"{NAME}-{self.data[:6]}-{self.seed}"
        self.records = Records(options.output / f"{NAME}.csv")
        self.series = Records(options.output / f"{NAME}_series.csv")
        # Of the first replica: others of a thinned reference may have a frame less.
        self.pattern = next(iter(segments(self.frames, self.size["segment"])))[1]

    def part(self, name, compute, records=None, steps=0, **settings):
        given = dict(settings, seed=self.seed, frames=len(self.frames), steps=steps, data=self.data)
        given |= {"timestep": STEP, "interval": INTERVAL, "contact": CONTACT, "spike": SPIKE}
        if "model" in settings:
            given["recipe"] = recipe(settings["model"], self.seed)
        (records or self.records).part(name, given, compute)

    def model(self, name):
        return model(name, self.frames, self.runs, self.seed)

    def sampled(self, name, friction):
        """Runs of one arm, each from where it was left."""
        duration, n = self.size["duration"], self.size["arms"][name, friction]
        directory = place(name, self.runs, self.seed)
        directory = directory.with_name(f"{directory.name}-{friction:g}-{duration:g}ps")
        # Numbers of its own for every arm: they are compared.
        seed = zlib.crc32(f"{name} {friction} {self.seed}".encode()) % 2**30
        return sample(self.model(name), directory, starts(self.frames, n, self.seed), friction, duration, seed)

    def reference(self):
        """Rows of the reference itself."""
        pieces = list(segments(self.frames, self.size["segment"]))
        about = dict(model="reference", friction=FRICTION)
        rows = kinetics(pieces, self.masses, self.size["window"], self.size["limit"])
        rows += structure(self.frames, self.frames, 0.0) + spikes(self.frames)
        edge = float(self.frames.boxes[0, 0, 0])
        size = yeh_hummer_correction(self.frames.temperature, VISCOSITY, nanometers(edge))
        rows.append(row("finite-size correction, not applied", "nm^2/ps", size))
        return [{**about, **r} for r in rows]

    def noised(self, sigma):
        """Rows: how close ions come in frames of the reference with noise, as models of that noise have them."""
        rows = spikes(noised(self.frames, sigma, draws=1, seed=self.seed))
        return [{"model": f"reference noised by {sigma:g} nm", "friction": FRICTION, **r} for r in rows]

    def arm(self, name, friction):
        """Rows of one model at one friction."""
        runs, size = self.sampled(name, friction), self.size
        rows = stability(runs, starts(self.frames, len(runs), self.seed), size["discard"])
        frames = kept(runs, size["discard"])
        if frames is not None:
            pieces = list(like(frames, size["segment"], self.pattern))
            rows += kinetics(pieces, self.masses, size["window"], size["limit"]) + spikes(frames)
            rows += structure(self.frames, frames, self.model(name).sigma)
        return [{"model": name, "friction": friction, **r} for r in rows]

    def frictions(self):
        """Rows: g(r) of the pair potential at other frictions against that at the reference's."""
        base, rows = kept(self.sampled("pair", FRICTION), self.size["discard"]), []
        for friction in [f for name, f in self.size["arms"] if name == "pair" and f != FRICTION]:
            other = kept(self.sampled("pair", friction), self.size["discard"])
            n, m = len(np.unique(base.replica)), len(np.unique(other.replica))
            for r in structure(base, other, 0.0):
                if r["quantity"] == "total error of g":
                    # Halves of n runs differ by the scatter of one run times sqrt(4/n).
                    chance = r.pop("half") * np.sqrt((1 / n + 1 / m) * n / 4)
                    about = dict(model="pair", friction=friction, expected=chance)
                    rows.append({**r, **about, "quantity": "difference of g from friction 5/ps"})
        return rows

    def places(self, name, n):
        """Last frames of the runs of a model that went to their end, n of them; of the reference where none did."""
        runs = self.sampled(name, FRICTION) if (name, FRICTION) in self.size["arms"] else []
        last = [frames.positions[-1] for frames, _, survived, _ in runs if survived >= self.size["duration"]]
        last = last or list(self.frames.positions[:: len(self.frames) // n])
        return [last[k % len(last)].astype(float) for k in range(n)]

    def constant_energy(self, name):
        size, topology = self.size, self.frames.topology()
        at = self.places(name, size["nve_starts"])
        rows = drifts(
            self.model(name), topology, at, size["nve_duration"], (0.001, 0.002, 0.004), self.seed, size["backend"]
        )
        return [{"model": name, **r} for r in rows]

    def heat(self, name, step):
        size, topology = self.size, self.frames.topology()
        at = self.places(name, size["heat"][name])
        rows = heating(self.model(name), topology, at, size["heat_duration"], step, self.seed)
        return [{"model": name, **r} for r in rows]

    def potential(self, name):
        """Rows: work around closed loops, and what is refused."""
        denoiser, apart = self.model(name), self.frames.split(0.3, seed=0)[1]
        rows = loop_work(denoiser, apart, self.size["loops"], self.seed) + refusals(denoiser, self.frames.topology())
        return [{"model": name, **r} for r in rows]

    def all(self):
        """Every part; those that are done are kept."""
        size = self.size
        given = {key: size[key] for key in ("segment", "window", "limit")}
        self.part("reference", self.reference, **given)
        self.part("noised", lambda: self.noised(0.005), sigma=0.005)
        for (name, friction), n in size["arms"].items():
            steps = round(n * size["duration"] / STEP)
            about = dict(model=name, friction=friction, runs=n, duration=size["duration"], discard=size["discard"])
            compute = lambda name=name, friction=friction: self.arm(name, friction)  # noqa: E731
            self.part(f"MD, {name}, {friction:g}/ps", compute, steps=steps, **about, **given)
            # From the trajectories that are there now.
            self.part(f"MD, {name}, {friction:g}/ps", lambda name=name, friction=friction: self.lives(name, friction),
                      self.series, steps=steps, **about)  # fmt: skip
        about = {"runs": [[f, n] for (m, f), n in size["arms"].items() if m == "pair"], "duration": size["duration"]}
        self.part("g(r) and friction", self.frictions, model="pair", **about)
        for name in ("pair", *SHIPPED):
            self.part(f"loops, {name}", lambda name=name: self.potential(name), model=name, loops=size["loops"])
        for name, n in size["heat"].items():
            for step in size["heat_steps"]:
                about = {key: size[key] for key in ("heat_duration", "duration")}
                about |= {"heat_starts": n, "model": name, "step": step}
                compute = lambda name=name, step=step: self.heat(name, step)  # noqa: E731
                steps = round(n * size["heat_duration"] / step)
                self.part(f"heating, {name}, {1000 * step:g} fs", compute, steps=steps, **about)
        for name in size["nve"]:
            about = {key: size[key] for key in ("nve_starts", "nve_duration", "duration", "backend")}
            about |= {"model": name, "beginning": BEGINNING}
            steps = round(size["nve_starts"] * size["nve_duration"] * (1000 + 500 + 250))
            self.part(f"NVE, {name}", lambda name=name: self.constant_energy(name), steps=steps, **about)
        return self.records.table(), self.series.table()

    def lives(self, name, friction):
        runs = self.sampled(name, friction)
        rows = series(runs, starts(self.frames, len(runs), self.seed))
        return [{"model": name, "friction": friction, **r} for r in rows]


def report(table):
    """Print diffusion coefficients and lifetimes, and what they are worth."""
    rows = table[table["quantity"].isin(["D", "intermittent lifetime", "continuous lifetime"])].copy()
    diffusion = rows["quantity"] == "D"
    rows.loc[diffusion, ["value", "error"]] *= DIFFUSION
    rows.loc[diffusion, "unit"] = "1e-9 m^2/s"
    columns = ["quantity", "species", "model", "friction", "value", "error", "unit", "segments"]
    print(rows.sort_values(["quantity", "species"], kind="stable")[columns].to_string(index=False, float_format="%.3g"))
    print("Score forces promise structure, not kinetics: each of these belongs to its friction (1/ps).")
    size = table.loc[table["quantity"] == "finite-size correction, not applied", "value"].iloc[0]
    print(
        f"Finite-size correction of Yeh & Hummer, {VISCOSITY:g} mPa s: {DIFFUSION * size:.2f}e-9 m^2/s; not applied, "
        "for Langevin dynamics without solvent conserves no momentum."
    )


def main(arguments=None):
    options = parse(__doc__, arguments, frames=BUNDLED)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    table, lives = Experiment(options).all()
    draw(table, lives, options.output / f"{NAME}.png")
    report(table)
    tell(claims(table), options.output / f"{NAME}_claims.csv")
    return table


if __name__ == "__main__":
    run(main)
