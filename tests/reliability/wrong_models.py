"""Wrong inputs of models: their files, what they are evaluated at, how they are combined, forces and Systems of them."""

import numpy as np
import torch
from cases import NO_COUNTS, NO_NUMBERS, Wrong, arrays, few_frames, numbers
from models import QUICK, licl_denoiser
from openmm import app, unit

from openmm_diffusion import Denoiser, DiffusionForce, create_system
from openmm_diffusion.model.combination import deviation, ensemble, extrapolated, half_step, spread
from openmm_diffusion.systems import electrolyte
from openmm_diffusion.systems.topologies import random_positions, replicated

LENGTHS = {"zero": (0, " 0"), "minus one": (-1, "-1"), "kelvin": (3 * unit.kelvin, "3 K")}
PAIRS = {"Li": 2, "Cl": 2}


def header(*keys, value):
    """Loading a model in whose header one entry, or the entry of a term, was changed."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return lambda i: Denoiser.load(i.model_file(change))


def weights(change):
    return lambda i: Denoiser.load(i.model_file(weights=change))


def each(value):
    """One number of every weight tensor replaced."""

    def change(tensors):
        for tensor in tensors.values():
            if tensor.numel():
                tensor.view(-1)[0] = value

    return change


COULOMB, WALL, PAIR = (("terms", place) for place in range(3))
NAN, INF = float("nan"), float("inf")

HEADERS = [
    *[Wrong("A", "model file", f"a temperature of {value}", header("temperature", value=value), "wrong.safetensors has a header .*temperature") for value in (0, -300, NAN, INF, "warm", None, 1e9)],
    *[Wrong("A", "model file", f"a box of {name}", header("box", value=value), "wrong.safetensors has a header .*box") for name, value in {"zeros": np.zeros((3, 3)).tolist(), "NaN": np.full((3, 3), NAN).tolist(), "two rows": [[1.0, 0, 0], [0, 1, 0]], "a number": 2.5, "negative edges": (-np.eye(3)).tolist(), "rows of two": [[1.0, 0]] * 3}.items()],
    *[Wrong("A", "model file", f"charges of {value}", header(*COULOMB, "charges", value=value), "wrong.safetensors .*charges") for value in ({"Li": NAN, "Cl": -1}, {"Li": INF, "Cl": -1}, {"Li": 1e9, "Cl": -1}, {"Li": 1}, {}, None)],
    *[Wrong("A", "model file", f"a permittivity of {value}", header(*COULOMB, "relative_permittivity", value=value), "wrong.safetensors .*permittivity") for value in (0, -78.3, NAN, INF)],
    *[Wrong("A", "model file", f"an Ewald tolerance of {value}", header(*COULOMB, "tolerance", value=value), "wrong.safetensors .*tolerance") for value in (0, -1, NAN, 2)],
    *[Wrong("A", "model file", f"radii of {name}", header(*WALL, "radii", value=value), "wrong.safetensors .*radii") for name, value in {"NaN": [[NAN, 0.1], [0.1, 0.1]], "one row": [[0.1, 0.1]], "no rows": [], "a ragged matrix": [[0.1], [0.1, 0.1]], "kilometres": [[1e12, 0.1], [0.1, 0.1]]}.items()],
    *[Wrong("A", "model file", f"a stiffness of {value}", header(*WALL, "stiffness", value=value), "wrong.safetensors .*stiffness") for value in (0, -2e5, NAN, INF)],
    *[Wrong("A", "model file", f"a noise level of {value}", header(*PAIR, "sigma", value=value), "wrong.safetensors .*sigma") for value in (-0.005, NAN, INF, 1e6, True and "x")],
    *[Wrong("A", "model file", f"a cutoff of {value}", header(*PAIR, "cutoff", value=value), "wrong.safetensors .*(cutoff|start)") for value in (0, -0.9, NAN, INF, 1e6, 0.1)],
    *[Wrong("A", "model file", f"a weight of {value}", header(*PAIR, "weight", value=value), "wrong.safetensors .*weight") for value in (NAN, INF, 1e30)],
    *[Wrong("D", "model file", f"a knot spacing of {value} nm", header(*PAIR, "spacing", value=value), "wrong.safetensors .*spacing") for value in (1e-9, 1e-300, 0, -0.02)],
    Wrong("A", "model file", "no species", header("species", value=[]), "wrong.safetensors .*species"),
    Wrong("A", "model file", "one species twice", header("species", value=["Li", "Li"]), "wrong.safetensors .*each species once"),
    Wrong("A", "model file", "species of no element", header("species", value=[300, 301]), "wrong.safetensors .*species"),
    Wrong("A", "model file", "particles of another species", header("particles", value=["Na"]), "wrong.safetensors .*same types"),
    Wrong("A", "model file", "bonds beyond the particles", header("bonds", value=[[0, 10**6]]), "wrong.safetensors .*bonds"),
    Wrong("A", "model file", "exclusions of a thousand", header("exclusions", value=1000), "wrong.safetensors .*exclusions"),
    Wrong("A", "model file", "no shortest distances", header("shortest_distances", value=[]), "wrong.safetensors .*shortest_distances"),
    Wrong("A", "model file", "a shortest distance below zero", header("shortest_distances", value=[[-1, None], [None, None]]), "wrong.safetensors .*shortest_distances"),
    Wrong("A", "model file", "masses of one species", header("masses", value=[6.9]), "wrong.safetensors .*masses"),
    Wrong("A", "model file", "a mass of zero", header("masses", value=[0, 35.0]), "wrong.safetensors .*masses"),
    Wrong("A", "model file", "noised axes of another world", header("noised", value={"species": None, "axes": "w"}), "wrong.safetensors .*noised"),
    Wrong("A", "model file", "nothing said of noise", header("noised", value={}), "wrong.safetensors .*noised"),
    Wrong("A", "model file", "a newer format", header("format", value=10**6), "wrong.safetensors has format 1000000"),
    Wrong("A", "model file", "an unknown key", header("colour", value="red"), "wrong.safetensors .*colour"),
    Wrong("A", "model file", "a term of no kind", header(*PAIR, "kind", value="magic"), "wrong.safetensors .*magic"),
    Wrong("A", "model file", "terms of numbers", header("terms", value=[1, 2]), "wrong.safetensors .*terms"),
    Wrong("A", "model file", "terms of None", header("terms", value=None), "wrong.safetensors .*terms"),
    Wrong("D", "model file", "a network of a million layers", header("terms", value=[{"kind": "network", "sigma": 0.005, "neighbours": 8.0, "network": {"layers": 10**6}}]), "wrong.safetensors .*layers"),
    Wrong("D", "model file", "a network of a thousand million features", header("terms", value=[{"kind": "network", "sigma": 0.005, "neighbours": 8.0, "network": {"features": 10**9}}]), "wrong.safetensors .*features"),
    Wrong("D", "model file", "a network of too many weights", header("terms", value=[{"kind": "network", "sigma": 0.005, "neighbours": 8.0, "network": {"features": 1024, "layers": 32, "lmax": 3}}]), "wrong.safetensors .*weights"),
    Wrong("D", "model file", "a many-body energy of a million functions", header("terms", value=[{"kind": "manybody", "sigma": 0, "cutoff": 0.6, "start": 0.1, "radial": 10**6, "lmax": 2}]), "wrong.safetensors .*radial"),
    *[Wrong("A", "model file", f"weights of {value}", weights(each(value)), "wrong.safetensors holds NaN or Inf in its weights") for value in (NAN, INF, -INF)],
    Wrong("A", "model file", "weights of whole numbers", weights(lambda t: t.update({k: v.long() for k, v in t.items()})), "wrong.safetensors holds weights .* of type"),
    Wrong("A", "model file", "weights of complex numbers", weights(lambda t: t.update({k: v.to(torch.complex64) for k, v in t.items()})), "wrong.safetensors"),
    Wrong("A", "model file", "no weights", weights(lambda t: t.clear()), "weights that do not fit"),
    Wrong("A", "model file", "weights of another shape", weights(lambda t: t.update({k: v[:1] for k, v in t.items()})), "weights that do not fit"),
    Wrong("A", "model file", "a foreign weight", weights(lambda t: t.update(more=torch.zeros(3))), "weights that do not fit"),
    Wrong("A", "model file", "an empty file", lambda i: Denoiser.load(i.write("a.safetensors", "")), r"a\.safetensors is truncated"),
    Wrong("A", "model file", "half a file", lambda i: Denoiser.load(i.write("a.safetensors", i.denoiser.to_bytes()[:500])), r"a\.safetensors is truncated"),
    Wrong("D", "model file", "a header longer than any machine", lambda i: Denoiser.load(i.write("a.safetensors", b"\xff" * 8 + b"{}")), r"a\.safetensors is truncated"),
    Wrong("A", "model file", "text", lambda i: Denoiser.load(i.write("a.safetensors", "a model")), r"a\.safetensors is truncated"),
    Wrong("A", "model file", "a pickle", lambda i: Denoiser.load(i.write("a.safetensors", b"\x80\x04\x95" + b"\0" * 100)), r"a\.safetensors is truncated"),
    Wrong("A", "model file", "brackets without end", lambda i: Denoiser.load(i.write("a.safetensors", (100000).to_bytes(8, "little") + b"[" * 100000)), r"a\.safetensors is truncated"),
    Wrong("F", "Denoiser.load", "None", lambda i: Denoiser.load(None), "model is None"),
    Wrong("F", "Denoiser.load", "a number", lambda i: Denoiser.load(3), "model is 3"),
    Wrong("F", "Denoiser.load", "a directory", lambda i: Denoiser.load(i.shared), "is a directory"),
    Wrong("F", "Denoiser.load", "a file that is not there", lambda i: Denoiser.load("nowhere"), "there is no model file nowhere"),
]  # fmt: skip

DOORS = {
    "Denoiser.forces": lambda i, x, **more: i.denoiser.forces(x, **more),
    "Denoiser.energy": lambda i, x, **more: i.denoiser.energy(x, **more),
    "Denoiser.denoised": lambda i, x, **more: i.denoiser.denoised(x, **more),
    "Denoiser.evaluated": lambda i, x, **more: i.denoiser.evaluated(x, **{"box": i.box, **more}),
    "half_step": lambda i, x, **more: half_step(i.denoiser, x, **more),
}
EVALUATED = [
    *[entry for door, call in DOORS.items() for entry in arrays("C", door, "positions", lambda i: i.positions, call)],
    *[entry for door, call in list(DOORS.items())[:2] for entry in arrays("C", door, "box", lambda i: i.box, lambda i, x, call=call: call(i, i.positions, box=x))],
    *[Wrong("C", door, "all positions equal", lambda i, call=call: call(i, np.ones((48, 3))), "two particles are at one place") for door, call in DOORS.items()],
    *[Wrong("C", door, "a box of zeros", lambda i, call=call: call(i, i.positions, box=np.zeros((3, 3))), "edge of 0 nm") for door, call in DOORS.items()],
    *[Wrong("F", door, "positions of None", lambda i, call=call: call(i, None), "positions is None") for door, call in DOORS.items()],
    *[Wrong("F", door, "positions of one number", lambda i, call=call: call(i, 3.0), "positions has shape") for door, call in DOORS.items()],
    *[Wrong("F", door, "positions of no particle", lambda i, call=call: call(i, np.zeros((0, 3))), "positions has shape") for door, call in DOORS.items()],
    Wrong("C", "Denoiser.forces", "two boxes for one configuration", lambda i: i.denoiser.forces(i.positions, np.stack([i.box] * 2)), "box has shape"),
    Wrong("C", "Denoiser.forces", "a box below twice the cutoff", lambda i: i.denoiser.forces(i.positions, np.eye(3)), "over half the box"),
    Wrong("C", "Denoiser.forces", "an unknown species", lambda i: i.denoiser.forces(i.positions, species=["Na"] * 48), "species Na unknown"),
    Wrong("C", "Denoiser.forces", "species of one entry", lambda i: i.denoiser.forces(i.positions, species=["Li"]), "species has 1 entries"),
    Wrong("C", "Denoiser.forces", "species of None", lambda i: i.denoiser.forces(i.positions, species=[None] * 48), "species holds None"),
    *numbers("C", "Denoiser.at", "sigma", lambda i, v: i.denoiser.at(v), more={"minus one": (-1, "-1"), "kelvin": (3 * unit.kelvin, "3 K"), "another level": (0.1, "0.1")}),
    *numbers("C", "Denoiser.with_ewald", "tolerance", lambda i, v: i.denoiser.with_ewald(v), more={"zero": (0, " 0"), "two": (2, " 2")}),
    *numbers("C", "Denoiser.with_ewald", "cutoff", lambda i, v: i.denoiser.with_ewald(None, v), more=LENGTHS),
    Wrong("C", "Denoiser.with_ewald", "a cutoff beyond half the box", lambda i: i.denoiser.with_ewald(None, 50.0), "cutoff"),
    Wrong("C", "spread", "no ensemble", lambda i: spread(i.denoiser, i.positions), "no ensemble"),
    Wrong("C", "deviation", "one model", lambda i: deviation([i.denoiser], i.positions, i.box), "denoisers has 1"),
]  # fmt: skip

COMBINED = [
    Wrong("F", "ensemble", "no models", lambda i: ensemble([]), "at least two models"),
    Wrong("F", "ensemble", "one model", lambda i: ensemble([i.denoiser]), "at least two models"),
    Wrong("F", "extrapolated", "no models", lambda i: extrapolated([]), "at least"),
    Wrong("C", "extrapolated", "one noise level", lambda i: extrapolated([i.denoiser] * 2), "different positive noise levels"),
    Wrong("C", "ensemble", "a model with a box and one without", lambda i: ensemble([i.bare, licl_denoiser(kinds=("wall", "pair"))]), "has box"),
    Wrong("D", "ensemble", "models of other boxes and many particles", lambda i: ensemble([i.denoiser, licl_denoiser(kinds=QUICK, pairs=2000)]), "has particles"),
    Wrong("F", "ensemble", "paths", lambda i: ensemble(["a", "b"]), "denoisers is"),
    Wrong("F", "extrapolated", "paths", lambda i: extrapolated(["a", "b"]), "denoisers is"),
]  # fmt: skip


def boxed(edge):
    topology = few_frames().topology()
    topology.setPeriodicBoxVectors(edge * np.eye(3) * unit.nanometer)
    return topology


MAKERS = {
    "DiffusionForce": lambda i, topology, **more: DiffusionForce(i.denoiser, topology, backend="python", **more),
    "create_system": lambda i, topology, **more: create_system(i.denoiser, topology, **more),
}
SYSTEMS = [
    *[Wrong("F", door, f"a topology of {name}", lambda i, call=call, value=value: call(i, value), "topology is an object of type") for door, call in MAKERS.items() for name, value in {"None": None, "a path": "top.pdb", "a number": 3, "mdtraj": few_frames().to_mdtraj().topology}.items()],
    *[Wrong("F", door, "a topology of the PDB file itself", lambda i, call=call: call(i, app.PDBFile(str(i.shared / "top.pdb"))), "topology is an object of type PDBFile") for door, call in MAKERS.items()],
    *[Wrong("F", door, "an empty topology", lambda i, call=call: call(i, app.Topology()), "topology has no atoms") for door, call in MAKERS.items()],
    *[entry for door, call in MAKERS.items() for entry in numbers("C", door, "replicas", lambda i, v, call=call: call(i, i.topology, replicas=v), NO_COUNTS, {"zero": (0, " 0")})],
    *[Wrong("D", door, "a thousand million replicas", lambda i, call=call: call(i, i.topology, replicas=10**9), "replicas is 1000000000") for door, call in MAKERS.items()],
    *[Wrong("C", door, "a box below twice the cutoff", lambda i, call=call: call(i, boxed(1.0)), "over half the box") for door, call in MAKERS.items()],
    *[Wrong("C", door, "types of one entry", lambda i, call=call: call(i, i.topology, types=["Li"]), "types has 1 entries") for door, call in MAKERS.items()],
    *[Wrong("F", door, "an unknown option of types", lambda i, call=call: call(i, i.topology, types="colour"), "types is 'colour'") for door, call in MAKERS.items()],
    Wrong("D", "create_system", "more particles than a machine has room for", lambda i: create_system(i.denoiser, i.topology, replicas=10**5), "replicas is 100000,? of 48 particles"),
    *numbers("C", "create_system", "ewald_error_tolerance", lambda i, v: create_system(i.denoiser, i.topology, ewald_error_tolerance=v), more={"zero": (0, " 0"), "two": (2, " 2")}),
    Wrong("F", "DiffusionForce", "a model of None", lambda i: DiffusionForce(None, i.topology), "model is None"),
    Wrong("F", "create_system", "a model of a list", lambda i: create_system([], i.topology), r"model is \[\]"),
    Wrong("F", "DiffusionForce", "an unknown backend", lambda i: DiffusionForce(i.denoiser, i.topology, backend="fast"), "backend is 'fast'"),
    Wrong("F", "DiffusionForce", "an unknown precision", lambda i: DiffusionForce(i.denoiser, i.topology, precision="half"), "precision is 'half'"),
    Wrong("F", "create_system", "an unknown platform", lambda i: create_system(i.denoiser, i.topology, backend="python", platform="Quantum"), "Quantum"),
    *numbers("C", "electrolyte", "edge", lambda i, v: electrolyte(PAIRS, edge=v), {k: v for k, v in NO_NUMBERS.items()}, {**LENGTHS, "kilometres": (1e12, "1e.12")}),
    *numbers("C", "electrolyte", "molarity", lambda i, v: electrolyte(PAIRS, molarity=v), more={"zero": (0, " 0"), "minus one": (-1, "-1"), "nm": (3 * unit.nanometer, "3 nm")}),
    *numbers("C", "electrolyte", "composition", lambda i, v: electrolyte({"Li": v, "Cl": 2}, edge=2.0), NO_COUNTS, {"zero": (0, " 0")}),
    Wrong("D", "electrolyte", "a thousand million ions", lambda i: electrolyte({"Li": 10**9}, edge=2.0), "composition of 'Li' is 1000000000"),
    Wrong("D", "electrolyte", "two million ions of two kinds", lambda i: electrolyte({"Li": 10**6, "Cl": 10**6}, edge=2.0), "composition has 2000000"),
    Wrong("F", "electrolyte", "None", lambda i: electrolyte(None, edge=2.0), "composition is None"),
    Wrong("F", "electrolyte", "nothing", lambda i: electrolyte({}, edge=2.0), r"composition is \{\}"),
    Wrong("F", "electrolyte", "a list", lambda i: electrolyte(["Li", "Cl"], edge=2.0), "composition is"),
    Wrong("F", "electrolyte", "no element", lambda i: electrolyte({"Xx": 2}, edge=2.0), "'Xx'"),
    Wrong("F", "electrolyte", "an atomic number", lambda i: electrolyte({3: 2}, edge=2.0), "composition names 3"),
    Wrong("C", "electrolyte", "edge and molarity", lambda i: electrolyte(PAIRS, edge=2.0, molarity=1.0), "exactly one"),
    *numbers("C", "random_positions", "seed", lambda i, v: random_positions(i.denoiser, i.topology, v), NO_COUNTS),
    *numbers("C", "random_positions", "attempts", lambda i, v: random_positions(i.denoiser, i.topology, 0, v), NO_COUNTS),
    Wrong("F", "random_positions", "a topology of None", lambda i: random_positions(i.denoiser, None), "topology is an object of type NoneType"),
    Wrong("D", "random_positions", "no room", lambda i: random_positions(i.denoiser, electrolyte({"Li": 24, "Cl": 24}, edge=0.5), attempts=10), "no room"),
    *numbers("C", "replicated", "replicas", lambda i, v: replicated(i.topology, v), NO_COUNTS),
    Wrong("D", "replicated", "a thousand million copies", lambda i: replicated(i.topology, 10**9), "replicas is 1000000000"),
]  # fmt: skip

ENTRIES = [*HEADERS, *EVALUATED, *COMBINED, *SYSTEMS]
