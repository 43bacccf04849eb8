"""Molecules as such: bonds, angles, dihedrals, maps of two of them, chirality and radius of gyration, of two sets.

Everything is by kind, told by the types of the particles in the order of `space.connectivity`.  Molecules are made
whole along their bonds first, so that a bond may be no longer than half the box.  Angles are in degrees.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas

from ...units import thermal_energy
from ..comparison import noised
from ..resampling import block_numbers, block_sums, bootstrap
from .coordinates import internal_coordinates
from .distributions import (
    binned,
    circular_mean,
    common_bins,
    divergence,
    evenly,
    floor,
    free_energy,
    mapped,
    mean_and_width,
    turned_into_circle,
)  # fmt: skip

#: Quantities on a circle.
PERIODIC = ("dihedral", "improper", "map")
#: Bonds so many widths of the data away from their mean are broken.
BROKEN = 10


@dataclass(frozen=True)
class TorsionMap:
    """Counts of two dihedrals in a row.

    Attributes
    ----------
    kind : str
        Types of the five particles, "C-N-CA-C-N".
    clean, model : array, shape (36, 36)
        Counts by the first and the second dihedral, from -180 to 180 degrees.
    divergence, floor : float
        Jensen-Shannon divergence (bit) of model and data, and of two halves of the data.
    """

    kind: str
    clean: np.ndarray
    model: np.ndarray
    divergence: float
    floor: float

    def free_energies(self, kT):
        """Free energies of data and model from their lowest bins on, and that of the model minus that of the data.

        The difference is -kT ln(p_model / p_data), which needs no common zero; NaN where either has no frames.

        Returns
        -------
        clean, model, difference : array, shape (36, 36), kJ/mol
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.model / self.model.sum() / (self.clean / self.clean.sum())
            difference = np.where((self.model > 0) & (self.clean > 0), -kT * np.log(ratio), np.nan)
        return free_energy(self.clean, kT), free_energy(self.model, kT), difference


@dataclass
class MoleculeComparison:
    """Molecules of MD under a model beside those of the data.

    Attributes
    ----------
    table : DataFrame
        Long table: quantity, of, curve, unit, value, error.
    curves : DataFrame
        Densities on common bins: quantity, of, unit, value (centre of the bin), clean, model (per unit).
    maps : list of TorsionMap
    kT : float, kJ/mol
        Of the data.
    broken : dict of str to int
        Bonds of each kind, counted over all frames of MD, that are broken; only those that there are.
    broken_frames : array, dtype int
        Frames of MD that have one.
    n_frames : int
        Frames of MD.
    """

    table: pandas.DataFrame
    curves: pandas.DataFrame
    maps: list
    kT: float
    broken: dict = field(default_factory=dict)
    broken_frames: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    n_frames: int = 0


def compare_molecules(reference, runs, sigma=0.0):
    """Molecules of MD (`runs`) beside those of reference frames.

    Parameters
    ----------
    reference, runs : Frames
        Bonds and masses are those of the reference where both have the same particles in the same order.
    sigma : float, nm
        Noise of the model: means and widths of the noised reference stand beside those of the clean one.

    Returns
    -------
    MoleculeComparison or None
        None where the reference or the runs have no bonds.
    """
    if np.array_equal(runs.types, reference.types):
        runs = replace(runs, bonds=reference.bonds, masses=reference.masses)
    clean, model = internal_coordinates(reference), internal_coordinates(runs)
    noisy = noised(reference, sigma, draws=1) if sigma > 0 else None
    blurred = {} if noisy is None else internal_coordinates(noisy)
    compared = _Comparing(reference, runs, noisy)
    for (quantity, kind), coordinate in clean.items():
        if (quantity, kind) in model:
            other = model[quantity, kind].values
            if quantity == "map":
                compared.map(kind, coordinate.values, other)
            else:
                compared.one(quantity, kind, coordinate, other, blurred.get((quantity, kind)))
    return compared.result() if compared.rows else None


