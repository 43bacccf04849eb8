"""Wrong inputs of configurations and runs: train, simulate, evaluate, refine, distil, export, generate, benchmark."""

import numpy as np
from cases import NO_COUNTS, Wrong, arrays, numbers
from openmm import unit

from openmm_diffusion import Frames, evaluate, simulate, train
from openmm_diffusion.cluster import connected
from openmm_diffusion.learning.config import config_model, read_config
from openmm_diffusion.settings import read_yaml, validated
from openmm_diffusion.simulation.generation import generate
from openmm_diffusion.simulation.langevin import SimulationConfig
from openmm_diffusion.simulation.sampling import simulate_runs
from openmm_diffusion.workflows.benchmark.run import benchmark
from openmm_diffusion.workflows.compilation import compile_ahead
from openmm_diffusion.workflows.distillation import distil
from openmm_diffusion.workflows.export import export
from openmm_diffusion.workflows.page.page import write_page
from openmm_diffusion.workflows.refine import refine

NAN, INF, HUGE = float("nan"), float("inf"), 10**12
PAIR = {"network": None, "prior": {"wall": None}, "pair": {"sigma": 0.0}}


def trained(letter, what, says, **sections):
    return Wrong(letter, "train", what, lambda i: train(i.frames, {**PAIR, **sections}, i.out, progress=False), says)


def simulated(letter, what, says, **options):
    return Wrong(letter, "simulate", what, lambda i: simulate(i.denoiser, i.out, options, progress=False), says)


def side_by_side(letter, what, says, **given):
    """Several runs at once."""
    given = {"config": {"duration": 1.0}, "runs": 2} | given
    return Wrong(letter, "runs", what, lambda i: simulate_runs(i.denoiser, i.out, **given), says)


def shared(letter, what, says, **given):
    """Work that workers are asked for."""

    def call(_):
        with connected(**given):
            raise AssertionError("it was connected")

    return Wrong(letter, "workers", what, call, says)


def training(key, values, says=None):
    return [
        trained("C", f"training.{key} of {v}", says or f"training.{key}", network={}, training={key: v}) for v in values
    ]


