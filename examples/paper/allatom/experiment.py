"""What is measured of any molecule: models of arms, their force errors and bonds, and how long runs under them live."""

import functools
from dataclasses import replace

import numpy as np
from protocol.records import Records

from allatom import stiffness
from allatom.claims import BARE
from allatom.dynamics import LOOK, TIMESTEP, Copies, Limits, long_run
from allatom.models import ALANINE, chosen, error, trained, without_wall
from allatom.structure import distributions


class Experiment:
    """Parts of one molecule, at one temperature.

    Parameters
    ----------
    whole : Frames
        All there are.
    size : dict
        Settings: apart (of the runs, the last ones), frames, tests, steps, copies, life (ps), longer (ps, of arms by
        name that have their own), backend, runs, duration, and what a molecule has of its own.
    models : Path
        Directory of models and runs.
    records : Records, or Path of their CSV
    system : str
        What the molecule is called in rows.
    seed : int
    learner : Learner
        The network, and how it is trained.

    Attributes
    ----------
    frames, others, tests : Frames
        Of runs that are learnt from, of the others, and those of the others that forces are compared on.
    limits : Limits
    alike : bool
        Whether all bonds of a kind are, as in a liquid.
    """

    alike = False

    def __init__(self, whole, size, models, records, system, seed, learner=ALANINE):
        self.all, self.size, self.seed, self.digest = whole, size, seed, whole.digest()
        self.models, self.system, self.learner = models, system, learner
        own = np.isin(whole.replica, np.unique(whole.replica)[: -size["apart"]])
        self.frames, self.others = whole[own], whole[~own]
        self.tests = chosen(self.others, size["tests"], seed)
        self.records = records if isinstance(records, Records) else Records(records)
        self.limits = Limits(self.frames)

    def part(self, name, compute, seed, frames, steps=0, **settings):
        """A part of `Records`, of the frames of this experiment."""
        given = dict(settings, seed=seed, frames=frames, steps=steps, data=self.digest)
        self.records.part(name, given, compute)

    def steps(self, arm):
        """Steps that the network of an arm is trained for, at most."""
        return self.size["steps"] * arm.times

    def model(self, arm, seed, number=None):
        """The denoiser of an arm, from so many frames."""
        frames = chosen(self.frames, number or self.size["frames"], seed)
        return trained(arm, frames, self.models, self.size["steps"], seed, self.learner)

    def truth(self):
        """Rows: stiffness by the true forces on clean frames, run by run: what (4.2) of the theory has there is 1."""
        found = []
        for number in np.unique(self.all.replica):
            about = {"system": self.system, "learner": "true forces", "run": int(number)}
            found += stiffness.rows(self.all[self.all.replica == number], None, 0.0, self.seed, about, self.alike)
        return found

    def about(self, arm):
        """What every row says of an arm."""
        draws = arm.draws or np.inf
        if not arm.network:
            draws = np.inf
        name = "linear alone" if not arm.network else arm.name
        return {"system": self.system, "learner": name, "sigma / nm": arm.sigma, "draws": draws,
                "fresh": arm.network and not arm.draws}  # fmt: skip

    def errors(self, arm, seed):
        """Rows of a model: its force error, and the stiffness of bonds."""
        model, about = self.model(arm, seed), self.about(arm)
        rms = float(np.sqrt(np.mean(np.square(self.tests.forces, dtype=float))))
        network = "network" in [term.kind for term in model.header.terms]
        found = [{**about, "quantity": "force error", "value": error(model, self.tests), "of": rms, "kept": network}]
        forces = functools.partial(model.forces, box=self.tests.boxes)
        return found + stiffness.rows(self.tests, forces, arm.sigma, seed, about, self.alike)

    def life(self, arm):
        """ps that runs of a network are followed for at most."""
        return self.size.get("longer", {}).get(arm.name, self.size["life"])

    def md(self, arm):
        """Settings that rows of runs of a network depend on."""
        return {"copies": self.size["copies"], "life": self.life(arm), "timestep": TIMESTEP}

    def starts(self, number, seed):
        """Frames that runs begin from."""
        return chosen(self.frames, number, seed + 50).positions.astype(float)

    def copies(self, arm, seed):
        """Copies under an arm, and what rows say of it."""
        starts = self.starts(self.size["copies"], seed)
        return Copies(self.model(arm, seed), starts, self.limits, self.size["backend"], seed), self.about(arm)

    def lives(self, arm, seed, *kept):
        """Rows of runs of a network: how long each lives; `kept` as `Copies.lives` takes it."""
        copies, about = self.copies(arm, seed)
        lives, causes = copies.lives(self.life(arm), *kept)
        about = {**about, "quantity": "life", "of": self.life(arm)}
        return [{**about, "run": k, "value": float(life), "cause": c} for k, (life, c) in enumerate(zip(lives, causes))]

    def linear_lives(self, arm, seed, wall):
        """Rows of longer runs of linear energies, with the wall or without, and the stiffness of bonds in them."""
        size, model, about = self.size, self.model(arm, seed), self.about(arm)
        if not wall:
            model, about = without_wall(model), {**about, "learner": BARE}
        found, kept = [], []
        for k, start in enumerate(self.starts(size["runs"], seed)):
            directory = self.models / f"run-{model.digest()[:6]}-{size['duration']:g}ps-{k}"
            given = (size["duration"], TIMESTEP, 0.1, 10 * seed + k + 1, self.limits)
            x, life, cause = long_run(model, directory, start, *given)
            found.append({**about, "quantity": "life", "run": k, "value": life, "of": size["duration"], "cause": cause})
            kept.append(x[10:] if len(x) > 20 else x[:0])
        return found + (self.looks(kept, arm, seed, about) if wall else [])

    def looks(self, runs, arm, seed, about):
        """Rows of what runs (arrays of positions) look like."""
        x = np.concatenate(runs)
        return stiffness.in_dynamics(x, self.others, arm.sigma, about, self.alike) if len(x) else []


