"""Wrong inputs of frames and analyses: Frames, what reads and cuts them, g(r), coarsening."""

import numpy as np
from cases import NO_COUNTS, NO_NUMBERS, Wrong, arrays, numbers
from openmm import unit

from openmm_diffusion import Frames, Mapping, coarsen, compute_rdf
from openmm_diffusion.analysis.dynamics import yeh_hummer_correction
from openmm_diffusion.noise import draw_noise, force_from_denoised

LENGTHS = {"zero": (0, " 0"), "minus one": (-1, "-1"), "kelvin": (3 * unit.kelvin, "3 K")}
MAP = {"beads": [{"type": "A", "select": "all", "per": "atom"}]}


def made(change):
    """Frames with some fields replaced."""
    return lambda i: Frames(**{**i.fields, **change(i)})


FRAMES = [
    *arrays("C", "Frames", "positions", lambda i: i.frames.positions.astype(float), lambda i, x: made(lambda _: {"positions": x})(i)),
    *arrays("C", "Frames", "box", lambda i: i.box, lambda i, x: made(lambda _: {"box": x})(i)),
    *arrays("C", "Frames", "forces", lambda i: np.ones_like(i.frames.positions, dtype=float), lambda i, x: made(lambda _: {"forces": x})(i), leave=("NaN",)),
    *arrays("C", "Frames", "masses", lambda i: np.array(i.frames.masses), lambda i, x: made(lambda _: {"masses": x})(i), leave=("NaN", "kelvin", "infinity")),
    *numbers("C", "Frames", "temperature", lambda i, v: made(lambda _: {"temperature": v})(i),
             more={"zero": (0, " 0"), "minus one": (-1, "-1"), "nm": (3 * unit.nanometer, "3 nm")}),
    Wrong("C", "Frames", "forces per particle", made(lambda i: {"forces": np.ones(i.frames.positions.shape) * unit.kilojoule / unit.nanometer}), "forces are in .* no force per mole"),
    Wrong("C", "Frames", "masses in kelvin", made(lambda i: {"masses": i.frames.masses * unit.kelvin}), "masses are in kelvin"),
    Wrong("C", "Frames", "a mass of infinity", made(lambda i: {"masses": i.frames.masses + np.inf}), "masses holds inf amu"),
    Wrong("C", "Frames", "a box of zeros", made(lambda i: {"box": np.zeros((3, 3))}), "box has an edge of 0 nm"),
    Wrong("C", "Frames", "a box turned inside out", made(lambda i: {"box": -i.box}), "box has an edge of -2.5"),
    Wrong("C", "Frames", "a box of four rows", made(lambda i: {"box": np.ones((4, 3))}), "box has shape"),
    Wrong("C", "Frames", "positions too large for single precision", made(lambda i: {"positions": i.frames.positions.astype(float) * 1e300}), "positions holds NaN or Inf"),
    Wrong("C", "Frames", "a NaN in one place", made(lambda i: {"positions": np.where(np.arange(3) == 1, np.nan, i.frames.positions)}), "positions holds NaN"),
    Wrong("C", "Frames", "species of true and false", made(lambda i: {"species": i.frames.species > 3}), "species"),
    Wrong("C", "Frames", "species of complex numbers", made(lambda i: {"species": i.frames.species + 0j}), "species"),
    Wrong("C", "Frames", "species of None", made(lambda i: {"species": None}), "species"),
    Wrong("C", "Frames", "replica of true and false", made(lambda i: {"replica": [True] * 4}), "replica has"),
    Wrong("C", "Frames", "replica of numbers with decimals", made(lambda i: {"replica": np.arange(4) + 0.5}), "replica has"),
    Wrong("C", "Frames", "bonds of numbers with decimals", made(lambda i: {"bonds": [[0.0, 1.0]]}), "bonds has"),
    Wrong("C", "Frames", "bonds beyond the particles", made(lambda i: {"bonds": [[0, 10**6]]}), "bonds holds"),
    Wrong("F", "Frames", "positions of None", made(lambda i: {"positions": None}), "positions is None"),
    Wrong("F", "Frames", "positions empty", made(lambda i: {"positions": np.zeros((0, 48, 3))}), "positions has shape"),
    Wrong("F", "Frames", "a ragged list of bonds", made(lambda i: {"bonds": [[0, 1], [2]]}), "bonds is"),
    Wrong("F", "Frames", "a ragged list of types", made(lambda i: {"types": [["Li"], ["Li", "Cl"]]}), "types is"),
    Wrong("F", "Frames", "types longer than a word", made(lambda i: {"types": ["x" * 10000] * 48}), "types holds"),
    Wrong("D", "Frames", "a string of a megabyte for positions", made(lambda i: {"positions": "x" * 10**6}), "positions is 'xx"),
    Wrong("D", "Frames", "a list of a million strings", made(lambda i: {"positions": ["x"] * 10**6}), "positions is an array of strings"),
]  # fmt: skip

