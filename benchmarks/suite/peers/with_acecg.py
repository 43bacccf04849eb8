"""AceCG 0.2 as a learner: pair potentials of LiCl from denoising labels, by Adam on noise drawn anew in every step.

It runs in a Python of its own (pip install AceCG==0.2.0 mpich numba), through files, as `benchmarks/denoising.py` does.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from learners import learner

sys.path.append(str(Path(__file__).resolve().parents[2]))
from denoising import learnt, pair_forces  # noqa: E402 - benchmarks/denoising.py knows AceCG's files and units

#: nm, kcal/mol/Angstrom: those with the least error after 300 steps of all that benchmarks/README.md shows, which is
#: generous: choices of our learners know no error on frames kept apart.
SETTINGS = dict(sigma=0.01, rate=0.03, steps=300, neighbours="skin")


class Potentials:
    """Three pair potentials by their forces on a grid.

    Parameters
    ----------
    curves : array, shape (3, n_points), kcal/mol/Angstrom
    frames : Frames
        Of the ions and box that they are for.
    cpu_s : float
    """

    def __init__(self, curves, frames, cpu_s):
        self.curves, self.frames, self.cpu_s = curves, frames[:1], cpu_s

    def forces(self, positions, boxes=None):
        frames = replace(self.frames, positions=positions, replica=None)
        return pair_forces(self.curves, frames)


def add(python):
    """Make AceCG known as a learner of LiCl, by the interpreter that has it."""

    @learner(f"AceCG, noise {SETTINGS['sigma']:g} nm", ["licl"], **SETTINGS)
    def fit(frames, folder):
        with np.load(learnt(python, frames, folder=folder / "acecg", **SETTINGS)) as result:
            return Potentials(result["forces"][-1], frames, float(result["seconds"][-1]))