class Watched(Experiment):
    """An experiment that looks at what runs of networks are like until they end, beside noised frames.

    `size` has looks (of `dynamics`, between positions that are kept) and begin (ps, left out of every run) too.

    Attributes
    ----------
    shown : list of (str, str)
        What there are curves of, as `internal_coordinates` calls it.
    """

    shown = ()

    def seeds(self, number):
        return range(100 * self.seed, 100 * self.seed + number)

    def md(self, arm):
        return super().md(arm) | {key: self.size[key] for key in ("looks", "begin")}

    def errors(self, arm, seed):
        """Rows of a model: force error, stiffness, and where its held-out loss stopped to improve."""
        held_out = self.model(arm, seed).header.held_out if arm.network else {}
        found = [
            {**self.about(arm), "quantity": name, "value": held_out[key], "of": self.steps(arm)}
            for name, key in (("held-out loss", "network_loss"), ("steps taken", "network_steps")) if key in held_out
        ]  # fmt: skip
        return super().errors(arm, seed) + found

    def lives(self, arm, seed):
        """Rows of runs of a network: how long each lives, and what it looks like until then."""
        size, kept = self.size, []
        found = super().lives(arm, seed, kept, size["looks"])
        begin = round(size["begin"] / (LOOK * TIMESTEP * size["looks"]))
        runs = [x[np.isfinite(x).all((1, 2))] for x in np.swapaxes(np.array(kept)[begin:], 0, 1)] if kept else []
        return found + self.looks(runs, arm, seed, self.about(arm))

    def looks(self, runs, arm, seed, about):
        """Rows of what runs look like beside frames that are noised as those of the training."""
        runs = [x for x in runs if len(x) > 10]
        if not runs:
            return []
        noised = stiffness.noised(self.all.positions, arm.sigma, self.seed)
        # Curves are those of one seed, and the data's are kept once.
        shown = self.shown if seed == 100 * self.seed else ()
        found = distributions(replace(self.all, positions=noised), runs, shown)
        found = [{**about, **row} for row in found if not arm.network or row.get("set") != "data"]
        return found + self.more(runs, about) + super().looks(runs, arm, seed, about)

    def more(self, runs, about):
        """Rows of what a molecule has of its own in runs (arrays of positions)."""
        return []