TRAIN = [
    trained("C", "nothing to learn", "nothing is to be learnt", pair=None),
    *training("learning_rate", (NAN, INF, -1e-3, 0, True, "fast")),
    *training("weight_decay", (NAN, INF, -1, True)),
    *training("ema_decay", (NAN, 1, -0.1)),
    *training("steps", (0, -1, 1.5)),
    *training("patience", (0, -1, 1.5, True)),
    *training("nodes", (0, -1, 1.5, True, HUGE)),
    trained("E", "two nodes by one process", "this is one process: start it on every node by torchrun", network={}, training={"nodes": 2}),
    Wrong("F", "train", "a client of an address", lambda i: train(i.frames, PAIR, i.out, client="tcp://host:8786"), "client is 'tcp://host:8786': give a distributed.Client"),
    *[shared("C", f"{v!r} workers", "workers is", workers=v) for v in (0, -1, 1.5, True, "2", HUGE)],
    *[shared("F", f"a scheduler at {v!r}", "scheduler is .*: give an address such as tcp", scheduler=v) for v in ("host", "", 8786)],
    shared("E", "a scheduler where none is", "none answers there within 3 s", scheduler="tcp://127.0.0.1:9"),
    shared("E", "a scheduler on no host", "none answers there within 3 s", scheduler="tcp://no-such-host.invalid:8786"),
    shared("F", "a scheduler and workers", "scheduler is .* and workers 2: give one", scheduler="tcp://a:1", workers=2),
    *[trained("C", f"a noise level of {v}", "noise.sigma", noise={"sigma": v}) for v in (NAN, INF, 0, -0.005, True, 1e6, [0.05, 0.003], [0.003])],
    *[trained("C", f"a permittivity of {v}", "relative_permittivity", prior={"coulomb": {"charges": {"Li": 1, "Cl": -1}, "relative_permittivity": v}}) for v in (NAN, INF, 0, -78, True)],
    *[trained("C", f"charges of {v}", "charges", prior={"coulomb": {"charges": v}}) for v in ({"Li": NAN, "Cl": -1}, {"Li": 1}, {"Li": 1, "Cl": 1}, {"Li": True, "Cl": -1}, None)],
    *[trained("C", f"a margin of {v}", "prior.wall.margin", prior={"wall": {"margin": v}}) for v in (NAN, INF, -1, True)],
    *[trained("C", f"a stiffness of {v}", "prior.wall.stiffness", prior={"wall": {"stiffness": v}}) for v in (NAN, INF, -1, 0, True)],
    *[trained("C", f"a cutoff of {v}", "pair", pair={"cutoff": v}) for v in (NAN, INF, -1, 0, True, 50)],
    *[trained("C", f"test_fraction of {v}", "data.test_fraction", data={"test_fraction": v}) for v in (NAN, -0.1, 1, True)],
    *[trained("D", f"pair.spacing of {v}", "pair.spacing", pair={"spacing": v}) for v in (1e-12, 1e-300)],
    *[trained("D", f"network.{key} of {v}", f"network: {{0,1}}|network.{key}|network", network={key: v}) for key, v in {"layers": 10**6, "features": 10**9, "radial": 10**9, "radial_width": 10**9, "lmax": 100}.items()],
    *[trained("D", f"training.{key} of {v}", f"training.{key}", network={}, training={key: v}) for key, v in {"steps": HUGE, "batch": HUGE, "devices": HUGE, "validation_draws": HUGE, "seed": HUGE}.items()],
    trained("D", "a million members", "ensemble.members", ensemble={"members": 10**6}),
    trained("D", "a million draws", "draws", pair={"sigma": 0.005, "draws": 10**6}),
    trained("D", "a value of a megabyte", "pair is 'xxx", pair="x" * 10**6),
    trained("D", "a key of a megabyte", "unknown key", **{"x" * 10**6: 1}),
    trained("F", "an unknown section", "unknown key pear; did you mean pair", pear={}),
    trained("F", "an unknown target", "target is 'guess'", target="guess"),
    Wrong("C", "train", "particles at one place", lambda i: train(Frames(np.zeros((4, 48, 3)), i.frames.species, i.box, 300), PAIR, i.out), "at one place, 0 nm apart"),
    Wrong("F", "train", "frames of a path", lambda i: train("frames.npz", PAIR, i.out), "frames is 'frames.npz'"),
    Wrong("F", "train", "frames of a number", lambda i: train(3, PAIR, i.out), "frames is 3"),
    Wrong("F", "train", "a list of None", lambda i: train([None], PAIR, i.out), "frames is None"),
    Wrong("F", "train", "no frames", lambda i: train([], PAIR, i.out), "frames is an empty list"),
    Wrong("F", "train", "no frames anywhere", lambda i: train(None, PAIR, i.out), "frames"),
    Wrong("F", "train", "a configuration of None", lambda i: train(i.frames, None, i.out), "config is None"),
    Wrong("F", "train", "a configuration that is not there", lambda i: train(i.frames, "nowhere.yaml", i.out), "nowhere.yaml"),
    Wrong("F", "train", "an output of a number", lambda i: train(i.frames, PAIR, 3), "output is 3"),
    Wrong("E", "train", "an output that is a file", lambda i: train(i.frames, PAIR, i.write("file", "x"), progress=False), "is a file"),
    Wrong("E", "train", "a cutoff over half the box", lambda i: train(i.frames, {**PAIR, "pair": {"cutoff": 1.9}}, i.out), "over half the box"),
    Wrong("E", "train", "noise on an unknown species", lambda i: train(i.frames, {"pair": None, "network": {}, "noise": {"species": ["Na"]}}, i.out), "noise.species"),
    Wrong("E", "train", "forces that are not there", lambda i: train(i.frames, {**PAIR, "target": "force"}, i.out), "target is force"),
]  # fmt: skip