class _Comparing:
    """Rows, curves and maps that a comparison collects."""

    def __init__(self, reference, runs, noisy):
        self.replicas = {"clean": reference.replica, "model": runs.replica}
        if noisy is not None:
            self.replicas["noised"] = noisy.replica
        self.blocks = block_numbers(reference.replica)
        self.number = min(len(reference), len(runs))
        self.kT = thermal_energy(reference.temperature)
        self.rows, self.curves, self.maps, self.broken = [], [], [], {}
        self.in_frame = np.zeros(len(runs), dtype=bool)

    def one(self, quantity, kind, coordinate, model, blurred):
        """A coordinate that is a number."""
        nan, unit, clean = float("nan"), coordinate.unit, coordinate.values
        periodic = quantity in PERIODIC
        centre = circular_mean(clean) if periodic else float(clean.mean(dtype=np.float64))
        values = {"clean": clean} | ({} if blurred is None else {"noised": blurred.values}) | {"model": model}
        both = {name: mean_and_width(part, self.replicas[name], centre, periodic) for name, part in values.items()}
        for number, word in ((0, "mean"), (1, "width")):
            self.rows += [(f"{quantity}, {word}", kind, name, unit, *found[number]) for name, found in both.items()]
        (width, error), (wide, wide_error) = both["clean"][1], both["model"][1]
        if width > 0:
            ratio = wide / width
            spread = np.hypot(error / width, wide_error / wide) if wide > 0 else nan
            self.rows.append((f"{quantity}, ratio of widths", kind, "", "1", ratio, ratio * spread))
        if quantity == "bond":
            self.rows += self._broken(kind, clean, model, centre, width)
        if coordinate.distinct:
            self.rows += self._chirality(kind, clean, model)
        whole = quantity == "dihedral"
        if periodic and not whole:
            clean, model = (centre + turned_into_circle(part - centre) for part in (clean, model))
        edges = common_bins(clean, model, whole)
        found = divergence(*(binned(evenly(part, self.number), edges) for part in (clean, model)))
        halves = floor(binned(clean, edges, self.blocks))
        self.rows.append((f"{quantity}, divergence", kind, "", "bit", found, nan))
        self.rows.append((f"{quantity}, divergence of halves of the data", kind, "", "bit", halves, nan))
        densities = [binned(part, edges) / (part.size * np.diff(edges)) for part in (clean, model)]
        columns = dict(quantity=quantity, of=kind, unit=unit, value=0.5 * (edges[1:] + edges[:-1]))
        self.curves.append(pandas.DataFrame(columns | dict(zip(("clean", "model"), densities))))

    def map(self, kind, clean, model):
        """Two dihedrals in a row."""
        found = divergence(*(mapped(evenly(part, self.number)) for part in (clean, model)))
        halves = floor(mapped(clean, self.blocks))
        self.maps.append(TorsionMap(kind, mapped(clean), mapped(model), found, halves))
        self.rows.append(("map, divergence", kind, "", "bit", found, float("nan")))
        self.rows.append(("map, divergence of halves of the data", kind, "", "bit", halves, float("nan")))

    def _broken(self, kind, clean, model, centre, width):
        """Rows of broken bonds, counted over all frames."""
        rows = []
        for name, values in (("clean", clean), ("model", model)):
            broken = np.abs(values - centre) > max(BROKEN * width, 1e-6)
            rows.append(("bond, broken", kind, name, "1", int(broken.sum()), float("nan")))
        if broken.any():
            self.broken[kind] = int(broken.sum())
            self.in_frame |= broken.any(1)
        return rows

    def _chirality(self, kind, clean, model):
        """Rows of the share of frames in which an improper has the sign that it has in the data, group by group."""
        signs = np.array([np.sign(circular_mean(column)) for column in clean.T])
        if model.shape[1] != len(signs):  # a box of another size: by the mean over all groups of the kind
            signs = np.sign(circular_mean(clean)) * np.ones(1)
        for name, values in (("clean", clean), ("model", model)):
            right = np.stack([(values * signs > 0).mean(1), np.ones(len(values))], -1)
            sums = block_sums(right, block_numbers(self.replicas[name]))
            share = bootstrap(sums, lambda total: total[..., 0] / total[..., 1])
            yield ("improper, frames on the data's side", kind, name, "1", *share)

    def result(self):
        columns = ["quantity", "of", "curve", "unit", "value", "error"]
        return MoleculeComparison(
            pandas.DataFrame(self.rows, columns=columns), pandas.concat(self.curves, ignore_index=True), self.maps,
            self.kT, self.broken, np.flatnonzero(self.in_frame), len(self.in_frame),
        )  # fmt: skip
