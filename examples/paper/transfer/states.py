"""States and what is known of them: frames that all-atom runs left, how they are divided, and models fitted to them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from protocol.licl import COULOMB

from openmm_diffusion import Denoiser, Frames, train
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.units import MOLAR

#: One bead for each molecule, where its oxygen is, with the force on the whole molecule.
BEADS = {"beads": [{"type": "OW", "residue": "HOH", "at": "O"}]}


@dataclass(frozen=True)
class Liquid:
    """What is the same in all states of one liquid.

    Attributes
    ----------
    name : str
    about : dict
        Of `generate`, and the same in every state.
    states : dict
        By the name of each state, what `generate` is told of it; in the order of temperature or concentration.
    model : dict
        Configuration of `train`.
    md : dict
        Arguments of `dynamics`.
    r_range : (float, float), nm
        Of every g(r).
    apart : int
        Runs that no fit sees.
    """

    name: str
    about: dict
    states: dict
    model: dict
    md: dict
    r_range: tuple[float, float]
    apart: int

    def temperature(self, state):
        """K."""
        return float({**self.about, **self.states[state]}["temperature"])


def water(temperatures, edge, waters, runs, model, md, r_range, apart):
    """One-bead water at several temperatures and one density.

    Parameters
    ----------
    temperatures : tuple of float, K
    edge : float, nm
    waters : int
        Molecules.
    runs : dict
        Of `generate`: runs, discard, frames, interval, cutoff.
    model : dict
        Of `train`: pair and manybody.
    md, r_range, apart
        As `Liquid` takes them.
    """
    about = {"ions": {}, "edge": edge, "waters": waters, "map": BEADS, **runs}
    states = {f"{T:g} K": {"temperature": T} for T in temperatures}
    return Liquid("water", about, states, {**model, "network": None}, md, r_range, apart)


def licl(pairs, edge, runs, model, md, r_range, apart):
    """Lithium and chloride at several concentrations in one box, 300 K; `pairs` are ions of each sign."""
    about = {"edge": edge, "temperature": 300, "keep": "ions", **runs}
    states = {f"{n / (MOLAR * edge**3):.1f} M": {"ions": {"Li": n, "Cl": n}} for n in pairs}
    return Liquid("LiCl", about, states, {**model, "prior": {"coulomb": COULOMB}, "network": None}, md, r_range, apart)


class Sources:
    """Frames of every state, made where they are not there yet, and models fitted to some.

    Parameters
    ----------
    directory : path
        Holds runs, and models by the number of their division.
    liquid : Liquid
    given : dict
        By the names of states, files of frames that need not be made.
    """

    def __init__(self, directory, liquid, given=()):
        self.directory, self.liquid, self.given = Path(directory), liquid, dict(given)

    def make(self, progress=None):
        """Run what is missing, state by state; a call that was interrupted goes on where it stopped."""
        for state, own in self.liquid.states.items():
            if state not in self.given and not (self.folder(state) / "frames.npz").exists():
                if progress:
                    progress(f"{self.liquid.name}, {state}: all-atom runs")
                generate({**self.liquid.about, **own}, self.folder(state), resume=True)

    def folder(self, state):
        return self.directory / f"{self.liquid.name}-{state}".lower().replace(" ", "-")

    def frames(self, state):
        """All frames of a state; those of one long run in stretches, as many as there are runs elsewhere."""
        frames = Frames.load(self.given.get(state, self.folder(state) / "frames.npz"))
        if len(np.unique(frames.replica)) == 1:
            numbers = np.arange(len(frames)) * self.liquid.about["runs"] // len(frames)
            frames = frames.renumbered(numbers)
        return frames

    def divided(self, state, seed):
        """Frames of the runs that are learnt from, and of those kept apart: the same numbers in every state."""
        frames = self.frames(state)
        order = np.random.default_rng(seed).permutation(np.unique(frames.replica))
        return tuple(
            frames[np.isin(frames.replica, numbers)]
            for numbers in (order[self.liquid.apart :], order[: self.liquid.apart])
        )

    def fitted(self, states, seed, half=None):
        """The model fitted to the runs of one division, of one state or of several together.

        Parameters
        ----------
        states : tuple of str
        seed : int
            Of the division.
        half : 0 or 1, optional
            Every other one of the runs alone.

        Returns
        -------
        Denoiser
        """
        name = "+".join(states).lower().replace(" ", "-") + ("" if half is None else f"-half-{half}")
        path = self.directory / "models" / f"seed-{seed}" / f"{self.liquid.name.lower()}-{name}.safetensors"
        if not path.exists():
            sets = [self.divided(state, seed)[0] for state in states]
            if half is not None:
                sets = [part[np.isin(part.replica, np.unique(part.replica)[half::2])] for part in sets]
            data = {"test_fraction": 0, "validation_fraction": 0, "several_temperatures": len(states) > 1}
            config = {**self.liquid.model, "data": data}
            model = train(sets if len(sets) > 1 else sets[0], config, progress=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
        return Denoiser.load(path)