OPTIONS = {
    "duration": (NAN, INF, -1, 0, True, "long"), "interval": (NAN, INF, -1, 0, True), "timestep": (NAN, INF, -1, 0, True),
    "temperature": (NAN, INF, -1, 0, True), "friction": (NAN, INF, -1, 0, True), "edge": (NAN, INF, -1, 0, True),
    "molarity": (NAN, INF, -1, 0, True), "replicas": (0, -1, 1.5, True), "seed": (-1, 1.5, True), "threads": (0, -1, 1.5, True),
    "spread_limit": (NAN, INF, -1, 0), "device": (NAN, -1, 1.5, True, "first"), "precision": (NAN, 1, True, "half"),
    "anneal": (NAN, INF, -1, 0, True), "anneal_temperature": (NAN, INF, -1, 0, True),
}  # fmt: skip
SIMULATE = [
    *[side_by_side("C", f"{v!r} runs", "runs is", runs=v) for v in (0, -1, 2.0, NAN, True, "2", None)],
    side_by_side("D", f"{HUGE} runs", f"runs is {HUGE}: give a whole number from 1 to 10000", runs=HUGE),
    side_by_side("C", "copies in each of several runs", "replicas is 2 and runs 2", config={"duration": 1.0, "replicas": 2}),
    side_by_side("C", "seeds beyond the last", "seed is 2147483647: with 2 runs give at most 2147483646", config={"duration": 1.0, "seed": 2**31 - 1}),
    side_by_side("C", "runs without a frame", "no frame", config={"duration": 0.1}),
    side_by_side("F", "runs by an address", "client is 'tcp://host:8786': give a distributed.Client", client="tcp://host:8786"),
    *[simulated("C", f"{key} of {v}", f"{key} is", **{key: v}) for key, values in OPTIONS.items() for v in values],
    *[simulated("D", f"{key} of {v}", f"{key}.* is {v}", **{key: v}) for key, v in {"replicas": 10**9, "threads": 10**9, "seed": 10**12, "edge": 10**9}.items()],
    simulated("D", "a thousand million ions", "composition", composition={"Li": 10**9, "Cl": 10**9}, edge=2.0),
    simulated("D", "ions without end", "composition", composition={"Li": 10**100, "Cl": 10**100}),
    simulated("C", "a composition below zero", "composition", composition={"Li": -2, "Cl": 2}),
    simulated("C", "a composition of 1.5", "composition", composition={"Li": 1.5, "Cl": 2}),
    simulated("C", "a composition of true", "composition", composition={"Li": True, "Cl": 2}),
    simulated("C", "a composition with a charge", "neutral", composition={"Li": 3, "Cl": 2}, edge=2.5),
    simulated("F", "an unknown type", "'Xx'|Xx", composition={"Xx": 3}),
    simulated("F", "an unknown platform", "Quantum", platform="Quantum", backend="python"),
    simulated("F", "an unknown backend", "backend is 'fast'", backend="fast"),
    simulated("F", "an unknown format", "format is 'pdb'", format="pdb"),
    simulated("F", "a start that is not there", "nowhere.npz", start="nowhere.npz"),
    simulated("F", "a top that is not there", "nowhere.pdb", top="nowhere.pdb"),
    simulated("F", "a state that is not there", "state is nowhere.xml", state="nowhere.xml"),
    simulated("D", "a device that is not there", "device.* is 1000000000", device=10**9),
    simulated("E", "a device of a platform without", "device is 0, but the platform CPU has no devices", device=0, platform="CPU"),
    simulated("E", "a precision of another platform", "precision is 'double', but the platform CPU", precision="double", platform="CPU"),
    simulated("E", "a temperature to anneal from, and no annealing", "anneal is missing", anneal_temperature=400),
    Wrong("E", "simulate", "a start and a state", lambda i: simulate(i.denoiser, i.out, {"start": "a.npz", "state": "b.xml"}), "leave one of them out"),
    Wrong("E", "simulate", "a top and an edge", lambda i: simulate(i.denoiser, i.out, {"top": i.shared / "top.pdb", "edge": 3.0}), "leave edge out"),
    Wrong("A", "simulate", "a state of text", lambda i: simulate(i.denoiser, i.out, {"state": i.write("s.xml", "no XML")}), "s.xml is damaged"),
    Wrong("A", "simulate", "a state that is a System", lambda i: simulate(i.denoiser, i.out, {"state": i.write("s.xml", "<System/>")}), "holds a System, no State"),
    Wrong("A", "simulate", "a top of random bytes", lambda i: simulate(i.denoiser, i.out, {"top": i.write("t.pdb", bytes(range(256)))}), "t.pdb"),
    Wrong("A", "simulate", "a top without atoms", lambda i: simulate(i.denoiser, i.out, {"top": i.write("t.pdb", "END\n")}), "t.pdb"),
    Wrong("F", "simulate", "a topology of a number", lambda i: simulate(i.denoiser, i.out, topology=3), "topology is an object of type int"),
    simulated("E", "an interval that is no multiple", "give a multiple of timestep", interval=0.01, timestep=0.003),
    simulated("E", "a duration below the interval", "no frame", duration=0.1, interval=0.5),
    simulated("E", "a box below twice the cutoff", "over half the box", edge=1.0),
    *arrays("C", "simulate", "positions", lambda i: i.positions, lambda i, x: simulate(i.denoiser, i.out, {"duration": 0.5}, positions=x, progress=False)),
    Wrong("C", "simulate", "positions all equal", lambda i: simulate(i.denoiser, i.out, {"duration": 0.5}, positions=np.ones((48, 3)), progress=False), "positions"),
    Wrong("C", "simulate", "positions of another shape", lambda i: simulate(i.denoiser, i.out, positions=np.zeros((3, 3))), "positions have shape"),
    Wrong("F", "simulate", "an output of None", lambda i: simulate(i.denoiser, None), "output is None"),
    Wrong("F", "simulate", "a model of None", lambda i: simulate(None, i.out), "model is None"),
    Wrong("F", "simulate", "a model of a number", lambda i: simulate(3, i.out), "model is 3"),
    Wrong("F", "simulate", "a configuration of a number", lambda i: simulate(i.denoiser, i.out, 3), "config"),
    Wrong("F", "simulate", "a configuration that is not there", lambda i: simulate(i.denoiser, i.out, "nowhere.yaml"), "nowhere.yaml"),
    Wrong("E", "simulate", "an output that is a file", lambda i: simulate(i.denoiser, i.write("file", "x"), {"duration": 0.5, "backend": "native"}, progress=False), "is a file"),
    Wrong("E", "simulate", "a model without a box and no start", lambda i: simulate(i.bare, i.out), "positions is missing"),
]  # fmt: skip