SPLIT = [
    *numbers("C", "Frames.split", "fraction", lambda i, v: i.frames.split(v),
             more={"zero": (0, " 0"), "one": (1, " 1"), "minus": (-0.5, "-0.5")}),
    *numbers("C", "Frames.split", "seed", lambda i, v: i.frames.split(0.5, v), NO_COUNTS),
    *numbers("C", "Frames.shortest_distances", "exclusions", lambda i, v: i.frames.shortest_distances(v), NO_COUNTS),
    Wrong("F", "Frames.concatenate", "an empty list", lambda i: Frames.concatenate([]), "parts is an empty list"),
    Wrong("F", "Frames.concatenate", "paths", lambda i: Frames.concatenate(["a.npz", "b.npz"]), "parts is .*a.npz"),
    Wrong("F", "Frames.concatenate", "frames with a box and without", lambda i: Frames.concatenate([i.frames, made(lambda _: {"box": None})(i)]), "periodic"),
    Wrong("E", "Frames.save", "another extension", lambda i: i.frames.save(i.out), "give a name that ends in .npz"),
    Wrong("E", "Frames.save", "None", lambda i: i.frames.save(None), "path is None"),
    Wrong("E", "Frames.save", "a directory that is not there", lambda i: i.frames.save(i.out / "a.npz"), "out"),
]  # fmt: skip