def no_box(i):
    return Frames(i.frames.positions, i.frames.species, None, 300)


EVALUATE = [
    *numbers("C", "evaluate", "interval", lambda i, v: evaluate(i.denoiser, i.frames, [i.shared / "run.dcd"], i.shared / "top.pdb", 0, v), more={"zero": (0, " 0"), "minus one": (-1, "-1"), "nm": (3 * unit.nanometer, "3 nm")}),
    *numbers("C", "evaluate", "discard", lambda i, v: evaluate(i.denoiser, i.frames, [i.shared / "run.dcd"], i.shared / "top.pdb", v, 1.0), more={"minus one": (-1, "-1")}),
    Wrong("C", "evaluate", "frames without a box", lambda i: evaluate(i.denoiser, no_box(i)), "frames have no periodic box"),
    Wrong("C", "evaluate", "a model without a box", lambda i: evaluate(i.bare, i.frames), "frames have a periodic box"),
    Wrong("C", "evaluate", "all discarded", lambda i: evaluate(i.denoiser, i.frames, [i.shared / "run.dcd"], i.shared / "top.pdb", 1e6, 1.0), "are discarded"),
    Wrong("F", "evaluate", "frames of a path", lambda i: evaluate(i.denoiser, "frames.npz"), "frames is 'frames.npz'"),
    Wrong("F", "evaluate", "frames of None", lambda i: evaluate(i.denoiser, None), "frames is None"),
    Wrong("F", "evaluate", "trajectories of numbers", lambda i: evaluate(i.denoiser, i.frames, [3]), "trajectories is 3"),
    Wrong("F", "evaluate", "a trajectory that is not there", lambda i: evaluate(i.denoiser, i.frames, ["nowhere.dcd"], None, 0), "nowhere.dcd"),
    Wrong("C", "distil", "frames without a box", lambda i: distil(i.denoiser, no_box(i)), "frames have no periodic box"),
    Wrong("F", "distil", "frames of None", lambda i: distil(i.denoiser, None), "frames is None"),
    Wrong("F", "distil", "energies of a list", lambda i: distil(i.denoiser, i.frames, energies=["pair"]), "energies is"),
    Wrong("F", "distil", "an unknown energy", lambda i: distil(i.denoiser, i.frames, energies={"pear": {}}), "pear"),
    *numbers("C", "distil", "cutoff", lambda i, v: distil(i.denoiser, i.frames, cutoff=v), more={"zero": (0, " 0"), "minus one": (-1, "-1"), "K": (3 * unit.kelvin, "3 K")}),
    *numbers("C", "distil", "spacing", lambda i, v: distil(i.denoiser, i.frames, spacing=v), more={"zero": (0, " 0"), "minus one": (-1, "-1")}),
    Wrong("D", "distil", "knots without end", lambda i: distil(i.denoiser, i.frames, spacing=1e-12), "spacing"),
    Wrong("C", "refine", "frames without a box", lambda i: refine(i.denoiser.part(lambda t: t.kind != "pair"), no_box(i), i.out), "model|frames"),
    Wrong("F", "refine", "frames of a path", lambda i: refine(i.denoiser, "frames.npz", i.out), "frames is 'frames.npz'"),
    Wrong("F", "refine", "an output of None", lambda i: refine(i.denoiser, i.frames, None), "output is None"),
    Wrong("E", "refine", "a model that was not fitted", lambda i: refine(i.denoiser, i.frames, i.out), "the model needs an energy"),
    *[Wrong("C", "refine", f"weight of {v}", lambda i, v=v: refine(i.denoiser, i.frames, i.out, {"weight": v}), "weight is") for v in (NAN, INF, -1, 0, True)],
    *[Wrong("D", "refine", f"{key} of {v}", lambda i, key=key, v=v: refine(i.denoiser, i.frames, i.out, {"iterations": v} if key == "iterations" else {"sampling": {key: v}}), f"{key} is {v}") for key, v in {"iterations": HUGE, "runs": HUGE, "seed": HUGE}.items()],
    *[Wrong("C", "refine", f"sampling.discard of {v}", lambda i, v=v: refine(i.denoiser, i.frames, i.out, {"sampling": {"discard": v}}), "discard|no frame") for v in (NAN, -1, 1e6)],
    *arrays("C", "export", "positions", lambda i: i.positions, lambda i, x: export(i.denoiser, i.topology, i.out, format="native", positions=x)),
    Wrong("F", "export", "a topology of a path", lambda i: export(i.denoiser, "top.pdb", i.out), "topology is an object of type str"),
    Wrong("F", "export", "an unknown format", lambda i: export(i.denoiser, i.topology, i.out, format="xml"), "format is 'xml'"),
    Wrong("E", "export", "an output that is a file", lambda i: export(i.denoiser, i.topology, i.write("file", "x"), positions=i.positions), "is a file"),
    Wrong("F", "benchmark", "an unknown path", lambda i: benchmark(i.denoiser, i.out, {"paths": ["magic"]}), "magic"),
    Wrong("F", "benchmark", "a platform that is not there", lambda i: benchmark(i.denoiser, i.out, {"platform": "Quantum"}), "Quantum"),
    Wrong("F", "benchmark", "an output of None", lambda i: benchmark(i.denoiser, None, {"rounds": 1}), "output is None"),
    *[Wrong("C", "benchmark", f"{key} of {v}", lambda i, key=key, v=v: benchmark(i.denoiser, i.out, {key: v}), f"{key} is") for key, values in {"seconds": (NAN, INF, -1, 0, True), "timestep": (NAN, -1, 0, 1), "rounds": (0, 1.5, True), "replicas": ([],)}.items() for v in values],
    *[Wrong("D", "benchmark", f"{key} of {v}", lambda i, key=key, v=v: benchmark(i.denoiser, i.out, {key: v}), f"{key}.* is {HUGE}") for key, v in {"rounds": HUGE, "threads": HUGE, "replicas": [HUGE]}.items()],
    *numbers("C", "compile_ahead", "replicas", lambda i, v: compile_ahead(i.denoiser, replicas=v), NO_COUNTS),
]  # fmt: skip