RDF = [
    *numbers("C", "compute_rdf", "bin_width", lambda i, v: compute_rdf(i.frames, bin_width=v), more=LENGTHS),
    *numbers("C", "compute_rdf", "n_blocks", lambda i, v: compute_rdf(i.frames, n_blocks=v), NO_COUNTS),
    *numbers("C", "compute_rdf", "frames_per_chunk", lambda i, v: compute_rdf(i.frames, frames_per_chunk=v), NO_COUNTS),
    Wrong("C", "compute_rdf", "r_range of NaN", lambda i: compute_rdf(i.frames, (0.2, np.nan)), "r_range holds NaN"),
    Wrong("C", "compute_rdf", "r_range in kelvin", lambda i: compute_rdf(i.frames, [0.2, 0.8] * unit.kelvin), "r_range"),
    Wrong("C", "compute_rdf", "r_range backwards", lambda i: compute_rdf(i.frames, (0.8, 0.2)), "r_range is 0.8 to 0.2"),
    Wrong("C", "compute_rdf", "r_range below zero", lambda i: compute_rdf(i.frames, (-0.2, 0.8)), "r_range is -0.2"),
    Wrong("C", "compute_rdf", "r_range beyond the box", lambda i: compute_rdf(i.frames, (0.2, 5)), "half the box"),
    Wrong("C", "compute_rdf", "progress of true", lambda i: compute_rdf(i.frames, progress=True), "progress is True"),
    Wrong("C", "compute_rdf", "r_range of one number", lambda i: compute_rdf(i.frames, 0.8), "r_range has shape"),
    Wrong("C", "compute_rdf", "r_range of three", lambda i: compute_rdf(i.frames, (0.2, 0.5, 0.8)), "r_range has shape"),
    Wrong("C", "compute_rdf", "r_range of strings", lambda i: compute_rdf(i.frames, ("0.2", "0.8")), "r_range is an array of"),
    Wrong("C", "compute_rdf", "bins wider than the range", lambda i: compute_rdf(i.frames, bin_width=3.0), "bin_width is 3"),
    Wrong("D", "compute_rdf", "a thousand million bins", lambda i: compute_rdf(i.frames, bin_width=1e-9), "bin_width is 1e-09"),
    Wrong("C", "compute_rdf", "frames without a box", lambda i: compute_rdf(made(lambda _: {"box": None})(i)), "no periodic box"),
    Wrong("F", "compute_rdf", "None", lambda i: compute_rdf(None), "frames is None"),
    Wrong("F", "compute_rdf", "a path", lambda i: compute_rdf(str(i.shared / "frames.npz")), "frames is .*give Frames"),
    *numbers("C", "yeh_hummer_correction", "viscosity", lambda i, v: yeh_hummer_correction(300, v, 2.5), more={"zero": (0, " 0")}),
    *numbers("C", "yeh_hummer_correction", "edge", lambda i, v: yeh_hummer_correction(300, 0.85, v), more=LENGTHS),
    Wrong("C", "noise", "no draws", lambda i: draw_noise(None, 0, True), "draws is 0"),
    Wrong("C", "noise", "a noise level of zero", lambda i: force_from_denoised(i.positions, i.positions, 0.0, 2.5), "sigma is 0"),
]  # fmt: skip

COARSEN = [
    *numbers("C", "coarsen", "stride", lambda i, v: coarsen(i.shared / "run.dcd", i.shared / "top.pdb", MAP, 300, stride=v), NO_COUNTS),
    *numbers("C", "coarsen", "temperature", lambda i, v: coarsen(i.shared / "run.dcd", i.shared / "top.pdb", MAP, v),
             {k: v for k, v in NO_NUMBERS.items() if k != "a list"}, {"zero": (0, " 0")}),
    Wrong("E", "coarsen", "another extension of the output", lambda i: coarsen(i.shared / "run.dcd", i.shared / "top.pdb", MAP, 300, i.out), "ends in .npz"),
    Wrong("E", "coarsen", "an output of number", lambda i: coarsen(i.shared / "run.dcd", i.shared / "top.pdb", MAP, 300, 3), "output is 3"),
    Wrong("E", "coarsen", "a folder that is not there", lambda i: coarsen(i.shared / "run.dcd", i.shared / "top.pdb", MAP, 300, i.out / "a.npz"), "there is no directory"),
    Wrong("F", "coarsen", "no trajectory", lambda i: coarsen([], None, MAP, 300), "trajectory is an empty list"),
    Wrong("F", "coarsen", "None", lambda i: coarsen(None, None, MAP, 300), "trajectory is None"),
    Wrong("F", "coarsen", "a map of None", lambda i: coarsen(i.shared / "run.dcd", i.shared / "top.pdb", None, 300), "map is None"),
    Wrong("F", "Mapping", "a number", lambda i: Mapping.read(3), "map is 3"),
    Wrong("F", "Mapping", "an empty dict", lambda i: Mapping.read({}), "beads is missing"),
    Wrong("F", "Mapping", "no beads", lambda i: Mapping.read({"beads": []}), "beads is"),
    Wrong("F", "Mapping", "beads of strings", lambda i: Mapping.read({"beads": ["A"]}), "beads.0"),
    Wrong("F", "Mapping", "a file that is not there", lambda i: Mapping.read("nowhere.yaml"), "nowhere.yaml"),
]  # fmt: skip

ENTRIES = [*FRAMES, *SPLIT, *RDF, *COARSEN]