def yaml(letter, what, text, says):
    return Wrong(letter, "YAML", what, lambda i: read_yaml(i.write("a.yaml", text)), says)


def generated(letter, what, says, **options):
    return Wrong(letter, "generate", what, lambda i: generate(options, i.out), says)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join(['*' + there] * 9)}]\n" for there, here in zip("abcdefghi", "bcdefghij")
)
CONFIGURATIONS = [
    yaml("C", "a key twice", "pair: {}\npair: null\n", "the key pair twice"),
    yaml("C", "a key twice inside", "pair: {cutoff: 1, cutoff: 2}\n", "the key cutoff twice"),
    yaml("D", "names that stand for names", BOMB, "a name that stands for other lines"),
    yaml("D", "brackets without end", "[" * 5000, "not valid YAML"),
    yaml("D", "two megabytes", "a: " + "x" * 2_000_000, "has 2000003 bytes"),
    yaml("F", "an empty file", "", "holds no keys"),
    yaml("F", "a list", "- 1\n- 2\n", "holds no keys"),
    yaml("F", "a number", "3\n", "holds no keys"),
    yaml("F", "binary", bytes(range(256)), "not valid YAML"),
    yaml("F", "a tab", "pair:\n\tcutoff: 1\n", "not valid YAML .line 2"),
    yaml("F", "Python", "a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    yaml("F", "a list for a key", "? [1, 2]\n: 3\n", "a key that is no name"),
    Wrong("F", "YAML", "a directory", lambda i: read_yaml(i.shared), "there is no configuration file"),
    Wrong("F", "YAML", "None", lambda i: read_config(None), "config is None"),
    Wrong("F", "YAML", "a list for a configuration", lambda i: validated(config_model(), [1], "config"), "config"),
    Wrong("F", "YAML", "a number for a section", lambda i: validated(SimulationConfig, 3, "config"), "config"),
    *[generated("C", f"{key} of {v}", f"{key} is", **{key: v}) for key in ("temperature", "discard", "interval", "timestep", "friction", "cutoff", "hydrogen_mass") for v in (NAN, INF, -1, 0) if (key, v) != ("discard", 0)],
    *[generated("D", f"{key} of {HUGE}", f"{key} is {HUGE}", **{key: HUGE}) for key in ("pairs", "copies", "waters", "runs", "frames", "chunk")],
    generated("D", "ions without end", "ions", ions={"Li": HUGE, "Cl": HUGE}),
    generated("C", "ions below zero", "ions", ions={"Li": -1, "Cl": -1}),
    generated("F", "an unknown ion", "Xx", ions={"Xx": 1}),
    generated("F", "a solute that is not there", "nowhere.pdb", solute="nowhere.pdb"),
    generated("F", "a map that is not there", "nowhere.yaml", map="nowhere.yaml"),
    generated("F", "water hotter than its density is known", "^config: temperature is 360 K", ions={}, temperature=360),
    Wrong("F", "generate", "a file that is not there", lambda i: generate("nowhere.yaml", i.out), "no configuration file"),
    Wrong("F", "generate", "None for a configuration", lambda i: generate(None, i.out), "config is None"),
    generated("F", "a misspelt key", "did you mean interval", intervall=2.0),
]  # fmt: skip


def told(letter, what, files, says):
    """A page about a directory that holds files (a dict of contents by name)."""

    def call(i):
        for name, content in files.items():
            i.write(name, content)
        write_page([i.folder], i.out)

    return Wrong(letter, "report", what, call, says)


SIMULATED = "timestep: 0.004\nfriction: 2.0\nforce: {}\nmodel: x\nduration: 1.0\nmodel_file: licl\n"
STATE = '#"Step","Time (ps)","Temperature (K)"\n'
REPORT = [
    Wrong("F", "report", "a directory that is not there", lambda i: write_page(["nowhere"], i.out), "nowhere.*not there"),
    Wrong("F", "report", "no directory", lambda i: write_page([], i.out), "runs is empty"),
    Wrong("F", "report", "a path alone", lambda i: write_page("nowhere", i.out), "runs is 'nowhere': give a list"),
    Wrong("F", "report", "a number", lambda i: write_page(3, i.out), "runs is 3"),
    Wrong("F", "report", "a list of None", lambda i: write_page([None], i.out), "run is None"),
    Wrong("E", "report", "a file", lambda i: write_page([i.write("file", "x")], i.out), "a file: name the directory"),
    Wrong("E", "report", "an empty directory", lambda i: write_page([i.folder], i.out), "an empty directory"),
    told("E", "a directory of others", {"notes.txt": "x"}, "a directory without a run of ours"),
    told("A", "settings of random bytes", {"config.yaml": bytes(range(256))}, "config.yaml is damaged or empty"),
    told("A", "settings without end", {"config.yaml": "[" * 5000}, "config.yaml is damaged or empty"),
    told("D", "settings of names that stand for others", {"config.yaml": BOMB}, "config.yaml is damaged or empty"),
    told("D", "settings of a megabyte", {"config.yaml": "#" + "x" * 1_000_001}, "config.yaml is damaged or empty"),
    told("D", "an evaluation of names that stand for others", {"evaluation.yaml": BOMB}, "evaluation.yaml is damaged"),
    told("A", "a table of random bytes", {"config.yaml": SIMULATED, "state.csv": bytes(range(256))}, "state.csv is damaged"),
    told("A", "a table of another program", {"config.yaml": SIMULATED, "state.csv": "a,b\n1,2\n"}, "no column Time"),
    told("A", "words for numbers", {"config.yaml": SIMULATED, "state.csv": STATE + "1,soon,300\n"}, "words in column Time"),
    told("A", "an evaluation without a table", {"evaluation.yaml": "discard: 5.0\n"}, "evaluation.csv is missing or empty"),
    told("A", "an evaluation of no keys", {"evaluation.yaml": "- 1\n"}, "evaluation.yaml is damaged"),
]  # fmt: skip

ENTRIES = [*TRAIN, *SIMULATE, *EVALUATE, *CONFIGURATIONS, *REPORT]
